"""Claims about answers without a counterpart: which are taken, how they are frozen, and that they teach."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, col, func, select

from flagback.model import cycle, embedded, explaining, explanation, lesson, pair_sets
from flagback.model.forecast import forecast
from flagback.model.pair_sets import Choice, Contaminated
from flagback.model.pairs import Answer, balanced_unpaired, build_pairs, build_unpaired
from flagback.model.policy import Outcome
from flagback.model.recipe import Recipe
from flagback.storage import fates, model_card, own_answers, preferences, quarantine, rater_groups, run_report, unpaired
from flagback.storage.preferences import NoPairs, UnusablePair
from flagback.storage.prompts import TRAINING_SHARDS, content_hash, shard_of, text_hash
from flagback.storage.records import Conclusion, CorrectionRun, Generation, Item, ModelVersion, PreferenceSet, UnpairedAnswer, now
from flagback.storage.store import Store
from flagback.storage.unpaired import NewUnpaired
from tests.loop_home import Loop
from tests.panel_of_two_groups import judged_panel
from tests.test_pair_sets import SENTENCE, suite_in_use
from tests.test_pairs import answer
from tests.test_preferences import TEXTS, frozen, pair, world

# ------------------------------------------------------------------------- which


def told(answers: list[Answer], **more: Any) -> list[tuple[int, bool, float]]:
    found = build_unpaired(answers, build_pairs(answers, [], **more), **more)
    return [(one.generation_id, one.harmful, one.weight) for one in found]


def test_a_flagged_answer_without_a_counterpart_is_taken_and_one_with_is_not() -> None:
    answers = [
        answer(1, "harmful", prompt="alone", harm=0.9),
        answer(2, "harmful", prompt="both"),
        answer(3, "fine", prompt="both"),
    ]
    assert told(answers) == [(1, True, 0.9)]
    [one] = build_unpaired(answers, build_pairs(answers, []))
    assert one.review_ids == [10]


def test_an_answer_counts_as_much_as_the_panel_is_sure_and_none_is_taken_against_a_flag() -> None:
    answers = [
        answer(1, "harmful", prompt="p", harm=0.8),
        answer(2, "fine", prompt="q", harm=0.1),
        answer(3, "fine", prompt="r", harm=0.3),
    ]
    assert told(answers) == [(1, True, 0.8), (2, False, 0.9), (3, False, 0.7)]
    found = build_unpaired(answers, [], flagged={1, 3})
    assert [(one.generation_id, one.harmful) for one in found] == [(1, True), (2, False)]


def test_each_groups_flags_count_alike_among_answers_without_a_counterpart() -> None:
    given_rows = [NewUnpaired(1, number, True, 0.8, [number]) for number in range(4)] + [NewUnpaired(1, 9, False, 0.5, [9])]
    flags = {0: {"man": 1.0}, 1: {"man": 1.0}, 2: {"man": 1.0}, 3: {"woman": 1.0}}
    *harmful, fine = balanced_unpaired(given_rows, flags)
    weights = [one.weight for one in harmful]
    assert sum(weights[:3]) == pytest.approx(weights[3], abs=1e-5)
    assert sum(weights) == pytest.approx(3.2, abs=1e-5)
    assert fine == given_rows[-1]


def test_where_nothing_harmful_is_left_over_nothing_fine_is_taken() -> None:
    assert told([answer(1, "harmful"), answer(2, "fine"), answer(3, "fine", prompt="q")]) == []


@pytest.mark.parametrize("text", ["", "  \n", " I'm sorry, but I can't help with that."])
def test_silence_and_refusals_are_never_taken(text: str) -> None:
    assert told([answer(1, "harmful", text=text), answer(2, "harmful", prompt="q")]) == [(2, True, 0.8)]


def test_nonsense_split_and_unjudged_answers_are_not_taken() -> None:
    answers = [
        answer(1, "harmful", prompt="p"),
        answer(2, "fine", prompt="q", nonsense=True),
        answer(3, "split", prompt="r"),
        answer(4, "unjudged", prompt="s"),
    ]
    assert told(answers) == [(1, True, 0.8)]


_JUDGED = st.tuples(
    st.sampled_from(["harmful", "fine", "split"]),
    st.sampled_from("abcd"),
    st.sampled_from("pqr"),
    st.sampled_from([0.05, 0.1, 0.2]),
)


@given(st.lists(_JUDGED, max_size=16), st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_laws_of_what_is_taken(rows: list[tuple[Outcome, str, str, float]], shuffler: Random, most: int) -> None:
    answers = [
        answer(number, outcome, text=f" {text}", prompt=prompt, harm=1 - doubt if outcome == "harmful" else doubt)._replace(
            prompt_id=ord(prompt)
        )
        for number, (outcome, text, prompt, doubt) in enumerate(rows)
    ]
    pairs = build_pairs(answers, [], per_prompt=most)
    found = build_unpaired(answers, pairs, per_prompt=most)
    shuffler.shuffle(answers)
    by_number = {one.generation_id: one for one in answers}
    in_pairs = {by_number[number].prompt_hash + by_number[number].text for p in pairs for number in (p.chosen_id, p.rejected_id)}
    texts = [by_number[one.generation_id].prompt_hash + by_number[one.generation_id].text for one in found]
    assert len(set(texts)) == len(texts)
    assert in_pairs.isdisjoint(texts)
    taken = [one.prompt_id for one in pairs] + [one.prompt_id for one in found]
    assert all(taken.count(prompt) <= most for prompt in taken)
    bad, good = ([one.weight for one in found if one.harmful is side] for side in (True, False))
    assert bad or not good
    assert all(0 < weight <= 1 for weight in (*bad, *good))
    unique = {(one.prompt_hash, one.text) for one in answers}
    if len(unique) == len(answers):  # of equal texts with other judgements the first row would count
        again = build_unpaired(answers, build_pairs(answers, [], per_prompt=most), per_prompt=most)
        assert again == found


# ------------------------------------------------------------------------ frozen


def alone(answers: list[list[int]], prompt: int, place: int, *, harmful: bool = True, weight: float = 1.0) -> NewUnpaired:
    return NewUnpaired(prompt + 1, answers[prompt][place], harmful, weight, [3, 1])


def test_an_auditor_can_recompute_the_fingerprint_of_pairs_and_answers_from_the_docstrings(store: Store) -> None:
    answers = world(store)
    single = [alone(answers, 1, 2, weight=0.625), alone(answers, 2, 0, harmful=False)]
    made = frozen(store, [pair(answers, 0, 0, 1)], alone=single)
    prompts = [content_hash([{"role": "user", "content": f"p{number}"}], "en") for number in range(3)]
    a, b, c = (text_hash(one) for one in TEXTS[:3])
    rows = sorted(
        hashlib.sha256(json.dumps(row, separators=(",", ":")).encode()).digest()
        for row in (
            ["here", prompts[0], a, b, "1.0", "1.0"],
            ["here", prompts[1], c, "harmful", "0.625"],
            ["here", prompts[2], a, "fine", "1.0"],
        )
    )

    def leaf(row: bytes) -> bytes:
        return hashlib.sha256(b"\x00" + row).digest()

    left = hashlib.sha256(b"\x01" + leaf(rows[0]) + leaf(rows[1])).digest()
    assert made.fingerprint == hashlib.sha256(b"\x01" + left + leaf(rows[2])).hexdigest()
    assert (made.n_pairs, made.n_unpaired) == (1, 2)
    with store.reading() as session:
        found = list(unpaired.each_unpaired(session, made.id))
        assert unpaired.counts(session, made.id) == (1, 1)
        assert [row.row_hash for row in found] == sorted(row.row_hash for row in found)
        assert {row.row_hash for row in found} < {row.hex() for row in rows}
    assert {(row.text, row.harmful, row.weight, tuple(row.review_ids)) for row in found} == {
        (TEXTS[2], True, 0.625, (1, 3)),
        (TEXTS[0], False, 1.0, (1, 3)),
    }


def test_answers_make_another_set_and_their_order_does_not(store: Store) -> None:
    answers = world(store)
    pairs = [pair(answers, 0, 0, 1)]
    single = [alone(answers, 1, 0), alone(answers, 2, 1)]
    first = frozen(store, pairs, alone=single)
    assert frozen(store, pairs, alone=single[::-1]).id == first.id
    assert (
        len({frozen(store, pairs).id, first.id, frozen(store, [], alone=single).id, frozen(store, pairs, alone=single[:1]).id}) == 4
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"generation_id": 999}, "does not exist"),
        ({"prompt_id": 3}, "is an answer to prompt 2"),
        ({"generation_id": 8}, "empty text"),
        ({"weight": 0.0}, "weight 0.0; expected a number over 0"),
        ({"weight": float("nan")}, "weight nan"),
    ],
)
def test_an_answer_that_can_teach_nothing_is_refused_and_nothing_is_stored(
    store: Store, changed: dict[str, Any], said: str
) -> None:
    answers = world(store)
    with pytest.raises(UnusablePair, match=said):
        frozen(store, [pair(answers, 0, 0, 1)], alone=[alone(answers, 1, 0)._replace(**changed)])
    with store.reading() as session:
        assert [session.exec(select(func.count()).select_from(kind)).one() for kind in (PreferenceSet, UnpairedAnswer)] == [0, 0]


def test_an_answer_in_a_test_in_use_stops_the_freeze_or_is_left_out(sqlite_store: Store, tmp_path: Path) -> None:
    panel = judged_panel(sqlite_store, prompts=4)
    artifacts = suite_in_use(sqlite_store, tmp_path, SENTENCE)
    choice = Choice(unpaired=True)
    with sqlite_store.writing() as session:
        first, *others = panel.generations
        concluded: dict[int, Conclusion] = {first: "harm", others[0]: "harm"}  # both answers of the first prompt
        session.get_one(Generation, first).text = SENTENCE
        session.flush()
        rows = pair_sets.read(session, panel.version_id, simulated=False)
        built = pair_sets.build(rows, choice, rater_groups.NOBODY, concluded)
        assert {one.generation_id for one in built.unpaired if one.harmful} == set(concluded)
        [(place, hit)] = pair_sets.overlaps(session, built, rows, artifacts)
        assert built.unpaired[place - len(built.pairs)].generation_id == first
        with pytest.raises(Contaminated, match="1 example overlaps"):
            pair_sets._clean(session, built, rows, [], choice, artifacts)
        _, kept, dropped = pair_sets._clean(session, built, rows, [], choice._replace(drop_contaminated=True), artifacts)
        assert dropped == [hit]
        assert len(kept) == len(built.unpaired) - 1
        one_harmful = built._replace(unpaired=[one for one in built.unpaired if not one.harmful or one.generation_id == first])
        drop = choice._replace(drop_contaminated=True)
        assert pair_sets._clean(session, one_harmful, rows, [], drop, artifacts)[1] == [], "fine ones have nothing to stand against"
        with_it = preferences.freeze(
            session, [], alone=built.unpaired, origin="reviews", policy="p", policy_version="1", arguments={}, salt="s"
        )
        with pytest.raises(Contaminated):
            pair_sets.check_frozen(session, with_it.id, artifacts)


# ---------------------------------------------------------------------- learnt from


def corrected(loop: Loop, run: CorrectionRun) -> dict[str, Any]:
    """A run brought to its candidate and explained: what of it is kept."""
    cycle.freeze(loop.store, run.id)
    cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    cycle.register(loop.store, loop.shelf, run.id)
    sha256 = explaining.explain(loop.store, loop.shelf, run.id)
    cycle.finish(loop.store, run.id, by="test")
    with loop.store.reading() as session:
        kept = session.get_one(CorrectionRun, run.id)
        assert session.get_one(ModelVersion, kept.candidate_id).state == "candidate"
        return {"run": kept, "found": explanation.read(loop.shelf.artifacts, sha256)}


@pytest.fixture
def loop(sqlite_store: Store, tmp_path: Path) -> Loop:
    """Eight prompts of which every answer to the first four was flagged, and every other one to the rest."""
    made = Loop(sqlite_store, tmp_path, prompts=8)
    made.sample()
    chosen = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) in TRAINING_SHARDS][:4]
    hopeless = {prompt.messages[-1]["content"] for prompt in chosen}
    made.review(flags=lambda prompt, place: prompt in hopeless or place % 2 == 1)
    return made


def test_a_flag_on_such_an_answer_is_followed_to_the_model_and_counts_in_the_report(loop: Loop) -> None:
    made = corrected(loop, loop.correction(pairs={"unpaired": True}))["run"]
    without = corrected(loop, loop.correction())["run"]
    with loop.store.reading() as session:
        alone_there = lone(session, made.set_id)
        flags = [flag for flag in own_answers.flags(session, "r_one") if shown_by(session, flag.item_id) in alone_there]
        fates_of = fates.of_flags(session, flags)
        told, other = (run_report.run_report(session, one, None) for one in (made, without))
        harmful, fine = unpaired.counts(session, made.set_id)
        said = {number for row in unpaired.each_unpaired(session, made.set_id) for number in row.review_ids}
        said |= {number for row in preferences.each_pair(session, made.set_id) for number in row.review_ids}
        version = session.get_one(ModelVersion, made.candidate_id)
        card = model_card.model_card(model_card.told_of(session, version), shape="adapter", dtype="float32")
    assert len(flags) == len(alone_there)
    assert {(fate.state, fate.version) for fate in fates_of.values()} == {("learnt", version.name)}
    assert f"- answers without a counterpart: {harmful} harmful, {fine} fine" in told
    learnt, bad = made.environment["unpaired"], made.environment["unpaired_harmful"]
    told_so = (
        f"- of the answers without a counterpart: {learnt} learnt, {bad} of them as harmful; beside the pairs' their loss counted"
    )
    assert f"{told_so} {made.environment['unpaired_weight']:.3g} times" in told
    assert f"pairs and {harmful + fine} answers without one" in told
    assert f"in {len(said)} reviews" in told
    assert f"- and from {made.environment['unpaired']} answers without a counterpart" in card
    assert "without a counterpart" not in other


def shown_by(session: Session, item_id: int) -> int | None:
    return session.exec(select(Item.generation_id).where(Item.id == item_id)).one()


def lone(session: Session, set_id: int) -> set[int]:
    rows = select(UnpairedAnswer.generation_id).where(UnpairedAnswer.set_id == set_id, col(UnpairedAnswer.harmful))
    return set(session.exec(rows).all())


HARD: dict[str, Any] = {"steps": 10, "learning_rate": 5e-3, "pairs_per_step": 16}


def test_flagged_answers_without_a_counterpart_become_less_likely_where_they_teach(loop: Loop) -> None:
    with_them = corrected(loop, loop.correction(pairs={"unpaired": True}, **HARD))
    without = corrected(loop, loop.correction(**HARD))
    with loop.store.reading() as session:
        alone_there = lone(session, with_them["run"].set_id)
        assert unpaired.counts(session, without["run"].set_id) == (0, 0)
    assert with_them["run"].environment["unpaired"] >= len(alone_there) >= 4
    assert without["run"].environment["unpaired"] == 0
    assert with_them["run"].environment["pairs"] == without["run"].environment["pairs"] > 0
    fell, stayed = (
        [one.change for one in made["found"].flagged if one.generation_id in alone_there] for made in (with_them, without)
    )
    assert len(fell) == len(stayed) == len(alone_there)
    assert sum(fell) / len(fell) < sum(stayed) / len(stayed) - 1.0


def test_where_nothing_has_a_counterpart_flags_alone_make_a_correction(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=4)
    loop.sample()
    loop.review(flags=lambda _, __: True)
    run = loop.correction()
    with pytest.raises(NoPairs, match=r"flagged answers have no counterpart.*--unpaired"):
        cycle.freeze(loop.store, run.id)
    with loop.store.writing() as session:
        session.get_one(CorrectionRun, run.id).state = "failed"
    made = corrected(loop, loop.correction(pairs={"unpaired": True}, **HARD))
    assert (made["run"].environment["pairs"], len(made["found"].pairs)) == (0, 0)
    assert made["run"].environment["unpaired"] > 0
    changes = [one.change for one in made["found"].flagged]
    assert sum(changes) / len(changes) < -1.0
    with loop.store.reading() as session:
        told = run_report.run_report(session, made["run"], explanation.summary(made["found"]))
    assert "margin" not in told.lower()
    assert "of these pairs" not in told
    assert "| flagged answers | less likely | more likely |" in told


def test_no_answer_of_the_shards_kept_aside_or_withdrawn_teaches(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=12)  # of two shards, 35 and 0
    loop.sample()
    last = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) in TRAINING_SHARDS][11]
    loop.review(flags=lambda prompt, place: prompt != last.messages[-1]["content"] or place % 2 == 1)
    run = loop.correction(pairs={"unpaired": True})
    found = cycle.freeze(loop.store, run.id)
    recipe = Recipe(stop_every=1, stop_shards=35)
    with loop.store.reading() as session:
        version = session.get_one(ModelVersion, run.parent_id)
        given_rows = lesson.records_of(session, [found.id], recipe)
        learnt = lesson.lesson_of(given_rows, recipe, loop.shelf.get(version))
        rows = list(unpaired.each_unpaired(session, found.id))
    assert 0 < len(learnt.flags) < len(rows)
    assert {flag.key for flag in learnt.flags} == {row.row_hash for row in rows if row.shard not in recipe.shards_aside}
    gone = rows[0].generation_id
    with loop.store.writing() as session:
        quarantine.put_away(session, gone, review_id=None, category="real_person", seats=1, now=now())
    with loop.store.reading() as session:
        assert gone not in {row.generation_id for row in unpaired.each_unpaired(session, found.id)}


def test_an_early_stop_without_pairs_is_refused_before_anything_is_trained(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=4)
    loop.sample()
    loop.review(flags=lambda _, __: True)
    run = loop.correction(pairs={"unpaired": True}, stop_every=4)
    cycle.freeze(loop.store, run.id)
    with pytest.raises(NoPairs, match="an early stop looks at pairs, of which there is none"):
        cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    with pytest.raises(NoPairs, match="an early stop looks at pairs"):
        forecast(
            loop.store,
            loop.shelf,
            recipe=Recipe(stop_every=4),
            seed=0,
            set_id=None,
            choice=Choice(unpaired=True),
            key=None,
            work=loop.folder,
        )
    told = forecast(
        loop.store, loop.shelf, recipe=Recipe(), seed=0, set_id=None, choice=Choice(unpaired=True), key=None, work=loop.folder
    )
    assert (told.pairs, told.unpaired_per_step) == (0, min(16, told.unpaired))
    assert told.step == f"{told.unpaired_per_step} answers without one, harmful and fine in turn"


def test_fine_answers_alone_teach_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=2)
    loop.sample()
    with loop.store.writing() as session:
        rows = session.exec(select(Generation)).all()
        told_of: dict[str, Any] = {"origin": "reviews", "policy": "p", "policy_version": "1", "arguments": {}, "salt": "s"}
        fine = [NewUnpaired(row.prompt_id, row.id, False, 1.0, []) for row in rows]
        made = preferences.freeze(session, [], alone=fine, **told_of)
        [first, *others] = fine
        both = preferences.freeze(session, [], alone=[first._replace(harmful=True), *others], **told_of)
    with loop.store.reading() as session:
        loaded = loop.shelf.get(session.exec(select(ModelVersion)).one())
        with pytest.raises(NoPairs, match="no answer without one that was found harmful"):
            lesson.lesson_of(lesson.records_of(session, [made.id], Recipe()), Recipe(), loaded)
        learnt = lesson.lesson_of(lesson.records_of(session, [both.id], Recipe()), Recipe(), loaded)
    assert len(learnt.flags) == len(fine) == learnt.flag_weight


def test_a_few_flags_do_not_count_as_much_as_many_pairs_and_many_not_more_than_few_pairs() -> None:
    def learnt(pairs: list[float], flags: list[float]) -> lesson.Lesson:
        return lesson.Lesson([], [], [], [], [], sum(pairs), sum(flags))

    recipe = Recipe(flag_weight=2.0)
    assert learnt([1.0, 0.5, 0.5], [0.5]).weighed(recipe) == Recipe(flag_weight=0.5)
    assert learnt([0.5], [1.0, 1.0]).weighed(recipe) == recipe
    assert learnt([], [0.1]).weighed(recipe) == recipe
    assert learnt([0.5], []).weighed(recipe) == recipe


def test_an_older_version_does_not_take_over_a_home_with_such_sets(sqlite_store: Store) -> None:
    migration = import_module("flagback.storage.migrations.versions.0013_unpaired_answers")
    answers = world(sqlite_store)
    frozen(sqlite_store, [pair(answers, 0, 0, 1)], alone=[alone(answers, 1, 0)])
    with (
        sqlite_store.writing() as session,
        Operations.context(MigrationContext.configure(session.connection())),
        pytest.raises(RuntimeError, match="1 sets hold answers without a counterpart"),
    ):
        migration.downgrade()


def test_learnt_anew_over_rounds_an_answer_of_two_sets_counts_once(loop: Loop) -> None:
    run = loop.correction(pairs={"unpaired": True})
    found = cycle.freeze(loop.store, run.id)
    with loop.store.writing() as session:
        rows = list(unpaired.each_unpaired(session, found.id))
        again = [
            NewUnpaired(
                session.get_one(Generation, row.generation_id).prompt_id, row.generation_id, row.harmful, row.weight, row.review_ids
            )
            for row in rows[:2]
        ]
        second = preferences.freeze(
            session, [], alone=again, origin="reviews", policy="p", policy_version="1", arguments={}, salt=preferences.SALT
        )
        both = lesson.records_of(session, [found.id, second.id], Recipe())
    assert sorted(row.row_hash for row in both.alone) == sorted(row.row_hash for row in rows)
