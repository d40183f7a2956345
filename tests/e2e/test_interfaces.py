"""What the app is used through: the command line, and the API held against its own document by generated requests.

The tests share one runtime. The generated requests come last: they may order anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from cli.main import main
from tests.e2e.conftest import DIRECTOR, ENGINEER, ROOT, STRANGER, TRAINER, Api, until

FIRST, SECOND, THIRD = "P001_C001", "P001_C002", "P002_C001"
CURSOR_AWAY = "fine\x1b[2J\x1b]0;pwned\x07 \u202edesrever\u202c \x9b31m"
Fleet = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fleet(api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Runs the command line as a person does: exit code, standard output, standard error."""
    for name in ("FLEET_TOKEN", "FLEET_USER", "FLEET_URL", "TOKEN_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, by: str | None = ENGINEER) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["--url", api.runtime.url, *(["--as", by] if by else []), *arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


# -------------------------------------------------------------------------------------------------------- what is shown


def test_status_says_what_needs_somebody_in_words_and_for_programs(fleet: Fleet) -> None:
    code, shown, _ = fleet("status", "--circuits")
    assert code == 0 and "Waiting for an approval" in shown
    assert all(f"{circuit}:1:registry:1" in shown for circuit in (FIRST, SECOND, THIRD))
    code, told, _ = fleet("status", "--json")
    document = json.loads(told)
    assert {gate["circuit"] for gate in document["approvals"]} == {FIRST, SECOND, THIRD}
    assert document["standstill"] == "" and "circuits" not in document
    of_plant = json.loads(fleet("status", "--plant", "P002", "--json")[1])
    assert {gate["circuit"] for gate in of_plant["approvals"]} == {THIRD}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explain", FIRST], "registry approval by ML-Engineers"),
        (["explain", "lake"], "nothing is under way"),
        (["releases"], f"{FIRST}:1"),
        (["releases", FIRST], f"Releases of {FIRST}"),
        (["releases", f"{FIRST}:1"], "awaiting registry approval"),
        (["history", f"{FIRST}:1"], "ApprovalRequested"),
        (["ledger"], "Days"),
        (["ledger", FIRST], FIRST),
        (["alerts"], "Alerts"),
        (["alerts", "--severity", "critical", "--plant", "P001"], "Alerts"),
        (["proposals"], "Proposals"),
        (["drift"], "drift checks"),
        (["drift", FIRST], f"drift of {FIRST}"),
        (["performance", "P001"], "performance checks"),
        (["environments", "list"], "Environments"),
        (["environments", "preview", "1.1.0"], "nothing serves"),
        (["dead-letters"], "Dead letters"),
        (["freeze"], "open to releases"),
        (["completion", "bash"], "_FLEET_COMPLETE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_view_is_shown_and_told_in_json(fleet: Fleet, arguments: list[str], says: str) -> None:
    code, shown, complained = fleet(*arguments)
    assert (code, complained) == (0, "") and says in shown
    if arguments[0] != "completion":
        assert isinstance(json.loads(fleet(*arguments, "--json")[1]), dict)


def test_the_apis_page_and_its_files_are_served_with_a_policy_that_reaches_nowhere_else(api: Api) -> None:
    page = api.get("docs", by=None)
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]
    for file in re.findall(r'(?:href|src)="/api/([^"]+)"', page.text):
        assert api.get(file, by=None).status_code == 200, file
    known = {"If-None-Match": api.get("openapi.json", by=None).headers["etag"]}
    assert api.get("openapi.json", by=None, headers=known).status_code == 304


def test_a_token_is_printed_for_other_programs(fleet: Fleet, api: Api) -> None:
    code, printed, _ = fleet("token")
    assert (
        code == 0 and api.get("me", by=None, headers={"Authorization": f"Bearer {printed.strip()}"}).status_code == 200
    )


def test_the_launcher_runs_from_anywhere(api: Api, tmp_path: Path) -> None:
    token = api.runtime.services.issuer.issue(ENGINEER)
    environment = {**os.environ, "FLEET_URL": api.runtime.url, "FLEET_TOKEN": token}
    (tmp_path / "fleet").symlink_to(ROOT / "fleet")
    said = subprocess.run(
        [str(tmp_path / "fleet"), "releases", "--json"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert len(json.loads(said.stdout)["open"]) == 3


def test_shell_scripts_ask_azure_cli_for_whom_the_app_names(api: Api, tmp_path: Path) -> None:
    audience, azure = api.wired.settings.audience, tmp_path / "az"
    azure.write_text(f'#!/bin/sh\n[ "$4" = "{audience}" ] && echo {api.runtime.services.issuer.issue(ENGINEER)}\n')
    azure.chmod(0o755)
    known = {name: value for name, value in os.environ.items() if name not in ("FLEET_TOKEN", "TOKEN_AUDIENCE")}
    environment = {**known, "FLEET_URL": api.runtime.url, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    call = "set -euo pipefail; source scripts/fleet_api.sh; sign_in; call GET me"

    def asked(**changed: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", call]
        return subprocess.run(command, cwd=ROOT, env=environment | changed, capture_output=True, text=True, check=False)

    said = asked()
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["username"] == ENGINEER
    assert asked(TOKEN_AUDIENCE="api://another").returncode != 0
    unreached = asked(FLEET_URL="http://127.0.0.1:9")
    assert unreached.returncode != 0 and "set FLEET_URL" in unreached.stderr


# ------------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explain", "P001"], "is no circuit: it looks like P001_C001"),
        (["explain", "P001_C001\x1b[2J"], "is no circuit"),
        (["history", "1.2"], "P001_C001:3 or 1.1.0"),
        (["ledger", "--from", "tomorrow"], "it looks like 2026-01-31"),
        (["ledger", "--from", "2026-02-02", "--to", "2026-02-01"], "is after"),
        (["ledger", "--from", "2026-01-01", "--to", "2026-12-31"], "1 to 31 days"),
        (["hold", FIRST, "--reason", "x"], "3 to 500"),
        (["hold", FIRST], "--reason"),
        (["hold", FIRST, "--reason", "maintenance", "--key", "a b"], "8 to 64"),
        (["rollback", FIRST, "--reason", "drifts off", "--version", "0"], "--version"),
        (["alerts", "--severity", "grave"], "'warning', 'critical'"),
        (["approve", FIRST, "--comment", "x" * 1001], "1000 are taken"),
        (["train"], "--all"),
        (["drift", "P1_"], "is no circuit or plant"),
        (["nothing"], "No such command"),
        (["explain", FIRST, "--as-of", "yesterday"], "a day such as 2026-01-31"),
    ],
    ids=lambda value: " ".join(value)[:40].encode("unicode_escape").decode() if isinstance(value, list) else "",
)
def test_what_is_not_acceptable_is_refused_with_what_would_be(fleet: Fleet, arguments: list[str], says: str) -> None:
    code, shown, complained = fleet(*arguments)
    assert (code, shown) == (2, "") and says in complained and "\x1b" not in complained


def test_exit_codes_tell_a_script_what_kind_of_no_it_is(fleet: Fleet, api: Api) -> None:
    assert fleet("explain", FIRST, by=None)[0] == 3
    assert fleet("explain", FIRST, by="nobody@plant.example")[0] == 2
    assert fleet("hold", FIRST, "--reason", "maintenance", by=STRANGER)[0] == 3
    code, _, complained = fleet("releases", f"{FIRST}:99")
    assert code == 1 and f"{FIRST}:99" in complained
    assert fleet("rollback", FIRST, "--reason", "drifts off")[0] == 1
    assert main(["--url", "http://127.0.0.1:9", "status"]) == 4
    assert main(["--url", "http://fleet.example", "status"]) == 2


def test_training_away_from_this_machine_says_which_files_to_change_for_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "https://fleet.example", "train", FIRST]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "training.cutoff_date in config/plants/P001/C001.yml" in said and "az pipelines run --name build" in said


# ----------------------------------------------------------------------------------------------- what changes something


def test_a_rehearsal_changes_nothing_and_says_what_would_be_sent(fleet: Fleet, api: Api) -> None:
    before = api.rows()
    for arguments in (
        ["hold", FIRST, "--reason", "maintenance"],
        ["freeze", "--reason", "year end"],
        ["approve", FIRST, "--comment", "looks good"],
        ["approve", FIRST, SECOND],
        ["rollback", FIRST, "--reason", "drifts off"],
        ["cancel", f"{FIRST}:1", "--reason", "wrong data"],
        ["score", FIRST, "--day", "2026-01-31"],
        ["score"],
        ["performance", "P001", "--check", "--period", "2026-01"],
        ["environments", "release", "1.1.0"],
    ):
        code, shown, complained = fleet(*arguments, "--dry-run", "--json")
        first = json.JSONDecoder().raw_decode(shown)[0]
        assert code == 0 and first["dry_run"] is True and first["request"].startswith("POST /api/"), complained
        assert fleet(*arguments, "--dry-run")[0] == 0
    assert api.rows() == before


def test_a_circuit_is_held_and_resumed_once_under_one_key(fleet: Fleet) -> None:
    held = ["hold", THIRD, "--reason", "the intake is rebuilt", "--key", "the-intake"]
    assert "HoldPlaced" in fleet(*held)[1]
    code, told, _ = fleet(*held, "--json")
    assert code == 0 and json.loads(told)["recorded"][0]["event"] == "HoldPlaced"
    assert fleet("resume", THIRD, "--reason", "done", "--key", "the-intake")[0] == 2
    assert "lifted" in fleet("resume", THIRD, "--reason", "it is rebuilt")[1]


def test_an_order_on_what_has_changed_since_it_was_looked_at_does_nothing(api: Api) -> None:
    seen = api.get(f"circuits/{THIRD}").headers["etag"]
    body, address = {"reason": "the intake is rebuilt"}, f"circuits/{THIRD}/hold"
    assert api.call("POST", address, json=body, headers={"If-Match": seen}).status_code == 200
    before = api.rows(THIRD)
    late = api.call("POST", f"circuits/{THIRD}/resume", DIRECTOR, json=body, headers={"If-Match": seen})
    assert late.status_code == 403
    late = api.call("POST", f"circuits/{THIRD}/resume", json=body, headers={"If-Match": seen})
    assert (late.status_code, late.json()["title"]) == (412, "Changed meanwhile")
    assert api.rows(THIRD) == before
    now = api.get(f"circuits/{THIRD}").headers["etag"]
    assert api.call("POST", f"circuits/{THIRD}/resume", json=body, headers={"If-Match": now}).status_code == 200


def test_the_fleet_is_frozen_and_resumed(fleet: Fleet) -> None:
    assert fleet("freeze", "--reason", "storage is moved")[0] == 0
    assert "the fleet is stopped" in fleet("status")[1]
    assert fleet("resume", "--reason", "it is moved")[0] == 0
    assert "open to releases" in fleet("freeze")[1]


def test_an_approval_that_does_not_count_says_so_before_and_after_and_to_scripts(fleet: Fleet, api: Api) -> None:
    says = "who trained a model does not count as its approver"
    code, shown, _ = fleet("approve", FIRST, "--dry-run", by=TRAINER)
    assert code == 0 and f"would not count: {says}" in shown
    assert "counts" in fleet("approve", FIRST, "--dry-run")[1]
    code, shown, _ = fleet("approve", FIRST, "--yes", by=TRAINER)
    assert code == 6 and f"does not count: {says}; still awaiting registry approval" in shown
    code, told, _ = fleet("approve", FIRST, "--json", by=TRAINER)
    assert code == 6 and (json.loads(told)["counts"], says in json.loads(told)["note"]) == (False, True), "told again"
    code, told, _ = fleet("approve", FIRST, THIRD, "--json", by=TRAINER)
    assert code == 6 and [result["counts"] for result in json.loads(told)["results"]] == [False, False]
    assert api.phase(f"{FIRST}:1") == api.phase(f"{THIRD}:1") == "awaiting registry approval"


def test_evidence_is_shown_line_by_line_without_what_is_empty(fleet: Fleet) -> None:
    _, shown, _ = fleet("approve", SECOND, "--dry-run")
    assert "{" not in shown and "trained by" in shown and shown.count(TRAINER) == 1
    assert re.search(r"champion +nothing serves yet", shown) and re.search(r"candidate +model 1 with 1\.0\.0", shown)
    assert not re.search(r"(pr_number|reason) *,", shown)
    _, shown, _ = fleet("approve", SECOND, FIRST, "--dry-run")
    assert re.search(r"gates +approval P001_C002:1:registry:1, digest [0-9a-f]{64}; approval P001_C001", shown)


def test_of_a_batch_with_a_closed_gate_nothing_is_sent_and_the_others_are_offered(fleet: Fleet, api: Api) -> None:
    before = api.rows()
    code, shown, complained = fleet("approve", FIRST, "P009_C009", SECOND, "1.0.0", "--yes")
    assert (code, shown) == (1, "") and "Nothing was sent: no gate of P009_C009 is open" in complained
    assert f"fleet approve {FIRST} {SECOND}" in complained and api.rows() == before


def test_gates_are_answered_and_texts_from_outside_do_not_reach_the_terminal(fleet: Fleet, api: Api) -> None:
    assert fleet("reject", SECOND, "--comment", CURSOR_AWAY, "--yes")[0] == 0
    for arguments in (["releases", SECOND], ["releases", f"{SECOND}:1"], ["history", f"{SECOND}:1"], ["releases"]):
        _, shown, _ = fleet(*arguments)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
        assert "desrever" in shown
        assert "\x1b" not in fleet(*arguments, "--json")[1]
    code, _, complained = fleet("approve", SECOND, "--yes")
    assert code == 1 and "no gate" in complained
    digest = api.gate(FIRST)["digest"]
    code, _, complained = fleet("approve", FIRST, "--digest", "0" * 64, "--yes")
    assert code == 1 and "read it again" in complained
    assert "RegistryApproved" in fleet("approve", FIRST, "--digest", digest, "--yes")[1]
    assert fleet("approve", THIRD, "--comment", "me too", "--yes", by=DIRECTOR)[0] == 3
    assert "RestartedAtRegistryGate" in fleet("retry", f"{SECOND}:1", "--reason", "it was the wrong one")[1]
    until(lambda: SECOND in str(api.get("approvals", params={"size": 200}).json()), "the gate to be asked again")
    code, told, _ = fleet("approve", SECOND, THIRD, "--yes", "--json")
    assert (code, json.loads(told)["taken"]) == (0, 2)


def test_a_dead_letter_is_listed_shown_and_replayed(fleet: Fleet, api: Api) -> None:
    event = {"id": "1", "topic": "/subscriptions/evil", "subject": CURSOR_AWAY, "eventType": "x", "data": {}}
    assert api.tell({**event, "dataVersion": "1", "eventTime": "2026-01-30T06:00:00Z", "metadataVersion": "1"}) == 202
    code, told, _ = fleet("dead-letters", "--json")
    letter = json.loads(told)["dead_letters"][0]["id"]
    code, shown, _ = fleet("dead-letters", letter)
    assert code == 0 and "topic" in shown and "\x1b" not in shown
    assert fleet("dead-letters", letter, "--replay")[0] == 1
    assert fleet("dead-letters", letter, "--replay", "--dry-run")[0] == 0


# ----------------------------------------------------------------------------------------------------------- the doctor


def test_the_doctor_finds_nothing_wrong_with_what_runs(fleet: Fleet, api: Api) -> None:
    home = str(api.runtime.home)
    code, told, _ = fleet("doctor", "--home", home, "--config", str(api.runtime.config), "--json")
    states = {finding["what"]: finding["state"] for finding in json.loads(told)["findings"]}
    assert code == 0, told
    assert {"app", "clock", "host keys", "sign-in", "settings", "state table", "documents", "configuration"} <= {
        what for what, state in states.items() if state == "ok"
    }
    assert "nothing is wrong" in fleet("doctor", "--home", home)[1]


def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(
    fleet: Fleet, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        **api.runtime.environment,
        "STATE_SHARDS": "7",
        "WORK_QUEUE": "another",
        "TOKEN_KEYS_URI": "http://127.0.0.1:9/keys",
    }
    file = tmp_path / "settings.json"
    file.write_text(json.dumps([{"name": name, "value": value} for name, value in settings.items()]))
    (tmp_path / "config").mkdir()
    code, told, _ = fleet("doctor", "--settings", str(file), "--config", str(tmp_path / "config"), "--json")
    found = {finding["what"]: finding for finding in json.loads(told)["findings"]}
    wrong = {what for what, finding in found.items() if finding["state"] == "wrong"}
    assert code == 1
    assert wrong == {"configuration", "token issuer's keys", "state table", "queue another", "queue another-poison"}
    assert all(found[what]["mend"] for what in wrong)
    assert "STATE_SHARDS=4" in found["state table"]["mend"]
    secrets = [api.runtime.keys["platform"], api.runtime.keys["master"]]
    assert not [secret for secret in secrets if secret in told]
    code, told, _ = fleet("doctor", "--settings", str(file), "--json", by=STRANGER)
    found = {finding["what"]: finding for finding in json.loads(told)["findings"]}
    assert found["sign-in"]["state"] == "warning" and "ML-Engineers" in found["sign-in"]["mend"]


# ------------------------------------------------------------------------------------- the API against its own document


def test_generated_requests_are_answered_as_the_document_says(api: Api) -> None:
    """Requests that fit the document, and such that do not: never a 5xx, and each answer is one that is documented."""
    document = schemathesis.openapi.from_url(f"{api.runtime.url}/api/openapi.json", wait_for_schema=None)
    document.config.update(base_url=f"{api.runtime.url}/api")
    by = {"Authorization": f"Bearer {api.runtime.services.issuer.issue(ENGINEER)}"}
    asked = 0
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        asked += _asked(operation, GenerationMode.POSITIVE, by)
        if operation.path_parameters or operation.query or operation.body:
            asked += _asked(operation, GenerationMode.NEGATIVE, by)
    assert asked > 250


def _asked(operation: schemathesis.APIOperation[Any, Any, Any, Any], mode: GenerationMode, by: dict[str, str]) -> int:
    """Ask with generated requests, always the same ones; returns how many.

    That a request fits the document does not make it acceptable: a key may have been used, a continuation is opaque.
    And one that does not fit may be: the host drops parameters without a value before the app sees them.
    """
    count = 0

    @hypothesis.settings(
        max_examples=3,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal count
        count += 1
        case.call_and_validate(headers=by, excluded_checks=[positive_data_acceptance, negative_data_rejection])

    ask()
    return count
