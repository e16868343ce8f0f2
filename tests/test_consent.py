"""Claims about consent: silence is none, the newest answer counts, each purpose stands alone, nothing said is ever lost."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import col, select

from flagback.storage import accounts
from flagback.storage.consent import PURPOSES, TEXT_VERSION, UnknownPurpose, accounts_with, in_force, set_consent
from flagback.storage.records import Consent, ConsentPurpose
from flagback.storage.store import Store
from tests.people import PASSWORD

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODES: list[ConsentPurpose] = [purpose.code for purpose in PURPOSES]


def someone(store: Store, login: str = "ada") -> int:
    """An account that was never asked."""
    with store.writing() as session:
        return accounts.create(session, login, PASSWORD, "reviewer").id


def test_silence_is_no_consent_to_anything(store: Store) -> None:
    ada = someone(store)
    with store.reading() as session:
        assert in_force(session, ada) == dict.fromkeys(CODES, False)
        assert [accounts_with(session, code) for code in CODES] == [[]] * 4


def test_each_purpose_is_agreed_to_by_itself(store: Store) -> None:
    ada = someone(store)
    for code in CODES:
        with store.writing() as session:
            assert set_consent(session, ada, {code: True}, now=NOON) == [code]
            assert in_force(session, ada) == {other: other == code for other in CODES}
            set_consent(session, ada, {code: False}, now=NOON)


def test_what_was_said_before_is_kept_with_the_words_that_were_shown(store: Store) -> None:
    ada = someone(store)
    with store.writing() as session:
        set_consent(session, ada, {"review": True}, now=NOON, text_version="2026-01")
        set_consent(session, ada, {"review": False, "export": False}, now=NOON)
        rows = session.exec(select(Consent).order_by(col(Consent.id))).all()
    assert [(row.purpose, row.given, row.text_version) for row in rows] == [
        ("review", True, "2026-01"),
        ("review", False, TEXT_VERSION),
    ], "saying no where nothing was agreed to is no change"


def test_one_person_s_answer_is_nobody_else_s(store: Store) -> None:
    ada, bob = someone(store), someone(store, "bob")
    with store.writing() as session:
        set_consent(session, ada, {"training": True, "export": True}, now=NOON)
        set_consent(session, bob, {"training": True}, now=NOON)
        set_consent(session, ada, {"training": False}, now=NOON)
        assert accounts_with(session, "training") == [bob]
        assert accounts_with(session, "export") == [ada]


def test_an_unknown_purpose_is_refused_and_nothing_is_stored(store: Store) -> None:
    ada = someone(store)
    wrong: dict[ConsentPurpose, bool] = {"review": True, "marketing": True}  # type: ignore[dict-item]
    refused = r"'marketing' is no purpose.*assignment, export, review, training"
    with pytest.raises(UnknownPurpose, match=refused), store.writing() as session:
        set_consent(session, ada, wrong, now=NOON)
    with store.reading() as session:
        assert in_force(session, ada)["review"] is False


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(st.sampled_from(CODES), st.booleans()), max_size=12))
def test_the_newest_answer_of_a_purpose_is_in_force_whatever_came_before(
    sqlite_store: Store, said: list[tuple[ConsentPurpose, bool]]
) -> None:
    with sqlite_store.writing() as session:
        ada = accounts.create(session, "ada", None, "reviewer").id
        for code, given_ in said:
            set_consent(session, ada, {code: given_}, now=NOON)
        assert in_force(session, ada) == dict.fromkeys(CODES, False) | dict(said)
        session.rollback()


def test_every_question_says_what_it_means_and_what_taking_it_back_does() -> None:
    for purpose in PURPOSES:
        assert purpose.words.endswith(".")
        assert len(purpose.more) > 40
        assert len(purpose.on_withdrawal) > 40
