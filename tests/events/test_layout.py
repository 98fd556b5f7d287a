"""The layout of an event log has one home for each language, and both say the same."""

import re
import struct
from pathlib import Path

import pytest

from vinefast.events import layout

CSRC = Path(__file__).parents[2] / "csrc"
FILE_H = (CSRC / "vf_eventfile.h").read_text()
LOG_H = (CSRC / "vf_eventlog.h").read_text()
LETTERS = {"uint64_t": "Q", "uint32_t": "I", "uint16_t": "H", "uint8_t": "B", "char": "s"}


def constants(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = {}
    pattern = r"\bVF_EVENT_(\w+) = (?:VF_EVENT_(DEFINES|ENDS) \| )?(0x[0-9a-f]+|\d+)"
    for name, flag, value in re.findall(pattern, text):
        found[name] = int(value, 0) | (getattr(layout, flag) if flag else 0)
    return found


def members(name):
    """Give the members of a struct as (letter, name), without the beginning of a record and what has no length."""
    text = re.sub(r"/\*.*?\*/", "", FILE_H + LOG_H, flags=re.DOTALL)
    body = re.search(rf"struct {name} \{{(.*?)\n\}};", text, re.DOTALL)[1]
    found = []
    for kind, names in re.findall(r"^\t(?!struct)(\w+) ([^;]+);", body, re.M):
        for one in map(str.strip, names.split(",")):
            if not one.endswith("[]"):
                array = re.search(r"\[(\d+)\]", one)
                letter = f"{array[1]}{LETTERS[kind]}" if array else LETTERS[kind]
                found.append((letter, re.sub(r"\[.*", "", one)))
    return found


def test_kinds():
    of_c = {**constants(FILE_H), **constants(LOG_H)}
    for own in ("NO_WORKER", "VERSION", "PAYLOAD_NBYTES", "PAYLOADS_NBYTES"):
        of_c.pop(own)
    assert layout.VERSION == 1 and "VF_EVENT_VERSION = 1," in FILE_H
    assert len(of_c) > 12
    assert of_c == {name: getattr(layout, name) for name in of_c}
    assert f'"{layout.MAGIC.decode()}"' in FILE_H


def test_how_much_there_may_be():
    assert f"VF_EVENT_PAYLOAD_NBYTES = {layout.PAYLOAD_NBYTES >> 10} << 10," in LOG_H
    (most,) = re.findall(r"VF_SIZING_MAX_CALLS = (\d+),", (CSRC / "vf_sizing.h").read_text())
    assert int(most) * 16 == layout.BUNDLE_MOST_CALLS


def as_a_record(kind, body):
    layout.check(kind, memoryview(body))


@pytest.mark.parametrize("nbytes", range(0, 200, 8))
def test_each_length_fits_or_is_refused(nbytes):
    """Zeros say that there is no call, no text and no payload."""
    fits = {
        layout.LEFT_OUT: (8,),
        layout.SENT: (40,),
        layout.ENDED: (72,),
        layout.FAILURE: (16,),
        layout.LOST: (32,),
        layout.COUNTERS: range(8, 200, 8),
        layout.CACHED: (32,),
        layout.REMADE: (16,),
        77: range(0, 200, 8),
        **dict.fromkeys(layout.NAMED, (24,)),
    }
    for kind, lengths in fits.items():
        if nbytes in lengths:
            as_a_record(kind, bytes(nbytes))
        else:
            with pytest.raises((ValueError, struct.error)):
                as_a_record(kind, bytes(nbytes))


@pytest.mark.parametrize("kept", [0, 8, 16, 24, layout.PAYLOAD_NBYTES - 8, layout.PAYLOAD_NBYTES, 20_000])
def test_how_much_of_a_payload_is_kept(kept):
    for nbytes, lengths in {0: (0,), 5: (0, 8), 16: (0, 16), 20_000: (0, layout.PAYLOAD_NBYTES)}.items():
        body = memoryview(layout.FAILURE_BODY.pack(1, 3, nbytes) + bytes(kept))
        if kept in lengths:
            assert len(layout.payload_of(body)) == min(kept, nbytes, layout.PAYLOAD_NBYTES)
        else:
            with pytest.raises(ValueError, match=f"for a payload of {nbytes}"):
                layout.payload_of(body)


@pytest.mark.parametrize(
    ("struct_name", "packed"),
    [
        ("vf_event_head", layout.HEAD),
        ("vf_event", layout.EVENT),
        ("vf_event_left_out", layout.LEFT_OUT_BODY),
        ("vf_event_about", layout.NAME_BODY),
        ("vf_event_sent", layout.SENT_BODY),
        ("vf_event_ended", layout.ENDED_BODY),
        ("vf_event_failure", layout.FAILURE_BODY),
        ("vf_event_lost", layout.LOST_BODY),
        ("vf_event_remade", layout.REMADE_BODY),
        ("vf_event_cached", layout.CACHED_BODY),
    ],
)
def test_records(struct_name, packed):
    letters = "".join(letter for letter, _ in members(struct_name))
    assert struct.calcsize(f"@{letters}") == packed.size  # the compiler leaves no gaps
    assert letters == packed.format.lstrip("=")


def test_calls():
    numpy_letters = {"u8": "Q", "u4": "I", "u1": "B"}
    of_python = [(numpy_letters[layout.CALL[name].str[1:]], name) for name in layout.CALL.names]
    assert members("vf_event_call") == of_python and layout.CALL.itemsize % 8 == 0
