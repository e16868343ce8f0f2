"""Where a prompt ends and an answer begins: templates, the boundary between them, and the end token.

The one place that turns messages and answer texts into token ids and back. Sampling, training and evaluation all use it, so
that the text a person judged is the token sequence the trainer learns from. Knows tokenizers; knows no weights, no torch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flagback.storage.records import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Chat templates that print the day would give another prompt tomorrow: all of them read this one, 26 July 2024, instead.
TEMPLATE_DAY = {
    "%d": "26",
    "%m": "07",
    "%Y": "2024",
    "%y": "24",
    "%b": "Jul",
    "%B": "July",
    "%A": "Friday",
    "%a": "Fri",
    "%-d": "26",
    "%H": "12",
    "%I": "12",
    "%M": "00",
    "%S": "00",
    "%p": "PM",
    "%F": "2024-07-26",
}
#: Texts put before an answer while it is tokenised, for tokenizers that treat the start of a text in a special way.
ANCHORS = ("\n", "a", ".", ":")
#: Stands for an answer while looking at what a chat template writes after it.
MARK = "qzanswerzq"


class UnfitMessages(ValueError):
    """The messages cannot be put into the model's chat template."""


class NoEndToken(ValueError):
    """The tokenizer names no token that ends an answer."""


def plain_text(messages: Sequence[dict[str, str]]) -> str:
    """The text before an answer in the plain template.

    One user message: its content as it is. Otherwise turns in the layout of hh-rlhf, `\\n\\nHuman: ...\\n\\nAssistant: ...`,
    ending in `\\n\\nAssistant:`; a system message is put first as it is.
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
    return "".join(names[message["role"]] + message["content"] for message in messages) + "\n\nAssistant:"


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], template: Template) -> list[int]:
    """Everything the model reads before it answers, begin token included where the tokenizer adds one.

    Text that spells a control token (`</s>`, `<|im_end|>`) stays text. Raises UnfitMessages where a chat template refuses them.
    """
    if template == "chat":
        ids = _chat_ids(tokenizer, messages)
    else:
        ids = tokenizer(plain_text(messages), add_special_tokens=True, split_special_tokens=True, verbose=False)["input_ids"]
        ids = ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and _adds_end(tokenizer) else ids
    if not ids and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id]
    return [int(token) for token in ids]


def answer_ids(tokenizer: "PreTrainedTokenizerBase", text: str, template: Template) -> list[int]:
    """The ids of a given answer (a rewrite, an imported one), with no begin token and with the end token at its end.

    A leading space is part of the text, neither added nor lost. A sampled answer keeps its own ids: re-tokenising text
    gives others in about one of a thousand.
    """
    return [*_text_ids(tokenizer, text), end_id(tokenizer, template)]


def answer_text(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """Exactly what the ids say: one control token at the end (the end token) dropped, nothing else changed.

    A leading space is kept, also by tokenizers that strip it at the start of a text. Half a character (an answer cut inside
    UTF-8) is U+FFFD.
    """
    kept = list(ids)
    if kept and kept[-1] in control_ids(tokenizer):
        kept.pop()
    if not kept:
        return ""
    anchor = _plain_ids(tokenizer, "a")
    return _decoded(tokenizer, [*anchor, *kept])[len(_decoded(tokenizer, anchor)) :]


def end_id(tokenizer: "PreTrainedTokenizerBase", template: Template) -> int:
    """The token written after an answer: what the chat template puts there, else the tokenizer's end of sequence."""
    if template == "chat":
        after = _after_answer(tokenizer)
        if after is not None:
            return after
    if tokenizer.eos_token_id is None:
        raise NoEndToken(
            "The tokenizer has no eos_token, so nothing would mark where an answer ends; "
            'set "eos_token" in its tokenizer_config.json.'
        )
    return int(tokenizer.eos_token_id)


def end_ids(tokenizer: "PreTrainedTokenizerBase", model_or_generation_config: Any) -> tuple[int, ...]:
    """All tokens that end an answer, ascending: the generation config's, the tokenizer's and the chat template's."""
    holder = getattr(model_or_generation_config, "generation_config", None) or model_or_generation_config
    named = getattr(holder, "eos_token_id", None)
    found = set(named if isinstance(named, list | tuple) else [named])
    found.add(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        found.add(_after_answer(tokenizer))
    return tuple(sorted(int(token) for token in found if token is not None))


def control_ids(tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Tokens that are marks, not text: begin, end, padding, turn marks."""
    marked = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(marked | set(tokenizer.all_special_ids))


def _decoded(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _plain_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of a text alone: nothing added, and no control token read out of it."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])


def _text_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids that `answer_text` turns back into the text.

    Sentencepiece tokenizers put a space before a text's first word, so the text is tokenised alone and, where that does not
    come back as it went, after an anchor whose ids are then cut off. Where no way is exact (tokenizers that lower-case, or
    without byte fallback) the first one is taken.
    """
    alone = _plain_ids(tokenizer, text)
    if not text or _reads(tokenizer, alone) == text:
        return alone
    for anchor in ANCHORS:
        before, both = _plain_ids(tokenizer, anchor), _plain_ids(tokenizer, anchor + text)
        if both[: len(before)] == before and _reads(tokenizer, both[len(before) :]) == text:
            return both[len(before) :]
    return alone


def _reads(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> str:
    anchor = _plain_ids(tokenizer, "a")
    return _decoded(tokenizer, [*anchor, *ids])[len(_decoded(tokenizer, anchor)) :]


def _adds_end(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokenizer puts its end token after every text (some are set up so for training)."""
    ids = tokenizer("a", add_special_tokens=True, verbose=False)["input_ids"]
    return bool(ids) and ids[-1] == tokenizer.eos_token_id


def _chat_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]]) -> list[int]:
    """The rendered chat up to where the assistant's answer begins."""
    from jinja2 import TemplateError

    try:
        return list(_rendered(tokenizer, messages, tokenize=True))
    except TemplateError as first:
        if messages[0]["role"] != "system":
            raise UnfitMessages(_unfit(messages, first)) from first
        try:
            return list(_rendered(tokenizer, _without_system(messages), tokenize=True))
        except TemplateError as second:
            raise UnfitMessages(_unfit(messages, second)) from second


def _unfit(messages: Sequence[dict[str, str]], error: Exception) -> str:
    roles = ", ".join(message["role"] for message in messages)
    return (
        f"The model's chat template refuses the turns ({roles}): {error}. It expects user and assistant in turn, the last "
        "one a user's; change the prompt, or add the model with the plain template."
    )


def _without_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """For templates that know no system turn (Gemma): its text goes before the first user's."""
    system, *rest = messages
    if not rest:
        return list(messages)
    return [{"role": rest[0]["role"], "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _rendered(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[dict[str, str]], *, tokenize: bool) -> Any:
    """The template's text or ids: the same every day, thinking off, control tokens in the messages left as text."""
    answered = messages[-1]["role"] == "assistant"
    return tokenizer.apply_chat_template(
        list(messages),
        chat_template=_dated(str(tokenizer.get_chat_template())),
        tokenize=tokenize,
        return_dict=False,
        add_generation_prompt=not answered,
        enable_thinking=False,
        sanitize_control_tokens=tokenize,
        date_string="26 Jul 2024",
    )


def _dated(template: str) -> str:
    """The template with its clock stopped at TEMPLATE_DAY; the renderer passes no function on, so a macro takes its name."""
    if "strftime_now" not in template:
        return template
    replaced = "".join(f" | replace('{directive}', '{value}')" for directive, value in TEMPLATE_DAY.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{{{{ '' }}}}{template}"


def _after_answer(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The first control token that the chat template writes after an assistant's answer; None where it writes none."""
    shown = _rendered(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}], tokenize=False)
    after = shown.rpartition(MARK)[2]
    controls = control_ids(tokenizer)
    written = tokenizer(after, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"]
    return next((int(token) for token in written if token in controls), None)
