"""Claims about hours: every answer counts once and in full, weeks are UTC's, and the sheet says no more than pay needs."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import select

from flagback.storage import accounts, background, reviews, slots, work
from flagback.storage.answers import Answer, BadAnswer
from flagback.storage.background import Answered
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Review, WorkLog
from flagback.storage.store import Store
from flagback.storage.work import BadWeek, Worked, week_of
from tests.people import PASSWORD, agree

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
KEY = b"k" * 32


@pytest.fixture
def ada(store: Store) -> int:
    """A reviewer, and three items to review."""
    with store.writing() as session:
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"Visitor {n} said"}], "en") for n in range(3)]).ids
        made = add_generations(session, [NewGeneration(one, " it was late.", "end", "imported", "import:x") for one in prompts])
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=0)
        account = accounts.create(session, "ada", PASSWORD, "reviewer")
        agree(session, account)
        return account.id


def leases(store: Store, account_id: int) -> list[str]:
    """Items claimed, half an hour ago."""
    ago = NOON - timedelta(minutes=30)
    claimed = slots.claim(store, pseudonym(KEY, account_id), count=3, now=ago, lease_for=timedelta(hours=1), seed=0)
    return [claim.lease_id for claim in claimed]


def answer(
    store: Store,
    account_id: int,
    lease: str,
    *,
    verdict: Literal["fine", "skip"] = "fine",
    seconds: float | None = 10.0,
    corrects: str | None = None,
    token: str | None = None,
) -> str:
    """Answers as the web does; returns the token."""
    given_ = Answer(
        token=token or str(uuid.uuid4()),
        lease_id=lease,
        verdict=verdict,
        skip_reason="too_upsetting" if verdict == "skip" else None,
        seconds_open=seconds,
        taxonomy_version="1",
        guideline_version="1",
        supersedes_token=corrects,
    )
    worker = pseudonym(KEY, account_id, "work")
    reviews.submit(store, pseudonym(KEY, account_id), given_, now=NOON, policy_version="1", worker=worker)
    return given_.token


def log(store: Store) -> list[tuple[str, int, float]]:
    """The table."""
    with store.reading() as session:
        return [(row.week, row.answers, row.seconds) for row in session.exec(select(WorkLog).order_by(WorkLog.week)).all()]


def sheet(store: Store, since: str = "") -> list[Worked]:
    """What is paid by."""
    with store.reading() as session:
        return work.sheet(session, KEY, since_week=since)


# -------------------------------------------------------------------------- what counts


@pytest.mark.parametrize("lease_for", [timedelta(hours=1), timedelta(seconds=1)], ids=["in time", "late"])
def test_no_answer_counts_for_longer_than_its_item_was_handed_out(store: Store, ada: int, lease_for: timedelta) -> None:
    ago = NOON - timedelta(seconds=7)
    [held] = slots.claim(store, pseudonym(KEY, ada), count=1, now=ago, lease_for=lease_for, seed=0)
    answer(store, ada, held.lease_id, seconds=1e308)
    with store.reading() as session:
        assert session.exec(select(Review.seconds_open)).one() == 7.0
    assert [seconds for _, _, seconds in log(store)] == [7.0]


def test_a_skip_is_work_too_and_a_week_adds_up(store: Store, ada: int) -> None:
    first, second, _ = leases(store, ada)
    answer(store, ada, first, seconds=10)
    answer(store, ada, second, verdict="skip", seconds=20)
    assert log(store) == [("2026-W10", 2, 30.0)]


def test_a_corrected_answer_is_counted_once_however_often_it_is_corrected(store: Store, ada: int) -> None:
    first, *_ = leases(store, ada)
    token = answer(store, ada, first)
    for verdict in ("skip", "fine", "fine"):
        token = answer(store, ada, first, verdict=verdict, corrects=token, seconds=500)
    assert log(store) == [("2026-W10", 1, 10.0)]


def test_an_answer_sent_twice_is_counted_once(store: Store, ada: int) -> None:
    first, *_ = leases(store, ada)
    token = answer(store, ada, first)
    answer(store, ada, first, token=token)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: answer(store, ada, first, token=token), range(4)))
    assert log(store) == [("2026-W10", 1, 10.0)]


def test_an_answer_that_is_refused_is_no_work(store: Store, ada: int) -> None:
    first, *_ = leases(store, ada)
    with pytest.raises(BadAnswer):
        answer(store, ada, first, seconds=-5)
    with pytest.raises(reviews.UnknownLease):
        answer(store, ada, str(uuid.uuid4()))
    assert log(store) == []


def test_an_item_left_open_over_lunch_counts_a_quarter_of_an_hour(store: Store, ada: int) -> None:
    first, second, third = leases(store, ada)
    answer(store, ada, first, seconds=7_200)
    answer(store, ada, second, seconds=1e300)
    answer(store, ada, third, seconds=None)
    assert log(store) == [("2026-W10", 3, 1_800.0)]


def test_answers_given_at_once_all_count(store: Store) -> None:
    def once(_: int) -> None:
        with store.writing() as session:
            work.add(session, "w_x", seconds=1.0, now=NOON)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(once, range(40)))
    assert log(store) == [("2026-W10", 40, 40.0)]


# ----------------------------------------------------------------------------- weeks


@pytest.mark.parametrize(
    ("moment", "week"),
    [
        (datetime(2026, 3, 8, 23, 59, 59, 999_999, tzinfo=UTC), "2026-W10"),
        (datetime(2026, 3, 9, tzinfo=UTC), "2026-W11"),
        (datetime(2026, 3, 9, 1, tzinfo=timezone(timedelta(hours=2))), "2026-W10"),
        (datetime(2026, 3, 8, 22, tzinfo=timezone(timedelta(hours=-5))), "2026-W11"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2026-W53"),
        (datetime(2024, 12, 30, tzinfo=UTC), "2025-W01"),
    ],
)
def test_a_week_begins_on_monday_at_midnight_utc(moment: datetime, week: str) -> None:
    assert week_of(moment) == week


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_later_weeks_sort_behind_earlier_ones(moment: datetime, later: timedelta) -> None:
    start = moment.replace(tzinfo=UTC)
    assert week_of(start) <= week_of(start + later)


# --------------------------------------------------------------------------- the sheet


def test_the_sheet_rounds_up_never_down_and_never_past_one_step(store: Store, ada: int) -> None:
    worker = pseudonym(KEY, ada, "work")
    cases = [(1, 0.5, 10, 5), (10, 300.0, 10, 5), (11, 300.1, 20, 10), (100, 0.0, 100, 0)]
    for number, (answers, seconds, _, _) in enumerate(cases):
        with store.writing() as session:
            session.add(WorkLog(person=worker, week=f"2026-W1{number}", answers=answers, seconds=seconds))
    found = sheet(store)
    assert [(row.answers, row.minutes) for row in found] == [(answers, minutes) for _, _, answers, minutes in cases]
    assert {row.login for row in found} == {"ada"}


def test_the_sheet_begins_with_the_week_asked_for(store: Store, ada: int) -> None:
    worker = pseudonym(KEY, ada, "work")
    with store.writing() as session:
        for week in ("2025-W52", "2026-W09", "2026-W10"):
            session.add(WorkLog(person=worker, week=week, answers=1, seconds=1.0))
    assert [row.week for row in sheet(store, "2026-W09")] == ["2026-W09", "2026-W10"]
    assert len(sheet(store)) == 3


@pytest.mark.parametrize("week", ["2026-W5", "2026-47", "W47", "2026-W54", "2026-W00", "last week", "2026-W4\u0661", "2026-W10\n"])
def test_a_week_that_is_none_is_refused_not_passed_over(sqlite_store: Store, week: str) -> None:
    with pytest.raises(BadWeek, match=r"expected an ISO week like 2026-W47"):
        sheet(sqlite_store, week)


def test_whose_account_is_gone_is_left_out(store: Store, ada: int) -> None:
    with store.writing() as session:
        work.add(session, pseudonym(KEY, ada + 99, "work"), seconds=1.0, now=NOON)
    assert sheet(store) == []


# ----------------------------------------------------------------- nothing ties the three


def values(store: Store, table: str) -> set[str]:
    """Every text that a table holds, each column whole."""
    with store.reading() as session:
        return {str(value) for row in session.connection().execute(text(f"SELECT * FROM {table}")) for value in row}  # nosec B608 # our own table names


@pytest.mark.usefixtures("ada")
def test_reviews_background_and_hours_share_no_name_and_none_knows_the_account(store: Store) -> None:
    with store.writing() as session:
        for number in range(50):
            accounts.create(session, f"filler{number}", None, "reviewer")
        late = accounts.create(session, "zoe-4711", PASSWORD, "reviewer")
        agree(session, late)
        background.set_answers(session, KEY, late.id, {"gender": Answered(["woman"], None)}, now=NOON)
    for lease in leases(store, late.id):
        answer(store, late.id, lease)
    tables = {name: values(store, name) for name in ("review", "background", "work_log")}
    people: dict[str, Any] = {
        name: {value for value in found if value[:2] in ("r_", "b_", "w_", "a_")} for name, found in tables.items()
    }
    assert {name: {value[:2] for value in found} for name, found in people.items()} == {
        "review": {"r_"},
        "background": {"b_"},
        "work_log": {"w_"},
    }
    tails = [value[2:] for found in people.values() for value in found]
    assert len(set(tails)) == 3, "not the same name with another prefix either"
    for found in tables.values():
        assert str(late.id) not in found
        assert "zoe-4711" not in " ".join(found)
