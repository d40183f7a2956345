"""Proposals: what follows for people when the circuit's model has degraded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.alert import ALERT, Alert
from shared.domain.alerts.causes import Cause
from shared.domain.circuit.draft import Part
from shared.domain.circuit.rollbacks import Rollbacks
from shared.domain.circuit.root import Proved
from shared.domain.drift import Drift
from shared.domain.drift import Standing as DriftStanding
from shared.domain.machine import Item, Line, NotAllowed, NotNow, Then, backoff
from shared.domain.monitoring import messages as mm
from shared.domain.performance import DEGRADATION, Degradation, PerformancePhase
from shared.domain.persistence import Judged
from shared.domain.proposals import messages as p
from shared.domain.proposals.proposal import PROPOSAL, Phase, Proposal, Remedy, proposal_id
from shared.domain.quality import QualityFailed
from shared.domain.rollback import Rollback

FOUND_OUT = (
    mm.PerformanceDegraded,
    mm.PerformanceDegradedCritically,
    mm.DriftFound,
    mm.SharedDriftReached,
    QualityFailed,
)
"""After these a degraded circuit is thought about, and thought about again."""


@dataclass(frozen=True)
class _Diagnosis:
    """What is known of a degraded circuit the moment it is thought about."""

    degradation: Degradation
    quality: Alert | None
    drift: Drift | None
    before: Proved | None
    kept: Judged | None
    """The newest verdict on the model before, if that was within its limits."""
    cutoff: date | None


class Proposals(Part[Proposal]):
    kind = PROPOSAL
    hears = (p.ProposalAccepted, p.ProposalDeclined)

    def _open(self) -> Proposal | None:
        found = (item for item in self.draft.items.values() if isinstance(item, Proposal))
        return next((proposal for proposal in found if proposal.phase not in PROPOSAL.ends), None)

    # ------------------------------------------------------------------------------------------------ what people say

    def classify(self, event: p.ProposalAccepted | p.ProposalDeclined) -> list[Line]:
        proposal = self.draft.items.get(event.proposal)
        if not isinstance(proposal, Proposal):
            raise NotAllowed(f"there is no open proposal {event.proposal}", "closed")
        if proposal.phase != Phase.OFFERED:
            where = f": merge it or give it up there, {proposal.change_at}" if proposal.change_at else ""
            raise NotNow(f"{proposal.id} is {proposal.phase}{where}")
        if isinstance(event, p.ProposalDeclined):
            return [Line(PROPOSAL, event, proposal.id)]
        return [Line(PROPOSAL, self._accepted(proposal)(**event.model_dump()), proposal.id)]

    def _accepted(self, proposal: Proposal) -> type[p.ProposalAccepted]:
        match proposal.remedy:
            case Remedy.MEND:
                return p.MendingAccepted
            case Remedy.RETRAIN:
                return p.RetrainingAccepted
        self._expect_possible(proposal)
        return p.RollbackAccepted

    def _expect_possible(self, proposal: Proposal) -> None:
        owner = self.draft.items.get(self.root.production_owner)
        if isinstance(owner, Rollback):
            raise NotAllowed(f"{owner.id} is under way, from {owner.bad} to {owner.target}", "closed")
        if self.root.desired is None or self.root.desired.model != proposal.model:
            raise NotAllowed(f"{self.root.desired or 'nothing'} is meant to serve, and model {proposal.model} degraded")
        if not any(proved.pair == proposal.target for proved in self.root.proved):
            raise NotAllowed(f"{proposal.target} is no longer one that {self.root.id} may go back to")

    def outcome(self, proposal: Proposal, event: m.Outcome) -> m.Event:
        if isinstance(event, p.ChangeStillOpen) and event.looks != proposal.looks:
            raise NotNow("another look came first")
        return event

    # -------------------------------------------------------------------------------------------- what is proposed when

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(event, FOUND_OUT):
            yield from self._propose()
        if isinstance(item, Degradation) and item.phase in DEGRADATION.ends:
            yield from self._overtaken(item.reason)
        if isinstance(item, Proposal) and isinstance(event, (p.RollbackAccepted, p.RollbackTaken)):
            assert item.target is not None
            by = item.answered_by or "policy"
            yield from self.draft.part(Rollbacks).back_to(item.target, by, item.reason)

    def _propose(self) -> Iterator[Line]:
        """Propose what the circuit needs by what is known now; one proposal is open at a time."""
        degradation = next((item for item in self.draft.items.values() if isinstance(item, Degradation)), None)
        if degradation is None or degradation.phase in DEGRADATION.ends or degradation.model is None:
            return
        known, diagnosis = self._open(), self._diagnosis(degradation)
        remedy = _remedy(diagnosis)
        if remedy is None or (known and (known.remedy is remedy or known.phase != Phase.OFFERED)):
            return
        yield from self._overtaken(f"{remedy} is what would help, by what is known now")
        number = self.root.proposals + 1
        created: dict[str, Any] = {"id": proposal_id(self.root.id, number), "circuit": self.root.id}
        created |= {"remedy": remedy, "model": degradation.model}
        if remedy is Remedy.RETRAIN:
            created["cutoff"] = diagnosis.cutoff
        if remedy is Remedy.ROLL_BACK and diagnosis.before:
            created["target"] = diagnosis.before.pair
        reason = _reason(diagnosis, remedy)
        said = {"root": self.root.id, "reason": reason, "analysis": _analysis(self.root.id, diagnosis, remedy, reason)}
        yield Line(PROPOSAL, self._event(remedy)(**said), created=created)

    def _event(self, remedy: Remedy) -> type[p.Proposed]:
        match remedy:
            case Remedy.MEND:
                return p.MendingProposed
            case Remedy.RETRAIN:
                return p.RetrainingBegun if self.rules.opens_changes else p.RetrainingProposed
        may_begin = self.rules.takes_back_degraded and self.root.desired == self.root.serving
        return p.RollbackTaken if may_begin else p.RollbackProposed

    def _overtaken(self, why: str) -> Iterator[Line]:
        known = self._open()
        if known is not None and known.phase == Phase.OFFERED:
            yield Line(PROPOSAL, p.ProposalOvertaken(root=self.root.id, why=why), known.id)

    def _diagnosis(self, degradation: Degradation) -> _Diagnosis:
        items = self.draft.items.values()
        alerts = (item for item in items if isinstance(item, Alert) and item.phase not in ALERT.ends)
        drifted = (DriftStanding.DRIFTED, DriftStanding.SHARED)
        before = next((proved for proved in self.root.proved if proved.pair.model != degradation.model), None)
        newest = self.root.newest_reading
        return _Diagnosis(
            degradation=degradation,
            quality=next((alert for alert in alerts if alert.cause is Cause.QUALITY), None),
            drift=next((item for item in items if isinstance(item, Drift) and item.phase in drifted), None),
            before=before,
            kept=self._kept(before) if before else None,
            cutoff=newest.date() - timedelta(days=1) if newest else None,
        )

    def _kept(self, before: Proved) -> Judged | None:
        newest = next((judged for judged in self.root.performance if judged.model == before.pair.model), None)
        return newest if newest and newest.verdict == PerformancePhase.OK else None

    def moved(self, proposal: Proposal, event: m.Event, then: Then, begun: bool) -> Proposal:
        looks = proposal.looks + 1 if isinstance(event, p.ChangeStillOpen) else proposal.looks
        return proposal.model_copy(update={"looks": looks})

    def settle(self, proposal: Proposal, event: m.Event) -> None:
        if proposal.sequence == 1:
            self.draft.update(proposals=self.root.proposals + 1)

    def offered(self, proposal: Proposal) -> dict[str, Any]:
        return proposal.model_dump(include={"cutoff", "analysis", "change", "looks"})

    def delay(self, proposal: Proposal) -> timedelta:
        return backoff(proposal.looks, timedelta(minutes=10), timedelta(hours=12))


def _remedy(known: _Diagnosis) -> Remedy | None:
    """Bad readings come first: neither the model before nor a new one would do better on them.

    Drift comes before a better predecessor, which learned from still older readings. Where neither is known, newer
    readings are all that there is to try.
    """
    if known.quality:
        return Remedy.MEND
    if known.drift is None and known.before and known.kept:
        return Remedy.ROLL_BACK
    return Remedy.RETRAIN if known.cutoff else None


def _reason(known: _Diagnosis, remedy: Remedy) -> str:
    match remedy:
        case Remedy.MEND:
            assert known.quality
            return f"there is nothing to retrain: {known.quality.reason}"
        case Remedy.ROLL_BACK:
            assert known.before and known.kept
            now = f"model {known.degradation.model} is not"
            return f"{known.before.pair} was within its limits in {known.kept.period}, and {now}"
    if known.drift:
        columns = f" ({', '.join(known.drift.features)})" if known.drift.features else ""
        return f"the readings drifted{columns}, and the forecasts with them"
    return "the forecasts got worse, and neither bad readings nor drift are known: newer readings may help, or not"


def _analysis(circuit: str, known: _Diagnosis, remedy: Remedy, reason: str) -> str:
    """Everything that is known, for whoever decides; Markdown."""
    drift = f"{known.drift.reason} (`{known.drift.check}`)" if known.drift else "none found by a run that decides"
    before = str(known.before.pair) if known.before else "no other pair has proved itself"
    if known.before:
        before += (
            f"; its forecasts were within their limits in {known.kept.period}" if known.kept else "; not judged good"
        )
    lines = [
        f"**{remedy}**: {reason}.",
        "",
        f"- circuit: `{circuit}`, model {known.degradation.model}, {known.degradation.phase}",
        f"- performance: {known.degradation.reason} (`{known.degradation.check}`)",
        f"- readings: {known.quality.reason if known.quality else 'within their limits, as far as they were checked'}",
        f"- drift: {drift}",
        f"- before it: {before}",
    ]
    if remedy is Remedy.RETRAIN:
        lines += [
            "",
            f"Merged, the build trains `{circuit}` on readings up to {known.cutoff} (UTC), and releases it as usual.",
        ]
    return "\n".join(lines)
