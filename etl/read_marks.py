"""How far each SQL source has been read into a table: kept beside it, valid for that table only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ValidationError

from etl.storage import read_bytes, write_bytes


class ReadMarks(BaseModel):
    """Per SQL source the newest timestamp that is in the table with this id."""

    table_id: str
    read_to: dict[str, AwareDatetime]


def load_marks(table_uri: str, table_id: str | None) -> dict[str, datetime]:
    """The marks of the table; none if they are another table's or cannot be read: then everything is read again."""
    try:
        marks = ReadMarks.model_validate_json(read_bytes(marks_uri(table_uri)))
    except (FileNotFoundError, ValidationError):
        return {}
    return dict(marks.read_to) if marks.table_id == table_id else {}


def save_marks(table_uri: str, table_id: str, earlier: Mapping[str, datetime], newest: Mapping[str, datetime]) -> None:
    """Move the marks forward; call it when the rows are in the table."""
    if further := moved(earlier, newest):
        marks = ReadMarks(table_id=table_id, read_to=further)
        write_bytes(marks_uri(table_uri), marks.model_dump_json(indent=2).encode())


def moved(earlier: Mapping[str, datetime], newest: Mapping[str, datetime]) -> dict[str, datetime] | None:
    """The marks after a run, or None if none of them moves."""
    marks = {**earlier, **{name: max(moment, earlier.get(name, moment)) for name, moment in newest.items()}}
    return None if marks == earlier else marks


def marks_uri(table_uri: str) -> str:
    """Where the marks of a table are."""
    return f"{table_uri.rstrip('/')}_sources/read_to.json"
