"""TCP ports of the embedded runtime: free ones, configured ones, and who holds one that is taken."""

from __future__ import annotations

import contextlib
import os
import random
import socket

import psutil

LOOPBACK = "127.0.0.1"
# Below what operating systems give to outgoing connections (Linux from 32768, others from 49152): a port that is free
# here is not taken by some connection before its server listens on it.
_QUIET = range(20_000, 32_000)


class PortTaken(RuntimeError):
    """A port that was asked for is in use; the message names the port, its likely owner and what to do."""


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """`count` different ports that nothing listens on at the moment of the call."""
    free: list[int] = []
    for port in random.SystemRandom().sample(_QUIET, len(_QUIET)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            free.append(port)
        if len(free) == count:
            return free
    raise PortTaken(f"Of the ports {_QUIET.start} to {_QUIET.stop - 1} none is free: see what listens on them.")


def free_port(host: str = LOOPBACK) -> int:
    """One port that nothing listens on at the moment of the call."""
    return free_ports(1, host)[0]


def configured_port(setting: str, purpose: str, default: int | None = None) -> int:
    """The port named by the environment variable `setting`, else `default`, else a free one.

    Raises ValueError when the setting is not a port number, PortTaken when the port is in use.
    """
    text = os.environ.get(setting, "").strip()
    if not text and default is None:
        return free_port()
    if text and (not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536):
        raise ValueError(f"{setting}={text!r} is not a port: give a number from 1 to 65535, or unset it.")
    port = int(text) if text else int(default or 0)
    require_free(port, purpose, setting=setting)
    return port


def require_free(port: int, purpose: str, *, host: str = LOOPBACK, setting: str | None = None) -> None:
    """Return if `port` can be listened on; raise PortTaken naming its owner otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            owner = owner_of(port) or f"an unknown process ({error.strerror})"
            where = f"set {setting} to another port" if setting else "choose another port"
            raise PortTaken(f"Port {port}, wanted for {purpose}, is held by {owner}. Stop it, or {where}.") from None


def owner_of(port: int) -> str | None:
    """The process listening on `port`, as "name (pid 123: command line)", or None when it cannot be seen."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and connection.pid and address and address.port == port:
                owner = psutil.Process(connection.pid)
                return f"{owner.name()} (pid {owner.pid}: {' '.join(owner.cmdline())[:120]})"
    return None


def accepts(port: int, host: str = LOOPBACK, timeout: float = 0.2) -> bool:
    """Whether something accepts TCP connections on `port`."""
    with socket.socket() as probe:
        probe.settimeout(timeout)
        return probe.connect_ex((host, port)) == 0
