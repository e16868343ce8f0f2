"""Checks: how often people are asked a second time, and which answers leave no doubt. What comes of it stands on Reviewers."""

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, section
from flagback.review_app.words import day, tr, trn
from flagback.storage import gold, second_looks
from flagback.storage.gold import BadGold, Candidate, Known, UnknownGold
from flagback.storage.records import Account, Expected, now
from flagback.storage.second_looks import SELDOM_ENOUGH, BadRates, Rates

#: Candidates on the page.
OFFERED = 10


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Checks"),
        tr(
            "Some answers are asked a second time: own earlier ones, and gold, which leaves no doubt. Reviewers cannot "
            "tell them apart."
        ),
    )
    section.strip(account, "checks")
    look.said(
        tr(
            "They tell how steadily somebody judges, on the page Reviewers. Nobody's standing depends on agreeing with "
            "the majority, "
            "nobody is left out by them, and they count in no figure about answers."
        )
    )
    if kept := st.session_state.pop("flagback_checks_kept", None):
        look.said(kept, "ok")
    _rates(installation, account)
    with installation.store.reading() as session:
        known, offered = gold.in_force(session), gold.candidates(session, limit=OFFERED)
    _in_force(installation, account, known)
    _offered(installation, account, offered)


def _rates(installation: Installation, account: Account) -> None:
    st.subheader(tr("How often"), anchor=False)
    with installation.store.reading() as session:
        before = second_looks.rates(session)
    with st.form("checks-rates", border=False):
        left, right = st.columns(2)
        repeat = left.number_input(
            tr("An own earlier answer: one in"),
            0,
            10_000,
            before.repeat_every,
            help=tr("0 asks none a second time; else 5 or more."),
        )
        golden = right.number_input(tr("Gold: one in"), 0, 10_000, before.gold_every, help=tr("0 hands out none; else 5 or more."))
        days = left.number_input(tr("Days before an own answer comes again"), 0, 365, before.days_apart)
        answers = right.number_input(tr("Further answers before it comes again"), 0, 1_000, before.answers_apart)
        if not st.form_submit_button(tr("Keep this"), type="primary"):
            return
    for title, value in ((tr("An own earlier answer: one in"), repeat), (tr("Gold: one in"), golden)):
        if 0 < value < SELDOM_ENOUGH:
            least = tr(
                "“{field}” is {value}; expected 0 for never, or {least} and more: most work is to be new.",
                field=title.rstrip(":"),
                value=int(value),
                least=SELDOM_ENOUGH,
            )
            look.said(f"{least} {tr('Nothing was changed.')}", "flag")
            return
    try:
        with installation.store.writing() as session:
            wanted = Rates(int(repeat), int(golden), int(days), int(answers))
            second_looks.set_rates(session, wanted, by=account.login, now=now())
    except BadRates as error:
        look.said(f"{error} {tr('Nothing was changed.')}", "flag")
        return
    st.session_state["flagback_checks_kept"] = tr("Kept. It holds from the next answer that is handed out.")
    st.rerun()


def _words(expected: Expected) -> str:
    return tr("everybody flags it") if expected == "flag" else tr("everybody finds it fine")


def _in_force(installation: Installation, account: Account, known: list[Known]) -> None:
    st.subheader(tr("Gold"), anchor=False)
    if not known:
        look.empty(
            tr("No answer is gold yet"),
            tr("Choose some below, once people agree on them, or bring them along: 'flagback checks import FILE'."),
        )
        return
    for one in known:
        with st.container(key=f"fb-card-gold-{one.gold.id}"):
            met = tr("{met} of {asked} judged so", met=one.met, asked=one.asked) if one.asked else tr("not judged yet")
            look.html(
                f"{look.asked(list(one.messages))}{look.quote(one.text)}"
                f"<div>{look.pill(_words(one.gold.expected), 'flag' if one.gold.expected == 'flag' else 'ok')} "
                f"<span class='small soft'>{look.quiet(met)} · {look.quiet(one.gold.added_by)}, "
                f"{day(one.gold.created_at)}</span></div>"
            )
            if st.button(tr("Ask about it no more"), key=f"gold-end-{one.gold.id}"):
                _end(installation, account, one.gold.id)


def _end(installation: Installation, account: Account, number: int) -> None:
    try:
        with installation.store.writing() as session:
            gold.end(session, number, by=account.login, now=now())
    except UnknownGold as error:
        look.said(str(error), "flag")
        return
    st.session_state["flagback_checks_kept"] = tr("It is handed out no more; what was said of it stays.")
    st.rerun()


def _offered(installation: Installation, account: Account, offered: list[Candidate]) -> None:
    st.subheader(tr("Answers that could be gold"), anchor=False)
    if not offered:
        look.empty(
            tr("None yet"),
            trn(
                "Here stand answers that {count} person or more judged, all alike.",
                "Here stand answers that {count} people or more judged, all alike.",
                gold.AGREED_BY,
            ),
        )
        return
    choose = tr("Choose what a newcomer could not miss. What is merely liked by most is no gold: people may differ.")
    look.html(f"<div class='soft'>{choose}</div>")
    for one in offered:
        with st.container(key=f"fb-card-candidate-{one.generation_id}"):
            votes = trn("{count} person", "{count} people", one.votes)
            look.html(
                f"{look.asked(list(one.messages))}{look.quote(one.text)}"
                f"<div>{look.pill(_words(one.expected), 'flag' if one.expected == 'flag' else 'ok')} "
                f"<span class='small soft'>{look.quiet(votes)}</span></div>"
            )
            if st.button(tr("Make it gold"), key=f"gold-add-{one.generation_id}"):
                _add(installation, account, one.generation_id)


def _add(installation: Installation, account: Account, generation_id: int) -> None:
    try:
        installation.store.settle(lambda session: gold.add(session, generation_id, by=account.login, now=now()).id)
    except BadGold as error:
        look.said(str(error), "flag")
        return
    st.session_state["flagback_checks_kept"] = tr("It is gold from now on, for people who have not met it.")
    st.rerun()
