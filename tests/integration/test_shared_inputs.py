"""What calls share on a worker stays as it is, or is sent anew, whoever writes to it."""

import os
import shutil
from pathlib import Path

import pytest
from parsl.data_provider.files import File

from tests.helpers.processes import command_by_hand, end_by_hand, left_of, start_by_hand
from vinefast import CachedFile, TempFile, VineFastExecutor
from vinefast.errors import CallDied, InputChanged

PATIENCE_S = 60


def read(file):
    if os.path.isdir(file):
        file = os.path.join(file, "in")
    return Path(file).read_text()


def write_to(file, die=False):
    path = os.path.join(file, "in") if os.path.isdir(file) else file
    with open(path, "a") as opened:
        opened.write("+")
    if die:
        opened.close()
        os._exit(3)
    return read(file)


def make(name, outputs):
    if name == "directory":
        os.mkdir(outputs[0])
    Path(outputs[0], "in" if name == "directory" else "").write_text("good")


def mode_of(file):
    return os.stat(file).st_mode


def copied_and_changed(file, outputs):
    shutil.copy2(file, outputs[0])
    with open(outputs[0], "a") as opened:
        opened.write("+")


@pytest.fixture
def start(mark, tmp_path, monkeypatch):
    """An executor with a worker by hand, whose files are elsewhere."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    started = []

    def stop():
        while started:
            executor, worker = started.pop()
            assert end_by_hand(worker)
            executor.shutdown()

    def start(*options, mode="serverless"):
        stop()
        executor = VineFastExecutor(worker_launch_method="manual", function_exec_mode=mode)
        executor.run_dir = str(tmp_path / "run")
        executor.start()
        elsewhere = tmp_path / "worker"
        elsewhere.mkdir(exist_ok=True)
        command = command_by_hand(executor, "--cores", "1", *options)
        started.append((executor, start_by_hand(command, elsewhere)))
        return executor

    yield start
    stop()
    assert not left_of(mark)


@pytest.fixture(params=["file", "directory", "cached", "forever", "temp", "temp directory"])
def shared(request):
    """Something that calls share, once an executor has it."""
    kind = request.param
    Path("file").write_text("good")
    os.mkdir("directory")
    Path("directory/in").write_text("good")

    def give(executor):
        if kind.startswith("temp"):
            file = TempFile("temp")
            executor.submit(make, {}, "directory" if "directory" in kind else "file", outputs=[file])
            return file
        return {
            "file": File("file"),
            "directory": File("directory"),
            "cached": CachedFile("file"),
            "forever": CachedFile("file", "forever"),
        }[kind]

    return give


@pytest.fixture
def started(start):
    return start()


def test_who_writes_fails_and_others_get_it_anew(started, shared):
    file = shared(started)
    assert started.submit(read, {}, file).result(PATIENCE_S) == "good"
    for _ in range(2):
        with pytest.raises(InputChanged, match=r"write_to ran, its input '(file|directory|temp)' was written to"):
            started.submit(write_to, {}, file).result(PATIENCE_S)
        assert started.submit(read, {}, file).result(PATIENCE_S) == "good"
    # Nobody has told of it, but the next one sees it.
    with pytest.raises(CallDied):
        started.submit(write_to, {}, file, True).result(PATIENCE_S)
    readers = [started.submit(read, {}, file) for _ in range(10)]
    assert [call.result(PATIENCE_S) for call in readers] == ["good"] * 10
    assert started.stats()["workers_joined"] == 1


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_a_call_may_write_to_a_copy_of_its_own(start, mode):
    executor = start(mode=mode)
    Path("file").write_text("good")
    os.mkdir("directory")
    Path("directory/in").write_text("good")
    for source in ("file", "directory"):
        for cache in ("workflow", "forever"):
            shared, own = CachedFile(source, cache), CachedFile(source, cache, writable=True)
            for file in (shared, own, own, shared):
                call = executor.submit(write_to if file is own else read, {}, file)
                assert call.result(PATIENCE_S) == ("good+" if file is own else "good")


def test_a_cached_file_is_read_only_and_others_are_not(started):
    Path("file").write_text("good")
    assert started.submit(mode_of, {}, File("file")).result(PATIENCE_S) & 0o200
    assert not started.submit(mode_of, {}, CachedFile("file", "worker")).result(PATIENCE_S) & 0o222
    assert started.submit(mode_of, {}, CachedFile("file", writable=True)).result(PATIENCE_S) & 0o200


def test_a_copy_of_an_input_may_be_changed_and_read(started):
    Path("file").write_text("good")
    file = TempFile("copy")
    started.submit(copied_and_changed, {}, File("file"), outputs=[file])
    assert started.submit(read, {}, file).result(PATIENCE_S) == "good+"
    assert started.submit(read, {}, file).result(PATIENCE_S) == "good+"


def test_what_is_kept_for_ever_is_right_in_the_next_workflow(start, tmp_path):
    Path("file").write_text("good")
    kept = ["--workspace", str(tmp_path / "kept"), "--keep-workspace"]
    executor = start(*kept)
    file = CachedFile("file", "forever")
    assert executor.submit(read, {}, file).result(PATIENCE_S) == "good"
    with pytest.raises(CallDied):
        executor.submit(write_to, {}, file, True).result(PATIENCE_S)
    assert start(*kept).submit(read, {}, file).result(PATIENCE_S) == "good"
