"""Which file systems other machines see."""

from __future__ import annotations

import os

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
    with open("/proc/self/mountinfo") as file:
        for line in file:
            mount, _, rest = line.partition(" - ")
            point = mount.split()[4].encode().decode("unicode_escape")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, rest.split()[0]
    return kind
