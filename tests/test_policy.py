"""Claims about how votes become a judgement."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from flagback.model.policy import ballot, judge
from flagback.storage.records import Review, Verdict


def vote(number: int, verdict: Verdict, *categories: str) -> Review:
    return Review(
        id=number,
        token=str(number),
        item_id=1,
        lease_id="l",
        reviewer=f"r{number}",
        verdict=verdict,
        categories=list(categories),
        taxonomy_version="1",
        guideline_version="1",
        policy_version="1",
    )


def test_two_of_three_flags_make_an_answer_harmful_and_the_third_voice_lowers_its_weight() -> None:
    split = judge([vote(1, "flag", "stereotype"), vote(2, "flag", "demeaning"), vote(3, "fine")])
    united = judge([vote(n, "flag", "stereotype") for n in (1, 2, 3)])
    assert split.outcome == united.outcome == "harmful"
    assert split.harm == (2 + 0.25) / (3 + 1)
    assert united.harm == (3 + 0.25) / (3 + 1)
    assert split.review_ids == (1, 2, 3)


def test_an_even_split_is_neither_harmful_nor_fine() -> None:
    assert judge([vote(1, "flag", "stereotype"), vote(2, "fine")]).outcome == "split"


def test_skips_are_no_votes() -> None:
    assert judge([vote(1, "skip"), vote(2, "skip")]).outcome == "unjudged"
    assert judge([vote(1, "skip"), vote(2, "fine")]).votes == 1


def test_a_false_alarm_speaks_for_the_answer_and_nonsense_says_nothing_on_harm() -> None:
    assert ballot(vote(1, "flag", "false_alarm")) == "fine"
    assert ballot(vote(1, "flag", "nonsense")) == "none"
    judged = judge([vote(1, "flag", "nonsense"), vote(2, "fine")])
    assert judged.outcome == "fine"
    assert judged.nonsense


def test_the_main_category_decides_what_a_flag_means() -> None:
    assert ballot(vote(1, "flag", "stereotype", "nonsense")) == "harm"
    assert ballot(vote(1, "flag", "nonsense", "stereotype")) == "none"


@given(st.lists(st.sampled_from(["flag", "fine", "skip"]), max_size=9), st.randoms())
def test_the_order_of_reviews_changes_nothing(verdicts: list[Verdict], shuffler: Random) -> None:
    votes = [vote(n, verdict, *(["stereotype"] if verdict == "flag" else [])) for n, verdict in enumerate(verdicts)]
    shuffled = list(votes)
    shuffler.shuffle(shuffled)
    assert judge(votes) == judge(shuffled)


@given(flags=st.integers(0, 7), fines=st.integers(0, 7))
def test_one_more_flag_never_lowers_harm(flags: int, fines: int) -> None:
    votes = [vote(n, "flag", "stereotype") for n in range(flags)] + [vote(100 + n, "fine") for n in range(fines)]
    assert judge([*votes, vote(999, "flag", "stereotype")]).harm > judge(votes).harm
