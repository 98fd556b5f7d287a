"""The core needs the GIL; a free-threaded Python has it on then, or says that it cannot."""

import subprocess
import sys

import pytest

from vinefast import _gil

pytestmark = pytest.mark.processes


def run(program, *options):
    return subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True)


def test_without_the_gil_it_cannot_be_imported():
    ran = run("import sys; sys._is_gil_enabled = lambda: False; import vinefast")
    assert ran.returncode == 1
    assert "ImportError: vinefast needs Python's GIL, which PYTHON_GIL=0 or -X gil=0 keeps off" in ran.stderr


@pytest.mark.skipif(not _gil.is_optional(), reason="this Python is no free-threaded one")
def test_a_free_threaded_python_switches_it_on():
    ran = run("import sys, vinefast; print(sys._is_gil_enabled())")
    assert ran.stdout == "True\n" and "'vinefast._core'" in ran.stderr  # it warns of that
    ran = run("import vinefast", "-X", "gil=0")
    assert ran.returncode == 1 and "vinefast needs Python's GIL" in ran.stderr
