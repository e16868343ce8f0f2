"""What leaving answers out would change, said before it is done: command and page show the same.

Speaks of groups of five or more, never of whose the answers are (`flagback.model.policy_comparison.without`).
"""

from sqlmodel import Session

from flagback.model import pair_sets, policy_comparison
from flagback.model.policy_comparison import Without
from flagback.storage import adjudications, rater_groups
from flagback.storage.records import Review
from flagback.storage.versions import NoModel, current


def change(session: Session, key: bytes, *, reviewer: str | None = None, review_id: int | None = None) -> Without | None:
    """What leaving a reviewer's answers out, or one review, does to the current version's pairs; None where there is no model."""
    try:
        version = current(session)
    except NoModel:
        return None
    rows = pair_sets.read(session, version.id, simulated=False)
    meant = None if review_id is None else session.get(Review, review_id)
    left_out = frozenset(
        review.id
        for row in rows
        for review in row.reviews
        if review.reviewer == reviewer
        or (meant is not None and (review.item_id, review.reviewer) == (meant.item_id, meant.reviewer))
    )
    voters = {review.reviewer for row in rows for review in row.reviews}
    try:
        grouping = rater_groups.grouping(session, key, voters)
    except rater_groups.NoSuchQuestion:  # several questions give groups; which one counts is a policy's business
        grouping = rater_groups.NOBODY
    return policy_comparison.without(rows, left_out, grouping, adjudications.of_generations(session))


def words(change: Without) -> list[str]:
    """The same in sentences; the groups by their codes."""
    appear, vanish = f"{change.appear:,} new", f"{change.vanish:,} gone"
    lines = [
        f"{change.reviews:,} reviews would be left out of the current version's; {change.unjudged:,} answers would have none.",
        f"Pairs by majority: {change.pairs_before:,} now, {change.pairs_after:,} then ({appear}, {vanish}).",
    ]
    for group, before, after in change.groups:
        shares = "not shown: too few" if before is None or after is None else f"{before:.2f} now, {after:.2f} then"
        lines.append(f"Of what most of {group} flag, overruled: {shares}.")
    return lines
