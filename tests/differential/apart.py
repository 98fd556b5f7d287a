"""Steps that are never to be run on executors that go on: how each ends alone, in a program of its own.

``python -m tests.differential.apart`` prints a line for each: label, row, and how it has ended. With ``--ends`` it runs
those that end the program instead.
"""

import json
import sys
import tempfile
from concurrent.futures import wait
from pathlib import Path

from parsl.executors import ThreadPoolExecutor

from tests.differential.differences import HARMFUL, HTEX, NEVER, PROGRAM_ENDS, TABLE, THREADS, end_apart, step_of
from tests.differential.executors import Executors, htex
from tests.differential.program import Program
from tests.differential.run import Run, word_for

MAKE = {
    THREADS: lambda label: ThreadPoolExecutor(label=label, max_threads=1),
    HTEX: lambda label: htex(label, n_workers=1),
}


def main():
    """Run all steps at the same time, each on an executor of its own."""
    is_last = "--ends" in sys.argv
    found = [
        (label, row)
        for row, difference in TABLE.items()
        for label in MAKE
        if end_apart(difference, label) in HARMFUL and (end_apart(difference, label) == PROGRAM_ENDS) == is_last
    ]
    made = {f"{label}-{i}": MAKE[label](f"{label}-{i}") for i, (label, _) in enumerate(found)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Executors(directory / "runinfo", lambda: [*made.values()]):
            runs = [
                Run(Program((step_of(row),)), label, directory / label, is_real=True)
                for label, (_, row) in zip(made, found, strict=True)
            ]
            for run in runs:
                run.submit()
            futures = [run.futures[0] for run in runs]
            # That takes a minute and a half, with three tries: htex looks every 30 s whether its workers are there.
            # What has not ended by then never does.
            wait([f for f, (label, row) in zip(futures, found, strict=True) if end_apart(TABLE[row], label) != NEVER])
            for (label, row), future in zip(found, futures, strict=True):
                end = word_for(future.exception()) if future.done() else NEVER
                print(json.dumps([label, repr(row), end]), flush=True)


if __name__ == "__main__":
    main()
