"""Claims about what would change under another policy: pairs, whose flags are overruled, and who is never told apart."""

import pytest

from flagback.model import pair_sets, policies, policy_comparison
from flagback.model.pair_sets import Choice
from flagback.storage import rater_groups
from flagback.storage.store import Store
from tests.panel_of_two_groups import KEY, judged_panel

MAJORITY = Choice()


def compared(store: Store, version_id: int, other: str, *, draws: int = 40) -> policy_comparison.Comparison:
    with store.reading() as session:
        rows = pair_sets.read(session, version_id, simulated=False)
        grouping = pair_sets.grouping_for(session, Choice(other), rows, KEY)
        return policy_comparison.compare(rows, MAJORITY, Choice(other), grouping, {}, draws=draws)


def test_the_comparison_says_whose_flags_the_majority_overrules_and_what_chance_would_give(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store)
    found = compared(sqlite_store, panel.version_id, "max_of_groups")
    assert (found.a.pairs, found.b.pairs) == (0, 12)
    assert (found.both, found.appear, found.vanish, found.flip) == (0, 12, 0, 0)
    views = {view.group: view for view in found.groups}
    women = views["woman"]
    assert (women.overruled_a.items, women.overruled_a.share) == (12, 1.0)
    assert women.overruled_b.share == 0.0
    assert women.appear == 12
    assert views["man"].overruled_a == policy_comparison.Overruled(None, None, None, None)  # men flag nothing
    assert found.by == "gender"
    # no policy of groups: the shuffled groups change who is counted, not what the majority says
    assert women.overruled_a.null_low is not None


def test_a_comparison_of_a_policy_with_itself_changes_nothing(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=3)
    with sqlite_store.reading() as session:
        rows = pair_sets.read(session, panel.version_id, simulated=False)
        grouping = pair_sets.grouping_for(session, Choice("any_group"), rows, KEY)
        found = policy_comparison.compare(rows, Choice("any_group"), Choice("any_group"), grouping, {}, draws=2)
    assert (found.both, found.appear, found.vanish, found.flip) == (3, 0, 0, 0)


def test_groups_are_not_told_where_one_person_more_could_be_reckoned_from_them(sqlite_store: Store) -> None:
    """Ten men and five women are shown; with a single further person of no group the smallest of them is hidden with that one."""
    panel = judged_panel(sqlite_store, prompts=3)
    with sqlite_store.reading() as session:
        rows = pair_sets.read(session, panel.version_id, simulated=False)
    of = dict.fromkeys(panel.men, ("man",)) | dict.fromkeys(panel.women[:-1], ("woman",))
    grouping = rater_groups.Grouping("gender", ("man", "woman"), of)
    found = policy_comparison.compare(rows, MAJORITY, Choice("any_group"), grouping, {}, draws=2)
    hidden = {view.group: view for view in found.groups}["woman"]
    assert hidden.suppressed
    assert hidden.appear is None
    assert {"group": "woman", "suppressed": True} in found.to_dict()["groups"]


def test_pairs_turn_round_where_a_lead_and_the_votes_say_the_opposite(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=6)
    first, second = panel.generations[:2]
    with sqlite_store.reading() as session:
        rows = pair_sets.read(session, panel.version_id, simulated=False)
        grouping = pair_sets.grouping_for(session, Choice("any_group"), rows, KEY)
    built = pair_sets.build(rows, Choice("any_group"), grouping, {})
    turned = pair_sets.build(rows, Choice("any_group"), grouping, {first: "fine", second: "harm"})
    sides = [{(p.chosen_id, p.rejected_id) for p in side.pairs} for side in (built, turned)]
    assert (second, first) in sides[0]
    assert (first, second) in sides[1]
    assert len(sides[0] & sides[1]) == 5


def test_leaving_a_reviewer_out_is_previewed_without_telling_whose_group_they_are_of(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store)
    with sqlite_store.reading() as session:
        rows = pair_sets.read(session, panel.version_id, simulated=False)
    mine = frozenset(review.id for row in rows for review in row.reviews if review.reviewer == panel.women[0])
    change = policy_comparison.without(rows, mine, {})
    assert change.reviews == len(mine) > 0
    assert change.unjudged == 0
    # Never by who reviews: only by whom the prompts speak of, and these speak of nobody.
    assert change.groups == []


def test_without_groups_a_policy_of_groups_is_not_compared_in_silence(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=2, agreed=False)
    with pytest.raises(policies.NoGroups):
        compared(sqlite_store, panel.version_id, "mean_of_groups")
