"""Messages of proposals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from shared.domain.messages import Command, Consequence, Order, Outcome

# ----------------------------------------------------------------------------------------------------- what is proposed


class Proposed(Consequence):
    """Something is proposed; `analysis` says why, in Markdown."""

    reason: str
    analysis: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.reason, "analysis": self.analysis}

    def shown(self) -> Mapping[str, Any]:
        return {"reason": self.reason}


class MendingProposed(Proposed):
    """The readings are bad: a model trained on them would be no better. What is to be mended is said."""


class RetrainingProposed(Proposed):
    """A model that learns from newer readings may do better: its cutoff date is to be moved."""


class RetrainingBegun(RetrainingProposed):
    """As the policy says, the change is opened without asking first."""


class RollbackProposed(Proposed):
    """The model does worse than the one before it did: the circuit is to go back."""


class RollbackTaken(RollbackProposed):
    """As the policy says, the circuit goes back without asking first."""


class ProposalOvertaken(Consequence):
    """What was proposed for is over, or something else is proposed now."""

    why: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.why}


# ------------------------------------------------------------------------------------------------------ what people say


class ProposalOrder(Order):
    """A person's answer to a proposal."""

    proposal: str

    def onto(self) -> Mapping[str, Any]:
        return {"answered_by": self.person.username, "comment": self.reason}


class ProposalAccepted(ProposalOrder):
    """A person wants what is proposed; what that is decides what follows."""


class MendingAccepted(ProposalAccepted):
    """A person has what is broken mended."""


class RetrainingAccepted(ProposalAccepted):
    """A person wants the change opened."""


class RollbackAccepted(ProposalAccepted):
    """A person wants the circuit back on the model before."""


class ProposalDeclined(ProposalOrder):
    """A person does not want what is proposed."""


# ---------------------------------------------------------------------------------------------------- what came of them


class ChangeOpened(Outcome):
    """The change lies in the configuration's repository, and people are asked to merge it."""

    reference: str
    at: str

    def onto(self) -> Mapping[str, Any]:
        return {"change": self.reference, "change_at": self.at}


class ChangeStillOpen(Outcome):
    """Nobody has merged or abandoned the change yet; `looks` counts the looks so far."""

    looks: int

    @property
    def identity(self) -> str:
        return f"{self.item}.{self.step}.change.{self.looks}"


class ChangeMerged(Outcome):
    """The change was merged: the build trains the circuit."""


class ChangeAbandoned(Outcome):
    """The change was given up, or is gone."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": "the change was given up where it lay"}


# ------------------------------------------------------------------------------------------------------------ commands


class OpenChange(Command):
    """Open the change that moves the circuit's cutoff date."""

    cutoff: date
    analysis: str


class LookAtChange(Command):
    """See what people made of the change."""

    change: str
    looks: int

    @property
    def id(self) -> str:
        return f"{super().id}.{self.looks}"
