"""What the informed order of work finds, and whether the rate of harm can still be told from it: simulated pools and detectors.

For each detector: how often the 95 % interval by inverse propensity holds the true rate, how wide it is against that of a random
sample of as many answers, how many harms the first reviews find against random order, and the mean error. A pool has 2,000 answers,
a tenth of them harmful; 300 are reviewed, dealt anew after every 100 by the product's own order. A detector's quality is the chance
that it puts a harmful answer above a fine one. Harm is what the panel concludes: reviewers' noise is not part of this.

    python benchmarks/order_of_work.py [--panels 200] [--json]
"""

import argparse
import json
import math
import random
import statistics
from datetime import UTC, datetime
from typing import NamedTuple

from flagback.model.propensity import Draw, rate
from flagback.storage import queue

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
    draw = random.Random(seed)
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
        for item in sorted(left, key=lambda one: (places[one].bucket, draw.random()))[:A_DEAL]:
            draws.append(Draw(float(harmful[item]), places[item].probability))
            left.remove(item)
    found = rate(draws, ITEMS)
    assert found is not None
    truth = sum(harmful) / ITEMS
    sample = 2 * 1.96 * (truth * (1 - truth) / REVIEWED * (1 - REVIEWED / ITEMS)) ** 0.5
    caught = sum(one.value for one in draws)
    held = found.low <= truth <= found.high
    return Panel(held, (found.high - found.low) / sample, caught / (truth * REVIEWED), found.value - truth)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    given = parser.parse_args()
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
