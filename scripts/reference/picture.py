"""The picture in the README: a release's way to production, who acts in each phase, and how else it can end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from scripts.reference.markdown import mermaid
from scripts.reference.transitions import edges, node
from shared.domain.machine import Kind
from shared.domain.release import AWAITING, OPERATING, RELEASE, Phase

ROWS = {
    Phase.REGISTERED: "registry",
    Phase.DEPLOYING_TO_TEST: "test workspace",
    Phase.AWAITING_PRODUCTION_APPROVAL: "on the way to production",
    Phase.DEPLOYING_TO_PRODUCTION: "production workspace",
}
"""Where each row of the picture begins."""
END_REASONS = {
    Phase.REJECTED: "a person said no",
    Phase.EXPIRED: "nobody answered in time",
    Phase.FAILED: "a check said no",
    Phase.ERRORED: "machinery broke",
    Phase.CANCELLED: "a person took it back",
    Phase.SUPERSEDED: "a newer version came",
    Phase.CANCELLED: "taken back on the way",
    Phase.ROLLED_BACK: "taken out of production",
}
COLOURS = {
    "people": "fill:#fff3c4,stroke:#9a6700,color:#24292f",
    "platform": "fill:#ddf4ff,stroke:#0969da,color:#24292f",
    "app": "fill:#eaeef2,stroke:#57606a,color:#24292f",
    "good": "fill:#dafbe1,stroke:#1a7f37,color:#24292f",
    "bad": "fill:#ffebe9,stroke:#cf222e,color:#24292f",
    "frame": "fill:none,stroke:#8c959f",
}


def write(kind: Kind = RELEASE) -> str:
    """The picture, as the README holds it."""
    return "\n\n".join(
        [
            mermaid(_flowchart(kind)),
            "Yellow: people decide. Blue: the model platform works, and the app looks. Grey: the app waits. Drawn from"
            " the release's transition table; [all transitions](docs/reference/transitions.md).",
        ]
    )


def _flowchart(kind: Kind) -> Iterator[str]:
    arrows = edges(kind.table)
    phases_of_table = [phase for phase in Phase if phase in kind.phases()]
    rows = _rows([phase for phase in phases_of_table if phase not in kind.ends or phase == Phase.LIVE])
    row_of = {phase: row for row, phases in rows.items() for phase in phases}
    yield "flowchart TB"
    yield f'    training(["training"]) -->|{"<br/>".join(arrows[None, Phase.REGISTERED])}| {node(next(iter(rows)))}'
    for row, phases in rows.items():
        yield from _frame(row, (f'{node(phase)}["{phase}"]:::{_actor(phase)}' for phase in phases))
        for (before, after), events in arrows.items():
            if before in phases and after in phases:
                yield f"    {node(before)} -->|{'<br/>'.join(events)}| {node(after)}"
    between: dict[tuple[str, str], dict[str, None]] = {}
    for (before, after), events in arrows.items():
        if before in row_of and after in row_of and row_of[before] != row_of[after]:
            between.setdefault((row_of[before], row_of[after]), {}).update(dict.fromkeys(events))
    yield from (f"    {node(one)} -->|{'<br/>'.join(events)}| {node(two)}" for (one, two), events in between.items())
    ends = [phase for phase in phases_of_table if phase in kind.ends and phase != Phase.LIVE]
    yield from _frame("other ends", (f'{node(end)}["{end}:<br/>{END_REASONS[Phase(end)]}"]:::bad' for end in ends))
    yield f"    {' ~~~ '.join(map(node, ends))}"
    yield f"    {node(list(rows)[-1])} ~~~ other_ends"
    yield from (f"    classDef {name} {style}" for name, style in COLOURS.items())
    yield f"    class {','.join(node(row) for row in (*rows, 'other ends'))} frame"


def _frame(title: str, nodes: Iterable[str]) -> Iterator[str]:
    yield f'    subgraph {node(title)}["{title}"]'
    yield "        direction LR"
    yield from (f"        {line}" for line in nodes)
    yield "    end"


def _rows(way: Sequence[str]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    row = ""
    for phase in way:
        row = ROWS.get(Phase(phase), row)
        rows.setdefault(row, []).append(phase)
    return rows


def _actor(phase: str) -> str:
    if phase in AWAITING:
        return "people"
    if phase in OPERATING:
        return "platform"
    return "good" if phase == Phase.LIVE else "app"
