"""Parsl's suite with a fresh process for each call.

One test gives a resource that only other executors know.
"""

from parsl import Config

from vinefast import VineFastExecutor

config = Config(executors=[VineFastExecutor(function_exec_mode="regular", strict_resources=False)], usage_tracking=0)
