"""The ledger on a runtime of its own: a day published, asked about, and scored once more by the script people run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from tests.e2e.conftest import DIRECTOR, ENGINEER, ROOT, STRANGER, Api, until

CIRCUIT = "P001_C001"
RELEASE = f"{CIRCUIT}:1"


def test_a_day_is_published_asked_about_and_scored_again_by_the_script(api: Api) -> None:
    serve(api)
    (day,) = api.get(f"circuits/{CIRCUIT}/ledger").json()["days"]
    (run,) = day["runs"]
    assert day["state"] in ("done", "filled afterwards") and run["pair"]["model"] == 1
    days = api.get("ledger/days", params={"from": day["day"], "to": day["day"]}).json()
    assert days["total"]["expected"] == 0, "nothing served yet at its origin"
    assert days["total"]["states"][day["state"]] == 1 and days["days"][0]["not_done"] == {}

    said = script(api, "--day", day["day"], "--circuit", CIRCUIT, "--comment", "a rehearsal", "--wait", "3")
    assert said["circuits"] == {CIRCUIT: "published"} and said["refused"] == {}
    (again,) = api.get("ledger", params={"from": day["day"], "to": day["day"]}).json()["entries"]
    assert [kept["phase"] for kept in again["runs"]] == ["scored", "scored"]
    assert (again["published_run"], again["runs"][1]["asked_by"]) == (f"{run['run']}.2", ENGINEER)
    assert len({kept["attempt_uri"] for kept in again["runs"]}) == 2
    assert all(api.runtime.home.joinpath(kept["attempt_uri"]).exists() for kept in again["runs"])

    filled = script(api, "--day", day["day"], "--wait", "1")
    assert (filled["not_done"], filled["expected"]) == ({}, 0)
    made = api.get(f"circuits/{CIRCUIT}/forecasts", params={"model": 1}).json()["forecasts"]
    assert [forecast["stands"] for forecast in made] == [False, True]


def test_the_commit_that_a_model_learned_from_says_what_it_brought_and_how_good_that_was(api: Api) -> None:
    tags = api.get(f"releases/{RELEASE}").json()["tags"]
    path = f"lake/commits/{tags['delta_version']}"
    commit = api.get(path, params={"table": tags["table_id"], "size": 2}).json()
    assert (commit["table_id"], commit["reported"], commit["touched"]) == (tags["table_id"], True, 3)
    assert commit["files_added"] > 0 and commit["rows_inserted"] >= sum(one["rows"] for one in commit["circuits"]) > 0
    rest = api.get(path, params={"continuation": commit["continuation"]}).json()
    circuits = [*commit["circuits"], *rest["circuits"]]
    assert [one["circuit"] for one in circuits] == ["P001_C001", "P001_C002", "P002_C001"]
    assert {one["quality"] for one in circuits} == {"passed"}
    assert api.get(path, params={"table": "another"}).status_code == 404
    assert "no version 9999" in api.get("lake/commits/9999").json()["detail"]


def test_questions_about_a_circuit_are_answered_over_http(api: Api) -> None:
    serve(api)
    told = api.get(f"circuits/{CIRCUIT}/explain").json()
    assert told["state"][0].startswith("model 1 with environment") and told["under_way"] == []
    then = api.get(f"circuits/{CIRCUIT}/as-of", params={"date": f"{datetime.now(UTC):%Y-%m-%d}"}).json()
    assert then["served_by"] == RELEASE
    assert [answer["person"] for answer in then["release"]["answers"]] == [ENGINEER, DIRECTOR]
    assert api.get(f"circuits/{CIRCUIT}/as-of", params={"date": "2020-01-01"}).status_code == 404
    assert api.get("ledger", params={"from": "tomorrow"}).json()["field"] == "from"
    refused = api.call("POST", f"circuits/{CIRCUIT}/scorings", json={"day": "2099-01-01"})
    assert refused.status_code == 400 and "its forecast origin has not come" in refused.json()["detail"]


def test_both_checks_are_asked_for_by_the_scripts_people_run_and_shown_with_their_pages(api: Api) -> None:
    serve(api)
    drift = check(api, "check_data_drift.sh", "--circuit", CIRCUIT, "--comment", "a rehearsal")
    (verdict,) = drift["verdicts"]
    assert drift["phase"] == "completed" and drift["counts"] == {verdict["verdict"]: 1}
    assert verdict["circuit"] == CIRCUIT and (verdict["verdict"] != "cannot say" or verdict["reason"])
    assert api.get(f"monitoring/runs/{drift['run']}").json()["asked_by"] == ENGINEER

    performance = check(api, "check_model_performance.sh", "--all")
    assert sum(performance["counts"].values()) == len(api.wired.application.directory.circuits())
    unserved = next(found for found in performance["verdicts"] if found["circuit"] == "P002_C001")
    assert (unserved["verdict"], unserved["model"]) == ("cannot say", None) and unserved["reason"]

    shown = api.get(f"circuits/{CIRCUIT}/monitoring").json()
    assert [kept["check"] for kept in shown["drift"]] == [f"{CIRCUIT}!{drift['run']}"]
    assert [kept["check"] for kept in shown["performance"]] == [f"{CIRCUIT}!{performance['run']}"]
    listed = api.get("monitoring/runs", params={"monitoring": "drift", "size": 1}).json()
    assert [run["id"] for run in listed["runs"]] == [drift["run"]] and listed["continuation"] is None
    for page in (f"monitoring/runs/{drift['run']}/report", f"circuits/{CIRCUIT}/checks/{drift['run']}/report"):
        answer = api.get(page)
        assert answer.ok and answer.headers["content-type"] == "text/html; charset=utf-8" and "<html" in answer.text
        assert "sandbox; default-src 'none'" in answer.headers["content-security-policy"]
        assert api.get(page, by=None).status_code == 401
    pages = api.get(f"monitoring/runs/{performance['run']}/verdicts", params={"size": 5}).json()
    rest = api.get(
        f"monitoring/runs/{performance['run']}/verdicts", params={"size": 200, "continuation": pages["continuation"]}
    ).json()
    assert [*pages["verdicts"], *rest["verdicts"]] == performance["verdicts"] and rest["continuation"] is None


def test_a_check_that_cannot_be_made_is_refused_with_the_reason(api: Api) -> None:
    def asked(body: dict[str, Any], by: str = ENGINEER) -> tuple[int, str]:
        answer = api.call("POST", "monitoring/performance", by, json=body)
        return answer.status_code, answer.json()["detail"]

    assert asked({"circuit": "P001_C099"})[0] == asked({"plant": "P099"})[0] == 404
    status, said = asked({"circuit": CIRCUIT, "plant": "P001"})
    assert status == 400 and "name a circuit or a plant, not both" in said
    status, said = asked({"period": "last month"})
    assert status == 400 and "2026-01-31, 2026-W05, 2026-01 and 2026-Q1" in said
    assert asked({"period": "2099-01"}) == (
        409, "2099-01 is not over: ask when its last day, 2099-01-31, has ended (UTC)",
    )  # fmt: skip
    assert asked({}, STRANGER)[0] == 403
    assert api.get("monitoring/runs/drift-2020-01-01").status_code == 404
    assert api.get("monitoring/runs/drift-2020-01-01/report").status_code == 404
    assert api.get("monitoring/runs", params={"monitoring": "weather"}).json()["field"] == "monitoring"


def serve(api: Api) -> None:
    """Take the circuit's first release to where it has proved itself; nothing, when it has."""
    for phase, by in (("awaiting registry approval", ENGINEER), ("awaiting production approval", DIRECTOR)):
        until(lambda phase=phase: api.phase(RELEASE) in (phase, "live"), f"{RELEASE} to be {phase}")  # type: ignore[misc]
        if api.phase(RELEASE) == phase:
            assert api.decide(api.gate(CIRCUIT), by).ok
    until(lambda: api.phase(RELEASE) == "live", f"{RELEASE} to be live")


def check(api: Api, name: str, *arguments: str) -> dict[str, Any]:
    """What a check script says; its exit code says what was found, and that it was found."""
    token = api.runtime.services.issuer.issue(ENGINEER)
    environment = {**os.environ, "FLEET_URL": api.runtime.url, "FLEET_TOKEN": token}
    command = [str(ROOT / "monitoring" / name), *arguments, "--wait", "200"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode in (0, 3, 4), answer.stderr + answer.stdout
    found: dict[str, Any] = json.loads(answer.stdout)
    bad, unsaid = ({"warning", "critical", "drifted"} & set(found["counts"])), "cannot say" in found["counts"]
    assert answer.returncode == (3 if bad else 4 if unsaid else 0)
    return found


def script(api: Api, *arguments: str) -> dict[str, Any]:
    """What the script says, asked by an engineer."""
    token = api.runtime.services.issuer.issue(ENGINEER)
    answer = subprocess.run(
        [sys.executable, "scripts/invoke_all_batch_endpoints.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "FLEET_URL": api.runtime.url, "FLEET_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr + answer.stdout
    found: dict[str, Any] = json.loads(answer.stdout)
    return found
