"""Care: what reviewers are told and spared, and the texts that one of them had taken away. Nobody's own figures stand here."""

import streamlit as st

from flagback.review_app import words
from flagback.review_app.access import STEERING_ROLES
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, topics
from flagback.review_app.words import tr, trc, trn
from flagback.storage import wellbeing, withdrawals
from flagback.storage.prompts import UnstorableText
from flagback.storage.records import Account, now
from flagback.storage.taxonomy import CATEGORIES
from flagback.storage.wellbeing import BadTerms, Terms
from flagback.storage.withdrawals import NoReason, NotWithdrawn


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(trc("page", "Care"), tr("What reviewers are told and spared. Totals only: nobody's own figures stand here."))
    if kept := st.session_state.pop("flagback_care_kept", None):
        look.said(kept, "ok")
    st.subheader(tr("What reviewers are told before they start"), anchor=False)
    topics.told(installation)
    if account.role in STEERING_ROLES:
        _terms(installation, account)
    _withdrawn(installation, account)


def _terms(installation: Installation, account: Account) -> None:
    st.subheader(tr("What holds for everybody"), anchor=False)
    with installation.store.reading() as session:
        before = wellbeing.terms(session)
    with st.form("care", border=False):
        support = st.text_area(
            tr("Whom reviewers can turn to"),
            before.support,
            max_chars=wellbeing.LONGEST_SUPPORT,
            placeholder=tr("Names, numbers, hours: shown before the start, on breaks and at the end of the day"),
        )
        severe = st.number_input(
            tr("Severe answers one person meets in 24 hours before nothing more is handed out"), 1, 1_000, before.severe_a_day
        )
        cover = st.slider(tr("Cover an answer from an expected harm of"), 0.05, 1.0, before.cover_from, 0.05)
        sensitive = st.text_area(
            tr("Topics whose answers are covered while nothing is known of them, one a line"), "\n".join(before.sensitive_topics)
        )
        if not st.form_submit_button(tr("Keep this"), type="primary"):
            return
    try:
        with installation.store.writing() as session:
            wanted = Terms(support, int(severe), float(cover), sensitive.splitlines())
            wellbeing.set_terms(session, wanted, by=account.login, now=now())
    except (BadTerms, UnstorableText) as error:
        look.said(tr("{what} Nothing was changed.", what=words.told(error)), "flag")
        return
    st.session_state["flagback_care_kept"] = tr("Kept. It holds from the next answer that is handed out.")
    st.rerun()


def _withdrawn(installation: Installation, account: Account) -> None:
    st.subheader(tr("Texts taken away"), anchor=False)
    with installation.store.reading() as session:
        gone = withdrawals.in_force(session)
    if not gone:
        look.empty(
            tr("Nothing was taken away"),
            tr(
                "When a reviewer ticks “{category}”, the text goes at once, and stands here.",
                category=words.stored("taxonomy minors", "Sexual content with minors"),
            ),
        )
        return
    told = tr(
        "A reviewer’s tick took these away from everybody: no queue, page, export or set holds them. They are never shown here. "
        "Follow the law where you are about keeping and reporting such texts."
    )
    look.html(f'<div class="soft">{told}</div>')
    names = {one.code: words.tr_each(one, "taxonomy").name for one in CATEGORIES}
    for row in gone:
        with st.container(key=f"fb-card-withdrawn-{row.id}"):
            item = tr("item {number}", number=row.item_id) if row.item_id is not None else tr("never put before people")
            length = trn("{count} character", "{count} characters", row.length)
            pill = look.pill(tr("withdrawal {number}", number=row.id))
            look.html(
                f"<div><b>{look.quiet(names.get(row.category, row.category))}</b> {pill}"
                f'<div class="small soft">{item} · {length} · {look.clock(row.created_at)}</div></div>'
            )
            with st.popover(tr("Give it back…")):
                look.html(f"<div>{tr('Everybody can meet it again, and people are asked about it once more.')}</div>")
                reason = st.text_input(tr("Why was it taken away by mistake?"), key=f"reason-{row.id}")
                if st.button(tr("Give it back"), key=f"back-{row.id}"):
                    _give_back(installation, account, row.id, reason)


def _give_back(installation: Installation, account: Account, number: int, reason: str) -> None:
    try:
        with installation.store.writing() as session:
            withdrawals.give_back(session, number, by=account.login, reason=reason, now=now())
    except (NoReason, NotWithdrawn, UnstorableText) as error:
        look.said(tr("{what} Nothing was changed.", what=words.told(error)), "flag")
        return
    st.session_state["flagback_care_kept"] = tr(
        "Withdrawal {number} has ended; it stands in the audit log with your reason.", number=number
    )
    st.rerun()
