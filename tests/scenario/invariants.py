"""What must hold in every world, whatever happened: nothing twice, nothing lost, nobody passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared import records
from shared.domain import messages as m
from shared.domain.alerts.alert import Alert
from shared.domain.circuit.scorings import SKIPPED_DAYS
from shared.domain.departure import Departure
from shared.domain.discrepancy import Discrepancy
from shared.domain.fleet import ROOT as FLEET
from shared.domain.hold import Hold
from shared.domain.lake import ROOT as LAKE
from shared.domain.lake import FanOut, FanOutPhase
from shared.domain.machine import Item
from shared.domain.proposals.messages import LookAtChange
from shared.domain.quality import QualityCheck
from shared.domain.release import AWAITING, GATES, UP_TO_READY, Asked, Phase, Release
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.rollback import Rollback
from shared.domain.scoring import ScoringRun
from shared.domain.update import IN_TEST, EnvironmentUpdate
from shared.domain.update import Phase as UpdatePhase
from shared.domain.values import ENVIRONMENT, OperationState, Stage
from shared.relay import Work
from tests.simulated import (
    ENVIRONMENT_PROMOTION,
    PRODUCTION_DEPLOYMENT,
    PROMOTION,
    SCORING,
    TEST_DEPLOYMENT,
    TEST_INFERENCE,
)
from tests.world import World

OPENED = ("RegistryApproved", "ProductionApproved", "ProductionApprovedWhileOwned", "ProductionApprovedWhileHeld")
STARTED_BY: Mapping[str, tuple[type[m.Command], ...]] = {
    PROMOTION: (m.PromoteModel,),
    ENVIRONMENT_PROMOTION: (m.PromoteEnvironment,),
    TEST_DEPLOYMENT: (m.DeployToTest,),
    TEST_INFERENCE: (m.StartTestInference,),
    PRODUCTION_DEPLOYMENT: (m.DeployToProduction, m.DeployRepair),
}


def check_always(world: World) -> None:
    """True at every moment."""
    for circuit in world.circuits:
        _the_circuit_says_who_owns_what(world, circuit)
        _the_circuit_forgets_no_commit(world, circuit)
        for release in world.releases(circuit):
            _every_gate_was_opened_by_who_may(world, circuit, release)
    for item in world.items(ENVIRONMENT).values():
        if isinstance(item, Asked):
            _every_gate_was_opened_by_who_may(world, ENVIRONMENT, item)
    for item in _open_items(world):
        assert item.deadline is not None, f"{item.id} is {item.phase} without a deadline"
        assert _deadline_is_pending(world, item), f"nothing will ever end {item.id}, which is {item.phase}"
    _a_key_has_one_open_alert_and_the_index_knows_it(world)
    _every_effect_once(world)
    assert not world.crashes, world.crashes


def check_at_rest(world: World) -> None:
    """True once nothing is under way any more."""
    check_always(world)
    for circuit in world.circuits:
        _no_day_is_missed_in_silence(world, circuit)
        _what_is_deployed_was_proved_and_is_what_it_is_said_to_be(world, circuit)
    _every_version_has_its_release(world)
    _every_commit_reached_its_circuits(world)
    commands = {(type(command), command.item) for command in world.done}
    for root in (LAKE, FLEET, ENVIRONMENT, *world.circuits):
        for item in world.items(root).values():
            _history_is_gapless(world, root, item)
            _nothing_ended_before_its_time(world, root, item)
            _everything_commanded_was_done(world, root, item, commands)
    _gates_are_open_where_people_are_asked(world)
    _nothing_is_left_over(world)
    _dead_letters_are_what_was_given_up(world)


def check_replay_changes_nothing(world: World) -> None:
    """Every fact that was ever taken, told once more, leaves every row as it is."""
    before = world.rows()
    for fact in list(world.facts):
        world.told(fact)
    for operation in world.operations.started.values():
        world.tell(lambda app, job=operation.reference: app.look_at_job(job))  # type: ignore[misc]
    while world.step():
        pass
    after = world.rows()
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert not changed, f"replaying changed {sorted(changed)}"


def _open_items(world: World) -> list[Item]:
    found = []
    for root in (LAKE, FLEET, ENVIRONMENT, *world.circuits):
        found += [item for item in world.items(root).values() if item.phase not in records.KINDS[type(item)].ends]
    return found


def _pending_commands(world: World) -> list[m.Command]:
    """Commands that wait in the outbox, as due rows or on the queue."""
    rows = [row for shard in world.store.shards for row in world.store.read_range(shard, "!", '"')]
    waiting = [*world.queue.messages, *world.queue.poisoned]
    return [
        *(records.command_from(row) for row in rows),
        *(Work.from_json(message.text).command for message in waiting),
    ]


def _deadline_is_pending(world: World, item: Item) -> bool:
    return any(
        isinstance(command, m.CheckDeadline) and (command.item, command.step) == (item.id, item.step)
        for command in _pending_commands(world)
    )


def _the_circuit_says_who_owns_what(world: World, circuit: str) -> None:
    root, releases = world.circuit(circuit), world.releases(circuit)
    in_test = [r.id for r in releases if r.phase in (Phase.DEPLOYING_TO_TEST, Phase.TESTING)]
    in_production = [r.id for r in releases if r.phase in (Phase.DEPLOYING_TO_PRODUCTION, Phase.OBSERVING)]
    in_production += [r.id for r in _discrepancies(world, circuit) if r.phase == "repairing"]
    in_production += [r.id for r in _rollbacks(world, circuit) if r.phase == RollbackPhase.ROLLING_BACK]
    in_production += [i.id for i in world.items(circuit).values() if isinstance(i, Departure) and i.phase == "retiring"]
    updates = _updates(world, circuit)
    in_test += [update.id for update in updates if update.phase in IN_TEST]
    in_production += [update.id for update in updates if update.phase == UpdatePhase.DEPLOYING_TO_PRODUCTION]
    for update in updates:
        if update.phase == UpdatePhase.WAITING_FOR_TEST:
            assert root.test_owner, f"{update.id} waits for a test deployment that nobody owns"
        if update.phase == UpdatePhase.WAITING_FOR_PRODUCTION:
            assert root.production_owner, f"{update.id} waits for a production that nobody owns"
    assert in_test == ([root.test_owner] if root.test_owner else []), in_test
    assert in_production == ([root.production_owner] if root.production_owner else []), in_production
    # A version that is only told of may be no candidate at all: it is one once the platform has described it.
    candidates = [r for r in releases if r.phase in UP_TO_READY and r.phase not in (Phase.REGISTERED, Phase.QUEUED)]
    assert len(candidates) <= 1, f"{candidates} are candidates at once: the newer supersedes the older"
    for candidate in candidates:
        waits = root.production_owner or (candidate.held_since and _asks_again(world, candidate))
        assert candidate.phase != Phase.READY or waits, f"{candidate.id} waits for nobody"
        if candidate.phase in (*AWAITING, Phase.READY):
            assert candidate.champion == root.serving, f"{candidate.id} was compared with {candidate.champion}"
    standing = [
        item.id for item in world.items(circuit).values() if isinstance(item, Hold) and item.phase == "standing"
    ]
    assert standing == ([root.hold] if root.hold else []), standing
    assert root.serving or not root.verified, f"{root.verified} is verified and nothing serves"
    by = [r.id for r in _rollbacks(world, circuit)] + [d for d in world.items(circuit) if "!departure." in d]
    assert root.serving or root.served_by in ("", *by), "said by nobody"
    assert not {proved.pair for proved in root.proved} & set(root.condemned), "a condemned pair is a target"
    if not root.production_owner:
        assert root.desired == root.serving, f"nobody deploys {root.desired} instead of {root.serving}"


def _a_key_has_one_open_alert_and_the_index_knows_it(world: World) -> None:
    alerts = [item for item in _open_items(world) if isinstance(item, Alert)]
    keys = [alert.key for alert in alerts]
    assert len(set(keys)) == len(keys), f"one cause has several alerts: {sorted(keys)}"
    listed = [row["id"] for row in world.queries.alerts(200).entries]
    assert sorted(listed) == sorted(alert.id for alert in alerts), listed


def _updates(world: World, circuit: str) -> list[EnvironmentUpdate]:
    return [item for item in world.items(circuit).values() if isinstance(item, EnvironmentUpdate)]


def _rollbacks(world: World, circuit: str) -> list[Rollback]:
    found = [item for item in world.items(circuit).values() if isinstance(item, Rollback)]
    return sorted(found, key=lambda rollback: rollback.created_at)


def _discrepancies(world: World, circuit: str) -> list[Discrepancy]:
    return [item for item in world.items(circuit).values() if isinstance(item, Discrepancy)]


def _asks_again(world: World, release: Release) -> bool:
    return any(
        isinstance(command, m.AskForProduction) and (command.item, command.step) == (release.id, release.step)
        for command in _pending_commands(world)
    )


def _no_day_is_missed_in_silence(world: World, circuit: str) -> None:
    """From when something serves without a break, up to the newest day that began, every day has its run."""
    root = world.circuit(circuit)
    if root.scored_through is None or root.expected_since is None:
        return
    origin = root.scored_through
    for _ in range(SKIPPED_DAYS):
        if origin < root.expected_since:
            return
        assert f"{circuit}@{origin:%Y-%m-%d}" in world.items(circuit), f"{circuit} was silent about {origin}"
        origin -= timedelta(days=1)


def _the_circuit_forgets_no_commit(world: World, circuit: str) -> None:
    root, items = world.circuit(circuit), world.items(circuit).values()
    heard = [item.version for item in items if isinstance(item, QualityCheck) and item.table == root.table]
    assert root.delta_version == max(heard, default=None), f"{circuit} forgot a commit"


def _every_gate_was_opened_by_who_may(world: World, root: str, release: Asked) -> None:
    for line in world.history(root, release.id):
        if str(line["event"]) in (*OPENED, "ApprovalCounted", "ApprovalRejected"):
            detail = line["detail"]
            person = m.Person.model_validate(detail["person"])
            requirement = world.fleet.rules(root).requirements[GATES[Phase(line["before"])]]
            alone = line["event"] in OPENED and person.username == release.trainer
            assert not alone, f"{release.id} was approved by its trainer alone"
            assert any(set(groups) & set(person.groups) for groups in requirement), f"{person.name} may not answer"
            asked = world.documents.read(f"evidence/{root}/{records.safe(detail['approval'])}.json")
            assert asked is None or asked["digest"] == detail["digest"], f"{person.name} approved something else"


def _every_effect_once(world: World) -> None:
    started: Counter[tuple[str, str]] = Counter()
    for operation in world.operations.started.values():
        started[operation.purpose, operation.command_id.rsplit(".", 2)[0]] += 1
    for (purpose, item), count in started.items():
        rollback = world.items(item.partition("!")[0]).get(item)
        if isinstance(rollback, Rollback):
            assert count <= rollback.attempt, f"{item} deployed {count} times in {rollback.attempt} attempts"
        elif purpose in STARTED_BY:
            commanded = _times_commanded(world, item, STARTED_BY[purpose])
            assert count <= commanded, f"{purpose} of {item} was started {count} times, and commanded {commanded}"
        if purpose == SCORING:
            run = world.items(item.partition("@")[0]).get(item)
            assert isinstance(run, ScoringRun), f"{item} was scored and is not there"
            told = world.history(item.partition("@")[0], item)
            overtaken = sum(line["event"] == "ScoringOvertaken" for line in told)
            assert run.attempt - 1 <= count <= run.attempt + overtaken, f"{item} was scored {count} times"
    for (circuit, day), count in world.lake.publications.items():
        runs = [item for item in world.items(circuit).values() if isinstance(item, ScoringRun)]
        scored = [run.id for run in runs if f"{run.origin:%Y-%m-%d}" == day]
        assert count <= len(scored), f"{circuit} {day} was published {count} times by {scored}"
    assert all(count == 1 for count in world.approvals.asked.values()), world.approvals.asked


def _times_commanded(world: World, identity: str, commands: tuple[type[m.Command], ...]) -> int:
    root = identity.partition("!")[0].partition(":")[0]
    table = records.KINDS[type(world.items(root)[identity])].table
    given = {(before, event.__name__) for (before, event), then in table.items() if set(commands) & set(then.commands)}
    return sum((line["before"], line["event"]) in given for line in world.history(root, identity))


def _what_is_deployed_was_proved_and_is_what_it_is_said_to_be(world: World, circuit: str) -> None:
    for operation in world.operations.started.values():
        if operation.purpose == PRODUCTION_DEPLOYMENT and operation.circuit == circuit:
            item = operation.command_id.rsplit(".", 2)[0]
            assert (circuit, operation.pair) in world.platform.tested, f"{item}'s pair was never tested as that pair"
            if "!environment." in item:
                release = f"{ENVIRONMENT}:{item.partition('!environment.')[2]}"
                assert {"RegistryApproved", "ProductionApproved"} <= set(world.events(release)), f"{item} was not asked"
            elif "!discrepancy." in item:
                (repair,) = [each for each in _discrepancies(world, circuit) if each.id == item]
                assert operation.pair == repair.recorded, f"{item} deployed {operation.pair}"
            elif "!" in item:
                _a_rollback_went_to_what_had_proved_itself(world, circuit, item)
            else:
                opened = [event for event in world.events(item) if event in OPENED]
                assert {"RegistryApproved"} < set(opened), f"{item} passed no more than {opened}"
    root = world.circuit(circuit)
    if root.serving is None and not root.scoring:  # nothing serves, said aloud: what lies there is never asked
        assert any(told.get("about") == root.served_by for _, _, told in world.topic.published) or world.dead_letters()
        return
    found = world.platform.deployed(Stage.PRODUCTION, circuit)
    assert (found.pair if found else None) == world.circuit(circuit).serving, f"{circuit} really serves {found}"


def _a_rollback_went_to_what_had_proved_itself(world: World, circuit: str, identity: str) -> None:
    rollback = next(rollback for rollback in _rollbacks(world, circuit) if rollback.id == identity)
    earlier = [r for r in _rollbacks(world, circuit) if r.created_at < rollback.created_at]
    assert rollback.target not in {r.bad for r in earlier}, f"{identity} went to what had been rolled back"
    live = [
        r.pair
        for r in world.releases(circuit)
        if {"ObservationPassed", "ObservationTimeOver"} & set(world.events(r.id))
    ]
    live += [update.pair for update in _updates(world, circuit) if update.pair and update.proved]
    assert rollback.target in live, f"{identity} went to {rollback.target}, which never proved itself"


def _every_version_has_its_release(world: World) -> None:
    for circuit in world.circuits:
        told = {version for name, version in world.platform.models if name == circuit}
        releases = {release.version: release for release in world.releases(circuit)}
        assert told <= releases.keys()
        for forged in releases.keys() - told:
            assert (releases[forged].phase, releases[forged].tags) == (Phase.FAILED, {}), f"nobody described {forged}"


def _every_commit_reached_its_circuits(world: World) -> None:
    """A foreign writer's commit may not have: once the table is made anew, its readings can be asked of nobody."""
    given_up = {command.id for command in world.given_up}
    for fan_out in world.items(LAKE).values():
        if not isinstance(fan_out, FanOut) or fan_out.phase != FanOutPhase.DONE:
            continue
        for circuit in _covered_by(world, fan_out):
            check = f"{circuit}!quality.{fan_out.table}.{fan_out.version}"
            poisoned = f"{circuit}.covered.{fan_out.table}.{fan_out.version}" in given_up
            left = world.circuit(circuit).retired
            assert check in world.items(circuit) or poisoned or left, f"{circuit} never heard of {fan_out.id}"


def _covered_by(world: World, fan_out: FanOut) -> list[str]:
    """The circuits that a commit had readings of; a sensor that is nobody's concerns none."""
    sensors: Collection[str] = ()
    if fan_out.purpose == "coverage":
        sensors = world.lake.read_report(fan_out.report)["sensors"]
    elif fan_out.purpose == "foreign" and fan_out.table == world.lake.table_id:
        sensors = world.lake.foreign[fan_out.table, fan_out.version or 0]
    named = (sensor.removeprefix("SENSOR_") for sensor in sensors)
    return [circuit for circuit in named if circuit in world.circuits]


def _history_is_gapless(world: World, root: str, item: Item) -> None:
    rows = world.store.read_range(world.store.shard_of(root), *records.history_range(root, item.id))
    numbers = [int(row.key.rpartition("|")[2]) for row in rows]
    assert numbers == list(range(1, item.sequence + 1)), f"{item.id}: {numbers} of {item.sequence}"
    phases = [row.body["after"] for row in rows]
    assert phases[-1] == item.phase and rows[0].body["before"] is None
    assert [row.body["before"] for row in rows[1:]] == phases[:-1]


def _nothing_ended_before_its_time(world: World, root: str, item: Item) -> None:
    """A deadline is of the step that it was set for: the phase, or the attempt within it."""
    kind = records.KINDS[type(item)]
    begins = {event.__name__ for event in kind.new_attempts}
    begun = item.created_at
    for line in world.history(root, item.id):
        at = datetime.fromisoformat(line["at"])
        if line["event"] == "DeadlinePassed" and line["before"] != Phase.OBSERVING:  # which the policy sets
            assert at - begun >= kind.deadlines[line["before"]], f"{item.id} was ended {line['before']} too early"
        if line["before"] != line["after"] or line["event"] in begins:
            begun = at


def _everything_commanded_was_done(world: World, root: str, item: Item, done: set[tuple[type[m.Command], str]]) -> None:
    """A lost command would be masked by the deadline that ends what waits for it."""
    table = {(before, event.__name__): then for (before, event), then in records.KINDS[type(item)].table.items()}
    given_up = {(type(command), command.item) for command in world.given_up}
    for line in world.history(root, item.id):
        then = table[line["before"], line["event"]]
        for command in (*then.commands, *then.later):
            was_done = (command, item.id) in done | given_up
            assert was_done, f"{item.id}: {line['event']} commanded {command.__name__}, which nobody did"


def _gates_are_open_where_people_are_asked(world: World) -> None:
    asking = {
        item.approval.id
        for item in _open_items(world)
        if isinstance(item, Asked) and item.phase in GATES and item.approval
    }
    asked = set(world.approvals.open)
    answered = {
        approval.id
        for root in (ENVIRONMENT, *world.circuits)
        for release in world.items(root).values()
        if isinstance(release, Asked) and (approval := release.approval) and approval.answers
    } | {str(line["detail"]["approval"]) for line in _lines(world) if str(line["event"]) in OPENED}
    assert asking <= asked, f"nobody was asked about {asking - asked}"
    assert asked - asking <= answered, f"people are still asked about {asked - asking - answered}"


def _lines(world: World) -> list[Mapping[str, Any]]:
    return [
        line
        for root in (ENVIRONMENT, *world.circuits)
        for release in world.items(root).values()
        if isinstance(release, Asked)
        for line in world.history(root, release.id)
    ]


def _nothing_is_left_over(world: World) -> None:
    assert not world.queue.messages and not world.queue.poisoned and not world.signals
    open_items = {(item.id, item.step) for item in _open_items(world)}
    for command in _pending_commands(world):
        waits_for_people = (m.CheckDeadline, m.RemindOfGate, m.AskForProduction, LookAtChange)
        assert isinstance(command, waits_for_people), f"{command.id} still waits"
    assert not [item for item in _open_items(world) if isinstance(item, FanOut) and not world.dead_letters()]
    assert not world.operations.running(SCORING) or open_items
    for operation in world.operations.started.values():
        hangs = operation.fate.state is OperationState.RUNNING
        assert operation.state is not OperationState.RUNNING or hangs, f"{operation.reference} goes on unseen"


def _dead_letters_are_what_was_given_up(world: World) -> None:
    kept = Counter(Work.from_json(row.body["body"]["work"]).command.id for row in world.dead_letters())
    assert set(kept) == {command.id for command in world.given_up}, f"{kept} of {world.given_up}"
