"""Hard weather for the board, in a real browser against a real server: a thousand presses, kill -9, a network that is cut.

Each returns counts of what was pressed, posted, shown and stored; whoever calls says what they must be. Knows no thresholds.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from playwright.sync_api import Browser, Page, Request, Route, expect

from flagback.review_app.installation import Installation
from flagback.review_app.settings import Settings
from tests.board_place import Place, asked, pressed, shown
from tests.browser import free_port, page_in, page_of, sign_in
from tests.crowd import Crowded, said_of
from tests.people import PASSWORD, person
from tests.waiting import until

PRESSES, APART = 1_000, 0.04
#: Under so many seconds an answer was faster than a look.
FAST = 0.2
IN_FLIGHT = 20
#: Of a crowd; enough that two of them meet answers on their way.
MOST_BLOWS = 6

#: Counts listeners for keys that the board's files attach: how many there are, and how many there ever were at once.
WATCH = """
window.__listeners = 0; window.__most = 0;
const attach = EventTarget.prototype.addEventListener, detach = EventTarget.prototype.removeEventListener;
const ours = () => /bidi-components/.test(new Error().stack ?? '');
EventTarget.prototype.addEventListener = function (kind, ...rest) {
  if (/^key/.test(kind) && ours()) window.__most = Math.max(window.__most, window.__listeners += 1);
  return attach.call(this, kind, ...rest);
};
EventTarget.prototype.removeEventListener = function (kind, ...rest) {
  if (/^key/.test(kind) && ours()) window.__listeners -= 1;
  return detach.call(this, kind, ...rest);
};
"""
#: Notes every prompt that comes up.
NOTE = """() => {
  const holder = [...document.querySelectorAll('*')].find((one) => one.shadowRoot?.querySelector('.turns'));
  const root = holder?.shadowRoot ?? document, turns = root.querySelector('.turns');
  const read = () => [...turns.querySelectorAll('.prompt')].at(-1)?.textContent;
  window.__seen = [read()];
  new MutationObserver(() => { const now = read(); if (now && now !== window.__seen.at(-1)) window.__seen.push(now); })
    .observe(turns, { childList: true, subtree: true });
}"""


class Beat(NamedTuple):
    """What became of presses in a steady beat."""

    presses: int
    #: Presses that judged an answer, and those with nothing painted that they could mean.
    taken: int
    ignored: int
    #: Requests with an answer, and different answers among them.
    posts: int
    tokens: int
    rows: int
    #: Whether each stored answer is for the item that was on the screen at its turn.
    as_seen: bool
    #: Stored answers whose time open says that nobody can have read them.
    fast: int
    #: Key listeners of the board's: now, and the most there ever were.
    listeners: int
    most_listeners: int


class Kept(NamedTuple):
    """What became of answers given in a storm."""

    given: int
    stored: int
    #: Whether the stored ones are the given ones, each once, in the order given.
    in_order: bool
    #: How many were stored at each blow.
    at_blow: tuple[int, ...]
    #: Seconds from the end of the storm until the last was stored.
    seconds_after: float


def thousand_presses(place: Place, browser: Browser, *, presses: int = PRESSES) -> Beat:
    """Presses 40 ms apart, each at its time however long the last one took."""
    context = browser.new_context(viewport={"width": 900, "height": 900})
    context.add_init_script(WATCH)
    posts: list[str] = []

    def count(request: Request) -> None:
        if request.url.endswith("/api/v1/answers"):
            posts.append(json.loads(request.post_data or "{}")["token"])

    with page_in(context) as page:
        page.on("request", count)
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        page.evaluate(NOTE)
        start = time.monotonic()
        for number in range(presses):
            time.sleep(max(0.0, start + number * APART - time.monotonic()))
            page.keyboard.press("j")
        taken, ignored = pressed(page, "taken"), pressed(page, "ignored")
        until(lambda: len(place.rows()) >= taken, "every decision stored")
        time.sleep(1)
        rows = place.rows()
        seen: list[str] = page.evaluate("window.__seen")
        now, most = page.evaluate("[window.__listeners, window.__most]")
    context.close()
    mine = f"reviewer = '{place.who}' AND seconds_open < {FAST}"
    [[fast]] = place.ask(f"SELECT count(*) FROM review WHERE {mine}")  # nosec B608 # a name that the test made
    as_seen = [row.prompt for row in rows] == seen[: len(rows)]
    return Beat(presses, taken, ignored, len(posts), len(set(posts)), len(rows), as_seen, int(fast), now, most)


def killed_twice(place: Place, browser: Browser) -> Kept:
    """kill -9 while twenty answers of one reviewer are on their way, and once more while the rest of them are."""
    with page_of(browser) as page:
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        held: list[Route] = []
        page.route("**/api/v1/answers", lambda route: held.append(route))
        given = _answers(page, IN_FLIGHT)
        page.unroute_all()
        for route in held:
            with suppress(Exception):  # one whose page gave up waiting for it
                route.abort()
        at_blow = []
        for enough in (IN_FLIGHT // 4, IN_FLIGHT // 2):
            until(lambda wanted=enough: len(place.rows()) >= wanted, "some are stored")  # type: ignore[misc]
            place.web.kill()
            at_blow.append(len(place.rows()))
            time.sleep(1)
            place.web.start()
        return _kept(place, given, at_blow)


def cut_off(place: Place, browser: Browser, *, seconds: float = 30.0) -> Kept:
    """The network is cut for a while: what is open breaks, what comes anew is never answered, and the reviewer goes on."""
    with Wire(place.web.port) as wire, page_of(browser) as page:
        sign_in(page, wire.url, place.reviewer(), PASSWORD)
        asked(page)
        given = _answers(page, 3)
        until(lambda: len(place.rows()) == 3, "the first are stored")
        wire.cut()
        ends = time.monotonic() + seconds
        given += _answers(page, 6)
        expect(page.get_by_text(re.compile("[67] answers kept here"))).to_be_visible()
        at_blow = [len(place.rows())]
        page.wait_for_timeout(max(0.0, ends - time.monotonic()) * 1000)
        at_blow.append(len(place.rows()))
        wire.mend()
        return _kept(place, given, at_blow)


def _answers(page: Page, count: int) -> list[str]:
    """So many passes, each for an item on the screen; the prompts."""
    given = []
    for _ in range(count):
        given.append(shown(page))
        page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true), 20)))")
        page.keyboard.press("j")
        expect(page.locator(".stage:not([hidden]) .turns .prompt").last).not_to_have_text(given[-1])
    return given


def _kept(place: Place, given: Sequence[str], at_blow: Sequence[int]) -> Kept:
    """What is stored in the end; a second is waited for whatever may still come twice."""
    began = time.monotonic()
    with suppress(AssertionError):
        until(lambda: len(place.rows()) >= len(given), "all stored")
    after = time.monotonic() - began
    time.sleep(1)
    rows = [row.prompt for row in place.rows()]
    return Kept(len(given), len(rows), rows == list(given), tuple(at_blow), after)


def killed_under_a_crowd(place: Place, *, people: int = IN_FLIGHT) -> Kept:
    """Twenty reviewers send an answer each at one moment, kill -9 meets them on their way; each insists. Then once more.

    A blow that came after all were stored meets none of them and is struck again, up to `MOST_BLOWS` in all.
    """
    installation = Installation(Settings(home=place.home, database_url=place.database), place.store, place.key)
    with place.store.writing() as session:
        accounts = [person(session, f"crowd-{time.monotonic_ns()}-{number}") for number in range(people)]
    crowd = [Crowded(installation, place.web.url, account) for account in accounts]
    at_blow: list[int] = []
    stored, given, after = 0, 0, 0.0
    names = ", ".join(f"'{one.who}'" for one in crowd)

    def rows() -> int:
        return int(place.ask(f"SELECT count(*) FROM review WHERE reviewer IN ({names})")[0][0])  # nosec B608 # a name that the test made

    while len(at_blow) < MOST_BLOWS and sum(met < people for met in at_blow) < 2:
        before, threads = rows(), []
        for one in crowd:
            one.begin()
            assert one.shown is not None
            said = said_of(one.shown["lease_id"])
            threads.append(threading.Thread(target=one.insist, args=(said,), kwargs={"seconds": 90}))
            one.shown = one.queue.pop(0)
        for thread in threads:
            thread.start()
        until(lambda wanted=before: rows() > wanted, "one is stored", every=0.001)  # type: ignore[misc]
        place.web.kill()
        at_blow.append(rows() - before)
        began = time.monotonic()
        place.web.start()
        for thread in threads:
            thread.join()
        after = max(after, time.monotonic() - began)
        given, stored = given + people, rows()
    distinct = f"SELECT DISTINCT item_id, reviewer FROM review WHERE reviewer IN ({names})"  # nosec B608 # a name that the test made
    [[different]] = place.ask(f"SELECT count(*) FROM ({distinct}) x")  # nosec B608 # a name that the test made
    for one in crowd:
        one.close()
    return Kept(given, stored, int(different) == given == stored, tuple(at_blow), after)


class Wire:
    """A wire to the server that can be cut: what is open breaks, what comes anew is taken and never answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.whole, self.closed = True, False
        self.ends: list[socket.socket] = []
        self.listening = socket.create_server(("127.0.0.1", free_port()))

    @property
    def url(self) -> str:
        """The near end."""
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def __enter__(self) -> "Wire":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.listening.close()
        self._hang_up()

    def cut(self) -> None:
        """From now on nothing comes through."""
        self.whole = False
        self._hang_up()

    def mend(self) -> None:
        """From now on all comes through again; what was swallowed is gone."""
        self.whole = True
        self._hang_up()

    def _hang_up(self) -> None:
        gone, self.ends = self.ends, []
        for end in gone:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self.closed:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            self.ends.append(near)
            if not self.whole:
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                near.close()
                continue
            self.ends.append(far)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
