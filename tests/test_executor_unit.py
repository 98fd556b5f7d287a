"""The Parsl contract. Calls themselves are tested in tests/integration."""

import _thread
import inspect
import logging
import os
import queue
import re
import socket
import stat
import threading
import time

import pytest
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.executors.errors import BadStateException, InvalidResourceSpecification
from parsl.executors.taskvine import TaskVineExecutor, TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.udp import UDPRadio
from parsl.providers import LocalProvider, SlurmProvider

import vinefast
from vinefast import EngineStartError, EngineStopped, InvalidConfiguration, VineFastExecutor, _parts
from vinefast._teardown import Teardown
from vinefast.workers.watchdog import LOST


@pytest.fixture
def make(tmp_path):
    """Make executors that run under tmp_path; all are shut down, and what they started is gone."""
    threads = set(threading.enumerate())
    made = []

    def make(**arguments):
        executor = VineFastExecutor(**arguments)
        executor.run_dir = str(tmp_path)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.shutdown()
    assert set(threading.enumerate()) <= threads
    assert not list(tmp_path.glob("*/password-*"))


class Engine:
    """Stands in for the core where no call is to run."""

    def __init__(self, settings, on_failure, on_node=None, on_output=None, on_calls=None):
        self.settings = settings
        self.on_failure = on_failure
        self.port = 9123
        self.submitter = self
        self.calls = []
        self.failures = []
        self.n_stops = 0

    def start(self):
        pass

    def finishing_s(self):
        return 0.0

    def submit(self, *call):
        self.calls.append(call)
        return call

    def outstanding(self):
        return len(self.calls)

    def pending(self):
        return None

    def fail_outstanding(self, exception):
        self.failures.append(exception)

    def stats(self):
        names = ("workers_connected", "accept_errno", "log_errno", "event_log_errno", *LOST)
        return dict.fromkeys([*names, "usable_cores"], 0)

    def stop(self):
        self.n_stops += 1


@pytest.fixture
def make_apart(make, monkeypatch):
    """Make started executors on a stand-in engine, with workers that are not there."""
    monkeypatch.setattr(_parts, "Engine", Engine)

    def make_apart(start=True, **arguments):
        executor = make(worker_launch_method="manual", **arguments)
        if start:
            executor.start()
        return executor

    return make_apart


def test_arguments_are_the_stock_executors_and_kept():
    names = set(inspect.signature(VineFastExecutor).parameters)
    assert set(inspect.signature(TaskVineExecutor).parameters) < names
    arguments = {
        "label": "melting",
        "worker_launch_method": "provider",
        "function_exec_mode": "regular",
        "manager_config": TaskVineManagerConfig(),
        "factory_config": TaskVineFactoryConfig(),
        "provider": LocalProvider(),
        "storage_access": [NoOpFileStaging()],
        "remote_monitoring_radio": UDPRadio(address="127.0.0.1"),
        "working_dir": "/data",
        "strict_resources": False,
        "priority_order": "lowest_first",
        "context": dict,
        "context_scope": "slot",
        "enforce_memory": True,
        "cancel_running": True,
        "capture_output": True,
        "forward_output": True,
        "require_password": False,
        "ssl": True,
    }
    assert set(arguments) == names
    executor = VineFastExecutor(**arguments)
    for name, value in arguments.items():
        assert getattr(executor, name) is value
    assert "working_dir='/data'" in repr(executor)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"label": ""}, "label is ''"),
        ({"label": "a/b"}, "label is 'a/b'"),
        ({"label": None}, "label is None"),
        ({"worker_launch_method": "magic"}, "worker_launch_method is 'magic'; accepted: 'factory' or"),
        ({"function_exec_mode": "fast"}, "function_exec_mode is 'fast'"),
        ({"manager_config": {}}, "manager_config is {}"),
        ({"manager_config": TaskVineManagerConfig(port=-1)}, "manager_config.port is -1"),
        ({"factory_config": TaskVineFactoryConfig(batch_type="x")}, "factory_config.batch_type is 'x'"),
        ({"provider": "slurm"}, "provider is 'slurm'; accepted: an ExecutionProvider"),
        ({"storage_access": NoOpFileStaging()}, "storage_access is"),
        ({"remote_monitoring_radio": "udp"}, "remote_monitoring_radio is 'udp'"),
        ({"remote_monitoring_radio": HTEXRadio()}, "remote_monitoring_radio is HTEXRadio()"),
        ({"working_dir": 3}, "working_dir is 3"),
        ({"strict_resources": "no"}, "strict_resources is 'no'"),
        ({"priority_order": "lowest"}, "priority_order is 'lowest'"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(arguments, words):
    with pytest.raises(InvalidConfiguration) as caught:
        VineFastExecutor(**arguments)
    assert words in str(caught.value)
    assert "accepted: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("labels", "Did you mean 'label'?"),
        ("worker_launch", "Did you mean 'worker_launch_method'"),
        ("x", "Accepted: label, worker_launch_method, "),
    ],
)
def test_an_unknown_argument_is_refused_with_the_nearest(name, hint):
    class Mine(VineFastExecutor):
        def __init__(self, color, **arguments):
            super().__init__(**arguments)

    words = re.escape(f"VineFastExecutor.__init__() got an unexpected keyword argument '{name}'. {hint}")
    with pytest.raises(TypeError, match=words):
        VineFastExecutor(**{name: "a"})
    with pytest.raises(TypeError, match=words):
        Mine("red", **{name: "a"})
    assert Mine("red", label="a").label == "a"
    assert inspect.getfullargspec(VineFastExecutor.__init__).args[:3] == ["self", "label", "worker_launch_method"]


def test_a_free_port_is_taken_unless_one_is_given():
    assert VineFastExecutor().manager_config.port == 0
    assert VineFastExecutor(manager_config=TaskVineManagerConfig(port=9123)).manager_config.port == 9123


def test_a_provider_for_another_method_is_ignored_with_a_warning(caplog):
    assert VineFastExecutor(provider=LocalProvider()).provider is None
    assert "Ignoring the provider" in caplog.text
    assert isinstance(VineFastExecutor(worker_launch_method="provider").provider, LocalProvider)


def test_workers_per_node():
    def workers(method="factory", provider=None, cores=None, **library_config):
        return VineFastExecutor(
            worker_launch_method=method,
            provider=provider,
            manager_config=TaskVineManagerConfig(library_config=library_config),
            factory_config=TaskVineFactoryConfig(cores=cores),
        ).workers_per_node

    assert workers() == os.cpu_count()
    assert workers(cores=3) == 3
    assert workers(cores=3, num_slots=7) == 7
    assert workers("provider", SlurmProvider()) == 1
    assert workers("provider", SlurmProvider(cores_per_node=16)) == 16
    assert workers("provider", LocalProvider()) == os.cpu_count()


def test_a_call_goes_to_the_engine_as_it_is(make_apart):
    executor = make_apart()
    vinefast.TempFile("a"), vinefast.CachedFile("a")  # those that make none pay nothing for those that do
    executor.submit(print, None, 1, func=2, resource_specification=3, self=4)
    executor.submit(print, {}, 1)
    executor.submit(print, {"cores": 2})
    spec = vinefast.settings.resources.CallSpec(cores=2.0)
    assert executor._parts.engine.calls == [
        (print, (1,), {"func": 2, "resource_specification": 3, "self": 4}, None),
        (print, (1,), {}, None),
        (print, (), {}, spec),
    ]
    assert executor.outstanding() == 3
    with pytest.raises(InvalidResourceSpecification):
        executor.submit(print, {"cores": -1})


def test_unknown_resources_and_the_order_of_priorities_are_the_users_choice(make_apart):
    with pytest.raises(InvalidResourceSpecification, match="core"):
        make_apart().submit(print, {"core": 1})
    executor = make_apart(label="as-htex", strict_resources=False, priority_order="lowest_first")
    executor.submit(print, {"core": 1, "priority": 2})
    assert executor._parts.engine.calls[-1][3] == vinefast.settings.resources.CallSpec(priority=-2.0)


def test_working_directory_only_where_files_are_shared(make_apart):
    assert "VINEFAST_CWD" not in make_apart()._parts.engine.settings.env_vars
    shared = make_apart(label="shared", manager_config=TaskVineManagerConfig(shared_fs=True))
    assert shared._parts.engine.settings.env_vars["VINEFAST_CWD"] == os.getcwd()


def test_a_manager_without_a_password_says_so(make_apart, caplog):
    executor = make_apart(require_password=False)
    assert executor._parts.engine.settings.password_file is None
    assert "--password" not in executor.worker_command
    assert "Anyone who reaches port 9123" in caplog.text and "require_password" in caplog.text


def test_a_manual_manager_has_a_password_and_says_how_to_start_workers(make_apart, caplog, tmp_path):
    with caplog.at_level(logging.INFO):
        executor = make_apart(manager_config=TaskVineManagerConfig(address="localhost"))
    (password,) = tmp_path.glob("*/password-*")
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert len(password.read_text()) >= 32
    assert executor._parts.engine.settings.password_file == str(password)
    assert executor.worker_command.endswith(
        f'vine_worker --workspace "$(mktemp -d -t worker-XXXXXXXXXX)" --password {password} --connect-timeout=60 '
        "localhost 9123"
    )
    assert f"vinefast worker {password.parent}\n" in caplog.text
    assert executor.worker_command in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    executor.shutdown()
    assert not password.exists()


def test_a_password_of_the_users_own_is_kept(make_apart, caplog, tmp_path):
    password = tmp_path / "secret"
    password.write_text("word")
    with caplog.at_level(logging.WARNING):
        executor = make_apart(manager_config=TaskVineManagerConfig(project_password_file=str(password)))
    assert f"--password {password}" in executor.worker_command
    assert not caplog.records
    executor.shutdown()
    assert password.exists()


def test_a_password_that_nobody_is_to_know_is_refused(make):
    config = TaskVineManagerConfig(project_password_file="/secret")
    with pytest.raises(InvalidConfiguration, match="require_password is False.*'/secret'"):
        make(manager_config=config, require_password=False)


def test_blocks_are_told_their_id(make_apart):
    executor = make_apart()
    assert executor._get_launch_command("7") == f"env PARSL_WORKER_BLOCK_ID=7 {executor.worker_command}"


def test_bad_state_fails_calls_here_and_to_come(make_apart):
    executor = make_apart()
    reason = ValueError("blocks keep failing")
    executor.set_bad_state_and_fail_all(reason)
    assert executor.bad_state_is_set
    assert executor.executor_exception is reason
    (failure,) = executor._parts.engine.failures
    assert isinstance(failure, BadStateException)
    with pytest.raises(ValueError, match="keep failing"):
        executor.submit(print, {})


def test_an_engine_that_dies_makes_the_state_bad(make_apart):
    executor = make_apart()
    executor._parts.engine.on_failure(vinefast.EngineFailure("TaskVine gave up"))
    assert executor.bad_state_is_set
    with pytest.raises(vinefast.EngineFailure):
        executor.submit(print, {})


def test_shutdown_is_idempotent_and_final(make_apart):
    executor = make_apart()
    executor.shutdown()
    executor.shutdown()
    assert executor._parts.engine.n_stops == 1
    with pytest.raises(EngineStopped):
        executor.submit(print, {})
    with pytest.raises(EngineStartError, match="before"):
        executor.start()


def test_before_start(make):
    executor = make()
    with pytest.raises(EngineStopped, match="not been started"):
        executor.submit(print, {})
    assert executor.outstanding() == 0
    assert executor.worker_command == ""
    executor.shutdown()
    with pytest.raises(EngineStartError):
        executor.start()


def test_leaving_the_context_shuts_down(make_apart):
    with make_apart() as executor:
        pass
    assert executor._parts.engine.n_stops == 1


@pytest.mark.parametrize(("shared_fs", "warns"), [(False, True), (True, False)])
def test_reports_through_files_that_workers_may_not_share(make, monkeypatch, caplog, shared_fs, warns):
    monkeypatch.setattr(_parts, "Engine", Engine)
    manager_config = TaskVineManagerConfig(port=0, shared_fs=shared_fs)
    executor = make(worker_launch_method="manual", manager_config=manager_config)
    executor.monitoring_messages = queue.Queue()
    executor.start()
    assert ("reports are lost" in caplog.text) == warns


def test_a_monitoring_receiver_is_shut_down_once(make_apart):
    executor = make_apart()
    shut_down = []

    class Receiver:
        def shutdown(self):
            shut_down.append(self)

    executor.monitoring_receiver = Receiver()
    executor.shutdown()
    executor.shutdown()
    assert len(shut_down) == 1


def test_a_forgotten_executor_ends_what_it_started(monkeypatch, tmp_path):
    monkeypatch.setattr(_parts, "Engine", Engine)
    executor = VineFastExecutor(worker_launch_method="manual")
    executor.run_dir = str(tmp_path)
    executor.start()
    engine = executor._parts.engine
    del executor
    assert engine.n_stops == 1


def test_a_password_is_made_for_workers_of_ours(make, tmp_path):
    executor = make(label="two words")
    executor.start()
    (path,) = tmp_path.glob("two words/password-*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) >= 32
    assert executor.submit(abs, {}, -1).result(timeout=30) == 1
    executor.shutdown()
    assert not path.exists()


def test_workers_of_ours_come_without_a_password_as_well(make, tmp_path):
    executor = make(require_password=False)
    executor.start()
    assert not list(tmp_path.glob("*/password-*"))
    assert executor.submit(abs, {}, -1).result(timeout=30) == 1


def test_everything_is_under_the_label(make, tmp_path):
    executor = make()
    executor.start()
    assert [path.name for path in tmp_path.iterdir()] == ["VineFastExecutor"]
    assert (tmp_path / "VineFastExecutor" / "taskvine").is_dir()


def test_vine_log_dir_is_honoured(make, tmp_path):
    logs = tmp_path / "elsewhere" / "logs"
    make(manager_config=TaskVineManagerConfig(vine_log_dir=str(logs))).start()
    assert list(logs.iterdir())


def test_executors_that_start_at_once_have_each_a_directory_of_their_own(make, tmp_path):
    n_executors, n_rounds = 4, 3
    apart = [[make(label=f"apart-{turn}-{i}", **BY_HAND) for i in range(n_executors)] for turn in range(n_rounds)]
    for executors in apart:
        start_at_once(executors)
    logs = [tmp_path / executor.label / "taskvine" for executors in apart for executor in executors]
    assert [len(managers_under(path)) for path in logs] == [1] * len(logs)

    shared = tmp_path / "shared"
    config = TaskVineManagerConfig(port=0, vine_log_dir=str(shared))
    start_at_once([make(label=f"together-{i}", manager_config=config, **BY_HAND) for i in range(n_executors)])
    assert len(managers_under(shared)) == n_executors


BY_HAND = {"worker_launch_method": "manual"}


def managers_under(path):
    return [log for log in path.glob("*/vine-logs/transactions") if not log.parents[1].is_symlink()]


def start_at_once(executors):
    barrier, failures = threading.Barrier(len(executors)), []

    def start(executor):
        try:
            barrier.wait()
            executor.start()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(executor,)) for executor in executors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def taken_port():
    server = socket.create_server(("", 0))
    return server, server.getsockname()[1]


@pytest.mark.parametrize(
    ("manager_fields", "factory_fields", "words"),
    [
        ({"port": "taken"}, {}, "port"),
        ({"project_password_file": "/no/such/file"}, {}, "project_password_file"),
        ({"project_password_file": "/dev/null"}, {}, "project_password_file"),
        ({"address": "no.such.host.invalid"}, {}, "address"),
        ({"vine_log_dir": "/dev/null/logs"}, {}, "/dev/null"),
        ({}, {"worker_executable": "vine_wanderer"}, "vine_wanderer"),
        ({}, {"worker_executable": "/no/such/vine_worker"}, "/no/such/vine_worker"),
        ({}, {"scratch_dir": "/no/such/directory"}, "/no/such/directory"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(make, manager_fields, factory_fields, words):
    if manager_fields.get("port") == "taken":
        server, manager_fields["port"] = taken_port()
    executor = make(
        manager_config=TaskVineManagerConfig(**{"port": 0, **manager_fields}),
        factory_config=TaskVineFactoryConfig(**factory_fields),
    )
    began = time.monotonic()
    with pytest.raises((EngineStartError, InvalidConfiguration), match=words):
        executor.start()
    assert time.monotonic() - began < 10
    with pytest.raises(EngineStopped):
        executor.submit(print, {})


def test_an_interrupted_start_leaves_nothing(make, monkeypatch):
    def interrupted(self, contact, on_failure):
        raise KeyboardInterrupt

    monkeypatch.setattr("vinefast.workers.launch.local.LocalLauncher.start", interrupted)
    executor = make()
    with pytest.raises(KeyboardInterrupt):
        executor.start()
    with pytest.raises(EngineStopped):
        executor.submit(print, {})


def test_public_names():
    assert set(vinefast.__all__) <= set(dir(vinefast))
    assert vinefast.__version__


def test_a_context_manager_starts_and_ends_an_executor(make_apart, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    executor = make_apart(start=False)
    executor.run_dir = ""
    with executor as entered:
        assert entered is executor
        assert executor.run_dir == str(tmp_path / "runinfo" / "000")
        with executor:  # started already
            pass
    assert executor._parts.engine.n_stops == 1
    with pytest.raises(EngineStartError, match="has been started before"), executor:
        pass


@pytest.mark.parametrize("specification", [-1, 0, "", [], (1,), 2.5])
def test_an_argument_in_the_place_of_the_specification_is_named(make_apart, specification):
    executor = make_apart()
    with pytest.raises(InvalidResourceSpecification) as caught:
        executor.submit(abs, specification)
    assert f"is {specification!r}; accepted: a dict or None" in str(caught.value)
    assert "submit(function, None, argument)" in str(caught.value)
    assert "set()" not in str(caught.value)


def test_a_working_dir_is_made_or_refused(make_apart, tmp_path):
    shared = TaskVineManagerConfig(port=0, shared_fs=True)
    make_apart(manager_config=shared, working_dir=str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file", tmp_path / "file" / "x", "/proc/nothing", "a\0b"):
        executor = make_apart(start=False, manager_config=shared, working_dir=str(impossible))
        with pytest.raises(InvalidConfiguration, match="working_dir is .*; accepted: a directory"):
            executor.start()


def test_a_prefix_that_is_not_there_is_named(make, tmp_path, monkeypatch):
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path / "nowhere"))
    with pytest.raises(EngineStartError, match="VINEFAST_TASKVINE_PREFIX is '.*nowhere'.*unset it"):
        make().start()


def test_a_teardown_that_frees_its_executor_is_not_held_up_by_that():
    done = []
    teardown = Teardown()
    teardown.callback(done.append, "first")
    teardown.callback(teardown.run)  # as weakref.finalize does
    teardown.callback(done.append, "last")
    thread = threading.Thread(target=teardown.run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert done == ["last", "first"]


def test_a_teardown_at_the_end_of_an_unknown_thread_leaves_no_thread_behind():
    """A collection may end an executor on any thread, also on one that was not started by `threading`."""
    threads, done, ended = set(threading.enumerate()), threading.Lock(), []
    done.acquire()
    teardown = Teardown()
    teardown.callback(ended.append, 1)

    def end():
        teardown.run_at_end()
        done.release()

    _thread.start_new_thread(end, ())
    assert done.acquire(timeout=20) and ended == [1]
    assert set(threading.enumerate()) <= threads
