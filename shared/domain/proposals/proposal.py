"""A proposal: what a degraded circuit is to get, and what people made of it."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Table, Then
from shared.domain.proposals import messages as p
from shared.domain.values import Pair


class Remedy(StrEnum):
    """What would help: mended readings, a model that learned from newer ones, or the model before."""

    MEND = "mend the readings"
    RETRAIN = "train again"
    ROLL_BACK = "roll back"


class Phase(StrEnum):
    """Where a proposal stands; `opened`: a change lies in the configuration's repository."""

    OFFERED = "offered"
    OPENING = "opening"
    OPENED = "opened"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    OVERTAKEN = "overtaken"
    EXPIRED = "expired"
    ERRORED = "errored"


class Proposal(Item):
    """`model` is the one that degraded, `analysis` says why in Markdown; `cutoff` is the last day (UTC) to train up to,
    `target` the pair to go back to, `change` the change in the configuration's repository and `change_at` where it is.
    """

    circuit: str
    remedy: Remedy
    model: int
    analysis: str
    cutoff: date | None = None
    target: Pair | None = None
    change: str = ""
    change_at: str = ""
    looks: int = 0
    answered_by: str = ""
    comment: str = ""


_BROKE = warning(Cause.PROPOSAL)
TABLE: Table = {
    (None, p.MendingProposed): Then(Phase.OFFERED),
    (None, p.RetrainingProposed): Then(Phase.OFFERED),
    (None, p.RollbackProposed): Then(Phase.OFFERED),
    (None, p.RetrainingBegun): Then(Phase.OPENING, (p.OpenChange,)),
    (None, p.RollbackTaken): Then(Phase.ACCEPTED),
    (Phase.OFFERED, p.MendingAccepted): Then(Phase.ACCEPTED),
    (Phase.OFFERED, p.RetrainingAccepted): Then(Phase.OPENING, (p.OpenChange,)),
    (Phase.OFFERED, p.RollbackAccepted): Then(Phase.ACCEPTED),
    (Phase.OFFERED, p.ProposalDeclined): Then(Phase.DECLINED),
    (Phase.OFFERED, p.ProposalOvertaken): Then(Phase.OVERTAKEN),
    (Phase.OFFERED, m.DeadlinePassed): Then(Phase.EXPIRED),
    # People merge the change or give it up where it lies; nothing else ends it.
    (Phase.OPENING, p.ChangeOpened): Then(Phase.OPENED, later=(p.LookAtChange,)),
    (Phase.OPENING, m.CommandPoisoned): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.OPENING, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.OPENED, p.ChangeStillOpen): Then(Phase.OPENED, later=(p.LookAtChange,)),
    (Phase.OPENED, p.ChangeMerged): Then(Phase.ACCEPTED, clears=(Cause.PROPOSAL,)),
    (Phase.OPENED, p.ChangeAbandoned): Then(Phase.DECLINED),
    (Phase.OPENED, m.CommandPoisoned): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.OPENED, m.DeadlinePassed): Then(Phase.EXPIRED),
}

PROPOSAL = Kind(
    name="proposal",
    letter="C",
    item=Proposal,
    table=TABLE,
    ends=frozenset({Phase.ACCEPTED, Phase.DECLINED, Phase.OVERTAKEN, Phase.EXPIRED, Phase.ERRORED}),
    deadlines={
        Phase.OFFERED: timedelta(days=14),
        Phase.OPENING: timedelta(hours=6),
        Phase.OPENED: timedelta(days=30),
    },
)


def proposal_id(circuit: str, number: int) -> str:
    """`P001_C001!proposal.1`"""
    return f"{circuit}!proposal.{number}"
