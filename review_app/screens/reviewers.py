"""How reviewers work, by pseudonym, and setting aside: pause one, leave answers out, end it again. A person decides, for a reason.

Never how far somebody agrees with others: dissent is what diverse reviewers are asked for. Names and background are not here.
"""

from collections.abc import Sequence

import streamlit as st

from flagback.model import reviewer_quality
from flagback.model.reviewer_quality import FEWEST, HASTE, OTHERS, Quality, Share
from flagback.review_app import monitoring, setting_aside
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, section
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import claims, judgements, second_looks, set_aside, slots
from flagback.storage.records import Account, SetAside, SettingAside, now
from flagback.storage.store import Store

#: Rows of a table that is turned page by page.
AT_A_TIME = 25
_ACTS: dict[SettingAside, str] = {"pause": "Pause", "exclude": "Leave all answers out"}
_MEANING: dict[SettingAside, str] = {
    "pause": "Is handed nothing more; what was answered counts.",
    "exclude": "Counts in no figure, total or set, and is handed nothing more; others are asked in their place.",
}
_STATES: dict[SettingAside, str] = {"pause": "paused", "exclude": "left out"}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Reviewers"),
        tr("How people work, by pseudonym. Whether somebody agrees with others is not among it: to differ is no fault."),
    )
    section.strip(account, "reviewers")
    with installation.store.reading() as session:
        newest = monitoring.newest_review(session)
        records = list(set_aside.everything(session))
    with st.spinner(tr("Looking at how people work…")):
        found = _qualities(installation.store.shown_url, newest, installation.store)
    if done := st.session_state.pop("flagback_aside", None):
        look.said(done, "ok")
    if not found:
        look.empty(tr("Nobody has reviewed yet"), tr("Speed and steadiness appear here with the first answers."))
        return
    _table(found, records)
    with st.container(key="fb-card-aside"):
        _set_aside(installation, account, found, records)
    _records(installation, account, records)


@st.cache_data(max_entries=2, show_spinner=False)
def _qualities(url: str, newest: tuple[int, int, int], _store: Store) -> list[Quality]:  # noqa: ARG001 # what it is kept under
    with _store.reading() as session:
        return reviewer_quality.qualities(judgements.given(session), second_looks.results(session))


# ------------------------------------------------------------------------ the table


def _table(found: Sequence[Quality], records: Sequence[SetAside]) -> None:
    pages = (len(found) - 1) // AT_A_TIME + 1
    at = st.number_input(tr("Page, of {pages}", pages=number(pages)), 1, pages, 1, key="reviewers-page") if pages > 1 else 1
    rows = [
        [
            f"{look.quiet(one.reviewer)}{_pills(one.reviewer, records)}",
            f'{number(one.judged)}<div class="small soft">{trn("{count} skipped", "{count} skipped", one.skipped)}</div>',
            tr("unknown") if one.seconds is None else f"{written(one.seconds, ',.0f')} s",
            _share(one.hasty),
            _share(one.steady),
            _share(one.plain),
            _share(one.repeats),
            _share(one.gold),
        ]
        for one in found[(at - 1) * AT_A_TIME : at * AT_A_TIME]
    ]
    look.table(
        [
            tr("reviewer"),
            tr("judged"),
            tr("typical time"),
            tr("in haste"),
            tr("steady"),
            tr("plain cases"),
            tr("asked again"),
            tr("gold"),
        ],
        rows,
        numeric=(1, 2),
        stacked=True,
    )
    look.note(
        tr(
            "In haste: judged in under {haste} s. Steady: of texts met twice, those judged alike each time. Plain "
            "cases: of answers that {others} others or more all flag as clear or severe, those flagged. With 95 % "
            "intervals; under {fewest} there is no number.",
            haste=written(HASTE, "g"),
            others=OTHERS,
            fewest=FEWEST,
        )
    )
    look.note(
        tr(
            "Asked again: of own earlier answers that came a second time, those judged as before. Gold: of answers that "
            "leave no doubt, those judged as expected. Nobody's standing depends on agreeing with the majority, and nobody is "
            "left out by these by itself."
        )
    )


def _pills(reviewer: str, records: Sequence[SetAside]) -> str:
    words = {row.kind: stored("aside", _STATES[row.kind]) for row in records if row.reviewer == reviewer and row.ended_at is None}
    return "".join(f" {look.pill(words[kind], 'flag')}" for kind in sorted(words))


def _share(found: Share | None) -> str:
    """A share and its interval, drawn and in words."""
    if found is None:
        return f'<span class="soft">{tr("too few")}</span>'
    low, high, value = (100 * part for part in (found.low, found.high, found.value))
    return (
        f'<div class="fb-range" aria-hidden="true"><i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<b style="left:{value:.1f}%"></b></div>{written(value, ".0f")} %'
        f'<span class="small soft"> {tr("({low}–{high}) of {n}", low=f"{low:.0f}", high=f"{high:.0f}", n=number(found.n))}</span>'
    )


# -------------------------------------------------------------------- setting aside


def _set_aside(installation: Installation, account: Account, found: Sequence[Quality], records: Sequence[SetAside]) -> None:
    st.subheader(tr("Set somebody aside"), anchor=False)
    turn = st.session_state.setdefault("flagback_aside_turn", 0)
    reviewer = st.selectbox(
        tr("Whom?"), [one.reviewer for one in found], index=None, placeholder=tr("Choose a pseudonym"), key=f"aside-who-{turn}"
    )
    if reviewer is None:
        look.aside(tr("Nothing is deleted, and everything can be taken back. To differ from others is no reason."))
        return
    kind: SettingAside = st.radio(
        tr("What?"),
        list(_ACTS),
        format_func=lambda kind: stored("aside", _ACTS[kind]),
        captions=[stored("aside", words) for words in _MEANING.values()],
        key=f"aside-kind-{turn}",
    )
    if any((row.kind, row.reviewer, row.ended_at) == (kind, reviewer, None) for row in records):
        look.said(
            tr("{reviewer} is paused already; the record is below.", reviewer=reviewer)
            if kind == "pause"
            else tr("{reviewer} is left out already; the record is below.", reviewer=reviewer)
        )
        return
    reason = st.text_area(
        tr("Why?"), max_chars=2_000, height=80, key=f"aside-why-{turn}", help=tr("Kept with your name; at least ten characters.")
    )
    judged = next(one.judged + one.skipped for one in found if one.reviewer == reviewer)
    lines = _preview(installation, kind, reviewer, judged)
    look.html("".join(f"<div>{look.quiet(line)}</div>" for line in lines))
    with st.popover(tr("Set aside…"), key="aside-set"):
        look.html(f"<p>{stored('aside', _ACTS[kind])}: {look.quiet(reviewer)}. {stored('aside', _MEANING[kind])}</p>")
        if st.button(tr("Set aside"), type="primary", key="aside-sure"):
            _add(installation, account, kind, reviewer, reason)


def _preview(installation: Installation, kind: SettingAside, reviewer: str, given: int) -> list[str]:
    """What would change, per group."""
    with installation.store.reading() as session:
        if kind == "pause":
            held = len(claims.held(session, reviewer, now=now()))
            return [
                trn(
                    "{count} answer in hand would go back to the queue. No figure changes.",
                    "{count} answers in hand would go back to the queue. No figure changes.",
                    held,
                )
            ]
        change = setting_aside.change(session, reviewer=reviewer)
    everything = trn("{count} answer in all would count no more.", "{count} answers in all would count no more.", given)
    if change is None:
        return [everything, tr("No model is registered, so there are no pairs that could change.")]
    return [everything, *setting_aside.words(change)]


def _add(installation: Installation, account: Account, kind: SettingAside, reviewer: str, reason: str) -> None:
    try:
        record = installation.store.settle(
            lambda session: set_aside.add(session, kind, reviewer=reviewer, reason=reason, by=account.login, now=now()).id
        )
    except (set_aside.NoReason, set_aside.AlreadySetAside, set_aside.UnknownReviewer) as error:
        look.said(retold(str(error)), "flag")
        return
    back = slots.release(installation.store, reviewer, now=now())
    st.session_state["flagback_aside_turn"] += 1
    said = [
        tr("{reviewer} is paused (record {record}).", reviewer=reviewer, record=record)
        if kind == "pause"
        else tr("{reviewer} is left out (record {record}).", reviewer=reviewer, record=record)
    ]
    if back:
        said.append(trn("{count} answers in hand went back.", "{count} answers in hand went back.", back))
    said.append(tr("To take it back, end record {record} below.", record=record))
    st.session_state["flagback_aside"] = " ".join(said)
    st.rerun()


# ---------------------------------------------------------------------------- records


def _records(installation: Installation, account: Account, records: Sequence[SetAside]) -> None:
    st.subheader(tr("Who and what was set aside"), anchor=False)
    if not records:
        look.aside(tr("Nobody and nothing yet."))
        return
    for row in records:
        left, right = st.columns([5, 1], vertical_alignment="center")
        with left:
            whom = (
                look.quiet(row.reviewer) if row.reviewer is not None else tr("one answer (review {review})", review=row.review_id)
            )
            state = look.pill(stored("aside", _STATES[row.kind]), "flag") if row.ended_at is None else look.pill(tr("ended"))
            if row.ended_at is not None:
                whom = tr("{whom} was paused", whom=whom) if row.kind == "pause" else tr("{whom} was left out", whom=whom)
            told = tr(
                "record {record}, by {name} on {day}", record=row.id, name=look.quiet(row.decided_by), day=look.day(row.created_at)
            )
            if row.ended_at is not None:
                told += "; " + tr("ended by {name} on {day}", name=look.quiet(row.ended_by or ""), day=look.day(row.ended_at))
            look.html(f'<div>{whom} {state}</div><div>{look.quiet(row.reason)}</div><div class="small soft">{told}</div>')
        if row.ended_at is None:
            with right.popover(tr("End…"), key=f"aside-end-{row.id}", width="stretch"):
                effect = (
                    tr("Is handed answers again.")
                    if row.kind == "pause"
                    else tr("What was left out counts again; those asked instead stay.")
                )
                look.html(f"<p>{effect}</p>")
                if st.button(tr("End it"), type="primary", key=f"aside-ended-{row.id}"):
                    _end(installation, account, row)


def _end(installation: Installation, account: Account, row: SetAside) -> None:
    try:
        with installation.store.writing() as session:
            set_aside.end(session, row.id, by=account.login, now=now())
    except set_aside.NotSetAside as error:
        look.said(retold(str(error)), "flag")
        return
    st.session_state["flagback_aside"] = tr(
        "Record {record} has ended. To take that back, set the same aside again above.", record=row.id
    )
    st.rerun()
