"""The dashboard in a real browser, over the whole embedded runtime: what people see, may do, and are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Response, expect

from shared.domain.environment import messages as e
from shared.domain.values import ENVIRONMENT
from shared.relay import Work
from tests.e2e.conftest import ENGINEER, STRANGER, Api, until
from tests.e2e.screens import Screen, chromium, needs_chromium, screens_of

FIRST, SECOND, THIRD = "P001_C001", "P001_C002", "P002_C001"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def screens(api: Api, browser: Browser) -> Iterator[Callable[..., Screen]]:
    with screens_of(api.runtime.url, browser) as open_screen:
        yield open_screen


@pytest.fixture
def screen(screens: Callable[..., Screen]) -> Screen:
    """Erik's, on the first page."""
    return screens().open().sign_in()


# ----------------------------------------------------------------------------------------------------------- signing in


def test_a_person_signs_in_stays_signed_in_when_the_page_loads_again_and_signs_out(
    api: Api, screens: Callable[..., Screen]
) -> None:
    screen = screens().open("approvals")
    expect(screen.page.get_by_role("heading", name="Sensor forecast fleet")).to_be_visible()
    screen.sign_in()
    expect(screen.page.get_by_role("heading", level=1)).to_have_text("Approvals")  # where they wanted to go
    assert "code=" not in screen.page.url
    screen.page.reload()
    expect(screen.page.get_by_role("heading", level=1)).to_have_text("Approvals")
    kept = screen.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "eyJ" not in kept, "no token lies anywhere that outlives the page"

    screen.page.get_by_role("button", name="Sign out").click()
    expect(screen.page.get_by_role("button", name="Sign in")).to_be_visible()


def test_no_page_loads_anything_from_elsewhere_or_runs_what_stands_in_it(api: Api) -> None:
    shown = api.get("dashboard/approvals", by=None)
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert api.runtime.services.url in policy.partition("connect-src ")[2].partition(";")[0]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", shown.text)
    assert api.get("static/dashboard/../../http.py", by=None).status_code == 404
    assert api.get("static/vendor/uplot.css", by=None, headers={"If-None-Match": "*"}).status_code == 304


# --------------------------------------------------------------------------------------------------------- first page


def test_the_first_page_says_what_needs_somebody_and_how_each_circuit_is(api: Api, screen: Screen) -> None:
    needs = screen.page.get_by_role("region", name="Needs somebody now")
    for circuit in (FIRST, SECOND, THIRD):
        expect(needs.get_by_role("link", name=f"{circuit}:1")).to_be_visible()
    circuits = screen.page.get_by_role("region", name="Circuits", exact=True)
    expect(circuits.get_by_role("link", name=re.compile(FIRST))).to_contain_text("awaiting registry approval")
    expect(circuits.get_by_role("link", name=re.compile("P001_C003"))).to_contain_text("no reading and no model yet")
    screen.keep("fleet")

    screen.page.get_by_label("Show").select_option("waits for people")
    expect(circuits.get_by_role("link", name=re.compile("^P00"))).to_have_count(3)
    screen.page.get_by_label("Plant").select_option("P002")
    expect(circuits.get_by_role("link", name=re.compile("^P00"))).to_have_count(1)
    assert "plant=P002" in screen.page.url, "what was chosen can be sent to somebody as an address"


def test_a_view_that_has_not_changed_is_not_sent_again(api: Api, screen: Screen) -> None:
    expect(screen.page.get_by_role("region", name="Circuits", exact=True).get_by_role("link").first).to_be_visible()
    screen.go("Approvals")

    def of_circuits(answer: Response) -> bool:
        return "/overview/circuits" in answer.url

    with screen.page.expect_response(of_circuits) as answered:
        screen.go("Fleet")
    assert answered.value.status == 304
    expect(screen.page.get_by_role("region", name="Circuits", exact=True).get_by_role("link").first).to_be_visible()


# ---------------------------------------------------------------------------------------------------------- approvals


def test_who_may_not_answer_sees_why_and_who_may(screens: Callable[..., Screen]) -> None:
    screen = screens().open(f"approvals/{FIRST}:1:registry:1").sign_in(STRANGER)
    answer = screen.page.get_by_role("region", name="Your answer")
    expect(answer).to_contain_text("This gate asks ML-Engineers; you are in no group.")
    expect(answer.get_by_role("button", name="Approve")).to_have_count(0)
    screen.open(f"circuits/{FIRST}")
    hold = screen.page.get_by_role("button", name="Hold")
    expect(hold).to_have_attribute("aria-disabled", "true")
    expect(screen.page.get_by_text("Only members of ML-Engineers may do this")).to_be_visible()


def test_a_rejection_needs_a_comment_and_can_be_taken_back_with_a_reason(api: Api, screen: Screen) -> None:
    page = screen.page
    page.get_by_role("region", name="Needs somebody now").get_by_role("link", name=f"{SECOND}:1").click()
    expect(page.get_by_role("region", name="How good it is")).to_contain_text("Mean absolute error")
    screen.keep("evidence")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Say in the comment why you reject.")).to_be_visible()
    page.get_by_label("Comment, kept in the history").fill("its holdout has the outage of March in it")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("This gate is not open")).to_be_visible()
    expect(page.get_by_text("its holdout has the outage of March in it")).to_be_visible()
    assert api.phase(f"{SECOND}:1") == "rejected"

    page.get_by_role("link", name="the release").click()
    page.get_by_role("button", name="Reopen").click()
    page.get_by_label("Reason, kept in the history").fill("no")
    page.get_by_role("dialog").get_by_role("button", name="Reopen").click()
    expect(page.get_by_role("dialog")).to_contain_text("Write at least 3 characters.")
    page.get_by_label("Reason, kept in the history").fill("the outage was in another circuit")
    page.get_by_role("dialog").get_by_role("button", name="Reopen").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    until(lambda: api.phase(f"{SECOND}:1") == "awaiting registry approval", "the gate to be asked again")


def test_an_approval_is_given_on_the_evidence_that_is_shown(api: Api, screen: Screen) -> None:
    page = screen.open(f"approvals/{FIRST}:1:registry:1").page
    page.get_by_label("Comment, kept in the history").fill("half the error of the naive forecast")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("This gate is not open")).to_be_visible()
    until(lambda: api.phase(f"{FIRST}:1") == "awaiting production approval", "the test to pass", 90)
    (decided,) = [line for line in api.history(f"{FIRST}:1") if line["event"] == "RegistryApproved"]
    assert (decided["detail"]["comment"], decided["detail"]["person"]["username"]) == (
        "half the error of the naive forecast",
        ENGINEER,
    )


def test_many_gates_are_answered_at_once_and_one_is_left_open(api: Api, screen: Screen) -> None:
    page = screen.go("Approvals").page
    page.get_by_label(f"Answer to {FIRST}:1 into production").select_option("approve")
    page.get_by_label(f"Answer to {THIRD}:1 into registry").select_option("approve")
    page.get_by_label("Comment, kept in each history").fill("all three were looked at")
    screen.keep("approvals")
    page.get_by_role("button", name="Send 2 answers").click()
    results = page.get_by_role("region", name="What became of your answers")
    expect(results.get_by_text("recorded")).to_have_count(2)
    assert api.phase(f"{SECOND}:1") == "awaiting registry approval"
    until(lambda: api.phase(f"{FIRST}:1") in ("observing", "live"), "production to be deployed", 90)


def test_who_comes_second_is_told_that_somebody_was_faster(api: Api, screen: Screen) -> None:
    gate = api.gate(SECOND)
    page = screen.open(f"approvals/{gate['id']}").page
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    page.route(
        "**/api/approvals/*", lambda route: route.abort() if route.request.method == "GET" else route.continue_()
    )
    assert api.decide(gate, ENGINEER, "reject").ok
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Somebody was faster")).to_be_visible()
    page.unroute("**/api/approvals/*")


# ---------------------------------------------------------------------------------------------------------- operating


def test_a_circuit_is_rolled_back_and_its_hold_lifted(api: Api, screen: Screen) -> None:
    page = screen.open(f"circuits/{FIRST}").page
    expect(page.get_by_role("img", name=re.compile("Forecast of temperature|beside what was measured"))).to_be_visible()
    screen.keep("circuit")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("dialog")).to_contain_text("nothing would serve")
    page.get_by_label("Reason, kept in the history").fill("the forecasts drift off")
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("nothing serves", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Lift the hold").click()
    page.get_by_label("Reason, kept in the history").fill("a better model is on its way")
    page.get_by_role("dialog").get_by_role("button", name="Lift").click()
    expect(page.get_by_role("button", name="Hold", exact=True)).to_be_visible()
    assert api.get(f"circuits/{FIRST}").json()["hold"] == ""

    screen.go("Audit")
    acts = page.get_by_role("region", name="Who did what", exact=True).first
    expect(acts.get_by_text("Rollback requested")).to_be_visible()
    expect(acts.get_by_text("the forecasts drift off")).to_be_visible()
    screen.keep("audit")


def test_the_fleet_is_stopped_and_goes_on_and_every_page_says_so(api: Api, screen: Screen) -> None:
    page = screen.go("Operations").page
    page.get_by_role("button", name="Stop the fleet").click()
    page.get_by_label("Reason, kept in the history").fill("the registry is being moved")
    page.get_by_role("dialog").get_by_role("button", name="Stop the fleet").click()
    expect(page.get_by_role("button", name="Let the fleet go on")).to_be_visible()
    screen.keep("operations")
    screen.open("ledger")
    expect(page.get_by_text("No release enters production:")).to_contain_text("the registry is being moved")
    screen.go("Operations")
    page.get_by_role("button", name="Let the fleet go on").click()
    page.get_by_label("Reason, kept in the history").fill("it has moved")
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Releases may enter production.")).to_be_visible()
    assert api.get("fleet").json()["standstill"] == ""


def test_a_dead_letter_is_replayed_and_one_that_cannot_be_says_why(api: Api, screen: Screen) -> None:
    harmless = e.LookForEnvironments(root=ENVIRONMENT, item=ENVIRONMENT, step=0, source="test.dashboard")
    letters = api.wired.application.dead_letters
    letters.record("work", "the platform did not answer", {"work": Work(harmless).to_json()})
    letters.record("work", "cannot be read <script>window.harmed = true</script>", {"work": "{}"})
    page = screen.go("Operations").page
    dead = page.get_by_role("region", name="Dead letters", exact=True).first
    expect(dead.get_by_text("<script>window.harmed = true</script>")).to_be_visible()

    dead.get_by_role("row", name=re.compile("cannot be read")).get_by_role("button", name="Replay").click()
    page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    expect(page.get_by_role("dialog")).to_contain_text("Still not acceptable")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()

    dead.get_by_role("row", name=re.compile("did not answer")).get_by_role("button", name="Replay").click()
    page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    expect(dead.get_by_text("replayed")).to_be_visible()
    assert any(letter.get("replayed_by") == ENGINEER for letter in api.letters())


# ------------------------------------------------------------------------------------------------- for whoever reads it


def test_everything_is_reached_by_keyboard(screen: Screen) -> None:
    page = screen.page
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the page")).to_be_focused()
    page.get_by_role("link", name="Operations").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Operations")
    page.get_by_role("button", name="Stop the fleet").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_label("Reason, kept in the history")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Stop the fleet")).to_be_focused()


def test_times_are_local_with_utc_beside_them(screen: Screen) -> None:
    stood = screen.open(f"releases/{FIRST}:1").page.get_by_role("region", name="Where it stands")
    expect(stood.locator("time").first).to_contain_text(re.compile(r"\d{2}:\d{2} .*\(?\d{2}:\d{2} UTC\)?|\d{2}:\d{2}"))
    expect(stood.locator(".utc").first).to_contain_text("UTC")
