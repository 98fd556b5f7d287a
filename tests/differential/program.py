"""What a generated program is: steps, each a call of an app."""

from dataclasses import MISSING, dataclass, field, fields


@dataclass(frozen=True)
class Ref:
    """The future of an earlier step, or, as a file, what it is to write."""

    step: int
    file: bool = False


@dataclass(frozen=True)
class Value:
    """One of `values.RESULTS`."""

    name: str


@dataclass(frozen=True)
class Step:
    """One call of an app; with `wait`, when all earlier ones have ended. `asks` is for vinefast alone."""

    app: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    kind: str = "python"
    wait: bool = False
    asks: dict = field(default_factory=dict)

    def __repr__(self):
        usual = {each.name: each.default if each.default is not MISSING else {} for each in fields(self)[2:]}
        said = [f"{name}={value!r}" for name, value in vars(self).items() if name in usual and value != usual[name]]
        return f"Step({', '.join([repr(self.app), repr(self.args), *said])})"


@dataclass(frozen=True)
class Program:
    """Steps, submitted one after the other."""

    steps: tuple[Step, ...]

    def __repr__(self):
        return "Program((\n" + "".join(f"    {step!r},\n" for step in self.steps) + "))"
