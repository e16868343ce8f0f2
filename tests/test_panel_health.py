"""Claims about the panel's totals: what waits and for how long, what was done and met a day, and that no total is one person's."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import Session, col, func, select

from flagback.storage import overlap, set_aside, slots
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.panel_health import AGES, DAYS, Day, health
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Item, Lease, Review, Slot
from flagback.storage.store import Store

NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)
YESTERDAY = NOON - timedelta(days=1)
REASON = "a reason of more than ten letters"


def _items(session: Session, count: int, *, each: int = 1) -> list[int]:
    asked = add_prompts(session, [NewPrompt([{"role": "user", "content": f"p{n}"}], "en") for n in range(count)])
    made = add_generations(session, [NewGeneration(prompt, " a", "end", "imported", "import:x") for prompt in asked.ids])
    make_items(session, made, purpose="loop", reviews_per_item=each, seed=0)
    return list(session.exec(select(Item.id).order_by(col(Item.id))).all())


def _said(session: Session, item: int, reviewer: str, at: datetime, **said: Any) -> int:
    """A row as `submit` stores it, at a moment of the test's choice."""
    slot = session.exec(select(Slot.id).where(Slot.item_id == item)).all()[0]
    lease = Lease(id=str(uuid.uuid4()), slot_id=slot, item_id=item, reviewer=reviewer, claimed_at=at, expires_at=at)
    session.add(lease)
    session.flush()
    known: dict[str, Any] = {"verdict": "fine", "taxonomy_version": "1", "guideline_version": "1", "policy_version": "1"} | said
    row = Review(token=str(uuid.uuid4()), item_id=item, lease_id=lease.id, reviewer=reviewer, created_at=at, **known)
    session.add(row)
    session.flush()
    return row.id


def _day(store: Store, back: int, *, now: datetime = NOON) -> Day:
    with store.reading() as session:
        return health(session, now=now).days[-1 - back]


def test_open_seats_are_counted_by_the_group_they_are_kept_for(store: Store) -> None:
    with store.writing() as session:
        overlap.set_overlap(
            session,
            steps=[3, 5],
            seats={"gender=woman": 1},
            relax_after=timedelta(hours=72),
            random_share=0.5,
            by="max",
            now=NOON,
        )
        _items(session, 4)
        for slot in session.exec(select(Slot).where(Slot.want_group == "any").limit(3)).all():
            slot.state = "done"
    with store.reading() as session:
        assert health(session, now=NOON).seats == {"any": 5, "gender=woman": 10}


def test_taking_a_kept_seat_and_giving_it_back_shows_nowhere(store: Store) -> None:
    """Else who watches would know the group of whoever came or was paused just now."""
    with store.writing() as session:
        policy = {"steps": [3, 5], "seats": {"gender=woman": 1}, "relax_after": timedelta(hours=72), "random_share": 0.5}
        overlap.set_overlap(session, **policy, by="max", now=NOON)  # type: ignore[arg-type]
        _items(session, 10)
        before = health(session, now=NOON).seats
    held = slots.claim(
        store, "r_ada", count=3, now=NOON, lease_for=timedelta(hours=1), seed=0, groups=lambda _session: ["gender=woman"]
    )
    with store.reading() as session:
        assert len(held) == 3
        assert session.exec(select(func.count()).where(Slot.state == "claimed", Slot.want_group == "gender=woman")).one() == 3
        assert health(session, now=NOON).seats == before == {"any": 20, "gender=woman": 10}


def test_an_answer_waits_from_when_it_was_put_up_until_its_last_seat_is_filled(store: Store) -> None:
    waited = [timedelta(hours=1), timedelta(hours=23), timedelta(days=1), timedelta(days=6), timedelta(days=27), timedelta(days=60)]
    with store.writing() as session:
        items = _items(session, len(waited) + 1, each=2)
        for item, span in zip(items, [*waited, timedelta(days=99)], strict=True):
            session.get_one(Item, item).created_at = NOON - span
        first = session.exec(select(Slot).where(Slot.item_id == items[0])).first()
        assert first is not None
        first.state = "done"  # the other is open still
        for slot in session.exec(select(Slot).where(Slot.item_id == items[-1])).all():
            slot.state = "done"
    with store.reading() as session:
        found = health(session, now=NOON)
    assert (found.waiting, found.oldest) == (6, NOON - timedelta(days=60))
    assert dict(zip((name for _, name in AGES), found.ages, strict=True)) == {
        "under a day": 2,
        "1 to 3 days": 1,
        "3 to 7 days": 1,
        "1 to 2 weeks": 0,
        "2 to 4 weeks": 1,
        "longer": 1,
    }


def test_nothing_waits_where_there_is_nothing(store: Store) -> None:
    with store.reading() as session:
        found = health(session, now=NOON)
    assert (found.seats, found.waiting, found.oldest, set(found.ages)) == ({}, 0, None, {0})
    assert len(found.days) == DAYS
    assert (found.days[0].day, found.days[-1].day) == (date(2026, 3, 1), date(2026, 3, 30))
    assert {day.reviews for day in found.days} == {0}


def test_reviews_a_day_are_answers_in_force_that_count_without_skips_and_simulated_ones(store: Store) -> None:
    with store.writing() as session:
        items = _items(session, 6)
        first = _said(session, items[0], "r_a", YESTERDAY)
        _said(session, items[0], "r_a", YESTERDAY, verdict="flag", supersedes=first)
        _said(session, items[1], "r_a", YESTERDAY, verdict="skip", skip_reason="unclear")
        _said(session, items[2], "r_b", YESTERDAY)
        _said(session, items[3], "r_s", YESTERDAY, simulated=True)
        _said(session, items[4], "r_b", NOON)
        _said(session, items[5], "r_b", NOON - timedelta(days=DAYS))
    assert [_day(store, back).reviews for back in (0, 1, 2)] == [1, 2, 0]
    with store.reading() as session:
        assert sum(day.reviews for day in health(session, now=NOON).days) == 3
    with store.writing() as session:
        set_aside.add(session, "exclude", reviewer="r_b", reason=REASON, by="lea", now=NOON)
    assert [_day(store, back).reviews for back in (0, 1)] == [0, 1]


def test_a_day_is_that_of_the_clock_that_is_handed_in(store: Store) -> None:
    late = datetime(2026, 3, 29, 23, 30, tzinfo=UTC)
    with store.writing() as session:
        _said(session, _items(session, 1)[0], "r_a", late)
    assert _day(store, 1).reviews == 1
    assert _day(store, 0, now=NOON.astimezone(ZoneInfo("Asia/Tokyo"))).reviews == 1


@pytest.mark.parametrize(("people", "shown"), [(4, None), (5, 5)])
def test_what_people_met_is_told_only_of_days_on_which_five_worked(store: Store, people: int, shown: int | None) -> None:
    with store.writing() as session:
        items = _items(session, 3)
        for number in range(people):
            _said(session, items[0], f"r_{number}", YESTERDAY)
        _said(session, items[0], "r_x", NOON - timedelta(days=9), verdict="flag", severity="severe")
    assert _day(store, 1).severe_met == shown
    assert _day(store, 9).severe_met is None
    assert (_day(store, 2).severe_met, _day(store, 2).too_upsetting) == (0, 0)


def test_todays_exposure_is_not_told_before_the_day_is_over(store: Store) -> None:
    with store.writing() as session:
        items = _items(session, 1)
        for number in range(6):
            _said(session, items[0], f"r_{number}", NOON, verdict="flag", severity="severe")
    assert _day(store, 0).severe_met is None
    assert _day(store, 1, now=NOON + timedelta(days=1)).severe_met == 6


def test_a_severe_answer_was_met_by_all_who_had_it_and_a_skip_as_too_upsetting_counts_apart(store: Store) -> None:
    with store.writing() as session:
        severe, plain, was_severe = _items(session, 3)
        before = _said(session, was_severe, "r_0", YESTERDAY, verdict="flag", severity="severe")
        _said(session, was_severe, "r_0", YESTERDAY, verdict="flag", severity="slight", supersedes=before)
        _said(session, severe, "r_1", YESTERDAY, verdict="flag", severity="severe")
        _said(session, severe, "r_2", YESTERDAY)
        _said(session, severe, "r_3", YESTERDAY, verdict="skip", skip_reason="too_upsetting")
        _said(session, plain, "r_4", YESTERDAY, verdict="skip", skip_reason="too_upsetting")
        _said(session, plain, "r_5", YESTERDAY, verdict="skip", skip_reason="unclear")
    assert _day(store, 1)[2:] == (3, 2)
    with store.writing() as session:  # what somebody read they have read, whether it counts or not
        set_aside.add(session, "exclude", reviewer="r_2", reason=REASON, by="lea", now=NOON)
    assert _day(store, 1)[2:] == (3, 2)
    with store.writing() as session:  # but what is left out calls nothing severe
        set_aside.add(session, "exclude", reviewer="r_1", reason=REASON, by="lea", now=NOON)
    assert _day(store, 1)[2:] == (0, 2)
