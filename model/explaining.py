"""Explains a correction from the store: scores its pairs and flagged answers under parent and candidate, and keeps the result.

The way between `explanation.py`, which knows no store, and the records. What the parent made of an answer is mostly kept from the
training (`reference.py`); what the candidate makes of it is kept for the next correction, whose parent it may be.
"""

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session, col, select

from flagback.model import checkpoint, dialogue
from flagback.model.cycle import Clock, cancelled, staged
from flagback.model.explanation import Explanation, FlaggedMove, PairMove, Side, from_dict, to_dict
from flagback.model.groups import Axis
from flagback.model.layout import choose_layout
from flagback.model.lesson import answer_ids, training_pair
from flagback.model.mentions import mentions, tagged_axes
from flagback.model.recipe import LayoutName, Recipe
from flagback.model.reference import KeptReference, kept_logps, tokenizer_fingerprint
from flagback.model.shelf import Shelf
from flagback.model.trees import Tree
from flagback.storage import preferences
from flagback.storage.artifacts import Artifacts
from flagback.storage.preferences import PairRow
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.records import CorrectionRun, Generation, ModelVersion, PolicyScore, PreferencePair, Prompt, now
from flagback.storage.store import Store

FILE = "explanation.json"
#: Answers of one prompt that are laid out together at most.
TOGETHER = 16
#: From this harm on an answer counts as flagged: more likely harmful than not.
FLAGGED = 0.5

#: Token ids of a prompt and of one of its answers.
Scored = tuple[tuple[int, ...], tuple[int, ...]]


class NotTrained(Exception):
    """The run has no candidate, so there is nothing to explain."""


class UnknownCorrection(Exception):
    """A number that names no correction."""


class _Pair(NamedTuple):
    row: PairRow
    position: int
    chosen_id: int
    rejected_id: int
    tags: Mapping[str, str]


class _Flagged(NamedTuple):
    generation: Generation
    prompt: Prompt
    harm: float


def explain(store: Store, shelf: Shelf, run_id: int, *, clock: Clock = now, should_stop: Callable[[], bool] | None = None) -> str:
    """The step of a correction that explains it; returns the artifact's sha256. Does so once."""
    with staged(store, run_id, "explain", clock):
        return explained(store, shelf, run_id, should_stop=should_stop or cancelled(store, CorrectionRun, run_id))


def explained(store: Store, shelf: Shelf, run_id: int, *, should_stop: Callable[[], bool] = lambda: False) -> str:
    """The sha256 of a correction's explanation, which is made and kept where it has none. Raises NotTrained, UnknownCorrection."""
    with store.reading() as session:
        run = _trained(session, run_id)
        if run.explanation_sha256 is not None:
            return run.explanation_sha256
        parent, candidate = (session.get_one(ModelVersion, number) for number in (run.parent_id, run.candidate_id))
        assert run.set_id is not None, "a candidate was trained on a set"  # nosec B101 # the order of steps is ours
        # What told the run when to stop was neither learnt nor held out.
        aside = Recipe(**run.recipe).shards_aside
        pairs = [one for one in _pairs(session, run.set_id) if one.row.shard not in aside]
        flagged = [one for one in _flagged(session, run.set_id) if one.prompt.shard not in aside]
        axes = tagged_axes(session.exec(select(Prompt.tags)).all())
    found = _measured(run, (shelf.get(parent), parent), (shelf.get(candidate), candidate), pairs, flagged, axes, shelf, should_stop)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_text(json.dumps(to_dict(found), indent=1, sort_keys=True))
        sha256 = shelf.artifacts.put(Path(folder))
    with store.writing() as session:
        kept = session.get_one(CorrectionRun, run_id)
        kept.explanation_sha256 = sha256
        session.add(kept)
    return sha256


def read(artifacts: Artifacts, sha256: str) -> Explanation:
    """An explanation as it was kept. Raises MissingArtifact and DamagedArtifact."""
    artifacts.verify(sha256)
    return from_dict(json.loads((artifacts.path(sha256) / FILE).read_text()))


def _trained(session: Session, run_id: int) -> CorrectionRun:
    run = session.get(CorrectionRun, run_id)
    if run is None:
        raise UnknownCorrection(f"There is no correction {run_id}; list them with 'flagback runs'.")
    if run.candidate_id is None:
        raise NotTrained(
            f"Correction {run_id} is {run.state} (stage {run.stage}) and has no candidate, so there is nothing to explain; "
            "see 'flagback runs'."
        )
    if run.teacher:
        raise NotTrained(
            f"Correction {run_id} is a distillation: it learnt what {run.teacher['name']} wrote and no pairs, so there is none to "
            "explain; its evaluation compares it with its parent."
        )
    return run


def _pairs(session: Session, set_id: int) -> list[_Pair]:
    places = session.exec(
        select(PreferencePair.position, PreferencePair.chosen_id, PreferencePair.rejected_id, Prompt.tags)
        .join(Prompt, col(Prompt.id) == PreferencePair.prompt_id)
        .where(PreferencePair.set_id == set_id)
        .order_by(col(PreferencePair.position))
    ).all()
    return [_Pair(row, *place) for row, place in zip(preferences.pairs_of(session, set_id), places, strict=True)]


def _flagged(session: Session, set_id: int) -> list[_Flagged]:
    """What the set's policy judged harmful; the rejected answers of a set that was brought in."""
    judged = session.exec(
        select(Generation, Prompt, PolicyScore.harm)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .join(PolicyScore, col(PolicyScore.generation_id) == Generation.id)
        .where(PolicyScore.set_id == set_id, PolicyScore.harm > FLAGGED)
        .order_by(col(Generation.id))
    ).all()
    if judged or session.exec(select(PolicyScore.id).where(PolicyScore.set_id == set_id)).first() is not None:
        return [_Flagged(*row) for row in judged]
    rejected = session.exec(
        select(Generation, Prompt)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Generation.id).in_(select(PreferencePair.rejected_id).where(PreferencePair.set_id == set_id)))
        .order_by(col(Generation.id))
    ).all()
    return [_Flagged(generation, prompt, 1.0) for generation, prompt in rejected]


def _measured(
    run: CorrectionRun,
    parent: tuple[checkpoint.Loaded, ModelVersion],
    candidate: tuple[checkpoint.Loaded, ModelVersion],
    pairs: Sequence[_Pair],
    flagged: Sequence[_Flagged],
    axes: Sequence[Axis],
    shelf: Shelf,
    should_stop: Callable[[], bool],
) -> Explanation:
    loaded = parent[0]
    asked = [training_pair(pair.row, loaded) for pair in pairs]
    alone = [
        (
            tuple(dialogue.prompt_ids(loaded.tokenizer, one.prompt.messages, loaded.template)),
            tuple(answer_ids(one.generation.token_ids, one.generation.text, loaded)),
        )
        for one in flagged
    ]
    wanted = [(tuple(pair.prompt_ids), tuple(ids)) for pair in asked for ids in (pair.chosen_ids, pair.rejected_ids)]
    longest = loaded.context or math.inf
    trees = _trees([row for row in (*wanted, *alone) if len(row[0]) + len(row[1]) <= longest and all(row)])
    layout = choose_layout(loaded.model, trees).layout if trees else "padded"
    before, after = (_logps(made, version, trees, layout, shelf, should_stop) for made, version in (parent, candidate))
    moves: list[PairMove] = []
    for pair, chosen, rejected in zip(pairs, wanted[::2], wanted[1::2], strict=True):
        if chosen in before and rejected in before:
            moves.append(
                PairMove(
                    position=pair.position,
                    row_hash=pair.row.row_hash,
                    kind=pair.row.kind,
                    side=_side(pair.row.shard),
                    groups=_groups([*_said(pair.row.messages), pair.row.rejected_text], pair.row.lang, axes),
                    weight=pair.row.weight,
                    soft_label=pair.row.soft_label,
                    chosen_id=pair.chosen_id,
                    rejected_id=pair.rejected_id,
                    chosen_before=before[chosen],
                    chosen_after=after[chosen],
                    rejected_before=before[rejected],
                    rejected_after=after[rejected],
                )
            )
    fallen = [
        FlaggedMove(
            one.generation.id,
            _side(one.prompt.shard),
            _groups([*_said(one.prompt.messages), one.generation.text], one.prompt.lang, axes),
            one.harm,
            before[row],
            after[row],
        )
        for one, row in zip(flagged, alone, strict=True)
        if row in before
    ]
    left_out = len(pairs) - len(moves) + len(flagged) - len(fallen)
    return Explanation(run.id, run.parent_id, candidate[1].id, tuple(moves), tuple(fallen), left_out)


def _trees(rows: Sequence[Scored]) -> list[Tree]:
    """Every prompt with all of its answers, each once; large families are cut."""
    families: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for prompt, answer in rows:
        families.setdefault(prompt, {})[answer] = None
    return [
        Tree(prompt, tuple(list(answers)[start : start + TOGETHER]))
        for prompt, answers in families.items()
        for start in range(0, len(answers), TOGETHER)
    ]


def _logps(
    loaded: checkpoint.Loaded,
    version: ModelVersion,
    trees: Sequence[Tree],
    layout: LayoutName,
    shelf: Shelf,
    should_stop: Callable[[], bool],
) -> dict[Scored, float]:
    """Every answer's log-probability under a version."""
    kept = KeptReference(shelf.artifacts.root, weights=version.fingerprint, tokenizer=tokenizer_fingerprint(loaded.tokenizer))
    found, _ = kept_logps(loaded.model, trees, layout, kept, should_stop=should_stop)
    return {
        (tree.prompt, answer): value
        for tree, values in zip(trees, found, strict=True)
        for answer, value in zip(tree.answers, values, strict=True)
    }


def _said(messages: Sequence[Mapping[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def _side(shard: int) -> Side:
    return "learnt" if shard in TRAINING_SHARDS else "held_out"


def _groups(texts: Sequence[str], lang: str, axes: Sequence[Axis]) -> tuple[str, ...]:
    named = mentions("\n".join(texts), lang=lang, extra=axes).groups
    return tuple(f"{axis}: {group}" for axis, found in named.items() for group in found)
