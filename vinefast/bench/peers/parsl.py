"""Executors of Parsl, vinefast among them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from typing import Any, ClassVar

from vinefast.bench.peers.base import Function, Peer


def put_programs_on_path() -> None:
    """Let Parsl and TaskVine's libraries, which look on PATH, find the programs of this environment."""
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])


class _ParslPeer(Peer):
    """An executor that Parsl starts. Calls go to its submit, as Parsl's own do; apps go through Parsl."""

    package: ClassVar[str | None] = "parsl"
    module: ClassVar[str | None] = "parsl"
    through_parsl = True

    def make(self) -> Any:
        raise NotImplementedError

    def start(self) -> None:
        import parsl

        put_programs_on_path()
        self.executor: Any = self.make()
        self._kernel = parsl.load(
            parsl.Config(
                executors=[self.executor],
                run_dir=os.path.join(self.directory, "runinfo"),
                initialize_logging=False,
                usage_tracking=0,
                strategy="none",
            )
        )

    def submit(self, function: Function, *args: Any) -> Any:
        return self.executor.submit(function, {}, *args)

    def submit_all(self, function: Function, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
        submit = self.executor.submit
        return [submit(function, {}, *row) for row in rows]

    def stop(self) -> None:
        import parsl

        self._kernel.cleanup()
        parsl.clear()


class VineFast(_ParslPeer):
    """vinefast with one worker on this machine."""

    name = "vinefast"
    package: ClassVar[str | None] = "vinefast"
    module: ClassVar[str | None] = "vinefast"
    full_size = True

    def make(self) -> Any:
        """Make the executor."""
        from parsl.executors.taskvine import TaskVineManagerConfig

        from vinefast import VineFastExecutor

        return VineFastExecutor(
            label=self.name,
            manager_config=TaskVineManagerConfig(port=0, library_config={"num_slots": self.slots}),
        )

    def map(self, function: Function, items: Iterable[Any]) -> Iterable[Any] | None:
        """Use the executor's map."""
        own = getattr(self.executor, "map", None)
        return None if own is None else own(function, items)


class Threads(_ParslPeer):
    """Parsl's ThreadPoolExecutor: nothing is serialized, and no process is left; the ceiling that Parsl itself sets."""

    name = "threads"
    in_this_process = True

    def make(self) -> Any:
        """Make the executor."""
        from parsl.executors import ThreadPoolExecutor

        return ThreadPoolExecutor(label=self.name, max_threads=self.slots)


class Htex(_ParslPeer):
    """Parsl's HighThroughputExecutor with one block on this machine."""

    name = "htex"

    def make(self) -> Any:
        """Make the executor."""
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        return HighThroughputExecutor(
            label=self.name,
            address="127.0.0.1",
            max_workers_per_node=self.slots,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )


class TaskVine(_ParslPeer):
    """Parsl's own TaskVineExecutor, its calls as function invocations."""

    name = "taskvine"
    package: ClassVar[str | None] = "ndcctools"
    module: ClassVar[str | None] = "ndcctools.taskvine"

    def make(self) -> Any:
        """Make the executor."""
        return stock_executor(1, self.slots)


def stock_executor(n_workers: int, slots: int, **parameters: Any) -> Any:
    """Make Parsl's TaskVineExecutor with workers on this machine."""
    from parsl.executors.taskvine import TaskVineExecutor, TaskVineFactoryConfig, TaskVineManagerConfig
    from parsl.providers import LocalProvider

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # if it chooses one itself, its workers look for it in the public catalog
    return TaskVineExecutor(
        label=TaskVine.name,
        worker_launch_method="provider",  # its factory leaves workers behind
        provider=LocalProvider(init_blocks=n_workers, min_blocks=n_workers, max_blocks=n_workers),
        function_exec_mode="serverless",
        manager_config=TaskVineManagerConfig(
            port=port,
            address="127.0.0.1",
            shared_fs=True,  # without it, it wants an env_pack
            library_config={"num_slots": slots},
            tune_parameters=parameters,
        ),
        factory_config=TaskVineFactoryConfig(worker_options=f"--cores={slots}"),
    )
