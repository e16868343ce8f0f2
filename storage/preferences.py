"""Preference sets: frozen, fingerprinted, and all that a correction run reads. Knows pairs and hashes; knows no policy.

How to recompute a fingerprint from an export. Every row is one pair, or an answer without one (`unpaired`). A pair's row hash
is sha256 of the UTF-8 bytes of the JSON array `[salt, prompt_hash, chosen_hash, rejected_hash, soft_label, weight]` with no
spaces, where `salt` is the set's, `prompt_hash` is the prompt's content hash, `chosen_hash` and `rejected_hash` are the sha256
(hex) of the UTF-8 texts, and the last two are decimal strings as Python's repr(float) writes them ("1.0", "0.625"). Rows are
ordered by row hash, equal ones kept. The fingerprint is the Merkle tree hash of RFC 6962, section 2.1, over the 32-byte row
hashes in that order: a leaf is sha256(0x00 || row hash), a node sha256(0x01 || left || right), the left part holding the
largest power of two that is smaller than the number of leaves.

The salt makes a published row hash useless for guessing texts; it is the caller's, ":simulated" added for simulated sets, so that
people's and simulated pairs never share a set.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from flagback.storage import guidelines, unpaired
from flagback.storage.prompts import AT_A_TIME, HELD_OUT_SHARDS, TRAINING_SHARDS
from flagback.storage.quarantine import withdrawn_generations
from flagback.storage.records import FinishReason, Generation, PairKind, PreferencePair, PreferenceSet, Prompt, now
from flagback.storage.store import insert_all, insert_missing
from flagback.storage.taxonomy import TAXONOMY_VERSION
from flagback.storage.unpaired import NewUnpaired

#: Of the sets that this installation freezes and imports. It never changes: equal pairs have equal fingerprints.
SALT = "flagback:1:1"


class NewPair(NamedTuple):
    """A pair to freeze: for one prompt, rather `chosen` than `rejected`."""

    kind: PairKind
    prompt_id: int
    #: Generations of that prompt.
    chosen_id: int
    rejected_id: int
    #: Probability that chosen is truly the better one, 0.5-1.
    soft_label: float
    #: Over 0.
    weight: float
    #: The reviews it came from.
    review_ids: list[int]


class PairRow(NamedTuple):
    """A frozen pair with everything a trainer or an export needs."""

    #: Hex; the order of the set, and the pair's name.
    row_hash: str
    kind: PairKind
    messages: list[dict[str, str]]
    lang: str
    #: The prompt's content hash.
    prompt_hash: str
    split_key: str
    shard: int
    chosen_text: str
    rejected_text: str
    chosen_ids: list[int] | None
    rejected_ids: list[int] | None
    chosen_finish: FinishReason
    rejected_finish: FinishReason
    soft_label: float
    weight: float
    review_ids: list[int]
    #: Its place in the set, and the generations of its texts.
    position: int
    chosen_id: int
    rejected_id: int


class NoPairs(Exception):
    """There is no pair to freeze or to learn from."""


class UnusablePair(ValueError):
    """A pair that cannot teach anything; nothing of its set is stored."""


class UnknownSet(Exception):
    """No preference set has this number."""


def merkle_root(leaves: Sequence[bytes]) -> str:
    """The Merkle tree hash of RFC 6962, section 2.1, in hex, over the leaves in the order given. Raises NoPairs for none."""
    if not leaves:
        raise NoPairs("A set of no pairs has no fingerprint; have reviewers flag some answers first.")
    # Nodes of one level from left to right, an odd one carried up unpaired: the same tree as the recursive definition.
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        paired = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0].hex()


def row_hash_of(salt: str, prompt_hash: str, chosen_hash: str, rejected_hash: str, *, soft_label: float, weight: float) -> str:
    """One pair's row hash in hex, as the module's docstring defines it."""
    row = [salt, prompt_hash, chosen_hash, rejected_hash, repr(float(soft_label)), repr(float(weight))]
    return hashlib.sha256(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def freeze(
    session: Session,
    pairs: Sequence[NewPair],
    *,
    alone: Sequence[NewUnpaired] = (),
    origin: str,
    policy: str,
    policy_version: str,
    arguments: Mapping[str, Any],
    salt: str,
    simulated: bool = False,
) -> PreferenceSet:
    """Stores the pairs, and answers judged `alone`, as a set, or returns the set that holds exactly these already.

    Their order does not matter. Raises NoPairs for none, and UnusablePair for texts that are empty or equal,
    generations of another prompt, or a weight or label out of range.
    """
    if not pairs and not alone:
        raise NoPairs("There is no pair to freeze; have reviewers flag some answers, or import preferences, first.")
    full_salt = f"{salt}:simulated" if simulated else salt
    prompts = _prompt_hashes(session, {pair.prompt_id for pair in pairs} | {one.prompt_id for one in alone})
    answers = {number for pair in pairs for number in (pair.chosen_id, pair.rejected_id)}
    texts = _texts(session, answers | {one.generation_id for one in alone})
    rows, singles = _hashed(pairs, prompts, texts, full_salt), _singles(alone, prompts, texts, full_salt)
    fingerprint = merkle_root([bytes.fromhex(name) for name in sorted(row[0] for row in (*rows, *singles))])
    made = insert_missing(
        session,
        "preference_set",
        [
            {
                "fingerprint": fingerprint,
                "salt": full_salt,
                "origin": origin,
                "policy": policy,
                "policy_version": policy_version,
                "taxonomy_version": TAXONOMY_VERSION,
                "guideline_version": str(guidelines.newest(session)),
                "arguments": dict(arguments),
                "n_pairs": len(rows),
                "n_unpaired": len(singles),
                "simulated": simulated,
                "created_at": now(),
            }
        ],
        returning=["id"],
    )
    if made:
        insert_all(
            session,
            "preference_pair",
            [
                pair._asdict()
                | {
                    "set_id": made[0].id,
                    "position": position,
                    "row_hash": row_hash,
                    "weight": float(pair.weight),
                    "soft_label": float(pair.soft_label),
                    "review_ids": sorted(pair.review_ids),
                }
                for position, (row_hash, pair) in enumerate(rows)
            ],
        )
        insert_all(
            session,
            "unpaired_answer",
            [
                one._asdict()
                | {
                    "set_id": made[0].id,
                    "position": position,
                    "row_hash": row_hash,
                    "weight": float(one.weight),
                    "review_ids": sorted(one.review_ids),
                }
                for position, (row_hash, one) in enumerate(singles)
            ],
        )
    return session.exec(select(PreferenceSet).where(PreferenceSet.fingerprint == fingerprint)).one()


def held_in(frozen: PreferenceSet) -> str:
    """What a set was frozen with, in words."""
    return f"{frozen.n_pairs:,} pairs" + (f" and {frozen.n_unpaired:,} answers without one" if frozen.n_unpaired else "")


def _hashed(
    pairs: Sequence[NewPair], prompts: Mapping[int, str], texts: Mapping[int, "_Text"], salt: str
) -> list[tuple[str, NewPair]]:
    """(row hash, pair) of pairs, in the order of their set. Raises UnusablePair."""
    rows = []
    for pair in pairs:
        _check(pair, prompts, texts)
        chosen, rejected = texts[pair.chosen_id].text_hash, texts[pair.rejected_id].text_hash
        name = row_hash_of(salt, prompts[pair.prompt_id], chosen, rejected, soft_label=pair.soft_label, weight=pair.weight)
        rows.append((name, pair))
    return sorted(rows, key=lambda row: (row[0], row[1].kind, sorted(row[1].review_ids)))


def _singles(
    alone: Sequence[NewUnpaired], prompts: Mapping[int, str], texts: Mapping[int, "_Text"], salt: str
) -> list[tuple[str, NewUnpaired]]:
    """(row hash, answer) of answers judged alone, in the order of their set. Raises UnusablePair."""
    rows = []
    for one in alone:
        text = texts.get(one.generation_id)
        flaw = "names a row that does not exist" if text is None else unpaired.flaw_of(one, text.text, text.prompt_id)
        if text is None or flaw is not None:
            raise UnusablePair(f"The answer of generation {one.generation_id}, without a pair for prompt {one.prompt_id}, {flaw}.")
        name = unpaired.row_hash_of(salt, prompts[one.prompt_id], text.text_hash, harmful=one.harmful, weight=one.weight)
        rows.append((name, one))
    return sorted(rows, key=lambda row: (row[0], sorted(row[1].review_ids)))


def sizes(session: Session, set_ids: Iterable[int] | None = None) -> dict[int, tuple[int, int]]:
    """(pairs to learn from, pairs kept to test on) of these sets, or all, that have any, by the side of the split their prompt
    stands on."""
    wanted = [] if set_ids is None else [col(PreferencePair.set_id).in_(list(set_ids))]
    training = col(Prompt.shard).in_(TRAINING_SHARDS)
    rows = session.exec(
        select(PreferencePair.set_id, training, func.count())
        .join(Prompt, col(Prompt.id) == PreferencePair.prompt_id)
        .where(still_shown(), *wanted)
        .group_by(col(PreferencePair.set_id), training)
    ).all()
    found: dict[int, tuple[int, int]] = {}
    for set_id, learnt, count in rows:
        before = found.get(set_id, (0, 0))
        found[set_id] = (count, before[1]) if learnt else (before[0], count)
    return found


def pairs_of(session: Session, set_id: int, *, training: bool | None = None) -> list[PairRow]:
    """The pairs of `each_pair`, all at once. Raises UnknownSet."""
    return list(each_pair(session, set_id, training=training))


def check_set(session: Session, set_id: int) -> None:
    """Raises UnknownSet where there is no such set."""
    if session.get(PreferenceSet, set_id) is None:
        there = session.exec(select(PreferenceSet.id).order_by(col(PreferenceSet.id).desc()).limit(5)).all()
        named = f"the newest are {', '.join(map(str, there))}" if there else "there is none yet: 'flagback import preferences FILE'"
        raise UnknownSet(f"There is no preference set {set_id}; {named}.")


def each_pair(session: Session, set_id: int, *, training: bool | None = None) -> Iterator[PairRow]:
    """A set's pairs in its order: all, those of training shards (True), or those held out (False). Raises UnknownSet.

    Read some at a time, so that a large set is never in memory whole. Pairs with a text that was withdrawn since are left out.
    """
    check_set(session, set_id)
    query = _with_texts(set_id).limit(AT_A_TIME)
    if training is not None:
        query = query.where(col(Prompt.shard).in_(TRAINING_SHARDS if training else HELD_OUT_SHARDS))
    last = -1
    while found := session.exec(query.where(col(PreferencePair.position) > last)).all():
        yield from (_row_of(*one) for one in found)
        last = found[-1][0].position


def pairs_at(session: Session, set_id: int, positions: Iterable[int]) -> dict[int, PairRow | None]:
    """A set's pairs at some positions, in the order asked for; None for one with a text that was withdrawn since."""
    asked = list(positions)
    rows = session.exec(_with_texts(set_id).where(col(PreferencePair.position).in_(asked))).all()
    found = {row[0].position: _row_of(*row) for row in rows}
    return {position: found.get(position) for position in asked}


def _with_texts(set_id: int) -> Select[PreferencePair, Prompt, Generation, Generation]:
    """A set's pairs in its order with their prompts, the chosen answers and the rejected ones; none whose text was withdrawn."""
    chosen, rejected = aliased(Generation), aliased(Generation)
    return (
        select(PreferencePair, Prompt, chosen, rejected)
        .join(Prompt, col(Prompt.id) == PreferencePair.prompt_id)
        .join(chosen, col(chosen.id) == PreferencePair.chosen_id)
        .join(rejected, col(rejected.id) == PreferencePair.rejected_id)
        .where(PreferencePair.set_id == set_id, still_shown())
        .order_by(col(PreferencePair.position))
    )


def _row_of(pair: PreferencePair, prompt: Prompt, better: Generation, worse: Generation) -> PairRow:
    return PairRow(
        row_hash=pair.row_hash,
        kind=pair.kind,
        messages=prompt.messages,
        lang=prompt.lang,
        prompt_hash=prompt.content_hash,
        split_key=prompt.split_key,
        shard=prompt.shard,
        chosen_text=better.text,
        rejected_text=worse.text,
        chosen_ids=better.token_ids,
        rejected_ids=worse.token_ids,
        chosen_finish=better.finish_reason,
        rejected_finish=worse.finish_reason,
        soft_label=pair.soft_label,
        weight=pair.weight,
        review_ids=pair.review_ids,
        position=pair.position,
        chosen_id=pair.chosen_id,
        rejected_id=pair.rejected_id,
    )


def still_shown() -> ColumnElement[bool]:
    """The condition that neither text of a pair was withdrawn since its set was frozen: no set gives such a pair out again."""
    gone = withdrawn_generations()
    return and_(col(PreferencePair.chosen_id).not_in(gone), col(PreferencePair.rejected_id).not_in(gone))


def _prompt_hashes(session: Session, ids: set[int]) -> dict[int, str]:
    wanted = sorted(ids)
    return {
        row: content
        for start in range(0, len(wanted), AT_A_TIME)
        for row, content in session.exec(
            select(Prompt.id, Prompt.content_hash).where(col(Prompt.id).in_(wanted[start : start + AT_A_TIME]))
        )
    }


class _Text(NamedTuple):
    prompt_id: int
    text: str
    text_hash: str


def _texts(session: Session, ids: set[int]) -> dict[int, _Text]:
    wanted = sorted(ids)
    return {
        row: _Text(prompt, text, text_hash)
        for start in range(0, len(wanted), AT_A_TIME)
        for row, prompt, text, text_hash in session.exec(
            select(Generation.id, Generation.prompt_id, Generation.text, Generation.text_hash).where(
                col(Generation.id).in_(wanted[start : start + AT_A_TIME])
            )
        )
    }


def _check(pair: NewPair, prompts: Mapping[int, str], texts: Mapping[int, _Text]) -> None:
    named = f"The pair of prompt {pair.prompt_id} (chosen generation {pair.chosen_id}, rejected {pair.rejected_id})"
    if pair.prompt_id not in prompts or pair.chosen_id not in texts or pair.rejected_id not in texts:
        raise UnusablePair(f"{named} names a row that does not exist.")
    chosen, rejected = texts[pair.chosen_id], texts[pair.rejected_id]
    if chosen.prompt_id != pair.prompt_id or rejected.prompt_id != pair.prompt_id:
        raise UnusablePair(f"{named} mixes prompts: its generations answer prompts {chosen.prompt_id} and {rejected.prompt_id}.")
    if not chosen.text.strip() or not rejected.text.strip():
        raise UnusablePair(f"{named} has an empty text; silence must not be taught or punished.")
    if chosen.text == rejected.text:
        raise UnusablePair(f"{named} has the same text on both sides; there is nothing to prefer.")
    if not (math.isfinite(pair.weight) and pair.weight > 0):
        raise UnusablePair(f"{named} has weight {pair.weight}; expected a number over 0.")
    if not 0.5 <= pair.soft_label <= 1:
        raise UnusablePair(f"{named} has soft label {pair.soft_label}; expected 0.5 to 1.")
