"""Training from a shell: what a build does, on this machine."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import click

from cli.circuits import CIRCUIT
from cli.context import At
from scripts.fleet_api import LOOPBACK
from shared.domain.values import split_circuit


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

    On Azure a build trains, from a merged pull request: this says which files to change for it.
    """
    if bool(circuits) + bool(changed) + everything != 1:
        raise click.UsageError("name circuits, or give --changed COMMIT, or --all: one of the three")
    if urlsplit(at.api.url).hostname not in LOOPBACK:
        raise click.UsageError(_by_pull_request(at.api.url, circuits, changed))
    which = ["--changed", changed] if changed else ["--circuits", "all" if everything else ",".join(circuits)]
    command = [sys.executable, "-m", "local.train", *which]
    if dry_run:
        click.echo(f"would run {' '.join(command)}")
        return
    raise click.exceptions.Exit(subprocess.run(command, check=False).returncode)


def _by_pull_request(url: str, circuits: tuple[str, ...], changed: str | None) -> str:
    """What to do where no training is started by hand: nothing is trained there that nobody reviewed."""
    files = [f"config/plants/{'/'.join(split_circuit(circuit))}.yml" for circuit in circuits]
    first = (
        "push your branch" if changed else f"move training.cutoff_date in {', '.join(files) or 'config/plants/*/*.yml'}"
    )
    return (
        f"{url} is not on this machine: there the pipeline `build` trains, from a merged pull request. So {first},"
        " open a pull request and merge it: the pipeline starts by itself and trains what it changed. To train the last"
        " merge once more: az pipelines run --name build --branch main"
    )


COMMANDS = (train,)
