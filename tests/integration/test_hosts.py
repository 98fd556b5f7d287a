"""Workers on several hosts: what travels between them, and what happens when one is lost."""

import errno
import os
import signal
import sys
import time

import pytest
from parsl.data_provider.files import File

from tests.helpers.waiting import wait_until

FILE_NBYTES = 8 << 20


def place(manager_address, seconds=0.0):
    """Where this runs, by name and by address."""
    import socket
    import time

    time.sleep(seconds)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((manager_address, 1))
        return socket.gethostname(), probe.getsockname()[0]


def test_each_host_has_a_name_and_an_address(make_cluster):
    cluster, executor = make_cluster(3, shared_fs=True)
    futures = [executor.submit(place, {}, cluster.manager_address, 0.3) for _ in range(6)]
    assert {f.result(60) for f in futures} == set(zip(cluster.names, cluster.addresses, strict=True))
    assert os.uname().nodename not in cluster.names


@pytest.mark.parametrize(("peers", "times"), [(True, 1), (False, 3)])
def test_an_input_goes_to_each_host_once_and_from_the_manager_only_where_peers_may_not(
    make_cluster, tmp_path, monkeypatch, peers, times
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").write_bytes(os.urandom(FILE_NBYTES))
    # Where calls run is not what this is about: all hosts take some.
    cluster, executor = make_cluster(3, enable_peer_transfers=peers, tune_parameters={"locality": False})

    def size(file, seconds):
        import os
        import socket
        import time

        time.sleep(seconds)
        return socket.gethostname(), os.path.getsize(file)

    before = cluster.sent_by_manager()
    first, nbytes = executor.submit(size, {}, File("input"), 0).result(60)
    assert nbytes == FILE_NBYTES
    assert cluster.sent_by_manager() - before > FILE_NBYTES
    futures = [executor.submit(size, {}, File("input"), 0.5) for _ in range(6)]
    assert {f.result(60) for f in futures} == {(name, FILE_NBYTES) for name in cluster.names}
    # Beside the file goes the library, and what the network adds.
    assert times <= (cluster.sent_by_manager() - before) / FILE_NBYTES < times + 0.5


def test_the_calls_of_a_lost_host_run_again_elsewhere(make_cluster, tmp_path):
    cluster, executor = make_cluster(3, shared_fs=True)
    log = tmp_path / "log"

    def note(i, log):
        import socket
        import time

        with open(log, "a") as file:
            file.write(f"{i} {socket.gethostname()}\n")
        time.sleep(1.0)
        return socket.gethostname()

    def begun_on_host_0():
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(i) for i, host in map(str.split, lines) if host == cluster.names[0]]

    futures = [executor.submit(note, {}, i, str(log)) for i in range(3)]
    assert wait_until(begun_on_host_0)
    cluster.kill(0)
    results = [f.result(60) for f in futures]
    assert set(results) <= set(cluster.names[1:])
    assert begun_on_host_0()
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2)


def test_a_host_that_was_cut_off_for_a_while_goes_on(make_cluster):
    cluster, executor = make_cluster(1, shared_fs=True)
    executor.submit(place, {}, cluster.manager_address).result(60)
    cluster.cut(0)
    future = executor.submit(place, {}, cluster.manager_address)
    time.sleep(0.5)
    assert not future.done()
    cluster.mend(0)
    assert future.result(60) == (cluster.names[0], cluster.addresses[0])


def test_two_hosts_cut_from_each_other_still_reach_the_manager(make_hosts):
    cluster = make_hosts(3)
    # Each answers at once that nobody listens there, if it is asked at all.
    knock = "import socket, sys; s = socket.socket(); s.settimeout(1.0); sys.exit(s.connect_ex((sys.argv[1], 9)))"

    def answers(i, address):
        return cluster.start(i, [sys.executable, "-S", "-c", knock, address]).wait(30) == errno.ECONNREFUSED

    assert answers(0, cluster.addresses[1])
    cluster.cut_between(0, 1)
    assert not answers(0, cluster.addresses[1])
    assert not answers(1, cluster.addresses[0])
    assert answers(0, cluster.addresses[2])
    assert answers(1, cluster.manager_address)
    cluster.mend_between(0, 1)
    assert answers(0, cluster.addresses[1])


def test_nothing_of_a_network_is_left(make_hosts):
    cluster = make_hosts(2)
    assert cluster.device in os.listdir("/sys/class/net")
    sleeper = cluster.start(1, ["sleep", "60"])
    cluster.close()
    assert sleeper.returncode == -signal.SIGKILL
    assert wait_until(lambda: cluster.device not in os.listdir("/sys/class/net"))
