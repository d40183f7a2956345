"""Storage operations of an event, and of one release on its way from registered to live, by what asks for them."""

from __future__ import annotations

from shared.domain.machine import Verdict
from shared.domain.release import Phase
from tests.bench.fleet import BenchFleet, Told
from tests.bench.rows import BenchRow, measured, ours_at_most, ratio_at_most

LIMIT = 2
"""One read and one transaction."""
BESIDE = {
    "relay: commands sent": ("relay", "send"),
    "relay: transactions that remove what was sent": ("relay", "transaction"),
    "queue trigger: messages deleted when done": ("queue trigger", "delete"),
    "handlers: items read again before an effect": ("handlers", "range read"),
    "handlers: documents written (evidence, requests)": ("handlers", "document write"),
    "slots: range reads, by who takes one": ("slots", "range read"),
    "slots: reads, by who keeps one": ("slots", "point read"),
    "slots: transactions": ("slots", "transaction"),
    "jobs: rows written for a job's event to find": ("jobs", "transaction"),
    "jobs: rows read by a job's event": ("jobs", "point read"),
    "jobs: looks sent by an event": ("jobs", "send"),
}


def measure(connection_string: str) -> tuple[list[BenchRow], list[Told]]:
    """The rows, and the facts that brought the whole fleet to production, each of which changed something."""
    fleet = BenchFleet(connection_string, "benchrelease")
    fleet.go_live()
    told = list(fleet.app.told)
    circuits = fleet.directory.circuits()
    live = sum(line.after == Phase.LIVE for fact in told for line in fact.advanced.history)
    if live != len(circuits):
        raise RuntimeError(f"{live} of {len(circuits)} releases came to live: nothing can be said about the way there")

    ours = [fact for fact in told if fact.event.root in circuits]
    limit = LIMIT * len(ours) / len(circuits)
    rows = [
        measured(
            "advance: operations of the dearest event",
            max(fact.operations for fact in told),
            LIMIT,
            "one read and one transaction",
            "operations",
            ours_at_most(LIMIT),
        ),
        measured(
            f"advance: a release from registered to live ({len(ours) / len(circuits):g} events)",
            sum(fact.operations for fact in ours) / len(circuits),
            limit,
            "one read and one transaction an event",
            "operations",
            ratio_at_most(1),
        ),
    ]
    for name, (requester, kind) in BESIDE.items():
        count = fleet.operations.of(requester, kind) / len(circuits)
        rows.append(measured(f"beside it, {name}", count, limit, "the limit of advance", "operations a release"))

    for fact in told:
        fleet.app.advance(fact.event)
    again = fleet.app.told[len(told) :]
    if any(fact.advanced.verdict is Verdict.APPLIED for fact in again):
        raise RuntimeError("a fact told again changed something")
    dearest = max(fact.operations for fact in again)
    rows.insert(
        1,
        measured(
            "advance: operations of the dearest event told again",
            dearest,
            LIMIT,
            "one read and one transaction",
            "operations",
            ours_at_most(LIMIT),
        ),
    )
    return rows, [fact for fact in told if fact.advanced.verdict is Verdict.APPLIED]
