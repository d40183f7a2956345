"""Handlers of monitoring: what a run is to look at, its job, and telling each circuit what was found.

What serves is read from the index of circuits, which each circuit's own transactions keep. A run's findings are cut
into slices once, so that telling the fleet reads each of them once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from shared.domain import messages as m
from shared.domain.monitoring import FLEET, PURPOSE, MonitoringRun
from shared.domain.monitoring import messages as mm
from shared.domain.values import Monitoring, OperationStatus, Pair, split_circuit, version_numbers
from shared.environment_handlers import fleet
from shared.errors import Permanent
from shared.handlers import SLICE, SUCCESSES, Handling, expect_wanted, handles, remember_job
from shared.ports import LiveModel, MonitoringOrder


@handles(mm.StartMonitoring)
def start_monitoring(command: mm.StartMonitoring, at: Handling) -> m.Event:
    """What is to be looked at is written down once: started again, the job looks at the same."""
    expect_wanted(command, at)
    serving = _serving(at)
    asked = [circuit for circuit in at.directory.circuits() if among(circuit, command.among)]
    if not any(circuit in serving for circuit in asked):
        return mm.NothingServes.of(command)
    path = f"monitoring/{command.item}/request-{command.step}.json"
    request = at.ports.documents.read(path) or at.directory.monitoring_request(_order(command, asked, serving, at))
    uri = at.ports.documents.write(path, request)
    output = at.ports.lake.monitoring_uri(command.item)
    environment = max((pair.environment for pair, _ in serving.values()), key=version_numbers)
    reference = at.ports.monitor.start(command.id, uri, output, environment)
    started = m.OperationStarted.of(command, reference=reference, output_uri=output)
    remember_job(started, PURPOSE, at)
    return started


def among(circuit: str, asked: str) -> bool:
    """Whether a circuit is meant by a plant's name, its own, or none (all are)."""
    return asked in ("", circuit, split_circuit(circuit)[0])


def _serving(at: Handling) -> dict[str, tuple[Pair, Mapping[str, str]]]:
    """What each circuit serves, with the tags that are kept of it."""
    known = {circuit: summary for circuit, summary in fleet(at).items() if summary and summary.get("serving")}
    return {
        circuit: (Pair.model_validate(summary["serving"]), summary["serving_tags"])
        for circuit, summary in known.items()
    }


def _order(
    command: mm.StartMonitoring,
    asked: Collection[str],
    serving: Mapping[str, tuple[Pair, Mapping[str, str]]],
    at: Handling,
) -> MonitoringOrder:
    """The whole fleet lends its past to what is normal; only who was asked about is judged."""
    newest = at.ports.lake.read_commit(None)
    if newest is None:
        raise Permanent(f"there is no table at {at.ports.lake.table_uri}: run the ETL first")
    return MonitoringOrder(
        command_id=command.id,
        monitoring=command.monitoring,
        first=command.period.first,
        last=command.period.last,
        judged=tuple(asked),
        live={circuit: LiveModel(pair.model, tags) for circuit, (pair, tags) in serving.items()},
        table_uri=at.ports.lake.table_uri,
        table_id=newest["table_id"],
        delta_version=newest["version"],
        predictions_uri=at.ports.lake.predictions_uri,
    )


def _monitored(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    """The job's end is believed when its findings can be read; they are kept in slices, each told by one command."""
    run = expect_wanted(command, at)
    assert isinstance(run, MonitoringRun)
    try:
        found = at.ports.lake.read_findings(command.output_uri)
    except Permanent as unreadable:
        return m.OperationFailed.of(command, error=str(unreadable), noticed_by=at.noticed_by)
    circuits = sorted(found.circuits)
    for first in range(0, max(len(circuits), 1), SLICE):
        findings = {c: found.circuits[c].model_dump(mode="json") for c in circuits[first : first + SLICE]}
        following = first + SLICE if first + SLICE < len(circuits) else None
        at.ports.documents.write(slice_path(run.id, first), {"findings": findings, "next": following})
    covered = _covered(run.among, at)
    return mm.MonitoringSucceeded.of(
        command,
        counts=Counter(finding.verdict for finding in found.circuits.values()),
        report=found.report,
        shared=_shared(found.shared, covered),
        covered=covered,
        noticed_by=at.noticed_by,
    )


SUCCESSES[PURPOSE] = _monitored


def _covered(asked: str, at: Handling) -> tuple[str, ...]:
    """The plants that were looked at whole, and the fleet if it was."""
    plants = sorted({split_circuit(circuit)[0] for circuit in at.directory.circuits()})
    return (FLEET, *plants) if not asked else tuple(plant for plant in plants if plant == asked)


def _shared(found: Collection[str], covered: Collection[str]) -> tuple[str, ...]:
    """Who drifted as a whole; where the fleet did, its plants are not told of one by one."""
    shared = tuple(sorted(set(found) & set(covered)))
    return (FLEET,) if FLEET in shared else shared


def slice_path(run: str, first: int) -> str:
    """The document with a slice of a run's findings, which begins with circuit number `first`."""
    return f"monitoring/{run}/findings-{first:06d}.json"


@handles(mm.ReadFindings)
def read_findings(command: mm.ReadFindings, at: Handling) -> m.Event:
    run = expect_wanted(command, at)
    assert isinstance(run, MonitoringRun)
    path = slice_path(run.id, command.cursor)
    read = at.ports.documents.read(path)
    if read is None:
        raise Permanent(f"the findings in {path} are gone: ask for the run again")
    findings = {circuit: mm.Finding.model_validate(found) for circuit, found in read["findings"].items()}
    about = {"monitoring": run.monitoring, "run": run.id, "period": run.period, "step": 0}
    told = tuple(m.encode(mm.TellFinding(root=c, item=c, finding=found, **about)) for c, found in findings.items())
    outcome = mm.LastFindingsRead if read["next"] is None else mm.FindingsRead
    return outcome.of(command, commands=told, next_cursor=read["next"])


@handles(mm.TellFinding)
def tell_finding(command: mm.TellFinding, at: Handling) -> m.Event:
    judged = _JUDGED[command.monitoring]
    return judged(root=command.root, run=command.run, period=command.period, finding=command.finding)


_JUDGED: Mapping[Monitoring, type[mm.CircuitJudged]] = {
    Monitoring.PERFORMANCE: mm.PerformanceJudged,
    Monitoring.DRIFT: mm.DriftJudged,
    Monitoring.WARNING: mm.DriftWarningJudged,
}
