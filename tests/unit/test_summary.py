"""The demonstration's summary: counted from histories, deliveries and files, whatever the script believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.event_grid import Delivery, DeliveryState
from local.summary import every, most_at_once, most_delivered, newest_verdicts, published, recovered_job, summarise
from shared.domain import messages as m
from shared.subscriptions import MODEL_REGISTERED, RUN_COMPLETED, RUN_STATUS_CHANGED
from tests.builders import DIRECTOR, ENGINEER, circuits
from tests.simulated import NOT_TOLD, TEST_INFERENCE, UNUSABLE
from tests.world import Fleet, World

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)


def delivery(subject: str, kind: str = MODEL_REGISTERED, state: DeliveryState = DeliveryState.DELIVERED) -> Delivery:
    return Delivery(
        number=1,
        topic="dev",
        subscription="s",
        event_id="1",
        event_type=kind,
        subject=subject,
        body="{}",
        received=0.0,
        state=state,
        attempts=1,
        due=0.0,
        changed=0.0,
        status=202,
        outcome="Accepted",
    )


def spans(*minutes: tuple[float, float]) -> list[tuple[str, str]]:
    return [
        ((NOON + timedelta(minutes=start)).isoformat(), (NOON + timedelta(minutes=end)).isoformat())
        for start, end in minutes
    ]


@pytest.mark.parametrize(
    ("minutes", "most"),
    [
        ([], 0),
        ([(0, 10)], 1),
        ([(0, 10), (10, 20), (20, 30)], 1),  # one after the other
        ([(0, 10), (9, 11), (10, 20)], 2),
        ([(0, 30), (5, 25), (10, 20), (40, 50)], 3),
        ([(10, 20), (0, 30), (5, 25)], 3),
    ],
)
def test_most_at_once_is_read_from_starts_and_ends(minutes: list[tuple[float, float]], most: int) -> None:
    assert most_at_once(spans(*minutes)) == most


def test_what_never_started_or_ended_does_not_run() -> None:
    (span,) = spans((0, 10))
    assert most_at_once([span, (None, None), (span[0], None)]) == 1


def test_the_registration_told_most_often_is_counted_by_its_deliveries_and_its_lines() -> None:
    often, once = "models/sensor_model_P001_C001:1", "models/sensor_model_P001_C002:1"
    lost = delivery(once, state=DeliveryState.DEAD_LETTERED)
    told = [delivery(once), *[delivery(often)] * 4, lost, lost, lost, lost, delivery(often, RUN_COMPLETED)]
    histories = {
        "P001_C001:1": [{"event": "ModelRegistered"}, {"event": "ModelDescribed"}],
        "P001_C002:1": [{"event": "ModelRegistered"}],
    }
    assert most_delivered(told, histories) == {"release": "P001_C001:1", "delivered": 4, "effects": 1}
    twice = {"P001_C001:1": [{"event": "ModelRegistered"}, {"event": "ModelRegisteredAgain"}]}
    assert most_delivered(told, twice)["effects"] == 2  # it would show
    assert most_delivered([], histories) == {"release": "", "delivered": 0, "effects": 0}


def found_by(who: str, job: str) -> dict[str, Any]:
    return {"event": "TestInferenceValidated", "detail": {"noticed_by": who, "job": job}}


@pytest.mark.parametrize("kind", [RUN_COMPLETED, RUN_STATUS_CHANGED])
def test_a_job_is_recovered_if_a_timer_found_its_end_and_no_event_told_of_it(kind: str) -> None:
    histories = {
        "A:1": [{"event": "ModelRegistered", "detail": {}}, found_by("event", "job-1")],
        "B:1": [{"event": "DeployedToTest", "detail": {"noticed_by": "reconciler"}}, found_by("reconciler", "job-2")],
        "C:1": [found_by("reconciler", "job-3")],
    }
    told_later = delivery("experiments/e/runs/job-2", kind)
    lost = delivery("experiments/e/runs/job-3", kind, DeliveryState.LOST)
    assert recovered_job([], histories) == ("B:1", "job-2")
    assert recovered_job([told_later, lost], histories) == ("C:1", "job-3")
    assert recovered_job([told_later, delivery("experiments/e/runs/job-3", kind)], histories) == ("", "")


def test_only_files_that_are_there_and_that_a_scoring_run_published_are_predictions(tmp_path: Path) -> None:
    there, elsewhere = tmp_path / "b" / "1.parquet", tmp_path / "a.parquet"
    for file in (there, elsewhere):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    runs = [{"published_uri": str(uri)} for uri in (there, tmp_path / "missing.parquet", "")]
    assert published(runs, tmp_path) == ["b/1.parquet"]
    assert published(runs, tmp_path / "c") == ["../b/1.parquet"]


def test_the_newest_verdict_of_each_circuit_counts_with_its_first_problem() -> None:
    def check(circuit: str, minutes: int, phase: str, *problems: str) -> dict[str, Any]:
        at = (NOON + timedelta(minutes=minutes)).isoformat()
        return {"circuit": circuit, "created_at": at, "phase": phase, "problems": list(problems)}

    checks = [check("A", 5, "failed", "nulls", "range"), check("A", 1, "passed"), check("B", 2, "passed")]
    assert newest_verdicts(checks) == {"A": "failed: nulls", "B": "passed"}


def test_a_whole_story_is_told_by_the_state_alone(tmp_path: Path) -> None:
    """Five circuits: one goes live, one is found by the reconciler, one unusable, one rejected, one superseded."""
    names = circuits(5)
    live, recovered, unusable, rejected, superseded = names
    world = World(Fleet(names=names))
    world.go_live(circuit=live)
    world.fate(TEST_INFERENCE, NOT_TOLD)
    world.bring_to_ready_for_production(circuit=recovered)
    world.fate(TEST_INFERENCE, UNUSABLE)
    for circuit, version in ((unusable, 1), (rejected, 1), (superseded, 1), (superseded, 2)):
        world.register(circuit, version)
    world.run(minutes=5)
    world.approve(f"{unusable}:1")
    world.answer(f"{rejected}:1", ENGINEER, "reject")
    world.run(minutes=30)
    world.approve(f"{recovered}:1", DIRECTOR)
    world.run(minutes=30)
    for circuit, run in ((live, "aaaaaaa"), (recovered, "bbbbbbb")):
        world.app.advance(m.TrainingRequested(root=circuit, commit=run, author="tess", pull_request="1"))

    summary = summarise(world.queries, [delivery(f"models/sensor_model_{live}:1")], tmp_path)
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["circuits"], summary["releases"]) == (5, 6)
    assert (summary["live"], summary["rejected"]) == ([f"{live}:1"], [f"{rejected}:1"])
    assert (summary["failed"], summary["superseded"]) == ([f"{unusable}:1"], [f"{superseded}:1"])
    assert set(summary["reasons"]) == {f"{unusable}:1", f"{rejected}:1", f"{superseded}:1"}
    assert summary["duplicate_event"] == {"release": f"{live}:1", "delivered": 1, "effects": 1}
    assert summary["recovered_release"] == f"{recovered}:1"
    assert summary["recovered_job"] in world.operations.started
    assert summary["quality"][live] == "passed"
    assert summary["max_parallel_training"] == 0  # none has ended
    assert summary["predictions"] == []  # in memory, no files


def test_every_entry_of_a_list_is_read_page_by_page() -> None:
    world = World(Fleet(names=circuits(7)))
    world.commit()
    world.run(minutes=5)
    queries = world.queries

    def in_pages_of_two(size: int, continuation: str | None) -> Any:
        return queries.circuits(2, continuation)

    assert [circuit["id"] for circuit in every(in_pages_of_two)] == list(circuits(7))
