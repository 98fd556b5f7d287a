"""Parsl's suite with a fresh process for each call."""

from parsl import Config

from vinefast import VineFastExecutor

config = Config(executors=[VineFastExecutor(function_exec_mode="regular")], usage_tracking=0)
