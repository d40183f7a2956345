"""Acting past the app: on AzureML as it is served here, refused before anything is touched, and kept to be reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from azure_harness import AzurePlatform
from harness import CONFIG

from local.platform.faults import FaultKind
from scripts import break_glass
from scripts.break_glass import Action, NotDone, act, before, check
from shared.configuration import load_fleet
from shared.domain.values import Pair, Stage
from tests.azure_services.arm import REGISTRY, AzureMlState, workspace_id
from tests.azure_services.rights import needed, sent
from tests.azure_services.server import AzureServices

FLEET = load_fleet(CONFIG)
CIRCUIT = "P001_C004"


def action(stage: Stage | None, **changed: Any) -> Action:
    given: dict[str, Any] = {
        "circuit": CIRCUIT,
        "model": 1,
        "environment": "1.0.0" if stage else "",
        "stage": stage,
        "reason": "the app is down",
        "request": "a" * 32,
        "at": "2026-01-31T06:00:00+00:00",
    }
    return Action(**{**given, **changed})


def in_its_time(azure: AzurePlatform) -> Callable[[float], None]:
    return lambda seconds: azure.azure.clock.advance(timedelta(seconds=seconds))


def test_a_model_goes_to_registry_test_and_production_past_the_app_with_just_the_rights_that_are_said() -> None:
    state = AzureMlState()
    with AzureServices(*state.services()) as azure:
        past = AzurePlatform(azure, state)
        platform, sleep = past.models, in_its_time(past)
        for number, stage in enumerate((None, Stage.TEST, Stage.PRODUCTION)):
            wanted = action(stage, request=f"{number:032}")
            act(platform, wanted, check(platform, FLEET, wanted), sleep)
        for stage in (Stage.TEST, Stage.PRODUCTION):
            deployed = platform.deployed(stage, CIRCUIT)
            assert deployed and deployed.pair == Pair(model=1, environment="1.0.0")
        with pytest.raises(NotDone, match="records no pair before it"):
            before(platform, CIRCUIT)
        asked = needed(logged.call for logged in azure.requests())
    workspaces = {f"{stage} workspace": {workspace_id(stage).rpartition("/")[2]} for stage in Stage}
    for scope, names in {**workspaces, "registry": {"registry", REGISTRY}}.items():
        assert {right.action for right in asked if right.place in names} == sent("scripts/break_glass.py", scope), scope


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"circuit": "P009_C001"}, "there is no circuit P009_C001: plants_circuits.yml has P001_C001"),
        ({"model": 999}, "no version 999"),
        ({"environment": "9.9.9"}, "there is no environment 9.9.9: config/environments has 1.0.0"),
    ],
)
def test_what_could_not_end_well_is_refused_before_anything_is_touched(
    azure_platform: AzurePlatform, changed: dict[str, Any], said: str
) -> None:
    before_it = len(azure_platform.azure.requests(method="PUT"))
    with pytest.raises(NotDone, match=said):
        check(azure_platform.models, FLEET, action(Stage.PRODUCTION, **changed))
    assert len(azure_platform.azure.requests(method="PUT")) == before_it


def test_an_end_that_is_not_good_is_told(azure_platform: AzurePlatform) -> None:
    azure_platform.faults.switch_on(FaultKind.OPERATION_FAILS, circuit=CIRCUIT, times=1)
    with pytest.raises(NotDone, match="failed"):
        act(azure_platform.models, action(Stage.TEST, request="f" * 32), None, in_its_time(azure_platform))
    azure_platform.faults.switch_off()


def test_wrong_use_is_told_before_any_setting_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (
        [],
        ["deploy", CIRCUIT, "--stage", "dev", "--model", "1", "--environment", "1.0.0", "--reason", "none"],
        ["deploy", CIRCUIT, "--stage", "test", "--model", "x", "--environment", "1.0.0", "--reason", "none"],
        ["promote", CIRCUIT, "--model", "1", "--reason", " "],
        ["promote", CIRCUIT, "--model", "1"],
    ):
        with pytest.raises(SystemExit) as stopped:
            break_glass.main(wrong)
        assert stopped.value.code == 2, wrong
    assert "usage" in capsys.readouterr().err
