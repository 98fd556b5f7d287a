"""Reads traces of Perfetto's format as its trace processor would."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

EVENT = protos.TrackEvent


@dataclass
class Slice:
    """Has the path of its track's names, from the program on; an instant's end is its begin."""

    name: str
    track: tuple[str, ...]
    begin_ns: int
    end_ns: int
    depth: int
    categories: list[str]
    facts: dict[str, int | str]
    is_instant: bool
    begins_flows: list[int]
    ends_flows: list[int]


@dataclass
class Read:
    slices: list[Slice] = field(default_factory=list)
    counters: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    tracks: set[tuple[str, ...]] = field(default_factory=set)
    clocks: dict[int, int] = field(default_factory=dict)
    pid: int = 0

    def calls(self):
        return [one for one in self.slices if "call" in one.facts]

    def below(self, name):
        return [one for one in self.slices if name in one.track]


def read(path):
    trace = protos.Trace.FromString(path.read_bytes())
    found = Read()
    interned = {}
    tracks, open_slices = {}, defaultdict(list)
    is_clear = False
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        if packet.sequence_flags & packet.SEQ_INCREMENTAL_STATE_CLEARED:
            is_clear, interned = True, {}
        for kind in ("event_names", "event_categories", "debug_annotation_names"):
            interned |= {(kind, each.iid): each.name for each in getattr(packet.interned_data, kind)}
        for each in packet.interned_data.debug_annotation_string_values:
            interned["text", each.iid] = each.str.decode()
        for clock in packet.clock_snapshot.clocks:
            found.clocks[clock.clock_id] = clock.timestamp
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid and track.uuid not in tracks
            parent = tracks[track.parent_uuid][0] if track.parent_uuid else ()
            tracks[track.uuid] = ((*parent, track.name), track.HasField("counter"))
            found.tracks.add((*parent, track.name))
            found.pid = found.pid or track.process.pid
    assert len(found.tracks) == len(tracks), "the viewer would put tracks of one name together"
    # By time, and as written among equals.
    events = sorted((packet for packet in trace.packet if packet.HasField("track_event")), key=lambda p: p.timestamp)
    for packet in events:
        assert is_clear and packet.sequence_flags & packet.SEQ_NEEDS_INCREMENTAL_STATE
        event, at_ns = packet.track_event, packet.timestamp
        path, is_counter = tracks[event.track_uuid]
        assert is_counter == (event.type == EVENT.TYPE_COUNTER)
        if is_counter:
            found.counters[path[-1]].append((at_ns, event.double_counter_value))
            continue
        if event.type == EVENT.TYPE_SLICE_END:
            open_slices[path].pop().end_ns = at_ns
            continue
        facts = {}
        for fact in event.debug_annotations:
            value = getattr(fact, fact.WhichOneof("value"))
            value = interned["text", value] if fact.WhichOneof("value") == "string_value_iid" else value
            facts[interned["debug_annotation_names", fact.name_iid]] = value
        one = Slice(
            interned["event_names", event.name_iid] if event.name_iid else event.name,
            path,
            at_ns,
            at_ns,
            len(open_slices[path]),
            [interned["event_categories", iid] for iid in event.category_iids],
            facts,
            event.type == EVENT.TYPE_INSTANT,
            list(event.flow_ids),
            list(event.terminating_flow_ids),
        )
        found.slices.append(one)
        if event.type == EVENT.TYPE_SLICE_BEGIN:
            open_slices[path].append(one)
    assert not any(open_slices.values()), "a slice has no end"
    begun = [flow for one in found.slices for flow in one.begins_flows]
    ended = [flow for one in found.slices for flow in one.ends_flows]
    assert sorted(begun) == sorted(ended) and len(set(begun)) == len(begun)
    return found
