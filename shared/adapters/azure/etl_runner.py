"""The ETL runner port on a Synapse Spark pool: `etl/spark_job.py` as a Spark batch, over REST.

References are `spark:{batch number}:{run id}`: the number finds the batch, the run id the report that it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
class SparkEtl:
    """Where the ETL runs, and from what.

    `endpoint` is the workspace's development endpoint (https://{workspace}.dev.azuresynapse.net). `code` is the folder
    that the build uploads: etl/spark_job.py, fleet.zip with the packages, config.zip. `source` is what is read.
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
        name = f"sensor-etl-{request_id(command_id)}"

        def find() -> str | None:
            return next((_reference(batch, run_id) for batch in self._all() if batch.get("name") == name), None)

        def start() -> str:
            answer = self._client.start("POST", self._batches, command_id, self._job(name, command_id, run_id))
            return _reference(answer.body, run_id)

        return self._starts.once(command_id, {"etl": run_id, "pool": self._etl.pool}, find, start)

    def look(self, reference: str) -> OperationStatus:
        number, run_id = _parts(reference)
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
            outputs=self._outputs(run_id) if state is OperationState.SUCCEEDED else {},
            started_at=_time(ran.get("runningAt")),
            ended_at=_time(ended),
        )

    def cancel(self, reference: str) -> None:
        """Ask that the batch stops; one that has ended keeps its end, since Synapse would forget it."""
        if self.look(reference).state is OperationState.RUNNING:
            number, _ = _parts(reference)
            self._client.send("DELETE", f"{self._batches}/{number}", absent=True)

    def _job(self, name: str, command_id: str, run_id: str) -> dict[str, Any]:
        code = self._etl.code.rstrip("/")
        return {
            "name": name,
            "tags": {"command_id": command_id, "run_id": run_id},
            "file": f"{code}/etl/spark_job.py",
            "pyFiles": [f"{code}/fleet.zip"],
            "archives": [f"{code}/config.zip#config"],
            "args": [self._etl.source, self._lake.table_uri, "--run-id", run_id, "--config", "config"],
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

    def _outputs(self, run_id: str) -> dict[str, str]:
        """What the job's report says it did; a run that changed nothing names no version."""
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


def _reference(batch: Mapping[str, Any], run_id: str) -> str:
    return f"spark:{batch['id']}:{run_id}"


def _parts(reference: str) -> tuple[int, str]:
    kind, _, rest = reference.partition(":")
    number, _, run_id = rest.partition(":")
    if kind != "spark" or not number.isdigit() or not run_id:
        raise Permanent(f"{reference!r:.100} is no reference of an ETL run on Synapse: spark:{{number}}:{{run id}}")
    return int(number), run_id


def _state(batch: Mapping[str, Any]) -> OperationState:
    result, state = str(batch.get("result") or "").lower(), str(batch.get("state") or "").lower()
    return _RESULTS.get(result) or _STATES.get(state, OperationState.RUNNING)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
