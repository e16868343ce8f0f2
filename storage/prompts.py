"""Prompts: what they are made of, which of them are equal, and on which side of the split they stand.

Knows messages, tags, hashes and shards; knows no file format and no model.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from flagback.storage.records import Prompt, now
from flagback.storage.store import insert_missing, one_at_a_time

#: Shards whose prompts may be trained on; the others are for evaluation only.
TRAINING_SHARDS = range(70)
HELD_OUT_SHARDS = range(70, 100)

ROLES = ("system", "user", "assistant")

#: Split keys longer than this are cut and completed with a hash.
LONGEST_KEY = 200
#: Rows of one INSERT or one IN (...): far under SQLite's limit of 32,766 values a statement.
AT_A_TIME = 500

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


class NewPrompt(NamedTuple):
    """A prompt to add."""

    #: [{"role": "system"|"user"|"assistant", "content": str}, ...]; the last one is the user's.
    messages: list[dict[str, str]]
    #: BCP 47, "und" where unknown.
    lang: str = "und"
    #: Anything JSON can hold; "template" and "groups" (a list) decide the split key.
    tags: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple default that nobody changes
    #: What keeps a family together; worked out from messages and tags when None.
    split_key: str | None = None


class Added(NamedTuple):
    """What add_prompts did."""

    added: int
    #: Prompts that were there before, or stood twice in the input.
    duplicates: int
    #: One id for each prompt of the input, in its order, duplicates included.
    ids: list[int]


class BadPrompt(ValueError):
    """A prompt that cannot be stored; nothing of its batch is."""

    def __init__(self, index: int, what: str) -> None:
        super().__init__(f"Prompt {index} (counted from 0): {what}")
        #: Place in the input, from 0.
        self.index = index
        #: What is wrong and what was expected, without the place.
        self.what = what


class UnstorableText(ValueError):
    """A name or a reason holds what no database keeps; nothing was stored."""


def check_storable(**texts: str) -> None:
    """Raises UnstorableText for the first of the named texts (by="ada", reason="...") that cannot be stored."""
    for what, text in texts.items():
        if bad := unstorable(text):
            raise UnstorableText(f"The text given as {what} holds {bad}, which no database keeps; write it without that.")


def unstorable(text: str) -> str | None:
    """Names the first character that a database cannot keep (NUL, or half of a surrogate pair); None where there is none."""
    for place, character in enumerate(text):
        if character == "\0":
            return f"the NUL character at position {place}"
        if "\ud800" <= character <= "\udfff":
            return f"half a surrogate pair (U+{ord(character):04X}) at position {place}"
    return None


def text_hash(text: str) -> str:
    """sha256 of the UTF-8 bytes, in hex: the form of every text_hash column."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(messages: Sequence[Mapping[str, str]], lang: str) -> str:
    """sha256 in hex of the JSON array [[[role, content], ...], lang], UTF-8, no spaces, nothing escaped that need not be."""
    content = [[[message["role"], message["content"]] for message in messages], lang]
    return text_hash(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def primary_language(lang: str) -> str:
    """The primary subtag of a BCP 47 tag, "pt" of "pt-BR", by which slots and readers are matched; "und" without one."""
    return lang.replace("_", "-").split("-")[0].strip().lower() or "und"


def split_key_of(messages: Sequence[Mapping[str, str]], tags: Mapping[str, Any]) -> str:
    """The family of a prompt: its template and groups where tagged, else its first user turn, normalised.

    A single message is a dialogue of one turn, so that "Hello" alone and a dialogue opened with "Hello" stay on one side.
    """
    if tags.get("template"):
        groups = tags.get("groups") or []
        named = sorted(map(str, groups)) if isinstance(groups, list | tuple) else [str(groups)]
        key = "template:" + json.dumps([str(tags["template"]), named], ensure_ascii=False, separators=(",", ":"))
    else:
        first = next((message["content"] for message in messages if message["role"] == "user"), messages[0]["content"])
        key = "text:" + " ".join(unicodedata.normalize("NFKC", first).casefold().split())
    return key if len(key) <= LONGEST_KEY else f"{key[: LONGEST_KEY - 40]}…{text_hash(key)[:32]}"


def shard_of(split_key: str) -> int:
    """0-99: the first 8 bytes of the key's sha256 as a big-endian number, modulo 100."""
    return int.from_bytes(hashlib.sha256(split_key.encode()).digest()[:8], "big") % 100


def add_prompts(session: Session, prompts: Iterable[NewPrompt]) -> Added:
    """Adds the prompts that are not there yet. Equal means equal messages and language, to the character.

    Raises BadPrompt for the first that cannot be stored; the caller's transaction then leaves nothing behind. A duplicate keeps
    the tags, split key and shard it was first added with. The same messages under another language or with other tags take the
    split key of the first: one text never stands on both sides of the split.
    """
    one_at_a_time(session, "prompts")
    ids: list[int] = []
    added = 0
    families: dict[str, str] = {}
    remaining = enumerate(prompts)
    while chunk := [_row(index, prompt) for index, prompt in islice(remaining, AT_A_TIME)]:
        hashes = [row["content_hash"] for row in chunk]
        known = _ids_of(session, hashes)
        _join_families(session, chunk, families)
        fresh = {row["content_hash"]: row for row in chunk if row["content_hash"] not in known}
        made = insert_missing(session, "prompt", list(fresh.values()), returning=["id"])
        known |= _ids_of(session, list(fresh))
        added += len(made)
        ids += [known[value] for value in hashes]
    return Added(added, len(ids) - added, ids)


def _join_families(session: Session, chunk: Sequence[dict[str, Any]], families: dict[str, str]) -> None:
    """Gives rows whose messages are known already, in the store or earlier in this call, the split key of the first.

    `families` is what this call has seen: messages (as a content hash without language) to split key.
    """
    texts = [content_hash(row["messages"], "") for row in chunk]
    wanted = {
        content_hash(row["messages"], lang): text
        for lang in session.exec(select(Prompt.lang).distinct()).all()
        for row, text in zip(chunk, texts, strict=True)
        if text not in families
    }
    for start in range(0, len(wanted), AT_A_TIME):
        hashes = list(wanted)[start : start + AT_A_TIME]
        for found, key in session.exec(
            select(Prompt.content_hash, Prompt.split_key)
            .where(col(Prompt.content_hash).in_(hashes))
            .order_by(col(Prompt.id).desc())
        ).all():
            families[wanted[found]] = key
    for row, text in zip(chunk, texts, strict=True):
        row["split_key"] = families.setdefault(text, row["split_key"])
        row["shard"] = shard_of(row["split_key"])


def _ids_of(session: Session, hashes: Sequence[str]) -> dict[str, int]:
    rows = session.exec(select(Prompt.content_hash, Prompt.id).where(col(Prompt.content_hash).in_(hashes))).all()
    return dict(rows)


def _row(index: int, prompt: NewPrompt) -> dict[str, Any]:
    """The checked columns of one prompt."""
    messages = _checked_messages(index, prompt.messages)
    if not isinstance(prompt.lang, str) or not _LANGUAGE.fullmatch(prompt.lang):
        raise BadPrompt(
            index, f"its language is {prompt.lang!r}; expected a BCP 47 tag such as 'en' or 'pt-BR', or 'und' where unknown."
        )
    _check_tags(index, prompt.tags)
    key = split_key_of(messages, prompt.tags) if prompt.split_key is None else prompt.split_key
    if not key:
        raise BadPrompt(index, "its split key is empty; expected some text, or None to have it worked out.")
    if bad := unstorable(key):
        raise BadPrompt(index, f"its split key holds {bad}, which no database keeps; remove it from the source.")
    return {
        "content_hash": content_hash(messages, prompt.lang),
        "messages": messages,
        "lang": prompt.lang,
        "tags": prompt.tags,
        "split_key": key,
        "shard": shard_of(key),
        "created_at": now(),
    }


def _checked_messages(index: int, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    if not messages:
        raise BadPrompt(index, "it has no message; expected at least one of role 'user'.")
    kept = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise BadPrompt(index, f"message {number} has role {role!r}; expected one of {', '.join(ROLES)}.")
        if not isinstance(content, str):
            raise BadPrompt(index, f"message {number} has content of type {type(content).__name__}; expected text.")
        if bad := unstorable(content):
            raise BadPrompt(index, f"message {number} holds {bad}, which no database keeps; remove it from the source.")
        if role == "system" and number > 0:
            raise BadPrompt(index, f"message {number} has role 'system'; a system message can only stand first.")
        kept.append({"role": str(role), "content": content})
    if kept[-1]["role"] != "user":
        raise BadPrompt(index, f"its last message has role {kept[-1]['role']!r}; expected 'user', since the model answers next.")
    if not kept[-1]["content"].strip():
        raise BadPrompt(index, "its last message is empty; expected some text to answer.")
    return kept


def _check_tags(index: int, tags: Mapping[str, Any]) -> None:
    try:
        json.dumps(tags, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadPrompt(
            index, f"its tags cannot be written as JSON ({error}); expected text, numbers, lists and objects."
        ) from None
    for text in _texts_in(tags):
        if bad := unstorable(text):
            raise BadPrompt(index, f"a tag holds {bad}, which no database keeps; remove it from the source.")


def _texts_in(value: Any) -> Iterable[str]:
    """Every string inside a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts_in(inner)
