"""Handlers of proposals: a change to the configuration is opened, and looked at until people have decided."""

from __future__ import annotations

from datetime import date

import yaml

from shared.domain import messages as m
from shared.domain.proposals import messages as p
from shared.domain.values import ChangeState, split_circuit
from shared.errors import Permanent
from shared.handlers import Handling, expect_wanted, handles
from shared.ports import ConfigRepository, FileChange
from shared.yaml_edit import with_value

CUTOFF = ("training", "cutoff_date")


@handles(p.OpenChange)
def open_change(command: p.OpenChange, at: Handling) -> m.Event:
    expect_wanted(command, at)
    plant, circuit = split_circuit(command.root)
    change = FileChange(
        path=f"plants/{plant}/{circuit}.yml",
        edit=lambda text: moved_cutoff(text, command.cutoff),
        title=f"Train {command.root} on readings up to {command.cutoff}",
        text=command.analysis,
    )
    opened = _repository(command, at).open_change(command.id, change)
    return p.ChangeOpened.of(command, reference=opened.reference, at=opened.at)


@handles(p.LookAtChange)
def look_at_change(command: p.LookAtChange, at: Handling) -> m.Event:
    expect_wanted(command, at)
    match _repository(command, at).look(command.change):
        case ChangeState.OPEN:
            return p.ChangeStillOpen.of(command, looks=command.looks)
        case ChangeState.MERGED:
            return p.ChangeMerged.of(command)
    return p.ChangeAbandoned.of(command)


def moved_cutoff(text: str, cutoff: date) -> str:
    """A circuit's file with its cutoff date moved forward; raises Permanent where it is as late already."""
    edited = with_value(text, CUTOFF, cutoff.isoformat())
    present = (yaml.safe_load(text).get(CUTOFF[0]) or {}).get(CUTOFF[1])
    if isinstance(present, date) and present > cutoff:
        raise Permanent(f"the file says {present} already, which is later than {cutoff}: there is nothing to propose")
    return edited


def _repository(command: m.Command, at: Handling) -> ConfigRepository:
    if at.ports.config_repository is None:
        raise Permanent(
            f"no repository is set for changes to the configuration (CONFIG_REPOSITORY): change training.cutoff_date of"
            f" {command.root} yourself, or set one and replay this"
        )
    return at.ports.config_repository
