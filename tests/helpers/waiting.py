"""Waits with an end."""

import os
import time


def wait_until(condition, seconds=10.0):
    """Wait until `condition()` is true, for so long at the most; tells whether it became so, for an assertion."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def wait_for_file(path):
    """Of a call: wait until there is a file; gives up after 20 s."""
    wait_until(lambda: os.path.exists(path), 20)
