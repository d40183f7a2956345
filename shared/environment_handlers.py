"""Handlers of environment releases: what the dev workspace has, what the fleet serves, and whom an order reaches.

Where the fleet stands is read from the index of circuits, which each circuit's own transactions keep: a few range reads
for the whole fleet, and not a row or a message more for any circuit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import records
from shared.domain import messages as m
from shared.domain.environment import messages as e
from shared.domain.environment.count import count, reached
from shared.domain.environment.release import Phase, Purpose
from shared.domain.update import IN_TEST, Standing
from shared.domain.values import ENVIRONMENT, is_semantic, version_numbers
from shared.handlers import SLICE, SUCCESSES, Handling, NoSlot, expect_wanted, handles, start_in_slot


@handles(e.LookForEnvironments)
def look_for_environments(command: e.LookForEnvironments, at: Handling) -> m.Event | None:
    """AzureML tells of no environment: the newest that is there is told of here, whoever forgot to."""
    versions = list(filter(is_semantic, at.ports.platform.environments()))
    if not versions:
        return None
    return e.EnvironmentRegistered(root=ENVIRONMENT, version=max(versions, key=version_numbers))


@handles(e.DescribeEnvironment)
def describe_environment(command: e.DescribeEnvironment, at: Handling) -> m.Event:
    found = at.ports.platform.describe_environment(command.version)
    if found is None:
        return e.EnvironmentMissing.of(command, looks=command.looks)
    circuits = [summary for summary in fleet(at).values() if summary]
    served = {summary["serving"]["environment"] for summary in circuits if summary["serving"]}
    return e.EnvironmentDescribed.of(
        command,
        tags=dict(found.tags),
        served=tuple(sorted(served, key=version_numbers)),
        candidates=sum(len(summary["releases"]) for summary in circuits),
    )


@handles(e.PreviewEnvironment)
def preview_environment(command: e.PreviewEnvironment, at: Handling) -> m.Event:
    expect_wanted(command, at)
    shown = preview(at, command.version)
    uri = at.ports.documents.write(f"environments/{command.version}/preview.json", shown)
    return e.EnvironmentPreviewed.of(command, preview_uri=uri, touched=len(shown["touched"]), left=len(shown["left"]))


def preview(at: Handling, version: str) -> dict[str, Any]:
    """Which circuits a release of the version would touch, with what they serve; and which it would leave, and why."""
    touched, left = {}, {}
    for circuit, summary in fleet(at).items():
        serving = summary.get("serving") if summary else None
        if serving is None:
            left[circuit] = "nothing serves"
        elif version_numbers(serving["environment"])[0] != version_numbers(version)[0]:
            left[circuit] = f"made for {serving['environment']}, whose MAJOR number is another"
        elif version_numbers(serving["environment"]) >= version_numbers(version):
            left[circuit] = f"serves with {serving['environment']} already"
        else:
            touched[circuit] = serving
    return {"environment": version, "touched": touched, "left": left}


@handles(m.PromoteEnvironment)
def promote_environment(command: m.PromoteEnvironment, at: Handling) -> m.Event:
    """A release of the environment asks for it, and so does each model that came with it: it is imported once."""
    expect_wanted(command, at)
    platform = at.ports.platform
    if platform.environment_is_promoted(command.environment):
        return m.EnvironmentPromoted.of(command, noticed_by=at.noticed_by)
    reference = start_in_slot(
        command, Phase.PROMOTING, at, lambda: platform.start_environment_promotion(command.id, command.environment)
    )
    return m.OperationStarted.of(command, reference=reference, expected={"environment": command.environment})


SUCCESSES[Phase.PROMOTING] = lambda command, status, at: m.EnvironmentPromoted.of(command, noticed_by=at.noticed_by)


@handles(e.CountUpdates)
def count_updates(command: e.CountUpdates, at: Handling) -> m.Event:
    expect_wanted(command, at)
    found = standings(at, command.version)
    counts, pending, troubled = count(found, command.phase, command.cursor, command.canaries, command.order)
    return e.UpdatesCounted.of(command, counts=counts, pending=pending, troubled=troubled, looks=command.looks)


@handles(e.TellFleet)
def tell_fleet(command: e.TellFleet, at: Handling) -> m.Event:
    """The next slice: at most so many circuits as the order still may reach, and as there is room for in test."""
    expect_wanted(command, at)
    standing = standings(at, command.version)
    circuits = reached(standing, command.purpose, command.cursor, command.canaries)
    size = SLICE if command.remaining is None else min(SLICE, command.remaining)
    if command.purpose == Purpose.OFFER and circuits:
        size = min(size, _room(standing, command.cursor, at))
    part, more = circuits[:size], len(circuits) > size
    told = tuple(
        m.encode(
            e.TellCircuit(
                root=circuit,
                item=circuit,
                step=0,
                purpose=command.purpose,
                version=command.version,
                order=command.item,
            )
        )
        for circuit in part
    )
    enough = command.remaining is not None and len(part) >= command.remaining
    outcome = e.LastCircuitsTold if enough or not more else e.CircuitsTold
    return outcome.of(command, commands=told, cursor=part[-1] if part else command.cursor, more=more)


def _room(standing: Mapping[str, Standing | None], cursor: str, at: Handling) -> int:
    """For how many more circuits there is room in test: all slots are busy, and as many circuits come next.

    Raises NoSlot while there are enough. A circuit that waits for a slot asks again and again; an order that waits does
    so for all that come after it.
    """
    slots = at.directory.max_invocations
    in_test = sum(
        each.phase in IN_TEST if each else circuit <= cursor  # it was told, and has not been heard of yet
        for circuit, each in standing.items()
    )
    if in_test > slots:
        raise NoSlot(f"{in_test} circuits are in test, and there are {slots} slots")
    return 2 * slots - in_test


@handles(e.TellCircuit)
def tell_circuit(command: e.TellCircuit, at: Handling) -> m.Event:
    purpose = Purpose(command.purpose)
    told = {"root": command.root, "version": command.version, "order": command.order}
    if purpose in (Purpose.CANARIES, Purpose.WAVE):
        verify = purpose is Purpose.CANARIES or at.directory.rules(ENVIRONMENT).verify_waves
        return e.WaveReached(**told, verify=verify)
    return _TOLD[purpose](**told)


_TOLD: Mapping[Purpose, type[e.ToldOfEnvironment]] = {
    Purpose.OFFER: e.EnvironmentOffered,
    Purpose.UNDO: e.EnvironmentUndone,
    Purpose.CONCLUDE: e.EnvironmentConcluded,
}


def fleet(at: Handling) -> dict[str, Mapping[str, Any] | None]:
    """Each circuit of the configuration with its entry in the index; None while nothing was heard of it."""
    store = at.ports.store
    rows = [row for shard in store.shards for row in store.read_range(shard, *records.CIRCUITS)]
    known = {str(row.body["id"]): row.body for row in rows}
    return {circuit: known.get(circuit) for circuit in at.directory.circuits()}


def standings(at: Handling, version: str) -> dict[str, Standing | None]:
    """Where each circuit's update to the version stands; None for one that has not heard of it."""
    found: dict[str, Standing | None] = {}
    for circuit, summary in fleet(at).items():
        standing = Standing.model_validate(summary["update"]) if summary and summary.get("update") else None
        found[circuit] = standing if standing and standing.version == version else None
    return found
