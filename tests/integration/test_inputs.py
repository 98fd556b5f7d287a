"""Inputs by URL and `CachedFile`s: fetched once, shared, unpacked once, and named when something is wrong with them."""

import collections
import os
import shutil
import socket
import tarfile
import time
from pathlib import Path

import parsl
import pytest
from parsl.app.errors import MissingOutputs
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.files import File
from parsl.executors.taskvine import TaskVineFactoryConfig

from tests.helpers.processes import command_by_hand, end_by_hand, left_of, start_by_hand, workers_of
from tests.helpers.waiting import wait_for_file, wait_until
from vinefast import CachedFile, URLStaging, VineFastExecutor
from vinefast._build_info import TASKVINE_VERSION
from vinefast.errors import InputMissing

OLD = tuple(map(int, TASKVINE_VERSION.split(".")[:2])) < (7, 15)

# From 7.15 on a worker that fetches as much as it may at once fails to unpack what comes then; all do it again.
MOST_UNPACKED = 1 if OLD else 2


@parsl.python_app
def read(file):
    with open(file) as opened:
        return opened.read()


@parsl.python_app
def read_all(inputs=(), extra=None):
    return [open(file).read() for file in [*inputs, *([extra] if extra else [])]]


@parsl.python_app
def listing(directory):
    import os

    found = sorted(
        os.path.relpath(os.path.join(at, name), directory) for at, _, names in os.walk(directory) for name in names
    )
    return found, os.stat(os.path.join(directory, found[0])).st_ino, os.environ.get("WORKER_ID")


@parsl.python_app
def where(file, seconds=0.2):
    import os
    import time

    time.sleep(seconds)  # so that both workers take part
    return os.environ.get("WORKER_ID"), os.stat(file).st_ino, open(file).read()


def inode_of(file):
    import os

    return os.environ.get("WORKER_ID"), os.stat(file).st_ino


@parsl.python_app
def add(x, y):
    return x + y


@parsl.python_app
def idle(outputs=()):
    return None


@pytest.fixture(params=["serverless", "regular"])
def mode(request):
    return request.param


@pytest.fixture
def start(mark, tmp_path, monkeypatch):
    """Load Parsl with workers started by hand, each in a directory of its own, which are not this one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    workers = []

    def start(n_workers=1, mode="serverless", directory=None, staging=None, cores=2):
        storage = None if staging is None else [staging, *default_staging]
        executor = VineFastExecutor(worker_launch_method="manual", function_exec_mode=mode, storage_access=storage)
        parsl.load(parsl.Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), usage_tracking=0))
        for i in range(n_workers):
            elsewhere = directory if directory and i == 0 else tmp_path / f"worker{i}"
            elsewhere.mkdir(exist_ok=True)
            command = command_by_hand(executor, "--cores", str(cores))
            workers.append(start_by_hand(command, elsewhere, WORKER_ID=str(i)))
            # One after the other, as in by_hand.
            assert wait_until(lambda i=i: executor.stats()["slots"] == (i + 1) * cores, 30)
        return executor

    yield start
    parsl.dfk().cleanup()
    assert end_by_hand(*workers)
    parsl.clear()
    assert not left_of(mark)


@pytest.fixture
def silent():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def tarball(path, **contents):
    source = Path(f"{path}.content")
    source.mkdir()
    for name, text in contents.items():
        (source / name).write_text(text)
    with tarfile.open(path, "w:gz") as tar:
        for name in contents:
            tar.add(source / name, name)
    shutil.rmtree(source)
    return path


def refusing_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_urls_that_fail_are_named_with_the_reason_and_others_get_through(start, mode, server, silent):
    address, asked, served = server
    (served / "good").write_text("good")
    start(mode=mode, staging=URLStaging(connect_timeout_s=5, idle_timeout_s=2))
    refused = f"http://127.0.0.1:{refusing_port()}/x"
    failing = {
        f"{address}/gone": "404",
        f"{address}/500": "500",
        f"{silent}/never": "Operation too slow",
        refused: "Failed to connect|Couldn't connect|Connection refused",
    }
    calls = {url: read(File(url)) for url in failing}
    good = [read(File(f"{address}/good")) for _ in range(4)] + [add(i, 1) for i in range(4)]
    assert [call.result(120) for call in good] == ["good"] * 4 + [1, 2, 3, 4]
    for url, reason in failing.items():
        with pytest.raises(InputMissing, match=rf"{url}: curl: .*({reason})"):
            calls[url].result(120)
    assert asked["/good"] == 1
    assert asked["/gone"] == 1
    assert asked["/500"] == 2


def test_many_urls_that_fail_do_not_cost_the_worker(start, server):
    address, asked, served = server
    (served / "good").write_text("good")
    executor = start(staging=URLStaging())
    assert read(File(f"{address}/good")).result(60) == "good"
    calls = [read(File(f"{address}/gone{i}")) for i in range(14)]
    same = [read(File(f"{address}/gone")) for _ in range(14)]
    for call in calls + same:
        with pytest.raises(InputMissing, match="404"):
            call.result(120)
    assert asked["/gone"] <= 2
    assert executor.stats()["workers_joined"] == 1
    (served / "gone").write_text("there now")
    assert read(File(f"{address}/gone")).result(60) == "there now"


def test_a_url_is_never_read_by_a_shell(start, server, tmp_path):
    address, asked, served = server
    name = '/a"b$(touch here)`touch there`\\c[1-2]{x}é?x=$HOME'
    (served / 'a"b$(touch here)`touch there`\\c[1-2]{x}é').write_text("as it is")
    start(staging=URLStaging())
    assert read(File(address + name)).result(60) == "as it is"
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name in ("here", "there")]
    assert sum(asked.values()) == 1


def test_two_workers_fetch_a_url_once_in_all(start, server):
    address, asked, served = server
    (served / "slow").write_text("x" * 1_000_000)
    start(n_workers=2, cores=1)
    calls = [where(CachedFile(f"{address}/slow")) for _ in range(12)]
    results = [call.result(60) for call in calls]
    assert {len(text) for _, _, text in results} == {1_000_000}
    assert {worker for worker, _, _ in results} == {"0", "1"}
    assert asked["/slow"] == 1


@pytest.mark.parametrize("cache", ["call", "workflow", "worker", "forever"])
def test_a_cached_file_reaches_workers_as_any_argument(start, mode, cache, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    Path("relative").write_text("r")
    start(mode=mode)
    files = [CachedFile(tmp_path / name, cache) for name in ("a", "b")]
    assert read_all(
        inputs=[*files, CachedFile("relative", cache)], extra=CachedFile(str(tmp_path / "c"), cache)
    ).result(60) == ["a", "b", "r", "c"]
    assert read(files[0]).result(60) == "a"
    (tmp_path / "a").write_text("changed")
    assert read(files[0]).result(60) == "changed"


def test_it_moves_even_where_workers_share_the_file_system(load, tmp_path):
    (tmp_path / "a").write_text("a")
    load()
    file = CachedFile(tmp_path / "a")
    assert file.filepath == str(tmp_path / "a")
    results = [where(file).result(60) for _ in range(2)]
    assert {text for _, _, text in results} == {"a"}
    assert {inode for _, inode, _ in results} != {os.stat(file).st_ino}
    assert len({inode for _, inode, _ in results}) == 1


def test_same_content_travels_once(start, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    start(cores=1)
    inodes = {
        cache: {where(CachedFile(tmp_path / name, cache), 0).result(60)[1] for name in "ab"}
        for cache in ("worker", "workflow")
    }
    assert len(inodes["worker"]) == 1
    assert len(inodes["workflow"]) == 2
    # What workers got is the first one's; without it, the other one's serves.
    (tmp_path / "a").unlink()
    assert read(CachedFile(tmp_path / "b", "worker")).result(60) == "same"


def test_what_is_kept_forever_is_used_by_the_next_manager(make_executor, by_hand, server, tmp_path):
    address, asked, served = server
    (served / "url").write_bytes(bytes(5_000_000))
    tarball(served / "t.tgz", one="1")
    files = [
        CachedFile(served / "url", "forever"),
        CachedFile(f"{address}/url", "forever"),
        CachedFile(served / "t.tgz", "forever", unpack=True),
    ]
    seen = []
    for workers in ("0", "01"):
        executor = make_executor(worker_launch_method="manual")
        started = []
        for worker in workers:
            options = ["--single-shot", "--cores=1", f"--workspace={tmp_path}/workspace{worker}", "--keep-workspace"]
            started.append(by_hand(executor, *options, WORKER_ID=worker))
        # What a worker answers comes after what it has to say of its files.
        assert wait_until(lambda executor=executor, workers=workers: workers_of(executor, 2) == set(workers), 30)
        seen += [[executor.submit(inode_of, {}, file).result(30) for file in files] for _ in range(2)]
        executor.shutdown()
        assert wait_until(lambda started=started: all(worker.poll() is not None for worker in started), 30)
    # In the end there are two workers; but only the one of before has the files.
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert {worker for worker, _ in seen[0]} == {"0"}
    assert asked["/url"] == 1


def test_a_directory_travels_and_its_changes_are_noticed(start, tmp_path):
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/x").write_text("old")
    start()
    directory = CachedFile(tmp_path / "tree")
    assert listing(directory).result(60)[0] == ["deep/x"]
    (tmp_path / "tree/deep/y").write_text("new")
    assert listing(directory).result(60)[0] == ["deep/x", "deep/y"]


def test_a_tarball_is_unpacked_once_per_worker(start, mode, server, tmp_path):
    address, asked, served = server
    tarball(served / "t.tgz", one="1", two="2")
    start(n_workers=2, cores=1, mode=mode)
    for source in (served / "t.tgz", f"{address}/t.tgz"):
        results = [listing(CachedFile(source, unpack=True)) for _ in range(8)]
        seen = [call.result(60) for call in results]
        assert all(names == ["one", "two"] for names, _, _ in seen)
        of_worker = collections.defaultdict(set)
        for _, inode, worker in seen:
            of_worker[worker].add(inode)
        assert all(1 <= len(inodes) <= MOST_UNPACKED for inodes in of_worker.values())
    assert 1 <= asked["/t.tgz"] <= MOST_UNPACKED


def test_a_broken_tarball_fails_its_calls_alone(start, tmp_path):
    whole = tarball(tmp_path / "whole.tar.gz", one="1")
    (tmp_path / "broken.tar.gz").write_bytes(whole.read_bytes()[:40] + b"no gzip")
    start()
    broken = [listing(CachedFile(tmp_path / "broken.tar.gz", unpack=True)) for _ in range(3)]
    good = [listing(CachedFile(whole, unpack=True)), add(1, 1)]
    for call in broken:
        with pytest.raises(InputMissing, match=r"broken\.tar\.gz: .*(gzip|tar)"):
            call.result(60)
    assert good[0].result(60)[0] == ["one"]
    assert good[1].result(60) == 2


def test_files_of_one_name_do_not_collide(start, mode, tmp_path):
    n = 20 if mode == "serverless" else 3
    for i in range(n):
        (tmp_path / f"d{i}").mkdir()
        (tmp_path / f"d{i}/data").write_text(str(i))
    start(mode=mode)
    pairs = [(i, (i + 1) % n) for i in range(n)]
    calls = [read_all(inputs=[CachedFile(tmp_path / f"d{i}/data") for i in pair]) for pair in pairs]
    assert [call.result(60) for call in calls] == [[str(i) for i in pair] for pair in pairs]


def test_what_is_missing_is_named(start, tmp_path):
    start()
    (tmp_path / "loop").symlink_to("loop")  # what not even root can read
    with pytest.raises(InputMissing, match=f"{tmp_path}/loop.*symbolic links"):
        read(CachedFile(tmp_path / "loop")).result(60)
    with pytest.raises(InputMissing, match=f"{tmp_path}/gone.*No such file"):
        read(CachedFile(tmp_path / "gone")).result(60)
    with pytest.raises(MissingOutputs, match="nothing"):
        idle(outputs=[File("nothing")]).result(60)
    with pytest.raises(InputMissing, match=f"{tmp_path}/gone.*No such file"):
        read(CachedFile(f"file:{tmp_path}/gone", "worker")).result(60)


def test_one_that_vanishes_before_it_is_sent_fails_its_call_alone(start, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    executor = start()
    blocked = [executor.submit(wait_for_file, {}, str(tmp_path / "go")) for _ in range(8)]
    vanishing, staying = (executor.submit(read.func, {}, CachedFile(tmp_path / name, "worker")) for name in ("a", "b"))
    (tmp_path / "a").unlink()
    (tmp_path / "go").touch()
    assert [call.result(60) for call in blocked] == [None] * 8
    with pytest.raises(InputMissing, match=f"{tmp_path}/a: No such file or directory"):
        vanishing.result(60)
    assert staying.result(60) == "b"


@pytest.mark.skipif(OLD, reason="TaskVine 7.14 takes a call whose file another worker fetches, and its slot waits")
def test_who_waits_for_what_another_worker_fetches_holds_up_nobody(make_executor, server):
    address, asked, served = server
    executor = make_executor(factory_config=TaskVineFactoryConfig(min_workers=2, max_workers=2, cores=1))
    assert wait_until(lambda: executor.stats()["slots"] == 2)
    reading = [executor.submit(read.func, {}, CachedFile(f"{address}/late"))]
    assert wait_until(lambda: asked["/late"])
    reading.append(executor.submit(read.func, {}, CachedFile(f"{address}/late")))
    time.sleep(0.5)
    assert [executor.submit(pow, {}, i, 1).result(5) for i in range(30)] == list(range(30))
    assert not any(future.done() for future in reading)
    (served / "late").write_text("text")
    assert [future.result(60) for future in reading] == ["text"] * 2


@pytest.fixture
def small_disk(mount_disk):
    return mount_disk(16 << 20)


def test_a_full_disk_is_told_of(small_disk, start, server, tmp_path):
    address, asked, served = server
    with open(served / "large", "wb") as file:
        file.write(os.urandom(24 << 20))
    tarball(served / "t.tgz", large="x" * (24 << 20))
    start(directory=small_disk)
    failing = [
        (read(CachedFile(f"{address}/large")), "/large: curl: .*writing"),
        (listing(CachedFile(served / "t.tgz", unpack=True)), r"t\.tgz: tar: "),
        (read(CachedFile(served / "large")), "served/large: .*is the worker's disk full"),
    ]
    good = [add(i, i) for i in range(10)]
    assert [call.result(100) for call in good] == [2 * i for i in range(10)]
    for call, reason in failing:
        with pytest.raises(InputMissing, match=reason):
            call.result(100)


def test_a_large_file_goes_where_it_fits(small_disk, start, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (24 << 20))
    executor = start(n_workers=2, cores=1, directory=small_disk)
    calls = [where(CachedFile(tmp_path / "large")) for _ in range(6)]
    assert {call.result(60)[0] for call in calls} == {"1"}
    assert executor.stats()["workers_joined"] == 2


def test_a_file_is_looked_at_once_for_many_calls(make_executor, tmp_path):
    executor = make_executor()
    path = tmp_path / "shared"
    path.write_text("x")
    file = CachedFile(str(path))
    for _ in range(3):
        executor.submit(name_of_first, None, file).result(30)
    n_calls = 3000
    before = executor.stats()
    futures = [executor.submit(name_of_first, None, file) for _ in range(n_calls)]
    assert {future.result(60) for future in futures} == {"x"}
    after = executor.stats()
    assert after["files_looked_at"] - before["files_looked_at"] < n_calls  # it was three times for each


def name_of_first(file):
    with open(file.filepath) as content:
        return content.read()
