"""What leaving answers out would change, said before it is done: command and page show the same.

Speaks of whom prompts are about, never of which group a reviewer is of (`flagback.model.policy_comparison.without`).
"""

from sqlmodel import Session

from flagback.model import pair_sets, policy_comparison
from flagback.model.policy_comparison import Without
from flagback.review_app.words import number, tr, trn
from flagback.storage import adjudications, comparisons
from flagback.storage.records import Review
from flagback.storage.versions import NoModel, current


def change(session: Session, *, reviewer: str | None = None, review_id: int | None = None) -> Without | None:
    """What leaving a reviewer's answers out, or one review, does to the current version's pairs; None where there is no model."""
    try:
        version = current(session)
    except NoModel:
        return None
    rows = pair_sets.read(session, version.id, simulated=False)
    meant = None if review_id is None else session.get(Review, review_id)
    compared = comparisons.judged(session, version.id, simulated=False)
    given = [*(review for row in rows for review in row.reviews), *(review for one in compared for review in one.reviews)]
    left_out = frozenset(
        review.id
        for review in given
        if review.reviewer == reviewer
        or (meant is not None and (review.item_id, review.reviewer) == (meant.item_id, meant.reviewer))
    )
    return policy_comparison.without(rows, left_out, adjudications.of_generations(session), compared)


def words(change: Without) -> list[str]:
    """The same in sentences."""
    lines = [
        trn(
            "{count} reviews would be left out of the current version's; {unjudged} answers would have none.",
            "{count} reviews would be left out of the current version's; {unjudged} answers would have none.",
            change.reviews,
            unjudged=number(change.unjudged),
        ),
        tr(
            "Pairs by majority: {before} now, {after} then ({appear} new, {vanish} gone).",
            before=number(change.pairs_before),
            after=number(change.pairs_after),
            appear=number(change.appear),
            vanish=number(change.vanish),
        ),
    ]
    moved = [
        tr("{group} {before} to {after}", group=group, before=number(before), after=number(after))
        for _, group, before, after in change.groups
        if before != after
    ]
    if moved:
        lines.append(tr("By whom the prompts speak of: {groups}.", groups="; ".join(moved)))
    return lines
