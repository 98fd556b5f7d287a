"""Executors that have nothing to do with Parsl, and the floor under all of them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, ClassVar

from vinefast.bench.peers.base import Function, Peer


class Floor(Peer):
    """What every executor must do for a call, and nothing else, in one process: no executor on one core passes it."""

    name = "floor"
    uses_slots = False
    in_this_process = True
    full_size = True

    def start(self) -> None:
        """Do nothing."""

    def submit(self, function: Function, *args: Any) -> Future[Any]:
        """Make a future, pickle and unpickle the arguments, call, pickle and unpickle the result."""
        future: Future[Any] = Future()
        arguments, keywords = pickle.loads(pickle.dumps((args, {}), 5))
        future.set_result(pickle.loads(pickle.dumps(function(*arguments, **keywords), 5)))
        return future

    def submit_all(self, function: Function, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Do the same for each row."""
        return [self.submit(function, *row) for row in rows]

    def stop(self) -> None:
        """Do nothing."""


class ProcessPool(Peer):
    """Python's ProcessPoolExecutor."""

    name = "processpool"

    def start(self) -> None:
        """Make the pool; its processes come with the first calls."""
        self.executor: Any = ProcessPoolExecutor(self.slots)

    def map(self, function: Function, items: Iterable[Any]) -> Iterable[Any] | None:
        """Use the pool's map in chunks of 100."""
        results: Iterable[Any] = self.executor.map(function, items, chunksize=100)
        return results

    def stop(self) -> None:
        """End the pool without waiting for calls that have not begun."""
        self.executor.shutdown(cancel_futures=True)


class Dask(Peer):
    """Dask distributed: a local cluster with one process per slot."""

    name = "dask"
    package: ClassVar[str | None] = "distributed"
    module: ClassVar[str | None] = "distributed"

    def start(self) -> None:
        """Start cluster and client."""
        import distributed

        self._cluster = distributed.LocalCluster(
            n_workers=self.slots,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=self.directory,
        )
        self.executor: Any = distributed.Client(self._cluster)

    def submit(self, function: Function, *args: Any) -> Any:
        """Submit one call, not to be answered from an earlier one's result."""
        return self.executor.submit(function, *args, pure=False)

    def submit_all(self, function: Function, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Submit a call for each row."""
        submit = self.executor.submit
        return [submit(function, *row, pure=False) for row in rows]

    def wait(self, futures: Sequence[Any]) -> list[Any]:
        """Gather the results, which is much faster than one by one."""
        results: list[Any] = self.executor.gather(list(futures))
        return results

    def stop(self) -> None:
        """End client and cluster."""
        self.executor.close()
        self._cluster.close()


class Ray(Peer):
    """Ray on this machine."""

    name = "ray"
    package: ClassVar[str | None] = "ray"
    module: ClassVar[str | None] = "ray"

    def start(self) -> None:
        """Start Ray's processes."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        ray.init(
            num_cpus=self.slots,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=2 * 10**9,
            _temp_dir=os.path.join(self.directory, "ray"),
        )
        self.executor: Any = ray
        self._remotes: dict[Function, Function] = {}

    def submit(self, function: Function, *args: Any) -> Any:
        """Submit one call."""
        return self._remote(function)(*args)

    def submit_all(self, function: Function, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Submit a call for each row."""
        submit = self._remote(function)
        return [submit(*row) for row in rows]

    def wait(self, futures: Sequence[Any]) -> list[Any]:
        """Get the results."""
        results: list[Any] = self.executor.get(list(futures))
        return results

    def _remote(self, function: Function) -> Function:
        if function not in self._remotes:
            # Ray takes no built-in functions.
            self._remotes[function] = self.executor.remote(lambda *args: function(*args)).remote
        return self._remotes[function]
