"""TaskVine with all that it needs but the C library, built from the sources that Debian keeps of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conf"))

import toolchain  # noqa: E402
from debian import DebianError, download_source  # noqa: E402

# Every command's output goes there, and its end into the error of one that fails.
LOG = Path(__file__).resolve().parent.parent / "build/wheels/engine.log"
JOBS = f"-j{os.cpu_count()}"
PROGRAMS = ("vine_worker", "vine_factory", "vine_status")
# What these would tell of the machine and of whoever built them. INSTALL_PATH is also where programs are looked for.
TOLD = {
    "BUILD_HOST": "wheels",
    "BUILD_USER": "vinefast",
    "CCTOOLS_CONFIGURE_ARGUMENTS": "see wheels/engine.py in the sources of vinefast",
    "CCTOOLS_SYSTEM_INFORMATION": "Linux",
    "INSTALL_PATH": "/usr",
}

# TaskVine and vinefast want TLS, certificates and digests of it. It reads no configuration from the machines where it
# comes to run, and loads no part of itself there.
OPENSSL_WITHOUT = (
    "apps argon2 aria async autoload-config bf blake2 camellia cast cmp cms comp ct docs dso dtls ec2m engine gost "
    "http idea legacy md4 mdc2 ml-dsa module quic rc2 rc4 rfc3779 rmd160 scrypt seed shared siphash slh-dsa sm2 sm3 "
    "sm4 srp srtp ssl-trace tests ts ui-console whirlpool zlib"
).split()
CCTOOLS_WITHOUT = "chirp doc ftp-lite grow makeflow parrot".split()
CCTOOLS_NO_PATHS = "fuse perl python python3 readline swig uuid".split()
CFLAGS = "-O2 -g0 -fPIC"
# It searches there for certificates and parts of itself, if asked to: this must not be a directory of whoever built it,
# which on another machine may be anyone's.
OPENSSL_PLACES = ("--prefix=/usr", "--openssldir=/etc/ssl")


@dataclass(frozen=True)
class Component:
    """Something that is built from the sources of others."""

    package: str
    wanted: str  # What the version begins with.
    suites: tuple[str, ...]  # The releases of Debian that have it, the first choice first.
    licence: str  # The file in its sources.
    home: str
    build: Callable[[Path, Path, dict[str, str]], None]


class BuildError(Exception):
    """A command failed; the message has its last lines."""


ERRORS = (BuildError, DebianError)


def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> None:
    with LOG.open("ab+") as log:
        start = log.tell()
        status = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
        if status:
            log.seek(start)
            last = b"\n  ".join(log.read().splitlines()[-8:]).decode(errors="replace")
            raise BuildError(f"{command[0]} failed in {cwd} ({LOG} has all that it said):\n  {last}")


def build_zlib(source: Path, prefix: Path, env: dict[str, str]) -> None:
    run("./configure", "--static", f"--prefix={prefix}", cwd=source, env={**env, "CFLAGS": CFLAGS})
    run("make", JOBS, "libz.a", cwd=source, env=env)
    shutil.copy(source / "libz.a", prefix / "lib")
    for header in ("zlib.h", "zconf.h"):
        shutil.copy(source / header, prefix / "include")


def build_openssl(source: Path, prefix: Path, env: dict[str, str]) -> None:
    without = [f"no-{name}" for name in OPENSSL_WITHOUT]
    run("./Configure", "linux-x86_64", *without, *CFLAGS.split(), *OPENSSL_PLACES, cwd=source, env=env)
    run("make", JOBS, "-s", "build_libs", cwd=source, env=env)
    for library in ("libssl.a", "libcrypto.a"):
        shutil.copy(source / library, prefix / "lib")
    shutil.copytree(source / "include/openssl", prefix / "include/openssl")


def build_cctools(source: Path, prefix: Path, env: dict[str, str]) -> None:
    flags = {"CFLAGS": f"{CFLAGS} -Wno-everything -I{prefix}/include", "LDFLAGS": f"-L{prefix}/lib"}
    run(
        "./configure",
        f"--prefix={prefix}",
        *(word for library in ("openssl", "zlib") for word in (f"--with-{library}-path", str(prefix))),
        *(word for name in CCTOOLS_NO_PATHS for word in (f"--with-{name}-path", "no")),
        *(f"--without-system-{name}" for name in CCTOOLS_WITHOUT),
        cwd=source,
        env={**env, **flags},
    )
    settings = source / "config.mk"
    text = settings.read_text()
    for name, value in TOLD.items():
        text, found = re.subn(rf"(?<= -D{name}=)'\"[^\n]*?\"'", lambda _, value=value: f"""'"{value}"'""", text)
        if not found:
            raise BuildError(f"TaskVine's config.mk defines no {name}")
    settings.write_text(text)
    libraries = [prefix / "lib" / name for name in ("libssl.a", "libcrypto.a", "libz.a")]
    link = ["CCTOOLS_INTERNAL_LDFLAGS=-s", f"CCTOOLS_EXTERNAL_LINKAGE={' '.join(map(str, libraries))} -lpthread -lm"]
    for directory, *targets in (
        ("dttools/src", "install"),
        ("taskvine/src/manager", "install"),
        ("batch_job/src", "libbatch_job.a"),
        ("work_queue/src", "libwork_queue.a"),
        ("taskvine/src/worker", "vine_worker"),
        ("taskvine/src/tools", "vine_status"),
        ("batch_job/src", "vine_factory"),
    ):
        run("make", "-s", JOBS, "-C", directory, *targets, *link, cwd=source, env=env)
    for path in ("taskvine/src/worker/vine_worker", "taskvine/src/tools/vine_status", "batch_job/src/vine_factory"):
        shutil.copy(source / path, prefix / "bin")
    for program in (prefix / "bin").iterdir():
        if program.name not in PROGRAMS:
            program.unlink()


# In the order of their building.
COMPONENTS = (
    Component("zlib", "1.3", ("forky", "sid", "trixie"), "LICENSE", "https://zlib.net", build_zlib),
    Component("openssl", "3.5.", ("trixie", "forky", "sid"), "LICENSE.txt", "https://www.openssl.org", build_openssl),
    Component("cctools", "7.15.9", ("sid", "forky"), "COPYING", "https://cctools.readthedocs.io", build_cctools),
)


def build(directory: Path, env: dict[str, str]) -> Path:
    """Build the engine in directory, unless that was done by the same lines; return its prefix."""
    prefix = directory / "prefix"
    stamp = directory / "built-by"
    here = Path(__file__).resolve().parent
    lines = "".join((here / name).read_text() for name in ("engine.py", "toolchain.py")) + toolchain.version()
    if not (stamp.exists() and stamp.read_text() == lines):
        shutil.rmtree(directory, ignore_errors=True)
        build_all(directory, prefix, env)
        stamp.write_text(lines)
    shutil.copy(here / "INSIDE.md", prefix / "share")
    return prefix


def build_all(directory: Path, prefix: Path, env: dict[str, str]) -> None:
    for made in ("bin", "include", "lib", "share"):
        (prefix / made).mkdir(parents=True)
    (directory / "sources").mkdir()
    # Its compiler adds routines of its own to what it links.
    shutil.copy(toolchain.ZIG.with_name("LICENSE"), prefix / "share/zig.LICENSE")
    built = {}
    for component in COMPONENTS:
        print(f"Building {component.package} ...", flush=True)
        apt = directory / "apt" / component.package
        version, archive = download_source(component.package, component.wanted, apt, component.suites)
        archive = Path(shutil.copy(archive, directory / "sources"))
        source = directory / "trees" / component.package
        source.mkdir(parents=True)
        run("tar", "xf", archive, "-C", source, "--strip-components=1", cwd=directory, env=env)
        component.build(source, prefix, env)
        shutil.copy(source / component.licence, prefix / "share" / f"{component.package}.LICENSE")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        built[component.package] = {
            "version": version,
            "sources": archive.name,
            "sha256": digest,
            "home": component.home,
        }
    (prefix / "share/components.json").write_text(json.dumps(built, indent=1) + "\n")
