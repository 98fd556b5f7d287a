"""A root directory with Debian's essential packages and Python: a machine on which nothing else was installed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conf"))

from debian import install_into  # noqa: E402

# The releases of Debian, and which Python their python3 is.
SUITES = {(3, 11): "bookworm", (3, 13): "trixie", (3, 14): "forky"}
# What any Debian has, of what a shell script takes for granted.
PACKAGES = (
    *("base-files", "base-passwd", "coreutils", "dash", "findutils", "grep", "hostname", "libstdc++6", "sed"),
    *("python3", "python3-venv"),
)


def make_skeleton(root: Path) -> None:
    """Make root with the directories that packages of Debian take for links."""
    (root / "usr").mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")


def make(root: Path, home: Path, suite: str) -> Path:
    """Unpack Python and what it needs into root; home, for apt's files, must be new."""
    make_skeleton(root)
    install_into(root, PACKAGES, home, suite)
    for directory in ("dev", "home", "proc", "tmp"):
        (root / directory).mkdir(exist_ok=True)
    # What the scripts of packages do, as far as it is needed.
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.write_text("".join(path.read_text() for path in certificates))
    (root / "etc/passwd").write_text("root:x:0:0:root:/home:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return root


def alone(*command: str | Path) -> list[str | Path]:
    """Give the command that runs one with processes and mounts of its own, which end with it.

    Over them it has the rights of root, which no user needs to have for that.
    """
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *users, "--mount", "--pid", "--fork", "--kill-child", *command]


def why_not() -> str | None:
    """Say why no root directory can be entered on this machine: containers and administrators may forbid it."""
    there = "d=$(mktemp -d) && mount -t proc proc $d && umount $d; status=$?; rmdir $d; exit $status"
    try:
        tried = subprocess.run(alone("/bin/sh", "-c", there), capture_output=True, text=True)
    except OSError as error:
        return f"unshare, of util-linux, cannot be run: {error.strerror}"
    return None if tried.returncode == 0 else f"no mounts of its own for a process: {tried.stderr.strip()}"


def enter(root: Path, script: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a shell script in root; whatever it has left running ends with it."""
    there = shlex.quote(str(root))
    outside = (
        f"mount -t proc proc {there}/proc && mount --rbind /dev {there}/dev && mount -t tmpfs tmpfs {there}/dev/shm && "
        f'exec chroot {there} /bin/sh -c "$1"'
    )
    command = alone("/bin/sh", "-c", outside, "sh", script)
    clean = {"HOME": "/home", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=clean)
