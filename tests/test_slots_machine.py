"""Claims, answers, expiry, giving back and relaxing at random, against a model of the desk in plain Python, with seats for groups
and overlap that follows the votes: what the store holds is what the model holds, and the database's own laws are never broken."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import create_engine, text
from sqlmodel import select

from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.overlap import set_overlap
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Lease, Record, Review, Slot
from flagback.storage.reviews import AlreadyAnswered, submit
from flagback.storage.slots import claim, relax, release, sweep
from flagback.storage.store import Store
from tests.fresh import migrate

START = datetime(2030, 1, 1, tzinfo=UTC)
HALF_HOUR, KEPT = timedelta(minutes=30), timedelta(hours=2)
GROUP = "gender=woman"
#: Who there is, and of which group.
PEOPLE = {"r_ada": [], "r_bob": [], "r_cyd": [], "r_eve": [GROUP], "r_fay": [GROUP]}
ITEMS, STEPS = 3, (1, 3, 5)


@dataclass
class Desk:
    """What ought to be: seats that are open by group, who holds what until when, and what was said."""

    #: item -> open seats kept for the group, and for anybody: their relaxing times (None: never kept).
    kept: dict[int, list[datetime]] = field(default_factory=dict)
    free: dict[int, int] = field(default_factory=dict)
    #: (who, item) -> (end, relaxing time of a kept seat, None for anybody's).
    held: dict[tuple[str, int], tuple[datetime, datetime | None]] = field(default_factory=dict)
    said: dict[tuple[str, int], str] = field(default_factory=dict)
    #: (who, item) whose answer fills a seat.
    filled: set[tuple[str, int]] = field(default_factory=set)

    def may(self, who: str, item: int) -> bool:
        """Whether the person can be handed the item now."""
        open_ = self.free[item] + (len(self.kept[item]) if PEOPLE[who] else 0)
        return open_ > 0 and (who, item) not in self.held and (who, item) not in self.said

    def reopen(self, key: tuple[str, int]) -> None:
        """The seat in somebody's hands is open again."""
        _, relaxing = self.held.pop(key)
        if relaxing is None:
            self.free[key[1]] += 1
        else:
            self.kept[key[1]].append(relaxing)

    def widen(self, item: int, now: datetime) -> None:
        """The rule of the policy 1,3,5 with one kept seat a step, written out."""
        filled = sum(one == item for _, one in self.filled)
        if self.free[item] or self.kept[item] or any(one == item for _, one in self.held) or filled not in (1, 3):
            return
        votes = Counter(verdict for (_, one), verdict in self.said.items() if one == item and verdict != "skip")
        if filled == 1 or (votes["flag"] and votes["fine"]):
            self.kept[item].append(now + KEPT)
            self.free[item] += 1


class SlotMachine(RuleBasedStateMachine):
    """Five people at a desk of three items."""

    opened: ClassVar[Callable[[], tuple[Store, Callable[[], None]]]]

    def __init__(self) -> None:
        super().__init__()
        self.store, self.close = type(self).opened()
        self.desk = Desk()
        self.now = START
        #: lease -> (who, item)
        self.leases: dict[str, tuple[str, int]] = {}

    @initialize()
    def start(self) -> None:
        with self.store.writing() as session:
            given = {"steps": STEPS, "seats": {GROUP: 1}, "relax_after": KEPT, "random_share": 0.5}
            set_overlap(session, by="ada", now=START, **given)  # type: ignore[arg-type]
            prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"{n}"}]) for n in range(ITEMS)]).ids
            made = add_generations(session, [NewGeneration(one, f" to {one}", "end", "sampled", "run:1") for one in prompts])
            make_items(session, made, purpose="loop", reviews_per_item=1, seed=1)
            for slot in session.exec(select(Slot)).all():  # made by the wall clock
                slot.relax_at = START + KEPT
                session.add(slot)
                self.desk.kept[slot.item_id], self.desk.free[slot.item_id] = [START + KEPT], 0

    def teardown(self) -> None:
        self.close()

    @rule(who=st.sampled_from(sorted(PEOPLE)), count=st.integers(1, 3), seed=st.integers(0, 99))
    def claims(self, who: str, count: int, seed: int) -> None:
        live = {item for (name, item), (end, _) in self.desk.held.items() if name == who and end > self.now}
        offered = {item for item in self.desk.free if self.desk.may(who, item)}
        got = claim(self.store, who, count=count, now=self.now, lease_for=HALF_HOUR, seed=seed, groups=lambda _: PEOPLE[who])
        shown = [one.item_id for one in got]
        assert set(shown[: len(live)]) == live
        assert set(shown[len(live) :]) <= offered
        assert len(set(shown)) == len(shown) == max(len(live), min(count, len(live) + len(offered)))
        kept_left = [item for item in offered if self.desk.kept[item]] if PEOPLE[who] else []
        fresh = shown[len(live) :]
        # Seats of the group before seats for anybody.
        assert sum(item in kept_left for item in fresh) == min(len(fresh), len(kept_left))
        with self.store.reading() as session:
            mine = session.exec(select(Slot).where(Slot.reviewer == who, Slot.state == "claimed")).all()
        for slot in mine:
            if slot.item_id in fresh:
                if slot.want_group == GROUP:
                    assert slot.relax_at is not None
                    self.desk.kept[slot.item_id].remove(slot.relax_at)
                else:
                    self.desk.free[slot.item_id] -= 1
                relaxing = slot.relax_at if slot.want_group == GROUP else None
                self.desk.held[who, slot.item_id] = (self.now + HALF_HOUR, relaxing)
        self.leases |= {one.lease_id: (who, one.item_id) for one in got}

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), verdict=st.sampled_from(["flag", "fine", "skip"]))
    def answers(self, data: st.DataObject, verdict: str) -> None:
        lease = data.draw(st.sampled_from(sorted(self.leases, key=lambda one: self.leases[one])))
        key = self.leases[lease]
        words: dict[str, object] = {"token": str(uuid4()), "lease_id": lease, "verdict": verdict}
        words |= {"taxonomy_version": "1", "guideline_version": "1"}
        if verdict == "flag":
            words |= {"categories": ["stereotype"], "severity": "clear"}
        if verdict == "skip":
            words |= {"skip_reason": "unclear"}
        given = Answer.model_validate(words)
        if key in self.desk.said:
            with pytest.raises(AlreadyAnswered):
                submit(self.store, key[0], given, now=self.now, policy_version="1")
            return
        late = key not in self.desk.held or self.desk.held[key][0] <= self.now
        assert submit(self.store, key[0], given, now=self.now, policy_version="1").late == late
        self.desk.said[key] = verdict
        if key in self.desk.held:
            if late or verdict == "skip":
                self.desk.reopen(key)
            else:
                del self.desk.held[key]
                self.desk.filled.add(key)
        self.desk.widen(key[1], self.now)

    @rule(who=st.sampled_from(sorted(PEOPLE)))
    def releases(self, who: str) -> None:
        mine = [key for key in self.desk.held if key[0] == who]
        assert release(self.store, who, now=self.now) == len(mine)
        for key in mine:
            self.desk.reopen(key)

    @rule(minutes=st.sampled_from([1, 20, 40, 130]))
    def waits(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def sweeps(self) -> None:
        over = [key for key, (end, _) in self.desk.held.items() if end <= self.now]
        assert sweep(self.store, now=self.now) == len(over)
        for key in over:
            self.desk.reopen(key)

    @rule()
    def relaxes(self) -> None:
        expected = 0
        for item, times in self.desk.kept.items():
            over = [moment for moment in times if moment <= self.now]
            self.desk.kept[item] = [moment for moment in times if moment > self.now]
            self.desk.free[item] += len(over)
            expected += len(over)
        assert relax(self.store, now=self.now) == expected

    @invariant()
    def store_and_desk_agree(self) -> None:
        if not self.desk.free:
            return
        with self.store.reading() as session:
            slots = session.exec(select(Slot)).all()
            reviews = session.exec(select(Review)).all()
            leases = {lease.id: lease for lease in session.exec(select(Lease)).all()}
        for item in self.desk.free:
            open_ = Counter(slot.want_group for slot in slots if slot.item_id == item and slot.state == "open")
            assert open_ == +Counter({"any": self.desk.free[item], GROUP: len(self.desk.kept[item])})
        assert {(slot.reviewer, slot.item_id) for slot in slots if slot.state == "claimed"} == set(self.desk.held)
        assert {(slot.reviewer, slot.item_id) for slot in slots if slot.state == "done"} == self.desk.filled
        assert {slot.want_group for slot in slots if slot.state == "done"} <= {"any"}
        assert {(review.reviewer, review.item_id): review.verdict for review in reviews} == self.desk.said
        # Every answer stands on a lease of its own reviewer, and no seat is filled twice.
        assert all(leases[review.lease_id].reviewer == review.reviewer for review in reviews)
        assert max(Counter(review.slot_id for review in reviews if review.slot_id).values(), default=0) <= 1
        for item in self.desk.free:
            assert sum(slot.item_id == item for slot in slots) in STEPS


def test_the_desk_behaves_like_its_model_on_sqlite(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    first = Store(f"sqlite:///{empty}")
    migrate(first)
    first.close()

    def opened() -> tuple[Store, Callable[[], None]]:
        folder = TemporaryDirectory()
        store = Store(f"sqlite:///{shutil.copy(empty, folder.name)}")

        def close() -> None:
            store.close()
            folder.cleanup()

        return store, close

    _run(opened, examples=30, steps=40)


def test_the_desk_behaves_like_its_model_on_postgresql(postgres_url: str) -> None:
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE machine"))
    store = Store(postgres_url.replace("/postgres?", "/machine?"))
    migrate(store)

    def opened() -> tuple[Store, Callable[[], None]]:
        names = ", ".join(table.name for table in Record.metadata.sorted_tables)
        with store.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # some tables refuse to be emptied
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        return store, lambda: None

    try:
        _run(opened, examples=6, steps=25)
    finally:
        store.close()
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE machine WITH (FORCE)"))
        admin.dispose()


def _run(opened: Callable[[], tuple[Store, Callable[[], None]]], *, examples: int, steps: int) -> None:
    class Machine(SlotMachine):
        pass

    Machine.opened = staticmethod(opened)
    Machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run: Callable[[], None] = Machine.TestCase("runTest").runTest
    run()
