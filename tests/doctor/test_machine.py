"""Checks of this machine that start nothing."""

import os
import threading
import time

import pytest

from vinefast.doctor import limits, machine
from vinefast.doctor.check import ok


def test_each_has_an_answer_and_what_is_not_ok_has_advice(tmp_path):
    found = list(machine.check_machine(str(tmp_path)))
    assert len({check.name for check in found}) == len(found) > 10
    for check in found:
        assert check.seen and check.level in ("ok", "warning", "error")
        assert bool(check.advice) == (check.level != "ok")
        assert "no answer" not in check.seen and "tell your administrator" not in check.advice


def test_one_that_hangs_or_raises_keeps_no_other():
    gate = threading.Event()

    def hang():
        gate.wait()
        return ok("hangs", "")

    def fail():
        raise RuntimeError("no idea")

    began_s = time.monotonic()
    found = list(machine.in_time([("hangs", hang), ("fails", fail), ("fine", lambda: ok("fine", "yes"))], 0.3))
    gate.set()
    assert time.monotonic() - began_s < 5
    assert [check.level for check in found] == ["error", "error", "ok"]
    assert "no answer in 0.3 s" in found[0].seen and found[1].seen == "RuntimeError: no idea"


def test_a_directory_that_is_not_there_or_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "absent"):
        found = machine._directory("temporary directory", str(path), "TMPDIR")
        assert found.level == "error" and str(path) in found.seen and "TMPDIR" in found.advice
    assert machine._run_directory("run directory", str(tmp_path / "a" / "b")).level != "error"
    assert machine._run_directory("run directory", str(tmp_path / "file")).level == "error"


def test_a_temporary_directory_that_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    found = machine._temporary_directory("temporary directory")
    assert found.level == "warning" and f"TMPDIR is {tmp_path}/absent" in found.seen


@pytest.mark.parametrize(("nbytes", "level"), [(1 << 20, "error"), (1 << 29, "warning"), (1 << 40, "ok")])
def test_room(monkeypatch, tmp_path, nbytes, level):
    class Disk:
        f_bavail, f_frsize, f_files, f_favail = nbytes, 1, 10**6, 10**6

    monkeypatch.setattr(os, "statvfs", lambda path: Disk)
    assert machine._directory("x", str(tmp_path), "TMPDIR").level == level


def test_openssl_inside_a_wheel_reads_no_configuration(monkeypatch, tmp_path):
    path = tmp_path / "openssl.cnf"
    path.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nVerifyMode = Require\n")
    monkeypatch.setenv("OPENSSL_CONF", str(path))
    monkeypatch.setattr(machine, "engine_inside", lambda: True)
    found_by = {"found_by": machine.BUILD_PREFIX}
    monkeypatch.setattr(machine, "program", lambda name: found_by)
    found = machine._openssl("OpenSSL")
    assert found.level == "ok" and "of their own inside" in found.seen
    # That of another TaskVine reads it.
    found_by["found_by"] = machine.PREFIX_VARIABLE
    assert machine._openssl("OpenSSL").level == "error"


def test_openssl_that_lets_nobody_in(monkeypatch, tmp_path):
    path = tmp_path / "openssl.cnf"
    path.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nVerifyMode = Require\n")
    monkeypatch.setenv("OPENSSL_CONF", str(path))
    found = machine._openssl("OpenSSL")
    assert found.level == "error" and f"{path} has VerifyMode = Require" in found.seen
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "absent"))
    assert machine._openssl("OpenSSL").level == "warning"


@pytest.mark.parametrize(
    ("options", "level"),
    [("rw", "ok"), ("rw,hidepid=invisible", "ok"), ("rw,hidepid=2", "ok"), ("rw,hidepid=4", "warning")],
)
def test_what_proc_hides(monkeypatch, options, level):
    monkeypatch.setattr(machine, "_mount_options", lambda point: options.split(","))
    assert machine._proc("/proc").level == level


def test_mount_options_are_those_of_the_last_mount():
    assert "rw" in machine._mount_options("/proc")


def test_a_worker_believes_the_machine_and_not_its_limits(monkeypatch):
    monkeypatch.setattr(limits, "physical_cores", lambda: 64)
    monkeypatch.setattr(limits, "usable_cores", lambda: 8)
    monkeypatch.setattr(limits, "cgroup_cores", lambda: 2.5)
    found = machine._cores("cores")
    assert found.level == "warning" and "counts 8" in found.seen and "cores=2" in found.advice
    monkeypatch.setattr(limits, "cgroup_cores", lambda: 8.0)
    found = machine._cores("cores")
    assert found.level == "ok" and found.seen.startswith("8 of 64: ")
    monkeypatch.setattr(limits, "physical_memory", lambda: 64 << 30)
    monkeypatch.setattr(limits, "cgroup_memory", lambda: 3 << 30)
    found = machine._memory("memory")
    assert found.level == "warning" and "memory=3072" in found.advice


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups(monkeypatch, tmp_path, version):
    lines = {1: "4:memory:/a/b\n3:cpu,cpuacct:/a\n2:pids:/a\n", 2: "0::/a/b\n"}[version]
    files = {
        1: {
            "memory/a/memory.limit_in_bytes": "1000",
            "memory/a/b/memory.limit_in_bytes": "9223372036854771712",
            "cpu/a/cpu.cfs_quota_us": "75000",
            "cpu/a/cpu.cfs_period_us": "50000",
            "pids/a/pids.max": "77",
        },
        2: {
            "a/memory.max": "1000",
            "a/b/memory.max": "max",
            "a/cpu.max": "150000 100000",
            "a/b/pids.max": "77",
            "a/pids.max": "max",
        },
    }[version]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    real = open

    def fake(path, *arguments, **named):
        if path != "/proc/self/cgroup":
            return real(path, *arguments, **named)
        (tmp_path / "cgroup").write_text(lines)
        return real(tmp_path / "cgroup")

    monkeypatch.setattr("builtins.open", fake)
    monkeypatch.setattr(limits, "_CGROUPS", str(tmp_path))
    assert (limits.cgroup_memory(), limits.cgroup_cores(), limits.cgroup_processes()) == (1000, 1.5, 77)


def test_a_run_that_goes_on_and_one_that_is_over(announce, server, listening, tmp_path):
    directory = announce()
    assert machine._run("run", str(directory)).level == "ok"
    server.close()
    found = machine._run("run", str(directory))
    assert found.level == "error" and f"port {listening}" in found.seen
    assert machine._run("run", str(tmp_path)).level == "warning"
