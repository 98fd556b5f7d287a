"""A file system of the submitting side that hangs holds up the calls that read from it, and nothing else."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.processes import left_of

# Looks at what is in one directory do not end as long as a file named "hangs" is beside it. Workers are not held up by
# that: they have its files in their own directories.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void wait_for(const char *path)
{
	static int (*real)(const char *, int);
	const char *directory = getenv("HANGING"), *flag = getenv("HANGING_FLAG");
	if (!real)
		real = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");
	while (directory && flag && path && !strncmp(path, directory, strlen(directory)) && !real(flag, F_OK))
		usleep(10000);
}

int access(const char *path, int mode)
{
	wait_for(path);
	return ((int (*)(const char *, int))dlsym(RTLD_NEXT, "access"))(path, mode);
}

int stat(const char *restrict path, struct stat *restrict status)
{
	wait_for(path);
	return ((int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat"))(path, status);
}

int lstat(const char *restrict path, struct stat *restrict status)
{
	wait_for(path);
	return ((int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "lstat"))(path, status);
}
"""

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from parsl.data_provider.files import File
from parsl.executors.taskvine import TaskVineFactoryConfig
from vinefast import CachedFile, VineFastExecutor
from vinefast.errors import EngineStopped

hanging, flag = Path(os.environ["HANGING"]), Path(os.environ["HANGING_FLAG"])
run_dir, go = sys.argv[1:]

def first(file):
    with open(file.filepath) as content:
        return content.read()

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)

def wait_again(path):
    wait_for(path)

def say(**facts):
    print(json.dumps(facts), flush=True)

executor = VineFastExecutor(factory_config=TaskVineFactoryConfig(min_workers=1, max_workers=1, cores=1))
executor.run_dir = run_dir
executor.start()
for i in range(4):
    (hanging / str(i)).write_text(str(i))
files = [CachedFile(str(hanging / str(i))) for i in range(4)]
assert executor.submit(first, {}, files[0]).result(60) == "0"

# Submitted while it does not hang, and looked at when it does.
waiting = [executor.submit(wait_for, {}, go) for _ in range(8)]
reading = [executor.submit(first, {}, files[i % 4]) for i in range(40)]
flag.touch()
Path(go).touch()
for future in waiting:
    future.result(60)
for i in range(200):
    assert executor.submit(abs, {}, -i).result(60) == i
held = sum(not future.done() for future in reading)
flag.unlink()
assert [future.result(60) for future in reading] == [str(i % 4) for i in range(40)]
assert executor.submit(first, {}, files[1]).result(60) == "1"

os.unlink(go)
waiting = [executor.submit(wait_again, {}, go) for _ in range(8)]
late = executor.submit(first, {}, files[2])
flag.touch()
Path(go).touch()
for future in waiting:
    future.result(60)
assert executor.submit(abs, {}, -1).result(60) == 1
start = time.monotonic()
executor.shutdown()
say(held=held, took=time.monotonic() - start, error=type(late.exception(60)).__name__)
flag.unlink()
"""


@pytest.fixture
def shim(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "shim.c").write_text(SHIM)
    library = str(tmp_path / "shim.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(tmp_path / "shim.c"), "-o", library, "-ldl"], check=True)
    return library


def test_calls_that_read_nothing_there_go_on(mark, tmp_path, shim):
    (tmp_path / "hanging").mkdir()
    (tmp_path / "run").mkdir()
    variables = {
        "LD_PRELOAD": shim,
        "HANGING": str(tmp_path / "hanging") + os.sep,
        "HANGING_FLAG": str(tmp_path / "hangs"),
    }
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), str(tmp_path / "go")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        seen = json.loads(program.communicate(timeout=120)[0])
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 0
    assert seen["held"] == 40
    assert seen["took"] < 10
    assert seen["error"] == "EngineStopped"
    assert not left_of(mark)
