"""Rules: what the policy says, as far as a decision about one circuit needs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.alerts.causes import Route, Severity
from shared.domain.discrepancy import OutOfBand
from shared.domain.freeze import FreezeWindow
from shared.domain.period import Every
from shared.domain.persistence import PersistenceRules
from shared.domain.promotion import PromotionRules
from shared.domain.quality import QualityLimits
from shared.domain.values import SCORING_TIME, Channel, Gate, Monitoring, Value

REQUIRED_TAGS = (
    "plant_id",
    "circuit_id",
    "pr_author",
    "cutoff_date",
    "data_asset_version",
    "hyperparameters_hash",
    "git_commit_sha",
    "environment_version",
    "mae",
    "rmse",
    "r2",
    "trained_at",
    # What predictions are held against: without them a test inference could say nothing.
    "forecast_horizon",
    "target_min",
    "target_max",
    "target_sd",
)


Supersede = Literal["latest", "queue"]
"""What a newer version does to an older one that is a candidate: takes its place, or queues behind it."""


LateReadings = Literal["leave", "score again"]
"""What becomes of the newest forecast when readings that it was to be made from come late."""


class Rules(Value):
    """One circuit's rules. A gate's requirement lists, for each approval it asks, the groups that may give it."""

    requirements: Mapping[Gate, tuple[tuple[str, ...], ...]] = {
        Gate.REGISTRY: (("ML-Engineers",),),
        Gate.PRODUCTION: (("ML-Engineers", "Engineering-Managers"),),
    }
    configured: bool = True
    """Whether the configuration has the circuit; one that it has no more takes no new release."""
    approval_channel: Channel = Channel.PRODUCT
    promotion: PromotionRules = PromotionRules()
    origin_hour: int = 0
    supersede: Supersede = "latest"
    verified_scorings: int = 1
    observation_time: timedelta | None = None
    """After so long an observed release is live with fewer verified scorings than `verified_scorings`, but not without
    any."""
    late_after: timedelta = timedelta(hours=9)
    """A forecast published later than this after its origin is late."""
    late_readings: LateReadings = "leave"
    approval_timeout: timedelta = timedelta(hours=24)
    plausible_range_sd: float = 3.0
    tag_grace: timedelta = timedelta(minutes=10)
    # Deployments and copies send no event, so they are looked at soon; a job's event usually comes before the look.
    first_look: timedelta = timedelta(seconds=15)
    first_job_look: timedelta = timedelta(seconds=60)
    longest_look: timedelta = timedelta(minutes=5)
    scoring_time: timedelta = SCORING_TIME
    """How long one scoring job of a deployment may take."""
    scoring_attempts: int = 3
    rollback_attempts: int = 3
    freeze_windows: tuple[FreezeWindow, ...] = ()
    stopped: str = ""
    """By whom and why the whole fleet is stopped; read at most once a minute, and again before a deployment."""
    out_of_band: OutOfBand = "repair"
    rolls_back: bool = True
    """Whether a failed observation is rolled back without asking; people decide where it is not."""
    canary_circuits: int = 2
    wave_circuits: int = 20
    verify_waves: bool = False
    failure_budget: float = 0.1
    """The share of circuits whose update may fail before an environment release is halted."""
    environment_observation: timedelta = timedelta(hours=24)
    retry_after: timedelta = timedelta(minutes=2)
    quality: QualityLimits = QualityLimits()
    error_limits: Mapping[Severity, Mapping[str, float]] = {}
    """What the errors of a month's forecasts may be at most, by metric, before they are a warning, or critical."""
    drift_low: float = 0.05
    """The effect from which on a change of a column is drift."""
    persistence: PersistenceRules = PersistenceRules()
    monitored_every: Mapping[Monitoring, Every] = dict.fromkeys(Monitoring, Every.NEVER)
    readings_settle: timedelta = timedelta(hours=6)
    """How long after a period its last readings may take to arrive: it is not looked at before."""

    alert_repeats: Mapping[Severity, timedelta] = {
        Severity.WARNING: timedelta(days=7),
        Severity.CRITICAL: timedelta(days=1),
    }
    """How often an open alert is told again that nobody looks after."""
    acknowledged_for: timedelta = timedelta(days=7)
    """How long somebody may look after an alert before it is open again."""
    alert_routes: tuple[Route, ...] = ()

    training_failures: int = 5
    """How many trainings of the fleet may fail within 24 hours before people are told."""
    opens_changes: bool = False
    """Whether a change that is proposed is opened at once, for people to merge; else once somebody has accepted it."""
    takes_back_degraded: bool = False
    """Whether a model that does worse than the one before it is rolled back at once; else somebody accepts it."""

    def standstill(self, now: datetime) -> str:
        """Why no release may enter production now, whatever its circuit; nothing when it may."""
        if not self.configured:
            return "the circuit is not in the configuration any more"
        if self.stopped:
            return f"the fleet is {self.stopped}"
        window = next((window for window in self.freeze_windows if window.holds(now)), None)
        return f"frozen ({window.name}, until {window.ends} UTC)" if window else ""

    def observed_until(self, since: datetime) -> datetime:
        """When the observation that begins now is to have ended: its time, or a day for each scoring and one more."""
        return since + (self.observation_time or timedelta(days=self.verified_scorings + 1))

    def origin(self, now: datetime) -> datetime:
        """The newest forecast origin that is not in the future (UTC)."""
        origin = now.replace(hour=self.origin_hour, minute=0, second=0, microsecond=0)
        return origin if origin <= now else origin - timedelta(days=1)
