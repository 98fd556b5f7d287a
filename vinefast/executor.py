"""The Parsl contract, and nothing else: what an executor must be and do, on top of the parts that work for it."""

from __future__ import annotations

import inspect
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, TypeVar, overload

from parsl.data_provider.staging import Staging
from parsl.dataflow.rundirs import make_rundir
from parsl.executors.errors import BadStateException
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring.radios.base import RadioConfig
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.providers import LocalProvider
from parsl.providers.base import ExecutionProvider
from parsl.utils import RepresentationMixin

from vinefast._core import CallFuture, finishes_futures
from vinefast._log_fields import fields
from vinefast._parts import Parts
from vinefast._teardown import Teardown
from vinefast.calls.apps import options_of
from vinefast.calls.cancel import call_of, cancel
from vinefast.calls.counters import documented
from vinefast.calls.many import CallsAhead, MapOptions, Results, results_of_chunks, results_of_items
from vinefast.calls.overhead import Overhead, overhead
from vinefast.calls.timeout import seconds
from vinefast.calls.walltime import without_walltime
from vinefast.display.progress import Progress
from vinefast.display.state import State, counts_of
from vinefast.errors import EngineStartError, EngineStopped, WaitInCallback, anew
from vinefast.settings import checks, rules
from vinefast.settings.arguments import SSL, known_only
from vinefast.settings.given import chosen
from vinefast.settings.resources import CallSpec, ResourceSpecification, SpecReader, with_limit, without_output

if TYPE_CHECKING:
    from parsl.monitoring.radios.base import MonitoringRadioReceiver
    from prometheus_client import CollectorRegistry
    from typing_extensions import Self, Unpack

    from vinefast.calls.metrics import Metrics, Reading

P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")

logger: logging.Logger = logging.getLogger(__name__)

# Types of an empty specification; anything else that is empty is read, and may be refused.
_NO_SPECIFICATION = (dict, type(None))


class VineFastExecutor(BlockProviderExecutor, RepresentationMixin):
    """Run Parsl calls on TaskVine workers.

    The executor takes the arguments of Parsl's own ``TaskVineExecutor``. Without any, it starts one worker on this
    machine, which has all cores and runs as many calls at a time.

    Parameters
    ----------
    label : str
        Name of the executor, and of its directory in the run directory.
    worker_launch_method : "factory", "provider" or "manual"
        Who starts workers: vinefast itself or ``vine_factory``, as `factory_config` says; a Parsl provider; or you,
        with ``vinefast worker`` or `worker_command`.
    function_exec_mode : "serverless" or "regular"
        Run calls in warm processes, or each in a fresh one. The default differs from ``TaskVineExecutor``'s on purpose.
    manager_config : TaskVineManagerConfig, optional
        How the manager works; the field ``tune_parameters`` may be a `vinefast.Tuning`. Without a configuration, the
        manager takes a free port.
    factory_config : TaskVineFactoryConfig, optional
        What workers are like, and how many there are.
    provider : ExecutionProvider, optional
        For the launch method "provider"; one block on this machine if not given.
    storage_access : list of Staging, optional
        Parsl's staging providers.
    remote_monitoring_radio : RadioConfig, optional
        How calls report to Parsl's monitoring: through files if not given, which needs a file system that workers share
        with this machine; `UDPRadio` needs a network that loses nothing.
    working_dir : str, optional
        Where staging puts files. Where workers see this machine's files, the directory is made at the start.
    strict_resources : bool
        Refuse a resource specification with an unknown key; if False, ignore the key with one warning.
        ``TaskVineExecutor`` ignores it silently.
    priority_order : "highest_first" or "lowest_first"
        Which priority of a resource specification goes first: the highest, as TaskVine has it, or the lowest, as
        ``HighThroughputExecutor`` has it.
    context : callable, optional
        A plain function without arguments, which loads what calls need: a model, say. Functions with a parameter named
        `context` get what it returns, unless the caller gives one or the function has a context of its own
        (`vinefast.python_app`).
    context_scope : "slot" or "worker"
        Load the context in the process of each slot, before the first call there that needs the context; or once per
        worker, when the library starts, for all slots to share by fork. A shared context must survive the fork: it may
        hold no threads and no GPU, and random generators continue alike in all slots.
    enforce_memory : bool
        Whether ``memory`` of a resource specification is a limit: a call whose process takes more, with all that it has
        started, fails alone with `MemoryLimitExceeded`. A specification may say otherwise by ``enforce_memory``.
    cancel_running : bool
        Whether the ``cancel()`` of a future that `submit` has returned does what `cancel` does here, and so ends calls
        that run, too. That of an app's future raises NotImplementedError, as in all of Parsl.
    capture_output : bool
        Whether what a call prints comes back with its result: `stdout` of a future that `submit` has returned has it,
        and `stdout` here takes an app's future, too. A specification may say otherwise by ``capture_output``.
    forward_output : bool
        Whether what calls print is written to this program's standard error while they run, each line behind the name
        of its app, the number of its call and its slot.
    require_password : bool
        Take only workers that know a password: that of ``project_password_file``, or one that is made for this run. If
        False, whoever reaches the manager's port can run code in this program, and whoever reaches that of a worker can
        read the files of its user.
    ssl : bool or (path, path), optional
        Whether what passes between this program and its workers is encrypted, with TLS: if not given, where workers may
        be elsewhere, that is, unless the manager listens on loopback alone. The key and the certificate are made for
        this run, or are those of the two files, in PEM. What workers send to each other is not encrypted.

    Raises
    ------
    InvalidConfiguration
        If a value cannot work; the message names it.
    """

    @known_only
    def __init__(
        self,
        label: str = "VineFastExecutor",
        worker_launch_method: Literal["factory", "provider", "manual"] = "factory",
        function_exec_mode: Literal["serverless", "regular"] = "serverless",
        manager_config: TaskVineManagerConfig | None = None,
        factory_config: TaskVineFactoryConfig | None = None,
        provider: ExecutionProvider | None = None,
        storage_access: list[Staging] | None = None,
        remote_monitoring_radio: RadioConfig | None = None,
        working_dir: str | None = None,
        strict_resources: bool = True,
        priority_order: Literal["highest_first", "lowest_first"] = "highest_first",
        context: Callable[[], Any] | None = None,
        context_scope: Literal["slot", "worker"] = "slot",
        enforce_memory: bool = False,
        cancel_running: bool = False,
        capture_output: bool = False,
        forward_output: bool = False,
        require_password: bool = True,
        ssl: SSL = None,
    ) -> None:
        super().__init__(
            provider=checks.provider_of_blocks(provider, worker_launch_method, label), block_error_handler=True
        )
        self.run_dir = ""  # until somebody sets one
        self.label = label
        self.worker_launch_method = worker_launch_method
        self.function_exec_mode = function_exec_mode
        self.manager_config: TaskVineManagerConfig = (
            TaskVineManagerConfig(port=0) if manager_config is None else manager_config
        )
        self.factory_config: TaskVineFactoryConfig = (
            TaskVineFactoryConfig() if factory_config is None else factory_config
        )
        self.storage_access = storage_access
        self.remote_monitoring_radio: RadioConfig | None = (
            FilesystemRadio() if remote_monitoring_radio is None else remote_monitoring_radio
        )
        self.working_dir = working_dir
        self.strict_resources = strict_resources
        self.priority_order = priority_order
        self.context = context
        self.context_scope = context_scope
        self.enforce_memory = enforce_memory
        self.cancel_running = cancel_running
        self.capture_output = capture_output
        self.forward_output = forward_output
        self.require_password = require_password
        self.ssl = ssl
        checks.check_arguments(self)
        self._specs = SpecReader(
            function_exec_mode,
            strict_resources,
            priority_order == "lowest_first",
            enforce_memory,
            capture_output,
            label,
        )
        self._usual_spec = self._specs.usual
        self._parts = Parts()
        self._lifecycle = threading.RLock()
        self._teardown: Teardown | None = None  # since start or shutdown
        self._starting = False
        self._ends_with_start = False  # somebody has shut it down meanwhile
        self._submit: Callable[..., CallFuture[Any]] = _refuser(
            EngineStopped("the executor has not been started: parsl.load does that, a with block, or start()")
        )

    def start(self) -> None:
        """Start the engine and its workers, or raise with nothing left running.

        Raises
        ------
        EngineStartError, InvalidConfiguration
            The message says what to do.
        parsl.serialize.errors.SerializationError
            If the context cannot be serialized.
        """
        with self._lifecycle:
            if self._teardown is not None:
                raise EngineStartError(f"Executor {self.label} has been started before; make a new one")
            super().start()  # type: ignore[no-untyped-call]
            self._teardown = Teardown()
            weakref.finalize(self, self._teardown.run_at_end)
            self._starting = True
            try:
                if not self.run_dir:
                    self.run_dir = make_rundir("runinfo")
                self._submit = self._parts.start(self, self._teardown, self._die, self._hand)
                self._starting = False
                if self._ends_with_start:
                    raise EngineStopped()
            except BaseException as error:
                self._starting = False
                self.shutdown()
                if isinstance(error, OSError):
                    raise EngineStartError(f"Executor {self.label} cannot be started: {error}") from error
                raise

    def __enter__(self) -> Self:
        """Start the executor, if Parsl has not done so; the end of the block shuts the executor down.

        As with the executors of `concurrent.futures`, the end of the block waits for all calls, those that callbacks
        submit meanwhile included. If the block raises, Ctrl-C included, all calls fail with `EngineStopped` instead.
        """
        if self._teardown is None or self._teardown.begun:
            self.start()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> Literal[False]:
        try:
            if exc_type is None:
                self._wait_for_calls()
        finally:
            self.shutdown()
        return False

    def _wait_for_calls(self) -> None:
        # In a forked process, which may leave the block as well, nobody would finish them.
        while self._parts.engine is not None and self._teardown is not None and self._teardown.is_ours:
            future = self._parts.engine.pending()
            if future is None:
                break
            with suppress(CancelledError):
                future.exception()

    # Positional-only, unlike the base class: an app may have parameters of these names.
    def submit(  # type: ignore[override]
        self,
        func: Callable[P, T],
        resource_specification: ResourceSpecification | None = None,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> CallFuture[T]:
        """Hand a call to the engine.

        Parameters
        ----------
        func : callable
            The function to call on a worker.
        resource_specification : ResourceSpecification or None
            A dict with any of cores, memory (MB), disk (MB), gpus, priority, category, enforce_memory, capture_output,
            running_time_min and running_time_max (seconds). A call that runs for longer than the latter, or than the
            `walltime` of a Python app, is ended, and fails with `CallTimedOut`.
        *args, **kwargs
            Arguments of the call. A type checker compares them with the function's parameters, and so wants one that
            the executor's `context` is for to have a default.

        Returns
        -------
        CallFuture
            A `concurrent.futures.Future`, for which coroutines can wait as well: ``await`` it in any event loop of
            asyncio.

        Raises
        ------
        EngineStopped
            Before start and after shutdown.
        TypeError
            If `func` cannot be called.
        parsl.executors.errors.InvalidResourceSpecification
            If a key is not known or its value cannot work, also because no worker can ever have so much.
        parsl.serialize.errors.SerializationError
            If the function or an argument cannot be serialized.
        vinefast.errors.InputMissing, vinefast.errors.UnreachableFile
            If a file that is to be sent to a worker cannot be read, or lies outside the current directory.
        """
        spec = self._usual_spec
        if resource_specification or type(resource_specification) not in _NO_SPECIFICATION:
            spec = self._read(resource_specification)
        if "walltime" in kwargs:
            func, limit = without_walltime(func)
            spec = spec if limit is None else with_limit(spec, limit)
        if self._parts.moves_files and (plan := self._parts.plan(func, args, kwargs, False)):
            return self._submit(func, args, kwargs, spec, False, plan)
        return self._submit(func, args, kwargs, spec)

    def _read(self, resource_specification: ResourceSpecification | None) -> CallSpec | None:
        spec = self._specs.read(resource_specification)
        if spec is not None and self._parts.watchdog is not None:
            self._parts.watchdog.meet(spec)
        return spec

    def _hand(self, *call: Any) -> CallFuture[Any]:
        """Submit a call of vinefast's own, which brings something back; refused as any once calls are."""
        return self._submit(*call)

    def submit_many(
        self,
        func: Callable[..., T],
        arguments: Iterable[tuple[Any, ...]],
        /,
        resource_specification: ResourceSpecification | None = None,
        max_outstanding: int = 100_000,
    ) -> CallsAhead[T]:
        """Call a function for each of many tuples of arguments, beside Parsl's data flow kernel.

        Up to `max_outstanding` calls are submitted at once, more as the futures are taken, so that `arguments` may be a
        generator of any length, and memory does not grow with the number of calls.

        Parameters
        ----------
        func : callable
        arguments : iterable of tuples
            Positional arguments of each call.
        resource_specification : ResourceSpecification, optional
            As for `submit`, for all calls.
        max_outstanding : int
            Calls that are submitted and not done, at the most.

        Returns
        -------
        iterator of CallFuture
            In the order of `arguments`; ``async for`` takes them, too, and lets other tasks run while it waits.

        Raises
        ------
        InvalidConfiguration
            If `max_outstanding` is not positive.
        Exception
            As `submit`, and whatever iterating over `arguments` raises.
        """
        rules.require("max_outstanding", max_outstanding, rules.POSITIVE)
        submit = self._submit_of(func, self._read(resource_specification))
        return CallsAhead(submit, iter(arguments), max_outstanding)

    def _submit_of(
        self, func: Callable[..., Any], spec: CallSpec | None, chunk: bool = False
    ) -> Callable[[tuple[Any, ...]], CallFuture[Any]]:
        """Make what submits one of many calls, or chunks, of a function."""

        def submit(args: tuple[Any, ...]) -> CallFuture[Any]:
            if not isinstance(args, tuple):
                raise TypeError(
                    f"An item of arguments is {args!r}; accepted: a tuple of the arguments of one call, such as (1,)"
                )
            if self._parts.moves_files and (plan := self._parts.plan(func, args, {}, chunk)):
                return self._submit(func, args, {}, spec, chunk, plan)
            return self._submit(func, args, {}, spec, chunk)

        return submit

    # As typeshed has the builtin `map`, for fewer iterables.
    @overload
    def map(
        self,
        func: Callable[[A], T],
        iterable: Iterable[A],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[T]: ...

    @overload
    def map(
        self,
        func: Callable[[A, B], T],
        iterable: Iterable[A],
        iterable_2: Iterable[B],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[T]: ...

    @overload
    def map(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        iterable_2: Iterable[Any],
        iterable_3: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[T]: ...

    def map(
        self,
        func: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        resource_specification: ResourceSpecification | None = None,
    ) -> Results[T]:
        """Call ``func`` for each item, and yield the results in order, as `concurrent.futures.Executor.map` does.

        The calls go past Parsl's data flow kernel. Items travel and run in chunks. Only so many chunks are ahead of the
        results that are taken that all slots stay busy, so that the iterables may be generators of any length, and
        memory does not grow with the number of items.

        Parameters
        ----------
        func : callable
            A function of as many arguments as there are iterables.
        *iterables : iterables
            Arguments of the items; the shortest iterable ends them all.
        timeout : float, optional
            Seconds from this call until the last result is taken.
        chunksize : int, optional
            Items of a chunk; if not given, as many as run for some milliseconds. Results that are kept make no chunks.
        resource_specification : ResourceSpecification, optional
            As for `submit`, for all chunks; `running_time_max` is of each item. `capture_output` has no effect, since
            there are no futures: see `submit_many`.

        Returns
        -------
        iterator
            The results; of a function that is marked with ``keep=True``, each is a `Kept`. The iterator raises what an
            item raised in the place of that item's result, and ends there; an item that is over its time, or whose
            process dies, takes the results of its chunk with it. Closing the iterator cancels what has not been sent.
            ``async for`` takes the results, too, and lets other tasks run while it waits; it reads the iterables on the
            thread of the event loop, and if its task is cancelled, so is what has not been sent.

        Raises
        ------
        InvalidConfiguration
            If `timeout` is no number, `chunksize` is not positive, or there is no iterable.
        Exception
            As `submit`, and whatever iterating over the iterables raises.
        """
        rules.require("timeout", timeout, rules.optional(rules.SECONDS))
        rules.require("chunksize", chunksize, rules.optional(rules.POSITIVE))
        rules.require("the number of iterables", len(iterables), rules.POSITIVE)
        spec = without_output(self._read(resource_specification))
        if options_of(func).keep:
            return results_of_items(self._submit_of(func, spec), iterables, timeout)
        submit = self._submit_of(func, spec, chunk=True)
        return results_of_chunks(submit, iterables, chunksize, self.stats().get("slots", 1), timeout)

    def cancel(self, future: Future[Any]) -> bool:
        """Cancel a call, also one that runs: its future is cancelled at once, and its worker ends it within a second.

        A call that runs gets a KeyboardInterrupt, and so, as SIGINT, does what it has started. If the call has not
        ended after the tune parameter ``stop-grace``, its process is killed. No other call is touched: the rest of its
        bundle goes on. What the call was to return, or to write as an output, is dropped. Parsl does not try the app
        again.

        Parameters
        ----------
        future : concurrent.futures.Future
            What `submit` or a Parsl app has returned.

        Returns
        -------
        bool
            False if the call is done, unless it was cancelled; or, of an app, if it waits for what it depends on, or
            for Parsl, which hands apps on in a thread of its own, or runs in another executor.

        Raises
        ------
        TypeError
            If it is the future of something else.
        """
        return cancel(future)

    def cancel_all(self, app: Callable[..., Any] | str | None = None, category: str | None = None) -> int:
        """Cancel all calls that are not done, as `cancel` does; or those of an app, or of a category.

        Parameters
        ----------
        app : callable or str, optional
            The app, its function, or its name.
        category : str, optional
            What the resource specification gave; a call without one has `manager_config.autocategory`'s, the name of
            its function.

        Returns
        -------
        int
            How many were cancelled.
        """
        name = app if app is None or isinstance(app, str) else getattr(app, "__name__", None)
        rules.require("app", name if name is not None else app, rules.optional(rules.APP))
        rules.require("category", category, rules.optional(rules.instance_of(str)))
        futures = [] if self._parts.engine is None else self._parts.engine.futures(name, category)
        return sum(cancel(future) for future in futures)

    def stdout(self, future: Future[Any]) -> str | None:
        """Give what a call has printed, as `stdout` of the future that `submit` returns does; also by an app's future.

        Parameters
        ----------
        future : concurrent.futures.Future
            What `submit` or a Parsl app has returned.

        Returns
        -------
        str or None
            Standard output and standard error, as they were written, at most the last 64 kB. Of an app that Parsl has
            tried more than once, those of the last try. None while the call is not done, if nobody has asked by
            `capture_output` of the executor or of a specification, and if an app has had no call.

        Raises
        ------
        TypeError
            If it is the future of something else.
        """
        call = call_of(future)
        return None if call is None else call.stdout

    def stack(self, future: Future[Any], timeout: float = 10.0) -> str | None:
        """Ask where a call is that runs: its worker has the call's process write its Python stack, which goes on.

        Parameters
        ----------
        future : concurrent.futures.Future
            What `submit` or a Parsl app has returned.
        timeout : float
            Seconds to wait for the answer.

        Returns
        -------
        str or None
            A line for each frame, the newest last, without those of vinefast. Empty if there is no such frame, or the
            process has not answered: C code may block signals. None if the call does not run: it waits, or is done;
            and in regular mode.

        Raises
        ------
        TypeError
            If it is the future of something else.
        InvalidConfiguration
            If `timeout` is no number.
        TimeoutError
            If the worker has not answered in time.
        WaitInCallback
            In a callback of a call, on whose thread the answer would come.
        """
        rules.require("timeout", timeout, rules.SECONDS)
        call = call_of(future)
        if call is None or self._parts.engine is None:
            return None
        if finishes_futures():
            raise WaitInCallback()
        try:
            return self._parts.engine.stack(call).result(seconds(timeout))
        except FutureTimeout:
            raise TimeoutError(
                f"the worker of the call has not answered within {timeout} s: it may be starting, busy or lost; "
                "ask again, or give stack() a longer timeout"
            ) from None

    def shutdown(self) -> None:
        """End workers and engine within seconds; calls that have not finished fail with `EngineStopped`. Idempotent.

        A shutdown that Ctrl-C interrupts goes on by itself; whoever calls this method once more waits for its end. In a
        callback of a call this method does not wait, and in a process that the program has forked it does nothing. In
        a signal handler that has interrupted `start`, it has `start` raise `EngineStopped` once that has undone all.

        Raises
        ------
        vinefast.errors.AuditFailed
            With ``VINEFAST_AUDIT=1`` in the environment, if the executor has broken a rule of its own; all is shut down
            then. Where nobody waits for the end, that is logged alone.
        """
        # Before the lock is touched, which another thread may have held at the fork.
        if self._teardown is not None and not self._teardown.is_ours:
            return
        with self._lifecycle:
            self._submit = _refuser(EngineStopped())
            if self._teardown is None:
                self._teardown = Teardown()
            if self._starting:
                # In a signal handler, say, on the thread that starts: it undoes the rest when it has come to an end.
                self._ends_with_start = True
                return
        try:
            self._teardown.run_apart(wait=not finishes_futures())
        finally:
            super().shutdown()
            self.monitoring_receiver: MonitoringRadioReceiver | None = None

    @property
    def port(self) -> int:
        """Port of the manager; 0 before start."""
        return self._parts.engine.port if self._parts.engine is not None else 0

    @property
    def worker_command(self) -> str:
        """Shell command that starts one worker; empty before start."""
        return self._parts.launcher.worker_command if self._parts.launcher is not None else ""

    def outstanding(self) -> int:
        """Count the calls that have not finished, one that asks for several cores as several.

        Parsl compares this with `workers_per_node` to find how many blocks are needed.
        """
        return self._parts.engine.outstanding() if self._parts.engine is not None else 0

    def stats(self) -> dict[str, int]:
        """Count what has happened since the start.

        Returns
        -------
        dict
            Counts of calls, bundles, files and workers, bytes, and times in nanoseconds. Empty before start.
        """
        return self._parts.engine.stats() if self._parts.engine is not None else {}

    stats.__doc__ = f"{inspect.cleandoc(stats.__doc__ or '')}\n{documented()}"

    def overhead(self, since: Mapping[str, int] | None = None) -> Overhead:
        """Tell where calls spent their time, stage by stage; printed, it is a table.

        Parameters
        ----------
        since : mapping, optional
            What `stats` returned at an earlier moment; if not given, all calls count.
        """
        rules.require("since", since, rules.optional(rules.instance_of(Mapping)))
        return overhead(self.stats(), since)

    def metrics(self, registry: CollectorRegistry | None = None) -> Metrics:
        """Have a registry of ``prometheus_client`` tell of this executor, before its start or at any time after.

        ``executor.metrics()``, then ``prometheus_client.start_http_server(8000)``: what is served is read from the
        executor at that moment, and nothing is done for it otherwise. More than once is fine.

        Parameters
        ----------
        registry : prometheus_client.CollectorRegistry, optional
            Its ``REGISTRY`` if not given. One registry may tell of several executors with labels of their own.

        Returns
        -------
        vinefast.calls.metrics.Metrics
            The collector that is registered, which all executors of the registry share. It does not keep them alive.

        Raises
        ------
        ImportError
            If prometheus-client is not installed.
        ValueError
            If the registry tells of another executor with this label, which is running.
        """
        try:
            from vinefast.calls.metrics import metrics_in
        except ImportError as error:
            way_out = f"executor.metrics() needs prometheus-client ({error}): pip install 'vinefast[metrics]'"
            raise ImportError(way_out) from None
        metrics = metrics_in(registry)
        metrics.add(self.label, self, _reading)
        return metrics

    def progress(self) -> Progress:
        """Make a bar that shows how far this executor's calls are: those that are not done now, and those to come.

        ``with executor.progress():`` shows it until the block is left; ``executor.progress().start()`` does not wait,
        and shows it until all calls are done, or until `stop` of what that returns. It has how many are done, have
        failed, were cancelled, wait and run, workers and slots, calls per second lately, and how long the rest will
        take at that rate.

        Returns
        -------
        Progress
            Shown on standard error if that is a terminal, or in a notebook; elsewhere nothing is written.
        """
        before = counts_of(self.stats())
        return Progress(self.label, lambda: counts_of(self.stats(), before))

    def _state(self) -> State:
        counts = counts_of(self.stats())
        if self._teardown is None or self._starting:
            return State(self.label, "not started", counts)
        if self._teardown.begun:
            return State(self.label, "ended", counts)
        if self.bad_state_is_set:
            return State(self.label, "failed", counts, self._parts.address, self.port, str(self.executor_exception))
        return State(self.label, "running", counts, self._parts.address, self.port)

    def __repr__(self) -> str:
        words = self._state().line()
        if self._teardown is None:
            # Parsl logs this before the start: its log is to have what was chosen, as of any executor.
            words = "; ".join(filter(None, (words, chosen(self))))
        return f"<{type(self).__name__} {self.label!r}: {words}>"

    def _repr_html_(self) -> str:
        return self._state().html()

    @property
    def workers_per_node(self) -> int:
        """How many calls one worker runs at a time, as far as that is known before the worker is there."""
        configured = (self.manager_config.library_config or {}).get("num_slots") or self.factory_config.cores
        if configured:
            return configured
        if self.provider is not None and not isinstance(self.provider, LocalProvider):
            return self.provider.cores_per_node or 1
        return os.cpu_count() or 1

    def _get_launch_command(self, block_id: str) -> str:
        return f"env PARSL_WORKER_BLOCK_ID={block_id} {self.worker_command}"

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """Fail all calls, those here and those to come, because of `exception`."""
        self._die(exception)
        if self._parts.engine is not None:
            self._parts.engine.fail_outstanding(BadStateException(self, exception))

    def _die(self, exception: Exception) -> None:
        logger.error("Executor %s cannot go on: %s", self.label, exception, extra=fields(self.label))
        self._executor_exception = exception
        self._executor_bad_state.set()
        self._submit = _refuser(exception)


def _reading(executor: VineFastExecutor) -> Reading:
    from vinefast.calls.metrics import Reading

    engine = executor._parts.engine
    is_running = executor._state().state == "running"
    # Read first, so that the sums are no smaller than what has been put into the histograms.
    histograms = {} if engine is None else engine.histograms()
    return Reading(executor.stats(), histograms, is_running)


def _refuser(exception: Exception) -> Callable[..., CallFuture[Any]]:
    """Make a stand-in for submit that only raises."""

    def refuse(*args: object) -> NoReturn:
        raise anew(exception)

    return refuse
