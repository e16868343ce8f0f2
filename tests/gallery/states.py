"""Every screen in every state: how to come there. The gallery takes pictures of them, tests measure their accessibility.

Pages come from the one table of who may go where, so that a new page is covered by itself. Knows addresses, keys and what to
wait for.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from flagback.review_app.access import PAGES
from flagback.storage.records import Role
from tests.board_place import QUESTION, painted, press
from tests.browser import drawn, sign_in
from tests.gallery.home import Door
from tests.people import PASSWORD

Kind = Literal["board", "plain", "own", "steering"]
#: Of the roles that a page answers to, the one that sees most of it comes first; who is a reviewer is called Ada.
_MOST: tuple[Role, ...] = ("administrator", "maintainer", "lead", "auditor", "reviewer")


class State(NamedTuple):
    """One screen in one state."""

    name: str
    #: What it shows, for the gallery.
    words: str
    kind: Kind
    #: Who is signed in; None for nobody.
    login: str | None
    #: The address, without the slash.
    path: str
    #: What is done before it is looked at.
    act: Callable[[Page], None]


class Visits:
    """Browser profiles of people who are signed in: each state has a fresh one, since drafts and keys are kept in it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self._cookies: dict[str, Any] = {}

    def profile(self, login: str | None, **settings: Any) -> BrowserContext:
        """A fresh profile with the session of `login`."""
        if login is not None and login not in self._cookies:
            first = self.browser.new_context()
            sign_in(first.new_page(), self.url, login, PASSWORD)
            self._cookies[login] = first.storage_state()["cookies"]
            first.close()
        state = {"cookies": self._cookies[login], "origins": []} if login is not None else None
        return self.browser.new_context(storage_state=state, **settings)  # type: ignore[arg-type]

    @contextmanager
    def at(self, state: State, *, width: int = 1280, height: int = 900, dark: bool = False, **settings: Any) -> Iterator[Page]:
        """A page in a state."""
        scheme: Literal["dark", "light"] = "dark" if dark else "light"
        profile = self.profile(state.login, viewport={"width": width, "height": height}, color_scheme=scheme, **settings)
        try:
            page = profile.new_page()
            if state.name in _BEFORE:
                _BEFORE[state.name](page)
            page.goto(f"{self.url}/{state.path}")
            state.act(page)
            yield page
        finally:
            profile.close()


# ----------------------------------------------------------------------------- board


def _asked(page: Page, words: str = QUESTION) -> None:
    expect(page.get_by_text(words)).to_be_visible()
    page.evaluate("document.fonts.ready")
    painted(page)


def _keys(*keys: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        _asked(page)
        press(page, *keys)
        painted(page)

    return act


def _flagged(page: Page) -> None:
    _asked(page)
    press(page, "f", "1", "2", "s")
    page.get_by_role("button", name="Age", exact=True).click()
    box = page.locator(".field.rewrite")
    box.fill(f"{box.input_value()} Nobody laughed.")
    page.locator(".board").evaluate("(board) => board.getRootNode().activeElement?.blur()")
    painted(page)


def _compare(words: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        _asked(page)
        press(page, "c")
        _asked(page, words)

    return act


def _cut(page: Page) -> None:
    _asked(page)
    page.route("**/api/v1/**", lambda route: route.abort())
    press(page, "j")
    expect(page.get_by_text("No connection ·")).to_be_visible()


def _break(page: Page) -> None:
    _asked(page)
    page.evaluate("globalThis[Symbol.for('flagback.board')].rest.since = { seconds: 1600, severe: 0, at: Date.now() }")
    press(page, "j")
    expect(page.locator(".notice")).to_be_visible()


def _says(words: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        expect(page.get_by_text(words).first).to_be_visible()
        painted(page)

    return act


def _lesson(page: Page) -> None:
    _says("Practice,")(page)
    press(page, "j")
    expect(page.locator(".lesson:not([hidden])")).to_have_count(1)
    painted(page)


def _stopped(page: Page) -> None:
    _asked(page)
    press(page, "x")
    _says("That is it for today")(page)


def _again(page: Page) -> None:
    _asked(page)
    press(page, "j")
    press(page, "u")
    _says("You answered this one before")(page)


def _told(**claimed: Any) -> Callable[[Page], object]:
    """Before the page is opened: what the board will be handed."""

    def fulfil(route: Route) -> None:
        body = {"items": [], "completion_code": None, "enough": False, "severe": 0, "other": False} | claimed
        route.fulfill(status=200, content_type="application/json", body=json.dumps(body))

    return lambda page: page.route("**/api/v1/claim", fulfil)


#: What is done before the page is opened.
_BEFORE: dict[str, Callable[[Page], object]] = {
    "board-loading": lambda page: page.route("**/api/v1/claim", lambda _route: None),
    "board-offline": lambda page: page.route("**/api/v1/**", lambda route: route.abort()),
    "board-enough": _told(enough=True, severe=40),
    "board-finished": _told(completion_code="C-1234"),
}

BOARD: tuple[State, ...] = tuple(
    State(f"board-{name}", words, "board", login, "review", act)
    for name, words, login, act in (
        ("plain", "One answer to judge", "reads-en", _asked),
        ("flagged", "Flagged: reasons, who is harmed, how bad, a better wording", "reads-en", _flagged),
        ("skip", "Why skip it", "reads-en", _keys("k")),
        ("again", "An old answer opened again", "reads-en", _again),
        ("help", "Help, definitions and keys", "reads-en", _keys("h")),
        ("veiled", "Covered until it is asked for", "reads-fr", _asked),
        ("right-to-left", "A text from right to left", "reads-ar", _asked),
        ("hidden", "Hidden characters and a long text", "reads-de", _asked),
        ("pair", "Which of two is better", "reads-it", _compare("Which answer is better?")),
        ("ranking", "Four in order", "reads-nl", _compare("In what order do they stand")),
        ("lost-connection", "No connection while an answer is on the screen", "reads-en", _cut),
        ("break", "A break is offered", "reads-en", _break),
        ("practice", "A made-up answer, to get used to it", "practising", _says("Practice,")),
        ("lesson", "What most guidelines would say of it", "practising", _lesson),
        ("stopped", "Stop for today", "reads-en", _stopped),
        ("empty", "Nothing to review", "empty", _says("Nothing to review just now.")),
        ("loading", "The first answer is on its way", "reads-en", _says("Fetching the first answer")),
        ("offline", "No connection at the start", "reads-en", _says("There is no connection.")),
        ("enough", "Enough for a day", "enough", _says("That is enough hard reading")),
        ("finished", "A study is done", "enough", _says("You are done.")),
    )
)


# ------------------------------------------------------------------------ plain pages


def _opened(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.evaluate("document.fonts.ready")


def _wrong(page: Page) -> None:
    page.get_by_label("Name").fill("nobody")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()


def plain(door: Door) -> tuple[State, ...]:
    """Pages outside Streamlit: of who is not signed in, and refusals."""
    return tuple(
        State(name, words, "plain", login, path, act)
        for name, words, login, path, act in (
            ("sign-in", "Sign in", None, "signin", _opened),
            ("sign-in-wrong", "Sign in: not right", None, "signin", _wrong),
            ("join", "An invitation", None, f"join/{door.join}", _opened),
            ("join-gone", "A link that ended", None, "join/nothing", _opened),
            ("study", "To take part in a study", None, f"join/{door.study}", _opened),
            ("sign-out", "Sign out", "reads-en", "signout", _opened),
            ("refused", "A page of another role", "reads-en", "loop", _opened),
        )
    )


# --------------------------------------------------------------------- Streamlit's pages


def _begins(page: Page) -> None:
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    _says("Before you start")(page)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)


def _uncovered(page: Page) -> None:
    drawn(page)
    page.get_by_role("button", name="Prepare my data").click()
    expect(page.get_by_role("link", name="Download my data")).to_be_visible()
    drawn(page)


def _unfolded(place: int, words: str, read: str = "") -> Callable[[Page], None]:
    """A past correction opened, in which these words then stand: 0 is the newest. `read` are texts to be opened in it."""

    def act(page: Page) -> None:
        drawn(page)
        run = page.get_by_test_id("stExpander").filter(has_text=re.compile(r"Correction \d+ ·")).nth(place)
        run.locator("summary").click()
        expect(run.get_by_text(words).first).to_be_visible()
        drawn(page)
        if read:
            run.get_by_role("radio", name=read).click()
            drawn(page)

    return act


def pages() -> tuple[State, ...]:
    """Every page of the application, as the role that sees most of it, and those that look otherwise to others."""
    found = [
        State("before-the-start", "Consent, before the first answer", "own", "newcomer", "review", _begins),
        State("away", "Away by one's own word", "own", "away", "review", _says("You are away")),
        State("you", "One's own page", "own", "ada", "you", drawn),
        State("mine", "One's own answers", "own", "ada", "mine", drawn),
        State("mine-data", "One's own data, prepared", "own", "ada", "mine", _uncovered),
        State("mine-empty", "No answers yet", "own", "empty", "mine", drawn),
        State(
            "corrections-run",
            "A correction: how its learning rate was found, when it stopped",
            "steering",
            "maintainer",
            "corrections",
            _unfolded(1, "How the learning rate was found"),
        ),
        State(
            "corrections-moves",
            "A correction: what became of its pairs and flagged answers",
            "steering",
            "maintainer",
            "corrections",
            _unfolded(0, "What became of its pairs", "Moved against"),
        ),
    ]
    for listed in PAGES:
        if listed.url_path in ("review", "mine"):
            continue
        role = next(one for one in _MOST if one in listed.roles)
        found.append(State(f"{listed.url_path}-{role}", listed.what, "steering", role, listed.url_path, drawn))
    return tuple(found)


def everything(door: Door) -> tuple[State, ...]:
    """All of them."""
    return (*plain(door), *BOARD, *pages())
