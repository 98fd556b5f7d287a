"""A Slurm of one's own on this machine, of Debian's packages: munged, slurmctld, and a slurmd for each node."""

import os
import re
import secrets
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.waiting import wait_until

PACKAGES = "munge slurmctld slurmd slurm-client"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("node1", "node2")
CORES = 2
"""Of each node; all nodes are this machine, which Slurm does not know."""

# Debian's daemons are where users have no PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_START_S = 60
_ATTEMPTS = 3

_CONFIGURATION = """\
ClusterName=vinefast
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
MpiDefault=none
KillWait=5
SlurmdParameters=config_overrides
{nodes}
PartitionName=debug Nodes=ALL Default=YES State=UP
PartitionName=closed Nodes=ALL State=DOWN
"""


def why_missing():
    """Say what a Slurm lacks here, and how to get it; an empty string: nothing."""
    lacks = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if lacks:
        return f"no {', '.join(lacks)} here: apt-get install --no-install-recommends {PACKAGES}"
    if os.geteuid() != 0:
        return "slurmd runs jobs as their users: run the tests as root"
    n_cores = len(os.sched_getaffinity(0))
    return "" if n_cores >= CORES else f"{n_cores} core here; each node is to have {CORES}"


class Slurm:
    """Daemons that listen on loopback, with all of their files in one directory; jobs inherit the environment."""

    def __init__(self, directory):
        self._daemons = []
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            for attempt in range(_ATTEMPTS):
                # Somebody else may have taken one of the ports meanwhile.
                if self._start(Path(directory) / str(attempt)):
                    on_failure.pop_all()
                    return
                self._end_daemons()
            raise RuntimeError(f"Slurm does not start:\n{self._said()}")

    def _start(self, directory):
        self._directory = directory
        (directory / "munge").mkdir(parents=True, mode=0o700)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (directory / name).mkdir()
        key = directory / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        controller_port, *ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().partition(".")[0]
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CORES} RealMemory=4000"
            for name, port in zip(NODES, ports, strict=True)
        ]
        # Nothing asks for control groups, but slurmd prepares for them: in version 2 by systemd, if that is there.
        (directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        self.configuration = directory / "slurm.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(
                directory=directory, host=host, controller_port=controller_port, nodes="\n".join(nodes)
            )
        )
        munge = ["socket", "key-file", "pid-file", "log-file", "seed-file"]
        options = [f"--{name}={directory}/munge/{name.removesuffix('-file')}" for name in munge]
        # By force: it dislikes directories for temporary files on its way.
        self._run("munged", "--foreground", "--force", "--num-threads=2", *options)
        if not wait_until((directory / "munge" / "socket").exists, _START_S):
            return False
        self._run("slurmctld", "-D", "-i")
        for name in NODES:
            self._run("slurmd", "-D", "-N", name)
        return wait_until(lambda: self._has_ended() or self._idle() == len(NODES), _START_S) and not self._has_ended()

    def _run(self, program, *arguments):
        with (self._directory / f"{program}{len(self._daemons)}.log").open("wb") as log:
            command = [shutil.which(program, path=_PATH), *arguments]
            # In a session of its own: Ctrl-C is for the tests.
            daemon = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=self._variables()
            )
        self._daemons.append(daemon)

    def _variables(self):
        return {**os.environ, "SLURM_CONF": str(self.configuration)}

    def _has_ended(self):
        return any(daemon.poll() is not None for daemon in self._daemons)

    def _idle(self):
        said = subprocess.run(
            ["sinfo", "-h", "-p", "debug", "-t", "idle", "-o", "%D"],
            capture_output=True,
            text=True,
            env=self._variables(),
        ).stdout
        return int(said or 0)

    def _said(self):
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self._directory.glob("*.log")))

    def command(self, *words):
        """Run one of Slurm's commands, and give what it says."""
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=self._variables())
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self._said()}"
        return done.stdout

    def jobs(self, *states):
        """List the jobs that wait or run, or those in these states alone."""
        return self.command("squeue", "-h", "-o", "%i", *(["-t", ",".join(states)] if states else [])).split()

    def state(self, job):
        """Give a job's state, also when it has ended."""
        return re.search(r"JobState=(\w+)", self.command("scontrol", "show", "job", job))[1]

    def cancel_all(self):
        """End all jobs, and wait until nothing is left of them."""
        for job in self.jobs():
            self.command("scancel", job)
        assert wait_until(lambda: not self.jobs(), 60), self.command("squeue")

    def close(self):
        """End jobs and daemons."""
        try:
            if self._daemons and not self._has_ended():
                self.cancel_all()
        finally:
            self._end_daemons()

    def _end_daemons(self):
        # The last ones first: they take their leave of those before.
        while self._daemons:
            daemon = self._daemons.pop()
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports(n):
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
