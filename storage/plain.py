"""A dialogue as one string, and back: the "Human / Assistant" layout of the hh-rlhf files.

Knows roles and the layout; knows no tokenizer, no file and no database. A single user message is its own text, since a prompt
to be continued is no dialogue; so a one-turn dialogue and a text to be continued look alike here.
"""

import re
from collections.abc import Sequence

#: How a turn of each role begins.
LABELS = {"user": "\n\nHuman:", "assistant": "\n\nAssistant:"}
_ROLES = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"\n\n(Human|Assistant):")


def plain_text(messages: Sequence[dict[str, str]]) -> str:
    """The text an answer is put behind, as it is.

    One user message: its content, unchanged. More: system texts first and unlabelled, then "\\n\\nHuman: ..." and
    "\\n\\nAssistant: ..." turns, ending in "\\n\\nAssistant:" with no space behind it (answers bring their own).
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    turns = [
        message["content"] if message["role"] == "system" else f"{LABELS[message['role']]} {message['content']}"
        for message in messages
    ]
    return "".join(turns) + LABELS["assistant"]


def dialogue_turns(text: str) -> list[dict[str, str]] | None:
    """The messages of a text in the layout, None where it does not begin with a Human or Assistant label.

    The label at the very end (where the answer is to follow) makes no message. One space behind a label belongs to the label.
    """
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[0]:
        return None
    turns = [
        {"role": _ROLES[label], "content": content.removeprefix(" ")}
        for label, content in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if turns[-1]["role"] == "assistant" and not parts[-1]:
        turns.pop()
    return turns


def messages_of(text: str) -> list[dict[str, str]]:
    """The messages whose plain_text is exactly `text`: a dialogue where it reads as one of several turns, else a user message."""
    turns = dialogue_turns(text)
    if turns and len(turns) > 1 and turns[-1]["role"] == "user" and plain_text(turns) == text:
        return turns
    return [{"role": "user", "content": text}]
