"""What works for an executor that is started: which parts there are, and how they know each other."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol

from parsl.monitoring.radios.base import MonitoringRadioSender
from parsl.monitoring.radios.filesystem import FilesystemRadio

from vinefast import _log_locks
from vinefast._core import Engine
from vinefast._log_fields import fields
from vinefast._teardown import Teardown
from vinefast.calls import reports
from vinefast.calls.apps import options_of
from vinefast.calls.context import pack
from vinefast.data.plan import CallPlan
from vinefast.data.planner import Planner, Submit
from vinefast.data.staging import URLStaging
from vinefast.events.about import EVENTS, about_run
from vinefast.events.audit_wanted import is_wanted
from vinefast.settings import checks, credentials
from vinefast.settings.arguments import Arguments
from vinefast.settings.engine import EngineSettings, engine_settings
from vinefast.workers.command import program_path
from vinefast.workers.contact import Contact, catalog_hosts, listening_address, manager_address, name_in_catalog
from vinefast.workers.descriptors import raise_limit
from vinefast.workers.environment import calls_environment
from vinefast.workers.launch import make_launcher
from vinefast.workers.launch.launcher import Launcher
from vinefast.workers.run_files import RunFiles
from vinefast.workers.run_output import RunOutput
from vinefast.workers.watchdog import Watchdog

logger = logging.getLogger(__name__)


class Executor(Arguments, Protocol):
    """Whom the parts work for, as far as that is looked at when they start."""

    run_dir: str
    run_id: str | None
    monitoring_messages: Any

    @property
    def submit_monitoring_radio(self) -> MonitoringRadioSender | None:
        """Where Parsl's monitoring is; None: it is off."""

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """Fail all calls, those here and those to come."""


class _Access(NamedTuple):
    """Where the manager is reached, and with what."""

    listen_address: str | None
    password_file: str | None
    key_and_certificate: tuple[str, str] | None


class Parts:
    """The parts of one executor; each is None until it is there, and stays, with its last numbers, when it has ended.

    None of them keeps the executor alive, which holds them: it is called through weak references. The `Teardown` ends
    them, the last one first.

    Attributes
    ----------
    engine : Engine or None
    launcher : Launcher or None
    watchdog : Watchdog or None
    address : str
        By which workers reach this machine; empty before the start.
    files_are_shared : bool
        Whether workers see the files of this machine.
    moves_files : bool
        Whether there may be files among the arguments of any call that TaskVine is to move.
    plan : callable
        Makes the plan of a call's files, as `Planner.plan` does; there is none before the start.
    """

    plan: Callable[..., CallPlan]

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.launcher: Launcher | None = None
        self.watchdog: Watchdog | None = None
        self.address = ""
        self.files_are_shared = True
        self.moves_files = False

    def start(self, executor: Executor, teardown: Teardown, die: Callable[[Exception], None], submit: Submit) -> Submit:
        """Make all parts and start them, in the order in which they need each other.

        Parameters
        ----------
        executor : Executor
        teardown : Teardown
            Ends what has been started, also if this raises.
        die, submit : bound method
            Called when the engine cannot go on, and to submit a call that brings back what lies on workers.

        Returns
        -------
        callable
            Hands a call to the engine: `vinefast._core.Submitter.submit`.

        Raises
        ------
        EngineStartError, InvalidConfiguration, OSError, parsl.serialize.errors.SerializationError
            As `VineFastExecutor.start`.
        """
        label = executor.label
        files = RunFiles(executor.run_dir, label, executor.manager_config.vine_log_dir)
        raise_limit()
        _log_locks.hold_safely()
        own_audit = None
        if is_wanted():
            from vinefast.events.own_audit import OwnAudit  # not at each start: it brings NumPy

            own_audit = OwnAudit(label, files.directory, files.runtime_dir)
            # First, so that it comes when all else has ended.
            teardown.callback(own_audit.check, lambda: self.engine, self._left)
        self.launcher = launcher = make_launcher(
            executor.worker_launch_method, executor.factory_config, files.directory, executor.provider
        )
        # Comes when the engine has been stopped, and the workers have ended.
        stop_output = ExitStack()
        teardown.callback(stop_output.close)
        teardown.callback(launcher.stop)
        self.address = manager_address(executor.manager_config.address, launcher.local)
        url_staging = self._look_at_files(executor, launcher)
        access = _access(executor, launcher, files, teardown)
        output_dir = files.make_output()
        sees_output = self.files_are_shared and executor.function_exec_mode == "serverless"
        settings = self._settings(executor, launcher, files, access, output_dir if sees_output else None)
        tuning = settings.tuning
        kept = tuning.output_nbytes, tuning.output_total_nbytes
        output = RunOutput(output_dir, *kept, sees_output, executor.forward_output, label)
        stop_output.callback(output.stop)
        output.start()
        on_node, on_calls = _reports(executor, teardown)
        self.engine = engine = Engine(settings, _weakly(die), on_node, output.take, on_calls)
        engine.submitter.cancel_running = executor.cancel_running
        self._plan_files(url_staging, files.directory, submit)
        teardown.callback(engine.stop)
        engine.start()
        # Before the engine lets workers go: none is to be replaced then.
        teardown.callback(launcher.retire)
        contact = Contact(
            self.address,
            engine.port,
            settings.project_name,
            catalog_hosts(),
            access.password_file,
            access.listen_address,
            ssl=access.key_and_certificate is not None,
        )
        launcher.start(contact, _weakly(executor.set_bad_state_and_fail_all))
        _tell_of_workers(executor, launcher, engine.port, access)
        self.watchdog = Watchdog(
            label,
            executor.function_exec_mode == "regular" or settings.placing,
            engine,
            launcher,
            tuning.larger_worker_timeout,
            {"log_errno": files.runtime_dir, "event_log_errno": files.directory},
        )
        teardown.callback(self.watchdog.stop)
        self.watchdog.start()
        return engine.submitter.submit if own_audit is None else own_audit.watched(engine.submitter.submit)

    def _left(self) -> list[str]:
        return [] if self.launcher is None else self.launcher.left()

    def _look_at_files(self, executor: Executor, launcher: Launcher) -> list[URLStaging]:
        """Find out which files workers see; gives those of the staging providers that have workers fetch URLs."""
        self.files_are_shared = launcher.local or executor.manager_config.shared_fs
        if executor.working_dir is not None and self.files_are_shared:
            checks.check_working_dir(executor.working_dir)
        if executor.monitoring_messages is not None and not self.files_are_shared:
            _warn_of_unshared_radio(executor)
        return [provider for provider in executor.storage_access or () if isinstance(provider, URLStaging)]

    def _plan_files(self, staging: list[URLStaging], directory: str, submit: Submit) -> None:
        """Have plans made for calls with files, by the engine, and by the executor if any call may have some."""
        assert self.engine is not None
        timeouts = (staging or [URLStaging()])[0].timeouts
        planner = Planner(
            self.engine, self.files_are_shared, timeouts, directory, submit, lambda func: options_of(func).keep
        )
        self.engine.submitter.make_plan = weakref.WeakMethod(planner.plan)
        self.plan = planner.plan
        self.moves_files = not self.files_are_shared or bool(staging)

    def _settings(
        self, executor: Executor, launcher: Launcher, files: RunFiles, access: _Access, output_dir: str | None
    ) -> EngineSettings:
        context = None if executor.context is None else pack(executor.context)
        return engine_settings(
            executor.manager_config,
            executor.function_exec_mode,
            files.runtime_dir,
            access.password_file,
            working_dir=os.getcwd() if self.files_are_shared else None,
            cores=executor.factory_config.cores,
            gpus=executor.factory_config.gpus,
            environment=calls_environment(executor.manager_config, executor.label),
            python=None if launcher.brings_python else sys.executable,
            module_path=program_path() if self.files_are_shared else (),
            context=context,
            context_file=files.make_context(context) if executor.context_scope == "worker" else None,
            project_name=name_in_catalog(executor.manager_config.project_name, executor.label),
            listen_address=access.listen_address,
            key_and_certificate=access.key_and_certificate,
            idle_timeout_s=launcher.idle_timeout_s,
            min_workers=executor.factory_config.min_workers,
            ends_workers=launcher.ends_workers,
            output_dir=output_dir,
            events_path=os.path.join(files.directory, EVENTS),
            about=about_run(executor.label, executor.run_dir),
        )


def _access(executor: Executor, launcher: Launcher, files: RunFiles, teardown: Teardown) -> _Access:
    config = executor.manager_config
    password_file = credentials.password_file(config.project_password_file, executor.require_password, files, teardown)
    listen_address = listening_address(config.address, launcher.local, config.project_name)
    return _Access(
        listen_address, password_file, credentials.key_and_certificate(executor.ssl, listen_address, files, teardown)
    )


def _reports(executor: Executor, teardown: Teardown) -> tuple[Callable[..., None] | None, Callable[..., None] | None]:
    """Give what is to hear of nodes, and of calls; if nobody asks, the engine does nothing for that."""
    if executor.submit_monitoring_radio is None and not reports.are_logged():
        return None, None
    has_slots = executor.function_exec_mode == "serverless"
    told = reports.CallReports(executor.label, executor.submit_monitoring_radio, executor.run_id, has_slots)
    teardown.callback(told.close)
    return told.note_node, told.note_calls


def _tell_of_workers(executor: Executor, launcher: Launcher, port: int, access: _Access) -> None:
    label = executor.label
    if access.password_file is None:
        logger.warning(
            "Anyone who reaches port %d can take part in executor %s, and run code in this program: "
            "require_password is False",
            port,
            label,
            extra=fields(label),
        )
    if executor.worker_launch_method == "manual":
        logger.info("Executor %s: %s", label, launcher.diagnosis(), extra=fields(label))


def _warn_of_unshared_radio(executor: Executor) -> None:
    if isinstance(executor.remote_monitoring_radio, FilesystemRadio):
        logger.warning(
            "Calls of executor %s report to monitoring through files in %s. If workers do not see it, the "
            "reports are lost: set remote_monitoring_radio=UDPRadio(address=...)",
            executor.label,
            executor.run_dir,
            extra=fields(executor.label),
        )


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Wrap a method so that whoever calls it back does not keep its object alive."""
    reference = weakref.WeakMethod(method)

    def call(*args: object) -> None:
        alive = reference()
        if alive is not None:
            alive(*args)

    return call
