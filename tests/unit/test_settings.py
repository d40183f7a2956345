"""Settings: every problem at once, no local trust on Azure, no secret in a text, and a sample that is complete."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from local.issuer import LOCAL_ISSUER
from shared.settings import Settings, SettingsError
from tests.unit.test_app_indexes import functions

ROOT = Path(__file__).resolve().parents[2]
NAMES = {f.name: f.metadata["name"] for f in fields(Settings)}
HOST_SIGNS_IN = ("__credential", "__clientId")
OF_THE_HOST = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
TENANT = "11111111-2222-3333-4444-555555555555"
AZURE_EXAMPLE = ROOT / "docs" / "examples" / "azure.settings.json"
GROUP = "/subscriptions/0d1c/resourceGroups/fleet/providers"

COMMON = {
    "LAKE_URI": "lake",
    "TOPIC_ID": f"{GROUP}/Microsoft.EventGrid/topics/fleet",
    "DEV_WORKSPACE": f"{GROUP}/Microsoft.MachineLearningServices/workspaces/dev",
    "TEST_WORKSPACE": f"{GROUP}/Microsoft.MachineLearningServices/workspaces/test",
    "PRODUCTION_WORKSPACE": f"{GROUP}/Microsoft.MachineLearningServices/workspaces/production",
    "LAKE_ACCOUNT": f"{GROUP}/Microsoft.Storage/storageAccounts/lake",
    "TOPIC_ENDPOINT": "https://topic.example/api/events",
    "TOKEN_AUDIENCE": "api://circuit-fleet",
}
LOCAL = {
    **COMMON,
    "FLEET_MODE": "local",
    "FLEET_STORAGE": "AccountKey=storage-secret",
    "TOPIC_KEY": "topic-secret",
    "TOKEN_ISSUER": LOCAL_ISSUER,
    "TOKEN_KEYS_URI": "http://127.0.0.1:7072/issuer/discovery/keys",
    "PLATFORM_ENDPOINT": "http://127.0.0.1:7073",
    "PLATFORM_KEY": "platform-secret",
}
AZURE = {
    **COMMON,
    "FLEET_MODE": "azure",
    "FLEET_STORAGE__tableServiceUri": "https://fleet.table.core.windows.net",
    "FLEET_STORAGE__queueServiceUri": "https://fleet.queue.core.windows.net",
    "FLEET_STORAGE__blobServiceUri": "https://fleet.blob.core.windows.net",
    "TOKEN_ISSUER": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "TOKEN_KEYS_URI": f"https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys",
    "REGISTRY": "sensor-forecast-registry",
    "SYNAPSE_ENDPOINT": "https://fleet.dev.azuresynapse.net",
    "SYNAPSE_POOL": "etlpool",
    "ETL_CODE_URI": "abfss://code@lake.dfs.core.windows.net",
    "ETL_SOURCE_URI": "abfss://landing@lake.dfs.core.windows.net",
}


def problems(environment: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        Settings.read(environment)
    return [line.removeprefix("- ") for line in str(refused.value).splitlines()[1:]]


def test_both_modes_read_with_their_defaults() -> None:
    local, azure = Settings.read(LOCAL), Settings.read(AZURE)
    assert (local.mode, azure.mode) == ("local", "azure")
    assert local.dev_workspace == COMMON["DEV_WORKSPACE"]
    assert (local.state_shards, local.operators, azure.work_queue) == (4, ("ML-Engineers",), "fleet-work")


def test_every_missing_name_is_reported_at_once_with_what_it_is_for() -> None:
    found = problems({})
    missing = {line.partition(" is missing: ")[0] for line in found}
    assert missing == {NAMES[f.name] for f in fields(Settings) if f.default is MISSING}
    assert {"FLEET_MODE", "LAKE_URI", "DEV_WORKSPACE", "TOKEN_ISSUER"} <= missing
    assert all(line.partition(" is missing: ")[2] for line in found)


@pytest.mark.parametrize(
    ("environment", "needed"),
    [
        (LOCAL, {"FLEET_STORAGE", "TOPIC_KEY", "PLATFORM_ENDPOINT", "PLATFORM_KEY"}),
        (AZURE, {name for name in AZURE if name.startswith(("FLEET_STORAGE__", "SYNAPSE", "ETL_"))} | {"REGISTRY"}),
    ],
)
def test_what_one_mode_needs_is_missed_in_that_mode(environment: Mapping[str, str], needed: set[str]) -> None:
    found = problems({name: text for name, text in environment.items() if name not in needed})
    assert {line.partition(" is missing for FLEET_MODE=")[0] for line in found} == needed


@pytest.mark.parametrize("text", ["abc", "0", "-1", "1.5", "1e3", "1_000", "\u0663", "9" * 10])
def test_a_wrong_number_is_named_with_its_text_and_what_is_allowed(text: str) -> None:
    assert problems({**LOCAL, "STATE_SHARDS": text}) == [
        f"STATE_SHARDS={text!r}: must be a whole number from 1 to 999999999"
    ]


@pytest.mark.parametrize(
    "text", ["dev", f"{GROUP}/Microsoft.Storage/storageAccounts/lake", "/subscriptions//workspaces/d"]
)
def test_a_workspace_is_named_by_its_resource_id(text: str) -> None:
    (found,) = problems({**LOCAL, "DEV_WORKSPACE": text})
    assert found.startswith(f"DEV_WORKSPACE={text!r}: must be /subscriptions/") and "/workspaces/{name}" in found


def test_wrong_numbers_missing_names_and_a_wrong_mode_are_one_report() -> None:
    found = problems({**COMMON, "FLEET_MODE": "cloud", "SLOT_WAIT_SECONDS": "soon", "OPERATOR_GROUPS": " , "})
    assert [line.partition("=")[0].partition(" ")[0] for line in found] == [
        "TOKEN_ISSUER",
        "TOKEN_KEYS_URI",
        "OPERATOR_GROUPS",
        "SLOT_WAIT_SECONDS",
        "FLEET_MODE",
    ]
    assert "allowed are azure and local" in found[-1]


def test_a_setting_that_is_blank_is_missing() -> None:
    assert problems({**LOCAL, "LAKE_URI": "  "}) == [
        "LAKE_URI is missing: where processed/sensor_data and predictions lie"
    ]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"TOKEN_ISSUER": LOCAL_ISSUER}, "TOKEN_ISSUER"),
        ({"TOKEN_KEYS_URI": "http://127.0.0.1:7072/issuer/discovery/keys"}, "TOKEN_KEYS_URI"),
        ({"TOKEN_ISSUER": "https://login.microsoftonline.com.evil.example/"}, "TOKEN_ISSUER"),
        ({"TOKEN_ISSUER": "https://login.microsoftonline.com/common/v2.0"}, "TOKEN_ISSUER"),
        ({"TOKEN_ISSUER": f"https://sts.windows.net/{TENANT}/"}, "TOKEN_ISSUER"),
        ({"TOKEN_KEYS_URI": "https://login.microsoftonline.com/common/discovery/v2.0/keys"}, "TOKEN_KEYS_URI"),
        ({"FLEET_STORAGE": "UseDevelopmentStorage=true"}, "FLEET_STORAGE"),
        ({"AzureWebJobsStorage": "AccountName=a;AccountKey=secret"}, "AzureWebJobsStorage holds a key"),
        ({"SOME_HUB": "Endpoint=sb://x;SharedAccessKey=secret"}, "SOME_HUB holds a key"),
        ({"AZURE_CLIENT_SECRET": "secret"}, "AZURE_CLIENT_SECRET is a password"),
        ({"TOPIC_KEY": "secret"}, "TOPIC_KEY"),
        ({"PLATFORM_ENDPOINT": "http://127.0.0.1:7073"}, "PLATFORM_ENDPOINT"),
        ({"PLATFORM_KEY": "secret"}, "PLATFORM_KEY"),
    ],
)
def test_azure_refuses_what_only_this_machine_may_trust(changed: Mapping[str, str], named: str) -> None:
    (found,) = problems({**AZURE, **changed})
    assert found.startswith(named)
    assert "secret" not in found


def test_an_account_key_is_refused_on_azure_wherever_it_is_and_never_shown() -> None:
    for name in {*NAMES.values(), "AzureWebJobsStorage"} - {"FLEET_MODE"}:
        found = problems({**AZURE, name: "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hushed"})
        assert any(line.startswith(f"{name} holds a key of an account") for line in found), name
        assert "hushed" not in "\n".join(line for line in found if "holds a key" in line)


def test_the_azure_example_is_whole_and_knows_no_key_and_no_password() -> None:
    example: dict[str, str] = json.loads(AZURE_EXAMPLE.read_text())["Values"]
    references = {name for name, text in example.items() if text.startswith("@Microsoft.KeyVault(")}
    assert references == {"DEVOPS_HOOK_SECRET", "ALERT_WEBHOOKS", "ALERT_WEBHOOK_SECRET"}
    with pytest.raises(SettingsError, match="Key Vault reference that was not resolved"):
        Settings.read(example)
    secrets = dict.fromkeys(("DEVOPS_HOOK_SECRET", "ALERT_WEBHOOK_SECRET"), "0123456789abcdef0123456789abcdef")
    read = Settings.read({**example, **secrets, "ALERT_WEBHOOKS": "on-call=https://hooks.example.org/a?key=b"})
    assert read.tenant and dict(read.group_names).keys() and not read.storage and not read.topic_key
    secret = {f.metadata["name"] for f in fields(Settings) if not f.repr and getattr(read, f.name)}
    assert secret == references, "every secret on Azure is a reference to Key Vault"
    in_bindings = set(re.findall(r"%(\w+)%", json.dumps(functions())))
    of_the_host = {name for name in example if name.startswith("AzureWebJobsStorage__") or name.endswith(HOST_SIGNS_IN)}
    assert set(example) - of_the_host <= set(NAMES.values()) | in_bindings | OF_THE_HOST


def test_groups_are_pairs_of_object_id_and_name() -> None:
    read = Settings.read({**AZURE, "TOKEN_GROUPS": f"{TENANT.upper()} = ML-Engineers, {TENANT[:-1]}6=Managers"})
    assert dict(read.group_names) == {TENANT: "ML-Engineers", f"{TENANT[:-1]}6": "Managers"}
    for wrong in ("ML-Engineers", f"{TENANT}=", "ML-Engineers=x"):
        (found,) = problems({**AZURE, "TOKEN_GROUPS": wrong})
        assert found.startswith("TOKEN_GROUPS=")


def test_no_secret_is_shown_where_the_settings_are() -> None:
    shown = repr(Settings.read(LOCAL))
    assert "secret" not in shown
    assert "api://circuit-fleet" in shown


DEVOPS = {
    "APPROVAL_CHANNEL": "devops",
    "DEVOPS_ORGANIZATION": "https://dev.azure.com/contoso",
    "DEVOPS_PROJECT": "6A1D8B0C-1111-4222-8333-944455556666",
    "DEVOPS_GATE_PIPELINE": "12",
    "DEVOPS_HOOK_SECRET": "0123456789abcdef0123456789abcdef",
}


def test_gates_asked_in_azure_devops_need_all_that_asking_there_takes() -> None:
    read = Settings.read({**AZURE, **DEVOPS})
    assert (read.approval_channel, read.devops_project) == ("devops", DEVOPS["DEVOPS_PROJECT"].lower())
    missing = problems({**AZURE, "APPROVAL_CHANNEL": "devops"})
    assert sorted(line.split(" ")[0] for line in missing) == sorted(set(DEVOPS) - {"APPROVAL_CHANNEL"})
    assert "must be one of product, devops" in problems({**AZURE, "APPROVAL_CHANNEL": "mail"})[0]


def test_the_embedded_mode_cannot_ask_in_azure_devops() -> None:
    assert "APPROVAL_CHANNEL=devops belongs to FLEET_MODE=azure" in problems({**LOCAL, **DEVOPS})[0]


def test_a_secret_that_is_too_short_is_refused_and_not_shown() -> None:
    found = problems({**AZURE, **DEVOPS, "DEVOPS_HOOK_SECRET": "letmein"})
    assert found[0] == "DEVOPS_HOOK_SECRET: must have at least 32 characters"
    assert "letmein" not in "".join(found)


def test_a_repository_in_azure_devops_needs_to_be_told_where_that_is() -> None:
    read = Settings.read({**AZURE, **DEVOPS, "CONFIG_REPOSITORY": "sensor-forecast"})
    assert (read.config_repository, read.config_branch, read.config_path) == ("sensor-forecast", "main", "config")
    missing = problems({**AZURE, "CONFIG_REPOSITORY": "sensor-forecast"})
    assert sorted(line.split(" ")[0] for line in missing) == ["DEVOPS_ORGANIZATION", "DEVOPS_PROJECT"]
    assert Settings.read({**LOCAL, "CONFIG_REPOSITORY": "/srv/config"}).config_repository == "/srv/config"


WEBHOOKS = {"ALERT_WEBHOOK_SECRET": "0123456789abcdef0123456789abcdef"}


def test_webhooks_are_pairs_of_name_and_address_and_come_with_a_secret() -> None:
    read = Settings.read(
        {**AZURE, **WEBHOOKS, "ALERT_WEBHOOKS": "on-call=https://a.example/x?sig=1=, teams=https://b/"}
    )
    assert read.alert_webhooks == (("on-call", "https://a.example/x?sig=1="), ("teams", "https://b/"))
    assert "a.example" not in repr(read)
    (missing,) = problems({**AZURE, "ALERT_WEBHOOKS": "on-call=https://a.example/"})
    assert missing.startswith("ALERT_WEBHOOK_SECRET is missing")
    for wrong in ("https://a.example/?hushed", "On Call=https://hushed", "x=https://hushed,x=https://hushed"):
        (found,) = problems({**AZURE, **WEBHOOKS, "ALERT_WEBHOOKS": wrong})
        assert found.startswith("ALERT_WEBHOOKS: ") and "hushed" not in found


def test_the_sample_is_complete_and_names_nothing_unknown() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    in_bindings = set(re.findall(r"%(\w+)%", json.dumps(functions())))
    assert {"ETL_SCHEDULE", "SWEEP_SCHEDULE", "WORK_QUEUE"} <= in_bindings
    assert set(sample) == set(NAMES.values()) | in_bindings | OF_THE_HOST


def test_the_sample_reads_and_says_what_the_defaults_are() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    read = Settings.read(sample)
    for f in fields(Settings):
        if f.default not in (MISSING, "", ()):
            assert getattr(read, f.name) == f.default, f.metadata["name"]
