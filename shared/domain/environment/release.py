"""An environment release: one environment version's way onto the whole fleet; and the orders that carry it there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.environment import messages as e
from shared.domain.lines import gate_lines
from shared.domain.machine import Item, Kind, Table, Then
from shared.domain.operation import Operation
from shared.domain.release import Asked


class Phase(StrEnum):
    """Where an environment release stands. *live* can still be rolled back; *settled* cannot."""

    WAITING = "waiting for the fleet"
    REGISTERED = "registered"
    CLASSIFIED = "classified"
    AWAITING_REGISTRY_APPROVAL = "awaiting registry approval"
    PROMOTING = "promoting environment"
    TESTING_ALL = "testing all"
    AWAITING_PRODUCTION_APPROVAL = "awaiting production approval"
    READY = "ready"
    UPDATING_CANARIES = "updating canaries"
    UPDATING_WAVES = "updating waves"
    HALTED = "halted"
    OBSERVING = "observing"
    LIVE = "live"
    ROLLING_BACK = "rolling back"
    SETTLED = "settled"
    ROLLED_BACK = "rolled back"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    ERRORED = "errored"
    SUPERSEDED = "superseded"


ENDS = frozenset(
    {
        Phase.SETTLED,
        Phase.ROLLED_BACK,
        Phase.REJECTED,
        Phase.EXPIRED,
        Phase.FAILED,
        Phase.ERRORED,
        Phase.SUPERSEDED,
    }
)
AWAITING = (Phase.AWAITING_REGISTRY_APPROVAL, Phase.AWAITING_PRODUCTION_APPROVAL)
BEFORE_WAVES = (
    Phase.WAITING,
    Phase.REGISTERED,
    Phase.CLASSIFIED,
    Phase.AWAITING_REGISTRY_APPROVAL,
    Phase.PROMOTING,
    Phase.TESTING_ALL,
    Phase.AWAITING_PRODUCTION_APPROVAL,
    Phase.READY,
)
WAVES = (Phase.UPDATING_CANARIES, Phase.UPDATING_WAVES)
OWNING = (*WAVES, Phase.HALTED, Phase.OBSERVING, Phase.ROLLING_BACK)
"""While one release is here, another one waits."""
COUNTING = (Phase.TESTING_ALL, Phase.READY, *WAVES, Phase.OBSERVING, Phase.ROLLING_BACK)


class EnvironmentRelease(Asked):
    """One version. `cursor` is the last circuit that a wave told, `more` whether there are others behind it.

    `counts` are circuits by the phase of their update, as last counted; `forgiven` are failures that a person accepted;
    `ended_in` is the phase in which it ended.
    """

    version: str
    tags: Mapping[str, str] = {}
    preview: Mapping[str, Any] = {}
    operation: Operation | None = None
    counts: Mapping[str, int] = {}
    troubled: tuple[str, ...] = ()
    looks: int = 0
    order: str = ""
    orders: int = 0
    cursor: str = ""
    more: bool = True
    canaries: tuple[str, ...] = ()
    forgiven: int = 0
    ended_in: str = ""
    successor: str = ""


_BROKE = warning(Cause.ENVIRONMENT_RELEASE)

TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    # A version appears. Two do not go through the fleet at once: the newer waits, or takes the place of one that waits.
    (None, e.EnvironmentRegistered): Then(Phase.REGISTERED, (e.DescribeEnvironment,)),
    (None, e.EnvironmentRegisteredWhileOwned): Then(Phase.WAITING),
    (None, e.OlderEnvironmentRegistered): Then(Phase.SUPERSEDED),
    (Phase.WAITING, e.FleetFreed): Then(Phase.REGISTERED, (e.DescribeEnvironment,)),
    (Phase.WAITING, m.DeadlinePassed): Then(Phase.EXPIRED, raises=_BROKE),
    # Its tags say whether models that are there can take it, and the preview whom it would touch.
    (Phase.REGISTERED, e.EnvironmentMissing): Then(Phase.REGISTERED, later=(e.DescribeEnvironment,)),
    (Phase.REGISTERED, e.EnvironmentNeverCame): Then(Phase.FAILED, raises=_BROKE),
    (Phase.REGISTERED, e.EnvironmentBreaks): Then(Phase.FAILED, raises=_BROKE),
    (Phase.REGISTERED, e.FirstEnvironmentDescribed): Then(Phase.SETTLED, clears=(Cause.ENVIRONMENT_RELEASE,)),
    (Phase.REGISTERED, e.EnvironmentDescribed): Then(
        Phase.CLASSIFIED, (e.PreviewEnvironment,), clears=(Cause.ENVIRONMENT_RELEASE,)
    ),
    (Phase.CLASSIFIED, e.EnvironmentPreviewed): Then(Phase.AWAITING_REGISTRY_APPROVAL, (m.RequestApproval,)),
    # People decide whether the registry takes it; then every live model is tested with it.
    (Phase.AWAITING_REGISTRY_APPROVAL, m.RegistryApproved): Then(Phase.PROMOTING, (m.PromoteEnvironment,)),
    (Phase.PROMOTING, m.OperationStarted): Then(Phase.PROMOTING, later=(m.LookAtOperation,)),
    (Phase.PROMOTING, m.StillRunning): Then(Phase.PROMOTING, later=(m.LookAtOperation,)),
    (Phase.PROMOTING, m.OperationFailed): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.PROMOTING, m.EnvironmentPromoted): Then(Phase.TESTING_ALL),
    (Phase.TESTING_ALL, e.EveryPairTested): Then(Phase.AWAITING_PRODUCTION_APPROVAL, (m.RequestApproval,)),
    (Phase.TESTING_ALL, e.NothingToUpdate): Then(Phase.LIVE, clears=(Cause.ENVIRONMENT_RELEASE,)),
    (Phase.TESTING_ALL, e.TooManyTestsFailed): Then(Phase.FAILED, raises=_BROKE),
    (Phase.TESTING_ALL, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE),
    # People decide whether production takes it; it goes there in waves, until too many fail.
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.ProductionApproved): Then(Phase.UPDATING_CANARIES),
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.ProductionApprovedWhileHeld): Then(Phase.READY, later=(e.CountUpdates,)),
    (Phase.READY, e.FreezeEnded): Then(Phase.UPDATING_CANARIES),
    (Phase.READY, m.DeadlinePassed): Then(Phase.EXPIRED, raises=_BROKE),
    (Phase.HALTED, e.WavesResumed): Then(Phase.UPDATING_WAVES),
    (Phase.HALTED, m.DeadlinePassed): Then(Phase.HALTED, raises=critical(Cause.ENVIRONMENT_RELEASE)),
    (Phase.OBSERVING, e.FleetObserved): Then(Phase.LIVE, clears=(Cause.ENVIRONMENT_RELEASE,)),
    (Phase.OBSERVING, e.BudgetExceeded): Then(Phase.HALTED, raises=critical(Cause.ENVIRONMENT_RELEASE)),
    (Phase.OBSERVING, m.DeadlinePassed): Then(Phase.HALTED, raises=critical(Cause.ENVIRONMENT_RELEASE)),
    (Phase.LIVE, e.EnvironmentRollbackOrdered): Then(Phase.ROLLING_BACK),
    (Phase.LIVE, e.FleetTaken): Then(Phase.SETTLED),
    (Phase.LIVE, m.DeadlinePassed): Then(Phase.SETTLED),
    (Phase.ROLLING_BACK, e.EveryUpdateUndone): Then(Phase.ROLLED_BACK),
    (Phase.ROLLING_BACK, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE),
}
for _phase in (Phase.REGISTERED, Phase.CLASSIFIED, Phase.PROMOTING):
    TABLE |= {(_phase, m.CommandPoisoned): Then(Phase.ERRORED, raises=_BROKE)}
    TABLE |= {(_phase, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE)}
TABLE |= gate_lines(
    AWAITING,
    _BROKE,
    rejected=Phase.REJECTED,
    expired=Phase.EXPIRED,
    cancelled=Phase.REJECTED,
    errored=Phase.ERRORED,
)
for _phase in WAVES:
    TABLE |= {
        (_phase, e.WaveEnded): Then(Phase.UPDATING_WAVES),
        (_phase, e.LastWaveEnded): Then(Phase.OBSERVING, later=(e.CountUpdates,)),
        (_phase, e.BudgetExceeded): Then(Phase.HALTED, raises=critical(Cause.ENVIRONMENT_RELEASE)),
        (_phase, e.HaltOrdered): Then(Phase.HALTED),
        (_phase, m.DeadlineMoved): Then(_phase, later=(e.CountUpdates,)),
        (_phase, m.DeadlinePassed): Then(Phase.HALTED, raises=critical(Cause.ENVIRONMENT_RELEASE)),
    }
for _phase in (*WAVES, Phase.HALTED, Phase.OBSERVING):
    TABLE[_phase, e.EnvironmentRollbackOrdered] = Then(Phase.ROLLING_BACK)
for _phase in COUNTING:
    TABLE |= {
        (_phase, e.FleetTold): Then(_phase, later=(e.CountUpdates,)),
        (_phase, e.UpdatesGoOn): Then(_phase, later=(e.CountUpdates,)),
        (_phase, m.CommandPoisoned): Then(_phase, later=(e.CountUpdates,), raises=_BROKE),
    }
for _phase in BEFORE_WAVES:
    _undo = (m.WithdrawApproval,) if _phase in AWAITING else ()
    TABLE[_phase, m.SupersededByNewer] = Then(Phase.SUPERSEDED, _undo)

RESTARTS: Mapping[str, tuple[Phase, ...]] = {
    "retry": (Phase.ERRORED,),
    "reopen": (Phase.REJECTED,),
    "ask again": (Phase.EXPIRED,),
}
"""Which ends each order leads out of. What was refused or failed its tests comes as another version."""
for _end in (end for ends in RESTARTS.values() for end in ends):
    TABLE |= {
        (_end, m.RestartedAtRegistration): Then(Phase.REGISTERED, (e.DescribeEnvironment,)),
        (_end, m.RestartedAtRegistryGate): Then(Phase.AWAITING_REGISTRY_APPROVAL, (m.RequestApproval,)),
        (_end, m.RestartedAtPromotion): Then(Phase.PROMOTING, (m.PromoteEnvironment,)),
        (_end, m.RestartedAtTest): Then(Phase.TESTING_ALL),
    }


ENVIRONMENT_RELEASE = Kind(
    name="environment release",
    letter="N",
    item=EnvironmentRelease,
    table=TABLE,
    ends=ENDS,
    deadlines={
        Phase.WAITING: timedelta(days=30),
        Phase.REGISTERED: timedelta(hours=1),
        Phase.CLASSIFIED: timedelta(hours=1),
        Phase.AWAITING_REGISTRY_APPROVAL: timedelta(hours=24),
        Phase.PROMOTING: timedelta(hours=2),
        Phase.TESTING_ALL: timedelta(days=2),
        Phase.AWAITING_PRODUCTION_APPROVAL: timedelta(hours=24),
        Phase.READY: timedelta(days=30),
        Phase.UPDATING_CANARIES: timedelta(hours=12),
        Phase.UPDATING_WAVES: timedelta(hours=12),
        Phase.HALTED: timedelta(days=7),
        Phase.OBSERVING: timedelta(days=14),
        Phase.LIVE: timedelta(days=30),
        Phase.ROLLING_BACK: timedelta(hours=12),
    },
    new_attempts=(m.DeadlinePassed, m.AnswerUsedUp, e.WaveEnded),
)


class OrderPhase(StrEnum):
    """Where an order stands; `overdue` goes on from its cursor, and people know."""

    TELLING = "telling"
    OVERDUE = "overdue"
    TOLD = "told"
    FAILED = "failed"


class Purpose(StrEnum):
    """What circuits are told."""

    OFFER = "offer"
    CANARIES = "canaries"
    WAVE = "wave"
    UNDO = "undo"
    CONCLUDE = "conclude"


class FleetOrder(Item):
    """A cursor over circuits: `remaining` of them are still to be told (None: all there are)."""

    purpose: Purpose
    release: str
    version: str
    cursor: str = ""
    remaining: int | None = None
    more: bool = True
    canaries: tuple[str, ...] = ()


_ORDER_TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, e.FleetOrdered): Then(OrderPhase.TELLING, (e.TellFleet,)),
    (OrderPhase.TELLING, m.DeadlinePassed): Then(OrderPhase.OVERDUE, (e.TellFleet,), raises=warning(Cause.FAN_OUT)),
    (OrderPhase.OVERDUE, m.DeadlinePassed): Then(OrderPhase.FAILED, raises=critical(Cause.FAN_OUT)),
}
for _order_phase in (OrderPhase.TELLING, OrderPhase.OVERDUE):
    _ORDER_TABLE |= {
        (_order_phase, e.CircuitsTold): Then(_order_phase, (e.TellFleet,)),
        (_order_phase, e.LastCircuitsTold): Then(OrderPhase.TOLD, clears=(Cause.FAN_OUT,)),
        (_order_phase, m.CommandPoisoned): Then(_order_phase, raises=critical(Cause.FAN_OUT)),
    }
ORDER_TABLE: Table = _ORDER_TABLE

FLEET_ORDER = Kind(
    name="fleet order",
    letter="O",
    item=FleetOrder,
    table=ORDER_TABLE,
    ends=frozenset({OrderPhase.TOLD, OrderPhase.FAILED}),
    deadlines={OrderPhase.TELLING: timedelta(hours=1), OrderPhase.OVERDUE: timedelta(hours=4)},
    new_attempts=(e.CircuitsTold,),
)
