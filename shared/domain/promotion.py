"""Promotion rules: what the evidence of a gate says against a candidate, and what of it blocks the gate.

A gate that is blocked takes no approval until somebody with the right overrides what was found, with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from shared.domain.comparison import CANDIDATE, comparison, numbers
from shared.domain.values import Pair, Value

Consequence = Literal["ignore", "show", "block"]


class Rule(Value):
    """What follows where a rule finds something: nothing, it is shown, or it blocks the gate."""

    then: Consequence = "show"


class ChampionRule(Rule):
    """`by`: the share of the champion's mae by which the candidate's must be larger; both on one holdout."""

    by: float = Field(default=0.0, ge=0)


class AgeRule(Rule):
    """`days`: how long ago the last day that the model was trained on may be when a gate is asked."""

    days: int = Field(default=60, ge=1)


class CoverageRule(Rule):
    """`below`: the least share of the truth that the interval must have held; it is made to hold 0.9."""

    below: float = Field(default=0.8, ge=0, le=1)


class PromotionRules(Value):
    """The rules that evidence is held against, and the groups of which one person may override what blocks."""

    worse_than_naive: Rule = Rule()
    worse_than_champion: ChampionRule = ChampionRule()
    stale_training: AgeRule = AgeRule()
    interval_coverage: CoverageRule = CoverageRule()
    override_groups: tuple[str, ...] = Field(default=("Engineering-Managers",), min_length=1)


class Override(Value):
    """A person's decision (UTC) that what was found, word for word, is no reason to stop."""

    by: str
    reason: str
    at: datetime
    findings: tuple[str, ...]


def findings(
    tags: Mapping[str, str],
    champion: Pair | None,
    rules: PromotionRules,
    overrides: Sequence[Override],
    now: datetime,
) -> list[dict[str, Any]]:
    """What each rule finds, as the evidence shows it: `rule`, `says`, `blocks`, and `overridden` by whom and why."""
    found = []
    for rule, name, says in _found(tags, champion, rules, now):
        if rule.then == "ignore":
            continue
        by = next((each for each in overrides if says in each.findings), None)
        overridden = by.model_dump(mode="json", include={"by", "reason", "at"}) if by else None
        blocks = rule.then == "block" and by is None
        found.append({"rule": name, "says": says, "blocks": blocks, "overridden": overridden})
    return found


def blocking(evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """What blocks the gate with this evidence; nothing when it takes approvals."""
    return tuple(found["says"] for found in evidence.get("findings", ()) if found["blocks"])


def _found(
    tags: Mapping[str, str], champion: Pair | None, rules: PromotionRules, now: datetime
) -> Iterator[tuple[Rule, str, str]]:
    beside = comparison(tags, champion)
    if says := _worse_than_naive(tags, beside):
        yield rules.worse_than_naive, "worse_than_naive", says
    if says := _worse_than_champion(beside, champion, rules.worse_than_champion.by):
        yield rules.worse_than_champion, "worse_than_champion", says
    if says := _stale(tags, rules.stale_training.days, now):
        yield rules.stale_training, "stale_training", says
    measured = numbers(tags, ("coverage",), CANDIDATE) if "candidate" in beside else {}
    coverage = {**numbers(tags, ("coverage",), "interval_"), **measured}.get("coverage")
    if coverage is not None and coverage < rules.interval_coverage.below:
        wanted = rules.interval_coverage.below
        yield rules.interval_coverage, "interval_coverage", f"its interval held {coverage:.1%}, less than {wanted:.1%}"


def _worse_than_naive(tags: Mapping[str, str], beside: Mapping[str, Any]) -> str:
    """On the holdout with the champion where there is one, else on the model's own backtest."""
    mine, naive = (beside.get(name, {}).get("mae") for name in ("candidate", "naive"))
    if mine is None or naive is None:
        own = numbers(tags, ("mae", "naive_mae"))
        mine, naive = own.get("mae"), own.get("naive_mae")
    if mine is None or naive is None:
        return "nobody measured a naive forecast beside it"
    return f"its mae {mine:.3g} is not below the naive forecast's {naive:.3g}" if mine >= naive else ""


def _worse_than_champion(beside: Mapping[str, Any], champion: Pair | None, by: float) -> str:
    """Only what the holdout shows clearly, and by more than the policy lets pass."""
    if champion is None or beside["verdict"] != "worse":
        return ""
    mine, other = (beside.get(name, {}).get("mae") for name in ("candidate", "champion"))
    if mine is None or other is None:
        return f"worse than {champion}: {beside['reason'] or 'without numbers'}"
    if mine <= other * (1 + by):
        return ""
    return f"its mae {mine:.3g} is above the {other:.3g} of {champion}, by more than {by:.0%}"


def _stale(tags: Mapping[str, str], days: int, now: datetime) -> str:
    try:
        cutoff = date.fromisoformat(tags["cutoff_date"])
    except (KeyError, ValueError):
        return "it does not say up to which day it was trained"
    old = now.date() - cutoff > timedelta(days=days)
    return f"trained on readings up to {cutoff}, more than {days} days before the gate was asked" if old else ""
