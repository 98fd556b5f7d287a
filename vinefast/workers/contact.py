"""How workers find the manager: by its address, or by its name in TaskVine's catalog."""

from __future__ import annotations

import ipaddress
import logging
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from parsl.addresses import address_by_route, get_any_address

from vinefast._log_fields import fields
from vinefast.errors import EngineStartError

logger: logging.Logger = logging.getLogger(__name__)

ADDRESS = re.compile(r"(?P<host>[^/:\[\]]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]+)")
"""HOST:PORT, the host being a name, or a number, that of IPv6 in brackets."""

_LOOPBACK = "127.0.0.1"

# A message of TLS that no client begins with: a server says so in a record of its own, an alert. To a manager without
# TLS it is a line that makes no sense, once that has its end: without one, the manager would wait for more.
_NO_HELLO = b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00\n"
_ALERT = b"\x15"
_ALERT_S = 10.0

# TaskVine's own, where CATALOG_HOST and CATALOG_PORT do not say otherwise.
_PUBLIC_CATALOG = "catalog.cse.nd.edu,backup-catalog.cse.nd.edu"
_CATALOG_PORT = "9097"


@dataclass(frozen=True)
class Contact:
    """How workers reach the manager.

    Attributes
    ----------
    address : str
        Name or number of the manager's host.
    port : int
        The manager's port.
    project_name : str or None
        Where given, workers elsewhere ask the catalog for it.
    catalog : str or None
        Hosts of the catalog; None: TaskVine's own.
    password_file : str or None
        What workers have to know.
    listen_address : str or None
        The number at which alone the manager listens; None: at all of this machine's.
    ssl : bool
        Whether the manager speaks TLS, and nothing else.
    """

    address: str
    port: int
    project_name: str | None = None
    catalog: str | None = None
    password_file: str | None = None
    listen_address: str | None = None
    ssl: bool = False


def manager_address(configured: str | None, local: bool) -> str:
    """Give the address by which workers reach this machine.

    Parameters
    ----------
    configured : str or None
        The user's choice.
    local : bool
        Whether all workers are on this machine.

    Raises
    ------
    EngineStartError
        If the user's choice cannot be resolved, or there is no address.
    """
    if configured is not None:
        errors = _try_all([partial(socket.getaddrinfo, configured, None)], timeout_s=5.0)
        if errors:
            raise EngineStartError(
                f"manager_config.address is {configured!r}, which cannot be resolved: {errors[0]}"
            ) from errors[0]
        return configured
    if local:
        return _LOOPBACK
    try:
        # Parsl's own search may stop at the loopback interface, which no other machine can reach.
        return address_by_route()
    except OSError:
        pass
    try:
        return get_any_address()
    except Exception as error:
        raise EngineStartError("This machine has no address for workers; give one as manager_config.address") from error


def listening_address(configured: str | None, local: bool, project_name: str | None) -> str | None:
    """Give the number of the only address at which the manager is to listen; None: at all of this machine's.

    Parameters
    ----------
    configured : str or None
        The user's choice of an address by which workers reach this machine. A name may mean another address elsewhere.
    local : bool
        Whether all workers are on this machine.
    project_name : str or None
        By which workers find the manager at whatever address the catalog has for it.
    """
    if configured is None:
        return _LOOPBACK if local and project_name is None else None
    try:
        number = ipaddress.ip_address(_LOOPBACK if configured == "localhost" else configured)
    except ValueError:
        return None
    if number.is_unspecified or (project_name is not None and not number.is_loopback):
        return None
    # That of a router, which sends on what comes there, is none of this machine's.
    return str(number) if _is_here(number) else None


def is_loopback(listen_address: str | None) -> bool:
    """Tell whether a manager that listens there can be reached from this machine alone."""
    return listen_address is not None and ipaddress.ip_address(listen_address).is_loopback


def _is_here(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if number.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(number), 0))
    except OSError:
        return False
    return True


def speaks_tls(host: str, port: int) -> bool:
    """Ask a manager whether it speaks TLS. One that cannot be reached yet does, as one beyond this host does."""
    try:
        with socket.create_connection((host, port), _ALERT_S) as manager:
            manager.sendall(_NO_HELLO)
            return manager.recv(1) == _ALERT
    except ConnectionResetError:
        return False
    except (OSError, UnicodeError, OverflowError):  # the latter two: no machine, and no port, can have this name
        return True


def catalog_hosts() -> str | None:
    """Give the catalog that the user has chosen, as workers take it; None: TaskVine's own."""
    return os.environ.get("CATALOG_HOST") or None


def name_in_catalog(project_name: str | None, label: str) -> str | None:
    """Give the name by which workers can find the manager, or None, with a warning, if no catalog can be reached.

    `label` is that of the executor, for the warning.

    TaskVine would look for the catalog's host on the thread that serves the workers, for as long as a resolver may
    take, and nobody would say why no worker comes.
    """
    if project_name is None:
        return None
    hosts = (catalog_hosts() or _PUBLIC_CATALOG).split(",")
    errors = _try_all([partial(_knock, host) for host in hosts], timeout_s=3.0)
    if not errors:
        return project_name
    logger.warning(
        "Workers of executor %s are given the manager's address, since they cannot find it by "
        "manager_config.project_name, %r: the catalog cannot be reached (%s). The environment variable CATALOG_HOST "
        "names another",
        label,
        project_name,
        "; ".join(f"{host}: {error}" for host, error in zip(hosts, errors, strict=True)),
        extra=fields(label),
    )
    return None


def _knock(host: str) -> None:
    parts = urlsplit(f"//{host}")
    port = parts.port or int(os.environ.get("CATALOG_PORT", _CATALOG_PORT))
    socket.create_connection((parts.hostname, port), timeout=10).close()


def _try_all(attempts: Sequence[Callable[[], object]], timeout_s: float) -> list[Exception]:
    """Make all attempts at once; give the error of each, or nothing as soon as one succeeds."""
    answers: queue.Queue[tuple[int, Exception | None]] = queue.Queue()
    errors: list[Exception] = [TimeoutError(f"no answer in {timeout_s:g} s") for _ in attempts]

    def make(index: int) -> None:
        try:
            attempts[index]()
            answers.put((index, None))
        except (OSError, ValueError) as error:
            answers.put((index, error))

    # A resolver may hang for longer than anyone wants to wait.
    for index in range(len(attempts)):
        threading.Thread(target=make, args=(index,), name="vinefast-contact", daemon=True).start()
    deadline_s = time.monotonic() + timeout_s
    for _ in attempts:
        try:
            index, error = answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            break
        if error is None:
            return []
        errors[index] = error
    return errors
