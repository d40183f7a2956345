"""Lines that several transition tables have alike: a gate that people answer, and work that was started outside."""

from __future__ import annotations

from collections.abc import Iterable

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.machine import Alarm, Then

Lines = dict[tuple[str | None, type[m.Event]], Then]


def gate_lines(
    phases: Iterable[str], raises: Alarm, *, rejected: str, expired: str, cancelled: str, errored: str
) -> Lines:
    """An open gate in each of the phases: what leaves it open, and each way not to be approved with its end.

    An answer that is used up asks again; a gate that ends is withdrawn where it was asked. What an approval leads to is
    the table's own.
    """
    found: Lines = {}
    withdraw = (m.WithdrawApproval,)
    for phase in phases:
        found |= {
            (phase, m.ApprovalRequested): Then(phase),
            (phase, m.ApprovalCounted): Then(phase),
            (phase, m.GateAgeing): Then(phase, raises=warning(Cause.APPROVAL_AGEING)),
            (phase, m.GateNearlyExpired): Then(phase, raises=critical(Cause.APPROVAL_AGEING)),
            (phase, m.AnswerDeferred): Then(phase),
            (phase, m.AnswerUsedUp): Then(phase, (m.WithdrawApproval, m.RequestApproval)),
            (phase, m.ApprovalRejected): Then(rejected, withdraw),
            (phase, m.GateTimedOut): Then(expired, withdraw),
            (phase, m.DeadlinePassed): Then(expired, withdraw),
            (phase, m.GateCancelled): Then(cancelled, withdraw),
            (phase, m.GateSkipped): Then(errored, withdraw, raises=raises),
            (phase, m.CommandPoisoned): Then(errored, withdraw, raises=raises),
        }
    return found


def operation_lines(phases: Iterable[str], raises: Alarm, errored: str) -> Lines:
    """Work under way in each of the phases: it is looked at until it has ended, and machinery may break."""
    found: Lines = {}
    for phase in phases:
        found |= {
            (phase, m.OperationStarted): Then(phase, later=(m.LookAtOperation,)),
            (phase, m.StillRunning): Then(phase, later=(m.LookAtOperation,)),
            (phase, m.OperationFailed): Then(errored, raises=raises),
            (phase, m.CommandPoisoned): Then(errored, (m.CancelOperation,), raises=raises),
            (phase, m.DeadlinePassed): Then(errored, (m.CancelOperation,), raises=raises),
        }
    return found
