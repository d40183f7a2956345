"""Training from a shell: what a build does, on this machine."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import click

from cli.circuits import CIRCUIT
from cli.context import At
from scripts.fleet_api import LOOPBACK


@click.command()
@click.argument("circuits", metavar="[CIRCUIT]...", nargs=-1, type=CIRCUIT)
@click.option(
    "--changed", metavar="COMMIT", help="Train what the branch has changed since there, instead of named circuits."
)
@click.option("--all", "everything", is_flag=True, help="Train every circuit of the configuration.")
@click.option("--dry-run", is_flag=True, help="Train nothing: say what would be run.")
@click.pass_obj
def train(at: At, circuits: tuple[str, ...], changed: str | None, everything: bool, dry_run: bool) -> None:
    """Train circuits with make up's runtime or one of their own; each model then becomes a release.

    On Azure a build trains, from a merged pull request: run the build pipeline instead.
    """
    if bool(circuits) + bool(changed) + everything != 1:
        raise click.UsageError("name circuits, or give --changed COMMIT, or --all: one of the three")
    if urlsplit(at.api.url).hostname not in LOOPBACK:
        raise click.UsageError(f"{at.api.url} is not on this machine: on Azure a build trains; run the build pipeline")
    which = ["--changed", changed] if changed else ["--circuits", "all" if everything else ",".join(circuits)]
    command = [sys.executable, "-m", "local.train", *which]
    if dry_run:
        click.echo(f"would run {' '.join(command)}")
        return
    raise click.exceptions.Exit(subprocess.run(command, check=False).returncode)


COMMANDS = (train,)
