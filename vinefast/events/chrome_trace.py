"""A trace in Chrome's format: JSON, for programs that do not read Perfetto's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO

from vinefast.events.trace import OUTCOMES, Trace

# The program is a process of the trace, and so is each worker; slots are its threads, counted from 1.
_PROGRAM = 1
_BUNDLES, _LOSSES, _NOT_RUN, _WORKERS = 1, 2, 3, 4
_TITLES = {
    _BUNDLES: "bundles that are sent",
    _LOSSES: "bundles that are lost",
    _NOT_RUN: "calls that did not run",
    _WORKERS: "workers",
}
_CHUNK = 5000
_UNKNOWN = '"?"'


def write(trace: Trace, file: IO[bytes], tell: Callable[[int], None]) -> None:
    """Write a trace.

    Parameters
    ----------
    trace : Trace
    file : file
    tell : callable
        Is told how many calls are written, now and then.
    """
    head = {"displayTimeUnit": "ms", "otherData": {"executor": trace.name, "began_ns_since_1970": trace.began_wall_ns}}
    file.write(json.dumps(head)[:-1].encode() + b',"traceEvents":[\n')
    for number, text in enumerate(_others(trace)):
        file.write((",\n" * bool(number) + text).encode())
    for start in range(0, len(trace.calls), _CHUNK):
        file.write("".join(f",\n{text}" for text in _calls(trace, start)).encode())
        tell(min(start + _CHUNK, len(trace.calls)))
    file.write(b"\n]}\n")


def _us(ns: int) -> str:
    return f"{ns // 1000}.{ns % 1000:03}"


def _named(kind: str, pid: int, tid: int, name: str) -> str:
    return f'{{"ph":"M","name":"{kind}","pid":{pid},"tid":{tid},"args":{{"name":{json.dumps(name)}}}}}'


def _instant(at_ns: int, tid: int, name: str, facts: dict[str, int | str]) -> str:
    return (
        f'{{"ph":"i","s":"t","ts":{_us(at_ns)},"pid":{_PROGRAM},"tid":{tid},"name":{json.dumps(name)},'
        f'"args":{json.dumps(facts)}}}'
    )


def _others(trace: Trace) -> Iterator[str]:
    yield _named("process_name", _PROGRAM, 0, trace.name)
    for tid, title in _TITLES.items():
        yield _named("thread_name", _PROGRAM, tid, title)
    for number, name in trace.workers.items():
        yield _named("process_name", _PROGRAM + number, 0, name)
    for tid, slot in enumerate(trace.slots, 1):
        yield _named("thread_name", _PROGRAM + slot.worker, tid, slot.name)
    for tid, moments in ((_WORKERS, trace.comings), (_LOSSES, trace.losses), (_BUNDLES, trace.away)):
        for moment in moments:
            yield _instant(moment.at_ns, tid, moment.name, moment.facts)
    for counter in trace.counters:
        name = json.dumps(counter.name)
        for at_ns, value in zip(counter.at_ns.tolist(), counter.values.tolist(), strict=True):
            yield f'{{"ph":"C","ts":{_us(at_ns)},"pid":{_PROGRAM},"name":{name},"args":{{"value":{value}}}}}'
    bundles = trace.bundles
    with_arrow = set(trace.calls.bundle[trace.calls.has_arrow].tolist())
    columns = (bundles[name].tolist() for name in ("sent_ns", "task", "n_sent", "worker"))
    for index, (sent_ns, task, n_sent, worker) in enumerate(zip(*columns, strict=True)):
        if sent_ns <= 0:
            continue  # its calls ended before
        facts = {"bundle": task, "calls": n_sent, "worker": worker}
        yield (
            f'{{"ph":"X","dur":0,"ts":{_us(sent_ns)},"pid":{_PROGRAM},"tid":{_BUNDLES},"name":"bundle {task}",'
            f'"args":{json.dumps(facts)}}}'
        )
        if index in with_arrow:
            yield _arrow("s", index, sent_ns, _PROGRAM, _BUNDLES)


def _arrow(phase: str, index: int, at_ns: int, pid: int, tid: int) -> str:
    return (
        f'{{"ph":"{phase}","bp":"e","id":{index + 1},"cat":"bundle","name":"bundle","ts":{_us(at_ns)},'
        f'"pid":{pid},"tid":{tid}}}'
    )


def _calls(trace: Trace, start: int) -> Iterator[str]:
    names = {number: json.dumps(name) for number, name in trace.functions.items()}
    tasks = trace.bundles["task"]
    rows = trace.calls.rows(start, start + _CHUNK)
    for slot, begin_ns, end_ns, number, function, outcome, index, has_arrow in rows:
        facts: dict[str, int | str] = {"call": number, "outcome": OUTCOMES[outcome], "bundle": int(tasks[index])}
        if number in trace.parsl_tries:
            facts["task"], facts["try"] = trace.parsl_tries[number]
        if number in trace.why:
            facts["why"] = trace.why[number]
        pid, tid = (_PROGRAM, _NOT_RUN) if slot < 0 else (_PROGRAM + trace.slots[slot].worker, slot + 1)
        yield (
            f'{{"ph":"X","ts":{_us(begin_ns)},"dur":{_us(end_ns - begin_ns)},"pid":{pid},"tid":{tid},'
            f'"cat":"{OUTCOMES[outcome]}","name":{names.get(function, _UNKNOWN)},"args":{json.dumps(facts)}}}'
        )
        if has_arrow:
            yield _arrow("f", index, begin_ns, pid, tid)
