"""Environment releases over HTTP: what is under way, whom it touches, how far the fleet is; what people order."""

from __future__ import annotations

from functions.answers import Environments, EnvironmentShown, History, Preview, Recorded
from functions.endpoints import Answered, Endpoints, found, recorded
from functions.http import NotFound
from functions.orders import OrderBody
from functions.parameters import EnvironmentVersion, LongPage, Operator, Page, RequestId
from functions.releases import history_of
from shared.domain.environment import ROOT, environment_release_id
from shared.domain.environment import messages as e
from shared.domain.environment.release import ENVIRONMENT_RELEASE
from shared.domain.messages import Person, RestartRequested
from shared.domain.values import is_semantic, version_numbers
from shared.wiring import wired

bp = Endpoints()
SHOWN = 10
"""Versions that a refusal names; the newest ones."""
Ordered = type[e.HaltOrdered | e.WavesResumed | e.EnvironmentRollbackOrdered]


@bp.get("environments")
def list_environments(page: Page) -> Environments:
    """Environment releases, newest version first."""
    listing = wired().queries.environment_releases(page.size, page.continuation)
    return Environments.model_validate({"environments": listing.entries, "continuation": listing.continuation})


@bp.post("environments/{version}", statuses=(200, 208))
def release_environment(person: Operator, version: EnvironmentVersion) -> Answered[Recorded]:
    """Tell of a version that was registered in the dev workspace: what its event does, when that was lost."""
    platform = wired().application.ports.platform
    if platform.describe_environment(version) is None:
        there = ", ".join(sorted(filter(is_semantic, platform.environments()), key=version_numbers)[-SHOWN:]) or "none"
        raise NotFound(f"the dev workspace has no version {version} of {ROOT}; it has {there}: register it first")
    told = e.EnvironmentRegistered(root=ROOT, version=version, asked_by=person.username)
    return recorded(wired().application.advance(told), environment_release_id(ROOT, version))


@bp.get("environments/{version}")
def show_environment(version: EnvironmentVersion) -> EnvironmentShown:
    """One release, its orders to the fleet, and where each circuit's update stands."""
    shown = found(wired().queries.environment_release(version), "release of environment", version)
    return EnvironmentShown.model_validate(shown)


@bp.get("environments/{version}/preview")
def preview_environment(version: EnvironmentVersion) -> Preview:
    """Which circuits a release of the version would touch now, and which it would leave, and why."""
    return Preview.model_validate(wired().application.preview_environment(version))


@bp.get("environments/{version}/history")
def show_environment_history(version: EnvironmentVersion, page: LongPage) -> History:
    """Everything that happened to one release, in order."""
    return history_of(
        ROOT, ENVIRONMENT_RELEASE, environment_release_id(ROOT, version), f"release of environment {version!r}", page
    )


@bp.post("environments/{version}/halt", statuses=(200, 208), guard="show_environment")
def halt_environment(
    person: Operator, version: EnvironmentVersion, body: OrderBody, request: RequestId
) -> Answered[Recorded]:
    """No further wave begins; what is under way ends."""
    return _ordered(e.HaltOrdered, person, version, body, request)


@bp.post("environments/{version}/resume", statuses=(200, 208), guard="show_environment")
def resume_environment(
    person: Operator, version: EnvironmentVersion, body: OrderBody, request: RequestId
) -> Answered[Recorded]:
    """The waves go on from where they halted; the failures so far are accepted."""
    return _ordered(e.WavesResumed, person, version, body, request)


@bp.post("environments/{version}/rollback", statuses=(200, 208), guard="show_environment")
def roll_back_environment(
    person: Operator, version: EnvironmentVersion, body: OrderBody, request: RequestId
) -> Answered[Recorded]:
    """Every circuit goes back to the environment that its update records."""
    return _ordered(e.EnvironmentRollbackOrdered, person, version, body, request)


@bp.post("environments/{version}/retry", statuses=(200, 208), guard="show_environment")
def retry_environment(
    person: Operator, version: EnvironmentVersion, body: OrderBody, request: RequestId
) -> Answered[Recorded]:
    """An errored release goes on, in a new attempt of the step that broke; what holds is not tested again."""
    return _restarted("retry", person, version, body, request)


@bp.post("environments/{version}/reopen", statuses=(200, 208), guard="show_environment")
def reopen_environment(
    person: Operator, version: EnvironmentVersion, body: OrderBody, request: RequestId
) -> Answered[Recorded]:
    """A rejected release goes on from where it ended; the reason says why that was wrong."""
    return _restarted("reopen", person, version, body, request)


@bp.post("environments/{version}/ask-again", statuses=(200, 208), guard="show_environment")
def ask_again_of_environment(
    person: Operator, version: EnvironmentVersion, body: OrderBody, request: RequestId
) -> Answered[Recorded]:
    """An expired release is asked about once more; before production's gate, with what the fleet is now."""
    return _restarted("ask again", person, version, body, request)


def _restarted(how: str, person: Person, version: str, body: OrderBody, request: str) -> Answered[Recorded]:
    release = environment_release_id(ROOT, version)
    order = RestartRequested(root=ROOT, release=release, person=person, reason=body.reason, request=request, how=how)
    return recorded(wired().application.advance(order), release)


def _ordered(order: Ordered, person: Person, version: str, body: OrderBody, request: str) -> Answered[Recorded]:
    given = order(root=ROOT, person=person, version=version, reason=body.reason, request=request)
    return recorded(wired().application.advance(given), environment_release_id(ROOT, version))
