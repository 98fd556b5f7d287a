"""A soak in which the program itself is killed, again and again: ``python -m benches.soak.restarts --seconds 3600``.

A program (`benches.soak.restarted`) is killed by SIGKILL at any moment, alone or with all that it has started, as a
batch system does it, and started anew with Parsl's checkpoints, until all its steps are done; then the next one begins.
After each kill nothing of it may be left, its event logs can be read and say how it has ended, no output is half
written at its path, and what was checkpointed is right and never runs again. It exits with 1 if something was not so.
"""

from __future__ import annotations

import collections
import json
import os
import pickle
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click
import psutil
from click.testing import CliRunner, Result
from rich.console import Console
from rich.table import Table

from benches.soak import fleet, restarted, steps
from benches.soak.restarted import (
    ENDED,
    ENDING,
    EXTRA_DIR,
    FAR,
    GROUPS,
    NEAR,
    READY,
    RUN_DIR,
    RUNS_DIR,
    STEPS_DIR,
    WRONG,
)
from benches.soak.samples import MEMORY_DIR
from tests.helpers.processes import MARK, processes_marked
from tests.helpers.waiting import wait_until
from vinefast.cli import main as vinefast_main

# Executors keep files of workers in memory if there is so much room, and none is taken before it is used.
_MEMORY_NBYTES = 4 << 30
_COMMAND = [sys.executable, "-c", "from vinefast.cli import main; main()"]
# What may last for so long. A worker that was started by hand looks for its manager as long as it is told to.
_START_S, _END_S, _CONNECT_S = 120.0, 400.0, 5
_LEFT_S = {NEAR: 30.0, FAR: 60.0}
# The words behind which a program is killed, and how likely each is.
_INSTANTS = {"": 2, READY: 7, ENDING: 1}
_CALLS_S, _ENDING_S = 6.0, 1.5


def _mark_of_far() -> str:
    # By it, the processes of workers elsewhere are told from those of the program.
    return f"{os.environ[MARK]}-{FAR}"


class Program:
    """One start of a program."""

    def __init__(self, home: Path, seed: str, start: int, n_steps: int, temporary: Path | None) -> None:
        self.home, self.temporary = home, temporary
        self._said, self._errors = home / f"said-{start}", home / f"errors-{start}"
        environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        if temporary is not None:
            environment["TMPDIR"] = str(temporary)
        command = [sys.executable, "-m", "benches.soak.restarted", seed, str(start), str(n_steps)]
        with open(self._said, "w") as said, open(self._errors, "w") as errors:
            self.process = subprocess.Popen(
                command, cwd=home, env=environment, stdout=said, stderr=errors, start_new_session=True
            )
        self.worker: subprocess.Popen[bytes] | None = None

    def said(self, word: str = "") -> list[str]:
        """Give the lines that begin with a word."""
        return [line for line in self._said.read_text().splitlines() if line.startswith(word)]

    def errors(self) -> str:
        """Give what was written to standard error."""
        return self._errors.read_text()

    def wait_for(self, word: str, seconds: float) -> bool:
        """Wait until it has said a word, or has ended."""
        return wait_until(lambda: bool(self.said(word)) or self.process.poll() is not None, seconds)

    def start_worker(self, run: Path, directory: Path) -> None:
        """Start a worker by hand, whose files are elsewhere."""
        options = ["--cores", str(restarted.CORES), "--connect-timeout", str(_CONNECT_S)]
        self.worker = subprocess.Popen(
            [*_COMMAND, "worker", str(run / FAR), *options],
            env={**os.environ, "TMPDIR": str(directory), MARK: _mark_of_far()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self, with_all: bool) -> None:
        """Kill it, and at the same time all that it has started."""
        others = psutil.Process(self.process.pid).children(recursive=True) if with_all else []
        self.process.kill()
        for other in others:
            with suppress(psutil.Error):
                other.kill()
        self.process.wait()

    def end(self) -> None:
        """End it, and its worker, if they have not ended yet."""
        if self.process.poll() is None:
            self.kill(with_all=True)
        if self.worker is not None and self.worker.poll() is None:
            self.worker.terminate()
            self.worker.wait()


class Restarts:
    """All of it."""

    def __init__(self, seed: int, n_steps: int, work: Path, owns_memory_dir: bool, console: Console) -> None:
        self.seed, self.n_steps, self.work, self.console = seed, n_steps, work, console
        self._rng = random.Random(seed)
        self.hand, self.temporary = work / "hand", work / "temporary"
        for directory in (self.hand, self.temporary):
            directory.mkdir()
        # Where files of workers may lie, and what is to go from there with the next start.
        self.places = [self.temporary, *([MEMORY_DIR] if owns_memory_dir else [])]
        self.unswept: dict[Path, set[str]] = {place: set() for place in self.places}
        self.n: collections.Counter[str] = collections.Counter()
        self.kills: collections.Counter[str] = collections.Counter()
        self.seconds_left: dict[str, list[float]] = {group: [] for group in GROUPS}
        self.cut_off: set[str] = set()
        self.wrong: list[str] = []
        self.left: list[str] = []
        self._n_programs = 0
        self._start_s = 3.0
        self._began = time.monotonic()
        self.program: Program | None = None

    def run(self, seconds: float) -> None:
        """Start and kill programs for some time, and let the last one end."""
        while time.monotonic() - self._began < seconds:
            self._next()
            while time.monotonic() - self._began < seconds and not self._is_done():
                self._one(kills=True)
                if self.wrong or self.left:
                    return
            if not self._is_done():
                # Nothing is left of those before: one start for each place.
                for place in (self.temporary, None):
                    self._one(kills=False, place=place)
            self.n["steps done"] += len(self.done)

    def end(self) -> None:
        """End what runs."""
        if self.program is not None:
            self.program.end()

    def _next(self) -> None:
        """Begin with another program."""
        self._n_programs += 1
        self.home = self.work / f"program-{self._n_programs}"
        self.home.mkdir()
        if self._n_programs > 1:
            shutil.rmtree(self.work / f"program-{self._n_programs - 1}")
        self.of_steps = f"{self.seed}-{self._n_programs}"
        self.plan = restarted.plan(self.of_steps, self.n_steps)
        self.numbers = {value: number for number, value in enumerate(restarted.right_values(self.plan))}
        self.start = 0
        # Steps that are in a checkpoint, and how often each has run.
        self.done: dict[int, int] = {}

    def _is_done(self) -> bool:
        return len(self.done) == self.n_steps

    def _say(self, found: list[str], text: str) -> None:
        found.append(f"program {self._n_programs}, start {self.start}: {text}")
        passed = f"{time.monotonic() - self._began:.0f} s"
        self.console.print(f"{passed}: {found[-1]}", markup=False, highlight=False, soft_wrap=True)

    def _one(self, kills: bool, place: Path | None = None) -> None:
        """Start the program once, kill it or let it end, and look at what is left."""
        self.start += 1
        rng = self._rng
        temporary = rng.choice([self.temporary, None]) if kills else place
        word = rng.choices(list(_INSTANTS), list(_INSTANTS.values()))[0]
        # As long as the last start took, and a little longer; the worker that is started by hand comes later, too.
        at_most_s = {"": 1.2 * self._start_s, ENDING: _ENDING_S}
        delay_s = rng.expovariate(1 / (_CALLS_S + self._start_s)) if word == READY else rng.uniform(0, at_most_s[word])
        with_all = rng.random() < 0.25
        known = {run.name for run in self._runs_but(set())}
        began = time.monotonic()
        program = self.program = Program(self.home, self.of_steps, self.start, self.n_steps, temporary)
        self.n["starts"] += 1
        self.n["steps found again"] += len(self.done)
        if word or not kills:
            if not program.wait_for(READY, _START_S):
                self._say(self.wrong, f"has not started within {_START_S:.0f} s")
            if program.said(READY):
                self._start_s = time.monotonic() - began
                program.start_worker(self._runs_but(known)[0], self.hand)
                self._swept(temporary or MEMORY_DIR)
            if word == ENDING or not kills:
                program.wait_for(ENDED if not kills else word, _END_S)
        ended = wait_until(lambda: program.process.poll() is not None, delay_s if kills else _LEFT_S[NEAR])
        if kills and not ended:
            program.kill(with_all)
            self.kills[f"{_MOMENTS[word]}, {'with all' if with_all else 'alone'}"] += 1
        elif not ended:
            self._say(self.wrong, f"has not ended within {_END_S:.0f} s")
            program.kill(False)
        self._look(program, self._runs_but(known), with_all and not ended, temporary or MEMORY_DIR)

    def _runs_but(self, known: set[str]) -> list[Path]:
        """Give the run directories that there are by now, but those."""
        runs = self.home / RUN_DIR
        return [runs / name for name in sorted(os.listdir(runs)) if name not in known] if runs.exists() else []

    def _swept(self, place: Path) -> None:
        if place in self.unswept:
            # A thread does that, and is not waited for by those who have calls.
            wait_until(lambda: not self.unswept[place] & set(os.listdir(place)), _LEFT_S[NEAR])
            for name in sorted(self.unswept[place] & set(os.listdir(place))):
                self._say(self.left, f"{place}/{name}, by the next start as well")
            self.unswept[place].clear()

    def _look(self, program: Program, runs: list[Path], with_all: bool, place: Path) -> None:
        self._nothing_runs(program)
        for other in self.places:
            found = set(os.listdir(other)) - self.unswept[other]
            if with_all and other == place:
                self.unswept[other] |= found
                self.n["directories left to the next start"] += len(found)
            else:
                for name in sorted(found):
                    self._say(self.left, f"{other}/{name}")
        for name in os.listdir(self.hand):
            self._say(self.left, f"{self.hand}/{name}")
        self._ports_are_free(program)
        for line in program.said(WRONG):
            self._say(self.wrong, line)
        if "Traceback" in program.errors():
            self._say(self.wrong, f"standard error: {program.errors()[-3000:]}")
        was_killed = program.process.returncode == -signal.SIGKILL
        if not was_killed:
            self.n["programs ended"] += 1
            if program.process.returncode or not program.said(ENDED):
                self._say(self.wrong, f"exit status {program.process.returncode}: {program.errors()[-3000:]}")
        self._checkpoints()
        if not was_killed and not self._is_done():
            self._say(self.wrong, f"has ended with {len(self.done)} of {self.n_steps} steps in its checkpoints")
        self._outputs()
        for run in runs:
            self._logs(run, program, was_killed)
        shutil.rmtree(self.home / EXTRA_DIR, ignore_errors=True)

    def _nothing_runs(self, program: Program) -> None:
        began = time.monotonic()
        for group, mark in ((NEAR, os.environ[MARK]), (FAR, _mark_of_far())):
            while (found := processes_marked(mark)) and time.monotonic() - began < _LEFT_S[group]:
                time.sleep(0.1)
            self.seconds_left[group].append(time.monotonic() - began)
            for process in found:
                with suppress(psutil.Error):
                    line = " ".join(process.cmdline())
                    self._say(self.left, f"process {process.pid}, child of {process.ppid()}: {line}")
                    process.kill()
        if program.worker is not None:
            program.worker.wait()

    def _ports_are_free(self, program: Program) -> None:
        for line in program.said(READY) if MEMORY_DIR in self.places else ():
            for port in line.split()[1:]:
                with socket.socket() as listener:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        listener.bind(("127.0.0.1", int(port)))
                    except OSError as error:
                        self._say(self.left, f"port {port}: {error}")

    def _checkpoints(self) -> None:
        """Look at all results that Parsl has checkpointed."""
        for number, n in self.done.items():
            if (now := steps.n_runs(str(self.home / RUNS_DIR), number)) != n:
                self._say(self.wrong, f"step {number} was in a checkpoint and has run again, {now - n} times")
        for result in _results(self.home / RUN_DIR, lambda text: self._say(self.wrong, text)):
            if not isinstance(result, int):
                if not (result == result[0]).all():
                    self._say(self.wrong, f"a checkpoint has {result}")
            elif result not in self.numbers:
                self._say(self.wrong, f"a checkpoint has {result}")
            elif (number := self.numbers[result]) not in self.done:
                self.done[number] = steps.n_runs(str(self.home / RUNS_DIR), number)

    def _outputs(self) -> None:
        """Look at all outputs: what comes from elsewhere is whole, and so is what a step has written that is done."""
        directory = self.home / STEPS_DIR
        for name in os.listdir(directory) if directory.exists() else ():
            if name.startswith("."):
                # It goes with the next output from elsewhere.
                self.cut_off.add(name)
                continue
            group, _, number = name.partition("-")
            if group == FAR or int(number) in self.done:
                self.n["outputs looked at"] += 1
                if (directory / name).read_bytes() != steps.content_of(int(number)):
                    self._say(self.wrong, f"output {name} is not what it is to be")

    def _logs(self, run: Path, program: Program, was_killed: bool) -> None:
        """Have the commands read the event logs of a run."""
        logs = list(run.glob("*/events"))
        # A thread makes them, a moment after the start.
        if not was_killed and len(logs) < len(GROUPS):
            self._say(self.wrong, f"event logs: {logs}")
        if not logs:
            for name in ("status", "why", "audit"):
                ended = self._command(name, str(run))
                if not ended.exit_code or "There is no event log" not in ended.output:
                    self._say(self.wrong, f"vinefast {name}: {ended.output}")
            return
        states = {state["label"]: state for state in json.loads(self._command("status", "--json", str(run)).stdout)}
        self.n["failed calls told"] += len(re.findall(r"(?m)^call \d", self._command("why", str(run)).stdout))
        self._command("why", str(run), str(self._rng.randrange(100)), "--call")
        audit = self._command("audit", "--json", str(run))
        for label, found in json.loads(audit.stdout).items():
            self.n["calls ended"] += found["ended"]
            self.n["calls cut off"] += found["unfinished"]
            self.n["event logs cut off"] += bool(found["unknown"])
            states_of = found["state"], states[label]["state"]
            right = {("killed", "lost")} if was_killed else {("ended", "ended")}
            if program.said(ENDING):
                right.add(("ended", "ended"))
            # Password and keys are removed after the end of the log: what is killed in between leaves them, as it says.
            broken = found["counts"].keys() - ({"nothing-left"} if was_killed and program.said(ENDING) else set())
            if states_of not in right or broken:
                self._say(self.wrong, f"{label}: {states_of}, {json.dumps(found)}")

    def _command(self, *arguments: str) -> Result:
        # In this process: to start one costs more than all else here.
        self.n["commands"] += 1
        ended = CliRunner().invoke(vinefast_main, arguments)
        if not isinstance(ended.exception, SystemExit | None):
            self._say(
                self.wrong, f"vinefast {' '.join(arguments)}: {''.join(traceback.format_exception(*ended.exc_info))}"
            )
        return ended


_MOMENTS = {"": "while it starts", READY: "amid calls", ENDING: "while it ends"}


def _results(runs: Path, say: Any) -> Iterator[Any]:
    """Give what is in the checkpoints of all runs."""
    for path in sorted(runs.glob("*/checkpoint/tasks.pkl")):
        with open(path, "rb") as file:
            while True:
                try:
                    yield pickle.load(file)["result"]
                except EOFError:
                    break
                except Exception as error:
                    say(f"{path} cannot be read: {error!r}")
                    break


def _summary(restarts: Restarts, seed: int, seconds: float) -> dict[str, Any]:
    lasted = {group: sorted(seconds) or [0.0] for group, seconds in restarts.seconds_left.items()}
    return {
        "seed": seed,
        "seconds": round(seconds),
        "kills": dict(sorted(restarts.kills.items())),
        "numbers": {**dict(sorted(restarts.n.items())), "transfers cut off": len(restarts.cut_off)},
        "nothing_ran_after_s": {
            **{f"{group}, median": of_one[len(of_one) // 2] for group, of_one in lasted.items()},
            **{f"{group}, most": of_one[-1] for group, of_one in lasted.items()},
        },
        "wrong": restarts.wrong,
        "left": restarts.left,
    }


def _show(summary: dict[str, Any], console: Console) -> None:
    kills = sum(summary["kills"].values())
    table = Table(title=f"{kills} kills in {summary['seconds']} s, seed {summary['seed']}", show_header=False)
    for name, n in [*((f"killed {name}", n) for name, n in summary["kills"].items()), *summary["numbers"].items()]:
        table.add_row(name, str(n))
    for name, seconds in summary["nothing_ran_after_s"].items():
        table.add_row(f"seconds until nothing ran: {name}", f"{seconds:.1f}")
    for name in ("wrong", "left"):
        table.add_row(name, str(len(summary[name])))
    console.print(table)


@click.command()
@click.option("--seconds", default=3600.0, help="How long.")
@click.option("--seed", type=int, default=None, help="What all that is random comes from; a new one if not given.")
@click.option("--steps", "n_steps", default=150, help="Steps of each program.")
@click.option("--directory", default="build/restarts", help="Where summary.json goes.")
@click.option("--keep", is_flag=True, help="Keep the directory of the last program if something is wrong.")
def main(seconds: float, seed: int | None, n_steps: int, directory: str, keep: bool) -> None:
    """Kill programs and start them anew, for some time; exit with 1 if something is wrong, or left behind."""
    has_own = fleet.in_own_namespaces("benches.soak.restarts", network=True)
    os.environ.setdefault(MARK, uuid.uuid4().hex)
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 31)
    place = Path(directory).absolute()
    place.mkdir(parents=True, exist_ok=True)
    console = Console()
    console.print(f"seed {seed}, {seconds:.0f} s")
    if not has_own:
        console.print("Nobody looks into /dev/shm, nor at ports: that needs root, and namespaces")
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="vinefast-restarts-"))
        removal = ExitStack()
        stack.push(removal).callback(shutil.rmtree, work)
        if has_own:
            fleet.mount(MEMORY_DIR, _MEMORY_NBYTES)
            stack.callback(fleet.unmount, MEMORY_DIR)
        restarts = Restarts(seed, n_steps, work, has_own, console)
        stack.callback(restarts.end)
        restarts.run(seconds)
        is_wrong = bool(restarts.wrong or restarts.left)
        if is_wrong and keep:
            removal.pop_all()
            console.print(f"{work} is kept")
    summary = _summary(restarts, seed, time.monotonic() - began)
    (place / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    _show(summary, console)
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()
