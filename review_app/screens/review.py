"""The reviewer's one screen: the board, and nothing beside it; before it, once, what reviewing is and whether they want to."""

import streamlit as st

from flagback.review_app import auth
from flagback.review_app.board import show_board
from flagback.review_app.installation import Installation
from flagback.review_app.screens import languages, look, topics
from flagback.storage import accounts, consent, studies, wellbeing
from flagback.storage.consent import PURPOSES
from flagback.storage.records import Account, now

#: Streamlit's own header and margins are taken away: one column, one decision.
_FRAME = """<style>
header[data-testid="stHeader"] { display: none; }
.stMainBlockContainer { max-width: 760px; padding: 20px 20px 40px; }
.stMain { scrollbar-gutter: stable; }
@media (max-width: 560px) { .stMainBlockContainer { padding: 12px 16px 32px; } .stMain { scrollbar-gutter: auto; } }
</style>"""


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    st.html(_FRAME)
    with installation.store.reading() as session:
        agreed = consent.in_force(session, account.id)["review"]
        part = studies.part_of(session, account, installation.reviewer(account))
        care = wellbeing.terms(session)
    if not agreed or account.languages is None:
        _before_the_start(installation, account)
        return
    show_board(
        account=installation.browser_name(account),
        token=auth.page_token(installation, account),
        aim=installation.settings.items_a_day if part is None else part.wanted,
        support=care.support,
    )


def _before_the_start(installation: Installation, account: Account) -> None:
    """What it is, what may upset, which languages; a box that nobody has ticked for them."""
    purpose = PURPOSES[0]
    look.heading("Before you start")
    look.html(
        '<p style="margin:4px 0 12px">You will read what a language model wrote, and say which answers you would change. There '
        "is no clock, no score, and no right number of flags. Nobody else sees your answers while they review.</p>"
        f'<div class="fb-said">{look.quiet(purpose.more)}</div>'
    )
    st.write("")
    topics.told(installation)
    declined = topics.choose(installation, account)
    agreed = st.checkbox(purpose.words, value=False, key="agree")
    read = languages.choose(installation, account)
    if st.button("Start", type="primary", disabled=not agreed or not read, key="start"):
        with installation.store.writing() as session:
            accounts.set_languages(session, account.id, read)
            consent.set_consent(session, account.id, {"review": True}, now=now())
            wellbeing.decline(session, account.id, declined, now=now())
        st.rerun()
    look.html(
        '<p class="small soft">If you like, the page “You” asks a few things about your background, each optional, and only '
        "for what you agree to there. You can take your consent back at any time.</p>"
        f'<p class="small soft">{look.link("/signout", "Sign out")}</p>'
    )
