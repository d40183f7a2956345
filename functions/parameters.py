"""What endpoints take: who calls, the ids in a path, the parameters of a query, and what a JSON body is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from functions.http import approver, caller, operator
from shared.domain import identifiers as i
from shared.domain.messages import Person
from shared.queries import PAGE_SIZES

DEFAULT_PAGE = 50
_SIZES = f"a whole number from {PAGE_SIZES.start} to {PAGE_SIZES.stop - 1}"
LAST_DAYS = timedelta(days=6)
"""How far back a span begins that names no first day."""


@dataclass(frozen=True)
class Who:
    """Who may call: `check` finds the person, or raises."""

    text: str
    check: Callable[[func.HttpRequest], Person]


@dataclass(frozen=True)
class Key:
    """Marks the parameter that takes the change's own name, made from its `Idempotency-Key`."""


Approver = Annotated[Person, Who("a signed-in person", approver)]
Caller = Annotated[Person, Who("a signed-in person or program", caller)]
Operator = Annotated[Person, Who("a member of `OPERATOR_GROUPS`", operator)]
RequestId = Annotated[str, Key()]

CircuitId = Annotated[str, Field(pattern=i.CIRCUIT.whole, examples=[i.CIRCUIT.example])]
ReleaseId = Annotated[str, Field(pattern=i.RELEASE.whole, examples=[i.RELEASE.example])]
ApprovalId = Annotated[str, Field(pattern=i.APPROVAL.whole, examples=[i.APPROVAL.example])]
ModelApprovalId = Annotated[str, Field(pattern=i.MODEL_APPROVAL.whole, examples=[i.MODEL_APPROVAL.example])]
AlertKey = Annotated[str, Field(pattern=i.ALERT.whole, examples=[i.ALERT.example])]
EnvironmentVersion = Annotated[
    str, Field(pattern=i.ENVIRONMENT_VERSION.whole, examples=[i.ENVIRONMENT_VERSION.example])
]
ProposalId = Annotated[str, Field(pattern=i.PROPOSAL.whole, examples=[i.PROPOSAL.example])]
PlantId = Annotated[str, Field(pattern=i.PLANT.whole, examples=[i.PLANT.example])]
MonitoringRunId = Annotated[str, Field(pattern=i.MONITORING_RUN.whole, examples=[i.MONITORING_RUN.example])]
CheckedBy = Annotated[str, Field(pattern=i.CHECKED_BY.whole, examples=[i.CHECKED_BY.example])]
EtlRunId = Annotated[str, Field(pattern=i.ETL_RUN.whole, examples=[i.ETL_RUN.example])]
DeltaVersion = Annotated[str, Field(pattern=r"^[0-9]{1,9}$", examples=["12"])]
LetterId = Annotated[str, Field(pattern=i.DEAD_LETTER.whole, examples=[i.DEAD_LETTER.example])]
"""The ids that stand in paths; an example says what each looks like."""


class Query(BaseModel):
    """Parameters of a query; a field's description says what is allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Body(BaseModel):
    """A JSON body. Strict: a number is no text, and a text is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


def _digits(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("is no whole number")
    return text


def _iso_day(text: Any) -> Any:
    if not isinstance(text, (date, str)) or (isinstance(text, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", text)):
        raise ValueError("is no day such as 2026-01-31")
    return date.fromisoformat(text) if isinstance(text, str) else text


WholeNumber = Annotated[int, BeforeValidator(_digits)]
Day = Annotated[date, BeforeValidator(_iso_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A UTC date, written 2026-01-31 and in no other way."""


class Page(Query):
    """Which part of a list: at most `size` entries, from where the page before ended."""

    size: WholeNumber = Field(
        DEFAULT_PAGE,
        ge=PAGE_SIZES.start,
        lt=PAGE_SIZES.stop,
        description=_SIZES,
    )
    continuation: str | None = Field(None, description="the value that the page before gave")


class LongPage(Page):
    """A part of a list that is mostly wanted whole."""

    size: WholeNumber = Field(PAGE_SIZES.stop - 1, ge=PAGE_SIZES.start, lt=PAGE_SIZES.stop, description=_SIZES)


class Days(Query):
    """A span of days (UTC), both included; nothing given: the last seven."""

    first: Day | None = Field(None, alias="from", description="a day such as 2026-01-31")
    last: Day | None = Field(None, alias="to", description="a day such as 2026-01-31")

    def span(self, today: date) -> tuple[date, date]:
        """The first day and the last."""
        last = self.last or today
        return self.first or last - min(LAST_DAYS, last - date.min), last


class PageOfDays(Days, Page):
    """A part of a list of days."""


def _moment(text: Any) -> datetime:
    """A time; a day stands for its end."""
    given = datetime.fromisoformat(str(text))
    try:
        if len(str(text)) == len("2026-01-31"):
            given += timedelta(days=1, microseconds=-1)
        return given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is no time that can be counted with") from error


class At(Query):
    """A time; nothing given: now."""

    at: Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string"})] | None = Field(
        None, alias="date", description="a day such as 2026-01-31, or a time such as 2026-01-31T10:00Z"
    )

    def moment(self, now: datetime) -> datetime:
        """The time (UTC), and never one that has not come."""
        return min(self.at or now, now)
