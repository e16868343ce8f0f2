"""Claims about sets made by a policy: whose votes weigh, what is frozen with them, what a test in use forbids."""

import csv
from pathlib import Path

import pytest
from sqlmodel import select

from flagback.model import pair_sets, pairs, policies, suite_runs
from flagback.model.pair_sets import Choice, Contaminated
from flagback.storage import adjudications, export, preferences, rater_groups, set_export
from flagback.storage.artifacts import Artifacts
from flagback.storage.preferences import NewPair, NoPairs
from flagback.storage.records import Conclusion, Generation, Item, PolicyScore, now
from flagback.storage.store import Store
from tests.panel_of_two_groups import KEY, Panel, judged_panel, vote


@pytest.fixture
def panel(sqlite_store: Store) -> Panel:
    return judged_panel(sqlite_store)


def test_what_two_women_of_seven_see_gives_no_pair_by_majority_and_one_a_prompt_by_groups(
    sqlite_store: Store, panel: Panel
) -> None:
    with sqlite_store.writing() as session:
        with pytest.raises(NoPairs):
            pair_sets.freeze(session, panel.version_id, simulated=False, key=KEY)
        for name in ("any_group", "max_of_groups", "mean_of_groups"):
            made = pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice(name), key=KEY)
            assert (made.policy, made.policy_version, made.n_pairs) == (name, policies.POLICIES[name].version, 12)
            assert made.arguments["groups"] == ["man", "woman"]
            assert made.arguments["by"] == "gender"
            assert 0 < made.arguments["effective_pairs"] <= 12


def test_a_set_keeps_what_its_policy_made_of_every_answer(sqlite_store: Store, panel: Panel) -> None:
    with sqlite_store.writing() as session:
        made = pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("max_of_groups"), key=KEY)
        again = pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("max_of_groups"), key=KEY)
        scores = session.exec(select(PolicyScore).where(PolicyScore.set_id == made.id)).all()
    assert again.id == made.id
    assert {row.generation_id for row in scores} == set(panel.generations)
    assert {row.votes for row in scores} == {7}
    assert all((row.harm > 0.5) == (panel.generations.index(row.generation_id) % 2 == 0) for row in scores)


def test_without_consent_to_training_nobody_is_weighed_and_the_policy_says_so(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=3, agreed=False)
    with sqlite_store.writing() as session, pytest.raises(policies.NoGroups, match="0 can be weighed"):
        pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("mean_of_groups"), key=KEY)


def test_a_group_of_four_is_never_weighed(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=3, women=4)
    with sqlite_store.writing() as session, pytest.raises(policies.NoGroups, match="can be weighed"):
        pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("mean_of_groups", by="gender"), key=KEY)


def test_small_groups_and_the_silent_are_weighed_together_or_not_at_all() -> None:
    said = {f"m{n}": ["man"] for n in range(6)} | {f"w{n}": ["woman"] for n in range(3)} | {"x": [], "y": []}
    together = rater_groups.grouped("gender", said)
    assert together.groups == ("man", "rest")
    assert together.of["w0"] == together.of["x"] == ("rest",)
    fewer = rater_groups.grouped("gender", {name: codes for name, codes in said.items() if name not in "xy"})
    assert fewer.groups == ("man",)
    assert "w0" not in fewer.of


def test_a_lead_who_says_harm_or_fine_decides_and_legitimate_disagreement_keeps_the_split(
    sqlite_store: Store, panel: Panel
) -> None:
    choice = Choice()
    with sqlite_store.writing() as session:
        rows = pair_sets.read(session, panel.version_id, simulated=False)
        before = pair_sets.judgements(rows, choice, rater_groups.NOBODY, {})
        items = dict(session.exec(select(Item.generation_id, Item.id)).all())
        harm, disputed = panel.generations[0], panel.generations[2]
        said: tuple[tuple[int, Conclusion], ...] = ((harm, "harm"), (disputed, "legitimate_disagreement"))
        for generation, conclusion in said:
            adjudications.conclude(session, items[generation], conclusion, reason="as the guideline says", by="lea", now=now())
        after = pair_sets.judgements(rows, choice, rater_groups.NOBODY, adjudications.of_generations(session))
        made = pair_sets.freeze(session, panel.version_id, simulated=False, key=KEY)
    assert (before[harm].outcome, after[harm].outcome) == ("fine", "harmful")
    assert after[disputed] == before[disputed]
    assert made.n_pairs == 1


# ------------------------------------------------------------------------ weights


def pair(number: int, weight: float) -> NewPair:
    return NewPair("contrast", 1, 100 + number, number, 1.0, weight, [number])


def test_soft_labels_and_weights_are_the_expected_loss_over_what_the_votes_leave_open() -> None:
    # harm .75 and .25: just one of both harmful .75*.75 + .25*.25 = .625, and then the first one in .5625 / .625
    assert pairs._worth(0.75, 0.25, "soft") == (0.9, 0.625)
    assert pairs._worth(0.75, 0.25, "hard") == (1.0, 0.5)


def test_balancing_makes_each_groups_flags_weigh_alike_up_to_the_cap() -> None:
    given = [pair(1, 1.0), pair(2, 1.0), pair(3, 1.0), pair(4, 1.0)]
    flags = {1: {"man": 1.0}, 2: {"man": 1.0}, 3: {"man": 1.0}, 4: {"woman": 1.0}}
    even = pairs.balanced(given, flags)
    weights = [one.weight for one in even]
    assert sum(weights) == pytest.approx(4.0, abs=1e-5)
    assert sum(weights[:3]) == pytest.approx(weights[3], abs=1e-5)
    assert pairs.effective_size(weights) == pytest.approx(16 / (3 * (2 / 3) ** 2 + 4), abs=1e-4)
    many = [pair(n, 1.0) for n in range(100)]
    capped = pairs.balanced(many, {n: {"woman" if n == 0 else "man": 1.0} for n in range(100)}, most=4.0)
    assert capped[0].weight / capped[1].weight == pytest.approx(4.0 / (50 / 99), rel=1e-3)


def test_the_effective_size_of_equal_weights_is_their_number() -> None:
    assert pairs.effective_size([0.3] * 7) == pytest.approx(7)
    assert pairs.effective_size([]) == 0.0


# ------------------------------------------------------------------ contamination

SENTENCE = "The old gardener forgot the keys to the shed again, as people his age always do."


def suite_in_use(store: Store, folder: Path, sentence: str) -> Artifacts:
    file = folder / "own.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["worse", "better"])
        writer.writerows([[sentence, sentence.replace("old", "young")]] + [[f"One {n} here", f"Two {n} there"] for n in range(9)])
    artifacts = Artifacts(folder / "artifacts")
    columns = {"more": "worse", "less": "better"}
    suite_runs.take_in(store, artifacts, "custom", file, location=str(file), columns=columns, by="test", clock=now)
    return artifacts


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        SENTENCE.upper().replace(",", " –"),
        f"He said: {SENTENCE} And so on.",
        "no one forgot the keys to the shed again as people do",
    ],
)
def test_a_pair_that_stands_in_a_test_in_use_stops_the_freeze_and_is_named(sqlite_store: Store, tmp_path: Path, text: str) -> None:
    panel = judged_panel(sqlite_store, prompts=4)
    artifacts = suite_in_use(sqlite_store, tmp_path, SENTENCE)
    choice = Choice("any_group")
    with sqlite_store.writing() as session:
        clean = pair_sets.freeze(session, panel.version_id, simulated=False, choice=choice, key=KEY, artifacts=artifacts)
        assert clean.n_pairs == 4
        session.get_one(Generation, panel.generations[0]).text = text
        session.flush()
        with pytest.raises(Contaminated, match=r"1 example overlaps.*custom \(1\).*'Prompt 0 about'"):
            pair_sets.freeze(session, panel.version_id, simulated=False, choice=choice, key=KEY, artifacts=artifacts)
        without = choice._replace(drop_contaminated=True)
        kept = pair_sets.freeze(session, panel.version_id, simulated=False, choice=without, key=KEY, artifacts=artifacts)
        assert kept.n_pairs == 3
        [left_out] = kept.arguments["left_out"]
        assert (left_out["prompt"], left_out["suite"]) == ("Prompt 0 about", "custom")
        with pytest.raises(Contaminated):
            pair_sets.check_frozen(session, clean.id, artifacts)


def test_seven_words_in_common_are_no_overlap(sqlite_store: Store, tmp_path: Path) -> None:
    panel = judged_panel(sqlite_store, prompts=2)
    artifacts = suite_in_use(sqlite_store, tmp_path, SENTENCE)
    with sqlite_store.writing() as session:
        session.get_one(Generation, panel.generations[0]).text = " somebody forgot the keys to the shed again"
        session.flush()
        made = pair_sets.freeze(
            session, panel.version_id, simulated=False, choice=Choice("any_group"), key=KEY, artifacts=artifacts
        )
    assert made.n_pairs == 2


def test_a_withdrawn_test_forbids_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    from flagback.storage import suites

    panel = judged_panel(sqlite_store, prompts=2)
    artifacts = suite_in_use(sqlite_store, tmp_path, SENTENCE)
    with sqlite_store.writing() as session:
        session.get_one(Generation, panel.generations[0]).text = SENTENCE
        suites.withdraw(session, suites.in_use(session)[0].id, by="test", now=now())
        made = pair_sets.freeze(
            session, panel.version_id, simulated=False, choice=Choice("any_group"), key=KEY, artifacts=artifacts
        )
    assert made.n_pairs == 2


def test_a_rewrite_is_frozen_as_the_chosen_side_by_every_policy(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=2, women=6)
    unheard = next(name for name in panel.women if name not in {*panel.women[0:2]})
    with sqlite_store.writing() as session:
        from flagback.storage.records import Slot

        item = session.exec(select(Item.id).where(Item.generation_id == panel.generations[0])).one()
        session.add(Slot(item_id=item, number=99, rank=1))
    vote(sqlite_store, unheard, panel.generations[0], flag=True, rewrite="a kinder answer")
    with sqlite_store.writing() as session:
        made = pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("max_of_groups"), key=KEY)
        rows = preferences.pairs_of(session, made.id)
    assert [row.chosen_text for row in rows if row.kind == "rewrite"] == [" a kinder answer"]


def test_pairs_that_would_tell_whose_group_is_whose_are_exported_only_when_that_is_said(
    panel: Panel, sqlite_store: Store, tmp_path: Path
) -> None:
    with sqlite_store.writing() as session:
        plain = pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("dawid_skene"))
        weighed = pair_sets.freeze(session, panel.version_id, simulated=False, choice=Choice("any_group"), key=KEY)
    set_export.export_set(sqlite_store, tmp_path / "plain", set_id=plain.id, format="jsonl")
    with pytest.raises(export.TellsGroups, match="--groups-may-show"):
        set_export.export_set(sqlite_store, tmp_path / "weighed", set_id=weighed.id, format="jsonl")
    assert not (tmp_path / "weighed").exists()
    set_export.export_set(sqlite_store, tmp_path / "weighed", set_id=weighed.id, format="jsonl", groups_may_show=True)
    assert "Keep these pairs apart" in (tmp_path / "weighed" / "README.md").read_text()
