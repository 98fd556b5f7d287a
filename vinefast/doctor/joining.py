"""Why a worker did not join, or what kind it is: a trial's outcome, as checks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vinefast._build_info import TASKVINE_VERSION
from vinefast._version import VERSION
from vinefast.doctor.check import Check, error, ok, refusal, warning
from vinefast.doctor.trial import Outcome
from vinefast.doctor.versions import versions
from vinefast.workers.environment import PYTHON
from vinefast.workers.watchdog import LOST

_SKEW_S = 5.0
_ROOM_NBYTES = 1 << 30
_OPEN_FILES = 256
_LAST_LINES = 3
_NOT_FOUND = 127
# What the library answers each call with.
_UNFIT = re.compile(r"\b(?:UnfitWorker|ParslMissing): ")

# What vine_worker says, and what that means; the first that is found counts.
_SAID = (
    (
        r"wrong password|presented the wrong password",
        "password: that of the worker is not the manager's",
        "give it the manager's own file: --password {password_file} here, 'vinefast worker RUN_DIR' for a run",
    ),
    (
        r"couldn't load password",
        "password: the worker cannot read its file",
        "copy the manager's to the worker's host, with a mode of 600, and name the copy by --password",
    ),
    (
        r"requires a password",
        "password: the worker has none, and the manager asks for one",
        "give it the manager's: --password {password_file} here, 'vinefast worker RUN_DIR' for a run",
    ),
    (
        r"--ssl was given, but",
        "TLS: the worker speaks it, and the manager does not",
        "start the worker without --ssl, or set ssl=True",
    ),
    (
        r"could not setup ssl connection",
        "TLS: the worker cannot agree with the manager on TLS 1.3",
        "look for MaxProtocol, Protocol and VerifyMode in the OpenSSL configuration of the worker's host "
        "(openssl.cnf, OPENSSL_CONF), or do without TLS (ssl=False)",
    ),
    (
        r"couldn't resolve hostname",
        "address: the worker's host does not know the name of the manager's",
        "give the manager's number as manager_config.address",
    ),
    (
        r"couldn't connect to|[Cc]onnection refused|No route to host|timed out",
        "address: the worker cannot reach the manager at {address}",
        "give an address of this machine that the worker's host reaches (manager_config.address), and open the "
        "manager's port (manager_config.port) in firewalls between them",
    ),
    (
        r"failed to setup workspace|[Nn]o space left|[Rr]ead-only file system",
        "disk: the worker can make no files",
        "give it room: TMPDIR there, or its option --workspace",
    ),
    (
        r"unrecognized option|invalid option",
        "options: vine_worker does not know one of them",
        "'vine_worker --help' has those of its release",
    ),
)


def judge(name: str, outcome: Outcome) -> Iterator[Check]:
    """Say what a trial shows; the first check has the name, the others are of the worker."""
    if outcome.problem:
        yield refusal(name, outcome.problem, "the message names it")
    elif not outcome.joined:
        yield _not_joined(name, outcome)
    elif outcome.facts is not None:
        yield ok(name, f"a worker has joined{_by_tls(outcome)} and run a call, after {outcome.waited_s:.1f} s")
        yield from _of_worker(name, outcome)
    elif outcome.failure:
        yield _failed(name, outcome.failure)
    else:
        yield error(
            name,
            f"a worker has joined{_by_tls(outcome)}, but not run a call in {outcome.waited_s:.0f} s{_words(outcome)}",
            "its disk may be full, its Python slow to start (a cold network disk: wait longer with --timeout), or "
            "init_command hangs",
        )


def _by_tls(outcome: Outcome) -> str:
    return " by TLS" if outcome.with_tls else " without TLS"


def _words(outcome: Outcome) -> str:
    lines = list(dict.fromkeys(outcome.said.splitlines()))[-_LAST_LINES:]
    return ". Its last words: " + " | ".join(lines) if lines else ". It has printed nothing"


def _failed(name: str, failure: str) -> Check:
    *_, reason = _UNFIT.split(failure)
    if reason == failure:
        return error(name, f"a worker has joined, but the call failed: {failure}", "the message names the reason")
    return refusal(name, f"a worker has joined, but no call can run there: {reason}", "mend init_command")


def _not_joined(name: str, outcome: Outcome) -> Check:
    # The manager saw it, so nothing that a worker may say is truer.
    for counter in ("joins_without_ssl", "joins_with_ssl"):
        if outcome.stats.get(counter):
            seen, _, advice = (LOST[counter] % "doctor").partition(": ")
            return error(name, f"TLS: {seen}", advice)
    notices = " | ".join(outcome.notices)
    if found := re.search(r"protocol (\d+)\D+(\d+)", notices):
        return error(
            name,
            f"protocol: the worker speaks version {found[1]} of TaskVine's, the manager version {found[2]}",
            f"start vine_worker of TaskVine {TASKVINE_VERSION}, with which vinefast is built, or build vinefast anew "
            "with the worker's release",
        )
    for text in (outcome.said, notices):
        for pattern, seen, advice in _SAID:
            if found := re.search(f".*({pattern}).*", text):
                return error(name, f"{seen.replace('{address}', outcome.address)} ({found[0].strip()})", advice)
    if outcome.status == _NOT_FOUND:
        return error(
            name,
            f"the command is not there{_words(outcome)}",
            "give the path of vine_worker on that machine: PATH may be another one in a shell without a terminal",
        )
    if outcome.status:
        return error(
            name, f"the command ended with status {outcome.status}{_words(outcome)}", "its last words name the reason"
        )
    return error(
        name,
        f"no worker has come to {outcome.address or 'the manager'} in {outcome.waited_s:.0f} s{_words(outcome)}",
        "see that the command starts a worker at once (a queue may be longer than --timeout), and that it reaches "
        "that address: a firewall that drops what comes says nothing",
    )


def _of_worker(name: str, outcome: Outcome) -> Iterator[Check]:
    facts = outcome.facts or {}
    where = f"{facts['program']} on {facts['host']}"
    if facts["python"].split(".")[:2] != PYTHON.split("."):  # which the library has refused before
        yield error(f"{name}: Python", f"{facts['python']}, {where}", f"workers need Python {PYTHON}")
    else:
        yield ok(f"{name}: Python", f"{facts['python']}, {where}")
    yield from _packages(name, facts["packages"], where)
    if abs(outcome.skewed_s) > _SKEW_S:
        yield warning(
            f"{name}: clock",
            f"{outcome.skewed_s:+.0f} s from this machine's",
            "have both follow NTP: times in logs and of files do not fit together",
        )
    if facts["room_nbytes"] < _ROOM_NBYTES:
        yield warning(
            f"{name}: disk",
            f"{facts['temporary_directory']} has room for {facts['room_nbytes'] >> 20} MB",
            "make room there, or choose another directory by TMPDIR there",
        )
    if 0 <= facts["open_files"] < _OPEN_FILES:
        yield warning(
            f"{name}: open files", f"{facts['open_files']}", "raise the limit there ('ulimit -n') before it starts"
        )


def _packages(name: str, there: dict[str, str | None], where: str) -> Iterator[Check]:
    here = versions()
    for package in ("parsl", "dill"):
        version = there[package]
        if version is None or version.startswith("broken: "):
            lack = "is not there" if version is None else f"cannot be imported ({version.removeprefix('broken: ')})"
            yield error(
                f"{name}: {package}",
                f"{lack}: {where}",
                "install parsl there, start the worker in the environment that has it, or send one along (env_pack)",
            )
        elif version != here[package]:
            yield warning(
                f"{name}: {package}",
                f"{version}; here it is {here[package]}",
                "install the same version: what one pickles, the other may not read",
            )
        else:
            yield ok(f"{name}: {package}", version)
    if there["vinefast"] is not None and there["vinefast"] != VERSION:
        yield warning(
            f"{name}: vinefast",
            f"{there['vinefast']}; here it is {VERSION}",
            "none is needed there; calls that use it (vinefast.CachedFile) want the same",
        )
