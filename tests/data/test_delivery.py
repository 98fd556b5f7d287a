"""What is at a place already when an output is to be put there."""

import os
from pathlib import Path

import pytest

from vinefast.data import delivery


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(tree):
    for name, text in tree.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def found():
    return {str(path): path.read_text() for path in Path().rglob("*") if path.is_file()}


def test_a_link_stays_and_what_it_leads_to_is_replaced():
    make({"far/data": "old", "arrived": "new"})
    os.symlink("far/data", "link")
    place = delivery.checked("link")
    assert place == os.path.abspath("far/data")
    delivery.put("arrived", place)
    assert os.readlink("link") == "far/data"
    assert found() == {"far/data": "new", "link": "new"}


def test_a_link_to_nothing_leads_to_the_new_file():
    make({"arrived": "new"})
    os.symlink("data", "link")
    delivery.put("arrived", delivery.checked("link"))
    assert os.readlink("link") == "data"
    assert Path("data").read_text() == "new"


@pytest.mark.parametrize("path", ["/dev/null", "round", "pipe", "directory"])
def test_what_no_file_can_replace_is_refused(path):
    os.symlink("round", "round")
    os.mkfifo("pipe")
    os.mkdir("directory")
    with pytest.raises(OSError, match=path) as refused:
        delivery.checked(path, is_file=True)
    assert "which stays as it is" in str(refused.value)


def test_no_path_is_refused():
    with pytest.raises(FileNotFoundError, match="no path"):
        delivery.checked("")


def test_a_directory_takes_a_free_place():
    make({"arrived/a": "new", "arrived/sub/b": "new"})
    delivery.put("arrived", "place")
    assert found() == {"place/a": "new", "place/sub/b": "new"}


@pytest.mark.parametrize("there", [{"place/sub/b/mine": "old"}, {"place/sub": "old"}, {"place": "old"}])
def test_where_something_of_another_kind_is_nothing_changes(there):
    make({"arrived/a": "new", "arrived/sub/b": "new", **there})
    before = found()
    with pytest.raises(OSError, match="place.*") as refused:
        delivery.put("arrived", "place")
    assert os.path.exists(refused.value.filename)
    assert found() == before


def test_links_in_a_directory_are_not_followed():
    make({"arrived/link": "new", "arrived/sub/a": "new", "place/b": "old", "far/a": "old"})
    os.symlink("b", "place/link")
    os.symlink("../far", "place/sub")
    before = found()
    with pytest.raises(FileExistsError):
        delivery.put("arrived", "place")
    assert found() == before


def test_nothing_is_appended_to_a_directory():
    make({"arrived": "new", "place/mine": "old"})
    with pytest.raises(IsADirectoryError):
        delivery.put("arrived", "place", appended=True)
    assert Path("place/mine").read_text() == "old"


def test_what_is_removed_is_not_what_a_link_leads_to():
    make({"mine/a": "old"})
    os.symlink("mine", "link")
    delivery.remove("link")
    delivery.remove("gone")
    assert found() == {"mine/a": "old"}
    delivery.remove("mine")
    assert os.listdir() == []
