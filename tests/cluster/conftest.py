"""A real batch system, which runs as long as the tests of this directory."""

import os
from contextlib import suppress

import psutil
import pytest

from tests.cluster.slurm import Slurm, why_missing
from tests.helpers.processes import left_of, processes_marked
from tests.integration.conftest import importable, load, mark, marked

__all__ = ["importable", "load", "mark"]


@pytest.fixture(scope="session")
def _slurm(tmp_path_factory):
    if reason := why_missing():
        pytest.skip(reason)
    with marked() as value:
        cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            # All of Slurm's commands ask it.
            patch.setenv("SLURM_CONF", str(cluster.configuration))
            yield cluster
    finally:
        cluster.close()
    assert not left_of(value)


def _end_heartbeats(mark):
    """End what vine_factory's jobs leave where Slurm finds processes by their parents, and not by a cgroup.

    Beside its worker such a job has a loop that notes each half minute that the job is there (cctools 7.14.5,
    batch_queue_cluster.c). It goes on for ever if the job's shell is killed before it.
    """
    for process in processes_marked(mark):
        with suppress(psutil.Error):
            if process.cmdline()[-1:] and process.cmdline()[-1].endswith("/slurm_script") and process.ppid() == 1:
                children = process.children()
                process.kill()
                for child in children:
                    child.kill()


@pytest.fixture
def slurm(_slurm, monkeypatch, mark):
    """A Slurm with two nodes and no jobs; a test's jobs are ended with it."""
    # What a job of Slurm's own says is not to be taken for what these jobs say.
    for name in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]:
        monkeypatch.delenv(name)
    yield _slurm
    _slurm.cancel_all()
    _end_heartbeats(mark)
    # A worker that heeds no signal is killed after 20 s (start-worker.sh).
    assert not left_of(mark, 60)
