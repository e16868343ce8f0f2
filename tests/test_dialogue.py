"""The boundary between prompt and answer: nothing lost, nothing added, the same every day, and text never turns into a mark."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, GenerationConfig

from flagback.model.dialogue import (
    NoEndToken,
    UnfitMessages,
    answer_ids,
    answer_text,
    end_id,
    end_ids,
    plain_text,
    prompt_ids,
)
from flagback.storage.records import Template
from tests.foreign_models import CHATML, TURNS, byte_level_tokenizer, sentencepiece_file

torch.set_num_threads(1)

PLAIN = byte_level_tokenizer()
BEGINNING = byte_level_tokenizer(begin="<s>", end="</s>")
CHAT = byte_level_tokenizer(marks=("<|im_start|>", "<|im_end|>"), chat=CHATML)
GEMMA = byte_level_tokenizer(begin="<bos>", end="<eos>", marks=("<start_of_turn>", "<end_of_turn>"), chat=TURNS)


def asked(*contents: str) -> list[dict[str, str]]:
    """Turns by user and assistant in turn."""
    return [{"role": "assistant" if i % 2 else "user", "content": content} for i, content in enumerate(contents)]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sentencepiece tokenizer read from its tokenizer.model, with the space before a text's first word."""
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece_file(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}', encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)  # nosec B615 # a folder made here


def test_one_user_message_is_the_text_before_the_answer() -> None:
    assert plain_text(asked("The nurse said that")) == "The nurse said that"


def test_several_turns_are_written_as_in_hh_rlhf() -> None:
    assert plain_text(asked("Hi", "Hello", "Why?")) == "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
    system = [{"role": "system", "content": "Be brief."}, *asked("Hi")]
    assert plain_text(system) == "Be brief.\n\nHuman: Hi\n\nAssistant:"


@pytest.mark.parametrize("tokenizer", [PLAIN, BEGINNING, CHAT, GEMMA])
@given(text=st.text())
def test_an_answer_comes_back_from_its_ids_as_it_went(tokenizer: Any, text: str) -> None:
    for template in ("plain", "chat") if tokenizer.chat_template else ("plain",):
        ids = answer_ids(tokenizer, text, template)
        assert answer_text(tokenizer, ids) == text
        assert answer_text(tokenizer, ids[:-1]) == text or ids[:-1] == []


@given(text=st.text(alphabet=st.characters(exclude_characters="▁\0", exclude_categories=["Cs"])))
def test_sentencepiece_neither_adds_nor_loses_the_first_space(pieces: Any, text: str) -> None:
    ids = answer_ids(pieces, text, "plain")
    assert answer_text(pieces, ids) == text
    assert pieces.bos_token_id not in ids


def test_sentencepiece_answers_use_the_words_the_model_would_write(pieces: Any) -> None:
    assert pieces.convert_ids_to_tokens(answer_ids(pieces, " said that", "plain"))[0].startswith("▁s")
    assert pieces.decode(answer_ids(pieces, " said", "plain"), skip_special_tokens=True) == "said"  # what we avoid
    assert answer_text(pieces, answer_ids(pieces, "said", "plain")) == "said"


def test_prompt_and_answer_read_as_one_text(pieces: Any) -> None:
    for tokenizer in (PLAIN, pieces):
        ids = prompt_ids(tokenizer, asked("The nurse"), "plain") + answer_ids(tokenizer, " said that she", "plain")
        assert tokenizer.decode(ids, skip_special_tokens=True) == "The nurse said that she"
        assert ids == tokenizer("The nurse said that she")["input_ids"] + [tokenizer.eos_token_id]


def test_the_begin_token_opens_the_prompt_and_never_an_answer() -> None:
    assert prompt_ids(BEGINNING, asked("The nurse"), "plain")[0] == BEGINNING.bos_token_id
    assert BEGINNING.bos_token_id not in answer_ids(BEGINNING, "The nurse", "plain")
    chat = prompt_ids(GEMMA, asked("The nurse"), "chat")
    assert chat.count(GEMMA.bos_token_id) == 1


def test_an_empty_prompt_is_the_begin_token_alone() -> None:
    assert prompt_ids(BEGINNING, asked(""), "plain") == [BEGINNING.bos_token_id]
    assert prompt_ids(PLAIN, asked(""), "plain") == []


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt() -> None:
    from tokenizers import processors

    eager = byte_level_tokenizer(begin="<s>", end="</s>")
    eager.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", eager.bos_token_id), ("</s>", eager.eos_token_id)]
    )
    assert prompt_ids(eager, asked("The nurse"), "plain") == prompt_ids(BEGINNING, asked("The nurse"), "plain")
    assert answer_ids(eager, " said", "plain").count(eager.eos_token_id) == 1


@pytest.mark.parametrize(
    ("tokenizer", "mark", "template"),
    [(BEGINNING, "</s>", "plain"), (CHAT, "<|im_end|>", "chat"), (GEMMA, "<end_of_turn>", "chat"), (CHAT, "<|im_start|>", "plain")],
)
def test_text_that_spells_a_mark_stays_text(tokenizer: Any, mark: str, template: Template) -> None:
    number = tokenizer.convert_tokens_to_ids(mark)
    plain = prompt_ids(tokenizer, asked("Say now"), template)
    spelled = prompt_ids(tokenizer, asked(f"Say {mark} now"), template)
    assert spelled.count(number) == plain.count(number)
    answer = answer_ids(tokenizer, f"It is {mark} so", template)
    assert number not in answer[:-1]
    assert answer_text(tokenizer, answer) == f"It is {mark} so"


def test_the_chat_template_writes_the_prompt_and_its_mark_ends_the_answer() -> None:
    prompt = prompt_ids(CHAT, asked("The nurse"), "chat")
    assert CHAT.decode(prompt) == "<|im_start|>user\nThe nurse<|im_end|>\n<|im_start|>assistant\n"
    end = CHAT.convert_tokens_to_ids("<|im_end|>")
    assert answer_ids(CHAT, "Yes", "chat")[-1] == end == end_id(CHAT, "chat")
    assert answer_ids(CHAT, "Yes", "plain")[-1] == CHAT.eos_token_id == end_id(CHAT, "plain")
    whole = CHAT.apply_chat_template(
        [*asked("The nurse"), {"role": "assistant", "content": "Yes"}], tokenize=True, return_dict=False
    )
    assert prompt + answer_ids(CHAT, "Yes", "chat") == whole[:-1]  # whole ends with the template's line break


def test_every_way_to_end_is_known_to_the_sampler() -> None:
    end = CHAT.convert_tokens_to_ids("<|im_end|>")
    assert end_ids(CHAT, GenerationConfig(eos_token_id=[7, 9])) == tuple(sorted({7, 9, end, CHAT.eos_token_id}))
    assert end_ids(PLAIN, GenerationConfig()) == (PLAIN.eos_token_id,)
    assert end_id(GEMMA, "chat") in end_ids(GEMMA, None)


def test_a_tokenizer_without_an_end_is_an_error_that_names_the_setting() -> None:
    endless = byte_level_tokenizer()
    endless.eos_token = None
    with pytest.raises(NoEndToken, match="eos_token"):
        answer_ids(endless, "Yes", "plain")


def test_a_system_message_goes_before_the_user_where_the_template_knows_none() -> None:
    messages = [{"role": "system", "content": "Be brief."}, *asked("Hi")]
    assert GEMMA.decode(prompt_ids(GEMMA, messages, "chat")) == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    )
    assert "system\nBe brief." in CHAT.decode(prompt_ids(CHAT, messages, "chat"))


def test_turns_that_the_template_refuses_are_named() -> None:
    twice = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}]
    with pytest.raises(UnfitMessages, match=r"refuses the turns \(user, user\)"):
        prompt_ids(GEMMA, twice, "chat")


def test_a_template_that_prints_the_day_gives_the_same_prompt_every_day() -> None:
    dated = byte_level_tokenizer(
        chat="{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d') }}|{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    assert dated.decode(prompt_ids(dated, asked("Hi"), "chat")) == "26 Jul 2024|2024-07-26|Hi"


def test_a_thinking_template_is_asked_not_to_think() -> None:
    thinking = byte_level_tokenizer(
        chat="{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    assert thinking.decode(prompt_ids(thinking, asked("Hi"), "chat")) == "Hi<think></think>"


def test_an_answer_that_ended_and_one_that_was_cut_read_alike() -> None:
    ids = answer_ids(PLAIN, " said that", "plain")
    assert answer_text(PLAIN, ids) == answer_text(PLAIN, ids[:-1]) == " said that"
    assert answer_text(PLAIN, [PLAIN.eos_token_id]) == answer_text(PLAIN, []) == ""


def test_only_one_mark_at_the_end_is_dropped() -> None:
    assert answer_text(PLAIN, [*answer_ids(PLAIN, " a", "plain"), PLAIN.eos_token_id]) == " a<|endoftext|>"


def test_a_character_cut_in_half_is_shown_as_such() -> None:
    ids = answer_ids(PLAIN, "𝕏", "plain")[:-1]
    assert len(ids) > 1
    assert answer_text(PLAIN, ids[:-1]).strip("\ufffd") == ""
    assert answer_text(PLAIN, ids[:-1]) != ""


def test_answers_from_the_hub_layout_keep_their_space(tmp_path: Path) -> None:
    saved = tmp_path / "tokenizer"
    PLAIN.save_pretrained(saved)
    again = AutoTokenizer.from_pretrained(saved)  # nosec B615 # a folder made here
    assert answer_ids(again, " said that", "plain") == answer_ids(PLAIN, " said that", "plain")
