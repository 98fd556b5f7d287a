"""Run a program on executors, and tell what became of each step in words that can be compared."""

import os
import re
import shutil
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import cache
from pathlib import Path

import parsl
from parsl.data_provider.files import File
from parsl.dataflow.errors import DependencyError, JoinError

from tests.differential import apps
from tests.differential.differences import RETURNS, VINEFAST, Apart, difference_of, labels_of
from tests.differential.program import Ref, Step, Value
from tests.differential.telling import tell
from tests.differential.values import RESULTS

HERE = Path(__file__).parent
# What takes longer has no end: in regular mode, each call of many at once has to start a process.
PATIENCE_S = 300

_SUBMITTING = threading.Lock()


class Hung(AssertionError):
    """A step has not ended."""


class Elsewhere(Exception):
    """Raised in the place of a step that an executor cannot run."""


def stand_in(home):
    """Fail as often as any step that fails."""
    raise Elsewhere


@cache
def _app(label, kind, name):
    """Give a function as an app of one executor."""
    function = globals().get(name) or getattr(apps, name)
    if kind == "bash":
        return parsl.bash_app(executors=[label])(function)
    if name == "remembered":
        return parsl.python_app(
            executors=[label], cache=True, ignore_for_cache=["ignored", "parsl_resource_specification"]
        )(function)
    return parsl.python_app(executors=[label])(function)


def _submitted(app, *args, **kwargs):
    # Parsl counts tasks without a lock.
    with _SUBMITTING:
        return app(*args, **kwargs)


def _joined(label, step):
    """Make a join_app whose apps run on the executor."""

    def inner(name, *args, **kwargs):
        return _submitted(_app(label, "python", name), *args, **kwargs)

    @parsl.join_app
    def join(home, *args, **kwargs):
        match step.app:
            case "join_nothing":
                return args[0]
            case "join_failing":
                raise apps.Own("joined")
            case "join_list":
                return [inner("echo", home, value) for value in args]
            case "join_again":
                return _submitted(_joined(label, Step("join_list", kind="join")), home, *args)
            case "join_many":
                return [inner("echo", home, number, *args[1:]) for number in range(args[0])]
            case "join_some":
                return [inner("fail_some", home, number, *args[1:]) for number in range(args[0])]
        return inner(step.app, home, *args, **kwargs)

    return join


class Run:
    """One program on one executor, in a directory of its own; with `is_real`, without stand-ins."""

    def __init__(self, program, label, home, is_real=False):
        self.program, self.label, self.home, self.is_real = program, label, str(home), is_real
        self.futures = []
        os.makedirs(self.home)

    def submit(self):
        """Submit all steps."""
        for i, step in enumerate(self.program.steps):
            if step.wait:
                for k in range(i):
                    self._wait(k)
            self.futures.append(self._call(i, step))

    def _call(self, i, step):
        difference = None if self.is_real else difference_of(step)
        if difference and isinstance(difference.ends[self.label], Apart):
            return _submitted(_app(self.label, "python", "stand_in"), self.home)
        args = step.args
        kwargs = {name: self._made(value) for name, value in step.kwargs.items()}
        if step.kind == "join":
            app = _joined(self.label, step)
        elif step.app == "made":
            app = parsl.python_app(executors=[self.label])(apps.MADE[args[0]]([i, {"home"}]))
            args = args[1:]
        else:
            app = _app(self.label, step.kind, step.app)
            kwargs["parsl_resource_specification"] = step.asks if self.label == VINEFAST else {}
        if step.app in ("flaky", "change"):
            kwargs["step"] = i
        for name in ("stdout", "stderr"):
            if kwargs.get(name) == "AUTO":
                kwargs[name] = parsl.AUTO_LOGNAME
            elif kwargs.get(name):
                path, *mode = [kwargs[name]] if isinstance(kwargs[name], str) else kwargs[name]
                path = os.path.join(self.home, path if path.startswith("/") else f"{path}-{i}")
                kwargs[name] = (path, *mode) if mode else path
        if "outputs" in kwargs:
            kwargs["outputs"] = [File(os.path.join(self.home, f"output-{i}-{k}")) for k in range(kwargs["outputs"])]
        return _submitted(app, self.home, *(self._made(arg) for arg in args), **kwargs)

    def _made(self, value):
        """Put futures and values in the place of what says which."""
        if isinstance(value, Ref):
            future = self.futures[value.step]
            return future.outputs[0] if value.file and future.outputs else future
        if isinstance(value, Value):
            return RESULTS[value.name]()
        if isinstance(value, list | tuple):
            return type(value)(map(self._made, value))
        if isinstance(value, dict):
            return {key: self._made(part) for key, part in value.items()}
        return value

    def told(self):
        """Wait for all, and tell how each has ended and which files there are."""
        steps = [self._told(i) for i in range(len(self.futures))]
        return steps, {
            os.path.relpath(os.path.join(directory, name), self.home): self._text(
                Path(directory, name).read_text(errors="backslashreplace")
            )
            for directory, _, names in sorted(os.walk(self.home))
            for name in names
        }

    def _wait(self, i):
        """Give what a step has raised, or None, once it has ended."""
        try:
            # An exception that is false is none to result().
            return self.futures[i].exception(PATIENCE_S)
        except FutureTimeoutError:
            text = f"step {i} has not ended on {self.label} within {PATIENCE_S} s: {self.program.steps[i]}"
            raise Hung(text) from None

    def _told(self, i):
        error, future = self._wait(i), self.futures[i]
        record = future.task_record
        told = {"tries": record["try_id"] + 1, "failures": record["fail_count"], "state": record["status"].name}
        if error is None:
            value = future.result()
            told["value"] = self._own(tell(value, objects=self.program.steps[i].app == "give"))
        else:
            told["class"] = word_for(error)
            told["raised"] = self._own(self._error(error))
        for name in ("stdout", "stderr"):
            path = getattr(future, name)
            path = path[0] if isinstance(path, tuple) else path
            if path:
                told[name] = self._text(Path(path).read_text()) if os.path.exists(path) else "no file"
        return told

    def _error(self, error):
        if isinstance(error, DependencyError):
            # Which steps: how these have failed is told there.
            tids = [int(name.split()[-1]) for _, name in error.dependent_exceptions_tids if name[-1].isdigit()]
            numbers = {future.tid: i for i, future in enumerate(self.futures)}
            return "DependencyError", sorted(numbers.get(tid, "inner") for tid in tids)
        if isinstance(error, JoinError):
            return "JoinError", [self._error(inner) for inner, _ in error.dependent_exceptions_tids]
        try:
            text = str(error)
        except Exception as inner:
            text = f"str() raises {inner!r}"
        cause = type(error.__cause__).__name__
        frames = traceback.extract_tb(error.__traceback__)
        where = [
            (Path(frame.filename).name, frame.name, frame.line)
            for frame in frames
            if "/tests/differential/" in frame.filename
        ]
        return (
            *(type(error).__module__, type(error).__qualname__, text, tell(error), tell(vars(error))),
            *(None if cause == "_RemoteTraceback" else cause, where[-1:]),
        )

    def _own(self, told):
        """Give it without what is each run's own."""
        if isinstance(told, str):
            return self._text(told)
        return type(told)(map(self._own, told)) if isinstance(told, list | tuple) else told

    def _text(self, text):
        text = re.sub(r"\b(task |task_)\d+", r"\1N", text.replace(self.home, "HOME"))
        return re.sub(r" at 0x[0-9a-f]+", "", text)

    def run(self):
        """Submit all, and tell what came of it."""
        self.submit()
        return self.told()


def word_for(error):
    """Give the word of the table for how a step has ended that has raised this, or nothing."""
    return RETURNS if error is None else type(error).__name__


def run_all(programs, directory):
    """Run programs at the same time, on all executors that can; give for each what `Run.told` does, by label."""
    runs = [
        {label: Run(program, label, Path(directory, f"{i}-{label}")) for label in labels_of(program)}
        for i, program in enumerate(programs)
    ]
    try:
        with ThreadPoolExecutor(sum(map(len, runs))) as pool:
            futures = [{label: pool.submit(each.run) for label, each in by_label.items()} for by_label in runs]
            return [{label: future.result() for label, future in by_label.items()} for by_label in futures]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
