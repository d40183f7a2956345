"""Settings: read once from the environment, one frozen object; every missing or wrong name is reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any
from uuid import UUID

from shared.domain.values import Channel

LOCAL = "local"
AZURE = "azure"
SHORTEST_SECRET = 32
ENTRA_ISSUER = re.compile(r"https://login\.microsoftonline\.com/(?P<tenant>[0-9a-f-]{36})/v2\.0")
ENTRA_KEYS = "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys"
"""Who issues people's tokens on Azure, always one tenant, and where its signing keys are."""
ACCOUNT_KEY = re.compile(r"(AccountKey|SharedAccessKey|SharedAccessSignature)=", re.IGNORECASE)
PASSWORDS = ("AZURE_CLIENT_SECRET", "AZURE_PASSWORD")
"""What azure-identity would sign in with instead of the managed identity."""


class SettingsError(Exception):
    """Settings are missing or wrong; the text lists all of them, what each is for and what is allowed."""


def _setting(
    name: str, purpose: str, default: Any = MISSING, read: Callable[[str], Any] = str, secret: bool = False
) -> Any:
    return field(default=default, metadata={"name": name, "purpose": purpose, "read": read}, repr=not secret)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("must name at least one, with commas between them")
    return names


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise ValueError("must be a whole number from 1 to 999999999")
    return int(text)


def _resource(kind: str) -> Callable[[str], str]:
    """Reads the ARM resource id of a resource of one kind; Azure compares them without regard to case."""

    def read(text: str) -> str:
        pattern = rf"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/{kind}/[^/]+"
        if not re.fullmatch(pattern, text, re.IGNORECASE):
            raise ValueError(
                f"must be /subscriptions/{{id}}/resourceGroups/{{group}}/providers/{{namespace}}/{kind}/{{name}}"
            )
        return text

    return read


def _channel(text: str) -> str:
    if text not in list(Channel):
        raise ValueError(f"must be one of {', '.join(Channel)}")
    return text


def _number(text: str) -> str:
    return str(_positive(text))


def _group_names(text: str) -> tuple[tuple[str, str], ...]:
    """`{object id}={name}` pairs, with commas."""
    pairs = [pair.partition("=")[::2] for pair in _names(text)]
    if not all(identity.strip() and name.strip() for identity, name in pairs):
        raise ValueError("must be pairs of object id and name, {id}={name}, with commas between them")
    return tuple((_guid(identity.strip()), name.strip()) for identity, name in pairs)


def _webhooks(text: str) -> tuple[tuple[str, str], ...]:
    """`{name}={address}` pairs, with commas; an address may hold `=`, and is a secret."""
    _resolved(text)
    pairs = tuple(pair.partition("=")[::2] for pair in _names(text))
    if not all(re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name) and "://" in url for name, url in pairs):
        raise ValueError("must be pairs of name and address, {name}=https://..., with commas between them")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("names a webhook twice")
    return pairs


def _guid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a GUID") from None


def _resolved(text: str) -> None:
    if text.startswith("@Microsoft.KeyVault("):
        raise ValueError("is a Key Vault reference that was not resolved: the identity must be allowed to read secrets")


def _secret(text: str) -> str:
    _resolved(text)
    if len(text) < SHORTEST_SECRET:
        raise ValueError(f"must have at least {SHORTEST_SECRET} characters")
    return text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the application is told from outside. Names in the environment are in the metadata."""

    mode: str = _setting("FLEET_MODE", "where the platform's parts are: azure or local")
    storage: str = _setting(
        "FLEET_STORAGE", "connection string of the storage account (embedded mode; on Azure: identity)", "", secret=True
    )
    table_uri: str = _setting(
        "FLEET_STORAGE__tableServiceUri", "the storage account's table endpoint, used with the managed identity", ""
    )
    queue_uri: str = _setting(
        "FLEET_STORAGE__queueServiceUri", "the storage account's queue endpoint, used with the managed identity", ""
    )
    blob_uri: str = _setting(
        "FLEET_STORAGE__blobServiceUri", "the storage account's blob endpoint, used with the managed identity", ""
    )
    state_table: str = _setting("STATE_TABLE", "the state's table", "fleetstate")
    state_shards: int = _setting(
        "STATE_SHARDS", "partitions of the state; fixed for the life of the table", 4, _positive
    )
    work_queue: str = _setting("WORK_QUEUE", "the queue of commands", "fleet-work")
    events_queue: str = _setting(
        "EVENTS_QUEUE", "the queue that Event Grid fills where it cannot reach the functions", "fleet-events"
    )
    documents: str = _setting("DOCUMENTS_CONTAINER", "the blob container of documents", "fleet-documents")
    dead_letters: str = _setting(
        "DEAD_LETTERS_CONTAINER",
        "the blob container in which Event Grid leaves what it could not deliver",
        "dead-letters",
    )
    config: str = _setting("CONFIG_FOLDER", "the folder of the fleet's configuration", "config")
    lake: str = _setting("LAKE_URI", "where processed/sensor_data and predictions lie")
    topic_endpoint: str = _setting("TOPIC_ENDPOINT", "the application's own Event Grid topic")
    topic_key: str = _setting("TOPIC_KEY", "the topic's key (embedded mode; on Azure: identity)", "", secret=True)
    topic_id: str = _setting("TOPIC_ID", "the application's own topic's resource id", read=_resource("topics"))
    dev_workspace: str = _setting(
        "DEV_WORKSPACE",
        "the resource id of the workspace that trains; only it tells of new models",
        read=_resource("workspaces"),
    )
    test_workspace: str = _setting(
        "TEST_WORKSPACE", "the resource id of the workspace that tests", read=_resource("workspaces")
    )
    production_workspace: str = _setting(
        "PRODUCTION_WORKSPACE", "the resource id of the workspace that serves", read=_resource("workspaces")
    )
    lake_account: str = _setting(
        "LAKE_ACCOUNT", "the resource id of the lake's storage account", read=_resource("storageAccounts")
    )
    issuer: str = _setting("TOKEN_ISSUER", "the issuer of people's tokens")
    audience: str = _setting("TOKEN_AUDIENCE", "the audience that people's tokens name")
    keys_uri: str = _setting("TOKEN_KEYS_URI", "the issuer's signing keys (JWKS)")
    sign_in_client: str = _setting(
        "SIGN_IN_CLIENT", "client id of the app registration that signs people in to the dashboard (Azure)", "", _guid
    )
    sign_in_endpoint: str = _setting(
        "SIGN_IN_ENDPOINT", "where people sign in to the dashboard (embedded mode; on Azure: their tenant)", ""
    )
    group_names: tuple[tuple[str, str], ...] = _setting(
        "TOKEN_GROUPS",
        "object ids of Entra groups and what they are called here, {id}={name}, with commas; app roles need none",
        (),
        _group_names,
    )
    operators: tuple[str, ...] = _setting(
        "OPERATOR_GROUPS", "groups and app roles that operate the fleet, with commas", ("ML-Engineers",), _names
    )
    identity_client: str = _setting(
        "AZURE_CLIENT_ID", "client id of the user-assigned managed identity; none: the system-assigned one", "", _guid
    )
    registry: str = _setting("REGISTRY", "the AzureML registry that models are promoted to", "")
    cluster: str = _setting("COMPUTE_CLUSTER", "the compute cluster of each workspace", "batch-cluster")
    test_suffix: str = _setting(
        "TEST_ENDPOINT_SUFFIX", "ends the names of test endpoints, which are unique in their region", "tst"
    )
    production_suffix: str = _setting(
        "PRODUCTION_ENDPOINT_SUFFIX", "ends the names of production endpoints, unique in their region", "prd"
    )
    synapse_endpoint: str = _setting(
        "SYNAPSE_ENDPOINT", "the Synapse workspace's development endpoint, https://{name}.dev.azuresynapse.net", ""
    )
    synapse_pool: str = _setting("SYNAPSE_POOL", "the Spark pool of the ETL", "")
    etl_code: str = _setting("ETL_CODE_URI", "the folder with the ETL job's files, abfss://...", "")
    etl_source: str = _setting("ETL_SOURCE_URI", "the folder or sources file that the ETL reads, abfss://...", "")
    platform_endpoint: str = _setting("PLATFORM_ENDPOINT", "the embedded model platform (embedded mode)", "")
    platform_key: str = _setting("PLATFORM_KEY", "the embedded model platform's key (embedded mode)", "", secret=True)
    approval_channel: str = _setting(
        "APPROVAL_CHANNEL", "where people answer gates: product or devops", Channel.PRODUCT.value, _channel
    )
    devops_organization: str = _setting(
        "DEVOPS_ORGANIZATION", "address of the Azure DevOps organisation, https://dev.azure.com/{name}", ""
    )
    devops_project: str = _setting("DEVOPS_PROJECT", "id (GUID) of the project with the gate pipeline", "", _guid)
    devops_gate_pipeline: str = _setting("DEVOPS_GATE_PIPELINE", "number of the gate pipeline", "", _number)
    devops_hook_secret: str = _setting(
        "DEVOPS_HOOK_SECRET", "what service hooks send in the header X-Hook-Secret", "", _secret, secret=True
    )
    config_repository: str = _setting(
        "CONFIG_REPOSITORY",
        "the Git repository that changes to the configuration are proposed to: its name in DEVOPS_PROJECT (Azure), or"
        " its folder (embedded mode)",
        "",
    )
    config_branch: str = _setting("CONFIG_BRANCH", "the branch of that repository that changes are merged to", "main")
    config_path: str = _setting("CONFIG_PATH", "the configuration's folder in that repository", "config")
    alert_webhooks: tuple[tuple[str, str], ...] = _setting(
        "ALERT_WEBHOOKS",
        "webhooks for alerts and their addresses, {name}=https://..., with commas; the policy routes by name",
        (),
        _webhooks,
        secret=True,
    )
    alert_webhook_secret: str = _setting(
        "ALERT_WEBHOOK_SECRET", "what notices to webhooks are signed with", "", _secret, secret=True
    )
    first_look_seconds: int = _setting(
        "FIRST_LOOK_SECONDS", "the first look at work that sends no event", 15, _positive
    )
    first_job_look_seconds: int = _setting(
        "FIRST_JOB_LOOK_SECONDS", "the first look at a job whose event has not come", 60, _positive
    )
    longest_look_seconds: int = _setting("LONGEST_LOOK_SECONDS", "the longest wait between looks", 300, _positive)
    slot_wait_seconds: int = _setting("SLOT_WAIT_SECONDS", "how long a command waits for a slot", 5, _positive)

    @property
    def tenant(self) -> str:
        """The Entra tenant that issues people's tokens; empty for the embedded issuer."""
        entra = ENTRA_ISSUER.fullmatch(self.issuer)
        return entra["tenant"] if entra else ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check; raises SettingsError naming everything that is missing or wrong."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for f in fields(cls):
            name, text = f.metadata["name"], environment.get(f.metadata["name"], "").strip()
            if not text:
                if f.default is MISSING:
                    problems.append(f"{name} is missing: {f.metadata['purpose']}")
                continue
            try:
                values[f.name] = f.metadata["read"](text)
            except ValueError as error:
                problems.append(f"{name}={text!r}: {error}" if f.repr else f"{name}: {error}")
        problems += _wrong_for_mode(values)
        if values.get("mode") == AZURE:
            problems += _keys_and_passwords(environment)
        if problems:
            raise SettingsError("The settings are not complete:\n" + "\n".join(f"- {problem}" for problem in problems))
        return cls(**values)


AZURE_NEEDS = (
    *("table_uri", "queue_uri", "blob_uri"),
    *("registry", "synapse_endpoint", "synapse_pool", "etl_code", "etl_source"),
)


def _wrong_for_mode(values: Mapping[str, Any]) -> list[str]:
    mode = values.get("mode")
    if mode is None:
        return []
    if mode not in (AZURE, LOCAL):
        return [f"FLEET_MODE={mode!r}: allowed are {AZURE} and {LOCAL}"]
    needed: tuple[str, ...] = {
        AZURE: AZURE_NEEDS,
        LOCAL: ("storage", "topic_key", "platform_endpoint", "platform_key"),
    }[mode]
    if values.get("config_repository") and mode == AZURE:
        needed += ("devops_organization", "devops_project")
    if values.get("alert_webhooks"):
        needed += ("alert_webhook_secret",)
    if values.get("approval_channel") == Channel.DEVOPS:
        if mode == LOCAL:
            return [
                "APPROVAL_CHANNEL=devops belongs to FLEET_MODE=azure: in the embedded mode people answer the product"
            ]
        needed += ("devops_organization", "devops_project", "devops_gate_pipeline", "devops_hook_secret")
    embedded = ("storage", "topic_key", "platform_endpoint", "platform_key", "sign_in_endpoint")
    forbidden = embedded if mode == AZURE else ()
    named = {f.name: f.metadata for f in fields(Settings)}
    problems = [
        f"{named[field]['name']} is missing for FLEET_MODE={mode}: {named[field]['purpose']}"
        for field in needed
        if not values.get(field)
    ]
    problems += [
        f"{named[field]['name']} belongs to the embedded mode: on Azure the managed identity is used; remove it"
        for field in forbidden
        if values.get(field)
    ]
    return problems + (_not_entra(values) if mode == AZURE else [])


def _not_entra(values: Mapping[str, Any]) -> list[str]:
    """Whoever answers at the keys' address decides whose signature is believed."""
    issuer, keys = values.get("issuer"), values.get("keys_uri")
    if not issuer or not keys:
        return []
    tenant = ENTRA_ISSUER.fullmatch(issuer)
    if tenant is None:
        return [
            f"TOKEN_ISSUER={issuer!r} is no tenant of Entra ID: on Azure it is https://login.microsoftonline.com/{{tenant"
            " id}/v2.0"
        ]
    own = ENTRA_KEYS.format(tenant=tenant["tenant"])
    return [] if keys == own else [f"TOKEN_KEYS_URI={keys!r} are not the issuer's keys: on Azure it is {own}"]


def _keys_and_passwords(environment: Mapping[str, str]) -> list[str]:
    """What would make the app sign in with a secret, in any setting: also those that only the host reads."""
    return [
        f"{name} holds a key of an account: on Azure the managed identity is used; "
        f"name the account instead, as {name.partition('__')[0]}__accountName or a service's URI"
        for name, text in sorted(environment.items())
        if ACCOUNT_KEY.search(text)
    ] + [
        f"{name} is a password: on Azure the managed identity is used; remove it"
        for name in PASSWORDS
        if environment.get(name)
    ]
