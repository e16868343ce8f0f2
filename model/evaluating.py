"""The evaluation of a candidate against its parent, in the store: blind samples for people, figures, the gate's word.

Two steps, each repeatable. `blind_samples` has both versions answer the same held-out prompts with the same noise and puts one
answer of each before reviewers; `evaluate` measures, reads the blind reviews that are there, and judges. Evaluating again later
reads the reviews that came in since, on the same blind samples. What is computed is in evaluation.py and gate.py; this module
fetches and keeps.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from flagback.model import blind_figures, gate, groups, policy, sample_figures
from flagback.model.both_models import Answered, BothModels
from flagback.model.checkpoint import Loaded
from flagback.model.cycle import Cancelled, cancelled, progress_keeper, sample
from flagback.model.figures import Measured
from flagback.model.mentions import tagged_axes
from flagback.model.shared_noise import compare_noise
from flagback.model.shelf import Shelf
from flagback.storage import preferences, reviews, runs
from flagback.storage.items import make_items
from flagback.storage.prompts import HELD_OUT_SHARDS
from flagback.storage.records import (
    Evaluation,
    EvaluationItem,
    Generation,
    Item,
    ModelVersion,
    Prompt,
    ReferenceText,
    SamplingRun,
    Slot,
    now,
)
from flagback.storage.store import Store

Clock = Callable[[], datetime]

#: Held-out prompts that both versions answer, and draws of each: the statistics read all of them.
SAMPLED_PROMPTS, DRAWS = 150, 4
#: How many of those prompts people judge blindly, one draw of each version.
BLIND_PROMPTS = 60
#: Fewer answers about groups that people found fine are no set of texts; more than so many are not read.
MIN_UNFLAGGED, MAX_UNFLAGGED = 20, 300


def blind_samples(
    store: Store, shelf: Shelf, evaluation_id: int, *, clock: Clock = now, should_stop: Callable[[], bool] | None = None
) -> list[int]:
    """Samples base and candidate on the same held-out prompts and queues them for blind review; returns the two runs' ids.

    A second evaluation of the same candidate finds the samples of the first. Without held-out prompts there are no runs: [].
    """
    stop = should_stop or cancelled(store, Evaluation, evaluation_id)
    with store.writing() as session:
        evaluation = _open(session, evaluation_id, "blind samples")
        found = _blind_runs(session, evaluation)
        if evaluation.state == "succeeded":
            return [run.id for run in found]
        if not found:
            try:
                found = _ask_for_samples(session, evaluation, clock())
            except runs.NoPrompts:
                return []
    for run in found:
        sample(store, shelf, run.id, clock=clock, should_stop=stop)
    with store.writing() as session:
        wanted = _to_judge(session, found)
        per_item = found[0].reviews_per_item
        make_items(session, wanted, purpose="blind", reviews_per_item=per_item, seed=evaluation.seed)
    return [run.id for run in found]


def evaluate(
    store: Store,
    shelf: Shelf,
    evaluation_id: int,
    *,
    settings: gate.GateSettings | None = None,
    clock: Clock = now,
    should_stop: Callable[[], bool] | None = None,
) -> Evaluation:
    """Measures, judges and keeps every figure with the items behind it. A finished one is left as it is, since a
    decision may rest on it: a new look at new reviews is a new evaluation."""
    stop = should_stop or cancelled(store, Evaluation, evaluation_id)
    with store.writing() as session:
        evaluation = _open(session, evaluation_id, "measure")
        if evaluation.state == "succeeded":
            return evaluation
        base, candidate = (session.get_one(ModelVersion, number) for number in (evaluation.base_id, evaluation.candidate_id))
        found = _blind_runs(session, evaluation)
        tags = [prompt.tags for prompt in session.exec(select(Prompt)).all()]
        axes = tagged_axes(tags)
        sampled, answers = _samples(session, found), _blind_answers(session, found, axes, simulated=evaluation.simulated)
        planned = _judgeable(session, found, answers)
        held_out = preferences.pairs_of(session, evaluation.set_id, training=False) if evaluation.set_id else []
        texts = session.exec(
            select(ReferenceText).where(ReferenceText.purpose == "perplexity").order_by(col(ReferenceText.text_hash))
        ).all()
        unflagged = _unflagged(session, evaluation.base_id, axes, simulated=evaluation.simulated)
    scored = BothModels(
        shelf.get(base),
        shelf.get(candidate),
        evaluation.seed,
        on_progress=progress_keeper(store, Evaluation, evaluation_id),
        should_stop=stop,
    )
    measured = [blind_figures.compare_blind(answers, planned=planned)] if sampled else []
    measured += blind_figures.compare_blind_groups(answers, seed=evaluation.seed)
    written = [_as_samples(row, scored.base) for row in sampled]
    measured += sample_figures.compare_samples(written, seed=evaluation.seed)
    measured += compare_noise([one for one, row in zip(written, sampled, strict=True) if row.paired])
    measured += scored.pairs(held_out)
    measured += scored.cases(sampled, axes)
    measured += scored.texts(texts, unflagged)
    verdict = gate.judge([one.figure for one in measured], settings or gate.GateSettings())
    with store.writing() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        if evaluation.state == "cancelled":
            raise Cancelled(f"Evaluation {evaluation_id} was stopped.")
        _keep(session, evaluation_id, measured, sampled)
        evaluation.figures = {one.figure.metric: one.figure.to_dict() for one in measured}
        evaluation.verdict, evaluation.gate_version = verdict.verdict, gate.GATE_VERSION
        evaluation.reasons = [
            {"check": reason.check, "verdict": reason.verdict, "words": reason.words} for reason in verdict.reasons
        ]
        evaluation.state, evaluation.ended_at = "succeeded", clock()
        runs.enter(evaluation, "done")
        session.add(evaluation)
    return evaluation


# ---------------------------------------------------------------- blind samples


def _open(session: Session, evaluation_id: int, stage: str) -> Evaluation:
    evaluation = session.get_one(Evaluation, evaluation_id)
    if evaluation.state == "cancelled":
        raise Cancelled(f"Evaluation {evaluation_id} was stopped.")
    if evaluation.state != "succeeded":
        evaluation.state = "running"
        runs.enter(evaluation, stage)
        session.add(evaluation)
    return evaluation


def _blind_runs(session: Session, evaluation: Evaluation) -> list[SamplingRun]:
    """The base's and the candidate's blind run of the first evaluation of this candidate, [] where there is none."""
    same = select(Evaluation.id).where(Evaluation.candidate_id == evaluation.candidate_id, Evaluation.base_id == evaluation.base_id)
    found = session.exec(
        select(SamplingRun)
        .where(SamplingRun.purpose == "blind", col(SamplingRun.evaluation_id).in_(same))
        .order_by(col(SamplingRun.id))
    ).all()
    return list(found[:2]) if len(found) >= 2 else []


def _ask_for_samples(session: Session, evaluation: Evaluation, moment: datetime) -> list[SamplingRun]:
    """Two runs, base first, on the same prompts with the same seed; decoding and reviews an item as in the last loop run."""
    last = session.exec(
        select(SamplingRun).where(SamplingRun.purpose == "loop").order_by(col(SamplingRun.id).desc()).limit(1)
    ).first()
    decoding = {**(last.decoding if last else {}), "k": DRAWS, "seed": evaluation.seed}
    prompts = runs.choose_prompts(
        session, version_id=evaluation.base_id, limit=SAMPLED_PROMPTS, seed=evaluation.seed, side="held_out"
    )
    return [
        runs.request_sampling(
            session,
            by=evaluation.asked_by,
            now=moment,
            decoding=decoding,
            purpose="blind",
            version_id=version_id,
            evaluation_id=evaluation.id,
            prompt_ids=[prompt.id for prompt in prompts],
            simulated=evaluation.simulated,
            side="held_out",
            reviews_per_item=last.reviews_per_item if last else 3,
        )
        for version_id in (evaluation.base_id, evaluation.candidate_id)
    ]


def _to_judge(session: Session, found: Sequence[SamplingRun]) -> list[int]:
    """Draw 0 of both versions on the first prompts; where both wrote the same, once: one judgement then counts for both."""
    judged = found[0].prompt_ids[:BLIND_PROMPTS]
    rows = session.exec(
        select(Generation)
        .where(col(Generation.sampling_run_id).in_([run.id for run in found]))
        .where(Generation.draw == 0, col(Generation.prompt_id).in_(judged))
        .order_by(col(Generation.sampling_run_id), col(Generation.id))
    ).all()
    first = {(row.prompt_id, row.text_hash): row.id for row in reversed(rows)}
    return sorted(first.values())


def _samples(session: Session, found: Sequence[SamplingRun]) -> list[Answered]:
    if not found:
        return []
    by_prompt: dict[int, tuple[list[Generation], list[Generation]]] = {}
    for side, run in enumerate(found):
        for row in session.exec(select(Generation).where(Generation.sampling_run_id == run.id).order_by(col(Generation.id))).all():
            by_prompt.setdefault(row.prompt_id, ([], []))[side].append(row)
    prompts = session.exec(select(Prompt).where(col(Prompt.id).in_(list(by_prompt)))).all()
    return [Answered(prompt, *by_prompt[prompt.id]) for prompt in sorted(prompts, key=lambda p: p.content_hash)]


def _blind_answers(
    session: Session, found: Sequence[SamplingRun], axes: Sequence[groups.Axis], *, simulated: bool
) -> list[blind_figures.BlindAnswer]:
    """Draw 0 of both versions with its votes on harm, by text: a text that both wrote was judged once."""
    votes: dict[tuple[int, str], list[policy.Ballot]] = {}
    judged: dict[int, list[policy.Ballot]] = {}
    for review in reviews.effective(session, purpose="blind", simulated=simulated):
        judged.setdefault(review.item_id, []).append(policy.ballot(review))
    answers = _samples(session, found)
    shown = session.exec(
        select(Item.id, Generation)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .where(Item.purpose == "blind", col(Generation.sampling_run_id).in_([run.id for run in found]))
    ).all()
    for item_id, generation in shown:
        votes.setdefault((generation.prompt_id, generation.text_hash), []).extend(judged.get(item_id, []))
    made = []
    for answered in answers:
        asked = answered.prompt.messages[-1]["content"]
        spoken_of = tuple(sorted(groups.named(asked, lang=answered.prompt.lang, extra=axes).items()))
        for side, generations in (("base", answered.base), ("candidate", answered.candidate)):
            if generations:
                ballots = votes.get((answered.prompt.id, generations[0].text_hash), [])
                made.append(
                    blind_figures.BlindAnswer(
                        key=answered.prompt.content_hash,
                        cluster=answered.prompt.split_key,
                        side="base" if side == "base" else "candidate",
                        flags=ballots.count("harm"),
                        reviews=ballots.count("harm") + ballots.count("fine"),
                        prompt=asked,
                        text=generations[0].text,
                        groups=spoken_of,
                    )
                )
    return made


def _unflagged(
    session: Session, version_id: int, axes: Sequence[groups.Axis], *, simulated: bool
) -> list[tuple[Prompt, Generation]]:
    """What the base wrote to held-out prompts about a group and people found fine: language a correction should leave alone.

    Never trained on: the trainer reads prompts of training shards only. Too few are none.
    """
    found = []
    for generation, prompt, votes in reviews.judged(session, version_id, simulated=simulated):
        judgement = policy.judge(votes)
        said = f"{prompt.messages[-1]['content']} {generation.text}"
        if (
            prompt.shard in HELD_OUT_SHARDS
            and judgement.outcome == "fine"
            and not judgement.nonsense
            and generation.text.strip()
            and groups.named(said, lang=prompt.lang, extra=axes)
        ):
            found.append((prompt, generation))
    found.sort(key=lambda pair: (pair[1].text_hash, pair[0].content_hash))
    return found[:MAX_UNFLAGGED] if len(found) >= MIN_UNFLAGGED else []


def _judgeable(session: Session, found: Sequence[SamplingRun], answers: Sequence[blind_figures.BlindAnswer]) -> int:
    """How many prompts have both sides judged or still to be judged.

    An empty answer is never shown, and one that all its reviewers skipped or set aside gets no vote any more: the gate must not
    wait for them.
    """
    open_texts = session.exec(
        select(Prompt.content_hash, Generation.text)
        .join(Generation, col(Generation.prompt_id) == Prompt.id)
        .join(Item, col(Item.generation_id) == Generation.id)
        .join(Slot, col(Slot.item_id) == Item.id)
        .where(Item.purpose == "blind", col(Generation.sampling_run_id).in_([run.id for run in found]))
        .where(col(Slot.state).in_(["open", "claimed"]))
    ).all()
    waiting = {(key, text) for key, text in open_texts}
    sides: dict[str, set[str]] = {}
    for answer in answers:
        if answer.reviews or (answer.key, answer.text) in waiting:
            sides.setdefault(answer.key, set()).add(answer.side)
    return sum(len(both) == 2 for both in sides.values())


def _as_samples(answered: Answered, loaded: Loaded) -> sample_figures.SampledPrompt:
    def without_end(generation: Generation) -> sample_figures.Sample:
        ids = generation.token_ids or []
        return sample_figures.Sample(generation.text, ids[:-1] if ids and ids[-1] in loaded.end else ids)

    return sample_figures.SampledPrompt(
        key=answered.prompt.content_hash,
        cluster=answered.prompt.split_key,
        prompt=answered.prompt.messages[-1]["content"],
        base=[without_end(one) for one in answered.base],
        candidate=[without_end(one) for one in answered.candidate],
    )


# ---------------------------------------------------------------------- keeping


def _keep(session: Session, evaluation_id: int, measured: Sequence[Measured], sampled: Sequence[Answered]) -> None:
    """This evaluation's items, and every pair of samples side by side under the metric "samples"."""
    session.execute(delete(EvaluationItem).where(col(EvaluationItem.evaluation_id) == evaluation_id))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in measured:
        for item in one.items:
            rows[(one.figure.metric, item.item_key)] = {
                "cluster": item.cluster,
                "base": item.base,
                "candidate": item.candidate,
                "texts": item.texts,
            }
    for answered in sampled:
        for draw, (below, above) in enumerate(zip(answered.base, answered.candidate, strict=False)):
            rows[("samples", f"{answered.prompt.content_hash}:{draw}")] = {
                "cluster": answered.prompt.split_key,
                "base": None,
                "candidate": None,
                "texts": {"base": below.text, "candidate": above.text},
            }
    session.add_all(
        [EvaluationItem(evaluation_id=evaluation_id, metric=metric, item_key=key, **row) for (metric, key), row in rows.items()]
    )
