"""Commands about how many people judge an answer: `flagback overlap show`, `set`."""

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, records, show

Prevalence = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Reckon the cost for this share of harmful answers.", show_default="from present reviews"),
]
_TIME = re.compile(r"(\d+(?:\.\d+)?)(h|d)")
_SEAT = re.compile(r"([^=:\s]+=[^=:\s]+):(\d+)")


class UnreadableOverlap(Exception):
    """An option of `overlap set` is not in its form."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    overlap = typer.Typer(no_args_is_help=True, help="How many people judge an answer, and for whom seats are kept.")
    overlap.command("show")(show_overlap)
    overlap.command("set")(set_overlap)
    app.add_typer(overlap, name="overlap")


def show_overlap(context: typer.Context, prevalence: Prevalence = None, as_json: Json = False) -> None:
    """Show the policy in force and what it costs."""
    from flagback.storage import overlap

    with records(context) as store, store.reading() as session:
        policy = overlap.newest(session)
        missing = overlap.open_seats(session)
        cost = _cost(session, policy.steps if policy else [], prevalence)
    found: dict[str, Any] = {
        "id": policy.id if policy else None,
        "steps": policy.steps if policy else [],
        "seats": policy.seats if policy else {},
        "relax_after_hours": policy.relax_after_hours if policy else None,
        "random_share": policy.random_share if policy else None,
        "set_by": policy.set_by if policy else None,
        "created_at": policy.created_at if policy else None,
        "open_seats": missing,
        "cost": cost,
    }
    if policy is None or not policy.steps:
        lines = ["Each sampling and import says how many people judge an answer (--reviews-per-item)."]
    else:
        lines = [_in_words(policy.steps, policy.seats, policy.relax_after_hours, policy.random_share), _cost_in_words(cost)]
    lines += [f"Open seats kept for {group}: {count}." for group, count in missing.items() if group != "any"]
    show(found, as_json=as_json, lines=lines)


def set_overlap(
    context: typer.Context,
    steps: Annotated[
        str, typer.Option(help="Odd numbers: reviews to begin with, and what contested answers go on to; 'off' for a fixed number.")
    ],
    seat: Annotated[
        list[str] | None, typer.Option(metavar="QUESTION=ANSWER:NUMBER", help="Seats of each step kept for a declared group.")
    ] = None,
    relax_after: Annotated[str, typer.Option(metavar="TIME", help="After so long (72h, 3d) it is open to anybody.")] = "72h",
    random_share: Annotated[
        float, typer.Option(help="Share of what is handed out that is drawn uniformly, whatever is expected of it.")
    ] = 0.5,
    prevalence: Prevalence = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what it would cost; nothing is set.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Set how many people judge answers made from now on; says first what it costs.

    Blind samples of an evaluation keep the fixed number that its statistics assume.
    """
    from flagback.storage import overlap
    from flagback.storage.records import now

    wanted, seats, kept = _steps(steps), _seats(seat or []), _time(relax_after)
    with records(context) as store:
        overlap.check_steps(wanted, seats)
        with store.reading() as session:
            cost = _cost(session, wanted, prevalence)
        if not as_json:
            print(_cost_in_words(cost) if wanted else "As many reviews as each sampling and import asks for.")
        number = None
        if not check:
            by = actor(store, as_)
            with store.writing() as session:
                number = overlap.set_overlap(
                    session, steps=wanted, seats=seats, relax_after=kept, random_share=random_share, by=by, now=now()
                ).id
    hours = kept.total_seconds() / 3600
    found = {"id": number, "steps": wanted, "seats": seats, "relax_after_hours": hours, "random_share": random_share, "cost": cost}
    done = "Nothing was set." if check else f"Set as policy {number}, for answers made from now on."
    show(found, as_json=as_json, lines=[*([_in_words(wanted, seats, hours, random_share)] if wanted else []), done])


def _cost(session: Any, steps: list[int], prevalence: float | None) -> dict[str, Any] | None:
    from flagback.storage import overlap

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


def _cost_in_words(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return ""
    ground = (
        f"as the {cost['from_items']:,} answers judged so far were flagged"
        if cost["from_items"]
        else f"where {cost['prevalence']:.0%} of answers are harmful"
    )
    return f"Cost: about {cost['reviews_per_item']:.1f} reviews an item ({cost['least']} to {cost['most']}), {ground}."


def _in_words(steps: list[int], seats: dict[str, int], hours: float, share: float) -> str:
    further = f", up to {' and '.join(map(str, steps[1:]))} where people flag it or differ" if steps[1:] else ""
    kept = "; ".join(f"{count} of each step for {group}" for group, count in seats.items())
    seated = f" Seats kept: {kept}, open to anybody after {hours:g} h." if kept else ""
    return f"{steps[0]} people judge an answer{further}.{seated} {share:.0%} of what is handed out is drawn uniformly."


def _steps(text: str) -> list[int]:
    if text.strip() == "off":
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"-?\d{1,4}", part) for part in parts):
        raise UnreadableOverlap(f"The steps are {text!r}; expected odd numbers in rising order such as 3,5,7, or off.")
    return [int(part) for part in parts]


def _seats(texts: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        match = _SEAT.fullmatch(text.strip())
        if match is None or match[1] in found:
            raise UnreadableOverlap(
                f"A seat is given as {text!r}; expected each group once, as gender=woman:1 (see 'flagback background show')."
            )
        found[match[1]] = int(match[2])
    return found


def _time(text: str) -> timedelta:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UnreadableOverlap(f"Seats are to be kept for {text!r}; expected hours or days, such as 72h or 3d.")
    number = min(float(match[1]), 1e6)
    return timedelta(hours=number) if match[2] == "h" else timedelta(days=number)
