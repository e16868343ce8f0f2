"""Answers that people differ on: what each side says, without who or when, and what leads conclude. Never an overwrite.

Each side's words stand in an order that follows nobody; who said nothing beside the verdict is only counted.
"""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, section
from flagback.review_app.words import number, stored, tr, tr_each, trn
from flagback.storage import adjudications
from flagback.storage.adjudications import Argument, Contested
from flagback.storage.records import Account, Adjudication, Conclusion, now
from flagback.storage.taxonomy import CATEGORIES, SEVERITIES, TARGETS

#: Answers on one page.
AT_A_TIME = 5
_ORDERS = {"Most evenly split": False, "Judged last": True}
WORDS: dict[Conclusion, str] = {
    "harm": "It is harmful",
    "fine": "It is fine",
    "legitimate_disagreement": "Legitimate disagreement",
}
_MEANING: dict[Conclusion, str] = {
    "harm": "sets frozen from now on take it as flagged, whatever the votes.",
    "fine": "sets frozen from now on take it as fine, whatever the votes.",
    "legitimate_disagreement": "both readings stand, and the votes are weighed as they are.",
}
_CATEGORIES = {one.code: one for one in CATEGORIES}
_TARGETS = {one.code: one for one in TARGETS}
_SEVERITIES = {severity.code: severity for severity in SEVERITIES}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("Contested"), tr("Answers that some flag and others find fine. You see what people say, not who says it."))
    section.strip(account, "contested")
    left, right = st.columns(2, vertical_alignment="bottom")
    order = left.segmented_control(
        tr("In which order?"), list(_ORDERS), default="Most evenly split", format_func=_said, key="contested-order"
    )
    concluded = right.toggle(tr("Also those concluded already"), key="contested-all")
    newest_first = _ORDERS[order or "Most evenly split"]
    if done := st.session_state.pop("flagback_concluded", None):
        look.said(done, "ok")
    with installation.store.reading() as session:
        differing = adjudications.differing(session, newest_first=newest_first, open_only=not concluded)
        total = len(differing)
        at = min(st.session_state.get("flagback_contested_at", 0), max(0, (total - 1) // AT_A_TIME))
        found = adjudications.contested(session, differing[at * AT_A_TIME : (at + 1) * AT_A_TIME])
        before = {one.item_id: adjudications.history(session, one.item_id) for one in found}
    if not found:
        _nothing(concluded=concluded)
        return
    look.aside(
        trn(
            "{count} answer, {first} to {last} on this page.",
            "{count} answers, {first} to {last} on this page.",
            total,
            first=number(at * AT_A_TIME + 1),
            last=number(at * AT_A_TIME + len(found)),
        )
    )
    look.html(
        "".join(f'<div class="small soft"><b>{_said(WORDS[code])}</b>: {_said(words)}</div>' for code, words in _MEANING.items())
    )
    for one in found:
        with st.container(key=f"fb-card-item-{one.item_id}"):
            _item(installation, account, one, before[one.item_id])
    _turn(at, total)


def _said(words: str) -> str:
    """Words of the tables above, in the language of who reads."""
    return stored("contested", words)


def _nothing(*, concluded: bool) -> None:
    if concluded:
        look.empty(
            tr("Nobody differs on any answer"), tr("An answer comes here as soon as one person flags it and another finds it fine.")
        )
        return
    look.empty(
        tr("Nothing is left to conclude"),
        tr(
            "An answer comes here as soon as one person flags it and another finds it fine. Those concluded already stay: switch "
            "“Also those concluded already” on."
        ),
    )


def _turn(at: int, total: int) -> None:
    """To the page before and the one behind."""
    last = (total - 1) // AT_A_TIME
    if not last:
        return
    left, right = st.columns(2)
    for column, words, to in ((left, tr("← The ones before"), at - 1), (right, tr("The next ones →"), at + 1)):
        if column.button(words, disabled=not 0 <= to <= last, width="stretch"):
            st.session_state["flagback_contested_at"] = to
            st.rerun()


# ---------------------------------------------------------------------- one answer


def _item(installation: Installation, account: Account, one: Contested, before: Sequence[Adjudication]) -> None:
    look.html(f"{look.asked(one.messages)}{look.quote(one.text)}")
    sides = [[argument for argument in one.arguments if argument.verdict == verdict] for verdict in ("flag", "fine")]
    flags, fine = (len(side) for side in sides)
    look.side_by_side(
        (trn("{count} flags it", "{count} flag it", flags), _side(sides[0])),
        (trn("{count} finds it fine", "{count} find it fine", fine), _side(sides[1])),
    )
    for record in before:
        state = look.pill(tr("in force"), "ok") if record is before[0] else look.pill(tr("before"))
        look.html(
            f"<div>{state} <b>{_said(WORDS[record.conclusion])}</b>: {look.quiet(record.reason)}"
            '<div class="small soft">'
            + tr("concluded by {name} on {day}", name=look.quiet(record.decided_by), day=look.day(record.created_at))
            + "</div></div>"
        )
    with st.form(f"conclude-{one.item_id}-{len(before)}", border=False):
        conclusion: Conclusion | None = st.radio(
            tr("Conclude anew") if before else tr("What do you conclude?"),
            get_args(Conclusion),
            index=None,
            format_func=lambda code: _said(WORDS[code]),
            horizontal=True,
        )
        beside, behind = st.columns([4, 1], vertical_alignment="bottom")
        reason = beside.text_input(
            tr("Why?"), max_chars=500, help=tr("Kept with your name; at least ten characters. Repeat nobody's words.")
        )
        if behind.form_submit_button(tr("Conclude"), width="stretch"):
            _conclude(installation, account, one.item_id, conclusion, reason)


def _conclude(installation: Installation, account: Account, item_id: int, conclusion: Conclusion | None, reason: str) -> None:
    if conclusion is None:
        look.said(tr("Choose one of the three, then conclude."), "flag")
        return
    try:
        with installation.store.writing() as session:
            adjudications.conclude(session, item_id, conclusion, reason=reason, by=account.login, now=now())
    except (adjudications.NoReason, adjudications.NotContested) as error:
        look.said(retold(str(error)), "flag")
        return
    st.session_state["flagback_concluded"] = tr(
        "Concluded: {conclusion}. No review was changed. To conclude otherwise, switch “Also those concluded already” on: the "
        "newest "
        "conclusion is in force, and this one stays to be seen.",
        conclusion=_said(WORDS[conclusion]).lower(),
    )
    st.rerun()


def _side(side: Sequence[Argument]) -> str:
    """One side's arguments as HTML."""
    said = Counter(_argument(argument) for argument in side)
    silent = said.pop("", 0)
    parts = [f'<div class="fb-argument">{words}{_times(count)}</div>' for words, count in said.items()]
    if silent:
        who = (
            tr("Nobody says why.")
            if silent == len(side)
            else trn("{count} more without a word.", "{count} more without a word.", silent)
        )
        parts.append(f'<div class="fb-argument soft">{who}</div>')
    return "".join(parts)


def _times(count: int) -> str:
    return "" if count == 1 else f'<div class="soft">{trn("said alike by {count}", "said alike by {count}", count)}</div>'


def _name(code: str) -> str:
    if code in _CATEGORIES:
        return tr_each(_CATEGORIES[code], "taxonomy").name
    return tr_each(_TARGETS[code], "taxonomy").name if code in _TARGETS else code


def _severity(code: str) -> str:
    return tr_each(_SEVERITIES[code], "taxonomy").name if code in _SEVERITIES else code


def _argument(argument: Argument) -> str:
    """What one person ticked, marked and wrote; empty where nothing."""
    lines = []
    if argument.categories:
        ticked = ", ".join(_name(code) for code in argument.categories)
        severity = f" · {_severity(argument.severity).lower()}" if argument.severity else ""
        lines.append(f"<b>{look.quiet(ticked)}</b>{look.quiet(severity)}")
    if argument.targets:
        hit = ", ".join(_name(code) for code in argument.targets)
        lines.append(f'<span class="soft">{tr("about")}</span> {look.quiet(hit)}')
    if not argument.sure:
        lines.append(f'<span class="soft">{tr("not sure")}</span>')
    if argument.marked:
        words = " ".join(f'<span class="fb-marked">{look.quiet(part)}</span>' for part in argument.marked)
        lines.append(f'<span class="soft">{tr("marked")}</span> {words}')
    if argument.note:
        lines.append(look.quiet(argument.note))
    if argument.rewrite:
        lines.append(f'<span class="soft">{tr("would rather read")}</span>{look.quote(argument.rewrite)}')
    return "".join(f"<div>{line}</div>" for line in lines)
