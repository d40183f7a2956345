"""Releases and circuits over HTTP: lists, one, and everything that happened to it."""

from __future__ import annotations

from functions.answers import Circuits, CircuitShown, History, Releases, ReleasesOfCircuit
from functions.endpoints import Endpoints, found
from functions.http import NotFound
from functions.parameters import CircuitId, LongPage, Page, ReleaseId
from shared.domain.machine import Kind
from shared.domain.release import RELEASE, Release
from shared.wiring import wired

bp = Endpoints()


@bp.get("circuits")
def list_circuits(page: Page) -> Circuits:
    """Circuits with what serves and what is under way, by key."""
    listing = wired().queries.circuits(page.size, page.continuation)
    return Circuits.model_validate({"circuits": listing.entries, "continuation": listing.continuation})


@bp.get("circuits/{circuit}")
def show_circuit(circuit: CircuitId) -> CircuitShown:
    """What serves, what is open and who owns what, of one circuit."""
    return CircuitShown.model_validate(
        found(wired().queries.circuit(circuit), "release or reading of circuit", circuit)
    )


@bp.get("circuits/{circuit}/releases")
def list_releases_of_circuit(circuit: CircuitId, page: Page) -> ReleasesOfCircuit:
    """A circuit's releases, open and ended, newest version first."""
    listing = wired().queries.releases_page(circuit, page.size, page.continuation)
    if not listing.entries and circuit not in wired().application.directory.circuits():
        raise NotFound(f"there is no circuit {circuit!r}")
    return ReleasesOfCircuit.model_validate({"releases": listing.entries, "continuation": listing.continuation})


@bp.get("releases")
def list_releases(page: Page) -> Releases:
    """Releases under way (first page only), then those that have ended, newest first."""
    under_way = [] if page.continuation else wired().queries.open_releases()
    ended = wired().queries.ended_releases(page.size, page.continuation)
    return Releases.model_validate({"open": under_way, "ended": ended.entries, "continuation": ended.continuation})


@bp.get("releases/{release}")
def show_release(release: ReleaseId) -> Release:
    """One release: where it stands, its model, its test, its gates and what was answered."""
    return Release.model_validate(found(wired().queries.release(release), "release", release))


@bp.get("releases/{release}/history")
def show_history(release: ReleaseId, page: LongPage) -> History:
    """Everything that happened to a release, in order."""
    return history_of(release.partition(":")[0], RELEASE, release, f"release {release!r}", page)


def history_of(root: str, kind: Kind, item: str, name: str, page: LongPage) -> History:
    """A page of an item's history; raises NotFound for an item to which nothing ever happened."""
    listing = wired().queries.history_page(root, kind, item, page.size, page.continuation)
    if not listing.entries:
        raise NotFound(f"there is no {name}")
    return History.model_validate({"history": listing.entries, "continuation": listing.continuation})
