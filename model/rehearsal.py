"""A rehearsal: the whole loop on the embedded model in a home of its own, with *simulated* reviewers. Answers "does my installation
work, and how many reviews will I need?"

Every row it writes is marked simulated and lives in a temporary home; nothing here ever meets people's reviews. The simulated
reviewers know a random half of the harmful phrases, so that harm in the other half (`harm_unseen`) is a fair test of what was
learnt. Grammar-based rates (the embedded model's oracle) exist here only; the gate never sees them.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sqlmodel import col, select

from flagback.model import cycle, dialogue, embedded, evaluating, sampling
from flagback.model.checkpoint import Loaded
from flagback.model.shelf import Shelf
from flagback.storage import claims, reviews, runs, slots, versions
from flagback.storage.answers import Answer
from flagback.storage.artifacts import Artifacts
from flagback.storage.prompts import HELD_OUT_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import Evaluation, Generation, ModelVersion, Prompt, SamplingPurpose, now
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION

#: none = the reviewers as described; shuffled = their verdicts dealt out at random; replay-only = no preference term at all.
Control = Literal["none", "shuffled", "replay-only"]

#: Completions of each prompt sampled for review.
DRAWS = 4


@dataclass(frozen=True)
class Plan:
    """What is rehearsed."""

    reviewers: int = 10
    reviews_per_item: int = 3
    #: Chance that a simulated reviewer's verdict is turned round to a flag on an answer without harm.
    false_flags: float = 0.05
    #: Share of reviewers who alone see some harm (`flagback.model.minority_rehearsal`); 0: all see alike.
    minority: float = 0.0
    rounds: int = 1
    seed: int = 0
    control: Control = "none"
    #: Prompts sampled in a round.
    prompts: int = 600
    #: Held-out completions behind every grammar-based rate.
    completions: int = 2400
    #: Settings of the correction's recipe other than its defaults.
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.reviews_per_item <= self.reviewers:
            raise ValueError(
                f"{self.reviews_per_item} reviews an item by {self.reviewers} reviewers; expected 1 to {self.reviewers}, since "
                "nobody reviews an item twice."
            )
        if not 0.0 <= self.false_flags <= 1.0:
            raise ValueError(f"false_flags is {self.false_flags}; expected a share between 0 and 1.")
        if not 0.0 <= self.minority < 0.5:
            raise ValueError(f"minority is {self.minority}; expected a share from 0 to under a half.")
        if self.minority and (self.rounds != 1 or self.control != "none"):
            raise ValueError(f"A minority is rehearsed in one round without a control; got {self.rounds}, {self.control!r}.")
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; expected 1 or more.")


def rehearse(plan: Plan, *, home: Path, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Runs the loop and returns {"rounds": [{"base", "candidate", "pairs", "seconds", "gate"}, ...], "simulated": True, "plan"}."""
    store = Store(f"sqlite:///{home / 'rehearsal.db'}")
    try:
        return Rehearsal(plan, store, Shelf(Artifacts(home / "artifacts")), home, say).run()
    finally:
        store.close()


class Rehearsal:
    """One rehearsal's state: its store, its reviewers and what they know."""

    #: What everything it writes is marked as.
    simulated = True

    def __init__(self, plan: Plan, store: Store, shelf: Shelf, home: Path, say: Callable[[str], None]) -> None:
        self.plan, self.store, self.shelf, self.home, self.say = plan, store, shelf, home, say
        draw = random.Random(f"known phrases {plan.seed}")  # nosec B311 # seeded: a rehearsal can be repeated
        codes = sorted(phrase.code for phrase in embedded.PHRASES)
        self.known = frozenset(draw.sample(codes, len(codes) // 2))
        self.held_out = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) in HELD_OUT_SHARDS]
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        self._prepare()
        rounds = [self._round(number) for number in range(self.plan.rounds)]
        shown = {
            name: getattr(self.plan, name) for name in ("reviewers", "reviews_per_item", "false_flags", "rounds", "seed", "control")
        }
        return {"simulated": True, "plan": shown, "rounds": rounds}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self.say(stage)
        began = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - began, 2)

    def _prepare(self) -> None:
        self.store.migrate()
        cycle.add_model(self.store, "embedded", by="rehearsal")
        with self.store.writing() as session:
            add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in embedded.prompts()])
            embedded.add_reference_texts(session)

    def _round(self, number: int) -> dict[str, Any]:
        self.seconds = {}
        seed = self.plan.seed * 1000 + number
        with self._timed("sample"):
            with self.store.writing() as session:
                run = runs.request_sampling(
                    session,
                    by="rehearsal",
                    now=now(),
                    limit=self.plan.prompts,
                    decoding={"k": DRAWS, "seed": seed},
                    reviews_per_item=self.plan.reviews_per_item,
                    simulated=self.simulated,
                )
            cycle.sample(self.store, self.shelf, run.id)
        with self._timed("review"):
            self._review("loop", seed)
        with self.store.writing() as session:
            correction = runs.request_correction(
                session, by="rehearsal", now=now(), seed=seed, recipe=self._recipe(), simulated=self.simulated
            )
        with self._timed("freeze"):
            frozen = cycle.freeze(self.store, correction.id)
        with self._timed("train"):
            cycle.train(self.store, self.shelf, correction.id, work=self.home / "work")
            candidate = cycle.register(self.store, self.shelf, correction.id)
            evaluation_id = cycle.finish(self.store, correction.id, by="rehearsal")
        with self._timed("blind samples"):
            evaluating.blind_samples(self.store, self.shelf, evaluation_id)
        with self._timed("blind review"):
            self._review("blind", seed)
        with self._timed("evaluate"):
            evaluation = evaluating.evaluate(self.store, self.shelf, evaluation_id)
        with self.store.reading() as session:
            base = versions.current(session)
        with self._timed("measure"):
            rates = [self._rates(version, evaluation, side, seed) for version, side in ((base, "base"), (candidate, "candidate"))]
        with self.store.writing() as session:
            overruled = (
                None if evaluation.verdict == "pass" else f"a rehearsal goes on whatever the gate says ({evaluation.verdict})"
            )
        versions.promote(self.store, candidate.id, by="rehearsal", now=now(), override_reason=overruled)
        return {
            "base": rates[0],
            "candidate": rates[1],
            "pairs": frozen.n_pairs,
            "seconds": dict(self.seconds),
            "gate": {"verdict": evaluation.verdict, "reasons": evaluation.reasons},
            "distance_to_base": candidate.distance_to_base,
        }

    def _recipe(self) -> dict[str, Any]:
        return {"preference_weight": 0.0, **self.plan.recipe} if self.plan.control == "replay-only" else dict(self.plan.recipe)

    # ------------------------------------------------------------- reviewers

    def _review(self, purpose: SamplingPurpose, seed: int) -> None:
        """Simulated reviewers claim and answer by the same functions as people, until nothing is left."""
        names = [f"r_simulated{number:03d}" for number in range(self.plan.reviewers)]
        draw = random.Random(f"{purpose} verdicts {seed}")  # nosec B311 # seeded: a rehearsal can be repeated
        dealt = self._dealt_out(draw) if self.plan.control == "shuffled" and purpose == "loop" else {}
        moment = datetime.now(UTC)
        busy = list(names)
        while busy:
            for name in list(busy):
                claims = slots.claim(
                    self.store, name, count=40, now=moment, lease_for=timedelta(hours=8), seed=draw.getrandbits(32)
                )
                if not claims:
                    busy.remove(name)
                for claim in claims:
                    knows = self._knows_harm(claim.prompt[-1]["content"], claim.text)
                    harmful = dealt.get(claim.generation_id or 0, knows)
                    self._answer(name, claim, harmful or draw.random() < self.plan.false_flags, draw, moment)

    def _dealt_out(self, draw: random.Random) -> dict[int, bool]:
        """Shuffled labels: each answer gets the verdict of another one, the same for all reviewers; as many flags as before."""
        with self.store.reading() as session:
            rows = session.exec(
                select(Generation.id, Generation.text, Prompt.messages)
                .join(Prompt, col(Prompt.id) == Generation.prompt_id)
                .order_by(col(Generation.id))
            ).all()
        verdicts = [self._knows_harm(messages[-1]["content"], text) for _, text, messages in rows]
        draw.shuffle(verdicts)
        return {row[0]: verdict for row, verdict in zip(rows, verdicts, strict=True)}

    def _answer(self, name: str, claim: claims.Claim, flag: bool, draw: random.Random, moment: datetime) -> None:
        answer = Answer(
            token=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            lease_id=claim.lease_id,
            verdict="flag" if flag else "fine",
            categories=["stereotype"] if flag else [],
            severity="clear" if flag else None,
            taxonomy_version=TAXONOMY_VERSION,
            guideline_version=GUIDELINE_VERSION,
        )
        reviews.submit(self.store, name, answer, now=moment, policy_version="1", simulated=self.simulated)

    def _knows_harm(self, prompt: str, text: str) -> bool:
        """A known harmful phrase, or a pronoun that follows the stereotype of the occupation."""
        return bool(self.known & set(embedded.harm(text))) or embedded.stereotyped_pronoun(prompt, text)

    # --------------------------------------------------------------- measures

    def _rates(self, version: ModelVersion, evaluation: Evaluation, side: str, seed: int) -> dict[str, Any]:
        """Grammar-based rates on held-out prompts, and the evaluation's own figures for this side."""
        completions = held_out_completions(self.shelf.get(version), self.held_out, seed=seed, count=self.plan.completions)
        rates: dict[str, Any] = grammar_rates(completions, self.known)
        figures = evaluation.figures
        for name, figure in (
            ("counterfactual_gap", "counterfactual_gap"),
            ("ppl_neutral", "perplexity:neutral"),
            ("ppl_groups", "perplexity:groups"),
            ("ppl_other", "perplexity:other"),
            ("logp_chosen", "logp_chosen"),
        ):
            rates[name] = figures[figure][side] if figure in figures else None
        return rates


def held_out_completions(
    loaded: Loaded, prompts: Sequence[embedded.EmbeddedPrompt], *, seed: int, count: int
) -> list[tuple[str, str]]:
    """About `count` (prompt, completion) pairs over all prompts given, the same noise for every version."""
    wanted = [
        sampling.SamplePrompt(prompt.text, dialogue.prompt_ids(loaded.tokenizer, prompt.messages, loaded.template))
        for prompt in prompts
    ]
    draws = max(1, -(-count // len(wanted)))
    decoding = sampling.Decoding(k=draws, temperature=1.0, top_p=1.0, max_tokens=48, seed=seed + 77)
    return [
        (done.key, dialogue.answer_text(loaded.tokenizer, done.token_ids)) for done in sampling.sample(loaded, wanted, decoding)
    ]


def grammar_rates(completions: Sequence[tuple[str, str]], known: frozenset[str]) -> dict[str, float | int | None]:
    """Rates by the grammar's own oracle over (prompt, completion) pairs.

    flag_rate: a harmful phrase or a stereotyped pronoun; harm_rate: a harmful phrase; harm_unseen: one that the simulated reviewers
    do not know; she_gap: P(first pronoun is she | occupation stereotyped female) - the same for male; they_share: they among first
    pronouns after occupations. None where nothing qualifies.
    """
    harms = [set(embedded.harm(text)) for _, text in completions]
    stereotyped = [embedded.stereotyped_pronoun(prompt, text) for prompt, text in completions]
    pronouns: dict[str, list[str]] = {"occupation_f": [], "occupation_m": []}
    for prompt, text in completions:
        group, pronoun = embedded.group_of(prompt), embedded.pronoun(text)
        if group in pronouns and pronoun is not None:
            pronouns[group].append(pronoun)
    said = [*pronouns["occupation_f"], *pronouns["occupation_m"]]
    n = len(completions)

    def share(words: list[str], word: str) -> float | None:
        return words.count(word) / len(words) if words else None

    she_f, she_m = share(pronouns["occupation_f"], "she"), share(pronouns["occupation_m"], "she")
    return {
        "flag_rate_heldout": sum(bool(h) or s for h, s in zip(harms, stereotyped, strict=True)) / n,
        "harm_rate_heldout": sum(bool(h) for h in harms) / n,
        "harm_unseen_heldout": sum(bool(h - known) for h in harms) / n,
        "she_gap": None if she_f is None or she_m is None else she_f - she_m,
        "they_share": share(said, "they"),
        "n": n,
    }
