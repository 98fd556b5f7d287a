"""Bringing what lies on workers to this machine: the paths that it gets, and what is there already."""

import gc
import os
import stat
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for_file, wait_until
from vinefast import TempFile


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A path that is taken for another one can only be one of the test's own."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def write(text, outputs=()):
    with open(outputs[0], "w") as file:
        file.write(text)


def write_later(flag, outputs=()):
    wait_for_file(flag)
    with open(outputs[0], "w") as file:
        file.write("late")


def fill(outputs=()):
    os.makedirs(f"{outputs[0]}/sub")
    for name in ("a", "sub/b"):
        with open(f"{outputs[0]}/{name}", "w") as file:
            file.write("new")


def made(executor, function, *args, name="data"):
    file = TempFile(name)
    executor.submit(function, {}, *args, outputs=[file]).result(30)
    return file


def test_a_fetched_path_is_never_used_again(executor):
    """Objects that have the addresses of dead ones come soon."""
    fetched = {}
    for i in range(50):
        path = made(executor, write, str(i)).fetch(timeout=30)
        assert path not in fetched
        fetched[path] = str(i)
        gc.collect()
    assert {path: Path(path).read_text() for path in fetched} == fetched


def test_what_was_fetched_and_removed_is_fetched_again(executor):
    file = made(executor, write, "text")
    path = file.fetch(timeout=30)
    assert file.fetch(timeout=30) == path
    os.unlink(path)
    assert Path(file.fetch(timeout=30)).read_text() == "text"


def test_a_timeout_holds_while_another_thread_fetches(executor, tmp_path):
    flag = tmp_path / "flag"
    file = TempFile("late")
    executor.submit(write_later, {}, str(flag), outputs=[file])
    found = []
    before = executor.stats()["calls_submitted"]
    other = threading.Thread(target=lambda: found.append(file.fetch(timeout=30)))
    other.start()
    assert wait_until(lambda: executor.stats()["calls_submitted"] > before)
    with pytest.raises(FutureTimeoutError):  # and not after the other thread has it
        file.fetch(timeout=0.2)
    assert not found
    flag.touch()
    other.join()
    assert [file.fetch(timeout=30)] == found


def test_what_comes_too_late_is_not_put_anywhere(executor, tmp_path):
    flag, place = tmp_path / "flag", tmp_path / "to" / "late"
    file = TempFile("late")
    making = executor.submit(write_later, {}, str(flag), outputs=[file])
    with pytest.raises(FutureTimeoutError):
        file.fetch(str(place), timeout=0.1)
    flag.touch()
    making.result(30)
    assert Path(file.fetch(timeout=30)).read_text() == "late"  # asked for after the other
    assert os.listdir(place.parent) == []


def test_a_file_does_not_take_the_place_of_a_directory(executor, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "mine").write_text("mine")
    with pytest.raises(IsADirectoryError, match=str(place)):
        made(executor, write, "text").fetch(str(place), timeout=30)
    assert (place / "mine").read_text() == "mine"
    assert os.listdir(place) == ["mine"]
    assert sorted(os.listdir(tmp_path)) == ["cwd", "place"]


def test_no_path_is_not_the_current_directory(executor, tmp_path):
    Path("mine").write_text("mine")
    for function, args in ((write, ("text",)), (fill, ())):
        with pytest.raises(FileNotFoundError):
            made(executor, function, *args).fetch("", timeout=30)
        assert os.listdir() == ["mine"]


def test_what_is_neither_file_nor_directory_stays(executor, tmp_path):
    """A pipe here; /dev/null would be another."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = made(executor, write, "text")
    before = executor.stats()["calls_submitted"]
    with pytest.raises(FileExistsError, match=str(pipe)):
        file.fetch(str(pipe), timeout=30)
    assert executor.stats()["calls_submitted"] == before
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_a_directory_fills_the_one_that_is_there(executor, tmp_path):
    place = tmp_path / "place"
    (place / "sub").mkdir(parents=True)
    for name in ("a", "mine", "sub/mine"):
        (place / name).write_text("old")
    file = made(executor, fill)
    assert file.fetch(str(place), timeout=30) == str(place)
    found = {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}
    assert found == {"a": "new", "mine": "old", "sub/b": "new", "sub/mine": "old"}


def test_a_directory_does_not_take_the_place_of_a_file(executor, tmp_path):
    place = tmp_path / "place"
    place.write_text("mine")
    with pytest.raises(NotADirectoryError, match=str(place)):
        made(executor, fill).fetch(str(place), timeout=30)
    assert place.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["cwd", "place"]
