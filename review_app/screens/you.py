"""One's own page: one's day, a pause, consent, languages, background, and where one is signed in. It shows nobody else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from flagback.review_app import auth, words
from flagback.review_app.access import REVIEWING_ROLES
from flagback.review_app.installation import Installation
from flagback.review_app.screens import away, languages, look, section, topics
from flagback.review_app.words import consent_version, number, tr, trc
from flagback.storage import accounts, audit, background, consent, own_answers, slots, studies, wellbeing
from flagback.storage.background import NOT_SAID, Answered, Question
from flagback.storage.consent import PURPOSES, Purpose
from flagback.storage.records import Account, now


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        trc("page", "You"), tr("Nobody else sees this page, and what is said here never stands beside your name on another one.")
    )
    look.column()
    section.strip(account, "you")
    _completion(installation, account)
    if account.role in REVIEWING_ROLES:
        _today(installation, account)
        away.card(installation, account)
        again = look.link("/review#practice", tr("Go through the practice again"))
        look.html(f"<p>{again}</p>")
        _consents(installation, account)
        _languages(installation, account)
        _topics(installation, account)
        _background(installation, account)
    _language(installation, account)
    _sign_ins(installation, account)
    if account.password_hash is not None:
        _password(installation, account)


def _completion(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        part = studies.part_of(session, account, installation.reviewer(account))
    if part is None:
        return
    if part.code is not None:
        code = f"<b>{look.quiet(part.code)}</b>"
        look.html(f'<div class="fb-said ok">{tr("You are done. Your completion code: {code}", code=code)}</div>')
    else:
        given, wanted = words.number(part.given), words.number(part.wanted)
        look.said(tr("{given} of {wanted} answers given; then your completion code appears here.", given=given, wanted=wanted))


# ------------------------------------------------------------------------ today


def _today(installation: Installation, account: Account) -> None:
    """What was done since midnight where the person is."""
    reviewer, moment = installation.reviewer(account), now()
    with installation.store.reading() as session:
        part = studies.part_of(session, account, reviewer)
        since = own_answers.tally(session, reviewer, since=_midnight(moment))
        severe = wellbeing.met_severe(session, reviewer, now=moment)
        care = wellbeing.terms(session)
    st.subheader(tr("Today"), anchor=False)
    if not since.judged and not since.skipped:
        look.empty(tr("Nothing yet today."), tr("What you judge today is listed under “Your answers”."))
    else:
        if part is None:
            judged = tr("the board speaks of {aim} a day; fewer is fine", aim=number(installation.settings.items_a_day))
        else:
            judged = tr("{given} of {wanted} in all", given=number(part.given), wanted=number(part.wanted))
        look.strip(
            [
                look.Step(tr("Judged"), since.judged, judged),
                look.Step(tr("Flagged"), since.flagged, tr("there is no right number")),
                look.Step(tr("Skipped"), since.skipped, tr("never a drawback")),
                look.Step(tr("Severe"), severe, tr("in 24 hours; a pause comes after {most}", most=number(care.severe_a_day))),
            ]
        )
    look.html(f"<p>{look.link('/review', tr('Go on reviewing'))}</p>")


def _midnight(moment: datetime) -> datetime:
    """The last one by the browser's clock; minutes from there to UTC are what it tells."""
    offset = timedelta(minutes=st.context.timezone_offset or 0)
    return (moment.astimezone(UTC) - offset).replace(hour=0, minute=0, second=0, microsecond=0) + offset


# ---------------------------------------------------------------------- consent


def _consents(installation: Installation, account: Account) -> None:
    st.subheader(tr("What you agree to"), anchor=False)
    with installation.store.reading() as session:
        given = consent.in_force(session, account.id)
    for purpose in (words.tr_each(one, "consent") for one in PURPOSES):
        with st.container(key=f"fb-card-consent-{purpose.code}"):
            _one_consent(installation, account, purpose, given=given[purpose.code])


def _one_consent(installation: Installation, account: Account, purpose: Purpose, *, given: bool) -> None:
    """One question with its answer; taking it back says first what that does."""
    state = look.pill(tr("agreed"), "ok") if given else look.pill(tr("not agreed"))
    look.html(f'<div><b>{look.quiet(purpose.words)}</b> {state}</div><div class="soft">{look.quiet(purpose.more)}</div>')
    asking = f"flagback_taking_back_{purpose.code}"
    if not given:
        if st.button(tr("I agree"), key=f"agree-{purpose.code}"):
            _set(installation, account, purpose, given=True)
    elif not st.session_state.get(asking):
        if st.button(tr("Take it back…"), key=f"back-{purpose.code}"):
            st.session_state[asking] = True
            st.rerun()
    else:
        look.said(tr("If you take it back: {what}", what=purpose.on_withdrawal))
        yes, no = st.columns(2)
        if yes.button(tr("Take it back"), key=f"yes-{purpose.code}", type="primary"):
            _set(installation, account, purpose, given=False)
        if no.button(tr("Leave it as it is"), key=f"no-{purpose.code}"):
            del st.session_state[asking]
            st.rerun()


def _set(installation: Installation, account: Account, purpose: Purpose, *, given: bool) -> None:
    with installation.store.writing() as session:
        consent.set_consent(session, account.id, {purpose.code: given}, now=now(), text_version=consent_version())
    if purpose.code == "review" and not given:
        slots.release(installation.store, installation.reviewer(account), now=now())
    st.session_state.pop(f"flagback_taking_back_{purpose.code}", None)
    st.rerun()


# -------------------------------------------------------------------- languages


def _languages(installation: Installation, account: Account) -> None:
    st.subheader(tr("Languages"), anchor=False)
    chosen = languages.choose(installation, account)
    if sorted(chosen) != sorted(account.languages or []) and st.button(
        tr("Keep these languages"), disabled=not chosen, type="primary"
    ):
        with installation.store.writing() as session:
            accounts.set_languages(session, account.id, chosen)
        st.rerun()


def _language(installation: Installation, account: Account) -> None:
    st.subheader(tr("What this site speaks"), anchor=False)
    languages.choose_own(installation, account)


# ----------------------------------------------------------------------- topics


def _topics(installation: Installation, account: Account) -> None:
    st.subheader(tr("What you meet"), anchor=False)
    topics.told(installation)
    with installation.store.reading() as session:
        before = wellbeing.declined(session, account.id)
    chosen = topics.choose(installation, account)
    if set(chosen) != before and st.button(tr("Keep these topics"), type="primary"):
        topics.keep(installation, account, chosen)
        slots.release(installation.store, installation.reviewer(account), now=now())
        st.rerun()


# ------------------------------------------------------------------- background


def _background(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        asked, _ = background.questions(session)
        said = background.answers_of(session, installation.pseudonym_key, account.id)
    if not asked and not said:
        return
    st.subheader(tr("Your background"), anchor=False)
    told = tr(
        "Every question is optional. Answers are kept apart from your account and from your reviews, under a name of their own, "
        "and are used for nothing but what you agree to above. No group of fewer than five people is ever shown; what you write in "
        "your own words is shown to nobody."
    )
    look.html(f'<div class="soft">{told}</div>')
    kept, given = False, dict[str, Answered]()
    if asked:
        with st.form("background", border=False):
            given = {question.code: _ask(question, said.get(question.code)) for question in asked}
            kept = st.form_submit_button(tr("Keep these answers"), type="primary")
    if kept:
        try:
            with installation.store.writing() as session:
                background.set_answers(session, installation.pseudonym_key, account.id, given, now=now())
        except background.BadBackground as error:
            look.said(words.told(error), "flag")
            return
        st.session_state["flagback_background_kept"] = True
        st.rerun()  # what is drawn below hangs on what is stored
    if st.session_state.pop("flagback_background_kept", False):
        look.said(tr("Kept."), "ok")
    if said and st.button(tr("Delete all of these answers")):
        with installation.store.writing() as session:
            background.forget(session, installation.pseudonym_key, account.id)
        # Fields under new names: the browser keeps what stands in one of the old name, and the next "Keep" would store it again.
        st.session_state["flagback_background_deleted"] = st.session_state.get("flagback_background_deleted", 0) + 1
        st.rerun()


def _ask(question: Question, said: Answered | None) -> Answered:
    """One question's fields, with what was said before in them."""
    # Of the questions that stand until an administrator sets others there are words in each language.
    asked = words.stored(f"background {question.code}", question.question)
    options = {one.code: words.stored(f"background {question.code}", one.words) for one in question.options}
    options[NOT_SAID] = tr("Prefer not to say")
    codes = list(options)
    before = [code for code in (said.answers if said else []) if code in options]
    # The question is drawn by us: Streamlit reads a label as Markdown, unseen where it is hidden, and names the field by its text.
    look.html(f'<div class="fb-question">{look.quiet(asked)}</div>')
    key = f"background-{st.session_state.get('flagback_background_deleted', 0)}-{question.code}"
    arguments: dict[str, Any] = {
        "format_func": options.get,
        "key": key,
        "label_visibility": "collapsed",
        "placeholder": tr("No answer"),
    }
    if question.several:
        ticked = st.multiselect(asked, codes, default=before, select_all=False, **arguments)
    else:
        place = codes.index(before[0]) if before else None
        one = st.selectbox(asked, codes, index=place, **arguments)
        ticked = [one] if one is not None else []
    own = ""
    if question.own_words:
        own = st.text_input(
            tr("{question} In your own words", question=asked),
            value=(said.own_words or "") if said else "",
            key=f"{key}-own",
            max_chars=background.LONGEST_OWN_WORDS,
            label_visibility="collapsed",
            placeholder=tr("In your own words, if none of these fits"),
        )
    return Answered(ticked, own.strip() or None)


# --------------------------------------------------------------------- sign-ins


def _sign_ins(installation: Installation, account: Account) -> None:
    st.subheader(tr("Where you are signed in"), anchor=False)
    cookie = st.context.cookies.get(auth.cookie_name(installation)) or ""
    with installation.store.reading() as session:
        live = accounts.live_sessions(session, account.id, now=now())
        here = accounts.signed_in(session, cookie, now=now())
    own = here.session.token_hash if here else ""
    for row in live:
        left, right = st.columns([4, 1], vertical_alignment="center")
        mark = f" {look.pill(tr('this browser'))}" if row.token_hash == own else ""
        with left:
            when = tr("since {begun}, last seen {seen}", begun=look.clock(row.created_at), seen=look.clock(row.seen_at))
            browser = look.quiet(auth.browser_in_words(row.browser))
            look.html(f'<div>{browser}{mark}<div class="small soft">{when}</div></div>')
        if row.token_hash != own and right.button(tr("Sign out there"), key=f"end-{row.token_hash[:12]}"):
            with installation.store.writing() as session:
                accounts.end_sessions(session, account.id, now=now(), token_hash=row.token_hash)
            st.rerun()
    if st.button(tr("Sign out everywhere")):
        with installation.store.writing() as session:
            accounts.end_sessions(session, account.id, now=now())
        st.rerun()


def _password(installation: Installation, account: Account) -> None:
    st.subheader(tr("Password"), anchor=False)
    with st.form("password", border=False, clear_on_submit=True):
        before = st.text_input(tr("The password you have"), type="password", autocomplete="current-password")
        after = st.text_input(tr("A new one"), type="password", autocomplete="new-password")
        if not st.form_submit_button(tr("Change it")):
            return
    tried = auth.try_password(installation, account.login, before, address=None)
    if isinstance(tried, timedelta):
        look.said(tr("Too many tries. Wait {span}, then try again; nothing was changed.", span=auth.waiting(tried)), "flag")
        return
    if tried is None:
        look.said(tr("The password you have is not right; nothing was changed."), "flag")
        return
    try:
        with installation.store.writing() as session:
            accounts.change_password(session, account.login, after, now=now())
            audit.record(session, actor=account.login, action="password changed", details={"login": account.login}, now=now())
    except accounts.BadPassword as error:
        look.said(words.told(error), "flag")
        return
    look.said(tr("Changed. You are signed out everywhere; sign in with the new one."), "ok")
    look.html(look.link("/signin", tr("Sign in")))
