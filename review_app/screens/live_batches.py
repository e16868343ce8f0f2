"""Live batches on the page Data: logged answers brought in, what people said of them, and taking a batch back from review."""

from pathlib import Path
from typing import NamedTuple

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.monitoring import share_of
from flagback.review_app.screens import look
from flagback.storage import live_batches, outputs
from flagback.storage.live_batches import LiveBatch
from flagback.storage.outputs import OutputReport
from flagback.storage.reading import BadImport
from flagback.storage.records import Account, now


class Asked(NamedTuple):
    """What a person said about a file of logged answers."""

    consent: str
    #: How many to draw for review.
    number: int
    keep_contacts: bool


def ask_terms() -> Asked:
    """The questions beside the file."""
    consent = st.text_area(
        "What did the people whose prompts these are agree to?",
        max_chars=outputs.LONGEST_CONSENT,
        placeholder="Users agreed in the terms of 1 October that answers are read by reviewers.",
        help="Kept with the batch. Where the file has a column consent, rows without a true in it are refused as well.",
    )
    number = st.number_input("How many shall people review?", 0, outputs.MOST_ANSWERS, 100, help="Drawn by chance.")
    keep = st.checkbox(
        "Take in answers with e-mail addresses or telephone numbers",
        help="Otherwise they are refused. Prompts may hold other personal data: reviewers will read them.",
    )
    return Asked(consent, int(number), keep)


def bring(installation: Installation, account: Account, path: Path, name: str, asked: Asked, *, check: bool) -> None:
    """Takes a file in, or only says what would be taken in."""
    terms = outputs.Terms(name.strip(), asked.consent, account.login, number=asked.number)
    try:
        report = outputs.import_outputs(installation.store, path, terms, keep_contacts=asked.keep_contacts, check=check, now=now())
    except (BadImport, ValueError) as error:
        look.said(str(error).replace(f"{path.parent}/", ""), "flag")
        return
    look.said(_words(report, check=check), "plain" if check else "ok")


def _words(report: OutputReport, *, check: bool) -> str:
    refused = "".join(f"\n{count:,} refused: {reason}." for reason, count in report.refused.items())
    left = f"\nNot taken in: the columns {', '.join(report.columns_left)}." if report.columns_left else ""
    verb = "would be added" if check else "added"
    drawn = f"{report.drawn:,} {'would be ' if check else ''}drawn for review"
    return f"{report.added:,} of {report.rows:,} {verb}, {report.duplicates:,} were here already; {drawn}.{refused}{left}"


def show(installation: Installation, account: Account) -> None:
    """The list, and the way back."""
    with installation.store.reading() as session:
        found = live_batches.batches(session)
    if not found:
        look.empty(
            "No logged answer yet",
            "Bring a file in, or let a program send them: an administrator makes its key on the page People.",
        )
        return
    look.table(["batch", "answers", "drawn", "reviewed", "flagged"], [_row(one) for one in found], numeric=(1, 2, 3, 4))
    look.html(
        '<div class="small soft">Flagged: share of reviews that flag, with its 95 % interval. What was drawn by chance stands for '
        "its batch.</div>"
    )
    chosen = st.selectbox("Which batch?", [one.name for one in found], index=None, placeholder="Choose a batch")
    if done := st.session_state.pop("flagback_taken_back", None):
        look.said(done, "ok")
    one = next((one for one in found if one.name == chosen), None)
    if one is not None:
        with st.container(key="fb-card-batch"):
            _one(installation, account, one)


def _row(one: LiveBatch) -> list[str]:
    state = f" {look.pill('taken back', 'flag')}" if one.withdrawn_at else ""
    named = f'{look.quiet(one.name)}{state}<div class="small soft">{look.day(one.created_at)}</div>'
    return [named, f"{one.n_answers:,}", f"{one.n_drawn:,}", f"{one.reviewed:,}", _flagged(one)]


def _flagged(one: LiveBatch) -> str:
    if not one.reviews:
        return '<span class="soft">not yet</span>'
    share, low, high = share_of(one.by_family)
    return f'{share:.1%}<div class="small soft">{low:.1%} to {high:.1%}</div>'


def _one(installation: Installation, account: Account, one: LiveBatch) -> None:
    """Under what a batch came, and the way back."""
    each = f"each was drawn with a chance of {100 * (one.review_share or 0):.3g}%"
    how = "a number was drawn of the whole" if one.review_share is None else each
    look.html(
        f'<div class="small soft">Brought by {look.quiet(one.brought_by)}; {how}; {one.reviews:,} reviews, {one.flags:,} flags, '
        f"{one.waiting:,} still wanted. What people agreed to:</div><div>{look.quiet(one.consent)}</div>"
    )
    if one.withdrawn_at is not None:
        look.html(f'<div class="soft">Taken back from review on {look.day(one.withdrawn_at)}; texts and reviews stay.</div>')
        return
    sure = st.checkbox(
        "Take it back from review: nobody is handed its answers any more, nothing joins it, texts and reviews stay",
        key=f"sure-batch-{one.name}",
        help="It cannot be put back.",
    )
    if st.button("Take it back", key=f"withdraw-{one.name}", disabled=not sure):
        with installation.store.writing() as session:
            closed = live_batches.withdraw(session, one.name, by=account.login, now=now()).closed
        st.session_state["flagback_taken_back"] = f"{closed:,} reviews of {one.name} are wanted no more."
        st.rerun()
