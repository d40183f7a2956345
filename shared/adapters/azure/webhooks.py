"""Webhooks: notices by HTTPS POST, signed as Standard Webhooks has it, to hosts that the policy allows and no others.

A host that is allowed may still lead inside: its address is looked up, and the very address that was looked at is
called. Redirects are not followed. Addresses hold secrets, so only names are ever told.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from shared.adapters.azure.rest import seconds_to_wait
from shared.errors import Permanent, Transient
from shared.ports import Clock
from shared.settings import SettingsError

Address = IPv4Address | IPv6Address
TIMEOUT_SECONDS = 10.0
PLATFORM = ip_address("168.63.129.16")
"""Looks like an address of the internet, and is Azure's own, seen from inside a virtual network."""
ENCODED = "whsec_"
"""How a secret begins that is written in base64, as Standard Webhooks' libraries write it."""
_TRY_AGAIN = {408, 409, 425, 429}


def is_public(address: Address) -> bool:
    """Whether an address is of the internet: not private, of this machine, a link or the cloud's metadata."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    called = inner or address
    return called.is_global and not called.is_multicast and called != PLATFORM


class HttpsWebhooks:
    """`targets` are addresses by name. Raises SettingsError for one that may not be called."""

    schemes: tuple[str, ...] = ("https",)

    def __init__(
        self,
        targets: Mapping[str, str],
        hosts: Collection[str],
        secret: str,
        clock: Clock,
        may_reach: Callable[[Address], bool] = is_public,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._targets = {name: self._checked(name, urlsplit(url), hosts) for name, url in targets.items()}
        self._key = base64.b64decode(secret[len(ENCODED) :]) if secret.startswith(ENCODED) else secret.encode()
        self._clock = clock
        self._may_reach = may_reach
        self._context = context or ssl.create_default_context()

    def post(self, webhook: str, message_id: str, document: Mapping[str, Any]) -> None:
        target = self._targets.get(webhook)
        if target is None:
            raise Permanent(f"there is no webhook {webhook}: ALERT_WEBHOOKS has {', '.join(self._targets) or 'none'}")
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", **self._signature(message_id, body)}
        self._expect_taken(webhook, *self._send(webhook, target, body, headers))

    def _checked(self, name: str, target: SplitResult, hosts: Collection[str]) -> SplitResult:
        if target.scheme not in self.schemes or not target.hostname:
            raise SettingsError(f"ALERT_WEBHOOKS: the address of {name} must begin with {self.schemes[0]}://host")
        if target.hostname not in hosts:
            allowed = ", ".join(sorted(hosts)) or "none"
            raise SettingsError(
                f"ALERT_WEBHOOKS: {name} leads to {target.hostname}, and the policy's alerts.webhook_hosts allows"
                f" {allowed}: add it there, or correct the address"
            )
        return target

    def _signature(self, message_id: str, body: bytes) -> dict[str, str]:
        at = str(int(self._clock.now().timestamp()))
        signed = b".".join((message_id.encode(), at.encode(), body))
        code = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        return {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": f"v1,{code}"}

    def _send(
        self, webhook: str, target: SplitResult, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str | None]:
        """The answer's status and when it wants to be asked again."""
        connection = self._connection(target, self._address(webhook, target))
        try:
            connection.request("POST", f"{target.path or '/'}?{target.query}".rstrip("?"), body, dict(headers))
            answer = connection.getresponse()
            answer.read(1)
            return answer.status, answer.getheader("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"webhook {webhook} does not answer: {type(error).__name__}") from error
        finally:
            connection.close()

    def _address(self, webhook: str, target: SplitResult) -> Address:
        """The address to call; looked up now, since a name may lead elsewhere from one moment to the next."""
        assert target.hostname is not None
        try:
            found = socket.getaddrinfo(target.hostname, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Transient(f"webhook {webhook}: its host is not found") from error
        addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses or not all(self._may_reach(address) for address in addresses):
            raise Permanent(
                f"webhook {webhook} leads to an address that is not of the internet: it is not called. Correct"
                " ALERT_WEBHOOKS, or what its host's name leads to"
            )
        return addresses[0]

    def _connection(self, target: SplitResult, address: Address) -> http.client.HTTPConnection:
        assert target.hostname is not None
        if target.scheme == "http":
            return http.client.HTTPConnection(str(address), target.port or 80, timeout=TIMEOUT_SECONDS)
        return _Pinned(target.hostname, target.port or 443, address, self._context)

    def _expect_taken(self, webhook: str, status: int, retry_after: str | None) -> None:
        if 200 <= status < 300:
            return
        message = f"webhook {webhook} answered {status}"
        if status in _TRY_AGAIN or status >= 500:
            raise Transient(message, seconds_to_wait(retry_after))
        raise Permanent(f"{message}: it does not want this; correct ALERT_WEBHOOKS, or what stands there")


class _Pinned(http.client.HTTPSConnection):
    """A connection to one address, for which the host of that name must have a certificate."""

    def __init__(self, host: str, port: int, address: Address, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT_SECONDS, context=context)
        self._pinned, self._tls = str(address), context

    def connect(self) -> None:
        plain = socket.create_connection((self._pinned, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
