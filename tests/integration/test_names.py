"""Files and directories arrive under any name that the file system takes, with all that is in them."""

import os
import shutil
from pathlib import Path

import pytest
from parsl.data_provider.files import File

from tests.helpers.processes import command_by_hand, end_by_hand, left_of, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast import CachedFile, TempFile, VineFastExecutor
from vinefast.errors import CallDied, InvalidConfiguration

ODD = [
    "plain",
    "sp ace",
    "t\tab",
    "new\nline",
    "\u00e9t\u00e9",
    "\U0001f600" * 55,
    os.fsdecode(b"not\xffUTF-8"),
    "%41",
    "-x",
]
PATIENCE_S = 60


def make_tree(path):
    os.makedirs(os.path.join(path, "deep", "empty"))
    for name in ODD:
        with open(os.path.join(path, "deep", name), "w") as file:
            file.write(name.encode(errors="replace").hex())
    os.makedirs(os.path.join(path, "d\u00efr\n"))
    os.symlink("deep/plain", os.path.join(path, "link"))
    os.symlink("../nowhere", os.path.join(path, "d\u00efr\n", "dangling"))
    os.symlink("deep", os.path.join(path, "to\tdirectory"))
    os.chmod(os.path.join(path, "deep", "plain"), 0o700)
    os.chmod(os.path.join(path, "deep", "empty"), 0o750)


def describe(path):
    """All that is in a directory: names as bytes, kinds and modes, contents or targets."""
    path = os.fsencode(path)
    found = {}
    for at, directories, files in os.walk(path):
        for name in directories + files:
            full = os.path.join(at, name)
            mode = os.lstat(full).st_mode
            if os.path.islink(full):
                held = os.readlink(full)
                mode = "link"
            else:
                held = None if os.path.isdir(full) else open(full, "rb").read()
                mode &= mode if held is None else ~0o1222  # what calls share may be read-only, and is sealed
            found[os.path.relpath(full, path)] = mode, held
    return found


def on_worker(path, seconds=0):
    import time

    time.sleep(seconds)  # so that both workers take part
    return os.environ.get("WORKER_ID"), describe(path)


def copied(source, outputs):
    shutil.copytree(source, outputs[0], symlinks=True)


def make(text, outputs):
    make_tree(outputs[0]) if text is None else Path(outputs[0]).write_text(text)


def make_at(file, outputs):
    Path(file).write_text("there")


def name_and_text(file, seconds=0):
    import time

    time.sleep(seconds)  # so that both workers take part
    return os.environ.get("WORKER_ID"), file.filename, os.path.basename(file.filepath), Path(file).read_text()


@pytest.fixture
def start(mark, tmp_path, monkeypatch):
    """An executor with workers by hand, whose files are elsewhere."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    workers = []
    started = []

    def start(n_workers=1, mode="serverless"):
        executor = VineFastExecutor(worker_launch_method="manual", function_exec_mode=mode)
        executor.run_dir = str(tmp_path / "run")
        executor.start()
        started.append(executor)
        for i in range(n_workers):
            elsewhere = tmp_path / f"worker{i}"
            elsewhere.mkdir()
            command = command_by_hand(executor, "--cores", "1")
            workers.append(start_by_hand(command, elsewhere, WORKER_ID=str(i)))
            assert wait_until(lambda i=i: executor.stats()["workers_connected"] == i + 1, 30)
        return executor

    yield start
    assert end_by_hand(*workers)
    for executor in started:
        executor.shutdown()
    assert not [name for name in os.listdir(here) if ".vinefast-" in name]
    assert not left_of(mark)


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_directories_travel_as_they_are(start, mode):
    executor = start(mode=mode)
    make_tree("tree")
    whole = describe("tree")
    sent = [
        executor.submit(on_worker, {}, file)
        for file in (File("tree"), CachedFile("tree"), CachedFile("tree", "worker"))
    ]
    back = executor.submit(copied, {}, File("tree"), outputs=[File("b\u00e4ck")])
    assert [call.result(PATIENCE_S)[1] for call in sent] == [whole] * 3
    back.result(PATIENCE_S)
    assert describe("b\u00e4ck") == whole
    assert executor.stats()["workers_joined"] == 1


def test_directories_stay_on_workers_as_they_are(start):
    executor = start(2)
    make_tree("tree")
    whole = describe("tree")
    file = TempFile("tr\u00e9e\n")
    executor.submit(make, {}, None, outputs=[file]).result(PATIENCE_S)
    seen_on = set()
    for _ in range(20):
        calls = [executor.submit(on_worker, {}, file, 0.3) for _ in range(4)]
        for worker, seen in (call.result(PATIENCE_S) for call in calls):
            assert seen == whole
            seen_on.add(worker)
        if len(seen_on) == 2:
            break
    assert seen_on == {"0", "1"}
    assert describe(file.fetch(timeout=PATIENCE_S)) == whole
    assert executor.stats()["workers_joined"] == 2


def test_files_have_their_names(make_executor, tmp_path):
    """Where workers see this machine's files."""
    executor = make_executor()
    for name in [*ODD, "x" * 250]:
        path = tmp_path / name
        path.write_text("text")
        file = TempFile(name)
        executor.submit(make, {}, "text", outputs=[file])
        for given in (CachedFile(path), CachedFile(path, "worker"), file):
            _, *seen, text = executor.submit(name_and_text, {}, given).result(PATIENCE_S)
            assert (seen, text) == ([name, name], "text")
        assert Path(file.fetch(timeout=PATIENCE_S)).read_text() == "text"
        assert Path(file.fetch(str(tmp_path / f"2{name[:-1]}"), PATIENCE_S)).read_text() == "text"
    assert executor.stats()["workers_joined"] == 1


def test_files_have_their_names_on_other_machines(start):
    executor = start()
    os.mkdir("d\u00efr")
    for name in ("d\u00efr/\u00e9t\u00e9", "\U0001f600" * 55):
        Path(name).write_text("text")
        _, *seen, text = executor.submit(name_and_text, {}, File(name)).result(PATIENCE_S)
        assert (seen, text) == ([os.path.basename(name)] * 2, "text")
        executor.submit(make, {}, "made", outputs=[File(name)]).result(PATIENCE_S)
        assert Path(name).read_text() == "made"
    assert executor.stats()["workers_joined"] == 1


def test_a_name_that_no_file_can_have_is_refused():
    for name in ("x" * 256, "\U0001f600" * 64, "\ud800", "a\0b", ".."):
        with pytest.raises(InvalidConfiguration, match="accepted: a string that can name a file"):
            TempFile(name)


def texts(inputs=(), outputs=()):
    for output in outputs:
        if not os.path.isdir(output):
            Path(output).write_text("made")
    return [Path(file).read_text() for file in inputs if os.path.isfile(file)]


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_files_of_a_call_may_lie_in_each_other(start, mode):
    executor = start(mode=mode)
    os.makedirs("d/e")
    Path("d/x").write_text("x")
    Path("d/e/y").write_text("y")
    files = [File(path) for path in ("d/e/y", "d/x", "./d/../d", "d", "d/e", "d/x")]
    calls = [executor.submit(texts, {}, inputs=files[at:] + files[:at]) for at in range(3)]
    assert [sorted(call.result(PATIENCE_S)) for call in calls] == [["x", "x", "y"]] * 3
    executor.submit(texts, {}, outputs=[File("d/new"), File("out/in/it"), File("out/in"), File("out")]).result(
        PATIENCE_S
    )
    assert Path("d/new").read_text() == Path("out/in/it").read_text() == "made"
    assert sorted(os.listdir("d")) == ["e", "new", "x"]
    assert executor.stats()["workers_joined"] == 1


def test_a_file_is_not_read_and_made_again_by_one_call(make_executor):
    executor = make_executor()
    file = TempFile("file")
    executor.submit(make, {}, "good", outputs=[file]).result(PATIENCE_S)
    with pytest.raises(InvalidConfiguration, match="'file' is made by another call already"):
        executor.submit(texts, {}, inputs=[file], outputs=[file])
    with pytest.raises(InvalidConfiguration, match="give each call that makes one a new TempFile"):
        executor.submit(make_at, {}, file.cleancopy(), outputs=[file])
    assert executor.submit(name_and_text, {}, file).result(PATIENCE_S)[-1] == "good"
    # Not made yet, it can only be meant as the path to write to.
    fresh = TempFile("fresh")
    executor.submit(make_at, {}, fresh, outputs=[fresh]).result(PATIENCE_S)
    assert executor.submit(name_and_text, {}, fresh).result(PATIENCE_S)[-1] == "there"


def say_and_die(stdout, outputs=()):
    Path(stdout).write_text("last words")
    Path(outputs[0]).write_text("half of it")
    os._exit(3)


def test_of_a_call_that_dies_its_words_come_back(start):
    executor = start()
    Path("whole").write_text("before")
    call = executor.submit(say_and_die, {}, stdout="w\u00f6rds", outputs=[File("whole")])
    with pytest.raises(CallDied):
        call.result(PATIENCE_S)
    assert Path("w\u00f6rds").read_text() == "last words"
    assert Path("whole").read_text() == "before"
