"""Commands about pairs: `flagback pairs policies`, `preview`, and `ask`, which has people judge answers side by side."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, settings_of, show

if TYPE_CHECKING:
    from flagback.model.pair_sets import Choice
    from flagback.model.policy_comparison import Comparison, Overruled

Policy = Annotated[str, typer.Option(metavar="NAME", help="How votes become pairs; see 'flagback pairs policies'.")]
By = Annotated[
    str | None,
    typer.Option(
        metavar="QUESTION", help="The question about background whose answers are the groups.", show_default="the only usable one"
    ),
]
Seats = Annotated[
    str | None,
    typer.Option(metavar="GROUP=N,...", help="A jury's seats by group.", show_default="12 dealt out evenly"),
]
Drop = Annotated[bool, typer.Option("--drop-contaminated", help="Leave out what overlaps a published test in use.")]
Unpaired = Annotated[
    bool,
    typer.Option("--unpaired", help="Have answers that were flagged and have no counterpart teach too, and fine ones beside them."),
]


class BadSeats(ValueError):
    """Seats of a jury that cannot be read."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    pairs = typer.Typer(no_args_is_help=True, help="How votes become preference pairs.")
    pairs.command("policies")(list_policies)
    pairs.command()(preview)
    pairs.command()(ask)
    app.add_typer(pairs, name="pairs")


def chosen(policy: str, by: str | None, seats: str | None, *, drop_contaminated: bool = False, unpaired: bool = False) -> "Choice":
    """What was said, as a choice. Raises UnknownPolicy or BadSeats."""
    from flagback.model.pair_sets import Choice
    from flagback.model.policies import BadArguments, named

    named(policy)
    declared = None if seats is None else dict(_seat(part) for part in seats.split(","))
    if declared is not None and policy != "jury":
        raise BadArguments(f"Only the policy 'jury' has seats; {policy!r} was given some. Leave --seats out.")
    return Choice(policy, by, declared, drop_contaminated, unpaired)


def _seat(part: str) -> tuple[str, int]:
    group, equals, count = part.strip().partition("=")
    if not equals or not group or not count.isdecimal() or int(count) < 1:
        raise BadSeats(f"{part!r} names no seats; expected GROUP=NUMBER with 1 or more: --seats woman=6,man=6.")
    return group, int(count)


def list_policies(as_json: Json = False) -> None:
    """List the policies with definition, version and source."""
    from flagback.model.policies import TABLE

    rows = [policy._asdict() for policy in TABLE]
    lines = []
    for policy in TABLE:
        needs = "; needs groups" if policy.needs_groups else ""
        lines += [f"{policy.name} (version {policy.version}{needs})", f"  {policy.what}", f"  Source: {policy.source}."]
        lines += [f"  Warning: {policy.warning}"] if policy.warning else []
    show(rows, as_json=as_json, lines=lines)


def preview(
    context: typer.Context,
    policy: Policy = "majority",
    against: Annotated[str | None, typer.Option(metavar="NAME", help="The policy that would take its place.")] = None,
    by: By = None,
    seats: Seats = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the null.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what a policy makes of the reviews as they stand, and what would change under another. Stores nothing.

    Whose flags are overruled is told by group, never by person, beside what chance would give: reviewers dealt to groups at random.
    """
    from flagback.model import pair_sets, policies, policy_comparison
    from flagback.storage import adjudications, comparisons
    from flagback.storage.artifacts import Artifacts
    from flagback.storage.prompts import TRAINING_SHARDS
    from flagback.storage.versions import current

    other = policy if against is None else against
    if seats is not None and "jury" not in (policy, other):
        raise policies.BadArguments(
            f"Only the policy 'jury' has seats, and {policy!r} and {other!r} were named. Leave --seats out."
        )
    first, second = (chosen(name, by, seats if name == "jury" else None) for name in (policy, other))
    settings = settings_of(context)
    with records(context) as store, store.reading() as session:
        version = current(session)
        rows = pair_sets.read(session, version.id, simulated=False)
        compared = comparisons.judged(session, version.id, simulated=False)
        weighs = [choice for choice in (first, second) if policies.named(choice.policy).needs_groups]
        key = settings.pseudonym_key()
        grouping = (
            pair_sets.grouping_for(session, weighs[0], rows, key, compared)
            if weighs
            else pair_sets.groups_to_speak_of(session, first, rows, key, compared)
        )
        concluded = adjudications.of_generations(session)
        found = policy_comparison.compare(rows, first, second, grouping, concluded, compared=compared, seed=seed)
        built = pair_sets.build(rows, second, grouping, concluded, compared)
        overlaps = pair_sets.overlaps(session, built, rows, Artifacts(settings.artifacts), compared)
    hits, more = ([hit for place, hit in overlaps if (place < len(built.pairs)) is of_pairs] for of_pairs in (True, False))
    training = {row.prompt.id for row in rows if row.prompt.shard in TRAINING_SHARDS}
    taught = Counter(one.harmful for one in built.unpaired if one.prompt_id in training)
    alone = {"harmful": taught[True], "fine": taught[False], "contaminated": [hit.to_dict() for hit in more]}
    report = {"version": version.id, **found.to_dict(), "unpaired": alone, "contaminated": [hit.to_dict() for hit in hits]}
    beside = f", {len(compared)} comparisons" if compared else ""
    lines = [f"Version {version.id}, {len(rows)} judged answers{beside}.", *_lines(found, one=against is None)]
    if alone["harmful"]:
        several = "1 harmful answer has" if alone["harmful"] == 1 else f"{alone['harmful']} harmful answers have"
        lines.append(
            f"{several} no counterpart (on prompts for training); with 'flagback correct --unpaired' such answers teach too, "
            f"beside {alone['fine']} fine ones."
        )
        if more:
            lines.append(f"Of these and those held out: {pair_sets.refusal(more)}")
    if hits:
        lines.append(pair_sets.refusal(hits))
    show(report, as_json=as_json, lines=lines)


def _lines(found: "Comparison", *, one: bool) -> list[str]:
    sides = [found.a] if one else [found.a, found.b]
    lines = [
        f"{side.policy} (version {side.version}): {side.pairs} pairs, worth {side.effective:.1f} equally weighed ones."
        for side in sides
    ]
    if not one:
        lines.append(
            f"From {found.a.policy} to {found.b.policy}: {found.both} pairs stay, {found.appear} appear, {found.vanish} vanish, "
            f"{found.flip} turn round."
        )
    if not found.groups:
        return [*lines, "No groups to speak of: nobody agreed to have a background weighed, or too few."]
    rows: list[dict[str, Any]] = []
    for view in found.groups:
        row: dict[str, Any] = {"group": view.group}
        for name, overruled in ((found.a.policy, view.overruled_a), *(() if one else ((found.b.policy, view.overruled_b),))):
            row[name] = "suppressed" if view.suppressed else _share(overruled)
        if not one:
            row |= {"appear": view.appear, "vanish": view.vanish}
        rows.append(row)
    lines += [f"Of the answers that most of a group flag ({found.by}), the share that is overruled by:"]
    return lines + columns(rows, list(rows[0]))


def _share(found: "Overruled") -> str:
    if found.share is None:
        return "not enough answers"
    if found.null_low is None:
        return f"{found.share:.2f} of {found.items}"
    return f"{found.share:.2f} of {found.items} (by chance {found.null_low:.2f} to {found.null_high:.2f})"


def ask(
    context: typer.Context,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts that were not asked about yet.")] = 60,
    answers: Annotated[int, typer.Option(min=2, max=4, help="Answers side by side: which of 2, or in what order.")] = 2,
    reviews_per_item: Annotated[int, typer.Option(min=1, help="How many people judge each.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same answers: same choice.")] = 0,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Have people judge answers of the current version side by side; what they prefer becomes pairs."""
    from flagback.storage import audit, comparisons
    from flagback.storage.records import now
    from flagback.storage.versions import current

    with records(context) as store:
        by = actor(store, as_)
        with store.writing() as session:
            version = current(session)
            made = comparisons.make(
                session, version_id=version.id, prompts=prompts, answers=answers, reviews_per_item=reviews_per_item, seed=seed
            )
            details = {"version": version.id, "comparisons": made, "answers": answers, "reviews_per_item": reviews_per_item}
            audit.record(session, actor=by, action="comparisons made", details=details, now=now())
    several = "prompts have" if made > 1 else "prompt has"
    show(details, as_json=as_json, lines=[f"{made} {several} answers side by side now, for {reviews_per_item} people each."])
