"""Webhooks in the embedded mode: receivers on this machine, without certificates, and nothing beyond it."""

from __future__ import annotations

from collections.abc import Mapping

from shared.adapters.azure.webhooks import Address, HttpsWebhooks
from shared.ports import Clock

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _is_here(address: Address) -> bool:
    return address.is_loopback


class LocalWebhooks(HttpsWebhooks):
    """As on Azure, but to this machine only."""

    schemes = ("http", "https")

    def __init__(self, targets: Mapping[str, str], secret: str, clock: Clock) -> None:
        super().__init__(targets, LOOPBACK, secret, clock, may_reach=_is_here)
