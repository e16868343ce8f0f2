"""Claims about the route for logged answers: a key alone opens it, each error names its field, sent twice is stored once."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, func, select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from flagback.review_app import access, auth
from flagback.review_app.api import build_api, outputs
from flagback.review_app.guard import Guard
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, output_keys
from flagback.storage.records import AuditEntry, Generation, Item, OutputBatch, OutputKey, Record, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.people import person

AGREED = "Users agreed in the terms of 2026-10-01 that answers are read by reviewers."
Answer = Any


@pytest.fixture
def here(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """A home, on each kind of database."""
    yield from opened(Settings(home=tmp_path / "home", database_url=database_url))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Installation]:
    """A home on SQLite, where the kind of database does not matter."""
    yield from opened(Settings(home=tmp_path / "home"))


def opened(settings: Settings) -> Iterator[Installation]:
    """The home, migrated."""
    store = Store(settings.records_url)
    migrate(store)
    store.close()
    found = open_installation(settings)
    yield found
    found.store.close()


def program(here: Installation, name: str = "chat") -> TestClient:
    """A client with a new key, behind the guard as the server mounts it."""
    with here.store.writing() as session:
        key = output_keys.make(session, name, by="root", now=now())
    return client(here, Authorization=f"Bearer {key}")


def client(here: Installation, **headers: str) -> TestClient:
    """A client with these headers and nothing else."""
    guard = Middleware(Guard, installation=here)
    app = Starlette(routes=[Mount("/api/v1", app=build_api(here))], middleware=[guard])
    return TestClient(app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False)


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    """Answers that differ."""
    return [{"prompt": f"What is at number {n}?", "answer": f" A house, and {n} trees."} | more for n in range(count)]


def body(count: int = 3, **more: Any) -> dict[str, Any]:
    """A request that is right."""
    return {"batch": "november", "consent": AGREED, "review_share": 0.5, "outputs": rows(count)} | more


def counted(here: Installation) -> dict[str, int]:
    """Rows of every table."""
    with here.store.reading() as session:
        return {
            name: session.connection().execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Record.metadata.tables.items()
        }


def refused(answer: Answer) -> tuple[int, str, str]:
    """Status, code and message of an error, which has nothing else."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return answer.status_code, error["code"], error["message"]


# ------------------------------------------------------------------------ what is stored


def test_answers_come_in_as_a_document_or_as_lines_and_are_reported(here: Installation) -> None:
    sender = program(here)
    first = sender.post("/api/v1/outputs", json=body(40))
    assert first.status_code == 200, first.text
    report = first.json()
    assert (report["batch"], report["rows"], report["added"], report["duplicates"]) == ("november", 40, 40, 0)
    head = {"batch": "november", "consent": AGREED, "review_share": 0.5}
    lines = "\n".join(json.dumps(line) for line in (head, *rows(60))) + "\n"
    second = sender.post("/api/v1/outputs", content=lines, headers={"Content-Type": "application/x-ndjson; charset=utf-8"})
    assert (second.status_code, second.json()["added"], second.json()["duplicates"]) == (200, 20, 40)
    with here.store.reading() as session:
        batch = session.exec(select(OutputBatch)).one()
        key = session.exec(select(OutputKey)).one()
        assert (batch.brought_by, batch.consent, batch.review_share, batch.n_answers) == ("key chat", AGREED, 0.5, 60)
        assert (
            batch.n_drawn == report["drawn"] + second.json()["drawn"] == session.exec(select(func.count()).select_from(Item)).one()
        )
        assert session.exec(select(AuditEntry.actor).order_by(col(AuditEntry.id))).all() == ["root", "key chat", "key chat"]
    assert key.seen_at is not None
    assert (key.seen_at.minute, key.seen_at.second, key.seen_at.microsecond) == (0, 0, 0), "to the hour"


def test_a_request_sent_again_after_a_lost_reply_stores_and_draws_nothing(here: Installation) -> None:
    sender = program(here)
    first = sender.post("/api/v1/outputs", json=body(30)).json()
    before = counted(here)
    again = sender.post("/api/v1/outputs", json=body(30))
    assert (again.status_code, again.json()["added"], again.json()["duplicates"], again.json()["drawn"]) == (200, 0, 30, 0)
    assert first["added"] == 30
    assert counted(here) == before


def test_the_sender_cannot_foresee_what_is_drawn(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        for here in opened(Settings(home=tmp_path / name)):
            assert program(here).post("/api/v1/outputs", json=body(60)).status_code == 200
            with here.store.reading() as session:
                texts = select(Generation.text).join(Item, col(Item.generation_id) == Generation.id)
                found.append(frozenset(session.exec(texts).all()))
    assert found[0] != found[1]


def test_answers_that_nobody_agreed_to_or_with_contacts_are_counted_and_not_kept(one: Installation) -> None:
    said = [True, False, True]
    sent = [row | {"consent": value} for row, value in zip(rows(3), said, strict=True)]
    sent[2]["answer"] = "Write to ada@mail.example"
    report = program(one).post("/api/v1/outputs", json=body(outputs=sent)).json()
    assert (report["added"], sum(report["refused"].values())) == (1, 2)
    assert report["refused_rows"][0].startswith("the request, output 2: ")
    with one.store.reading() as session:
        assert session.exec(select(Generation.text)).all() == [" A house, and 0 trees."]


def test_a_batch_is_one_keys_alone_and_keeps_its_terms(one: Installation) -> None:
    first, other = program(one), program(one, "other")
    assert first.post("/api/v1/outputs", json=body()).status_code == 200
    before = counted(one)
    status, code, words = refused(other.post("/api/v1/outputs", json=body(5)))
    assert (status, code) == (409, "other_batch")
    assert "brought by is 'key other', but 'key chat'" in words
    status, code, words = refused(first.post("/api/v1/outputs", json=body(5, review_share=0.6)))
    assert (status, code, "review share is 0.6, but 0.5" in words) == (409, "other_batch", True)
    assert counted(one) == before


# ------------------------------------------------------------------------ who may


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer fbk_", "Bearer fbk_unknown", "Basic {key}", "{key}", "Bearer {key}x",
     "Bearer {key[:-1]}", "Bearer {hash}", "Bearer {ended}", "Bearer \xff", "Bearer fbk_" + "a" * 5_000],
)  # fmt: skip
def test_without_a_live_key_nothing_is_opened(one: Installation, header: str | None) -> None:
    with one.store.writing() as session:
        key, ended = (output_keys.make(session, name, by="root", now=now()) for name in ("live", "ended"))
        output_keys.withdraw(session, "ended", by="root", now=now())
        hashed = session.exec(select(OutputKey.key_hash)).first()
    shown = {}
    if header is not None:
        parts = {"{key}": key, "{key[:-1]}": key[:-1], "{hash}": hashed or "", "{ended}": ended}
        for name, value in parts.items():
            header = header.replace(name, value)
        shown = {"Authorization": header}
    before = counted(one)
    asked = client(one)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in shown.items()]
    answer = asked.post("/api/v1/outputs", json=body(), headers=raw)
    status, code, words = refused(answer)
    assert (status, code) == (401, "no_key")
    assert "flagback outputs key create" in words
    assert answer.headers["www-authenticate"] == "Bearer"
    assert counted(one) == before


def test_a_withdrawn_key_sends_nothing(here: Installation) -> None:
    sender = program(here)
    assert sender.post("/api/v1/outputs", json=body(1)).status_code == 200
    with here.store.writing() as session:
        output_keys.withdraw(session, "chat", by="root", now=now())
    before = counted(here)
    assert refused(sender.post("/api/v1/outputs", json=body(2)))[:2] == (401, "no_key")
    assert counted(here) == before


def test_a_key_withdrawn_while_its_request_is_read_stores_nothing(one: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, read = program(one), outputs.read_document

    def withdrawn_meanwhile(sent: bytes) -> outputs.Sent:
        with one.store.writing() as session:
            output_keys.withdraw(session, "chat", by="root", now=now())
        return read(sent)

    monkeypatch.setattr(outputs, "read_document", withdrawn_meanwhile)
    assert refused(sender.post("/api/v1/outputs", json=body()))[:2] == (401, "no_key")
    assert counted(one)["generation"] == 0


def test_a_session_does_not_open_the_route_and_a_key_opens_no_other(one: Installation) -> None:
    with one.store.writing() as session:
        account = person(session, "root", "administrator")
        cookie = accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=1))
    sender = program(one)
    key = sender.headers["authorization"]
    browser = client(one, Origin="http://127.0.0.1")
    browser.cookies.set(auth.cookie_name(one), cookie)
    browser.headers["X-Flagback-Token"] = auth.page_token(one, account)
    assert browser.get("/api/v1/session").status_code == 204
    assert refused(browser.post("/api/v1/outputs", json=body()))[:2] == (401, "no_key")
    assert refused(browser.post("/api/v1/outputs", json=body(), headers={"Authorization": f"Bearer {cookie}"}))[:2] == (
        401,
        "no_key",
    )
    for method, path in (("GET", "session"), ("GET", "openapi.json"), ("POST", "claim"), ("POST", "answers"), ("GET", "recent")):
        assert refused(sender.request(method, f"/api/v1/{path}", json={}))[:2] == (401, "not_signed_in"), path
    browser.headers["Authorization"] = key
    assert browser.post("/api/v1/outputs", json=body()).status_code == 200
    with one.store.reading() as session:
        assert session.exec(select(OutputBatch.brought_by)).all() == ["key chat"], "the key counts, the cookie beside it does not"


def test_a_page_of_another_site_is_refused_even_with_a_key(one: Installation) -> None:
    sender = program(one)
    sender.headers["Origin"] = "https://evil.example"
    assert refused(sender.post("/api/v1/outputs", json=body()))[:2] == (403, "foreign_origin")
    assert sender.options("/api/v1/outputs").status_code == 403, "so no browser sends the key from there"


def test_the_route_is_shut_where_no_guard_stands_before_it(one: Installation) -> None:
    bare = TestClient(Starlette(routes=[Mount("/api/v1", app=build_api(one))]), base_url="http://127.0.0.1")
    with one.store.writing() as session:
        key = output_keys.make(session, "chat", by="root", now=now())
    assert bare.post("/api/v1/outputs", json=body(), headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_a_rule_by_key_is_open_to_no_role() -> None:
    rules = [rule for rule in access.RULES if rule.by_key]
    assert [(rule.path, rule.methods, rule.roles) for rule in rules] == [("/api/v1/outputs", frozenset({"POST"}), frozenset())]


# ------------------------------------------------------------------------ bad requests


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        ({"batch": None}, "bad_outputs", "the request: batch is a JSON null, None; expected a text"),
        ({"batch": "a b"}, "bad_outputs", "the batch is named 'a b'; expected 1 to 64 letters"),
        ({"batch": "x" * 65}, "bad_outputs", "expected 1 to 64 letters"),
        ({"consent": ""}, "no_consent", "the consent is ''; expected in 10 to 1,000 characters what the people"),
        ({"consent": 5}, "bad_outputs", "consent is a JSON number, 5; expected a text"),
        ({"consent": "ok"}, "no_consent", "the consent is 'ok'"),
        ({"review_share": "half"}, "bad_outputs", "review_share is a JSON string, 'half'; expected a number from 0 to 1"),
        ({"review_share": True}, "bad_outputs", "review_share is a JSON boolean"),
        ({"review_share": 1.1}, "bad_outputs", "review_share is 1.1; expected a number from 0 to 1"),
        ({"review_share": 10**400}, "bad_outputs", "expected a number from 0 to 1"),
        ({"keep_contacts": 1}, "bad_outputs", "keep_contacts is a JSON number, 1; expected true or false"),
        ({"outputs": {}}, "bad_outputs", "outputs is a JSON object, {}; expected a list of objects"),
        ({"outputs": None}, "bad_outputs", "outputs is a JSON null"),
        ({"outputs": ["x"]}, "bad_outputs", "the request, output 1: a JSON string, 'x'; expected an object"),
        ({"by": "me"}, "bad_outputs", "the field 'by' is not known; expected some of batch, consent"),
        ({"outputs": [{"prompt": "Q"}]}, "bad_outputs", "the request, output 1: the columns are 'prompt'; expected prompt or"),
        (
            {"outputs": [*rows(2), {"prompt": "Q", "answer": "A", "user": "u"}]},
            "bad_outputs",
            "output 3: the field 'user' is not known",
        ),
        ({"outputs": rows(2, version=9)}, "bad_outputs", "output 1: version is 9, which this installation does not have"),
        ({"outputs": rows(1, written_at="noon")}, "bad_outputs", "output 1: written_at is 'noon'"),
        ({"outputs": rows(1, tags={"a": "\ud800"})}, "bad_outputs", "half a surrogate pair"),
        ({"outputs": rows(1, tags={"a": "\0"})}, "bad_outputs", "NUL"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_request_names_the_field_and_stores_nothing(one: Installation, sent: dict[str, Any], code: str, said: str) -> None:
    sender = program(one)
    before = counted(one)
    found = refused(sender.post("/api/v1/outputs", content=json.dumps(body() | sent)))
    assert found[:2] == (400, code)
    assert said in found[2]
    assert "Nothing was stored; correct it and send it again." in found[2]
    assert counted(one) == before


@pytest.mark.parametrize(
    "sent",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe{\x00}", b'{"batch": NaN}', b'{"batch": 1e999}', b'{"batch": "a", "batch": "b"}',
     b"[" * 200_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000, b'{"outputs": ' + b"[" * 900 + b"]" * 900 + b"}",
     b'{"batch": ' + b"9" * 5_000 + b"}", b"\0"],
    ids=lambda sent: repr(sent[:20]),
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_body_that_is_no_request_is_refused_in_words(one: Installation, sent: bytes, kind: str) -> None:
    status, code, words = refused(program(one).post("/api/v1/outputs", content=sent, headers={"Content-Type": kind}))
    assert (status, code) == (400, "bad_outputs")
    assert words.startswith("the request")


def test_too_many_answers_and_too_long_a_body_are_told_apart_from_bad_ones(one: Installation) -> None:
    sender = program(one)
    status, code, words = refused(sender.post("/api/v1/outputs", json=body(outputs=[{}] * 1_001)))
    assert (status, code) == (413, "too_large")
    assert "holds 1,001 outputs; expected at most 1,000" in words
    status, code, words = refused(sender.post("/api/v1/outputs", content=b" " * (access.LONGEST_OUTPUTS + 1)))
    assert (status, code, "8,192 KB" in words) == (413, "too_large", True)
    long = body(outputs=[{"prompt": "Q", "answer": "word " * 200_000}])
    assert sender.post("/api/v1/outputs", json=long).status_code == 200, "a long answer is longer than other requests may be"
    refusal = sender.post("/api/v1/claim", content=b" " * (access.LONGEST_BODY + 1))
    assert refusal.status_code in (401, 413)


def test_a_thousand_answers_come_in_at_once_from_several_programs(here: Installation) -> None:
    senders = [program(here, f"chat-{n}") for n in range(3)]
    for sender in senders:  # its first request builds an application's checks and switches warnings for every thread meanwhile
        assert sender.post("/api/v1/outputs", json={}).status_code == 400
    found: list[int] = []

    def send(place: int) -> None:
        sent = body(batch=f"batch-{place}", outputs=rows(300))
        found.append(senders[place].post("/api/v1/outputs", json=sent).status_code)

    threads = [threading.Thread(target=send, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [200] * 3
    now_there = counted(here)
    assert (now_there["generation"], now_there["prompt"], now_there["output_batch"]) == (900, 300, 3)
