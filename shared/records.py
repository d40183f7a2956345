"""Records: how roots, items, history, inbox, outbox and due rows lie in the state table.

Keys within a shard's partition, in the order in which they sort:

    !0|<time>|<command>      outbox: commands not yet on the queue        } one range read per shard
    !1|<time>|<command>      due: commands to be given at a time          } finds both, whatever the history
    $alerted|<key>           the newest alert of a key, open or closed
    $alert|<severity>|…      an open alert, the critical and then the newest first
    $failed|<newest first>|… a training that failed
    $proposal|<newest>|…     an open proposal, the newest first
    $circuit|<circuit>       summary of a circuit and what is open under it
    $gone|<circuit>          a circuit that the configuration has no more, and that is not retired
    $gate|<time>|<approval>  an open approval, oldest first
    $done|<newest first>|…   an ended release, newest first
    $open|<circuit>          a circuit with a release, a rollback, a hold, a discrepancy or an alert open
    $act|<newest first>|…    what a person did, newest first
    $day|<day>|<run>         a scoring run in the ledger, by day and circuit
    $run|<kind>|<newest first>|… a monitoring run
    $kept|<as what>|<day>|<key> a row that goes so long after that day; also in the fixed partitions
    <root>|0                 the root itself          } one range read
    <root>|1|<letter>|<item> everything open          } loads both
    <root>|5|<identity>      inbox: facts that were heard
    <root>|6|d|<day>         the run whose forecast of the day stands
    <root>|6|m|<model>|<run> the runs that a model version ever published, by day
    <root>|7|<newest first>  what served from when on, append-only
    <root>|8|<letter>|<item> everything that has ended
    <root>|9|<item>|<nnnnnn> history, append-only
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

from shared.domain import circuit as circuit_domain
from shared.domain import environment as environment_domain
from shared.domain import fleet as fleet_domain
from shared.domain import lake as lake_domain
from shared.domain import monitoring as monitoring_domain
from shared.domain.alerts.alert import ALERT, Alert
from shared.domain.alerts.causes import Severity
from shared.domain.champion import Champion
from shared.domain.circuit import Circuit
from shared.domain.discrepancy import Discrepancy
from shared.domain.environment import Environment
from shared.domain.fleet import FleetState
from shared.domain.hold import Hold
from shared.domain.lake import Lake
from shared.domain.ledger import Run
from shared.domain.machine import Decision, Item, Kind, Root
from shared.domain.messages import Command, Event, LookAtGate, Person, decode, encode
from shared.domain.monitoring import Monitor, MonitoringRun
from shared.domain.proposals.proposal import PROPOSAL, Proposal
from shared.domain.release import GATES, RELEASE, Approval, Asked, Release
from shared.domain.retention import Kept, filed_under, kept_as
from shared.domain.rollback import Rollback
from shared.domain.scoring import Phase as ScoringPhase
from shared.domain.scoring import ScoringRun
from shared.domain.training import Phase as TrainingPhase
from shared.domain.training import TrainingRun
from shared.domain.values import Channel, Monitoring
from shared.errors import Conflict
from shared.ports import Row, StateStore, Write

JOBS = "jobs"
GATE_RUNS = "gate-runs"
DEAD = "dead"
SLOTS = "slots"
STARTS = "starts"
REQUESTS = "requests"
TRACE = "trace"
"""The column of an outbox or due row that holds its trace's context."""

CIRCUITS = ("$circuit|", "$circuit|~")
"""The range of a shard's index of circuits."""
GONE = ("$gone|", "$gone|~")
"""The range of a shard's circuits that left the configuration and are not retired."""
OPEN_GATES = ("$gate|", "$gate|~")
"""The range of a shard's open gates."""
FAILED_TRAININGS = "$failed|"
"""How the rows of a shard's failed trainings begin."""
OPEN_PROPOSALS = "$proposal|"
"""How the rows of a shard's open proposals begin."""
OPEN_ALERTS = "$alert|"
"""How the rows of a shard's open alerts begin."""
OPEN_CIRCUITS = ("$open|", "$open|~")
"""The range of a shard's circuits with something open: in proportion to what is under way, not to the fleet."""
ACTS = "$act|"
KEPT = "$kept|"
"""How the rows begin that say since when others are kept."""

KINDS: dict[type[Item], Kind] = {
    **circuit_domain.KINDS,
    **lake_domain.KINDS,
    **fleet_domain.KINDS,
    **environment_domain.KINDS,
    **monitoring_domain.KINDS,
    Alert: ALERT,
}
ROOTS: Mapping[str, type[Root]] = {
    lake_domain.ROOT: Lake,
    fleet_domain.ROOT: FleetState,
    environment_domain.ROOT: Environment,
    monitoring_domain.ROOT: Monitor,
}
"""Roots that are no circuit, by key."""
_BY_LETTER = {kind.letter: kind for kind in KINDS.values()}


@dataclass(frozen=True)
class Loaded:
    """A root and everything open under it, with the rows they came from."""

    root: Root
    items: Mapping[str, Item]
    rows: Mapping[str, Row]


def stamp(at: datetime) -> str:
    """A time (UTC) as a key part that sorts by time."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def newest_first(at: datetime) -> str:
    """A time as a key part that sorts the newest first."""
    return f"{10**13 - int(at.timestamp() * 1000):013d}"


def safe(part: str) -> str:
    """A key part without the characters that Table Storage refuses."""
    return quote(part, safe=" :@+|.,=~!-_")


def root_range(root: str) -> tuple[str, str]:
    """The range of a root and everything open under it."""
    return f"{root}|0", f"{root}|2"


def sweep_range(now: datetime) -> tuple[str, str]:
    """The range of the outbox and of what is due by now."""
    return "!0|", f"!1|{stamp(now)}~"


def inbox_key(event: Event) -> str:
    return f"{event.root}|5|{safe(event.identity)}"


def history_range(root: str, item: str) -> tuple[str, str]:
    return f"{root}|9|{safe(item)}|", f"{root}|9|{safe(item)}|~"


def finished_range(root: str, kind: Kind) -> tuple[str, str]:
    return f"{root}|8|{kind.letter}|", f"{root}|8|{kind.letter}|~"


def finished_span(root: str, kind: Kind, first: str, last: str) -> tuple[str, str]:
    """The range of ended items of one kind with `first <= id < last`."""
    return f"{root}|8|{kind.letter}|{safe(first)}", f"{root}|8|{kind.letter}|{safe(last)}"


def days_span(first: date, last: date) -> tuple[str, str]:
    """The ledger's rows from a day to another, by day and circuit."""
    return f"$day|{first}|", f"$day|{last}|~"


def day_span(circuit: str, day: date) -> tuple[str, str]:
    """The ledger's rows of one circuit's day."""
    return f"$day|{day}|{circuit}@", f"$day|{day}|{circuit}@~"


def circuits_day_span(first: str, last: str, day: date) -> tuple[str, str]:
    """The ledger's rows of a day, from one circuit to another."""
    return f"$day|{day}|{first}@", f"$day|{day}|{last}@~"


def standing_span(root: str, first: date, last: date) -> tuple[str, str]:
    """The runs whose forecasts stand, from a day to another."""
    return f"{root}|6|d|{first}", f"{root}|6|d|{last}~"


def made_prefix(root: str, model: int) -> str:
    return f"{root}|6|m|{model:09d}|"


def made_span(root: str, model: int, first: date, last: date) -> tuple[str, str]:
    """The runs that a model version ever published, from a day to another."""
    made = f"{made_prefix(root, model)}{root}@"
    return f"{made}{first}", f"{made}{last}~"


def champions_range(root: str, at: datetime) -> tuple[str, str]:
    """What served at a time and before, the newest first."""
    return f"{root}|7|{newest_first(at)}", f"{root}|7|~"


def finished_key(root: str, kind: Kind, item: str) -> str:
    return f"{root}|8|{kind.letter}|{safe(item)}"


def stopped(store: StateStore) -> str:
    """By whom and why the fleet is stopped; nothing when it is not."""
    row = store.read(store.shard_of(fleet_domain.ROOT), f"{fleet_domain.ROOT}|0")
    return str(row.body["stopped"]) if row else ""


def recalled(loaded: Loaded, event: Event) -> str | None:
    """The key of an ended item that the event is about as well: a rollback undoes a live release."""
    about = None
    if isinstance(loaded.root, Circuit):
        about = circuit_domain.recalled(loaded.root, event)
    elif isinstance(loaded.root, Environment):
        about = environment_domain.recalled(event)
    return finished_key(loaded.root.id, *about) if about and about[1] not in loaded.items else None


def is_in_use(root: Root, item: Item) -> bool:
    """Whether an ended item is one that serves, stands, or may serve again."""
    if isinstance(root, Circuit):
        return circuit_domain.is_in_use(root, item)
    if isinstance(root, Environment):
        return item.id in {environment_domain.environment_release_id(root.id, v) for v in (root.newest, root.live)}
    return False


def load(root: str, rows: Sequence[Row]) -> Loaded:
    """The root and its open items from the rows of `root_range`."""
    fresh: Root = ROOTS.get(root, Circuit)(id=root)
    items: dict[str, Item] = {}
    for row in rows:
        if row.key == f"{root}|0":
            fresh = type(fresh).model_validate({k: v for k, v in row.body.items() if k != "revision"})
        else:
            item = item_from(row)
            items[item.id] = item
    return Loaded(fresh, items, {row.key: row for row in rows})


def item_from(row: Row) -> Item:
    """An item from its row, open or ended."""
    letter = row.key.split("|")[2]
    return _BY_LETTER[letter].item.model_validate(row.body)


def command_from(row: Row) -> Command:
    """The command of an outbox or due row."""
    return decode(untraced(row)[0])


def writes(loaded: Loaded, decision: Decision, event: Event, now: datetime, trace: str = "") -> list[Write]:
    """One transaction: inbox, root, items, history, outbox, due rows and the indexes people read.

    The inbox comes first: the first row that fails is the one that is named, and a fact heard before is just that,
    whatever else has changed since.
    """
    root = decision.root or loaded.root
    found: list[Write] = []
    if event.identity:
        found.append(Write("insert", Row(inbox_key(event), {"at": now.isoformat(), "event": type(event).__name__})))
        found.append(Write("put", kept(Kept.INBOX, now.date(), inbox_key(event))))
    found += [*_root(loaded, root), *_items(loaded, decision)]
    found += [
        Write(
            "insert",
            Row(
                f"{root.id}|9|{safe(line.item)}|{line.sequence:06d}",
                {
                    "item": line.item,
                    "event": line.event,
                    "before": line.before,
                    "after": line.after,
                    "at": line.at.isoformat(),
                    "detail": dict(line.detail),
                },
            ),
        )
        for line in decision.history
    ]
    found += [Write("put", row) for row in outbox(decision.commands, now, trace)]
    found += [
        Write("put", Row(f"!1|{stamp(d.at)}|{safe(d.command.id)}", _traced(d.command, trace))) for d in decision.due
    ]
    found += _gates(root, loaded, decision)
    found += _alerts(root, loaded, decision)
    found += _act(event, decision, now)
    found += [_monitoring(item) for item in decision.items.values() if isinstance(item, MonitoringRun)]
    if isinstance(root, Circuit):
        found += _indexes(root, loaded, decision, now)
        found += _champion(root, loaded, now)
    return found


def outbox(commands: Iterable[Command], now: datetime, trace: str = "") -> list[Row]:
    """The outbox rows of commands given now, within a trace."""
    unique = {command.id: command for command in commands}
    return [Row(f"!0|{stamp(now)}|{safe(command.id)}", _traced(command, trace)) for command in unique.values()]


def _traced(command: Command, trace: str) -> dict[str, Any]:
    return {**encode(command), TRACE: trace} if trace else encode(command)


def untraced(row: Row) -> tuple[dict[str, Any], str]:
    """The encoded command of an outbox or due row, and the trace that it was given in."""
    body = dict(row.body)
    return body, str(body.pop(TRACE, ""))


def _root(loaded: Loaded, root: Root) -> list[Write]:
    """The root row is written with every event: its version serialises everything under the root."""
    key = f"{root.id}|0"
    before = loaded.rows.get(key)
    body = {**root.model_dump(mode="json"), "revision": 1 + (before.body["revision"] if before else 0)}
    return [Write("replace" if before else "insert", Row(key, body, before.etag if before else ""))]


def _items(loaded: Loaded, decision: Decision) -> list[Write]:
    found = []
    for item in decision.items.values():
        kind = KINDS[type(item)]
        tail = f"{kind.letter}|{safe(item.id)}"
        root = (decision.root or loaded.root).id
        ended = item.phase in kind.ends
        key = f"{root}|{8 if ended else 1}|{tail}"
        before = loaded.rows.get(f"{root}|1|{tail}") or loaded.rows.get(f"{root}|8|{tail}")
        body = item.model_dump(mode="json")
        if ended:
            file = archive_path(root, kind, filed_under(item))
            found.append(Write("put", kept(kept_as(kind), item.since.date(), key, root=root, item=item.id, file=file)))
        if before and before.key == key:
            found.append(Write("replace", Row(key, body, before.etag)))
            continue
        found += [Write("delete", before)] if before else []
        found.append(Write("insert", Row(key, body)))
    return found


def kept(what: Kept, since: date, key: str, **told: str) -> Row:
    """Says that a row is kept as something since a day (UTC); of an item also whose it is and where it is archived."""
    return Row(f"{KEPT}{what}|{since}|{key}", told)


def kept_before(what: Kept, day: date) -> tuple[str, str]:
    """The range of what is kept as something since days before that one, the oldest first."""
    return f"{KEPT}{what}|", f"{KEPT}{what}|{day}"


def kept_key(row: Row) -> str:
    """The key of the row that is kept."""
    return row.key.split("|", 3)[3]


def remove(store: StateStore, partition: str, keys: Sequence[str]) -> None:
    """Delete rows, at most 100, also where somebody else removes some of them meanwhile."""
    try:
        store.commit(partition, [Write("delete", Row(key, {})) for key in keys])
    except Conflict:
        for key in keys if len(keys) > 1 else ():
            remove(store, partition, [key])


def remembered(what: Kept, row: Row, now: datetime) -> list[Write]:
    """A row beside the roots, with what says since when it is kept; one transaction."""
    return [Write("put", row), Write("put", kept(what, now.date(), row.key))]


def archive_folder(root: str, kind: Kind) -> str:
    return f"archive/{root}/{kind.name.replace(' ', '-')}/"


def archive_path(root: str, kind: Kind, day: date) -> str:
    """The archive's file of a root's items of one kind and month."""
    return f"{archive_folder(root, kind)}{day:%Y-%m}.jsonl"


def index_rows(store: StateStore, partition: str, item: Item) -> list[Row]:
    """The rows beside an ended item and its history that are about it, and not yet about a later one."""
    rows = [store.read(partition, key) for key in _index_keys(item)]
    return [row for row in rows if row and item.id in (row.body.get(name) for name in ("id", "run", "training"))]


def _index_keys(item: Item) -> list[str]:
    match item:
        case Alert():
            return [alerted_key(item.key)]
        case Release():
            return [done_key(item)]
        case ScoringRun():
            return _ledger_keys(item)
        case MonitoringRun():
            return [run_key(item)]
        case TrainingRun(phase=TrainingPhase.ERRORED):
            return [failed_key(item)]
    return []


def _gates(root: Root, loaded: Loaded, decision: Decision) -> list[Write]:
    """The index of open gates, brought in line with what the decision opens and closes."""
    found: list[Write] = []
    for item in decision.items.values():
        if not isinstance(item, Asked):
            continue
        before = loaded.items.get(item.id)
        was = before.approval if isinstance(before, Asked) and is_asked(before) else None
        now_open = item.approval if is_asked(item) else None
        if was and (now_open is None or now_open.id != was.id):
            found.append(Write("delete", Row(gate_key(was), {})))
        if now_open and (was is None or now_open != was):
            found.append(Write("put", Row(gate_key(now_open), _gate(root.id, item, now_open))))
    return found


def _alerts(root: Root, loaded: Loaded, decision: Decision) -> Iterator[Write]:
    """The indexes of open alerts, and of the newest of each key: one may be over and another begin at once."""
    newest: dict[str, Row] = {}
    for alert in decision.items.values():
        if not isinstance(alert, Alert):
            continue
        body = {**alert.model_dump(mode="json"), "root": root.id}
        before = loaded.items.get(alert.id)
        is_open = alert.phase not in ALERT.ends
        if isinstance(before, Alert) and not (is_open and alert_key(before) == alert_key(alert)):
            yield Write("delete", Row(alert_key(before), {}))
        if is_open:
            yield Write("put", Row(alert_key(alert), body))
        newest[alert.key] = Row(alerted_key(alert.key), body)
    yield from (Write("put", row) for row in newest.values())


def _indexes(circuit: Circuit, loaded: Loaded, decision: Decision, now: datetime) -> list[Write]:
    found: list[Write] = []
    for item in decision.items.values():
        if isinstance(item, ScoringRun):
            found += _ledger(item)
        if isinstance(item, TrainingRun) and item.phase == TrainingPhase.ERRORED:
            found.append(Write("put", Row(failed_key(item), {"training": item.id})))
        if isinstance(item, Proposal):
            found += _proposal(item, loaded)
        if not isinstance(item, Release):
            continue
        before = loaded.items.get(item.id)
        done = done_key(item) if item.phase in RELEASE.ends else ""
        if isinstance(before, Release) and before.phase in RELEASE.ends and done_key(before) != done:
            found.append(Write("delete", Row(done_key(before), {})))
        if done:
            found.append(Write("put", Row(done, brief(item))))
    open_items = {**loaded.items, **decision.items}.values()
    releases = [brief(i) for i in open_items if isinstance(i, Release) and i.phase not in RELEASE.ends]
    newest = {name: getattr(circuit, name)[:1] for name in ("performance", "drift", "drift_warnings")}
    summary = {**circuit.model_copy(update=newest).model_dump(mode="json"), "releases": releases, "at": now.isoformat()}
    found.append(Write("put", Row(f"$circuit|{circuit.id}", summary)))
    found += _gone(circuit, loaded)
    was, now_open = _open(loaded.items.values()), _open(open_items)
    if now_open:
        found.append(Write("put", Row(open_key(circuit.id), {"circuit": circuit.id, **now_open})))
    elif was:
        found.append(Write("delete", Row(open_key(circuit.id), {})))
    return found


def _monitoring(run: MonitoringRun) -> Write:
    """The run in the list of its kind."""
    return Write("put", Row(run_key(run), run.model_dump(mode="json", exclude={"operation", "cursor"})))


def run_key(run: MonitoringRun) -> str:
    return f"{runs_prefix(run.monitoring)}{newest_first(run.created_at)}|{safe(run.id)}"


def runs_prefix(monitoring: Monitoring) -> str:
    """Begins the keys of the monitoring runs of one kind."""
    return f"$run|{monitoring}|"


def _open(items: Iterable[Item]) -> dict[str, Any]:
    """What is open of a circuit that people may have to do with; nothing when nothing is."""
    standing = [item for item in items if item.phase not in KINDS[type(item)].ends]
    briefs: dict[str, Any] = {
        "releases": [brief(item) for item in standing if isinstance(item, Release)],
        "holds": [_named(item, ("by", "why")) for item in standing if isinstance(item, Hold)],
        "discrepancies": [_named(item, ("found", "recorded")) for item in standing if isinstance(item, Discrepancy)],
        "rollbacks": [_named(item, ("reason",)) for item in standing if isinstance(item, Rollback)],
        "alerts": [_named(item, ("cause", "severity", "reason")) for item in standing if isinstance(item, Alert)],
    }
    return briefs if any(briefs.values()) else {}


def _named(item: Item, names: Iterable[str]) -> dict[str, Any]:
    return item.model_dump(mode="json", include={"id", "phase", "since", "deadline", *names})


def _act(event: Event, decision: Decision, now: datetime) -> list[Write]:
    """What a person did, for the list of who did what when; nothing for what nobody did."""
    person: Person | None = getattr(event, "person", None)
    by = person.username if person else getattr(event, "asked_by", "")
    if not by or not decision.history:
        return []
    line = decision.history[0]
    moved = [{"item": line.item, "event": line.event, "after": line.after} for line in decision.history]
    told = {name: value for name, value in event.shown().items() if name in _TOLD and value}
    told |= {name: line.detail[name] for name in ("counts", "note") if name in line.detail}
    return [Write("put", act(now, by, type(event).__name__, event.root, f"{line.item}|{line.sequence}", moved, told))]


_TOLD = ("decision", "approval", "reason", "comment")


def act(
    at: datetime,
    by: str,
    name: str,
    root: str,
    key: str,
    moved: Sequence[Mapping[str, Any]] = (),
    told: Mapping[str, Any] | None = None,
) -> Row:
    """What a person did; `key` tells it from what else was done at the same time."""
    body = {"at": at.isoformat(), "by": by, "act": name, "root": root, "moved": list(moved), **(told or {})}
    return Row(f"{ACTS}{newest_first(at)}|{safe(key)}", body)


def given_at(row: Row) -> datetime:
    """When the command of an outbox row was given, or for when that of a due row is."""
    return datetime.strptime(row.key.split("|")[1], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)


def _ledger(item: ScoringRun) -> list[Write]:
    """The run by day; and, once it has published, as what stands for its day and as what its model made."""
    body = Run.of(item).model_dump(mode="json")
    return [Write("put", Row(key, body)) for key in _ledger_keys(item)]


def _ledger_keys(item: ScoringRun) -> list[str]:
    day = f"{item.origin:%Y-%m-%d}"
    found = [f"$day|{day}|{safe(item.id)}"]
    if item.phase == ScoringPhase.SCORED and item.pair:
        found.append(f"{item.circuit}|6|d|{day}")
        found.append(f"{made_prefix(item.circuit, item.pair.model)}{safe(item.id)}")
    return found


def _gone(circuit: Circuit, loaded: Loaded) -> list[Write]:
    """The index of circuits that left: what goes through the fleet reaches them, and their sensors' readings do."""
    assert isinstance(loaded.root, Circuit)
    key, was = f"$gone|{circuit.id}", loaded.root.departure
    if circuit.departure and (not was or circuit.sensor != loaded.root.sensor):
        return [Write("put", Row(key, {"circuit": circuit.id, "sensor": circuit.sensor}))]
    return [Write("delete", Row(key, {}))] if was and not circuit.departure else []


def gone(store: StateStore) -> dict[str, str]:
    """The sensor of each circuit that left the configuration and is not retired; one range read a shard."""
    rows = [row for shard in store.shards for row in store.read_range(shard, *GONE)]
    return {row.body["circuit"]: row.body["sensor"] for row in rows}


def _champion(circuit: Circuit, loaded: Loaded, now: datetime) -> list[Write]:
    assert isinstance(loaded.root, Circuit)
    if circuit.serving == loaded.root.serving:
        return []
    champion = Champion(pair=circuit.serving, since=now, served_by=circuit.served_by, previous=loaded.root.serving)
    key = f"{circuit.id}|7|{newest_first(now)}|{safe(circuit.served_by)}"
    return [Write("put", Row(key, champion.model_dump(mode="json")))]


def _gate(circuit: str, release: Asked, approval: Approval) -> dict[str, Any]:
    """An open gate, and the look at it where people answer outside."""
    look = LookAtGate(root=circuit, item=release.id, step=release.step, approval=approval.id)
    outside = approval.channel is not Channel.PRODUCT
    return {
        "circuit": circuit,
        "release": release.id,
        "look": encode(look) if outside else None,
        **approval.model_dump(mode="json", include={"id", "gate", "requested_at", "expires_at"}),
    }


def is_asked(release: Asked) -> bool:
    """Whether a gate of the release is open."""
    return release.approval is not None and release.phase in GATES


def gate_key(approval: Approval) -> str:
    return f"$gate|{stamp(approval.requested_at)}|{safe(approval.id)}"


def _proposal(proposal: Proposal, loaded: Loaded) -> list[Write]:
    """The index of open proposals; one that begins and ends at once never was in it."""
    key = f"{OPEN_PROPOSALS}{newest_first(proposal.created_at)}|{safe(proposal.id)}"
    if proposal.phase not in PROPOSAL.ends:
        return [Write("put", Row(key, proposal.model_dump(mode="json")))]
    return [Write("delete", Row(key, {}))] if proposal.id in loaded.items else []


def failed_since(since: datetime, now: datetime) -> tuple[str, str]:
    """The range of trainings that failed between two times."""
    return f"{FAILED_TRAININGS}{newest_first(now)}|", f"{FAILED_TRAININGS}{newest_first(since)}|"


def failed_key(training: TrainingRun) -> str:
    return f"{FAILED_TRAININGS}{newest_first(training.since)}|{safe(training.id)}"


def alerts_of(severity: Severity) -> str:
    """How the rows of open alerts of one severity begin: the critical ones come first."""
    return f"{OPEN_ALERTS}{list(Severity)[::-1].index(severity)}|"


def alert_key(alert: Alert) -> str:
    """The index row of an open alert."""
    return f"{alerts_of(alert.severity)}{newest_first(alert.created_at)}|{safe(alert.id)}"


def alerted_key(key: str) -> str:
    """The index row of a key's newest alert."""
    return f"$alerted|{safe(key)}"


def open_key(circuit: str) -> str:
    return f"$open|{circuit}"


def done_key(release: Release) -> str:
    """The index row of an ended release."""
    return f"$done|{newest_first(release.since)}|{safe(release.id)}"


def brief(release: Release) -> dict[str, Any]:
    """A release in a list."""
    names = {"id", "circuit", "version", "environment", "phase", "since", "deadline", "reason", "created_at"}
    return release.model_dump(mode="json", include=names)
