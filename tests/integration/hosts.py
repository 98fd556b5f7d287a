"""Several "hosts" on this machine: namespaces with a host name and an address each, on a network of their own.

This process stays where it is, with an address in that network, too; the hosts are joined by a switch. All of it lives
in namespaces that end with their last process, and the processes that hold them end with this one, so that nothing is
left behind, whatever happens. Only `pyroute2` (in the `test` extra) and util-linux are needed, and root.
"""

import importlib
import os
import secrets
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.processes import command_by_hand, start_by_hand
from tests.helpers.waiting import wait_until

NO_CARD = "02:00:00:00:00:00"  # an Ethernet address that nobody has


def why_impossible():
    """Say why there can be no such network here; None: there can."""
    if os.geteuid() != 0:
        return "several hosts need root, to make network namespaces"
    try:
        importlib.import_module("pyroute2")
    except ImportError:
        return "several hosts need pyroute2: pip install vinefast[test]"
    try:
        tried = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, text=True)
    except FileNotFoundError:
        return "several hosts need unshare, of util-linux"
    if tried.returncode:
        return f"several hosts need namespaces, which this machine does not allow: {tried.stderr.strip()}"
    return None


def netlink_or_skip():
    """Give pyroute2's IPRoute; skips the test where there can be no such network, and says why."""
    if (reason := why_impossible()) is not None:
        pytest.skip(reason)
    return importlib.import_module("pyroute2").IPRoute


class Namespace:
    """A network and a host name, held by a process that ends at the end of its standard input."""

    def __init__(self, name):
        self.name = name
        hold = 'echo "$0" > /proc/sys/kernel/hostname; echo; exec cat'
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", hold, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.holder.stdout.readline() == b"\n"
        self.path = f"/proc/{self.holder.pid}/ns/net"
        self._id = os.readlink(self.path)
        assert self._id != os.readlink("/proc/self/ns/net")  # all that is in it will be killed

    def enter(self, command):
        """Give the command that runs `command` in here."""
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--uts", *command]

    def holds(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/ns/net") == self._id
        except OSError:
            return False  # it has ended

    def processes(self):
        """All processes in here, but for the one that holds it."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if pid != self.holder.pid and self.holds(pid)]

    def kill(self):
        """Kill all processes in here at once, as a power cut would."""

        def killed():
            pids = self.processes()
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not pids

        assert wait_until(killed)

    def close(self):
        if self.holder.returncode is not None:
            return
        self.kill()
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()


class Cluster:
    """Hosts 0 to n - 1, with names and addresses in `names` and `addresses`.

    `manager_address` is that of this process in their network, `device` the network device that has it.
    """

    def __init__(self, n, directory):
        self._open = netlink_or_skip()
        self._directory = Path(directory)
        # The range for benchmarks of networks, which nobody routes.
        subnet, mark = f"198.18.{secrets.randbelow(256)}", secrets.token_hex(3)
        self.manager_address = f"{subnet}.1"
        self.addresses = [f"{subnet}.{i + 2}" for i in range(n)]
        self.names = [f"vf{mark}-{i}" for i in range(n)]
        self.device = f"vf{mark}"
        self._processes = []
        self._hosts = []
        self._switch = Namespace(f"vf{mark}-switch")
        try:
            self._join(None, self.manager_address, self.device)
            for i in range(n):
                self._hosts.append(Namespace(self.names[i]))
                self._join(self._hosts[i], self.addresses[i], "eth0", port=f"port{i}")
        except BaseException:
            self.close()
            raise

    def _join(self, host, address, device, port="manager"):
        with self._open(netns=self._switch.path) as switch:
            if not switch.link_lookup(ifname="bridge"):
                switch.link("add", ifname="bridge", kind="bridge", state="up")
            end = os.getpid() if host is None else host.holder.pid
            switch.link("add", ifname=port, kind="veth", peer={"ifname": device, "net_ns_pid": end})
            (bridge,) = switch.link_lookup(ifname="bridge")
            (index,) = switch.link_lookup(ifname=port)
            switch.link("set", index=index, master=bridge, state="up")
        with self._open(netns=host.path) if host else self._open() as here:
            (index,) = here.link_lookup(ifname=device)
            here.addr("add", index=index, address=address, prefixlen=24)
            here.link("set", index=index, state="up")
            if host:
                here.link("set", index=1, state="up")  # loopback

    def enter(self, i, command):
        """Give the command that runs `command` on host i."""
        return self._hosts[i].enter(command)

    def start(self, i, command):
        """Start a command on host i, its temporary files in a directory of its own."""
        directory = self._directory / self.names[i]
        directory.mkdir(exist_ok=True)
        process = start_by_hand(self._hosts[i].enter(command), directory, WORKER_ID=self.names[i])
        self._processes.append(process)
        # From here on kill() finds it.
        assert wait_until(lambda: self._hosts[i].holds(process.pid) or process.poll() is not None)
        return process

    def start_worker(self, i, executor, *options):
        """Start a worker on host i, with a manual executor's command and further options of ``vine_worker``."""
        return self.start(i, command_by_hand(executor, *options))

    def kill(self, i):
        """Kill all that runs on host i; the host stays, for a new worker."""
        self._hosts[i].kill()

    def cut(self, i):
        """Pull host i's plug: nobody is told, what is sent is lost."""
        self._plug(i, "down")

    def mend(self, i):
        self._plug(i, "up")

    def _plug(self, i, state):
        with self._open(netns=self._switch.path) as switch:
            (index,) = switch.link_lookup(ifname=f"port{i}")
            switch.link("set", index=index, state=state)

    def cut_between(self, i, j):
        """Lose what hosts i and j send each other, as a firewall would; the manager still reaches both."""
        self._neighbours(i, j, "replace", lladdr=NO_CARD, state="permanent")

    def mend_between(self, i, j):
        self._neighbours(i, j, "del")

    def _neighbours(self, i, j, command, **how):
        for here, there in ((i, j), (j, i)):
            with self._open(netns=self._hosts[here].path) as host:
                (index,) = host.link_lookup(ifname="eth0")
                host.neigh(command, ifindex=index, dst=self.addresses[there], **how)

    def sent_by_manager(self):
        """How many bytes this process has sent to the hosts, all together."""
        return int(Path(f"/sys/class/net/{self.device}/statistics/tx_bytes").read_text())

    def close(self):
        for namespace in [*self._hosts, self._switch]:
            namespace.close()
        for process in self._processes:
            process.wait()
