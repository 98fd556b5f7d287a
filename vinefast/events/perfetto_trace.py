"""A trace in Perfetto's own format, for https://ui.perfetto.dev and its trace processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from vinefast.events.trace import OUTCOMES, Counter, Moment, Trace

if TYPE_CHECKING:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket

# All is one sequence of packets, which can name by a number what its first packet says.
_SEQUENCE = 1
_CHUNK = 5000
_INT32_MAX = (1 << 31) - 1
_FACTS = ("call", "outcome", "bundle", "task", "try", "why", "calls", "first", "numbers", "worker", "address", "slots")
_PROGRAM, _WORKERS, _BUNDLES, _LOSSES, _NOT_RUN = 1, 2, 3, 4, 5
_FIRST_UUID = 6


def load() -> Any:
    """Import what makes packets, which takes a moment.

    Raises
    ------
    ImportError
        If perfetto is not installed (``pip install 'vinefast[trace]'``), or is too new for the protobuf that is.
    """
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError:
        raise
    except Exception as error:  # protobuf has exceptions of its own
        raise ImportError(str(error)) from error
    return perfetto_trace_pb2


def write(trace: Trace, file: IO[bytes], tell: Callable[[int], None]) -> None:
    """Write a trace.

    Parameters
    ----------
    trace : Trace
    file : file
    tell : callable
        Is told how many calls are written, now and then.

    Raises
    ------
    ImportError
        As `load`.
    """
    _Writer(trace, file).write(tell)


class _Writer:
    """A builder of the package's for each few thousand packets: what they make, one behind the other, is one trace."""

    def __init__(self, trace: Trace, file: IO[bytes]) -> None:
        protos = load()
        from perfetto.trace_builder.proto_builder import TraceProtoBuilder

        self._protos, self._new_builder = protos, TraceProtoBuilder
        self._trace, self._file = trace, file
        self._builder = TraceProtoBuilder()
        self._fact = {name: number for number, name in enumerate(_FACTS, 1)}
        event = protos.TrackEvent
        self._begin, self._end = event.TYPE_SLICE_BEGIN, event.TYPE_SLICE_END
        self._instant, self._counter = event.TYPE_INSTANT, event.TYPE_COUNTER
        self._needs_state = protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        # A number of 0 is none; of functions one more is needed, of which the log has no name.
        self._unknown = max([0, *trace.functions]) + 1

    def write(self, tell: Callable[[int], None]) -> None:
        trace = self._trace
        self._names()
        self._program()
        slot_uuids = self._slots()
        self._moments(_WORKERS, trace.comings)
        self._moments(_LOSSES, trace.losses)
        self._moments(_BUNDLES, trace.away, "not back yet: ")
        for number, counter in enumerate(trace.counters):
            self._counter_track(_FIRST_UUID + number, counter)
        self._bundles()
        self._calls(slot_uuids, tell)
        self._flush()

    def _names(self) -> None:
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = self._protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        names = packet.interned_data
        for number, name in {**self._trace.functions, self._unknown: "?"}.items():
            names.event_names.add(iid=number, name=name)
        for number, outcome in enumerate(OUTCOMES, 1):
            names.event_categories.add(iid=number, name=outcome)
            names.debug_annotation_string_values.add(iid=number, str=outcome.encode())
        for name, number in self._fact.items():
            names.debug_annotation_names.add(iid=number, name=name)
        clocks = self._builder.add_packet()
        clocks.trusted_packet_sequence_id = _SEQUENCE
        # So times of day can be shown. The clock of the log is taken for the one that traces have.
        snapshot = clocks.clock_snapshot
        snapshot.clocks.add(clock_id=self._protos.BUILTIN_CLOCK_BOOTTIME, timestamp=self._trace.began_ns)
        snapshot.clocks.add(clock_id=self._protos.BUILTIN_CLOCK_REALTIME, timestamp=self._trace.began_wall_ns)

    def _track(self, uuid: int, name: str, parent: int, rank: int, has_order: bool = False) -> Any:
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        track = packet.track_descriptor
        track.uuid, track.name, track.sibling_order_rank = uuid, name, min(rank, _INT32_MAX)
        if parent:
            track.parent_uuid = parent
        if has_order:
            track.child_ordering = self._protos.TrackDescriptor.EXPLICIT
        return track

    def _program(self) -> None:
        track = self._track(_PROGRAM, self._trace.name, 0, 0, has_order=True)
        track.process.pid = self._trace.pid & _INT32_MAX
        track.process.process_name = self._trace.name
        for rank, counter in enumerate(self._trace.counters):
            self._track(_FIRST_UUID + rank, counter.name, _PROGRAM, rank).counter.SetInParent()
        rank = len(self._trace.counters)
        self._track(_BUNDLES, "bundles that are sent", _PROGRAM, rank)
        self._track(_LOSSES, "bundles that are lost", _PROGRAM, rank + 1)
        self._track(_NOT_RUN, "calls that did not run", _PROGRAM, rank + 2)
        self._track(_WORKERS, "workers", _PROGRAM, rank + 3, has_order=True)

    def _slots(self) -> list[int]:
        uuid = _FIRST_UUID + len(self._trace.counters)
        workers = {}
        for number, name in self._trace.workers.items():
            self._track(uuid, name, _WORKERS, number, has_order=True)
            workers[number] = uuid
            uuid += 1
            if not number % _CHUNK:
                self._flush()
        slots = []
        for rank, slot in enumerate(self._trace.slots):
            self._track(uuid, slot.name, workers[slot.worker], rank)
            slots.append(uuid)
            uuid += 1
            if not rank % _CHUNK:
                self._flush()
        return slots

    def _packet(self, at_ns: int) -> TracePacket:
        packet = self._builder.add_packet()
        packet.timestamp = at_ns
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = self._needs_state
        return packet

    def _moments(self, uuid: int, moments: list[Moment], prefix: str = "") -> None:
        for moment in moments:
            event = self._packet(moment.at_ns).track_event
            event.type, event.track_uuid, event.name = self._instant, uuid, prefix + moment.name
            self._facts(event, moment.facts)
        self._flush()

    def _facts(self, event: Any, facts: Mapping[str, int | str]) -> None:
        for name, value in facts.items():
            if isinstance(value, int):
                event.debug_annotations.add(name_iid=self._fact[name], uint_value=value)
            else:
                event.debug_annotations.add(name_iid=self._fact[name], string_value=value)

    def _counter_track(self, uuid: int, counter: Counter) -> None:
        for at_ns, value in zip(counter.at_ns.tolist(), counter.values.tolist(), strict=True):
            event = self._packet(at_ns).track_event
            event.type, event.track_uuid, event.double_counter_value = self._counter, uuid, value
        self._flush()

    def _bundles(self) -> None:
        """An arrow leads from here to the bundle's first call in its slot."""
        bundles, calls = self._trace.bundles, self._trace.calls
        of_first = dict(
            zip(calls.bundle[calls.has_arrow].tolist(), calls.function[calls.has_arrow].tolist(), strict=True)
        )
        columns = (bundles[name].tolist() for name in ("sent_ns", "task", "n_sent", "worker"))
        for index, (sent_ns, task, n_sent, worker) in enumerate(zip(*columns, strict=True)):
            if sent_ns <= 0:
                continue  # its calls ended before
            event = self._packet(sent_ns).track_event
            event.type, event.track_uuid = self._instant, _BUNDLES
            event.name_iid = self._name(of_first.get(index, 0))
            if index in of_first:
                event.flow_ids.append(index + 1)
            self._facts(event, {"bundle": task, "calls": n_sent, "worker": worker})
            if not index % _CHUNK:
                self._flush()

    def _name(self, function: int) -> int:
        return function if function in self._trace.functions else self._unknown

    def _calls(self, slot_uuids: list[int], tell: Callable[[int], None]) -> None:
        calls, trace = self._trace.calls, self._trace
        tasks = trace.bundles["task"]
        call, outcome_fact, bundle = self._fact["call"], self._fact["outcome"], self._fact["bundle"]
        for start in range(0, len(calls), _CHUNK):
            rows = calls.rows(start, start + _CHUNK)
            for slot, begin_ns, end_ns, number, function, outcome, index, has_arrow in rows:
                event = self._packet(begin_ns).track_event
                has_run = slot >= 0
                event.type = self._begin if has_run else self._instant
                event.track_uuid = uuid = slot_uuids[slot] if has_run else _NOT_RUN
                event.name_iid = self._name(function)
                event.category_iids.append(outcome + 1)
                facts = event.debug_annotations
                facts.add(name_iid=call, uint_value=number)
                facts.add(name_iid=outcome_fact, string_value_iid=outcome + 1)
                facts.add(name_iid=bundle, uint_value=int(tasks[index]))
                if number in trace.parsl_tries:
                    task, attempt = trace.parsl_tries[number]
                    self._facts(event, {"task": task, "try": attempt})
                if number in trace.why:
                    self._facts(event, {"why": trace.why[number]})
                if has_arrow:
                    event.terminating_flow_ids.append(index + 1)
                if has_run:
                    event = self._packet(end_ns).track_event
                    event.type, event.track_uuid = self._end, uuid
            self._flush()
            tell(min(start + _CHUNK, len(calls)))

    def _flush(self) -> None:
        self._file.write(self._builder.serialize())
        self._builder = self._new_builder()
