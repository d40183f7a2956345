"""The data lake by URI: ADLS Gen2 on Azure, a folder in the embedded mode.

Delta and Arrow are imported with the first use: not every function needs them, and each start would pay for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from shared.domain.monitoring import FLEET
from shared.domain.monitoring.messages import Finding, Scope
from shared.domain.values import Stage, split_circuit
from shared.errors import Permanent
from shared.ports import Findings, ForecastPoint

if TYPE_CHECKING:
    from ml.monitor_messages import CircuitFinding


class UriLake:
    """The table, its run reports and the predictions below one URI."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self.table_uri = f"{self._uri}/processed/sensor_data"

    def read_commit(self, version: int | None) -> Mapping[str, Any] | None:
        from etl.delta_log import CommitNotFound, CommitUnreadable, newest_version, read_commit

        try:
            found = newest_version(self.table_uri) if version is None else version
            commit = None if found is None else read_commit(self.table_uri, found)
        except CommitNotFound:
            return None
        except CommitUnreadable as error:
            raise Permanent(str(error)) from error
        if commit is None:
            return None
        return {
            "table_id": commit.table_id,
            "version": commit.version,
            "data_changed": commit.data_changed,
            "report": commit.report_path,
            "operation": commit.operation,
            "run": commit.run_id,
            "at": commit.timestamp.isoformat() if commit.timestamp else None,
            "files_added": commit.files_added,
            "files_removed": commit.files_removed,
        }

    def read_report(self, path: str) -> Mapping[str, Any]:
        from etl.report import EtlReport, report_uri
        from etl.storage import read_bytes

        try:
            report = EtlReport.model_validate_json(read_bytes(report_uri(self.table_uri, path)))
        except (FileNotFoundError, ValueError) as error:
            raise Permanent(f"the ETL run's report {path} cannot be read: {error}") from error
        return report.model_dump(mode="json")

    def newest_readings(self, table_id: str, version: int) -> Mapping[str, datetime]:
        from deltalake.exceptions import DeltaError

        from etl.delta_log import CommitNotFound, CommitUnreadable, newest_readings, newest_table_id

        try:
            if newest_table_id(self.table_uri) != table_id:
                return {}
            return newest_readings(self.table_uri, version)
        except (CommitNotFound, CommitUnreadable, DeltaError) as error:
            raise Permanent(f"the readings of version {version} cannot be read: {error}") from error

    def first_day(self) -> date | None:
        from deltalake.exceptions import DeltaError

        from etl.delta_log import first_day

        try:
            return first_day(self.table_uri)
        except DeltaError as error:
            raise Permanent(f"the days of {self.table_uri} cannot be read: {error}") from error

    def order_upkeep(self, run_id: str, table_id: str, spare: Collection[int]) -> None:
        from etl.upkeep_documents import UpkeepOrder

        UpkeepOrder(table_id=table_id, spare=tuple(sorted(spare))).write(self.table_uri, run_id)

    def read_upkeep(self, run_id: str) -> Mapping[str, Any]:
        from etl.storage import read_bytes
        from etl.upkeep_documents import UpkeepResult, result_uri

        uri = result_uri(self.table_uri, run_id)
        try:
            result = UpkeepResult.model_validate_json(read_bytes(uri))
        except (FileNotFoundError, ValueError) as error:
            raise Permanent(f"the upkeep's result {uri} cannot be read: {error}") from error
        return result.model_dump(mode="json")

    @property
    def predictions_uri(self) -> str:
        return f"{self._uri}/predictions"

    def monitoring_uri(self, run_id: str) -> str:
        return f"{self._uri}/monitoring/{run_id}"

    def read_findings(self, uri: str) -> Findings:
        from etl.storage import join, read_bytes
        from ml.monitor_messages import RESULTS, MonitoringResult

        try:
            result = MonitoringResult.model_validate_json(read_bytes(join(uri, RESULTS)))
        except (FileNotFoundError, ValueError) as error:
            raise Permanent(f"the job ended well, and its findings in {uri} cannot be read: {error}") from error
        return Findings(
            circuits={found.circuit: finding_of(found) for found in result.findings},
            shared=sorted({change.plant_id or FLEET for change in result.common_changes}),
            report=result.fleet_report,
        )

    def read_page(self, run_id: str, name: str) -> bytes | None:
        from etl.storage import join, read_bytes

        try:
            return read_bytes(join(self.monitoring_uri(run_id), name))
        except FileNotFoundError:
            return None

    def attempt_uri(self, stage: Stage, circuit: str, day: str, command_id: str) -> str:
        from ml.predictions import attempt_uri

        root = self._uri if stage is Stage.PRODUCTION else f"{self._uri}/{stage}"
        return attempt_uri(root, *split_circuit(circuit), date.fromisoformat(day), command_id)

    def check_predictions(self, uri: str, expected: Mapping[str, Any]) -> Sequence[str]:
        from ml.predictions import ForecastLimits, PredictionsUnreadable, check_predictions, read_predictions

        try:
            predictions = read_predictions(uri)
        except FileNotFoundError:
            return [f"the job ended well and wrote no predictions to {uri}"]
        except PredictionsUnreadable as error:
            return [str(error)]
        limits = ForecastLimits(
            circuit=expected["circuit"],
            origin=datetime.fromisoformat(expected["origin"]),
            horizon=int(expected["horizon"]),
            model_version=int(expected["model_version"]),
            command_id=expected["command_id"],
            target_min=float(expected["target_min"]),
            target_max=float(expected["target_max"]),
            target_sd=float(expected["target_sd"]),
            plausible_range_sd=float(expected["plausible_range_sd"]),
        )
        return check_predictions(predictions, limits)

    def publish(self, attempt_uri: str, circuit: str, day: str) -> str:
        from ml.predictions import publish, published_uri

        published = published_uri(self._uri, *split_circuit(circuit), date.fromisoformat(day))
        publish(attempt_uri, published)
        return published

    def read_forecast(self, uri: str) -> Sequence[ForecastPoint]:
        from ml.predictions import PredictionsUnreadable, read_predictions

        try:
            rows = read_predictions(uri).to_pylist()
        except FileNotFoundError:
            return []
        except PredictionsUnreadable as error:
            raise Permanent(str(error)) from error
        return [ForecastPoint(row["timestamp"], row["forecast"], row["lower"], row["upper"]) for row in rows]

    def hourly_readings(
        self, sensor_id: str, column: str, first: datetime, last: datetime
    ) -> Sequence[tuple[datetime, float]]:
        from deltalake.exceptions import DeltaError, TableNotFoundError

        from etl.hourly_readings import hourly_readings

        try:
            return hourly_readings(self.table_uri, sensor_id, column, first, last)
        except TableNotFoundError:
            return []
        except DeltaError as error:
            raise Permanent(f"the readings of {sensor_id} cannot be read: {error}") from error


def finding_of(found: CircuitFinding) -> Finding:
    """A circuit's finding as the application keeps it; the rest is on its page."""
    changed = [column for column in found.columns if column.verdict == found.verdict and column.change]
    numbers = {f"{c.column}.shift_sd": c.shift_sd for c in changed if c.shift_sd is not None}
    numbers |= {f"{c.column}.effect": c.effect for c in changed if c.effect is not None}
    measured = found.performance.model_dump(exclude={"naive", "model_versions"}) if found.performance else {}
    numbers |= {name: float(value) for name, value in measured.items() if value is not None}
    return Finding(
        verdict=found.verdict,
        reason=found.reason or "; ".join(found.breaches),
        model=found.model_version,
        features=tuple(f"{column.column} {column.change}" for column in changed),
        scope=Scope(found.scope),
        numbers=numbers,
        report=found.report,
    )
