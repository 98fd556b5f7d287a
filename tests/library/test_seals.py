"""Files that calls share: who writes to them is noticed."""

import errno
import mmap
import os
import shutil
import stat

import pytest

from vinefast.library import seals


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("text")
    path.chmod(0o664)
    return str(path)


def append(path):
    with open(path, "a") as file:
        file.write("+")


def map_it(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4) as view:
        view[0] = 0


@pytest.mark.parametrize("change", [append, map_it, lambda path: os.truncate(path, 1), lambda path: os.utime(path)])
def test_whoever_writes_is_noticed(file, change):
    seal = seals.seal(file)
    assert seals.seal(file) == seal
    assert seals.is_intact(file)
    assert not seal.is_broken()
    change(file)
    assert seal.is_broken()
    assert not seals.is_intact(file)
    assert seals.seal(file) is None


def test_reading_moving_and_removing_change_nothing(file, tmp_path):
    other = str(tmp_path / "other")
    os.link(file, other)
    seal = seals.seal(file)
    shutil.copyfile(file, tmp_path / "copy")
    os.replace(tmp_path / "copy", file)
    append(file)
    assert not seal.is_broken()  # it is another file
    os.unlink(file)
    assert not seal.is_broken()
    assert seals.is_intact(other)


def test_a_new_mode_does_not_hide_what_is_written(file):
    os.utime(file, (1, 1))
    seal = seals.seal(file)
    os.chmod(file, 0o644)
    append(file)
    assert seals.seal(file)  # for another call, which takes it for new
    assert seal.is_broken()


def test_a_new_mode_alone_is_no_change(file):
    seal = seals.seal(file, read_only=True)
    os.chmod(file, 0o755)
    assert not seal.is_broken()
    assert os.stat(file).st_mode & 0o7777 == 0o1755
    append(file)
    assert seal.is_broken()
    assert seals.seal(file) is None


def test_a_file_system_without_locks(file, monkeypatch):
    def flock(*_):
        raise OSError(errno.EBADF, "on NFS")

    monkeypatch.setattr(seals.fcntl, "flock", flock)
    seal = seals.seal(file)
    append(file)
    assert seal.is_broken()


def test_permissions_are_taken_only_where_asked_for(file, tmp_path):
    seals.seal(file)
    assert os.stat(file).st_mode & 0o777 == 0o664
    directory = tmp_path / "d"
    (directory / "in").mkdir(parents=True)
    (directory / "in" / "x").write_text("")
    seals.close_tree(str(directory))
    seals.close_tree(str(directory))
    assert os.stat(directory / "in" / "x").st_mode & 0o222 == 0
    assert os.stat(directory / "in").st_mode & 0o200
    assert seals.is_intact(str(directory))


def test_a_changed_copy_can_be_unsealed(file, tmp_path):
    seals.seal(file, read_only=True)
    assert os.stat(file).st_mode & 0o222 == 0
    copy = str(tmp_path / "copy")
    shutil.copy2(file, copy)
    assert os.stat(copy).st_mode & stat.S_ISVTX
    seals.unseal(copy)  # it is like the file
    os.chmod(copy, 0o1644)
    append(copy)
    seals.unseal(copy)
    assert seals.seal(copy)
