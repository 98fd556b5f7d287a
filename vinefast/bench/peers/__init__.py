"""Every executor that can be measured, by name."""

from __future__ import annotations

from vinefast.bench.peers.base import Peer
from vinefast.bench.peers.others import Dask, Floor, ProcessPool, Ray
from vinefast.bench.peers.parsl import Htex, TaskVine, Threads, VineFast

__all__ = ["PEERS", "Peer"]

PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (VineFast, Floor, Threads, Htex, TaskVine, Dask, Ray, ProcessPool)
}
