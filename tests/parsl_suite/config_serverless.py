"""Parsl's suite in warm processes.

One test gives a resource that only other executors know.
"""

from parsl import Config

from vinefast import VineFastExecutor

config = Config(executors=[VineFastExecutor(function_exec_mode="serverless", strict_resources=False)], usage_tracking=0)
