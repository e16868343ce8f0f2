"""Exports of frozen sets: preference pairs, and answers without a counterpart, each in TRL's format for it.

Knows queries and columns; the folder, its card and its manifest are those of `export`. Pages by rising position: a frozen set never
changes, so that pages of many transactions fit together.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import Select
from sqlalchemy import select as columns_select
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from flagback.storage import counting
from flagback.storage.card import FLAG, FRACTION, MESSAGES, NUMBER, NUMBERS, TEXT, Column, Format
from flagback.storage.export import (
    PAGE,
    ExportReport,
    NothingToExport,
    Output,
    TellsGroups,
    UnknownFormat,
    check_format,
    source_of,
    written_aside,
)
from flagback.storage.plain import plain_text
from flagback.storage.preferences import still_shown
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.quarantine import withdrawn_generations
from flagback.storage.records import Generation, PreferencePair, PreferenceSet, Prompt, UnpairedAnswer
from flagback.storage.store import Store
from flagback.storage.writers import json_text

Rows = Literal["pairs", "unpaired"]


class _Kind(NamedTuple):
    """One kind of rows that a set holds."""

    #: What they are called in the manifest, on the card, and in messages.
    what: Rows
    name: str
    called: str
    #: Of whether they are conversational.
    columns: Callable[[bool], tuple[Column, ...]]
    #: Set -> joined columns in the set's order, and the column of their positions.
    wanted: Callable[[int], tuple[Select[Any], Any]]
    #: The columns that hold answers.
    answers: tuple[str, ...]
    about: str


def export_set(
    store: Store,
    folder: Path,
    *,
    what: Rows = "pairs",
    set_id: int | None = None,
    format: Format,
    conversational: bool = False,
    spreadsheet: bool = False,
    groups_may_show: bool = False,
) -> ExportReport:
    """Writes what a frozen set (the newest of people's, unless named) holds of a kind, train and heldout apart: its pairs in TRL's
    preference format, or its answers without a counterpart in TRL's unpaired one.

    What rests on answers left out since the set was frozen is not written, and counted. A set whose policy weighs groups of
    reviewers is written only where `groups_may_show`: which answers it calls harmful, and how much a row weighs, follow from who
    is of which group, so that beside exported reviews it names a group's members. Raises ExportRefused.
    """
    kind = _KINDS[what]
    check_format(format, spreadsheet)
    if conversational and format == "csv":
        raise UnknownFormat("CSV has no lists of messages; ask for jsonl or parquet, or for the plain layout.")
    frozen = _set(store, set_id)
    if frozen.arguments.get("groups") and not groups_may_show:
        raise TellsGroups(
            f"Set {frozen.id} was made by {frozen.policy!r}, which weighs groups of reviewers: beside exported reviews its "
            f"{kind.called} tell who is of which group, and people agreed to that for training only. Export a set that weighs none "
            f"('flagback correct --policy majority' freezes one), or, once those people have agreed, 'flagback export {kind.what} "
            "--groups-may-show'."
        )
    if kind is _UNPAIRED and not frozen.n_unpaired:
        raise NothingToExport(
            f"Set {frozen.id} has pairs only; 'flagback correct --unpaired' freezes a set with answers without a counterpart too."
        )
    if kind is _PAIRS and not frozen.n_pairs:
        raise NothingToExport(f"Set {frozen.id} has no pair; what it has is written by 'flagback export unpaired'.")
    with written_aside(folder) as aside:
        output = Output(aside, kind.columns(conversational), format, spreadsheet=spreadsheet)
        with store.reading() as session:
            gone = counting.left_out(session)
        left_out = 0
        try:
            for whole in _pages(store, *kind.wanted(frozen.id)):
                page = [found for found in whole if gone.isdisjoint(found["review_ids"])]
                left_out += len(whole) - len(page)
                rows = [_row(found, frozen, kind.answers, conversational=conversational) for found in page]
                for split in ("train", "heldout"):
                    output.write(split, [row for row in rows if row["split"] == split])
                output.sources.update(source_of(found["tags"]) for found in page)
        finally:
            output.close()
        if left_out and not output.rows:
            raise NothingToExport(
                f"All {left_out:,} {kind.called} of set {frozen.id} rest on answers that were left out since it was frozen; a "
                "correction that starts now freezes one without them ('flagback correct'). 'flagback set-aside list' says who left "
                "out what."
            )
        about = _about(kind, frozen, left_out, conversational=conversational)
        facts = {"preference_set": [frozen.fingerprint], "origin": [frozen.origin], "policy": [frozen.policy]}
        written, manifest = output.finish(what=kind.what, name=kind.name, about=about, facts=facts)
    versions = {key: sorted(values) for key, values in output.found.items()} | {"preference_set": [frozen.fingerprint]}
    return ExportReport(kind.what, str(folder), format, written, versions, left_out, manifest)


def _set(store: Store, set_id: int | None) -> PreferenceSet:
    with store.reading() as session:
        if set_id is not None:
            frozen = session.get(PreferenceSet, set_id)
        else:
            newest = select(PreferenceSet).where(col(PreferenceSet.simulated).is_(False)).order_by(col(PreferenceSet.id).desc())
            frozen = session.exec(newest.limit(1)).first()
        known = session.exec(select(PreferenceSet.id).order_by(col(PreferenceSet.id).desc()).limit(10)).all()
    if frozen is None:
        there = f"the newest are {', '.join(map(str, sorted(known)))}" if known else "there is none yet"
        wanted = "made by people" if set_id is None else set_id
        raise NothingToExport(
            f"There is no preference set {wanted}; {there}. Sets are frozen by 'flagback correct' and by "
            "'flagback import preferences FILE'."
        )
    return frozen


def _pages(store: Store, wanted: Select[Any], position: Any) -> Iterator[list[dict[str, Any]]]:
    last = -1
    while True:
        with store.reading() as session:
            rows = session.connection().execute(wanted.where(position > last).order_by(position).limit(PAGE))
            page = [dict(row) for row in rows.mappings()]
        if not page:
            return
        yield page
        last = page[-1]["position"]


def _of_prompt() -> list[Any]:
    """What is read of a row's prompt."""
    return [
        col(Prompt.messages).label("messages"),
        col(Prompt.lang).label("lang"),
        col(Prompt.tags).label("tags"),
        col(Prompt.split_key).label("split_key"),
        col(Prompt.shard).label("shard"),
        col(Prompt.content_hash).label("prompt_hash"),
    ]


def _row(found: dict[str, Any], frozen: PreferenceSet, answers: Sequence[str], *, conversational: bool) -> dict[str, Any]:
    """An exported row of the columns that were found."""
    row = found | {
        "tags": json_text(found["tags"]),
        "split": "train" if found["shard"] in TRAINING_SHARDS else "heldout",
        "set_fingerprint": frozen.fingerprint,
        "policy": frozen.policy,
        "policy_version": frozen.policy_version,
        "taxonomy_version": frozen.taxonomy_version,
        "guideline_version": frozen.guideline_version,
        "simulated": frozen.simulated,
    }
    messages = row.pop("messages")
    if conversational:
        told = {name: [{"role": "assistant", "content": found[name]}] for name in answers}
        return row | {"prompt": messages} | told
    return row | {"prompt": plain_text(messages), "prompt_messages": json_text(messages)}


def _about(kind: _Kind, frozen: PreferenceSet, left_out: int, *, conversational: bool) -> list[str]:
    layout = "conversational (lists of messages)" if conversational else "plain (texts)"
    about = [
        kind.about.format(layout=layout),
        "Answers are exactly as stored: a leading space is kept and no end token is written (trainers add theirs).",
        "Train on the split train and measure on heldout: no family of prompts stands in both.",
    ]
    if not conversational:
        about.append(
            "\nA prompt that is one user message stands as it is. A dialogue is written in Human and Assistant turns "
            "and ends in the label of the answer; the column prompt_messages tells the two apart."
        )
    if frozen.arguments.get("groups"):
        about.append(
            f"\n**Keep these {kind.called} apart from any export of reviews:** their policy weighs groups of reviewers, so that "
            "both together tell who is of which group."
        )
    if left_out:
        about.append(
            f"\n{left_out:,} {kind.called} of the set are not here: answers they rest on were left out since it was frozen. The "
            "fingerprint is that of the whole set."
        )
    if frozen.simulated:
        about.append("\n**The reviewers are simulated: a rehearsal's rules, no people.**")
    return about


def _asked(*, conversational: bool) -> Column:
    return Column(
        "prompt",
        MESSAGES if conversational else TEXT,
        "what is answered"
        if conversational
        else "what is answered: one user message as it is, a dialogue in Human and Assistant turns up to the answer's label",
    )


def _about_its_prompt(*, conversational: bool) -> tuple[Column, ...]:
    return (
        Column("lang", TEXT, "BCP 47, und where unknown"),
        Column("tags", TEXT, "all tags of the prompt (groups, source, licence, ...), as JSON"),
        *(() if conversational else (Column("prompt_messages", TEXT, "the prompt's messages with roles, as JSON"),)),
        Column("split_key", TEXT, "the prompt's family: families never stand on both sides of the split"),
        Column("shard", NUMBER, "0-69 train, 70-99 heldout; from the split key, fixed at import"),
        Column("split", TEXT, "train or heldout"),
        Column("prompt_hash", TEXT, "sha256 of messages and language"),
    )


#: Of the set that a row is in.
_OF_ITS_SET = (
    Column("position", NUMBER, "place in the set, by row hash"),
    Column("review_ids", NUMBERS, "the reviews it came from"),
    Column("set_fingerprint", TEXT, "Merkle root over the set's row hashes"),
    Column("policy", TEXT, "how votes became pairs"),
    Column("policy_version", TEXT, "its version"),
    Column("taxonomy_version", TEXT, "which categories were offered"),
    Column("guideline_version", TEXT, "which guideline the reviewers had"),
    Column("simulated", FLAG, "true for a rehearsal's simulated reviewers"),
)


def pair_columns(*, conversational: bool) -> tuple[Column, ...]:
    """The columns of a pairs export: TRL's three first, as texts or as lists of messages."""
    kind = MESSAGES if conversational else TEXT
    return (
        _asked(conversational=conversational),
        Column("chosen", kind, "the better answer exactly as stored: a leading space is part of it, an end token is not"),
        Column("rejected", kind, "the worse answer, likewise"),
        Column("weight", FRACTION, "how much the pair counts; TRL's trainers ignore it"),
        Column("soft_label", FRACTION, "probability that chosen is the better one, 0.5-1; TRL's trainers ignore it"),
        Column("kind", TEXT, "contrast = flagged against unflagged; rewrite = flagged against a reviewer's wording; imported"),
        *_about_its_prompt(conversational=conversational),
        Column("row_hash", TEXT, "salted sha256 of the pair: the leaf of the set's fingerprint"),
        *_OF_ITS_SET,
    )


def unpaired_columns(*, conversational: bool) -> tuple[Column, ...]:
    """The columns of an export of answers without a counterpart: TRL's three first."""
    kind = MESSAGES if conversational else TEXT
    return (
        _asked(conversational=conversational),
        Column("completion", kind, "the answer exactly as stored: a leading space is part of it, an end token is not"),
        Column("label", FLAG, "true where it was judged fine, false where harmful"),
        Column("weight", FRACTION, "how much the answer counts; TRL's trainers ignore it"),
        *_about_its_prompt(conversational=conversational),
        Column("row_hash", TEXT, "salted sha256 of the answer: a leaf of the set's fingerprint"),
        *_OF_ITS_SET,
    )


def _pairs_wanted(set_id: int) -> tuple[Select[Any], Any]:
    chosen, rejected = aliased(Generation), aliased(Generation)
    names = ("position", "kind", "weight", "soft_label", "review_ids", "row_hash")
    wanted = (
        columns_select(
            *(getattr(PreferencePair, name).label(name) for name in names),
            *_of_prompt(),
            col(chosen.text).label("chosen"),
            col(rejected.text).label("rejected"),
        )
        .join(Prompt, col(Prompt.id) == col(PreferencePair.prompt_id))
        .join(chosen, col(chosen.id) == col(PreferencePair.chosen_id))
        .join(rejected, col(rejected.id) == col(PreferencePair.rejected_id))
        .where(col(PreferencePair.set_id) == set_id, still_shown())
    )
    return wanted, col(PreferencePair.position)


def _unpaired_wanted(set_id: int) -> tuple[Select[Any], Any]:
    wanted = (
        columns_select(
            *(getattr(UnpairedAnswer, name).label(name) for name in ("position", "weight", "review_ids", "row_hash")),
            (~col(UnpairedAnswer.harmful)).label("label"),
            *_of_prompt(),
            col(Generation.text).label("completion"),
        )
        .join(Prompt, col(Prompt.id) == col(UnpairedAnswer.prompt_id))
        .join(Generation, col(Generation.id) == col(UnpairedAnswer.generation_id))
        .where(col(UnpairedAnswer.set_id) == set_id, col(UnpairedAnswer.generation_id).not_in(withdrawn_generations()))
    )
    return wanted, col(UnpairedAnswer.position)


_PAIRS = _Kind(
    "pairs",
    "Flagback preference pairs",
    "pairs",
    lambda conversational: pair_columns(conversational=conversational),
    _pairs_wanted,
    ("chosen", "rejected"),
    "Preference pairs for DPO and its relatives in TRL's {layout} layout, the prompt always explicit, exported by Flagback.",
)
_UNPAIRED = _Kind(
    "unpaired",
    "Flagback unpaired answers",
    "answers",
    lambda conversational: unpaired_columns(conversational=conversational),
    _unpaired_wanted,
    ("completion",),
    "Answers judged alone, without a counterpart, for KTO and its relatives in TRL's {layout} layout of unpaired preferences, "
    "exported by Flagback.",
)
_KINDS: dict[Rows, _Kind] = {"pairs": _PAIRS, "unpaired": _UNPAIRED}
