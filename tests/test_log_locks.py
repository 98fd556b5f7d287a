"""Ctrl-C while a program logs leaves no handler locked."""

import subprocess
import sys
import threading

import pytest

from vinefast import _locks

pytestmark = pytest.mark.processes

# Two threads that log: so the main thread mostly waits for the lock when it is interrupted.
PROGRAM = """
import logging, os, random, signal, sys, threading, time
from vinefast import _log_locks

_log_locks.hold_safely()
_log_locks.hold_safely()
handler = logging.FileHandler(sys.argv[1])
logger = logging.getLogger("a")
logger.addHandler(handler)
over = threading.Event()

def log():
    while not over.is_set():
        logger.warning("from the other thread")

def interrupt():
    time.sleep(random.uniform(0, 0.004))
    os.kill(os.getpid(), signal.SIGINT)

other = threading.Thread(target=log)
other.start()
left = 0
for _ in range(200):
    interrupter = threading.Thread(target=interrupt)
    try:
        interrupter.start()
        while True:
            logger.warning("from the main thread")
    except KeyboardInterrupt:
        pass
    while handler.lock._is_owned():
        left += 1
        handler.lock.release()
    interrupter.join()
over.set()
other.join()
print(left)
"""


@pytest.mark.parametrize("before_3_14", [True, False])
@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_any_lock_can_be_held(make, before_3_14, monkeypatch):
    monkeypatch.setattr(_locks, "IS_LEFT_LOCKED", not before_3_14)
    lock = make()

    def is_free():
        said = []
        other = threading.Thread(target=lambda: said.append(lock.acquire(blocking=False) and not lock.release()))
        other.start()
        other.join()
        return said == [True]

    with _locks.held(lock):
        assert not is_free()
    assert is_free()


def test_no_handler_stays_locked(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "log")], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
