"""Files and values that stay on workers, on this machine."""

import contextlib
import gc
import glob
import os
import pickle
import select
import socket
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import parsl
import psutil
import pytest
from parsl.app.errors import MissingOutputs
from parsl.dataflow.errors import DependencyError
from parsl.executors import ThreadPoolExecutor
from parsl.executors.taskvine import TaskVineManagerConfig

import vinefast
from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until
from vinefast import Kept, TempFile, VineFastExecutor
from vinefast.errors import EngineStopped, InputMissing, InvalidConfiguration


@parsl.python_app
def write(text, seconds=0, outputs=()):
    import time

    time.sleep(seconds)
    with open(outputs[0], "w") as file:
        file.write(text)


@parsl.python_app
def read(file):
    with open(file) as opened:
        return opened.read()


@parsl.python_app
def cache_of(file):
    """The directory in which this worker keeps its files."""
    import os

    sandbox = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(file))))
    return os.path.join(os.path.dirname(sandbox), "cache")


@vinefast.python_app(keep=True)
def arange(n):
    import numpy

    return numpy.arange(n)


@parsl.python_app
def total(*arrays, more=()):
    return sum(int(array.sum()) for array in [*arrays, *more])


@pytest.fixture(params=["serverless", "regular"])
def executor(request, load):
    return load(function_exec_mode=request.param)


@pytest.fixture
def serverless(load):
    return load()


def temps_in(cache):
    return [path for path in glob.glob(f"{cache}/temp-*") if not path.endswith(".meta")]


def test_a_file_goes_from_app_to_app_and_not_to_the_manager(executor):
    text = "x" * 100_000
    written = write(text, outputs=[TempFile("x.txt")])
    assert read(written.outputs[0]).result() == text
    assert read(file=written.outputs[0].result()).result() == text
    stats = executor.stats()
    assert stats["temps_made"] == 1
    assert stats["manager_bytes_received"] == 0


def test_it_has_its_name_on_workers(serverless):
    @parsl.python_app
    def name(inputs=()):
        return inputs[0].filename, inputs[0].filepath

    written = write("", outputs=[TempFile("odd #?%41.xyz")])
    filename, path = name(inputs=written.outputs).result()
    assert filename == "odd #?%41.xyz"
    assert path.endswith("/odd #?%41.xyz")


def test_files_of_the_same_name_do_not_meet(serverless):
    written = [write(str(i), outputs=[TempFile("same")]) for i in range(100)]

    @parsl.python_app
    def join(inputs=()):
        return [open(file).read() for file in inputs]

    assert join(inputs=[w.outputs[0] for w in written]).result() == [str(i) for i in range(100)]


def test_it_is_fetched_when_asked_for_and_once(serverless, tmp_path):
    file = write("text", outputs=[TempFile("a")]).outputs[0].result()
    before = serverless.stats()["calls_submitted"]
    assert Path(file.fetch(str(tmp_path / "b" / "c"))).read_text() == "text"
    assert Path(tmp_path / "b" / "c").read_text() == "text"
    with open(file) as opened:  # as a consumer on this machine does
        assert opened.read() == "text"
    assert Path(file.filepath).read_text() == "text"
    assert serverless.stats()["calls_submitted"] == before + 2
    assert os.path.commonpath([file.filepath, serverless.run_dir]) == serverless.run_dir


def test_a_directory_is_a_file_too(serverless, tmp_path):
    @parsl.python_app
    def fill(outputs=()):
        import os

        os.makedirs(f"{outputs[0]}/deep")
        open(f"{outputs[0]}/deep/file", "w").write("in it")

    @parsl.python_app
    def look(directory):
        return open(f"{directory}/deep/file").read()

    filled = fill(outputs=[TempFile("tree")])
    assert look(filled.outputs[0]).result() == "in it"
    assert Path(filled.outputs[0].result().fetch(str(tmp_path / "tree")), "deep/file").read_text() == "in it"


def test_other_executors_get_it_as_a_file_of_this_machine(mark, tmp_path):
    config = parsl.Config(
        executors=[vinefast.VineFastExecutor(label="there"), ThreadPoolExecutor(label="here")],
        run_dir=str(tmp_path / "runinfo"),
        usage_tracking=0,
    )
    with parsl.load(config):

        @parsl.python_app(executors=["there"])
        def make(outputs=()):
            open(outputs[0], "w").write("made there")

        @parsl.python_app(executors=["here"])
        def use(file):
            return open(file).read()

        made = make(outputs=[TempFile("f")])
        assert use(made.outputs[0]).result() == "made there"
        assert Path(pickle.loads(pickle.dumps(made.outputs[0].result())).filepath).read_text() == "made there"


def test_it_is_deleted_with_the_last_reference(make_executor):
    executor = make_executor()  # without Parsl, whose log messages are kept here, with all that they are about
    file, other = TempFile("a"), TempFile("b")
    for each in (file, other):
        executor.submit(write.func, {}, "text", outputs=[each]).result(30)
    cache = executor.submit(cache_of.func, {}, file).result(30)
    assert wait_until(lambda: len(temps_in(cache)) == 2)
    copy = file.cleancopy()
    del file, each
    gc.collect()
    time.sleep(0.3)
    assert len(temps_in(cache)) == 2
    assert executor.submit(read.func, {}, copy).result(30) == "text"
    del copy
    assert wait_until(lambda: gc.collect() is not None and len(temps_in(cache)) == 1)
    assert executor.submit(read.func, {}, other).result(30) == "text"


def test_an_executor_that_nobody_holds_lives_as_long_as_what_its_calls_have_left_on_workers(mark, tmp_path):
    executor = VineFastExecutor()
    executor.run_dir = str(tmp_path)
    executor.start()
    file = TempFile("a")
    executor.submit(write.func, {}, "text", outputs=[file]).result(30)
    alive = weakref.ref(executor)
    del executor
    gc.collect()
    assert Path(file.fetch(timeout=30)).read_text() == "text"
    del file
    gc.collect()
    assert alive() is None
    assert not left_of(mark, 30)


def test_what_is_asked_for_before_it_is_made_waits(serverless):
    file = TempFile("late")
    making = serverless.submit(write.func, {}, "late text", seconds=0.5, outputs=[file])
    reading = [serverless.submit(read.func, {}, file) for _ in range(5)]
    assert [future.result(30) for future in reading] == ["late text"] * 5
    assert making.result(30) is None


def test_a_call_that_is_cancelled_while_it_waits_for_a_file_never_runs(serverless, tmp_path):
    def write_when(gate, outputs):
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.01)
        open(outputs[0], "w").close()

    def touch(path, file):
        open(path, "w").close()

    file = TempFile("late")
    making = serverless.submit(write_when, {}, tmp_path / "gate", outputs=[file])
    cancelled, other = (serverless.submit(touch, {}, tmp_path / name, file) for name in ("cancelled", "other"))
    serverless.submit(abs, {}, -1).result(30)  # when its turn has come, theirs has
    assert cancelled.cancel()
    Path(tmp_path / "gate").touch()
    assert making.result(30) is None and other.result(30) is None
    assert wait_until(lambda: serverless.outstanding() == 0)
    assert Path(tmp_path / "other").exists() and not Path(tmp_path / "cancelled").exists()
    assert cancelled.cancelled()


def test_the_error_of_what_fails_to_make_it(serverless):
    @parsl.python_app
    def fail(outputs=()):
        raise LookupError("on purpose")

    @parsl.python_app
    def forget(outputs=()):
        pass

    failed = fail(outputs=[TempFile("never")])
    with pytest.raises(DependencyError):
        read(failed.outputs[0]).result()
    with pytest.raises(MissingOutputs, match="has not made gone"):
        forget(outputs=[TempFile("gone")]).result()

    file = TempFile("never")
    making = serverless.submit(fail.func, {}, outputs=[file])
    reading = [serverless.submit(read.func, {}, file) for _ in range(3)]
    for future in reading:
        with pytest.raises(InputMissing, match="never: the call that makes this temporary file has failed"):
            future.result(30)
    with pytest.raises(LookupError):
        making.result(30)
    with pytest.raises(InputMissing, match="never"):
        file.fetch()


@pytest.mark.parametrize("way", ["raise", "exit"])
def test_what_a_failed_call_has_written_is_not_read(serverless, way):
    def half(way, outputs=()):
        import os

        with open(outputs[0], "w") as file:
            file.write("half of it")
        if way == "exit":
            os._exit(1)
        raise LookupError("on purpose")

    half = parsl.python_app(half)
    file = TempFile("half")
    making = serverless.submit(half.func, {}, way, outputs=[file])
    with pytest.raises(InputMissing, match="half: the call that makes this temporary file has failed"):
        serverless.submit(read.func, {}, file).result(30)
    assert making.exception(30)
    serverless.submit(write.func, {}, "all of it", outputs=[file]).result(30)
    assert serverless.submit(read.func, {}, file).result(30) == "all of it"


def test_it_can_be_made_at_the_second_try(load, tmp_path):
    executor = load({"retries": 1})

    @parsl.python_app
    def make(flag, outputs=()):
        import os

        if not os.path.exists(flag):
            open(flag, "w").close()
            raise LookupError("the first time")
        open(outputs[0], "w").write("second")

    made = make(str(tmp_path / "flag"), outputs=[TempFile("f")])
    assert read(made.outputs[0]).result() == "second"
    assert executor.stats()["temps_made"] == 1


def test_what_nobody_makes_is_refused(serverless):
    with pytest.raises(InputMissing, match="'none': no app makes this temporary file"):
        read(TempFile("none")).result()
    with pytest.raises(InputMissing, match="'none': no app makes this temporary file"):
        TempFile("none").fetch()
    assert read(write("text", outputs=[TempFile("a")]).outputs[0]).result() == "text"


@pytest.mark.parametrize("name", ["", ".", "a/..", 3, "a\0b"])
def test_names_that_cannot_be(name):
    with pytest.raises(InvalidConfiguration, match="the name of a TempFile is .*; accepted: a string"):
        TempFile(name)


def test_it_belongs_to_one_executor(make_executor):
    one, other = make_executor(), make_executor()
    file = TempFile("a")
    one.submit(write.func, {}, "text", outputs=[file]).result(30)
    with pytest.raises(InvalidConfiguration, match="'a' lies on the workers of another executor"):
        other.submit(write.func, {}, "text", outputs=[file])
    # To read it there it comes here first.
    assert other.submit(read.func, {}, file).result(30) == "text"
    one.shutdown()
    with pytest.raises(EngineStopped):
        file.fetch(path="elsewhere")


def test_without_peer_transfers_files_go_through_the_manager(make_executor, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, enable_peer_transfers=False))
    file = TempFile("a")
    executor.submit(write.func, {}, "text" * 1000, outputs=[file]).result(30)
    assert executor.submit(read.func, {}, file).result(30) == "text" * 1000
    assert wait_until(lambda: executor.stats()["manager_bytes_received"] == 4000)
    kept = glob.glob(str(tmp_path / "**/temporary-files/*"), recursive=True)
    assert len(kept) == 1
    del file
    assert wait_until(lambda: gc.collect() is not None and not os.path.exists(kept[0]))


def lets_take_sockets():
    """Whether a process may take the sockets of others of its user."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"


@pytest.mark.skipif(not lets_take_sockets(), reason="this kernel keeps a worker's socket from its library")
def test_many_may_ask_one_worker_for_files_at_once(make_executor, by_hand):
    executor = make_executor(worker_launch_method="manual")
    worker = psutil.Process(by_hand(executor).pid)
    executor.submit(abs, {}, -1).result(30)
    ((server, port),) = [
        (child, connection.laddr.port)
        for child in worker.children()
        for connection in child.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    server.suspend()  # as it is between two turns on a busy machine
    with contextlib.ExitStack() as stack:
        stack.callback(server.resume)
        peers = [stack.enter_context(socket.socket()) for _ in range(50)]
        for peer in peers:
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", port))
        assert wait_until(lambda: len(select.select([], peers, [], 0)[1]) == len(peers), 5)
        assert [peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for peer in peers] == [0] * len(peers)


def test_values_go_from_app_to_app(executor):
    kept = [arange(100_000) for _ in range(3)]
    assert total(kept[0], kept[1], more=[kept[2].result()]).result() == 3 * sum(range(100_000))
    stats = executor.stats()
    assert stats["manager_bytes_received"] == 0
    assert stats["bytes_returned"] < 10_000
    reference = kept[0].result()
    assert isinstance(reference, Kept)
    assert 800_000 <= reference.nbytes < 801_000
    assert "arange" in repr(reference)
    assert np.array_equal(reference.result(), np.arange(100_000))
    assert np.array_equal(pickle.loads(pickle.dumps(reference)), np.arange(100_000))


def test_a_reader_may_change_its_copy_of_a_value(serverless):
    @parsl.python_app
    def clear(array):
        array[:] = 0
        return array.flags.writeable

    kept = arange(100_000)
    assert clear(kept).result()
    assert total(kept).result() == sum(range(100_000))


@pytest.mark.parametrize(
    "value", [None, 3, "text", {"a": [1, 2]}, lambda x: x + 1], ids=lambda value: type(value).__name__
)
def test_any_value_can_be_kept(serverless, value):
    @vinefast.python_app(keep=True)
    def give(value):
        return value

    found = give(value).result().result()
    assert found(1) == 2 if callable(value) else found == value


def test_an_app_that_fails_keeps_nothing(serverless):
    @vinefast.python_app(keep=True)
    def fail():
        raise LookupError("on purpose")

    @vinefast.python_app(keep=True)
    def unpicklable():
        return (i for i in range(3))

    with pytest.raises(LookupError, match="on purpose"):
        fail().result()
    with pytest.raises(Exception, match="pickle"):
        unpicklable().result()


def test_values_are_deleted_too(make_executor):
    executor = make_executor()
    file = TempFile("a")
    executor.submit(write.func, {}, "", outputs=[file]).result(30)
    cache = executor.submit(cache_of.func, {}, file).result(30)
    kept = [executor.submit(arange.func, {}, 1000).result(30) for _ in range(5)]
    assert wait_until(lambda: len(temps_in(cache)) == 6)
    kept.clear()
    assert wait_until(lambda: gc.collect() is not None and len(temps_in(cache)) == 1)


def test_bundles_of_many(serverless):
    """Many to a bundle, each with files of its own."""
    files = [TempFile("n") for _ in range(500)]
    for i, file in enumerate(files):
        serverless.submit(write.func, {}, str(i), outputs=[file])
    futures = [serverless.submit(read.func, {}, file) for file in files]
    assert [int(future.result(60)) for future in futures] == list(range(500))
    assert serverless.stats()["bundles_sent"] < 1000


def test_threads_that_submit_at_once_keep_their_files_apart(serverless):
    files = [TempFile("n") for _ in range(40)]
    found = {}

    def submit(part):
        for i in part:
            serverless.submit(write.func, {}, str(i), outputs=[files[i]])
            found[i] = serverless.submit(read.func, {}, files[i])

    threads = [threading.Thread(target=submit, args=(range(k, 40, 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: int(future.result(30)) for i, future in found.items()} == {i: i for i in range(40)}


def test_executors_that_share_a_log_directory_keep_their_files_apart(make_executor, tmp_path):
    def config():
        return TaskVineManagerConfig(port=0, enable_peer_transfers=False, vine_log_dir=str(tmp_path / "logs"))

    executors = [make_executor(manager_config=config()) for _ in range(2)]
    files = [TempFile("a"), TempFile("a")]
    for i, (executor, file) in enumerate(zip(executors, files, strict=True)):
        executor.submit(write.func, {}, f"of {i}", outputs=[file]).result(30)
    found = [executor.submit(read.func, {}, file) for executor, file in zip(executors, files, strict=True)]
    assert [future.result(30) for future in found] == ["of 0", "of 1"]
    assert len(glob.glob(str(tmp_path / "logs/temporary-files/*"))) == 2
