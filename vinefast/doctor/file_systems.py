"""Which file systems other machines see."""

from __future__ import annotations

import os
import re

SHARED = (
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "afs", "orangefs", "panfs", "wekafs", "9p"),
    *("fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "fuse.juicefs", "virtiofs"),
)
"""Those that several machines may see, as the kernel calls them."""

LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs")
"""Those that one machine alone sees."""


def file_system_of(path: str) -> str:
    """Give the kind of file system on which a path lies, as the kernel calls it; empty: nobody can tell."""
    path, best, kind = os.path.realpath(path), "", ""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in map(os.fsdecode, file):
            mount, _, rest = line.partition(" - ")
            # Spaces and the like are written as \040.
            point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount.split()[4])
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, rest.split()[0]
    return kind
