"""Signals: what comes in from outside as an Event Grid event, checked and turned into what the core understands.

A signal is believed only from a topic of ours. What cannot be taken is kept as a dead letter, never half-applied.
Published samples of AzureML's events and their schema differ in spelling and types: keys are read case-insensitively.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.application import Application
from shared.domain.messages import ModelRegistered
from shared.errors import Invalid

log = logging.getLogger("fleet.signals")

MODEL_NAME = re.compile(r"sensor_model_([A-Za-z][A-Za-z0-9]*_[A-Za-z][A-Za-z0-9]*)")
DELTA_LOG = re.compile(r"/processed/sensor_data/_delta_log/(\d{20})\.json$")

MODEL_REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
RUN_COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
RUN_STATUS_CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"
BLOB_CREATED = "Microsoft.Storage.BlobCreated"
BLOB_RENAMED = "Microsoft.Storage.BlobRenamed"
ETL_COMPLETED = "SensorForecast.EtlCompleted"

Document = Mapping[str, Any]


class Signals:
    """Hears Event Grid events; `hear` never raises for bad input, only when nothing could be kept."""

    def __init__(self, application: Application, trusted_topics: Sequence[str]) -> None:
        self._application = application
        self._trusted = {topic.casefold() for topic in trusted_topics}
        self._heard: Mapping[str, Callable[[Document], str]] = {
            MODEL_REGISTERED: self._model_registered,
            RUN_COMPLETED: self._run_changed,
            RUN_STATUS_CHANGED: self._run_changed,
            BLOB_CREATED: self._blob_written,
            BLOB_RENAMED: self._blob_written,
            ETL_COMPLETED: self._etl_completed,
        }

    def hear(self, document: Document) -> str:
        """Take one event; what is not acceptable becomes a dead letter with the reason. Returns what came of it."""
        try:
            return self._take(document)
        except Invalid as refused:
            identity = self._application.dead_letters.record("event grid", str(refused), dict(document))
            log.warning("event refused and kept as dead letter %s: %s", identity, refused)
            return f"refused: {refused}"

    def replayers(self) -> Mapping[str, Callable[[Any], str]]:
        """How dead letters of signals are tried again: as if they came now."""
        return {"event grid": self._take}

    def _take(self, document: Document) -> str:
        topic = str(document.get("topic") or "")
        if topic.casefold() not in self._trusted:
            raise Invalid("topic", f"{topic!r} is not a topic of ours", "the topics in TRUSTED_TOPICS")
        kind = str(document.get("eventType") or "")
        if kind not in self._heard:
            raise Invalid("eventType", f"{kind!r} is not heard here", ", ".join(sorted(self._heard)))
        return self._heard[kind](document)

    def _model_registered(self, document: Document) -> str:
        fields = _fields(document)
        name = _text(fields, "modelName")
        match = MODEL_NAME.fullmatch(name)
        if match is None:
            raise Invalid("data.modelName", f"{name!r} is not a circuit's model", "sensor_model_{plant}_{circuit}")
        circuit = match.group(1)
        if circuit not in self._application.directory.circuits():
            raise Invalid("data.modelName", f"there is no circuit {circuit}", "the circuits of plants_circuits.yml")
        tags = fields.get("modeltags") or {}
        digest = hashlib.sha256(json.dumps(tags, sort_keys=True, default=str).encode()).hexdigest()[:12] if tags else ""
        workspace = str(document["topic"]).rpartition("/")[2]
        event = ModelRegistered(
            root=circuit, version=_version(fields, "modelVersion"), workspace=workspace, tags_digest=digest
        )
        return self._application.advance(event).verdict

    def _run_changed(self, document: Document) -> str:
        job = _text(_fields(document), "runId")
        return "looking" if self._application.look_at_job(job) else "no job of ours"

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
        _text(fields, "runId")
        version = None if fields.get("version") is None else _version(fields, "version", least=0)
        self._application.read_delta_log(version, "etl")
        return "looking"


def _fields(document: Document) -> Mapping[str, Any]:
    """The event's data with keys in lower case."""
    found = document.get("data")
    if not isinstance(found, Mapping):
        raise Invalid("data", f"is {type(found).__name__}", "an object")
    return {str(key).lower(): value for key, value in found.items()}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name.lower())
    if not isinstance(value, str) or not value or len(value) > 1000:
        raise Invalid(f"data.{name}", f"is {value!r:.80}", "a text of 1 to 1000 characters")
    return value


def _version(fields: Mapping[str, Any], name: str, least: int = 1) -> int:
    """Integers arrive as numbers or as text."""
    value = fields.get(name.lower())
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise Invalid(f"data.{name}", f"is {value!r:.80}", f"a whole number from {least}")
    return int(text)
