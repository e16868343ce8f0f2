"""A real browser and a real web process for tests: Chromium through Playwright, `serve` in a process of its own.

Knows how to start, kill and start again, when a page stands whole and how a list is chosen from; knows
nothing of what a page holds.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as Waited

from tests.waiting import PATIENCE, until

#: Debian's Chromium; elsewhere Playwright's own is used.
SYSTEM_CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium; without one the test is skipped with the reason, in CI it fails."""
    with sync_playwright() as playwright:
        found = str(SYSTEM_CHROMIUM) if SYSTEM_CHROMIUM.exists() else None
        try:
            browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        except Error as error:
            reason = f"no Chromium here ({error.message.splitlines()[0]}): run 'playwright install chromium', or install chromium"
            if os.environ.get("CI"):
                pytest.fail(f"In CI a skip is a failure: {reason}")
            pytest.skip(reason)
        try:
            yield browser
        finally:
            browser.close()


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WebProcess:
    """`serve` on a home, in a process of its own that can be killed and started again on the same port."""

    def __init__(self, home: Path, *, port: int | None = None, folder: Path | None = None, **environment: str) -> None:
        self.home = home
        self.port = port or free_port()
        #: Working directory of the process.
        self.folder = folder or home
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "WebProcess":
        """Starts it and waits until it is healthy."""
        code = "from flagback.review_app.server import serve\nfrom flagback.review_app.settings import Settings\nserve(Settings())"
        environment = {**os.environ, "FLAGBACK_HOME": str(self.home), "FLAGBACK_PORT": str(self.port), **self.environment}
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "web.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log, cwd=self.folder)
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                raise AssertionError(f"the web process ended with {self.process.returncode}: {self.log()[-2000:]}")
            with suppress(URLError, OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:  # nosec B310 # the web process started here
                if answer.status == 200:
                    return self
            time.sleep(0.1)
        raise AssertionError(f"the web process was not healthy within 60 s: {self.log()[-2000:]}")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def interrupt(self) -> int:
        """Ctrl+C; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def log(self) -> str:
        """What it printed."""
        path = self.home / "web.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def __enter__(self) -> "WebProcess":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextmanager
def page_of(browser: Browser, *, width: int = 900, height: int = 900, dark: bool = False, locale: str = "en-US") -> Iterator[Page]:
    """A fresh browser profile with one page; what the page throws fails the test."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale
    )
    try:
        with page_in(context) as page:
            yield page
    finally:
        context.close()


@contextmanager
def page_in(profile: BrowserContext) -> Iterator[Page]:
    """A page in a profile; what the page throws, and what its Content-Security-Policy stops, fails the test."""
    page = profile.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.on("console", lambda message: thrown.append(message.text) if "Content Security Policy" in message.text else None)
    try:
        yield page
    finally:
        page.close()
    assert not thrown, f"the page threw {thrown}"


def sign_in(page: Page, url: str, login: str, password: str) -> None:
    """Signs in by the form and waits for what comes after it."""
    page.goto(f"{url}/signin")
    page.get_by_label("Name").fill(login)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda address: "/signin" not in address)


def drawn(page: Page) -> None:
    """Waits until a page stands whole and nothing runs; nothing in it went wrong."""
    expect(page.get_by_text("Sign out").last).to_be_visible()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.locator("[data-stale=true], [data-testid=stSkeleton]")).to_have_count(0)
    assert page.get_by_text("Something went wrong").count() == 0
    assert page.locator(".stException").count() == 0
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(300)  # charts and tables are drawn behind the script's end


def fits(page: Page, *widths: int, height: int = 900) -> None:
    """Nothing must be scrolled sideways in a window of these widths in pixels, or of the one it has, once the page is at rest.

    The window is left as it was: what is opened next is opened in the same one.
    """
    before = page.viewport_size
    for width in widths or (None,):
        if width is not None:
            page.set_viewport_size({"width": width, "height": height})
        until(lambda: _over(page) <= 0, f"{page.url} fits {width or 'its window'}", every=0.2)
        page.wait_for_timeout(300)  # pictures are drawn anew
        assert (over := _over(page)) <= 0, f"{page.url} runs {over} px out of {width or 'its window'}"
    if widths and before is not None:
        page.set_viewport_size(before)


def _over(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def listed(box: Locator, option: str | re.Pattern[str] = "", *, typed: str = "") -> Locator:
    """Opens a list, or filters it by what is typed, until an option stands in it; returns the first such option.

    Asked again: a first click may only focus, and a list that was opened while its page was still drawn or scrolled closes again.
    """
    found = box.page.get_by_role("option", name=option).first if option else box.page.get_by_role("option").first
    ends = time.monotonic() + PATIENCE
    while True:
        if not found.is_visible():
            box.click()
        if typed:
            box.fill(typed)
        with suppress(Waited):
            found.wait_for(timeout=2_000)
            box.page.wait_for_timeout(300)  # one that closes by itself does so at once
            if found.is_visible():
                return found
        assert time.monotonic() < ends, f"the list {box} shows no option {option!r}"


def choose(box: Locator, option: str | re.Pattern[str] = "", *, typed: str = "") -> None:
    """Chooses an option of a list, its first where none is named."""
    ends = time.monotonic() + PATIENCE
    while True:
        found = listed(box, option, typed=typed)
        with suppress(Waited):
            found.click(timeout=2_000)
            return
        box.press("Escape")  # the page grew above it and moved it out of sight; opened again where it stands now
        assert time.monotonic() < ends, f"the option {option!r} of {box} stands, and cannot be clicked"
