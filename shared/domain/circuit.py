"""A circuit: what is meant to serve, what serves, who owns its deployments; and every decision about it.

`decide` takes the circuit with everything open under it, names the precise event (`classify`), walks the tables, and
follows the consequences until nothing more follows. It knows no clock, no store and no SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain import approvals
from shared.domain import messages as m
from shared.domain import release as r
from shared.domain.machine import Decision, Draft, Item, Kind, Line, NotAllowed, NotNow, Root, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import RELEASE, Phase, Release, release_id
from shared.domain.rules import Rules
from shared.domain.scoring import QUALITY, SCORING, ScoringRun, assess_quality, scoring_id
from shared.domain.scoring import Phase as ScoringPhase
from shared.domain.training import TRAINING, training_id
from shared.domain.values import Gate, Pair

KINDS: dict[type[Item], Kind] = {kind.item: kind for kind in (RELEASE, SCORING, QUALITY, TRAINING)}


class Circuit(Root):
    """`desired` is set with the deploy command, `serving` by its outcome, `verified` when serving has proved itself."""

    desired: Pair | None = None
    serving: Pair | None = None
    verified: Pair | None = None
    serving_tags: Mapping[str, str] = {}
    test_owner: str = ""
    production_owner: str = ""
    scoring: bool = True
    newest_version: int = 0
    newest_reading: datetime | None = None
    table: str = ""
    former_tables: tuple[str, ...] = ()
    delta_version: int | None = None
    scored_through: datetime | None = None


FORMER_TABLES = 5
"""Tables that a late commit is not taken from; the newest ones."""
_LIMIT_TAGS = ("forecast_horizon", "target_min", "target_max", "target_sd")
_KEPT_TAGS = ("mae", "rmse", "r2", "naive_mae", "skill", *_LIMIT_TAGS)


def decide(circuit: Circuit, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about the circuit and what is open under it."""
    return _CircuitDraft(circuit, items, rules, now).decide(event)


class _CircuitDraft(Draft):
    root: Circuit

    def __init__(self, circuit: Circuit, items: Mapping[str, Item], rules: Rules, now: datetime) -> None:
        super().__init__(circuit, items, now)
        self.rules = rules
        self.known_version = circuit.newest_version

    def releases(self) -> Iterator[Release]:
        """The open releases, oldest version first."""
        found = [i for i in self.items.values() if isinstance(i, Release) and i.phase not in r.ENDS]
        yield from sorted(found, key=lambda release: release.version)

    # ------------------------------------------------------------------------------------------------------- classify

    def hear(self, event: m.Event) -> None:
        """What the circuit itself takes from an event."""
        if isinstance(event, m.ModelRegistered):
            self._update(newest_version=max(event.version, self.root.newest_version))
        if isinstance(event, m.SensorCovered) and event.table not in self.root.former_tables:
            if self.root.table and self.root.table != event.table:
                former = (self.root.table, *self.root.former_tables)[:FORMER_TABLES]
                self._update(former_tables=former, newest_reading=None, delta_version=None)
            newest, version = self.root.newest_reading, self.root.delta_version
            self._update(
                table=event.table,
                newest_reading=event.newest if newest is None else max(newest, event.newest),
                delta_version=event.version if version is None else max(version, event.version),
            )

    def classify(self, event: m.Event) -> list[Line]:
        """The precise events that a fact turns out to be, given everything open."""
        if isinstance(event, m.Outcome):
            return self._outcome(event)
        classifiers: dict[type[m.Event], Callable[[Any], list[Line]]] = {
            m.ModelRegistered: self._registered,
            m.ApprovalDecided: self._decided,
            m.SensorCovered: self._covered,
            m.DailyScoringChecked: self._daily,
            m.TrainingRequested: self._training_requested,
        }
        if type(event) not in classifiers:
            raise NotAllowed(f"a circuit does not hear {type(event).__name__}")
        return classifiers[type(event)](event)

    def _registered(self, event: m.ModelRegistered) -> list[Line]:
        identity = release_id(self.root.id, event.version)
        fields = event.model_dump()
        known = self.items.get(identity)
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
        if event.version < self.known_version:
            newest = release_id(self.root.id, self.known_version)
            return [Line(RELEASE, m.OlderModelRegistered(**fields, successor=newest), created=created)]
        if event.version == self.known_version:
            raise NotNow(f"{identity} has ended; registering it again changes nothing")
        older = [release for release in self.releases() if release.phase in r.UP_TO_READY]
        return [
            Line(RELEASE, event, created=created),
            *(Line(RELEASE, m.SupersededByNewer(root=self.root.id, successor=identity), o.id) for o in older),
        ]

    def _decided(self, event: m.ApprovalDecided) -> list[Line]:
        release = self.items.get(event.approval.rsplit(":", 2)[0])
        approval = release.approval if isinstance(release, Release) else None
        if not isinstance(release, Release) or approval is None or approval.id != event.approval:
            raise NotAllowed(f"approval {event.approval} is not open", "closed")
        if r.GATES.get(Phase(release.phase)) is not approval.gate:
            raise NotAllowed(f"approval {event.approval} is closed: the release is {release.phase}", "closed")
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
            return m.ApprovalCounted(**fields, counts=False, note="who trained a model does not count as its approver")
        if not approvals.satisfied(approval.requirement, approvals.counted(release, (*approval.answers, event))):
            return m.ApprovalCounted(**fields, counts=True, note="the gate asks for more approvals")
        if approval.gate is Gate.REGISTRY:
            return m.RegistryApproved(**fields)
        free = not self.root.production_owner
        return m.ProductionApproved(**fields) if free else m.ProductionApprovedWhileOwned(**fields)

    def _outcome(self, event: m.Outcome) -> list[Line]:
        item = self.items.get(event.item)
        if item is None or item.step != event.step:
            raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
        precise: m.Event = event
        if isinstance(item, Release):
            precise = self._release_outcome(item, event)
        elif isinstance(item, ScoringRun):
            precise = self._scoring_outcome(item, event)
        return [Line(KINDS[type(item)], precise, item.id)]

    def _release_outcome(self, release: Release, event: m.Outcome) -> m.Event:
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

    def _scoring_outcome(self, run: ScoringRun, event: m.Outcome) -> m.Event:
        expect_look(run.operation, event)
        failed: m.Event = event
        if isinstance(event, m.ScoringRefused) and run.pair != self.root.serving:
            error = f"the pair that serves changed meanwhile ({'; '.join(event.problems)})"
            failed = m.OperationFailed(**event.model_dump(include=set(m.Outcome.model_fields)), error=error)
        if isinstance(failed, m.OperationFailed) and run.attempt < self.rules.scoring_attempts:
            return m.ScoringAttemptFailed(**failed.model_dump())
        return event

    def _covered(self, event: m.SensorCovered) -> list[Line]:
        verdict, problems = assess_quality(
            event.counts, self.rules.null_rate, self.rules.out_of_range_rate, self.rules.columns
        )
        checked = verdict(
            root=self.root.id,
            table=event.table,
            version=event.version,
            verdict=verdict.__name__,
            problems=problems,
            counts=event.counts,
        )
        created = {
            "id": f"{self.root.id}!quality.{event.table}.{event.version}",
            "circuit": self.root.id,
            "table": event.table,
            "version": event.version,
            "counts": event.counts,
            "problems": problems,
            "reason": "; ".join(problems),
        }
        return [Line(QUALITY, checked, created=created), *self._scoring_due(self.rules.origin(self.now))]

    def _daily(self, event: m.DailyScoringChecked) -> list[Line]:
        lines = self._scoring_due(event.origin)
        if not lines and self._unscored(event.origin) and scoring_id(self.root.id, event.origin) not in self.items:
            overdue = m.ScoringOverdue(root=self.root.id, origin=event.origin)
            reason = f"the newest reading is of {self.root.newest_reading}, before the origin {event.origin}"
            lines = [Line(SCORING, overdue, created={**self._run(event.origin), "reason": reason})]
        if not lines:
            raise NotNow("the day's scoring has started, or nothing serves")
        return lines

    def _unscored(self, origin: datetime) -> bool:
        done = self.root.scored_through
        return self.root.serving is not None and self.root.scoring and (done is None or done < origin)

    def _scoring_due(self, origin: datetime) -> list[Line]:
        """The scoring that an origin calls for now: nothing while readings are missing or once it has started.

        While production is being deployed it waits for the outcome: what a job would meet there is not known.
        """
        newest = self.root.newest_reading
        deploying = self.root.desired != self.root.serving
        if deploying or not self._unscored(origin) or newest is None or newest < origin:
            return []
        waiting = self.items.get(scoring_id(self.root.id, origin))
        if waiting is not None:
            return [Line(SCORING, m.ReadingsArrived(root=self.root.id), waiting.id)]
        return [Line(SCORING, m.ScoringDue(root=self.root.id, origin=origin), created=self._run(origin))]

    def _run(self, origin: datetime) -> dict[str, Any]:
        return {"id": scoring_id(self.root.id, origin), "circuit": self.root.id, "origin": origin}

    def _training_requested(self, event: m.TrainingRequested) -> list[Line]:
        identity = training_id(self.root.id, event.commit)
        if identity in self.items:
            raise NotNow(f"{identity} is under way")
        created = {
            "id": identity,
            "circuit": self.root.id,
            "commit": event.commit,
            "author": event.author,
            "pull_request": event.pull_request,
        }
        return [Line(TRAINING, event, created=created)]

    # ----------------------------------------------------------------------------------------------------------- moved

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Item:
        if isinstance(item, Release):
            return self._moved_release(item, event, begun, m.RequestApproval in then.commands)
        return self._moved_scoring(item, event) if isinstance(item, ScoringRun) else item

    def _moved_release(self, release: Release, event: m.Event, begun: bool, asks: bool) -> Release:
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
        if isinstance(event, (m.ObservationCounted, m.ObservationPassed)):
            changed["observed"] = release.observed + 1
        if asks:
            gate = r.GATES[Phase(release.phase)]
            changed |= {
                "withdrawn": release.approval.id if release.approval else "",
                "champion": self.root.serving,
                "asked": release.asked + 1,
                "approval": approvals.ask(
                    release,
                    gate,
                    self.root.serving,
                    approvals.metrics(self.root.serving_tags),
                    self.rules.requirements[gate],
                    self.now,
                    self.rules.approval_timeout,
                ),
                "deadline": self.now + self.rules.approval_timeout,
            }
        elif release.phase in r.ENDS and release.approval:
            changed["withdrawn"] = release.approval.id
        if release.phase == Phase.DEPLOYING_TO_PRODUCTION and self.root.production_owner != release.id:
            changed["previous"] = self.root.serving
        return release.model_copy(update=changed)

    def _moved_scoring(self, run: ScoringRun, event: m.Event) -> ScoringRun:
        changed: dict[str, Any] = {"operation": operated(run.operation, event, self.now)}
        if isinstance(event, (m.ScoringDue, m.ReadingsArrived, m.ScoringAttemptFailed)):
            # Each attempt takes what serves and the newest readings at its own start.
            changed |= {
                "pair": self.root.serving,
                "table": self.root.table,
                "delta_version": self.root.delta_version,
                "operation": None,
                "reason": "",
            }
        if isinstance(event, (m.ScoringDue, m.ReadingsArrived)) or run.phase == ScoringPhase.MISSED:
            self._close(run.origin)
        if isinstance(event, m.ScoringAttemptFailed):
            changed |= {"attempt": run.attempt + 1, "reason": event.error}
        return run.model_copy(update=changed)

    def _close(self, origin: datetime) -> None:
        """No other scoring of this origin or an older one begins; late attempts and misses never open a newer one."""
        done = self.root.scored_through
        self._update(scored_through=origin if done is None else max(done, origin))

    # ---------------------------------------------------------------------------------------------------- consequences

    def settle(self, item: Item, event: m.Event) -> Sequence[Line]:
        lines: list[Line] = []
        if isinstance(item, Release):
            self._own(item, event)
            if isinstance(event, m.DeployedToProduction):
                lines += self._champion_changed(except_for=item.id)
            if item.phase in (Phase.OBSERVING, *r.ENDS):
                lines += self._scoring_due(self.rules.origin(self.now))
            if item.phase in r.ENDS and not self.root.production_owner:
                lines += self._production_freed()
        if isinstance(event, m.ScoringVerified) and isinstance(item, ScoringRun):
            lines += self._observed(item)
        return lines

    def _own(self, release: Release, event: m.Event) -> None:
        """Who owns the two deployments, and what is meant to serve, serves and is verified."""
        phase = release.phase
        testing = phase in (Phase.DEPLOYING_TO_TEST, Phase.TESTING)
        if testing or self.root.test_owner == release.id:
            self._update(test_owner=release.id if testing else "")
        if phase == Phase.DEPLOYING_TO_PRODUCTION:
            self._update(production_owner=release.id, desired=release.pair)
        elif self.root.production_owner == release.id:
            if isinstance(event, m.DeployedToProduction):
                kept = {name: release.tags[name] for name in _KEPT_TAGS if name in release.tags}
                self._update(serving=release.pair, serving_tags=kept)
            if phase == Phase.LIVE:
                self._update(verified=release.pair, production_owner="")
            elif phase in r.ENDS:  # what serves goes on serving
                self._update(desired=self.root.serving, production_owner="")

    def _champion_changed(self, except_for: str) -> list[Line]:
        changed = m.ChampionChanged(root=self.root.id)
        return [
            Line(RELEASE, changed, release.id)
            for release in self.releases()
            if release.id != except_for
            and release.phase in (*r.AWAITING, Phase.READY)
            and release.champion != self.root.serving
        ]

    def _production_freed(self) -> list[Line]:
        freed = m.ProductionFreed(root=self.root.id)
        return [Line(RELEASE, freed, ready.id) for ready in self.releases() if ready.phase == Phase.READY][:1]

    def _observed(self, run: ScoringRun) -> list[Line]:
        lines = []
        for release in self.releases():
            if release.phase == Phase.OBSERVING and release.pair == run.pair:
                enough = release.observed + 1 >= self.rules.verified_scorings
                event = m.ObservationPassed if enough else m.ObservationCounted
                lines.append(Line(RELEASE, event(root=self.root.id), release.id))
        return lines

    # -------------------------------------------------------------------------------------------------------- commands

    def offered(self, item: Item) -> dict[str, Any]:
        offered: dict[str, Any] = {"phase": item.phase, "reason": item.reason}
        if isinstance(item, (Release, ScoringRun)):
            offered |= {
                "purpose": item.phase,
                "table": self.root.table,
                "delta_version": self.root.delta_version,
                **in_operation(item.operation),
            }
        if isinstance(item, Release):
            origin = self.root.newest_reading or _cutoff(item.tags, item.created_at)
            offered |= {
                "version": item.version,
                "first_asked": item.created_at,
                "withdrawn": item.withdrawn,
                "origin": origin.replace(minute=0, second=0, microsecond=0),
                "limits": _limits(item.tags),
                # Before the first commit was heard of, the readings that trained the model are known at least.
                "table": self.root.table or item.tags.get("table_id", ""),
                "delta_version": self.root.delta_version if self.root.table else _trained_on(item.tags),
            }
            if item.environment:
                offered["pair"] = item.pair
                offered["previous"] = self.root.serving
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
        if isinstance(item, ScoringRun):
            offered |= {"origin": item.origin, "pair": item.pair, "limits": _limits(self.root.serving_tags)}
        return offered

    def delay(self, item: Item) -> timedelta:
        rules = self.rules
        if isinstance(item, ScoringRun):
            if item.operation is None:
                return backoff(item.attempt - 2, rules.retry_after, timedelta(hours=1))
            return backoff(item.operation.looks, rules.first_job_look, rules.longest_look)
        if isinstance(item, Release) and item.operation:
            first = rules.first_job_look if item.phase == Phase.TESTING else rules.first_look
            return backoff(item.operation.looks, first, rules.longest_look)
        looks = item.tag_looks if isinstance(item, Release) else 0
        return backoff(looks, rules.first_look, rules.longest_look)

    def _update(self, **changed: Any) -> None:
        self.root = self.root.model_copy(update=changed)


def _limits(tags: Mapping[str, str]) -> dict[str, str]:
    """What predictions are held against: the horizon and the range of the target in training."""
    return {name: tags[name] for name in _LIMIT_TAGS if name in tags}


def _cutoff(tags: Mapping[str, str], otherwise: datetime) -> datetime:
    """The last hour of the day up to which the model was trained."""
    try:
        return datetime.fromisoformat(tags["cutoff_date"]).replace(hour=23, tzinfo=UTC)
    except (KeyError, ValueError):
        return otherwise


def _trained_on(tags: Mapping[str, str]) -> int | None:
    version = tags.get("delta_version", "")
    return int(version) if version.isdigit() else None
