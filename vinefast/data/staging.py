"""Files that workers get when they need them: at paths that only workers have, or fetched from URLs by workers."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from parsl.data_provider.files import File
from parsl.data_provider.staging import Staging
from parsl.utils import RepresentationMixin

from vinefast import library
from vinefast._core import FILE_INPUT, FILE_URL
from vinefast.data import urls
from vinefast.data.cached import CachedFile
from vinefast.errors import InputMissing
from vinefast.library import files as on_worker
from vinefast.settings import rules

# What `vinefast._core.CallFiles` takes, without the name.
Move = tuple[Any, ...]

_numbers = itertools.count()

# On workers the library is a package of this name, and what is pickled refers to it there.
sys.modules.setdefault(on_worker.WORKER_PACKAGE, library)
sys.modules.setdefault(f"{on_worker.WORKER_PACKAGE}.files", on_worker)


class WorkerPath(str):
    """The path of a file that only workers have: an absolute path there, a mere name here.

    Attributes
    ----------
    move : tuple
        Where workers get the file, as in the moves of `vinefast._core.CallFiles`, without the name.
    writable : bool
        Whether the call gets a copy of its own.
    read_only : bool
        Whether the call may not write to what all calls see.
    """

    move: Move
    writable = read_only = False

    @classmethod
    def of_url(cls, url: str, timeouts: urls.Timeouts) -> WorkerPath:
        """Make a path for one call's view of what is at a URL."""
        path = cls._named_like(url.partition("?")[0])
        path.move = (FILE_URL, urls.curl_source(url, timeouts))
        return path

    @classmethod
    def of_cached(cls, file: CachedFile, timeouts: urls.Timeouts) -> WorkerPath:
        """Make a path for one call's view of a `CachedFile`."""
        try:
            caching = file.caching()
            if file.is_remote:
                path = cls.of_url(file.url, timeouts)
            else:
                path = cls._named_like(os.path.abspath(file.path))
                path.move = (FILE_INPUT, caching.source)
        except OSError as error:
            raise unreadable(file.path, error) from None
        path.move = (*path.move[:2], caching)
        path.writable, path.read_only = file.writable, not file.writable
        return path

    @classmethod
    def _named_like(cls, source: str) -> WorkerPath:
        return cls(f"u{next(_numbers):x}/{file_name(os.path.basename(source.rstrip('/')))}")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return on_worker.in_sandbox, (str(self),)


class URLStaging(Staging, RepresentationMixin):
    """Let workers fetch ``http``, ``https`` and ``ftp`` inputs themselves, each input once for all calls that read it.

    Belongs into an executor's `storage_access`, before other providers. Workers need ``curl``.

    Parameters
    ----------
    connect_timeout_s : int
        How long a worker waits until a server has accepted the connection, in seconds.
    idle_timeout_s : int
        How long a worker waits for the next byte, in seconds.

    Raises
    ------
    InvalidConfiguration
        If one of the two is not a positive whole number.
    """

    def __init__(
        self, connect_timeout_s: int = urls.Timeouts().connect_s, idle_timeout_s: int = urls.Timeouts().idle_s
    ) -> None:
        rules.require("connect_timeout_s", connect_timeout_s, rules.POSITIVE)
        rules.require("idle_timeout_s", idle_timeout_s, rules.POSITIVE)
        self.connect_timeout_s = connect_timeout_s
        self.idle_timeout_s = idle_timeout_s

    def can_stage_in(self, file: File) -> bool:
        """Whether this provider brings the file."""
        return file.scheme in ("http", "https", "ftp")

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: Any) -> None:
        """Leave the file to TaskVine: nothing has to run before the call."""
        file.local_path = WorkerPath.of_url(file.url, self.timeouts)

    @property
    def timeouts(self) -> urls.Timeouts:
        """How long workers wait for servers."""
        return urls.Timeouts(self.connect_timeout_s, self.idle_timeout_s)


def file_name(name: str) -> str:
    """Choose the name of a file on workers: `name`, if a file can have that name."""
    return name if rules.is_file_name(name) else "file"


def unreadable(path: str, error: OSError) -> InputMissing:
    """Make the error of a call that has an input which cannot be read here."""
    return InputMissing(f"{path!r} ({error.filename or path}): {error.strerror or error}")
