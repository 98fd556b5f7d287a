"""In what executors disagree that may not."""

from tests.differential.differences import SAME, Absent, Apart, difference_of

_MAX_NCHARS = 1500
# How a step has ended, apart from how often it was tried.
_END = ("class", "raised", "value", "stdout", "stderr")


def disagreements(program, told):
    """Give a line for each; `told`: what `Run.told` gives, by label."""
    found = []
    for i, step in enumerate(program.steps):
        difference = difference_of(step)
        ends = {label: steps[i] for label, (steps, _) in told.items()}
        found += _unequal(f"step {i}", {label: _parted(end)[1] for label, end in ends.items()})
        if difference:
            found += [f"step {i}: {text}" for text in _wrong(difference, ends)]
            ends = {label: end for label, end in ends.items() if difference.ends[label] == SAME}
        found += _unequal(f"step {i}", {label: _parted(end)[0] for label, end in ends.items()})
    return found + _unequal("files", {label: files for label, (_, files) in told.items()})


def _wrong(difference, ends):
    """Give a line for each executor on which a step has not ended with the class that its row names."""
    named = {
        label: end for label, end in difference.ends.items() if end != SAME and not isinstance(end, Apart | Absent)
    }
    return [
        f"{label} is to end with {name}: {ends[label]}"
        for label, name in named.items()
        if label in ends and ends[label].get("class") != name
    ]


def _parted(end):
    """Give how a step has ended, and the rest."""
    parts = {}, {}
    for name, value in end.items():
        parts[name not in _END][name] = value
    return parts


def _unequal(what, ends):
    names = sorted({name for end in ends.values() for name in end})
    return [
        f"{what}, {name}: " + "; ".join(f"{label}: {str(end.get(name))[:_MAX_NCHARS]}" for label, end in ends.items())
        for name in names
        if len({repr(end.get(name)) for end in ends.values()}) > 1
    ]
