"""Releases: what each fact means for a circuit's candidates, and who owns its test and its production deployment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain import approvals
from shared.domain import messages as m
from shared.domain import release as r
from shared.domain.circuit.draft import Part
from shared.domain.machine import Item, Line, NotAllowed, NotNow, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import RELEASE, Phase, Release, release_id
from shared.domain.scoring import LIMIT_TAGS, ScoringRun, limits
from shared.domain.values import Channel, Gate

_KEPT_TAGS = ("mae", "rmse", "r2", "naive_mae", "skill", *LIMIT_TAGS)


class Releases(Part[Release]):
    kind = RELEASE
    hears = (m.ModelRegistered, m.ApprovalDecided)

    def open(self) -> Iterator[Release]:
        """The open releases, oldest version first."""
        found = [i for i in self.draft.items.values() if isinstance(i, Release) and i.phase not in r.ENDS]
        yield from sorted(found, key=lambda release: release.version)

    def classify(self, event: m.ModelRegistered | m.ApprovalDecided) -> list[Line]:
        return self._registered(event) if isinstance(event, m.ModelRegistered) else self._decided(event)

    def _registered(self, event: m.ModelRegistered) -> list[Line]:
        identity = release_id(self.root.id, event.version)
        fields = event.model_dump()
        known = self.draft.items.get(identity)
        if known is not None:
            if known.phase != Phase.AWAITING_REGISTRY_APPROVAL:
                raise NotNow(
                    f"{identity} is {known.phase}; its tags are read before its first gate, and not afterwards"
                )
            return [Line(RELEASE, m.ModelRegisteredAgain(**fields), identity)]
        created = {
            "id": identity,
            "circuit": self.root.id,
            "version": event.version,
            "workspace": event.workspace,
        }
        newest = self.root.newest_version
        if event.version < newest:
            successor = release_id(self.root.id, newest)
            return [Line(RELEASE, m.OlderModelRegistered(**fields, successor=successor), created=created)]
        if event.version == newest:
            raise NotNow(f"{identity} has ended; registering it again changes nothing")
        return [Line(RELEASE, event, created=created)]

    def _decided(self, event: m.ApprovalDecided) -> list[Line]:
        release = self.draft.items.get(event.approval.rsplit(":", 2)[0])
        approval = release.approval if isinstance(release, Release) else None
        if not isinstance(release, Release) or approval is None or approval.id != event.approval:
            raise NotAllowed(f"approval {event.approval} is not open", "closed")
        if r.GATES.get(Phase(release.phase)) is not approval.gate:
            raise NotAllowed(f"approval {event.approval} is closed: the release is {release.phase}", "closed")
        if event.channel is not approval.channel:
            where = approval.asked_at or approval.channel
            raise NotAllowed(f"approval {event.approval} is answered elsewhere: {where}", "elsewhere")
        if event.digest != approval.digest:
            raise NotAllowed(
                f"the evidence of {event.approval} has changed since you read it: read it again", "changed"
            )
        if not approvals.may_answer(approval, event.person):
            asked = " and ".join(" or ".join(groups) for groups in approval.requirement)
            raise NotAllowed(f"{event.person.username} is not in a group that this gate asks ({asked})", "forbidden")
        if any(a.person.oid == event.person.oid and a.decision == event.decision for a in approval.answers):
            raise NotNow("this answer is recorded already")
        return [Line(RELEASE, self._answer(release, approval, event), release.id)]

    def _answer(self, release: Release, approval: r.Approval, event: m.ApprovalDecided) -> m.Event:
        fields = event.model_dump()
        if event.decision == "reject":
            return m.ApprovalRejected(**fields)
        if approvals.is_trainer(release, event.person):
            note = "who trained a model does not count as its approver"
            if event.channel is Channel.DEVOPS:  # one answer closes the question there
                return m.AnswerUsedUp(**fields, note=note)
            return m.ApprovalCounted(**fields, counts=False, note=note)
        if not approvals.satisfied(approval.requirement, approvals.counted(release, (*approval.answers, event))):
            return m.ApprovalCounted(**fields, counts=True, note="the gate asks for more approvals")
        if approval.gate is Gate.REGISTRY:
            return m.RegistryApproved(**fields)
        free = not self.root.production_owner
        return m.ProductionApproved(**fields) if free else m.ProductionApprovedWhileOwned(**fields)

    def outcome(self, release: Release, event: m.Outcome) -> m.Event:
        expect_look(release.operation, event)
        if isinstance(event, m.TagsMissing):
            if release.phase != Phase.REGISTERED:
                raise NotNow("the tags that the gate was asked with still stand")
            if self.now - release.created_at >= self.rules.tag_grace:
                return m.TagsNeverCame(**event.model_dump())
        if isinstance(event, m.ModelDescribed) and release.phase != Phase.REGISTERED:
            if dict(event.tags) == dict(release.tags):
                raise NotNow("the tags are as they were")
            return m.EvidenceChanged(**event.model_dump())
        return event

    def moved(self, release: Release, event: m.Event, then: Then, begun: bool) -> Release:
        # A release that ends keeps its last operation, so that it can be cancelled.
        kept = release.operation if not begun or release.phase in r.ENDS else None
        changed: dict[str, Any] = {"operation": operated(kept, event, self.now)}
        if isinstance(event, (m.TagsMissing, m.ModelRegisteredAgain)):
            changed["tag_looks"] = release.tag_looks + 1
        if isinstance(event, m.ApprovalDecided) and release.approval:
            answers = (
                *release.approval.answers,
                m.ApprovalDecided(**event.model_dump(include=set(m.ApprovalDecided.model_fields))),
            )
            changed["approval"] = release.approval.model_copy(update={"answers": answers})
        if isinstance(event, m.ApprovalRequested) and release.approval:
            changed["approval"] = release.approval.model_copy(update={"asked_at": event.asked_at})
        if isinstance(event, (m.ObservationCounted, m.ObservationPassed)):
            changed["observed"] = release.observed + 1
        if m.RequestApproval in then.commands:
            gate = r.GATES[Phase(release.phase)]
            changed |= {
                "withdrawn": release.approval.id if release.approval else "",
                "champion": self.root.serving,
                "asked": release.asked + 1,
                "approval": approvals.ask(
                    release,
                    gate,
                    self.root.serving,
                    self.rules.requirements[gate],
                    self.now,
                    self.rules.approval_timeout,
                    self.rules.approval_channel,
                ),
                "deadline": self.now + self.rules.approval_timeout,
            }
        elif release.phase in r.ENDS and release.approval:
            changed["withdrawn"] = release.approval.id
        if release.phase == Phase.DEPLOYING_TO_PRODUCTION and self.root.production_owner != release.id:
            changed["previous"] = self.root.serving
        return release.model_copy(update=changed)

    def settle(self, release: Release, event: m.Event) -> None:
        """Which version is the newest, who owns the two deployments, and what is meant to serve, serves, is verified.

        Anybody can tell of a version; the newest is the one that the platform has described.
        """
        phase = release.phase
        if isinstance(event, m.ModelDescribed):
            self.draft.update(newest_version=max(release.version, self.root.newest_version))
        testing = phase in (Phase.DEPLOYING_TO_TEST, Phase.TESTING)
        if testing or self.root.test_owner == release.id:
            self.draft.update(test_owner=release.id if testing else "")
        if phase == Phase.DEPLOYING_TO_PRODUCTION:
            self.draft.update(production_owner=release.id, desired=release.pair)
        elif self.root.production_owner == release.id:
            if isinstance(event, m.DeployedToProduction):
                kept = {name: release.tags[name] for name in _KEPT_TAGS if name in release.tags}
                self.draft.update(serving=release.pair, serving_tags=kept, served_by=release.id)
            if phase == Phase.LIVE:
                self.draft.update(verified=release.pair, production_owner="")
            elif phase in r.ENDS:  # what serves goes on serving
                self.draft.update(desired=self.root.serving, production_owner="")

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(item, Release) and isinstance(event, m.ModelDescribed):
            yield from self._superseded(by=item)
        if isinstance(event, m.DeployedToProduction):
            yield from self._champion_changed(except_for=item.id)
        if isinstance(item, Release) and item.phase in r.ENDS and not self.root.production_owner:
            yield from self._production_freed()
        if isinstance(event, m.ScoringVerified) and isinstance(item, ScoringRun):
            yield from self._observed(item)

    def _superseded(self, by: Release) -> list[Line]:
        superseded = m.SupersededByNewer(root=self.root.id, successor=by.id)
        older = [release for release in self.open() if release.phase in r.UP_TO_READY and release.version < by.version]
        return [Line(RELEASE, superseded, release.id) for release in older]

    def _champion_changed(self, except_for: str) -> list[Line]:
        changed = m.ChampionChanged(root=self.root.id)
        return [
            Line(RELEASE, changed, release.id)
            for release in self.open()
            if release.id != except_for
            and release.phase in (*r.AWAITING, Phase.READY)
            and release.champion != self.root.serving
        ]

    def _production_freed(self) -> list[Line]:
        freed = m.ProductionFreed(root=self.root.id)
        return [Line(RELEASE, freed, ready.id) for ready in self.open() if ready.phase == Phase.READY][:1]

    def _observed(self, run: ScoringRun) -> list[Line]:
        lines = []
        for release in self.open():
            if release.phase == Phase.OBSERVING and release.pair == run.pair:
                enough = release.observed + 1 >= self.rules.verified_scorings
                event = m.ObservationPassed if enough else m.ObservationCounted
                lines.append(Line(RELEASE, event(root=self.root.id), release.id))
        return lines

    def offered(self, item: Release) -> dict[str, Any]:
        origin = self.root.newest_reading or _cutoff(item.tags, item.created_at)
        offered: dict[str, Any] = {
            "purpose": item.phase,
            **in_operation(item.operation),
            "version": item.version,
            "first_asked": item.created_at,
            "withdrawn": item.withdrawn,
            "origin": origin.replace(minute=0, second=0, microsecond=0),
            "limits": limits(item.tags),
            # Before the first commit was heard of, the readings that trained the model are known at least.
            "table": self.root.table or item.tags.get("table_id", ""),
            "delta_version": self.root.delta_version if self.root.table else _trained_on(item.tags),
        }
        if item.environment:
            offered |= {"pair": item.pair, "previous": self.root.serving}
        if item.phase in (Phase.REGISTERED, Phase.AWAITING_REGISTRY_APPROVAL):
            offered["looks"] = item.tag_looks
        if item.approval:
            offered |= {
                "approval": item.approval.id,
                "gate": item.approval.gate,
                "digest": item.approval.digest,
                "evidence": item.approval.evidence,
                "requirement": item.approval.requirement,
                "expires_at": item.approval.expires_at,
            }
        return offered

    def delay(self, item: Release) -> timedelta:
        if item.operation:
            first = self.rules.first_job_look if item.phase == Phase.TESTING else self.rules.first_look
            return backoff(item.operation.looks, first, self.rules.longest_look)
        return backoff(item.tag_looks, self.rules.first_look, self.rules.longest_look)


def _cutoff(tags: Mapping[str, str], otherwise: datetime) -> datetime:
    """The last hour of the day up to which the model was trained."""
    try:
        return datetime.fromisoformat(tags["cutoff_date"]).replace(hour=23, tzinfo=UTC)
    except (KeyError, ValueError):
        return otherwise


def _trained_on(tags: Mapping[str, str]) -> int | None:
    version = tags.get("delta_version", "")
    return int(version) if version.isdigit() else None
