"""Claims about background: what may be said, that it can be taken back, and that nothing ties it to the person without the key."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from flagback.storage import accounts, background, consent
from flagback.storage.background import NOT_SAID, Answered, BadBackground, BadForm
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Background, BackgroundForm
from flagback.storage.store import Store
from tests.people import PASSWORD

NOON = datetime(2026, 3, 11, 12, 34, 56, tzinfo=UTC)
KEY = b"k" * 32


@pytest.fixture
def ada(store: Store) -> int:
    """A reviewer who agreed to the use of her background."""
    with store.writing() as session:
        account = accounts.create(session, "ada", PASSWORD, "reviewer")
        consent.set_consent(session, account.id, {"review": True, "assignment": True}, now=NOON)
        return account.id


def say(store: Store, account_id: int, now: datetime = NOON, **said: Answered) -> None:
    """Answers the form."""
    with store.writing() as session:
        background.set_answers(session, KEY, account_id, said, now=now)


def said(store: Store, account_id: int) -> dict[str, Answered]:
    """What is stored."""
    with store.reading() as session:
        return background.answers_of(session, KEY, account_id)


def question(code: str, *options: str, several: bool = False) -> dict[str, Any]:
    """A question for a form."""
    offered = [{"code": option, "words": option.title()} for option in options]
    return {"code": code, "question": f"Which {code}?", "options": offered, "several": several}


def ask(store: Store, *asked: dict[str, Any]) -> None:
    """Sets the form."""
    with store.writing() as session:
        background.set_questions(session, list(asked), by="root", now=NOON)


# --------------------------------------------------------------------------- answering


def test_what_is_said_is_kept_and_replaced_question_by_question(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None), region=Answered(["europe", "africa"], "the coast"))
    say(store, ada, gender=Answered([NOT_SAID], None))
    assert said(store, ada) == {
        "gender": Answered([NOT_SAID], None),
        "region": Answered(["africa", "europe"], "the coast"),
    }


def test_an_empty_answer_deletes_and_so_do_blank_words(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None), faith=Answered([], "a small one"))
    say(store, ada, gender=Answered([], None), faith=Answered([], "  \n"))
    assert said(store, ada) == {}


def test_one_option_ticked_twice_is_ticked_once(store: Store, ada: int) -> None:
    say(store, ada, region=Answered(["africa", "africa"], None))
    assert said(store, ada)["region"].answers == ["africa"]


@pytest.mark.parametrize(
    ("code", "answer", "words"),
    [
        ("shoe_size", Answered(["42"], None), r"'shoe_size' is not asked; expected some of age, disability"),
        ("gender", Answered(["admin"], None), r"'admin' is no answer to 'What is your gender\?'"),
        ("gender", Answered(["woman", "man"], None), "takes one answer; 2 were given"),
        ("region", Answered(["africa", NOT_SAID], None), "takes one answer"),
        ("age", Answered([], "42"), "takes no own words"),
        ("gender", Answered([], "x" * 201), "up to 200 characters"),
        ("gender", Answered([], "a\0b"), "without NUL"),
        ("gender", Answered([], "\ud800"), "half characters"),
        ("gender\0", Answered([], "x"), "is not asked"),
    ],
)
def test_what_the_form_does_not_offer_is_refused_and_nothing_of_it_is_stored(
    sqlite_store: Store, code: str, answer: Answered, words: str
) -> None:
    with pytest.raises(BadBackground, match=words):
        say(sqlite_store, 1, NOON, faith=Answered(["none"], None), **{code: answer})
    assert said(sqlite_store, 1) == {}


def test_own_words_in_any_script_come_back_as_they_were(store: Store, ada: int) -> None:
    for words in ("שלום \u200eabc", "\u202egnp.exe", "𝔘𝔫𝔦 🏳️‍🌈", "*bold* :red[x] <b>"):
        say(store, ada, gender=Answered([], words))
        assert said(store, ada)["gender"].own_words == words


def test_two_windows_that_answer_at_once_both_go_well(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None))
    together = threading.Barrier(4)

    def answer(number: int) -> int:
        together.wait()
        say(store, ada, gender=Answered([], f"words {number}"), faith=Answered(["none"], None))
        return number

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(answer, range(4))) == [0, 1, 2, 3]
    assert set(said(store, ada)) == {"gender", "faith"}


def test_deleting_deletes_everything_of_one_person_and_of_nobody_else(store: Store, ada: int) -> None:
    with store.writing() as session:
        bob = accounts.create(session, "bob", PASSWORD, "reviewer").id
    say(store, ada, gender=Answered(["woman"], None), faith=Answered([], "mine"))
    say(store, bob, gender=Answered(["man"], None))
    with store.writing() as session:
        assert background.forget(session, KEY, ada) == 2
        assert background.forget(session, KEY, ada) == 0
    assert said(store, ada) == {}
    assert said(store, bob) == {"gender": Answered(["man"], None)}


# ------------------------------------------------------------------------------ the form


def consented(store: Store) -> list[dict[str, list[str]]]:
    """What may be used for choosing what people are asked about."""
    with store.reading() as session:
        return list(background.consented(session, KEY, "assignment").values())


def test_answers_to_what_is_asked_no_more_are_kept_and_used_no_more(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None), faith=Answered(["none"], None))
    ask(store, question("faith", "none", "other"))
    assert consented(store) == [{"faith": ["none"]}]
    assert set(said(store, ada)) == {"gender", "faith"}
    with pytest.raises(BadBackground, match="'gender' is not asked"):
        say(store, ada, gender=Answered(["woman"], None))


def test_an_option_that_is_offered_no_more_is_used_no_more(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None), region=Answered(["africa", "europe"], None))
    ask(store, question("gender", "other"), question("region", "europe", "asia", several=True))
    assert consented(store) == [{"region": ["europe"]}]


def test_several_answers_to_what_now_takes_one_are_used_no_more(store: Store, ada: int) -> None:
    say(store, ada, region=Answered(["africa", "europe"], None))
    ask(store, question("region", "africa", "europe"))
    assert consented(store) == [{}]
    with store.writing() as session:
        other = accounts.create(session, "bob", PASSWORD, "reviewer").id
        consent.set_consent(session, other, {"assignment": True}, now=NOON)
    say(store, other, region=Answered(["africa"], None))
    assert {"region": ["africa"]} in consented(store)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"gender": 1}, "Expected a list"),
        ([question("q", "a")] * 21, "at most 20"),
        ([question("q", "a"), "who are you?"], r"Question 2"),
        ([question("q", "a"), {"code": "r"}], r"Question 2 \(r\), question: Field required"),
        ([question("q", "a"), question("q", "a")], "codes of the questions are q, q"),
        ([question("q", "a", "a")], "options of q are a, a"),
        ([question("q", NOT_SAID)], "not_said"),
        ([question("q", "A B")], r"Question 1 \(q\), options\.0\.code"),
        ([question("q") | {"options": []}], "options"),
        ([question("q", "a") | {"question": "a\0b"}], "visible"),
        ([question("q", "a") | {"question": "\ud800"}], "unicode"),
        ([question("q", "a") | {"question": "Who?\u202e"}], "visible"),
        ([question("q", "a") | {"options": [{"code": "a", "words": "\u200b"}]}], "visible"),
        ([question("q", "a") | {"options": [{"code": "a", "words": "  "}]}], "visible"),
    ],
)
def test_a_form_that_cannot_be_asked_is_refused_with_the_place_and_the_next_step(
    sqlite_store: Store, wanted: object, words: str
) -> None:
    with pytest.raises(BadForm, match=words) as refused, sqlite_store.writing() as session:
        background.set_questions(session, wanted, by="root", now=NOON)
    assert "flagback background" in str(refused.value) or "expected each once" in str(refused.value)
    with sqlite_store.reading() as session:
        assert session.exec(select(BackgroundForm)).all() == []


def test_no_question_at_all_can_be_asked(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None))
    ask(store)
    with store.reading() as session:
        assert background.questions(session)[0] == []
    assert consented(store) == [{}]


# ------------------------------------------------------------------------------- consent


def test_only_who_agreed_is_used_and_only_until_they_take_it_back(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], "me"), faith=Answered([NOT_SAID], None))

    def used() -> dict[str, Any]:
        with store.reading() as session:
            return {purpose: background.consented(session, KEY, purpose) for purpose in ("assignment", "training", "export")}

    mine = pseudonym(KEY, ada)
    assert used() == {"assignment": {mine: {"gender": ["woman"]}}, "training": {}, "export": {}}
    with store.writing() as session:
        consent.set_consent(session, ada, {"assignment": False, "export": True}, now=NOON)
    assert used() == {"assignment": {}, "training": {}, "export": {mine: {"gender": ["woman"]}}}


def test_who_agreed_and_said_nothing_is_there_with_nothing(store: Store, ada: int) -> None:
    assert ada
    assert consented(store) == [{}]


# --------------------------------------------------------------------- nothing ties them


def rows(session: Session) -> list[dict[str, Any]]:
    """The table."""
    return [row.model_dump() for row in session.exec(select(Background)).all()]


def test_the_table_knows_no_account_and_no_moment(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None))
    with store.reading() as session:
        (row,) = rows(session)
    assert row["person"] == pseudonym(KEY, ada, "background")
    assert row["person"] not in (pseudonym(KEY, ada), pseudonym(KEY, ada, "work"), pseudonym(KEY, ada, "browser"))
    assert row["updated_at"] == datetime(2026, 3, 1, tzinfo=UTC), "a moment could be laid beside a sign-in or a consent"


def test_without_the_key_nobody_is_found(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None))
    other: Callable[[], dict[str, Answered]] = lambda: said_with(store, ada, b"x" * 32)  # noqa: E731
    assert other() == {}
    with store.writing() as session:
        assert background.forget(session, b"x" * 32, ada) == 0
    assert said(store, ada)


def said_with(store: Store, account_id: int, key: bytes) -> dict[str, Answered]:
    """What another key finds."""
    with store.reading() as session:
        return background.answers_of(session, key, account_id)


def test_a_later_answer_moves_the_month_and_nothing_else(store: Store, ada: int) -> None:
    say(store, ada, gender=Answered(["woman"], None))
    say(store, ada, NOON + timedelta(days=60), gender=Answered(["woman"], None))
    with store.reading() as session:
        (row,) = rows(session)
    assert row["updated_at"] == datetime(2026, 5, 1, tzinfo=UTC)
