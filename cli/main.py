"""`fleet`: the group of all commands, who calls, and what a command's end means to a script."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class

from cli import approvals, circuits, doctor, environments, monitoring, operations, scoring, status, training
from cli.context import At, Command, Group
from scripts.fleet_api import DEFAULT_URL, ApiProblem, FleetApi

DONE, REFUSED, WRONG_USE, NOT_PERMITTED, NO_ANSWER, NOT_IN_TIME, NOT_COUNTED = range(7)
EXIT_CODES = {
    DONE: "done, or shown",
    REFUSED: "refused, not found, or ended badly; with doctor: something is wrong",
    WRONG_USE: "wrong use: an option or a value that is not acceptable",
    NOT_PERMITTED: "not signed in, or not permitted",
    NO_ANSWER: "the app does not answer, or is broken",
    NOT_IN_TIME: "--wait is over, and it goes on",
    NOT_COUNTED: "recorded, but an approval does not count",
}
INTERRUPTED = 130
EPILOG = "Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + "."


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.option("--url", envvar="FLEET_URL", default=DEFAULT_URL, show_default=True, help="Where the app is (FLEET_URL).")
@click.option("--as", "user", envvar="FLEET_USER", help="Who you are at the embedded issuer (FLEET_USER).")
@click.pass_context
def fleet(ctx: click.Context, url: str, user: str | None) -> None:
    """Releases, scoring and monitoring of the fleet's models, from a shell.

    You are signed in with FLEET_TOKEN, or with Azure CLI (az login), or at the embedded issuer as --as says.
    """
    environment = {**os.environ, "FLEET_URL": url, "FLEET_USER": user or ""}
    ctx.obj = At(FleetApi(environment))


@fleet.command(cls=click.Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete fleet's commands and options: eval "$(fleet completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(fleet, {}, "fleet", "_FLEET_COMPLETE").source())


@fleet.command(cls=click.Command)
@click.pass_obj
def token(at: At) -> None:
    """Print your access token, for another program or the page at /api/docs. It is worth a password for an hour."""
    click.echo(at.api.token())


for module in (status, approvals, circuits, scoring, monitoring, training, environments, operations, doctor):
    for command in module.COMMANDS:
        fleet.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        code = fleet.main(arguments, prog_name="fleet", standalone_mode=False)
    except ApiProblem as problem:
        At(FleetApi({})).screen.complain(str(problem))
        return exit_code(problem.status)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    return code if isinstance(code, int) else DONE


def exit_code(status: int) -> int:
    """What a problem's status means to a script."""
    if status in (400, 413, 415, 422):
        return WRONG_USE
    if status in (401, 403):
        return NOT_PERMITTED
    return NO_ANSWER if status == 0 or status >= 500 else REFUSED


__all__ = ["EXIT_CODES", "Command", "exit_code", "fleet", "main"]

if __name__ == "__main__":
    sys.exit(main())
