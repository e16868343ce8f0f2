"""The review board in a real Chromium, against a real web process, on SQLite and PostgreSQL: how long a person waits, and for what.

Parts: `alone` (one reviewer who answers every third of a second), `crowd` (the same browser among 49 reviewers without one, who
think three seconds each and ask by the same routes; sign-ins and consents are real; `first_claim` is all of them at one moment),
`keys` (presses and waits of each kind of decision) and `storm` (a thousand presses 40 ms apart, kill -9 twice with twenty answers
on their way, the network cut for 30 s).
The reviewer in the browser has thousands of answers behind them, has declined topics, and comparisons wait too: what a claim looks
at is all there.

`painted`: from the key's own time stamp to the end of the first frame with the next prompt. `saved`: from there to the end of the
first frame that says "Saved", which the board says only after the server did. Milliseconds. Processor time is user and system, of
the web process and its children, and on PostgreSQL of the database apart. PEERS is what rivals' documentation says.

    python benchmarks/review_board.py [--items 10000] [--seconds 45] [--parts alone,crowd,keys,storm] [--only sqlite] [--json]
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import create_engine, text
from sqlmodel import col, select

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.claims import fill, postgres, quantiles
from flagback.review_app.installation import Installation
from flagback.review_app.settings import Settings
from flagback.storage import background, consent, queue, wellbeing
from flagback.storage.items import FIRST_BUCKET, slot_row
from flagback.storage.records import Account, Generation, Item, Slot
from flagback.storage.store import Store, insert_all
from tests import board_storm
from tests.board_place import Place, shown
from tests.browser import WebProcess, chromium, page_of, sign_in
from tests.crowd import Crowded
from tests.people import PASSWORD, person

QUESTION, WHICH = "Would you change this answer?", "Which answer is better?"
#: Seconds between two answers in the browser: alone, and among the crowd, more often than all others so that there are enough.
APART_ALONE, APART_CROWDED = 0.33, 0.75
ALONE, PEOPLE, THINK = 100, 50, 3.0
#: What the browser's reviewer has behind them: answers in all, of the last day, and of those severe.
DONE, TODAY, SEVERE = 2_000, 200, 5
PAIRS = 300
#: What each generated answer goes on with: some sixty words, as models write.
WORDS = " ".join(f"and then sentence {n} went on about the boat, the harbour and who was late for it." for n in range(4))

#: In the page before anything else: keeps the time of the last key, and of each new prompt and receipt when its frame is done.
CLOCK = """
window.__last = null; window.__marks = [];
addEventListener('keydown', (event) => { window.__last = event.timeStamp; }, true);
"""
MARKS = """() => {
  const holder = [...document.querySelectorAll('*')].find((one) => one.shadowRoot?.querySelector('.turns'));
  const root = holder?.shadowRoot ?? document, turns = root.querySelector('.turns'), saved = root.querySelector('.saved');
  const after = (act) => requestAnimationFrame(() => {
    const frame = new MessageChannel();
    frame.port1.onmessage = () => act(performance.now());
    frame.port2.postMessage(0);
  });
  const read = () => [...turns.querySelectorAll('.prompt')].at(-1)?.textContent;
  let before = read(), unsaved = [];
  new MutationObserver(() => {
    const now = read();
    if (now === before) return;
    before = now;
    const mark = { pressed: window.__last };
    window.__last = null;
    if (mark.pressed === null) return;
    window.__marks.push(mark);
    unsaved.push(mark);
    after((moment) => { mark.painted = moment - mark.pressed; });
  }).observe(turns, { childList: true, subtree: true, characterData: true });
  new MutationObserver(() => {
    if (!saved.classList.contains('on')) return;
    const done = unsaved;
    unsaved = [];
    if (done.length) after((moment) => done.forEach((mark) => { mark.saved = moment - mark.pressed; }));
  }).observe(saved, { attributes: true, childList: true, characterData: true, subtree: true });
}"""

#: What the rivals' documentation says, read 2026-11-22. Presses follow from the keys named there, for a form that asks the same; no
#: page of theirs says how long the machine makes a person wait.
PEERS: dict[str, dict[str, Any]] = {
    "argilla": {
        "source": "argilla-io/argilla, argilla/docs/how_to_guides/annotate.md",
        "says": "1, 2, 3 choose a label, rating or rank; arrows go between questions; Enter submits and the next record appears.",
        "fine": "2 (label, Enter)",
        "quick flag": "4 or more (a digit for each of three questions, Enter; arrows between questions)",
        "full flag": "no number: spans by the mouse, Shift+Enter into a text and Esc out of it, Enter",
        "pair": "2 (rating or label, Enter)",
        "wait": "not documented",
    },
    "potato": {
        "source": "davidjurgens/potato, docs: productivity; annotation-types/comparison/pairwise_annotation.md",
        "says": "Digits for the first question's labels, Q to P and A to L for the next two's; 1, 2 and 0 in a pair.",
        "fine": "1 to choose, and going on",
        "quick flag": "3 to choose (one of each of three questions), and going on",
        "full flag": "no number",
        "pair": "1 to choose, and going on",
        "wait": "not documented",
    },
}


# ------------------------------------------------------------------------ the place


class Served:
    """A home with much to judge, its people, and its web process."""

    def __init__(self, folder: Path, database: str | None, items: int) -> None:
        self.settings = Settings(home=folder / "home", database_url=database)
        self.store = Store(self.settings.records_url)
        self.store.migrate()
        fill(self.store, items)
        with self.store.writing() as session:
            session.connection().execute(text("UPDATE generation SET text = text || :more"), {"more": f" {WORDS}"})
            wellbeing.set_terms(session, wellbeing.USUAL._replace(cover_from=1.0), by="benchmark", now=_now())
        pairs(self.store, PAIRS)
        queue.deal(self.store, now=_now())
        self.here = Installation(self.settings, self.store, self.settings.pseudonym_key())
        self.accounts = [self._person(f"person-{number:02d}", grouped=number % 3 == 0) for number in range(PEOPLE)]
        veteran(self.store, self.here.reviewer(self.accounts[0]))
        with self.store.writing() as session:
            topics = ["category:sexual", "target:age"]
            wellbeing.decline(session, self.accounts[0].id, topics, now=_now())
        _analyse(self.store)
        self.web = WebProcess(self.settings.home, folder=folder, FLAGBACK_DATABASE_URL=database or "")

    def _person(self, login: str, *, grouped: bool) -> Account:
        with self.store.writing() as session:
            account = person(session, login)
            if grouped:
                said = {"gender": background.Answered(["woman"], None)}
                background.set_answers(session, self.here.pseudonym_key, account.id, said, now=_now())
                consent.set_consent(session, account.id, {"assignment": True}, now=_now())
        return account

    def answers(self) -> int:
        """How many answers are stored."""
        with self.store.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM review")).scalar_one())


def _now() -> datetime:
    return datetime.now(UTC)


def _analyse(store: Store) -> None:
    with store.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


def pairs(store: Store, count: int) -> None:
    """So many prompts' answers side by side, with three seats each."""
    with store.writing() as session:
        rows = session.exec(select(Generation.id, Generation.prompt_id).order_by(col(Generation.id)).limit(count * 2)).all()
        start = 1 + int(session.connection().execute(text("SELECT max(id) FROM item")).scalar_one())
        items = [
            {
                "id": start + place,
                "kind": "pair",
                "purpose": "loop",
                "prompt_id": rows[2 * place][1],
                "generation_id": None,
                "overlap_id": None,
                "created_at": _now(),
            }
            for place in range(count)
        ]
        insert_all(session, "item", items)
        beside = [
            {"item_id": start + place, "position": side, "generation_id": rows[2 * place + side][0]}
            for place in range(count)
            for side in (0, 1)
        ]
        insert_all(session, "item_generation", beside)
        seats = [
            slot_row(start + place, number, f"pair {place}", "en", 0, bucket=FIRST_BUCKET, mode="compare")
            for place in range(count)
            for number in range(3)
        ]
        insert_all(session, "slot", seats)
        if not store.is_sqlite:
            session.connection().execute(text(f"SELECT setval(pg_get_serial_sequence('item', 'id'), {start + count})"))


def veteran(store: Store, who: str) -> None:
    """The answers that a reviewer has behind them, a tenth of them of the last day."""
    with store.writing() as session:
        newest = select(Item.id).where(Item.kind == "single").order_by(col(Item.id).desc()).limit(DONE)
        items = sorted(session.exec(newest).all())
        slots = dict(session.exec(select(Slot.item_id, Slot.id).where(col(Slot.item_id) >= items[0], Slot.mode == "single")).all())
        leases, reviews = [], []
        for place, item in enumerate(items):
            left = len(items) - place
            moment = _now() - (timedelta(minutes=5 * left) if left <= TODAY else timedelta(days=1, minutes=15 * left))
            lease = str(uuid.uuid4())
            held = {"id": lease, "slot_id": slots[item], "item_id": item, "reviewer": who, "probability": None}
            leases.append(held | {"claimed_at": moment, "expires_at": moment, "outcome": "late"})
            reviews.append(_earlier(item, lease, who, moment, severe=left <= SEVERE))
        insert_all(session, "lease", leases)
        insert_all(session, "review", reviews)


def _earlier(item: int, lease: str, who: str, moment: datetime, *, severe: bool) -> dict[str, Any]:
    nothing = dict.fromkeys(("slot_id", "target_other", "rewrite", "note", "skip_reason", "supersedes", "ranking"))
    said = {
        "token": str(uuid.uuid4()),
        "item_id": item,
        "lease_id": lease,
        "reviewer": who,
        "verdict": "flag" if severe else "fine",
        "categories": ["demeaning"] if severe else [],
        "targets": [],
        "severity": "severe" if severe else None,
        "sure": True,
        "spans": [],
        "taxonomy_version": "1",
        "guideline_version": "1",
        "policy_version": "1",
        "seconds_open": 5.0,
        "late": True,
        "simulated": False,
        "created_at": moment,
    }
    return nothing | said


# ---------------------------------------------------------------------------- time


def processor(process: psutil.Process) -> float:
    """User and system seconds of a process and its children, ended ones that were waited for included."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            spent = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def database_process() -> psutil.Process | None:
    """The PostgreSQL server that this process's benchmark started, found by its folder's name."""
    for one in psutil.process_iter(["name", "cmdline"]):
        words = one.info["cmdline"] or []
        if any("flagback-claims-" in word for word in words) and (one.info["name"] or "").startswith("postgres"):
            return one
    return None


class Cost:
    """Processor time from one moment to another."""

    def __init__(self, served: Served) -> None:
        assert served.web.process is not None  # nosec B101 # a check of this benchmark
        self.served = served
        self.web = psutil.Process(served.web.process.pid)
        self.database = None if served.store.is_sqlite else database_process()
        self.before = self._now()

    def _now(self) -> tuple[float, float, int]:
        return processor(self.web), processor(self.database) if self.database else 0.0, self.served.answers()

    def told(self) -> dict[str, Any]:
        """Milliseconds an answer."""
        web, database, answers = (after - before for after, before in zip(self._now(), self.before, strict=True))
        found = {"answers": answers, "web_ms_an_answer": round(1000 * web / max(1, answers), 1)}
        return found | ({"database_ms_an_answer": round(1000 * database / max(1, answers), 1)} if self.database else {})


def marked(page: Page) -> dict[str, Any]:
    """What the page measured since it was last asked."""
    page.wait_for_timeout(500)
    marks: list[dict[str, float]] = page.evaluate("() => { const marks = window.__marks; window.__marks = []; return marks; }")
    return {
        "answers": len(marks),
        "painted_ms": _quantiles(marks, "painted"),
        "saved_ms": _quantiles(marks, "saved"),
    }


def _quantiles(marks: Sequence[dict[str, float]], name: str) -> dict[str, float | int]:
    return quantiles(sorted(mark[name] / 1000 for mark in marks if name in mark))


@contextmanager
def board(browser: Browser, url: str, login: str) -> Iterator[Page]:
    """The board of a reviewer, measured."""
    with page_of(browser) as page:
        page.add_init_script(CLOCK)
        sign_in(page, url, login, PASSWORD)
        expect(page.get_by_text(QUESTION)).to_be_visible(timeout=30_000)
        page.evaluate(MARKS)
        page.wait_for_timeout(1_500)
        yield page


def beat(page: Page, ends: Callable[[int], bool], *, apart: float) -> None:
    """Passes one answer after the other, each at its time."""
    start, number = time.monotonic(), 0
    while not ends(number):
        page.wait_for_timeout(max(1.0, 1000 * (start + number * apart - time.monotonic())))
        page.keyboard.press("j")
        number += 1


# --------------------------------------------------------------------------- parts


def alone(served: Served, browser: Browser) -> dict[str, Any]:
    """One reviewer, nobody else."""
    with board(browser, served.web.url, served.accounts[0].login) as page:
        cost = Cost(served)
        beat(page, lambda number: number >= ALONE, apart=APART_ALONE)
        return marked(page) | {"cost": cost.told()}


def crowd(served: Served, browser: Browser, seconds: float) -> dict[str, Any]:
    """The same among 49 others."""
    context = multiprocessing.get_context("spawn")
    ready, begin, out = context.Event(), context.Event(), context.Queue()
    given = (served.settings.home, served.settings.database_url, served.web.url, [one.login for one in served.accounts[1:]])
    others = context.Process(target=people, args=(*given, seconds, ready, begin, out))
    others.start()
    try:
        with board(browser, served.web.url, served.accounts[0].login) as page:
            if not ready.wait(120):
                raise SystemExit("The others did not sign in within two minutes.")
            cost = Cost(served)
            begin.set()
            page.wait_for_timeout(1000 * THINK)  # until all have begun
            ends = time.monotonic() + seconds - THINK
            beat(page, lambda _number: time.monotonic() >= ends, apart=APART_CROWDED)
            found = marked(page) | {"cost": cost.told()}
        took, failed = out.get(timeout=60)
    finally:
        begin.set()
        others.join(60)
    routes = {f"others_{route}_ms": quantiles(sorted(times)) for route, times in took.items()}
    return found | {"people": PEOPLE, "think_seconds": THINK, "failures": failed} | routes


def people(
    home: Path, database: str | None, url: str, logins: Sequence[str], seconds: float, ready: Any, begin: Any, out: Any
) -> None:
    """The others, in a process of their own, each in a thread."""
    settings = Settings(home=home, database_url=database)
    store = Store(settings.records_url)
    here = Installation(settings, store, settings.pseudonym_key())
    with store.reading() as session:
        accounts = session.exec(select(Account).where(col(Account.login).in_(logins))).all()
    crowd = [Crowded(here, url, account) for account in accounts]
    failed: list[str] = []
    _all([threading.Thread(target=_in_time, args=(one.begin, failed)) for one in crowd])
    took = {"first_claim": [took for one in crowd for took in one.took["claim"]]}
    for one in crowd:
        one.took["claim"].clear()
    ready.set()
    begin.wait(120)
    ends = time.monotonic() + seconds
    _all([threading.Thread(target=_judge, args=(one, place, ends, failed)) for place, one in enumerate(crowd)])
    for one in crowd:
        one.close()
    store.close()
    out.put((took | {route: [took for one in crowd for took in one.took[route]] for route in ("claim", "answers")}, failed))


def _all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_time(act: Callable[[], None], failed: list[str]) -> None:
    try:
        act()
    except Exception as error:
        failed.append(repr(error)[:300])


def _judge(one: Crowded, place: int, ends: float, failed: list[str]) -> None:
    draw = Random(place)  # nosec B311 # made-up people, seeded

    def judge() -> None:
        time.sleep(draw.random() * THINK)
        while time.monotonic() < ends:
            if draw.random() < 0.1:
                one.answer("flag", categories=["stereotype"], targets=["age"], severity="clear")
            else:
                one.answer()
            time.sleep(THINK)

    _in_time(judge, failed)


def keys(served: Served, browser: Browser) -> dict[str, Any]:
    """Presses, clicks and letters of each kind of decision, and what the machine makes one wait for after it."""
    found = {}
    with board(browser, served.web.url, served.accounts[1].login) as page:
        for name, act, times in (("fine", _fine, 15), ("quick flag", _quick, 12), ("full flag", _full, 8)):
            found[name] = _decided(page, act, times)
        page.keyboard.press("c")
        expect(page.get_by_text(WHICH)).to_be_visible(timeout=20_000)
        page.wait_for_timeout(500)
        marked(page)
        found["pair"] = _decided(page, _pair, 15)
    return found


class Hand:
    """Presses what a person would, and counts it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.keys, self.clicks, self.letters = 0, 0, 0

    def press(self, *names: str) -> None:
        """Keys, each once the last was drawn."""
        for name in names:
            self.page.wait_for_timeout(60)
            self.page.keyboard.press(name)
            self.keys += 1

    def type(self, words: str) -> None:
        """Letters of a text."""
        self.page.keyboard.type(words)
        self.letters += len(words)

    def click(self, name: str) -> None:
        """A button."""
        self.page.get_by_role("button", name=name).first.click()
        self.clicks += 1


def _fine(hand: Hand) -> None:
    hand.press("j")


def _quick(hand: Hand) -> None:
    hand.press("f", "1", "s", "Enter")


def _full(hand: Hand) -> None:
    """Two reasons, the second the main one, a group, how bad, unsure, three marked words, a note and a rewrite."""
    hand.press("f", "1", "3", "m")
    hand.click("Religion or belief")
    hand.press("g", "q", "v", "Shift+ArrowRight", "Shift+ArrowRight", "Enter", "Escape", "n")
    hand.type("Seen before.")
    hand.press("Escape", "w", "End")
    hand.type(" Kinder.")
    hand.press("Control+Enter")


def _pair(hand: Hand) -> None:
    hand.press("ArrowLeft")


def _decided(page: Page, act: Callable[[Hand], None], times: int) -> dict[str, Any]:
    hand = Hand(page)
    for _ in range(times):
        before = shown(page)
        page.wait_for_timeout(300)
        act(hand)
        expect(page.locator(".turns .prompt").last).not_to_have_text(before, timeout=10_000)
    each = {name: getattr(hand, name) / times for name in ("keys", "clicks", "letters")}
    return each | marked(page)


def storm(database: Callable[[], str | None], browser: Browser) -> dict[str, Any]:
    """Each in a place of its own."""
    found: dict[str, Any] = {}
    for name, weather in (
        ("thousand presses", lambda place: board_storm.thousand_presses(place, browser)),
        ("killed twice", lambda place: board_storm.killed_twice(place, browser)),
        ("cut off", lambda place: board_storm.cut_off(place, browser)),
        ("killed under a crowd", board_storm.killed_under_a_crowd),
    ):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), answers=1_050 if name == "thousand presses" else 60, database=database())
            with place.web:
                found[name] = weather(place)._asdict()
            place.store.close()
    return found


# ---------------------------------------------------------------------------- main


def run(database: Callable[[], str | None], given: argparse.Namespace, browser: Browser) -> dict[str, Any]:
    """All parts on one kind of database."""
    found: dict[str, Any] = {"items": given.items, "cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1)}
    if given.parts & {"alone", "crowd", "keys"}:
        with tempfile.TemporaryDirectory() as folder:
            served = Served(Path(folder), database(), given.items)
            with served.web:
                if "alone" in given.parts:
                    found["alone"] = alone(served, browser)
                if "crowd" in given.parts:
                    found["crowd"] = crowd(served, browser, given.seconds)
                if "keys" in given.parts:
                    found["keys"] = keys(served, browser)
            served.store.close()
    if "storm" in given.parts:
        found["storm"] = storm(database, browser)
    return found


def databases(server: str) -> Iterator[str]:
    """Empty databases on a server, one after the other."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    while True:
        name = f"b{uuid.uuid4().hex[:12]}"
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield server.replace("/postgres?", f"/{name}?")


def main() -> None:
    """Measures both databases and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=45.0, help="of the crowd")
    parser.add_argument("--parts", default="alone,crowd,keys,storm", help="some of alone, crowd, keys, storm")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    given = parser.parse_args()
    given.parts = set(given.parts.split(","))
    if given.items < DONE * 2:
        parser.error(f"--items is {given.items}; expected {DONE * 2} or more, since one reviewer has done {DONE} of them")
    found: dict[str, Any] = {"peers": PEERS}
    kinds = [given.only] if given.only else ["sqlite", "postgresql"]
    with chromium() as browser:
        for kind in kinds:
            with nullcontext(None) if kind == "sqlite" else postgres() as server:
                fresh = databases(server) if server else None
                found[kind] = run(lambda fresh=fresh: next(fresh) if fresh else None, given, browser)  # type: ignore[misc]
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for kind in kinds:
        for part, of in found[kind].items():
            print(f"{kind} {part}: {of}")


if __name__ == "__main__":
    main()
