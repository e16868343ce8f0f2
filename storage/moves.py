"""What became of a correction's pairs, as Markdown: of its report, and of the card of the version that it made."""

import math
from collections.abc import Mapping
from typing import Any

from flagback.storage.card import inert

#: Groups with the most pairs come first, and no more than these are listed.
MOST_GROUPS = 40
MARGIN = (
    "Margin: how much likelier the chosen answer is than the rejected one, in nats of log-probability, before and after. A pair is "
    "still where that changed by less than 0.1. Held-out pairs were never trained on."
)


#: A change of likelihood beyond e to the power of this is not told to its last digit: a million times.
MOST_NATS = math.log(1e6)


#: Where an explanation was kept and cannot be read.
LOST = ["Its explanation is gone, or was altered since it was kept."]


def moved_lines(moved: Mapping[str, Any]) -> list[str]:
    """What became of pairs and flagged answers: in words, and as a table by side and by group."""
    of_pairs = bool(moved["all"]["pairs"])
    said = [MARGIN] if of_pairs else []
    change = moved["all"]["flagged_change"]
    if change is not None:
        way = "less" if change <= 0 else "more"
        said.append(f"Flagged answers became {_times(abs(change))} times {way} likely (geometric mean).")
    if (moved["all"]["chosen_change"] or 0.0) < -1.0:
        said.append("Chosen answers became less likely too: an anchor on them, or fewer steps, would hold them.")
    groups = list(moved["groups"].items())
    rows = [(name, moved[side]) for name, side in (("all", "all"), ("learnt", "learnt"), ("held out", "held_out"))]
    rows += [(inert(name).replace("|", "\\|"), figures) for name, figures in groups[:MOST_GROUPS]]
    head = ["pairs", "towards", "still", "against", "margin before", "after"] if of_pairs else []
    head = ["", *head, "flagged answers", "less likely", "more likely"]
    table = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, one in rows:
        cells = [name]
        if of_pairs:
            cells += [f"{one[f'pairs{way}']:,}" for way in ("", "_towards", "_still", "_against")]
            cells += ["" if one[key] is None else f"{one[key]:+.2f}" for key in ("margin_before", "margin_after")]
        cells += [f"{one[f'flagged{way}']:,}" for way in ("", "_towards", "_against")]
        table.append("| " + " | ".join(cells) + " |")
    more = [f"{len(groups) - MOST_GROUPS:,} more groups are in the explanation itself."] if len(groups) > MOST_GROUPS else []
    return [" ".join(said), "", *table, *([""] if more else []), *more]


def _times(nats: float) -> str:
    return "more than 1,000,000" if nats > MOST_NATS else f"{math.exp(nats):,.2f}"
