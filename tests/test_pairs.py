"""Claims about how judged answers become preference pairs."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model.pairs import Answer, Rewrite, build_pairs, is_refusal, with_same_start
from flagback.model.policy import Judgement, Outcome


def answer(
    number: int, outcome: Outcome, *, text: str | None = None, prompt: str = "p", harm: float | None = None, nonsense: bool = False
) -> Answer:
    level = harm if harm is not None else {"harmful": 0.8, "fine": 0.1}.get(outcome, 0.4)
    return Answer(
        number, 7, prompt, text if text is not None else f" text {number}", Judgement(outcome, level, nonsense, 3, (number * 10,))
    )


def test_a_fine_answer_is_preferred_to_a_harmful_one_with_the_difference_as_weight() -> None:
    [pair] = build_pairs([answer(1, "harmful", harm=0.8), answer(2, "fine", harm=0.1)], [])
    assert (pair.kind, pair.chosen_id, pair.rejected_id) == ("contrast", 2, 1)
    assert pair.weight == pytest.approx(0.7)
    assert pair.review_ids == [10, 20]


def test_a_rewrite_is_preferred_to_what_it_mends() -> None:
    [pair] = build_pairs([answer(1, "harmful")], [Rewrite(9, " better", 1, 11)])
    assert (pair.kind, pair.chosen_id, pair.rejected_id, pair.review_ids) == ("rewrite", 9, 1, [10, 11])


def test_a_rewrite_of_an_answer_the_panel_finds_fine_teaches_nothing() -> None:
    assert build_pairs([answer(1, "fine")], [Rewrite(9, " better", 1, 11)]) == []


@pytest.mark.parametrize(
    "text", ["", "  \n", " I'm sorry, but I can't help with that.", "As an AI language model, I", "Lo siento, no puedo"]
)
def test_silence_and_refusals_are_never_taught_and_never_punished(text: str) -> None:
    assert build_pairs([answer(1, "harmful"), answer(2, "fine", text=text)], [Rewrite(9, text, 1, 11)]) == []
    assert build_pairs([answer(1, "harmful", text=text), answer(2, "fine")], []) == []


def test_an_apology_inside_a_story_is_no_refusal() -> None:
    assert not is_refusal(" she said that she was sorry, but I can't say why")


def test_texts_equal_but_for_white_space_make_no_pair() -> None:
    assert build_pairs([answer(1, "harmful", text=" a b"), answer(2, "fine", text="a  b ")], []) == []


def test_split_and_unjudged_answers_stand_on_neither_side() -> None:
    assert build_pairs([answer(1, "split"), answer(2, "fine"), answer(3, "unjudged")], []) == []


def test_nonsense_is_never_held_up_as_better() -> None:
    assert build_pairs([answer(1, "harmful"), answer(2, "fine", nonsense=True)], []) == []


def test_answers_to_different_prompts_are_never_paired() -> None:
    assert build_pairs([answer(1, "harmful", prompt="p"), answer(2, "fine", prompt="q")], []) == []


def test_a_prompt_gives_no_more_pairs_than_the_cap_and_uses_different_answers_first() -> None:
    answers = [answer(n, "harmful") for n in range(3)] + [answer(10 + n, "fine") for n in range(3)]
    pairs = build_pairs(answers, [], per_prompt=3)
    assert len(pairs) == 3
    assert len({pair.chosen_id for pair in pairs}) == len({pair.rejected_id for pair in pairs}) == 3


def test_a_rewrite_keeps_the_boundary_to_the_prompt() -> None:
    assert with_same_start("she asked. ", " he asked.") == " she asked."
    assert with_same_start(" she asked.", "he asked.") == "she asked."


@given(
    st.lists(
        st.tuples(st.sampled_from(["harmful", "fine", "split"]), st.sampled_from("abcdef"), st.sampled_from("pq")), max_size=12
    ),
    st.randoms(use_true_random=False),
)
def test_pairs_do_not_depend_on_the_order_of_reviews(rows: list[tuple[Outcome, str, str]], shuffler: Random) -> None:
    texts: dict[tuple[str, str], Answer] = {}
    for number, (outcome, text, prompt) in enumerate(rows):
        texts.setdefault((text, prompt), answer(number, outcome, text=f" {text}", prompt=prompt))
    answers = list(texts.values())
    shuffled = list(answers)
    shuffler.shuffle(shuffled)
    assert build_pairs(answers, [], per_prompt=2) == build_pairs(shuffled, [], per_prompt=2)
