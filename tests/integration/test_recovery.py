"""Files and values that stay on workers, on several hosts: where they travel, and what happens when hosts are lost."""

import gc
import os
import socket
import time

import psutil
import pytest

import vinefast
from tests.helpers.waiting import wait_until
from vinefast import TempFile, Tuning
from vinefast.events import layout
from vinefast.events.audit_log import audit_log
from vinefast.events.file import EventFile

FILE_NBYTES = 4 << 20


def write(log, name, nbytes, seconds=0.0, inputs=(), outputs=()):
    """Note that it ran, and where; the file is as long as was asked for."""
    import os
    import socket
    import time

    time.sleep(seconds)
    with open(log, "a") as file:
        file.write(f"{name} {socket.gethostname()}\n")
    for each in inputs:
        os.stat(each)
    with open(outputs[0], "wb") as file:
        file.write(os.urandom(nbytes))


def size(file, seconds=0.0):
    import os
    import socket
    import time

    time.sleep(seconds)
    return socket.gethostname(), os.path.getsize(file)


@vinefast.mark(keep=True)
def make_list(log, n):
    import socket

    with open(log, "a") as file:
        file.write(f"list {socket.gethostname()}\n")
    return list(range(n))


class Log:
    """What ran where."""

    def __init__(self, path):
        self.path = str(path)

    def lines(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as file:
            return [tuple(line.split()) for line in file]

    def hosts(self):
        return dict(self.lines())

    def count(self, name):
        return sum(found == name for found, _ in self.lines())


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log")


def tuned(**values):
    """Hosts that are cut off are soon given up."""
    return Tuning(keepalive_interval=2, keepalive_timeout=3, **values)


def make_files(executor, log, n, nbytes=1000, seconds=0.3):
    """Make files, on all hosts alike."""
    files = [TempFile(f"f{i}") for i in range(n)]
    futures = [
        executor.submit(write, {}, log.path, f"f{i}", nbytes, seconds, outputs=[file]) for i, file in enumerate(files)
    ]
    for future in futures:
        future.result(60)
    return files


def replicas_done(executor, cluster, n, hosts=slice(None)):
    """Wait until so many replicas are on the hosts, and the manager has heard of them."""
    caches = [os.path.join(str(cluster._directory), name) for name in cluster.names[hosts]]

    def count():
        return sum(
            name.startswith("temp-") and not name.endswith(".meta")
            for cache in caches
            for directory, _, names in os.walk(cache)
            if directory.endswith("/cache")
            for name in names
        )

    assert wait_until(lambda: count() >= n, 60)
    time.sleep(1.0)


def test_a_file_crosses_from_host_to_host_and_not_the_manager(make_cluster, log):
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned(locality=False))
    (file,) = make_files(executor, log, 1, FILE_NBYTES)
    before = cluster.sent_by_manager()
    futures = [executor.submit(size, {}, file, 0.5) for _ in range(6)]
    assert {future.result(60) for future in futures} == {(name, FILE_NBYTES) for name in cluster.names}
    assert cluster.sent_by_manager() - before < FILE_NBYTES / 4
    stats = executor.stats()
    assert stats["files_moved"] == 1
    assert stats["file_bytes_moved"] == FILE_NBYTES
    assert stats["manager_bytes_received"] < FILE_NBYTES / 4


def test_calls_go_where_their_files_are(make_cluster, log):
    cluster, executor = make_cluster(3, shared_fs=True, tune_parameters=tuned())
    files = make_files(executor, log, 12, FILE_NBYTES, 0.1)
    assert set(log.hosts().values()) == set(cluster.names)
    futures = {f"f{i}": executor.submit(size, {}, file) for i, file in enumerate(files)}
    assert {name: future.result(60)[0] for name, future in futures.items()} == log.hosts()
    assert executor.stats()["files_moved"] == 0


def test_with_one_replica_exactly_the_lost_ones_are_made_again(make_cluster, log):
    cluster, executor = make_cluster(3, shared_fs=True, tune_parameters=tuned())
    first = executor.stats()["calls_submitted"]
    files = make_files(executor, log, 9)
    lost = [name for name, host in log.hosts().items() if host == cluster.names[0]]
    assert lost
    cluster.kill(0)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2)
    assert executor.stats()["temps_lost"] == len(lost)
    assert executor.stats()["calls_remade"] == 0  # nobody has asked yet
    futures = [executor.submit(size, {}, file) for file in files]
    assert [future.result(60)[1] for future in futures] == [1000] * 9
    assert executor.stats()["calls_remade"] == len(lost)
    assert {name: log.count(name) for name in log.hosts()} == {f"f{i}": 1 + (f"f{i}" in lost) for i in range(9)}
    assert executor.stats()["calls_returned"] == executor.stats()["calls_submitted"]
    executor.shutdown()
    # By their own numbers: a call that makes a file again was once told of as call 0.
    log_path = f"{executor.run_dir}/{executor.label}/events"
    bodies = [body for kind, body in EventFile(log_path).records() if kind == layout.REMADE]
    remade = sorted(layout.REMADE_BODY.unpack(body)[1] for body in bodies)
    assert remade == sorted(first + int(name[1:]) for name in lost)
    assert audit_log(log_path).verdict == "passed"


def test_with_two_replicas_nothing_is_lost_and_nothing_made_again(make_cluster, log):
    cluster, executor = make_cluster(3, shared_fs=True, tune_parameters=tuned(temp_replica_count=2))
    files = make_files(executor, log, 9)
    replicas_done(executor, cluster, 18)
    cluster.kill(0)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2)
    futures = [executor.submit(size, {}, file) for file in files]
    assert [future.result(60)[1] for future in futures] == [1000] * 9
    stats = executor.stats()
    assert (stats["temps_lost"], stats["calls_remade"]) == (0, 0)
    assert len(log.lines()) == 9


def test_transfer_temps_recovery_replicates_again_what_has_lost_a_replica(make_cluster, log):
    tuning = tuned(temp_replica_count=2, transfer_temps_recovery=True)
    cluster, executor = make_cluster(3, shared_fs=True, tune_parameters=tuning)
    files = make_files(executor, log, 6)
    for lost in (0, 1):
        replicas_done(executor, cluster, 12, slice(lost, None))
        cluster.kill(lost)
        assert wait_until(lambda lost=lost: executor.stats()["workers_connected"] == 2 - lost)
    futures = [executor.submit(size, {}, file) for file in files]
    assert [future.result(60) for future in futures] == [(cluster.names[2], 1000)] * 6
    assert executor.stats()["calls_remade"] == 0


def test_files_may_be_forgotten_while_they_are_replicated(make_cluster, log):
    """A worker that is told to delete what it fetches would abort."""
    cluster, executor = make_cluster(3, shared_fs=True, tune_parameters=tuned(temp_replica_count=2))
    for _ in range(12):
        make_files(executor, log, 6, seconds=0.02)
    assert len(log.lines()) == 72
    assert executor.stats()["workers_joined"] == 3


def test_immediate_recovery_makes_lost_files_again_at_once(make_cluster, log):
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned(immediate_recovery=True))
    files = make_files(executor, log, 6)
    lost = [name for name, host in log.hosts().items() if host == cluster.names[0]]
    assert lost
    cluster.kill(0)
    assert wait_until(lambda: executor.stats()["temps_made"] == 6 + len(lost), 30)
    assert [executor.submit(size, {}, file).result(30)[1] for file in files] == [1000] * 6
    assert len(log.lines()) == 6 + len(lost)


def test_what_made_a_lost_file_is_made_again_first(make_cluster, log):
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned())
    files = [TempFile(f"f{i}") for i in range(4)]
    for i, file in enumerate(files):
        executor.submit(write, {}, log.path, f"f{i}", 1000, inputs=files[:i][-1:], outputs=[file]).result(30)
    last = files.pop()
    (host,) = set(log.hosts().values())  # each went where the one before was
    files.clear()
    del file
    gc.collect()
    cluster.kill(cluster.names.index(host))
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1)
    assert executor.submit(size, {}, last).result(60)[1] == 1000
    assert [log.count(f"f{i}") for i in range(4)] == [2, 2, 2, 2]
    assert executor.stats()["calls_remade"] == 4


def test_what_several_lost_files_were_made_from_is_made_again_once(make_cluster, log):
    """Three ways lead from each of six files to the next: one by one, that would be 729 ways through all of them."""
    cluster, executor = make_cluster(1, shared_fs=True, tune_parameters=tuned())
    last, n = [], 0
    for _ in range(6):
        sides = [TempFile("side") for _ in range(2)]
        for side in sides:
            executor.submit(write, {}, log.path, f"f{(n := n + 1)}", 10, inputs=last, outputs=[side])
        before, last = last, [TempFile("next")]
        executor.submit(write, {}, log.path, f"f{(n := n + 1)}", 10, inputs=[*sides, *before], outputs=last)
    assert executor.submit(size, {}, last[0]).result(60)[1] == 10
    del sides, side, before
    gc.collect()
    cluster.kill(0)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0)
    cluster.start_worker(0, executor, "--cores", "1")
    assert executor.submit(size, {}, last[0]).result(60)[1] == 10
    assert executor.stats()["calls_remade"] == n
    assert {name: log.count(name) for name in log.hosts()} == {f"f{i}": 2 for i in range(1, n + 1)}


def test_calls_that_wait_for_a_lost_file_get_it(make_cluster, log):
    """Among them such as TaskVine has already."""
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned())
    (file,) = make_files(executor, log, 1, seconds=0)
    (host,) = log.hosts().values()
    futures = [executor.submit(size, {}, file, 1.0) for _ in range(6)]
    time.sleep(0.5)
    cluster.kill(cluster.names.index(host))
    assert [future.result(90)[1] for future in futures] == [1000] * 6


def test_values_are_made_again(make_cluster, log):
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned())
    kept = executor.submit(make_list, {}, log.path, 1000).result(30)
    cluster.kill(cluster.names.index(log.hosts()["list"]))
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1)
    assert executor.submit(sum, {}, kept).result(60) == sum(range(1000))
    assert kept.result(30) == list(range(1000))
    assert log.count("list") == 2


def test_what_cannot_be_made_again_fails_its_readers(make_cluster, log, tmp_path):
    flag = tmp_path / "may run"
    flag.touch()

    def make(log, flag, outputs=()):
        import os
        import socket

        if not os.path.exists(flag):
            raise LookupError("not again")
        with open(log, "a") as file:
            file.write(f"made {socket.gethostname()}\n")
        open(outputs[0], "w").close()

    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned())
    file = TempFile("once")
    executor.submit(make, {}, log.path, str(flag), outputs=[file]).result(30)
    flag.unlink()
    cluster.kill(cluster.names.index(log.hosts()["made"]))
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1)
    with pytest.raises(vinefast.errors.InputMissing, match="once: the call that makes this temporary file has failed"):
        executor.submit(size, {}, file).result(60)
    assert executor.submit(pow, {}, 2, 3).result(30) == 8


def connections_to(cluster, i, executor):
    """Count the peers that host i serves now."""

    def number(address):
        ip, port = address.split(":")
        return socket.inet_ntoa(bytes.fromhex(ip)[::-1]), int(port, 16)

    with open(f"/proc/{cluster._hosts[i].holder.pid}/net/tcp") as table:
        rows = [line.split()[1:4] for line in table.readlines()[1:]]
    ends = [(number(local), number(remote)) for local, remote, state in rows if state == "01"]
    return sum(local[0] == cluster.addresses[i] and remote[1] != executor.port for local, remote in ends)


@pytest.mark.parametrize(("limit", "fits"), [(1, lambda most: most == 1), (3, lambda most: most > 1)])
def test_a_worker_serves_as_many_peers_as_the_limit_says(make_cluster, log, limit, fits):
    tuning = tuned(locality=False, worker_source_max_transfers=limit)
    cluster, executor = make_cluster(4, shared_fs=True, tune_parameters=tuning)
    (file,) = make_files(executor, log, 1, 150 << 20, seconds=0)
    source = cluster.names.index(log.hosts()["f0"])
    futures = [executor.submit(size, {}, file, 5.0) for _ in range(4)]
    most = 0
    while not all(future.done() for future in futures):
        most = max(most, connections_to(cluster, source, executor))
        time.sleep(0.002)
    assert {future.result(0) for future in futures} == {(name, 150 << 20) for name in cluster.names}
    assert fits(most)


def test_a_host_that_is_cut_off_in_the_middle_of_a_transfer(make_cluster, log):
    tuning = tuned(locality=False, min_transfer_timeout=1, peer_stall_timeout=3)
    cluster, executor = make_cluster(3, shared_fs=True, tune_parameters=tuning)
    (file,) = make_files(executor, log, 1, 200 << 20, seconds=0)
    source = cluster.names.index(log.hosts()["f0"])
    futures = [executor.submit(size, {}, file, 0.2) for _ in range(9)]
    assert wait_until(lambda: list(cluster._directory.glob("*/worker-*/transfer/temp-*")))
    cluster.cut(source)
    assert {future.result(100)[1] for future in futures} == {200 << 20}
    assert executor.submit(pow, {}, 2, 3).result(30) == 8


def test_hosts_that_cannot_reach_each_other(make_cluster, log):
    """The manager reaches both: what cannot be moved is used where it is."""
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=tuned(peer_stall_timeout=3))
    files = make_files(executor, log, 4)
    cluster.cut_between(0, 1)
    futures = [executor.submit(size, {}, file) for file in files]
    assert [future.result(60)[1] for future in futures] == [1000] * 4


def test_what_a_worker_fetches_while_its_source_dies_is_deleted_in_the_end(make_cluster, log):
    """The worker has it all, but has not said so, when the others take it for lost and have it made again."""
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=Tuning(locality=False))
    (file,) = make_files(executor, log, 1, 100 << 20, seconds=0)
    source = cluster.names.index(log.hosts()["f0"])
    other = cluster._directory / cluster.names[1 - source]
    worker = psutil.Process(cluster._processes[1 - source].pid)
    reading = [executor.submit(size, {}, file, 0.2) for _ in range(4)]
    assert wait_until(lambda: list(other.glob("worker-*/transfer/temp-*")))
    worker.suspend()  # but not the process of its that fetches
    try:
        (coming,) = other.glob("worker-*/transfer/temp-*")
        assert wait_until(lambda: coming.stat().st_size == 100 << 20)
        cluster.kill(source)
        assert wait_until(lambda: executor.stats()["calls_remade"] > 0)
    finally:
        worker.resume()
    assert {future.result(60)[1] for future in reading} == {100 << 20}
    del file, reading

    def left():
        gc.collect()
        return [path for path in other.glob("worker-*/cache/temp-*") if path.suffix != ".meta"]

    assert wait_until(lambda: not left(), 20)


def test_a_worker_that_is_killed_while_it_fetches_is_known_to_have_left(make_cluster, log):
    """What fetches is a process of its own, which a source that stands still keeps for an hour."""
    cluster, executor = make_cluster(2, shared_fs=True, tune_parameters=Tuning(locality=False))
    (file,) = make_files(executor, log, 1, 200 << 20, seconds=0)
    source = cluster.names.index(log.hosts()["f0"])
    other = cluster._directory / cluster.names[1 - source]
    reading = [executor.submit(size, {}, file, 0.2) for _ in range(4)]
    assert wait_until(lambda: list(other.glob("worker-*/transfer/temp-*")))
    cluster.cut(source)
    worker = psutil.Process(cluster._processes[1 - source].pid)
    before = worker.children(recursive=True)
    worker.kill()
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1)
    assert wait_until(lambda: not [p for p in before if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
    cluster.mend(source)
    assert {future.result(60)[1] for future in reading} == {200 << 20}
