"""The ETL runner port on a Synapse Spark pool: ETL and upkeep as Spark batches, over REST.

References are `spark:{batch number}:{run id}`, and `upkeep:…` for an upkeep: the number finds the batch, the run id the
report that it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.core.credentials import TokenCredential

from shared.adapters.azure.rest import RestClient, request_id
from shared.adapters.azure.starts import Starts
from shared.domain.values import OperationState, OperationStatus
from shared.errors import Permanent
from shared.ports import Lake

SCOPE = "https://dev.azuresynapse.net/.default"
LIVY = "2019-11-01-preview"
PAGE = 100

_RESULTS = {
    "succeeded": OperationState.SUCCEEDED,
    "failed": OperationState.FAILED,
    "cancelled": OperationState.CANCELLED,
}
# While the result is still uncertain, Livy's own state may say more.
_STATES = {
    "success": OperationState.SUCCEEDED,
    "error": OperationState.FAILED,
    "dead": OperationState.FAILED,
    "killed": OperationState.CANCELLED,
}


@dataclass(frozen=True)
class _Kind:
    """What a batch does: the name in its own name, the first word of its references, and its file in the code."""

    name: str
    word: str
    file: str

    def reference(self, batch: Mapping[str, Any], run_id: str) -> str:
        return f"{self.word}:{batch['id']}:{run_id}"


ETL = _Kind("etl", "spark", "etl/spark_job.py")
UPKEEP = _Kind("upkeep", "upkeep", "etl/spark_upkeep.py")


@dataclass(frozen=True)
class SparkEtl:
    """Where the ETL runs, and from what.

    `endpoint` is the workspace's development endpoint (https://{workspace}.dev.azuresynapse.net). `code` is the folder
    that the build uploads: etl/spark_job.py, etl/spark_upkeep.py, fleet.zip with the packages, config.zip. `source` is
    what is read.
    """

    endpoint: str
    pool: str
    code: str
    source: str
    executors: int = 2
    cores: int = 4
    memory: str = "28g"


class SynapseEtlRunner:
    """Spark batches of one pool. Safe in threads. `options` go to the REST client."""

    def __init__(self, etl: SparkEtl, credential: TokenCredential, starts: Starts, lake: Lake, **options: Any) -> None:
        self._etl = etl
        self._starts = starts
        self._lake = lake
        self._client = RestClient("Synapse", etl.endpoint, credential, SCOPE, **options)
        self._batches = f"livyApi/versions/{LIVY}/sparkPools/{etl.pool}/batches"

    def start(self, command_id: str, run_id: str) -> str:
        arguments = [self._etl.source, self._lake.table_uri, "--run-id", run_id, "--config", "config"]
        return self._start(command_id, run_id, ETL, arguments)

    def start_upkeep(self, command_id: str, run_id: str) -> str:
        return self._start(command_id, run_id, UPKEEP, [self._lake.table_uri, "--run-id", run_id])

    def _start(self, command_id: str, run_id: str, kind: _Kind, arguments: Sequence[str]) -> str:
        name = f"sensor-{kind.name}-{request_id(command_id)}"

        def find() -> str | None:
            return next((kind.reference(batch, run_id) for batch in self._all() if batch.get("name") == name), None)

        def start() -> str:
            job = self._job(name, command_id, run_id, kind.file, arguments)
            return kind.reference(self._client.start("POST", self._batches, command_id, job).body, run_id)

        return self._starts.once(command_id, {kind.name: run_id, "pool": self._etl.pool}, find, start)

    def look(self, reference: str) -> OperationStatus:
        kind, number, run_id = _parts(reference)
        found = self._client.get(f"{self._batches}/{number}", {"detailed": "true"})
        if found is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        batch: Mapping[str, Any] = found.body
        state = _state(batch)
        ran = batch.get("livyInfo") or {}
        ended = ran.get("successAt") or ran.get("deadAt") or ran.get("killedAt")
        return OperationStatus(
            reference=reference,
            state=state,
            error=self._error(batch) if state is OperationState.FAILED else "",
            outputs=self._outputs(kind, run_id) if state is OperationState.SUCCEEDED else {},
            started_at=_time(ran.get("runningAt")),
            ended_at=_time(ended),
        )

    def cancel(self, reference: str) -> None:
        """Ask that the batch stops; one that has ended keeps its end, since Synapse would forget it."""
        if self.look(reference).state is OperationState.RUNNING:
            _, number, _ = _parts(reference)
            self._client.send("DELETE", f"{self._batches}/{number}", absent=True)

    def _job(self, name: str, command_id: str, run_id: str, file: str, arguments: Sequence[str]) -> dict[str, Any]:
        code = self._etl.code.rstrip("/")
        return {
            "name": name,
            "tags": {"command_id": command_id, "run_id": run_id},
            "file": f"{code}/{file}",
            "pyFiles": [f"{code}/fleet.zip"],
            "archives": [f"{code}/config.zip#config"],
            "args": list(arguments),
            "conf": {"spark.dynamicAllocation.enabled": "false"},
            "driverCores": self._etl.cores,
            "driverMemory": self._etl.memory,
            "executorCores": self._etl.cores,
            "executorMemory": self._etl.memory,
            "numExecutors": self._etl.executors,
        }

    def _all(self) -> Iterator[Mapping[str, Any]]:
        """Every batch that the pool remembers; a page may hold fewer than were asked for."""
        begin = 0
        while True:
            answer = self._client.send("GET", self._batches, query={"from": str(begin), "size": str(PAGE)})
            assert answer is not None
            batches = answer.body.get("sessions") or []
            if not batches:
                return
            yield from batches
            begin += len(batches)

    def _outputs(self, kind: _Kind, run_id: str) -> dict[str, str]:
        """What the job's report says it did; an ETL run that changed nothing names no version."""
        if kind is UPKEEP:
            return {"run_id": run_id}
        from etl.report import report_path

        path = report_path(self._lake.table_uri, run_id)
        report = self._lake.read_report(path)
        version = report["version"]
        return {
            "table_id": report["table_id"] or "",
            "version": "" if version is None else str(version),
            "report": path,
        }

    def _error(self, batch: Mapping[str, Any]) -> str:
        told = [f"{each.get('errorCode', '')}: {each.get('message', '')}" for each in batch.get("errorInfo") or ()]
        last = "; ".join(told) or " / ".join((batch.get("log") or ())[-3:]) or "it says no more"
        return (
            f"Synapse says {batch.get('result') or batch.get('state')} of Spark batch {batch['id']} "
            f"(application {batch.get('appId') or 'none'}, pool {self._etl.pool}): {last}"
        )


def _parts(reference: str) -> tuple[_Kind, int, str]:
    word, _, rest = reference.partition(":")
    number, _, run_id = rest.partition(":")
    kind = next((kind for kind in (ETL, UPKEEP) if kind.word == word), None)
    if kind is None or not number.isdigit() or not run_id:
        raise Permanent(f"{reference!r:.100} is no reference of an ETL run on Synapse: spark:{{number}}:{{run id}}")
    return kind, int(number), run_id


def _state(batch: Mapping[str, Any]) -> OperationState:
    result, state = str(batch.get("result") or "").lower(), str(batch.get("state") or "").lower()
    return _RESULTS.get(result) or _STATES.get(state, OperationState.RUNNING)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
