"""How many people judge an answer: the policy in force with its cost, and, for those who steer, the form that sets another.

Part of the page Panel. The cost stands there before anything is set; what is set holds for answers made from then on.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import streamlit as st

from flagback.review_app import overlap_policy
from flagback.review_app.access import STEERING_ROLES
from flagback.review_app.installation import Installation
from flagback.review_app.overlap_policy import UnreadableOverlap
from flagback.review_app.retold import retold
from flagback.review_app.screens import look
from flagback.review_app.words import stored, tr
from flagback.storage import overlap
from flagback.storage.overlap import BadOverlap
from flagback.storage.records import Account, Overlap, now

FIXED, STEPS = "As many as each sampling asks for", "Few at first, more where people flag or differ"


class Wanted(NamedTuple):
    """A policy as it stands in the form."""

    steps: list[int]
    seats: dict[str, int]
    hours: float
    random_share: float


def show(installation: Installation, account: Account) -> None:
    """Draws the card."""
    st.subheader(tr("How many people judge an answer"), anchor=False)
    with installation.store.reading() as session:
        policy = overlap.newest(session)
        groups = overlap_policy.group_words(session)
        cost = overlap_policy.cost(session, policy.steps if policy else [])
    look.html(f"<p>{look.quiet(_words(policy, groups))}</p>")
    if cost is not None:
        look.html(f'<div class="soft">{look.quiet(overlap_policy.cost_in_words(cost))}</div>')
    if policy is not None:
        look.note(tr("Set by {set_by} on {created_at}.", set_by=look.quiet(policy.set_by), created_at=look.day(policy.created_at)))
    if done := st.session_state.pop("flagback_overlap", None):
        look.said(done, "ok")
    if account.role in STEERING_ROLES:
        with st.expander(tr("Change it")):
            _form(installation, account, policy, groups)


def _words(policy: Overlap | None, groups: Mapping[str, str]) -> str:
    if policy is None or not policy.steps:
        return tr("Each sampling and each import says how many people judge its answers.")
    return _in_words(Wanted(policy.steps, policy.seats, policy.relax_after_hours, policy.random_share), groups)


def _in_words(wanted: Wanted, groups: Mapping[str, str]) -> str:
    named = {groups.get(group, group): count for group, count in wanted.seats.items()}
    return overlap_policy.in_words(wanted.steps, named, wanted.hours, wanted.random_share)


def _form(installation: Installation, account: Account, policy: Overlap | None, groups: Mapping[str, str]) -> None:
    """Asks, says what it would cost, and sets it after a second word."""
    wanted = _asked(policy, groups)
    if wanted is None:
        return
    try:
        overlap.check_steps(wanted.steps, wanted.seats)
    except BadOverlap as error:
        look.said(retold(str(error)), "flag")
        return
    with installation.store.reading() as session:
        cost = overlap_policy.cost(session, wanted.steps)
    if cost is not None:
        look.html(f"<p><b>{look.quiet(overlap_policy.cost_in_words(cost))}</b></p>")
    with st.popover(tr("Set it…"), key="overlap-set"):
        said = _in_words(wanted, groups) if wanted.steps else tr("As many reviews as each sampling and import asks for.")
        look.html(f"<p>{look.quiet(said)}</p><p>{look.quiet(overlap_policy.cost_in_words(cost))}</p>")
        look.note(
            tr(
                "For answers made from now on; those that wait keep what they were made under. Blind samples keep their fixed "
                "number."
            )
        )
        if st.button(tr("Set it"), type="primary", key="overlap-sure"):
            _set(installation, account, wanted, policy, groups)


def _asked(policy: Overlap | None, groups: Mapping[str, str]) -> Wanted | None:
    """What stands in the form; None where it cannot be read, which is then said."""
    kind = st.radio(
        tr("How many people?"),
        [STEPS, FIXED],
        index=0 if policy is None or policy.steps else 1,
        format_func=lambda kind: stored("overlap", kind),
        key="overlap-kind",
    )
    share = (policy.random_share if policy else 0.5) * 100
    if kind == FIXED:
        return Wanted([], {}, policy.relax_after_hours if policy else 72.0, share / 100)
    left, right = st.columns(2)
    before = policy.steps if policy and policy.steps else [3, 5, 7]
    steps = left.text_input(
        tr("Steps"),
        ",".join(map(str, before)),
        key="overlap-steps",
        max_chars=60,
        help=tr("Odd numbers that rise: so many judge each answer to begin with, and so many where people flag it or differ."),
    )
    percent = right.slider(
        tr("Drawn at random, per cent"),
        round(overlap.LEAST_RANDOM * 100),
        100,
        min(100, max(round(overlap.LEAST_RANDOM * 100), round(share))),
        5,
        key="overlap-random",
        help=tr("The rest is drawn where harm is expected. Rates of harm can be told more narrowly the more is random."),
    )
    kept = policy.seats if policy else {}
    offered = [*groups, *(group for group in kept if group not in groups)]
    chosen = left.multiselect(
        tr("Keep seats of each step for"),
        offered,
        [group for group in offered if group in kept],
        format_func=lambda group: groups.get(group, group),
        key="overlap-groups",
        placeholder=tr("Nobody in particular"),
        help=tr("People of the group who agreed to be asked as such are handed these first."),
    )
    hours = right.number_input(
        tr("Hours until a kept seat is open to anybody"),
        overlap.SHORTEST_HOURS,
        overlap.LONGEST_HOURS,
        float(policy.relax_after_hours if policy else 72.0),
        step=24.0,
        format="%g",
        key="overlap-hours",
    )
    # A label is read as Markdown, and an answer's words come from outside: its code stands there.
    seats = {
        group: int(
            left.number_input(
                tr("Seats for {group}", group=group.replace("=", ", ")),
                1,
                overlap.MOST_REVIEWS,
                kept.get(group, 1),
                key=f"seats-{group}",
            )
        )
        for group in chosen
    }
    try:
        return Wanted(overlap_policy.read_steps(steps), seats, float(hours), percent / 100)
    except UnreadableOverlap as error:
        look.said(retold(str(error)), "flag")
        return None


def _set(installation: Installation, account: Account, wanted: Wanted, policy: Overlap | None, groups: Mapping[str, str]) -> None:
    try:
        with installation.store.writing() as session:
            made = overlap.set_overlap(
                session,
                steps=wanted.steps,
                seats=wanted.seats,
                relax_after=timedelta(hours=wanted.hours),
                random_share=wanted.random_share,
                by=account.login,
                now=now(),
            )
            made_as = made.id
    except BadOverlap as error:
        look.said(retold(str(error)), "flag")
        return
    st.session_state["flagback_overlap"] = tr(
        "Set as policy {policy}, for answers made from now on. To go back, set what stood before: {before}",
        policy=made_as,
        before=_words(policy, groups),
    )
    st.rerun()
