"""What may upset, said before the start and on one's own page: each harm with how often people met it lately, and what to decline.

Knows words and counts; what declining does is the claim's business. Nothing else reads it.
"""

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage import wellbeing
from flagback.storage.invisible import visible
from flagback.storage.records import Account, now
from flagback.storage.taxonomy import CATEGORIES


def told(installation: Installation) -> None:
    """What people found lately, kind by kind."""
    with installation.store.reading() as session:
        found = wellbeing.lately(session, now=now())
        care = wellbeing.terms(session)
    known = found.judged >= wellbeing.FEWEST
    rows = [
        [
            f"<b>{look.quiet(one.name)}</b><div class='soft small'>{look.quiet(one.definition)}</div>",
            f"{found.flagged.get(one.code, 0):,}" if known else "–",
        ]
        for one in CATEGORIES
        if one.part != "meta"
    ]
    head = f"of {found.judged:,} answers judged in the last 30 days" if known else "not enough judged yet to say"
    look.table(["What you may meet", head], rows, numeric=(1,))
    severe = f" {found.severe:,} of them were called severe." if known else ""
    look.html(
        f'<p class="soft">Answers that may be upsetting are covered until you ask for them.{severe} After {care.severe_a_day} '
        "severe ones in 24 hours you get no more for that day. You can skip any, and stop at any time; neither has a drawback.</p>"
    )
    if care.support:
        look.html(f'<div class="fb-said">{look.quiet(care.support)}</div>')


def choose(installation: Installation, account: Account) -> list[str]:
    """The topics that the person declines, as they stand in the boxes."""
    with installation.store.reading() as session:
        offered = wellbeing.topics(session)
        before = wellbeing.declined(session, account.id)
    words = offered | {topic: topic.partition(":")[2] for topic in sorted(before) if topic not in offered}
    look.html(
        '<div><b>Topics you would rather not be asked about</b></div><div class="soft small">None has a drawback for you, and '
        "nobody is told. It goes by what a prompt is marked with, and by what others found in answers to it.</div>"
    )
    return st.multiselect(
        "Topics you would rather not be asked about",
        list(words),
        default=sorted(before),
        format_func=lambda topic: visible(words[topic]),
        key="declined",
        label_visibility="collapsed",
        placeholder="None",
    )


def keep(installation: Installation, account: Account, chosen: list[str]) -> None:
    """Stores the choice; from the next claim on it holds."""
    with installation.store.writing() as session:
        wellbeing.decline(session, account.id, chosen, now=now())
