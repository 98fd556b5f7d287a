"""docs/clusters.md: what it shows of Slurm is run there, as a user would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.page import blocks, command, program
from tests.cluster.slurm import CORES, NODES
from tests.helpers.markdown import ROOT
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

SUM = sum(x * x for x in range(100))


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's directory, with the programs of the page, and a shell in it where the environment is active."""
    for name in ("by_provider.py", "by_factory.py", "by_hand.py", "worker.sbatch"):
        (tmp_path / name).write_text(program(name))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # As if vinefast were installed, and not a clone beside the user's directory.
        "PYTHONPATH": str(ROOT),
    }
    started = []

    def start(line):
        process = subprocess.Popen(
            line, shell=True, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def said_by(process):
    """Wait for the end of a program; gives what it printed behind each word and a colon."""
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    return dict(re.findall(r"^(\w+): (.*)$", said, re.M))


def has_no_jobs(slurm):
    return wait_until(lambda: not slurm.jobs(), 60)


def test_by_provider(slurm, user):
    said = said_by(user(command("python by_provider.py")))
    assert said["sum"] == str(SUM) and said["nodes"] == " ".join(NODES)
    (job,) = said["jobs"].split()
    assert said["slots"] == str(len(NODES) * CORES)
    assert has_no_jobs(slurm), slurm.command("squeue")
    assert slurm.state(job) in ("COMPLETED", "CANCELLED")


def test_by_factory(slurm, user):
    said = said_by(user(command("python by_factory.py")))
    assert said["sum"] == str(SUM) and said["jobs"].split()
    assert has_no_jobs(slurm), slurm.command("squeue")


def test_by_hand(slurm, user, tmp_path):
    running = user(command("python by_hand.py"))
    assert wait_until(lambda: list(tmp_path.glob("runinfo/000/*/contact.json")) or running.poll() is not None, 60)
    submitted = user(command("sbatch worker.sbatch"))
    assert "Submitted batch job" in submitted.communicate(timeout=60)[0]
    said = said_by(running)
    assert said["sum"] == str(SUM) and said["nodes"] == " ".join(NODES)
    assert has_no_jobs(slurm), slurm.command("squeue")


def test_a_job_of_several_nodes_that_runs_the_program_as_well(slurm, user, tmp_path):
    by_hand = next(block for block in blocks() if 'print("vinefast worker"' in block)
    (tmp_path / "program.py").write_text(
        "from parsl.executors.taskvine import TaskVineManagerConfig\nfrom vinefast import VineFastExecutor\n"
        f"{by_hand}\nimport time\nwhile executor.stats()['workers_connected'] < 2:\n    time.sleep(0.1)\n"
        "print('sum:', sum(executor.map(abs, range(100))))\nparsl.dfk().cleanup()\n"
    )
    (tmp_path / "job.sh").write_text(next(block for block in blocks() if "python program.py &" in block))
    activate = tmp_path / "vf/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"PATH={Path(sys.executable).parent}:$PATH\n")
    # Smaller than it stands there; what is said here goes before what the script says.
    options = f"--wait --output=said --nodes=2 --cpus-per-task={CORES} --export=ALL,HOME={tmp_path}"
    submitted = user(f"sbatch {options} job.sh")
    submitted.communicate(timeout=200)
    said = (tmp_path / "said").read_text()
    assert submitted.returncode == 0 and "sum: 4950\n" in said, said
    assert has_no_jobs(slurm), slurm.command("squeue")


def test_molecular_dynamics(slurm, user, tmp_path):
    line = command("python examples/molecular_dynamics.py")
    running = user(line.replace("examples/", f"{ROOT}/examples/", 1))
    said = running.communicate(timeout=250)[0]
    assert running.returncode == 0, said
    (difference,) = re.findall(r"L1 and L2 differ by (\S+) eV", said)
    assert float(difference) < 1e-9
    assert sorted(path.name for path in tmp_path.glob("molecular_dynamics/*.png")) == [
        "caloric_curve.png",
        "throughput.png",
    ]
    assert has_no_jobs(slurm), slurm.command("squeue")
