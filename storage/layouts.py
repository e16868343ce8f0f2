"""What the columns and layouts of prompt and preference files mean: TRL's, hh-rlhf's, BOLD's and our own.

Knows values, never bytes (reading.py does) nor the store (importing.py does). Every refusal names file, line, value and what was
expected; what cannot be used though the file is sound is left out with a reason.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from flagback.storage.plain import LABELS, dialogue_turns, messages_of
from flagback.storage.prompts import NewPrompt
from flagback.storage.reading import (
    Place,
    Row,
    UnusableFile,
    WrongColumns,
    WrongValue,
    json_type,
    kind_of,
    parse_json,
    read_document,
    read_rows,
    read_texts,
    shortened,
)

_LANG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_SPACES = " \t\r\n"


class NewPreference(NamedTuple):
    """One judged pair of answers to one prompt, as a file gives it."""

    place: Place
    messages: list[dict[str, str]]
    #: Exact texts: a leading space is kept.
    chosen: str
    rejected: str
    lang: str = "und"
    tags: dict[str, Any] = {}  # noqa: RUF012  (a NamedTuple's default; never changed)
    split_key: str | None = None
    weight: float = 1.0
    soft_label: float = 1.0


class Skipped(NamedTuple):
    """A record that was left out, and why."""

    place: Place
    reason: str
    #: What it held, shortened.
    value: str


class Preferences(NamedTuple):
    """What read_preferences found."""

    pairs: list[NewPreference]
    skipped: list[Skipped]


# ------------------------------------------------------------------------- values


def text_in(place: Place, column: str, value: Any) -> str:
    """A text with something in it, exactly as given."""
    if not isinstance(value, str):
        raise WrongValue(f"{place}: {column} is a JSON {json_type(value)}, {shortened(value)}; expected a string.")
    if not value.strip():
        raise WrongValue(f"{place}: {column} is {shortened(value)}; expected a text that is not empty.")
    return value


def messages_in(place: Place, column: str, value: Any) -> list[dict[str, str]]:
    """A list of {role, content}; other keys are refused unless null, an empty content too."""
    if not isinstance(value, list) or not value:
        raise WrongValue(f'{place}: {column} is {shortened(value)}; expected a list of {{"role": ..., "content": ...}}.')
    for message in value:
        if not isinstance(message, dict) or {key for key, inner in message.items() if inner is not None} != {"role", "content"}:
            raise WrongValue(f"{place}: {column} holds {shortened(message)}; expected an object of role and content alone.")
        if message["role"] not in ("system", "user", "assistant"):
            raise WrongValue(f"{place}: {column} has the role {shortened(message['role'])}; expected system, user or assistant.")
        if message["role"] == "system" and message is not value[0]:
            raise WrongValue(f"{place}: {column} has a system message after others; expected it to stand first.")
        text_in(place, f"the content of a message in {column}", message["content"])
    return [{"role": message["role"], "content": message["content"]} for message in value]


def asked_in(place: Place, column: str, value: Any) -> list[dict[str, str]]:
    """Messages that a model is to answer: the last is the user's."""
    messages = messages_in(place, column, value)
    if messages[-1]["role"] != "user":
        raise WrongValue(
            f"{place}: the last message of {column} is the {messages[-1]['role']}'s, "
            f"{shortened(messages[-1]['content'])}; expected the user's, which the model answers."
        )
    return messages


def _optional_text(row: Row, column: str) -> str | None:
    value = row.values.get(column)
    return None if value in (None, "") else text_in(row.place, column, value)


def lang_of(row: Row) -> str:
    lang = _optional_text(row, "lang")
    if lang is not None and not _LANG.fullmatch(lang):
        raise WrongValue(f"{row.place}: lang is {shortened(lang)}; expected a BCP 47 tag such as en, pt-BR or und.")
    return lang or "und"


def groups_of(row: Row) -> list[str] | None:
    """A list of texts, a JSON list in a CSV cell, or one text with ";" between groups."""
    value = row.values.get("groups")
    if value in (None, "", []):
        return None
    if isinstance(value, str):
        value = parse_json(value, row.place) if value.lstrip().startswith("[") else [part.strip() for part in value.split(";")]
    if not isinstance(value, list):
        raise WrongValue(f"{row.place}: groups is {shortened(value)}; expected a list of texts.")
    return [text_in(row.place, "a group", group) for group in value]


def _number(row: Row, column: str, low: float, high: float, expected: str) -> float:
    """A number of the file, 1 where there is none; `low` itself is refused unless it equals 0.5 (soft labels)."""
    value = row.values.get(column)
    if value in (None, ""):
        return 1.0
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= high or number == 0:
        raise WrongValue(f"{row.place}: {column} is {shortened(value)}; expected {expected}.")
    return number


def _tags(row: Row, used: Sequence[str], given: Mapping[str, str | None]) -> dict[str, Any]:
    """Every column that has no other place, and what the import was told for all rows (a row's own word goes before)."""
    tags = _given(given)
    packed = row.values.get("tags")
    if packed not in (None, ""):
        packed = parse_json(packed, row.place) if isinstance(packed, str) else packed
        if not isinstance(packed, dict):
            raise WrongValue(f"{row.place}: tags is a JSON {json_type(packed)}, {shortened(packed)}; expected an object.")
        tags |= packed
    tags.update({key: value for key, value in row.values.items() if key not in used and value not in (None, "")})
    for column in ("topic", "template", "source", "licence"):
        if column in tags:
            tags[column] = text_in(row.place, column, tags[column])
    groups = groups_of(row)
    if groups is not None:
        tags["groups"] = groups
    return tags


# ------------------------------------------------------------------------- prompts

_PROMPT_COLUMNS = ("prompt", "messages", "lang", "groups", "split_key", "tags")
_PROMPTS_EXPECTED = (
    "expected a column prompt (a text) or messages (a list of role and content), and beside it, if you like, "
    "lang, groups, topic, template, source, licence, split_key, tags; others become tags"
)


def read_prompts(path: Path, *, source: str | None = None, licence: str | None = None, trim: bool = False) -> list[NewPrompt]:
    """All prompts of a CSV, JSONL, Parquet, BOLD-layout or text file, in file order, duplicates included. Raises BadImport.

    `source` and `licence` hold for rows that name none. `trim` drops white space at the end of a prompt's last message: BOLD's
    prompts end in a space, after which a byte-pair tokenizer continues badly.
    """
    kind = kind_of(path)
    given = {"source": source, "licence": licence}
    if kind == "json":
        found = list(_bold_prompts(path, given))
    elif kind == "txt":
        found = [NewPrompt([{"role": "user", "content": text}], tags=_given(given)) for _, text in read_texts(path)]
    else:
        found = [_prompt(row, given) for row in read_rows(path)]
    return [_trimmed(prompt) for prompt in found] if trim else found


def _given(given: Mapping[str, str | None]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _trimmed(prompt: NewPrompt) -> NewPrompt:
    *earlier, last = prompt.messages
    return prompt._replace(messages=[*earlier, {"role": last["role"], "content": last["content"].rstrip(_SPACES)}])


def _prompt(row: Row, given: Mapping[str, str | None]) -> NewPrompt:
    prompt, messages = (row.values.get(column) for column in ("prompt", "messages"))
    if "prompt" not in row.values and "messages" not in row.values:
        hint = "it looks like preferences: run 'flagback import preferences FILE'." if "chosen" in row.values else None
        raise wrong_columns(row, _PROMPTS_EXPECTED, hint)
    if messages in (None, ""):
        asked = (
            asked_in(row.place, "prompt", prompt)
            if isinstance(prompt, list)
            else [{"role": "user", "content": text_in(row.place, "prompt", prompt)}]
        )
    elif prompt in (None, ""):
        asked = asked_in(row.place, "messages", parse_json(messages, row.place) if isinstance(messages, str) else messages)
    else:
        raise WrongValue(f"{row.place}: both prompt, {shortened(prompt)}, and messages are given; expected one of them.")
    return NewPrompt(asked, lang=lang_of(row), tags=_tags(row, _PROMPT_COLUMNS, given), split_key=_optional_text(row, "split_key"))


def wrong_columns(row: Row, expected: str, hint: str | None = None) -> WrongColumns:
    found = ", ".join(map(repr, row.values)) or "none"
    what = f"{row.place}: the columns are {found}; {expected}."
    return WrongColumns(what, todo=hint) if hint else WrongColumns(what)


def _bold_prompts(path: Path, given: Mapping[str, str | None]) -> Iterator[NewPrompt]:
    """The BOLD layout, {group: {entity: [prompts]}}: the split key is group and entity, the topic the file's name."""
    document = read_document(path)
    place = Place(str(path))
    expected = "expected the BOLD layout, {group: {entity: [prompts]}}"
    if not isinstance(document, dict) or not document:
        raise WrongColumns(f"{place}: a JSON {json_type(document)}, {shortened(document)}; {expected}, or records in a .jsonl.")
    topic = path.name.removesuffix(".gz").removesuffix(".json").removesuffix("_prompt")
    for group, entities in document.items():
        if not isinstance(entities, dict):
            raise WrongColumns(f"{place}: {group!r} is a JSON {json_type(entities)}, {shortened(entities)}; {expected}.")
        for entity, prompts in entities.items():
            if not isinstance(prompts, list):
                raise WrongColumns(
                    f"{place}: {group!r}, {entity!r} is a JSON {json_type(prompts)}, {shortened(prompts)}; {expected}."
                )
            for number, prompt in enumerate(prompts, start=1):
                text = text_in(Place(f"{path}, {group!r}, {entity!r}", number, "prompt"), "it", prompt)
                tags = {"source": "bold", **_given(given), "groups": [group], "entity": entity, "topic": topic}
                yield NewPrompt([{"role": "user", "content": text}], lang="en", tags=tags, split_key=f"bold|{group}|{entity}")


# ------------------------------------------------------------------------- preferences

_PREFERENCES_EXPECTED = (
    "expected the columns chosen and rejected, and prompt (TRL's layout: all texts, or lists of messages), "
    "or chosen and rejected alone as '\\n\\nHuman: ... \\n\\nAssistant: ...' dialogues; "
    "weight, soft_label, lang and split_key may stand beside them"
)
#: Columns that our own exports add and that are computed anew.
_EXPORTED = (
    "kind",
    "review_ids",
    "row_hash",
    "prompt_hash",
    "shard",
    "split",
    "position",
    "set_id",
    "set_fingerprint",
    "policy",
    "policy_version",
    "taxonomy_version",
    "guideline_version",
    "simulated",
)
_PREFERENCE_COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "prompt_messages",
    "lang",
    "groups",
    "split_key",
    "tags",
    "weight",
    "soft_label",
    *_EXPORTED,
)


def read_preferences(path: Path) -> Preferences:
    """All usable pairs of a JSONL, CSV or Parquet file, in file order, and the records left out with a reason. Raises BadImport.

    `path` may also be the folder of a pairs export of ours: its files are checked against its manifest and read together. Left
    out: an empty answer, equal answers, an answer of several messages, a dialogue pair that differs before its last answer.
    """
    pairs: list[NewPreference] = []
    skipped: list[Skipped] = []
    for file in _exported_files(path) if path.is_dir() else [path]:
        for row in read_rows(file):
            found = _preference(row)
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                pairs.append(found)
    return Preferences(pairs, skipped)


def _exported_files(folder: Path) -> list[Path]:
    """The data files of a pairs export, each proven to be what its manifest says."""
    manifest = folder / "manifest.json"
    expected = "expected the folder of 'flagback export pairs', or one file"
    found = read_document(manifest) if manifest.is_file() else None
    if not isinstance(found, dict) or found.get("what") != "pairs" or not isinstance(found.get("files"), dict):
        raise UnusableFile(f"{folder} is a folder without a manifest of exported pairs; {expected}.", todo="name one of these.")
    files = []
    for name, facts in found["files"].items():
        file = folder / Path(name).name
        if not file.is_file():
            raise UnusableFile(f"{file} is missing, though {manifest} lists it; {expected}.", todo="export the set again.")
        with file.open("rb") as opened:
            actual = hashlib.file_digest(opened, "sha256").hexdigest()
        if actual != facts["sha256"]:
            raise UnusableFile(
                f"{file} was changed: its sha256 is {actual[:12]}…, {manifest} says {facts['sha256'][:12]}….",
                todo="export the set again, or import the one file by its name.",
            )
        if facts["rows"] is not None:
            files.append(file)
    return files


def _preference(row: Row) -> NewPreference | Skipped:
    values = row.values
    if "chosen" not in values or "rejected" not in values:
        hint = "it looks like prompts: run 'flagback import prompts FILE'." if {"prompt", "messages"} & set(values) else None
        raise wrong_columns(row, _PREFERENCES_EXPECTED, hint)
    if values.get("simulated") in (True, "true"):
        raise WrongValue(f"{row.place}: simulated is true, it is from a rehearsal's simulated reviewers; expected people's.")
    chosen, rejected = values["chosen"], values["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):
        split = _conversational(row, chosen, rejected)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        split = _plain(row, chosen, rejected)
    else:
        raise WrongValue(
            f"{row.place}: chosen is a JSON {json_type(chosen)}, {shortened(chosen)}, rejected a JSON "
            f"{json_type(rejected)}, {shortened(rejected)}; expected two strings or two lists of messages."
        )
    if isinstance(split, Skipped):
        return split
    messages, better, worse = split
    for name, text in (("chosen", better), ("rejected", worse)):
        if not text.strip():
            return Skipped(row.place, f"{name} is empty", shortened(text))
    if better == worse:
        return Skipped(row.place, "chosen and rejected are equal", shortened(better))
    return NewPreference(
        row.place,
        messages,
        better,
        worse,
        lang=lang_of(row),
        tags=_tags(row, _PREFERENCE_COLUMNS, {}),
        split_key=_optional_text(row, "split_key"),
        weight=_number(row, "weight", 0.0, 1e6, "a number above 0"),
        soft_label=_number(row, "soft_label", 0.5, 1.0, "a number from 0.5 to 1 (below 0.5 swap chosen and rejected)"),
    )


_Split = tuple[list[dict[str, str]], str, str]


def _plain(row: Row, chosen: str, rejected: str) -> _Split | Skipped:
    """Strings: the prompt as given (our own exports bring its messages along), or the dialogues parted at their last answer."""
    messages, prompt = row.values.get("prompt_messages"), row.values.get("prompt")
    if messages not in (None, ""):
        parsed = parse_json(messages, row.place) if isinstance(messages, str) else messages
        return asked_in(row.place, "prompt_messages", parsed), chosen, rejected
    if prompt not in (None, ""):
        return messages_of(text_in(row.place, "prompt", prompt)), chosen, rejected
    return _dialogues(row, chosen, rejected)


def _dialogues(row: Row, chosen: str, rejected: str) -> _Split | Skipped:
    """The hh-rlhf layout: two dialogues that are equal up to the last "\\n\\nAssistant:"."""
    label = LABELS["assistant"]
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if not text.startswith(LABELS["user"]) or label not in text:
            raise WrongValue(
                f"{row.place}: there is no prompt, and {name}, {shortened(text)}, is no dialogue; {_PREFERENCES_EXPECTED}."
            )
    before, better = chosen.rsplit(label, 1)
    if rejected.rsplit(label, 1)[0] != before:
        return Skipped(row.place, "the dialogues differ before their last answer", shortened(chosen[-60:]))
    worse = rejected.rsplit(label, 1)[1]
    if LABELS["user"] in better + worse:
        return Skipped(row.place, "the dialogue does not end with the assistant's answer", shortened(chosen[-60:]))
    turns = dialogue_turns(before + label) or []
    if any(not turn["content"].strip() for turn in turns):
        return Skipped(row.place, "a turn of the dialogue is empty", shortened(before[-60:]))
    if turns[-1]["role"] != "user":
        return Skipped(row.place, "the last turn before the answer is not the person's", shortened(before[-60:]))
    return turns, better, worse


def _conversational(row: Row, chosen: list[Any], rejected: list[Any]) -> _Split | Skipped:
    """Lists of messages: with the prompt given, or standing in front of both answers."""
    prompt = row.values.get("prompt")
    if isinstance(prompt, list):
        asked = asked_in(row.place, "prompt", prompt)
        # Some files repeat the prompt in front of each answer.
        chosen, rejected = (side[len(asked) :] if side[: len(asked)] == prompt else side for side in (chosen, rejected))
    elif len(chosen) > 1 and len(rejected) > 1:
        # The prompt is in front of both; a prompt given as a string is the text of these messages and says nothing more.
        if chosen[:-1] != rejected[:-1]:
            return Skipped(row.place, "the dialogues differ before their last answer", shortened(chosen[-1]))
        asked = asked_in(row.place, "chosen (without its last message)", chosen[:-1])
        chosen, rejected = chosen[-1:], rejected[-1:]
    elif prompt not in (None, ""):
        asked = messages_of(text_in(row.place, "prompt", prompt))
    else:
        raise wrong_columns(row, _PREFERENCES_EXPECTED)
    if len(chosen) != 1 or len(rejected) != 1:
        return Skipped(row.place, "an answer has several messages", shortened(chosen if len(chosen) != 1 else rejected))
    answers = []
    for name, side in (("chosen", chosen[0]), ("rejected", rejected[0])):
        if not isinstance(side, dict) or side.get("role") != "assistant" or not isinstance(side.get("content"), str):
            raise WrongValue(f'{row.place}: {name} holds {shortened(side)}; expected {{"role": "assistant", "content": "..."}}.')
        answers.append(cast(str, side["content"]))
    return asked, answers[0], answers[1]


# ------------------------------------------------------------------------- reference texts


def read_reference_texts(path: Path) -> Iterator[tuple[Place, str]]:
    """The texts of a .txt file (one a line) or of the column text of a .jsonl or .csv file (.gz too). Raises BadImport."""
    if kind_of(path) == "txt":
        yield from read_texts(path)
        return
    for row in read_rows(path):
        if "text" not in row.values:
            raise wrong_columns(row, "expected a column text")
        yield row.place, text_in(row.place, "text", row.values["text"])
