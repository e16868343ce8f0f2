"""Claims about guidelines: versions that never change, what their words may hold, and which one a review names."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import select

from flagback.storage import guidelines, reviews
from flagback.storage.answers import Answer, BadAnswer
from flagback.storage.guidance_words import GUIDELINES
from flagback.storage.guidelines import FIRST, BadGuideline, UnknownGuideline
from flagback.storage.records import AuditEntry, Review
from flagback.storage.store import Store
from tests.test_slots import items, take

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def write(store: Store, words: str, *, lang: str = "en", note: str = "Clearer.", after: int | None = None) -> guidelines.Version:
    with store.writing() as session:
        return guidelines.set_text(session, words, lang=lang, note=note, by="lea", now=NOON, after=after)


def test_the_first_version_comes_with_flagback_in_words_that_the_rules_allow(sqlite_store: Store) -> None:
    with sqlite_store.reading() as session:
        assert guidelines.in_force(session) == FIRST
        assert guidelines.newest(session) == 1
    for lang, words in GUIDELINES.items():
        assert write(sqlite_store, words + "\nMore.", lang=lang).texts[lang].startswith(words.strip())


def test_a_new_version_says_who_when_and_what_and_leaves_other_languages_as_they_were(store: Store) -> None:
    made = write(store, "# New\n\nJudge the answer.")
    assert (made.version, made.set_by, made.created_at, made.note) == (2, "lea", NOON, "Clearer.")
    assert made.texts["es"] == FIRST.texts["es"]
    assert made.texts["en"] == "# New\n\nJudge the answer.\n"
    assert write(store, "# New\n\nJudge the answer.").version == 2
    with store.reading() as session:
        assert [one.version for one in guidelines.history(session)] == [2, 1]
        assert guidelines.notes_since(session, 1, ["en"]) == ["Clearer."]
        assert guidelines.notes_since(session, 2, ["en"]) == []
        [entry] = session.exec(select(AuditEntry).where(AuditEntry.action == "guidelines set")).all()
    assert (entry.actor, entry.details["version"], entry.details["note"]) == ("lea", 2, "Clearer.")


def test_readers_are_told_only_of_versions_that_changed_the_words_they_read(store: Store) -> None:
    write(store, "One.", note="One.")
    write(store, "Two.", note="Two.")
    write(store, "Dos.", lang="es", note="Spanish too.")
    with store.reading() as session:
        for read, told in (
            (["es"], ["Spanish too."]),
            (["en"], ["One.", "Two."]),
            (["ar"], ["One.", "Two."]),
            ([], ["One.", "Two."]),
        ):
            assert guidelines.notes_since(session, 1, read) == told
        assert guidelines.notes_since(session, 3, ["es", "en"]) == ["Spanish too."]
        assert guidelines.notes_since(session, 3, ["en"]) == []
        assert guidelines.notes_since(session, 9, ["en"]) == []


def test_nobody_is_told_of_a_version_that_was_withdrawn_again(store: Store) -> None:
    write(store, "Oops.", note="Oops.")
    with store.writing() as session:
        guidelines.bring_back(session, 1, by="max", now=NOON)
        assert guidelines.notes_since(session, 1, ["en"]) == []
        assert guidelines.notes_since(session, 2, ["en"]) == ["Version 1 is back."]


def test_each_language_says_which_version_its_words_were_written_for(sqlite_store: Store) -> None:
    def now() -> tuple[dict[str, int], dict[str, int]]:
        with sqlite_store.reading() as session:
            versions = guidelines.history(session)
        return guidelines.words_of(versions), guidelines.behind(versions)

    assert now() == ({"en": 1, "es": 1}, {})
    write(sqlite_store, "One.")
    write(sqlite_store, "Two.")
    assert now() == ({"en": 3, "es": 1}, {"es": 1})
    write(sqlite_store, "Dos.", lang="es")
    assert now() == ({"en": 3, "es": 4}, {})
    with sqlite_store.writing() as session:
        guidelines.bring_back(session, 2, by="max", now=NOON)
    assert now() == ({"en": 2, "es": 1}, {"es": 1})
    write(sqlite_store, "Um.", lang="pt")
    assert now() == ({"en": 2, "es": 1, "pt": 6}, {"es": 1})


def test_an_old_version_is_brought_back_as_a_new_one(store: Store) -> None:
    write(store, "Other words.")
    with store.writing() as session:
        made = guidelines.bring_back(session, 1, by="max", now=NOON)
        assert (made.version, made.brought_back, made.texts) == (3, 1, FIRST.texts)
        with pytest.raises(BadGuideline, match="nothing was changed"):
            guidelines.bring_back(session, 1, by="max", now=NOON)
        with pytest.raises(UnknownGuideline, match="no version 9"):
            guidelines.bring_back(session, 9, by="max", now=NOON)
        assert guidelines.version(session, 2).texts["en"] == "Other words.\n"


def test_the_database_lets_no_version_be_changed_or_deleted(store: Store) -> None:
    write(store, "Other words.")
    for statement in ("UPDATE guideline SET note = 'x'", "DELETE FROM guideline"):
        with pytest.raises(Exception, match="never changed"), store.writing() as session:
            session.execute(text(statement))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["en", "es", "pt"]), st.sampled_from(["One.", "Two.", "Three.", ""]), st.booleans()), max_size=8
    )
)
def test_whatever_is_written_or_brought_back_every_earlier_version_stays_as_it_was(
    sqlite_store: Store, steps: list[tuple[str, str, bool]]
) -> None:
    with sqlite_store.reading() as session:
        before = guidelines.history(session)
    for lang, words, back in steps:
        try:
            if back:
                with sqlite_store.writing() as session:
                    guidelines.bring_back(session, before[-1].version, by="max", now=NOON)
            else:
                write(sqlite_store, words, lang=lang)
        except BadGuideline:
            pass  # nothing was stored then
        with sqlite_store.reading() as session:
            after = guidelines.history(session)
        assert after[-len(before) :] == before
        assert [one.version for one in after] == list(range(len(after), 0, -1))
        assert len(after) - len(before) in (0, 1)
        before = after


def test_who_wrote_beside_somebody_else_is_told_and_nothing_is_lost(sqlite_store: Store) -> None:
    write(sqlite_store, "Hers.", after=1)
    with pytest.raises(BadGuideline, match="Version 2 was kept meanwhile, by lea"):
        write(sqlite_store, "His.", after=1)
    with sqlite_store.reading() as session:
        assert guidelines.in_force(session).texts["en"] == "Hers.\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("Read <b>this</b>.", "holds HTML"),
        ("<script>alert(1)</script>", "holds HTML"),
        ("See ![a cat](https://elsewhere.example/cat.png)", "holds a picture"),
        ("See ![cat][1]\n\n[1]: https://elsewhere.example/cat.png", "holds a picture"),
        ("[here](javascript:alert(1))", "A link leads to"),
        ("[here]: javascript:alert(1)", "A link leads to"),
        ("Read\u202ethis", "cannot be seen"),
        ("x" * 20_001, "20,001|20,002"),
    ],
)
def test_words_that_no_page_should_draw_are_refused_and_named(sqlite_store: Store, words: str, what: str) -> None:
    with pytest.raises(BadGuideline, match=what):
        write(sqlite_store, words)
    with sqlite_store.reading() as session:
        assert guidelines.newest(session) == 1


def test_a_note_is_one_line_and_a_language_a_subtag(sqlite_store: Store) -> None:
    for note in ("", "  ", "x" * 201):
        with pytest.raises(BadGuideline, match="one line"):
            write(sqlite_store, "Words.", note=note)
    assert write(sqlite_store, "Words.", note="Two\nlines").note == "Two lines"
    with pytest.raises(BadGuideline, match="primary subtag"):
        write(sqlite_store, "Words.", lang="pt-BR")
    with pytest.raises(BadGuideline, match="write something"):
        write(sqlite_store, "", lang="en")
    assert "es" not in write(sqlite_store, "", lang="es").texts


def test_spanish_calls_a_flag_what_the_board_calls_it() -> None:
    """Marks are words of an answer that somebody marked."""
    assert re.findall(r"(?i)m[aá]rca\w*", GUIDELINES["es"]) == ["Marca"]
    assert {"señálala", "señales", "señalar"} <= set(re.findall(r"\w+", GUIDELINES["es"]))


def test_each_reader_is_shown_a_language_they_read_else_the_first_one() -> None:
    texts = {"en": "a", "es": "b"}
    assert guidelines.language_for(texts, "en", ["es-MX", "en"]) == "es"
    assert guidelines.language_for(texts, "en", ["ar", "pt"]) == "en"
    assert guidelines.language_for(texts, "en", []) == "en"


def test_what_changed_is_told_line_by_line() -> None:
    assert guidelines.differences("a\nb\nc", "a\nB\nc") == [(" ", "a"), ("-", "b"), ("+", "B"), (" ", "c")]


def test_a_review_names_a_version_that_exists(store: Store) -> None:
    items(store, 3)
    write(store, "Other words.")
    held = take(store, "ada", 3)

    def say(place: int, version: str) -> None:
        answer = Answer(
            token=str(uuid4()), lease_id=held[place].lease_id, verdict="fine", taxonomy_version="2", guideline_version=version
        )
        reviews.submit(store, "ada", answer, now=datetime(2026, 3, 1, 12, tzinfo=UTC), policy_version="1")

    say(0, "1")
    say(1, "2")
    for unknown in ("3", "0", "", "two", "02", "9" * 40, "-1", "\u0662"):
        with pytest.raises(BadAnswer, match="is not known here"):
            say(2, unknown)
    with store.reading() as session:
        assert session.exec(select(Review.guideline_version).order_by(Review.id)).all() == ["1", "2"]  # type: ignore[arg-type]
