"""What raises alerts, and that each of them can be over."""

from __future__ import annotations

import pytest

from shared import records
from shared.domain.alerts.causes import NEWS, Cause, Route, Severity
from shared.domain.machine import Alarm, Kind

LINES = [(kind, before, then) for kind in records.KINDS.values() for (before, _), then in kind.table.items()]
RAISED = {Cause(then.raises.cause) for _, _, then in LINES if then.raises}
CLEARED = {cause for _, _, then in LINES for cause in then.clears}


@pytest.mark.parametrize("cause", sorted(Cause))
def test_every_cause_is_raised_somewhere(cause: Cause) -> None:
    assert cause in RAISED


@pytest.mark.parametrize("cause", sorted(Cause))
def test_every_cause_is_over_some_day(cause: Cause) -> None:
    """What outlives its item is cleared by name; what its item only passes through is over when it moves on."""
    raised_at_ends = any(
        then.raises and then.raises.cause == cause and then.phase in kind.ends for kind, _, then in LINES
    )
    assert cause in CLEARED or cause in NEWS or not raised_at_ends
    assert not (cause in NEWS and cause in CLEARED), "news is over once somebody has read it"


@pytest.mark.parametrize("kind", records.KINDS.values(), ids=lambda kind: kind.name)
def test_tables_name_causes_and_severities_that_there_are(kind: Kind) -> None:
    for then in kind.table.values():
        assert then.raises is None or then.raises == Alarm(Cause(then.raises.cause), Severity(then.raises.severity))
        assert all(Cause(cause) for cause in then.clears)
        assert not (then.raises and then.raises.cause in then.clears), "it is raised or over, not both"


@pytest.mark.parametrize(
    ("plants", "severities", "taken"),
    [
        ((), tuple(Severity), {("P001", "warning"), ("P001", "critical"), ("", "warning"), ("", "critical")}),
        ((), (Severity.CRITICAL,), {("P001", "critical"), ("", "critical")}),
        (("P001", "P002"), tuple(Severity), {("P001", "warning"), ("P001", "critical")}),
        (("P002",), (Severity.WARNING,), set()),
    ],
    ids=["all", "critical", "plants", "another plant"],
)
def test_a_route_takes_what_it_names(
    plants: tuple[str, ...], severities: tuple[Severity, ...], taken: set[tuple[str, str]]
) -> None:
    route = Route(webhook="on-call", plants=plants, severities=severities)
    assert {(p, s) for p in ("P001", "") for s in Severity if route.takes(p, s)} == taken
