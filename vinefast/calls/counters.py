"""What each number of `VineFastExecutor.stats` is, and its unit: the one place that says so."""

from __future__ import annotations

import textwrap
from typing import NamedTuple


class Counter(NamedTuple):
    """One number.

    Attributes
    ----------
    name : str
        Its key.
    unit : str
        Of what it is a number.
    meaning : str
        What it counts.
    """

    name: str
    unit: str
    meaning: str


COUNTERS: dict[str, tuple[Counter, ...]] = {
    "Calls, since the start": (
        Counter("calls_submitted", "calls", "`submit` has taken; a chunk of `map` is one."),
        Counter("calls_taken", "calls", "the manager thread has taken up."),
        Counter("calls_sent", "calls", "have left for a worker; those that are sent again count again."),
        Counter("calls_returned", "calls", "have come back: with a result, an exception or the reason for neither."),
        Counter("calls_failed", "calls", "have an exception; cancelled ones do not count."),
        Counter("calls_cancelled", "calls", "were cancelled."),
        Counter("calls_handed_back", "calls", "came back unrun, since the time slice of their bundle was over."),
        Counter("calls_missed", "calls", "came back unrun, since the worker had lost their function; sent with it."),
        Counter("calls_lost", "calls", "were on a worker, or in a library, that was lost; sent again, or given up."),
        Counter("calls_remade", "calls", "ran once more, since what they had left on workers was lost."),
    ),
    "Calls, now": (
        Counter("calls_outstanding", "calls", "are submitted and not done."),
        Counter("calls_waiting", "calls", "of these no worker has: they wait here or in TaskVine."),
        Counter("calls_too_large", "calls", "of these ask for more than any worker has."),
    ),
    "Bundles and bytes, since the start": (
        Counter("bundles_sent", "bundles", "have left for a worker."),
        Counter("bundles_spilled", "bundles", "of these travelled as files, being too large for TaskVine's message."),
        Counter("bundles_lost", "bundles", "were on a worker, or in a library, that was lost."),
        Counter("bytes_sent", "bytes", "of frames to workers: functions, arguments and their heads."),
        Counter("bytes_returned", "bytes", "of frames from workers: results, output and their heads."),
        Counter("functions_serialized", "functions", "were not known by themselves, or below Parsl's wrappers."),
    ),
    "Times, since the start, summed over calls": (
        Counter("serialize_ns", "ns", "in `submit`."),
        Counter("queue_ns", "ns", "waiting to be packed into a bundle."),
        Counter("dispatch_ns", "ns", "until the bundle was written to a worker."),
        Counter("transfer_ns", "ns", "on the way there and back."),
        Counter("library_ns", "ns", "in the library's queue."),
        Counter("bundle_ns", "ns", "in a slot, the other calls of the bundle included."),
        Counter("calls_ns", "ns", "running: unpickling, the function, pickling."),
        Counter("return_ns", "ns", "until the bundle's turn came in the demux thread."),
        Counter("complete_ns", "ns", "finishing the future, with its callbacks; counted when all of a bundle are."),
    ),
    "Times, since the start, summed over bundles": (
        Counter("pack_ns", "ns", "making frames."),
        Counter("wait_ns", "ns", "in the library's queue."),
        Counter("run_ns", "ns", "in a slot."),
    ),
    "Files, since the start": (
        Counter("files_moved", "files", "that workers were sent, or told to fetch, for calls."),
        Counter("file_bytes_moved", "bytes", "of these, as far as their size was known."),
        Counter("files_looked_at", "looks", "at inputs of calls, whether they are there and the same."),
        Counter("manager_bytes_sent", "bytes", "of files that the manager itself has sent."),
        Counter("manager_bytes_received", "bytes", "of files that the manager itself has received."),
        Counter("temps_made", "files", "and kept values that calls have left on workers."),
        Counter("temps_lost", "files", "of these whose last copy was lost."),
    ),
    "Workers, since the start": (
        Counter("workers_joined", "workers", "have come."),
        Counter("slots_replaced", "processes", "of slots that others have taken the place of, as far as workers told."),
        Counter("joins_without_ssl", "workers", "came without TLS to a manager with it, and were sent away."),
        Counter("joins_with_ssl", "workers", "came with TLS to a manager without it, and were sent away."),
        Counter("joins_wrong_password", "workers", "came with another password, or none, and were sent away."),
        Counter("joins_with_password", "workers", "came with a password to a manager without, and were sent away."),
        Counter("joins_other_protocol", "workers", "came with another protocol of TaskVine's, and were sent away."),
        Counter("accept_errno", "errno", "why some worker could not be accepted, at last; 0: all could."),
    ),
    "Workers, now": (
        Counter("workers_connected", "workers", "are connected."),
        Counter("slots", "slots", "of theirs."),
        Counter("bundles_running", "bundles", "are with workers, running or waiting for a slot."),
        Counter("transfer_rate", "bytes/s", "that a transfer between workers has lately achieved; 0: not known."),
        Counter("max_cores", "cores", "that the largest worker has."),
        Counter("max_memory", "MB", "that the largest worker has."),
        Counter("max_disk", "MB", "that the largest worker has."),
        Counter("max_gpus", "GPUs", "that the largest worker has."),
        Counter("usable_cores", "cores", "that one call can get at the most."),
        Counter("usable_memory", "MB", "that one call can get at the most."),
        Counter("usable_disk", "MB", "that one call can get at the most."),
        Counter("usable_gpus", "GPUs", "that one call can get at the most."),
    ),
    "Logs, since the start": (
        Counter("log_bytes_dropped", "bytes", "have been there, and had to make room (`log-nbytes`)."),
        Counter("log_bytes_unwritten", "bytes", "could not be written."),
        Counter("log_errno", "errno", "the system's reason for that, at last; 0: there was none."),
        Counter("event_log_errno", "errno", "why the event log could not be written, at last; 0: it could."),
    ),
}
"""By headline."""


def documented() -> str:
    """Write all of it as a section of a docstring."""
    lines = ["", "Notes", "-----"]
    for headline, counters in COUNTERS.items():
        lines += [f"{headline}:", ""]
        for counter in counters:
            lines.append(f"{counter.name} : {counter.unit}")
            lines += textwrap.wrap(counter.meaning, 100, initial_indent="    ", subsequent_indent="    ")
        lines.append("")
    return "\n".join(lines)
