"""At the limit of open files calls go on: workers that find no descriptor wait, and the program keeps some."""

import json
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until

SOFT, HARD = 100, 200
N_CALLS = 200

# Runs calls one by one with a worker of its own, each time that it is told to, and says what it has seen.
PROGRAM = f"""
import json, logging, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {HARD}))
from parsl.executors.taskvine import TaskVineFactoryConfig
from vinefast import VineFastExecutor
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

def limit():
    import resource
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

def say(**facts):
    print(json.dumps(facts), flush=True)

config = TaskVineFactoryConfig(min_workers=1, max_workers=1, cores=1)
executor = VineFastExecutor(factory_config=config, require_password=False)  # who comes shall be kept
executor.run_dir = sys.argv[1]
executor.start()
by_worker = executor.submit(limit, {{}}).result(60)
say(port=executor._parts.engine.port, limit=limit(), limit_of_calls=by_worker)
for line in sys.stdin:
    start = time.monotonic()
    for _ in range({N_CALLS}):
        executor.submit(pow, {{}}, 2, 3).result(60)
    took = time.monotonic() - start
    files = [open(os.devnull) for _ in range(8)]
    for file in files:
        file.close()
    say(took=took, joined=executor.stats()["workers_joined"], n_open=len(os.listdir("/proc/self/fd")))
executor.shutdown()
"""


class Program:
    def __init__(self, directory):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.start = self.hear()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def run_calls(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self):
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def program(mark, tmp_path):
    program = Program(tmp_path)
    yield program
    program.process.kill()
    program.process.communicate()
    assert not left_of(mark)


def test_calls_go_on_at_the_limit_of_open_files(program):
    assert program.start["limit"] == HARD and program.start["limit_of_calls"] == SOFT
    before = program.run_calls()
    with ExitStack() as connections:
        for _ in range(HARD + 10):
            stranger = socket.create_connection(("127.0.0.1", program.start["port"]))
            connections.enter_context(stranger).sendall(b"name\n")  # a silent one would have to leave for another
        crowded = [program.run_calls() for _ in range(3)]
        # Most came in, some did not, and the first numbers were the program's all the time.
        reserve = HARD // 8
        assert HARD - reserve <= crowded[-1]["n_open"] < HARD
        assert min(seen["took"] for seen in crowded) < 5 * before["took"] + 1
    # Who waited comes in when others have left, and all are gone by then.
    assert wait_until(lambda: program.run_calls()["n_open"] < reserve)
    words = program.end()
    assert program.process.returncode == 0
    assert words.count("Not every worker can join executor") == 1
    assert f"as many files open as it may, {HARD}, " in words
