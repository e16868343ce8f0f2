"""What may upset, said before the start and on one's own page: each harm with how often people met it lately, and what to decline.

Knows words and counts; what declining does is the claim's business. Nothing else reads it.
"""

import streamlit as st

from flagback.review_app import words
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.review_app.words import tr, trc, trn
from flagback.storage import wellbeing
from flagback.storage.invisible import visible
from flagback.storage.records import Account, now
from flagback.storage.taxonomy import CATEGORIES, TARGETS


def told(installation: Installation) -> None:
    """What people found lately, kind by kind."""
    with installation.store.reading() as session:
        found = wellbeing.lately(session, now=now())
        care = wellbeing.terms(session)
    known = found.judged >= wellbeing.FEWEST
    rows = [
        [
            f"<b>{look.quiet(one.name)}</b><div class='soft small'>{look.quiet(one.definition)}</div>",
            words.number(found.flagged.get(one.code, 0)) if known else "–",
        ]
        for one in (words.tr_each(each, "taxonomy") for each in CATEGORIES)
        if one.part != "meta"
    ]
    head = (
        trn("of {count} answer judged in the last 30 days", "of {count} answers judged in the last 30 days", found.judged)
        if known
        else tr("not enough judged yet to say")
    )
    look.table([tr("What you may meet"), head], rows, numeric=(1,))
    said = [
        tr("Answers that may be upsetting are covered until you ask for them."),
        trn("{count} of them was called severe.", "{count} of them were called severe.", found.severe) if known else "",
        trn(
            "After {count} severe one in 24 hours you get no more for that day.",
            "After {count} severe ones in 24 hours you get no more for that day.",
            care.severe_a_day,
        ),
        tr("You can skip any, and stop at any time; neither has a drawback."),
    ]
    look.html(f'<p class="soft">{" ".join(filter(None, said))}</p>')
    if care.support:
        look.html(f'<div class="fb-said">{look.quiet(care.support)}</div>')


def choose(installation: Installation, account: Account) -> list[str]:
    """The topics that the person declines, as they stand in the boxes."""
    with installation.store.reading() as session:
        offered = wellbeing.topics(session)
        before = wellbeing.declined(session, account.id)
    known = offered | {topic: topic.partition(":")[2] for topic in sorted(before) if topic not in offered}
    known |= {f"category:{one.code}": words.tr_each(one, "taxonomy").name for one in CATEGORIES if f"category:{one.code}" in known}
    known |= {f"target:{one.code}": words.tr_each(one, "taxonomy").name for one in TARGETS if f"target:{one.code}" in known}
    title = tr("Topics you would rather not be asked about")
    told = tr(
        "None has a drawback for you, and nobody is told. It goes by what a prompt is marked with, and by what others found in "
        "answers to it."
    )
    look.html(f'<div><b>{title}</b></div><div class="soft small">{told}</div>')
    return st.multiselect(
        title,
        list(known),
        default=sorted(before),
        format_func=lambda topic: visible(known[topic]),
        key="declined",
        label_visibility="collapsed",
        placeholder=trc("no topics", "None"),
        select_all=False,
    )


def keep(installation: Installation, account: Account, chosen: list[str]) -> None:
    """Stores the choice; from the next claim on it holds."""
    with installation.store.writing() as session:
        wellbeing.decline(session, account.id, chosen, now=now())
