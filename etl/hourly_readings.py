"""A sensor's readings of some days by the hour, for people to look at beside a forecast."""

from __future__ import annotations

from datetime import UTC, datetime

from etl.storage import storage_options


def hourly_readings(
    table_uri: str, sensor_id: str, column: str, first: datetime, last: datetime
) -> list[tuple[datetime, float]]:
    """The hourly means of one column (UTC), from first to last; hours without a value are left out.

    The days of the span are read and no others, and of them two columns. Raises DeltaError.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    table = DeltaTable(table_uri, storage_options=storage_options(table_uri))
    if column not in {field.name for field in table.schema().fields}:
        return []
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    wanted = (
        (pc.field("date") >= pa.scalar(first.date()))
        & (pc.field("date") <= pa.scalar(last.date()))
        & (pc.field("sensor_id") == sensor_id)
        & (pc.field("timestamp") >= pa.scalar(first, pa.timestamp("us", tz="UTC")))
        & (pc.field("timestamp") <= pa.scalar(last, pa.timestamp("us", tz="UTC")))
    )
    rows = table.to_pyarrow_dataset().to_table(columns=["timestamp", column], filter=wanted).drop_null()
    hours = pc.floor_temporal(rows["timestamp"], unit="hour")
    means = pa.table({"hour": hours, "value": rows[column]}).group_by("hour").aggregate([("value", "mean")])
    ordered = means.sort_by("hour")
    pairs = zip(ordered["hour"].to_pylist(), ordered["value_mean"].to_pylist(), strict=True)
    return [(hour.astimezone(UTC), float(value)) for hour, value in pairs]
