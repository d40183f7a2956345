"""What every command has: the app, the screen, checked arguments, and changes that can be rehearsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar
from uuid import uuid4

import click

from cli.screen import Screen, facts, spelled
from scripts.fleet_api import FleetApi
from shared.domain.identifiers import REASON, Form

F = TypeVar("F", bound=Callable[..., Any])
KEY = re.compile(r"[A-Za-z0-9._-]{8,64}")
IN_ONE_LINE = 100


@dataclass
class At:
    """Where a command runs: the app, and what its answers are shown on."""

    api: FleetApi
    screen: Screen = field(default_factory=Screen)


class Id(click.ParamType[str]):
    """An id of one form, or of several."""

    def __init__(self, name: str, *forms: Form) -> None:
        self.name = name
        self._forms = forms

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not any(form.fits(text) for form in self._forms):
            examples = " or ".join(form.example for form in self._forms)
            self.fail(f"{text[:IN_ONE_LINE]!r} is no {self.name}: it looks like {examples}", param, ctx)
        return text


class Day(click.ParamType[date]):
    """A UTC date."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
                return date.fromisoformat(value)
        except ValueError:
            pass
        return self.fail(f"{value[:IN_ONE_LINE]!r} is no day: it looks like 2026-01-31", param, ctx)


class Reason(click.ParamType[str]):
    """Why a change is made, in so many characters at least."""

    name = "text"

    def __init__(self, at_least: int = REASON.start) -> None:
        self._taken = range(at_least, REASON.stop)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if len(text) not in self._taken:
            taken = f"{self._taken.start} to {self._taken.stop - 1}"
            self.fail(f"has {len(text)} characters; {taken} are taken", param, ctx)
        return text


class Key(click.ParamType[str]):
    """A change's own name."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not KEY.fullmatch(value):
            self.fail(f"{value[:IN_ONE_LINE]!r}: 8 to 64 of the characters A-Z a-z 0-9 . _ - are taken", param, ctx)
        return str(value)


class Command(click.Command):
    """A command that can answer in JSON."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        text = "Answer in JSON, as the API does."
        self.params.append(click.Option(["--json"], is_flag=True, expose_value=False, callback=_in_json, help=text))


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type


def _in_json(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        ctx.find_object(At).screen.as_json = True  # type: ignore[union-attr]


@dataclass(frozen=True)
class Change:
    """How a change is to be made: rehearsed or not, and under which name."""

    dry_run: bool
    key: str


def changes(function: F) -> F:
    """The options of a command that changes something; the command gets them as `change`."""

    def with_change(*arguments: Any, dry_run: bool, key: str | None, **options: Any) -> Any:
        return function(*arguments, change=Change(dry_run, key or f"fleet-{uuid4().hex}"), **options)

    with_change.__name__, with_change.__doc__ = function.__name__, function.__doc__
    with_change.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    key = click.option("--key", type=Key(), help="The change's own name: sent again within a day, it is made once.")
    dry_run = click.option(
        "--dry-run", is_flag=True, help="Change nothing: show what would be sent, and how it stands."
    )
    return dry_run(key(with_change))  # type: ignore[return-value]


def because(required: bool = True) -> Callable[[F], F]:
    return click.option("--reason", type=Reason(), required=required, help="Why; kept in the history.")


def make(
    at: At, change: Change, path: str, body: Mapping[str, Any], stands: Callable[[], Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Make a change and return the answer; rehearsed, show what would be sent and how things stand, and return None."""
    if not change.dry_run:
        return at.api.post(path, change.key, **body)
    now = stands()
    document = {"dry_run": True, "request": f"POST /api/{path}", "body": dict(body), "now": now}
    said = ((name, spelled(value)) for name, value in body.items())
    shown = facts([("would send", f"POST /api/{path}"), *(line for line in said if line[1])])
    at.screen.show(document, shown, facts([("now", ""), *((name, spelled(value)) for name, value in now.items())]))
    return None


def told(at: At, answer: Mapping[str, Any] | None) -> None:
    """What a change moved, or that it had been made before."""
    if answer is None:
        return
    moved = [
        (line.get("item") or answer.get("release", ""), f"{line['event']}: {line['phase']}")
        for line in answer["recorded"]
    ]
    at.screen.show(answer, facts(moved or [("nothing moved", answer.get("note") or "it was recorded before")]))
