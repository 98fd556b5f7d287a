"""What becomes of calls, and what the user is told, when Slurm ends a job, refuses it, or lets it wait."""

import os
import sys
import time

import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.providers import SlurmProvider

from tests.helpers.waiting import wait_until
from vinefast.workers import watchdog

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

# Parsl looks each five seconds whether more blocks are needed.
OPTIONS = {"strategy_period": 0.2}


class WatchfulProvider(SlurmProvider):
    """Asks Slurm for its jobs more often than once a minute."""

    @property
    def status_polling_interval(self):
        return 1


@pytest.fixture
def load_on_slurm(slurm, load):
    """Load Parsl with an executor whose workers come by a provider, with the arguments given."""

    def start(**arguments):
        provider = WatchfulProvider(**{"partition": "debug", "exclusive": False, **arguments})
        config = TaskVineManagerConfig(port=0, shared_fs=True)
        return load(OPTIONS, worker_launch_method="provider", provider=provider, manager_config=config)

    return start


def job_after(seconds):
    """Of a call: in which job it has run."""
    time.sleep(seconds)
    return os.environ["SLURM_JOB_ID"]


def messages(caplog, word):
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


def test_a_worker_has_the_cores_of_its_job_and_a_password_and_tls(slurm, load_on_slurm):
    executor = load_on_slurm(max_blocks=1)
    assert executor.submit(len, {}, "abc").result(100) == 3
    # One, which Slurm gives if nobody says how many; the node has two.
    assert executor.stats()["slots"] == 1
    assert " --ssl " in executor.worker_command and " --password " in executor.worker_command
    assert not {"127.0.0.1", "localhost", "::1"} & set(executor.worker_command.split())


def test_a_program_in_a_job_has_local_workers_with_the_cores_of_the_job(slurm, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from vinefast import VineFastExecutor\n\nwith VineFastExecutor() as executor:\n"
        "    executor.submit(abs, None, -1).result()\n    print('slots:', executor.stats()['slots'])\n"
    )
    options = ["--wait", "--cpus-per-task=1", f"--chdir={tmp_path}", "--output=said"]
    slurm.command("sbatch", *options, "--wrap", f"{sys.executable} program.py")
    assert "slots: 1\n" in (tmp_path / "said").read_text()


def job_noted(number, notes, doomed):
    """Of a call: note that it begins, and in which job; it does not end in the one that is doomed."""
    with open(notes, "a") as file:
        file.write(f"{number} {os.environ['SLURM_JOB_ID']}\n")
    return number, job_after(300.0 if os.environ["SLURM_JOB_ID"] == doomed else 0.5)


def begun_twice(notes, first):
    """Which calls were begun in the first job, and in another one again."""
    begun = [line.split() for line in notes.read_text().splitlines()]
    return {number for number, job in begun if job == first} & {number for number, job in begun if job != first}


def test_calls_of_a_cancelled_job_are_run_again_in_another(slurm, load_on_slurm, tmp_path):
    executor = load_on_slurm(init_blocks=2, max_blocks=2)
    notes = tmp_path / "notes"
    assert wait_until(lambda: executor.stats()["slots"] == 2, 60), slurm.command("squeue")
    victim = min(slurm.jobs(), key=int)
    futures = [executor.submit(job_noted, {}, i, str(notes), victim) for i in range(12)]
    assert wait_until(lambda: notes.exists() and f" {victim}\n" in notes.read_text(), 60)
    slurm.command("scancel", victim)
    results = [future.result(100) for future in futures]
    assert [number for number, _ in results] == list(range(12))
    assert slurm.state(victim) == "CANCELLED"
    again = begun_twice(notes, victim)
    assert again and all(job != victim for number, job in results if str(number) in again)


def test_calls_of_a_job_whose_time_is_up_go_on_in_the_next(slurm, load_on_slurm, tmp_path):
    executor = load_on_slurm(max_blocks=1)
    notes = tmp_path / "notes"
    first = executor.submit(job_after, {}, 0.0).result(100)
    futures = [executor.submit(job_noted, {}, i, str(notes), first) for i in range(5)]
    assert wait_until(lambda: notes.exists() and f" {first}\n" in notes.read_text(), 60)
    # A few seconds ahead: a second that is over when Slurm hears of it is refused as invalid.
    slurm.command("scontrol", "update", f"JobId={first}", "EndTime=now+5seconds")
    # Slurm looks twice a minute for jobs that are over their time.
    results = [future.result(100) for future in futures]
    assert [number for number, _ in results] == list(range(len(futures)))
    assert slurm.state(first) == "TIMEOUT"
    again = begun_twice(notes, first)
    assert again and all(job != first for number, job in results if str(number) in again)


def test_a_job_that_slurm_refuses_fails_calls_with_its_reason(slurm, load_on_slurm):
    executor = load_on_slurm(partition="nowhere")
    with pytest.raises(BadStateException, match="invalid partition specified: nowhere"):
        executor.submit(len, {}, "abc").result(60)
    with pytest.raises(Exception, match="invalid partition specified: nowhere"):
        executor.submit(len, {}, "abc")


def test_a_job_that_never_starts_is_reported_with_slurms_reason(slurm, load_on_slurm, caplog, monkeypatch):
    monkeypatch.setattr(watchdog, "_NO_WORKER_S", 5.0)
    load_on_slurm(partition="closed")
    assert wait_until(lambda: messages(caplog, "No worker has come"), 60)
    (said,) = messages(caplog, "No worker has come")
    (job,) = slurm.jobs()
    assert f"Of its jobs Slurm says: {job} is PENDING (PartitionDown)." in said


def test_a_factory_whose_jobs_slurm_refuses_says_why(slurm, load, caplog, monkeypatch):
    monkeypatch.setattr(watchdog, "_NO_WORKER_S", 5.0)
    load(
        OPTIONS,
        factory_config=TaskVineFactoryConfig(batch_type="slurm", batch_options="--partition=nowhere"),
        manager_config=TaskVineManagerConfig(port=0, shared_fs=True),
    )
    assert wait_until(lambda: messages(caplog, "No worker has come"), 60)
    (said,) = messages(caplog, "No worker has come")
    assert "invalid partition specified: nowhere" in said and "squeue --me" in said


def test_a_worker_without_password_or_tls_in_a_job_gets_no_calls(slurm, load, tmp_path, caplog):
    executor = load(worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, shared_fs=True))
    assert " --ssl " in executor.worker_command
    words = executor.worker_command.split()
    (password,) = [words[i + 1] for i, word in enumerate(words) if word == "--password"]
    without_password = executor.worker_command.replace(f"--password {password} ", "")
    for command in (executor.worker_command.replace(" --ssl ", " "), without_password):
        slurm.command("sbatch", "--output", str(tmp_path / "said"), "--wrap", command)
    assert wait_until(lambda: messages(caplog, "A worker without TLS"), 60)
    assert executor.stats()["joins_without_ssl"] >= 1
    future = executor.submit(job_after, {}, 0.0)
    assert not wait_until(future.done, 2)
    right = slurm.command("sbatch", "--parsable", "--output", str(tmp_path / "said"), "--wrap", executor.worker_command)
    assert future.result(60) == right.strip()
    slurm.cancel_all()
