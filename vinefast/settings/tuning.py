"""What can be tuned: every parameter of TaskVine's ``vine_tune``, and vinefast's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vinefast.errors import InvalidConfiguration
from vinefast.settings.parameter import OLDEST, Bytes, Choice, Count, Flag, Number, ParameterSet, Proportion


@dataclass(kw_only=True, eq=False, repr=False)
class Tuning(ParameterSet):
    """Values for ``TaskVineManagerConfig(tune_parameters=...)``.

    Parameters are set by keyword, as attributes, or as items with TaskVine's hyphens, and checked at once. Attributes
    that have not been set are at their default; the mapping has only the parameters that have been set. A plain dict
    serves as well. ``vinefast tune`` lists all parameters, and `Tuning.parameters` has them by name.

    Raises
    ------
    InvalidConfiguration
        If there is no such parameter, if TaskVine would silently take another value, or if the TaskVine that vinefast
        is built with does not have the parameter yet.

    Examples
    --------
    >>> tuning = Tuning(bandwidth_limit="100MB", wait_for_workers=2)
    >>> tuning.keepalive_interval = 60
    >>> dict(tuning)
    {'bandwidth-limit': 104857600, 'wait-for-workers': 2, 'keepalive-interval': 60}
    """

    attempt_schedule_depth: Count = Count(
        "Waiting tasks that are tried for a worker in one round.", 100, "tasks", least=1
    )
    bandwidth_limit: Bytes = Bytes(
        "Limit for files that the manager sends to a worker, and for results of calls; not for arguments. 0: none.",
        0,
        "bytes/s",
        most=2**62,
        tuned=False,
    )
    bundle_ms: Number = Number(
        "Run time to aim at for a bundle: short ones answer sooner, long ones cost less per call. 0: each call alone, "
        "as always in regular mode.",
        30.0,
        "ms",
        tuned=False,
    )
    bundle_nbytes: Bytes = Bytes(
        "Arguments that a bundle may have; a single call may have more.", 1 << 20, "bytes", least=1, tuned=False
    )
    category_steady_n_tasks: Count = Count(
        "Tasks of a category that are done before its resources are learned from them; wins over autolabel_window.",
        25,
        "tasks",
    )
    clean_redundant_replicas: Flag = Flag(
        "Remove copies of temporary files beyond temp-replica-count.", False, since="7.17.0"
    )
    context_timeout: Count = Count(
        "A context that has not been loaded by then fails its calls with ContextError, which names it and where it is. "
        "0: never.",
        3600,
        "s",
        tuned=False,
    )
    default_transfer_rate: Bytes = Bytes(
        "Rate that is assumed for transfers until one has been measured.", 1 << 20, "bytes/s", least=1
    )
    disconnect_slow_worker_factor: Number = Number(
        "Take a bundle back that takes this many times the average of its category; let go of a worker to which that "
        "happens twice in a row, and shun its host. Calls of a category should take similar times.",
        0.0,
        least=1,
        also={0: "never"},
    )
    disk_proportion_available_to_task: Proportion = Proportion(
        "Share of a worker's disk that its tasks may have; the rest is for the cache.", 0.75, since="7.14.5"
    )
    enforce_worker_eviction_interval: Count = Count(
        "Let go of a random worker this often, to try how a program stands it. 0: never.", 0, "s", since="7.15.5"
    )
    events_nbytes: Bytes = Bytes(
        "Bytes that the event log may have, with the older half beside it: what happened to calls, bundles and "
        "workers, for vinefast status and why. 0: there is none.",
        256 << 20,
        "bytes",
        most=2**62,
        tuned=False,
    )
    file_source_max_transfers: Count = Count("Transfers at a time from one URL.", 1, "transfers", least=1)
    hungry_minimum: Count = Count("With fewer waiting tasks, the manager counts as hungry.", 10, "tasks", least=1)
    hungry_minimum_factor: Count = Count(
        "With fewer waiting tasks than this for each worker, the manager counts as hungry.", 2, "tasks", least=1
    )
    immediate_recovery: Flag = Flag("Make lost temporary files again at once, and not when a task needs them.", False)
    inline_nbytes: Bytes = Bytes(
        "Larger bundles travel as a file, and not in TaskVine's message about the task.", 1 << 16, "bytes", tuned=False
    )
    keepalive_interval: Count = Count(
        "Ask a worker that has been silent for so long for a sign of life. 0: never.", 120, "s"
    )
    keepalive_timeout: Count = Count("Let go of a worker that has been silent for so long after that.", 900, "s")
    kept_contexts: Count = Count(
        "Contexts that a slot keeps loaded, besides the executor's own once per worker; the least recently used one "
        "leaves, and is loaded again when a call needs it. In serverless mode only.",
        16,
        "contexts",
        least=1,
        tuned=False,
    )
    kept_functions_nbytes: Bytes = Bytes(
        "Serialized functions that a worker's library keeps in its files, and each slot loaded; the least recently "
        "used leave, and travel again when a call needs them. In serverless mode only.",
        64 << 20,
        "bytes",
        tuned=False,
    )
    large_task_check_interval: Count = Count(
        "How often to look for tasks that fit no worker.", 180_000_000, "microseconds", least=1, most=2**53
    )
    larger_worker_timeout: Number = Number(
        "A call that asks for more than any connected worker has fails after so long. At once, whatever this says, if "
        "vinefast itself has started a fixed number of workers. 0: never.",
        600.0,
        "s",
        tuned=False,
    )
    load_from_shared_filesystem: Flag = Flag(
        "Let workers read files from the file system that they share with the manager.", False
    )
    locality: Flag = Flag(
        "Send calls that read files to where these lie; without it, to the worker that is free first. With "
        "scheduler vinefast only.",
        True,
        tuned=False,
    )
    locality_bandwidth: Bytes = Bytes(
        "What a byte that has to move costs: a call goes to a worker without its files only when waiting for one that "
        "has them would take longer than to move them at this rate. 0: the rate of the last transfers between workers, "
        "16 MB/s before the first.",
        0,
        "bytes/s",
        tuned=False,
    )
    locality_queue_weight: Number = Number(
        "What a second of waiting for a slot costs, against a second of moving files. 0: only bytes count.",
        1.0,
        "s/s",
        tuned=False,
    )
    log_nbytes: Bytes = Bytes(
        "Bytes that each of TaskVine's logs may have. A longer one is renamed to the same with .old behind it, in the "
        "place of the one before; each begins with what TaskVine's tools have to know. 0: no limit.",
        256 << 20,
        "bytes",
        most=2**62,
        tuned=False,
    )
    long_timeout: Count = Count("Wait so long for the rest of a message.", 3600, "s", least=1)
    max_library_retries: Count = Count(
        "Failures of libraries in a row, with no bundle that came back in between, after which the calls that wait "
        "fail. TaskVine takes 1 for all larger numbers; its default cannot be set.",
        15,
        "failures",
        most=1,
        since="7.14.5",
    )
    max_losses: Count = Count(
        "A call fails when more workers than this were lost while they had it.", 3, "workers", most=254, tuned=False
    )
    max_new_workers: Count = Count("Workers to connect in one round.", 10, "workers")
    max_retrievals: Count = Count(
        "Finished tasks to fetch in one round, if worker-retrievals is off.", 1, "tasks", also={-1: "all"}
    )
    max_task_stdout_storage: Bytes = Bytes(
        "Output of a task that is kept. Results are output: a call with a larger one fails with ResultTooLarge.",
        1 << 30,
        "bytes",
        least=1 << 16,
    )
    max_workers: Count = Count(
        "Let go of workers beyond this number.",
        -1,
        "workers",
        least=1,
        also={0: "no limit", -1: "no limit"},
        since="7.15.5",
    )
    min_transfer_timeout: Count = Count("Give each transfer at least so long.", 60, "s")
    monitor_interval: Count = Count(
        "How often TaskVine's resource monitor measures a task. 0: its own default.", 0, "s"
    )
    option_blocklist_slow_workers_timeout: Number = Number(
        "Shun the host of a worker that was let go by disconnect-slow-worker-factor for so long.", 900.0, "s"
    )
    output_nbytes: Bytes = Bytes(
        "Output of calls that is kept for each slot, in the executor's part of the run directory; in regular mode, for "
        "each host. The oldest goes first. 0: none.",
        8 << 20,
        "bytes",
        tuned=False,
    )
    output_total_nbytes: Bytes = Bytes(
        "Output of calls that is kept of all slots of workers that have ended; the oldest files go first.",
        1 << 30,
        "bytes",
        tuned=False,
    )
    peer_stall_timeout: Count = Count(
        "End a transfer between workers of which nothing has come for so long, as when the source was cut off from the "
        "network; the file is then fetched from elsewhere, or made again. In serverless mode only. 0: never.",
        30,
        "s",
        tuned=False,
    )
    peer_transfers: Flag = Flag(
        "Let workers fetch files from each other; wins over TaskVineManagerConfig's enable_peer_transfers.",
        True,
        tuned=False,
    )
    perf_log_interval: Count = Count("How often to write to the performance log.", 5, "s", least=1)
    prefer_dispatch: Flag = Flag("Send waiting tasks before finished ones are given back.", False)
    proportional_resources: Flag = Flag(
        "Give a task as large a share of all resources of a worker as of those that it asks for. From TaskVine 7.15, "
        "setting this sets proportional-whole-tasks too.",
        True,
        aliases=("force-proportional-resources",),
    )
    proportional_whole_tasks: Flag = Flag(
        "Round that share up, so that a whole number of such tasks fills the worker.",
        False,
        aliases=("force-proportional-resources-whole-tasks",),
    )
    ramp_down_heuristic: Flag = Flag(
        "With fewer waiting tasks than workers, give a task all that is free on its worker, if resources are enforced.",
        False,
    )
    resource_management_interval: Count = Count("How often to measure the manager's own resources.", 30, "s", least=1)
    resource_submit_multiplier: Number = Number(
        "Treat each worker as if it had this many times its cores, memory and GPUs.",
        1.0,
        least=1,
        aliases=("asynchrony-multiplier",),
    )
    sandbox_grow_factor: Number = Number(
        "Grow the disk of a task that has run out of it by this.", 2.0, least=1.1, since="7.14.5"
    )
    scheduler: Choice = Choice(
        "Who chooses the worker: vinefast the one that is free first, or TaskVine the one with most of the files, the "
        "one that was fastest, a random one, the one that fits worst, or the one with most free disk. With TaskVine, a "
        "call in serverless mode takes one slot, whatever it asks for.",
        "vinefast",
        choices={
            "vinefast": OLDEST,
            "files": OLDEST,
            "time": OLDEST,
            "random": OLDEST,
            "worst": OLDEST,
            "disk": "7.15.5",
        },
        tuned=False,
    )
    shift_disk_load: Flag = Flag("Move temporary files from full disks to emptier ones.", False, since="7.17.0")
    short_timeout: Count = Count("Wait so long for a brief message.", 5, "s", least=1)
    slice_ms: Count = Count(
        "Time slice of a bundle: what has not begun by then is queued again. 0: none.", 50, "ms", tuned=False
    )
    slot_max_calls: Count = Count(
        "A slot's process that has run so many calls is replaced after the bundle that it is at, which may have many. "
        "0: never. In serverless mode only.",
        0,
        "calls",
        tuned=False,
    )
    slot_max_growth: Bytes = Bytes(
        "A slot's process that has grown by more than this since its first bundle is replaced between two bundles; "
        "what is loaded with functions and contexts is not counted. 0: never. In serverless mode only.",
        0,
        "bytes",
        tuned=False,
    )
    stop_grace: Number = Number(
        "A call that is cancelled while it runs, or whose time is over, gets a KeyboardInterrupt; if it has not "
        "ended by then, its process is killed.",
        0.5,
        "s",
        tuned=False,
    )
    task_groups: Flag = Flag("Send tasks that depend on each other by temporary files together.", False, since="7.15.0")
    temp_replica_count: Count = Count("Copies of each temporary file on different workers.", 1, "copies", least=1)
    transfer_outlier_factor: Count = Count("Give up transfers that take this many times the average.", 10, least=1)
    transfer_replica_per_cycle: Count = Count(
        "Copies of a temporary file to ask for in one round.", 10, "copies", least=1
    )
    transfer_temps_recovery: Flag = Flag("Copy temporary files again when a worker that had a copy is lost.", False)
    transient_error_interval: Number = Number(
        "After a library or a file has failed on a worker, try nothing there for so long; 15 in TaskVine itself.",
        1.0,
        "s",
        least=1,
        stock=15.0,
    )
    update_interval: Count = Count("How often to report to the catalog server.", 60, "s", least=1)
    wait_for_workers: Count = Count(
        "Send nothing before so many workers have come; wins over TaskVineManagerConfig's wait_for_workers.",
        0,
        "workers",
    )
    watch_library_logfiles: Flag = Flag("Bring the logs of libraries back while they run.", False)
    worker_retrievals: Flag = Flag("Fetch all finished tasks of a worker at once.", True)
    worker_source_max_transfers: Count = Count("Transfers at a time from one worker.", 10, "transfers", least=1)

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Tuning:
        """Read what users give as ``tune_parameters``: a dict with hyphens or underscores, a `Tuning`, or None.

        Raises
        ------
        InvalidConfiguration
            As for `Tuning`.
        """
        if values is not None and not isinstance(values, Mapping):
            raise InvalidConfiguration(
                f"tune_parameters is {values!r}; accepted: a dict of values by name, a vinefast.Tuning, or None"
            )
        tuning = cls()
        tuning.update(values or {})
        if len(tuning) < len(values or {}):
            raise InvalidConfiguration(f"tune_parameters is {values!r}, which names a parameter twice; leave one out")
        return tuning

    def for_vine_tune(self) -> dict[str, float]:
        """Return the numbers that TaskVine is to be told: those that are set, and where vinefast's defaults differ."""
        return {
            name: float(self.get(name, parameter.default))
            for name, parameter in self.parameters.items()
            if parameter.tuned and (name in self or parameter.stock is not None)
        }
