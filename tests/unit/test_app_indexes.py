"""The app as a host sees it: every function with its one trigger, the routes, and what merely importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
INDEX = """
import function_app
for function in function_app.app.get_functions():
    print(function.get_function_name(), function.get_function_json())
"""
ONLY_WHERE_USED = ("azure.identity", "opentelemetry", "azure.monitor", "azure.ai.ml", "mlflow", "sklearn", "local")

ROUTES = {
    "list_alerts": ("GET", "alerts"),
    "show_alert": ("GET", "alerts/{key}"),
    "acknowledge_alert": ("POST", "alerts/{key}/acknowledge"),
    "list_proposals": ("GET", "proposals"),
    "show_proposal": ("GET", "proposals/{proposal}"),
    "accept_proposal": ("POST", "proposals/{proposal}/accept"),
    "decline_proposal": ("POST", "proposals/{proposal}/decline"),
    "list_approvals": ("GET", "approvals"),
    "show_approval": ("GET", "approvals/{approval}"),
    "decide_approval": ("POST", "approvals/{approval}"),
    "decide_approvals": ("POST", "approvals/batch"),
    "override_gate": ("POST", "approvals/{approval}/override"),
    "retire": ("POST", "circuits/{circuit}/retire"),
    "on_devops_hook": ("POST", "hooks/devops"),
    "list_circuits": ("GET", "circuits"),
    "show_commit": ("GET", "lake/commits/{version}"),
    "show_circuit": ("GET", "circuits/{circuit}"),
    "list_releases_of_circuit": ("GET", "circuits/{circuit}/releases"),
    "explain_circuit": ("GET", "circuits/{circuit}/explain"),
    "explain_lake": ("GET", "lake/explain"),
    "ask_for_etl": ("POST", "lake/etl"),
    "show_etl": ("GET", "lake/etl/{run}"),
    "report_direct_action": ("POST", "circuits/{circuit}/direct-actions"),
    "list_ledger": ("GET", "ledger"),
    "show_ledger_days": ("GET", "ledger/days"),
    "fill_day": ("POST", "ledger/fill"),
    "show_fill": ("GET", "ledger/fill"),
    "show_ledger_of_circuit": ("GET", "circuits/{circuit}/ledger"),
    "score_day": ("POST", "circuits/{circuit}/scorings"),
    "list_forecasts": ("GET", "circuits/{circuit}/forecasts"),
    "score_again": ("POST", "circuits/{circuit}/forecasts/score-again"),
    "show_as_of": ("GET", "circuits/{circuit}/as-of"),
    "list_releases": ("GET", "releases"),
    "show_release": ("GET", "releases/{release}"),
    "show_history": ("GET", "releases/{release}/history"),
    "cancel_release": ("POST", "releases/{release}/cancel"),
    "retry_release": ("POST", "releases/{release}/retry"),
    "reopen_release": ("POST", "releases/{release}/reopen"),
    "ask_again": ("POST", "releases/{release}/ask-again"),
    "show_fleet": ("GET", "fleet"),
    "stop_fleet": ("POST", "fleet/stop"),
    "resume_fleet": ("POST", "fleet/resume"),
    "list_orders": ("GET", "circuits/{circuit}/orders"),
    "roll_back": ("POST", "circuits/{circuit}/rollback"),
    "hold": ("POST", "circuits/{circuit}/hold"),
    "resume": ("POST", "circuits/{circuit}/resume"),
    "list_environments": ("GET", "environments"),
    "release_environment": ("POST", "environments/{version}"),
    "show_environment": ("GET", "environments/{version}"),
    "preview_environment": ("GET", "environments/{version}/preview"),
    "show_environment_history": ("GET", "environments/{version}/history"),
    "halt_environment": ("POST", "environments/{version}/halt"),
    "resume_environment": ("POST", "environments/{version}/resume"),
    "roll_back_environment": ("POST", "environments/{version}/rollback"),
    "retry_environment": ("POST", "environments/{version}/retry"),
    "reopen_environment": ("POST", "environments/{version}/reopen"),
    "ask_again_of_environment": ("POST", "environments/{version}/ask-again"),
    "check_performance": ("POST", "monitoring/performance"),
    "check_drift": ("POST", "monitoring/drift"),
    "list_monitoring_runs": ("GET", "monitoring/runs"),
    "show_monitoring_run": ("GET", "monitoring/runs/{run}"),
    "show_monitoring_history": ("GET", "monitoring/runs/{run}/history"),
    "list_verdicts": ("GET", "monitoring/runs/{run}/verdicts"),
    "show_fleet_report": ("GET", "monitoring/runs/{run}/report"),
    "show_circuit_monitoring": ("GET", "circuits/{circuit}/monitoring"),
    "show_check": ("GET", "circuits/{circuit}/checks/{run}"),
    "show_circuit_report": ("GET", "circuits/{circuit}/checks/{run}/report"),
    "list_dead_letters": ("GET", "dead-letters"),
    "show_dead_letter": ("GET", "dead-letters/{letter}"),
    "replay_dead_letter": ("POST", "dead-letters/{letter}/replay"),
    "health": ("GET", "health"),
    "show_dashboard": ("GET", "dashboard/{*page}"),
    "serve_static": ("GET", "static/{*file}"),
    "show_sign_in": ("GET", "sign-in"),
    "show_me": ("GET", "me"),
    "show_openapi": ("GET", "openapi.json"),
    "show_docs": ("GET", "docs"),
    "no_such_route": ("", "{*path}"),
    "show_needs": ("GET", "overview/needs"),
    "list_glances": ("GET", "overview/circuits"),
    "list_days_of_circuits": ("GET", "overview/days"),
    "list_acts": ("GET", "audit"),
    "show_backlog": ("GET", "backlog"),
    "show_series": ("GET", "circuits/{circuit}/series"),
    "show_test_series": ("GET", "releases/{release}/test-series"),
}
UNDECLARED = {
    "on_devops_hook": "Azure DevOps alone calls it",
    "show_dashboard": "a page",
    "show_fleet_report": "a page",
    "show_circuit_report": "a page",
    "serve_static": "the files of pages",
    "show_openapi": "the document itself",
    "show_docs": "a page",
    "no_such_route": "what fits nothing else",
}
"""HTTP functions that are no endpoints, and so are not in the OpenAPI document, with the reason."""
TIMERS = {
    "run_etl": "%ETL_SCHEDULE%",
    "run_upkeep": "%UPKEEP_SCHEDULE%",
    "sweep": "%SWEEP_SCHEDULE%",
    "check_daily_scoring": "%DAILY_SCORING_SCHEDULE%",
    "reconcile_production": "%RECONCILE_SCHEDULE%",
    "read_newest_commit": "%RECONCILE_SCHEDULE%",
    "look_at_gates": "%RECONCILE_SCHEDULE%",
    "look_for_environments": "%RECONCILE_SCHEDULE%",
    "watch_fleet": "%RECONCILE_SCHEDULE%",
    "monitor_fleet": "%MONITORING_SCHEDULE%",
    "retain": "%RETENTION_SCHEDULE%",
}
EVENTS = {
    "on_model_registered",
    "on_run_changed",
    "on_delta_log_written",
    "on_etl_completed",
    "on_environment_registered",
}
QUEUES = {
    "on_work": "%WORK_QUEUE%",
    "on_poisoned_work": "%WORK_QUEUE%-poison",
    "on_queued_event": "%EVENTS_QUEUE%",
    "on_poisoned_event": "%EVENTS_QUEUE%-poison",
}


@cache
def functions() -> dict[str, dict[str, Any]]:
    """The indexed functions by name, each with its bindings; from a process of its own, since an app indexes once."""
    answer = subprocess.run([sys.executable, "-c", INDEX], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    lines = (line.partition(" ") for line in answer.stdout.splitlines())
    return {name: json.loads(described) for name, _, described in lines}


@cache
def declared() -> dict[str, tuple[str, str]]:
    """The endpoints of the OpenAPI document by their functions' names, from a process of its own."""
    code = "import json, function_app; from functions.description import openapi; print(json.dumps(openapi()))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return {
        operation["operationId"]: (method.upper(), path.removeprefix("/"))
        for path, operations in json.loads(answer.stdout)["paths"].items()
        for method, operation in operations.items()
    }


def triggers(kind: str) -> dict[str, dict[str, Any]]:
    """The trigger bindings of one kind by function name."""
    return {
        name: binding
        for name, function in functions().items()
        for binding in function["bindings"]
        if binding["type"].lower() == kind.lower()
    }


def test_every_function_has_exactly_one_trigger_and_no_other_binding_but_its_answer() -> None:
    for name, function in functions().items():
        kinds = sorted(binding["type"] for binding in function["bindings"])
        assert [kind for kind in kinds if kind.endswith("Trigger")] == kinds[-1:], name
        assert kinds[:-1] == (["http"] if kinds[-1] == "httpTrigger" else []), name


def test_the_app_consists_of_these_functions_and_no_others() -> None:
    assert set(functions()) == {*ROUTES, *TIMERS, *EVENTS, *QUEUES}


def test_the_routes_and_their_methods() -> None:
    bindings = triggers("httpTrigger").items()
    found = {name: (",".join(binding.get("methods") or ()), binding["route"]) for name, binding in bindings}
    assert found == ROUTES


def test_every_route_is_declared_as_an_endpoint_or_has_a_reason_not_to_be() -> None:
    """Declare it with `Endpoints` (functions/endpoints.py): checks, answers and the OpenAPI document come from that."""
    assert set(triggers("httpTrigger")) == {*declared(), *UNDECLARED}


def test_endpoints_are_described_with_the_routes_that_the_host_has() -> None:
    described = {name: (method, route) for name, (method, route) in ROUTES.items() if name not in UNDECLARED}
    assert declared() == described


def test_people_are_known_by_their_token_and_only_the_hook_asks_for_a_key() -> None:
    keyed = {name for name, binding in triggers("httpTrigger").items() if binding["authLevel"].lower() != "anonymous"}
    assert keyed == {"on_devops_hook"}
    assert triggers("httpTrigger")["on_devops_hook"]["authLevel"].lower() == "function"


def test_schedules_and_queues_come_from_settings() -> None:
    assert {name: binding["schedule"] for name, binding in triggers("timerTrigger").items()} == TIMERS
    queues = triggers("queueTrigger")
    assert {name: binding["queueName"] for name, binding in queues.items()} == QUEUES
    assert {binding["connection"] for binding in queues.values()} == {"FLEET_STORAGE"}
    assert set(triggers("eventGridTrigger")) == EVENTS


@pytest.mark.parametrize("name", ONLY_WHERE_USED)
def test_importing_the_app_imports_nothing_that_is_only_used_later(name: str) -> None:
    assert not [module for module in imported() if module == name or module.startswith(f"{name}.")]


@cache
def imported() -> tuple[str, ...]:
    """Every module that importing the app brings in, in a process of its own."""
    code = "import sys, function_app; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return tuple(answer.stdout.split())
