"""Which files of a call are moved, and where they end up."""

import os
import pickle
from pathlib import Path

import pytest
from parsl.data_provider.files import File

from vinefast._core import CallFiles
from vinefast.data.plan import CallPlan, StagedFiles
from vinefast.data.staging import URLStaging, WorkerPath
from vinefast.errors import InputMissing, UnreachableFile
from vinefast.library import files as on_worker
from vinefast.library import trees


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    for name in ("a", "b/c"):
        (tmp_path / name).write_text(name)


def staged_files(args, kwargs, shared):
    return CallPlan(shared).find(args, kwargs).files()


def plan(files):
    return on_worker.Plan(*pickle.loads(files.trailer))


@pytest.mark.parametrize(
    ("args", "kwargs", "outputs"),
    [
        ((File("a"),), {}, ()),
        ((), {"data": File("file:a")}, ()),
        ((), {"inputs": [1, File("/a"), File("./b/../b/c")]}, ()),
        ((), {"outputs": [File("d/e")]}, ("d/e",)),
        ((), {"stdout": "out"}, ("out",)),
        ((), {"stderr": ("err", "w")}, ("err",)),
        ((), {"stdout": Path("out"), "stderr": "out"}, ("out",)),
    ],
)
def test_relative_paths_are_moved_where_nothing_is_shared(args, kwargs, outputs):
    files = staged_files(args, kwargs, shared=False)
    assert isinstance(files, CallFiles)
    told = plan(files)
    assert told.outputs == tuple(f"{told.directory}/{path}" for path in outputs)
    assert staged_files(args, kwargs, shared=True) is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {"inputs": [File("/a"), File("http://host/a")]},
        {"stdout": "/a"},
        {"inputs": 3, "outputs": None, "stderr": None, "stdout": 3},
    ],
)
def test_other_paths_are_left_alone(kwargs):
    assert staged_files((), kwargs, shared=False) is None


def test_each_call_has_a_directory_of_its_own():
    first, second = (plan(staged_files((File("a"),), {}, shared=False)).directory for _ in range(2))
    assert first != second


def test_a_path_that_leads_out_is_refused():
    with pytest.raises(UnreachableFile, match=r"'b/../../a' leads out of the current directory.*shared_fs"):
        staged_files((), {"outputs": [File("b/../../a")]}, shared=False)


def test_a_missing_input_is_refused_and_named():
    with pytest.raises(InputMissing, match="'gone' .*: it does not exist"):
        staged_files((File("gone"),), {}, shared=False)


def test_what_a_staging_provider_brings_in_the_call_need_not_be_here():
    file = File("http://host/x")
    file.local_path = "x"
    assert staged_files((file,), {}, shared=False) is None
    Path("x").write_text("")
    assert staged_files((file,), {}, shared=False)


@pytest.mark.parametrize(
    ("appended", "before", "after"), [(True, "old ", "old new"), (False, "old ", "new"), (True, None, "new")]
)
def test_what_comes_back_is_appended_or_replaces(appended, before, after):
    Path(".arrived").write_text("new")
    if before:
        Path("place").write_text(before)
    StagedFiles([], b"", [(".arrived", "place", appended), (".absent", "other", False)]).deliver()
    assert Path("place").read_text() == after
    assert not os.path.exists(".arrived")
    assert not os.path.exists("other")


def test_a_directory_that_comes_back_fills_the_one_there():
    for name in (".arrived", "place"):
        os.mkdir(name)
        Path(name, f"in{name}").write_text("")
    StagedFiles([], b"", [(".arrived", "place", False)]).deliver()
    assert sorted(os.listdir("place")) == ["in.arrived", "inplace"]
    assert not os.path.exists(".arrived")


def test_what_comes_back_for_nobody_is_removed():
    Path(".arrived").write_text("new")
    StagedFiles([], b"", [(".arrived", None, False)]).deliver()
    assert not os.path.exists(".arrived")


@pytest.mark.parametrize("kwargs", [{"stdout": "b"}, {"stderr": ("b", "a")}, {"outputs": [File("pipe")]}])
def test_what_cannot_be_put_in_its_place_is_refused_at_once(kwargs):
    os.mkfifo("pipe")
    with pytest.raises(OSError, match="which stays as it is: name another path"):
        staged_files((), kwargs, shared=False)
    assert staged_files((), {"outputs": [File("b")]}, shared=False)  # it may be a directory that comes


def test_what_cannot_be_put_in_its_place_is_told_and_removed():
    Path(".arrived").write_text("new")
    with pytest.raises(OSError, match="place"):
        StagedFiles([], b"", [(".arrived", "gone/place", True)]).deliver()
    assert not os.path.exists(".arrived")


def test_a_worker_path_becomes_a_path_in_the_sandbox():
    file = File("https://host/data/x.csv?version=3")
    assert URLStaging().can_stage_in(file)
    assert not URLStaging().can_stage_in(File("x.csv"))
    URLStaging().stage_in(None, "label", file, None)
    assert isinstance(file.local_path, WorkerPath)
    assert file.local_path.move[1].startswith(f'{file.url}" ')
    on_worker.enter(b"/sandbox")
    assert pickle.loads(pickle.dumps(file)).filepath == f"/sandbox/{file.local_path}"
    assert str(file.local_path).endswith("/x.csv")
    assert plan(staged_files((file,), {}, shared=True)).directory is None


def test_nothing_is_left_of_what_cannot_be_unpacked(tmp_path):
    arrived = tmp_path / "arrived"
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "file").write_bytes(bytes(50_000))
    arrived.mkdir()
    trees.pack(str(tmp_path / "made"), str(arrived / trees.PACKED))
    os.truncate(arrived / trees.PACKED, 30_000)
    with pytest.raises(Exception, match="unexpected end"):
        StagedFiles([], b"", [(str(arrived), str(tmp_path / "place"), False)]).deliver()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "made"]
