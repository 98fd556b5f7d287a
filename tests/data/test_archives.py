"""Directories that travel as one file: packed once per version, and gone when nobody needs them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vinefast import CachedFile
from vinefast.data import archives
from vinefast.data.cached import caching_of_directory


@pytest.fixture
def odd(tmp_path):
    directory = tmp_path / "d\u00efr"
    directory.mkdir()
    (directory / "new\nline").write_text("x")
    return str(directory)


def test_a_directory_is_packed_once_per_version(odd):
    first, second = caching_of_directory(odd), CachedFile(odd).caching()
    assert first.source == second.source != odd
    assert first.unpack
    assert first.version == os.stat(first.source).st_mtime_ns
    os.symlink("x", f"{odd}/link")
    assert caching_of_directory(odd).source != first.source


def test_what_taskvine_can_carry_is_not_packed(tmp_path):
    (tmp_path / "plain").write_text("")
    assert caching_of_directory(str(tmp_path)).source == str(tmp_path)
    assert not caching_of_directory(str(tmp_path)).unpack


def test_packed_and_plain_content_have_different_labels(odd):
    packed_label = CachedFile(odd, "worker").caching().label
    os.rename(f"{odd}/new\nline", f"{odd}/plain")
    assert packed_label.startswith("tree-")
    assert CachedFile(odd, "worker").caching().label.startswith("file-")


def test_an_archive_goes_when_nobody_needs_it(odd, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ARCHIVES_MAX", 2)
    needed = archives.archive_of(odd, 1)
    unneeded = str(archives.archive_of(odd, 2))
    for i in range(2):
        other = tmp_path / str(i)
        other.mkdir()
        archives.archive_of(str(other), 1)
    assert os.path.exists(needed)
    assert not os.path.exists(os.path.dirname(unneeded))


def test_a_fork_does_not_rely_on_its_parents_archives(odd):
    parents = archives.archive_of(odd, 1)
    pid = os.fork()
    if pid == 0:
        try:
            own = archives.archive_of(odd, 1)
            os._exit(0 if os.path.exists(own) and own != parents else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.path.exists(parents)


def test_an_archive_that_cannot_be_written_leaves_nothing(odd, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.trees, "pack", full)
    before = os.listdir(archives._directory())
    with pytest.raises(OSError, match="No space left"):
        archives.archive_of(odd, 3)
    assert os.listdir(archives._directory()) == before


@pytest.mark.processes
def test_nothing_is_left_of_a_program_that_was_killed(odd, tmp_path):
    program = f"import os; from vinefast.data import archives; archives.archive_of({odd!r}, 1); os.kill(os.getpid(), 9)"
    (tmp_path / "tmp").mkdir()
    run = subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    assert run.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while os.listdir(tmp_path / "tmp") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.processes
def test_an_archive_goes_at_the_end_of_the_program(odd, tmp_path):
    program = f"from vinefast.data import archives; print(archives.archive_of({odd!r}, 1))"
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(str(tmp_path / "tmp"))
    assert os.listdir(tmp_path / "tmp") == []
