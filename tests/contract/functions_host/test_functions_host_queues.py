"""Queue triggers: leases, dequeue counts, the poison queue, batches, and messages nobody can read."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError

from local.functions_host.host import HostOptions
from tests.contract.functions_host.running_host import RunningHost, StartHost


def prepared(start_host: StartHost, settings: dict[str, str], **options: Any) -> RunningHost:
    host = start_host(settings, HostOptions(grace_seconds=5, **options))
    host.queue().create_queue()
    return host


def wait_until_empty(host: RunningHost, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while host.queue().get_queue_properties().approximate_message_count:
        assert time.monotonic() < deadline, "the queue was not emptied"
        time.sleep(0.05)


def poisoned(host: RunningHost, count: int = 1, timeout: float = 10) -> list[str]:
    deadline = time.monotonic() + timeout
    found: list[str] = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} poisoned messages, not {count}"
        try:
            found += [message.content for message in host.queue("-poison", plain=True).receive_messages()]
        except Exception as error:  # the poison queue is made with its first message
            if getattr(error, "error_code", "") != "QueueNotFound":
                raise
        time.sleep(0.05)
    return found


def test_a_message_arrives_decoded_with_its_history_and_is_deleted(
    start_host: StartHost, settings: dict[str, str]
) -> None:
    host = prepared(start_host, settings)
    sent = host.queue().send_message("grüße")
    note = host.wait_for("work")[0]
    assert (note["body"], note["id"], note["count"]) == ("grüße", sent.id, 1)
    assert note["inserted"].startswith(f"{sent.inserted_on:%Y-%m-%d %H:%M:%S}")
    wait_until_empty(host)


def test_a_failed_message_comes_again_and_may_then_succeed(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, settings)
    host.queue().send_message("fail once")
    assert [note["count"] for note in host.wait_for("work", 2)] == [1, 2]
    wait_until_empty(host)


def test_a_message_that_keeps_failing_is_copied_to_the_poison_queue(
    start_host: StartHost, settings: dict[str, str]
) -> None:
    host = prepared(start_host, settings)
    host.queue().send_message("fail")
    assert [base64.b64decode(text) for text in poisoned(host)] == [b"fail"]
    assert [note["count"] for note in host.notes("work")] == [1, 2, 3]
    wait_until_empty(host)


def test_a_poison_queue_has_no_poison_queue_of_its_own(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, {**settings, "WORK_QUEUE": settings["WORK_QUEUE"] + "-poison"})
    host.queue(plain=True).send_message("this is not base64!")
    host.queue().send_message("fail")
    assert [note["count"] for note in host.wait_for("work", 5)][:5] == [1, 2, 3, 4, 5]  # beyond maxDequeueCount
    with pytest.raises(ResourceNotFoundError):
        host.queue("-poison").get_queue_properties()


def test_the_visibility_timeout_delays_the_next_try(start_host: StartHost, settings: dict[str, str]) -> None:
    name = "AzureFunctionsJobHost__extensions__queues__visibilityTimeout"
    host = prepared(start_host, {**settings, name: "00:00:02"})
    host.queue().send_message("fail once")
    first, second = host.wait_for("work", 2)
    assert second["at"] - first["at"] >= 1.5


def test_an_undecodable_message_goes_to_poison_and_blocks_nothing(
    start_host: StartHost, settings: dict[str, str]
) -> None:
    host = prepared(start_host, settings)
    host.queue(plain=True).send_message("this is not base64!")
    host.queue().send_message("readable")
    assert poisoned(host) == ["this is not base64!"]
    assert [note["body"] for note in host.wait_for("work")] == ["readable"]


def test_plain_messages_are_read_when_host_json_says_so(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, {**settings, "AzureFunctionsJobHost__extensions__queues__messageEncoding": "none"})
    host.queue(plain=True).send_message("plain words")
    assert host.wait_for("work")[0]["body"] == "plain words"


def test_a_lease_is_renewed_while_the_function_runs(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, {**settings, "AzureFunctionsJobHost__functionTimeout": "-1"}, queue_lease_seconds=2)
    host.queue().send_message("sleep 3.2")
    host.wait_for("work ended", timeout=12)
    wait_until_empty(host)
    assert len(host.notes("work")) == 1


def test_a_run_beyond_the_timeout_counts_as_failed(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, {**settings, "AzureFunctionsJobHost__functionTimeout": "00:00:01"})
    host.queue().send_message("sleep 1.6")
    assert [note["count"] for note in host.wait_for("work", 2)] == [1, 2]


def test_no_more_messages_run_at_once_than_the_settings_allow(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host(settings, HostOptions(listen=False))
    host.queue().create_queue()
    for _ in range(14):
        host.queue().send_message("sleep 0.8")
    host = start_host(settings)
    host.wait_for("work ended", 14, timeout=40)
    changes = [(note["at"], 1) for note in host.notes("work")] + [(note["at"], -1) for note in host.notes("work ended")]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    assert 1 < most <= 6  # batchSize 4, newBatchThreshold 2; how near it comes is the machine's affair


def test_a_queue_that_is_made_later_is_found(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host(settings)
    time.sleep(0.3)
    host.queue().create_queue()
    host.queue().send_message("late")
    assert host.wait_for("work")[0]["body"] == "late"


def test_stopping_finishes_and_settles_what_runs(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, settings)
    host.queue().send_message("sleep 1")
    host.wait_for("work")
    host.queue().send_message("for the next start", visibility_timeout=1)
    host.server.stop()
    assert len(host.notes("work ended")) == 1
    assert [message.content for message in _left(host)] == [base64.b64encode(b"for the next start").decode()]


def test_stopping_strands_no_message(start_host: StartHost, settings: dict[str, str]) -> None:
    host = prepared(start_host, settings)
    for number in range(60):
        host.queue().send_message(str(number))
    host.server.stop()
    done = {note["body"] for note in host.notes("work ended")}
    visible = host.queue(plain=True).receive_messages(messages_per_page=32)
    left = {base64.b64decode(message.content).decode() for message in visible}
    assert done | left == {str(number) for number in range(60)}
    assert not done & left


def _left(host: RunningHost) -> list[Any]:
    time.sleep(1)
    return list(host.queue(plain=True).receive_messages(visibility_timeout=1))


@pytest.mark.parametrize("idle_seconds", [1.0])
def test_polling_an_idle_queue_backs_off_and_stays_within_the_interval(
    start_host: StartHost, settings: dict[str, str], idle_seconds: float
) -> None:
    host = prepared(start_host, settings)
    time.sleep(idle_seconds)
    sent_at = time.time()
    host.queue().send_message("after a pause")
    assert host.wait_for("work")[0]["at"] - sent_at < 0.2 + 0.3  # maxPollingInterval, and room for a busy machine
