"""What may be known about the people of the panel: all pages and exports as lead, maintainer and auditor, over small groups.

A panel with groups of 7, 4 and 1 (and one where 8 and 4 leave nothing to show) is walked over raw websockets and HTTP; then an
attacker who has all of it reckons: no name, no account id, no group under five, and none by subtraction.
"""

import io
import json
import re
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import text as sql
from sqlmodel import select
from starlette.testclient import TestClient
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from flagback.review_app import downloads
from flagback.review_app.access import PAGES
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, background, consent, panel, reviews, slots, work
from flagback.storage.answers import Answer
from flagback.storage.background import Answered
from flagback.storage.export import export_reviews
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Role, now
from flagback.storage.store import Store
from flagback.storage.suppression import SMALLEST
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.browser import WebProcess
from tests.fresh import migrate
from tests.people import PASSWORD, agree

#: No page may hold these: logins and ids that cannot stand there by chance.
FIRST_ID = 7_340_001
WATCHERS: tuple[Role, ...] = ("lead", "maintainer", "auditor")
#: gender, faith, disability of twelve reviewers: 7 women, 4 men, 1 non-binary; 8 of no faith and 4 Sikhs; 6 and 6.
PEOPLE = (
    [("woman", "none", "no")] * 5 + [("woman", "none", "yes")] * 2 + [("man", "sikh", "yes")] * 4 + [("nonbinary", "none", "no")]
)


class Panel:
    """A home with twelve reviewers who agreed to everything and reviewed, and one account a watching role."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        store = Store(self.settings.records_url)
        migrate(store)
        self.key = self.settings.pseudonym_key()
        self.logins = [f"zephyrine-{number}-{uuid.uuid4().hex[:6]}" for number in range(len(PEOPLE))]
        with store.writing() as session:
            session.connection().execute(
                sql("INSERT INTO account (id, login, role, role_source, demo, disabled, created_at) "
                    "VALUES (:id, 'placeholder', 'auditor', 'local', false, true, '2026-01-01 00:00:00+00:00')"),
                {"id": FIRST_ID - 1},
            )  # fmt: skip
            for login, facts in zip(self.logins, PEOPLE, strict=True):
                account = accounts.create(session, login, PASSWORD, "reviewer")
                agree(session, account)
                consent.set_consent(session, account.id, {"assignment": True, "training": True, "export": True}, now=now())
                said = dict(zip(("gender", "faith", "disability"), (Answered([fact], None) for fact in facts), strict=True))
                background.set_answers(session, self.key, account.id, said, now=now())
            prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "The visitor said"}], "en")]).ids
            made = add_generations(session, [NewGeneration(prompts[0], " it was late.", "end", "imported", "import:x")])
            make_items(session, made, purpose="loop", reviews_per_item=len(PEOPLE), seed=0)
        with store.reading() as session:
            self.accounts = session.exec(select(Account).where(Account.role == "reviewer")).all()
        for account in self.accounts:
            self._review(store, account)
        self.cookies: dict[Role, str] = {}
        with store.writing() as session:
            for role in WATCHERS:
                watcher = accounts.create(session, f"watching-{role}", PASSWORD, role)
                agree(session, watcher)
                self.cookies[role] = accounts.open_session(session, watcher.id, now=now(), for_=timedelta(hours=1))
        store.close()
        self.installation: Installation = open_installation(self.settings)

    def _review(self, store: Store, account: Account) -> None:
        who = pseudonym(self.key, account.id)
        (held,) = slots.claim(store, who, count=1, now=now(), lease_for=timedelta(hours=1), seed=0)
        answer = Answer(
            token=str(uuid.uuid4()),
            lease_id=held.lease_id,
            verdict="fine",
            seconds_open=40.0,
            taxonomy_version=TAXONOMY_VERSION,
            guideline_version=GUIDELINE_VERSION,
        )
        worker = pseudonym(self.key, account.id, "work")
        reviews.submit(store, who, answer, now=now(), policy_version="1", worker=worker)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """The panel."""
    built = Panel(tmp_path_factory.mktemp("panel"))
    yield built
    built.installation.store.close()


@pytest.fixture(scope="module")
def seen(made: Panel) -> dict[Role, str]:
    """All that each role is shown on all its pages, as text."""
    with WebProcess(made.settings.home) as web:
        return {
            role: "\n".join(drawn(web, made.cookies[role], page.url_path) for page in PAGES if role in page.roles)
            for role in WATCHERS
        }


def drawn(web: WebProcess, cookie: str, page: str) -> str:
    """One page over a raw websocket."""
    with connect(
        web.url.replace("http", "ws") + "/_stcore/stream",
        additional_headers={"Cookie": f"flagback_session_{web.port}={cookie}"},
        origin=Origin(web.url),
        subprotocols=[Subprotocol("streamlit")],
        max_size=None,
    ) as socket:
        ask = BackMsg()
        ask.rerun_script.page_name = page
        socket.send(ask.SerializeToString())
        found = ""
        while True:
            message = ForwardMsg()
            raw = socket.recv(timeout=30)
            assert isinstance(raw, bytes)
            message.ParseFromString(raw)
            found += str(message)
            if message.WhichOneof("type") == "script_finished":
                return found


@pytest.fixture(scope="module")
def exported(made: Panel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The reviews with background and without, as given away."""
    folder = tmp_path_factory.mktemp("out")
    frames = {}
    for name, key in (("with", made.key), ("without", None)):
        export_reviews(made.installation.store, folder / name, format="parquet", background_key=key)
        frames[name] = pd.read_parquet(folder / name / "reviews.parquet")
        export_reviews(made.installation.store, folder / f"{name}-text", format="jsonl", background_key=key)
        texts = [path.read_text(encoding="utf-8") for path in (folder / f"{name}-text").iterdir()]
        frames[f"{name} all files"] = pd.DataFrame({"text": texts})
    return frames


def test_no_page_and_no_export_holds_a_reviewers_name_or_account_id(
    made: Panel, seen: Mapping[Role, str], exported: Mapping[str, pd.DataFrame]
) -> None:
    everything = list(seen.values()) + ["\n".join(frame["text"]) for name, frame in exported.items() if "files" in name]
    ids = [str(account.id) for account in made.accounts]
    assert min(account.id for account in made.accounts) >= FIRST_ID
    for text in everything:
        for login, number in zip(made.logins, ids, strict=True):
            assert login not in text
            assert not re.search(rf"(?<!\d){number}(?!\d)", text)
        assert "zephyrine" not in text


def test_no_page_shows_a_group_under_five_nor_an_exact_size(seen: Mapping[Role, str]) -> None:
    for role, text in seen.items():
        shown = re.findall(r"<tr><td>(?:<bdi>)?([^<]*)(?:</bdi>)?</td><td class=num>(?:<bdi>)?([^<]*)", text)
        bands = {name: band for name, band in shown if "or more" in band or "too few" in band}
        assert "Woman" in bands, f"{role}: {shown}"
        assert bands["Woman"] == "5 or more"
        for small in ("Man", "Non-binary", "Sikh", "No faith"):
            assert small not in bands, f"{small} for {role}"
        assert not any(re.fullmatch(r"\d+", band) for band in bands.values())


def test_every_combination_of_background_in_an_export_is_shared_by_five(exported: Mapping[str, pd.DataFrame]) -> None:
    people = exported["with"].drop_duplicates("pseudonym").set_index("pseudonym")["reviewer_background"]
    said = {str(name): json.loads(value) if isinstance(value, str) else {} for name, value in people.items()}
    assert len(said) == len(PEOPLE)
    assert any(said.values())
    classes = Counter(json.dumps(facts, sort_keys=True) for facts in said.values())
    assert min(classes.values()) >= SMALLEST, classes
    for question in ("gender", "faith", "disability"):
        shown = Counter(facts[question] for facts in said.values() if question in facts)
        assert all(count >= SMALLEST for count in shown.values())
        hidden = len(PEOPLE) - sum(shown.values())
        truth = Counter(person[("gender", "faith", "disability").index(question)] for person in PEOPLE)
        left = {answer: count - shown[answer] for answer, count in truth.items() if count > shown[answer]}
        assert hidden == 0 or (hidden >= SMALLEST and len(left) > 1), f"{question}: {shown} leaves {left}"
    assert "sikh" not in str(said)
    assert "nonbinary" not in str(said)
    assert "reviewer_background" not in exported["without"].columns


def test_who_takes_consent_back_is_in_no_later_export_nor_total(made: Panel, tmp_path: Path) -> None:
    women = [account for account, facts in zip(made.accounts, PEOPLE, strict=True) if facts[0] == "woman"]
    with made.installation.store.writing() as session:
        for account in women[:3]:
            consent.set_consent(session, account.id, {"export": False, "assignment": False}, now=now())
    try:
        export_reviews(made.installation.store, tmp_path / "after", format="parquet", background_key=made.key)
        frame = pd.read_parquet(tmp_path / "after" / "reviews.parquet").set_index("pseudonym")
        for account in women[:3]:
            assert bool(frame["reviewer_background"].isna()[pseudonym(made.key, account.id)])
        with made.installation.store.reading() as session:
            (gender,) = [question for question in panel.totals(session, made.key).questions if question.code == "gender"]
        assert gender.cells == [], "four women are left: too few, and with them everything"
        assert gender.hidden
    finally:
        with made.installation.store.writing() as session:
            for account in women[:3]:
                consent.set_consent(session, account.id, {"export": True, "assignment": True}, now=now())


def test_no_table_ties_a_review_to_a_background_to_hours_or_to_an_account(made: Panel) -> None:
    with made.installation.store.reading() as session:
        connection = session.connection()
        reviewers = set(connection.exec_driver_sql("SELECT reviewer FROM review").scalars())
        persons = set(connection.exec_driver_sql("SELECT person FROM background").scalars())
        workers = set(connection.exec_driver_sql("SELECT person FROM work_log").scalars())
        columns = {
            table: [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
            for table in ("review", "lease", "slot", "background", "work_log")
        }
    assert len(reviewers) == len(persons) == len(workers) == len(PEOPLE)
    assert not {name[2:] for name in reviewers} & {name[2:] for name in persons | workers}
    assert not {name[2:] for name in persons} & {name[2:] for name in workers}
    for table, names in columns.items():
        assert not [name for name in names if "account" in name or "login" in name], table


def test_hours_are_for_administrators_and_in_round_numbers(made: Panel) -> None:
    with made.installation.store.reading() as session:
        sheet = work.sheet(session, made.key)
    assert {row.login for row in sheet} == set(made.logins)
    assert {(row.answers, row.minutes) for row in sheet} == {(10, 5)}
    (people,) = [page for page in PAGES if page.url_path == "people"]
    assert people.roles == {"administrator"}


def test_a_download_is_fetched_by_who_prepared_it_alone(made: Panel, tmp_path: Path) -> None:
    from starlette.applications import Starlette

    from flagback.review_app import auth

    with made.installation.store.writing() as session:
        first, second = (accounts.create(session, name, PASSWORD, "maintainer") for name in ("one-who", "another"))
        cookies = [accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=1)) for account in (first, second)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("rows")
    ticket = downloads.prepare(made.installation, first, tmp_path / "data", "flagback-reviews")
    client = TestClient(Starlette(routes=downloads.routes(made.installation)))
    answers = []
    for cookie in (*cookies, "nobody"):
        client.cookies.set(auth.cookie_name(made.installation), cookie)
        answers.append(client.get(f"/downloads/{ticket}"))
    assert [answer.status_code for answer in answers] == [200, 404, 404]
    assert zipfile.ZipFile(io.BytesIO(answers[0].content)).read("flagback-reviews/a.txt") == b"rows"
