"""Wiring: the one place that chooses adapters. Everything else is handed what it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from threading import Lock
from typing import Any

from shared.application import Application
from shared.clock import SystemClock
from shared.configuration import load_fleet
from shared.fleet_directory import FleetDirectory
from shared.handlers import Ports
from shared.identity import Tokens
from shared.ledger import Ledger
from shared.queries import Queries
from shared.rescoring import Rescoring
from shared.settings import LOCAL, Settings, SettingsError
from shared.signals import Signals
from shared.subscriptions import Source


@dataclass(frozen=True)
class Wired:
    """The application and what triggers need beside it."""

    settings: Settings
    application: Application
    signals: Signals
    queries: Queries
    ledger: Ledger
    rescoring: Rescoring
    tokens: Tokens


def wired() -> Wired:
    """The application as this machine's environment describes it; built once, on first use, by one thread."""
    with _building:
        return _from_environment()


_building = Lock()


@cache
def _from_environment() -> Wired:
    return wire(os.environ)


def wire(environment: Mapping[str, str], **client_options: Any) -> Wired:
    """Build the application; `client_options` go to the storage clients. Raises SettingsError, ConfigurationError."""
    settings = Settings.read(environment)
    directory = FleetDirectory(load_fleet(settings.config), settings)
    slot_wait = timedelta(seconds=settings.slot_wait_seconds)
    application = Application(_ports(settings, client_options), directory, slot_wait)
    ledger = Ledger(application.ports.store, directory, application.ports.clock)
    return Wired(
        settings=settings,
        application=application,
        signals=Signals(application, _topics(settings)),
        queries=Queries(application.ports.store),
        ledger=ledger,
        rescoring=Rescoring(application, ledger),
        tokens=Tokens(settings.issuer, settings.audience, settings.keys_uri),
    )


def _topics(settings: Settings) -> dict[Source, str]:
    return {
        Source.DEV_WORKSPACE: settings.dev_workspace,
        Source.TEST_WORKSPACE: settings.test_workspace,
        Source.PRODUCTION_WORKSPACE: settings.production_workspace,
        Source.LAKE: settings.lake_account,
        Source.OWN_TOPIC: settings.topic_id,
    }


def _ports(settings: Settings, client_options: Mapping[str, Any]) -> Ports:
    if settings.mode != LOCAL:
        raise SettingsError("FLEET_MODE=azure: the AzureML, DevOps and Synapse adapters are not part of this version")
    from azure.core.credentials import AzureKeyCredential
    from azure.eventgrid import EventGridPublisherClient
    from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy

    from shared.adapters.azure import credentials
    from shared.adapters.azure.documents import BlobDocuments
    from shared.adapters.azure.lake import UriLake
    from shared.adapters.azure.state_store import TableStateStore
    from shared.adapters.azure.topic import EventGridTopic
    from shared.adapters.azure.work_queue import StorageWorkQueue
    from shared.adapters.local.approvals import TopicApprovals
    from shared.adapters.local.etl_runner import LocalEtlRunner
    from shared.adapters.local.model_platform import LocalModelPlatform
    from shared.adapters.local.training_runner import LocalTrainingRunner

    table = credentials.tables(settings, **client_options).get_table_client(settings.state_table)
    queue = credentials.queues(settings, **client_options).get_queue_client(
        settings.work_queue,
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    )
    container = credentials.blobs(settings, **client_options).get_container_client(settings.documents)
    publisher = EventGridPublisherClient(
        settings.topic_endpoint, AzureKeyCredential(settings.topic_key), **credentials.TIMEOUTS
    )
    topic = EventGridTopic(publisher)
    return Ports(
        store=TableStateStore(table, settings.state_shards),
        queue=StorageWorkQueue(queue),
        clock=SystemClock(),
        documents=BlobDocuments(container),
        platform=LocalModelPlatform(settings.platform_endpoint, settings.platform_key),
        etl=LocalEtlRunner(settings.platform_endpoint, settings.platform_key),
        training=LocalTrainingRunner(settings.platform_endpoint, settings.platform_key),
        approvals=TopicApprovals(topic),
        lake=UriLake(settings.lake),
        topic=topic,
    )


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
    for name in (settings.work_queue, f"{settings.work_queue}-poison"):
        try:
            queues.create_queue(name)
        except ResourceExistsError:
            continue
    container = credentials.blobs(settings).get_container_client(settings.documents)
    if not container.exists():
        container.create_container()
