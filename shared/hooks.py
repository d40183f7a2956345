"""Service hooks of Azure DevOps: somebody answered a gate, or is asked. A hook is a hint: it makes us look, at once.

Hooks carry no signature. Who sends one knows the function's key and the secret, and still cannot say what was answered:
that is read from Azure DevOps. Azure DevOps sends a hook again within minutes and gives a subscription up that answers
with errors, so what cannot be taken is kept as a dead letter and accepted; the timer finds what no hook told of.
"""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.application import Application
from shared.dead_letters import Replayer
from shared.errors import Invalid

log = logging.getLogger("fleet.hooks")

SOURCE = "azure devops"
"""What dead letters of hooks are filed under."""
FORGED = "azure devops, not admitted"
"""What dead letters of callers without the secret are filed under; they cannot be replayed."""
SECRET_HEADER = "x-hook-secret"
TOLD_WITHIN = timedelta(hours=1)
"""A hook is sent at most for minutes; an older one was kept by somebody and is sent again."""
COMPLETED = "ms.vss-pipelinechecks-events.approval-completed"
PENDING = "ms.vss-pipelinechecks-events.approval-pending"

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Taken:
    """What came of a hook. `kept`: it was not acceptable and lies in the dead letters."""

    result: str
    kept: bool = False


class Hooks:
    """Hears service hooks of one project's gate pipeline. Raises Transient when a hook should be sent again."""

    def __init__(self, application: Application, project: str, pipeline: str, secret: str) -> None:
        self._application = application
        self._project = project.casefold()
        self._pipeline = pipeline
        self._secret = secret.encode()

    @property
    def configured(self) -> bool:
        """Whether gates are asked in Azure DevOps at all."""
        return bool(self._secret)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether the caller knows the secret: in its header, or as the password of basic authentication."""
        return any(hmac.compare_digest(given, self._secret) for given in _secrets(headers)) and self.configured

    def keep(self, source: str, reason: str, body: Any) -> str:
        """Keep as a dead letter what is not acceptable; returns its id."""
        identity = self._application.dead_letters.record(source, reason, body)
        log.warning("hook refused and kept as dead letter %s: %s", identity, reason)
        return identity

    def hear(self, document: Document) -> Taken:
        """Take one hook from a caller that was admitted."""
        try:
            return Taken(self._take(document))
        except Invalid as refused:
            self.keep(SOURCE, str(refused), dict(document))
            return Taken(f"refused: {refused}", kept=True)

    def replayers(self) -> Mapping[str, Replayer]:
        """How dead letters of hooks are tried again; their age is no objection then."""
        return {SOURCE: self._look}

    def _take(self, document: Document) -> str:
        sent = _time(document.get("createdDate"))
        if sent and self._application.ports.clock.now() - sent > TOLD_WITHIN:
            raise Invalid("createdDate", f"is {sent.isoformat()}", f"a hook of the last {TOLD_WITHIN}")
        return self._look(document)

    def _look(self, document: Document) -> str:
        """Most fields of a hook may be null; those that are there must be ours."""
        kind = document.get("eventType")
        if kind not in (COMPLETED, PENDING):
            raise Invalid("eventType", f"is {kind!r:.100}", f"{COMPLETED}, {PENDING}")
        resource = _object(document, "resource")
        project = resource.get("projectId") or _object(_object(document, "resourceContainers"), "project").get("id")
        if project is not None and str(project).casefold() != self._project:
            raise Invalid("resource.projectId", f"is {project!r:.100}", self._project)
        pipeline = _object(resource, "pipeline").get("id")
        if pipeline is not None and str(pipeline) != self._pipeline:
            raise Invalid("resource.pipeline.id", f"is {pipeline!r:.100}", self._pipeline)
        run = _object(resource, "run").get("id")
        if run is None:
            return f"it names no run: looking at {self._application.look_at_gates()} open gates"
        if not self._application.look_at_run(f"{run:.100}" if isinstance(run, str) else str(run)):
            raise Invalid("resource.run.id", f"run {run!r:.100} asks no gate", "a run that the application started")
        return "looking"


def _secrets(headers: Mapping[str, str]) -> list[bytes]:
    given = {name.lower(): value for name, value in headers.items()}
    scheme, _, encoded = given.get("authorization", "").partition(" ")
    found = [given.get(SECRET_HEADER, "").encode()]
    if scheme.lower() == "basic":
        with suppress(ValueError):
            found.append(base64.b64decode(encoded, validate=True).partition(b":")[2])
    return found


def _object(document: Document, name: str) -> Document:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _time(text: Any) -> datetime | None:
    """An ISO time; without a zone it is UTC, and what is no time is none."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
