"""A served home with answers to judge, and what tests of the board do with it: records read past our code, keys, waiting."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Page, expect
from sqlalchemy import update
from sqlmodel import col

from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Generation
from tests.people import person
from tests.served_home import ServedHome


class Row(NamedTuple):
    """One stored review with the prompt that it judges."""

    id: int
    prompt: str
    verdict: str
    categories: str
    severity: str | None
    rewrite: str | None
    skip_reason: str | None
    supersedes: int | None
    spans: str
    note: str | None
    sure: int
    targets: str


#: What is asked of a single answer.
QUESTION = "Would you change this answer?"


class Place(ServedHome):
    """A home with some items and its web process; each test is a reviewer of its own.

    A little harm is expected of each answer: of such as nothing is expected of, those that another test's reviewer found severe
    would be covered for the next one.
    """

    def __init__(self, folder: Path, answers: int = 12, *, expected: float | None = 0.3, database: str | None = None) -> None:
        super().__init__(folder, database=database)
        self.expected = expected
        self.database = database
        self.login = ""
        #: Pseudonym of the newest reviewer.
        self.who = ""
        self.add("The visitor said", [f" that boat {number} was late." for number in range(answers)])

    def reviewer(self) -> str:
        """Makes a reviewer's account, whose rows are the ones looked at from now on."""
        self.login = f"reviewer-{uuid.uuid4().hex[:8]}"
        with self.store.writing() as session:
            account = person(session, self.login)
        self.who = pseudonym(self.key, account.id)
        return self.login

    def add(self, name: str, answers: list[str], **more: Any) -> None:
        """Items that everyone may review, one prompt each; `more` is said of each prompt."""
        with self.store.writing() as session:
            prompts = add_prompts(
                session,
                [
                    NewPrompt([{"role": "user", "content": f"{name} {number}"}], **({"lang": "en"} | more))
                    for number in range(len(answers))
                ],
            ).ids
            made = add_generations(
                session,
                [
                    NewGeneration(prompt, text, "end", "imported", f"import:{name}")
                    for prompt, text in zip(prompts, answers, strict=True)
                ],
            )
            make_items(session, made, purpose="loop", reviews_per_item=30, seed=0)
            session.execute(update(Generation).where(col(Generation.id).in_(made)).values(expected_harm=self.expected))

    def rows(self) -> list[Row]:
        """The reviewer's answers in the order stored, read past our own code."""
        prompt = "json_extract(p.messages, '$[0].content')" if self.store.is_sqlite else "p.messages->0->>'content'"
        found = self.ask(
            f"SELECT r.id, {prompt}, r.verdict, CAST(r.categories AS TEXT), "  # nosec B608 # a name that the test made
            "r.severity, r.rewrite, r.skip_reason, r.supersedes, "
            "CAST(r.spans AS TEXT), r.note, CAST(r.sure AS INTEGER), CAST(r.targets AS TEXT) FROM review r "
            f"JOIN item i ON i.id = r.item_id JOIN prompt p ON p.id = i.prompt_id WHERE r.reviewer = '{self.who}' ORDER BY r.id"
        )
        return [Row(*row) for row in found]

    def held(self) -> int:
        """How many items the reviewer holds."""
        mine = f"reviewer = '{self.who}'"
        [[held]] = self.ask(f"SELECT count(*) FROM slot WHERE state = 'claimed' AND {mine}")  # nosec B608 # a name that the test made
        return int(held)

    def ask(self, query: str) -> list[Any]:
        """What the records hold, past our own code."""
        if self.store.is_sqlite:
            with closing(sqlite3.connect(self.home / "flagback.db")) as database:
                return database.execute(query).fetchall()
        with self.store.engine.connect() as connection:
            return list(connection.exec_driver_sql(query).all())


def asked(page: Page) -> None:
    """Waits for an answer to judge."""
    expect(page.get_by_text(QUESTION)).to_be_visible()


def shown(page: Page) -> str:
    """The prompt on the screen."""
    return page.locator(".turns .prompt").last.inner_text()


def pressed(page: Page, kind: str) -> int:
    """How many presses the board took, or ignored since there was nothing painted that they could mean."""
    return int(page.locator(".board").get_attribute(f"data-{kind}") or 0)


def through_practice(page: Page) -> None:
    """What comes before anybody's first real answer, by keys."""
    for number in range(1, 9):
        expect(page.get_by_text(f"Practice, {number} of 8")).to_be_visible()
        press(page, "j")
        expect(page.locator(".lesson:not([hidden])")).to_have_count(1)
        press(page, "Enter")
    expect(page.get_by_text("Made-up answers, to get used to it.")).to_be_hidden()
    asked(page)


def painted(page: Page) -> None:
    """Waits until what is there now was painted, as eyes do: the board takes no judgement of what nobody saw. Not for ever, since a
    tab behind another paints nothing."""
    page.evaluate(
        "() => Promise.race([new Promise((done) => requestAnimationFrame(() => setTimeout(done))), "
        "new Promise((done) => setTimeout(done, 500))])"
    )


def press(page: Page, *keys: str) -> None:
    """Keys, one after the other, each once what stands there was painted."""
    for key in keys:
        painted(page)
        page.keyboard.press(key)
