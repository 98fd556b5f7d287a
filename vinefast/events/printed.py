"""What a call has printed, as far as the files of slots in the run directory still have it."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress

from vinefast.workers.run_files import OUTPUT

_NBYTES = 4096
_MARK = re.compile(rb"^=== \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} .* ===$", re.M)


def end_of_output(directory: str, number: int) -> str:
    """Give the end of what a call has printed, of its last try.

    Parameters
    ----------
    directory : str
        The executor's part of the run directory.
    number : int
        The executor's of the call.

    Returns
    -------
    str
        At most 4 kB; empty if nothing is there.
    """
    # As vinefast/library/output.py marks it. What a call has printed itself may look like that; then this is less.
    begin = re.compile(rb"^=== [^\n]*, call %d(?:, lost \d+ times before)? ===\n" % number, re.M)
    found: list[tuple[bytes, bytes]] = []
    for path in glob.glob(os.path.join(glob.escape(directory), OUTPUT, "*.log")):
        with suppress(OSError), open(path, "rb") as file:
            data = file.read()  # it may be cut meanwhile, so it is not mapped
            found += [(match[0], _until_next(data, match.end())) for match in begin.finditer(data)]
    # Each begins with its moment.
    return max(found)[1].decode("utf-8", "replace") if found else ""


def _until_next(data: bytes, start: int) -> bytes:
    following = _MARK.search(data, start)
    end = following.start() if following else len(data)
    return data[max(start, end - _NBYTES) : end]
