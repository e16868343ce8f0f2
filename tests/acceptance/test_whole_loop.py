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
from typing import NamedTuple

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from flagback.model import embedded
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.store import Store
from tests.board_place import press, shown, through_practice
from tests.browser import WebProcess, page_of, sign_in
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

WORD = "a long password"


class Home:
    """A home with the embedded model, its prompts and two accounts, made by the commands a newcomer types."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        self.environment = {**os.environ, "FLAGBACK_HOME": str(self.path)}

    def run(self, *arguments: str, given: str | None = None) -> str:
        """One `flagback` command; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "flagback.review_app.cli", *arguments],
            env=self.environment,
            input=given,
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, f"flagback {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Reads the records past our own code."""
        with closing(sqlite3.connect(self.path / "flagback.db")) as database:
            return database.execute(query).fetchall()


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
        worker = subprocess.Popen(
            [sys.executable, "-m", "flagback.review_app.cli", "worker"], env=made.environment, stdout=log, stderr=log
        )
        try:
            yield made, web
        finally:
            worker.terminate()
            worker.wait(30)


def flag_ten(page: Page) -> list[str]:
    """Flags ten answers by keyboard (F, a digit, S, a better wording, Ctrl+Enter) and returns the texts shown, in order.

    With its rewrite each flag makes a pair, whatever else was written to the same prompt.
    """
    flagged: list[Seen] = []
    for number in range(10):
        flagged.append(next_answer(page, flagged[-1] if flagged else None))
        press(page, "f", str(1 + number % 5), "s", "w")
        page.keyboard.press("Control+a")
        page.keyboard.type("was there too, and everyone was glad.")
        page.keyboard.press("Control+Enter")
    return [one.answer for one in flagged]


def pass_others(page: Page, count: int) -> None:
    """Says of so many answers that they look fine."""
    before = None
    for _ in range(count):
        before = next_answer(page, before)
        press(page, "j")


class Seen(NamedTuple):
    """What stands on the board."""

    prompt: str
    answer: str


def next_answer(page: Page, before: Seen | None) -> Seen:
    """Waits for an answer other than the one before, be it the same words to another prompt."""
    expect(page.locator(".output").first).to_be_visible()
    until(lambda: seen(page) != before, "another answer")
    return seen(page)


def seen(page: Page) -> Seen:
    """What stands there now."""
    return Seen(shown(page), page.locator(".output").first.inner_text())


def wait_for(home: Home, query: str, *, seconds: float = 400.0) -> None:
    """Waits until a query answers with a row; a run that failed ends the wait."""
    until = time.monotonic() + seconds
    while not home.ask(query):
        states = [
            home.ask(f"SELECT '{table}', state, error FROM {table}")  # nosec B608 # three names written here
            for table in ("sampling_run", "correction_run", "evaluation")
        ]
        assert not any(row[1] == "failed" for rows in states for row in rows), states
        assert time.monotonic() < until, f"no row within {seconds:.0f} s: {query}; {states}"
        time.sleep(0.3)


def sample(page: Page, prompts: int) -> None:
    """The maintainer has the current version answer prompts, one review an answer."""
    page.get_by_role("button", name="Sample answers").click()
    page.get_by_role("spinbutton", name="Prompts").fill(str(prompts))
    page.get_by_role("spinbutton", name="Reviews of each answer").fill("1")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Sample", exact=True).click()


def promote_by_override(page: Page, reason: str) -> None:
    """Blind reviews are not there, so the gate waits; the maintainer overrides it, and cannot without a reason."""
    page.get_by_role("button", name="Promote all the same").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Promote", exact=True).click()
    expect(dialog.get_by_text("An override needs a reason")).to_be_visible()
    dialog.get_by_label("Why do you override the gate?").fill(reason)
    page.keyboard.press("Tab")
    dialog.get_by_role("button", name="Promote", exact=True).click()


def exported(page: Page) -> pd.DataFrame:
    """Every review, taken out by the page and read back."""
    page.get_by_role("tab", name="Take out").click()
    page.get_by_role("button", name="Prepare the download").click()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Download ")).click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    return pd.concat([pd.read_parquet(io.BytesIO(archive.read(name))) for name in archive.namelist() if name.endswith(".parquet")])


def words(text: object) -> str:
    """A text without regard to blanks, as a screen shows it."""
    return " ".join(str(text).split())


def test_two_people_walk_the_whole_loop(home: tuple[Home, WebProcess], browser: Browser) -> None:
    made, web = home
    with page_of(browser) as reviewer, page_of(browser, width=1280) as maintainer:
        sign_in(maintainer, web.url, "maintainer", WORD)
        sample(maintainer, 12)
        wait_for(made, "SELECT 1 FROM sampling_run WHERE state = 'succeeded'")

        sign_in(reviewer, web.url, "reviewer", WORD)
        reviewer.get_by_text("I want to review answers").click()
        reviewer.get_by_role("button", name="Start").click()
        through_practice(reviewer)
        texts = flag_ten(reviewer)
        expect(reviewer.get_by_text("10 of 40 today")).to_be_visible()
        pass_others(reviewer, 15)
        wait_for(made, "SELECT 1 FROM review GROUP BY 'all' HAVING count(*) = 25", seconds=60)

        maintainer.goto(f"{web.url}/corrections")
        expect(maintainer.get_by_text(re.compile("10 flags make [0-9]+ pairs"))).to_be_visible()
        maintainer.get_by_role("button", name="Start the correction").click()
        expect(maintainer.get_by_text(re.compile("Correction 1 is (waiting|running)|Correction 1 · done")).first).to_be_visible()
        wait_for(made, "SELECT 1 FROM evaluation WHERE state = 'succeeded'")

        maintainer.goto(f"{web.url}/versions")
        expect(maintainer.get_by_text(re.compile("not enough data yet|stopped by the gate")).first).to_be_visible()
        promote_by_override(maintainer, "The walk of the loop goes on.")
        wait_for(made, "SELECT 1 FROM decision WHERE kind = 'override' AND decided_by = 'maintainer'", seconds=60)

        maintainer.goto(f"{web.url}/compare")
        expect(maintainer.get_by_text(re.compile("[0-9]+ of [0-9]+ answers changed"))).to_be_visible()

        maintainer.goto(f"{web.url}/loop")
        sample(maintainer, 3)
        wait_for(
            made,
            "SELECT 1 FROM sampling_run r JOIN model_version v ON v.id = r.version_id "
            "WHERE v.state = 'current' AND v.kind = 'correction' AND r.purpose = 'loop' AND r.state = 'succeeded'",
        )

        maintainer.goto(f"{web.url}/data")
        rows = exported(maintainer)
    flags = rows[rows["verdict"] == "flag"].sort_values("review_id")
    assert [words(text) for text in flags["response"]] == [words(text) for text in texts]
    assert set(flags["severity"]) == {"clear"}
    assert len(rows) == 25
    assert "maintainer" not in rows.to_csv()
    learnt = [json.loads(str(row[0])) for row in made.ask("SELECT review_ids FROM preference_pair")]
    assert {review for row in learnt for review in row} >= set(flags["review_id"]), (
        "every flag came with a rewrite: each made a pair"
    )
