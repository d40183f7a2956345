"""An environment update: one circuit's part of an environment release."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.environment import messages as e
from shared.domain.lines import operation_lines
from shared.domain.machine import Item, Kind, Then
from shared.domain.operation import Operation
from shared.domain.values import Pair, Value


class Phase(StrEnum):
    """Where an update stands. *left* can still get its turn; *observing* serves, until the release is settled."""

    WAITING_FOR_TEST = "waiting for test"
    DEPLOYING_TO_TEST = "deploying to test"
    TESTING = "testing"
    TESTED = "tested"
    LEFT = "left"
    WAITING_FOR_PRODUCTION = "waiting for production"
    DEPLOYING_TO_PRODUCTION = "deploying to production"
    OBSERVING = "observing"
    ROLLING_BACK = "rolling back"
    DONE = "done"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    ERRORED = "errored"
    CALLED_OFF = "called off"


ENDS = frozenset({Phase.DONE, Phase.ROLLED_BACK, Phase.FAILED, Phase.ERRORED, Phase.CALLED_OFF})
IN_TEST = (Phase.DEPLOYING_TO_TEST, Phase.TESTING)
BEFORE_TURN = (Phase.TESTED, Phase.LEFT, Phase.WAITING_FOR_PRODUCTION)
RESUMABLE = (Phase.CALLED_OFF, Phase.ERRORED)
"""Ends out of which a release that goes on takes an update; what a check refused, or a rollback undid, stays."""
UNDER_WAY = (Phase.WAITING_FOR_TEST, *IN_TEST, Phase.WAITING_FOR_PRODUCTION, Phase.DEPLOYING_TO_PRODUCTION)


class EnvironmentUpdate(Item):
    """`pair` is what is tested and deployed, `previous` what it replaced; `waved`: its turn has come.

    `verify`: the next wave waits until it is `proved`, which a verified scoring makes it.
    """

    circuit: str
    version: str
    order: str
    pair: Pair | None = None
    previous: Pair | None = None
    waved: bool = False
    verify: bool = False
    proved: bool = False
    operation: Operation | None = None
    test: Mapping[str, Any] = {}


class Standing(Value):
    """Where a circuit's newest update stands: kept on the circuit, so that the fleet can be counted by its index."""

    version: str
    phase: str
    order: str = ""
    waved: bool = False
    verify: bool = False
    proved: bool = False
    pair: Pair | None = None
    previous: Pair | None = None
    reason: str = ""


_BROKE = critical(Cause.ENVIRONMENT_UPDATE)
_DEPLOYED = (Cause.ENVIRONMENT_UPDATE, Cause.PRODUCTION_DIFFERS, Cause.ROLLBACK)

TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    # The model that serves is tested with the environment, as the pair that it would be.
    (None, e.EnvironmentOffered): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,), clears=(Cause.ENVIRONMENT_UPDATE,)),
    (None, e.EnvironmentOfferedWhileOwned): Then(Phase.WAITING_FOR_TEST),
    (None, e.EnvironmentOfferedInVain): Then(Phase.LEFT),
    (Phase.WAITING_FOR_TEST, m.TestFreed): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
    (Phase.DEPLOYING_TO_TEST, m.DeployedToTest): Then(Phase.TESTING, (m.StartTestInference,)),
    (Phase.TESTING, m.TestInferenceValidated): Then(Phase.TESTED),
    (Phase.TESTING, m.TestInferenceRefused): Then(Phase.FAILED),
    # Its turn comes, and whatever was so when it was tested is looked at again.
    (None, e.WaveReachedUntested): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
    (None, e.WaveReachedUntestedWhileOwned): Then(Phase.WAITING_FOR_TEST),
    (None, e.WaveReachedInVain): Then(Phase.LEFT),
    (Phase.DEPLOYING_TO_PRODUCTION, m.DeployedToProduction): Then(Phase.OBSERVING, clears=_DEPLOYED),
    (Phase.DEPLOYING_TO_PRODUCTION, m.ProductionWithheld): Then(Phase.LEFT),
    # It serves; it goes back by a rollback of the circuit, which no hold keeps.
    (Phase.OBSERVING, e.UpdateObserved): Then(Phase.OBSERVING),
    (Phase.OBSERVING, e.EnvironmentUndone): Then(Phase.ROLLING_BACK),
    (Phase.OBSERVING, e.EnvironmentUndoneAlready): Then(Phase.ROLLED_BACK),
    (Phase.OBSERVING, e.EnvironmentConcluded): Then(Phase.DONE),
    (Phase.OBSERVING, m.DeadlinePassed): Then(Phase.DONE),
    (Phase.DEPLOYING_TO_PRODUCTION, e.EnvironmentUndone): Then(Phase.ROLLING_BACK, (m.CancelOperation,)),
    (Phase.ROLLING_BACK, e.CircuitWentBack): Then(Phase.ROLLED_BACK),
    (Phase.ROLLING_BACK, e.CircuitStuck): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.ROLLING_BACK, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE),
}
for _phase in BEFORE_TURN:
    TABLE |= {
        (_phase, e.WaveReached): Then(Phase.DEPLOYING_TO_PRODUCTION, (m.DeployToProduction,)),
        (_phase, e.WaveReachedWhileOwned): Then(Phase.WAITING_FOR_PRODUCTION),
        (_phase, e.WaveReachedUntested): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
        (_phase, e.WaveReachedUntestedWhileOwned): Then(Phase.WAITING_FOR_TEST),
        (_phase, e.WaveReachedInVain): Then(Phase.LEFT),
    }
for _phase in (Phase.WAITING_FOR_TEST, *IN_TEST):
    TABLE[_phase, e.WaveReachedInTest] = Then(_phase)
# The release went on after it had ended: it takes what it called off, or what broke, where it was.
for _phase in RESUMABLE:
    TABLE |= {
        (_phase, e.EnvironmentOffered): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
        (_phase, e.EnvironmentOfferedWhileOwned): Then(Phase.WAITING_FOR_TEST),
        (_phase, e.EnvironmentOfferedTested): Then(Phase.TESTED),
        (_phase, e.EnvironmentOfferedInVain): Then(Phase.LEFT),
    }
for _phase in (Phase.WAITING_FOR_TEST, *IN_TEST, *BEFORE_TURN):
    TABLE[_phase, e.EnvironmentOfferedAgain] = Then(_phase)
TABLE |= operation_lines((*IN_TEST, Phase.DEPLOYING_TO_PRODUCTION), _BROKE, Phase.ERRORED)
for _phase in (Phase.WAITING_FOR_TEST, *BEFORE_TURN):
    TABLE |= {
        (_phase, e.EnvironmentConcluded): Then(Phase.CALLED_OFF),
        (_phase, e.EnvironmentUndone): Then(Phase.CALLED_OFF),
        (_phase, m.DeadlinePassed): Then(Phase.CALLED_OFF, raises=warning(Cause.ENVIRONMENT_UPDATE)),
    }
for _phase in IN_TEST:
    _undo = (m.CancelOperation,) if _phase is Phase.TESTING else ()  # a deployment under way finishes by itself
    TABLE |= {
        (_phase, e.EnvironmentConcluded): Then(Phase.CALLED_OFF, _undo),
        (_phase, e.EnvironmentUndone): Then(Phase.CALLED_OFF, _undo),
    }

UPDATE = Kind(
    name="environment update",
    letter="V",
    item=EnvironmentUpdate,
    table=TABLE,
    ends=ENDS,
    deadlines={
        Phase.WAITING_FOR_TEST: timedelta(days=1),
        Phase.DEPLOYING_TO_TEST: timedelta(hours=2),
        Phase.TESTING: timedelta(hours=12),
        Phase.TESTED: timedelta(days=30),
        Phase.LEFT: timedelta(days=30),
        Phase.WAITING_FOR_PRODUCTION: timedelta(days=3),
        Phase.DEPLOYING_TO_PRODUCTION: timedelta(hours=2),
        Phase.OBSERVING: timedelta(days=60),
        Phase.ROLLING_BACK: timedelta(hours=8),
    },
)


def update_id(circuit: str, version: str) -> str:
    """`P001_C001!environment.1.1.0`"""
    return f"{circuit}!environment.{version}"
