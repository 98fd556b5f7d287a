"""The program of `benches.soak.restarts`, which is killed and started anew: steps that Parsl checkpoints, amid calls.

``python -m benches.soak.restarted SEED START N_STEPS``, in a directory that stays. The steps are the same at each
start, and depend on each other; those that are in a checkpoint are not to run again. Beside them there are calls of all
kinds, by another seed at each start. It says ``ready``, ``ending`` and ``ended``, and what is wrong.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import parsl
from parsl.data_provider.files import File
from parsl.dataflow.memoization import BasicMemoizer, id_for_memo
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

import vinefast
from benches.soak import steps
from benches.soak.books import Books
from benches.soak.driver import Driver

NEAR, FAR = GROUPS = ("near", "far")
RUN_DIR, STEPS_DIR, RUNS_DIR, EXTRA_DIR = "runinfo", "steps", "runs", "extra"
READY, ENDING, ENDED, WRONG = "ready", "ending", "ended", "wrong:"
CORES = 2
PATIENCE_S = 120.0
# Calls a second beside the steps; in regular mode each of them starts a process.
_RATES = {"serverless": 20.0, "regular": 1.0}
_KINDS = {"compute": 10, "write": 4, "temp": 3, "kept": 2, "abandon": 1}
# Parsl writes a checkpoint by one write() if it is no larger than a buffer. Of a larger one half may be there, and then
# Parsl (2026.10.26) refuses the whole file.
_KEPT_N = 1000


class Step(NamedTuple):
    """A step, by what it is made of."""

    number: int
    kind: str
    group: str
    before: tuple[int, ...]
    seconds: float


def plan(seed: str, n: int) -> list[Step]:
    """Give the steps of a seed: the same at each start."""
    rng = random.Random(f"{seed} steps")
    kinds, weights = list(_KINDS), list(_KINDS.values())
    return [
        Step(
            number,
            rng.choices(kinds, weights)[0],
            rng.choice(GROUPS),
            tuple(sorted(rng.sample(range(number), min(number, rng.randrange(3))))),
            rng.expovariate(2),
        )
        for number in range(n)
    ]


def right_values(made: list[Step]) -> list[int]:
    """Give what each step is to return."""
    values: list[int] = []
    for step in made:
        values.append(steps.value_of(step.number, [values[i] for i in step.before]))
    return values


@id_for_memo.register(File)
def _id_of_file(file: File, output_ref: bool = False) -> bytes:
    return pickle.dumps(file.url)


class Program:
    """Submits all steps, and calls meanwhile."""

    def __init__(self, seed: str, start: str, n: int) -> None:
        rng = random.Random(f"{seed} {start}")
        self.rng = rng
        self.steps = plan(seed, n)
        self.executors = {NEAR: _near(rng), FAR: _far(rng)}
        for name in (STEPS_DIR, RUNS_DIR, EXTRA_DIR):
            os.makedirs(name, exist_ok=True)
        self.runs = os.path.abspath(RUNS_DIR)
        self.dfk = parsl.load(
            parsl.Config(
                executors=list(self.executors.values()),
                run_dir=RUN_DIR,
                memoizer=BasicMemoizer(checkpoint_mode="task_exit"),
                initialize_logging=False,
                strategy="none",
                usage_tracking=0,
            )
        )
        self.books = Books(lambda text: say(f"{WRONG} {text}"))
        self._apps: dict[tuple[str, str], Callable[..., Future[Any]]] = {}
        self.futures: list[Future[Any]] = []

    def _app(self, function: Callable[..., Any], group: str, **options: Any) -> Callable[..., Future[Any]]:
        key = function.__name__, group
        if key not in self._apps:
            self._apps[key] = parsl.python_app(function, executors=[group], cache=True, **options)
        return self._apps[key]

    def submit(self, step: Step) -> Future[Any]:
        """Submit a step."""
        number, group = step.number, step.group
        before = [self.futures[i] for i in step.before]
        if step.kind == "write":
            output = File(os.path.join(STEPS_DIR, f"{group}-{number}"))
            return self._app(steps.write, group)(number, self.runs, step.seconds, *before, outputs=[output])
        if step.kind == "temp":
            file = vinefast.TempFile(f"step-{number}")
            made = parsl.python_app(steps.record, executors=[group])(number, outputs=[file])
            read = self._app(steps.read_back, group, ignore_for_cache=["inputs"])
            return read(number, self.runs, *before, inputs=[made.outputs[0]])
        if step.kind == "kept":
            kept = self._app(vinefast.mark(steps.make, keep=True), group)(number, _KEPT_N)
            return self._app(steps.total, group, ignore_for_cache=["kept"])(number, self.runs, *before, kept=kept)
        if step.kind == "abandon":
            # In regular mode nobody ends that, if the program is killed: docs/reliability.md says so.
            leaves = self.executors[group].function_exec_mode == "serverless"
            app = self._app(steps.abandon, group, ignore_for_cache=["leaves"])
            return app(number, self.runs, step.seconds, *before, leaves=leaves)
        return self._app(steps.compute, group)(number, self.runs, step.seconds, *before)

    def run(self) -> None:
        """Do all steps, with calls beside them until the last one has ended."""
        rate = _RATES[self.executors[NEAR].function_exec_mode]
        driver = Driver(self.executors, self.books, Path(EXTRA_DIR), Path(EXTRA_DIR), self.rng, rate)
        for step in self.steps:
            self.futures.append(self.submit(step))
        while not all(future.done() for future in self.futures):
            driver.turn()
            self.books.settle()
            time.sleep(0.01)
        for step, future, right in zip(self.steps, self.futures, right_values(self.steps), strict=True):
            if future.exception() is not None or future.result() != right:
                say(f"{WRONG} {step}: {future.exception() or future.result()!r}")
        calm = time.monotonic()
        while (self.books.live or driver.is_owing()) and time.monotonic() - calm < PATIENCE_S:
            driver.turn(submitting=False)
            self.books.settle()
            time.sleep(0.02)
        self.books.close()


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def _near(rng: random.Random) -> vinefast.VineFastExecutor:
    return vinefast.VineFastExecutor(
        label=NEAR,
        function_exec_mode=rng.choices(["serverless", "regular"], [7, 1])[0],
        manager_config=TaskVineManagerConfig(port=0, tune_parameters={"peer-transfers": rng.choice([0, 1, 1])}),
        factory_config=TaskVineFactoryConfig(min_workers=2, max_workers=2, cores=1),
    )


def _far(rng: random.Random) -> vinefast.VineFastExecutor:
    return vinefast.VineFastExecutor(
        label=FAR,
        worker_launch_method="manual",
        ssl=rng.choice([True, False]),
        manager_config=TaskVineManagerConfig(port=0, address="127.0.0.1", shared_fs=False),
        factory_config=TaskVineFactoryConfig(cores=CORES),
    )


def main(seed: str, start: str, n: str) -> int:
    """Run the program; gives 1 if something is wrong."""
    program = Program(seed, start, int(n))
    say(f"{READY} {' '.join(str(executor.port) for executor in program.executors.values())}")
    program.run()
    say(ENDING)
    program.dfk.cleanup()
    say(ENDED)
    return int(bool(program.books.wrong or program.books.lost or program.books.doubled))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
