"""Children that cannot be had: the supervisor waits longer and longer, and goes on."""

from __future__ import annotations

import time

import pytest

from vinefast.library import slots as slots_module
from vinefast.library.supervisor import Supervisor


class Nobody:
    """A janitor, a link and a watch that do nothing."""

    look_at = None

    def note(self, index, pid):
        pass


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Orphans of later tests would become children of this process, which nobody reaps.
    monkeypatch.setattr(slots_module, "adopt_orphans", lambda: False)

    def fork():
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(slots_module.os, "fork", fork)
    return Supervisor(Nobody(), Nobody(), Nobody(), 1, cores=1)


def test_fork_that_fails_is_tried_ever_more_rarely(supervisor, capsys):
    (slot,) = supervisor._slots._slots
    waits = []
    for _ in range(12):
        supervisor._slots._spawn(slot)
        waits.append(slot.spawn_at - time.monotonic())
        assert 0 < supervisor._timeout_s() <= waits[-1] + 0.1
    assert waits[0] < 0.02
    assert all(later > earlier for earlier, later in zip(waits[:7], waits[1:8], strict=True))
    assert waits[-1] == pytest.approx(2.0, abs=0.1)
    assert "cannot fork a child for slot 0" in capsys.readouterr().out
    assert slot.pid == 0 and slot.channel is None
