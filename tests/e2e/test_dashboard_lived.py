"""The dashboard over a fleet that has lived a month and more: what only shows once there is something to show."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.e2e.screens import AXE, DIRECTOR, Screen, chromium, needs_chromium, screens_of
from tests.played import (
    BAD_READINGS,
    BETTER,
    DEGRADED,
    DRIFTED,
    LIVE_ENVIRONMENT,
    NEXT_ENVIRONMENT,
    ON_HOLD,
    WAITING,
    Played,
    served,
)

HOSTILE = '<img src="nowhere" onerror="window.harmed=1"><script>window.harmed=1</script>javascript:window.harmed=1'
HARM = "img[src=nowhere], main script, a[href^='javascript:' i]"
FROM_OUTSIDE = {
    *("reason", "why", "comment", "name", "by", "note", "says", "username", "trainer", "trained_by", "error", "text"),
    *("change_summary", "pr_author", "model_hash", "naive", "holder", "source", "rollback", "analysis", "change"),
    *("change_at", "asked_by", "answered_by", "acknowledged_by", "features", "target", "output_uri", "published_uri"),
    *("job", "reference", "standstill", "state", "waits_for", "told_by", "means", "leads_to", "problems"),
    *("sensor", "run"),
}
"""Names of the texts that people, trainings, sensors, files or other systems may have written."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = {
    "fleet": "",
    "circuit-degraded": f"circuits/{DEGRADED}",
    "circuit-bad-readings": f"circuits/{BAD_READINGS}",
    "release": f"releases/{BETTER}:2",
    "commit": "commits/79?table=table-1",
    "data": f"data/{BETTER}:2",
    "approvals": "approvals",
    "evidence": f"approvals/{ON_HOLD}:2:production:2",
    "environments": "environments",
    "environment-settled": f"environments/{LIVE_ENVIRONMENT}",
    "environment": f"environments/{NEXT_ENVIRONMENT}",
    "ledger": "ledger",
    "audit": f"audit?circuit={BETTER}&day=2026-04-01",
    "operations": "operations",
}

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Played, str]]:
    with served(tmp_path_factory.mktemp("played")) as (played, server, _):
        yield played, server.url


@pytest.fixture
def played(fleet: tuple[Played, str]) -> Played:
    return fleet[0]


@pytest.fixture
def screens(fleet: tuple[Played, str], browser: Browser) -> Iterator[Callable[..., Screen]]:
    with screens_of(fleet[1], browser, now=fleet[0].now) as open_screen:
        yield open_screen


@pytest.fixture
def screen(screens: Callable[..., Screen]) -> Screen:
    """Erik's, on the first page."""
    return screens().open().sign_in()


# ------------------------------------------------------------------------------------------------------- environments


def test_an_environment_is_previewed_followed_halted_and_taken_back(
    played: Played, screens: Callable[..., Screen]
) -> None:
    release = played.register_environment(NEXT_ENVIRONMENT, tags={"change_summary": "a newer scikit-learn"})
    played.run(minutes=5)
    erik, maria = screens().open().sign_in(), screens().open().sign_in(DIRECTOR)

    page = erik.visit(f"environments/{NEXT_ENVIRONMENT}")
    preview = page.get_by_role("region", name="Whom it would touch now")
    expect(preview.get_by_role("heading", name="11 circuits get it")).to_be_visible()
    expect(preview.get_by_text("nothing serves")).to_be_visible()
    expect(page.get_by_role("region", name="Progress")).to_contain_text("a newer scikit-learn")
    expect(page.get_by_role("button", name=re.compile("Halt|Roll back"))).to_have_count(0)

    page.get_by_role("link", name="Evidence and answer").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("This gate is not open")).to_be_visible()
    played.run(hours=1)
    for screen in (erik, maria):  # production asks both groups
        screen.open(f"approvals/{release}:production:2").page.get_by_role("button", name="Approve").click()
        expect(screen.page.get_by_text(re.compile("recorded; now|not open|asks for more")).first).to_be_visible()
    played.run(minutes=10)
    assert played.phase(release) == "updating waves", played.story(release)

    page = erik.open(f"environments/{NEXT_ENVIRONMENT}").page
    expect(page.get_by_role("region", name="Progress")).to_contain_text("of 12 circuits serve with it")
    expect(page.get_by_role("region", name="Circuit by circuit").get_by_text("observing").first).to_be_visible()
    erik.order("Halt", "the second wave waits for the night shift")
    expect(page.get_by_text("halted", exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    erik.keep("environment-halted")
    erik.order("Roll back", "the new scikit-learn is slower than the window allows")
    played.run(hours=1)
    erik.open(f"environments/{NEXT_ENVIRONMENT}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("rolled back", exact=True).first).to_be_visible()
    assert set(played.serving().values()) == {LIVE_ENVIRONMENT}


# ------------------------------------------------------------------------------------- performance, drift, proposals


def test_a_circuit_that_got_worse_says_so_and_gets_what_somebody_accepts(played: Played, screen: Screen) -> None:
    tile = screen.page.get_by_role("region", name="Circuits", exact=True).get_by_role("link", name=re.compile(DEGRADED))
    expect(tile).to_contain_text("mae 0.31")
    expect(tile).to_contain_text("wrong")  # what the shape says to who cannot see it
    tile.click()
    page = screen.page
    verdicts = page.get_by_role("region", name="Performance and drift")
    expect(verdicts.get_by_text("mae 0.31 (critical 0.25), by 6 degrees too low")).to_be_visible()
    march = verdicts.get_by_role("row", name=re.compile("Performance 2026-03"))
    expect(march).to_contain_text("critical")
    expect(verdicts.get_by_role("row", name=re.compile("Drift 2026-Q1"))).to_contain_text("drifted")
    with page.expect_download() as download:
        march.get_by_role("button", name=re.compile("Report")).click()
    assert DEGRADED in download.value.path().read_text()

    trouble = page.get_by_role("region", name="Needs somebody now")
    expect(trouble).to_contain_text("train again (model 1)")
    screen.order("Accept", "train it on March")
    expect(trouble.get_by_text("opening", exact=True)).to_be_visible()
    played.run(minutes=5)
    assert played.repository.changes, "the change lies in the configuration's repository"
    page.reload()
    expect(page.get_by_role("region", name="Needs somebody now").get_by_text("https://git/1")).to_be_visible()

    page = screen.visit(f"circuits/{DRIFTED}")
    expect(page.get_by_text("temperature moved by 0.9 standard deviations").first).to_be_visible()
    page = screen.visit(f"circuits/{BAD_READINGS}")
    expect(page.get_by_role("region", name="Needs somebody now")).to_contain_text("of temperature (limit 5.0%)")


# ------------------------------------------------------------------------------------------------------------ lineage


def test_lineage_leads_from_a_gate_to_the_readings_and_back_without_a_dead_end(screen: Screen) -> None:
    gate = f"{ON_HOLD}:2:production:2"
    page = screen.visit(f"approvals/{gate}")
    expect(page.get_by_role("img", name=re.compile("Backtest of .* by hours ahead"))).to_be_visible()
    changed = page.get_by_role("region", name="What changed since the champion")
    expect(changed.get_by_role("row", name=re.compile("learning rate 0.2 0.1"))).to_be_visible()
    lineage = page.get_by_role("list", name="Where it comes from")
    expect(lineage.get_by_role("listitem")).to_have_count(lineage.get_by_role("link").count())
    screen.keep("evidence-with-backtest")

    lineage.get_by_role("link", name="Data asset").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"sensor_training_data_{ON_HOLD}:2026-04-07")
    expect(page.get_by_role("region", name="What the model learned from")).to_contain_text(f"SENSOR_{ON_HOLD}")
    page.get_by_role("link", name=re.compile("^Delta version")).click()
    circuits = page.get_by_role("region", name="Circuit by circuit").first
    expect(page.get_by_role("region", name="What the log says")).to_contain_text("MERGE")
    expect(circuits.get_by_role("row", name=re.compile(BAD_READINGS))).to_contain_text("of temperature (limit 5.0%)")
    circuits.get_by_role("link", name=BAD_READINGS).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(BAD_READINGS)
    page = screen.visit("commits/9999")
    expect(page.get_by_text("the table's log has no version 9999")).to_be_visible()


# ---------------------------------------------------------------------------------------------------------- approvals


def test_all_gates_are_approved_together_but_one_rejected_and_one_left(played: Played, screen: Screen) -> None:
    page = screen.go("Approvals").page
    page.get_by_role("button", name="Approve all 4 I may").click()
    page.get_by_label(f"Answer to {WAITING[0]}:2 into registry").select_option("reject")
    page.get_by_label(f"Answer to {ON_HOLD}:2 into production").select_option("leave open")
    page.get_by_label("Comment, kept in each history").fill("P002_C003 has the outage of March in its holdout")
    page.get_by_role("button", name="Send 3 answers").click()
    results = page.get_by_role("region", name="What became of your answers")
    expect(results.get_by_text("recorded")).to_have_count(3)
    assert [played.phase(f"{circuit}:2") for circuit in (*WAITING, ON_HOLD)] == [
        *("rejected", "promoting", "promoting", "awaiting production approval")
    ]


# ------------------------------------------------------------------------------------------------- for whoever reads it


def test_every_page_can_be_read_by_everybody_in_light_and_in_dark(screens: Callable[..., Screen]) -> None:
    screen = screens(bypass_csp=True).open().sign_in()  # so that axe may be put into the page
    screen.page.add_script_tag(path=AXE)
    found: list[str] = []
    for name, path in reversed(PAGES.items()):  # the first one is there already
        page = screen.visit(path)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            violations = page.evaluate(
                "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
            )
            found += [
                f"{name}, {scheme}: {each['id']} ({each['impact']}): {each['nodes'][0]['html'][:150]}"
                for each in violations
                if each["impact"] in ("serious", "critical")
            ]
            screen.keep(f"{name}-{scheme}")
    assert found == []


def test_every_page_fits_a_narrow_screen(screens: Callable[..., Screen]) -> None:
    screen = screens().open().sign_in()
    screen.page.set_viewport_size({"width": 390, "height": 800})
    too_wide: list[str] = []
    for name, path in reversed(PAGES.items()):  # the first one is there already
        page = screen.visit(path)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        too_wide += [f"{name}: {wider} pixels"] if wider > 0 else []
        screen.keep(f"{name}-narrow")
    assert too_wide == []


def hostile(value: Any, name: str = "") -> Any:
    """An answer in which every text that somebody outside may have written ends with a script."""
    if isinstance(value, dict):
        return {key: hostile(each, key if name not in ("tags", "lineage") else "text") for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, name) for each in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) and name in FROM_OUTSIDE else value


def test_scripts_in_texts_from_outside_are_shown_as_text_on_every_page(screens: Callable[..., Screen]) -> None:
    screen = screens(bypass_csp=True).open()  # the policy would stop them; here the pages themselves must

    def poisoned(route: Route) -> None:
        answer = route.fetch()
        if "json" not in answer.headers.get("content-type", ""):
            route.fulfill(response=answer)
            return
        route.fulfill(response=answer, body=json.dumps(hostile(answer.json())))

    screen.page.route(re.compile("/api/(?!static|dashboard|sign-in)"), poisoned)
    screen.sign_in()
    shown: dict[str, int] = {}
    for name, path in reversed(PAGES.items()):  # the first one is there already
        page = screen.visit(path)
        harmed = page.evaluate("found => window.harmed || document.querySelector(found)", HARM)
        assert not harmed, name
        shown[name] = page.get_by_text("onerror=").count()
    screen.page.unroute_all(behavior="ignoreErrors")
    assert [name for name, count in shown.items() if count == 0] == [], "every page shows such texts"
