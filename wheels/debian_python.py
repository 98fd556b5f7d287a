"""A Python of Debian's with its headers, unpacked like the engine, where the machine has none of that version."""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conf"))

import root_directory  # noqa: E402
from debian import install_into  # noqa: E402


def unpack(version: tuple[int, int], directory: Path) -> Path:
    """Give the Python of that version in directory, which is as it was if this has been done before.

    Raises
    ------
    KeyError
        No release of Debian has it.
    DebianError
        This machine cannot have it.
    """
    name = f"python{version[0]}.{version[1]}"
    suite = root_directory.SUITES[version]
    root = directory / name
    program = root / "usr/bin/python"
    if program.exists():
        return program
    partial = directory / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    print(f"Downloading {name} from Debian ({suite}), since this machine has none with headers ...", flush=True)
    root_directory.make_skeleton(partial)
    install_into(partial, (name, f"lib{name}-dev"), partial / "apt", suite)
    shutil.rmtree(partial / "apt")
    # Its C library may be newer than this machine's, so it brings its own loader.
    libraries = root / "usr/lib" / f"{platform.machine()}-linux-gnu"
    command = [root / "lib64/ld-linux-x86-64.so.2", "--library-path", libraries]
    words = shlex.join(map(str, command))
    (partial / program.relative_to(root)).write_text(
        f'#!/bin/sh\nexec {words} --argv0 "$0" {shlex.quote(str(program.with_name(name)))} "$@"\n'
    )
    (partial / program.relative_to(root)).chmod(0o755)
    partial.rename(root)
    return program
