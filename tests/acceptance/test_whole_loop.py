"""The whole loop as two people walk it, in a real browser, against real processes: flag, correct, promote, sample, export."""

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from flagback.model import embedded
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.store import Store
from tests.browser import WebProcess, chromium, page_of, sign_in

pytestmark = pytest.mark.acceptance

WORD = "a long password"


class Home:
    """A home with the embedded model, its prompts and two accounts, made by the commands a newcomer types."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        self.environment = {**os.environ, "FLAGBACK_HOME": str(self.path)}

    def run(self, *arguments: str, given: str | None = None) -> str:
        """One `flagback` command; returns what it printed."""
        done = subprocess.run([sys.executable, "-m", "flagback.review_app.cli", *arguments], env=self.environment, input=given,
                              text=True, capture_output=True, timeout=280)
        assert done.returncode == 0, f"flagback {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Reads the records past our own code."""
        with closing(sqlite3.connect(self.path / "flagback.db")) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Home, WebProcess]]:
    """The installation, its web process and its worker; both are ended with the test."""
    made = Home(tmp_path)
    made.run("migrate")
    for login in ("reviewer", "maintainer"):
        made.run("account", "create", login, "--role", login, "--password-stdin", given=WORD + "\n")
    made.run("model", "add", "embedded")
    store = Store(f"sqlite:///{made.path / 'flagback.db'}")
    with store.writing() as session:
        add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in embedded.prompts()])
        embedded.add_reference_texts(session)
    store.close()
    with WebProcess(made.path) as web, (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-m", "flagback.review_app.cli", "worker"], env=made.environment, stdout=log,
                                  stderr=log)
        try:
            yield made, web
        finally:
            worker.terminate()
            worker.wait(30)


def flag_ten(page: Page) -> list[str]:
    """Flags ten answers by keyboard: F, a digit, S, Enter. Returns the texts shown, in order."""
    shown: list[str] = []
    output = page.locator(".output").first
    for number in range(10):
        if number:
            expect(output).not_to_have_text(shown[-1], timeout=10_000)
        shown.append(output.inner_text())
        for key in ("f", str(1 + number % 5), "s", "Enter"):
            page.keyboard.press(key)
    return shown


def wait_for(home: Home, query: str, *, seconds: float = 180.0) -> None:
    """Waits until a query answers with a row."""
    until = time.monotonic() + seconds
    while not home.ask(query):
        runs = home.ask("SELECT state, stage, error FROM correction_run")
        assert time.monotonic() < until, f"no row within {seconds:.0f} s: {query}; runs: {runs}"
        time.sleep(0.3)


def test_two_people_walk_the_whole_loop(home: tuple[Home, WebProcess], browser: Browser) -> None:
    made, web = home
    with page_of(browser) as reviewer, page_of(browser, width=1280) as maintainer:
        sign_in(maintainer, web.url, "maintainer", WORD)
        maintainer.get_by_role("button", name="Sample answers").click()
        maintainer.get_by_role("button", name="Sample", exact=True).click()
        wait_for(made, "SELECT 1 FROM sampling_run WHERE state = 'succeeded'")

        sign_in(reviewer, web.url, "reviewer", WORD)
        reviewer.locator(".output").first.wait_for(timeout=30_000)
        shown = flag_ten(reviewer)
        wait_for(made, "SELECT 1 FROM review GROUP BY 1 HAVING count(*) = 10", seconds=20)
        for _ in range(40):  # answers that look fine, so that there is something to prefer
            before = reviewer.locator(".output").first.inner_text()
            reviewer.keyboard.press("j")
            expect(reviewer.locator(".output").first).not_to_have_text(before, timeout=10_000)

        maintainer.goto(f"{web.url}/corrections")
        maintainer.get_by_role("button", name="Start the correction").click()
        expect(maintainer.get_by_text(re.compile(r"Correction 1 is (waiting|running)"))).to_be_visible(timeout=20_000)
        wait_for(made, "SELECT 1 FROM evaluation WHERE state = 'succeeded'")

        maintainer.goto(f"{web.url}/versions")
        expect(maintainer.get_by_text("not enough data yet")).to_be_visible(timeout=20_000)
        maintainer.get_by_role("button", name="Promote all the same").click()
        maintainer.get_by_label("Why do you override the gate?").fill("The walk of the loop goes on.")
        maintainer.keyboard.press("Tab")
        maintainer.get_by_role("dialog").get_by_role("button", name="Promote", exact=True).click()
        wait_for(made, "SELECT 1 FROM decision WHERE kind = 'override' AND decided_by = 'maintainer'", seconds=20)

        maintainer.goto(f"{web.url}/compare")
        expect(maintainer.get_by_text("answers changed.")).to_be_visible(timeout=20_000)

        made.run("sample", "--prompts", "5")
        wait_for(made, "SELECT 1 FROM sampling_run r JOIN model_version v ON v.id = r.version_id "
                       "WHERE v.state = 'current' AND v.kind = 'correction' AND r.purpose = 'loop' AND r.state = 'succeeded'")

        maintainer.goto(f"{web.url}/data")
        maintainer.get_by_role("tab", name="Take out").click()
        maintainer.get_by_role("button", name="Prepare the download").click()
        with maintainer.expect_download() as download:
            maintainer.get_by_role("button", name=re.compile("^Download ")).click()
        archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    rows = pd.concat([pd.read_parquet(io.BytesIO(archive.read(name))) for name in archive.namelist() if name.endswith(".parquet")])
    flags = rows[rows["verdict"] == "flag"].sort_values("review_id")
    assert [" ".join(text.split()) for text in flags["response"]] == [" ".join(text.split()) for text in shown]
    assert set(flags["severity"]) == {"clear"}
    assert "maintainer" not in rows.to_json()
    stored = json.loads(str(made.ask("SELECT review_ids FROM preference_pair LIMIT 1")[0][0]))
    assert set(stored) <= set(rows["review_id"])
