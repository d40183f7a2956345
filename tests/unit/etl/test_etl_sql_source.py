from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from etl.source_list import load_sources, read_source
from etl.sources import Readings, SourceError
from shared.yaml_documents import ConfigurationError

FEATURES = ["temperature", "flow"]
START = datetime(2025, 12, 8, tzinfo=UTC)
HISTORIAN = """
sql:
  - name: historian
    url_env: HISTORIAN_URL
    table: measurements
    columns: {timestamp: measured_at, sensor_id: tag, temperature: temp_c, flow: flow_m3h}
    arrival_column: id
    time_zone: UTC
    look_back_hours: 6
"""


class Historian:
    """A plant's database, and a sources file that reads it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "sources.yml"
        self.file.write_text(HISTORIAN)
        url = f"sqlite:///{folder}/historian.db"
        monkeypatch.setenv("HISTORIAN_URL", url)
        self.engine = sa.create_engine(url)
        self.table = sa.Table(
            "measurements",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("measured_at", sa.DateTime),
            sa.Column("tag", sa.String),
            sa.Column("temp_c", sa.Float),
            sa.Column("flow_m3h", sa.Numeric(10, 3)),
        )
        self.table.metadata.create_all(self.engine)

    def add(self, *rows: tuple[str, float, float | None]) -> None:
        """Rows of (tag, hours after START, temperature)."""
        with self.engine.begin() as connection:
            for tag, hours, value in rows:
                moment = (START + timedelta(hours=hours)).replace(tzinfo=None)
                connection.execute(self.table.insert().values(measured_at=moment, tag=tag, temp_c=value, flow_m3h=1.5))

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def read(self, **read_to: datetime) -> Readings:
        return read_source(self.file, FEATURES, None, read_to)

    def rejection(self) -> str:
        with pytest.raises(SourceError) as raised:
            self.read()
        return str(raised.value)


@pytest.fixture
def historian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Historian:
    return Historian(tmp_path, monkeypatch)


def test_a_table_is_read_through_its_column_mapping_in_order_of_arrival(historian: Historian) -> None:
    historian.add(("S2", 1, 7.0), ("S1", 1, 5.0), ("S1", 0, 4.0))
    readings = historian.read()
    assert readings.rows.schema == {
        "timestamp": pl.Datetime("us", "UTC"),
        "sensor_id": pl.String,
        "temperature": pl.Float64,
        "flow": pl.Float64,
    }
    assert readings.rows.rows() == [
        (START + timedelta(hours=1), "S2", 7.0, 1.5),
        (START + timedelta(hours=1), "S1", 5.0, 1.5),
        (START, "S1", 4.0, 1.5),
    ]
    assert readings.read_to == {"historian": START + timedelta(hours=1)}


def test_the_next_run_reads_only_new_rows_and_those_within_the_look_back(historian: Historian) -> None:
    historian.add(("S1", 0, 1.0), ("S1", 4, 2.0), ("S1", 10, 3.0), ("S1", 11, 4.0))
    rows = historian.read(historian=START + timedelta(hours=10)).rows
    assert rows["temperature"].to_list() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("spelling", ["2025-12-08T{:02}:00:00Z", "2025-12-08 {:02}:00:00+00:00"])
def test_timestamps_that_are_text_lose_nothing_to_the_lower_bound(historian: Historian, spelling: str) -> None:
    historian.execute("CREATE TABLE texts (measured_at TEXT, tag TEXT, temp_c REAL)")
    for hour in (0, 5, 23):
        historian.execute(f"INSERT INTO texts VALUES ('{spelling.format(hour)}', 'S1', {hour})")
    columns = "{timestamp: measured_at, sensor_id: tag, temperature: temp_c}"
    historian.file.write_text(f"sql: [{{name: t, url_env: HISTORIAN_URL, table: texts, columns: {columns}}}]")
    rows = historian.read(t=START + timedelta(hours=5)).rows
    assert set(rows["temperature"]) >= {5.0, 23.0}
    assert rows["timestamp"].max() == START + timedelta(hours=23)


def test_a_query_gets_the_lower_bound_as_its_parameter(historian: Historian) -> None:
    historian.add(("S1", 0, 1.0), ("S1", 20, 2.0))
    historian.file.write_text("""
sql:
  - name: view
    url_env: HISTORIAN_URL
    query: SELECT measured_at AS t, tag AS sensor_id, temp_c * 2 AS temperature FROM measurements
      WHERE measured_at >= :since ORDER BY id
    columns: {timestamp: t, temperature: temperature}
    time_zone: UTC
    look_back_hours: 0
""")
    rows = historian.read(view=START + timedelta(hours=20)).rows
    assert rows.rows() == [(START + timedelta(hours=20), "S1", 4.0, None)]


def test_local_time_becomes_utc(historian: Historian) -> None:
    historian.file.write_text(HISTORIAN.replace("time_zone: UTC", "time_zone: Europe/Rome"))
    historian.add(("S1", 12, 1.0))
    assert historian.read().rows["timestamp"].to_list() == [START + timedelta(hours=11)]


def test_rows_without_an_order_of_arrival_give_the_same_result_in_any_order(historian: Historian) -> None:
    historian.file.write_text(HISTORIAN.replace("    arrival_column: id\n", ""))
    historian.add(("S1", 0, 2.0), ("S2", 0, 1.0), ("S1", 0, 1.0))
    assert historian.read().rows["temperature"].to_list() == [1.0, 2.0, 1.0]


def test_a_clock_that_runs_ahead_does_not_hide_later_rows(historian: Historian) -> None:
    historian.add(("S1", 0, 1.0), ("S2", 24 * 365 * 50, 1.0))
    assert historian.read().read_to["historian"] <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("table: measurements", "table: nowhere"), "there is no table nowhere; tables: measurements"),
        (("temp_c", "temp_k"), "measurements has no column temp_k; it has id, measured_at, tag, temp_c, flow_m3h"),
        (("timestamp: measured_at", "timestamp: temp_c"), "measurements.temp_c has type FLOAT; a date and time"),
        (("    time_zone: UTC\n", ""), "timestamps have no time zone"),
    ],
)
def test_a_source_that_does_not_fit_is_named_with_the_cause(
    historian: Historian, change: tuple[str, str], expected: str
) -> None:
    historian.add(("S1", 0, 1.0))
    historian.file.write_text(HISTORIAN.replace(*change))
    text = historian.rejection()
    assert "sql:historian" in text and expected in text


def test_a_word_among_the_numbers_is_named(historian: Historian) -> None:
    historian.add(("S1", 0, 1.0))
    historian.execute("UPDATE measurements SET temp_c = 'broken'")
    assert "sql:historian" in historian.rejection() and "broken" in historian.rejection()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "the environment variable HISTORIAN_URL is not set"),
        ("nonsense", "HISTORIAN_URL is not a database URL"),
        ("oracle+nodriver://u:secret@h/d", "install the driver it names"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_reached_says_why_and_keeps_its_password(
    historian: Historian, monkeypatch: pytest.MonkeyPatch, url: str | None, expected: str
) -> None:
    if url is None:
        monkeypatch.delenv("HISTORIAN_URL")
    else:
        monkeypatch.setenv("HISTORIAN_URL", url)
    text = historian.rejection()
    assert "sql:historian" in text and expected in text and "secret" not in text


def test_the_other_sources_go_on(historian: Historian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.csv").write_text("timestamp,sensor_id,temperature\n2025-12-08T00:00:00Z,S9,1\n")
    (tmp_path / "landing/half.parquet").write_bytes(b"PAR1")
    historian.file.write_text("folders: [{path: landing}, {path: elsewhere}]\n" + HISTORIAN)
    monkeypatch.delenv("HISTORIAN_URL")
    readings = historian.read()
    assert readings.rows["sensor_id"].to_list() == ["S9"]
    assert [one.source for one in readings.rejected] == ["landing/half.parquet", "elsewhere", "sql:historian"]


def test_a_source_with_a_flooded_sensor_is_read_again_next_time(historian: Historian) -> None:
    historian.add(("S1", 0, 1.0))
    historian.execute("UPDATE measurements SET flow_m3h = NULL")
    historian.add(*(("S2", hour, None) for hour in range(30)))
    historian.execute("UPDATE measurements SET flow_m3h = NULL")
    readings = historian.read()
    assert readings.rows["sensor_id"].to_list() == ["S1"]
    assert [(one.source, one.sensor_id) for one in readings.rejected] == [("sql:historian", "S2")]
    assert readings.read_to == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("folders: []", ["no source; list at least one under folders or sql"]),
        ("folder: [{path: a}]", ["folder: unknown key; did you mean folders?"]),
        (
            "sql:\n  - name: h\n    url_env: U\n    columns: {temperatur: t}\n    table: a\n",
            [
                "sources.yml:4: sql.0.columns.temperatur: not a column of the table",
                "sources.yml:4: sql.0.columns: maps no",
            ],
        ),
        (
            "sql: [{name: h, url_env: U, columns: {flow: f}}, {name: H, url_env: u, table: t, columns: {flow: f}}]",
            ["give either table or query", "sql.1.name", "sql.1.url_env"],
        ),
        ("sql: [{name: h, url_env: U, columns: {flow: f}, query: SELECT 1}]", [":since"]),
        ("sql: [{name: h, url_env: U, columns: {flow: f}, table: t, time_zone: Mars}]", ["'Mars' is not a time zone"]),
        ("sql: [{name: h, url_env: U, columns: {flow: f}, table: t, passwrd: x}]", ["unknown key", "Allowed: name"]),
    ],
)
def test_a_wrong_sources_file_is_explained_with_line_and_key(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "sources.yml").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_sources(tmp_path / "sources.yml", FEATURES)
    for part in expected:
        assert part in str(raised.value)


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    one: dict[str, Any] = {"url_env": "U", "table": "t", "columns": "{flow: f}"}
    entry = "  - {name: h, " + ", ".join(f"{key}: {value}" for key, value in one.items()) + "}\n"
    (tmp_path / "sources.yml").write_text("sql:\n" + entry * 2)
    with pytest.raises(ConfigurationError, match="repeated: h"):
        load_sources(tmp_path / "sources.yml", FEATURES)
