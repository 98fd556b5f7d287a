"""A C compiler for an older C library: Zig's, which knows the names and versions that each glibc has."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from pathlib import Path

import ziglang

# That of Debian 10 and of RHEL 8, which is what clusters have.
GLIBC = "2.28"
MACHINE = "x86_64"
PLATFORM = f"manylinux_{GLIBC.replace('.', '_')}_{MACHINE}"

ZIG = Path(ziglang.__file__).with_name("zig")
# Zig would add checks that call a library of its own.
OPTIONS = ["-target", f"{MACHINE}-linux-gnu.{GLIBC}", "-fno-sanitize=undefined"]

# What would bring something of this machine, or of whoever calls, into a wheel: flags such as -march=native or the run
# path of a conda, directories that compilers search without being told, and what an outer make was given.
NOT_INHERITED = (
    *("CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "LIBS", "ARFLAGS"),
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_RUN_PATH"),
    *("MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL"),
)


def version() -> str:
    return f"ziglang {importlib.metadata.version('ziglang')}"


def make(directory: Path) -> dict[str, str]:
    """Write the programs of the toolchain into directory/bin; return the environment in which builds use them."""
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, words in {"cc": ["cc", *OPTIONS], "c++": ["c++", *OPTIONS], "ar": ["ar"], "ranlib": ["ranlib"]}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join([str(ZIG), *words])} "$@"\n')
        program.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if name not in NOT_INHERITED},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CC": "cc",
        "CXX": "c++",
        "AR": "ar",
        "RANLIB": "ranlib",
        # What setuptools links extension modules with.
        "LDSHARED": shlex.join([sys.executable, str(Path(__file__).with_name("link.py"))]),
        "ZIG_GLOBAL_CACHE_DIR": str(directory / "cache"),
        "ZIG_LOCAL_CACHE_DIR": str(directory / "cache"),
    }
