"""Claims about care for reviewers: what they decline, what is covered, when it is enough, how the harmless lies among the rest."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text, update
from sqlmodel import Session, col, select

from flagback.storage import accounts, slots, wellbeing
from flagback.storage.answers import Answer
from flagback.storage.claims import Claim
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.lightness import EVERY, Light, Seat
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Generation, Item, Lease, Review, Slot
from flagback.storage.reviews import submit
from flagback.storage.slots import claim, release
from flagback.storage.store import Store
from flagback.storage.wellbeing import USUAL, BadTerms, Terms, UnknownTopic

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def add(store: Store, *tags: dict[str, Any], harm: float | None = None, answers: int = 1) -> list[int]:
    """Prompts with these tags and some answers each, of which `harm` is expected; the generations."""
    with store.writing() as session:
        prompts = add_prompts(
            session,
            [NewPrompt([{"role": "user", "content": f"p {uuid4()}"}], lang="en", tags=one) for one in tags],
        ).ids
        made = add_generations(
            session,
            [NewGeneration(prompt, f" answer {n}", "end", "imported", "x") for prompt in prompts for n in range(answers)],
        )
        make_items(session, made, purpose="loop", reviews_per_item=9, seed=1)
        for number in made:
            session.get_one(Generation, number).expected_harm = harm
    return made


def take(store: Store, reviewer: str, count: int, **more: Any) -> list[Claim]:
    return claim(store, reviewer, count=count, now=NOON, lease_for=HALF_HOUR, seed=0, **more)


def say(store: Store, reviewer: str, held: Claim, verdict: str = "flag", *, at: datetime = NOON, **more: Any) -> str:
    flag: dict[str, Any] = {"categories": ["demeaning"], "severity": "severe"} if verdict == "flag" else {}
    token = str(uuid4())
    words = {"taxonomy_version": "2", "guideline_version": "1"} | flag | more
    submit(store, reviewer, Answer(token=token, lease_id=held.lease_id, verdict=verdict, **words), now=at, policy_version="1")
    return token


def avoiding(*topics: str) -> dict[str, Any]:
    return {"avoid": lambda session, prompts: wellbeing.to_avoid(session, prompts, topics)}


# ------------------------------------------------------------------------ topics


@pytest.mark.parametrize(
    ("tags", "topic"),
    [
        ({"topic": "Violence"}, "topic:violence"),
        ({"topic": "sexual"}, "category:sexual"),
        ({"groups": ["religion"]}, "target:religion"),
        ({"groups": ["race:black"]}, "target:ethnicity"),
        ({"groups": ["gender=woman"]}, "target:gender"),
        ({"groups": "origin"}, "target:nationality"),
    ],
)
def test_who_declines_a_topic_is_never_handed_a_prompt_that_is_marked_with_it(
    store: Store, tags: dict[str, Any], topic: str
) -> None:
    declined = add(store, tags)
    [other] = add(store, {"topic": "gardening"})
    assert [one.generation_id for one in take(store, "r_ada", 9, **avoiding(topic))] == [other]
    assert {one.generation_id for one in take(store, "r_bob", 9)} == {*declined, other}


def test_what_others_found_in_an_answer_keeps_its_prompt_from_who_declines_that(store: Store) -> None:
    add(store, {}, answers=2)
    [other] = add(store, {})
    first = next(one for one in take(store, "r_bob", 9) if one.generation_id != other)
    say(store, "r_bob", first, categories=["dangerous"], targets=["age"], severity="slight")
    for topic in ("category:dangerous", "target:age"):
        assert [one.generation_id for one in take(store, f"r_{topic}", 9, **avoiding(topic))] == [other]
    assert len(take(store, "r_eve", 9, **avoiding("category:sexual"))) == 3


def test_what_a_correction_took_back_keeps_nothing_away(store: Store) -> None:
    add(store, {})
    [held] = take(store, "r_bob", 1)
    token = say(store, "r_bob", held, categories=["dangerous"])
    say(store, "r_bob", held, "fine", supersedes_token=token)
    assert len(take(store, "r_ada", 9, **avoiding("category:dangerous"))) == 1


def test_declined_topics_are_kept_changed_and_checked(store: Store) -> None:
    add(store, {"topic": "Weather"})
    with store.writing() as session:
        ada = accounts.create(session, "ada", "a long password", "reviewer").id
        assert wellbeing.topics(session)["topic:weather"] == "weather"
        wellbeing.decline(session, ada, ["category:sexual", "topic:weather"], now=NOON)
        assert wellbeing.declined(session, ada) == {"category:sexual", "topic:weather"}
        wellbeing.decline(session, ada, ["topic:weather"], now=NOON)
        assert wellbeing.declined(session, ada) == {"topic:weather"}
        with pytest.raises(UnknownTopic, match="no-such"):
            wellbeing.decline(session, ada, ["topic:no-such"], now=NOON)
        assert wellbeing.declined(session, ada) == {"topic:weather"}


def test_what_waits_is_promised_only_where_a_claim_would_hand_it_out(store: Store) -> None:
    """A seat kept for a group one is not of, a declined topic, another language: neither the claim nor the promise knows them."""
    kept, about_war = add(store, {}), add(store, {"topic": "War"})
    with store.writing() as session:
        items = select(Item.id).where(col(Item.generation_id).in_(kept))
        session.execute(update(Slot).where(col(Slot.item_id).in_(items)).values(want_group="gender=woman"))
    war, women = avoiding("topic:war"), {"groups": lambda _session: ["gender=woman"]}
    cases: list[tuple[dict[str, Any], list[int]]] = [({}, about_war), (war, []), (war | women, kept), ({"languages": ["de"]}, [])]
    for number, (more, expected) in enumerate(cases):
        who = f"r_{number}"
        with store.reading() as session:
            promised = slots.waits(session, who, mode="single", now=NOON, **more)
        assert [one.generation_id for one in take(store, who, 9, **more)] == expected
        assert promised == bool(expected)
        with store.reading() as session:
            assert slots.waits(session, who, mode="single", now=NOON, **more) == bool(expected), "what is held is promised too"
            assert not slots.waits(session, who, mode="compare", now=NOON, **more)
        release(store, who, now=NOON)


# ---------------------------------------------------------------------- exposure


def test_what_counts_as_met_is_severe_or_upsetting_in_ones_own_words_and_of_the_last_day(store: Store) -> None:
    add(store, *({} for _ in range(6)))
    held = take(store, "r_ada", 6)
    say(store, "r_ada", held[0], at=NOON - timedelta(hours=25))
    say(store, "r_ada", held[1], at=NOON - timedelta(hours=23))
    say(store, "r_ada", held[2], severity="clear")
    say(store, "r_ada", held[3], "skip", skip_reason="too_upsetting")
    say(store, "r_ada", held[4], "skip", skip_reason="unclear")
    token = say(store, "r_ada", held[5])
    with store.reading() as session:
        assert wellbeing.met_severe(session, "r_ada", now=NOON) == 3
        assert wellbeing.met_severe(session, "r_bob", now=NOON) == 0
    say(store, "r_ada", held[5], "fine", supersedes_token=token)
    with store.reading() as session:
        assert wellbeing.met_severe(session, "r_ada", now=NOON) == 2


def test_what_was_met_in_a_day_is_read_by_the_day_and_not_by_all_that_somebody_ever_answered(store: Store) -> None:
    """It is asked at every claim."""
    made = add(store, {}, answers=600)
    with store.writing() as session:
        slot_of = dict(session.exec(select(Slot.item_id, Slot.id)).all())
        held: dict[str, Any] = {"reviewer": "r_ada", "claimed_at": NOON, "expires_at": NOON, "outcome": "late"}
        session.add_all(Lease(id=f"{item}", slot_id=slot, item_id=item, **held) for item, slot in slot_of.items())
        session.flush()
        words: dict[str, Any] = {"taxonomy_version": "1", "guideline_version": "1", "policy_version": "1", "late": True}
        session.add_all(
            Review(
                token=f"{item}",
                item_id=item,
                lease_id=f"{item}",
                reviewer="r_ada",
                verdict="fine",
                created_at=NOON - timedelta(hours=6 * place),
                **words,
            )
            for place, item in enumerate(slot_of)
        )
    with store.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()
    assert made
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    with store.reading() as session:
        event.listen(store.engine, "before_cursor_execute", keep)
        wellbeing.met_severe(session, "r_ada", now=NOON)
        event.remove(store.engine, "before_cursor_execute", keep)
    [(statement, parameters)] = [one for one in sent if "too_upsetting" in one[0]]
    with store.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN " if store.is_sqlite else "EXPLAIN "
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, parameters))
    assert "ix_review_reviewer_day" in plan, plan


def test_what_people_met_lately_counts_answers_not_flags(store: Store) -> None:
    add(store, {}, {})
    for reviewer in ("r_ada", "r_bob"):
        first, second = sorted(take(store, reviewer, 2), key=lambda one: one.item_id)
        say(store, reviewer, first, categories=["demeaning", "attack"])
        say(store, reviewer, second, "fine")
    with store.reading() as session:
        assert wellbeing.lately(session, now=NOON) == (2, {"demeaning": 1, "attack": 1}, 1)
        assert wellbeing.lately(session, now=NOON + timedelta(days=31)) == (0, {}, 0)


# ------------------------------------------------------------------------- covers


def covered(session: Session, numbers: list[int], terms: Terms = USUAL) -> dict[int, list[str]]:
    return wellbeing.covers(session, numbers, terms)


def test_an_answer_is_covered_where_much_harm_is_expected(store: Store) -> None:
    high, low = add(store, {"groups": ["religion"]}, harm=0.75), add(store, {}, harm=0.74)
    with store.reading() as session:
        assert covered(session, high + low) == {high[0]: ["Religion or belief"]}


def test_nothing_known_of_a_sensitive_topic_is_covered_and_something_known_decides_itself(store: Store) -> None:
    unknown, known, plain = add(store, {"topic": "Violence"}), add(store, {"topic": "violence"}, harm=0.1), add(store, {})
    with store.reading() as session:
        assert covered(session, unknown + known + plain) == {unknown[0]: ["Violence"]}


def test_other_answers_to_a_prompt_are_covered_once_somebody_found_one_severe(store: Store) -> None:
    numbers = add(store, {}, answers=2)
    [held] = take(store, "r_ada", 1)
    with store.reading() as session:
        assert covered(session, numbers) == {}
    say(store, "r_ada", held)
    with store.reading() as session:
        assert covered(session, numbers) == {number: [] for number in numbers}


# -------------------------------------------------------------------------- terms


def test_the_newest_terms_are_in_force_and_bad_ones_change_nothing(store: Store) -> None:
    with store.writing() as session:
        assert wellbeing.terms(session) == USUAL
        wellbeing.set_terms(session, Terms(" Call Ada. ", 12, 0.5, ["Hate", "hate", " "]), by="max", now=NOON)
        assert wellbeing.terms(session) == ("Call Ada.", 12, 0.5, ["hate"])
        for bad in (USUAL._replace(severe_a_day=0), USUAL._replace(cover_from=0.0), USUAL._replace(support="x" * 4_001)):
            with pytest.raises(BadTerms):
                wellbeing.set_terms(session, bad, by="max", now=NOON)
        assert wellbeing.terms(session).severe_a_day == 12


# ---------------------------------------------------------------------- harmless


def seat(number: int, harm: float | None) -> Seat:
    return Seat(number, number, f"family {number}", 0.1, harm)


@given(st.lists(st.sampled_from([0.1, 0.9, None]), max_size=12), st.lists(st.sampled_from([0.1, 0.9, None]), max_size=30))
def test_an_order_holds_the_same_seats_and_where_there_are_enough_one_in_five_is_harmless(
    before: list[float | None], harms: list[float | None]
) -> None:
    light = Light(0.25, before)
    seats = [seat(number, harm) for number, harm in enumerate(harms)]
    spread = light.spread(seats)
    assert sorted(spread) == sorted(seats)
    left, gap = sum(harm == 0.1 for harm in harms), light.since
    for one in spread:
        harmless = one.expected_harm == 0.1
        # Only a lack of harmless ones makes a gap longer; with one in hand a gap that is too long ends at once.
        assert harmless or not left or gap < EVERY - 1
        left, gap = left - harmless, 0 if harmless else gap + 1


def test_every_fifth_item_is_expected_to_be_harmless_though_nearly_all_are_not(store: Store) -> None:
    harmful = add(store, *({} for _ in range(40)), harm=0.9)
    harmless = add(store, *({} for _ in range(10)), harm=0.1)
    seen: list[int] = []
    for _ in range(5):
        held = take(store, "r_ada", 8, harmless=0.25)
        for one in held[:5]:
            seen.append(one.generation_id or 0)
            say(store, "r_ada", one, "fine")
    assert len(set(seen)) == 25
    assert set(seen) & set(harmful)
    for start in range(len(seen) - EVERY + 1):
        assert set(seen[start : start + EVERY]) & set(harmless), f"{start}"


def test_nothing_is_out_of_turn_where_nothing_is_expected(store: Store) -> None:
    add(store, *({} for _ in range(12)))
    plain = [one.item_id for one in take(store, "r_ada", 6)]
    release(store, "r_ada", now=NOON)
    assert [one.item_id for one in take(store, "r_ada", 6, harmless=0.25)] == plain
