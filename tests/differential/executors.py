"""One configuration with all executors, whose workers can import what calls need."""

import os
import sys
from pathlib import Path

import parsl
from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from tests.differential.differences import HTEX, THREADS, VINEFAST
from vinefast import VineFastExecutor

RETRIES = 2
ROOT = Path(__file__).parents[2]


def htex(label=HTEX, n_workers=2):
    """Give Parsl's executor, with workers on this machine."""
    return HighThroughputExecutor(
        label=label,
        address="127.0.0.1",
        max_workers_per_node=n_workers,
        cores_per_worker=0.1,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )


def all_three(mode):
    """Give the executors that are compared; `mode`: vinefast's ``function_exec_mode``."""
    return [
        VineFastExecutor(label=VINEFAST, function_exec_mode=mode),
        ThreadPoolExecutor(label=THREADS, max_threads=4),
        htex(),
    ]


class Executors:
    """Are loaded while this is a context; `make` gives them."""

    def __init__(self, directory, make):
        self.directory, self.make = directory, make
        self.dfk = None

    def __enter__(self):
        # Where modules of calls are found, and programs of Parsl's.
        more = {"PYTHONPATH": str(ROOT), "PATH": os.path.dirname(sys.executable)}
        self.before = {name: os.environ.get(name) for name in more}
        for name, path in more.items():
            os.environ[name] = os.pathsep.join(filter(None, [path, self.before[name]]))
        self.load()
        return self

    def __exit__(self, *exception):
        self.unload()
        for name, path in self.before.items():
            if path is None:
                del os.environ[name]
            else:
                os.environ[name] = path

    def load(self):
        """Start them, until all of them run calls."""
        config = parsl.Config(
            executors=self.make(),
            run_dir=str(self.directory),
            retries=RETRIES,
            strategy="none",
            garbage_collect=False,
            usage_tracking=0,
            dependency_resolver=DEEP_DEPENDENCY_RESOLVER,
        )
        self.dfk = parsl.load(config)
        for label in self.dfk.executors:
            if not label.startswith("_"):
                parsl.python_app(executors=[label])(abs)(-1).result()

    def unload(self):
        """End them."""
        self.dfk.cleanup()
        parsl.clear()
