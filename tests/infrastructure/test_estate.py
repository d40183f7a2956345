"""What the Bicep files deploy for each environment, evaluated offline and held against what the product needs."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from shared.configuration import load_fleet
from shared.settings import Settings
from shared.subscriptions import SUBSCRIPTIONS, Source
from tests.infrastructure import arm_types
from tests.infrastructure.bicep import SUBSCRIPTION, Resource
from tests.infrastructure.estates import ENVIRONMENTS, INFRA, PRIVATE, ROOT, Estate, estate
from tests.unit.test_app_indexes import functions

MATRIX = yaml.safe_load((INFRA / "rbac.yml").read_text())
RULES = yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text())["rules"]
EVENT_SUBSCRIPTIONS = (
    "Microsoft.EventGrid/systemTopics/eventSubscriptions",
    "Microsoft.EventGrid/topics/eventSubscriptions",
)
STORAGE = "Microsoft.Storage/storageAccounts"
WITHOUT_DEFINITION = {"Microsoft.Resources/resourceGroups"}
NAMES = {
    STORAGE: r"[a-z0-9]{3,24}",
    "Microsoft.KeyVault/vaults": r"[a-zA-Z](?!.*--)[a-zA-Z0-9-]{1,22}[a-zA-Z0-9]",
    "Microsoft.ContainerRegistry/registries": r"[a-zA-Z0-9]{5,50}",
    "Microsoft.Web/sites": r"[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]",
    "Microsoft.MachineLearningServices/workspaces": r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
    "Microsoft.MachineLearningServices/registries": r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
    "Microsoft.Synapse/workspaces": r"[a-z0-9][a-z0-9-]{0,48}[a-z0-9]",
    "Microsoft.EventGrid/topics": r"[a-zA-Z0-9-]{3,50}",
    "Microsoft.EventGrid/systemTopics": r"[a-zA-Z0-9-]{3,50}",
}
"""Microsoft's rules for resource names, where their types do not say them."""


@pytest.fixture(params=ENVIRONMENTS)
def each(request: pytest.FixtureRequest) -> Estate:
    return estate(request.param)


# --------------------------------------------------------------------------------------------------- what Azure takes


@pytest.mark.skipif(not arm_types.TYPES.is_dir(), reason="REFERENCE_DIR holds no Bicep types")
def test_every_resource_is_as_microsoft_defines_its_type(each: Estate) -> None:
    found = {resource.id: arm_types.problems(resource) for resource in each.resources}
    assert [problem for problems in found.values() for problem in problems or ()] == []
    undefined = {resource.type for resource in each.resources if found[resource.id] is None}
    assert undefined == WITHOUT_DEFINITION


def test_names_are_short_enough_and_of_letters_that_azure_takes(each: Estate) -> None:
    for kind, pattern in NAMES.items():
        for resource in each.of_type(kind):
            assert re.fullmatch(pattern, resource.name), f"{resource.place}: {resource.name} against {pattern}"


def test_no_resource_is_deployed_twice(each: Estate) -> None:
    made = Counter(resource.id.lower() for resource in each.resources if not resource.existing)
    assert [id_ for id_, times in made.items() if times > 1] == []


def test_estates_share_no_name_that_is_unique_beyond_them() -> None:
    names = Counter(
        (kind, resource.name) for name in ENVIRONMENTS for kind in NAMES for resource in estate(name).of_type(kind)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_batch_endpoints_of_all_estates_have_names_of_their_own() -> None:
    suffixes = [suffix for name in ENVIRONMENTS for suffix in estate(name).parameters["endpointSuffixes"].values()]
    assert len(set(suffixes)) == len(suffixes)
    longest = max(len(f"batch-endpoint-plant-P001-{suffix}") for suffix in suffixes)
    assert longest <= 32


# ---------------------------------------------------------------------------------------------------- who may do what


def test_roles_are_assigned_as_the_matrix_says_and_no_others(each: Estate) -> None:
    assigned = Counter(_assignment(each, one) for one in each.of_type("Microsoft.Authorization/roleAssignments"))
    wanted = Counter(
        (one["principal"], one["role"], one["scope"], tuple(sorted(one.get("only", ()))))
        for one in MATRIX["assignments"]
    )
    assert assigned == wanted


def _assignment(each: Estate, one: Resource) -> tuple[str, str, str, tuple[str, ...]]:
    properties = one.body["properties"]
    paths = re.findall(r"StringLike '([^']+)'", properties.get("condition", ""))
    return (
        _principal(each, properties["principalId"]),
        _role(each, properties["roleDefinitionId"]),
        _scope(one.scope),
        tuple(sorted(paths)),
    )


def _principal(each: Estate, id_: str) -> str:
    at = re.fullmatch(r"<principalId of (.+)>", id_)
    for label, principal in MATRIX["principals"].items():
        if "parameter" in principal:
            if id_ == each.parameters[principal["parameter"]]:
                return str(label)
        elif at and "identity" in principal:
            prefix = f"{each.parameters['name']}-{each.environment}"
            if at[1].endswith(f"/userAssignedIdentities/{prefix}-{principal['identity']}"):
                return str(label)
        elif at and f"/{principal['of']}/" in at[1] and at[1].endswith(principal["ends"]):
            return str(label)
    return id_


def _role(each: Estate, id_: str) -> str:
    guid = id_.rpartition("/")[2]
    own = {
        role.name: role.body["properties"]["roleName"].partition(" ")[2]
        for role in each.of_type("Microsoft.Authorization/roleDefinitions")
    }
    built_in = {id_: name for name, id_ in MATRIX["roles"].items()}
    return str({**built_in, **own}.get(guid, guid))


def _scope(id_: str) -> str:
    parts = id_.partition("/providers/")[2].split("/")
    kind, name = "/".join([parts[0], *parts[1::2]]), "/".join(parts[2::2])
    if above := re.fullmatch(r"/subscriptions/([^/]+)(?:/resourceGroups/([^/]+))?", id_):
        kind = f"Microsoft.Resources/{'resourceGroups' if above[2] else 'subscriptions'}"
        name = above[2] or above[1]
    found = [
        label for label, scope in MATRIX["scopes"].items() if scope["type"] == kind and fnmatch(name, scope["name"])
    ]
    return str(found[0]) if len(found) == 1 else id_


def test_the_matrix_names_only_what_it_explains() -> None:
    for one in MATRIX["assignments"]:
        assert one["principal"] in MATRIX["principals"]
        assert one["role"] in {**MATRIX["roles"], **MATRIX["custom_roles"]}
        assert one["scope"] in MATRIX["scopes"]
        assert one["reason"]
    assert {one["role"] for one in MATRIX["assignments"]} == {*MATRIX["roles"], *MATRIX["custom_roles"]}
    assert {one["scope"] for one in MATRIX["assignments"]} == set(MATRIX["scopes"])


def test_nobody_but_the_etl_may_write_the_table() -> None:
    writers = {
        one["principal"]
        for one in MATRIX["assignments"]
        if one["scope"] == "lake / lake"
        and "Reader" not in one["role"]
        and any(fnmatch("processed/sensor_data/part.parquet", path) for path in one.get("only", ["*"]))
    }
    assert writers == {"etl"}


def test_roles_of_our_own_are_defined_where_they_are_assigned(each: Estate) -> None:
    defined = each.of_type("Microsoft.Authorization/roleDefinitions")
    assert len(defined) == len(MATRIX["custom_roles"])
    for role in defined:
        assert role.body["properties"]["assignableScopes"] == [f"/subscriptions/{SUBSCRIPTION}"]
        assert all(
            "*" not in action or action.endswith("/registries/*/read")
            for action in role.body["properties"]["permissions"][0]["actions"]
        )


# ---------------------------------------------------------------------------------------------------- the application


def test_the_application_starts_with_the_settings_that_it_is_given(each: Estate) -> None:
    settings = Settings.read(_resolved(each))
    assert settings.mode == "azure"
    assert settings.approval_channel == each.parameters["approvalChannel"]
    assert settings.state_table in _names(each, f"{STORAGE}/tableServices/tables")
    assert settings.documents in _names(each, f"{STORAGE}/blobServices/containers")
    assert {settings.work_queue, f"{settings.work_queue}-poison"} <= _names(each, f"{STORAGE}/queueServices/queues")
    assert settings.cluster in _names(each, "Microsoft.MachineLearningServices/workspaces/computes")
    assert settings.registry == each.only("Microsoft.MachineLearningServices/registries").name
    workspaces = {one.id for one in each.of_type("Microsoft.MachineLearningServices/workspaces")}
    assert {settings.dev_workspace, settings.test_workspace, settings.production_workspace} == workspaces


def test_no_setting_is_given_that_nobody_reads(each: Estate) -> None:
    """The application reads some, the triggers' bindings some, and the host and telemetry the rest."""
    read = {field.metadata["name"] for field in fields(Settings)}
    read |= set(re.findall(r"%([A-Z_]+)%", json.dumps(functions())))
    hosts = {
        f"{name}__{part}" for name in ("AzureWebJobsStorage", "FLEET_STORAGE") for part in ("credential", "clientId")
    }
    hosts |= {"AzureWebJobsStorage__accountName"}
    telemetry = {"APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"}
    assert set(_settings(each)) - read - hosts - telemetry == set()


def test_every_setting_that_the_triggers_name_is_given(each: Estate) -> None:
    wanted = set(re.findall(r"%([A-Z_]+)%", json.dumps(functions())))
    assert wanted
    assert wanted <= set(_settings(each))


def test_the_host_signs_in_with_the_identity_and_flex_consumption_is_told_no_runtime(each: Estate) -> None:
    settings = _settings(each)
    app = each.only("Microsoft.Web/sites")
    client = settings["AZURE_CLIENT_ID"]
    for connection in ("AzureWebJobsStorage", "FLEET_STORAGE"):
        assert settings[f"{connection}__credential"] == "managedidentity"
        assert settings[f"{connection}__clientId"] == client
    assert "FUNCTIONS_WORKER_RUNTIME" not in settings, "Flex Consumption refuses it"
    storage = app.body["properties"]["functionAppConfig"]["deployment"]["storage"]
    assert storage["value"].endswith("/deployments")
    assert storage["authentication"]["userAssignedIdentityResourceId"] in app.body["identity"]["userAssignedIdentities"]


def test_secrets_are_references_to_the_vault(each: Estate) -> None:
    secrets = {field.metadata["name"] for field in fields(Settings) if not field.repr}
    for name, value in _settings(each).items():
        assert (name in secrets) == _is_reference(value), name
        assert not re.search(r"AccountKey|SharedAccess", value)


def _resolved(each: Estate) -> dict[str, str]:
    """The settings as the app sees them: references to the vault are what it holds."""
    held = {"ALERT_WEBHOOKS": "chat=https://hooks.example.com/T1"}
    return {
        name: held.get(name, "a secret of the vault, of enough characters") if _is_reference(value) else value
        for name, value in _settings(each).items()
    }


def _is_reference(value: str) -> bool:
    return value.startswith("@Microsoft.KeyVault(")


def _settings(each: Estate) -> dict[str, str]:
    site = each.only("Microsoft.Web/sites").body["properties"]["siteConfig"]
    return {one["name"]: one["value"] for one in site["appSettings"]}


def _names(each: Estate, kind: str) -> set[str]:
    return {resource.name.rpartition("/")[2] for resource in each.of_type(kind)}


# ------------------------------------------------------------------------------------------------------------- events


def test_subscriptions_are_those_that_the_application_expects(each: Estate) -> None:
    made = {_heard(each, one): _filter(one) for kind in EVENT_SUBSCRIPTIONS for one in each.of_type(kind)}
    wanted = {
        (one.function, source): (
            frozenset(one.event_types),
            one.subject_begins_with,
            one.subject_contains,
            one.subject_ends_with,
        )
        for one in SUBSCRIPTIONS
        for source in one.sources
    }
    assert made == wanted


def _heard(each: Estate, one: Resource) -> tuple[str, Source]:
    """The function that a subscription is for, and whose events it takes: read from the topic's own source."""
    if one.type.startswith("Microsoft.EventGrid/topics/"):
        source = Source.OWN_TOPIC
    else:
        parent = one.name.partition("/")[0]
        (topic,) = [each_ for each_ in each.of_type("Microsoft.EventGrid/systemTopics") if each_.name == parent]
        watched = topic.body["properties"]["source"]
        source = Source.LAKE if STORAGE in watched else Source(watched.rpartition("-ml-")[2])
    return one.name.rpartition("/")[2].replace("-", "_"), source


def _filter(one: Resource) -> tuple[Any, ...]:
    given = one.body["properties"]["filter"]
    assert given["isSubjectCaseSensitive"] is False
    contains = [f for f in given["advancedFilters"] if (f["operatorType"], f["key"]) == ("StringContains", "subject")]
    assert contains == given["advancedFilters"]
    return (
        frozenset(given["includedEventTypes"]),
        given["subjectBeginsWith"],
        "".join(f["values"][0] for f in contains),
        given["subjectEndsWith"],
    )


def test_events_are_tried_for_a_day_and_kept_when_nobody_takes_them(each: Estate) -> None:
    containers = _names(each, f"{STORAGE}/blobServices/containers")
    for kind in EVENT_SUBSCRIPTIONS:
        for one in each.of_type(kind):
            properties = one.body["properties"]
            assert properties["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
            dead = properties["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]
            assert dead["blobContainerName"] in containers
            assert dead["blobContainerName"] == _settings(each)["DEAD_LETTERS_CONTAINER"], "the app collects them"
            assert dead["resourceId"] == each.main.outputs["storageId"]


def test_events_go_to_functions_that_there_are_or_to_the_queue_where_the_app_is_private(each: Estate) -> None:
    there = set(functions())
    for kind in EVENT_SUBSCRIPTIONS:
        for one in each.of_type(kind):
            properties = one.body["properties"]
            if PRIVATE[each.environment]:
                assert properties["destination"] is None
                target = properties["deliveryWithResourceIdentity"]["destination"]
                assert target["endpointType"] == "StorageQueue"
                assert target["properties"]["queueName"] == _settings(each)["EVENTS_QUEUE"]
            else:
                target = properties["destination"]
                assert properties["deliveryWithResourceIdentity"] is None
                app, _, function = target["properties"]["resourceId"].partition("/functions/")
                assert (app, target["endpointType"]) == (each.main.outputs["appId"], "AzureFunction")
                assert function in there


def test_the_authentication_of_the_platform_is_off_so_that_deliveries_are_not_answered_401(each: Estate) -> None:
    assert [one for one in each.of_type("Microsoft.Web/sites/config") if "auth" in one.name] == []


# --------------------------------------------------------------------------------------------- data, compute, network


def test_the_lake_is_hierarchical_keeps_what_was_deleted_cools_after_90_days_and_lets_old_backups_go(
    each: Estate,
) -> None:
    (lake,) = [one for one in each.of_type(STORAGE) if "lake" in one.name]
    assert lake.body["properties"]["isHnsEnabled"] is True
    (service,) = [one for one in each.of_type(f"{STORAGE}/blobServices") if one.name.startswith(lake.name)]
    assert service.body["properties"]["deleteRetentionPolicy"] == {"enabled": True, "days": 30}
    (policy,) = [one for one in each.of_type(f"{STORAGE}/managementPolicies") if one.name.startswith(lake.name)]
    rules = {
        tuple(rule["definition"]["filters"]["prefixMatch"]): rule["definition"]["actions"]["baseBlob"]
        for rule in policy.body["properties"]["policy"]["rules"]
    }
    assert rules == {
        ("lake/", "landing/"): {"tierToCool": {"daysAfterModificationGreaterThan": 90}},
        ("state-backups/",): {"delete": {"daysAfterModificationGreaterThan": 35}},
    }


def test_nothing_takes_a_key(each: Estate) -> None:
    for one in each.of_type(STORAGE):
        assert one.body["properties"]["allowSharedKeyAccess"] is False
        assert one.body["properties"]["allowBlobPublicAccess"] is False
    for one in each.of_type("Microsoft.EventGrid/topics"):
        assert one.body["properties"]["disableLocalAuth"] is True
    for one in each.of_type("Microsoft.KeyVault/vaults"):
        assert one.body["properties"]["enableRbacAuthorization"] is True
    assert each.only("Microsoft.ContainerRegistry/registries").body["properties"]["adminUserEnabled"] is False
    for one in each.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies"):
        assert one.body["properties"]["allow"] is False


def test_clusters_keep_no_node_while_nothing_runs_and_the_pool_pauses(each: Estate) -> None:
    computes = [one.body["properties"] for one in each.of_type("Microsoft.MachineLearningServices/workspaces/computes")]
    clusters = [one for one in computes if one["computeType"] == "AmlCompute"]
    assert [one["properties"]["scaleSettings"]["minNodeCount"] for one in clusters] == [0, 0, 0]
    (attached,) = [one for one in computes if one["computeType"] == "SynapseSpark"]
    pool = each.only("Microsoft.Synapse/workspaces/bigDataPools")
    assert attached["resourceId"] == pool.id
    assert pool.body["properties"]["autoPause"]["enabled"] is True
    assert pool.body["properties"]["sparkVersion"] == "3.5"


def test_where_the_network_is_private_nothing_answers_the_internet(each: Estate) -> None:
    private = PRIVATE[each.environment]
    switched = [
        one
        for one in each.resources
        if not one.existing and "publicNetworkAccess" in (one.body.get("properties") or {})
    ]
    assert len(switched) >= 16
    for one in switched:
        assert (one.body["properties"]["publicNetworkAccess"] == "Disabled") is private, one.id
    reached = {
        connection["properties"]["privateLinkServiceId"]
        for one in each.of_type("Microsoft.Network/privateEndpoints")
        for connection in one.body["properties"]["privateLinkServiceConnections"]
    }
    assert reached == ({one.id for one in switched} if private else set())


def test_every_private_endpoint_is_found_in_a_zone_of_the_network(each: Estate) -> None:
    zones = {one.id for one in each.of_type("Microsoft.Network/privateDnsZones")}
    used = {
        config["properties"]["privateDnsZoneId"]
        for one in each.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
        for config in one.body["properties"]["privateDnsZoneConfigs"]
    }
    assert used == zones


# --------------------------------------------------------------------------------------------------- alerts and costs


def test_each_alert_rule_is_a_log_alert_that_tells_people(each: Estate) -> None:
    alerts = {one.name: one.body["properties"] for one in each.of_type("Microsoft.Insights/scheduledQueryRules")}
    prefix = f"{each.parameters['name']}-{each.environment}-"
    assert set(alerts) == {f"{prefix}{rule['name']}" for rule in RULES}
    group = each.only("Microsoft.Insights/actionGroups").id
    for rule in RULES:
        made = alerts[f"{prefix}{rule['name']}"]
        (criterion,) = made["criteria"]["allOf"]
        assert (criterion["query"], criterion["threshold"]) == (rule["query"], rule["than"])
        assert [dimension["name"] for dimension in criterion["dimensions"]] == rule["by"]
        assert made["actions"]["actionGroups"] == [group]


def test_every_resource_group_has_a_budget_that_warns_before_it_is_spent(each: Estate) -> None:
    budgets = {one.scope: one.body["properties"] for one in each.of_type("Microsoft.Consumption/budgets")}
    assert set(budgets) == {one.id for one in each.of_type("Microsoft.Resources/resourceGroups")}
    for budget in budgets.values():
        kinds = {(n["thresholdType"], n["threshold"]) for n in budget["notifications"].values()}
        assert {("Actual", 80), ("Forecasted", 110)} <= kinds


def test_application_insights_belong_to_the_app_and_to_each_workspace(each: Estate) -> None:
    insights = {one.id for one in each.of_type("Microsoft.Insights/components")}
    assert len(insights) == 4
    used = {
        one.body["properties"]["applicationInsights"]
        for one in each.of_type("Microsoft.MachineLearningServices/workspaces")
    }
    assert len(used) == 3 and used < insights


def test_what_the_capacity_page_counts_is_what_is_deployed_and_what_the_policy_says() -> None:
    given = yaml.safe_load((ROOT / "docs/capacity.yml").read_text())
    production, public, policy = estate("prod"), estate("dev"), load_fleet(ROOT / "config").policy
    counts = {name: one["count"] for name, one in given["fixed"].items()}
    assert counts == {
        "alert_rule": len(production.of_type("Microsoft.Insights/scheduledQueryRules")),
        "private_endpoint": len(production.of_type("Microsoft.Network/privateEndpoints")),
        "container_registry": len(public.of_type("Microsoft.ContainerRegistry/registries")),
    }
    limits = (policy.max_parallel_invocations, policy.max_parallel_training, policy.ledger.late_after_hours)
    assert limits == tuple(given[name] for name in ("parallel_invocations", "parallel_training", "late_after_hours"))
    for one in (*given["prices"].values(), *given["fixed"].values()):
        assert one["known"] in ("list price", "assumption") and one["per"] and one["look_up"]
