"""Types of C functions and structures, from the debugging information (DWARF) of an object file, where it has any."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

_ENTRY = re.compile(r"^ <(\w+)><(\w+)>: Abbrev Number: \d+ \(DW_TAG_(\w+)\)")
_ATTRIBUTE = re.compile(r"^\s+<\w+>\s+DW_AT_(\w+)\s*: (?:\(.*?\): )?(.*?)\s*$")
# What makes no difference to a caller.
_TRANSPARENT = {"typedef", "volatile_type", "restrict_type"}


@dataclass
class _Entry:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Entry] = field(default_factory=list)


class DebugInfo:
    """What one object file says of its types.

    Attributes
    ----------
    functions : dict
        Signatures of the functions that it defines, and of its variables that are pointers to functions, by name.
    layouts : dict
        Offset and type of each member of its structures, by name.
    """

    def __init__(self, readelf: str, path: Path | str) -> None:
        command = [readelf, "--debug-dump=info", path]
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
        self._entries: dict[int, _Entry] = {}
        self._read(run.stdout)
        self.functions: dict[str, str] = {}
        self.layouts: dict[str, list[str]] = {}
        for entry in self._entries.values():
            name = entry.attributes.get("name", "")
            if entry.tag == "subprogram" and "low_pc" in entry.attributes:
                self.functions[name] = self._signature(entry)
            elif entry.tag == "variable" and "type" in entry.attributes:
                target = self._type(self._type(entry))
                if target is not None and target.tag == "subroutine_type":
                    self.functions[name] = self._signature(target)
            elif entry.tag == "structure_type" and entry.children:
                self.layouts[name] = [
                    f"{member.attributes.get('data_member_location', 0)} {self._describe(self._type(member))}"
                    for member in entry.children
                ]

    def _read(self, text: str) -> None:
        parents: list[_Entry] = []
        for line in text.splitlines():
            if head := _ENTRY.match(line):
                entry = _Entry(head[3])
                depth = int(head[1])
                del parents[depth:]
                if parents:
                    parents[-1].children.append(entry)
                parents.append(entry)
                self._entries[int(head[2], 16)] = entry
            elif parents and (attribute := _ATTRIBUTE.match(line)):
                parents[-1].attributes[attribute[1]] = attribute[2]

    def _type(self, entry: _Entry | None) -> _Entry | None:
        reference = entry.attributes.get("type") if entry is not None else None
        return self._entries[int(reference.strip("<>"), 16)] if reference else None

    def _signature(self, function: _Entry) -> str:
        parameters = [
            self._describe(self._type(child)) if child.tag == "formal_parameter" else "..."
            for child in function.children
            if child.tag in ("formal_parameter", "unspecified_parameters")
        ]
        return f"{self._describe(self._type(function))} ({', '.join(parameters) or 'void'})"

    def _describe(self, entry: _Entry | None) -> str:
        if entry is None:
            return "void"
        if entry.tag in _TRANSPARENT:
            return self._describe(self._type(entry))
        if entry.tag == "const_type":
            return f"const {self._describe(self._type(entry))}"
        if entry.tag == "pointer_type":
            return f"{self._describe(self._type(entry))} *".replace("* *", "**")
        if entry.tag == "enumeration_type":
            return "int"
        name = entry.attributes.get("name", "...")
        return f"struct {name}" if entry.tag == "structure_type" else name
