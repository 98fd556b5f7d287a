"""Waits with an end."""

import os
import tempfile
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


class HeldCall:
    """A call that ends after `release`, when its future has the callbacks that are to run where futures are finished.

    Added to a call that is done, a callback runs at once, on the thread that adds it.
    """

    def __init__(self, executor):
        self._gate = tempfile.mktemp()
        self.future = executor.submit(wait_for_file, {}, self._gate)
        self.future.add_done_callback(lambda future: os.unlink(self._gate))

    def release(self):
        open(self._gate, "x").close()
