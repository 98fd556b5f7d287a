"""URLs that workers fetch: what their shell and curl are given."""

from __future__ import annotations

import urllib.parse
from typing import NamedTuple

from vinefast.errors import InputMissing

# All that may stay as it is between double quotes of a shell; the rest is percent-encoded.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"$`\\')

# TaskVine tells a worker of a URL in a line of 4096 bytes, in which most characters but letters and digits take three.
_LONGEST = 3800


class Timeouts(NamedTuple):
    """How long a worker waits for a server, in seconds.

    Attributes
    ----------
    connect_s:
        For the connection.
    idle_s:
        For the next byte.
    """

    connect_s: int = 20
    idle_s: int = 30


def curl_source(url: str, timeouts: Timeouts) -> str:
    """Write the source that TaskVine is told for a file at a URL.

    Raises
    ------
    InputMissing
        If the URL is too long for TaskVine.
    """
    # TaskVine's worker runs `curl -sSL --stderr /dev/stdout -o "PATH" "SOURCE"` through a shell: an error page would be
    # taken for the file, and a server that does not answer would hold the call for ever. What stands behind the quote
    # that ends the URL are options of that command, on workers of any kind; the last quote is TaskVine's. A task that
    # fetches would do as well, but TaskVine does not share what such a task made among workers. `--stderr -` is the
    # standard output as well, where there is no /dev/stdout.
    limits = f"--connect-timeout {timeouts.connect_s} --speed-limit 1"
    options = f'--stderr - --globoff --fail {limits} --speed-time "{timeouts.idle_s}'
    source = f'{urllib.parse.quote(url, safe=_PLAIN)}" {options}'
    nbytes = sum(1 if character.isalnum() else 3 for character in source)
    if nbytes > _LONGEST:
        raise InputMissing(f"{url}: too long for TaskVine")
    return source
