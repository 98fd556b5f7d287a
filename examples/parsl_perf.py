"""A configuration for parsl-perf, Parsl's own measuring tool: ``parsl-perf --config examples/parsl_perf.py --time 10``.

One worker on this machine, as many slots as cores. It measures what Parsl and vinefast reach together; on two cores
Parsl's data flow kernel is what limits it (docs/performance.md).
"""

from parsl import Config

from vinefast import VineFastExecutor


def fresh_config():
    return Config(executors=[VineFastExecutor(label="vinefast")], usage_tracking=0)
