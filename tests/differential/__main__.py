"""Run a program whose code is in a file, as a failed test prints it: ``python -m tests.differential FILE``."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.differential import program
from tests.differential.agreement import disagreements
from tests.differential.executors import Executors, all_three
from tests.differential.run import run_all


def main():
    """Tell how each step has ended, and whether executors agree."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--mode", default="serverless", help="vinefast's function_exec_mode")
    options = parser.parse_args()
    made = eval(Path(options.file).read_text(), {**vars(program), "nan": float("nan"), "inf": float("inf")})
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Executors(directory / "runinfo", lambda: all_three(options.mode)):
            told = run_all([made], directory / "program")[0]
    for label, (steps, files) in told.items():
        print(label, *steps, files, sep="\n  ")
    found = disagreements(made, told)
    print(*(found or ["the executors agree"]), sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
