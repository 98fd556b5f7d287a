"""Where the workers of this machine listen for others: at the manager's address, if it listens at one alone."""

from __future__ import annotations

import glob
import os
import re

_LISTEN = "VINEFAST_LISTEN"
_PRELOAD = "LD_PRELOAD"


def listening_variables(address: str | None) -> dict[str, str]:
    """Give the variables of the environment with which a worker that is started here listens at that address alone.

    ``vine_worker`` has no option for that: a library that is preloaded (csrc/preload/listen.c) replaces its `bind()`.

    Parameters
    ----------
    address : str or None
        A number of this machine's; None: all, and no variable is needed.
    """
    library = preloaded_library()
    if address is None or library is None:
        return {}
    others = os.environ.get(_PRELOAD)
    return {_LISTEN: address, _PRELOAD: f"{library}:{others}" if others else library}


def preloaded_library() -> str | None:
    """Give the library that is preloaded; None: the loader cannot be given its path, or it was not built."""
    found = glob.glob(os.path.join(glob.escape(os.path.dirname(os.path.abspath(__file__))), "_listen.*.so"))
    # The loader splits its variable, and looks for what a dollar sign means.
    return next((path for path in found if not re.search(r"[\s:;$]", path)), None)
