"""Live outputs: logged answers of models in use come in, and some are drawn for people to review.

A batch is the answers that came in under one name; their generations have the origin "live:<name>". It came whole, from a file, and
a number was drawn of it; or it grows by requests, of which each answer is drawn with the same chance. What is drawn follows a hash
of seed, batch and content, never the order: the same answers again change nothing. Equal answers to equal prompts of one batch
count once. Whether an answer may teach a correction is decided where sets are made, by its version: one of unknown origin never
does. Knows no HTTP; what becomes of a batch is live_batches.py's business.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.generations import NewGeneration, add_generations, storable
from flagback.storage.invisible import blank
from flagback.storage.items import make_items
from flagback.storage.logged import NewOutput, Outputs, read_outputs
from flagback.storage.prompts import AT_A_TIME, BadPrompt, NewPrompt, add_prompts, check_storable, content_hash, text_hash
from flagback.storage.reading import BadImport, TooLong, WrongValue, read_rows, shortened
from flagback.storage.records import Generation, ModelVersion, OutputBatch, Prompt
from flagback.storage.store import Store, one_at_a_time

#: Answers of one file: one transaction, during which SQLite takes no other writer (docs/log.md has how long).
MOST_ANSWERS = 20_000
#: How many refused rows a report names one by one; all are counted.
LISTED = 50
SHORTEST_CONSENT, LONGEST_CONSENT = 10, 1_000
#: Reviews wanted of each drawn answer where nothing else is said.
REVIEWS_PER_ITEM = 3

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NoConsent(BadImport):
    """Nothing says that the people whose prompts these are agreed to have them read."""


class OtherBatch(BadImport):
    """A batch of this name came from somewhere else, or under other terms."""


class _OnlyLooked(Exception):
    """Ends the transaction of a look without a trace."""


class Terms(NamedTuple):
    """Under what a batch comes in."""

    #: The batch's name.
    name: str
    #: What people agreed to, in words.
    consent: str
    #: A login, or "key <name>".
    by: str
    #: How many of the new answers to draw; None where each is drawn with the chance `share`.
    number: int | None = None
    #: 0-1.
    share: float | None = None
    #: Decides which are drawn, with their content.
    seed: int = 0
    reviews_per_item: int = REVIEWS_PER_ITEM


@dataclass(frozen=True)
class OutputReport:
    """What became of some logged answers; each is in exactly one of added, duplicates and refused."""

    batch: str
    #: Answers that came.
    rows: int
    #: New ones, which are kept.
    added: int
    #: Equal to another of the same batch: same prompt, same answer.
    duplicates: int
    #: How many of the new ones people will be asked to review.
    drawn: int
    #: How many were not taken in, by reason.
    refused: dict[str, int] = field(default_factory=dict)
    #: The first of them: "FILE, line 7: reason"; never what they hold.
    refused_rows: list[str] = field(default_factory=list)
    #: Columns that were not taken in.
    columns_left: list[str] = field(default_factory=list)
    #: Prompts that were new to the store.
    prompts_added: int = 0


def import_outputs(
    store: Store, path: Path, terms: Terms, *, keep_contacts: bool = False, check: bool = False, now: datetime
) -> OutputReport:
    """Takes a file's answers in as one batch, in one transaction; with `check` only says what would be taken in.

    The same file again adds nothing. Raises BadImport.
    """
    found = read_outputs(read_rows(path), now=now, keep_contacts=keep_contacts)
    if len(found.taken) + len(found.refused) > MOST_ANSWERS:
        raise TooLong(
            f"{path} holds {len(found.taken) + len(found.refused):,} answers; expected at most {MOST_ANSWERS:,} in one file.",
            todo="split it, and import each part under a name of its own.",
        )
    report = None
    try:
        with store.writing() as session:
            report = take_in(session, found, terms, where=str(path), now=now)
            if check:
                raise _OnlyLooked
    except _OnlyLooked:
        pass
    assert report is not None  # nosec B101 # for the type checker: take_in returned or raised
    return report


def check_terms(terms: Terms, *, where: str) -> None:
    """Raises NoConsent or WrongValue for terms that no answer can come in under."""
    words = terms.consent.strip()
    if not SHORTEST_CONSENT <= len(words) <= LONGEST_CONSENT or blank(words):
        raise NoConsent(
            f"{where}: the consent is {shortened(terms.consent)}; expected in {SHORTEST_CONSENT} to {LONGEST_CONSENT:,} characters "
            'what the people whose prompts these are agreed to, such as "users agreed in the terms of 2026-10-01 that answers are '
            'read by reviewers".',
            todo="declare it; without that no answer is taken in.",
        )
    check_storable(consent=terms.consent, by=terms.by)
    if not _NAME.fullmatch(terms.name):
        raise WrongValue(
            f"{where}: the batch is named {shortened(terms.name)}; expected 1 to 64 letters, digits, dots, dashes or underscores.",
            todo="choose another name.",
        )
    if (terms.number is None) == (terms.share is None) or (terms.number or 0) < 0 or not 0 <= (terms.share or 0) <= 1:
        raise WrongValue(
            f"{where}: {terms.number} answers or a share of {terms.share} are to be reviewed; expected a number of 0 or more, or a "
            "share from 0 to 1.",
            todo="correct it.",
        )
    if terms.reviews_per_item < 1:
        raise WrongValue(f"{where}: {terms.reviews_per_item} reviews of each are wanted; expected at least 1.", todo="correct it.")


def take_in(session: Session, found: Outputs, terms: Terms, *, where: str, now: datetime) -> OutputReport:
    """Keeps some answers in the caller's transaction, draws of the new ones, and notes the batch. Raises BadImport.

    Nothing of a refused answer is written, not even a prompt. Where nothing is new, nothing is written.
    """
    check_terms(terms, where=where)
    one_at_a_time(session, f"live outputs {terms.name}")
    batch = _agreeing(session, terms, where=where)
    _check_versions(session, found.taken)
    distinct = _distinct(found.taken)
    prompts_before = _prompt_ids(session, [prompt for prompt, _ in distinct])
    known = _known(session, terms.name, list(prompts_before.values()))
    fresh = {key: one for key, one in distinct.items() if (prompts_before.get(key[0], 0), key[1]) not in known}
    if fresh and batch is not None and batch.review_share is None:
        raise OtherBatch(
            f"{where}: {len(fresh):,} of its answers are not in the batch {terms.name!r}, which came in whole on "
            f"{batch.created_at:%Y-%m-%d}; expected the same answers again, or another name.",
            todo="choose another name.",
        )
    report = OutputReport(
        batch=terms.name,
        rows=len(found.taken) + len(found.refused),
        added=len(fresh),
        duplicates=len(found.taken) - len(fresh),
        drawn=0,
        refused=dict(sorted(Counter(one.reason for one in found.refused).items())),
        refused_rows=[f"{one.place}: {one.reason}" for one in found.refused[:LISTED]],
        columns_left=found.columns_left,
    )
    return report if not fresh else _keep(session, fresh, batch, terms, report, now=now)


#: (prompt's content hash, answer's text hash)
_Key = tuple[str, str]


def _keep(
    session: Session,
    fresh: Mapping[_Key, NewOutput],
    batch: OutputBatch | None,
    terms: Terms,
    report: OutputReport,
    *,
    now: datetime,
) -> OutputReport:
    """Writes new answers, their items and their batch."""
    origin = f"live:{terms.name}"
    outputs = list(fresh.values())
    try:
        added = add_prompts(session, [NewPrompt(one.messages, one.lang, one.tags | {"source": origin}) for one in outputs])
    except BadPrompt as error:
        raise WrongValue(f"{outputs[error.index].place}: {error.what}") from error
    ids = add_generations(
        session,
        [
            NewGeneration(
                prompt_id,
                one.answer,
                "given",
                "logged",
                origin,
                version_id=one.version,
                created_at=one.written_at or now,
            )
            for prompt_id, one in zip(added.ids, outputs, strict=True)
        ],
    )
    by_key = dict(zip(fresh, ids, strict=True))
    drawn = make_items(
        session,
        [by_key[key] for key in drawn_of(list(fresh), terms)],
        purpose="loop",
        reviews_per_item=terms.reviews_per_item,
        seed=terms.seed,
    )
    if batch is None:
        batch = OutputBatch(
            name=terms.name,
            consent=terms.consent.strip(),
            brought_by=terms.by,
            n_answers=0,
            n_drawn=0,
            review_share=terms.share,
            created_at=now,
        )
    batch.n_answers += len(fresh)
    batch.n_drawn += drawn
    session.add(batch)
    session.flush()
    done = OutputReport(**asdict(report) | {"drawn": drawn, "prompts_added": added.added})
    counts = {name: getattr(done, name) for name in ("rows", "added", "duplicates", "drawn", "refused")}
    audit.record(
        session, actor=terms.by, action="import outputs", details={"batch": terms.name, "consent": batch.consent} | counts, now=now
    )
    return done


def drawn_of(keys: Sequence[_Key], terms: Terms) -> list[_Key]:
    """Those of some new answers that people will review: the lowest lots, or those under the share. The order never matters."""
    lots = {key: _lot(terms, key) for key in keys}
    if terms.number is None:
        return [key for key in keys if lots[key] < (terms.share or 0.0) * 2**64]
    return sorted(keys, key=lambda key: (lots[key], key))[: terms.number]


def _lot(terms: Terms, key: _Key) -> int:
    """0 to 2^64 - 1. With the batch's name: else what was drawn of one batch would be drawn of every other."""
    return int.from_bytes(hashlib.sha256(f"{terms.seed}:{terms.name}:{key[0]}:{key[1]}".encode()).digest()[:8], "big")


def _distinct(outputs: Sequence[NewOutput]) -> dict[_Key, NewOutput]:
    """Each prompt and answer once, whatever their order: as the newest version wrote it, and of those the earliest."""
    found: dict[_Key, NewOutput] = {}
    for one in outputs:
        key = (content_hash(one.messages, one.lang), text_hash(storable(one.answer)))
        if key not in found or _preferred(one) < _preferred(found[key]):
            found[key] = one
    return found


def _preferred(one: NewOutput) -> tuple[int, bool, float]:
    return (-(one.version or 0), one.written_at is None, one.written_at.timestamp() if one.written_at else 0.0)


def _agreeing(session: Session, terms: Terms, *, where: str) -> OutputBatch | None:
    """The batch of this name, None before there is one. Raises OtherBatch where these answers cannot join it."""
    batch = session.exec(select(OutputBatch).where(OutputBatch.name == terms.name)).first()
    if batch is None:
        return None
    if batch.withdrawn_at is not None:
        raise OtherBatch(
            f"{where}: the batch {terms.name!r} was taken back from review on {batch.withdrawn_at:%Y-%m-%d}; nothing joins it.",
            todo="choose another name.",
        )
    said: dict[str, Any] = {"consent": terms.consent.strip()}
    was: dict[str, Any] = {"consent": batch.consent}
    if batch.review_share is not None:
        said |= {"brought by": terms.by, "review share": terms.share}
        was |= {"brought by": batch.brought_by, "review share": batch.review_share}
    for name, value in said.items():
        if value != was[name]:
            raise OtherBatch(
                f"{where}: {name} is {shortened(value)}, but {shortened(was[name])} in the batch {terms.name!r} so far; expected "
                "the same for the whole of a batch.",
                todo="choose another name for what comes under other terms.",
            )
    return batch


def _check_versions(session: Session, outputs: Sequence[NewOutput]) -> None:
    known = set(session.exec(select(ModelVersion.id)).all())
    for one in outputs:
        if one.version is not None and one.version not in known:
            raise WrongValue(
                f"{one.place}: version is {one.version}, which this installation does not have; expected one of "
                f"{', '.join(map(str, sorted(known)[-20:])) or 'none yet'} ('flagback versions'), or nothing for another model."
            )


def _prompt_ids(session: Session, hashes: Sequence[str]) -> dict[str, int]:
    """The prompts that are there already, by content hash."""
    wanted = sorted(set(hashes))
    return {
        content: row
        for start in range(0, len(wanted), AT_A_TIME)
        for content, row in session.exec(
            select(Prompt.content_hash, Prompt.id).where(col(Prompt.content_hash).in_(wanted[start : start + AT_A_TIME]))
        ).all()
    }


def _known(session: Session, name: str, prompt_ids: Sequence[int]) -> set[tuple[int, str]]:
    """(prompt, text hash) of the batch's answers to some prompts."""
    wanted = sorted(set(prompt_ids))
    return {
        (prompt, text)
        for start in range(0, len(wanted), AT_A_TIME)
        for prompt, text in session.exec(
            select(Generation.prompt_id, Generation.text_hash).where(
                col(Generation.prompt_id).in_(wanted[start : start + AT_A_TIME]), Generation.origin == f"live:{name}"
            )
        ).all()
    }
