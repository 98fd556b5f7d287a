"""Where files that come back are put: nothing of the user's makes room for them but what is of their kind."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress


def checked(place: str, is_file: bool = False) -> str:
    """Resolve the path where an output will lie: where links lead to, as for a program that writes there.

    Parameters
    ----------
    place : str
    is_file : bool
        The output is no directory; without this, nobody knows yet.

    Raises
    ------
    OSError
        If the output cannot be put there.
    """
    if not place:
        raise FileNotFoundError(errno.ENOENT, "no path for an output", place)
    place = os.path.realpath(place)
    kind = _kind(place)
    if kind not in (None, stat.S_IFREG) and (is_file or kind != stat.S_IFDIR):
        raise _refusal(place, kind)
    return place


def put(arrived: str, place: str, appended: bool = False) -> None:
    """Put what has arrived in its place, on the same file system.

    A file takes the place of a file, or is appended to it. A directory fills the one that is there: files in it are
    replaced by those of the same name, nothing else is touched.

    Raises
    ------
    OSError
        If something of another kind is in that place. Nothing has been changed then.
    """
    pairs = list(_pairs(arrived, place))
    if appended:
        _append(arrived, place)
        return
    for new, old in pairs:
        os.replace(new, old)


def remove(path: str) -> None:
    """Remove what there is of our own at a path."""
    with suppress(FileNotFoundError):
        if _kind(path) == stat.S_IFDIR:
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _pairs(arrived: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield what is to be renamed, and to what."""
    ours, theirs = _kind(arrived), _kind(place)
    if theirs is not None and theirs != ours:
        raise _refusal(place, theirs)
    if theirs != stat.S_IFDIR:
        yield arrived, place
        return
    for name in os.listdir(arrived):
        yield from _pairs(os.path.join(arrived, name), os.path.join(place, name))


def _append(arrived: str, place: str) -> None:
    with open(arrived, "rb") as new, open(place, "ab") as all_of_it:
        shutil.copyfileobj(new, all_of_it)


def _kind(path: str) -> int | None:
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except FileNotFoundError:
        return None


def _refusal(place: str, kind: int | None) -> OSError:
    end = "which stays as it is: name another path for this output, or remove that"
    if kind == stat.S_IFDIR:
        return IsADirectoryError(errno.EISDIR, f"there is a directory already, {end}", place)
    if kind == stat.S_IFREG:
        return NotADirectoryError(errno.ENOTDIR, f"there is a file already, {end}", place)
    return FileExistsError(errno.EEXIST, f"there is something that is no file already, {end}", place)
