"""What TaskVine's worker tells a library when it starts it. Any Python 3 reads this, see `checked`."""

import argparse


def library_arguments() -> argparse.Namespace:
    """Parse the command line of a library."""
    parser = argparse.ArgumentParser(prog="vinefast_library")
    for name in ("--in-pipe-fd", "--out-pipe-fd", "--task-id", "--worker-pid"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--library-cores", type=int, default=1)
    parser.add_argument("--worker-cores", type=int, default=0, help="what a worker has been given; 0: all there are")
    parser.add_argument("--children", type=int, default=0, help="warm children; 0: as many as cores")
    # A later worker may append arguments that we do not know.
    return parser.parse_known_args()[0]
