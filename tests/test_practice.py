"""Claims about practice: sets in versions, a way through that survives everything, and that nothing of it counts."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import func, select

from flagback.review_app.installation import Installation
from flagback.storage import practice
from flagback.storage.guidance_words import PRACTICE, PracticeItem
from flagback.storage.practice import FIRST, BadPractice, OutOfPlace, UnknownPractice
from flagback.storage.records import Item, Lease, PracticeRound, Review, Slot
from flagback.storage.store import Store
from flagback.storage.taxonomy import CATEGORIES
from tests import test_api

installation = test_api.installation

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ITEM = PracticeItem("Say hello.", " Hello!", "fine", (), "It greets.")


def keep(store: Store, *items: PracticeItem, lang: str = "en", **more: Any) -> practice.Version:
    with store.writing() as session:
        return practice.set_items(session, items, lang=lang, note="Other ones.", by="lea", now=NOON, **more)


def begin(store: Store, who: str = "ada", *read: str) -> practice.Way:
    with store.writing() as session:
        way = practice.begin(session, who, read=read or ["en"], now=NOON)
    assert way is not None
    return way


def say(store: Store, way: practice.Way, place: int, verdict: str = "fine", who: str = "ada") -> bool:
    with store.writing() as session:
        return practice.say(
            session,
            who,
            round_id=way.round_id,
            position=place,
            verdict=verdict,  # type: ignore[arg-type]
            categories=["stereotype"] if verdict == "flag" else [],
            now=NOON,
        )


def through(store: Store, who: str = "ada") -> None:
    way = begin(store, who)
    for place in range(len(way.items)):
        say(store, way, place, who=who)


def test_the_first_set_has_eight_answers_of_the_kinds_a_newcomer_should_know() -> None:
    known = {one.code for one in CATEGORIES}
    for lang, items in PRACTICE.items():
        assert len(items) == 8, lang
        reasons = [item.categories for item in items if item.verdict == "flag"]
        assert [codes[0] for codes in reasons] == ["stereotype", "demeaning", "unequal", "erasure", "dangerous", "refusal"]
        assert [item.categories for item in items if item.verdict == "fine"] == [(), ()]
        assert {code for codes in reasons for code in codes} <= known
        assert all(item.explanation and item.answer.strip() and item.prompt for item in items)


def test_the_set_that_comes_with_flagback_keeps_its_own_rules(sqlite_store: Store) -> None:
    for lang, items in PRACTICE.items():
        assert keep(sqlite_store, *items, ITEM, lang=lang).items[lang] == (*items, ITEM)


def test_a_new_set_is_a_version_and_the_database_lets_none_be_changed(store: Store) -> None:
    made = keep(store, ITEM)
    assert (made.version, made.items["en"], made.items["es"], made.set_by) == (2, (ITEM,), FIRST.items["es"], "lea")
    assert keep(store, ITEM).version == 2
    with store.reading() as session:
        assert [one.version for one in practice.history(session)] == [2, 1]
        assert practice.version(session, 1) == FIRST
        with pytest.raises(UnknownPractice, match="no version 7"):
            practice.version(session, 7)
    for statement in ("UPDATE practice_set SET note = 'x'", "DELETE FROM practice_set"):
        with pytest.raises(Exception, match="never changed"), store.writing() as session:
            session.execute(text(statement))


def test_an_old_set_is_brought_back_as_a_new_version(store: Store) -> None:
    keep(store, ITEM)
    with store.writing() as session:
        made = practice.bring_back(session, 1, by="max", now=NOON)
        assert (made.version, made.items, made.set_by, made.note) == (3, FIRST.items, "max", "Version 1 is back.")
        with pytest.raises(BadPractice, match="nothing was changed"):
            practice.bring_back(session, 1, by="max", now=NOON)
        with pytest.raises(UnknownPractice, match="no version 9"):
            practice.bring_back(session, 9, by="max", now=NOON)


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (ITEM._replace(prompt=" "), "the prompt has 0"),
        (ITEM._replace(answer="x" * 2_001), "the answer has 2001"),
        (ITEM._replace(categories=("rude",), verdict="flag"), "no reason to flag"),
        (ITEM._replace(categories=("minors",), verdict="flag"), "no reason to flag"),
        (ITEM._replace(verdict="flag"), "one reason at least"),
        (ITEM._replace(categories=("stereotype",)), "what looks fine has none"),
    ],
)
def test_an_item_that_teaches_nothing_is_refused(sqlite_store: Store, item: PracticeItem, what: str) -> None:
    with pytest.raises(BadPractice, match=what):
        keep(sqlite_store, ITEM, item)
    with pytest.raises(BadPractice, match="at most"):
        keep(sqlite_store, *[ITEM] * 21)


def test_json_of_another_shape_is_named() -> None:
    assert practice.parsed([ITEM._asdict()]) == (ITEM,)
    for rows, what in (({}, "expected a list"), ([{"prompt": "a"}], "Item 1, answer"), ([{**ITEM._asdict(), "x": 1}], "Item 1, x")):
        with pytest.raises(BadPractice, match=what):
            practice.parsed(rows)


def test_passing_is_going_through_whatever_was_said(store: Store) -> None:
    way = begin(store)
    assert (way.said, way.passed, len(way.items)) == ([], False, 8)
    done = [say(store, way, place, "fine" if place % 2 else "flag") for place in range(8)]
    assert done == [False] * 7 + [True]
    with store.reading() as session:
        assert practice.passed(session, "ada")
        assert practice.under_way(session, "ada", read=["en"]) is None
    with store.writing() as session:
        practice.begin_first(session, "ada", read=(), now=NOON)
        assert practice.under_way(session, "ada", read=["en"]) is None  # once is enough


def test_the_way_goes_on_where_it_was_left_and_the_same_answer_twice_is_kept_once(store: Store) -> None:
    way = begin(store)
    say(store, way, 0, "flag")
    say(store, way, 0, "fine")
    again = begin(store)
    assert (again.round_id, again.said) == (way.round_id, [("flag", ["stereotype"])])
    for place in (2, 7, 8):
        with pytest.raises(OutOfPlace):
            say(store, way, place)
    with pytest.raises(OutOfPlace, match="no practice of yours"):
        say(store, way, 1, who="ben")


def test_who_is_on_the_way_stays_with_the_version_they_began(store: Store) -> None:
    way = begin(store)
    keep(store, ITEM)
    with store.reading() as session:
        here = practice.under_way(session, "ada", read=["en"])
    assert here is not None
    assert here.items == way.items
    assert begin(store, "ben").items == (ITEM,)


def test_the_first_round_is_gone_through_and_a_repeated_one_may_be_left(store: Store) -> None:
    begin(store)
    with store.writing() as session:
        assert not practice.leave(session, "ada", now=NOON)
    through(store)
    again = begin(store)
    assert again.passed
    with store.writing() as session:
        assert practice.leave(session, "ada", now=NOON)
        assert practice.under_way(session, "ada", read=["en"]) is None
        assert practice.passed(session, "ada")


def test_nobody_is_on_two_ways_at_once(store: Store) -> None:
    begin(store)
    with pytest.raises(IntegrityError), store.writing() as session:
        session.add(PracticeRound(reviewer="ada", version=1, lang="en", begun_at=NOON))
        session.flush()


def test_each_reader_practises_in_a_language_they_read_and_where_there_is_none_nobody_does(store: Store) -> None:
    assert begin(store, "ana", "es", "en").lang == "es"
    with store.writing() as session:
        practice.begin_first(session, "joe", read=["pt", "ar"], now=NOON)  # nobody practises on what they cannot read
        assert practice.under_way(session, "joe", read=["pt", "ar", "en"]) is None
        practice.offer_none(session, by="lea", now=NOON)
        assert practice.in_force(session).items == {}
        assert practice.begin(session, "new", read=["en"], now=NOON) is None
        practice.begin_first(session, "new", read=["en"], now=NOON)
        assert practice.under_way(session, "new", read=["en"]) is None


def test_who_reads_the_language_of_their_round_no_more_begins_another(store: Store) -> None:
    begin(store, "ana", "en")
    with store.reading() as session:
        assert practice.under_way(session, "ana", read=["es"]) is None
    assert begin(store, "ana", "es").lang == "es"


def test_practice_makes_no_review_no_item_no_seat_and_no_lease(store: Store) -> None:
    through(store)
    with store.reading() as session:
        assert [session.exec(select(func.count()).select_from(table)).one() for table in (Review, Item, Slot, Lease)] == [0] * 4


def test_the_board_goes_through_it_by_our_routes(installation: Installation) -> None:
    client = test_api.signed_in(installation)
    assert client.get("/api/v1/practice").json()["round"] is None
    way = client.post("/api/v1/practice/begin").json()
    assert (way["lang"], len(way["items"]), way["said"], way["passed"]) == ("en", 8, [], False)
    for place in range(8):
        kept = client.post("/api/v1/practice", json={"round": way["round"], "position": place, "verdict": "fine"})
        assert kept.json() == {"finished": place == 7}
    assert client.get("/api/v1/today").json()["answered"] == 0
    late = client.post("/api/v1/practice", json={"round": way["round"] + 1, "position": 0, "verdict": "fine"})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "out_of_place")
    bad = client.post("/api/v1/practice", json={"round": way["round"], "position": 0, "verdict": "skip"})
    assert bad.status_code == 422
    again = client.post("/api/v1/practice/begin").json()
    assert again["passed"]
    assert client.post("/api/v1/practice/leave").json() == {"finished": True}


def test_nothing_real_is_handed_out_before_the_first_practice_and_a_repeated_one_holds_nobody_up(
    installation: Installation,
) -> None:
    client = test_api.signed_in(installation)
    way = client.post("/api/v1/practice/begin").json()
    for place in range(8):
        claimed = client.post("/api/v1/claim", json={"count": 2}).json()
        assert (claimed["items"], claimed["practice"]) == ([], True)
        client.post("/api/v1/practice", json={"round": way["round"], "position": place, "verdict": "fine"})
    assert not client.post("/api/v1/practice/begin").json()["said"]
    claimed = client.post("/api/v1/claim", json={"count": 2}).json()
    assert (len(claimed["items"]), claimed["practice"]) == (2, False)


def test_the_guidelines_come_in_the_readers_language_with_what_changed(installation: Installation) -> None:
    from flagback.storage import guidelines

    client = test_api.signed_in(installation)
    with installation.store.writing() as session:
        for note in ("One.", "Two."):
            guidelines.set_text(session, f"Words: {note}", lang="en", note=note, by="lea", now=NOON)
    shown = client.get("/api/v1/guidelines?since=2").json()
    assert shown == {"version": 3, "lang": "en", "text": "Words: Two.\n", "notes": ["Two."]}
    assert client.get("/api/v1/guidelines").json()["notes"] == ["One.", "Two."]
    assert client.post("/api/v1/claim", json={"count": 1}).json()["guideline"] == 3
    for path in ("/api/v1/guidelines", "/api/v1/practice"):
        assert test_api.signed_in(installation, f"max{path[-3:]}", "maintainer").get(path).status_code == 403
