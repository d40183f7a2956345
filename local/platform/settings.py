"""What the service is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.platform.names import TABLE_PATH


@dataclass(frozen=True)
class PlatformSettings:
    """Folders, addresses and limits; times in seconds. Keys come from the environment, never the command line."""

    state: Path
    config: Path
    lake: Path
    landing: Path
    port: int
    key: str
    topic_endpoint: str
    topic_key: str
    storage_connection: str = ""
    source_topics: Mapping[str, str] = field(default_factory=dict)
    operation_delay: float = 0.2
    training_processes: int = 5
    scoring_processes: int = 2
    training_timeout: float = 600.0
    etl_timeout: float = 600.0
    monitoring_timeout: float = 1800.0
    max_job_attempts: int = 3
    publish_backoff: float = 0.5

    @property
    def ledger(self) -> Path:
        return self.state / "platform.sqlite"

    @property
    def stores(self) -> Path:
        return self.state / "stores"

    @property
    def configurations(self) -> Path:
        """A configuration folder for each commit, named by it, that a build has left to be trained from."""
        return configurations_in(self.state)

    @property
    def data_assets(self) -> Path:
        """The data assets of the dev workspace."""
        return data_assets_in(self.state)

    @property
    def table_uri(self) -> str:
        """The one Delta table that the ETL writes and training and scoring read."""
        return str(self.lake / TABLE_PATH)


def configurations_in(state: Path) -> Path:
    """See `PlatformSettings.configurations`: where a program beside the service puts them."""
    return state / "configurations"


def data_assets_in(state: Path) -> Path:
    """See `PlatformSettings.data_assets`: where a program beside the service registers them."""
    return state / "data-assets"
