"""Why jobs of a batch system have not brought a worker: what it says of them, and how to ask it."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Collection

from parsl.jobs.states import JobStatus
from parsl.providers.base import ExecutionProvider

logger: logging.Logger = logging.getLogger(__name__)

# Less than a shutdown waits for whoever asks.
_ANSWER_S = 3

# By the names that Parsl's providers and vine_factory have for them.
_COMMANDS = {
    "slurm": "squeue --me",
    "condor": "condor_q -better-analyze",
    "grid_engine": "qstat -j '*'",
    "uge": "qstat -j '*'",
    "sge": "qstat -j '*'",
    "pbspro": "qstat -f",
    "pbs": "qstat -f",
    "torque": "qstat -f",
    "lsf": "bjobs -p",
    "kubernetes": "kubectl describe pods",
}


def how_to_ask(batch_system: str) -> str:
    """Say how a user can see why jobs wait; an empty string, if nobody knows."""
    command = _COMMANDS.get(batch_system)
    return "" if command is None else f"What the batch system says of jobs that wait: {command}"


def describe(provider: ExecutionProvider) -> str:
    """Say how the jobs of a provider are, and of Slurm why they wait."""
    label = str(getattr(provider, "label", "")).lower()
    # What a provider keeps of a job is its own affair, but for its status; some keep there what is no job, too.
    kept = dict(getattr(provider, "resources", {})).items()
    statuses = {str(job): entry.get("status") for job, entry in kept if isinstance(entry, dict)}
    jobs = {job: status for job, status in statuses.items() if isinstance(status, JobStatus) and not status.terminal}
    if not jobs:
        return "It has no jobs at present: none was accepted, or all have ended."
    if label == "slurm" and (answer := _ask_slurm(jobs, getattr(provider, "clusters", None))):
        return f"Of its jobs Slurm says: {answer}."
    states = ", ".join(f"{job} is {status.state.name}" for job, status in jobs.items())
    return " ".join(filter(None, [f"Of its jobs, {states}.", how_to_ask(label)]))


def _ask_slurm(jobs: Collection[str], clusters: str | None) -> str:
    """Give the state of each job, and the reason why it waits; an empty string, if Slurm does not answer."""
    where = [f"--clusters={clusters}"] if clusters else []
    command = ["squeue", *where, "--noheader", "--format=%i is %T (%r)", f"--jobs={','.join(jobs)}"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_ANSWER_S, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("squeue does not answer: %s", error)
        return ""
    # Of a cluster that was named it gives the name before.
    lines = [line.strip() for line in answer.splitlines() if " is " in line]
    return ", ".join(line.removesuffix(" (None)") for line in lines)
