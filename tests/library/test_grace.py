"""Time that something is given to end by itself."""

from __future__ import annotations

import signal
import subprocess
from types import SimpleNamespace

import pytest

from vinefast.library import process
from vinefast.library.grace import Grace


@pytest.mark.parametrize("seconds", [0.3, 0.5, 60.0])
def test_it_is_over_when_it_is(seconds):
    grace, now = Grace(seconds, 100.0), 100.0
    while not grace.look(now):
        assert now < 100 + seconds and now < grace.look_at <= now + 1
        now = grace.look_at
    assert now == pytest.approx(100 + seconds) and grace.is_over()
    assert Grace(0.0, 5.0).look(5.0)


def test_one_that_never_ends():
    grace = Grace(float("inf"), 0.0)
    assert not any(grace.look(now * 1e6) for now in range(100))


def test_a_suspension_costs_a_part_of_it_at_the_most():
    grace = Grace(60.0, 0.0)
    assert not any(grace.look(now) for now in (1.0, 1.5, 5000.0, 5000.5, *range(5001, 5058)))
    assert grace.look(5058.0)
    brief = Grace(0.4, 0.0)
    assert [brief.look(now) for now in (0.05, 1000.0, 1000.1, 1000.2, 1000.3)] == [False] * 4 + [True]


@pytest.mark.processes
@pytest.mark.parametrize("seconds", [0.001, 0.6, 30.0])
def test_what_is_found_ever_so_slowly_is_killed(monkeypatch, seconds):
    """A machine has so many processes, say, or the worker's own cannot be killed, which each look tries for a while."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, sleep=lambda seconds: wait(seconds))
    looks = 0

    def wait(seconds):
        clock.now += seconds

    def find():
        nonlocal looks
        looks += 1
        assert looks < 500
        wait(seconds)
        return process.living(found)

    with subprocess.Popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], stdout=-1) as deaf:
        try:
            deaf.stdout.readline()
            found = process.started_at(deaf.pid)
            monkeypatch.setattr(process, "time", clock)
            process.end_processes(find, 1.0)
            assert deaf.wait(10) == -signal.SIGKILL
        finally:
            deaf.kill()
    assert 1.0 <= clock.now and looks >= 5
