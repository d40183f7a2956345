"""The quality of what one Delta commit brought: each circuit's verdict, and whether most of them fail at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from math import comb, sqrt
from statistics import NormalDist
from typing import NamedTuple

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.alerts.messages import Evidence
from shared.domain.machine import Item, Kind, Then
from shared.domain.values import Value, split_circuit


class CheckPhase(StrEnum):
    """A check's verdict; `cannot say` is one, and is never counted as good."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_SAY = "cannot say"


class QualityPassed(m.QualityChecked):
    """The readings are within the circuit's limits."""


class QualityFailed(m.QualityChecked):
    """The readings break a limit."""


class QualityFailedWithMost(m.QualityChecked):
    """The readings break a limit, as those of most circuits of the plant or the fleet do: that is told of there."""


class QualityUnknown(m.QualityChecked):
    """There is nothing to judge."""


class QualityCheck(Item):
    """The verdict on the readings one Delta commit brought for one circuit."""

    circuit: str
    table: str
    version: int
    counts: Mapping[str, float]
    problems: tuple[str, ...] = ()


QUALITY = Kind(
    name="quality check",
    letter="Q",
    item=QualityCheck,
    table={
        (None, QualityPassed): Then(CheckPhase.PASSED, clears=(Cause.QUALITY,)),
        (None, QualityFailed): Then(CheckPhase.FAILED, raises=warning(Cause.QUALITY)),
        (None, QualityFailedWithMost): Then(CheckPhase.FAILED),
        (None, QualityUnknown): Then(CheckPhase.CANNOT_SAY),
    },
    ends=frozenset(CheckPhase),
    deadlines={},
)


class QualityLimits(Value):
    """What a commit's readings of one circuit may be like; rates are between 0 and 1.

    `columns` are the circuit's own (none: all are judged). `missing_rate` is of the hours between the first reading and
    the last, `late_rate` of the readings that came for days that were over; one and the same value in the readings of
    more hours than `stuck_hours` is no measurement.
    """

    columns: tuple[str, ...] = ()
    null_rate: float = 0.05
    out_of_range_rate: float = 0.05
    missing_rate: float = 0.1
    late_rate: float = 0.5
    stuck_hours: int = 24


UNLIKELY = 0.01
"""A rate is broken when so many would be seen by chance in less than this share of commits at that very rate: a commit
of three hours has three rows, and one hole in them says nothing."""
MOST, AT_LEAST = 0.5, 3
"""More than this share of at least so many circuits, and it is the plant or the ETL."""


def assess_quality(
    counts: Mapping[str, float], limits: QualityLimits
) -> tuple[type[QualityPassed | QualityFailed | QualityUnknown], tuple[str, ...]]:
    """The verdict on the counts of an ETL run's report; none of `rows`, no verdict.

    Read are `rows`, `missing_hours`, `late`, and by column `nulls.{column}`, `out_of_range.{column}`, `stuck.{column}`.
    """
    if "rows" not in counts:
        return QualityUnknown, ("the commit is not one of our ETL runs: nobody counted its readings",)
    rows = round(counts["rows"])
    if rows <= 0:
        return QualityUnknown, ("no readings to judge",)
    problems = tuple(problem.text for problem in _problems(counts, rows, limits))
    return (QualityFailed if problems else QualityPassed), problems


def measured_quality(counts: Mapping[str, float], limits: QualityLimits) -> Evidence:
    """What breaks a limit in counts that were judged, and by how much: shares, and hours of what is stuck."""
    problems = list(_problems(counts, round(counts["rows"]), limits))
    return Evidence(
        measured={problem.name: problem.value for problem in problems},
        limits={problem.name: problem.limit for problem in problems},
    )


class _Problem(NamedTuple):
    name: str
    value: float
    limit: float
    text: str


def _problems(counts: Mapping[str, float], rows: int, limits: QualityLimits) -> Iterator[_Problem]:
    for what, limit in (("nulls", limits.null_rate), ("out_of_range", limits.out_of_range_rate)):
        for column, count in _by_column(counts, what, limits.columns):
            if _breaks(count, rows, limit):
                text = f"{what.replace('_', ' ')} {count / rows:.1%} of {column} (limit {limit:.1%})"
                yield _Problem(f"{what}.{column}", count / rows, limit, text)
    missing, late = counts.get("missing_hours", 0), counts.get("late", 0)
    if _breaks(missing, rows + round(missing), limits.missing_rate):
        hours = rows + missing
        text = f"gaps: {missing:.0f} of {hours:.0f} hours are missing (limit {limits.missing_rate:.1%})"
        yield _Problem("missing_hours", missing / hours, limits.missing_rate, text)
    if _breaks(late, rows, limits.late_rate):
        text = f"late: {late / rows:.1%} came for days that were over (limit {limits.late_rate:.1%})"
        yield _Problem("late", late / rows, limits.late_rate, text)
    for column, hours in _by_column(counts, "stuck", limits.columns):
        if hours > limits.stuck_hours:
            text = f"stuck: {column} has not changed for {hours:.0f} hours or more (limit {limits.stuck_hours})"
            yield _Problem(f"stuck.{column}", hours, limits.stuck_hours, text)


def _by_column(counts: Mapping[str, float], what: str, columns: Sequence[str]) -> list[tuple[str, float]]:
    found = sorted((name.partition(".")[2], count) for name, count in counts.items() if name.startswith(f"{what}."))
    return [(column, count) for column, count in found if not columns or column in columns]


def _breaks(count: float, of: int, limit: float) -> bool:
    return count / of > limit and chance(round(count), of, limit) < UNLIKELY


def chance(count: int, rows: int, rate: float) -> float:
    """The probability of at least `count` hits in `rows` independent draws with this rate (upper binomial tail).

    Exact up to 1,000 rows; beyond, the normal approximation with continuity correction.
    """
    if count <= 0 or rate >= 1:
        return 1.0
    if rate <= 0:
        return 0.0
    if rows <= 1000:
        return sum(comb(rows, k) * rate**k * (1 - rate) ** (rows - k) for k in range(count, rows + 1))
    return 1 - NormalDist(rows * rate, sqrt(rows * rate * (1 - rate))).cdf(count - 0.5)


def widespread(failed: Mapping[str, bool]) -> dict[str, str]:
    """The circuits that failed with most of their fleet (`the fleet`) or plant (its name), and which of them it is.

    failed: whether each circuit of one commit that could be judged has failed.
    """
    bad = [circuit for circuit, has_failed in failed.items() if has_failed]
    if _most(len(bad), len(failed)):
        return dict.fromkeys(bad, "the fleet")
    found: dict[str, str] = {}
    for plant in {split_circuit(circuit)[0] for circuit in bad}:
        of_plant = [circuit for circuit in bad if split_circuit(circuit)[0] == plant]
        if _most(len(of_plant), sum(split_circuit(circuit)[0] == plant for circuit in failed)):
            found |= dict.fromkeys(of_plant, plant)
    return found


def _most(bad: int, of: int) -> bool:
    return of >= AT_LEAST and bad / of > MOST
