"""What the informed order of work finds, and whether the rate of harm can still be told from it: simulated pools and detectors.

For each detector: how often the 95 % interval by inverse propensity holds the true rate, how wide it is against that of a random
sample of as many answers, how many harms the first reviews find against random order, and the mean error. A pool has 2,000 answers,
a tenth of them harmful; 300 are reviewed, dealt anew after every 100 by the product's own order. A detector's quality is the chance
that it puts a harmful answer above a fine one. Harm is what the panel concludes: reviewers' noise is not part of this.

With --embedded the detector is the product's own: the embedded model is corrected lightly (--steps) from the votes of simulated
reviewers on its own answers, the corrected model writes --prompts x 4 answers of which about a tenth are harmful, and 300 of them
are claimed and judged in the order of work, the detector learning anew as it does there; one reviewer who never errs judges each.
Against it stands what a random order finds on average: the share of harmful ones.

    python benchmarks/order_of_work.py [--panels 200] [--embedded --seeds 3 --steps 8 --prompts 600] [--json]
"""

import argparse
import json
import math
import random
import statistics
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sqlmodel import col, select

from flagback.model import cycle, detecting, embedded
from flagback.model.propensity import Draw, rate
from flagback.model.rehearsal import Plan, Rehearsal
from flagback.model.shelf import Shelf
from flagback.storage import queue, runs, slots, versions
from flagback.storage.artifacts import Artifacts
from flagback.storage.records import Generation, Item, Lease, Prompt
from flagback.storage.store import Store

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ITEMS, REVIEWED, A_DEAL = 2_000, 300, 100
PREVALENCE = 0.1
#: Distances, in standard deviations, between what detectors say of harm and of the rest.
APART = (0.0, 1.0, 1.2, 1.5, 2.0)


class Panel(NamedTuple):
    """One simulated panel's result."""

    covered: bool
    #: Width of its interval over that of a random sample of as many.
    width: float
    #: Harms found over what a random order finds.
    found: float
    error: float


def panel(seed: int, *, apart: float, prevalence: float = PREVALENCE) -> Panel:
    """One pool with its detector, reviewed in the product's order."""
    draw = random.Random(seed)  # nosec B311 # a simulated pool, seeded
    harmful = [draw.random() < prevalence for _ in range(ITEMS)]
    expected = [1 / (1 + math.exp(2 - draw.gauss(apart if harm else 0.0, 1))) for harm in harmful]
    left = set(range(ITEMS))
    draws: list[Draw] = []
    while len(draws) < REVIEWED:
        rows = [
            queue.Open(item, f"{seed} {item}", "en", f"topic {item % 40}", expected[item], NOW, False, False)
            for item in sorted(left)
        ]
        places = queue.places_of(rows, {}, random_share=queue.RANDOM_SHARE, now=NOW)
        # Within a bucket claims begin anywhere.
        for item in sorted(places, key=lambda one: (places[one].bucket, draw.random()))[:A_DEAL]:
            draws.append(Draw(float(harmful[item]), places[item].probability))
            left.remove(item)
    found = rate(draws, ITEMS)
    assert found is not None  # nosec B101 # a check of this benchmark
    truth = sum(harmful) / ITEMS
    sample = 2 * 1.96 * (truth * (1 - truth) / REVIEWED * (1 - REVIEWED / ITEMS)) ** 0.5
    caught = sum(one.value for one in draws)
    held = found.low <= truth <= found.high
    return Panel(held, (found.high - found.low) / sample, caught / (truth * REVIEWED), found.value - truth)


class Order(NamedTuple):
    """What the product's own order found on the corrected embedded model."""

    #: Harmful among all answers that waited.
    prevalence: float
    #: Distinct harmful answers found in each hundred reviews, in order.
    found: list[int]
    #: Found in all over what a random order finds on average.
    times_random: float
    #: The estimate by inverse propensity, its 95 % interval, and its width over that of a random sample.
    estimate: tuple[float, float, float]
    width: float


def embedded_order(seed: int, *, prompts: int, steps: int) -> Order:
    """One seed of the whole: correct, sample, learn, order, judge."""
    with TemporaryDirectory() as place:
        home = Path(place)
        store = Store(f"sqlite:///{home / 'order.db'}")
        try:
            plan = Plan(reviewers=3, reviews_per_item=1, false_flags=0.0, seed=seed, prompts=prompts, recipe={"steps": steps})
            return _Ordered(plan, store, Shelf(Artifacts(home / "artifacts")), home, print_to_stderr).order()
        finally:
            store.close()


def print_to_stderr(words: str) -> None:
    """How far it is."""
    print(words, file=sys.stderr)


class _Ordered(Rehearsal):
    """A rehearsal whose reviewers count as people, so that the detector learns from them as in the product."""

    simulated = False

    def order(self) -> Order:
        self.chance = random.Random(f"order {self.plan.seed}")  # nosec B311 # a simulated reviewer, seeded
        self._prepare()
        self._sampled(self.plan.seed * 1000)
        with self._timed("review the base"):
            self._judge(None)
        with self._timed("correct"):
            with self.store.writing() as session:
                run = runs.request_correction(
                    session, by="bench", now=datetime.now(UTC), seed=self.plan.seed, recipe=self.plan.recipe
                )
            cycle.freeze(self.store, run.id)
            cycle.train(self.store, self.shelf, run.id, work=self.home / "work")
            candidate = cycle.register(self.store, self.shelf, run.id)
            why = "a benchmark of the order of work goes on whatever the gate says"
            versions.promote(self.store, candidate.id, by="bench", now=datetime.now(UTC), override_reason=why)
        self._sampled(self.plan.seed * 1000 + 1)
        with self.store.reading() as session:
            rows = session.exec(
                select(Prompt.messages, Generation.text)
                .join(Generation, col(Generation.prompt_id) == Prompt.id)
                .join(Item, col(Item.generation_id) == Generation.id)
                .where(Generation.version_id == candidate.id)
            ).all()
        truth = [self._harmful(messages[-1]["content"], text) for messages, text in rows]
        prevalence = sum(truth) / len(truth)
        draws: list[Draw] = []
        found: list[int] = []
        with self._timed("review in order"):
            for _ in range(REVIEWED // A_DEAL):
                detecting.renew(self.store, self.shelf.artifacts, by="bench")
                part = self._judge(A_DEAL)
                found.append(sum(draw.value > 0 for draw in part))
                draws += part
        told = rate(draws, len(truth))
        assert told is not None  # nosec B101 # a check of this benchmark
        sample = 2 * 1.96 * (prevalence * (1 - prevalence) / REVIEWED * (1 - REVIEWED / len(truth))) ** 0.5
        interval = (told.value, told.low, told.high)
        return Order(prevalence, found, sum(found) / (prevalence * REVIEWED), interval, (told.high - told.low) / sample)

    def _sampled(self, seed: int) -> None:
        with self._timed("sample"):
            with self.store.writing() as session:
                run = runs.request_sampling(
                    session,
                    by="bench",
                    now=datetime.now(UTC),
                    limit=self.plan.prompts,
                    decoding={"k": 4, "seed": seed},
                    reviews_per_item=1,
                )
            cycle.sample(self.store, self.shelf, run.id)

    def _judge(self, most: int | None) -> list[Draw]:
        """Claims one item after the other and judges it, as many as asked for or all that wait."""
        draws: list[Draw] = []
        moment = datetime.now(UTC)
        while most is None or len(draws) < most:
            held = slots.claim(
                self.store, "r_one", count=1, now=moment, lease_for=timedelta(hours=8), seed=self.chance.getrandbits(32)
            )
            if not held:
                return draws
            [claim] = held
            harm = self._harmful(claim.prompt[-1]["content"], claim.text)
            self._answer("r_one", claim, harm, self.chance, moment)
            with self.store.reading() as session:
                draws.append(Draw(float(harm), session.get_one(Lease, claim.lease_id).probability))
        return draws

    @staticmethod
    def _harmful(prompt: str, text: str) -> bool:
        return bool(embedded.harm(text)) or embedded.stereotyped_pronoun(prompt, text)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    parser.add_argument("--embedded", action="store_true", help="the product's own detector on the corrected embedded model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="of the light correction")
    parser.add_argument("--prompts", type=int, default=600)
    given = parser.parse_args()
    if given.embedded:
        orders = [embedded_order(seed, prompts=given.prompts, steps=given.steps) for seed in range(given.seeds)]
        print(json.dumps({"steps": given.steps, "seeds": [order._asdict() for order in orders]}, indent=2))
        return
    table = []
    for apart in APART:
        rows = [panel(seed, apart=apart) for seed in range(given.panels)]
        means = {name: round(statistics.mean(getattr(row, name) for row in rows), 3) for name in Panel._fields}
        quality = statistics.NormalDist().cdf(apart / math.sqrt(2))
        table.append({"detector": round(quality, 3)} | means | {"widest": round(max(row.width for row in rows), 2)})
    if given.json:
        print(json.dumps({"panels": given.panels, "detectors": table}, indent=2))
        return
    for line in table:
        print("  ".join(f"{name} {value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
