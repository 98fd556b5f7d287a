"""A root directory with Debian's essential packages and Python: a machine on which nothing else was installed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conf"))

from debian import install_into  # noqa: E402

# Whose python3 is which.
SUITES = {(3, 11): "bookworm", (3, 13): "trixie", (3, 14): "forky"}
# What any Debian has, of what a shell script takes for granted.
PACKAGES = (
    "base-files",
    "base-passwd",
    "coreutils",
    "dash",
    "grep",
    "hostname",
    "libstdc++6",
    "sed",
    "python3",
    "python3-venv",
)


def make(root: Path, home: Path, suite: str) -> Path:
    """Unpack Python and what it needs into root; home, for apt's files, must be new."""
    (root / "usr").mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")
    install_into(root, PACKAGES, home, suite)
    for directory in ("dev", "proc", "root", "tmp"):
        (root / directory).mkdir(exist_ok=True)
    # What the scripts of packages do, as far as it is needed.
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.write_text("".join(path.read_text() for path in certificates))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return root


def enter(root: Path, script: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a shell script in root; whatever it has left running ends with it.

    It has processes and mounts of its own, and over them the rights of root, which no user needs to have for that.
    """
    there = shlex.quote(str(root))
    outside = (
        f"mount -t proc proc {there}/proc && mount --rbind /dev {there}/dev && mount -t tmpfs tmpfs {there}/dev/shm && "
        f'exec chroot {there} /bin/sh -c "$1"'
    )
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *users, "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", outside, "sh", script]
    clean = {"HOME": "/root", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=clean)
