"""The app's whole outside, over real HTTP: who may decide, what is bad input, what is kept, and a host that dies.

The tests share one runtime. They take different circuits where they move something on, so that order does not matter
but for the last ones, which end the host.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import yaml
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridEvent, EventGridPublisherClient
from azure.storage.queue import QueueClient
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from etl.log_check import check_log
from etl.upkeep_documents import UpkeepOrder
from local.platform.faults import FaultKind, FaultSwitches
from local.platform.names import STORAGE_ID, Work, workspace_id
from local.runtime import TOPIC_ID
from ml.history import open_version
from shared.domain.lake import UPKEEP, UpkeepPhase
from shared.domain.values import Stage
from shared.subscriptions import BLOB_CREATED, ETL_COMPLETED, MODEL_REGISTERED, RUN_COMPLETED
from tests.e2e.conftest import DIRECTOR, ENGINEER, REFERENCE_DIR, ROOT, STRANGER, TRAINER, Api, until

SAMPLES = REFERENCE_DIR / "specs/azure-rest/eventgrid/data-plane/Microsoft.MachineLearningServices"
DEV = workspace_id(Stage.DEV)
FIRST, SECOND, THIRD = "P001_C001", "P001_C002", "P002_C001"
UNTOUCHED = "P002_C001"
NOBODY_TRAINED = "P003_C001"
ROUTES = [
    ("GET", "approvals"),
    ("GET", f"approvals/{THIRD}:1:registry:1"),
    ("POST", f"approvals/{THIRD}:1:registry:1"),
    ("POST", "approvals/batch"),
    ("POST", f"approvals/{THIRD}:1:registry:1/override"),
    ("GET", "circuits"),
    ("GET", f"circuits/{THIRD}"),
    ("GET", f"circuits/{THIRD}/releases"),
    ("GET", f"circuits/{THIRD}/explain"),
    ("GET", f"circuits/{THIRD}/as-of"),
    ("GET", "lake/explain"),
    ("GET", "ledger"),
    ("GET", "ledger/days"),
    ("POST", "ledger/fill"),
    ("GET", f"circuits/{THIRD}/ledger"),
    ("POST", f"circuits/{THIRD}/scorings"),
    ("GET", f"circuits/{THIRD}/forecasts"),
    ("POST", f"circuits/{THIRD}/forecasts/score-again"),
    ("GET", "releases"),
    ("GET", f"releases/{THIRD}:1"),
    ("GET", f"releases/{THIRD}:1/history"),
    ("POST", f"releases/{THIRD}:1/cancel"),
    ("POST", f"releases/{THIRD}:1/retry"),
    ("POST", f"releases/{THIRD}:1/reopen"),
    ("POST", f"releases/{THIRD}:1/ask-again"),
    ("GET", "fleet"),
    ("POST", "fleet/stop"),
    ("POST", "fleet/resume"),
    ("GET", f"circuits/{THIRD}/orders"),
    ("POST", f"circuits/{THIRD}/rollback"),
    ("POST", f"circuits/{THIRD}/direct-actions"),
    ("POST", "lake/etl"),
    ("GET", "lake/etl/etl-20260131T030500Z"),
    ("POST", f"circuits/{THIRD}/hold"),
    ("POST", f"circuits/{THIRD}/resume"),
    ("POST", f"circuits/{THIRD}/retire"),
    ("POST", "monitoring/performance"),
    ("POST", "monitoring/drift"),
    ("GET", "monitoring/runs"),
    ("GET", "monitoring/runs/drift-2026-03-31"),
    ("GET", "monitoring/runs/drift-2026-03-31/history"),
    ("GET", "monitoring/runs/drift-2026-03-31/verdicts"),
    ("GET", "monitoring/runs/drift-2026-03-31/report"),
    ("GET", f"circuits/{THIRD}/monitoring"),
    ("GET", f"circuits/{THIRD}/checks/drift-2026-03-31"),
    ("GET", f"circuits/{THIRD}/checks/drift-2026-03-31/report"),
    ("GET", "me"),
    ("GET", "dead-letters"),
    ("GET", "dead-letters/8204499910951-0f3a5c7e9b1d"),
    ("POST", "dead-letters/8204499910951-0f3a5c7e9b1d/replay"),
]


def problem(answer: requests.Response, status: int) -> dict[str, Any]:
    """The answer's problem, which must be one of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    content: dict[str, Any] = answer.json()
    assert content["status"] == status and content["title"] and content["detail"]
    return content


# ------------------------------------------------------------------------------------------------------- who may decide


def test_health_is_told_to_everybody_and_says_nothing_more(api: Api) -> None:
    answer = api.get("health", by=None)
    assert (answer.status_code, set(answer.json())) == (200, {"status", "time"})


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_token_every_route_asks_to_sign_in(api: Api, method: str, path: str) -> None:
    answer = api.call(method, path, by=None)
    assert "sign in" in problem(answer, 401)["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"


def forged_tokens(api: Api) -> dict[str, str]:
    issuer = api.runtime.services.issuer
    token = issuer.issue(ENGINEER)
    claims = jwt.decode(token, options={"verify_signature": False})
    key = jwt.PyJWKClient(issuer.keys_url).get_signing_key_from_jwt(token)
    names = {"kid": str(key.key_id)}
    pem = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", **names}).encode()).decode().rstrip("=")
    signed = f"{header}.{token.split('.')[1]}"
    mac = base64.urlsafe_b64encode(jwt.get_algorithm_by_name("HS256").sign(signed.encode(), pem)).decode().rstrip("=")
    stranger = generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    return {
        "expired": issuer.issue(ENGINEER, exp=now - 600),
        "not yet valid": issuer.issue(ENGINEER, nbf=now + 600),
        "wrong audience": issuer.issue(ENGINEER, aud="api://another"),
        "wrong issuer": issuer.issue(ENGINEER, iss="https://login.microsoftonline.com/common/v2.0"),
        "no object id": issuer.issue(ENGINEER, oid=None),
        "an application's": issuer.issue(ENGINEER, idtyp="app"),
        "wrong signature": jwt.encode(claims, stranger, algorithm="RS256", headers=names),
        "no algorithm": jwt.encode(claims, "", algorithm="none", headers=names),
        "public key as secret": f"{signed}.{mac}",
        "cut": token[:-20],
        "no token": "erik@plant.example",
    }


def test_a_token_that_cannot_be_believed_is_no_token(api: Api) -> None:
    gate, before = api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    for name, token in forged_tokens(api).items():
        headers = {"Authorization": f"Bearer {token}"}
        for answer in (
            api.get("releases", by=None, headers=headers),
            api.call("POST", f"approvals/{gate['id']}", None, headers=headers, json={"digest": gate["digest"]}),
        ):
            assert answer.status_code == 401, name
            problem(answer, 401)
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
            assert token not in answer.text
    assert api.rows(UNTOUCHED) == before


def test_who_is_in_none_of_the_gates_groups_may_not_decide(api: Api) -> None:
    gate, before = api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    for person in (STRANGER, DIRECTOR):  # the registry's gate asks engineers only
        for decision in ("approve", "reject"):
            detail = problem(api.decide(gate, person, decision), 403)["detail"]
            assert person in detail and "ML-Engineers" in detail
    assert api.rows(UNTOUCHED) == before


def test_a_body_or_header_that_claims_to_be_somebody_else_changes_nothing(api: Api) -> None:
    gate, before = api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    erik = {"oid": "x", "name": "Erik", "username": ENGINEER, "groups": ["ML-Engineers"]}
    assert problem(api.decide(gate, STRANGER, person=erik), 400)["field"] == "person"
    principal = base64.b64encode(json.dumps({"userDetails": ENGINEER, "userRoles": ["ML-Engineers"]}).encode())
    spoofed = {
        "X-MS-CLIENT-PRINCIPAL": principal.decode(),
        "X-MS-CLIENT-PRINCIPAL-NAME": ENGINEER,
        "X-Forwarded-User": ENGINEER,
        "x-functions-key": api.runtime.keys["master"],
    }
    body = {"decision": "approve", "digest": gate["digest"]}
    answer = api.call("POST", f"approvals/{gate['id']}", STRANGER, headers=spoofed, json=body)
    problem(answer, 403)
    problem(api.call("POST", f"approvals/{gate['id']}", None, headers=spoofed, json=body), 401)
    assert api.rows(UNTOUCHED) == before


def test_a_rejection_ends_the_release_and_closes_its_gate(api: Api) -> None:
    gate = api.gate(SECOND)
    comment = "Nicht nach dem Umbau \U0001f6a8 <b>'; --"
    answer = api.decide(gate, ENGINEER, "reject", comment=comment)
    assert (answer.status_code, answer.json()["recorded"]) == (
        200,
        [{"event": "ApprovalRejected", "phase": "rejected"}],
    )
    assert api.get(f"releases/{SECOND}:1").json()["reason"] == f"rejected by {ENGINEER}: {comment}"
    before = api.rows(SECOND)
    assert "not open" in problem(api.decide(gate, DIRECTOR), 409)["detail"]
    assert api.decide(gate, ENGINEER, "reject").status_code == 208
    problem(api.get(f"approvals/{gate['id']}"), 404)
    assert SECOND not in [each["circuit"] for each in api.get("approvals").json()["approvals"]]
    assert api.rows(SECOND) == before


def test_a_trainers_own_approval_is_recorded_and_does_not_count(api: Api) -> None:
    gate = api.gate(FIRST)
    release = f"{FIRST}:1"
    changed = {**gate, "digest": "0" * 64}
    assert "read it again" in problem(api.decide(changed, ENGINEER), 409)["detail"]

    own = api.decide(gate, TRAINER)
    assert (own.status_code, own.json()["recorded"][0]["event"]) == (200, "ApprovalCounted")
    assert own.json()["counts"] is False and "does not count" in own.json()["note"]
    act = api.get("audit").json()["acts"][0]
    assert (act["by"], act["counts"], act["note"]) == (TRAINER, False, own.json()["note"])
    assert api.phase(release) == "awaiting registry approval"
    assert [answer["person"]["username"] for answer in api.gate(FIRST)["answers"]] == [TRAINER]
    (line,) = [line for line in api.history(release) if line["event"] == "ApprovalCounted"]
    assert line["detail"]["counts"] is False and "does not count" in line["detail"]["note"]
    again = api.decide(gate, TRAINER)
    assert (again.status_code, again.json()["counts"]) == (208, False)

    with ThreadPoolExecutor(8) as people:  # one person in eight windows
        codes = sorted(answer.status_code for answer in people.map(lambda _: api.decide(gate, ENGINEER), range(8)))
    assert codes == [200] + [208] * 7
    assert api.events(release).count("RegistryApproved") == 1
    assert api.phase(release) != "awaiting registry approval"


def test_a_batch_answers_each_gate_by_itself(api: Api) -> None:
    """The gates of two circuits and one that nobody was asked for; what may not be taken leaves the others alone."""
    release = f"{FIRST}:1"
    until(lambda: api.phase(release) == "awaiting production approval", "the second gate")
    production, kept, before = api.gate(FIRST), api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    never = f"{NOBODY_TRAINED}:1:registry:1"
    gates = [
        {"approval": production["id"], "digest": production["digest"], "comment": "beats the champion"},
        {"approval": kept["id"], "digest": kept["digest"]},
        {"approval": never, "digest": "0" * 64, "decision": "reject"},
    ]
    body = {"decision": "approve", "comment": "the monday round", "gates": gates}
    named = {"Idempotency-Key": "monday-round"}
    problem(api.call("POST", "approvals/batch", STRANGER, json={**body, "person": ENGINEER}), 400)
    strangers = api.call("POST", "approvals/batch", STRANGER, headers=named, json=body).json()["results"]
    assert [each["status"] for each in strangers] == [403, 403, 404]
    answer = api.call("POST", "approvals/batch", DIRECTOR, headers=named, json=body)
    told = answer.json()
    assert (answer.status_code, told["taken"], told["refused"]) == (207, 1, 2)
    assert told["request"].startswith("monday-round.")
    assert [(each["approval"], each["status"]) for each in told["results"]] == [
        (production["id"], 200),
        (kept["id"], 403),  # the registry's gate asks engineers only
        (never, 404),
    ]
    detail = next(line["detail"] for line in api.history(release) if line["event"] == "ProductionApproved")
    assert (detail["comment"], detail["request"]) == ("beats the champion", told["request"])
    again = api.call("POST", "approvals/batch", DIRECTOR, headers=named, json=body)
    assert again.json()["results"][0]["status"] == 208
    assert api.rows(UNTOUCHED) == before


def test_nobody_overrides_without_the_right_or_where_nothing_blocks(api: Api) -> None:
    gate, before = api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    address, body = f"approvals/{gate['id']}/override", {"digest": gate["digest"], "reason": "it is the best there is"}
    assert "Engineering-Managers" in problem(api.call("POST", address, ENGINEER, json=body), 403)["detail"]
    assert "nothing blocks" in problem(api.call("POST", address, DIRECTOR, json=body), 409)["detail"]
    problem(api.call("POST", address, DIRECTOR, json={**body, "reason": "so"}), 400)
    assert api.rows(UNTOUCHED) == before


@pytest.mark.parametrize(
    ("changed", "field", "allowed"),
    [
        ({"gates": []}, "gates", ""),
        ({"gates": [{}]}, "gates.0.approval", "approval, digest, decision"),
        ({"gates": [{"approval": "x", "digest": "0" * 64}]}, "gates.0.approval", "a text like"),
        ({"gates": [{"approval": f"{THIRD}:1:registry:1", "digest": "0" * 64}] * 2}, "body", ""),
        ({"gates": [{"approval": f"{THIRD}:1:registry:1", "digest": "0" * 64}] * 101}, "gates", ""),
        ({"decision": "keep"}, "decision", "'approve' or 'reject'"),
    ],
    ids=["no gates", "no gate", "no id", "twice", "too many", "no decision"],
)
def test_a_batch_that_is_not_right_decides_nothing(api: Api, changed: dict[str, Any], field: str, allowed: str) -> None:
    gate, before = api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    body = {"decision": "approve", "gates": [{"approval": gate["id"], "digest": gate["digest"]}], **changed}
    content = problem(api.call("POST", "approvals/batch", json=body), 400)
    assert content["field"] == field and allowed in content["allowed"]
    assert api.rows(UNTOUCHED) == before


# ------------------------------------------------------------------------------------------------------ what is ordered


def test_a_circuit_is_held_and_resumed_by_who_operates_it(api: Api) -> None:
    body, named = {"reason": "the intake is rebuilt"}, {"Idempotency-Key": "hold-of-the-intake"}
    problem(api.call("POST", f"circuits/{SECOND}/hold", STRANGER, json=body), 403)
    problem(api.call("POST", "circuits/P999_C001/hold", ENGINEER, json=body), 404)
    assert problem(api.call("POST", f"circuits/{SECOND}/hold", ENGINEER, json={"reason": ""}), 400)["field"] == "reason"
    held = api.call("POST", f"circuits/{SECOND}/hold", ENGINEER, headers=named, json=body)
    assert (held.status_code, held.json()["recorded"][0]["event"]) == (200, "HoldPlaced")
    again = api.call("POST", f"circuits/{SECOND}/hold", ENGINEER, headers=named, json=body)
    assert (again.status_code, again.json()) == (208, held.json())
    resumed = api.call("POST", f"circuits/{SECOND}/resume", ENGINEER, json={"reason": "it is rebuilt"})
    assert resumed.json()["recorded"][0]["phase"] == "lifted"
    (order,) = api.get(f"circuits/{SECOND}/orders").json()["orders"]
    assert (order["why"], order["by"], order["lifted_by"]) == ("the intake is rebuilt", ENGINEER, ENGINEER)
    assert [line["event"] for line in order["history"]] == ["HoldPlaced", "HoldLifted"]


def test_a_circuit_of_the_configuration_is_not_retired(api: Api) -> None:
    before, body = api.rows(UNTOUCHED), {"reason": "the pump was dismantled"}
    problem(api.call("POST", f"circuits/{UNTOUCHED}/retire", STRANGER, json=body), 403)
    refused = problem(api.call("POST", f"circuits/{UNTOUCHED}/retire", ENGINEER, json=body), 409)
    assert "take it out of plants_circuits.yml first" in refused["detail"]
    assert api.rows(UNTOUCHED) == before


def test_the_fleet_is_stopped_and_resumed(api: Api) -> None:
    assert api.get("fleet").json() == {"standstill": "", "stops": [], "continuation": None}
    assert api.call("POST", "fleet/stop", ENGINEER, json={"reason": "storage is moved"}).status_code == 200
    assert api.get("fleet").json()["standstill"] == f"the fleet is stopped by {ENGINEER}: storage is moved"
    assert api.call("POST", "fleet/resume", ENGINEER, json={"reason": "it is moved"}).status_code == 200
    assert api.get("fleet").json()["standstill"] == ""


def script(api: Api, name: str, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """A script as an engineer runs it who is signed in to the app and has its settings."""
    token = api.runtime.services.issuer.issue(ENGINEER)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"PATH": path, "FLEET_URL": api.runtime.url, "FLEET_TOKEN": token, "no_proxy": "*", **changed}
    environment = {**os.environ, **api.runtime.environment, **given}
    command = [str(ROOT / "scripts" / name), *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert token not in done.stdout + done.stderr
    return done


def test_the_rollback_script_says_what_is_possible_and_what_is_not(api: Api) -> None:
    shown = script(api, "rollback_model.sh", UNTOUCHED, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["possible"] == [] and json.loads(shown.stdout)["serving"] is None
    assert (
        script(api, "rollback_model.sh", UNTOUCHED, "--dry-run", FLEET_TOKEN="", FLEET_USER=ENGINEER).stdout
        == shown.stdout
    )
    nobody = script(api, "rollback_model.sh", UNTOUCHED, "--dry-run", FLEET_TOKEN="", FLEET_USER="nobody@plant.example")
    assert nobody.returncode == 2 and "is nobody whom" in nobody.stderr
    refused = script(api, "rollback_model.sh", UNTOUCHED, "--reason", "the forecasts drift off")
    assert refused.returncode == 1 and "nothing can be undone" in refused.stderr
    for wrong in (["P001"], [UNTOUCHED], [UNTOUCHED, "--version", "x"], [UNTOUCHED, "--no-such"]):
        assert script(api, "rollback_model.sh", *wrong).returncode == 2, wrong


def test_the_scripts_of_gates_show_the_evidence_and_take_no_other(api: Api) -> None:
    release = f"{UNTOUCHED}:1"
    shown = script(api, "promote_to_registry.sh", release, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    gate = json.loads(shown.stdout)
    assert gate["would_approve"] == api.gate(UNTOUCHED)["id"] and re.fullmatch("[0-9a-f]{64}", gate["digest"])
    changed = script(api, "promote_to_registry.sh", release, "--digest", "0" * 64)
    assert changed.returncode == 1 and "has changed since you read it" in changed.stderr
    blind = script(api, "promote_to_registry.sh", release)
    assert blind.returncode == 2 and "--dry-run" in blind.stderr
    early = script(api, "deploy_batch_endpoint.sh", UNTOUCHED, "--stage", "production", "--version", "1", "--dry-run")
    assert early.returncode == 0 and json.loads(early.stdout)["would_approve"] is None
    nothing = script(api, "deploy_batch_endpoint.sh", UNTOUCHED, "--stage", "test", "--version", "99")
    assert nothing.returncode == 1 and f"{UNTOUCHED}:99" in nothing.stderr
    for wrong in (["P001", "--stage", "test"], [UNTOUCHED, "--stage", "dev", "--version", "1"]):
        assert script(api, "deploy_batch_endpoint.sh", *wrong).returncode == 2, wrong
    assert api.phase(release) == "awaiting registry approval"


def test_what_was_done_past_the_app_is_kept_and_reported_when_it_is_back(api: Api, tmp_path: Path) -> None:
    asked = ("promote_to_registry.sh", f"{SECOND}:1", "--break-glass", "the app is away", "--record", str(tmp_path))
    assert json.loads(script(api, *asked, "--dry-run").stdout)["dry_run"] is True and not list(tmp_path.iterdir())
    done = script(api, *asked, FLEET_URL="http://127.0.0.1:9")
    assert done.returncode == 3, done.stderr
    (kept,) = tmp_path.glob("*.json")
    assert json.loads(done.stdout)["reported"] is False and f"report {kept}" in done.stderr
    for _ in range(2):
        reported = script(api, "break_glass.py", "report", str(kept))
        assert reported.returncode == 0, reported.stderr
        kept = kept.with_suffix(".reported")
    (action,) = [order for order in api.get(f"circuits/{SECOND}/orders").json()["orders"] if "did" in order]
    assert (action["did"], action["by"], action["why"]) == ("promote", ENGINEER, "the app is away")


def test_the_etl_and_the_smoke_test_are_asked_for_by_script(api: Api) -> None:
    done = script(api, "run_etl.py", "--wait", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["phase"] == "completed"
    well = script(api, "smoke_test.sh")
    assert well.returncode == 0 and json.loads(well.stdout)["health"] == "ready", well.stderr
    away = script(api, "smoke_test.sh", "--wait", "0", FLEET_URL="http://127.0.0.1:9")
    assert away.returncode == 1 and "not ready" in away.stderr


def test_an_environment_is_followed_by_script(api: Api) -> None:
    unknown = script(api, "release_environment.py", "follow", "9.9.9", "--until", "tested")
    assert unknown.returncode == 1 and "9.9.9" in unknown.stderr
    shown = script(api, "release_environment.py", "preview", "1.0.0")
    assert shown.returncode == 0, shown.stderr
    assert script(api, "release_environment.py", "follow", "1", "--until", "tested").returncode == 2


def test_a_build_trains_in_parts_and_publishes_one_artifact(api: Api, tmp_path: Path) -> None:
    """The build pipeline's last stages, on a repository whose merge concerns one circuit."""
    repository = tmp_path / "repository"
    shutil.copytree(api.runtime.environment["CONFIG_FOLDER"], repository / "config")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@plant.example"]
        subprocess.run(["git", *who, *arguments], cwd=repository, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    git("add", ".")
    git("commit", "--message", "the fleet")
    file = repository / "config/plants/P001/C001.yml"
    file.write_text(file.read_text() + "  hyperparameters: {max_iter: 21}\n")
    git("commit", "--all", "--message", "Merged PR 17: more iterations")
    parts, built = tmp_path / "parts", ("--merge", "HEAD", "--repository", str(repository))
    trained = script(api, "train_circuits.py", FIRST, *built, "--out", str(parts / "1"), "--poll-seconds", "0.5")
    assert trained.returncode == 0, trained.stderr
    published = script(api, "publish_build.py", *built, "--parts", str(parts), "--out", str(tmp_path / "artifact"))
    assert published.returncode == 0, published.stderr
    whole = json.loads(Path(published.stdout.strip()).read_text())
    assert (whole["author"], whole["pull_request"]) == ("ann@plant.example", "17")
    assert whole["circuits"][FIRST]["trained"] is True and whole["circuits"][FIRST]["model_version"] == 2
    missing = script(api, "publish_build.py", *built, "--parts", str(tmp_path / "none"), "--out", str(tmp_path / "b"))
    assert missing.returncode == 1 and f"not trained: {FIRST}" in missing.stderr


# ------------------------------------------------------------------------------------------------------------ bad input

GOOD = {"decision": "approve", "digest": "0" * 64}
BODIES: list[tuple[bytes, int, str, str]] = [
    (b"", 400, "body", "decision, digest, comment"),
    (b"{", 400, "body", "decision, digest, comment"),
    (b"null", 400, "body", "decision, digest, comment"),
    (b"[]", 400, "body", "decision, digest, comment"),
    (b'"approve"', 400, "body", "decision, digest, comment"),
    (b"decision=approve", 400, "body", "decision, digest, comment"),
    (b"\xff\xfe{}", 400, "body", "decision, digest, comment"),
    (b'{"decision": "approve", "digest": "\xff"}', 400, "body", "decision, digest, comment"),
    (b"[" * 30_000, 400, "body", "decision, digest, comment"),
    (json.dumps({"decision": "approve"}).encode(), 400, "digest", "decision, digest, comment"),
    (json.dumps({"digest": "0" * 64}).encode(), 400, "decision", "decision, digest, comment"),
    (json.dumps({**GOOD, "decision": "Approve"}).encode(), 400, "decision", "'approve' or 'reject'"),
    (json.dumps({**GOOD, "decision": None}).encode(), 400, "decision", "'approve' or 'reject'"),
    (json.dumps({**GOOD, "digest": "0" * 63}).encode(), 400, "digest", "[0-9a-f]{64}"),
    (json.dumps({**GOOD, "digest": "A" * 64}).encode(), 400, "digest", "[0-9a-f]{64}"),
    (json.dumps({**GOOD, "digest": 7}).encode(), 400, "digest", "string"),
    (json.dumps({**GOOD, "comment": "x" * 1001}).encode(), 400, "comment", "at most 1000"),
    (json.dumps({**GOOD, "comment": ["x"]}).encode(), 400, "comment", "string"),
    (json.dumps({**GOOD, "release": "P001_C001:1"}).encode(), 400, "release", "decision, digest, comment"),
    (b'{"decision": "approve", "comment": "\\ud800", "digest": "' + b"0" * 64 + b'"}', 400, "body", "comment"),
    (json.dumps({**GOOD, "comment": "x" * 70_000}).encode(), 413, "", ""),
    (b"x" * 3_000_000, 413, "", ""),
]


@pytest.mark.parametrize(("body", "status", "field", "allowed"), BODIES, ids=lambda part: repr(part)[:40])
def test_a_body_that_is_not_right_is_named_by_field_and_changes_nothing(
    api: Api, body: bytes, status: int, field: str, allowed: str
) -> None:
    gate, before = api.gate(UNTOUCHED), api.rows(UNTOUCHED)
    for by, expected in ((ENGINEER, status), (None, 401)):
        answer = api.call("POST", f"approvals/{gate['id']}", by, data=body)
        content = problem(answer, expected)
        if by and field:
            assert content["field"] == field and allowed in content["allowed"]
    assert api.rows(UNTOUCHED) == before
    assert not [letter for letter in api.letters() if letter["source"] != "event grid" and "approv" in letter["reason"]]


@pytest.mark.parametrize(
    "identity",
    [
        f"{NOBODY_TRAINED}:1:registry:1",
        "P009_C009:1:registry:1",
        f"{UNTOUCHED}:1:registry:2",
        f"{UNTOUCHED}:2:registry:1",
        f"{UNTOUCHED}:999999999:production:9999",
    ],
)
def test_an_approval_that_nobody_was_ever_asked_for_is_not_found(api: Api, identity: str) -> None:
    circuit = identity.partition(":")[0]
    before = api.rows(circuit)
    assert identity in problem(api.call("POST", f"approvals/{identity}", json=GOOD), 404)["detail"]
    problem(api.get(f"approvals/{identity}"), 404)
    assert api.rows(circuit) == before


ODD = [
    "x",
    "P001-C001",
    "P001_C001:0:registry:1",
    "P001_C001:-1:registry:1",
    "P001_C001:1.5:registry:1",
    "P001_C001:1:staging:1",
    "P001_C001:1:registry:1%20",
    "P001_C001%00:1:registry:1",
    "P001_C001:1:registry:1%0a",
    "..%2F..%2Fetc%2Fpasswd",
    "%2e%2e%2f%2e%2e",
    "P001_C001%2F..:1:registry:1",
    "P001%5CC001:1:registry:1",
    "P001_C001|0",
    "%7E",
    "P001_C001:1:registry:1'%20or%20'1'%20eq%20'1",
    "%D9%A1",
    "P%C3%A9_C001:1:registry:1",
    "%ff%fe",
    "a" * 5000,
    f"{'P' * 40}_C001:1:registry:1",
    f"P001_C001:{'9' * 30}:registry:1",
]


WITH_ID = {
    "approval": [("GET", "approvals/{}"), ("POST", "approvals/{}")],
    "circuit": [("GET", "circuits/{}"), ("GET", "circuits/{}/releases")],
    "release": [("GET", "releases/{}"), ("GET", "releases/{}/history")],
    "letter": [("GET", "dead-letters/{}"), ("POST", "dead-letters/{}/replay")],
}


@pytest.mark.parametrize("field", WITH_ID)
@pytest.mark.parametrize("odd", ODD, ids=lambda text: text[:30])
def test_an_id_that_is_none_is_refused_with_its_form(api: Api, field: str, odd: str) -> None:
    for method, route in WITH_ID[field]:
        answer = api.call(method, route.format(odd), json=GOOD if method == "POST" else None)
        if answer.status_code == 404 and "json" not in answer.headers.get("content-type", ""):
            continue  # the host itself found no path in it
        if answer.status_code in (404, 405):
            assert problem(answer, answer.status_code)["title"] in ("No such route", "Not in this way")
            continue  # its slashes make it another path
        content = problem(answer, 400)
        assert content["field"] == field and content["allowed"].startswith("the form ")
        assert len(answer.content) < 1000


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("circuits/P009_C009", "P009_C009"),
        ("circuits/P009_C009/releases", "P009_C009"),
        (f"releases/{NOBODY_TRAINED}:1", f"{NOBODY_TRAINED}:1"),
        (f"releases/{UNTOUCHED}:7/history", f"{UNTOUCHED}:7"),
        ("dead-letters/8204499910951-0f3a5c7e9b1d", "8204499910951-0f3a5c7e9b1d"),
    ],
)
def test_what_is_not_there_is_not_found_by_name(api: Api, path: str, named: str) -> None:
    assert named in problem(api.get(path), 404)["detail"]


def test_a_configured_circuit_without_releases_has_none(api: Api) -> None:
    assert api.get(f"circuits/{NOBODY_TRAINED}/releases").json() == {"releases": [], "continuation": None}


@pytest.mark.parametrize("listed", ["approvals", "circuits", "releases", "dead-letters"])
@pytest.mark.parametrize("size", ["0", "-1", "201", "1.5", "ten", "1e2", "9" * 5000, "%D9%A1", "1,2", "0x10", "+5"])
def test_a_page_size_that_is_none_is_refused_with_the_limits(api: Api, listed: str, size: str) -> None:
    content = problem(api.get(f"{listed}?size={size}"), 400)
    assert (content["field"], content["allowed"]) == ("size", "a whole number from 1 to 200")


def token(key: str | bytes) -> str:
    return base64.urlsafe_b64encode(key.encode() if isinstance(key, str) else key).decode().rstrip("=")


@pytest.mark.parametrize("listed", ["approvals", "circuits", "releases", "dead-letters"])
@pytest.mark.parametrize(
    "forged",
    [
        "x",
        "..%2F..",
        "%00",
        "%D9%A1",
        token("$other|P001_C001"),
        token("P001_C001|9|"),
        token("meta"),
        token(b"\xff\xfe"),
        token("$circuit|\x00"),
        token("$circuit|" + "x" * 600),
        token("[" * 20_000),
        token('{"PartitionKey": "shard-00", "RowKey": "P001_C001|0"}'),
        "A" * 9000,
    ],
    ids=lambda text: text[:24],
)
def test_a_continuation_that_no_page_gave_is_refused(api: Api, listed: str, forged: str) -> None:
    content = problem(api.get(f"{listed}?continuation={forged}"), 400)
    assert content["field"] == "continuation"


def test_a_continuation_of_another_list_is_refused_and_its_own_goes_on(api: Api) -> None:
    first = api.get("circuits", params={"size": 2}).json()
    rest = api.get("circuits", params={"size": 200, "continuation": first["continuation"]}).json()
    ids = [circuit["id"] for circuit in (*first["circuits"], *rest["circuits"])]
    assert ids == sorted(set(ids)) and {FIRST, SECOND, THIRD} <= set(ids)
    assert rest["continuation"] is None
    for listed in ("approvals", "releases", "dead-letters"):
        problem(api.get(listed, params={"continuation": first["continuation"]}), 400)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "approvals", "GET"),
        ("DELETE", "releases/P001_C001:1", "GET"),
        ("POST", "health", "GET"),
        ("GET", "fleet/stop", "POST"),
        ("PATCH", "approvals/P001_C001:1:registry:1", "GET, POST"),
    ],
)
def test_another_method_is_a_problem_that_says_which_are_right(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.call(method, path, by=None)
    assert method in problem(answer, 405)["detail"]
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["nothing", "circuits/P001_C001/nothing", "releases/P001_C001:1/history/more", ""])
def test_a_route_that_there_is_not_is_a_problem_too(api: Api, path: str) -> None:
    assert "openapi.json" in problem(api.get(path, by=None), 404)["detail"]


def test_a_body_that_is_said_to_be_no_json_is_refused(api: Api) -> None:
    answer = api.call("POST", f"circuits/{UNTOUCHED}/hold", data={"reason": "a form of some other page"})
    assert "application/json" in problem(answer, 415)["detail"]


# ---------------------------------------------------------------------------------------------------------- event grid


def event(kind: str = MODEL_REGISTERED, topic: Any = DEV, content: Any = None, **envelope: Any) -> dict[str, Any]:
    fields = {"ModelName": f"sensor_model_{NOBODY_TRAINED}", "ModelVersion": 1} if content is None else content
    return {
        "id": "1",
        "topic": topic,
        "subject": "s",
        "eventType": kind,
        "eventTime": "2026-01-30T06:00:00Z",
        "data": fields,
        "dataVersion": "1.0",
        "metadataVersion": "1",
        **envelope,
    }


def model(name: Any = f"sensor_model_{NOBODY_TRAINED}", version: Any = 1) -> dict[str, Any]:
    return {"ModelName": name, "ModelVersion": version}


REFUSED: list[tuple[dict[str, Any], str]] = [
    (event(topic="/subscriptions/evil/workspaces/dev"), "topic: "),
    (event(topic=None), "topic: "),
    (event(topic=TOPIC_ID), "topic: "),
    (event(RUN_COMPLETED, STORAGE_ID, {"runId": "job"}), "topic: "),
    (event("Microsoft.MachineLearningServices.DatasetDriftDetected"), "eventType: "),
    (event("SensorForecast.Unheard", TOPIC_ID), "eventType: "),
    (event(content="text"), "data: "),
    (event(content=[1]), "data: "),
    (event(content={}), "data.modelName: "),
    (event(content=model("sensor_model_P009_C009")), "data.modelName: there is no circuit P009_C009"),
    (event(content=model("../../etc/passwd")), "data.modelName: "),
    (event(content=model(f"sensor_model_{'P' * 5000}_C001")), "data.modelName: "),
    *((event(content=model(version=version)), "data.modelVersion: ") for version in ("abc", 0, -1, 1.5, 10**30, None)),
    (event(RUN_COMPLETED, DEV, {"runId": "job"}), "topic: "),
    (event(RUN_COMPLETED, workspace_id(Stage.TEST), {"runId": "../../job"}), "data.runId: "),
    (event(BLOB_CREATED, STORAGE_ID, {"api": "PutBlob"}), "data.url: "),
    (event(ETL_COMPLETED, TOPIC_ID, {"runId": "etl"}, dataVersion="9.0"), "dataVersion: "),
    (event(ETL_COMPLETED, TOPIC_ID, {"runId": "etl", "version": "newest"}), "data.version: "),
]


@pytest.mark.parametrize(("told", "reason"), REFUSED, ids=lambda part: part if isinstance(part, str) else "")
def test_an_event_that_cannot_be_taken_is_kept_as_a_dead_letter_and_nothing_else(
    api: Api, told: dict[str, Any], reason: str
) -> None:
    before = api.rows(NOBODY_TRAINED)
    assert api.tell(told) == 202  # sending it again would not help
    letter = api.letters()[0]
    assert letter["reason"].startswith(reason) and letter["source"] == "event grid" and letter["replayed_at"] is None
    assert len(letter["reason"]) <= 500
    assert letter["body"]["data"] == told["data"]
    assert api.rows(NOBODY_TRAINED) == before


def test_a_cloud_event_is_read_by_its_own_names(api: Api) -> None:
    told = {"specversion": "1.0", "id": "1", "source": DEV, "type": MODEL_REGISTERED, "data": model("elsewhere")}
    assert api.tell(told) == 202
    assert api.letters()[0]["body"]["eventType"] == MODEL_REGISTERED
    assert "elsewhere" in api.letters()[0]["reason"]


def test_what_event_grid_could_not_have_sent_is_refused_at_the_door(api: Api) -> None:
    count = len(api.letters())
    assert api.tell(data=b"{") == 400
    assert api.tell(data=b"\xff\xfe") == 400
    assert api.tell(data=b'["text"]') == 400
    assert api.tell(data=b" " * 3_000_000) == 413
    assert api.tell(event(), function="on_anything") == 404
    assert len(api.letters()) == count


@pytest.mark.parametrize("key", [None, "", "wrong", "host", "functions"])
def test_the_webhook_opens_to_the_system_key_alone(api: Api, key: str | None) -> None:
    headers = {"aeg-event-type": "Notification"}
    if key is not None:
        headers["x-functions-key"] = api.runtime.keys.get(key, key)
    address = f"{api.runtime.url}/runtime/webhooks/eventgrid?functionName=on_model_registered"
    assert requests.post(address, json=[event()], headers=headers, timeout=10).status_code == 401


def test_a_flood_of_large_events_is_kept_in_bounded_size(api: Api) -> None:
    large = event(topic="/subscriptions/evil", content={"padding": "\U0001f6a8" * 20_000, "code": "x"})
    for _ in range(3):
        assert api.tell(large) == 202
    assert all("document" in letter or "cut" in letter for letter in api.letters()[:3])
    assert all(len(body) < 32 * 1024 for body in api.rows().values())
    middling = event(topic="/subscriptions/evil", content={"padding": "x" * 40_000})
    api.tell(middling)
    listed = api.letters()[0]
    assert listed["body"] is None
    assert api.get(f"dead-letters/{listed['id']}").json()["body"]["data"] == middling["data"]


def test_one_bad_event_among_others_does_not_stop_them(api: Api) -> None:
    circuit = "P003_C002"
    good = event(content=model(f"sensor_model_{circuit}"))
    assert api.tell(event(content=model("elsewhere")), good, event(topic=None)) == 202
    assert api.phase(f"{circuit}:1") == "registered"
    assert api.tell(good, good) == 202
    assert api.events(f"{circuit}:1").count("ModelRegistered") == 1


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="REFERENCE_DIR holds no Event Grid samples")
@pytest.mark.parametrize(("circuit", "spelling"), [("P003_C003", "as published"), ("P003_C004", "as the schema says")])
def test_azuremls_registration_is_taken_in_both_published_spellings_from_the_topic_itself(
    api: Api, circuit: str, spelling: str
) -> None:
    sample = json.loads(next(SAMPLES.rglob("model_registered.json")).read_text())
    content = {**sample["data"], "ModelName": f"sensor_model_{circuit}"}
    if spelling == "as the schema says":
        content = {name[0].lower() + name[1:]: value for name, value in content.items()}
        content["modelVersion"] = str(content["modelVersion"])
    grid = api.runtime.services.event_grid
    client = EventGridPublisherClient(grid.endpoint("dev"), AzureKeyCredential(api.runtime.keys["topic"]))
    client.send(EventGridEvent(f"models/sensor_model_{circuit}:20", MODEL_REGISTERED, content, "1.0"))
    until(lambda: api.get(f"releases/{circuit}:20").ok, "the release to begin")
    assert api.history(f"{circuit}:20")[0]["detail"]["version"] == 20


def test_an_upkeep_compacts_the_table_and_spares_what_trainings_read(api: Api) -> None:
    table = api.wired.application.ports.lake.table_uri
    late = (datetime.now(UTC) - timedelta(days=2)).replace(minute=30, second=0, microsecond=0)
    row = f"timestamp,sensor_id,temperature\n{late.isoformat()},SENSOR_P001_C001,20.5\n"
    (api.runtime.landing / "late.csv").write_text(row)
    api.runtime.run_function("run_etl")
    until(lambda: open_version(table, None).version() == 2, "the second run's commit")
    api.runtime.run_function("run_upkeep")
    (ended,) = until(lambda: api.wired.queries.ended("lake", UPKEEP), "the upkeep to end")
    assert (ended["phase"], ended["version"]) == (UpkeepPhase.COMPLETED, 3), ended["reason"]
    assert 1 in UpkeepOrder.read(table, ended["run_id"]).spare, "the version that the circuits' data assets read"
    assert open_version(table, 1).version() == 1
    check = check_log(table)
    assert (check.status, [checkpoint.version for checkpoint in check.checkpoints]) == ("whole", [3])


def test_a_poisoned_message_that_is_no_command_is_kept(api: Api) -> None:
    settings = api.wired.settings
    with QueueClient.from_connection_string(settings.storage, f"{settings.work_queue}-poison") as queue:
        queue.send_message(base64.b64encode(b"\xff\xfe no command").decode())
    letter = until(lambda: next((each for each in api.letters() if each["source"] == "work"), None), "the dead letter")
    assert letter["body"]["work"].endswith(" no command") and "not a work message" in letter["reason"]
    content = problem(api.call("POST", f"dead-letters/{letter['id']}/replay"), 409)
    assert content["field"] == "work"


def test_no_dead_letter_shows_a_key_of_ours(api: Api) -> None:
    shown = json.dumps(api.letters())
    assert shown.count("reason") > 10
    assert not [name for name, key in api.runtime.keys.items() if key in shown]
    assert "AccountKey" not in shown


def test_only_an_operator_replays(api: Api) -> None:
    api.tell(event(content=model("elsewhere")))
    letter = api.letters()[0]
    for person in (STRANGER, DIRECTOR):
        assert "ML-Engineers" in problem(api.call("POST", f"dead-letters/{letter['id']}/replay", person), 403)["detail"]
    content = problem(api.call("POST", f"dead-letters/{letter['id']}/replay"), 409)
    assert content["field"] == "data.modelName"
    assert api.letters()[0] == letter
    problem(api.call("POST", "dead-letters/8204499910951-0f3a5c7e9b1d/replay"), 404)


# ------------------------------------------------------------------------------------------------ a host that is killed


ONCE = (
    "ModelRegistered",
    "RegistryApproved",
    "ModelPromoted",
    "DeployedToTest",
    "TestInferenceValidated",
    "ProductionApproved",
    "DeployedToProduction",
)
"""What may happen to a release once only, however often somebody tells of it or begins again; in this order."""


def test_a_host_killed_in_mid_job_goes_on_where_it_was_with_what_was_mended_meanwhile(api: Api) -> None:
    """The release of one circuit is in its test job; a dead letter of an unconfigured circuit waits for its mending."""
    release = f"{THIRD}:1"
    unknown = "P004_C001"
    api.tell(event(content=model(f"sensor_model_{unknown}")))
    letter = api.letters()[0]
    assert unknown in letter["reason"]

    slow = FaultSwitches(api.runtime.platform_url, api.runtime.keys["platform"])
    slow.switch_on(FaultKind.JOB_SLOW, work=Work.SCORING, circuit=THIRD, seconds=4)
    assert api.decide(api.gate(THIRD), ENGINEER).status_code == 200
    until(lambda: (api.get(f"releases/{release}").json()["operation"] or {}).get("output_uri"), "the test job to run")
    job = api.get(f"releases/{release}").json()["operation"]["reference"]
    api.runtime.kill_host()
    with pytest.raises(requests.ConnectionError):
        api.get("health", by=None)
    _configure(api.runtime.config, unknown)
    api.runtime.start_host()

    until(lambda: api.phase(release) == "awaiting production approval", "the release to go on")
    assert api.get(f"releases/{release}").json()["test"]["job"] == job  # the very job, not a second one
    assert api.decide(api.gate(THIRD), TRAINER).json()["recorded"][0]["event"] == "ApprovalCounted"
    assert api.decide(api.gate(THIRD), DIRECTOR).status_code == 200
    until(lambda: api.phase(release) in ("observing", "live"), "production to serve it")
    assert [event for event in api.events(release) if event in ONCE] == list(ONCE)

    answer = api.call("POST", f"dead-letters/{letter['id']}/replay")
    assert (answer.status_code, answer.json()["result"]) == (200, "applied")
    assert api.phase(f"{unknown}:1") == "registered"
    marked = next(each for each in api.letters() if each["id"] == letter["id"])
    assert marked["replayed_by"] == ENGINEER and re.match(r"20\d\d-", marked["replayed_at"])
    again = api.call("POST", f"dead-letters/{letter['id']}/replay")
    assert (again.status_code, again.json()["result"]) == (208, "applied")
    assert api.events(f"{unknown}:1").count("ModelRegistered") == 1


def _configure(config: Path, circuit: str) -> None:
    """Write a circuit's configuration after the example of another, as a pull request would."""
    plant, name = circuit.split("_")
    master = yaml.safe_load((config / "plants_circuits.yml").read_text())
    master["plants"][plant] = {"name": f"Plant {plant}", "circuits": {name: {"name": "New"}}}
    (config / "plants_circuits.yml").write_text(yaml.safe_dump(master))
    own = yaml.safe_load((config / "plants" / "P001" / "C001.yml").read_text())
    own |= {"plant_id": plant, "circuit_id": name}
    own["training"]["data_filters"]["sensor_id"] = f"SENSOR_{circuit}"
    (config / "plants" / plant).mkdir(exist_ok=True)
    (config / "plants" / plant / f"{name}.yml").write_text(yaml.safe_dump(own))
