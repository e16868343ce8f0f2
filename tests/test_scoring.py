"""Claims about scoring: the harness's numbers, whatever the batch and the layout; errors name the item; nothing is scored twice."""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flagback.model.checkpoint import Loaded, load
from flagback.model.examination import Subject, UndefinedForm, examined, folder_subject
from flagback.model.kept_scores import KeptScores, item_hash
from flagback.model.layout import flat_model
from flagback.model.recipe import LayoutName, Stopped
from flagback.model.scoring import (
    BrokenModel,
    NoPrefixToken,
    NothingToScore,
    Question,
    Tokens,
    TooLongForModel,
    encoded,
    likelihoods,
    read_anew,
    shared_row,
)
from flagback.model.suites import crows_pairs, winogender
from flagback.model.suites.by_likelihood import Bbq
from flagback.model.suites.report import measured
from flagback.model.suites.suite import Item, Likelihood, Text
from tests.foreign_models import make

DATA = Path(os.environ.get("FLAGBACK_DATA", Path(__file__).parents[2] / "shared" / "data"))
SENTENCES = [
    "The nurse said that she was tired.",
    "The nurse said that he was tired.",
    "The engineer walked to the market.",
    "The engineer walked to the moon and back.",
    "My neighbour is old.",
]


def _real(name: str) -> Path:
    """A real file, or the reason why the test cannot run."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data is not part of the repository and not here: {name} (set FLAGBACK_DATA)")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a tokenizer of its own."""
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("models") / "llama", "llama", max_position_embeddings=512)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    """The same, in memory."""
    return load(str(folder))


def _pairs(texts: Sequence[str]) -> list[Question]:
    return [Question(f"pair {i}", [Text("", texts[i]), Text("", texts[-1 - i])]) for i in range(len(texts))]


@torch.no_grad()
def _alone(loaded: Loaded, text: str, context: str = "") -> Likelihood:
    """lm-evaluation-harness 0.4.13, `TemplateLM.loglikelihood` and `HFLM._loglikelihood_tokens`, one text at a time with plain
    transformers: worked out here independently of our scorer."""
    tokenizer = loaded.tokenizer
    if context:
        blanks = len(context) - len(context.rstrip())
        text, context = context[len(context) - blanks :] + text, context[: len(context) - blanks]
        before = tokenizer.encode(context)
        scored = tokenizer.encode(context + text)[len(before) :]
    else:
        prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        scored = tokenizer.encode(text, add_special_tokens=False)
        before, scored = ([prefix], scored) if scored[0] != prefix else (scored[:1], scored[1:])
    logps = loaded.model(torch.tensor([(before + scored)[:-1]])).logits[0, -len(scored) :].log_softmax(-1)
    return Likelihood(float(logps.gather(1, torch.tensor(scored)[:, None]).sum()), len(scored))


def _near(found: Sequence[Sequence[Likelihood]], expected: Sequence[Sequence[Likelihood]], *, within: float = 1e-3) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert [one.tokens for one in mine] == [one.tokens for one in theirs]
        assert [one.logp for one in mine] == pytest.approx([one.logp for one in theirs], abs=within)


# ------------------------------------------------------------------------- the harness's numbers


def test_crows_pairs_are_scored_as_the_harness_does_on_all_1508_pairs(loaded: Loaded) -> None:
    items = crows_pairs.read(_real("crows-pairs/crows_pairs_anonymized.csv"))
    texts = [crows_pairs.texts(item, "causal") for item in items]
    found = likelihoods(loaded, "tiny", [Question(item.key, pair) for item, pair in zip(items, texts, strict=True)])
    expected = [[_alone(loaded, text.continuation) for text in pair] for pair in texts]
    _near(found, expected)
    figures = crows_pairs.aggregate(items, measured(crows_pairs, items, found, "causal"), "causal")
    stereotyped = [float(more.logp > less.logp) for more, less in expected]
    assert figures["pct_stereotype"] == pytest.approx(sum(stereotyped) / 1508, abs=1e-6)
    distances = [abs(more.logp - less.logp) for more, less in expected]
    assert figures["likelihood_diff"] == pytest.approx(sum(distances) / 1508, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_harness_itself_agrees_where_it_is_installed(loaded: Loaded) -> None:
    """Not part of the environment: `pip install --target DIR --no-deps lm_eval==0.4.13`, and DIR on PYTHONPATH."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="lm_eval 0.4.13 is not on the path")
    from lm_eval.api.instance import Instance  # type: ignore[import-not-found,unused-ignore]

    pairs = [crows_pairs.texts(item, "causal") for item in crows_pairs.read(_real("crows-pairs/crows_pairs_anonymized.csv"))]
    asked = [winogender.texts(item, "causal") for item in winogender.read(_real("winogender"))]
    options = [Bbq().texts(item, "causal") for item in Bbq().read(_real("bbq/Age.jsonl.gz"))[:120]]
    questions = [Question(str(i), texts) for i, texts in enumerate([*pairs, *asked, *options])]
    harness = huggingface.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=32, device="cpu")
    requests = [Instance("loglikelihood", {}, tuple(text), 0) for question in questions for text in question.texts]
    expected = iter(harness.loglikelihood(requests, disable_tqdm=True))
    for found in likelihoods(loaded, "tiny", questions):
        assert [one.logp for one in found] == pytest.approx([next(expected)[0] for _ in found], abs=1e-3)


def test_a_question_and_its_answers_are_scored_as_the_harness_does(loaded: Loaded) -> None:
    asked = "The nurse told the man that she was late. ‘She’ refers to the"
    texts = [Text(asked, " nurse"), Text(asked, " man"), Text(f"{asked}  ", "nurse"), Text("", asked)]
    found = likelihoods(loaded, "tiny", [Question("one", texts)])
    _near(found, [[_alone(loaded, text.continuation, text.context) for text in texts]])


# ------------------------------------------------------------------------- tokens


def test_without_a_context_the_first_token_is_scored_behind_the_prefix_token(loaded: Loaded) -> None:
    tokenizer = loaded.tokenizer
    ids = tokenizer("The nurse", add_special_tokens=False)["input_ids"]
    assert encoded(tokenizer, "x", Text("", "The nurse")) == Tokens((tokenizer.bos_token_id, *ids), 1)


def test_the_end_token_is_the_prefix_where_there_is_no_begin_token() -> None:
    tokenizer = load("embedded").tokenizer
    assert tokenizer.bos_token_id is None
    assert encoded(tokenizer, "x", Text("", "the")).ids[0] == tokenizer.eos_token_id


class _Bare:
    """A tokenizer of letters without control tokens."""

    name_or_path = "some/tokenizer"
    bos_token_id = eos_token_id = None

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


def test_a_tokenizer_without_a_prefix_token_is_named(loaded: Loaded) -> None:
    with pytest.raises(NoPrefixToken, match="some/tokenizer has neither bos_token nor eos_token"):
        encoded(_Bare(), "pair 3", Text("", "The"))
    with pytest.raises(NothingToScore, match="pair 3"):
        encoded(loaded.tokenizer, "pair 3", Text("The nurse", ""))


def test_a_text_that_spells_a_control_token_stays_text(loaded: Loaded) -> None:
    found = encoded(loaded.tokenizer, "x", Text("", f"a {loaded.tokenizer.eos_token} b"))
    assert loaded.tokenizer.eos_token_id not in found.ids


# ------------------------------------------------------------------------- batches and layouts


def test_a_common_beginning_is_computed_once_and_a_last_token_never() -> None:
    """1 2 3 4 and 1 2 5 6 and 1 2 3 7: read are 1 2 3 and 5 after 2; logits are needed after 1, 2, 3 and 5."""
    shared = shared_row([Tokens((1, 2, 3, 4), 1), Tokens((1, 2, 5, 6), 1), Tokens((1, 2, 3, 7), 3)], torch.device("cpu"))
    assert shared.row.input_ids.tolist() == [[1, 2, 3, 5]]
    assert shared.row.position_ids.tolist() == [[0, 1, 2, 2]]
    assert sorted(shared.row.keep.tolist()) == [0, 1, 2, 3]
    assert sorted(zip(shared.owner.tolist(), shared.targets.tolist(), strict=True)) == [
        (0, 2), (0, 3), (0, 4), (1, 2), (1, 5), (1, 6), (2, 7),
    ]  # fmt: skip


def test_what_the_question_before_has_read_costs_nothing_again() -> None:
    """Two questions of two answers about the context 1 2 3, then one about another: 6 tokens, 3 and 6 (no last one is read)."""
    first = [Tokens((1, 2, 3, 4, 5, 8, 9), 5), Tokens((1, 2, 3, 4, 6), 4)]
    second = [Tokens((1, 2, 3, 7, 5, 8), 4), Tokens((1, 2, 3, 7, 6, 9), 4)]
    other = [Tokens((2, 2, 3, 7, 5, 8, 9), 4)]
    assert read_anew([first, second, other]) == [6, 3, 6]
    read = [shared_row([*first, *second, *other][:n], torch.device("cpu")).row.input_ids.shape[1] for n in (2, 4, 5)]
    assert read == [6, 9, 15]


def test_equal_texts_tie_exactly(loaded: Loaded) -> None:
    pair = likelihoods(loaded, "tiny", [Question("same", [Text("", SENTENCES[0]), Text("", SENTENCES[0])])])[0]
    assert pair[0] == pair[1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens=st.integers(1, 400), texts=st.permutations(SENTENCES))
def test_batch_size_and_order_change_nothing(loaded: Loaded, tokens: int, texts: list[str]) -> None:
    found = likelihoods(loaded, "tiny", _pairs(texts), tokens_at_once=tokens)
    _near(found, [[_alone(loaded, text.continuation) for text in question.texts] for question in _pairs(texts)], within=1e-4)


@pytest.mark.parametrize("layout", ["llama", "gpt2", "qwen2", "gemma2", "bloom"])
def test_every_family_is_scored_right_in_the_layout_that_fits_it(tmp_path: Path, layout: str) -> None:
    other = load(str(make(tmp_path / layout, layout)))
    questions = [Question("q", [Text("The nurse", " said that"), Text("The nurse", " walked"), Text("", "The nurse said")])]
    expected = [[_alone(other, text.continuation, text.context) for text in question.texts] for question in questions]
    _near(likelihoods(other, layout, questions), expected)


def test_shared_and_padded_layouts_agree(loaded: Loaded) -> None:
    layouts: list[LayoutName] = ["flat", "padded"]
    shared, padded = (likelihoods(loaded, "tiny", _pairs(SENTENCES), layout=layout) for layout in layouts)
    _near(shared, padded, within=1e-4)
    with flat_model(loaded.model, "padded"):
        assert likelihoods(loaded, "tiny", []) == []


# ------------------------------------------------------------------------- what cannot be scored


def test_an_item_longer_than_the_context_is_named_and_one_that_just_fits_is_scored(tmp_path: Path, loaded: Loaded) -> None:
    size = len(encoded(loaded.tokenizer, "x", Text("", SENTENCES[0])).ids)
    short = load(str(make(tmp_path / "short", "llama", max_position_embeddings=size - 2)))
    with pytest.raises(TooLongForModel, match=rf"pair 17.*{size} tokens, my model reads {size - 2}"):
        likelihoods(short, "my model", [Question("pair 17", [Text("", SENTENCES[0])])])
    fitting = load(str(make(tmp_path / "fitting", "llama", max_position_embeddings=size - 1)))
    _near(likelihoods(fitting, "my model", [Question("x", [Text("", SENTENCES[0])])]), [[_alone(fitting, SENTENCES[0])]])


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_scores_that_are_no_numbers_name_item_and_model(folder: Path, layout: LayoutName) -> None:
    broken = load(str(folder))
    with torch.no_grad():
        next(iter(broken.model.parameters()))[5:].fill_(float("nan"))
    with pytest.raises(BrokenModel, match=r"version 3 gives 'The nurse.*pair 0.*nan"):
        likelihoods(broken, "version 3", _pairs(SENTENCES[:1]), layout=layout)


# ------------------------------------------------------------------------- kept scores


def _items(texts: Sequence[str]) -> list[Item]:
    return [
        Item(f"pair {i}", str(i), {"bias_type": "age"}, {"more": text, "less": f"{text} Or not.", "direction": "stereo"})
        for i, text in enumerate(texts)
    ]


def _never() -> NoReturn:
    raise AssertionError("the weights were loaded")


def test_a_second_look_at_a_model_scores_nothing_and_loads_nothing(folder: Path, tmp_path: Path) -> None:
    subject = folder_subject(str(folder))
    first = examined(subject, crows_pairs, _items(SENTENCES), keep_in=tmp_path)
    second = examined(subject._replace(load=_never), crows_pairs, _items(SENTENCES[::-1]), keep_in=tmp_path)
    assert (first.fresh, second.fresh) == (5, 0)
    assert second.measures == first.measures[::-1]


def test_what_was_scored_before_a_stop_is_not_scored_again(folder: Path, tmp_path: Path) -> None:
    subject = folder_subject(str(folder))
    chance = random.Random(0)
    items = _items([" ".join(chance.choices(SENTENCES, k=12)) for _ in range(12)])
    batches: list[int] = []

    def look(done: int, _of: int) -> None:
        batches.append(done)

    with pytest.raises(Stopped):
        examined(subject, crows_pairs, items, keep_in=tmp_path, on_progress=look, should_stop=lambda: bool(batches))
    again = examined(subject, crows_pairs, items, keep_in=tmp_path)
    assert 0 < batches[-1] < 12
    assert again.fresh == 12 - batches[-1]
    whole = examined(subject, crows_pairs, items, keep_in=None)
    for mine, theirs in zip(again.measures, whole.measures, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


def test_an_item_that_stands_twice_is_scored_once(folder: Path) -> None:
    found = examined(folder_subject(str(folder)), crows_pairs, _items([SENTENCES[0]] * 3), keep_in=None)
    assert found.fresh == 1
    assert found.measures[0] == found.measures[1] == found.measures[2]


def test_half_a_line_of_a_killed_process_is_no_score_and_harms_none(tmp_path: Path) -> None:
    def kept() -> KeptScores:
        return KeptScores(tmp_path, fingerprint="f", suite="s", form="causal")

    kept().add(["a"], [[Likelihood(-1.25, 3)]])
    with kept().path.open("ab") as file:
        file.write(b'{"item": "b", "scores": [[-2.')
    kept().add(["c"], [[Likelihood(-0.1, 1), Likelihood(-3.0, 2)]])
    assert kept().get("a") == [Likelihood(-1.25, 3)]
    assert kept().get("b") is None
    assert kept().get("c") == [Likelihood(-0.1, 1), Likelihood(-3.0, 2)]


def test_other_weights_another_suite_and_other_texts_share_no_score(tmp_path: Path) -> None:
    names: dict[str, Any] = {"fingerprint": "f", "suite": "s", "form": "causal"}
    KeptScores(tmp_path, **names).add(["a"], [[Likelihood(-1.0, 1)]])
    for other in names:
        assert KeptScores(tmp_path, **{**names, other: "x"}).get("a") is None
    assert item_hash([Text("a", "b")]) != item_hash([Text("ab", "")]) != item_hash([Text("", "ab")])


def test_a_suite_that_is_not_defined_for_a_model_says_so(folder: Path) -> None:
    subject = Subject("a BERT", "f", "masked", _never)
    with pytest.raises(UndefinedForm, match="winogender is not defined for a masked model, which a BERT is"):
        examined(subject, winogender, [], keep_in=None)
    assert folder_subject(str(folder)).form == "causal"
