"""People at the dashboard in headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import ENGINEER, ROOT, STRANGER

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = ROOT / ".local" / "screenshots"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
DIRECTOR = "maria@plant.example"
NAMES = {ENGINEER: "Erik Lindqvist", DIRECTOR: "Maria Teixeira", STRANGER: "Sam Visser"}
REASON = "Reason, kept in the history"

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium, as .ci/run does"
)


class Screen:
    """A person at the dashboard. What the browser complains about is kept: scripts that were refused, errors."""

    def __init__(self, url: str, page: Page) -> None:
        self._url = url
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )

    def open(self, path: str = "") -> Screen:
        """Load a page's address; whoever was signed in still is."""
        self.page.goto(f"{self._url}/api/dashboard{f'/{path}' if path else ''}")
        return self

    def sign_in(self, person: str = ENGINEER) -> Screen:
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name=NAMES[person]).click()
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self

    def visit(self, path: str) -> Page:
        """Move to a page as its links do, without loading anew; returns when everything is there."""
        address = f"/api/dashboard{f'/{path}' if path else ''}"
        self.page.evaluate(
            "to => { history.pushState(null, '', to); dispatchEvent(new Event('dashboard:moved')) }", address
        )
        expect(self.page.get_by_role("heading", level=1)).to_be_focused()
        expect(self.page.get_by_text("Loading …")).to_have_count(0)
        return self.page

    def go(self, link: str) -> Screen:
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=link).click()
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(link)
        return self

    def order(self, name: str, reason: str, verb: str = "") -> None:
        """Press a button that asks for a reason, give it, and see the order taken."""
        self.page.get_by_role("button", name=name, exact=True).first.click()
        dialog = self.page.get_by_role("dialog")
        self.page.get_by_label(REASON).fill(reason)
        dialog.get_by_role("button", name=verb or name, exact=True).click()
        expect(dialog).to_have_count(0)

    def keep(self, name: str) -> None:
        """A picture, for people who look at what a build made."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def screens_of(
    url: str, browser: Browser, now: Callable[[], datetime] | None = None
) -> Iterator[Callable[..., Screen]]:
    """Opens screens, each with a browser's memory of its own; none may have had anything to complain about.

    now: what the pages' clock stands at, where the app's is not the world's.
    """
    opened: list[Screen] = []

    def open_screen(**options: Any) -> Screen:
        context = browser.new_context(
            timezone_id="Europe/Berlin", locale="en-GB", viewport={"width": 1400, "height": 900}, **options
        )
        context.set_default_timeout(20_000)
        page = context.new_page()
        if now:
            page.clock.set_fixed_time(now())
        opened.append(Screen(url, page))
        return opened[-1]

    yield open_screen
    for screen in opened:
        screen.page.context.close()
    assert [screen.complaints for screen in opened if screen.complaints] == []
