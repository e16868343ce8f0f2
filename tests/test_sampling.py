"""Sampling: the model's own greedy text, the same texts at any batch size and order, and only what the decoding allows."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from flagback.model.checkpoint import Loaded, load
from flagback.model.dialogue import prompt_ids
from flagback.model.noise import exponentials, step_keys, stream_key, token_keys
from flagback.model.sampling import BadDecoding, BadPrompt, Completion, Decoding, SamplePrompt, sample
from flagback.model.slab import FAMILIES, fits
from tests.foreign_models import LAYOUTS, byte_level_tokenizer, make

torch.set_num_threads(1)

TEXTS = (
    "The nurse",
    "Yesterday the old man walked to the market and bought",
    "In",
    "My neighbour is a doctor and he found the keys under the table. In the evening they talked",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One directory of each layout."""
    root = tmp_path_factory.mktemp("models")
    return {layout: make(root / layout, layout) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def llama(folders: dict[str, Path]) -> Loaded:
    return load(str(folders["llama"]))


def asked(loaded: Loaded, texts: Sequence[str] = TEXTS) -> list[SamplePrompt]:
    return [
        SamplePrompt(text, prompt_ids(loaded.tokenizer, [{"role": "user", "content": text}], loaded.template)) for text in texts
    ]


def many(loaded: Loaded, count: int, *, longest: int = 40, seed: int = 0) -> list[SamplePrompt]:
    """Random prompts of 1 to `longest` tokens."""
    draw = Random(seed)
    return [
        SamplePrompt(f"p{number}", [draw.randrange(5, loaded.vocabulary) for _ in range(draw.randint(1, longest))])
        for number in range(count)
    ]


def answers(completions: Sequence[Completion]) -> dict[tuple[str, int], tuple[list[int], str]]:
    found: dict[tuple[str, int], tuple[list[int], str]] = {
        (one.key, one.draw): (one.token_ids, one.finish_reason) for one in completions
    }
    assert len(found) == len(completions)
    return found


def from_scratch(loaded: Loaded, prompt: SamplePrompt, draw: int, decoding: Decoding) -> list[int]:
    """What the sampler promises, computed plainly: the whole text anew for each token, no cache, no neighbours."""
    ids: list[int] = []
    stream = torch.tensor([stream_key(decoding.seed, prompt.key, draw)])
    while len(ids) < decoding.max_tokens and (not ids or ids[-1] not in loaded.end):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([prompt.ids + ids]), use_cache=False).logits[0, -1].float()
        noise = exponentials(step_keys(stream, torch.tensor([len(ids)])), token_keys(len(logits)))[0]
        ids.append(int((torch.softmax(logits / decoding.temperature, -1) / noise).argmax()))
    return ids


def greedy_by_generate(loaded: Loaded, prompt: SamplePrompt, max_tokens: int) -> list[int]:
    row = torch.tensor([prompt.ids])
    written = loaded.model.generate(
        row,
        attention_mask=torch.ones_like(row),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=list(loaded.end),
        pad_token_id=0,
    )
    ids: list[int] = written[0, len(prompt.ids) :].tolist()
    return ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_greedy_text_is_what_generate_writes(layout: str, folders: dict[str, Path]) -> None:
    loaded = load(str(folders[layout]))
    prompts = asked(loaded)
    found = answers(list(sample(loaded, prompts, Decoding(k=2, temperature=0, max_tokens=30))))
    for prompt in prompts:
        expected = greedy_by_generate(loaded, prompt, 30)
        assert found[prompt.key, 0][0] == found[prompt.key, 1][0] == expected
        assert found[prompt.key, 0][1] == ("end" if expected[-1] in loaded.end else "length")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_drawn_text_is_what_a_plain_loop_draws(layout: str, folders: dict[str, Path]) -> None:
    loaded = load(str(folders[layout]))
    decoding = Decoding(k=3, temperature=0.8, max_tokens=24, seed=11)
    prompts = asked(loaded, TEXTS[:3])
    found = answers(list(sample(loaded, prompts, decoding, rows=4)))
    for prompt in prompts:
        for draw in range(3):
            assert found[prompt.key, draw][0] == from_scratch(loaded, prompt, draw, decoding)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_on_the_slab_writes_what_generate_writes(family: str) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
    }
    if family == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}
    if family.startswith(("gemma", "qwen3")):
        sizes |= {"head_dim": 8}
    if family not in ("gpt2", "gpt_neox"):
        sizes |= {"num_key_value_heads": 2}
    if family in ("gemma2", "gemma3_text", "mistral", "phi3", "starcoder2"):
        sizes |= {"sliding_window": 6}
    if family == "gemma3_text":
        sizes |= {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(5)
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    embedding = 0.01 if family.startswith("gemma") else 0.2
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, embedding if "embed" in name or "wte" in name else 0.25)
    loaded = Loaded(model, tokenizer, "plain")
    assert fits(model)
    prompts = many(loaded, 6, longest=20)
    found = answers(list(sample(loaded, prompts, Decoding(k=1, temperature=0, max_tokens=30), rows=3)))
    written = {prompt.key: greedy_by_generate(loaded, prompt, 30) for prompt in prompts}
    assert {key: found[key, 0][0] for key in written} == written
    assert len({token for ids in written.values() for token in ids}) > 10


@pytest.mark.parametrize("layout", ["bloom", "qwen3_5"])
def test_what_does_not_fit_a_slab_is_sampled_without_it(layout: str, folders: dict[str, Path]) -> None:
    loaded = load(str(folders[layout]))
    assert not fits(loaded.model)
    whole = answers(list(sample(loaded, asked(loaded), Decoding(k=5, max_tokens=12), rows=64)))
    assert answers(list(sample(loaded, asked(loaded), Decoding(k=5, max_tokens=12), rows=2))) == whole


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_the_same_seed_writes_the_same_texts_at_any_batch_size_and_order(llama: Loaded, top_p: float) -> None:
    prompts = many(llama, 9)
    decoding = Decoding(k=4, max_tokens=16, top_p=top_p, seed=3)
    whole = answers(list(sample(llama, prompts, decoding)))
    assert len(whole) == 36
    for rows in (2, 17, 200):
        assert answers(list(sample(llama, prompts, decoding, rows=rows))) == whole
    turned = list(prompts)
    Random(1).shuffle(turned)
    assert answers(list(sample(llama, turned, decoding, rows=10))) == whole


def test_a_resumed_run_writes_what_the_whole_one_would_have(llama: Loaded) -> None:
    prompts = many(llama, 10)
    decoding = Decoding(k=3, max_tokens=16, seed=3)
    whole = answers(list(sample(llama, prompts, decoding)))
    rest = answers(list(sample(llama, prompts[6:], decoding)))
    assert rest == {place: answer for place, answer in whole.items() if place[0] in {prompt.key for prompt in prompts[6:]}}


def test_more_draws_leave_the_first_ones_as_they_were(llama: Loaded) -> None:
    prompts = many(llama, 5)
    few, more = (answers(list(sample(llama, prompts, Decoding(k=k, max_tokens=12, seed=3)))) for k in (2, 7))
    assert few == {place: answer for place, answer in more.items() if place[1] < 2}


def test_other_seeds_draws_and_prompts_write_other_texts(llama: Loaded) -> None:
    ids = many(llama, 1)[0].ids
    alike = [SamplePrompt(f"p{number}", ids) for number in range(20)]
    first, second = (answers(list(sample(llama, alike, Decoding(k=5, max_tokens=12, seed=seed)))) for seed in (1, 2))
    texts = [tuple(answer[0]) for found in (first, second) for answer in found.values()]
    assert len(set(texts)) > 0.95 * len(texts)


def test_tokens_are_drawn_by_their_share(llama: Loaded) -> None:
    prompt = many(llama, 1)[0]
    drawn = [one.token_ids[0] for one in sample(llama, [prompt], Decoding(k=20_000, temperature=1.5, max_tokens=1, seed=8))]
    with torch.no_grad():
        shares = (llama.model(torch.tensor([prompt.ids])).logits[0, -1] / 1.5).softmax(-1)
    counts = torch.bincount(torch.tensor(drawn), minlength=len(shares))
    often = shares * 20_000 >= 10
    expected = torch.cat([shares[often], shares[~often].sum()[None]]) * 20_000
    seen = torch.cat([counts[often], counts[~often].sum()[None]])
    chi_square, freedom = float(((seen - expected) ** 2 / expected).sum()), len(expected) - 1
    assert freedom > 20
    assert abs(chi_square - freedom) < 4.5 * (2 * freedom) ** 0.5


def test_top_p_leaves_the_smallest_set_that_reaches_it(llama: Loaded) -> None:
    prompt = many(llama, 1)[0]
    with torch.no_grad():
        shares = llama.model(torch.tensor([prompt.ids])).logits[0, -1].softmax(-1)
    ordered, ids = shares.sort(descending=True)
    for top_p in (0.3, 0.8, 0.999):
        size = int((ordered.cumsum(0) < top_p).sum()) + 1
        drawn = {one.token_ids[0] for one in sample(llama, [prompt], Decoding(k=4000, top_p=top_p, max_tokens=1))}
        assert drawn <= set(ids[:size].tolist())
        assert len(drawn) > 0.6 * min(size, 40)
    greedy = {one.token_ids[0] for one in sample(llama, [prompt], Decoding(k=50, top_p=1e-6, max_tokens=1))}
    assert greedy == {int(ids[0])}


def test_an_answer_ends_with_its_end_token_or_at_the_limit(llama: Loaded) -> None:
    found = list(sample(llama, many(llama, 30), Decoding(k=10, temperature=1.5, max_tokens=25)))
    reasons = {"end": 0, "length": 0}
    for one in found:
        reasons[one.finish_reason] += 1
        assert not set(one.token_ids[:-1]) & set(llama.end)
        assert (one.token_ids[-1] in llama.end) == (one.finish_reason == "end")
        assert len(one.token_ids) == 25 or one.finish_reason == "end"
    assert min(reasons.values()) > 10


def test_a_prompts_answers_come_together_and_in_order(llama: Loaded) -> None:
    found = list(sample(llama, many(llama, 9), Decoding(k=4, temperature=1.5, max_tokens=25), rows=6))
    keys = [one.key for one in found]
    assert [one.draw for one in found] == list(range(4)) * 9
    assert keys == [key for key in dict.fromkeys(keys) for _ in range(4)]


def test_prompt_and_answer_fit_into_the_context(llama: Loaded) -> None:
    full, half = SamplePrompt("full", [7] * 127), SamplePrompt("half", [7] * 64)
    found = list(sample(llama, [full, half], Decoding(k=30, max_tokens=500)))
    assert {len(one.token_ids) for one in found if one.key == "full"} == {1}
    assert max(len(one.token_ids) for one in found if one.key == "half") == 64


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([7] * 128, "Prompt bad has 128 tokens, the model reads 128 with the answer"),
        ([], "Prompt bad has no tokens"),
        ([7, 400], "Prompt bad has token id 400, the model knows 400"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_named_before_anything_is_computed(llama: Loaded, ids: list[int], words: str) -> None:
    with pytest.raises(BadPrompt, match=words):
        sample(llama, [SamplePrompt("good", [7]), SamplePrompt("bad", ids)], Decoding())
    with pytest.raises(BadPrompt, match="good is there twice"):
        sample(llama, [SamplePrompt("good", [7]), SamplePrompt("good", [8])], Decoding())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"k": 0}, "k is 0; expected 1 or more"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5; expected above 0, at most 1"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
    ],
)
def test_a_decoding_outside_of_its_range_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadDecoding, match=words):
        Decoding(**values)


def test_no_prompts_are_no_answers_and_stopping_drops_what_is_unfinished(llama: Loaded) -> None:
    assert list(sample(llama, [], Decoding())) == []
    prompts, decoding = many(llama, 20), Decoding(k=4, temperature=1.5, max_tokens=40)
    whole, steps = answers(list(sample(llama, prompts, decoding))), iter(range(1000))
    part = answers(list(sample(llama, prompts, decoding, rows=8, should_stop=lambda: next(steps) > 60)))
    assert 0 < len(part) < len(whole)
    assert part.items() <= whole.items()
    assert len(part) % 4 == 0


def test_rows_of_the_output_layer_beyond_the_tokenizer_are_never_drawn(tmp_path: Path) -> None:
    loaded = load(str(make(tmp_path / "padded", "qwen2", vocab_size=512)))
    assert loaded.vocabulary == 512
    known = max(loaded.tokenizer.get_vocab().values())
    for top_p in (1.0, 0.99):
        found = sample(loaded, many(loaded, 1), Decoding(k=500, temperature=5.0, top_p=top_p, max_tokens=4))
        assert max(max(one.token_ids) for one in found) <= known


def test_sampling_leaves_the_model_as_it_was(llama: Loaded) -> None:
    before = {name: weight.clone() for name, weight in llama.model.state_dict().items()}
    attention = llama.model.config._attn_implementation
    for _ in sample(llama, many(llama, 3), Decoding(k=2, max_tokens=5)):
        assert llama.model.config._attn_implementation == attention
        assert torch.is_grad_enabled()
    assert all(torch.equal(weight, before[name]) for name, weight in llama.model.state_dict().items())


def test_two_models_meet_the_same_noise(llama: Loaded, folders: dict[str, Path]) -> None:
    """A small change of the weights leaves most first tokens as they were; another seed leaves few."""
    moved = load(str(folders["llama"]))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in moved.model.parameters():
            weight.add_(torch.randn_like(weight) * 0.002)
    prompts = many(llama, 40)
    one, same, other = (
        answers(list(sample(model, prompts, Decoding(k=10, max_tokens=1, seed=seed))))
        for model, seed in ((llama, 1), (moved, 1), (llama, 2))
    )
    assert sum(one[place] == same[place] for place in one) > 0.9 * len(one)
    assert sum(one[place] == other[place] for place in one) < 0.6 * len(one)
