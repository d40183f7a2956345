"""Starting outside work once: the intent is written first, and what a crash left behind is looked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.adapters.azure.starts import CLAIM, Starts
from shared.adapters.local.state_store import MemoryStateStore
from shared.errors import Permanent, Transient
from tests.simulated import VirtualClock

REQUEST = {"work": "deployment", "circuit": "P001_C001"}


class Crash(BaseException):
    """The process ends here."""


class Platform:
    """Work that was started elsewhere, and how a start of it ends."""

    def __init__(self) -> None:
        self.clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.starts = Starts(MemoryStateStore(), self.clock)
        self.started: list[str] = []
        self.looked = 0
        self.ends: BaseException | None = None
        self.visible = True

    def once(self, command: str = "c1", request: dict[str, str] = REQUEST) -> str:
        return self.starts.once(command, request, self._find, self._start)

    def _find(self) -> str | None:
        self.looked += 1
        return self.started[-1] if self.started and self.visible else None

    def _start(self) -> str:
        self.started.append(f"operation:{len(self.started) + 1}")
        if self.ends:
            raise self.ends
        return self.started[-1]


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_the_second_caller_is_given_the_reference_of_the_first(platform: Platform) -> None:
    assert platform.once() == platform.once() == "operation:1"
    assert platform.looked == 0


def test_a_lost_answer_is_looked_for_before_anything_is_started_again(platform: Platform) -> None:
    platform.ends = Transient("500")
    with pytest.raises(Transient):
        platform.once()
    platform.ends = None
    assert (platform.once(), platform.started) == ("operation:1", ["operation:1"])


def test_what_was_refused_is_started_again(platform: Platform) -> None:
    platform.ends, platform.visible = Transient("429"), False
    with pytest.raises(Transient):
        platform.once()
    platform.ends = None
    assert (platform.once(), platform.looked) == ("operation:2", 1)


def test_after_a_crash_the_next_caller_waits_for_the_claim_to_end_and_finds_the_work(platform: Platform) -> None:
    platform.ends = Crash()
    with pytest.raises(Crash):
        platform.once()
    platform.ends = None
    with pytest.raises(Transient, match="another caller"):
        platform.once()
    platform.clock.advance_to(platform.clock.now() + CLAIM)
    assert (platform.once(), platform.started) == ("operation:1", ["operation:1"])


def test_an_id_stands_for_one_request(platform: Platform) -> None:
    platform.once()
    with pytest.raises(Permanent, match="c1 stands for"):
        platform.once(request={**REQUEST, "circuit": "P001_C002"})
