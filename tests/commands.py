"""Commands as documents and pipelines write them, held against what the commands themselves explain."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = re.compile(r"(?:python )?(?:scripts|monitoring)/[\w.]+|\./fleet\b|make\b|python -m (?:etl|local|ml)\.\w+")
"""How a line begins that runs something of this repository."""


def problems(command: str) -> list[str]:
    """What is wrong with a command: no such script, target or subcommand, or an option that it does not explain."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words[0] == "make":
        return [f"make has no target {word}" for word in words[1:] if "=" not in word and word not in make_targets()]
    program, rest = _program(words)
    said = _subcommand(program, rest)
    try:
        explained = help_of(*program, *said)
    except NotExplained as problem:
        return [str(problem)]
    options = [word.partition("=")[0] for word in rest if re.match(r"--\w", word)]
    return [
        f"{' '.join([*program, *said])} does not explain {option}"
        for option in options
        if not re.search(rf"(^|[\s,\[(/]){re.escape(option)}\b", explained)
    ]


class NotExplained(Exception):
    """The command is not there, cannot be run, or does not explain itself."""


@cache
def help_of(*program: str) -> str:
    """What a command says of itself. Raises NotExplained."""
    first, *rest = program
    if first != sys.executable:
        file = ROOT / first
        if not file.is_file() or not os.access(file, os.X_OK):
            raise NotExplained(f"{first} is not there, or cannot be run")
        first = str(file)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
    done = subprocess.run(
        [first, *rest, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode or "usage" not in done.stdout.lower():
        raise NotExplained(f"{' '.join(program)} --help: {done.stderr.strip() or 'it does not say how it is used'}")
    return done.stdout


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _program(words: list[str]) -> tuple[list[str], list[str]]:
    """What is run, and with what: `python` is this one."""
    if words[:2] == ["python", "-m"]:
        return [sys.executable, "-m", words[2]], words[3:]
    if words[0] == "python":
        return [words[1]], words[2:]
    return [words[0].removeprefix("./")], words[1:]


def _subcommand(program: list[str], rest: list[str]) -> list[str]:
    """The words that choose a part of the command which explains itself: `environments show`."""
    chosen: list[str] = []
    for word in rest:
        if not re.fullmatch(r"[a-z][a-z-]+", word):
            break
        try:
            known = help_of(*program, *chosen)
        except NotExplained:
            break
        if not re.search(rf"(^|[\s{{,|\[]){re.escape(word)}([\s}},|\]]|$)", known):
            break
        if help_of_or_none(*program, *chosen, word) is None:
            break
        chosen.append(word)
    return chosen


def help_of_or_none(*program: str) -> str | None:
    try:
        return help_of(*program)
    except NotExplained:
        return None
