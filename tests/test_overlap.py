"""Claims about overlap: how many judge an answer, whom seats are kept for, what it costs, and that votes alone widen it."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import col, select

from flagback.storage import background, consent, live_batches, outputs, overlap, set_aside
from flagback.storage.accounts import create
from flagback.storage.answers import Answer
from flagback.storage.background import Answered, groups_of, set_answers
from flagback.storage.claims import Claim
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.logged import NewOutput, Outputs
from flagback.storage.overlap import BadOverlap, cost_of_prevalence, cost_of_reviews, kept_seats, set_overlap, wanted
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.reading import Place
from flagback.storage.records import AuditEntry, Item, ItemPurpose, Lease, Overlap, Review, Slot
from flagback.storage.reviews import submit
from flagback.storage.slots import claim, relax, release, sweep
from flagback.storage.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = bytes(range(32))
WOMAN = "gender=woman"
STEPS = (3, 5, 7)


def policy(store: Store, steps: Sequence[int] = STEPS, seats: dict[str, int] | None = None, **more: Any) -> Overlap:
    """Sets a policy."""
    values: dict[str, Any] = {"relax_after": timedelta(hours=72), "random_share": 0.5, "by": "ada", "now": NOON} | more
    with store.writing() as session:
        return set_overlap(session, steps=steps, seats=seats or {}, **values)


def items(store: Store, count: int, *, purpose: ItemPurpose = "loop", seats: int = 2) -> list[int]:
    """`count` items; their ids."""
    with store.writing() as session:
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"{purpose} {n}"}]) for n in range(count)]).ids
        made = add_generations(session, [NewGeneration(one, f" to {one}", "end", "sampled", "run:1") for one in prompts])
        make_items(session, made, purpose=purpose, reviews_per_item=seats, seed=1)
        return list(session.exec(select(Item.id).where(col(Item.generation_id).in_(made)).order_by(col(Item.id))).all())


def take(store: Store, who: str, *groups: str, count: int = 1, now: datetime = NOON, seed: int = 0) -> list[Claim]:
    return claim(store, who, count=count, now=now, lease_for=HOUR, seed=seed, groups=lambda _session: groups)


def say(store: Store, who: str, lease: str, verdict: str = "fine", *, now: datetime = NOON, corrects: str | None = None) -> str:
    """Stores an answer; returns its token."""
    flag = {"categories": ["stereotype"], "severity": "clear"} if verdict == "flag" else {}
    skip = {"skip_reason": "unclear"} if verdict == "skip" else {}
    said: dict[str, Any] = {"taxonomy_version": "1", "guideline_version": "1", "supersedes_token": corrects} | flag | skip
    given = Answer(token=str(uuid4()), lease_id=lease, verdict=verdict, **said)
    submit(store, who, given, now=now, policy_version="1")
    return given.token


def seats_of(store: Store, item: int) -> list[tuple[str, str]]:
    """(state, for whom) of an item's seats, sorted."""
    with store.reading() as session:
        return sorted(session.exec(select(Slot.state, Slot.want_group).where(Slot.item_id == item)).all())


def judged_by(store: Store, item: int, verdicts: str) -> int:
    """One person after the other answers a single item ("f" flags, "." finds it fine); how many seats it has then."""
    for number, verdict in enumerate(verdicts):
        [held] = take(store, f"r_{number}")
        assert held.item_id == item
        say(store, f"r_{number}", held.lease_id, "flag" if verdict == "f" else "fine")
    return len(seats_of(store, item))


# ---------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("verdicts", "seats"),
    [
        ("...", 3),  # nobody flags: clear
        ("..f", 5),  # anyone flags
        ("fff", 5),
        ("fffff", 5),  # all flag: clear at the second step
        ("ffff.", 7),  # people differ
        ("f....", 7),
        ("f......", 7),  # the last step is the end
    ],
)
def test_an_answer_gets_as_many_reviews_as_its_votes_ask_for(sqlite_store: Store, verdicts: str, seats: int) -> None:
    policy(sqlite_store)
    [item] = items(sqlite_store, 1)
    assert judged_by(sqlite_store, item, verdicts) == seats


def test_for_answers_left_out_others_are_asked_and_they_widen_nothing(store: Store) -> None:
    """The only flag of three is left out before the third answers: one more is asked in its place, and nobody beyond."""
    policy(store)
    [item] = items(store, 1)
    assert judged_by(store, item, "f.") == 3
    with store.writing() as session:
        row = set_aside.add(session, "exclude", reviewer="r_0", reason="answers in under a second", by="lea", now=NOON)
    assert [state for state, _ in seats_of(store, item)] == ["done"] * 2 + ["open"] * 2
    assert take(store, "r_0") == []
    for who in ("r_2", "r_3"):
        [held] = take(store, who)
        say(store, who, held.lease_id)
    assert [state for state, _ in seats_of(store, item)] == ["done"] * 4
    with store.writing() as session:
        set_aside.end(session, row.id, by="lea", now=NOON)
    assert len(seats_of(store, item)) == 4


def test_who_is_left_out_and_takes_an_answer_back_leaves_no_second_seat(sqlite_store: Store) -> None:
    policy(sqlite_store)
    [item] = items(sqlite_store, 1)
    [held] = take(sqlite_store, "r_0")
    token = say(sqlite_store, "r_0", held.lease_id)
    with sqlite_store.writing() as session:
        set_aside.add(session, "exclude", reviewer="r_0", reason="answers in under a second", by="lea", now=NOON)
    say(sqlite_store, "r_0", held.lease_id, "skip", corrects=token)
    assert [state for state, _ in seats_of(sqlite_store, item)] == ["done"] + ["open"] * 3


def test_one_review_alone_is_too_few_to_be_clear() -> None:
    """The 90 % Wilson interval of 0 of 1 reaches to .73, of 0 of 3 to .47."""
    assert wanted(0, 1, filled=1, steps=(1, 3, 5)) == 3
    assert wanted(0, 3, filled=3, steps=(1, 3, 5)) == 3
    assert overlap.interval_width(0, 1) == pytest.approx(2.7055 / 3.7055, abs=1e-4)
    assert overlap.interval_width(1, 2) == pytest.approx(2 * 1.6449 * (0.125 + 2.7055 / 16) ** 0.5 / (1 + 2.7055 / 2), abs=1e-3)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True), st.integers(0, 30), st.integers(0, 30))
def test_seats_are_always_a_step_and_never_fewer_than_filled(halves: list[int], flags: int, fines: int) -> None:
    steps = sorted(2 * half + 1 for half in halves)
    for filled in steps:
        asked = wanted(flags, fines, filled=filled, steps=steps)
        assert asked in steps
        assert asked >= filled
        assert asked % 2 == 1


def test_the_votes_are_counted_once_all_seats_are_filled_and_not_before(sqlite_store: Store) -> None:
    policy(sqlite_store)
    [item] = items(sqlite_store, 1)
    assert judged_by(sqlite_store, item, "ff") == 3


def test_a_late_flag_counts_though_it_fills_no_seat(sqlite_store: Store) -> None:
    policy(sqlite_store)
    [item] = items(sqlite_store, 1)
    [late] = take(sqlite_store, "r_late")
    sweep(sqlite_store, now=NOON + HOUR)
    say(sqlite_store, "r_late", late.lease_id, "flag", now=NOON + HOUR)
    assert judged_by(sqlite_store, item, "...") == 5


def test_a_correction_into_a_flag_widens_an_answer_that_was_clear(sqlite_store: Store) -> None:
    policy(sqlite_store)
    [item] = items(sqlite_store, 1)
    [held] = take(sqlite_store, "r_ada")
    token = say(sqlite_store, "r_ada", held.lease_id)
    assert judged_by(sqlite_store, item, "..") == 3
    say(sqlite_store, "r_ada", held.lease_id, "flag", corrects=token)
    assert len(seats_of(sqlite_store, item)) == 5


def test_a_skip_widens_nothing(sqlite_store: Store) -> None:
    policy(sqlite_store, (1, 3))
    [item] = items(sqlite_store, 1)
    [held] = take(sqlite_store, "r_ada")
    say(sqlite_store, "r_ada", held.lease_id, "skip")
    assert seats_of(sqlite_store, item) == [("open", "any")]


def test_two_who_fill_the_last_seats_at_once_widen_it_once(store: Store) -> None:
    """Neither sees the other's vote before it is stored; one of them must count both."""
    policy(store)
    for number in range(6):
        [item] = items(store, number + 1)[-1:]
        held = [(who, lease.lease_id) for who in ("r_a", "r_b", "r_c") for lease in take(store, who) if lease.item_id == item]
        assert len(held) == 3
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda one: say(store, one[0], one[1], "flag"), held))
        assert len(seats_of(store, item)) == 5, number
        with store.writing() as session:
            for slot in session.exec(select(Slot).where(Slot.item_id == item, Slot.state == "open")).all():
                slot.state = "done"
                session.add(slot)


# -------------------------------------------------------------- where it holds


def test_without_a_policy_and_for_blind_samples_the_number_is_fixed(sqlite_store: Store) -> None:
    [before] = items(sqlite_store, 1)
    policy(sqlite_store, seats={WOMAN: 1})
    [blind] = items(sqlite_store, 1, purpose="blind")
    for item in (before, blind):
        assert seats_of(sqlite_store, item) == [("open", "any")] * 2
    with sqlite_store.reading() as session:
        assert set(session.exec(select(Item.overlap_id)).all()) == {None}


def test_items_keep_the_policy_they_were_made_under(sqlite_store: Store) -> None:
    policy(sqlite_store)
    [item] = items(sqlite_store, 1)
    policy(sqlite_store, (9,))
    assert judged_by(sqlite_store, item, "..f") == 5
    with sqlite_store.reading() as session:
        assert set(session.exec(select(Review.policy_version)).all()) == {"1;overlap:1"}


def test_the_policy_can_be_given_up(sqlite_store: Store) -> None:
    policy(sqlite_store)
    policy(sqlite_store, ())
    with sqlite_store.reading() as session:
        assert overlap.in_force(session) is None
    [item] = items(sqlite_store, 1)
    assert len(seats_of(sqlite_store, item)) == 2


def test_setting_a_policy_is_audited(sqlite_store: Store) -> None:
    policy(sqlite_store, seats={WOMAN: 1})
    with sqlite_store.reading() as session:
        entry = session.exec(select(AuditEntry)).one()
    assert (entry.actor, entry.action, entry.details["seats"]) == ("ada", "overlap set", {WOMAN: 1})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": (2, 3)}, "odd numbers"),
        ({"steps": (3, 3)}, "more than the one before"),
        ({"steps": (5, 3)}, "more than the one before"),
        ({"steps": (-1,)}, "odd numbers"),
        ({"steps": (), "seats": {WOMAN: 1}}, "need steps"),
        ({"seats": {WOMAN: 0}}, "1 or more"),
        ({"seats": {WOMAN: 4}}, "begins with 3 reviews"),
        ({"seats": {"height=tall": 1}}, "names no question"),
        ({"seats": {"gender=tall": 1}}, "names no answer"),
        ({"seats": {"gender": 1}}, "names no answer"),
        ({"relax_after": timedelta(minutes=1)}, "such as 72h"),
        ({"relax_after": timedelta(days=999)}, "such as 72h"),
        ({"random_share": 0.0}, "no rate of"),
        ({"random_share": 1.1}, "no rate of"),
        ({"random_share": float("nan")}, "no rate of"),
    ],
)
def test_a_policy_nobody_can_follow_is_refused_and_not_stored(sqlite_store: Store, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOverlap, match=words):
        policy(sqlite_store, **wrong)
    with sqlite_store.reading() as session:
        assert overlap.newest(session) is None


# ----------------------------------------------------------------------- seats


def test_seats_are_kept_at_every_step(sqlite_store: Store) -> None:
    policy(sqlite_store, seats={WOMAN: 1})
    [item] = items(sqlite_store, 1)
    assert seats_of(sqlite_store, item) == [("open", "any"), ("open", "any"), ("open", WOMAN)]
    for who, groups in (("r_eve", [WOMAN]), ("r_ada", []), ("r_bob", [])):
        [held] = take(sqlite_store, who, *groups)
        say(sqlite_store, who, held.lease_id, "flag")
    assert [seat for seat in seats_of(sqlite_store, item) if seat[0] == "open"] == [("open", "any"), ("open", WOMAN)]


def test_seats_of_several_groups_take_turns_where_a_step_has_no_room_for_all() -> None:
    assert kept_seats({"b": 2, "a": 1}, 5) == ["a", "b", "b", "any", "any"]
    assert kept_seats({"b": 2, "a": 1}, 2) == ["a", "b"]
    assert kept_seats({}, 3) == ["any"] * 3


def test_a_kept_seat_goes_to_its_group_first_and_to_nobody_else(store: Store) -> None:
    policy(store, (1,), {WOMAN: 1})
    [item] = items(store, 1)
    assert take(store, "r_bob") == take(store, "r_man", "gender=man") == []
    assert [held.item_id for held in take(store, "r_eve", "age=age_30", WOMAN)] == [item]


def test_who_has_a_group_takes_its_seat_before_one_for_anybody(store: Store) -> None:
    policy(store, (3,), {WOMAN: 1})
    [item] = items(store, 1)
    take(store, "r_eve", WOMAN)
    assert seats_of(store, item) == [("claimed", WOMAN), ("open", "any"), ("open", "any")]


def test_a_seat_forgets_its_group_once_it_is_answered_and_its_number_tells_nothing(sqlite_store: Store) -> None:
    policy(sqlite_store, seats={WOMAN: 1})
    made = items(sqlite_store, 60)
    for held in take(sqlite_store, "r_eve", WOMAN, count=60):
        say(sqlite_store, "r_eve", held.lease_id)
    with sqlite_store.reading() as session:
        rows = session.exec(select(Slot).where(Slot.reviewer == "r_eve")).all()
    assert len(rows) == len(made)
    assert {(row.state, row.want_group, row.relax_at) for row in rows} == {("done", "any", None)}
    assert {row.number for row in rows} == {0, 1, 2}


@pytest.mark.parametrize("how", ["release", "expire", "skip"])
def test_a_seat_that_comes_back_is_its_groups_again(store: Store, how: str) -> None:
    policy(store, (1,), {WOMAN: 1})
    [item] = items(store, 1)
    [held] = take(store, "r_eve", WOMAN)
    if how == "release":
        release(store, "r_eve", now=NOON)
    elif how == "expire":
        sweep(store, now=NOON + HOUR)
    else:
        say(store, "r_eve", held.lease_id, "skip")
    assert seats_of(store, item) == [("open", WOMAN)]


def test_a_skip_taken_back_takes_no_groups_seat(sqlite_store: Store) -> None:
    policy(sqlite_store, (1,), {WOMAN: 1})
    [item] = items(sqlite_store, 1)
    [held] = take(sqlite_store, "r_eve", WOMAN)
    token = say(sqlite_store, "r_eve", held.lease_id, "skip")
    say(sqlite_store, "r_eve", held.lease_id, "fine", corrects=token)
    assert seats_of(sqlite_store, item) == [("open", WOMAN)]


def test_a_seat_without_takers_is_open_to_anybody_after_its_time(store: Store) -> None:
    policy(store, (1,), {WOMAN: 1}, relax_after=timedelta(hours=2))
    [item] = items(store, 1)
    with store.reading() as session:
        ends = session.exec(select(Slot.relax_at)).one()
    assert ends is not None
    assert relax(store, now=ends - timedelta(seconds=1)) == 0
    assert relax(store, now=ends) == 1
    assert relax(store, now=ends) == 0
    assert seats_of(store, item) == [("open", "any")]
    assert take(store, "r_bob", now=ends) != []


def test_a_seat_in_somebodys_hands_is_not_relaxed(store: Store) -> None:
    policy(store, (1,), {WOMAN: 1}, relax_after=timedelta(hours=2))
    [item] = items(store, 1)
    later = datetime.now(UTC) + timedelta(hours=3)
    take(store, "r_eve", WOMAN, now=later)
    assert relax(store, now=later) == 0
    assert seats_of(store, item) == [("claimed", WOMAN)]


def test_many_seats_are_relaxed_in_batches(store: Store) -> None:
    policy(store, (3,), {WOMAN: 2})
    items(store, 7)
    later = datetime.now(UTC) + timedelta(hours=73)
    assert relax(store, now=later, batch=5) == 14
    with pytest.raises(ValueError, match="batch is 0"):
        relax(store, now=NOON, batch=0)


def test_nobodys_background_is_read_while_no_seat_is_kept(sqlite_store: Store) -> None:
    items(sqlite_store, 1)

    def never(_session: object) -> list[str]:
        raise AssertionError("the background was read")

    assert claim(sqlite_store, "r_ada", count=1, now=NOON, lease_for=HOUR, seed=0, groups=never) != []


def test_groups_are_of_those_who_agreed_to_be_chosen_by_them_and_only_what_is_offered_now(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        account = create(session, "eve", "a long pass phrase", "reviewer").id
        said = {
            "gender": Answered(["woman"], "in my words"),
            "region": Answered(["africa", "europe"], None),
            "faith": Answered(["not_said"], None),
        }
        set_answers(session, KEY, account, said, now=NOON)
        assert groups_of(session, KEY, account) == []
        consent.set_consent(session, account, {"assignment": True}, now=NOON)
        assert groups_of(session, KEY, account) == ["gender=woman", "region=africa", "region=europe"]
        asked, _ = background.questions(session)
        kept = [question.model_dump() for question in asked if question.code != "region"]
        background.set_questions(session, kept, by="ada", now=NOON)
        assert groups_of(session, KEY, account) == ["gender=woman"]
        consent.set_consent(session, account, {"assignment": False}, now=NOON)
        assert groups_of(session, KEY, account) == []


def test_no_table_but_a_seat_in_hand_ties_a_group_to_a_reviewer(sqlite_store: Store) -> None:
    policy(sqlite_store, (1,), {WOMAN: 1})
    items(sqlite_store, 1)
    take(sqlite_store, "r_eve", WOMAN)
    with sqlite_store.reading() as session:
        lease = session.exec(select(Lease)).one()
    assert WOMAN not in str(lease.model_dump())


# ----------------------------------------------------------------------- batches


def test_nothing_is_added_to_a_batch_that_was_taken_back(sqlite_store: Store) -> None:
    policy(sqlite_store, (1, 3))
    terms = outputs.Terms("live", "they agreed that answers are reviewed", "ada", number=1, seed=0, reviews_per_item=1)
    row = NewOutput(Place("test", 1), [{"role": "user", "content": "x"}], " y", "en", None, None, {})
    with sqlite_store.writing() as session:
        outputs.take_in(session, Outputs([row], [], []), terms, where="test", now=NOON)
    [held] = take(sqlite_store, "r_ada")
    with sqlite_store.writing() as session:
        live_batches.withdraw(session, "live", by="ada", now=NOON)
    say(sqlite_store, "r_ada", held.lease_id, "flag")
    assert {state for state, _ in seats_of(sqlite_store, held.item_id)} == {"done"}


# ---------------------------------------------------------------------- the cost


def test_the_cost_by_hand() -> None:
    """One step costs itself. Steps 1,3 with a flag certain: 3; and never one alone, since one vote is never clear."""
    assert cost_of_prevalence((7,), 0.3).reviews == pytest.approx(7)
    assert cost_of_prevalence((1, 3), 0.3).reviews == pytest.approx(3)
    # 3,5: all of .95 ** 3 of the fine and .1 ** 3 of the harmful stop at three.
    stay = 0.9 * 0.95**3 + 0.1 * 0.1**3
    assert cost_of_prevalence((3, 5), 0.1).reviews == pytest.approx(3 * stay + 5 * (1 - stay))


@pytest.mark.parametrize("prevalence", [0.0, 0.1, 0.55, 1.0])
def test_the_cost_is_what_a_simulated_panel_needs(prevalence: float) -> None:
    draw, total, count = random.Random(1), 0, 4_000
    for _ in range(count):
        chance = 0.9 if draw.random() < prevalence else 0.05
        flags, filled, asked = 0, 0, STEPS[0]
        while filled < asked:
            flags += sum(draw.random() < chance for _ in range(asked - filled))
            filled = asked
            asked = wanted(flags, filled - flags, filled=filled, steps=STEPS)
        total += filled
    assert cost_of_prevalence(STEPS, prevalence).reviews == pytest.approx(total / count, abs=0.15)


def test_the_cost_from_reviews_follows_how_they_split() -> None:
    split = cost_of_reviews(STEPS, [(3, 3)] * 20 + [(0, 3)] * 80)
    even = cost_of_reviews(STEPS, [(1, 3)] * 60 + [(0, 3)] * 40)
    assert split is not None
    assert even is not None
    # Unanimous answers: a fifth goes on to 5 and is clear there.
    assert split.reviews == pytest.approx(0.8 * 3 + 0.2 * 5, abs=0.05)
    assert even.reviews > split.reviews + 1
    assert cost_of_reviews(STEPS, [(0, 1)] * 500 + [(1, 2)] * 19) is None


def test_a_prevalence_that_is_no_share_is_refused() -> None:
    with pytest.raises(BadOverlap, match="a share from 0 to 1"):
        cost_of_prevalence(STEPS, 1.2)
