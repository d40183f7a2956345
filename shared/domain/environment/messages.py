"""Messages of environment releases: what the fleet's root hears and commands, and what each circuit is told."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any

from shared.domain.messages import Command, Consequence, Event, Order, Outcome

# ---------------------------------------------------------------------------------------------- the release: facts


class EnvironmentRegistered(Event):
    """A version of the environment appeared in the dev workspace; its tags are read there. `asked_by` told of it."""

    version: str
    asked_by: str = ""

    @property
    def identity(self) -> str:
        return f"registered:{self.version}"


class OlderEnvironmentRegistered(EnvironmentRegistered):
    """A version arrived after a newer one was already known."""

    successor: str

    def onto(self) -> Mapping[str, Any]:
        return {"successor": self.successor, "reason": f"a newer version, {self.successor}, was already known"}


class EnvironmentRegisteredWhileOwned(EnvironmentRegistered):
    """A version arrived while another one's waves go through the fleet: it waits for their end."""

    owner: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"waits for {self.owner}"}


class FleetFreed(Consequence):
    """The environment release whose waves went through the fleet has come to an end."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": ""}


class FleetTaken(Consequence):
    """The waves of a newer environment begin: the fleet no longer goes back from this one as a whole."""

    successor: str

    def onto(self) -> Mapping[str, Any]:
        return {"successor": self.successor, "reason": f"followed by {self.successor}"}


class HaltOrdered(Order):
    """A person wants no further wave to begin; what is under way ends."""

    version: str


class WavesResumed(Order):
    """A person wants the waves to go on; failures so far are accepted."""

    version: str


class EnvironmentRollbackOrdered(Order):
    """A person wants every circuit back on the environment it had before."""

    version: str


# ------------------------------------------------------------------------------------------- the release: outcomes


class EnvironmentMissing(Outcome):
    """The dev workspace does not have the version yet; `looks` counts the looks so far."""

    looks: int

    @property
    def identity(self) -> str:
        return f"{self.item}.{self.step}.missing.{self.looks}"


class EnvironmentNeverCame(EnvironmentMissing):
    """The grace period passed and the dev workspace still does not have the version."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"the dev workspace never had {self.item}"}


class EnvironmentDescribed(Outcome):
    """The version's tags say that models which are there can be scored with it.

    `served`: the environments that circuits serve with; `candidates`: releases of models that are under way.
    """

    tags: Mapping[str, str]
    served: tuple[str, ...] = ()
    candidates: int = 0

    def onto(self) -> Mapping[str, Any]:
        return {"tags": dict(self.tags), "trainer": self.tags.get("pr_author", "")}


class FirstEnvironmentDescribed(EnvironmentDescribed):
    """Nothing serves and nothing is on its way: nobody need be asked, and each model brings the environment with it."""

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": "nothing serves yet: it comes with the models that were trained with it"}


class EnvironmentBreaks(EnvironmentDescribed):
    """Models that are there cannot be scored with the version: it comes with models that were trained with it."""

    why: str

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": self.why}


class EnvironmentPreviewed(Outcome):
    """Which deployments the release would touch is written down; `touched` and `left` count them."""

    preview_uri: str
    touched: int
    left: int

    def onto(self) -> Mapping[str, Any]:
        return {"preview": {"uri": self.preview_uri, "touched": self.touched, "left": self.left}}


class FleetTold(Consequence):
    """Every circuit that an order concerns was told."""

    cursor: str
    more: bool
    canaries: tuple[str, ...]

    def onto(self) -> Mapping[str, Any]:
        return {"cursor": self.cursor, "more": self.more, "canaries": self.canaries}


class UpdatesCounted(Outcome):
    """Where the fleet stands: circuits by the phase of their update, how many the step still waits for.

    `troubled` names the circuits whose update failed, broke or was undone (the first 50).
    """

    counts: Mapping[str, int]
    pending: int
    troubled: tuple[str, ...]
    looks: int

    @property
    def identity(self) -> str:
        return f"{self.item}.{self.step}.counted.{self.looks}"

    def onto(self) -> Mapping[str, Any]:
        return {"counts": dict(self.counts), "troubled": self.troubled}


class UpdatesGoOn(UpdatesCounted):
    """The step still waits for circuits, or for its time."""


class EveryPairTested(UpdatesCounted):
    """Each live model was tested with the environment, and no more of them failed than the policy allows."""


class NothingToUpdate(UpdatesCounted):
    """No live model can take the environment, or all have it already."""


class TooManyTestsFailed(UpdatesCounted):
    """More tests failed than the policy allows."""

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": f"tests failed: {', '.join(self.troubled)}"}


class FreezeEnded(UpdatesCounted):
    """What kept an approved environment from production is over: its canaries may begin."""


class WaveEnded(UpdatesCounted):
    """Each circuit of the wave has the environment or was left, and there are more circuits."""


class LastWaveEnded(UpdatesCounted):
    """Each circuit of the fleet has the environment or was left."""


class BudgetExceeded(UpdatesCounted):
    """More updates failed than the policy allows."""

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": f"updates failed: {', '.join(self.troubled)}"}


class FleetObserved(UpdatesCounted):
    """The fleet has served with the environment as long as the policy asks."""


class EveryUpdateUndone(UpdatesCounted):
    """No circuit serves with the environment any more because of this release."""


# -------------------------------------------------------------------------------------------------- orders to the fleet


class FleetOrdered(Consequence):
    """Circuits are to be told something, a slice at a time."""


class CircuitsTold(Outcome):
    """One slice of an order: at most 50 commands, one a circuit; `cursor` is the last circuit told."""

    commands: tuple[Mapping[str, Any], ...]
    cursor: str
    more: bool

    @property
    def identity(self) -> str:
        return f"{self.command_id}:told"

    def onto(self) -> Mapping[str, Any]:
        return {"cursor": self.cursor, "more": self.more}

    def shown(self) -> Mapping[str, Any]:
        return {"circuits": len(self.commands), "cursor": self.cursor, "more": self.more}


class LastCircuitsTold(CircuitsTold):
    """The last slice of an order."""


# --------------------------------------------------------------------------------------------------- what circuits hear


class ToldOfEnvironment(Event, ABC):
    """An order about one environment reached the circuit."""

    version: str
    order: str

    @property
    def identity(self) -> str:
        return self.order


class EnvironmentOffered(ToldOfEnvironment):
    """The circuit's model is to be tested with the environment, and the circuit's test deployment is free."""

    def onto(self) -> Mapping[str, Any]:
        return {"order": self.order, "waved": False, "reason": ""}


class EnvironmentOfferedAgain(EnvironmentOffered):
    """The release goes on, and what the circuit was told of it before still stands."""

    def onto(self) -> Mapping[str, Any]:
        return {"order": self.order}


class EnvironmentOfferedTested(EnvironmentOffered):
    """The release goes on, and the pair that it had tested is what would be deployed now."""


class EnvironmentOfferedWhileOwned(EnvironmentOffered):
    """The circuit's model is to be tested with the environment, once the test deployment is free."""


class EnvironmentOfferedInVain(EnvironmentOffered):
    """The circuit has nothing that could be tested with the environment now."""

    why: str

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": self.why}


class WaveReached(ToldOfEnvironment):
    """The circuit's turn: its pair is tested and production is free.

    `verify`: the next wave waits until the circuit has scored with it.
    """

    verify: bool = False

    def onto(self) -> Mapping[str, Any]:
        return {"waved": True, "verify": self.verify, "reason": ""}


class WaveReachedWhileOwned(WaveReached):
    """The circuit's turn while something else owns production."""


class WaveReachedUntested(WaveReached):
    """The circuit's turn, and the model that serves was not tested with the environment: it is tested first."""


class WaveReachedUntestedWhileOwned(WaveReached):
    """The circuit's turn, its pair is untested, and something else owns the test deployment."""


class WaveReachedInTest(WaveReached):
    """The circuit's turn while its pair is being tested."""


class WaveReachedInVain(WaveReached):
    """The circuit's turn, and it is left as it is: on hold, frozen, nothing serves, or has the environment already."""

    why: str

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": self.why}


class EnvironmentUndone(ToldOfEnvironment):
    """The circuit is to go back from the environment: everybody's, or its own predictions were refused."""

    why: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.why}


class EnvironmentUndoneAlready(EnvironmentUndone):
    """The circuit is to go back, and does not serve with the environment any more."""


class EnvironmentConcluded(ToldOfEnvironment):
    """The environment's release has ended; the circuit keeps what it has."""


class UpdateObserved(Consequence):
    """The circuit scored usably with the environment."""

    def onto(self) -> Mapping[str, Any]:
        return {"proved": True}


class CircuitWentBack(Consequence):
    """The circuit's rollback ended: it serves without the environment, or nothing."""

    serves: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"serves {self.serves}"}


class CircuitStuck(Consequence):
    """The circuit's rollback broke."""

    why: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.why}


# ------------------------------------------------------------------------------------------------------------ commands


class DescribeEnvironment(Command):
    """Read the version's tags from the dev workspace."""

    version: str
    looks: int

    @property
    def id(self) -> str:
        return f"{super().id}.{self.looks}"


class PreviewEnvironment(Command):
    """Write down which deployments the release would touch, and which it would leave and why."""

    version: str


class CountUpdates(Command):
    """Count the fleet's updates and say what the release still waits for."""

    version: str
    phase: str
    cursor: str
    canaries: tuple[str, ...]
    order: str
    looks: int

    @property
    def id(self) -> str:
        return f"{super().id}.{self.looks}"


class TellFleet(Command):
    """Read the next slice of the circuits that an order concerns."""

    purpose: str
    version: str
    cursor: str
    remaining: int | None
    canaries: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{super().id}.{self.cursor or 'first'}"


class TellCircuit(Command):
    """Tell one circuit of an order."""

    purpose: str
    version: str
    order: str

    @property
    def id(self) -> str:
        return f"{self.item}.told.{self.order}"


class LookForEnvironments(Command):
    """Look whether the dev workspace has a version that nobody told of."""

    source: str

    @property
    def id(self) -> str:
        return f"environments.{self.source}"
