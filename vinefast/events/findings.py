"""What an audit has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

RULES: dict[str, str] = {
    "ends-once": "a call ends exactly once",
    "not-after-end": "a call is not sent after its end, but to make what was lost again",
    "one-bundle": "one bundle at a time has a call",
    "result-of-bundle": "a result belongs to a call of a bundle that was sent to the worker it comes from",
    "worker-there": "a worker has bundles and files between its coming and its leaving, and not else",
    "times-forward": "times go forwards",
    "counters-agree": "the counters agree with the records, and with the executor's books",
    "callbacks-once": "each future is done, and its callbacks have run once",
    "nothing-left": "after the end nothing is left: no call, bundle, process or file that was made for the run",
}
"""Name of each rule, and what it says."""

# Of each rule; what is behind that is counted.
_KEPT = 20


@dataclass(frozen=True)
class Breach:
    """What breaks a rule.

    Attributes
    ----------
    rule : str
        Its name, of `RULES`.
    call : int or None
        The executor's number of the call; None: it is of none.
    text : str
        What has happened.
    """

    rule: str
    call: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" if self.call is None else f"{self.rule}: call {self.call} {self.text}"


@dataclass
class Findings:
    """What an audit has found.

    Attributes
    ----------
    state : str
        ``ended``; ``killed``: the program has ended without shutting the executor down; or ``running``.
    calls, ended, unfinished : int
        Calls that are known; those that have ended; and the others, which were cut off by the end, or go on.
    counts : dict of str to int
        How often each rule is broken.
    breaches : list of Breach
        The first ones of each rule.
    unknown : list of str
        What could not be told, and why.
    """

    state: str = "killed"
    calls: int = 0
    ended: int = 0
    unfinished: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``failed``, ``unknown``: no breach is found, but not all could be told; or ``passed``."""
        return "failed" if self.counts else "unknown" if self.unknown else "passed"

    def add(self, rule: str, call: int | None, text: str) -> None:
        """Note a breach."""
        n = self.counts[rule] = self.counts.get(rule, 0) + 1
        if n <= _KEPT:
            self.breaches.append(Breach(rule, call, text))

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return {"verdict": self.verdict, **asdict(self)}
