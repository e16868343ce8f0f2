"""Claims about answers: stored once, never lost, never changed; and a machine that checks the whole of it against a small model."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from flagback.storage.answers import LONGEST_NOTE, Answer, BadAnswer
from flagback.storage.claims import Claim
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import ItemPurpose, Lease, Review, Slot
from flagback.storage.reviews import AlreadyAnswered, Receipt, UnknownLease, answered_today, effective, recent, reopened, submit
from flagback.storage.slots import claim, release, sweep
from flagback.storage.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
LATER = NOON + HALF_HOUR
TEXT = " said that 🦊 nurses are bad."


def items(store: Store, count: int = 1, *, seats: int = 1, purpose: ItemPurpose = "loop", label: str = "p") -> None:
    with store.writing() as session:
        prompts = add_prompts(
            session, [NewPrompt([{"role": "user", "content": f"{label} {number}"}]) for number in range(count)]
        ).ids
        ids = add_generations(session, [NewGeneration(prompt, TEXT, "end", "sampled", "run:1") for prompt in prompts])
        make_items(session, ids, purpose=purpose, reviews_per_item=seats, seed=1)


def take(store: Store, reviewer: str, *, now: datetime = NOON, count: int = 1) -> Claim:
    return claim(store, reviewer, count=count, now=now, lease_for=HALF_HOUR, seed=0)[-1]


def answer(lease: str, verdict: str = "flag", **more: Any) -> Answer:
    given: dict[str, Any] = {
        "token": str(uuid4()),
        "lease_id": lease,
        "verdict": verdict,
        "taxonomy_version": "1",
        "guideline_version": "1",
    }
    if verdict == "flag":
        given |= {"categories": ["stereotype"], "severity": "clear"}
    if verdict == "skip":
        given |= {"skip_reason": "unclear"}
    return Answer(**(given | more))


def send(store: Store, reviewer: str, given: Answer, *, now: datetime = NOON, simulated: bool = False) -> Receipt:
    return submit(store, reviewer, given, now=now, policy_version="1", simulated=simulated)


def stored(store: Store) -> list[Review]:
    with store.reading() as session:
        return list(session.exec(select(Review).order_by(col(Review.id))).all())


def seats(store: Store) -> list[tuple[str, str | None]]:
    with store.reading() as session:
        return list(session.exec(select(Slot.state, Slot.reviewer).order_by(col(Slot.number))).all())


def outcomes(store: Store) -> dict[str, str]:
    with store.reading() as session:
        return dict(session.exec(select(Lease.id, Lease.outcome)).all())


# ------------------------------------------------------------------ exactly once


def test_an_answer_is_stored_whole_and_fills_its_seat(store: Store) -> None:
    items(store)
    held = take(store, "r_ada", now=NOON - timedelta(minutes=1))
    given = answer(
        held.lease_id,
        categories=["erasure", "other"],
        targets=["gender", "other"],
        target_other="nurses",
        severity="severe",
        sure=False,
        spans=[{"start": 11, "end": 12, "category": "erasure"}],
        rewrite=" said hello.",
        note="why\u2028so",
        seconds_open=12.5,
    )
    receipt = send(store, "r_ada", given)
    assert receipt == Receipt(receipt.review_id, NOON, "new", False, 1)
    [row] = stored(store)
    assert row.model_dump(include={*Answer.model_fields} - {"supersedes_token"}) == given.model_dump(exclude={"supersedes_token"})
    assert TEXT[row.spans[0]["start"] : row.spans[0]["end"]] == "🦊"
    assert (row.reviewer, row.policy_version, row.created_at) == ("r_ada", "1", NOON)
    assert (row.late, row.supersedes, row.simulated, row.slot_id is None) == (False, None, False, False)
    assert seats(store) == [("done", "r_ada")]
    assert outcomes(store) == {held.lease_id: "submitted"}


def test_the_same_answer_sent_twice_gives_the_first_receipt(store: Store) -> None:
    items(store)
    given = answer(take(store, "r_ada").lease_id)
    first = send(store, "r_ada", given)
    assert send(store, "r_ada", given, now=LATER) == first._replace(stored="again")
    assert len(stored(store)) == 1


def test_the_same_answer_sent_by_many_threads_is_stored_once(store: Store) -> None:
    items(store, 10, seats=3)
    for _ in range(10):
        given = answer(take(store, "r_ada").lease_id, "fine")
        with ThreadPoolExecutor(4) as pool:
            receipts = list(pool.map(lambda _, given=given: send(store, "r_ada", given), range(4)))
        assert sorted(receipt.stored for receipt in receipts) == ["again", "again", "again", "new"]
        assert len({receipt.review_id for receipt in receipts}) == 1
    assert len(stored(store)) == 10


def test_two_different_answers_at_once_leave_one_and_an_error_in_words(store: Store) -> None:
    items(store, 6, seats=3)
    for _ in range(6):
        lease = take(store, "r_ada").lease_id

        def attempt(verdict: str, lease: str = lease) -> str:
            try:
                return send(store, "r_ada", answer(lease, verdict)).stored
            except AlreadyAnswered:
                return "refused"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(attempt, ["flag", "fine"])) == ["new", "refused"]


def test_a_race_that_only_the_database_sees_ends_in_the_right_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the one-at-a-time lock the UNIQUE constraints alone decide: still 'again', never an error of the database."""
    monkeypatch.setattr("flagback.storage.reviews.one_at_a_time", lambda *_, **__: None)
    items(store, 8, seats=3)
    for _ in range(8):
        given = answer(take(store, "r_ada").lease_id, "fine")
        with ThreadPoolExecutor(4) as pool:
            receipts = list(pool.map(lambda _, given=given: send(store, "r_ada", given), range(4)))
        assert sorted(receipt.stored for receipt in receipts) == ["again", "again", "again", "new"]


def test_one_token_cannot_stand_for_two_answers(store: Store) -> None:
    items(store, 2)
    first, second = claim(store, "r_ada", count=2, now=NOON, lease_for=HALF_HOUR, seed=0)
    given = answer(first.lease_id, "fine")
    send(store, "r_ada", given)
    with pytest.raises(BadAnswer, match="was used for another answer"):
        send(store, "r_ada", given.model_copy(update={"lease_id": second.lease_id}))


def test_a_second_answer_to_an_item_is_refused_with_what_to_do(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    send(store, "r_ada", answer(lease))
    with pytest.raises(AlreadyAnswered, match="undo it"):
        send(store, "r_ada", answer(lease, "fine"))


def test_a_lease_of_someone_else_or_of_nobody_is_refused(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    for reviewer, wrong in (("r_bob", lease), ("r_ada", "x"), ("r_ada", str(uuid4()))):
        with pytest.raises(UnknownLease, match="reload the page"):
            send(store, reviewer, answer(wrong))
    assert stored(store) == []


# ------------------------------------------------------------------ late answers


def test_a_late_answer_is_stored_and_marked_and_fills_no_seat(store: Store) -> None:
    items(store)
    old = take(store, "r_ada")
    sweep(store, now=LATER)
    new = take(store, "r_bob", now=LATER)
    assert send(store, "r_ada", answer(old.lease_id), now=LATER).late
    assert not send(store, "r_bob", answer(new.lease_id), now=LATER).late
    late, timely = stored(store)
    assert (late.late, late.slot_id) == (True, None)
    assert (timely.late, timely.slot_id is None) == (False, False)
    assert seats(store) == [("done", "r_bob")]
    assert outcomes(store) == {old.lease_id: "late", new.lease_id: "submitted"}


def test_late_is_told_by_the_clock_not_by_the_sweep(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    assert send(store, "r_ada", answer(lease), now=LATER).late
    assert seats(store) == [("open", None)]
    assert outcomes(store) == {lease: "late"}


def test_an_answer_to_a_released_item_is_kept_too(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    release(store, "r_ada", now=NOON)
    assert send(store, "r_ada", answer(lease)).late
    assert seats(store) == [("open", None)]


def test_an_answer_from_an_old_tab_fills_the_seat_held_now(store: Store) -> None:
    items(store)
    old = take(store, "r_ada")
    sweep(store, now=LATER)
    new = take(store, "r_ada", now=LATER)
    assert not send(store, "r_ada", answer(old.lease_id), now=LATER).late
    assert seats(store) == [("done", "r_ada")]
    assert outcomes(store) == {old.lease_id: "expired", new.lease_id: "submitted"}


def test_a_late_skip_is_kept_and_never_offered_again(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    assert send(store, "r_ada", answer(lease, "skip"), now=LATER).late
    assert claim(store, "r_ada", count=1, now=LATER, lease_for=HALF_HOUR, seed=0) == []


# ------------------------------------------------------------------ corrections


def test_a_chain_of_corrections_leaves_its_newest_answer_in_force(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    first = answer(lease)
    second = answer(lease, "fine", supersedes_token=first.token)
    third = answer(lease, severity="slight", supersedes_token=second.token)
    for given in (first, second, third):
        send(store, "r_ada", given)
    rows = stored(store)
    assert [row.supersedes for row in rows] == [None, rows[0].id, rows[1].id]
    assert len({row.slot_id for row in rows}) == 1
    with store.reading() as session:
        assert [row.token for row in effective(session)] == [third.token]
    assert seats(store) == [("done", "r_ada")]


def test_a_correction_sent_twice_is_stored_once_and_a_fork_is_refused(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    first = answer(lease)
    send(store, "r_ada", first)
    second = answer(lease, "fine", supersedes_token=first.token)
    assert [send(store, "r_ada", second).stored for _ in range(2)] == ["new", "again"]
    with pytest.raises(AlreadyAnswered, match="corrected already"):
        send(store, "r_ada", answer(lease, supersedes_token=first.token))
    with pytest.raises(BadAnswer, match="names no answer of yours"):
        send(store, "r_ada", answer(lease, supersedes_token=str(uuid4())))


def test_nobody_corrects_another_reviewers_answer(store: Store) -> None:
    items(store, seats=2)
    ada, bob = take(store, "r_ada"), take(store, "r_bob")
    given = answer(ada.lease_id)
    send(store, "r_ada", given)
    with pytest.raises(BadAnswer, match="names no answer of yours"):
        send(store, "r_bob", answer(bob.lease_id, supersedes_token=given.token))


def test_a_flag_taken_back_by_a_skip_makes_a_fresh_seat_for_another(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    first = answer(lease)
    send(store, "r_ada", first)
    send(store, "r_ada", answer(lease, "skip", supersedes_token=first.token))
    assert seats(store) == [("done", None), ("open", None)]
    assert claim(store, "r_ada", count=1, now=NOON, lease_for=HALF_HOUR, seed=0) == []
    bob = take(store, "r_bob")
    send(store, "r_bob", answer(bob.lease_id))
    assert seats(store) == [("done", None), ("done", "r_bob")]


def test_a_skip_turned_into_a_flag_takes_an_open_seat(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    tokens: list[str] = []
    for verdict in ("skip", "flag", "skip", "fine"):
        given = answer(lease, verdict, supersedes_token=tokens[-1] if tokens else None)
        send(store, "r_ada", given)
        tokens.append(given.token)
    assert seats(store) == [("done", None), ("done", "r_ada")]
    assert [row.slot_id is None for row in stored(store)] == [True, False, True, False]


def test_a_skip_turned_into_a_flag_too_late_is_extra_overlap(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    skipped = answer(lease, "skip")
    send(store, "r_ada", skipped)
    bob = take(store, "r_bob")
    send(store, "r_ada", answer(lease, supersedes_token=skipped.token))
    send(store, "r_bob", answer(bob.lease_id))
    assert seats(store) == [("done", "r_bob")]
    with store.reading() as session:
        ada, other = effective(session)
    assert (ada.verdict, ada.slot_id, ada.late) == ("flag", None, False)
    assert (other.verdict, other.slot_id is None) == ("flag", False)


def test_two_flags_taken_back_at_once_make_two_fresh_seats(store: Store) -> None:
    """Both want the next seat number; the loser of that race tries again."""
    items(store, seats=2)
    jobs = []
    for reviewer in ("r_ada", "r_bob"):
        lease = take(store, reviewer).lease_id
        first = answer(lease)
        send(store, reviewer, first)
        jobs.append((reviewer, answer(lease, "skip", supersedes_token=first.token)))
    with ThreadPoolExecutor(2) as pool:
        assert [receipt.stored for receipt in pool.map(lambda job: send(store, *job), jobs)] == ["new", "new"]
    assert seats(store) == [("done", None), ("done", None), ("open", None), ("open", None)]


def test_a_correction_of_a_late_answer_stays_late_and_seatless(store: Store) -> None:
    items(store)
    lease = take(store, "r_ada").lease_id
    first = answer(lease, "skip")
    send(store, "r_ada", first, now=LATER)
    assert send(store, "r_ada", answer(lease, supersedes_token=first.token), now=LATER).late
    assert seats(store) == [("open", None)]


# ------------------------------------------------------------------ never changed


def test_the_database_refuses_to_change_or_delete_a_review(store: Store) -> None:
    items(store)
    send(store, "r_ada", answer(take(store, "r_ada").lease_id))
    statements = ["UPDATE review SET verdict = 'fine'", "UPDATE review SET reviewer = 'x'", "DELETE FROM review"]
    if not store.is_sqlite:  # which has no TRUNCATE
        statements.append("TRUNCATE review CASCADE")
    for statement in statements:
        with (
            pytest.raises(IntegrityError, match="rows of review are never changed or deleted; a correction is a new row"),
            store.writing() as session,
        ):
            session.connection().execute(text(statement))
    assert [row.verdict for row in stored(store)] == ["flag"]


def test_the_database_refuses_a_second_first_answer(store: Store) -> None:
    items(store)
    send(store, "r_ada", answer(take(store, "r_ada").lease_id))
    [row] = stored(store)
    with pytest.raises(IntegrityError), store.writing() as session:
        session.add(Review(**row.model_dump(exclude={"id", "token", "slot_id"}), token="x"))


# ------------------------------------------------------------------ rules


@pytest.mark.parametrize(
    ("verdict", "change", "field", "words"),
    [
        ("flag", {"categories": []}, "categories", "needs at least one category"),
        ("flag", {"severity": None}, "severity", "needs a severity"),
        ("flag", {"categories": ["rude"]}, "categories", "Unknown among the categories: 'rude'"),
        ("flag", {"categories": ["attack", "attack"]}, "categories", "name one twice"),
        ("flag", {"targets": ["martians"]}, "targets", "Unknown among the targets"),
        ("flag", {"target_other": "nurses"}, "target_other", "target 'other' ticked"),
        ("flag", {"categories": ["other"]}, "note", "'other' needs a note"),
        ("flag", {"categories": ["other"], "note": "  "}, "note", "'other' needs a note"),
        ("flag", {"spans": [{"start": 3, "end": 3}]}, "spans", "from 3 to 3"),
        ("flag", {"spans": [{"start": -1, "end": 3}]}, "spans", "from -1 to 3"),
        ("flag", {"spans": [{"start": 0, "end": len(TEXT) + 1}]}, "spans", f"<= {len(TEXT)}, counted in code points"),
        ("flag", {"spans": [{"start": 0, "end": 3, "category": "attack"}]}, "spans", "which the answer does not tick"),
        ("flag", {"spans": [{"start": 0, "end": 1}] * 101}, "spans", "101 passages"),
        ("flag", {"rewrite": " \n"}, "rewrite", "rewrite is empty"),
        ("flag", {"rewrite": TEXT.strip() + " "}, "rewrite", "same as the answer"),
        ("flag", {"rewrite": "a\0b"}, "rewrite", "NUL character at position 1"),
        ("flag", {"note": "\ud800"}, "note", "half a surrogate pair"),
        ("flag", {"note": "x" * (LONGEST_NOTE + 1)}, "note", "2001 characters"),
        ("flag", {"skip_reason": "unclear"}, "skip_reason", "takes no skip reason"),
        ("flag", {"seconds_open": -1.0}, "seconds_open", "expected 0 or more"),
        ("flag", {"seconds_open": float("nan")}, "seconds_open", "expected 0 or more"),
        ("flag", {"taxonomy_version": "99"}, "taxonomy_version", "'99' is not known here; reload"),
        ("flag", {"guideline_version": ""}, "guideline_version", "'' of the guidelines is not known here; reload the page"),
        ("fine", {"categories": ["attack"]}, "categories", "takes no categories"),
        ("fine", {"severity": "slight"}, "severity", "takes no severity"),
        ("fine", {"rewrite": "x"}, "rewrite", "takes no rewrite"),
        ("fine", {"skip_reason": "unclear"}, "skip_reason", "takes no skip reason"),
        ("skip", {"skip_reason": None}, "skip_reason", "needs a reason"),
        ("skip", {"skip_reason": "bored"}, "skip_reason", "got 'bored', expected one of conflict"),
    ],
)
def test_a_bad_answer_is_refused_by_rule_and_the_item_stays_held(
    sqlite_store: Store, verdict: str, change: dict[str, Any], field: str, words: str
) -> None:
    items(sqlite_store)
    held = take(sqlite_store, "r_ada")
    with pytest.raises(BadAnswer, match=words) as refused:
        send(sqlite_store, "r_ada", answer(held.lease_id, verdict, **change))
    assert refused.value.field == field
    assert stored(sqlite_store) == []
    assert send(sqlite_store, "r_ada", answer(held.lease_id)).stored == "new"


@pytest.mark.parametrize(
    "change", [{"token": "7"}, {"verdict": "perhaps"}, {"severity": "awful"}, {"reviewer": "r_bob"}, {"late": True}]
)
def test_an_answer_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        answer("x", **change)


def test_a_token_is_one_however_it_is_written() -> None:
    token = uuid4()
    assert answer("x", token=str(token).upper()).token == answer("x", token=token.hex).token == str(token)


# ------------------------------------------------------------------ reading


def test_effective_filters_by_item_purpose_and_simulation(store: Store) -> None:
    items(store, 2, label="loop")
    items(store, 1, purpose="blind", label="blind")
    held = claim(store, "r_ada", count=3, now=NOON, lease_for=HALF_HOUR, seed=0)
    for number, one in enumerate(held):
        send(store, "r_ada", answer(one.lease_id, "fine"), simulated=number == 0)
    with store.reading() as session:
        assert len(effective(session)) == 3
        assert len(effective(session, purpose="blind")) == 1
        assert [row.item_id for row in effective(session, simulated=True)] == [held[0].item_id]
        assert {row.item_id for row in effective(session, item_ids=[held[1].item_id, held[2].item_id, 10**6])} == {
            held[1].item_id,
            held[2].item_id,
        }
        assert effective(session, item_ids=[]) == []


def test_recent_and_today_count_what_is_in_force(store: Store) -> None:
    items(store, 4)
    held = claim(store, "r_ada", count=4, now=NOON, lease_for=HALF_HOUR, seed=0)
    given = [answer(one.lease_id, verdict) for one, verdict in zip(held, ("fine", "flag", "skip"), strict=False)]
    for number, one in enumerate(given):
        send(store, "r_ada", one, now=NOON + timedelta(minutes=number))
    correction = answer(held[0].lease_id, supersedes_token=given[0].token)
    send(store, "r_ada", correction, now=NOON + timedelta(minutes=5))
    with store.reading() as session:
        assert [row.token for row in recent(session, "r_ada")] == [correction.token, given[2].token, given[1].token]
        assert [row.token for row in recent(session, "r_ada", limit=1)] == [correction.token]
        assert answered_today(session, "r_ada", since=NOON) == 2
        assert answered_today(session, "r_ada", since=NOON + timedelta(minutes=2)) == 1
        assert answered_today(session, "r_bob", since=NOON) == 0


def test_an_undone_item_comes_back_with_its_answer(store: Store) -> None:
    items(store)
    held = take(store, "r_ada")
    given = answer(held.lease_id, note="hm")
    send(store, "r_ada", given)
    with store.reading() as session:
        again = reopened(session, "r_ada", given.token)
        with pytest.raises(UnknownLease):
            reopened(session, "r_bob", given.token)
    assert again._replace(earlier=None) == held
    assert again.earlier is not None
    assert (again.earlier["token"], again.earlier["categories"], again.earlier["note"]) == (given.token, ["stereotype"], "hm")


# ------------------------------------------------------------------ the whole against a model


class Desk(RuleBasedStateMachine):
    """Three reviewers at random: what the store holds is what a model of twenty lines holds."""

    reviewers = ("r_ada", "r_bob", "r_eve")
    COUNT, SEATS = 3, 2
    #: A migrated database to start each run from.
    empty: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        copy = shutil.copy(self.empty, self.folder.name)
        self.store = Store(f"sqlite:///{copy}")
        self.now = NOON
        #: lease id -> (reviewer, item, end)
        self.leases: dict[str, tuple[str, int, datetime]] = {}
        #: (reviewer, item) -> lease of a claim not yet answered, released or swept
        self.held: dict[tuple[str, int], str] = {}
        #: (reviewer, item) -> chain of (token, verdict, late)
        self.chains: dict[tuple[str, int], list[tuple[str, str, bool]]] = {}
        #: (reviewer, item) whose answer fills a seat
        self.filled: set[tuple[str, int]] = set()

    @initialize()
    def start(self) -> None:
        items(self.store, self.COUNT, seats=self.SEATS)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def free(self, item: int) -> int:
        """Open seats: two for each item, less those held or filled."""
        return self.SEATS - sum(one == item for _, one in (*self.held, *self.filled))

    def live(self, reviewer: str, item: int) -> bool:
        lease = self.held.get((reviewer, item))
        return lease is not None and self.leases[lease][2] > self.now

    @rule(reviewer=st.sampled_from(reviewers), count=st.integers(0, 3), seed=st.integers(0, 99))
    def claims(self, reviewer: str, count: int, seed: int) -> None:
        mine = {item for item in range(1, self.COUNT + 1) if self.live(reviewer, item)}
        offered = {
            item
            for item in range(1, self.COUNT + 1)
            if self.free(item) and (reviewer, item) not in self.held and (reviewer, item) not in self.chains
        }
        got = claim(self.store, reviewer, count=count, now=self.now, lease_for=HALF_HOUR, seed=seed)
        shown = [one.item_id for one in got]
        assert set(shown[: len(mine)]) == mine
        assert set(shown[len(mine) :]) <= offered
        assert len(set(shown)) == len(shown) == max(len(mine), min(count, len(mine) + len(offered)))
        for one in got:
            self.leases[one.lease_id] = (reviewer, one.item_id, one.expires_at)
            self.held[reviewer, one.item_id] = one.lease_id

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), verdict=st.sampled_from(["flag", "fine", "skip"]), twice=st.booleans())
    def answers(self, data: st.DataObject, verdict: str, twice: bool) -> None:
        lease = data.draw(st.sampled_from(sorted(self.leases, key=lambda one: self.leases[one][:2])))
        reviewer, item, _ = self.leases[lease]
        key = (reviewer, item)
        given = answer(lease, verdict)
        if key in self.chains:
            with pytest.raises(AlreadyAnswered):
                send(self.store, reviewer, given, now=self.now)
            return
        late = not self.live(reviewer, item)
        receipt = send(self.store, reviewer, given, now=self.now)
        assert (receipt.stored, receipt.late) == ("new", late)
        if twice:
            assert send(self.store, reviewer, given, now=self.now) == receipt._replace(stored="again")
        self.held.pop(key, None)
        if not late and verdict != "skip":
            self.filled.add(key)
        self.chains[key] = [(given.token, verdict, late)]

    @precondition(lambda self: self.chains)
    @rule(data=st.data(), verdict=st.sampled_from(["flag", "fine", "skip"]), stale=st.booleans())
    def corrects(self, data: st.DataObject, verdict: str, stale: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.chains)))
        reviewer, item = key
        chain = self.chains[key]
        lease = next(one for one, (who, what, _) in self.leases.items() if (who, what) == key)
        token, before, late = chain[0 if stale else -1]
        given = answer(lease, verdict, supersedes_token=token)
        if stale and len(chain) > 1:
            with pytest.raises(AlreadyAnswered):
                send(self.store, reviewer, given, now=self.now)
            return
        if verdict == "skip":
            self.filled.discard(key)
        elif before == "skip" and not late and self.free(item):
            self.filled.add(key)
        assert send(self.store, reviewer, given, now=self.now).late == late
        chain.append((given.token, verdict, late))

    @rule(reviewer=st.sampled_from(reviewers))
    def releases(self, reviewer: str) -> None:
        mine = [key for key in self.held if key[0] == reviewer]
        assert release(self.store, reviewer, now=self.now) == len(mine)
        for key in mine:
            del self.held[key]

    @rule(minutes=st.integers(1, 40))
    def waits(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def sweeps(self) -> None:
        over = [key for key, lease in self.held.items() if self.leases[lease][2] <= self.now]
        assert sweep(self.store, now=self.now) == len(over)
        for key in over:
            del self.held[key]

    @invariant()
    def store_and_model_agree(self) -> None:
        with self.store.reading() as session:
            in_force = {(row.reviewer, row.item_id): (row.token, row.verdict, row.late) for row in effective(session)}
            slots = session.exec(select(Slot)).all()
            held = session.exec(select(Lease.id).where(Lease.outcome == "held")).all()
        assert in_force == {key: chain[-1] for key, chain in self.chains.items()}
        assert {(slot.reviewer, slot.item_id) for slot in slots if slot.state == "claimed"} == set(self.held)
        assert {(slot.reviewer, slot.item_id) for slot in slots if slot.state == "done" and slot.reviewer} == self.filled
        for item in {slot.item_id for slot in slots}:
            assert sum(slot.state == "open" for slot in slots if slot.item_id == item) == self.free(item)
        assert set(held) == set(self.held.values())


def test_the_desk_behaves_like_its_model(sqlite_store: Store) -> None:
    sqlite_store.close()
    Desk.empty = Path(str(sqlite_store.url.database))
    run: Callable[[], None] = Desk.TestCase("runTest").runTest
    run()


Desk.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None, database=None)
