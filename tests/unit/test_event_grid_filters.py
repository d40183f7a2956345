"""Subscription filters and chaos rules of the local Event Grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from local.event_grid import AdvancedFilter, Chaos, ChaosRule, DeadLetterDestination, Subscription
from local.runtime import embedded
from shared.subscriptions import (
    BLOB_CREATED,
    BLOB_RENAMED,
    ETL_COMPLETED,
    MODEL_REGISTERED,
    RUN_COMPLETED,
    RUN_STATUS_CHANGED,
    SUBSCRIPTIONS,
    Source,
)
from tests.unit.test_app_indexes import triggers

EVENT: dict[str, Any] = {
    "id": "1",
    "subject": "/models/sensor_model_P001_C001:3",
    "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
    "data": {"modelName": "Sensor_Model", "modelVersion": 3, "tags": {"plant": "P001"}, "ok": True, "none": None},
}


def subscription(**changes: Any) -> Subscription:
    return Subscription(topic="t", name="sub-1", endpoint="http://127.0.0.1/hook?code=secret", **changes)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"event_types": ["microsoft.machinelearningservices.MODELREGISTERED"]}, True),
        ({"event_types": ["Microsoft.MachineLearningServices.RunCompleted"]}, False),
        ({"event_types": []}, False),
        ({"subject_begins_with": "/MODELS/"}, True),
        ({"subject_begins_with": "/MODELS/", "subject_case_sensitive": True}, False),
        ({"subject_ends_with": ":3"}, True),
        ({"subject_ends_with": ":4"}, False),
    ],
)
def test_types_and_subjects_are_filtered(changes: dict[str, Any], taken: bool) -> None:
    assert subscription(**changes).takes(EVENT) is taken


@pytest.mark.parametrize(
    ("operator", "key", "values", "matches"),
    [
        ("StringIn", "data.modelName", ["sensor_model", "other"], True),
        ("StringIn", "data.modelName", ["other"], False),
        ("StringIn", "data.missing", ["x"], False),
        ("StringNotIn", "data.missing", ["x"], True),
        ("StringNotIn", "data.modelName", ["SENSOR_MODEL"], False),
        ("StringContains", "subject", ["p001_c001"], True),
        ("StringNotContains", "subject", ["P002"], True),
        ("StringBeginsWith", "subject", ["/models/", "/x"], True),
        ("StringEndsWith", "subject", [":3"], True),
        ("StringIn", "data.tags.plant", ["p001"], True),
        ("StringIn", "data.modelVersion", ["3"], False),
        ("NumberIn", "data.modelVersion", [3], True),
        ("NumberGreaterThanOrEquals", "data.modelVersion", [4], False),
        ("NumberLessThanOrEquals", "data.modelVersion", [3.5], True),
        ("NumberIn", "data.ok", [1], False),
        ("BoolEquals", "data.ok", [True], True),
        ("IsNotNull", "data.none", [], False),
        ("IsNullOrUndefined", "data.missing", [], True),
    ],
)
def test_advanced_filters(operator: Any, key: str, values: list[Any], matches: bool) -> None:
    assert AdvancedFilter(operator=operator, key=key, values=tuple(values)).matches(EVENT) is matches


def test_all_advanced_filters_must_hold() -> None:
    yes = AdvancedFilter(operator="StringContains", key="subject", values=("P001",))
    no = AdvancedFilter(operator="StringContains", key="subject", values=("P002",))
    assert subscription(advanced_filters=(yes,)).takes(EVENT)
    assert not subscription(advanced_filters=(yes, no)).takes(EVENT)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x"},
        {"endpoint": "ftp://x"},
        {"max_delivery_attempts": 31},
        {"event_ttl_minutes": 0},
        {"advanced_filters": [{"operator": "StringLike", "key": "subject"}]},
        {"unheard_of": 1},
    ],
)
def test_a_subscription_azure_would_refuse_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Subscription(**{"topic": "t", "name": "sub-1", "endpoint": "http://x", **changes})


MODEL = "models/sensor_model_P001_C001:3"
LOG = "/blobServices/default/containers/lake/blobs/processed/sensor_data/_delta_log"


@pytest.mark.parametrize(
    ("source", "event_type", "subject", "heard_by"),
    [
        (Source.DEV_WORKSPACE, MODEL_REGISTERED, MODEL, "on_model_registered"),
        (Source.DEV_WORKSPACE, MODEL_REGISTERED, MODEL.upper(), "on_model_registered"),
        (Source.DEV_WORKSPACE, MODEL_REGISTERED, "models/sklearn_regression_model:20", None),
        (Source.TEST_WORKSPACE, MODEL_REGISTERED, MODEL, None),
        (Source.DEV_WORKSPACE, RUN_COMPLETED, "experiments/1/runs/job", None),
        (Source.TEST_WORKSPACE, RUN_COMPLETED, "experiments/1/runs/job", "on_run_changed"),
        (Source.PRODUCTION_WORKSPACE, RUN_STATUS_CHANGED, "experiments/1/runs/job", "on_run_changed"),
        (Source.LAKE, BLOB_CREATED, f"{LOG}/00000000000000000007.json", "on_delta_log_written"),
        (Source.LAKE, BLOB_RENAMED, f"{LOG}/00000000000000000007.json", "on_delta_log_written"),
        (Source.LAKE, BLOB_CREATED, f"{LOG}/00000000000000000010.checkpoint.parquet", None),
        (Source.LAKE, BLOB_CREATED, "/blobServices/default/containers/lake/blobs/predictions/P001/C001/a.json", None),
        (Source.OWN_TOPIC, ETL_COMPLETED, "etl/run-1", "on_etl_completed"),
        (Source.OWN_TOPIC, "SensorForecast.AlertRaised", "alerts/P001_C001", None),
    ],
)
def test_the_applications_subscriptions_let_through_what_it_hears_and_no_flood(
    source: Source, event_type: str, subject: str, heard_by: str | None
) -> None:
    event = {**EVENT, "eventType": event_type, "subject": subject}
    lost = DeadLetterDestination(folder=Path("unused"))
    heard = [
        one.function
        for one in SUBSCRIPTIONS
        if source in one.sources and embedded(one, "t", "http://127.0.0.1/hook", lost).takes(event)
    ]
    assert heard == ([heard_by] if heard_by else [])


def test_every_subscription_has_its_function_and_every_function_a_subscription() -> None:
    assert {one.function for one in SUBSCRIPTIONS} == set(triggers("eventGridTrigger"))


def test_a_dead_letter_goes_to_one_place() -> None:
    with pytest.raises(ValidationError, match="either folder"):
        DeadLetterDestination()


def test_the_key_in_an_endpoint_is_never_shown() -> None:
    assert subscription().shown_endpoint == "http://127.0.0.1/hook?code=***"
    assert "secret" not in repr(subscription())


def test_a_rule_gives_its_events_more_copies_and_delays_within_bounds() -> None:
    chaos = Chaos(rules=(ChaosRule(event_type="*ModelRegistered", copies=5, delay_seconds=(1, 2), reorder_seconds=3),))
    delays = chaos.fate(EVENT, "sub-1").delays
    assert len(delays) == len(set(delays)) == 5
    assert all(1 <= delay <= 5 for delay in delays)
    assert chaos.fate({**EVENT, "eventType": "Other"}, "sub-1").delays == (0.0,)


def test_rules_concern_types_subjects_subscriptions_and_conditions() -> None:
    where = AdvancedFilter(operator="StringIn", key="data.tags.plant", values=("P001",))
    for rule in (
        ChaosRule(subject="/models/*:3", drop=True),
        ChaosRule(subscription="sub-*", drop=True),
        ChaosRule(where=(where,), drop=True),
    ):
        assert Chaos(rules=(rule,)).fate(EVENT, "sub-1").delays == ()
        other = {**EVENT, "subject": "/runs/1", "data": {}}
        assert Chaos(rules=(rule,)).fate(other, "different").delays == (0.0,)


def test_chance_is_as_likely_as_said_and_the_seed_decides() -> None:
    rule = ChaosRule(probability=0.3, drop=True)
    events = [{**EVENT, "id": str(number)} for number in range(2000)]

    def lost(seed: int) -> list[str]:
        chaos = Chaos(seed=seed, rules=(rule,))
        return [event["id"] for event in events if not chaos.fate(event, "sub-1").delays]

    assert 500 < len(lost(1)) < 700
    assert lost(1) == lost(1) != lost(2)
