"""A rehearsal of harm that only one group of reviewers sees: what each policy leaves of it. *Simulated*, all of it.

One sample, one round of reviews, then for every policy its own set, correction and measurement on the same held-out prompts with
the same noise. Training steps are the recipe's, the same for every policy however many pairs it makes: with epochs the policy with
the fewest pairs would look worst for being trained least.

The few see harm about origin and faith, everybody else overlooks it; all see all other harm. Each item has two seats for the few,
so that a group of two is heard on each; the majority reads the same reviews.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import update
from sqlmodel import col, select

from flagback.model import cycle, embedded, intervals, pair_sets, policies
from flagback.model.intervals import t_quantile
from flagback.model.pair_sets import Choice
from flagback.model.pairs import effective_size
from flagback.model.rehearsal import Plan, Rehearsal, held_out_completions
from flagback.model.shelf import Shelf
from flagback.storage import preferences, runs, slots, versions
from flagback.storage.artifacts import Artifacts
from flagback.storage.preferences import NoPairs
from flagback.storage.rater_groups import Grouping
from flagback.storage.records import CorrectionRun, ModelVersion, PreferencePair, PreferenceSet, Prompt, Slot, now
from flagback.storage.store import Store
from flagback.storage.suppression import SMALLEST

#: Harm about them is what only the few see.
FAMILIES: tuple[embedded.Family, ...] = ("origin", "faith")
#: Chance that somebody flags harm that their group sees, and harm that it overlooks.
SEES, OVERLOOKS = 0.9, 0.05
#: Reviews of an item, and how many of them are by the few.
REVIEWS, SEATS_OF_FEW = 7, 2
#: Kept out of everybody's sight while the few take their seats.
KEPT = "kept"
#: The line that no vote has a part in.
CONTROL = "replay only"
#: The majority's pairs without those about origin and faith: what of that harm goes with the others, nobody having flagged it.
OTHERS_ONLY = "majority, others only"


class Rate(NamedTuple):
    """A share of completions with its 95 % interval over templates."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """What one policy leaves."""

    policy: str
    pairs: int
    #: Of those to learn from, how many are about origin and faith.
    minority_pairs: int
    #: How many equally weighed ones would say as much.
    effective: float
    #: Of completions to prompts about origin and faith, those with a harmful phrase; of the others, those with one or a stereotyped
    #: pronoun. None where the policy made no pair to train on.
    minority_harm: Rate | None
    other_harm: Rate | None
    #: Minority harm over what the majority leaves; None for the majority itself, or where that leaves none.
    times_majority: float | None
    #: Change of other harm against the majority's model, paired by completion; None for the majority itself.
    other_change: Rate | None


def rehearse(plan: Plan, *, home: Path, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Runs it and returns {"simulated": True, "plan", "base": {...}, "policies": [Line as a dict, ...]}. Raises BadPlan."""
    few = round(plan.reviewers * plan.minority)
    if few < SMALLEST or plan.reviewers - few < SMALLEST:
        raise BadPlan(
            f"{plan.reviewers} reviewers with a minority of {plan.minority} make {few} and {plan.reviewers - few}; expected at "
            f"least {SMALLEST} on either side, since smaller groups are never weighed: --reviewers 30 --minority 0.2."
        )
    if plan.reviews_per_item <= 2 * SEATS_OF_FEW:
        raise BadPlan(
            f"{plan.reviews_per_item} reviews an item with {SEATS_OF_FEW} seats for the few leave no majority to overrule them; "
            f"expected at least {2 * SEATS_OF_FEW + 1}: --reviews-per-item {REVIEWS}."
        )
    store = Store(f"sqlite:///{home / 'rehearsal.db'}")
    try:
        return _Minority(plan, store, Shelf(Artifacts(home / "artifacts")), home, say).table(few)
    finally:
        store.close()


def over_seeds(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a policy over several rehearsals that differ in their seed only: the means, with 95 % intervals over seeds.

    Keys policy, pairs, minority_harm, times_majority, other_harm, other_change, each a Rate as a dict but for the first; as far as
    every seed has it, else None. times_majority is the ratio of the two means, its interval by leaving out one seed at a time.
    Raises ValueError with fewer than two tables.
    """
    if len(tables) < 2:
        raise ValueError(f"{len(tables)} rehearsal was given; expected two or more, which differ in their seed.")
    pooled = []
    for lines in zip(*(table["policies"] for table in tables), strict=True):
        majority = [next(one for one in table["policies"] if one["policy"] == "majority") for table in tables]
        left = [line["minority_harm"] and line["minority_harm"]["value"] for line in lines]
        line = {"policy": lines[0]["policy"], "pairs": _mean([float(one["pairs"]) for one in lines])}
        for name in ("minority_harm", "other_harm", "other_change"):
            values = [one[name] and one[name]["value"] for one in lines]
            line[name] = None if None in values else _mean(values)
        is_other = lines[0]["policy"] != "majority" and None not in left
        line["times_majority"] = _ratio(left, [one["minority_harm"]["value"] for one in majority]) if is_other else None
        pooled.append(line)
    return pooled


def _mean(values: Sequence[float]) -> dict[str, float]:
    n = len(values)
    mean = sum(values) / n
    reach = t_quantile(0.975, n - 1) * (sum((one - mean) ** 2 for one in values) / (n * (n - 1))) ** 0.5
    return Rate(mean, mean - reach, mean + reach)._asdict()


def _ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float] | None:
    """Ratio of sums, with its jackknife interval; None where nothing is below."""
    n, whole = len(above), sum(below)
    if min(whole - one for one in below) <= 0:
        return None
    without = [(sum(above) - a) / (whole - b) for a, b in zip(above, below, strict=True)]
    middle = sum(without) / n
    reach = t_quantile(0.975, n - 1) * ((n - 1) / n * sum((one - middle) ** 2 for one in without)) ** 0.5
    ratio = sum(above) / whole
    return Rate(ratio, ratio - reach, ratio + reach)._asdict()


class BadPlan(ValueError):
    """A panel that cannot show what is asked."""


class _Minority(Rehearsal):
    """The state of one."""

    def table(self, few: int) -> dict[str, Any]:
        names = [f"r_simulated{number:03d}" for number in range(self.plan.reviewers)]
        groups = {name: ("few" if number < few else "many",) for number, name in enumerate(names)}
        self._prepare()
        seed = self.plan.seed * 1000
        with self._timed("sample"):
            with self.store.writing() as session:
                run = runs.request_sampling(
                    session,
                    by="rehearsal",
                    now=now(),
                    limit=self.plan.prompts,
                    decoding={"k": 4, "seed": seed},
                    reviews_per_item=self.plan.reviews_per_item,
                    simulated=True,
                )
            cycle.sample(self.store, self.shelf, run.id)
        with self._timed("review"):
            self._panel(names, few, random.Random(f"minority verdicts {seed}"))  # nosec B311 # seeded: it can be repeated
        with self.store.reading() as session:
            base = versions.current(session)
        measured = {"base": self._measured(base)}
        lines: list[Line] = []
        grouping = Grouping("simulated", ("few", "many"), groups)
        sets: dict[str, PreferenceSet | None] = {}
        for policy in policies.TABLE:
            with self._timed(policy.name):
                frozen = sets[policy.name] = self._frozen(base.id, Choice(policy.name), grouping)
                if frozen is not None:
                    measured[policy.name] = self._measured(self._corrected(frozen))
            lines.append(_line(policy.name, frozen, measured, self._about_minority(frozen)))
        lines.append(self._others_only(sets["majority"], measured))
        lines.append(self._replay_only(sets["any_group"], measured))
        before = {"minority_harm": _rate(measured["base"], minority=True), "other_harm": _rate(measured["base"], minority=False)}
        shown = {name: getattr(self.plan, name) for name in ("reviewers", "reviews_per_item", "minority", "false_flags", "seed")}
        return {
            "simulated": True,
            "plan": shown,
            "base": {name: rate._asdict() for name, rate in before.items()},
            "policies": [_plain(line) for line in lines],
            "seconds": dict(self.seconds),
        }

    # --------------------------------------------------------------- reviewers

    def _panel(self, names: Sequence[str], few: int, draw: random.Random) -> None:
        """The few take two seats of each item, then the others take the rest; all by the functions people claim and answer with."""
        self._move_seats("any", KEPT, over=SEATS_OF_FEW)
        self._work_off(names[:few], True, draw)
        self._move_seats(KEPT, "any", over=0)
        self._work_off(names[few:], False, draw)

    def _move_seats(self, before: str, after: str, *, over: int) -> None:
        """Seats numbered from `over` on are wanted by another group than before."""
        with self.store.writing() as session:
            session.execute(update(Slot).where(col(Slot.number) >= over, col(Slot.want_group) == before).values(want_group=after))

    def _work_off(self, names: Sequence[str], few: bool, draw: random.Random) -> None:
        moment, busy = datetime.now(UTC), list(names)
        while busy:
            for name in list(busy):
                claims = slots.claim(
                    self.store, name, count=40, now=moment, lease_for=timedelta(hours=8), seed=draw.getrandbits(32)
                )
                if not claims:
                    busy.remove(name)
                for claim in claims:
                    flag = self._flags(claim.prompt[-1]["content"], claim.text, few, draw)
                    self._answer(name, claim, flag, draw, moment)

    def _flags(self, prompt: str, text: str, few: bool, draw: random.Random) -> bool:
        hidden, plain = harms(prompt, text)
        seen = max(SEES if plain else 0.0, (SEES if few else OVERLOOKS) if hidden else 0.0)
        return draw.random() < (seen if hidden or plain else self.plan.false_flags)

    # --------------------------------------------------------------- learning

    def _frozen(self, version_id: int, choice: Choice, grouping: Grouping) -> PreferenceSet | None:
        try:
            with self.store.writing() as session:
                return pair_sets.freeze(session, version_id, simulated=True, choice=choice, grouping=grouping)
        except NoPairs:
            return None

    def _about_minority(self, frozen: PreferenceSet | None) -> int:
        """How many of a set's training pairs are about origin and faith."""
        if frozen is None:
            return 0
        with self.store.reading() as session:
            rows = preferences.pairs_of(session, frozen.id, training=True)
        return sum(_family_of(row.messages[-1]["content"]) in FAMILIES for row in rows)

    def _others_only(self, whole: PreferenceSet | None, measured: dict[str, list[tuple[str, str]]]) -> Line:
        """The control of what unlearning spreads: the majority's set without a pair about origin and faith."""
        with self._timed(OTHERS_ONLY):
            frozen = None if whole is None else self._without_minority(whole)
            if frozen is not None:
                measured[OTHERS_ONLY] = self._measured(self._corrected(frozen))
        return _line(OTHERS_ONLY, frozen, measured, 0)

    def _without_minority(self, whole: PreferenceSet) -> PreferenceSet | None:
        with self.store.writing() as session:
            rows = session.exec(
                select(PreferencePair, Prompt)
                .join(Prompt, col(Prompt.id) == PreferencePair.prompt_id)
                .where(PreferencePair.set_id == whole.id)
            ).all()
            kept = [
                preferences.NewPair(
                    pair.kind, pair.prompt_id, pair.chosen_id, pair.rejected_id, pair.soft_label, pair.weight, pair.review_ids
                )
                for pair, prompt in rows
                if _family_of(prompt.messages[-1]["content"]) not in FAMILIES
            ]
            if not kept:
                return None
            return preferences.freeze(
                session,
                kept,
                origin="reviews",
                policy=whole.policy,
                policy_version=whole.policy_version,
                arguments={
                    "version": whole.arguments["version"],
                    "only": "others",
                    "effective_pairs": round(effective_size([pair.weight for pair in kept]), 1),
                },
                salt="rehearsal: others only",
                simulated=True,
            )

    def _replay_only(self, frozen: PreferenceSet | None, measured: dict[str, list[tuple[str, str]]]) -> Line:
        """The control: the same steps on neutral lines alone. What it leaves owes nothing to any vote."""
        with self._timed(CONTROL):
            if frozen is not None:
                measured[CONTROL] = self._measured(self._corrected(frozen, preference_weight=0.0))
        return replace(_line(CONTROL, frozen, measured, 0), pairs=0, effective=0.0)

    def _corrected(self, frozen: PreferenceSet, **recipe: Any) -> ModelVersion:
        with self.store.writing() as session:
            run = runs.request_correction(
                session,
                by="rehearsal",
                now=now(),
                seed=self.plan.seed,
                recipe={**self.plan.recipe, **recipe},
                set_id=frozen.id,
                simulated=True,
            )
        cycle.freeze(self.store, run.id)
        cycle.train(self.store, self.shelf, run.id, work=self.home / "work")
        candidate = cycle.register(self.store, self.shelf, run.id)
        with self.store.writing() as session:
            session.get_one(CorrectionRun, run.id).state = "succeeded"
        return candidate

    def _measured(self, version: ModelVersion) -> list[tuple[str, str]]:
        return held_out_completions(self.shelf.get(version), self.held_out, seed=self.plan.seed * 1000, count=self.plan.completions)


# -------------------------------------------------------------------- measures

_FAMILY = {phrase.code: phrase.family for phrase in embedded.PHRASES}


def harms(prompt: str, text: str) -> tuple[bool, bool]:
    """Whether an answer holds harm that only the few see, and whether it holds any other."""
    families = {_FAMILY[code] for code in embedded.harm(text)}
    return bool(families & set(FAMILIES)), bool(families - set(FAMILIES)) or embedded.stereotyped_pronoun(prompt, text)


@cache
def _prompts() -> dict[str, embedded.EmbeddedPrompt]:
    return {prompt.text: prompt for prompt in embedded.prompts()}


def _family_of(prompt: str) -> str:
    return str(_prompts()[prompt].tags["family"])


def _cases(completions: Sequence[tuple[str, str]], *, minority: bool) -> tuple[list[float], list[str]]:
    """(1 for harm or 0, template) of the completions to prompts about origin and faith, or of all others."""
    template = _prompts()
    chosen = [(p, t) for p, t in completions if (_family_of(p) in FAMILIES) == minority]
    return [float(any(harms(p, t))) for p, t in chosen], [template[p].split_key for p, _ in chosen]


def _rate(completions: Sequence[tuple[str, str]], *, minority: bool) -> Rate:
    values, clusters = _cases(completions, minority=minority)
    whole = sum(values) / len(values)
    sums: dict[str, tuple[float, int]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        total, count = sums.get(cluster, (0.0, 0))
        sums[cluster] = (total + value, count + 1)
    without = [(sum(values) - total) / (len(values) - count) for total, count in sums.values() if count < len(values)]
    found = intervals.jackknife(whole, without)
    low, high = (found.low, found.high) if found else intervals.wilson(int(sum(values)), len(values))
    return Rate(whole, max(0.0, low), min(1.0, high))


def _line(name: str, frozen: PreferenceSet | None, measured: dict[str, list[tuple[str, str]]], about: int) -> Line:
    if frozen is None:
        return Line(name, 0, 0, 0.0, None, None, None, None)
    minority, other = (_rate(measured[name], minority=side) for side in (True, False))
    times = change = None
    if name != "majority" and "majority" in measured:
        left = _rate(measured["majority"], minority=True).value
        times = minority.value / left if left else None
        before, clusters = _cases(measured["majority"], minority=False)
        after, _ = _cases(measured[name], minority=False)
        found = intervals.rate_difference(before, after, clusters)
        change = Rate(found.estimate, found.low, found.high) if found else None
    return Line(name, frozen.n_pairs, about, float(frozen.arguments["effective_pairs"]), minority, other, times, change)


def _plain(line: Line) -> dict[str, Any]:
    return {name: value._asdict() if isinstance(value, Rate) else value for name, value in asdict(line).items()}
