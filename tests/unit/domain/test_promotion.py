"""What the promotion rules find in a candidate's tags, and when that blocks a gate."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.promotion import (
    AgeRule,
    ChampionRule,
    CoverageRule,
    Override,
    PromotionRules,
    Rule,
    blocking,
    findings,
)
from shared.domain.values import Pair
from tests.builders import START, model_tags

CHAMPION = Pair(model=1, environment="1.0.0")
BLOCK_ALL = PromotionRules(
    worse_than_naive=Rule(then="block"),
    worse_than_champion=ChampionRule(then="block", by=0.1),
    stale_training=AgeRule(then="block", days=30),
    interval_coverage=CoverageRule(then="block", below=0.8),
)


def beside(
    verdict: str, mae: str, champion: str = "0.20", naive: str = "0.50", coverage: str = "0.9"
) -> dict[str, str]:
    """Tags of a candidate that was measured on one holdout with the champion."""
    return {
        "comparison": verdict,
        "comparison_champion_version": "1",
        "comparison_holdout": "2026-01-21/2026-01-29",
        "comparison_mae": mae,
        "comparison_champion_mae": champion,
        "comparison_naive_mae": naive,
        "comparison_coverage": coverage,
    }


def found(
    tags: dict[str, str],
    champion: Pair | None = CHAMPION,
    rules: PromotionRules = BLOCK_ALL,
    overrides: tuple[Override, ...] = (),
    days: int = 0,
) -> list[str]:
    """The names of the rules that find something."""
    at = START + timedelta(days=days)
    return [each["rule"] for each in findings(model_tags(version=2, **tags), champion, rules, overrides, at)]


@pytest.mark.parametrize(
    ("tags", "rules"),
    [
        ({}, []),
        ({"mae": "0.16"}, ["worse_than_naive"]),
        ({"mae": "0.15"}, ["worse_than_naive"]),  # equal is not better
        ({"naive_mae": ""}, ["worse_than_naive"]),  # not measured is never good
        ({"naive_mae": "nan"}, ["worse_than_naive"]),
        (beside("worse", "0.23"), ["worse_than_champion"]),
        (beside("worse", "0.21"), []),  # clearly, but by less than a tenth
        (beside("no clear difference", "0.23"), []),  # by more than a tenth, but that may be chance
        (beside("worse: 3 of 24 forecasts are not finite numbers", ""), ["worse_than_champion"]),
        ({**beside("better", "0.60"), "mae": "0.1"}, ["worse_than_naive"]),  # the holdout counts, not the backtest
        (beside("better", "0.10", coverage="0.79"), ["interval_coverage"]),
        ({"interval_coverage": "0.79"}, ["interval_coverage"]),
        ({"interval_coverage": "0.80"}, []),
        ({"cutoff_date": "2025-12-30"}, ["stale_training"]),
        ({"cutoff_date": "2025-12-31"}, []),
        ({"cutoff_date": "soon"}, ["stale_training"]),
    ],
)
def test_each_rule_finds_what_it_is_for_and_nothing_else(tags: dict[str, str], rules: list[str]) -> None:
    assert found(tags) == rules


def test_a_comparison_with_another_champion_says_nothing_against_the_candidate() -> None:
    tags = beside("worse", "0.9", naive="1.0")
    assert found(tags, champion=Pair(model=7, environment="1.0.0")) == []
    assert found(tags, champion=None) == []


@pytest.mark.parametrize(("then", "shown", "blocks"), [("ignore", 0, 0), ("show", 1, 0), ("block", 1, 1)])
def test_the_policy_says_what_follows_from_a_finding(then: str, shown: int, blocks: int) -> None:
    rules = PromotionRules.model_validate({"worse_than_naive": {"then": then}})
    evidence = {"findings": findings(model_tags(mae="0.16"), None, rules, (), START)}
    assert (len(evidence["findings"]), len(blocking(evidence))) == (shown, blocks)


def test_an_override_is_of_what_was_found_word_for_word_and_of_nothing_else() -> None:
    evidence = {"findings": findings(model_tags(mae="0.16"), None, BLOCK_ALL, (), START)}
    override = Override(by="dora", reason="the intake was rebuilt", at=START, findings=blocking(evidence))

    def still_blocks(mae: str, interval_coverage: str = "0.9") -> int:
        again = findings(model_tags(mae=mae, interval_coverage=interval_coverage), None, BLOCK_ALL, (override,), START)
        return len(blocking({"findings": again}))

    assert still_blocks(mae="0.16") == 0
    assert still_blocks(mae="0.17") == 1
    assert still_blocks(mae="0.16", interval_coverage="0.5") == 1
    (shown,) = findings(model_tags(mae="0.16"), None, BLOCK_ALL, (override,), START)
    assert shown["overridden"]["by"] == "dora" and shown["overridden"]["reason"] == "the intake was rebuilt"
