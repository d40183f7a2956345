"""The ledger on a runtime of its own: a day published, asked about, and scored once more by the script people run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from tests.e2e.conftest import DIRECTOR, ENGINEER, ROOT, Api, until

CIRCUIT = "P001_C001"
RELEASE = f"{CIRCUIT}:1"


def test_a_day_is_published_asked_about_and_scored_again_by_the_script(api: Api) -> None:
    serve(api)
    (day,) = api.get(f"circuits/{CIRCUIT}/ledger").json()["days"]
    (run,) = day["runs"]
    assert day["state"] in ("done", "late") and run["pair"]["model"] == 1
    days = api.get("ledger/days", params={"from": day["day"], "to": day["day"]}).json()
    assert days["total"]["success_rate"] == 1 and days["days"][0]["not_done"] == {}

    said = script(api, "--day", day["day"], "--circuit", CIRCUIT, "--comment", "a rehearsal", "--wait", "3")
    assert said["circuits"] == {CIRCUIT: "published"} and said["refused"] == {}
    (again,) = api.get("ledger", params={"from": day["day"], "to": day["day"]}).json()["entries"]
    assert [kept["phase"] for kept in again["runs"]] == ["scored", "scored"]
    assert (again["published_run"], again["runs"][1]["asked_by"]) == (f"{run['run']}.2", ENGINEER)
    assert len({kept["attempt_uri"] for kept in again["runs"]}) == 2
    assert all(api.runtime.home.joinpath(kept["attempt_uri"]).exists() for kept in again["runs"])

    filled = script(api, "--day", day["day"], "--wait", "1")
    assert (filled["not_done"], filled["success_rate"]) == ({}, 1)
    made = api.get(f"circuits/{CIRCUIT}/forecasts", params={"model": 1}).json()["forecasts"]
    assert [forecast["stands"] for forecast in made] == [False, True]


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


def serve(api: Api) -> None:
    """Take the circuit's first release to where it has proved itself; nothing, when it has."""
    for phase, by in (("awaiting registry approval", ENGINEER), ("awaiting production approval", DIRECTOR)):
        until(lambda phase=phase: api.phase(RELEASE) in (phase, "live"), f"{RELEASE} to be {phase}")  # type: ignore[misc]
        if api.phase(RELEASE) == phase:
            assert api.decide(api.gate(CIRCUIT), by).ok
    until(lambda: api.phase(RELEASE) == "live", f"{RELEASE} to be live")


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
