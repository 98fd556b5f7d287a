"""``vinefast worker``: start a worker by hand."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from typing import NoReturn

import click

from vinefast.cli.newest import complete_run
from vinefast.errors import EngineStartError
from vinefast.workers import by_hand
from vinefast.workers.by_hand import WorkerStart
from vinefast.workers.contact import ADDRESS, speaks_tls
from vinefast.workers.launch.arguments import RECONNECT_S
from vinefast.workers.programs import START_SCRIPT, find_program

_PASSWORD = re.compile(r"--pass[word]*(=.*)?|-P.*")
_NO_PASSWORD = "--no-password"
_SSL = re.compile(r"--ssl|--tls-sni(=.*)?")
_KNOCK_S = 10.0
_MAX_PORT = 65535


@click.command(
    short_help="Start a worker by hand for a run.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[--no-password]",
)
@click.argument("where", metavar="RUN_DIR|HOST:PORT", shell_complete=complete_run)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTION OF vine_worker]...")
@click.option(_NO_PASSWORD, is_flag=True, help="For a manager that asks for none (require_password=False).")
def worker(where: str, options: tuple[str, ...], no_password: bool) -> None:
    """Start a worker for an executor whose worker_launch_method is "manual".

    RUN_DIR is the directory of the run, such as runinfo/000, or the executor's in it: what the worker needs to know
    is found there. With HOST:PORT, --password FILE has to be among the options, with a copy of the password's file;
    whether the manager speaks TLS is asked there, unless --ssl says so.

    The worker keeps its files in a directory of its own, where temporary files are; signals and exit code are the
    worker's.
    """
    if _NO_PASSWORD in options:  # behind the place as well
        no_password, options = True, tuple(option for option in options if option != _NO_PASSWORD)
    try:
        start = _find(where, options, no_password)
        program = find_program(start.program)
    except EngineStartError as error:
        raise click.ClickException(str(error)) from None
    password = ["--password", start.password_file] if start.password_file is not None else []
    _become(["/bin/sh", START_SCRIPT, program, "--parent-death", *password, *start.arguments, *options])


def _find(where: str, options: tuple[str, ...], no_password: bool) -> WorkerStart:
    if os.path.isdir(where):
        start = by_hand.find(where)
        if not start.by_name:
            _knock(where, start)
        return start
    found = ADDRESS.fullmatch(where)
    if found is None:
        raise click.UsageError(f"{where!r} is no directory; accepted: the directory of a run, or HOST:PORT")
    if not no_password and not any(_PASSWORD.fullmatch(option) for option in options):
        raise click.UsageError(
            f"No password is given for {where}: --password FILE takes a copy of the file password-... in the "
            f"directory of the run. A manager that asks for none is for {_NO_PASSWORD}"
        )
    host, port = found["host"].strip("[]"), int(found["port"])
    if not 0 < port <= _MAX_PORT:
        raise click.UsageError(f"the port of {where} is {port}; accepted: 1 to {_MAX_PORT}")
    ssl = [] if any(_SSL.fullmatch(option) for option in options) or not speaks_tls(host, port) else ["--ssl"]
    # TaskVine's own 15 minutes are long for one that cannot join, or whose program has been killed.
    return WorkerStart("vine_worker", [f"--connect-timeout={RECONNECT_S}", *ssl, host, str(port)], host, port)


def _knock(where: str, start: WorkerStart) -> None:
    """See that the manager is there: the worker would look for it for minutes, and a program that was killed says
    nothing.
    """
    try:
        socket.create_connection((start.address, start.port), _KNOCK_S).close()
    except ConnectionRefusedError:
        raise EngineStartError(
            f"The run of {where} is over: nobody listens at {start.address}, port {start.port}"
        ) from None
    except OSError as error:
        raise EngineStartError(
            f"The manager of {where}, at {start.address}, port {start.port}, cannot be reached: {error}"
        ) from None


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and a program inherits
    try:
        os.execv(command[0], command)
    except OSError as error:
        raise click.ClickException(f"{command[0]} cannot be run: {error.strerror}") from None
