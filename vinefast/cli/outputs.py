"""Where commands write what they make of a run: a file for each executor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vinefast.events.run import Run, find_all


def runs_and_outputs(run_dir: str, output: Path) -> Iterator[tuple[Run, str, Path]]:
    """Give each executor of a run directory: what its log tells, its directory, and the file to write.

    Parameters
    ----------
    run_dir : str
    output : Path
        Of several executors, each has a file with its label in the name.

    Raises
    ------
    EventLogError, OSError
        If there is no log, or none that can be read.
    """
    paths = find_all(run_dir)
    for path in paths:
        run = Run(path)
        run.update()
        directory = os.path.dirname(path)
        label = os.path.basename(directory)
        yield run, directory, output.with_stem(f"{output.stem}-{label}") if len(paths) > 1 else output


@contextmanager
def written(target: Path) -> Iterator[IO[bytes]]:
    """Open a file to write, and remove it if that fails half-way.

    Raises
    ------
    OSError
        That names the file.
    """
    file = open(target, "wb")
    try:
        with file:
            yield file
    except BaseException as error:
        if target.is_file():  # not /dev/stdout, say
            with suppress(OSError):
                target.unlink()
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise
