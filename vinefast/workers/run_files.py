"""What an executor makes in the run directory before its engine starts, for itself and for workers."""

from __future__ import annotations

import os
import pickle
import secrets
import tempfile
from contextlib import suppress

from vinefast.library.context import Context

OUTPUT = "output"
"""Name of the directory, in an executor's part of the run directory, with the output of slots."""


class RunFiles:
    """An executor's part of the run directory.

    Parameters
    ----------
    run_dir, label : str
        The run directory, and the executor's name.
    vine_log_dir : str or None
        Where the user wants TaskVine's logs; None: there as well.

    Attributes
    ----------
    directory : str
        That part.
    runtime_dir : str
        For TaskVine's logs.
    """

    def __init__(self, run_dir: str, label: str, vine_log_dir: str | None) -> None:
        self.directory: str = os.path.join(os.path.abspath(run_dir), label)
        self.runtime_dir: str = os.path.abspath(vine_log_dir or os.path.join(self.directory, "taskvine"))
        for path in (self.directory, self.runtime_dir):
            os.makedirs(path, exist_ok=True)

    def make_password(self) -> str:
        """Make a file with a password that nobody knows; whoever calls this removes it in the end."""
        return self.make_private("password-", secrets.token_hex(32).encode())

    def make_private(self, prefix: str, data: bytes) -> str:
        """Make a file that only its owner can read; whoever calls this removes it in the end."""
        descriptor, path = tempfile.mkstemp(prefix=prefix, dir=self.directory)
        _write(descriptor, path, data)
        return path

    def make_context(self, context: Context | None) -> str:
        """Make the file of a context that libraries load before they have calls."""
        path = os.path.join(self.directory, "context")
        # It may hold what only its owner is to see; a former one may be anybody's.
        remove(path)
        _write(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), path, pickle.dumps(context, 5))
        return path

    def make_output(self) -> str:
        """Make the directory of what calls print."""
        path = os.path.join(self.directory, OUTPUT)
        os.makedirs(path, 0o700, exist_ok=True)
        return path


def _write(descriptor: int, path: str, data: bytes) -> None:
    """Fill a file that is new, or leave none."""
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:  # which does not say where
        remove(path)
        raise OSError(error.errno, error.strerror, path) from error
    except BaseException:
        remove(path)
        raise


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)
