"""Commands that documents show: programs, subcommands, options and extras are there."""

import re
import shlex
import subprocess

import pytest

from tests.helpers.markdown import PAGES, ROOT, blocks_of
from vinefast.cli import main
from vinefast.workers.programs import find_program

# What a reader's machine has, or a batch system's, and the words of a shell.
OTHERS = {
    *("cd", "python", "python3", ".", "pip", "make", "ssh", "scp", "head", "sh", "wait", "until", "awk", "git"),
    *("srun", "sbatch", "kubectl", "parsl-perf", "scripts/install-taskvine"),
}
WORKER = "worker"
OPTION = re.compile(r"--?[a-zA-Z][\w-]*")


def lines_of(text):
    """Give the commands of a page's blocks, without comments and prompts."""
    for block in blocks_of(text):
        if block.language in ("sh", "console"):
            for line in block.code.splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words:
                    yield words


def spans_of(text):
    """Give what spans of code, beside the blocks, have of ours."""
    for span in re.findall(r"`((?:vinefast|pip) [^`]+)`", text):
        yield span.replace("\n", " ").split()


def commands_of(words):
    """Give each command of ours in a line, wherever it begins: behind srun, say."""
    for place, word in enumerate(words):
        if word == "vinefast" and place + 1 < len(words) and (place == 0 or words[place - 1] != "generic"):
            yield words[place + 1 :]
        elif " " in word and word.find("vinefast ") >= 0:
            yield from commands_of(word.split())


def options_of_worker():
    said = subprocess.run([find_program("vine_worker"), "--help"], capture_output=True, text=True, timeout=30)
    return set(OPTION.findall(said.stdout + said.stderr))


def what_is_wrong(command, worker_options):
    """Say what of a command of ours is not there."""
    name, *arguments = command
    if name.startswith("-") or name.isupper():
        return []
    known = main.commands.get(name)
    if known is None:
        return [name]
    options = {option for parameter in known.params for option in getattr(parameter, "opts", ())} | {"--help"}
    if name == WORKER:
        options |= worker_options
    used = [argument.partition("=")[0] for argument in arguments if OPTION.match(argument)]
    return [option for option in used if option not in options]


@pytest.fixture(scope="module")
def worker_options():
    return options_of_worker()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_ours_are_there(page, worker_options):
    text = page.read_text(encoding="utf-8")
    commands = [command for words in (*lines_of(text), *spans_of(text)) for command in commands_of(words)]
    assert {" ".join(command): wrong for command in commands if (wrong := what_is_wrong(command, worker_options))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_commands_are_known(page):
    firsts = {words[0] for words in lines_of(page.read_text(encoding="utf-8"))}
    unknown = {first for first in firsts - OTHERS - {"vinefast"} if not re.match(r"\w+=", first)}
    assert {first for first in unknown if not first.startswith(".venv/bin/")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pip_is_told_of_the_clone_or_of_an_extra(page):
    text = page.read_text(encoding="utf-8")
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().split("optional-dep")[1], re.M))
    for words in (*lines_of(text), *spans_of(text)):
        if words[:2] == ["pip", "install"]:
            (what,) = words[2:]
            extra = re.fullmatch(r"vinefast\[(\w+)\]", what.strip("'"))
            assert what == "." or (extra and extra[1] in extras), words


def test_what_is_wrong_is_found():
    assert what_is_wrong(["status", "--json"], set()) == []
    assert what_is_wrong(["status", "--jsonn"], set()) == ["--jsonn"]
    assert what_is_wrong(["stat"], set()) == ["stat"]
    assert what_is_wrong(["worker", "runinfo/000", "--cores", "1"], {"--cores"}) == []
    assert what_is_wrong(["worker", "runinfo/000", "--core", "1"], {"--cores"}) == ["--core"]
    assert list(commands_of(shlex.split("srun -n1 vinefast why --call 3"))) == [["why", "--call", "3"]]
