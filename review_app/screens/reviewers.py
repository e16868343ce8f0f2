"""How reviewers work, by pseudonym, and setting aside: pause one, leave answers out, end it again. A person decides, for a reason.

Never how far somebody agrees with others: dissent is what diverse reviewers are asked for. Names and background are not here.
"""

from collections.abc import Sequence

import streamlit as st

from flagback.model import reviewer_quality
from flagback.model.reviewer_quality import FEWEST, HASTE, OTHERS, Quality, Share
from flagback.review_app import monitoring, setting_aside
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, section
from flagback.storage import judgements, set_aside, slots
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
        "Reviewers",
        "How people work, by pseudonym. Whether somebody agrees with others is not among it: to differ is no fault.",
    )
    section.strip(account, "reviewers")
    with installation.store.reading() as session:
        newest = monitoring.newest_review(session)
        records = list(set_aside.everything(session))
    found = _qualities(installation.store.shown_url, newest, installation.store)
    if done := st.session_state.pop("flagback_aside", None):
        look.said(done, "ok")
    if not found:
        look.empty("Nobody has reviewed yet", "Speed and steadiness appear here with the first answers.")
        return
    _table(found, records)
    with st.container(key="fb-card-aside"):
        _set_aside(installation, account, found, records)
    _records(installation, account, records)


@st.cache_data(max_entries=2, show_spinner="Looking at how people work…")
def _qualities(url: str, newest: tuple[int, int, int], _store: Store) -> list[Quality]:  # noqa: ARG001 # what it is kept under
    with _store.reading() as session:
        return reviewer_quality.qualities(judgements.given(session))


# ------------------------------------------------------------------------ the table


def _table(found: Sequence[Quality], records: Sequence[SetAside]) -> None:
    pages = (len(found) - 1) // AT_A_TIME + 1
    at = st.number_input(f"Page, of {pages:,}", 1, pages, 1, key="reviewers-page") if pages > 1 else 1
    rows = [
        [
            f"{look.quiet(one.reviewer)}{_pills(one.reviewer, records)}",
            f'{one.judged:,}<div class="small soft">{one.skipped:,} skipped</div>',
            "unknown" if one.seconds is None else f"{one.seconds:,.0f} s",
            _share(one.hasty),
            _share(one.steady),
            _share(one.plain),
        ]
        for one in found[(at - 1) * AT_A_TIME : at * AT_A_TIME]
    ]
    look.table(["reviewer", "judged", "typical time", "in haste", "steady", "plain cases"], rows, numeric=(1, 2), stacked=True)
    look.html(
        f'<div class="small soft">In haste: judged in under {HASTE:g} s. Steady: of texts met twice, those judged alike each '
        f"time. Plain cases: of answers that {OTHERS} others or more all flag as clear or severe, those flagged. With 95 % "
        f"intervals; under {FEWEST} there is no number.</div>"
    )


def _pills(reviewer: str, records: Sequence[SetAside]) -> str:
    words = {row.kind: _STATES[row.kind] for row in records if row.reviewer == reviewer and row.ended_at is None}
    return "".join(f" {look.pill(words[kind], 'flag')}" for kind in sorted(words))


def _share(found: Share | None) -> str:
    """A share and its interval, drawn and in words."""
    if found is None:
        return '<span class="soft">too few</span>'
    low, high, value = (100 * part for part in (found.low, found.high, found.value))
    return (
        f'<div class="fb-range" aria-hidden="true"><i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<b style="left:{value:.1f}%"></b></div>{value:.0f} %'
        f'<span class="small soft"> ({low:.0f}–{high:.0f}) of {found.n:,}</span>'
    )


# -------------------------------------------------------------------- setting aside


def _set_aside(installation: Installation, account: Account, found: Sequence[Quality], records: Sequence[SetAside]) -> None:
    st.subheader("Set somebody aside", anchor=False)
    turn = st.session_state.setdefault("flagback_aside_turn", 0)
    reviewer = st.selectbox(
        "Whom?", [one.reviewer for one in found], index=None, placeholder="Choose a pseudonym", key=f"aside-who-{turn}"
    )
    if reviewer is None:
        look.html(
            '<div class="soft">Nothing is deleted, and everything can be taken back. To differ from others is no reason.</div>'
        )
        return
    kind: SettingAside = st.radio(
        "What?", list(_ACTS), format_func=_ACTS.__getitem__, captions=list(_MEANING.values()), key=f"aside-kind-{turn}"
    )
    if any((row.kind, row.reviewer, row.ended_at) == (kind, reviewer, None) for row in records):
        look.said(f"{reviewer} is {_STATES[kind]} already; the record is below.")
        return
    reason = st.text_area(
        "Why?", max_chars=2_000, height=80, key=f"aside-why-{turn}", help="Kept with your name; at least ten characters."
    )
    judged = next(one.judged + one.skipped for one in found if one.reviewer == reviewer)
    lines = _preview(installation, kind, reviewer, judged)
    look.html("".join(f"<div>{look.quiet(line)}</div>" for line in lines))
    with st.popover("Set aside…", key="aside-set"):
        look.html(f"<p>{_ACTS[kind]}: {look.quiet(reviewer)}. {_MEANING[kind]}</p>")
        if st.button("Set aside", type="primary", key="aside-sure"):
            _add(installation, account, kind, reviewer, reason)


def _preview(installation: Installation, kind: SettingAside, reviewer: str, given: int) -> list[str]:
    """What would change, per group."""
    with installation.store.reading() as session:
        if kind == "pause":
            held = len(slots.held_claims(session, reviewer, now=now()))
            return [f"{held:,} answer{'s' * (held != 1)} in hand would go back to the queue. No figure changes."]
        change = setting_aside.change(session, reviewer=reviewer)
    everything = f"{given:,} answer{'s' * (given != 1)} in all would count no more."
    if change is None:
        return [everything, "No model is registered, so there are no pairs that could change."]
    return [everything, *setting_aside.words(change)]


def _add(installation: Installation, account: Account, kind: SettingAside, reviewer: str, reason: str) -> None:
    try:
        number = installation.store.settle(
            lambda session: set_aside.add(session, kind, reviewer=reviewer, reason=reason, by=account.login, now=now()).id
        )
    except (set_aside.NoReason, set_aside.AlreadySetAside, set_aside.UnknownReviewer) as error:
        look.said(str(error), "flag")
        return
    back = slots.release(installation.store, reviewer, now=now())
    returned = f" {back:,} answers in hand went back." if back else ""
    st.session_state["flagback_aside_turn"] += 1
    st.session_state["flagback_aside"] = (
        f"{reviewer} is {_STATES[kind]} (record {number}).{returned} To take it back, end record {number} below."
    )
    st.rerun()


# ---------------------------------------------------------------------------- records


def _records(installation: Installation, account: Account, records: Sequence[SetAside]) -> None:
    st.subheader("Who and what was set aside", anchor=False)
    if not records:
        look.html('<div class="soft">Nobody and nothing yet.</div>')
        return
    for row in records:
        left, right = st.columns([5, 1], vertical_alignment="center")
        with left:
            whom = look.quiet(row.reviewer) if row.reviewer is not None else f"one answer (review {row.review_id})"
            state = look.pill(_STATES[row.kind], "flag") if row.ended_at is None else look.pill("ended")
            ended = f"; ended by {look.quiet(row.ended_by or '')} on {look.day(row.ended_at)}" if row.ended_at else ""
            what = "" if row.ended_at is None else f" was {_STATES[row.kind]}"
            look.html(
                f"<div>{whom}{what} {state}</div><div>{look.quiet(row.reason)}</div>"
                f'<div class="small soft">record {row.id}, by {look.quiet(row.decided_by)} on {look.day(row.created_at)}'
                f"{ended}</div>"
            )
        if row.ended_at is None:
            with right.popover("End…", key=f"aside-end-{row.id}", width="stretch"):
                effect = (
                    "Is handed answers again."
                    if row.kind == "pause"
                    else "What was left out counts again; those asked instead stay."
                )
                look.html(f"<p>{effect}</p>")
                if st.button("End it", type="primary", key=f"aside-ended-{row.id}"):
                    _end(installation, account, row)


def _end(installation: Installation, account: Account, row: SetAside) -> None:
    try:
        with installation.store.writing() as session:
            set_aside.end(session, row.id, by=account.login, now=now())
    except set_aside.NotSetAside as error:
        look.said(str(error), "flag")
        return
    st.session_state["flagback_aside"] = f"Record {row.id} has ended. To take that back, set the same aside again above."
    st.rerun()
