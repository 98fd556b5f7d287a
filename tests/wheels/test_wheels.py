"""What make wheels has built, used as it would be: where nothing but Python is.

VINEFAST_WHEELS names the directory with the wheels, the sdist and the sources.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.helpers.markdown import ROOT, blocks_of

sys.path.insert(0, str(ROOT / "wheels"))

import pythons  # noqa: E402
import root_directory  # noqa: E402

DIST = Path(os.environ.get("VINEFAST_WHEELS", "nowhere"))
WHEELS = sorted(DIST.glob("*.whl"))
MOST_BYTES = 25e6
GLIBC = (2, 28)
# The C library's own.
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2"}
SECONDS_TO_FIRST_RESULT = 60
FIRST_PROGRAM = next(block.code for block in blocks_of((ROOT / "README.md").read_text()) if block.language == "python")
PROGRAMS = ("vine_worker", "vine_factory", "vine_status")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not WHEELS, reason="make wheels runs this, when it has built some"),
]


@pytest.fixture(params=WHEELS, ids=lambda wheel: wheel.name.split("-")[2])
def wheel(request):
    return request.param


@pytest.fixture
def unpacked(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "wheel")
        for entry in archive.infolist():
            (tmp_path / "wheel" / entry.filename).chmod(entry.external_attr >> 16)
    return tmp_path / "wheel"


def binaries(tree):
    return [path for path in tree.rglob("*") if path.is_file() and path.open("rb").read(4) == b"\x7fELF"]


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], capture_output=True, text=True, check=True).stdout


def components(tree):
    return json.loads((tree / "vinefast/_taskvine/share/components.json").read_text())


def test_a_wheel_needs_no_library_but_an_old_c_library(unpacked):
    found = binaries(unpacked)
    assert {path.name for path in found} >= set(PROGRAMS) and len(found) == len(PROGRAMS) + 2
    for path in found:
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-d", path)))
        assert needed <= SYSTEM_LIBRARIES, path
        versions = {tuple(map(int, v.split("."))) for v in re.findall(r"Name: GLIBC_([\d.]+)", readelf("-V", path))}
        assert versions and max(versions) <= GLIBC, path


def test_a_wheel_is_named_for_that_c_library_and_small(wheel):
    assert "manylinux_2_28_x86_64" in wheel.name and "linux_x86_64.whl" not in wheel.name.split(".")[-2:]
    assert wheel.stat().st_size < MOST_BYTES


def test_a_wheel_has_the_programs_of_the_release_it_is_linked_with(unpacked):
    release = components(unpacked)["cctools"]["sources"].split("_")[1].split(".orig")[0]
    assert f"TASKVINE_VERSION = {release!r}" in (unpacked / "vinefast/_build_info.py").read_text()
    for name in PROGRAMS:
        said = subprocess.run([unpacked / "vinefast/_taskvine/bin" / name, "--version"], capture_output=True, text=True)
        assert f"version {release} " in said.stdout and "Built by vinefast@wheels on " in said.stdout, said
    assert {path.name for path in (unpacked / "vinefast/_taskvine/bin").iterdir()} == set(PROGRAMS)


def test_a_wheel_tells_nothing_of_where_it_was_built(unpacked):
    for path in binaries(unpacked):
        assert os.fsencode(ROOT) not in path.read_bytes(), path
        assert not re.search(r"\((RPATH|RUNPATH)\)", readelf("-d", path)), path


def test_a_wheel_says_its_licences_and_its_sources_lie_beside_it(wheel, unpacked):
    inside = unpacked / "vinefast/_taskvine/share"
    text = (inside / "INSIDE.md").read_text()
    for package, component in components(unpacked).items():
        assert (inside / f"{package}.LICENSE").stat().st_size > 500 and f"`{package}.LICENSE`" in text
        archive = DIST / "sources" / component["sources"]
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == component["sha256"]
    assert "MIT License" in (inside / "zig.LICENSE").read_text() and "`zig.LICENSE`" in text
    metadata = next(unpacked.glob("*.dist-info/METADATA")).read_text()
    assert "License-Expression: GPL-3.0-or-later AND Apache-2.0 AND Zlib AND MIT\n" in metadata
    assert "GNU GENERAL PUBLIC LICENSE" in (inside / "cctools.LICENSE").read_text()
    assert next(unpacked.glob("*.dist-info/licenses/LICENSE")).stat().st_size > 10_000
    version = wheel.name.split("-")[1]
    assert (DIST / f"vinefast-{version}.tar.gz").exists()


def limit():
    """Seconds to the first result: as much again for each process more than there are cores for."""
    return SECONDS_TO_FIRST_RESULT * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def version_of(wheel):
    return (3, int(re.search(r"-cp3(\d+)-", wheel.name)[1]))


def download_with_all_it_needs(wheel, version, house):
    """Put a wheel, and those of other projects that it needs, into a directory: the new machine has no network."""
    glibc = [word for minor in (28, 17) for word in ("--platform", f"manylinux_2_{minor}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", house, "--only-binary=:all:"]
    where = ["--python-version", ".".join(map(str, version)), "--implementation", "cp", *glibc]
    subprocess.run([*command, *where, "--platform", "manylinux2014_x86_64", wheel], check=True, timeout=300)


def test_first_result_where_there_is_nothing_but_python(wheel, tmp_path):
    """The README's first program, with pip install before it."""
    version = version_of(wheel)
    if version not in root_directory.SUITES:
        pytest.skip("no release of Debian has that Python: it is tried in an empty environment")
    if reason := root_directory.why_not():
        pytest.skip(f"{reason}: it is tried in an empty environment")
    root = root_directory.make(tmp_path / "root", tmp_path / "apt", root_directory.SUITES[version])
    download_with_all_it_needs(wheel, version, root / "wheels")
    (root / "home/first.py").write_text(FIRST_PROGRAM)
    seen = root_directory.enter(
        root, "command -v gcc conda vine_worker; find / -xdev -name '*taskvine*' -o -name vine_worker", 60
    )
    assert (seen.returncode, seen.stdout) == (0, ""), f"this is no fresh machine: {seen}"
    start = time.monotonic()
    run = root_directory.enter(
        root,
        "cd && python3 -m venv v && v/bin/pip install -q --no-index --find-links /wheels vinefast"
        " && v/bin/python first.py",
        limit(),
    )
    seconds = time.monotonic() - start
    assert run.returncode == 0 and run.stdout == "333283335000\n", run
    # It runs a call with TLS, and one without.
    found = root_directory.enter(root, "cd && v/bin/vinefast doctor --json", 300)
    levels = {check["name"]: check["level"] for check in json.loads(found.stdout)["checks"]}
    assert levels["engine"] == levels["engine with TLS"] == "ok", found.stdout
    told = root_directory.enter(root, "cd && v/bin/vinefast info --json", 60)
    engine = json.loads(told.stdout)["engine"]["vine_worker"]
    assert "/home/v/lib" in engine and "the prefix of the build" in engine
    left = root_directory.enter(root, "ls -A /dev/shm /tmp", 60)
    assert "vinefast" not in left.stdout
    print(f"\n{wheel.name}: first result {seconds:.0f} s after pip was called, in {root_directory.SUITES[version]}")


def test_first_result_in_an_empty_environment(wheel, tmp_path):
    """The same, beside what this machine has, for a Python that no release of Debian has."""
    python = pythons.find().get(version_of(wheel))
    if python is None:
        pytest.skip("this machine has no such Python")
    (tmp_path / "first.py").write_text(FIRST_PROGRAM)
    subprocess.run([python.path, "-m", "venv", "v"], cwd=tmp_path, check=True)
    subprocess.run(["v/bin/python", "-m", "pip", "install", "-q", wheel], cwd=tmp_path, check=True, timeout=300)
    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    options = {"cwd": tmp_path, "env": bare, "capture_output": True, "text": True, "timeout": limit()}
    run = subprocess.run(["v/bin/python", "first.py"], **options)
    assert run.returncode == 0 and run.stdout == "333283335000\n", run
    told = json.loads(subprocess.run(["v/bin/vinefast", "info", "--json"], **options).stdout)
    assert str(tmp_path / "v") in told["engine"]["vine_worker"]
