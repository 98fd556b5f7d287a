"""Directories that travel as one file: packed once per version, and gone when nobody needs them."""

import os

import pytest

from vinefast import CachedFile, packed
from vinefast.cached import caching_of_directory


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
    monkeypatch.setattr(packed, "_ARCHIVES_MAX", 2)
    needed = packed.archive_of(odd, 1)
    unneeded = str(packed.archive_of(odd, 2))
    for i in range(2):
        other = tmp_path / str(i)
        other.mkdir()
        packed.archive_of(str(other), 1)
    assert os.path.exists(needed)
    assert not os.path.exists(os.path.dirname(unneeded))


def test_an_archive_that_cannot_be_written_leaves_nothing(odd, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed.trees, "pack", full)
    before = os.listdir(packed._directory())
    with pytest.raises(OSError, match="No space left"):
        packed.archive_of(odd, 3)
    assert os.listdir(packed._directory()) == before
