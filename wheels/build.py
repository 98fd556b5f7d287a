#!/usr/bin/env python3
"""Build wheels of vinefast with the engine inside, for one or several Pythons, into dist/.

Beside them go the sdist, and in dist/sources what the GPL asks for: the sources of all that is inside.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import engine
import pythons
import toolchain

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "conf"))

from taskvine import ENGINE_INSIDE_VARIABLE, ENV_PREFIX  # noqa: E402

WORK = ROOT / "build" / "wheels"
DIST = ROOT / "dist"
# What is called by name, with Debian's packages: perl configures OpenSSL, auditwheel calls strip, link.py GNU ld.
TOOLS = {"perl": "perl", "make": "make", "xz": "xz-utils", "ld.bfd": "binutils", "strip": "binutils"}
LICENCE = 'license = "GPL-2.0-or-later"\n'
# See INSIDE.md.
LICENCE_WITH_ENGINE = 'license = "GPL-3.0-or-later AND Apache-2.0 AND Zlib AND MIT"\n'


def run(*command: str | Path, **options) -> None:
    if subprocess.run(command, **options).returncode:
        sys.exit(f"build.py: {Path(command[0]).name} failed: {' '.join(map(str, command))}")


def make_sdist() -> Path:
    """Make the sdist in dist/; return the tree that it unpacks to, from which the wheels are built."""
    run(sys.executable, "-m", "build", "-q", "--sdist", "--no-isolation", "-o", DIST, ROOT, stdout=subprocess.DEVNULL)
    (sdist,) = DIST.glob("*.tar.gz")
    tree = WORK / "sdist"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    run("tar", "xf", sdist, "-C", tree, "--strip-components=1")
    project = tree / "pyproject.toml"
    text = project.read_text()
    if LICENCE not in text:
        sys.exit(f"build.py: pyproject.toml lacks the line {LICENCE.strip()}")
    project.write_text(text.replace(LICENCE, LICENCE_WITH_ENGINE))
    return tree


def headers_of(python: pythons.Python) -> dict[str, str]:
    """Give the environment in which a compiler finds all headers of a Python, without any of the system's.

    Debian's pyconfig.h includes another, which lies beside those of the C library.
    """
    name = Path(f"{toolchain.MACHINE}-linux-gnu", python.include.name)
    where = python.include.parent / name
    if not where.is_dir():
        return {}
    headers = WORK / "headers"
    shutil.rmtree(headers, ignore_errors=True)
    (headers / name).parent.mkdir(parents=True)
    (headers / name).symlink_to(where)
    return {"CFLAGS": f"-I{headers}"}


def make_wheel(python: pythons.Python, tree: Path, prefix: Path, env: dict[str, str]) -> Path:
    """Build the wheel of one Python, and have auditwheel prove what C library it needs, and name it so."""
    raw, done = WORK / "raw", WORK / "audited"
    for directory in (raw, done):
        shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(tree / "build", ignore_errors=True)
    inside = {ENV_PREFIX: str(prefix), ENGINE_INSIDE_VARIABLE: "1"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python.path]
    run(*pip, "wheel", "-q", "--no-deps", "-w", raw, tree, env={**env, **headers_of(python), **inside})
    tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    audit = [sys.executable, "-m", "auditwheel", "repair", "--strip", "--plat", toolchain.PLATFORM, "-w", done]
    log = WORK / "auditwheel.log"
    with log.open("w") as words:
        if subprocess.run([*audit, *raw.glob("*.whl")], stdout=words, stderr=words, env=tools).returncode:
            sys.exit(f"build.py: auditwheel refuses the wheel:\n{log.read_text()}")
    (wheel,) = done.glob("*.whl")
    return Path(shutil.move(wheel, DIST / wheel.name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "pythons",
        nargs="*",
        metavar="PYTHON",
        help="by path or name (default: 3.10 to 3.14, of this machine or Debian)",
    )
    wanted = parser.parse_args().pythons
    if platform.machine() != toolchain.MACHINE:
        sys.exit(f"build.py: wheels are for {toolchain.MACHINE}, and built there; this machine is {platform.machine()}")
    if lacking := [tool for tool in TOOLS if not shutil.which(tool)]:
        packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in lacking))
        sys.exit(f"build.py: this machine lacks {', '.join(lacking)}: on Debian, apt install {packages}")
    if re.search(r"\s", str(ROOT)):
        sys.exit(f"build.py: TaskVine and OpenSSL cannot be built in {ROOT}: the path must be without spaces")
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("build.py: wheels are already being built in this clone: wait for them, or end that")
        build(choose(wanted))
    return 0


def choose(wanted: list[str]) -> list[pythons.Python]:
    """Return the Pythons to build for; exit if there is none, or not one that was named."""
    directory = WORK / "pythons"
    if not wanted:
        if not (chosen := pythons.find_or_unpack(directory)):
            sys.exit("build.py: there is no Python to build for: name one, as in make wheels PYTHONS=python3.12")
        return chosen
    found = {python: pythons.named(python, directory) for python in wanted}
    if unfit := [python for python in wanted if found[python] is None]:
        sys.exit(f"build.py: {', '.join(unfit)}: no CPython with headers")
    return [python for python in found.values() if python]


def build(chosen: list[pythons.Python]) -> None:
    if DIST.exists():
        shutil.rmtree(DIST)
    env = toolchain.make(WORK / "toolchain")
    try:
        prefix = engine.build(WORK / "engine", env)
    except engine.ERRORS as error:
        sys.exit(f"build.py: the engine cannot be built: {error}")
    shutil.copytree(WORK / "engine/sources", DIST / "sources")
    tree = make_sdist()
    for python in chosen:
        start = time.monotonic()
        wheel = make_wheel(python, tree, prefix, env)
        size, seconds = wheel.stat().st_size / 1e6, time.monotonic() - start
        print(f"{wheel.name}: {size:.1f} MB, in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:  # the disk is full, say
        sys.exit(f"build.py: {error}")
