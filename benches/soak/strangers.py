"""Connections that know nothing of TaskVine.

``python -m benches.soak.strangers ADDRESS PORT silent|garbage N SECONDS SEED``
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import time


def main(address: str, port: str, manner: str, n: str, seconds: str, seed: str) -> None:
    """Connect n times, say nothing or nonsense, and leave after a time."""
    rng = random.Random(int(seed))
    with contextlib.ExitStack() as stack:
        for _ in range(int(n)):
            with contextlib.suppress(OSError):
                stranger = stack.enter_context(socket.create_connection((address, int(port)), timeout=5))
                if manner == "garbage":
                    noise = rng.randbytes(rng.randrange(1, 5000))
                    stranger.sendall(rng.choice([noise, b"taskvine 12 ho", b"GET / HTTP/1.1\r\n\r\n"]))
        time.sleep(float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
