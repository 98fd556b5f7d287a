"""What a user is told of jobs that bring no worker."""

import pytest
from parsl.jobs.states import JobState, JobStatus

from vinefast.workers.batch_jobs import describe, how_to_ask


class Provider:
    clusters = None

    def __init__(self, label, **states):
        self.label = label
        self.resources = {job: {"status": JobStatus(state)} for job, state in states.items()}


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A squeue that notes its arguments and says what it is told to."""

    def make(script):
        program = tmp_path / "squeue"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{script}\n')
        program.chmod(0o755)
        return tmp_path / "asked"

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return make


def test_slurm_is_asked_why_its_jobs_wait(squeue):
    asked = squeue('echo "CLUSTER: far"; echo "7 is PENDING (Priority)"; echo "8 is RUNNING (None)"')
    provider = Provider("slurm", **{"7": JobState.PENDING, "8": JobState.RUNNING, "6": JobState.COMPLETED})
    assert describe(provider) == "Of its jobs Slurm says: 7 is PENDING (Priority), 8 is RUNNING."
    assert asked.read_text() == "--noheader --format=%i is %T (%r) --jobs=7,8\n"
    provider.resources["group"] = "what some of Parsl's providers keep beside their jobs"
    provider.clusters = "far"
    describe(provider)
    assert "--clusters=far" in asked.read_text()


def test_what_parsl_knows_is_said_where_slurm_does_not_answer(squeue):
    provider = Provider("slurm", **{"7": JobState.PENDING})
    said = "Of its jobs, 7 is PENDING. What the batch system says of jobs that wait: squeue --me"
    squeue("exit 1")
    assert describe(provider) == said
    squeue("")
    assert describe(provider) == said


def test_other_batch_systems_and_what_is_none():
    assert "1 is RUNNING. What the batch system says" in describe(Provider("LSF", **{"1": JobState.RUNNING}))
    assert describe(Provider("mine", **{"1": JobState.HELD})) == "Of its jobs, 1 is HELD."
    assert "no jobs" in describe(Provider("condor", **{"1": JobState.FAILED}))
    assert "no jobs" in describe(object())
    assert how_to_ask("local") == ""
