"""Explains a correction from the store: scores its pairs and flagged answers under parent and candidate, and keeps the result.

The way between `explanation.py`, which knows no store, and the records. What the parent made of an answer is mostly kept from the
training (`reference.py`); what the candidate makes of it is kept for the next correction, whose parent it may be. What is long lies
on the disk meanwhile (`spool`).
"""

import math
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from sqlmodel import Session, col, select

from flagback.model import checkpoint, dialogue
from flagback.model.cycle import Clock, cancelled, progress_keeper, staged
from flagback.model.explanation import FILE, Explanation, FlaggedMove, PairMove, Side, flagged_from, json_lines, pair_from
from flagback.model.groups import Axis
from flagback.model.layout import choose_layout
from flagback.model.lesson import answer_ids, training_pair
from flagback.model.mentions import mentions, tagged_axes
from flagback.model.progress import Progress, Scored, untold
from flagback.model.recipe import LayoutName, Recipe
from flagback.model.reference import KeptReference, kept_logps, tokenizer_fingerprint
from flagback.model.shelf import Shelf
from flagback.model.spool import Spool, View
from flagback.model.trees import Ids, Tree, grown
from flagback.storage import preferences
from flagback.storage.preferences import PairRow
from flagback.storage.prompts import AT_A_TIME, TRAINING_SHARDS
from flagback.storage.quarantine import withdrawn_generations
from flagback.storage.records import (
    CorrectionRun,
    Generation,
    ModelVersion,
    PolicyScore,
    PreferencePair,
    Prompt,
    UnpairedAnswer,
    now,
)
from flagback.storage.store import Store

#: Answers of one prompt that are laid out together at most.
TOGETHER = 16
#: From this harm on an answer counts as flagged: more likely harmful than not.
FLAGGED = 0.5


class NotTrained(Exception):
    """The run has no candidate, so there is nothing to explain."""


class UnknownCorrection(Exception):
    """A number that names no correction."""


class _Flagged(NamedTuple):
    """An answer that was judged harmful, as it stands in the store."""

    generation_id: int
    token_ids: list[int] | None
    text: str
    messages: list[dict[str, str]]
    lang: str
    shard: int
    harm: float


class _Row(NamedTuple):
    """Token ids of a prompt and of one of its answers."""

    prompt: list[int]
    answer: list[int]


Kind = TypeVar("Kind", PairRow, _Flagged)


def explain(store: Store, shelf: Shelf, run_id: int, *, clock: Clock = now, should_stop: Callable[[], bool] | None = None) -> str:
    """The step of a correction that explains it; returns the artifact's sha256. Does so once."""
    with staged(store, run_id, "explain", clock):
        return explained(
            store,
            shelf,
            run_id,
            on_progress=progress_keeper(store, CorrectionRun, run_id),
            should_stop=should_stop or cancelled(store, CorrectionRun, run_id),
        )


def explained(
    store: Store,
    shelf: Shelf,
    run_id: int,
    *,
    on_progress: Progress = untold,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """The sha256 of a correction's explanation, which is made and kept where it has none. Raises NotTrained, UnknownCorrection."""
    with store.reading() as session:
        run = _trained(session, run_id)
        if run.explanation_sha256 is not None:
            return run.explanation_sha256
        parent, candidate = (session.get_one(ModelVersion, number) for number in (run.parent_id, run.candidate_id))
        assert run.set_id is not None, "a candidate was trained on a set"  # nosec B101 # the order of steps is ours
        # What told the run when to stop was neither learnt nor held out.
        aside = Recipe(**run.recipe).shards_aside
        pairs = _spooled(PairRow, (row for row in preferences.each_pair(session, run.set_id) if row.shard not in aside))
        flagged = _spooled(_Flagged, (one for one in _flagged(session, run.set_id) if one.shard not in aside))
        axes = tagged_axes(session.exec(select(Prompt.tags)).all())
    found = _measured(
        run,
        (shelf.get(parent), parent),
        (shelf.get(candidate), candidate),
        pairs,
        flagged,
        axes,
        shelf,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / FILE).open("w", encoding="ascii") as file:
            file.writelines(json_lines(found))
        sha256 = shelf.artifacts.put(Path(folder))
    with store.writing() as session:
        kept = session.get_one(CorrectionRun, run_id)
        kept.explanation_sha256 = sha256
        session.add(kept)
    return sha256


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


def _spooled(kind: type[Kind], rows: Iterator[Kind]) -> Spool[Kind]:
    spool = Spool(kind)
    for row in rows:
        spool.append(row._asdict())
    return spool


def _flagged(session: Session, set_id: int) -> Iterator[_Flagged]:
    """What the set's policy judged harmful, or has learnt from as such; the rejected answers of a set that was brought in."""
    if session.exec(select(PolicyScore.id).where(PolicyScore.set_id == set_id)).first() is not None:
        # Where groups count alike an answer can be harmful that fewer than half of all would flag.
        alone = select(UnpairedAnswer.generation_id).where(UnpairedAnswer.set_id == set_id, col(UnpairedAnswer.harmful))
        judged = (
            select(Generation, Prompt, PolicyScore.harm)
            .join(Prompt, col(Prompt.id) == Generation.prompt_id)
            .join(PolicyScore, col(PolicyScore.generation_id) == Generation.id)
            .where(PolicyScore.set_id == set_id, col(Generation.id).not_in(withdrawn_generations()))
            .where((col(PolicyScore.harm) > FLAGGED) | col(Generation.id).in_(alone))
            .order_by(col(Generation.id))
        )
        for generation, prompt, harm in session.exec(judged.execution_options(yield_per=AT_A_TIME)):
            yield _flagged_row(generation, prompt, harm)
        return
    rejected = (
        select(Generation, Prompt)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Generation.id).in_(select(PreferencePair.rejected_id).where(PreferencePair.set_id == set_id)))
        .where(col(Generation.id).not_in(withdrawn_generations()))
        .order_by(col(Generation.id))
    )
    for generation, prompt in session.exec(rejected.execution_options(yield_per=AT_A_TIME)):
        yield _flagged_row(generation, prompt, 1.0)


def _flagged_row(generation: Generation, prompt: Prompt, harm: float) -> _Flagged:
    return _Flagged(generation.id, generation.token_ids, generation.text, prompt.messages, prompt.lang, prompt.shard, harm)


def _measured(
    run: CorrectionRun,
    parent: tuple[checkpoint.Loaded, ModelVersion],
    candidate: tuple[checkpoint.Loaded, ModelVersion],
    pairs: Sequence[PairRow],
    flagged: Sequence[_Flagged],
    axes: Sequence[Axis],
    shelf: Shelf,
    *,
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> Explanation:
    loaded = parent[0]
    rows = Spool(_Row)  # of every pair the chosen and the rejected answer, and behind them what was judged alone
    for pair in pairs:
        asked = training_pair(pair, loaded)
        rows.append({"prompt": asked.prompt_ids, "answer": asked.chosen_ids})
        rows.append({"prompt": asked.prompt_ids, "answer": asked.rejected_ids})
    for one in flagged:
        prompt = dialogue.prompt_ids(loaded.tokenizer, one.messages, loaded.template)
        rows.append({"prompt": prompt, "answer": answer_ids(one.token_ids, one.text, loaded)})
    longest = loaded.context or math.inf
    fit = array("q", (place for place, row in enumerate(rows) if all(row) and sum(map(len, row)) <= longest))

    def fitting(number: int) -> tuple[Ids, Ids]:
        row = rows[fit[number]]
        return tuple(row.prompt), tuple(row.answer)

    trees, places = grown(View(len(fit), fitting), TOGETHER)
    layout = choose_layout(loaded.model, trees).layout if trees else "padded"

    def half(turn: int) -> Scored:
        # What was kept from before counts as done.
        return lambda done, new: on_progress("explain", (turn + 1) * len(trees) - new + done, 2 * len(trees))

    found = [
        _logps(made, version, trees, layout, shelf, on_scored=half(turn), should_stop=should_stop)
        for turn, (made, version) in enumerate((parent, candidate))
    ]
    number = dict(zip(fit, places, strict=True))

    def moved(row: int) -> tuple[float, float]:
        return found[0][number[row]], found[1][number[row]]

    moves, fallen = Spool(pair_from), Spool(flagged_from)
    for place, pair in enumerate(pairs):
        chosen, rejected = 2 * place, 2 * place + 1
        if chosen in number and rejected in number:
            move = PairMove(
                pair.position,
                pair.row_hash,
                pair.kind,
                _side(pair.shard),
                _groups([*_said(pair.messages), pair.rejected_text], pair.lang, axes),
                pair.weight,
                pair.soft_label,
                pair.chosen_id,
                pair.rejected_id,
                *moved(chosen),
                *moved(rejected),
            )
            moves.append(move._asdict())
    for place, one in enumerate(flagged, start=2 * len(pairs)):
        if place in number:
            groups = _groups([*_said(one.messages), one.text], one.lang, axes)
            fallen.append(FlaggedMove(one.generation_id, _side(one.shard), groups, one.harm, *moved(place))._asdict())
    left_out = len(pairs) - len(moves) + len(flagged) - len(fallen)
    return Explanation(run.id, run.parent_id, candidate[1].id, moves, fallen, left_out)


def _logps(
    loaded: checkpoint.Loaded,
    version: ModelVersion,
    trees: Sequence[Tree],
    layout: LayoutName,
    shelf: Shelf,
    *,
    on_scored: Scored,
    should_stop: Callable[[], bool],
) -> Sequence[float]:
    """Every answer's log-probability under a version, tree by tree."""
    kept = KeptReference(shelf.artifacts.root, weights=version.fingerprint, tokenizer=tokenizer_fingerprint(loaded.tokenizer))
    found, _ = kept_logps(loaded.model, trees, layout, kept, on_scored=on_scored, should_stop=should_stop)
    return array("d", (value for values in found for value in values))


def _said(messages: Sequence[Mapping[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def _side(shard: int) -> Side:
    return "learnt" if shard in TRAINING_SHARDS else "held_out"


def _groups(texts: Sequence[str], lang: str, axes: Sequence[Axis]) -> tuple[str, ...]:
    named = mentions("\n".join(texts), lang=lang, extra=axes).groups
    return tuple(f"{axis}: {group}" for axis, found in named.items() for group in found)
