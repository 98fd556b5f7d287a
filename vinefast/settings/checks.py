"""What users configure in Parsl's terms, held against what can work before anything is started."""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.providers import LocalProvider
from parsl.providers.base import ExecutionProvider

from vinefast._log_fields import fields
from vinefast.errors import InvalidConfiguration
from vinefast.settings.arguments import Arguments
from vinefast.settings.rules import (
    CONTEXT,
    COUNT,
    FLAG,
    NAME,
    PATH,
    POSITIVE,
    SSL,
    TEXT,
    Rule,
    instance_of,
    is_directory_name,
    is_environment,
    is_int,
    is_names,
    is_staging,
    one_of,
    optional,
    refuse,
    require,
)
from vinefast.settings.tuning import Tuning
from vinefast.workers.monitoring import RADIO

logger: logging.Logger = logging.getLogger(__name__)

# TaskVine keeps challenge and password in a buffer of 2 KB and does not look.
_PASSWORD_MAX_NBYTES = 1024

# Of the environment: which addresses TaskVine uses.
_IP_MODE = "CCTOOLS_IP_MODE"
_IPV6_MODES = ("AUTO", "IPV6")

# Of arguments that can be judged each by itself.
EXECUTOR_RULES: dict[str, Rule] = {
    "label": (is_directory_name, "a string that can name a directory"),
    "worker_launch_method": one_of("factory", "provider", "manual"),
    "function_exec_mode": one_of("serverless", "regular"),
    "strict_resources": FLAG,
    "enforce_memory": FLAG,
    "cancel_running": FLAG,
    "capture_output": FLAG,
    "forward_output": FLAG,
    "require_password": FLAG,
    "priority_order": one_of("highest_first", "lowest_first"),
    "storage_access": optional((is_staging, "a list of Staging, as Parsl has it")),
    "working_dir": optional(instance_of(str)),
    "remote_monitoring_radio": optional(RADIO),
}

AUTOLABEL_ALGORITHMS = ("max-xput", "bucketing", "max")

MANAGER_RULES: dict[str, Rule] = {
    "port": (lambda value: is_int(value) and 0 <= value < 65536, "a port number, or 0 for any free port"),
    "address": optional(NAME),
    "project_name": optional(NAME),
    "project_password_file": optional(PATH),
    "env_vars": optional((is_environment, "a dict of values by name of variable")),
    "init_command": optional(TEXT),
    "env_pack": optional(PATH),
    "app_pack": FLAG,
    "extra_pkgs": optional((is_names, "a list of what pip can install")),
    "max_retries": optional(COUNT),
    "library_config": optional((lambda value: isinstance(value, Mapping), "a dict")),
    "shared_fs": FLAG,
    "autocategory": FLAG,
    "autolabel": FLAG,
    "autolabel_algorithm": one_of(*AUTOLABEL_ALGORITHMS),
    "autolabel_window": optional(POSITIVE),
    "enable_peer_transfers": FLAG,
    "wait_for_workers": optional(COUNT),
    "vine_log_dir": optional(PATH),
}

_LIBRARY_KEYS = ("num_slots", "cores", "memory", "disk")

_BATCH_TYPES = (
    *("local", "condor", "slurm", "sge", "uge", "pbs", "torque", "moab", "lsf", "flux", "cluster"),
    *("amazon", "k8s", "dryrun"),
)

FACTORY_RULES: dict[str, Rule] = {
    "factory_timeout": COUNT,
    "scratch_dir": optional(PATH),
    "min_workers": COUNT,
    "max_workers": POSITIVE,
    "workers_per_cycle": COUNT,
    "worker_options": optional(TEXT),
    "worker_executable": NAME,
    "worker_timeout": POSITIVE,
    "cores": optional(COUNT),
    "gpus": optional(COUNT),
    "memory": optional(COUNT),
    "disk": optional(COUNT),
    "python_env": optional(PATH),
    "batch_type": (lambda value: value in _BATCH_TYPES, "one of " + ", ".join(map(repr, _BATCH_TYPES))),
    "condor_requirements": optional(TEXT),
    "batch_options": optional(TEXT),
}


def check_arguments(executor: Arguments) -> None:
    """Raise `InvalidConfiguration` for the first argument of an executor that cannot work, and warn of idle ones."""
    for name, rule in EXECUTOR_RULES.items():
        require(name, getattr(executor, name), rule)
    check_manager_config(executor.manager_config)
    check_password(executor.manager_config, executor.require_password)
    check_ssl(executor.ssl)
    check_autolabel(executor.manager_config, executor.function_exec_mode)
    check_forwarding(executor.manager_config, executor.forward_output)
    check_context(executor.context, executor.context_scope, executor.function_exec_mode)
    check_factory_config(executor.factory_config)
    warn_of_unused_fields(executor.factory_config, executor.worker_launch_method, executor.label)


def provider_of_blocks(provider: ExecutionProvider | None, launch_method: str, label: str) -> ExecutionProvider | None:
    """Give the provider that an executor is to start blocks with: the user's, one of this machine, or none."""
    require("provider", provider, optional(instance_of(ExecutionProvider)))
    if launch_method == "provider":
        return provider or LocalProvider(init_blocks=1)
    if provider is not None:
        logger.warning(
            "Ignoring the provider of executor %s: worker_launch_method is %r",
            label,
            launch_method,
            extra=fields(label),
        )
    return None


def check_manager_config(config: TaskVineManagerConfig) -> None:
    """Raise `InvalidConfiguration` for the first field of a manager configuration that cannot work."""
    require("manager_config", config, instance_of(TaskVineManagerConfig))
    for name, rule in MANAGER_RULES.items():
        require(f"manager_config.{name}", getattr(config, name), rule)
    for key, value in (config.library_config or {}).items():
        require("a key of manager_config.library_config", key, one_of(*_LIBRARY_KEYS))
        require(f"manager_config.library_config[{key!r}]", value, optional(POSITIVE))
    Tuning.of(config.tune_parameters)
    _check_address(config.address)


def _check_address(address: str | None) -> None:
    """Raise `InvalidConfiguration` for an address of IPv6 where TaskVine, which is not told so, uses IPv4 alone."""
    mode = os.environ.get(_IP_MODE, "IPV4")
    try:
        is_unreachable = address is not None and ipaddress.ip_address(address).version == 6 and mode not in _IPV6_MODES
    except ValueError:
        return  # a name
    if is_unreachable:
        refuse(
            f"manager_config.address is {address!r}, an address of IPv6, and the environment variable {_IP_MODE} "
            f"{'is ' + repr(mode) if _IP_MODE in os.environ else 'is not set'}, with which TaskVine speaks IPv4 alone; "
            f"accepted: an address of IPv4, or {_IP_MODE}='AUTO' (or 'IPV6') here and for workers elsewhere"
        )


def check_working_dir(path: str) -> None:
    """Make the directory where staging puts files, or raise `InvalidConfiguration`."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(
            f"working_dir is {path!r}; accepted: a directory in which this program can make files ({error})"
        ) from None


def check_factory_config(config: TaskVineFactoryConfig) -> None:
    """Raise `InvalidConfiguration` for the first field of a factory configuration that cannot work."""
    require("factory_config", config, instance_of(TaskVineFactoryConfig))
    for name, rule in FACTORY_RULES.items():
        require(f"factory_config.{name}", getattr(config, name), rule)
    if config.min_workers > config.max_workers:
        refuse(
            f"factory_config.min_workers is {config.min_workers}; accepted: at most max_workers, {config.max_workers}"
        )


def check_autolabel(config: TaskVineManagerConfig, exec_mode: str) -> None:
    """Raise `InvalidConfiguration` if resources of calls are to be measured that have no process of their own."""
    if config.autolabel and exec_mode != "regular":
        refuse(
            f"manager_config.autolabel is True and function_exec_mode is {exec_mode!r}; accepted: autolabel with "
            "function_exec_mode='regular' alone, since TaskVine measures processes, and warm ones run many calls"
        )


def check_context(context: Callable[[], Any] | None, scope: str, exec_mode: str) -> None:
    """Raise `InvalidConfiguration` if an executor's context, or its scope, cannot work."""
    require("context", context, optional(CONTEXT))
    require("context_scope", scope, one_of("slot", "worker"))
    if scope == "worker" and context is None:
        refuse("context_scope is 'worker' and context is None; accepted: with a context alone")
    if scope == "worker" and exec_mode != "serverless":
        refuse(
            f"context_scope is 'worker' and function_exec_mode is {exec_mode!r}; accepted: context_scope='worker' with "
            "function_exec_mode='serverless' alone, since fresh processes share nothing"
        )


def warn_of_unused_fields(config: TaskVineFactoryConfig, launch_method: str, label: str) -> None:
    """Warn of fields of a factory configuration that are set, but mean nothing to this batch system."""
    batch_type = config.batch_type if launch_method == "factory" else None
    for name, used in (
        ("condor_requirements", batch_type == "condor"),
        ("batch_options", batch_type not in (None, "local")),
    ):
        value = getattr(config, name)
        if value is not None and not used:
            logger.warning(
                "Ignoring factory_config.%s, %r, of executor %s: worker_launch_method is %r, factory_config.batch_type "
                "%r",
                name,
                value,
                label,
                launch_method,
                config.batch_type,
                extra=fields(label),
            )


def check_password(config: TaskVineManagerConfig, required: bool) -> None:
    """Raise `InvalidConfiguration` if there is a password that nobody is to know."""
    if config.project_password_file is not None and not required:
        refuse(
            f"require_password is False and manager_config.project_password_file is {config.project_password_file!r}; "
            "accepted: require_password=False without a password file alone"
        )


def check_password_file(path: str) -> None:
    """Raise `InvalidConfiguration` if TaskVine cannot use a password file."""
    try:
        with open(path, "rb") as file:
            password = file.read(_PASSWORD_MAX_NBYTES + 1)
    except OSError as error:
        raise InvalidConfiguration(
            f"manager_config.project_password_file is {path!r}, which cannot be read: {error.strerror}"
        ) from error
    if not password.strip() or b"\0" in password or len(password) > _PASSWORD_MAX_NBYTES:
        raise InvalidConfiguration(
            f"manager_config.project_password_file is {path!r}; accepted: a file with 1 to {_PASSWORD_MAX_NBYTES} "
            "bytes of text"
        )


def check_forwarding(config: TaskVineManagerConfig, forward_output: bool) -> None:
    """Refuse to forward what is not kept."""
    if forward_output and not Tuning.of(config.tune_parameters).output_nbytes:
        refuse("forward_output is True, but output-nbytes of tune_parameters is 0; accepted: more")


def check_ssl(value: object) -> None:
    """Raise `InvalidConfiguration` unless it says whether there is TLS, or names a key and a certificate."""
    require("ssl", value, SSL)


def check_key_and_certificate(key: str, certificate: str) -> None:
    """Raise `InvalidConfiguration` if a manager cannot speak TLS with files of a key and a certificate."""
    for path, what, label in ((key, "key", b"PRIVATE KEY-----"), (certificate, "certificate", b"CERTIFICATE-----")):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise InvalidConfiguration(
                f"the {what} of ssl is {path!r}, which cannot be read: {error.strerror}"
            ) from error
        if b"-----BEGIN " not in content:
            raise InvalidConfiguration(f"the {what} of ssl is {path!r}, which is not PEM: it has no line -----BEGIN")
        if label not in content:
            raise InvalidConfiguration(
                f"the {what} of ssl is {path!r}, in which there is none; accepted: (key, certificate), in this order"
            )
    encrypted = []

    def ask() -> str:
        encrypted.append(key)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, ask)
    except (ssl.SSLError, ValueError) as error:
        if encrypted:
            why = "the key is encrypted, and nobody is asked for its password: give one that is not"
        elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            why = "the key is not that of the certificate"
        else:
            why = f"OpenSSL cannot use them: {error}"
        words = f"ssl is ({key!r}, {certificate!r}); accepted: a key and its certificate; {why}"
        raise InvalidConfiguration(words) from None
    why_not = why_no_handshake(key, certificate)
    if why_not is not None:
        raise InvalidConfiguration(
            f"ssl is ({key!r}, {certificate!r}); accepted: a key and its certificate for TLS 1.3; a handshake with "
            f"them fails: {why_not}"
        )


def why_no_handshake(key: str, certificate: str) -> str | None:
    """Try a handshake of TLS 1.3 with files of a key and a certificate, in memory; None: workers can join.

    There are keys that can be loaded and that TLS 1.3 has no use for, and OpenSSL's own configuration may forbid it:
    no worker would join, and nobody would be told why.
    """
    if not ssl.HAS_TLSv1_3:  # which TaskVine's OpenSSL may have all the same
        return None
    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        for context in (server_context, client_context):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        server_context.load_cert_chain(certificate, key)
        ends = [
            client_context.wrap_bio(to_client, to_server),
            server_context.wrap_bio(to_server, to_client, server_side=True),
        ]
        for end in ends * 2:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
        return None if all(end.version() == "TLSv1.3" for end in ends) else "it does not end"
    except (ssl.SSLError, ValueError) as error:
        return str(error)
