"""What becomes of calls, and of what runs beside them, when something goes wrong: vinefast beside other executors.

``python -m benches.faults`` runs each fault on each executor in a program of its own, with real workers, and prints a
table in Markdown, as in docs/reliability.md. Nothing is timed but how long things take that should be over soon.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import click
import psutil
from rich.console import Console
from rich.progress import track

from benches import fault_calls as of_calls
from vinefast.bench.peers import PEERS, Peer

MARK = "VINEFAST_FAULTS_MARK"
SLOTS = 2
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
N_BESIDE = 20
WORKERS = ("vine_worker", "process_worker_pool.py")
# Those of the table in docs/reliability.md; the last needs TaskVine's Python module.
USUAL = ("vinefast", "htex", "taskvine")
# How long to wait for what may never come.
PATIENCE_S = 45.0
# How long what an executor has started may live on after it.
AFTERWARDS_S = 5.0

Outcome = dict[str, Any]


# What happens to calls from outside.


def limit(peer: Peer) -> Any:
    """Submit calls that never end, one for each slot, with a limit of one second: by Parsl's walltime."""
    import parsl

    @parsl.python_app
    def endless(walltime: float = 1.0) -> int:
        import itertools

        return sum(itertools.repeat(1, 10**15))

    return [endless() for _ in range(SLOTS)][0]


def cancelled(peer: Peer) -> Any:
    """Cancel calls that never end, one for each slot, once they run."""
    futures = [peer.submit(of_calls.compute_for_ever) for _ in range(SLOTS)]
    time.sleep(3)
    cancel = getattr(peer.executor, "cancel", None)
    for future in futures:
        cancel(future) if cancel is not None else future.cancel()
    return futures[0]


def workers() -> list[psutil.Process]:
    """Give the processes that take calls and start others which run them; not those that wait for these."""
    found = []
    for process in marked(os.environ[MARK]):
        line = process.cmdline()
        # A shell that starts one has all of its command in one argument.
        if any(os.path.basename(part) in WORKERS for part in line[:5] if " " not in part):
            found.append(process)
    found = [process for process in found if process.parent() not in found]
    assert found, "no worker is known"
    return found


def killed(peer: Peer) -> Any:
    """Kill all workers while a call runs."""
    future = peer.submit(time.sleep, 2)
    time.sleep(1)
    for process in workers():
        process.kill()
    return future


def suspended(peer: Peer) -> Any:
    """Suspend all workers, with all that they have started, for some seconds."""
    future = peer.submit(time.sleep, 1)
    time.sleep(0.5)
    stopped = [*itertools.chain.from_iterable((one, *one.children(recursive=True)) for one in workers())]
    for process in stopped:
        process.suspend()
    time.sleep(8)
    for process in stopped:
        process.resume()
    return future


def calls(function: Callable[[], Any]) -> Callable[[Peer], Any]:
    """Make a fault of a call that does something."""
    return lambda peer: peer.submit(function)


FAULTS: dict[str, Callable[[Peer], Any]] = {
    "raises what cannot be rebuilt": calls(of_calls.raise_unbuildable),
    "`sys.exit(3)`": calls(of_calls.leave),
    "crashes (SIGSEGV)": calls(of_calls.crash),
    "`os._exit(0)`": calls(of_calls.vanish),
    "closes all descriptors": calls(of_calls.close_descriptors),
    "changes directory and environment": calls(of_calls.change_surroundings),
    "returns what cannot be pickled": calls(of_calls.return_generator),
    "prints 200 MB": calls(of_calls.print_much),
    "leaves a process behind": calls(of_calls.start_daemon),
    "as many as there are slots never end, C code, `walltime` of 1 s": limit,
    "as many as there are slots never end, C code, are cancelled": cancelled,
    "its worker is killed": killed,
    "its worker is suspended for 8 s": suspended,
}


# One fault on one executor, in a program of its own.


def outcome_of(future: Any, deadline: float) -> str:
    """Say in a word or two what became of a call."""
    try:
        result = future.result(max(0.1, deadline - time.monotonic()))
    except BaseException as error:
        name = type(error).__name__
        return "no answer" if isinstance(error, TimeoutError) and not future.done() else name
    return "as it ended" if isinstance(result, (str, int, type(None))) else "done"


def run_one(name: str, fault: str, directory: str) -> Outcome:
    """Let a fault happen between calls that have nothing to do with it."""
    peer = PEERS[name](SLOTS, directory)
    peer.start()
    try:
        home = peer.submit(of_calls.beside, -1).result(PATIENCE_S)[1:]
        before = [peer.submit(of_calls.beside, index) for index in range(N_BESIDE // 2)]
        began = time.monotonic()
        future = FAULTS[fault](peer)
        after = [peer.submit(of_calls.beside, index) for index in range(N_BESIDE // 2, N_BESIDE)]
        deadline = time.monotonic() + PATIENCE_S
        call = outcome_of(future, deadline)
        took_s = time.monotonic() - began
        n_right = n_changed = 0
        for index, other in enumerate([*before, *after]):
            try:
                value = other.result(max(0.1, deadline - time.monotonic()))
            except BaseException:
                continue
            n_right += value[0] == index
            # Where a call runs may differ from slot to slot, but not what another call has done to it.
            n_changed += value[2] != home[1] or (value[1] == "/" != home[0])
        try:
            later = peer.submit(of_calls.fine).result(PATIENCE_S / 2)
        except BaseException as error:
            later = type(error).__name__
        return {"call": call, "s": took_s, "beside": n_right, "changed": n_changed, "later": later}
    finally:
        peer.stop()


def marked(mark: str) -> list[psutil.Process]:
    """Give the processes that come from a program with that mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def watch_one(name: str, fault: str) -> Outcome:
    """Run a fault, and look what is left of it."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="vinefast-faults-") as directory:
        command = [sys.executable, "-m", "benches.faults", "--one", name, fault, directory]
        python_path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
        program = subprocess.Popen(
            command,
            env={**os.environ, MARK: mark, "PYTHONPATH": python_path},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=directory,
        )
        try:
            said = program.communicate(timeout=4 * PATIENCE_S)[0].decode()
            seen = json.loads(said.rpartition("\nSEEN ")[2]) if "\nSEEN " in said else {"call": "the program ended"}
        except subprocess.TimeoutExpired:
            seen = {"call": "the program hangs"}
        end = time.monotonic() + AFTERWARDS_S
        while (left := marked(mark)) and time.monotonic() < end:
            time.sleep(0.1)
        seen["left"] = len(left)
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                pass
        program.wait()
    return seen


def words(seen: Outcome) -> str:
    """Give a cell of the table."""
    parts = [f"{seen['call']}, {seen['s']:.1f} s" if "s" in seen else seen["call"]]
    if "beside" in seen:
        if seen["beside"] < N_BESIDE:
            parts.append(f"{seen['beside']} of {N_BESIDE} others")
        if seen["changed"]:
            parts.append(f"{seen['changed']} others find it changed")
        if seen["later"] != "fine":
            parts.append(f"later calls: {seen['later']}")
    if seen["left"]:
        parts.append(f"{seen['left']} processes left")
    return "; ".join(parts)


@click.command()
@click.option("--executors", default=None, help="Which, separated by commas; those of the documents that are here.")
@click.option("--only", default="", help="Faults whose name has this in it.")
@click.option("--one", nargs=3, default=None, hidden=True)
def main(executors: str | None, only: str, one: tuple[str, str, str] | None) -> None:
    """Run each fault on each executor, and print a table."""
    if one is not None:
        seen = run_one(*one)
        print("\nSEEN " + json.dumps(seen), flush=True)
        return
    names = list(USUAL) if executors is None else [name.strip() for name in executors.split(",")]
    for name in names.copy():
        if name not in PEERS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(PEERS)}", param_hint="--executors")
        if (why := PEERS[name].why_missing()) is None:
            continue
        if executors is None:
            click.echo(f"{name} is left out: {why}", err=True)
            names.remove(name)
        else:
            raise click.ClickException(f"{name} cannot be tried: {why}")
    faults = [fault for fault in FAULTS if only in fault]
    table = {}
    pairs = [(fault, name) for fault in faults for name in names]
    for fault, name in track(pairs, "faults", console=Console(stderr=True), transient=True):
        table[fault, name] = words(watch_one(name, fault))
    print(f"| the call | {' | '.join(names)} |\n|{'---|' * (1 + len(names))}")
    for fault in faults:
        print(f"| {fault} | {' | '.join(table[fault, name] for name in names)} |", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
