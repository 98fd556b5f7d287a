"""What wheels are built with, before anything is built."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.markdown import ROOT

pytest.importorskip("ziglang", reason="make wheels installs what wheels are built with")
sys.path.insert(0, str(ROOT / "wheels"))

import pythons  # noqa: E402
import root_directory  # noqa: E402
import toolchain  # noqa: E402

import build  # noqa: E402


@pytest.fixture
def clone(tmp_path):
    """What of a clone is read before anything is built."""

    def clone(name):
        for directory in ("conf", "csrc", "wheels"):
            shutil.copytree(ROOT / directory, tmp_path / name / directory)
        return tmp_path / name

    return clone


def refusal(clone, *pythons, **env):
    program = [sys.executable, clone / "wheels/build.py", *pythons]
    run = subprocess.run(program, capture_output=True, text=True, env={**os.environ, **env}, timeout=60)
    assert run.returncode == 1 and "Traceback" not in run.stderr, run
    return run.stderr


@pytest.mark.parametrize("name", toolchain.NOT_INHERITED)
def test_flags_of_whoever_calls_stay_outside(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, "-march=native")
    assert name not in toolchain.make(tmp_path)


def test_the_compiler_is_for_the_older_c_library(monkeypatch, tmp_path):
    env = toolchain.make(tmp_path / "with space")
    assert (
        env["PATH"].split(":")[0] == str(tmp_path / "with space/bin")
        and toolchain.GLIBC in Path(tmp_path, "with space/bin/cc").read_text()
    )
    said = subprocess.run(["cc", "--version"], env=env, capture_output=True, text=True, timeout=60)
    assert "clang" in said.stdout, said


def test_tools_that_this_machine_lacks(clone, tmp_path):
    (tmp_path / "bin").mkdir()
    message = refusal(clone("one"), sys.executable, PATH=str(tmp_path / "bin"))
    assert "lacks perl, make, xz, ld.bfd, strip" in message
    assert message.endswith("apt install perl make xz-utils binutils\n")


def test_a_path_with_spaces(clone):
    assert "the path must be without spaces" in refusal(clone("a clone"), sys.executable)


def test_two_builds_at_a_time(clone):
    one = clone("one")
    (one / "build/wheels").mkdir(parents=True)
    with (one / "build/wheels/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "already being built in this clone" in refusal(one, sys.executable)
        assert not (one / "build/wheels/toolchain").exists()


def test_what_is_no_python(clone, tmp_path):
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho no such version is installed >&2\nexit 127\n")
    shim.chmod(0o755)
    assert f"{shim}: no CPython with headers" in refusal(clone("one"), str(shim))


@pytest.fixture
def bare(tmp_path):
    """An environment with what wheels are built with, and nothing else: no Python, and no Debian."""
    (tmp_path / "bin").mkdir()
    for tool in ("perl", "make", "xz", "ld.bfd", "strip"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path)}


def test_no_python_at_all(clone, bare):
    assert "no Python to build for: name one" in refusal(clone("one"), **bare)


@pytest.mark.parametrize("name", ["python3.14", "python3.9"])
def test_a_python_that_cannot_be_had(clone, bare, name):
    assert f"{name}: no CPython with headers" in refusal(clone("one"), name, **bare)


def test_headers_that_lie_beside_those_of_the_c_library(monkeypatch, tmp_path):
    """As Debian's do. The compiler is for another C library, whose own headers must not be mixed with the system's."""
    monkeypatch.setattr(build, "WORK", tmp_path / "work")
    include = tmp_path / "usr/include"
    (include / "python3.14").mkdir(parents=True)
    python = pythons.Python((3, 14), "python3.14", include / "python3.14")
    assert build.headers_of(python) == {}
    special = include / "x86_64-linux-gnu/python3.14"
    special.mkdir(parents=True)
    (special / "pyconfig.h").write_text("#define FOUND 1\n")
    (include / "stdio.h").write_text("#error the system's\n")
    (tmp_path / "a.c").write_text(
        "#include <stdio.h>\n#include <x86_64-linux-gnu/python3.14/pyconfig.h>\nint x = FOUND;\n"
    )
    env = {**toolchain.make(tmp_path / "toolchain"), **build.headers_of(python)}
    command = f"cc $CFLAGS -I{python.include} -c a.c"
    subprocess.run(command, shell=True, cwd=tmp_path, env=env, check=True, timeout=100)


def test_where_no_root_directory_can_be_entered(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot be run" in root_directory.why_not()
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    unshare.chmod(0o755)
    assert root_directory.why_not().endswith("unshare failed: Operation not permitted")
