"""The candidate beside the champion, as the candidate's tags tell it: both on the same hours after both cutoffs.

Training measures and tags (`ml.compare`). The tags are believed only about the model that serves now: numbers beside
another one, or of another holdout, would look like a comparison and be none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from shared.domain.values import Pair

NOT_COMPARABLE = "not comparable"
VERDICT, CHAMPION_VERSION, HOLDOUT, DIFFERENCE = (
    "comparison",
    "comparison_champion_version",
    "comparison_holdout",
    "comparison_difference",
)
CANDIDATE, CHAMPION, NAIVE = "comparison_", "comparison_champion_", "comparison_naive_"
"""Followed by the name of a metric: the candidate's, the champion's, the better naive forecast's."""
METRICS = ("mae", "rmse", "skill", "coverage")


def comparison(tags: Mapping[str, str], champion: Pair | None) -> dict[str, Any]:
    """`verdict` and `reason`; where both were measured also `holdout`, and errors of `candidate`, `champion`, `naive`.

    champion is what serves now. Errors are in standard deviations of the target; `difference` is the interval of the
    candidate's mae minus the champion's.
    """
    if champion is None:
        return _without_numbers("nothing serves yet")
    beside = tags.get(CHAMPION_VERSION)
    if beside is None:
        return _without_numbers(
            f"training did not measure it beside model {champion.model}, which serves now; train it again to compare"
        )
    if beside != str(champion.model):
        return _without_numbers(
            f"training measured it beside model {beside}, but model {champion.model} serves now; train it again to"
            " compare"
        )
    verdict, _, reason = tags.get(VERDICT, NOT_COMPARABLE).partition(": ")
    shown: dict[str, Any] = {"verdict": verdict, "reason": reason}
    if HOLDOUT in tags:
        shown["holdout"] = tags[HOLDOUT]
        shown |= {
            name: numbers(tags, METRICS, prefix)
            for name, prefix in (("candidate", CANDIDATE), ("champion", CHAMPION), ("naive", NAIVE))
        }
        shown["difference"] = tags.get(DIFFERENCE, "")
    return shown


def _without_numbers(reason: str) -> dict[str, Any]:
    return {"verdict": NOT_COMPARABLE, "reason": reason}


def numbers(tags: Mapping[str, str], names: Iterable[str], prefix: str = "") -> dict[str, float]:
    """The tags `prefix + name` that are finite numbers, by name."""
    found: dict[str, float] = {}
    for name in names:
        try:
            value = float(tags.get(prefix + name, "nan"))
        except ValueError:
            continue
        if isfinite(value):
            found[name] = value
    return found
