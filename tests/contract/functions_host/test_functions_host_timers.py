"""Timers: one run at a time, a run after downtime, status in the host's storage, one instance of several."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime

import pytest
from azure.storage.blob import BlobServiceClient

from local.functions_host.host import HostOptions
from tests.contract.functions_host.running_host import RunningHost, StartHost

EVERY_SECOND = {"TICK_SCHEDULE": "* * * * * *"}
HALF_PAST_NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def at(moment: datetime) -> HostOptions:
    """A host whose clock stands still."""
    return HostOptions(clock=lambda: moment, grace_seconds=5)


def status_of(host: RunningHost, function: str) -> dict[str, str] | None:
    service = BlobServiceClient.from_connection_string(host.connection)
    path = f"timers/{host.host.host_id}/Host.Functions.{function}/status"
    blob = service.get_blob_client("azure-webjobs-hosts", path)
    try:
        status: dict[str, str] | None = json.loads(blob.download_blob().readall()) if blob.exists() else None
    except ValueError:
        return None
    return status


def wait_for_status(host: RunningHost, function: str, **wanted: str) -> dict[str, str]:
    deadline = time.monotonic() + 10
    while True:
        status = status_of(host, function)
        if status is not None and all(status[name] == value for name, value in wanted.items()):
            return status
        assert time.monotonic() < deadline, f"the status is {status}, not {wanted}"
        time.sleep(0.05)


def test_a_timer_runs_on_its_schedule(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host({**settings, **EVERY_SECOND})
    moments = [note["at"] for note in host.wait_for("tick", 3)]
    assert all(moment % 1 < 0.5 for moment in moments)
    assert [round(second - first) for first, second in itertools.pairwise(moments)] == [1, 1]


def test_a_failed_run_does_not_stop_the_schedule(
    start_host: StartHost, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICK_FAILS", "1")
    assert len(start_host({**settings, **EVERY_SECOND}).wait_for("tick", 2)) >= 2


def test_runs_of_one_timer_never_overlap(
    start_host: StartHost, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICK_SECONDS", "1.1")
    host = start_host({**settings, **EVERY_SECOND})
    host.wait_for("tick")
    host.run_by_hand("tick")
    host.wait_for("tick ended", 3)
    lines = [json.loads(line)["name"] for line in host.trace.read_text().splitlines()]
    ticks = [name for name in lines if name.startswith("tick")]
    assert ticks[:6] == ["tick", "tick ended"] * 3


def test_after_downtime_a_timer_runs_once_at_once_and_says_past_due(
    start_host: StartHost, settings: dict[str, str]
) -> None:
    first = start_host(settings, at(HALF_PAST_NOON))
    wait_for_status(first, "hourly", Next="2026-03-01T13:00:00+00:00")
    assert first.notes("hourly") == []
    first.stop()
    second = start_host(settings, at(HALF_PAST_NOON.replace(hour=16)))
    note = second.wait_for("hourly")[0]
    assert note["past_due"] is True
    assert note["status"]["Next"] == "2026-03-01T13:00:00+00:00"
    wait_for_status(second, "hourly", Last="2026-03-01T16:30:00+00:00", Next="2026-03-01T17:00:00+00:00")
    assert len(second.notes("hourly")) == 1
    second.stop()
    third = start_host(settings, at(HALF_PAST_NOON.replace(hour=16, minute=40)))
    third.wait_for("at_startup", 3)
    time.sleep(0.3)
    assert len(third.notes("hourly")) == 1


def test_a_changed_schedule_begins_anew_without_a_past_due_run(start_host: StartHost, settings: dict[str, str]) -> None:
    first = start_host(settings, at(HALF_PAST_NOON))
    wait_for_status(first, "hourly", Next="2026-03-01T13:00:00+00:00")
    first.stop()
    changed = {**settings, "HOURLY_SCHEDULE": "0 15 * * * *"}
    second = start_host(changed, at(HALF_PAST_NOON.replace(hour=16)))
    wait_for_status(second, "hourly", Next="2026-03-01T17:15:00+00:00")
    assert second.notes("hourly") == []


def test_no_status_is_kept_below_one_minute(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host({**settings, **EVERY_SECOND})
    note = host.wait_for("tick", 2)[1]
    assert note["status"] == {}
    assert status_of(host, "tick") is None
    assert status_of(host, "hourly") is not None


def test_run_on_startup_runs_at_once_and_is_not_past_due(start_host: StartHost, settings: dict[str, str]) -> None:
    assert start_host(settings).wait_for("at_startup")[0]["past_due"] is False


def test_an_unreadable_status_is_begun_anew(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host(settings, at(HALF_PAST_NOON))
    wait_for_status(host, "hourly")
    host.stop()
    service = BlobServiceClient.from_connection_string(host.connection)
    path = f"timers/{host.host.host_id}/Host.Functions.hourly/status"
    service.get_blob_client("azure-webjobs-hosts", path).upload_blob(b"{broken", overwrite=True)
    again = start_host(settings, at(HALF_PAST_NOON))
    wait_for_status(again, "hourly", Next="2026-03-01T13:00:00+00:00")


def test_of_two_instances_one_runs_the_timers_and_the_other_takes_over(
    start_host: StartHost, settings: dict[str, str]
) -> None:
    first = start_host({**settings, "WEBSITE_INSTANCE_ID": "one"})
    first.wait_for("at_startup")
    second = start_host({**settings, "WEBSITE_INSTANCE_ID": "two"})
    time.sleep(0.7)
    assert len(second.notes("at_startup")) == 1
    first.stop()
    second.wait_for("at_startup", 2)


def test_the_same_instance_takes_its_timers_back_at_once_after_a_crash(
    start_host: StartHost, settings: dict[str, str]
) -> None:
    first = start_host({**settings, "WEBSITE_INSTANCE_ID": "one"})
    first.wait_for("at_startup")
    # A crashed host leaves its lock held, as the first one does here by going on.
    start_host({**settings, "WEBSITE_INSTANCE_ID": "one"}).wait_for("at_startup", 2, timeout=4)
