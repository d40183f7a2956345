"""Counting the fleet: where each circuit's update stands, and how many circuits a step still waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shared.domain import update as u
from shared.domain.environment.release import WAVES, Phase, Purpose
from shared.domain.update import Standing

NAMED = 50
"""Troubled circuits that a count names; all of them are in the circuits' list."""

_BROKEN = (u.Phase.FAILED, u.Phase.ERRORED, u.Phase.ROLLING_BACK, u.Phase.ROLLED_BACK)
_OPEN = {*u.UNDER_WAY, *u.BEFORE_TURN, u.Phase.OBSERVING, u.Phase.ROLLING_BACK}


def count(
    standings: Mapping[str, Standing | None], phase: str, cursor: str, canaries: Sequence[str], order: str
) -> tuple[dict[str, int], int, tuple[str, ...]]:
    """Circuits by phase, how many are waited for, and which are in trouble.

    `standings` has every circuit of the fleet (None: it has not heard of this environment); `order` is the newest.
    """
    counts = Counter(standing.phase for standing in standings.values() if standing)
    if phase == Phase.TESTING_ALL:
        waited_for = [circuit for circuit, standing in standings.items() if _in_test(standing, order)]
    else:
        waited_for = [
            circuit
            for circuit, standing in standings.items()
            if _waited_for(circuit, standing, phase, cursor, canaries)
        ]
    troubled = [circuit for circuit, standing in standings.items() if standing and standing.phase in _BROKEN]
    return dict(sorted(counts.items())), len(waited_for), tuple(troubled[:NAMED])


def _in_test(standing: Standing | None, order: str) -> bool:
    """Whether the circuit's pair is tested, or the circuit has not been told that it is to be."""
    if standing is None or standing.phase in (u.Phase.WAITING_FOR_TEST, *u.IN_TEST):
        return True
    return standing.phase in u.RESUMABLE and standing.order != order


def _waited_for(circuit: str, standing: Standing | None, phase: str, cursor: str, canaries: Sequence[str]) -> bool:
    if phase == Phase.ROLLING_BACK:
        return standing is not None and standing.phase in _OPEN
    if circuit > cursor and circuit not in canaries:  # its turn has not come
        return False
    if phase in WAVES and standing and standing.phase in (u.Phase.WAITING_FOR_TEST, u.Phase.WAITING_FOR_PRODUCTION):
        return False  # it goes on when its owner lets go of it; the others are not held up
    if phase in WAVES and standing and standing.verify and standing.phase == u.Phase.OBSERVING and not standing.proved:
        return phase == Phase.UPDATING_CANARIES or circuit not in canaries  # accepted with the waves that go on
    told = standing is not None and (standing.waved or standing.phase in u.ENDS)
    return not told or (standing is not None and standing.phase in (*u.UNDER_WAY, u.Phase.TESTED))


def reached(standings: Mapping[str, Standing | None], purpose: str, cursor: str, canaries: Sequence[str]) -> list[str]:
    """The circuits that an order concerns and that come after its cursor, in order."""
    behind = [circuit for circuit in sorted(standings) if circuit > cursor]
    if purpose == Purpose.WAVE:
        return [circuit for circuit in behind if circuit not in canaries]
    if purpose == Purpose.OFFER:
        return behind
    known = [(circuit, standing) for circuit in behind if (standing := standings[circuit])]
    if purpose == Purpose.CANARIES:
        return [circuit for circuit, standing in known if standing.phase == u.Phase.TESTED]
    return [circuit for circuit, standing in known if standing.phase not in u.ENDS]
