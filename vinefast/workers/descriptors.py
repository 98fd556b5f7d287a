"""How many files this process may have open: one per worker, besides those of the program."""

from __future__ import annotations

import errno
import logging
import os
import resource

logger: logging.Logger = logging.getLogger(__name__)

# Some programs close all descriptors that they may have before they start another one: not millions.
_ENOUGH = 1 << 20

_former: int | None = None


def raise_limit() -> None:
    """Let this process have as many files open as it may let itself: often 1024 before, and a million afterwards."""
    global _former
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError) as error:
        logger.info("The limit of open files stays at %d: %s", soft, error)
        return
    if _former is None:
        _former = soft


def with_former_limit(command: list[str]) -> list[str]:
    """Return the command that runs `command` with the limit that this process was started with."""
    if _former is None:
        return command
    return ["/bin/sh", "-c", f'ulimit -S -n {_former}; exec "$0" "$@"', *command]


def why_none_is_left(reason: int) -> str:
    """Say what to raise when the system has refused a descriptor with `reason`, an errno."""
    if reason != errno.EMFILE:
        return f"{os.strerror(reason)}: the whole machine has too little of it (fs.file-max, memory)"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"this process has as many files open as it may, {soft}, and each worker takes one. Raise the hard limit, which"
        f" is {hard}, before the program starts: nofile in /etc/security/limits.conf, LimitNOFILE= of a systemd unit,"
        " --ulimit nofile= of a container"
    )
