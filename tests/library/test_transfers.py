"""Transfers of which nothing comes any more are ended, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vinefast.library.transfers import TransferWatch

from .worker import REPOSITORY


@pytest.mark.processes
def test_only_the_silent_transfer_is_ended(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.library.fetching"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    ended = [line for line in ran.stdout.splitlines() if line.startswith("ended:")]
    assert ended == ["ended: silent", "ended: suspended"], ran.stdout + ran.stderr
    left = sorted(path.name for path in (tmp_path / "transfer").iterdir())
    assert left == ["reading", "silent.error", "suspended.error"]


def test_without_a_timeout_nothing_is_looked_at():
    assert TransferWatch(os.getpid(), "/nowhere", 0).look_at is None
