"""What a trial shows, said in checks."""

import pytest

from vinefast.doctor.joining import judge
from vinefast.doctor.trial import Outcome, command_for
from vinefast.doctor.versions import versions
from vinefast.workers.environment import PYTHON

CONTACT = {"host": "node 1", "port": "9123", "password_file": "/run/password-x", "run_dir": "/run"}


def facts(**changes):
    packages = {"parsl": versions()["parsl"], "dill": versions()["dill"], "vinefast": None}
    packages.update(changes.pop("packages", {}))
    return {
        "python": f"{PYTHON}.1",
        "program": "/bin/python3",
        "host": "node",
        "room_nbytes": 1 << 40,
        "temporary_directory": "/tmp",
        "open_files": 1024,
        "packages": packages,
        **changes,
    }


def checks(**outcome):
    return list(judge("worker", Outcome(waited_s=2.0, stats={}, **outcome)))


def test_a_worker_that_fits():
    found = checks(joined=True, facts=facts(), with_tls=True)
    assert {check.level for check in found} == {"ok"}
    assert "joined by TLS" in found[0].seen and found[1].name == "worker: Python"


@pytest.mark.parametrize(
    ("changes", "level", "name"),
    [
        ({"packages": {"parsl": None}}, "error", "worker: parsl"),
        ({"packages": {"parsl": "broken: OSError: no"}}, "error", "worker: parsl"),
        ({"packages": {"parsl": "2020.1.1"}}, "warning", "worker: parsl"),
        ({"packages": {"dill": "0.1"}}, "warning", "worker: dill"),
        ({"packages": {"vinefast": "0.0.0"}}, "warning", "worker: vinefast"),
        ({"python": "2.7.18"}, "error", "worker: Python"),
        ({"room_nbytes": 1 << 20}, "warning", "worker: disk"),
        ({"open_files": 64}, "warning", "worker: open files"),
    ],
)
def test_what_a_worker_lacks(changes, level, name):
    (found,) = [check for check in checks(joined=True, facts=facts(**changes)) if check.level != "ok"]
    assert (found.level, found.name) == (level, name) and found.advice


@pytest.mark.parametrize(("skewed_s", "n"), [(0.5, 0), (-4.0, 0), (60.0, 1), (-60.0, 1)])
def test_clocks(skewed_s, n):
    found = [check for check in checks(joined=True, facts=facts(), skewed_s=skewed_s) if "clock" in check.name]
    assert [check.level for check in found] == n * ["warning"]


@pytest.mark.parametrize(
    ("outcome", "seen", "advice"),
    [
        ({"problem": "EngineStartError: no port. Choose one"}, "no port", "Choose one"),
        ({"joined": True}, "but not run a call", "--timeout"),
        ({"said": "vine_worker: wrong password for manager"}, "password: that of", "{password_file}"),
        ({"said": "this manager requires a password. (use"}, "password: the worker has none", "{password_file}"),
        ({"said": "vine_worker: --ssl was given, but manager"}, "the manager does not", "without --ssl"),
        ({"said": "vine_worker: could not setup ssl connection."}, "TLS 1.3", "VerifyMode"),
        ({"said": "couldn't resolve hostname x"}, "does not know the name", "manager_config.address"),
        ({"said": "couldn't connect to h:1: No route", "address": "h:1"}, "reach the manager at h:1", "firewalls"),
        ({"said": "vine_worker: unrecognized option '--x'"}, "options", "--help"),
        ({"status": 127, "said": "sh: vine_worker: not found"}, "not there", "the path"),
        ({"status": 3, "said": "oh\nno"}, "status 3. Its last words: oh | no", "last words"),
        ({"status": 0, "address": "h:1"}, "no worker has come to h:1", "firewall"),
        (
            {"notices": ["rejecting a worker with protocol 13: the manager's is 12"]},
            "speaks version 13 of TaskVine's, the manager version 12",
            "TaskVine",
        ),
        (
            {"joined": True, "failure": "UnfitWorker: the worker's Python is old. Send one along"},
            "no call can run there: the worker's Python is old",
            "Send one along",
        ),
        (
            {"joined": True, "failure": "it says\nx.ParslMissing: it cannot import parsl: no. Install parsl there"},
            "no call can run there: it cannot import parsl: no",
            "Install parsl there",
        ),
    ],
)
def test_why_none_has_joined(outcome, seen, advice):
    (found,) = checks(**outcome)
    assert found.level == "error" and seen in found.seen and advice in found.advice


@pytest.mark.parametrize("name", ["joins_without_ssl", "joins_with_ssl"])
def test_what_the_manager_saw_counts_more_than_what_was_said(name):
    outcome = Outcome(stats={name: 1}, said="wrong password", status=1)
    (found,) = judge("worker", outcome)
    assert found.seen.startswith("TLS: A worker with")


def test_options_are_appended_to_a_command_that_names_nothing():
    assert command_for("ssh n vine_worker", CONTACT, True, 30.5) == (
        "ssh n vine_worker --single-shot --connect-timeout=30 --password /run/password-x --ssl 'node 1' 9123"
    )
    assert "--password" not in command_for("w", {**CONTACT, "password_file": ""}, False, 30)


def test_a_command_that_names_something_is_run_as_it_is():
    assert command_for("w -P{password_file} {host} {port}", CONTACT, True, 30) == "w -P/run/password-x 'node 1' 9123"
    assert command_for("vinefast worker {run_dir} ${HOME}", CONTACT, True, 30) == "vinefast worker /run ${HOME}"
