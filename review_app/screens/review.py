"""The reviewer's one screen: the board, and nothing beside it; before it, once, what reviewing is and whether they want to."""

import math

import streamlit as st

from flagback.review_app import auth, guidance, words
from flagback.review_app.board import show_board
from flagback.review_app.guidance import Guideline
from flagback.review_app.installation import Installation
from flagback.review_app.screens import away, languages, look, topics
from flagback.review_app.words import consent_version, tr, trn
from flagback.storage import accounts, consent, practice, studies, wellbeing
from flagback.storage.consent import PURPOSES
from flagback.storage.records import Account, now

#: That most people read attentively.
WORDS_A_MINUTE = 200
#: Streamlit's own header and margins are taken away: one column, one decision.
_FRAME = """<style>
header[data-testid="stHeader"], [data-testid="stSidebar"] { display: none; }
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
        gone = wellbeing.away_since(session, account.id) is not None
        guideline = guidance.guideline_for(session, account, words.of_browser())
        practising = practice.under_way(session, installation.reviewer(account), read=account.languages or []) is not None
    if not agreed or account.languages is None:
        _before_the_start(installation, account, guideline)
        return
    if gone:
        look.heading(tr("You are away"))
        away.card(installation, account)
        look.html(f'<p class="small soft">{look.link("/you", tr("Your page"))} · {look.link("/signout", tr("Sign out"))}</p>')
        return
    show_board(
        account=installation.browser_name(account),
        token=auth.page_token(installation, account),
        aim=installation.settings.items_a_day if part is None else part.wanted,
        support=care.support,
        language=words.best(account.language, words.of_browser(), words.ON_THE_BOARD),
        guideline=guideline,
        practice=practising,
    )


def _before_the_start(installation: Installation, account: Account, guideline: Guideline) -> None:
    """What it is, what may upset, the guidelines, which languages; a box that nobody has ticked for them."""
    purpose = words.tr_each(PURPOSES[0], "consent")
    look.heading(tr("Before you start"))
    told = tr(
        "You will read what a language model wrote, and say which answers you would change. There is no clock, no score, and no "
        "right number of flags. Nobody else sees your answers while they review."
    )
    look.html(f'<p style="margin:4px 0 12px">{told}</p><div class="fb-said">{look.quiet(purpose.more)}</div>')
    st.write("")
    minutes = math.ceil(len(guideline.text.split()) / WORDS_A_MINUTE)
    label = trn(
        "What you are asked: the guidelines ({count} minute)", "What you are asked: the guidelines ({count} minutes)", minutes
    )
    with st.expander(label):
        st.markdown(guideline.text)
    topics.told(installation)
    declined = topics.choose(installation, account)
    agreed = st.checkbox(purpose.words, value=False, key="agree")
    read = languages.choose(installation, account)
    if st.button(tr("Start"), type="primary", disabled=not agreed or not read, key="start"):
        with installation.store.writing() as session:
            accounts.set_languages(session, account.id, read)
            consent.set_consent(session, account.id, {"review": True}, now=now(), text_version=consent_version())
            wellbeing.decline(session, account.id, declined, now=now())
            mine = guidance.practised_in(account.model_copy(update={"languages": read}), words.of_browser())
            practice.begin_first(session, installation.reviewer(account), read=mine, now=now())
        st.rerun()
    more = tr(
        "If you like, the page “You” asks a few things about your background, each optional, and only for what you agree to there. "
        "You can take your consent back at any time."
    )
    look.html(f'<p class="small soft">{more}</p><p class="small soft">{look.link("/signout", tr("Sign out"))}</p>')
