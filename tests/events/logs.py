"""Writes event logs as the core would."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np

from vinefast.events import layout


class LogWriter:
    """An event log in a directory that it makes."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = str(directory)
        self.path = directory / "events"
        self.head = self.head_of(0)
        self.path.write_bytes(self.head)

    @staticmethod
    def head_of(generation):
        return layout.HEAD.pack(layout.MAGIC, layout.VERSION, 0, 0, 17, generation)

    def put(self, kind, body):
        body += bytes(-len(body) % 8)
        with open(self.path, "ab") as file:
            file.write(layout.EVENT.pack(kind, 0, layout.EVENT.size + len(body)) + body)

    def name(self, kind, number, text, at_ns=0, slots=0):
        self.put(kind, layout.NAME_BODY.pack(at_ns, number, slots) + text.encode() + b"\0")

    def run(self, at_ns, label="x", **about):
        self.name(layout.RUN, 0, json.dumps({"label": label, "program": ["python", label], **about}), at_ns)

    def function(self, number, name):
        self.name(layout.FUNCTION, number, name, 1)

    def worker(self, number, at_ns):
        self.name(layout.WORKER, number, f"10.0.0.{number}:9", at_ns)

    def stopped(self, at_ns):
        self.name(layout.STOPPED, 0, "", at_ns)

    def ended(
        self, task, numbers, statuses, *, sent_ns, returned_ns, run_ns, worker=1, slot=0, function=1, cancelled=()
    ):
        calls = np.zeros(len(statuses), layout.CALL)
        calls["number"], calls["status"], calls["function"] = list(numbers), statuses, function
        calls["is_cancelled"] = np.isin(calls["number"], cancelled)
        calls["duration_ns"] = run_ns // len(statuses)
        n = len(statuses)
        body = layout.ENDED_BODY.pack(sent_ns, returned_ns, task, 0, run_ns, 0, worker, slot, 99, n, 0, n)
        self.put(layout.ENDED, body + calls.tobytes())

    def failure(self, number, status, fields):
        payload = pickle.dumps(fields)
        self.put(layout.FAILURE, layout.FAILURE_BODY.pack(number, status, len(payload)) + payload)
