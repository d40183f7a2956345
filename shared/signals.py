"""Signals: what comes in from outside as an Event Grid event, checked and turned into what the core understands.

A signal is believed only from a source of ours, and only of the kind that this source tells of (`subscriptions`): a
custom topic carries whatever its key's holder writes, so it cannot say that a model was registered. What cannot be
taken is kept as a dead letter, never half-applied. Published samples of AzureML's events and their schema differ in
spelling and types: keys are read case-insensitively.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from shared.application import Application
from shared.dead_letters import Replayer
from shared.domain.environment.messages import EnvironmentRegistered
from shared.domain.machine import Verdict
from shared.domain.messages import ModelRegistered
from shared.domain.monitoring.messages import ModelMonitorBreached
from shared.domain.values import ENVIRONMENT, is_semantic
from shared.errors import Invalid, Permanent
from shared.subscriptions import (
    BLOB_CREATED,
    BLOB_RENAMED,
    ENVIRONMENT_REGISTERED,
    ETL_COMPLETED,
    MODEL_REGISTERED,
    RUN_COMPLETED,
    RUN_STATUS_CHANGED,
    Source,
    sources_of,
)

log = logging.getLogger("fleet.signals")

SOURCE = "event grid"
"""What dead letters of signals are filed under."""

MODEL_NAME = re.compile(r"sensor_model_([A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12})")
EXPERIMENT = re.compile(r"plant_([A-Za-z][A-Za-z0-9]{0,6})_circuit_([A-Za-z][A-Za-z0-9]{0,12})")
MODEL_MONITOR_TAG = "azureml_modelmonitor_threshold_breached"
"""The tag of a run of AzureML's model monitors that found a threshold broken."""
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
DELTA_LOG = re.compile(r"/processed/sensor_data/_delta_log/([0-9]{20})\.json$")
OWN_VERSIONS = ("", "1", "1.0")

Document = Mapping[str, Any]


class Signals:
    """Hears Event Grid events; `hear` never raises for bad input, only when it should be told again."""

    def __init__(self, application: Application, topics: Mapping[Source, str]) -> None:
        """`topics`: the resource id of every source, which is the topic of its events."""
        self._application = application
        self._sources = {topic.casefold(): source for source, topic in topics.items()}
        self._heard: Mapping[str, Callable[[Document], str]] = {
            MODEL_REGISTERED: self._model_registered,
            RUN_COMPLETED: self._run_changed,
            RUN_STATUS_CHANGED: self._run_changed,
            BLOB_CREATED: self._blob_written,
            BLOB_RENAMED: self._blob_written,
            ETL_COMPLETED: self._etl_completed,
            ENVIRONMENT_REGISTERED: self._environment_registered,
        }

    def hear(self, document: Document) -> str:
        """Take one event; what is not acceptable becomes a dead letter with the reason. Returns what came of it.

        Raises Transient: the sender, who gets no answer then, sends it again.
        """
        try:
            return self._take(document)
        except (Invalid, Permanent) as refused:
            return self._kept(str(refused), document)

    def hear_message(self, text: str) -> str:
        """Take an event that Event Grid put into a queue: one JSON object. Otherwise as `hear`."""
        document = _document(text)
        if document is None:
            return self._kept("the message is no JSON object", {"text": text})
        return self.hear(document)

    def given_up(self, text: str) -> str:
        """Keep an event that the queue delivered as often as it does, each time in vain."""
        return self._kept("it was tried as often as the queue does", _document(text) or {"text": text})

    def replayers(self) -> Mapping[str, Replayer]:
        """How dead letters of signals are tried again: as if they came now."""
        return {SOURCE: self._take}

    def _kept(self, reason: str, document: Document) -> str:
        identity = self._application.dead_letters.record(SOURCE, reason, dict(document))
        log.warning("event refused and kept as dead letter %s: %s", identity, reason)
        return f"refused: {reason}"

    def _take(self, document: Document) -> str:
        topic, kind = str(document.get("topic") or ""), str(document.get("eventType") or "")
        source = self._sources.get(topic.casefold())
        if source is None:
            raise Invalid("topic", f"{topic!r:.200} is not a topic of ours", "the resources named in the settings")
        take = self._heard.get(kind)
        if take is None:
            raise Invalid("eventType", f"{kind!r:.100} is not heard here", ", ".join(sorted(self._heard)))
        if source not in sources_of(kind):
            tellers = ", ".join(sorted(sources_of(kind)))
            raise Invalid("topic", f"{topic!r:.200} does not tell of {kind}", f"the topic of: {tellers}")
        return take(document)

    def _model_registered(self, document: Document) -> str:
        fields = _fields(document)
        name = _text(fields, "modelName")
        match = MODEL_NAME.fullmatch(name)
        if match is None:
            raise Invalid("data.modelName", f"{name!r:.100} is no circuit's model", "sensor_model_{plant}_{circuit}")
        circuit = match.group(1)
        if circuit not in self._application.directory.circuits():
            raise Invalid("data.modelName", f"there is no circuit {circuit}", "the circuits of plants_circuits.yml")
        tags = fields.get("modeltags") or {}
        digest = hashlib.sha256(json.dumps(tags, sort_keys=True, default=str).encode()).hexdigest()[:12] if tags else ""
        workspace = str(document["topic"]).casefold().rpartition("/")[2]
        event = ModelRegistered(
            root=circuit, version=_version(fields, "modelVersion"), workspace=workspace, tags_digest=digest
        )
        advanced = self._application.advance(event)
        if advanced.verdict is Verdict.REFUSED:  # nobody tells it again: a person must see that it was not taken
            raise Invalid("event", f"{circuit} could not take it: {advanced.reason}", "what its release can hear now")
        return advanced.verdict

    def _run_changed(self, document: Document) -> str:
        job = _text(_fields(document), "runId")
        if not JOB_NAME.fullmatch(job):
            raise Invalid("data.runId", f"{job!r:.100} is no job's name", "letters, digits, '.', '_' and '-'")
        if breached := _tags(_fields(document)).get(MODEL_MONITOR_TAG):
            return self._model_monitor_breached(job, breached, document)
        return "looking" if self._application.look_at_job(job) else "no job of ours"

    def _model_monitor_breached(self, job: str, breached: str, document: Document) -> str:
        """A model monitor that somebody set up in AzureML: its run says by its tags, or its experiment, whose it is."""
        fields = _fields(document)
        tags, experiment = _tags(fields), EXPERIMENT.fullmatch(str(fields.get("experimentname") or ""))
        named = experiment.groups() if experiment else (tags.get("plant_id", ""), tags.get("circuit_id", ""))
        circuit = "_".join(named)
        if circuit not in self._application.directory.circuits():
            allowed = "the tags plant_id and circuit_id, or the experiment plant_{plant}_circuit_{circuit}"
            raise Invalid("data.runTags", f"{job} broke a threshold and names no circuit ({circuit!r:.40})", allowed)
        told_at = self._application.ports.clock.now()
        shown_at = f"https://ml.azure.com/runs/{job}?wsid={document['topic']}"
        breach = ModelMonitorBreached(root=circuit, job=job, tag=breached[:200], shown_at=shown_at, told_at=told_at)
        return self._application.advance(breach).verdict

    def _environment_registered(self, document: Document) -> str:
        version = _text(_fields(document), "version")
        if not is_semantic(version):
            raise Invalid("data.version", f"is {version!r:.40}", "three whole numbers, as 1.1.0")
        return self._application.advance(EnvironmentRegistered(root=ENVIRONMENT, version=version)).verdict

    def _blob_written(self, document: Document) -> str:
        fields = _fields(document)
        address = _text(fields, "destinationUrl" if document["eventType"] == BLOB_RENAMED else "url")
        match = DELTA_LOG.search(address)
        if match is None:
            return "not a commit of the Delta log"
        if fields.get("api") == "CreateFile":
            return "the file is empty until it is flushed and closed"
        self._application.read_delta_log(int(match.group(1)), "blob")
        return "looking"

    def _etl_completed(self, document: Document) -> str:
        fields = _fields(document)
        if str(document.get("dataVersion") or "") not in OWN_VERSIONS:
            raise Invalid("dataVersion", f"is {document['dataVersion']!r:.40}", ", ".join(filter(None, OWN_VERSIONS)))
        _text(fields, "runId")
        version = None if fields.get("version") is None else _version(fields, "version", least=0)
        self._application.read_delta_log(version, "etl")
        return "looking"


def _document(text: str) -> Document | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fields(document: Document) -> Mapping[str, Any]:
    """The event's data with keys in lower case."""
    found = document.get("data")
    if not isinstance(found, Mapping):
        raise Invalid("data", f"is {type(found).__name__}", "an object")
    return {str(key).lower(): value for key, value in found.items()}


def _tags(fields: Mapping[str, Any]) -> Mapping[str, str]:
    """The run's tags, with keys in lower case."""
    found = fields.get("runtags")
    return {str(name).lower(): str(text) for name, text in found.items()} if isinstance(found, Mapping) else {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name.lower())
    if not isinstance(value, str) or not value or len(value) > 2000:
        raise Invalid(f"data.{name}", f"is {value!r:.80}", "a text of 1 to 2000 characters")
    return value


def _version(fields: Mapping[str, Any], name: str, least: int = 1) -> int:
    """Integers arrive as numbers or as text."""
    value = fields.get(name.lower())
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise Invalid(f"data.{name}", f"is {value!r:.80}", f"a whole number from {least}")
    return int(text)
