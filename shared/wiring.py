"""Wiring: the one place that chooses adapters. Everything else is handed what it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from shared.application import Application
from shared.archive import Archive
from shared.backlog import Backlog
from shared.clock import SystemClock
from shared.commits import Commits
from shared.configuration import Fleet, load_fleet
from shared.dead_letters import Replayer
from shared.domain.values import Channel, Stage
from shared.fleet_directory import FleetDirectory
from shared.gate_answers import GateAnswers
from shared.handlers import Ports
from shared.hooks import Hooks
from shared.ledger import Ledger
from shared.monitoring_pages import MonitoringPages
from shared.overview import Overview
from shared.ports import (
    ApprovalChannel,
    Clock,
    ConfigRepository,
    Documents,
    Lake,
    ModelPlatform,
    StateStore,
    Topic,
    UndeliveredEvents,
    WorkQueue,
)
from shared.queries import Queries
from shared.request_keys import RequestKeys
from shared.rescoring import Rescoring
from shared.series import Series
from shared.settings import LOCAL, Settings, SettingsError
from shared.sign_in import SignIn
from shared.signals import Signals
from shared.slots import INVOCATION, TRAINING
from shared.subscriptions import Source
from shared.telemetry import OFF, Telemetry
from shared.undelivered import Undelivered

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from shared.tokens import Tokens


@dataclass(frozen=True)
class Wired:
    """The application and what triggers need beside it."""

    settings: Settings
    application: Application
    signals: Signals
    undelivered: Undelivered
    hooks: Hooks
    queries: Queries
    gate_answers: GateAnswers
    request_keys: RequestKeys
    ledger: Ledger
    overview: Overview
    series: Series
    backlog: Backlog
    rescoring: Rescoring
    monitoring: MonitoringPages
    commits: Commits

    @cached_property
    def tokens(self) -> Tokens:
        """Who verifies callers' tokens; made when the first one comes."""
        from shared.tokens import Tokens

        settings = self.settings
        group_names = None if settings.mode == LOCAL else dict(settings.group_names)
        return Tokens(settings.issuer, settings.audience, settings.keys_uri, settings.tenant, group_names)

    @property
    def sign_in(self) -> SignIn:
        """Where a browser signs people in."""
        return SignIn.of(self.settings)

    @property
    def replayers(self) -> Mapping[str, Replayer]:
        """How dead letters of each source are tried again."""
        return {**self.signals.replayers(), **self.hooks.replayers()}


def wired() -> Wired:
    """The application as this machine's environment describes it; built once, on first use, by one thread."""
    with _building:
        return _given or _from_environment()


def serve(given: Wired | None) -> None:
    """Have this process's triggers use an application that was built otherwise, such as one under a virtual clock.

    None: what the environment describes, as ever.
    """
    global _given
    with _building:
        _given = given


_building = Lock()
_given: Wired | None = None


@cache
def _from_environment() -> Wired:
    return wire(os.environ)


def wire(environment: Mapping[str, str], **client_options: Any) -> Wired:
    """Build the application; `client_options` go to the storage clients. Raises SettingsError, ConfigurationError."""
    settings = Settings.read(environment)
    fleet = load_fleet(settings.config)
    directory = FleetDirectory(fleet, settings)
    slot_wait = timedelta(seconds=settings.slot_wait_seconds)
    application = Application(_ports(settings, fleet, client_options), directory, slot_wait, telemetry(environment))
    return wire_around(application, directory, settings, _limits(fleet))


def wire_around(
    application: Application, directory: FleetDirectory, settings: Settings, limits: Mapping[str, int]
) -> Wired:
    """What triggers need beside an application; `limits`: how many of each kind of slot there are."""
    ports = application.ports
    ledger = Ledger(ports.store, directory, ports.clock)
    queries = Queries(ports.store, Archive(ports.documents))
    return Wired(
        settings=settings,
        application=application,
        signals=Signals(application, _topics(settings)),
        undelivered=Undelivered(ports.undelivered, application.dead_letters),
        hooks=Hooks(application, settings.devops_project, settings.devops_gate_pipeline, settings.devops_hook_secret),
        queries=queries,
        gate_answers=GateAnswers(application, queries),
        request_keys=RequestKeys(ports.store, ports.clock),
        ledger=ledger,
        overview=Overview(ports.store, directory, ledger, ports.clock),
        backlog=Backlog(ports.store, ports.queue, application.slots, ports.clock, limits),
        series=Series(ports.store, ports.lake, directory),
        rescoring=Rescoring(application, ledger),
        monitoring=MonitoringPages(ports.documents, ports.lake),
        commits=Commits(ports.store, ports.lake, directory),
    )


def _limits(fleet: Fleet) -> Mapping[str, int]:
    """How many of each kind of slot there are."""
    return {TRAINING: fleet.policy.max_parallel_training, INVOCATION: fleet.policy.max_parallel_invocations}


def platform_alone(environment: Mapping[str, str]) -> ModelPlatform:
    """The model platform without the app's state, for who acts when that cannot be had. Raises SettingsError.

    What it starts is remembered by this process alone.
    """
    from shared.adapters.azure import credentials
    from shared.adapters.local.model_platform import LocalModelPlatform
    from shared.adapters.local.state_store import MemoryStateStore

    settings = Settings.read(environment)
    if settings.mode == LOCAL:
        return LocalModelPlatform(settings.platform_endpoint, settings.platform_key)
    identity = credentials.identity(settings.identity_client)
    return _azure_platform(settings, identity, MemoryStateStore(shards=1), SystemClock())


def telemetry(environment: Mapping[str, str]) -> Telemetry:
    """The process's telemetry; configured once, and no library of it is imported while it is off.

    The function app asks for it before it makes its functions, so that their libraries are seen from the first call.
    """
    connection = environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING", "").strip()
    signs_in = "Authorization=AAD" in environment.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
    client = environment.get("AZURE_CLIENT_ID", "") if signs_in else None
    return _telemetry(connection, client, environment.get("FLEET_TELEMETRY", "") == "console")


@cache
def _telemetry(connection: str, client: str | None, to_console: bool) -> Telemetry:
    if not connection and not to_console:
        return OFF
    from shared.adapters import open_telemetry
    from shared.adapters.azure import credentials

    if not connection:
        return open_telemetry.console()
    return open_telemetry.azure_monitor(connection, None if client is None else credentials.identity(client))


def _topics(settings: Settings) -> dict[Source, str]:
    return {
        Source.DEV_WORKSPACE: settings.dev_workspace,
        Source.TEST_WORKSPACE: settings.test_workspace,
        Source.PRODUCTION_WORKSPACE: settings.production_workspace,
        Source.LAKE: settings.lake_account,
        Source.OWN_TOPIC: settings.topic_id,
    }


@dataclass(frozen=True)
class _Common:
    """The ports that are the same SDKs in both modes, on Azure's services or on the emulators."""

    store: StateStore
    queue: WorkQueue
    clock: Clock
    documents: Documents
    lake: Lake
    topic: Topic
    undelivered: UndeliveredEvents


def _ports(settings: Settings, fleet: Fleet, client_options: Mapping[str, Any]) -> Ports:
    common = _common(settings, client_options)
    _expect_webhooks(settings, fleet)
    return _embedded(settings, common) if settings.mode == LOCAL else _azure(settings, fleet, common)


def _expect_webhooks(settings: Settings, fleet: Fleet) -> None:
    """Raise SettingsError when the policy routes alerts to a webhook that is not set."""
    known = dict(settings.alert_webhooks)
    missing = {route.webhook for route in fleet.policy.alerts.routes} - known.keys()
    if missing:
        raise SettingsError(
            f"the policy routes alerts to {', '.join(sorted(missing))}, and ALERT_WEBHOOKS has"
            f" {', '.join(known) or 'no webhook'}: set its address there, or take the route out of policy.yml"
        )


def _common(settings: Settings, client_options: Mapping[str, Any]) -> _Common:
    from azure.core.credentials import AzureKeyCredential
    from azure.eventgrid import EventGridPublisherClient
    from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy

    from shared.adapters.azure import credentials
    from shared.adapters.azure.documents import BlobDocuments
    from shared.adapters.azure.lake import UriLake
    from shared.adapters.azure.state_store import TableStateStore
    from shared.adapters.azure.topic import EventGridTopic
    from shared.adapters.azure.undelivered_events import BlobUndeliveredEvents
    from shared.adapters.azure.work_queue import StorageWorkQueue

    table = credentials.tables(settings, **client_options).get_table_client(settings.state_table)
    queue = credentials.queues(settings, **client_options).get_queue_client(
        settings.work_queue,
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    )
    blobs = credentials.blobs(settings, **client_options)
    local = settings.mode == LOCAL
    signing = AzureKeyCredential(settings.topic_key) if local else credentials.identity(settings.identity_client)
    return _Common(
        store=TableStateStore(table, settings.state_shards),
        queue=StorageWorkQueue(queue),
        clock=SystemClock(),
        documents=BlobDocuments(blobs.get_container_client(settings.documents)),
        lake=UriLake(settings.lake),
        topic=EventGridTopic(EventGridPublisherClient(settings.topic_endpoint, signing, **credentials.TIMEOUTS)),
        undelivered=BlobUndeliveredEvents(blobs.get_container_client(settings.dead_letters)),
    )


def _embedded(settings: Settings, common: _Common) -> Ports:
    from shared.adapters.local.approvals import TopicApprovals
    from shared.adapters.local.data_assets import LocalDataAssets
    from shared.adapters.local.etl_runner import LocalEtlRunner
    from shared.adapters.local.model_platform import LocalModelPlatform
    from shared.adapters.local.monitor_runner import LocalMonitorRunner
    from shared.adapters.local.training_runner import LocalTrainingRunner
    from shared.adapters.local.webhooks import LocalWebhooks

    return Ports(
        **vars(common),
        platform=LocalModelPlatform(settings.platform_endpoint, settings.platform_key),
        etl=LocalEtlRunner(settings.platform_endpoint, settings.platform_key),
        training=LocalTrainingRunner(settings.platform_endpoint, settings.platform_key),
        monitor=LocalMonitorRunner(settings.platform_endpoint, settings.platform_key),
        approvals=TopicApprovals(common.topic),
        config_repository=_local_repository(settings),
        webhooks=LocalWebhooks(dict(settings.alert_webhooks), settings.alert_webhook_secret, common.clock),
        data_assets=LocalDataAssets(settings.platform_endpoint, settings.platform_key),
    )


def _local_repository(settings: Settings) -> ConfigRepository | None:
    from shared.adapters.local.config_repository import LocalConfigRepository

    if not settings.config_repository:
        return None
    return LocalConfigRepository(settings.config_repository, settings.config_branch, settings.config_path)


def _azure_repository(settings: Settings) -> ConfigRepository | None:
    from shared.adapters.azure import credentials
    from shared.adapters.azure.config_repository import DevopsConfigRepository, Repository

    if not settings.config_repository:
        return None
    repository = Repository(
        settings.devops_organization,
        settings.devops_project,
        settings.config_repository,
        settings.config_branch,
        settings.config_path,
    )
    return DevopsConfigRepository(repository, credentials.identity(settings.identity_client))


def _azure(settings: Settings, fleet: Fleet, common: _Common) -> Ports:
    from shared.adapters.azure import credentials
    from shared.adapters.azure.approvals import DevopsApprovals, GatePipeline
    from shared.adapters.azure.data_assets import AzureDataAssets
    from shared.adapters.azure.etl_runner import SparkEtl, SynapseEtlRunner
    from shared.adapters.azure.monitor_runner import AzureMonitorRunner, MonitoringJobs
    from shared.adapters.azure.starts import Starts
    from shared.adapters.azure.training_runner import AzureTrainingRunner, TrainingJobs
    from shared.adapters.azure.webhooks import HttpsWebhooks
    from shared.adapters.local.approvals import TopicApprovals

    identity = credentials.identity(settings.identity_client)
    starts = Starts(common.store, common.clock)
    spark = SparkEtl(settings.synapse_endpoint, settings.synapse_pool, settings.etl_code, settings.etl_source)
    monitoring = MonitoringJobs(settings.production_workspace, settings.registry, settings.cluster)
    trainings = TrainingJobs(settings.dev_workspace, settings.cluster)
    approvals: ApprovalChannel = TopicApprovals(common.topic)
    if settings.approval_channel == Channel.DEVOPS:
        gate = GatePipeline.of(
            settings.devops_organization, settings.devops_project, int(settings.devops_gate_pipeline)
        )
        approvals = DevopsApprovals(gate, identity, common.store, common.clock)
    return Ports(
        **vars(common),
        platform=_azure_platform(settings, identity, common.store, common.clock),
        etl=SynapseEtlRunner(spark, identity, starts, common.lake),
        training=AzureTrainingRunner(trainings, identity, fleet, common.lake, common.documents),
        monitor=AzureMonitorRunner(monitoring, identity),
        approvals=approvals,
        config_repository=_azure_repository(settings),
        webhooks=HttpsWebhooks(
            dict(settings.alert_webhooks),
            fleet.policy.alerts.webhook_hosts,
            settings.alert_webhook_secret,
            common.clock,
        ),
        data_assets=AzureDataAssets(settings.dev_workspace, identity),
    )


def _azure_platform(settings: Settings, identity: TokenCredential, store: StateStore, clock: Clock) -> ModelPlatform:
    from shared.adapters.azure.model_platform import AzureMl, AzureModelPlatform
    from shared.adapters.azure.starts import Starts
    from shared.adapters.names import SUFFIXES

    workspaces = {
        Stage.DEV: settings.dev_workspace,
        Stage.TEST: settings.test_workspace,
        Stage.PRODUCTION: settings.production_workspace,
    }
    suffixes = {**SUFFIXES, Stage.TEST: settings.test_suffix, Stage.PRODUCTION: settings.production_suffix}
    ml = AzureMl(workspaces, settings.registry, settings.cluster, suffixes)
    return AzureModelPlatform(ml, identity, Starts(store, clock), clock)


def provision(settings: Settings) -> None:
    """Create the table, the queues and the container where they are missing; safe to run again.

    Refuses a table that was made with another number of shards: every row would be looked for in the wrong partition.
    """
    from azure.core.exceptions import ResourceExistsError

    from shared.adapters.azure import credentials

    tables = credentials.tables(settings)
    table = tables.create_table_if_not_exists(settings.state_table)
    made = {"PartitionKey": "meta", "RowKey": "shards", "shards": settings.state_shards}
    try:
        table.create_entity(made)
    except ResourceExistsError:
        known = table.get_entity("meta", "shards")["shards"]
        if known != settings.state_shards:
            raise SettingsError(
                f"STATE_SHARDS={settings.state_shards}, but table {settings.state_table} was made with {known}; "
                f"set it to {known}, or start with a new table"
            ) from None
    queues = credentials.queues(settings)
    for name in (queue + end for queue in (settings.work_queue, settings.events_queue) for end in ("", "-poison")):
        try:
            queues.create_queue(name)
        except ResourceExistsError:
            continue
    container = credentials.blobs(settings).get_container_client(settings.documents)
    if not container.exists():
        container.create_container()
