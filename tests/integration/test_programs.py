"""Programs as people write them, started in every way that Python knows."""

import os
import subprocess
import sys
import textwrap

import nbclient
import nbformat
import pytest

from tests.helpers.processes import left_of

LOAD = """
    import parsl
    from vinefast import VineFastExecutor

    parsl.load(parsl.Config(executors=[VineFastExecutor()]))
"""

# What a program may define at its top, and give to an app.
TOP = """
    import functools
    import typing

    class Point:
        dimension = 2

        def __init__(self, x, y):
            self.x, self.y = x, y

        def __eq__(self, other):
            return (self.x, self.y) == (other.x, other.y)

        @functools.cached_property
        def length(self):
            return Id(fibonacci(self.x) + fibonacci(self.y))

        def scaled(self, factor):
            return type(self)(factor * self.x, factor * self.y)

    class Trouble(Exception):
        pass

    Id = typing.NewType("Id", int)

    @functools.cache
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    @functools.singledispatch
    def double(value):
        return 2 * value

    @double.register(list)
    def _(values):
        return [double(value) for value in values]

    def power(exponent):
        return lambda base: base**exponent

    @parsl.python_app
    def square(x):
        return x * x

    @parsl.python_app
    def apply(function, *args):
        return function(*args)

    @parsl.python_app
    def fail(kind):
        raise kind("on purpose")

    @parsl.bash_app
    def greet(name, stdout=None):
        return f"echo hello {name}"
"""

USE = """
    assert [f.result() for f in [square(i) for i in range(100)]] == [i * i for i in range(100)]
    assert apply(lambda x: x + 1, square(3)).result() == 10
    assert apply(power(3), 2).result() == 8
    assert apply(functools.partial(power(2), base=5)).result() == 25
    assert apply(Point(1, 2).scaled, 3).result() == Point(3, 6)
    assert apply(Point, 1, 2).result() == Point(1, 2)
    assert apply(fibonacci, 30).result() == 832040
    assert apply(double, [1, [2]]).result() == [2, [4]]
    assert apply(lambda: Point(7, 8).length).result() == 34
    try:
        fail(Trouble).result()
        raise SystemExit("no trouble")
    except Trouble as error:
        assert str(error) == "on purpose"
    assert greet("you", stdout="greeting.txt").result() == 0
    assert open("greeting.txt").read() == "hello you\\n"
    print("all is well", flush=True)
"""


def program(*parts):
    return "".join(textwrap.dedent(part) for part in parts)


@pytest.fixture
def run(mark, tmp_path):
    """Run a Python program in a directory of its own, and see that it leaves no process behind."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)

    def run(*arguments, **kwargs):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            **kwargs,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    assert not left_of(mark)


def test_script_that_never_cleans_up(run, tmp_path):
    (tmp_path / "script.py").write_text(program(LOAD, TOP, USE))
    assert run("script.py") == "all is well\n"


def test_script_started_from_elsewhere(run, tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "script.py").write_text(program(LOAD, TOP, USE, "parsl.dfk().cleanup()"))
    assert run("project/script.py") == "all is well\n"


def test_command_line(run):
    assert run("-c", program(LOAD, TOP, USE)) == "all is well\n"


def test_standard_input(run):
    assert run("-", input=program(LOAD, TOP, USE)) == "all is well\n"


def test_context(run):
    load = LOAD.replace("parsl.load(", "kernel = parsl.load(")
    body = textwrap.indent(textwrap.dedent(USE), "    ")
    assert run("-c", program(load, TOP) + f"with kernel:\n{body}") == "all is well\n"


# As people write who know `concurrent.futures`.
PLAIN = """
    import math
    import sys

    import numpy as np

    from vinefast import ContextError, VineFastExecutor
    import vinefast

    OFFSET = 3

    class Particle:
        def __init__(self, x):
            self.x = x

        def energy(self):
            return energy(self.x)

    class Lost(Exception):
        pass

    def energy(x):
        return math.sqrt(x) + OFFSET + float(np.zeros(1)[0])

    def simulate(x):
        if x < 0:
            raise Lost(x)
        return Particle(energy(x))

    def whole(particle):
        return particle.energy()

    def load():
        return energy(16)

    @vinefast.mark(context=load)
    def use(context):
        return context

    def careless():
        return eval("energy")(1)

    def serializer():
        return sys.modules["cloudpickle"].__file__

    def own_serializer():
        import cloudpickle
        return cloudpickle.__file__

    with VineFastExecutor() as executor:
        particle = executor.submit(simulate, None, 4).result()
        assert type(particle) is Particle and particle.x == 5
        assert list(executor.map(energy, [4, 9])) == [5, 6]
        assert executor.submit(whole, None, Particle(4)).result() == 5
        assert executor.submit(Particle(4).energy, None).result() == 5
        assert executor.submit(lambda f, x: f(x), None, energy, 4).result() == 5
        assert executor.submit(use, None).result() == 7
        OFFSET = 10
        assert executor.submit(energy, None, 4).result() == 12
        try:
            executor.submit(simulate, None, -4).result()
        except Lost as error:
            assert error.args == (-4,)
        else:
            raise SystemExit("not lost")
        try:
            executor.submit(careless, None).result()
        except NameError as error:
            assert "'energy' is not defined on the worker" in str(error) and "import or define" in str(error), error
        else:
            raise SystemExit("no NameError")
        # It is that of this program, which came along.
        for f in serializer, own_serializer:
            there = executor.submit(f, None).result()
            assert "/vinefast_library.zip/vinefast_library/packages/cloudpickle/" in there, there
    print("all is well", flush=True)
"""


def test_a_program_without_parsl(run, tmp_path):
    (tmp_path / "script.py").write_text(program(PLAIN))
    assert run("script.py") == "all is well\n"
    assert run("-c", program(PLAIN)) == "all is well\n"
    assert sorted(path.name for path in (tmp_path / "runinfo").iterdir()) == ["000", "001"]


MODULE = """
    import parsl

    from {package}constants import UNIT

    memory = []

    def helper(x):
        return x * UNIT

    @parsl.python_app
    def measure(x):
        memory.append(x)
        return helper(x), len(memory)
"""

CALLER = """
    from {package}apps import helper, measure

    assert measure(2).result()[0] == 20
    # The module's own state lives from call to call: in each slot, 99 calls have been there before the last one.
    counts = [f.result()[1] for f in [measure(i) for i in range(100)]]
    assert max(counts) >= 100 // VineFastExecutor().workers_per_node
    executor = parsl.dfk().executors["VineFastExecutor"]
    assert executor.submit(helper, {{}}, 3).result() == 30
    print("all is well", flush=True)
"""


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_apps_in_a_module_beside_the_script(run, tmp_path, mode):
    """Workers have not got the script's directory among the places where they look for modules."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "constants.py").write_text("UNIT = 10\n")
    (project / "apps.py").write_text(program(MODULE.format(package="")))
    caller = CALLER.format(package="")
    if mode == "regular":
        caller = "from apps import measure\nassert measure(2).result() == (20, 1)\nprint('all is well')\n"
    load = LOAD.replace("VineFastExecutor()", f"VineFastExecutor(function_exec_mode={mode!r})")
    (project / "script.py").write_text(program(load, caller))
    assert run("project/script.py") == "all is well\n"


def test_module_of_a_package(run, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("UNIT = 10\n")
    (package / "apps.py").write_text(program(MODULE.format(package="package.")))
    (package / "module.py").write_text(program(LOAD, TOP, CALLER.format(package="package."), USE))
    assert run("-m", "package.module") == "all is well\nall is well\n"


CELLS = [
    "import sys\nsys.executable",
    program(LOAD).replace("parsl.load(", "kernel = parsl.load("),
    program(TOP),
    program(USE),
    "from beside import UNIT, scale\nparsl.python_app(scale)(4).result()",
    # As one does: change an app, and run the cell again.
    "@parsl.python_app\ndef square(x):\n    return -x * x",
    "square(3).result()",
    "square('not a number').result()",
    "square(4).result()",
]


def test_notebook(mark, tmp_path, monkeypatch):
    """In a real kernel, which ends without any cleaning up."""
    for variable in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.delenv("PYTHONPATH")
    (tmp_path / "beside.py").write_text("UNIT = 10\ndef scale(x):\n    return x * UNIT\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = [
        output.get("text") or output.get("data", {}).get("text/plain") or output.get("ename")
        for cell in notebook.cells
        for output in cell.outputs
    ]
    assert shown == [repr(sys.executable), "all is well\n", "40", "-9", "TypeError", "-16"]
    assert not left_of(mark, 20)
