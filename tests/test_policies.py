"""Claims about how votes become a probability of harm, policy by policy: worked by hand, by law, and against crowd-kit."""

from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model import policies
from flagback.model.policies import Pool, RaterVote, Score, Votes
from flagback.model.policy import judge
from tests.test_policy import vote

POOL = Pool(0.25, 1.0)


def votes(**groups: str) -> list[RaterVote]:
    """votes(woman="110", man="0") is two women who flag, one who does not, and a man who does not; "none" is in no group."""
    return [
        RaterVote(f"{group}{number}", () if group == "none" else (group,), mark == "1")
        for group, marks in groups.items()
        for number, mark in enumerate(marks)
    ]


# ------------------------------------------------------------------ worked by hand


def test_the_majority_outvotes_two_women_whom_any_group_hears() -> None:
    item = votes(man="00000", woman="11")
    assert policies.majority(item) == Score((2 + 0.25) / 8, "fine")
    assert policies.any_group(item) == Score((2 + 0.25) / 3, "harmful")


def test_one_rater_is_no_group() -> None:
    item = votes(man="0000", woman="1")
    assert policies.any_group(item).outcome == "fine"
    heard = policies.max_of_groups(item, ["man", "woman"], POOL)
    assert heard.harm == pytest.approx(0.25 / 5)  # the men's alone: a single woman does not make a group
    nobody = policies.max_of_groups(votes(man="0", woman="1"), ["man", "woman"], POOL)
    assert nobody.harm == pytest.approx((1 + 0.25) / 3)  # no group of two: all votes pooled


def test_the_mean_of_groups_counts_two_women_as_much_as_five_men() -> None:
    found = policies.mean_of_groups(votes(man="00000", woman="11"), ["man", "woman"], POOL)
    assert found.harm == pytest.approx((0.25 / 6 + 2.25 / 3) / 2)
    assert found.outcome == "harmful"


def test_the_maximum_is_the_group_that_minds_most() -> None:
    found = policies.max_of_groups(votes(man="00000", woman="11"), ["man", "woman"], POOL)
    assert found == Score(2.25 / 3, "harmful")


def test_a_vote_without_a_group_counts_in_each_alike() -> None:
    found = policies.group_posteriors(votes(none="1", man="0", woman="0"), ["man", "woman"], POOL)
    assert found == {"man": (0.5 + 0.25, 1 + 0.75), "woman": (0.5 + 0.25, 1 + 0.75)}


def test_an_unsure_vote_counts_half() -> None:
    unsure = [RaterVote("a", ("man",), True, policies.UNSURE)]
    assert policies.group_posteriors(unsure, ["man", "woman"], POOL)["man"] == (0.5 + 0.25, 0.75)


def test_a_jury_of_two_from_groups_of_opposite_minds_is_split_as_worked_out_by_hand() -> None:
    # men: Beta(0.25, 5.75), women: Beta(2.25, 0.75): P(man flags) = 0.25/6, P(woman flags) = 0.75
    man, woman = 0.25 / 6, 0.75
    found = policies.jury(votes(man="00000", woman="11"), {"man": 1, "woman": 1}, ["man", "woman"], POOL)
    assert found.harm == pytest.approx(man * woman + 0.5 * (man * (1 - woman) + woman * (1 - man)))


def test_a_jury_of_three_seats_of_one_group_is_beta_binomial() -> None:
    # Beta(2.25, 0.75): P(2 of 3) + P(3 of 3) by the urn
    a, b = 2.25, 0.75
    three = a * (a + 1) * (a + 2) / (3 * 4 * 5)
    two = 3 * a * (a + 1) * b / (3 * 4 * 5)
    assert policies.jury(votes(woman="11"), {"woman": 3}, ["man", "woman"], POOL).harm == pytest.approx(two + three)


def test_a_jury_equals_juries_drawn_by_lot() -> None:
    item, seats = votes(man="0010", woman="110"), {"man": 3, "woman": 4}
    posteriors = policies.group_posteriors(item, ["man", "woman"], POOL)
    random = Random(0)
    drawn = 0.0
    for _ in range(20_000):
        flags = 0
        for group, count in seats.items():
            level = random.betavariate(*posteriors[group])
            flags += sum(random.random() < level for _ in range(count))
        drawn += (2 * flags > 7) / 20_000
    assert policies.jury(item, seats, ["man", "woman"], POOL).harm == pytest.approx(drawn, abs=0.012)


def test_the_pool_takes_one_variance_for_all_groups() -> None:
    # 40 cells of two: 20 all flag, 20 none does. Inside a cell nobody differs, so that the pooled strength is the least there is.
    united = [votes(man="11") for _ in range(20)] + [votes(woman="00") for _ in range(20)]
    assert policies.pool_of(united) == Pool((40 + 0.25) / 81, policies.WEAKEST)
    # every cell is divided: votes say nothing about the cell, so that the prior is as strong as it may be
    divided = [votes(man="10", woman="01") for _ in range(20)]
    assert policies.pool_of(divided).strength == policies.STRONGEST


def test_a_united_group_of_six_is_shrunk_as_much_as_any_other() -> None:
    # The pitfall: by its own variance (none) six of one mind would be certain.
    pool = policies.pool_of([*(votes(man="10010") for _ in range(30)), votes(woman="111111")])
    assert pool.strength > 1
    a, b = policies.group_posteriors(votes(woman="111111"), ["man", "woman"], pool)["woman"]
    assert a / (a + b) == pytest.approx((6 + pool.mean * pool.strength) / (6 + pool.strength))
    assert a / (a + b) < 0.95


def test_few_cells_leave_the_prior_at_one_vote() -> None:
    assert policies.pool_of([votes(man="10")] * 3).strength == 1.0
    assert policies.pool_of([]) == Pool()


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", [policy.name for policy in policies.TABLE if policy.needs_groups])
def test_a_policy_of_groups_without_groups_says_so_and_is_not_the_majority_in_silence(name: str) -> None:
    with pytest.raises(policies.NoGroups, match="weighs groups of reviewers, and 0 can be weighed"):
        policies.score(name, {1: votes(man="110")})


def test_an_unknown_policy_names_the_known_ones() -> None:
    with pytest.raises(policies.UnknownPolicy, match="mean_of_groups"):
        policies.score("mode", {})


@pytest.mark.parametrize(("seats", "words"), [({"elf": 3}, "elf"), ({"man": 0}, "1 or more"), ({}, "no seats")])
def test_a_jury_with_impossible_seats_is_refused(seats: dict[str, int], words: str) -> None:
    with pytest.raises(policies.BadArguments, match=words):
        policies.score("jury", {1: votes(man="1", woman="0")}, groups=["man", "woman"], seats=seats)


def test_seats_are_for_juries_only() -> None:
    with pytest.raises(policies.BadArguments, match="Only the policy 'jury'"):
        policies.score("majority", {}, seats={"man": 1})


# --------------------------------------------------------------- Dawid and Skene


def panel(seed: int, *, items: int = 60) -> dict[int, Votes]:
    """Ten raters, five an item; two of them see harm in every fifth item that the others find fine."""
    random = Random(seed)
    found: dict[int, Votes] = {}
    for number in range(items):
        known, unseen = number % 3 == 0, number % 5 == 1
        chosen = random.sample(range(10), 5)
        found[number] = [
            RaterVote(
                f"r{rater}",
                ("few" if rater < 2 else "many",),
                random.random() < (0.9 if known or (unseen and rater < 2) else 0.1),
            )
            for rater in chosen
        ]
    return found


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # crowd-kit under pandas 3
@pytest.mark.parametrize("seed", range(3))
def test_dawid_and_skene_agree_with_crowd_kit(seed: int) -> None:
    from crowdkit.aggregation import DawidSkene

    items = panel(seed)
    rows = [(number, vote.rater, int(vote.harm)) for number, said in items.items() for vote in said]
    theirs = DawidSkene(n_iter=30, tol=-1.0).fit(pd.DataFrame(rows, columns=["task", "worker", "label"])).probas_
    ours = policies.dawid_skene(items, rounds=30, tolerance=0.0)
    assert theirs is not None
    for number in items:
        assert ours[number].harm == pytest.approx(theirs.loc[number, 1], abs=1e-6)


def test_dawid_and_skene_outvote_a_minority_that_agrees_with_itself() -> None:
    """Why its line carries a warning: what only two of ten see is taken for their error."""
    items = panel(3, items=300)
    both_see = [n for n, said in items.items() if n % 5 == 1 and n % 3 and sum(v.groups == ("few",) for v in said) == 2]
    assert len(both_see) >= 5
    groups = ["few", "many"]
    by_skill, by_groups = policies.score("dawid_skene", items), policies.score("max_of_groups", items, groups=groups)
    believed = [sum(scores[n].outcome == "harmful" for n in both_see) / len(both_see) for scores in (by_skill, by_groups)]
    assert believed[0] < 0.3 < 0.7 < believed[1]
    assert "dissent" in policies.POLICIES["dawid_skene"].warning


# -------------------------------------------------------------------------- laws

marks = st.text("01", max_size=6)


@given(marks, marks, marks, st.randoms(use_true_random=False))
def test_no_policy_depends_on_the_order_of_votes_and_all_give_probabilities(
    man: str, woman: str, none: str, random: Random
) -> None:
    item = votes(man=man, woman=woman, none=none)
    shuffled = list(item)
    random.shuffle(shuffled)
    for policy in policies.TABLE:
        groups = ["man", "woman"] if policy.needs_groups else []
        one = policies.score(policy.name, {1: item, 2: votes(man="10")}, groups=groups)[1]
        two = policies.score(policy.name, {1: shuffled, 2: votes(man="10")}, groups=groups)[1]
        assert 0 <= one.harm <= 1
        assert one.harm == pytest.approx(two.harm)
        assert one.outcome == two.outcome
        assert (one.outcome == "unjudged") == (not item)


@given(marks, marks)
def test_one_more_flag_never_makes_an_item_less_harmful(man: str, woman: str) -> None:
    before, after = votes(man=man, woman=woman), votes(man=man, woman=woman + "1")
    groups = ["man", "woman"]
    assert policies.majority(after).harm >= policies.majority(before).harm
    # to a group that was heard already: a new group changes what is averaged
    if woman:
        assert policies.mean_of_groups(after, groups, POOL).harm >= policies.mean_of_groups(before, groups, POOL).harm
        seats = {"man": 3, "woman": 3}
        assert policies.jury(after, seats, groups, POOL).harm >= policies.jury(before, seats, groups, POOL).harm - 1e-12


@given(marks.filter(bool))
def test_with_the_same_votes_in_each_group_every_group_policy_is_of_one_mind(said: str) -> None:
    item, groups = votes(man=said * 2, woman=said * 2), ["man", "woman"]
    mean, worst = policies.mean_of_groups(item, groups, POOL), policies.max_of_groups(item, groups, POOL)
    assert mean.harm == pytest.approx(worst.harm)


@given(st.lists(st.booleans(), max_size=9))
def test_the_majority_is_the_judgement_it_always_was(flags: list[bool]) -> None:
    before = judge([vote(n, "flag", "stereotype") if flag else vote(n, "fine") for n, flag in enumerate(flags)])
    now = policies.majority([RaterVote(str(n), (), flag) for n, flag in enumerate(flags)])
    assert (now.harm, now.outcome) == (before.harm, before.outcome)


def test_every_policy_has_its_definition_source_and_version() -> None:
    for policy in policies.TABLE:
        assert policy.version
        assert len(policy.what.split()) > 8
        assert len(policy.source.split()) > 3
