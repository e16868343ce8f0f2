"""Live batches on the page Data: logged answers brought in, what people said of them, and taking a batch back from review."""

from pathlib import Path
from typing import NamedTuple

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.monitoring import share_of
from flagback.review_app.retold import retold
from flagback.review_app.screens import look
from flagback.review_app.words import number, tr, trn, written
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
        tr("What did the people whose prompts these are agree to?"),
        max_chars=outputs.LONGEST_CONSENT,
        placeholder=tr("Users agreed in the terms of 1 October that answers are read by reviewers."),
        help=tr("Kept with the batch. Where the file has a column consent, rows without a true in it are refused as well."),
    )
    how_many = st.number_input(tr("How many shall people review?"), 0, outputs.MOST_ANSWERS, 100, help=tr("Drawn by chance."))
    keep = st.checkbox(
        tr("Take in answers with e-mail addresses or telephone numbers"),
        help=tr("Otherwise they are refused. Prompts may hold other personal data: reviewers will read them."),
    )
    return Asked(consent, int(how_many), keep)


def bring(installation: Installation, account: Account, path: Path, name: str, asked: Asked, *, check: bool) -> None:
    """Takes a file in, or only says what would be taken in."""
    terms = outputs.Terms(name.strip(), asked.consent, account.login, number=asked.number)
    try:
        report = outputs.import_outputs(installation.store, path, terms, keep_contacts=asked.keep_contacts, check=check, now=now())
    except (BadImport, ValueError) as error:
        look.said(retold(str(error).replace(f"{path.parent}/", "")), "flag")
        return
    look.said(_words(report, check=check), "plain" if check else "ok")


def _words(report: OutputReport, *, check: bool) -> str:
    counts = {
        "added": number(report.added),
        "rows": number(report.rows),
        "duplicates": number(report.duplicates),
        "drawn": number(report.drawn),
    }
    lines = [
        tr(
            "{added} of {rows} would be added, {duplicates} were here already; {drawn} would be drawn for review.",
            **counts,
        )
        if check
        else tr("{added} of {rows} added, {duplicates} were here already; {drawn} drawn for review.", **counts)
    ]
    lines += [
        trn("{count} refused: {reason}.", "{count} refused: {reason}.", count, reason=retold(reason))
        for reason, count in report.refused.items()
    ]
    if report.columns_left:
        lines.append(tr("Not taken in: the columns {columns}.", columns=", ".join(report.columns_left)))
    return "\n".join(lines)


def show(installation: Installation, account: Account) -> None:
    """The list, and the way back."""
    with installation.store.reading() as session:
        found = live_batches.batches(session)
    if not found:
        look.empty(
            tr("No logged answer yet"),
            tr("Bring a file in, or let a program send them: an administrator makes its key on the page People."),
        )
        return
    look.table(
        [tr("batch"), tr("answers"), tr("drawn"), tr("reviewed"), tr("flagged")], [_row(one) for one in found], numeric=(1, 2, 3, 4)
    )
    look.note(tr("Flagged: share of reviews that flag, with its 95 % interval. What was drawn by chance stands for its batch."))
    chosen = st.selectbox(tr("Which batch?"), [one.name for one in found], index=None, placeholder=tr("Choose a batch"))
    if done := st.session_state.pop("flagback_taken_back", None):
        look.said(done, "ok")
    one = next((one for one in found if one.name == chosen), None)
    if one is not None:
        with st.container(key="fb-card-batch"):
            _one(installation, account, one)


def _row(one: LiveBatch) -> list[str]:
    state = f" {look.pill(tr('taken back'), 'flag')}" if one.withdrawn_at else ""
    named = f'{look.quiet(one.name)}{state}<div class="small soft">{look.day(one.created_at)}</div>'
    return [named, number(one.n_answers), number(one.n_drawn), number(one.reviewed), _flagged(one)]


def _flagged(one: LiveBatch) -> str:
    if not one.reviews:
        return f'<span class="soft">{tr("not yet")}</span>'
    share, low, high = share_of(one.by_family)
    ends = tr("{low} to {high}", low=written(low, ".1%"), high=written(high, ".1%"))
    return f'{written(share, ".1%")}<div class="small soft">{ends}</div>'


def _chance(share: float) -> str:
    """A small share as a per cent of three figures: 0.25%."""
    digits = written(100 * share, ".3g")
    return tr("{number}%", number=digits)


def _one(installation: Installation, account: Account, one: LiveBatch) -> None:
    """Under what a batch came, and the way back."""
    known = {
        "name": look.quiet(one.brought_by),
        "reviews": number(one.reviews),
        "flags": number(one.flags),
        "waiting": number(one.waiting),
    }
    said = (
        tr(
            "Brought by {name}; a number was drawn of the whole; {reviews} reviews, {flags} flags, {waiting} still wanted. "
            "What people "
            "agreed to:",
            **known,
        )
        if one.review_share is None
        else tr(
            "Brought by {name}; each was drawn with a chance of {share}; {reviews} reviews, {flags} flags, {waiting} still "
            "wanted. What "
            "people agreed to:",
            share=_chance(one.review_share),
            **known,
        )
    )
    look.html(f'<div class="small soft">{said}</div><div>{look.quiet(one.consent)}</div>')
    if one.withdrawn_at is not None:
        look.aside(tr("Taken back from review on {day}; texts and reviews stay.", day=look.day(one.withdrawn_at)))
        return
    sure = st.checkbox(
        tr("Take it back from review: nobody is handed its answers any more, nothing joins it, texts and reviews stay"),
        key=f"sure-batch-{one.name}",
        help=tr("It cannot be put back."),
    )
    if st.button(tr("Take it back"), key=f"withdraw-{one.name}", disabled=not sure):
        with installation.store.writing() as session:
            closed = live_batches.withdraw(session, one.name, by=account.login, now=now()).closed
        st.session_state["flagback_taken_back"] = trn(
            "{count} reviews of {name} are wanted no more.", "{count} reviews of {name} are wanted no more.", closed, name=one.name
        )
        st.rerun()
