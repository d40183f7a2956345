"""What a fleet of any size takes of quotas, time and money: counted from docs/capacity.yml."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.reference.markdown import page, table

ROOT = Path(__file__).resolve().parents[2]
STAGES = 2
"""A circuit has a deployment in the test workspace and one in the production workspace."""

INTRODUCTION = """
Counted from [capacity.yml](../capacity.yml): prices, durations and sizes are there, to be edited. What the numbers are
worth: a release's table operations are those of the [benchmarks](../benchmarks.md), quotas are AzureML's documented
ones; durations on a cluster and executions are assumptions until a bill says otherwise, and of each price the last
table says what it is. Who asks for a budget asks for *together* times 1.5, for each estate that runs all the time.
"""
CORES = """
*Cores* are what the production cluster uses when the day's forecasts are made within `ledger.late_after_hours`, with
the number of *nodes* that takes: `max_parallel_invocations` of the policy, `clusters.production.maxNodes` of the
parameter file and the subscription's AzureML quota of dedicated cores of the node's family must be that high. Dev takes
`max_parallel_training` nodes, and test as many as it is to make test inferences at once. A new subscription often has
less than 100 cores a family: ask for more in the portal (*Quotas*, Machine Learning) weeks before they are needed.
"""
SIZES = """
- **12 circuits** (a pilot): one subscription, default quotas. What is paid is the Spark pool and what is there anyhow.
- **200 circuits**: one subscription still holds test and production, at 80 % of its deployments: new plants need a
  second one, so put test into its own from the start (`testSubscriptionId`).
- **10,000 circuits** are counted, and simulated, not run. They need higher quotas for deployments or that many
  subscriptions, cores for the day's scoring, and `max_parallel_invocations` of at least *nodes*; so probably several
  fleets, each with an app, a lake and a registry of its own.
"""
QUOTAS = """
The quotas are of one subscription and region, online and batch, test and production together. Where the table says
*subscriptions*, that many are needed when test and production share them; `DEV_WORKSPACE`, `TEST_WORKSPACE` and
`PRODUCTION_WORKSPACE` are resource ids, so each may lie in a subscription of its own. Beyond what two subscriptions
hold, either ask Microsoft for higher quotas, split the fleet by plants into several apps with a production subscription
each, or share a deployment among circuits with the circuit as an input, which is a change of `ml/score.py` and of the
pair's meaning.
"""
TIMES = """
*Daily scoring* is how long the day's jobs take with `max_parallel_invocations` at once; the ledger calls a forecast
late after `ledger.late_after_hours`. *Retraining all* is the whole fleet at `max_parallel_training`. Both limits are
the policy's and may be raised with the cluster's size.
"""
COSTS = """
Dollars a month, for one estate. *Fixed* is the last table's second part. Not in it: Key Vault, workspaces (nothing by
themselves), taxes, support, and people.
"""


@dataclass(frozen=True)
class Load:
    """What one fleet makes in a month."""

    circuits: int
    plants: int
    endpoints: int
    deployments: int
    subscriptions: int
    node_hours: float
    spark_hours: float
    nodes: int
    operations: float
    executions: float
    events: float


def load_of(circuits: int, given: Mapping[str, Any]) -> Load:
    """A month of a fleet of so many circuits."""
    month, minutes, quotas = given["month"], given["minutes"], given["quotas"]
    plants = math.ceil(circuits / given["circuits_a_plant"])
    endpoints = STAGES * plants * math.ceil(given["circuits_a_plant"] / quotas["deployments_an_endpoint"])
    deployments = STAGES * circuits
    scorings, releases = circuits * month["days"] * month["scorings_a_day"], circuits * month["releases"]
    # A release scores twice as well: its test inference and, on the way to live, the day's own.
    node_minutes = (
        (scorings + releases) * minutes["scoring"] + releases * minutes["training"] + circuits * minutes["monitoring"]
    )
    etl_minutes = minutes["etl"] + minutes["etl_per_200"] * max(0, math.ceil(circuits / 200) - 1)
    operations = given["operations"]
    return Load(
        circuits=circuits,
        plants=plants,
        endpoints=endpoints,
        deployments=deployments,
        subscriptions=max(math.ceil(endpoints / quotas["endpoints"]), math.ceil(deployments / quotas["deployments"])),
        node_hours=node_minutes / 60,
        spark_hours=month["days"] * month["etl_runs_a_day"] * etl_minutes / 60,
        nodes=math.ceil(circuits * minutes["scoring"] / (given["late_after_hours"] * 60)),
        operations=releases * operations["release"]
        + scorings * operations["scoring"]
        + month["days"] * 24 * 60 * operations["sweeps_a_minute"]
        + month["days"] * operations["reconciliations_a_day"] * circuits,
        executions=releases * given["executions"]["release"]
        + scorings * given["executions"]["scoring"]
        + month["days"] * given["executions"]["timers_a_day"],
        events=scorings * 4 + releases * 12 + month["days"] * month["etl_runs_a_day"] * 6,
    )


def costs_of(load: Load, given: Mapping[str, Any]) -> dict[str, float]:
    """Dollars a month, by what they are for."""
    sizes = given["sizes"]
    prices = {name: one["dollars"] for name, one in given["prices"].items()}
    gigabytes = load.circuits * (sizes["readings_mb"] + sizes["predictions_mb"] + sizes["state_mb"]) * 12 / 1000
    compute_seconds = max(0.0, load.executions * 0.3 * 0.5 - 100_000)
    return {
        "cluster": load.node_hours * prices["node_hour"],
        "Spark": load.spark_hours * given["spark_vcores"] * prices["spark_vcore_hour"],
        "tables": load.operations / 10_000 * prices["table_10k_operations"],
        "functions": max(0.0, load.executions - 250_000) / 1e6 * prices["execution_million"]
        + compute_seconds * prices["gb_second"],
        "events": max(0.0, load.events - 100_000) / 1e6 * prices["event_grid_million"],
        "storage": gigabytes * prices["storage_gb"],
        "logs": load.circuits * sizes["logs_mb"] / 1000 * prices["log_gb"],
        "fixed": sum(one["count"] * one["dollars"] for one in given["fixed"].values()),
    }


def write() -> str:
    """docs/reference/capacity.md"""
    given = yaml.safe_load((ROOT / "docs/capacity.yml").read_text(encoding="utf-8"))
    loads = [load_of(circuits, given) for circuits in given["fleets"]]
    return page(
        "Capacity and cost",
        INTRODUCTION,
        "## Quotas",
        table(("Circuits", "Plants", "Endpoints", "Deployments", "Subscriptions"), _quotas(loads)),
        QUOTAS,
        table(("Circuits", "Nodes", "Cores"), _cores(loads, given)),
        CORES,
        "## What each size means",
        SIZES,
        "## Time",
        table(("Circuits", "Daily scoring", "Retraining all", "Table operations a second"), _times(loads, given)),
        TIMES,
        "## Cost",
        table(("Circuits", *_names(given), "together", "a circuit"), _costs(loads, given)),
        COSTS,
        "## Prices",
        table(("For", "Dollars", "What it is", "Look it up"), _prices(given["prices"])),
        table(("Fixed", "Number", "Dollars", "What it is", "Look it up"), _fixed(given["fixed"])),
    )


def _cores(loads: list[Load], given: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for load in loads:
        yield f"{load.circuits:,}", f"{load.nodes:,}", f"{load.nodes * given['node_cores']:,}"


def _prices(prices: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in prices.values():
        yield f"one {one['per']}", f"{one['dollars']:f}".rstrip("0").rstrip("."), one["known"], one["look_up"]


def _fixed(fixed: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in fixed.values():
        yield f"one {one['per']}", str(one["count"]), f"{one['dollars']:.2f}", one["known"], one["look_up"]


def _quotas(loads: list[Load]) -> Iterator[tuple[str, ...]]:
    for load in loads:
        numbers = (load.circuits, load.plants, load.endpoints, load.deployments, load.subscriptions)
        yield tuple(f"{number:,}" for number in numbers)


def _times(loads: list[Load], given: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    minutes = given["minutes"]
    for load in loads:
        scoring = math.ceil(load.circuits / given["parallel_invocations"]) * minutes["scoring"] / 60
        training = math.ceil(load.circuits / given["parallel_training"]) * minutes["training"] / 60
        a_second = load.operations / (given["month"]["days"] * 86_400)
        yield f"{load.circuits:,}", f"{scoring:,.1f} h", f"{training:,.1f} h", f"{a_second:.2f}"


def _names(given: Mapping[str, Any]) -> list[str]:
    return list(costs_of(load_of(1, given), given))


def _costs(loads: list[Load], given: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for load in loads:
        costs = costs_of(load, given)
        whole = sum(costs.values())
        yield f"{load.circuits:,}", *(f"{cost:,.2f}" for cost in (*costs.values(), whole, whole / load.circuits))
