"""``vinefast why``: what happened to a call, or to all that failed."""

from __future__ import annotations

import json
import os

import click
from rich.console import Console
from rich.table import Table

from vinefast.cli.newest import complete_run, newest_run
from vinefast.display.text import moment, one_line, verbatim
from vinefast.errors import EventLogError
from vinefast.events.run import Run, find_all
from vinefast.events.state import state_of
from vinefast.events.story import FailureGroup, Stories, Story

_DETAIL_LINES = 40
_NUMBERS = 12


@click.command()
@click.argument("what", metavar="[RUN_DIR] [TASK]", nargs=-1, shell_complete=complete_run)
@click.option("--call", "is_call", is_flag=True, help="TASK is the executor's number of a call, not Parsl's of a task.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(what: tuple[str, ...], is_call: bool, as_json: bool) -> None:
    """Tell why calls failed, or what happened to one.

    RUN_DIR is the directory of a run, such as runinfo/000, or an executor's in it; without it, the newest one in
    ./runinfo. TASK is the number that Parsl gives in its messages ("Task 309 failed"); where Parsl keeps no log, and
    with --call, it is the number that the executor has given the call: future.parsl_executor_task_id. Without it, all
    calls that failed are shown, grouped by reason; each try that Parsl makes of a task is a call of its own.
    """
    directory, task = _arguments(what)
    try:
        runs = [Run(path) for path in find_all(directory)]
        for run in runs:
            run.update()
    except EventLogError as error:
        raise click.ClickException(str(error)) from None
    if task is None:
        _print_groups({_label(run): run for run in runs}, as_json)
        return
    stories = [story for run in runs for story in _stories(run, task, is_call)]
    if not stories:
        raise click.ClickException(
            f"Nothing is known of {'call' if is_call else 'task'} {task} in {directory}: it waits, or the run ended "
            "before a worker had it, it was not given to an executor of vinefast's, or its records have made room for "
            "later ones"
        )
    if as_json:
        click.echo(json.dumps([story.as_dict() for story in stories], indent=2))
        return
    console = Console()
    for story in stories:
        _print_story(console, story)


def _arguments(what: tuple[str, ...]) -> tuple[str, int | None]:
    if len(what) > 2:
        raise click.UsageError("one RUN_DIR and one TASK, at the most")
    if len(what) == 2 and os.path.exists(what[0]) and what[1].isdecimal():
        return what[0], int(what[1])  # also where there is a directory of that name
    directories = [text for text in what if os.path.exists(text)]
    numbers = [text for text in what if text not in directories]
    if len(directories) > 1 or len(numbers) > 1 or any(not text.isdecimal() for text in numbers):
        missing = next((text for text in numbers if not text.isdecimal()), what[-1])
        raise click.UsageError(f"there is no directory {missing!r}, and it is no number of a task")
    return directories[0] if directories else newest_run(), int(numbers[0]) if numbers else None


def _stories(run: Run, task: int, is_call: bool) -> list[Story]:
    stories = Stories(run)
    tries = {} if is_call else stories.tries_of_parsl()
    numbers = [number for number, (of, _) in tries.items() if of == task] if tries else [task]
    found = [stories.of(number) for number in numbers]
    return [story for story in found if story is not None]


def _label(run: Run) -> str:
    return str(run.about.get("label") or os.path.basename(os.path.dirname(os.path.abspath(run.path))))


def _print_groups(runs: dict[str, Run], as_json: bool) -> None:
    groups = {label: Stories(run).failed() for label, run in runs.items()}
    if as_json:
        found = {label: [group.as_dict() for group in of_one] for label, of_one in groups.items()}
        click.echo(json.dumps(found, indent=2))
        return
    console = Console()
    for label, of_one in groups.items():
        n_failed = sum(len(group.numbers) for group in of_one)
        tasks = {task for group in of_one for task in group.tasks}
        of_tasks = f", which were tries of {_count(len(tasks), 'task')} of Parsl's" if tasks else ""
        run = runs[label]
        text = f"{one_line(label)}: {n_failed:,} of {_count(len(run.calls), 'call')} that ended failed{of_tasks}"
        console.print(verbatim(text, "bold"))
        directory = os.path.dirname(run.path)
        state = state_of(run, directory)
        if n_open := state.waiting + state.running:
            have = f"{_count(n_open, 'call')} {'has' if n_open == 1 else 'have'}"
            console.print(verbatim(f"{have} not ended: see vinefast status {directory}"), soft_wrap=True)
        for lack in state.lacks:
            console.print(verbatim(f"event log: {lack}"), soft_wrap=True)
        for group in of_one:
            _print_group(console, group)


def _print_group(console: Console, group: FailureGroup) -> None:
    # No title of the table, which would be as narrow as that.
    console.print(verbatim(f"\n{len(group.numbers):,} x {one_line(group.name)}", "bold"))
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    if group.tasks:
        table.add_row(_numbers("task", group.tasks), verbatim(_some(group.tasks)))
    table.add_row(_numbers("call", group.numbers), verbatim(_some(group.numbers)))
    table.add_row("functions", verbatim(_counted(group.functions)))
    table.add_row("hosts", verbatim(_counted(group.hosts)))
    console.print(table)
    console.print("for example")
    _print_story(console, group.example, with_log=False)


def _numbers(name: str, numbers: list[int]) -> str:
    # "tasks 10000" would be read as that many.
    return f"{name} number{'s' * (len(numbers) != 1)}"


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:_NUMBERS])) + (", ..." if len(numbers) > _NUMBERS else "")


def _count(n: int, name: str) -> str:
    return f"{n:,} {name}{'s' * (n != 1)}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def _print_story(console: Console, story: Story, with_log: bool = True) -> None:
    name = f"call {story.number}"
    if story.task is not None:
        name = f"task {story.task}, try {story.attempt} ({name})"
    console.print(verbatim(f"{name}: {story.outcome}"))
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    companions = f", with {_count(story.companions, 'other call')}" if story.companions else ""
    rows = [
        ("function", story.function),
        ("waited", _seconds(story.waited_s)),
        ("sent", _moment(story.sent_s) + companions),
        ("ended", _moment(story.returned_s)),
        ("ran for", _seconds(story.ran_s)),
        ("worker", " on ".join(filter(None, (story.worker, story.host)))),
        ("slot", "" if story.slot is None else f"{story.slot} of the library with process {story.pid}"),
    ]
    rows += [
        ("tried", f"until {_moment(each.at_s)}, worker {each.worker or '?'}: {each.reason}") for each in story.tries
    ]
    if story.reason is not None:
        rows.append(("because", ": ".join(filter(None, (story.reason.name, story.reason.message)))))
        if story.reason.peak_nbytes:
            rows.append(("memory", f"its process had {story.reason.peak_nbytes / 1e6:,.0f} MB at the most"))
    for name, text in rows:
        if text:
            table.add_row(name, verbatim(text))
    console.print(table)
    if story.reason is not None and story.reason.detail.strip():
        _print_lines(console, "traceback, stack or last output", _end_of(story.reason.detail))
    if story.output.strip():
        _print_lines(console, "end of its output", story.output.rstrip())
    if story.log and with_log:
        _print_lines(console, "TaskVine's log of its bundle", "\n".join(story.log))


def _print_lines(console: Console, title: str, text: str) -> None:
    # Each line whole, for grep and for those who copy it: a frame would break it at the terminal's width.
    console.rule(verbatim(title), align="left")
    console.print(verbatim(text), soft_wrap=True)


def _end_of(text: str) -> str:
    lines = text.rstrip().splitlines()
    return "\n".join(lines if len(lines) <= _DETAIL_LINES else ["...", *lines[-_DETAIL_LINES:]])


def _moment(at_s: float | None) -> str:
    return "" if at_s is None else moment(at_s)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.6f} s"
