"""Run Parsl's own test suite, that of the installed release, with vinefast: see README.md beside this file."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import parsl.tests

HERE = Path(__file__).parent
SUITE = Path(parsl.tests.__file__).parent

CONFIGS = {
    "serverless": HERE / "config_serverless.py",
    "regular": HERE / "config_regular.py",
    "htex": SUITE / "configs" / "htex_local.py",
}


def deselected(network, superuser):
    """Marks of tests that cannot pass here, whatever the executor."""
    return [*([] if network else ["cleannet"]), *(["unix_filesystem_permissions_required"] if superuser else [])]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("mode", type=click.Choice(list(CONFIGS)), default="serverless")
@click.option("--network", is_flag=True, help="Also run the tests that fetch files from the Internet.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def main(mode, network, pytest_arguments):
    """Run the suite in MODE; further arguments go to pytest."""
    marks = deselected(network, os.geteuid() == 0)
    command = [
        *(sys.executable, "-m", "pytest", str(SUITE), "-q", "-rfE", "-p", "no:cacheprovider"),
        # The settings of this project are not meant for it.
        *("-c", os.devnull, "--rootdir", str(SUITE), "--confcutdir", str(SUITE)),
        *("--config", str(CONFIGS[mode]), "--random-order", "--timeout", "120"),
        # Races of the tests' own: see README.md.
        *("--reruns", "5", "--only-rerun", "BadZipFile", "--only-rerun", "AppTimeout"),
        *(("-k", " and ".join(f"not {mark}" for mark in marks)) if marks else ()),
        *pytest_arguments,
    ]
    # Tests write into the current directory.
    with tempfile.TemporaryDirectory(prefix="vinefast-parsl-suite-") as scratch:
        start_s = time.monotonic()
        # HTEX looks for its programs there.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        code = subprocess.run(command, cwd=scratch, env={**os.environ, "PATH": path}).returncode
    click.echo(f"Parsl {parsl.__version__}'s suite, {mode}: {time.monotonic() - start_s:.1f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
