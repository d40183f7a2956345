"""Signals: what Event Grid brings, believed only from our topics, checked field by field, and never lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.local.state_store import MemoryStateStore
from shared.advance import Advanced
from shared.application import Application
from shared.archive import Archive
from shared.dead_letters import BODY_LIMIT
from shared.domain.identifiers import CHECKED_BY
from shared.domain.machine import Verdict
from shared.domain.messages import Event
from shared.errors import Invalid, Transient
from shared.ports import Write
from shared.queries import Queries
from shared.relay import Work
from shared.signals import Signals
from shared.subscriptions import (
    BLOB_CREATED,
    BLOB_RENAMED,
    ENVIRONMENT_REGISTERED,
    ETL_COMPLETED,
    MODEL_REGISTERED,
    RUN_COMPLETED,
    RUN_STATUS_CHANGED,
    Source,
)
from shared.undelivered import Undelivered
from tests.builders import CIRCUIT, circuits
from tests.simulated import SimulatedUndelivered
from tests.world import Fleet, World

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_DIR = ROOT / os.environ.get("REFERENCE_DIR", "../shared")
SAMPLES = REFERENCE_DIR / "specs/azure-rest/eventgrid/data-plane"
GROUP = "/subscriptions/1/resourceGroups/rg/providers"
DEV = f"{GROUP}/Microsoft.MachineLearningServices/workspaces/dev"
TEST = f"{GROUP}/Microsoft.MachineLearningServices/workspaces/test"
PRODUCTION = f"{GROUP}/Microsoft.MachineLearningServices/workspaces/production"
LAKE = f"{GROUP}/Microsoft.Storage/storageAccounts/lake"
OWN = f"{GROUP}/Microsoft.EventGrid/topics/fleet"
TOPICS = {
    Source.DEV_WORKSPACE: DEV,
    Source.TEST_WORKSPACE: TEST,
    Source.PRODUCTION_WORKSPACE: PRODUCTION,
    Source.LAKE: LAKE,
    Source.OWN_TOPIC: OWN,
}
LOG_FILE = "https://lake.blob.core.windows.net/lake/processed/sensor_data/_delta_log/00000000000000000007.json"


@pytest.fixture
def world() -> World:
    return World(Fleet(names=circuits(3)))


@pytest.fixture
def signals(world: World) -> Signals:
    return Signals(world.app, TOPICS)


def document(kind: str, content: Any, topic: str, **envelope: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "topic": topic,
        "subject": "s",
        "eventType": kind,
        "data": content,
        "dataVersion": "",
        **envelope,
    }


def registered(topic: str = DEV, **content: Any) -> dict[str, Any]:
    return document(MODEL_REGISTERED, {"modelName": f"sensor_model_{CIRCUIT}", "modelVersion": "1", **content}, topic)


def letters(world: World) -> list[Mapping[str, Any]]:
    return list(world.queries.dead_letters(200).entries)


def looks(world: World) -> list[Any]:
    return [Work.from_json(message.text).command for message in world.queue.messages]


def refused(world: World, signals: Signals, event: Mapping[str, Any]) -> str:
    """The reason of the one dead letter that the event became; nothing else was written."""
    before = {key: row for key, row in world.rows().items() if key[0] != "dead"}
    assert signals.hear(event).startswith("refused: ")
    assert {key: row for key, row in world.rows().items() if key[0] != "dead"} == before
    assert not world.queue.messages
    (letter,) = letters(world)
    assert letter["source"] == "event grid"
    return str(letter["reason"])


# ------------------------------------------------------------------------------------------------------- what is heard


@pytest.mark.parametrize(
    "content",
    [
        {"ModelName": f"sensor_model_{CIRCUIT}", "ModelVersion": 3, "ModelTags": {"mae": "0.1"}},
        {"modelName": f"sensor_model_{CIRCUIT}", "modelVersion": "3", "modelTags": {"mae": "0.1"}},
        {"MODELNAME": f"sensor_model_{CIRCUIT}", "modelversion": "03"},
    ],
)
def test_a_registration_in_any_published_spelling_begins_a_release(
    world: World, signals: Signals, content: dict[str, Any]
) -> None:
    assert signals.hear(document(MODEL_REGISTERED, content, DEV)) == "applied"
    assert [release.version for release in world.releases()] == [3]
    assert signals.hear(document(MODEL_REGISTERED, content, DEV)) == "ignored"
    assert not letters(world)


def test_resource_ids_are_compared_without_regard_to_case(world: World, signals: Signals) -> None:
    assert signals.hear(registered(DEV.upper())) == "applied"
    assert signals.hear(registered(DEV)) == "ignored"


@pytest.mark.parametrize("kind", [RUN_COMPLETED, RUN_STATUS_CHANGED])
def test_the_end_of_a_job_of_ours_makes_us_look_and_of_another_does_not(
    world: World, signals: Signals, kind: str
) -> None:
    release = f"{CIRCUIT}:1"
    world.register()
    world.run(minutes=5)
    world.approve(release)
    while world.phase(release) != "testing" or not world.operations.running("test inference"):
        world.run(minutes=1)
    (job,) = world.operations.running("test inference")
    world.queue.messages.clear()
    assert signals.hear(document(kind, {"RunId": job.reference, "runType": None}, TEST)) == "looking"
    assert [command.reference for command in looks(world)] == [job.reference]
    assert signals.hear(document(kind, {"runId": "AutoML_ad912b2d-6467_5"}, TEST)) == "no job of ours"
    assert not letters(world)


def breach(**content: Any) -> dict[str, Any]:
    """The end of a run of AzureML's model monitors that found a threshold broken."""
    tags = {"azureml_modelmonitor_threshold_breached": "data_drift", **content.pop("tags", {})}
    told = {"runId": "monitor-7", "runStatus": "completed", "runTags": tags, "experimentName": "drift", **content}
    return document("Microsoft.MachineLearningServices.RunStatusChanged", told, PRODUCTION)


@pytest.mark.parametrize(
    "event",
    [
        breach(tags={"plant_id": "P001", "circuit_id": "C001"}),
        breach(experimentName="plant_P001_circuit_C001"),
    ],
    ids=["by its tags", "by its experiment"],
)
def test_a_model_monitor_of_azureml_that_broke_a_threshold_is_a_warning_of_drift(
    world: World, signals: Signals, event: dict[str, Any]
) -> None:
    assert signals.hear(event) == "applied"
    assert signals.hear(event) == "ignored", "told again, it is the same warning"
    (warned,) = world.circuit().drift_warnings
    assert (warned.verdict, warned.check) == ("warning", f"{CIRCUIT}!model-monitor-monitor-7")
    assert warned.shown_at == f"https://ml.azure.com/runs/monitor-7?wsid={event['topic']}"
    shown = Queries(world.store, Archive(world.documents)).check(CIRCUIT, "model-monitor-monitor-7")
    assert shown is not None and shown["finding"]["shown_at"] == warned.shown_at
    assert CHECKED_BY.fits("model-monitor-monitor-7") and CHECKED_BY.fits("drift-2026-03-31")


def test_a_model_monitor_that_names_no_circuit_is_refused_with_how_it_could(world: World, signals: Signals) -> None:
    told = refused(world, signals, breach())
    assert "monitor-7 broke a threshold and names no circuit" in told
    assert "the tags plant_id and circuit_id, or the experiment plant_{plant}_circuit_{circuit}" in told


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (BLOB_CREATED, {"api": "PutBlob", "url": LOG_FILE}),
        (BLOB_CREATED, {"api": "FlushWithClose", "url": LOG_FILE}),
        (BLOB_RENAMED, {"api": "RenameFile", "destinationUrl": LOG_FILE, "sourceUrl": f"{LOG_FILE}.tmp"}),
    ],
)
def test_a_file_of_the_delta_log_makes_us_read_that_commit(
    world: World, signals: Signals, kind: str, content: dict[str, Any]
) -> None:
    assert signals.hear(document(kind, content, LAKE)) == "looking"
    assert [command.version for command in looks(world)] == [7]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (BLOB_CREATED, {"api": "CreateFile", "url": LOG_FILE}),
        (BLOB_CREATED, {"api": "PutBlob", "url": LOG_FILE.replace(".json", ".checkpoint.parquet")}),
        (BLOB_CREATED, {"api": "PutBlob", "url": LOG_FILE.replace("sensor_data", "other_data")}),
        (BLOB_CREATED, {"api": "PutBlob", "url": LOG_FILE.replace("0000000000000000000", "")}),
        (BLOB_RENAMED, {"destinationUrl": f"{LOG_FILE}.tmp", "sourceUrl": LOG_FILE}),
    ],
)
def test_other_files_are_nothing_to_us_and_no_dead_letter(
    world: World, signals: Signals, kind: str, content: dict[str, Any]
) -> None:
    signals.hear(document(kind, content, LAKE))
    assert not looks(world) and not letters(world)


@pytest.mark.parametrize(("version", "read"), [(0, 0), ("12", 12), (None, None)])
def test_a_completed_etl_run_makes_us_read_its_commit_or_the_newest(
    world: World, signals: Signals, version: object, read: int | None
) -> None:
    content = {"runId": "etl-1", "tableId": "t", "version": version, "report": "runs/1.json"}
    assert signals.hear(document(ETL_COMPLETED, content, OWN, dataVersion="1.0")) == "looking"
    assert [command.version for command in looks(world)] == [read]


def test_a_registered_environment_begins_its_release(world: World, signals: Signals) -> None:
    world.platform.dev_environments["1.1.0"] = {"backward_compatible": "true", "requires_retrain": "false"}
    assert signals.hear(document(ENVIRONMENT_REGISTERED, {"version": "1.1.0"}, OWN)) == "applied"
    world.run(minutes=5)
    assert world.phase("sensor-forecast-env:1.1.0") == "settled"  # nothing serves: nobody is asked


@pytest.mark.parametrize("version", ["1.1", "latest", "01.1.0", "1.1.0-rc1", 110, None])
def test_an_environment_that_has_no_semantic_version_is_refused(
    world: World, signals: Signals, version: object
) -> None:
    assert "data.version" in refused(world, signals, document(ENVIRONMENT_REGISTERED, {"version": version}, OWN))


def sample(name: str) -> dict[str, Any]:
    """A published sample, as a source of ours would send it."""
    (path,) = SAMPLES.rglob(f"{name}.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return {**content, "topic": LAKE if "Microsoft.Storage" in str(path) else TEST}


needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="REFERENCE_DIR holds no Event Grid samples")


@needs_samples
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper, lambda key: key[:1].lower() + key[1:]])
def test_the_published_registration_is_understood_in_every_spelling(
    world: World, signals: Signals, spelling: Callable[[str], str]
) -> None:
    model = {**sample("model_registered"), "topic": DEV}
    model["data"] = {spelling(key): value for key, value in model["data"].items()}
    assert "sklearn_regression_model" in refused(world, signals, model)
    model["data"] = {**model["data"], spelling("ModelName"): f"sensor_model_{CIRCUIT}"}
    assert signals.hear(model) == "applied"
    as_text = {**model, "data": {**model["data"], spelling("ModelVersion"): "20"}}
    assert signals.hear(as_text) == "ignored"
    assert [release.version for release in world.releases()] == [20]


@needs_samples
def test_every_published_sample_is_either_understood_or_refused_by_its_kind(world: World, signals: Signals) -> None:
    understood = {
        "run_status_changed": "no job of ours",
        "blob_created": "not a commit of the Delta log",
        "blob_renamed": "not a commit of the Delta log",
    }
    names = {path.stem for path in SAMPLES.rglob("*.json") if "examples" in path.parts}
    assert understood.keys() < names
    for name in names - understood.keys() - {"model_registered"}:
        assert signals.hear(sample(name)).startswith("refused: eventType"), name
    for name, answer in understood.items():
        assert signals.hear(sample(name)) == answer


@needs_samples
def test_a_commit_of_the_delta_log_is_understood_in_the_samples_form(world: World, signals: Signals) -> None:
    created, renamed = sample("blob_created"), sample("blob_renamed")
    created["data"]["url"] = renamed["data"]["destinationUrl"] = LOG_FILE
    for event in (created, renamed):
        assert signals.hear(event) == "looking"
    assert [command.version for command in looks(world)] == [7, 7]


# ----------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "topic", ["", None, f"{DEV}x", f"{GROUP}/Microsoft.MachineLearningServices/workspaces/evil", 7]
)
def test_an_event_of_another_topic_is_refused_and_recorded(world: World, signals: Signals, topic: Any) -> None:
    reason = refused(world, signals, registered(topic))
    assert reason.startswith("topic: ") and "not a topic of ours" in reason


@pytest.mark.parametrize(
    ("kind", "content", "topic"),
    [
        (MODEL_REGISTERED, {"modelName": f"sensor_model_{CIRCUIT}", "modelVersion": "1"}, OWN),
        (MODEL_REGISTERED, {"modelName": f"sensor_model_{CIRCUIT}", "modelVersion": "1"}, LAKE),
        (MODEL_REGISTERED, {"modelName": f"sensor_model_{CIRCUIT}", "modelVersion": "1"}, TEST),
        (MODEL_REGISTERED, {"modelName": f"sensor_model_{CIRCUIT}", "modelVersion": "1"}, PRODUCTION),
        (RUN_COMPLETED, {"runId": "job"}, OWN),
        (RUN_STATUS_CHANGED, {"runId": "job"}, DEV),
        (BLOB_CREATED, {"url": LOG_FILE, "api": "PutBlob"}, DEV),
        (ETL_COMPLETED, {"runId": "etl"}, DEV),
    ],
)
def test_a_topic_of_ours_is_believed_only_for_what_it_tells_of(
    world: World, signals: Signals, kind: str, content: dict[str, Any], topic: str
) -> None:
    assert "does not tell of" in refused(world, signals, document(kind, content, topic))


@pytest.mark.parametrize(
    "kind",
    ["Microsoft.MachineLearningServices.DatasetDriftDetected", "Microsoft.Storage.BlobDeleted", "", None, "x" * 5000],
)
def test_unknown_and_old_kinds_are_refused_with_the_known_ones(world: World, signals: Signals, kind: Any) -> None:
    reason = refused(world, signals, document(kind, {}, DEV))
    assert reason.startswith("eventType: ") and MODEL_REGISTERED in reason


@pytest.mark.parametrize(
    "version", ["abc", "", 0, "0", -1, "-1", 1.5, "1.5", "1e3", True, None, [1], "9" * 10, 10**12, "\u0661"]
)
def test_a_version_must_be_a_whole_number_from_one(world: World, signals: Signals, version: Any) -> None:
    reason = refused(world, signals, registered(modelVersion=version))
    assert reason.startswith("data.modelVersion: ") and "a whole number from 1" in reason


@pytest.mark.parametrize(
    "name",
    [
        "sklearn_regression_model",
        "sensor_model_",
        "sensor_model_P001",
        "sensor_model_P001_C001/../../etc/passwd",
        "../sensor_model_P001_C001",
        "sensor_model_P001_C001\n",
        "sensor_model_P\u0661_C001",
        f"sensor_model_{'P' * 300}_C001",
        None,
        7,
        "",
        {"name": "sensor_model_P001_C001"},
        "x" * 100_000,
    ],
    ids=lambda name: repr(name)[:30],
)
def test_a_name_that_is_no_circuits_model_is_refused(world: World, signals: Signals, name: Any) -> None:
    assert refused(world, signals, registered(modelName=name)).startswith("data.modelName: ")


def test_a_circuit_that_is_not_configured_is_refused_by_name(world: World, signals: Signals) -> None:
    reason = refused(world, signals, registered(modelName="sensor_model_P009_C009"))
    assert "there is no circuit P009_C009" in reason and "plants_circuits.yml" in reason


@pytest.mark.parametrize("content", [None, [], "text", 7, [{"modelName": f"sensor_model_{CIRCUIT}"}]])
def test_an_event_without_an_object_of_data_is_refused(world: World, signals: Signals, content: Any) -> None:
    assert refused(world, signals, document(MODEL_REGISTERED, content, DEV)).startswith("data: ")


@pytest.mark.parametrize("job", [None, "", "../../etc", "a/b", "a#b", "j" * 300, "\u00e4", 5])
def test_a_job_that_no_platform_would_name_so_is_refused(world: World, signals: Signals, job: Any) -> None:
    assert refused(world, signals, document(RUN_COMPLETED, {"runId": job}, TEST)).startswith("data.runId: ")


@pytest.mark.parametrize("version", ["2.0", "0.9", 2])
def test_our_own_event_in_a_version_we_do_not_know_is_refused(world: World, signals: Signals, version: Any) -> None:
    event = document(ETL_COMPLETED, {"runId": "etl"}, OWN, dataVersion=version)
    assert refused(world, signals, event).startswith("dataVersion: ")


class DeafCore(Application):
    """Tells the lake what was meant for a circuit; the lake hears of no registrations."""

    def advance(self, event: Event) -> Advanced:
        return super().advance(event.model_copy(update={"root": "lake"}))


def test_what_the_core_refuses_becomes_a_dead_letter(world: World) -> None:
    """No circuit refuses a registration today; when one does, the only telling of a fact must not end in a log."""
    signals = Signals(DeafCore(world.app.ports, world.fleet), TOPICS)
    assert "could not take it" in refused(world, signals, registered())


class StoreWithOutages(MemoryStateStore):
    down = False

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        if self.down:
            raise Transient("the state does not answer")
        super().commit(partition, writes)


def test_while_the_state_does_not_answer_the_event_is_left_to_its_sender() -> None:
    store = StoreWithOutages(shards=2)
    world = World(store=store)
    signals = Signals(world.app, TOPICS)
    store.down = True
    for event in (registered(), registered("elsewhere")):
        with pytest.raises(Transient):
            signals.hear(event)
    store.down = False
    assert signals.hear(registered()) == "applied"


# -------------------------------------------------------------------------------------------------------- dead letters


def test_what_comes_from_outside_is_kept_as_it_came(world: World, signals: Signals) -> None:
    event = registered("elsewhere", note="\x00<script>\U0001f6a8'; DROP TABLE --", nested={"a": [1, None, {"b": "ä"}]})
    signals.hear(event)
    assert letters(world)[0]["body"] == event


@pytest.mark.parametrize(
    ("characters", "kept"), [(100, "body"), (20_000, "document"), (200_000, "document"), (BODY_LIMIT + 1, "cut")]
)
def test_a_flood_costs_bounded_rows_and_what_fits_is_kept_whole(
    world: World, signals: Signals, characters: int, kept: str
) -> None:
    event = registered(f"elsewhere{'!' * 3000}", padding="\U0001f6a8" * (characters // 12))
    signals.hear(event)
    (letter,) = letters(world)
    assert kept in letter
    assert len(letter["reason"]) <= 500
    assert len(json.dumps(letter)) < 32 * 1024
    whole = world.app.dead_letters.find(letter["id"])
    assert whole is not None
    assert whole.get("body") == (event if kept != "cut" else None)


def test_a_dead_letter_is_replayed_once_its_cause_is_mended_and_says_so(world: World, signals: Signals) -> None:
    signals.hear(registered("elsewhere"))
    (letter,) = letters(world)
    with pytest.raises(Invalid, match="not a topic of ours"):
        world.app.replay(letter["id"], signals.replayers(), "erik")
    assert letters(world) == [letter]
    mended = Signals(world.app, {**TOPICS, Source.LAKE: "elsewhere"})
    with pytest.raises(Invalid, match="does not tell of"):
        world.app.replay(letter["id"], mended.replayers(), "erik")

    signals.hear(registered(modelName="sensor_model_P009_C009"))
    (unknown,) = [each for each in letters(world) if each != letter]
    world.fleet = Fleet(names=(*circuits(3), "P009_C009"))
    world.app = world._start()
    mended = Signals(world.app, TOPICS)
    replay = world.app.replay(unknown["id"], mended.replayers(), "erik@plant.example")
    assert (replay.result, replay.repeated) == (Verdict.APPLIED, False)
    marked = next(each for each in letters(world) if each["id"] == unknown["id"])
    assert (marked["replayed_by"], marked["replay_result"]) == ("erik@plant.example", "applied")
    assert marked["replayed_at"] == world.now().isoformat()


def gave_up(event: dict[str, Any]) -> dict[str, Any]:
    """An event as Event Grid leaves it when nobody took it."""
    about = {"deadLetterReason": "TimeToLiveExceeded", "deliveryAttempts": 12, "lastDeliveryOutcome": "NotFound"}
    return {**event, **about, "publishTime": "2026-01-30T06:00:00Z", "lastDeliveryAttemptTime": "2026-01-31T06:00:00Z"}


def test_what_event_grid_gave_up_is_listed_and_tried_again_as_any_other_dead_letter(
    world: World, signals: Signals
) -> None:
    event = registered()
    world.undelivered.files = {"ON-MODEL-REGISTERED/2026/1/31/6/1.json": [gave_up(event)], "2.json": "no events"}
    undelivered = Undelivered(world.undelivered, world.app.dead_letters)
    assert (undelivered.collect(), undelivered.collect()) == (2, 0)
    assert world.undelivered.files == {}
    (known,) = [letter for letter in letters(world) if letter["body"] == event]
    assert known["reason"] == "Event Grid gave it up (TimeToLiveExceeded) after 12 attempts, the last: NotFound"
    assert world.app.replay(known["id"], signals.replayers(), "erik").result == Verdict.APPLIED
    world.tell(lambda app: app.watch())
    world.run(minutes=1)
    assert "dead-letters:fleet" in {row["key"] for row in world.queries.alerts(10).entries}


def test_what_event_grid_gave_up_is_not_lost_when_it_cannot_be_removed(world: World, signals: Signals) -> None:
    class Held(SimulatedUndelivered):
        def remove(self, name: str) -> None:
            raise Transient("the storage is busy")

    held = Held()
    held.files = {"1.json": [gave_up(registered())]}
    undelivered = Undelivered(held, world.app.dead_letters)
    assert undelivered.collect() == undelivered.collect() == 1
    results = [world.app.replay(letter["id"], signals.replayers(), "erik").result for letter in letters(world)]
    assert sorted(results) == [Verdict.APPLIED, Verdict.IGNORED]


def test_a_second_replay_does_nothing_and_tells_of_the_first(world: World, signals: Signals) -> None:
    identity = world.app.dead_letters.record("event grid", "an outage", registered())
    first = world.app.replay(identity, signals.replayers(), "erik")
    before = world.rows()
    second = world.app.replay(identity, signals.replayers(), "maria")
    assert (second.result, second.repeated, first.repeated) == (first.result, True, False)
    assert world.rows() == before


def test_work_that_was_given_up_is_put_on_the_queue_again(world: World, signals: Signals) -> None:
    world.app.read_delta_log(7, "etl")
    (message,) = world.queue.messages
    world.app.poisoned(message.text)
    world.queue.messages.clear()
    (letter,) = letters(world)
    world.app.replay(letter["id"], signals.replayers(), "erik")
    assert [command.version for command in looks(world)] == [7]


@pytest.mark.parametrize("text", ["", "no json", '{"command": {"command": "Unknown"}}', "[]", '"text"', "\ufffd\ufffd"])
def test_a_poisoned_message_that_is_no_command_is_kept_and_cannot_be_replayed(
    world: World, signals: Signals, text: str
) -> None:
    world.app.poisoned(text)
    (letter,) = letters(world)
    assert letter["body"] == {"work": text}
    with pytest.raises(Invalid, match="work: "):
        world.app.replay(letter["id"], signals.replayers(), "erik")


def test_what_is_cut_or_of_an_unknown_source_cannot_be_replayed(world: World, signals: Signals) -> None:
    cut = world.app.dead_letters.record("event grid", "too long", {"padding": "x" * BODY_LIMIT})
    strange = world.app.dead_letters.record("elsewhere", "?", {})
    for identity, named in ((cut, "body: "), (strange, "source: "), ("0000000000000-000000000000", "id: ")):
        with pytest.raises(Invalid, match=named):
            world.app.replay(identity, signals.replayers(), "erik")


def test_the_list_is_newest_first_and_pages_without_gap_or_repetition(world: World, signals: Signals) -> None:
    for number in range(7):
        signals.hear(registered("elsewhere", modelVersion=number))
        world.run(minutes=1)
    queries, seen, token = world.queries, [], None
    while True:
        listing = queries.dead_letters(3, token)
        seen += [entry["body"]["data"]["modelVersion"] for entry in listing.entries]
        token = listing.continuation
        if token is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1, 0]


# ------------------------------------------------------------------------------------------- events that come by queue


def test_an_event_from_the_queue_is_heard_as_one_that_is_pushed(world: World, signals: Signals) -> None:
    assert signals.hear_message(json.dumps(registered())) == "applied"
    assert signals.hear(registered()) == "ignored"


@pytest.mark.parametrize("text", ["", "no json", "[]", '"text"', "\ufffd"])
def test_a_message_that_is_no_event_is_kept(world: World, signals: Signals, text: str) -> None:
    assert signals.hear_message(text) == "refused: the message is no JSON object"
    (letter,) = letters(world)
    assert letter["body"] == {"text": text}
    with pytest.raises(Invalid, match="topic: "):
        world.app.replay(letter["id"], signals.replayers(), "erik")


def test_an_event_that_the_queue_gave_up_can_be_replayed(world: World, signals: Signals) -> None:
    signals.given_up(json.dumps(registered()))
    (letter,) = letters(world)
    assert world.app.replay(letter["id"], signals.replayers(), "erik").result == "applied"
