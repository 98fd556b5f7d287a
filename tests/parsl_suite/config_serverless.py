"""Parsl's suite in warm processes."""

from parsl import Config

from vinefast import VineFastExecutor

config = Config(executors=[VineFastExecutor(function_exec_mode="serverless")], usage_tracking=0)
