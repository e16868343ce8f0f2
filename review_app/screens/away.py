"""A pause by one's own word: while somebody is away nothing is handed to them. One press begins it, one press ends it."""

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.review_app.words import tr
from flagback.storage import slots, wellbeing
from flagback.storage.records import Account, now


def card(installation: Installation, account: Account) -> None:
    """Says whether one is away, with the button that changes it."""
    with installation.store.reading() as session:
        since = wellbeing.away_since(session, account.id)
    with st.container(key="fb-card-away"):
        if since is None:
            words = tr(
                "For a day or a year, without a reason. What you hold goes to others at once, and nothing is handed to you until "
                "you are back. Nobody is told, and nothing you said is lost."
            )
            look.html(f'<div><b>{tr("Take a pause")}</b></div><div class="soft">{words}</div>')
            if st.button(tr("I am away"), key="go-away"):
                with installation.store.writing() as session:
                    wellbeing.go_away(session, account.id, now=now())
                slots.release(installation.store, installation.reviewer(account), now=now())
                st.rerun()
        else:
            words = tr("Nothing is handed to you. What you said is kept, and this has no drawback for you.")
            title = tr("You are away since {day}", day=look.day(since))
            look.html(f'<div><b>{look.quiet(title)}</b></div><div class="soft">{words}</div>')
            if st.button(tr("I am back"), key="come-back", type="primary"):
                with installation.store.writing() as session:
                    wellbeing.come_back(session, account.id)
                st.rerun()
