"""Claims about answers asked a second time: how often, of whom, and that they count nowhere. SQLite and PostgreSQL."""

import json
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from math import sqrt
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from flagback.model import reviewer_quality
from flagback.storage import (
    adjudications,
    counting,
    export,
    gold,
    judgements,
    overview,
    panel_health,
    reviews,
    second_looks,
    set_aside,
    slots,
    wellbeing,
    withdrawals,
)
from flagback.storage.answers import Answer
from flagback.storage.claims import Claim
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.gold import BadGold, UnknownGold
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import AuditEntry, Gold, Item, ItemGeneration, Lease, Review, SecondLook, Slot
from flagback.storage.second_looks import USUAL, BadRates, Rates
from flagback.storage.slots import Mix
from flagback.storage.store import Store

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
#: As often as a claim takes them; no wait between the looks.
ALWAYS = Rates(repeat_every=1, gold_every=0, days_apart=0, answers_apart=0)
GOLD = Rates(repeat_every=0, gold_every=1, days_apart=0, answers_apart=0)


def items(store: Store, count: int, *, name: str = "prompt", seats: int = 2, lang: str = "en", **tags: Any) -> list[int]:
    """Items of the loop, one prompt each; the numbers of their answers."""
    with store.writing() as session:
        wanted = [NewPrompt([{"role": "user", "content": f"{name} {n}"}], lang, tags) for n in range(count)]
        prompts = add_prompts(session, wanted).ids
        made = add_generations(session, [NewGeneration(one, f" to {one}", "end", "sampled", "run:1") for one in prompts])
        make_items(session, made, purpose="loop", reviews_per_item=seats, seed=1)
        return made


def take(store: Store, who: str, count: int = 4, *, rates: Rates | None = ALWAYS, now: datetime = NOON, **more: Any) -> list[Claim]:
    """A claim with second looks mixed in."""
    known = {name: more.pop(name) for name in ("languages", "avoid") if name in more}
    mix: Mix | None = None if rates is None else second_looks.mixer(rates, who, now=now, **known)
    return slots.claim(store, who, count=count, now=now, lease_for=HOUR, seed=more.pop("seed", 0), mix=mix, **known, **more)


def say(store: Store, who: str, held: Claim, verdict: str = "fine", *, now: datetime = NOON, corrects: str | None = None) -> str:
    """Stores an answer; returns its token."""
    more: dict[str, Any] = {"categories": ["stereotype"], "severity": "clear"} if verdict == "flag" else {}
    more |= {"skip_reason": "unclear"} if verdict == "skip" else {}
    token = str(uuid4())
    given = Answer(
        token=token,
        lease_id=held.lease_id,
        verdict=verdict,
        supersedes_token=corrects,
        taxonomy_version="2",
        guideline_version="1",
        **more,
    )
    reviews.submit(store, who, given, now=now, policy_version="1")
    return token


def kinds(store: Store) -> Counter[str]:
    """Items by kind."""
    with store.reading() as session:
        return Counter(session.exec(select(Item.kind)).all())


def kind_of(store: Store, claim: Claim) -> str:
    with store.reading() as session:
        return session.get_one(Item, claim.item_id).kind


def agreed(store: Store, made: list[int], verdict: str = "flag", *, people: int = gold.AGREED_BY) -> None:
    """So many people say the same of some answers."""
    for number in range(people):
        for held in take(store, f"judge {number}", len(made), rates=None):
            assert held.generation_id in made
            say(store, f"judge {number}", held, verdict)


def test_an_own_answer_comes_again_as_an_item_of_its_own_and_looks_like_any_other(store: Store) -> None:
    items(store, 6)
    first = take(store, "ada", 2, rates=None)
    for held in first:
        say(store, "ada", held, "flag")
    fresh, again = take(store, "ada", 2)
    assert kind_of(store, fresh) == "single"
    assert kind_of(store, again) == "repeat"
    assert (again.prompt, again.text, again.generation_id, again.answers) in [
        (one.prompt, one.text, one.generation_id, ()) for one in first
    ]
    assert again.item_id not in {one.item_id for one in first}
    # A reload hands out the same two, and an answer is opened again as it was.
    assert take(store, "ada", 2) == [fresh, again]
    token = say(store, "ada", again, "fine")
    with store.reading() as session:
        assert reviews.reopened(session, "ada", token).text == again.text
        [second] = second_looks.results(session)
    assert second == ("ada", "repeat", False)
    say(store, "ada", again, "flag", corrects=token)
    with store.reading() as session:
        assert [one.same for one in second_looks.results(session)] == [True]


def test_no_claim_of_anybody_finds_what_one_person_was_asked_again_and_gave_back(store: Store) -> None:
    items(store, 6, seats=9)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    fresh, again = take(store, "ada", 2)
    assert slots.release(store, "ada", now=NOON) == 2
    others = [held for name in ("ben", "cem", "dua") for held in take(store, name, 10, rates=None)]
    assert again.item_id not in {held.item_id for held in others}
    later = take(store, "ada", 2)
    assert [held.item_id for held in later if held.item_id == again.item_id] == [again.item_id]
    assert kinds(store)["repeat"] == 1
    assert fresh.generation_id != again.generation_id
    # What expires is freed as any other, and is nobody else's either.
    assert slots.sweep(store, now=NOON + 2 * HOUR) > 0
    assert again.item_id not in {held.item_id for held in take(store, "eve", 10, rates=None, now=NOON + 2 * HOUR)}


def test_a_skipped_second_look_does_not_come_a_third_time(store: Store) -> None:
    items(store, 8)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    _, again = take(store, "ada", 2)
    say(store, "ada", again, "skip")
    for number in range(3):
        assert again.generation_id not in {held.generation_id for held in take(store, "ada", 4 + number)}
    with store.reading() as session:
        assert second_looks.results(session) == []


def test_the_database_refuses_a_third_look_at_one_answer(store: Store) -> None:
    items(store, 4)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    _, again = take(store, "ada", 2)
    assert again.generation_id is not None
    with pytest.raises(IntegrityError), store.writing() as session:
        other = Item(kind="gold", purpose="check", prompt_id=1, created_at=NOON)
        session.add(other)
        session.flush()
        session.add(SecondLook(item_id=other.id, reviewer="ada", generation_id=again.generation_id))
        session.flush()


def test_nothing_is_mixed_into_nothing(store: Store) -> None:
    items(store, 2)
    for held in take(store, "ada", 2, rates=None):
        say(store, "ada", held)
    for seed in range(20):
        assert take(store, "ada", 10, seed=seed) == []
    assert kinds(store)["repeat"] == 0


def test_too_soon_too_few_since_off_and_side_by_side_ask_nothing_again(store: Store) -> None:
    items(store, 30)
    for held in take(store, "ada", 3, rates=None):
        say(store, "ada", held)
    for rates, moment in (
        (ALWAYS._replace(days_apart=1), NOON + timedelta(hours=23)),
        (ALWAYS._replace(answers_apart=3), NOON),
        (ALWAYS._replace(repeat_every=0), NOON),
    ):
        take(store, "ada", 4, rates=rates, now=moment)
        slots.release(store, "ada", now=moment)
    take(store, "ada", 4, mode="compare")
    assert kinds(store)["repeat"] == 0
    take(store, "ada", 4, rates=ALWAYS._replace(days_apart=1, answers_apart=2), now=NOON + timedelta(hours=25))
    assert kinds(store)["repeat"] == 1


def test_only_judgements_in_force_come_again_and_each_once(store: Store) -> None:
    items(store, 30)
    skipped, corrected, kept = take(store, "ada", 3, rates=None)
    say(store, "ada", skipped, "skip")
    say(store, "ada", corrected, "skip", corrects=say(store, "ada", corrected))
    say(store, "ada", kept)
    claimed = take(store, "ada", 12)
    again = [held.generation_id for held in claimed if kind_of(store, held) == "repeat"]
    assert again == [kept.generation_id]


def test_declined_topics_other_languages_and_withdrawn_texts_do_not_come_again(store: Store) -> None:
    items(store, 4, name="kept", seats=9, topic="boats")
    declined = set(items(store, 1, name="declined", seats=9, topic="war"))
    items(store, 1, name="foreign", seats=9, lang="es")
    gone = items(store, 1, name="gone", seats=9)
    items(store, 40, name="more", seats=9)
    for held in take(store, "ada", 47, rates=None):
        if held.prompt[0]["content"].split()[0] != "more":
            say(store, "ada", held)
    slots.release(store, "ada", now=NOON)
    with store.writing() as session:
        item = session.exec(select(Item.id).where(Item.generation_id == gone[0])).one()
        withdrawals.withdraw(session, item, category="minors", review_id=None, by="max", now=NOON)

    def avoid(session: Session, prompts: Any) -> Collection[int]:
        return wellbeing.to_avoid(session, prompts, {"topic:war"})

    claimed = take(store, "ada", 30, languages=["en"], avoid=avoid)
    again = {held.generation_id: held.prompt[0]["content"] for held in claimed if kind_of(store, held) == "repeat"}
    assert {words.split()[0] for words in again.values()} == {"kept"}
    assert len(again) == 4
    assert declined.isdisjoint(again)


def test_a_text_withdrawn_on_a_second_look_is_gone_everywhere(store: Store) -> None:
    items(store, 4)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    _, again = take(store, "ada", 2)
    given = Answer(
        token=str(uuid4()),
        lease_id=again.lease_id,
        verdict="flag",
        categories=["minors"],
        severity="severe",
        taxonomy_version="2",
        guideline_version="1",
    )
    reviews.submit(store, "ada", given, now=NOON, policy_version="1")
    with store.reading() as session:
        assert [row.category for row in withdrawals.in_force(session)] == ["minors"]
        assert second_looks.results(session) == []
    assert all(held.generation_id != again.generation_id for held in take(store, "ben", 9, rates=None))


def test_gold_is_chosen_from_what_everybody_judged_alike_and_ends_by_a_name(store: Store) -> None:
    made = items(store, 3, seats=9)
    agreed(store, made[:1] + made[1:], "flag", people=gold.AGREED_BY - 1)
    with store.reading() as session:
        assert gold.candidates(session) == []
    for held in take(store, "last", 3, rates=None):
        say(store, "last", held, "fine" if held.generation_id == made[2] else "flag")
    with store.writing() as session:
        found = gold.candidates(session)
        assert {(one.generation_id, one.expected, one.votes) for one in found} == {
            (made[0], "flag", gold.AGREED_BY),
            (made[1], "flag", gold.AGREED_BY),
        }
        row = gold.add(session, made[0], by="lea", now=NOON)
        assert (row.expected, row.source, row.lang) == ("flag", "unanimous", "en")
        for number in (made[0], made[2], 10_000):
            with pytest.raises(BadGold, match="cannot be gold"):
                gold.add(session, number, by="lea", now=NOON)
        assert [one.gold.id for one in gold.in_force(session)] == [row.id]
        gold.end(session, row.id, by="lea", now=NOON)
        assert gold.in_force(session) == []
        with pytest.raises(UnknownGold, match="No gold"):
            gold.end(session, row.id, by="lea", now=NOON)
        acts = session.exec(select(AuditEntry.action).order_by(col(AuditEntry.id))).all()
    assert [act for act in acts if act.startswith("gold")] == ["gold added", "gold ended"]


def test_gold_is_handed_to_who_has_not_met_it_and_yields_agreement_with_what_is_expected(store: Store) -> None:
    made = items(store, 2, seats=gold.AGREED_BY)
    agreed(store, made)
    with store.writing() as session:
        for number in made:
            gold.add(session, number, by="lea", now=NOON)
    items(store, 20, name="more", seats=9)
    assert {kind_of(store, held) for held in take(store, "judge 0", 6, rates=GOLD)} == {"single"}
    claimed = take(store, "new", 8, rates=GOLD)
    met = [held for held in claimed if kind_of(store, held) == "gold"]
    assert {held.generation_id for held in met} == set(made)
    say(store, "new", met[0], "flag")
    say(store, "new", met[1], "fine")
    with store.reading() as session:
        assert sorted(second_looks.results(session)) == [("new", "gold", False), ("new", "gold", True)]
        assert sorted((one.asked, one.met) for one in gold.in_force(session)) == [(1, 0), (1, 1)]


def test_gold_comes_from_a_file_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    rows = [{"prompt": f"Say {n}", "answer": f" well {n}", "expected": "fine", "lang": "en"} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with store.writing() as session:
        assert gold.import_gold(session, path, by="max", now=NOON) == 3
        assert gold.import_gold(session, path, by="max", now=NOON) == 0
    for bad, words in (
        ('{"prompt": "a", "answer": "b", "expected": "maybe"}', "line 4, expected"),
        ('{"prompt": "a", "answer": " ", "expected": "fine"}', "the answer is empty"),
        ("no json", "is no JSON"),
    ):
        path.write_text("\n".join(map(json.dumps, rows)) + f"\n{bad}\n", encoding="utf-8")
        with pytest.raises(BadGold, match=words), store.writing() as session:
            gold.import_gold(session, path, by="max", now=NOON)
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Gold)).one() == 3
    items(store, 6, name="more")
    assert sum(kind_of(store, held) == "gold" for held in take(store, "ada", 6, rates=GOLD)) == 3


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.sampled_from(["flag", "fine", "skip"]), min_size=4, max_size=4),
    again=st.lists(st.sampled_from(["flag", "fine", "skip", "corrected"]), min_size=3, max_size=3),
)
def test_whatever_is_said_on_a_second_look_no_figure_moves(sqlite_store: Store, said: list[str], again: list[str]) -> None:
    who = uuid4().hex
    items(sqlite_store, 12, name=who)
    for held, verdict in zip(take(sqlite_store, who, 4, rates=None), said, strict=True):
        say(sqlite_store, who, held, verdict)
    claimed = [held for held in take(sqlite_store, who, 8) if kind_of(sqlite_store, held) == "repeat"]
    slots.release(sqlite_store, who, now=NOON)
    before = figures(sqlite_store)
    for held, verdict in zip(claimed, again, strict=False):
        token = say(sqlite_store, who, held, "fine" if verdict == "corrected" else verdict)
        if verdict == "corrected":
            say(sqlite_store, who, held, "flag", corrects=token)
    assert figures(sqlite_store) == before


def figures(store: Store) -> list[Any]:
    """What every figure about answers is made of."""
    with store.reading() as session:
        state = overview.loop_state(session)
        return [
            [one.id for one in reviews.effective(session)],
            judgements.given(session),
            judgements.reviewed(session),
            judgements.count(session),
            adjudications.differing(session, newest_first=False, open_only=True),
            wellbeing.lately(session, now=NOON),
            panel_health.health(session, now=NOON),
            sorted(session.exec(select(Review.id).where(counting.counts())).all()),
            state,
        ]


def test_an_export_leaves_them_out_unless_it_is_asked_for_them(store: Store, tmp_path: Path) -> None:
    items(store, 4)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    _, again = take(store, "ada", 2)
    say(store, "ada", again, "flag")
    export.export_reviews(store, tmp_path / "usual", format="jsonl")
    export.export_reviews(store, tmp_path / "all", format="jsonl", second_looks=True)
    rows = {
        name: [json.loads(line) for line in (tmp_path / name / "reviews.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("usual", "all")
    }
    assert [row["item_kind"] for row in rows["usual"]] == ["single"]
    assert [(row["item_kind"], row["purpose"], row["left_out"]) for row in rows["all"]] == [
        ("single", "loop", False),
        ("repeat", "check", True),
    ]
    assert rows["all"][1]["response"] == again.text


def test_whoever_is_left_out_gives_up_no_seat_of_a_second_look(store: Store) -> None:
    items(store, 4)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    _, again = take(store, "ada", 2)
    say(store, "ada", again)
    with store.writing() as session:
        set_aside.add(session, "exclude", reviewer="ada", reason="said by chance throughout", by="lea", now=NOON)
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Slot).where(Slot.item_id == again.item_id)).one() == 1


def test_claims_mix_in_at_the_rate_that_is_set(sqlite_store: Store) -> None:
    """Of so many draws with a fixed seed, within four standard deviations of the rate; each is one draw of its own."""
    items(sqlite_store, 400)
    for held in take(sqlite_store, "ada", 100, rates=None):
        say(sqlite_store, "ada", held)
    rates = Rates(repeat_every=10, gold_every=0, days_apart=0, answers_apart=0)
    fresh = 0
    for turn in range(25):
        claimed = take(sqlite_store, "ada", 10, rates=rates, seed=turn)
        for held in claimed:
            say(sqlite_store, "ada", held)
            fresh += kind_of(sqlite_store, held) == "single"
    found = kinds(sqlite_store)["repeat"]
    assert abs(found - fresh / 10) <= 4 * sqrt(fresh * 0.1 * 0.9)
    assert found > 5


@settings(max_examples=200, deadline=None)
@given(repeat=st.integers(5, 60), golden=st.integers(5, 60), seed=st.integers(0, 2**20))
def test_the_draw_follows_both_rates(repeat: int, golden: int, seed: int) -> None:
    """Where there is nothing to ask again nothing is, whatever the rates; what is looked for follows them."""
    asked: Counter[str] = Counter()
    random = Random(seed)
    for _ in range(3_000):
        drawn = random.random()
        asked["repeat" if drawn < 1 / repeat else "gold" if drawn < 1 / repeat + 1 / golden else "none"] += 1
    for name, every in (("repeat", repeat), ("gold", golden)):
        assert abs(asked[name] - 3_000 / every) <= 6 * sqrt(3_000 / every)


def test_what_is_mixed_in_moves_no_draw_of_the_others(store: Store) -> None:
    items(store, 60, seats=5)
    for held in take(store, "ada", 10, rates=None, seed=3):
        say(store, "ada", held)
    plain = [held.item_id for held in take(store, "ada", 4, rates=None, seed=7)]
    slots.release(store, "ada", now=NOON)
    mixed = take(store, "ada", 8, rates=ALWAYS, seed=7)
    assert [held.item_id for held in mixed if kind_of(store, held) == "single"] == plain
    assert sum(kind_of(store, held) == "repeat" for held in mixed) == 4


def test_a_second_look_reads_no_more_rows_the_more_a_person_has_answered(store: Store) -> None:
    """The same statements however long the history is: nothing is counted, nothing read whole."""
    items(store, 120, seats=3)

    def statements(who: str, answered: int) -> int:
        for held in take(store, who, answered, rates=None):
            say(store, who, held)
        ran: list[str] = []
        heard = lambda _c, _cur, statement, *_rest: ran.append(statement)  # noqa: E731
        event.listen(store.engine, "before_cursor_execute", heard)
        try:
            claimed = take(store, who, 2, rates=ALWAYS)
        finally:
            event.remove(store.engine, "before_cursor_execute", heard)
        assert [kind_of(store, held) for held in claimed] == ["single", "repeat"]
        return len(ran)

    assert statements("short", 3) == statements("long", 90)


def test_who_had_every_answer_again_is_not_looked_through_whole(sqlite_store: Store) -> None:
    with sqlite_store.reading() as session:
        given = {"who": "ada", "start": 0, "high": 10**6, "before": NOON}
        compiled = second_looks._earlier_statement().compile(session.get_bind(), compile_kwargs={"literal_binds": False})
        plan = [
            str(row[-1])
            for row in session.connection().exec_driver_sql(
                f"EXPLAIN QUERY PLAN {compiled}", tuple({**given, **compiled.params}[name] for name in compiled.positiontup or ())
            )
        ]
    assert any("ix_review_reviewer" in line for line in plan), plan
    assert not any(line.startswith("SCAN") and "ahead" not in line for line in plan), plan


def test_rates_are_kept_within_bounds_and_said_by_whom(store: Store) -> None:
    with store.writing() as session:
        assert second_looks.rates(session) == USUAL
        second_looks.set_rates(session, USUAL, by="lea", now=NOON)
        second_looks.set_rates(session, USUAL._replace(repeat_every=0), by="lea", now=NOON)
        assert second_looks.rates(session).repeat_every == 0
        for bad in (USUAL._replace(repeat_every=2), USUAL._replace(gold_every=-1), USUAL._replace(days_apart=400)):
            with pytest.raises(BadRates):
                second_looks.set_rates(session, bad, by="lea", now=NOON)
        assert len(session.exec(select(AuditEntry.id).where(AuditEntry.action == "second looks set")).all()) == 1
    with pytest.raises(Exception, match="never changed"), store.writing() as session:
        session.execute(text("UPDATE second_look_rates SET gold_every = 7"))


def test_steadiness_and_gold_stand_beside_the_quality_figures_with_an_interval(store: Store) -> None:
    seconds = [second_looks.Second("ada", "repeat", same) for same in [True] * 6 + [False] * 2]
    seconds += [second_looks.Second("ada", "gold", True)] * 4
    items(store, 4)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    with store.reading() as session:
        [one] = reviewer_quality.qualities(judgements.given(session), seconds)
    assert one.repeats is not None
    assert (one.repeats.value, one.repeats.n) == (0.75, 8)
    # Wilson's interval for 6 of 8, as in Brown, Cai and DasGupta (2001).
    assert (round(one.repeats.low, 3), round(one.repeats.high, 3)) == (0.409, 0.929)
    assert one.gold is None  # four are too few


def test_a_second_look_has_a_lease_a_slot_and_one_answer_like_any_item(store: Store) -> None:
    items(store, 4)
    say(store, "ada", take(store, "ada", 1, rates=None)[0])
    _, again = take(store, "ada", 2)
    say(store, "ada", again)
    with store.reading() as session:
        slot = session.exec(select(Slot).where(Slot.item_id == again.item_id)).one()
        lease = session.get_one(Lease, again.lease_id)
        shown = session.exec(select(ItemGeneration).where(ItemGeneration.item_id == again.item_id)).one()
    assert (slot.state, slot.mode, slot.reviewer, lease.outcome, lease.probability) == ("done", "own", "ada", "submitted", None)
    assert shown.generation_id == again.generation_id
    with pytest.raises(reviews.AlreadyAnswered):
        say(store, "ada", again, "flag")
