"""A C compiler for an older C library: Zig's, which knows the names and versions that each glibc has."""

from __future__ import annotations

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


def make(directory: Path) -> dict[str, str]:
    """Write the programs of the toolchain into directory/bin; return the environment in which builds use them."""
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, words in {"cc": ["cc", *OPTIONS], "c++": ["c++", *OPTIONS], "ar": ["ar"], "ranlib": ["ranlib"]}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join([str(ZIG), *words])} "$@"\n')
        program.chmod(0o755)
    return {
        **os.environ,
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
