"""The policy of overlap in words, with what it costs: what command and page say alike, and how both read what people type.

Knows how a policy is written; `flagback.storage.overlap` knows which can be followed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import Session

from flagback.review_app.words import percent, stored, tr, trc, trn, written
from flagback.storage import background, overlap

_TIME = re.compile(r"(\d+(?:\.\d+)?)(h|d)")
_SEAT = re.compile(r"([^=:\s]+=[^=:\s]+):(\d+)")


class UnreadableOverlap(Exception):
    """A part of a policy that is not in its form."""


def cost(session: Session, steps: Sequence[int], prevalence: float | None = None) -> dict[str, Any] | None:
    """What steps would cost, as `overlap show --json` says it; None without steps. Reckoned from the reviews there are, unless a
    prevalence is stated or they are too few."""
    if not steps:
        return None
    found = overlap.cost_of_reviews(steps, overlap.votes(session)) if prevalence is None else None
    stated = prevalence if prevalence is not None else overlap.ASSUMED_PREVALENCE
    if found is None:
        found = overlap.cost_of_prevalence(steps, stated)
    return {
        "reviews_per_item": round(found.reviews, 2),
        "from_items": found.items or None,
        "prevalence": None if found.items else stated,
        "least": steps[0],
        "most": steps[-1],
    }


def cost_in_words(cost: Mapping[str, Any] | None) -> str:
    """One sentence: "Cost: about 5.2 reviews an item (3 to 7), ..."; empty without steps."""
    if cost is None:
        return ""
    each = {"reviews": written(cost["reviews_per_item"], ".1f"), "least": cost["least"], "most": cost["most"]}
    if cost["from_items"]:
        return trn(
            "Cost: about {reviews} reviews an item ({least} to {most}), as the {count} answers judged so far were flagged.",
            "Cost: about {reviews} reviews an item ({least} to {most}), as the {count} answers judged so far were flagged.",
            cost["from_items"],
            **each,
        )
    return tr(
        "Cost: about {reviews} reviews an item ({least} to {most}), where {share} of answers are harmful.",
        share=percent(cost["prevalence"]),
        **each,
    )


def in_words(steps: Sequence[int], seats: Mapping[str, int], hours: float, share: float) -> str:
    """What a policy with steps says; groups as the mapping names them."""
    first, *more = map(str, steps)
    further = trc("between groups", " and ").join(more)
    said = [
        tr("{first} people judge an answer, up to {further} where people flag it or differ.", first=first, further=further)
        if further
        else tr("{first} people judge an answer.", first=first)
    ]
    if seats:
        kept = "; ".join(tr("{seats} of each step for {group}", seats=count, group=group) for group, count in seats.items())
        said.append(tr("Seats kept: {kept}, open to anybody after {hours} h.", kept=kept, hours=written(hours, "g")))
    said.append(tr("{share} of what is handed out is drawn uniformly.", share=percent(share)))
    return " ".join(said)


def group_words(session: Session) -> dict[str, str]:
    """Every declared group that seats may be kept for, "gender=woman", as people say it: "Woman (gender)"; in the form's order."""
    return {
        f"{question.code}={option.code}": stored(f"background {question.code}", option.words)
        + f" ({question.code.replace('_', ' ')})"
        for question in background.questions(session)[0]
        for option in question.options
    }


def read_steps(text: str) -> list[int]:
    """ "3,5,7", or "off" for none. Raises UnreadableOverlap."""
    if text.strip() == "off":
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"-?\d{1,4}", part) for part in parts):
        raise UnreadableOverlap(
            tr("The steps are {steps}; expected odd numbers in rising order such as 3,5,7, or off.", steps=repr(text))
        )
    return [int(part) for part in parts]


def read_seats(texts: Sequence[str]) -> dict[str, int]:
    """ "gender=woman:1" for each group. Raises UnreadableOverlap."""
    found: dict[str, int] = {}
    for text in texts:
        match = _SEAT.fullmatch(text.strip())
        if match is None or match[1] in found:
            raise UnreadableOverlap(
                f"A seat is given as {text!r}; expected each group once, as gender=woman:1 (see 'flagback background show')."
            )
        found[match[1]] = int(match[2])
    return found


def read_time(text: str) -> timedelta:
    """ "72h" or "3d". Raises UnreadableOverlap."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UnreadableOverlap(f"Seats are to be kept for {text!r}; expected hours or days, such as 72h or 3d.")
    number = min(float(match[1]), 1e6)
    return timedelta(hours=number) if match[2] == "h" else timedelta(days=number)
