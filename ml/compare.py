"""The candidate beside the champion, on hours that neither of them was trained on; otherwise it says "not comparable".

A backtest error of last month's champion and one of today's candidate are about different weeks. Here both forecast
from the same origins, all of them after both models' cutoffs, and the naive forecasts stand beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

if __name__ == "__main__":
    from ml.threads import limit_threads

    limit_threads()

import numpy as np
from deltalake import DeltaTable

from ml.artifact import CircuitForecaster, load_folder
from ml.errors import IncompleteInput, ModelInputError
from ml.evaluate import NothingToJudge, evaluate, inside_interval
from ml.features import DAY, LOOKBACK_HOURS, Positions, future
from ml.history import HOUR, Array, History, open_version, read_history
from ml.requests import Comparison, ComparisonRequest, Contender, Errors, Verdict

MINIMUM_DAYS = 7  # shorter, and one odd day decides
LONGEST = timedelta(days=366)
RESAMPLES = 2000
CERTAINTY = 0.9


def compare(
    request: ComparisonRequest, load_model: Callable[[Contender], CircuitForecaster] = lambda c: load_folder(c.folder)
) -> Comparison:
    """Forecast with both models from every origin after both cutoffs. Raises ModelInputError for two circuits."""
    candidate, champion = request.candidate, request.champion
    if champion is None:
        return _without_numbers(request, "not comparable", "nothing serves yet")
    models = (load_model(candidate), load_model(champion))
    if models[0].circuit != models[1].circuit:
        raise ModelInputError(
            f"the candidate is {models[0].circuit}'s, the champion {models[1].circuit}'s; pick one circuit"
        )
    for what, mine, other in (
        ("sensor", models[0].sensor_id, models[1].sensor_id),
        ("target", models[0].spec.target, models[1].spec.target),
    ):
        if mine != other:
            return _without_numbers(
                request, "not comparable", f"the candidate forecasts {what} {mine}, the champion {other}"
            )
    horizon = min(model.spec.horizon for model in models)
    first = max(candidate.first_unseen, champion.first_unseen)
    table = open_version(request.table_uri, request.delta_version)
    try:
        histories = [_history(table, model, first) for model in models]
    except IncompleteInput as error:
        return _without_numbers(request, "not comparable", str(error))
    target = histories[0].values[models[0].spec.target]
    origins = np.arange(histories[0].position(first), len(target) - horizon)
    known = ~np.isnan(target[origins])
    days = len(origins) / DAY
    if days < MINIMUM_DAYS:
        later = max(candidate.cutoff_date, champion.cutoff_date)
        return _without_numbers(
            request,
            "not comparable",
            f"{max(days, 0):.1f} days of readings after {later}, the later cutoff; {MINIMUM_DAYS} are needed",
        )
    origins = origins[known]
    forecasts = [
        model.predict(model.spec.build(history, origins))[:, :horizon]
        for model, history in zip(models, histories, strict=True)
    ]
    outcomes: list[tuple[str, Verdict, Array]] = [
        ("candidate", "worse", forecasts[0]),
        ("champion", "better", forecasts[1]),
    ]
    for name, verdict, forecast in outcomes:
        if broken := int((~np.isfinite(forecast)).any(axis=1).sum()):
            reason = f"{broken} of {len(origins)} forecasts of the {name} are not finite numbers"
            return _without_numbers(request, verdict, reason)
    scale = max(float(np.nanstd(target)), 1e-9)
    try:
        results = [evaluate(target, origins, forecast, scale) for forecast in forecasts]
    except NothingToJudge as error:
        return _without_numbers(request, "not comparable", str(error))
    truth = future(target, origins, horizon)
    errors = [
        Errors(
            mae=result.mae,
            rmse=result.rmse,
            skill=result.skill,
            coverage=inside_interval(truth, forecast, model.offsets[:, :horizon]),
        )
        for model, result, forecast in zip(models, results, forecasts, strict=True)
    ]
    daily = _daily_difference(histories[0].start, origins, truth, forecasts) / scale
    low, high = _interval_of_mean(daily)
    return Comparison(
        verdict="better" if high < 0 else "worse" if low > 0 else "no clear difference",
        delta_version=table.version(),
        first_origin=histories[0].start + int(origins[0]) * HOUR,
        last_origin=histories[0].start + int(origins[-1]) * HOUR,
        origins=len(origins),
        horizon=horizon,
        candidate_version=candidate.version,
        champion_version=champion.version,
        candidate=errors[0],
        champion=errors[1],
        persistence_mae=results[0].persistence_mae,
        seasonal_naive_mae=results[0].seasonal_naive_mae,
        difference=(low, high),
        better_days=int((daily < 0).sum()),
        days=len(daily),
    )


def _without_numbers(request: ComparisonRequest, verdict: Verdict, reason: str) -> Comparison:
    return Comparison(
        verdict=verdict,
        reason=reason,
        candidate_version=request.candidate.version,
        champion_version=request.champion.version if request.champion else None,
    )


def _history(table: DeltaTable, model: CircuitForecaster, first: datetime) -> History:
    """From early enough for the features of the first origin, up to the newest reading."""
    start, end = first - LOOKBACK_HOURS * HOUR, first + LONGEST
    return read_history(table, model.sensor_id, model.spec.columns, start, end, model.plausible).without_end()


def _daily_difference(start: datetime, origins: Positions, truth: Array, forecasts: list[Array]) -> Array:
    """Per UTC day of the origin, the candidate's mean absolute error minus the champion's, where the truth is known."""
    with np.errstate(over="ignore", invalid="ignore"):
        mine, other = (np.abs(forecast - truth) for forecast in forecasts)
        difference = np.where(np.isnan(truth), 0.0, mine - other)
    day = (origins + start.hour) // DAY
    day = day - day[0]
    sums = np.bincount(day, weights=difference.sum(axis=1))
    counts = np.bincount(day, weights=(~np.isnan(truth)).sum(axis=1))
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _interval_of_mean(daily: Array) -> tuple[float, float]:
    """Days are drawn again, not hours: the errors of one day hang together."""
    drawn = np.random.default_rng(0).integers(0, len(daily), (RESAMPLES, len(daily)))
    low, high = np.quantile(daily[drawn].mean(axis=1), [(1 - CERTAINTY) / 2, (1 + CERTAINTY) / 2])
    return float(low), float(high)


def main(arguments: list[str] | None = None) -> int:
    """Command line: compare by a request file; prints JSON. Exit code 1 says on stderr what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ml.compare", description=__doc__)
    parser.add_argument("request", type=Path, help="JSON file of a ComparisonRequest")
    options = parser.parse_args(arguments)
    try:
        comparison = compare(ComparisonRequest.model_validate_json(options.request.read_bytes()))
    except (ModelInputError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(comparison.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
