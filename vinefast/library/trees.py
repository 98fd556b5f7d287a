"""Directories that TaskVine cannot carry as they are travel as one file.

Between hosts, TaskVine garbles all names but those of printable ASCII, breaks the connection at tabs and newlines, and
makes of symbolic links copies or links with garbage behind their targets. What it can carry is left to it: an archive
has to be written and read once more.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tarfile  # else where it is needed: few libraries do, and all would start later

# In a directory of its own, so that no file of a user's is taken for it.
PACKED = ".vinefast-packed.tar"

# Of directories that come back to the submit side, which are made there anew.
_USUAL_MODES = (0o755, 0o775, 0o777)
_PLAIN_NAME = frozenset(range(0x20, 0x7F))


def is_plain_name(name: str) -> bool:
    """Whether TaskVine can write a name."""
    return _PLAIN_NAME.issuperset(os.fsencode(name))


def is_plain(name: str, mode: int, returns: bool = False) -> bool:
    """Whether TaskVine can carry what has this name and this mode.

    Parameters
    ----------
    name : str
    mode : int
        As `os.lstat` gives it.
    returns : bool
        It comes from a worker to the submit side.
    """
    if stat.S_ISDIR(mode):
        usual = stat.S_IMODE(mode) & 0o777 in _USUAL_MODES if returns else mode & stat.S_IRWXU == stat.S_IRWXU
        return usual and is_plain_name(name)
    if stat.S_ISREG(mode):
        # Copies of sealed files (seals.py) would be taken for these.
        return not (returns and mode & stat.S_ISVTX) and is_plain_name(name)
    # What is no data, TaskVine leaves out on the way to workers, and gives up at on the way back.
    return not returns and not stat.S_ISLNK(mode) and is_plain_name(name)


def walk(directory: str, under: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give all that is in a directory, in an order that is always the same; what is in directories, behind them."""
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = os.path.join(under, entry.name)
            yield name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path, name)


def returns_as_it_is(directory: str) -> bool:
    """Whether a directory comes from a worker to the submit side, or to another worker, as it is."""
    return (
        is_plain("", os.stat(directory).st_mode, returns=True)
        and not os.path.lexists(os.path.join(directory, PACKED))
        and all(is_plain(entry.name, entry.stat(follow_symlinks=False).st_mode, True) for _, entry in walk(directory))
    )


def link(directory: str, place: str) -> None:
    """Make a directory like another one, with the same files, not copies of them."""
    os.mkdir(place)
    directories = [(place, os.stat(directory).st_mode)]
    for name, entry in walk(directory):
        made = os.path.join(place, name)
        if entry.is_dir(follow_symlinks=False):
            os.mkdir(made)
            directories.append((made, entry.stat().st_mode))
        elif entry.is_symlink():
            os.symlink(os.readlink(entry.path), made)
        else:
            link_file(entry.path, made)
    for made, mode in reversed(directories):
        os.chmod(made, stat.S_IMODE(mode))


def link_file(file: str, place: str) -> None:
    """Give a file one more name, or make a copy where that is impossible."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copy2(file, place)


def pack(directory: str, archive: str) -> None:
    """Write all that is in a directory to a file; sockets, named pipes and devices are left out."""
    import tarfile

    with tarfile.open(
        archive, "w", format=tarfile.GNU_FORMAT, encoding=sys.getfilesystemencoding(), errors="surrogateescape"
    ) as tar:
        tar.addfile(_describe(".", os.stat(directory)))
        for name, entry in walk(directory):
            member = _describe(os.path.join(".", name), entry.stat(follow_symlinks=False))
            if member.isfile():
                with open(entry.path, "rb") as file:
                    member.size = os.fstat(file.fileno()).st_size
                    tar.addfile(member, file)
            elif member.isdir():
                tar.addfile(member)
            elif member.issym():
                member.linkname = os.readlink(entry.path)
                tar.addfile(member)


def unpack(archive: str, directory: str) -> None:
    """Make the directory that an archive of `pack` holds.

    Raises
    ------
    ValueError
        If it holds what would lie outside.
    """
    import tarfile

    made, links = [], []
    with tarfile.open(archive, "r:", encoding=sys.getfilesystemencoding(), errors="surrogateescape") as tar:
        for member in tar:
            place = os.path.normpath(os.path.join(directory, member.name))
            if os.path.isabs(member.name) or ".." in member.name.split("/"):
                raise ValueError(f"{archive}: {member.name!r} leads out of the directory")
            if member.isdir():
                os.makedirs(place, 0o700, exist_ok=True)
                made.append((place, member))
            elif member.issym():
                links.append((member.linkname, place))
            elif member.isfile():
                # Not what is there already, nor anything to which a link leads: there are no links yet.
                with open(place, "xb") as file:
                    shutil.copyfileobj(tar.extractfile(member), file)  # type: ignore[arg-type]
                _finish(place, member)
            else:
                raise ValueError(f"{archive}: {member.name!r} is neither file, directory nor symbolic link")
    for target, place in links:
        os.symlink(target, place)
    for place, member in reversed(made):
        _finish(place, member)


def _describe(name: str, status: os.stat_result) -> tarfile.TarInfo:
    import tarfile

    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode) & 0o777
    member.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        member.mode |= stat.S_IRWXU  # else a worker could not delete it
    elif stat.S_ISLNK(status.st_mode):
        member.type = tarfile.SYMTYPE
    elif not stat.S_ISREG(status.st_mode):
        member.type = tarfile.FIFOTYPE
    return member


def _finish(place: str, member: tarfile.TarInfo) -> None:
    os.utime(place, (member.mtime, member.mtime))
    os.chmod(place, member.mode & 0o777)
