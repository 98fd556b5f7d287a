"""What is told of a process's log, and how a session ends."""

import os
import subprocess
from types import SimpleNamespace

import pytest

from tests.helpers.waiting import wait_until
from vinefast.library.process import GRACE_S
from vinefast.workers.launch import processes
from vinefast.workers.launch.processes import log_excerpt


def test_log_excerpts(tmp_path):
    log = tmp_path / "log"
    assert "cannot be read" in log_excerpt(str(log))
    log.write_text("")
    assert "(empty)" in log_excerpt(str(log))
    log.write_text("old\n" + "".join(f"line {n}\n" for n in range(100)))
    excerpt = log_excerpt(str(log), start=4)
    assert "line 0\n" in excerpt and "line 99" in excerpt
    assert "old" not in excerpt and "line 50" not in excerpt


@pytest.mark.processes
def test_a_tracker_has_its_time_when_the_janitor_has_killed_what_was_deaf(tmp_path, monkeypatch):
    """The janitor does that after a second, and gives the tracker another one."""
    tracks, tidied = tmp_path / "tracks", tmp_path / "tidied"
    os.mkfifo(tracks)
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds
        if now >= 1.9 * GRACE_S and not tracked.closed:
            tracked.close()
            assert wait_until(tidied.exists)

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    script = f"VINEFAST_LIBRARY=1.1 sh -c 'cat {tracks}; > {tidied}' resource_tracker & wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as worker, open(tracks, "w") as tracked:
        worker.kill()
        processes.end_session(worker)
    assert tidied.exists()
