"""docs/parsl.md lists all that vinefast uses of Parsl and knows of its inside, and the installed Parsl has it."""

import ast
import functools
import importlib
import importlib.util
import inspect
import logging
import math
import queue
import re
import subprocess
import sys
import types
from collections import defaultdict
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import parsl
import parsl.serialize.facade
import pytest
from parsl.app.bash import remote_side_bash_executor
from parsl.app.errors import MissingOutputs, RemoteExceptionWrapper
from parsl.app.python import timeout
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.futures import AppFuture
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.states import JobState, JobStatus
from parsl.monitoring import MonitoringHub
from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.monitoring.remote import monitor_wrapper
from parsl.providers import LocalProvider, SlurmProvider
from parsl.serialize.concretes import DillCallableSerializer, DillSerializer
from parsl.utils import get_std_fname_mode

from tests.helpers.markdown import ROOT
from tests.helpers.waiting import wait_until
from vinefast import python_app
from vinefast.calls.apps import options_of
from vinefast.calls.retries import dataflow_kernel_of, task_record_of
from vinefast.calls.walltime import without_walltime
from vinefast.data.staging import URLStaging, WorkerPath
from vinefast.events.story import tries_of_parsl
from vinefast.library import by_value

PACKAGE = ROOT / "vinefast"
PAGE = (ROOT / "docs/parsl.md").read_text(encoding="utf-8")
NAME = re.compile(r"parsl(\.\w+)+")


# What is used, by the code.


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what is before the last dot is none
        return False


def module_in(name):
    """Give the module that a dotted name begins with, without what is behind it."""
    while not is_module(name):
        name = name.rpartition(".")[0]
    return name


def uses_of_python(tree):
    """Give the names of Parsl that a module imports, reaches through a module of Parsl's, or has in a string."""
    modules = {}  # by the name that they have there
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "parsl":
                    yield alias.name
                    modules[alias.asname or "parsl"] = alias.name if alias.asname else "parsl"
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "parsl":
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            if module_in(node.value) != "parsl":  # else it is a field of a log record, say
                yield node.value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if is_module(module):
                yield f"{module}.{node.attr}"


def uses_of_cython(text):
    """Do the same, as far as it is needed, for what `ast` does not read."""
    lines = [line.split("#")[0] for line in text.splitlines()]
    imports = [line.strip() for line in lines if re.match(r"\s*(from|import)\s+parsl\b", line)]
    assert not [line for line in imports if "(" in line or line.endswith("\\")], "one line each, please"
    modules = [line for line in imports if re.fullmatch(r"import parsl\S* as \w+", line)]
    aliases = dict(reversed(re.split(" as ", line.removeprefix("import "))) for line in modules)
    code = "\n".join(lines)
    reached = [f"{aliases[alias]}.{name}" for alias, name in re.findall(r"\b(\w+)\.(\w+)", code) if alias in aliases]
    named = [repr(name) for name in re.findall(r"[\"']([\w.]+)[\"']", code)]
    yield from uses_of_python(ast.parse("\n".join(imports + named)))
    yield from reached


def used():
    """Give the files, below vinefast/, by the name of what they use."""
    files = defaultdict(set)
    head = (PACKAGE / "core/head.pxi").read_text()
    imports = "\n".join(line for line in head.splitlines() if re.match(r"import parsl\S* as ", line))
    for path in sorted(PACKAGE.rglob("*")):
        where = str(path.relative_to(PACKAGE))
        if path.suffix == ".py":
            names = set(uses_of_python(ast.parse(path.read_text())))
        elif path.suffix in (".pyx", ".pxi"):
            # The parts are one module, whose imports are in the head.
            names = set(
                uses_of_cython(path.read_text() if path.name == "head.pxi" else imports + "\n" + path.read_text())
            )
            if path.name != "head.pxi":
                names -= set(re.findall(r"import (\S+) as", imports))
        else:
            continue
        for name in names:
            # A module need not be listed for a file that has names of it.
            if not (is_module(name) and any(other.startswith(f"{name}.") for other in names)):
                files[name].add(where)
    return files


# What is listed, by the page.


def rows_below(headline):
    """Give the cells of the table below a headline, without its head."""
    section = PAGE.split(f"\n## {headline}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def listed():
    """Give the files by the names that the page lists."""
    return {name.strip("`"): set(re.findall("`([^`]+)`", where)) for name, where in rows_below("Names")}


def test_the_page_lists_each_name_of_parsl_s_with_the_files_that_use_it():
    assert listed() == used()


PYTHON = """
import parsl.a.b as c
from parsl.d import (
    e,
    f)
c.g("parsl.app.python", "parsl.executor", "parsl.utils.x")

def h():
    import parsl
    parsl.i
"""
CYTHON = """
from parsl.d import e, f
import parsl.utils as u
cdef int x = u.y
z = "parsl.app.bash"  # "parsl.app.app"
"""


def test_a_use_that_is_not_listed_is_found():
    names = {*("parsl", "parsl.i"), *("parsl.a.b", "parsl.d.e", "parsl.d.f"), *("parsl.app.python", "parsl.utils.x")}
    assert set(uses_of_python(ast.parse(PYTHON))) == names
    assert set(uses_of_cython(CYTHON)) == {"parsl.d.e", "parsl.d.f", "parsl.utils", "parsl.utils.y", "parsl.app.bash"}


@pytest.mark.parametrize("name", sorted(listed()))
def test_the_installed_parsl_has_it(name):
    module = module_in(name)
    for attribute in filter(None, name.removeprefix(module).split(".")):
        assert hasattr(importlib.import_module(module), attribute)


def test_each_row_about_the_inside_names_its_tests_and_each_test_has_a_row():
    named = [name for *_, tests in rows_below("The inside") for name in re.findall("`([^`]+)`", tests)]
    for name in named:
        file, _, function = name.rpartition("::")
        path = ROOT / "tests" / file if file else Path(__file__)
        assert re.search(rf"^def {function}\(", path.read_text(), re.MULTILINE), name
    here = re.findall(r"^def (test_parsl_\w+)\(", Path(__file__).read_text(), re.MULTILINE)
    assert sorted(name for name in named if "::" not in name) == sorted(here)


# What Parsl does inside.


class Recorder(BlockProviderExecutor):
    """An executor that only notes what it is given."""

    def __init__(self, storage_access=None, result=None):
        super().__init__(provider=None, block_error_handler=True)
        self.label, self.storage_access, self.working_dir = "recorder", storage_access, None
        self.remote_monitoring_radio = FilesystemRadio()
        self.run_dir, self.submitted, self.result = "", [], result

    def start(self):
        super().start()
        self.at_start = self.run_dir, self.run_id

    def submit(self, *call, **keywords):
        future = Future()
        future.parsl_executor_task_id = 1000 + len(self.submitted)
        self.submitted.append((call, keywords, future))
        if self.result is not None:
            future.set_result(self.result)
        return future

    def shutdown(self):
        super().shutdown()

    def outstanding(self):
        return 0

    @property
    def workers_per_node(self):
        return 1

    def _get_launch_command(self, block_id):
        return "true"


@contextmanager
def loaded(tmp_path, executor, **options):
    config = parsl.Config([executor], run_dir=str(tmp_path / "run"), strategy="none", **options)
    with parsl.load(config) as kernel:
        yield kernel


def submitted(executor, number=0):
    """Wait for a call, since Parsl submits on a thread of its own."""
    assert wait_until(lambda: len(executor.submitted) > number and executor.submitted[number][2]._done_callbacks)
    return executor.submitted[number]


def add(a, b=0, **kwargs):
    return a + b


def test_parsl_tells_an_executor_where_it_runs_before_it_starts_it(tmp_path):
    executor = Recorder()
    assert executor.monitoring_messages is None and executor.monitoring_receiver is None
    with loaded(tmp_path, executor) as kernel:
        assert executor.at_start == (kernel.run_dir, kernel.run_id)


def test_parsl_submits_by_position(tmp_path):
    executor = Recorder(result=3)
    with loaded(tmp_path, executor):
        parsl.python_app(add)(1, b=2, parsl_resource_specification={"cores": 1}).result(10)
    (function, *rest), keywords, _ = executor.submitted[0]
    assert inspect.unwrap(function) is add and rest == [{"cores": 1}, 1] and keywords["b"] == 2


def test_parsl_waits_by_a_callback_that_has_its_record_of_the_task(tmp_path):
    executor = Recorder()
    with loaded(tmp_path, executor) as kernel:
        app = parsl.python_app(add)(1)
        *_, future = submitted(executor)
        (callback,) = [callback for callback in future._done_callbacks if task_record_of(callback) is not None]
        record = task_record_of(callback)
        assert isinstance(app, AppFuture) and record is app.task_record
        assert {"id", "try_id", "status", "fail_cost", "exec_fu"} <= set(record)
        assert dataflow_kernel_of(callback) is kernel and record["exec_fu"] is future
        assert isinstance(kernel.run_id, str) and kernel.monitoring is None
        future.set_result(1)
        assert app.result(10) == 1
    assert "resource_monitoring_enabled" in vars(MonitoringHub())


@pytest.mark.parametrize(("cost", "tries"), [(0, 2), (math.inf, 1)])
def test_parsl_tries_an_app_again_by_its_cost(tmp_path, cost, tries):
    executor = Recorder()
    with loaded(tmp_path, executor, retries=1) as _:
        app = parsl.python_app(add)(1)
        for number in range(tries):
            *_, future = submitted(executor, number)
            app.task_record["fail_cost"] += cost
            future.set_exception(ValueError("it fails"))
        with pytest.raises(ValueError, match="it fails"):
            app.result(10)
    assert len(executor.submitted) == tries


def test_parsl_logs_which_call_a_try_is(tmp_path, caplog):
    executor = Recorder(result=1)
    with loaded(tmp_path, executor) as kernel, caplog.at_level(logging.INFO, "parsl"):
        parsl.python_app(add)(1).result(10)
        directory = kernel.run_dir
    assert tries_of_parsl(directory, "recorder") == {1000: (0, 0)}
    if tuple(map(int, parsl.__version__.split("."))) > (2026, 9, 28):
        (record,) = [vars(record) for record in caplog.records if hasattr(record, "parsl.executor_task")]
        noted = [record[f"parsl.{name}"] for name in ("task", "try", "executor", "executor_task")]
        assert record["name"] == "parsl.dataflow.dflow" and noted == [0, 0, "recorder", 1000]


def test_parsl_wraps_an_app_with_a_walltime(tmp_path):
    assert timeout(add, 1).__code__ is timeout(len, 2).__code__
    executor = Recorder(result=1)
    with loaded(tmp_path, executor):
        python_app(add, keep=True)(1, walltime=2.5).result(10)
    (function, *_), keywords, _ = executor.submitted[0]
    inner, seconds = without_walltime(function)
    assert seconds == 2.5 and keywords == {"walltime": 2.5}
    assert function is not inner is not add  # Parsl's other wrapper, which has exceptions come back, stays
    assert options_of(function).keep and options_of(inner).keep  # attributes are those of the function that is wrapped


def test_parsl_makes_its_wrappers_of_code_that_is_a_constant():
    for factory in (monitor_wrapper, timeout):
        assert [each for each in factory.__code__.co_consts if isinstance(each, types.CodeType)]


def test_parsl_wraps_the_function_of_a_bash_app(tmp_path):
    def command():
        return "true"

    executor = Recorder(result=0)
    with loaded(tmp_path, executor):
        parsl.bash_app(command)().result(10)
    (function, *_), *_ = executor.submitted[0]
    function = inspect.unwrap(function)
    assert isinstance(function, functools.partial) and function.func is remote_side_bash_executor
    assert function.args[0] is command


def test_parsl_keeps_what_is_wrong_with_an_executor():
    executor = Recorder()
    assert not executor.bad_state_is_set and executor.executor_exception is None
    executor._executor_exception = error = ValueError()
    executor._executor_bad_state.set()
    assert executor.bad_state_is_set and executor.executor_exception is error
    assert executor.provider is None and executor.block_error_handler is not None


def test_parsl_serializes_by_methods_in_two_tables():
    facade = parsl.serialize.facade
    assert [type(method) for method in facade.methods_for_code.values()] == [DillCallableSerializer]
    assert {name: type(method) for name, method in facade.methods_for_data.items()} == {
        DillSerializer.identifier: DillSerializer
    }
    (method,) = facade.methods_for_code.values()
    assert callable(method.deserialize.cache_clear)
    assert parsl.serialize.deserialize(facade.serialize(([1], {}), buffer_threshold=0xFFFFFFFF)) == ([1], {})


def test_parsl_finds_a_method_that_a_payload_names():
    assert parsl.serialize.deserialize(by_value.serialize({"a": 1})) == {"a": 1}


def test_parsl_brings_exceptions_back_in_a_wrapper():
    error = ValueError("a")
    wrapper = RemoteExceptionWrapper(ValueError, error, None)
    assert wrapper.e_type is ValueError and wrapper.e_value is error and wrapper.get_exception() is error
    assert MissingOutputs("why", [File("a")]).outputs


def test_parsl_describes_a_file_by_its_url(tmp_path):
    file = File("https://host/a/b.txt")
    assert (file.url, file.scheme, file.netloc, file.path) == ("https://host/a/b.txt", "https", "host", "/a/b.txt")
    assert (file.filename, file.local_path) == ("b.txt", None)
    file.local_path = "c"
    copy = file.cleancopy()
    assert file.filepath == "c" and type(copy) is File and copy.local_path is None


def test_parsl_gives_a_call_copies_of_files_that_staging_has_placed(tmp_path):
    executor = Recorder(storage_access=[URLStaging()], result=1)
    file = File("https://host/a/b.txt")
    with loaded(tmp_path, executor):
        parsl.python_app(add)(1, c=file).result(10)
    (_, keywords, _) = executor.submitted[0]
    assert file.local_path is None and isinstance(keywords["c"].local_path, WorkerPath)


def test_parsl_reads_where_standard_streams_go():
    assert get_std_fname_mode("stdout", "a") == ("a", "a+")
    assert get_std_fname_mode("stdout", ("a", "w")) == ("a", "w")


def test_parsl_has_a_radio_for_what_an_executor_tells_its_monitoring():
    executor, messages = Recorder(), queue.Queue()
    executor.start()
    assert executor.submit_monitoring_radio is None
    executor.monitoring_messages = messages
    executor.start()
    executor.submit_monitoring_radio.send((MessageType.NODE_INFO, {}))
    assert messages.get(timeout=10) == (MessageType.NODE_INFO, {})
    assert {"NODE_INFO", "WORKER_TASK_INFO"} <= set(MessageType.__members__)


def test_parsl_s_serializer_needs_little_of_it():
    program = "import library.parsl_side as side, sys; print(side.available(), 'parsl.executors' in sys.modules)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True).stdout == "True False\n"


def test_parsl_loads_a_configuration_by_making_a_kernel_of_it():
    assert list(inspect.signature(DataFlowKernel.__init__).parameters)[:2] == ["self", "config"]
    assert "DataFlowKernel(config)" in inspect.getsource(parsl.load)


def test_parsl_knows_jobs_by_their_status():
    assert JobStatus(JobState.COMPLETED).terminal and not JobStatus(JobState.RUNNING).terminal
    assert JobStatus(JobState.PENDING).state.name == "PENDING"
    provider = LocalProvider()
    assert provider.label and provider.resources == {} and hasattr(provider, "script_dir")
    assert SlurmProvider("a", cores_per_node=4).cores_per_node == 4
