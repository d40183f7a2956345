"""Environments of the embedded model platform: what a build does before it trains with one."""

from __future__ import annotations

from shared.adapters.local.platform_client import PlatformClient
from shared.configuration import EnvironmentSpec
from shared.domain.values import ENVIRONMENT, Stage


def register_environment(platform: PlatformClient, spec: EnvironmentSpec, commit: str, pull_request: str) -> bool:
    """Register the version with its tags in the workspace that trains; whether it was not there yet."""
    versions = f"workspaces/{Stage.DEV}/environments/{ENVIRONMENT}/versions"
    return bool(platform.put(f"{versions}/{spec.version}", {"tags": spec.tags(commit, pull_request)}))
