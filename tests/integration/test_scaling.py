"""Workers come when there is much to do, and leave when there is not: by vine_factory, and by Parsl's strategies."""

import os
import re
import shutil
import socket
import struct
import time
from pathlib import Path

import parsl
import psutil
import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.taskvine import TaskVineFactoryConfig
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState
from parsl.providers import LocalProvider

from tests.helpers.waiting import wait_for_file, wait_until
from vinefast.workers.programs import find_program

needs_ps = pytest.mark.skipif(shutil.which("ps") is None, reason="Parsl's LocalProvider calls ps to cancel a block")


def workers(executor):
    return executor.stats()["workers_connected"]


@pytest.fixture
def held_factory(tmp_path, monkeypatch):
    """TaskVine's factory looks twice a minute how much there is to do: here for the first time when it is let go."""
    gate = tmp_path / "go"
    program = tmp_path / "prefix" / "bin" / "vine_factory"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\nuntil [ -e {gate} ]; do sleep 0.05; done\nexec {find_program("vine_factory")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path / "prefix"))
    return gate


@pytest.fixture
def scale_out(make_executor, held_factory, tmp_path):
    """An executor with at most three workers, more calls than these can take, and a way to let the calls end."""

    def scale_out(**fields):
        config = TaskVineFactoryConfig(min_workers=1, max_workers=3, cores=1, memory=200, disk=200, **fields)
        executor = make_executor(factory_config=config)
        # TaskVine itself is given but one or two of these, as there are no slots yet.
        futures = [executor.submit(wait_for_file, {}, str(tmp_path / "done")) for _ in range(20)]
        held_factory.touch()

        def finish():
            (tmp_path / "done").touch()
            for future in futures:
                future.result(30)

        return executor, finish

    return scale_out


def test_the_factory_scales_out_and_in(scale_out):
    executor, finish = scale_out(workers_per_cycle=0, worker_timeout=1)
    # A worker that does not come up is made up for when the factory looks again.
    assert wait_until(lambda: workers(executor) == 3, 60)
    finish()
    assert wait_until(lambda: workers(executor) == 1)
    time.sleep(2.0)
    assert workers(executor) == 1
    assert executor.submit(abs, {}, -1).result(10) == 1


def test_the_factory_scales_out_by_so_many_at_a_time(scale_out, tmp_path):
    executor, finish = scale_out(workers_per_cycle=2)
    assert wait_until(lambda: workers(executor) == 2, 60)
    requests = re.findall(r"\|requested: (\d+)", (tmp_path / executor.label / "factory.log").read_text())
    assert requests[0] == "2"
    finish()


def test_many_workers_may_join_at_once(make_executor):
    port = make_executor(worker_launch_method="manual").port
    (fd,) = [
        connection.fd
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    ]
    with socket.socket(fileno=os.dup(fd)) as listening:
        # Of a listening socket, tcpi_sacked is how many may wait in its queue.
        (longest,) = struct.unpack_from("=28xI", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104))
    assert longest >= min(128, int(Path("/proc/sys/net/core/somaxconn").read_text()))


class QuickProvider(LocalProvider):
    """Blocks on this machine, looked at often."""

    status_polling_interval = 0.2


BLOCKS_AT_NEED = {"strategy": "simple", "strategy_period": 0.2, "max_idletime": 0.5}


@parsl.python_app
def meet(place, n, parsl_resource_specification=None):
    """Wait for n calls like this, which is in vain unless all of them run at once."""
    import os
    import time

    block_id = os.environ["PARSL_WORKER_BLOCK_ID"]
    with open(f"{place}/{os.getpid()}", "w"):
        pass
    for _ in range(200):
        if len(os.listdir(place)) == n:
            return block_id
        time.sleep(0.1)
    raise TimeoutError


@needs_ps
def test_blocks_come_for_the_cores_that_calls_ask_for_and_leave(load, tmp_path):
    executor = load(
        BLOCKS_AT_NEED,
        worker_launch_method="provider",
        function_exec_mode="regular",
        provider=QuickProvider(init_blocks=1, min_blocks=0, max_blocks=4),
        factory_config=TaskVineFactoryConfig(cores=2),
    )
    place = tmp_path / "place"
    place.mkdir()
    futures = [meet(str(place), 2, parsl_resource_specification={"cores": 2}) for _ in range(2)]
    assert wait_until(lambda: executor.outstanding() == 4)
    assert sorted(future.result(60) for future in futures) == ["0", "1"]
    assert executor.outstanding() == 0
    assert wait_until(lambda: workers(executor) == 0, 20)
    assert wait_until(lambda: {status.state for status in executor.status_facade.values()} == {JobState.SCALED_IN})
    assert set(executor.status_facade) == {"0", "1"}


def test_blocks_that_keep_failing_fail_the_calls(load):
    executor = load(
        BLOCKS_AT_NEED,
        worker_launch_method="provider",
        provider=QuickProvider(init_blocks=3, max_blocks=3, worker_init="exit 3"),
    )
    future = executor.submit(abs, {}, -1)
    with pytest.raises(BadStateException):
        future.result(20)
    assert executor.bad_state_is_set
    with pytest.raises(TooManyJobFailuresError, match="EXIT CODE: 3"):
        executor.submit(abs, {}, -1)


def test_a_call_counts_once_for_each_of_its_cores(make_executor, tmp_path):
    executor = make_executor(factory_config=TaskVineFactoryConfig(cores=4))
    done = tmp_path / "done"
    specifications = [{"cores": cores} if cores else {} for cores in (None, 0.5, 1, 2.5, 4)]
    futures = [executor.submit(wait_for_file, specification, str(done)) for specification in specifications]
    assert executor.outstanding() == 1 + 1 + 1 + 3 + 4
    done.touch()
    for future in futures:
        future.result(30)
    assert executor.outstanding() == 0
