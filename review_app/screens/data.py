"""Data: bring prompts, pairs, reference texts and logged answers in; take reviews and pairs out, ready for pandas and TRL."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from flagback.review_app import downloads
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import live_batches, look, study_ratings
from flagback.review_app.words import number, stored, tr, trc, trn, written
from flagback.storage.card import Format
from flagback.storage.export import ExportRefused, export_reviews
from flagback.storage.generations import storable
from flagback.storage.importing import ImportReport, import_preferences, import_prompts, import_texts
from flagback.storage.reading import BadImport
from flagback.storage.records import Account, now
from flagback.storage.set_export import Rows, export_set

LOGGED = "Logged answers"
RATINGS = "Finished ratings"


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("Data"), tr("Files are taken whole or not at all; what leaves carries pseudonyms, never names."))
    bring, take, live = st.tabs([tr("Bring in"), tr("Take out"), tr("In use")])
    with bring:
        _bring(installation, account)
    with take:
        _take(installation, account)
    with live:
        live_batches.show(installation, account)


def _bring(installation: Installation, account: Account) -> None:
    kinds = {
        "Prompts": tr(
            "CSV or JSONL with a column `prompt` (or `messages`), or the BOLD layout; lang, groups, topic, source if known."
        ),
        "Preference pairs": tr(
            "CSV or JSONL with `prompt`, `chosen`, `rejected`, TRL's conversational form, or the hh-rlhf layout."
        ),
        "Perplexity texts": tr("One text a line, or JSONL with `text`: ordinary writing that a correction must not spoil."),
        "Replay texts": tr("One text a line, or JSONL with `text`: neutral lines that anchor training; never perplexity texts."),
        LOGGED: tr("From a model in use: CSV, JSONL or Parquet with `prompt` and `answer`; lang, written_at, version, consent."),
        RATINGS: tr("Of a study made elsewhere, one rating a row, to see how far its raters agree. Never mixed with reviews."),
    }
    asked = list(kinds).index(RATINGS) if st.query_params.get("bring") == "ratings" else 0
    kind = st.radio(tr("What is it?"), list(kinds), asked, captions=list(kinds.values()), format_func=_kind)
    if kind == RATINGS:
        study_ratings.bring(installation, account)
        return
    name = (
        ""
        if kind == "Prompts"
        else st.text_input(
            tr("Name it"), placeholder=trc("name of a file", "november") if kind == LOGGED else trc("name of a file", "neutral")
        )
    )
    if kind == LOGGED:
        terms = live_batches.ask_terms()
    file = st.file_uploader(tr("File"), type=["csv", "jsonl", "json", "txt", "gz", "parquet"])
    looked = kind == LOGGED and st.button(
        tr("Only look"), disabled=file is None or not name, help=tr("Says what would be taken in.")
    )
    if st.button(tr("Bring it in"), type="primary", disabled=file is None or (kind != "Prompts" and not name)) or looked:
        assert file is not None  # nosec B101 # the button is off without a file
        with tempfile.TemporaryDirectory() as folder, st.spinner(tr("Reading…")):
            path = Path(folder) / file_name(file.name)
            path.write_bytes(file.getbuffer())
            if kind == LOGGED:
                live_batches.bring(installation, account, path, name, terms, check=looked)
            else:
                _import(installation, account, kind, path, name)


def _kind(kind: str) -> str:
    """What can be brought in or taken out, as the page names it."""
    return stored("file", kind)


def file_name(given: str) -> str:
    """A name that any folder takes, from the one that a browser gave: no folders, nothing unstorable, cut in its middle."""
    name = storable(given.replace("\\", "/").rsplit("/", 1)[-1])
    if not name.strip("."):
        return "file"
    return name if len(name) <= 60 else f"{name[:30]}{name[-30:]}"


def _import(installation: Installation, account: Account, kind: str, path: Path, name: str) -> None:
    act: dict[str, Callable[[], ImportReport]] = {
        "Prompts": lambda: import_prompts(installation.store, path, by=account.login, now=now()),
        "Preference pairs": lambda: import_preferences(installation.store, path, name=name, by=account.login, now=now()),
        "Perplexity texts": lambda: import_texts(
            installation.store, path, purpose="perplexity", name=name, by=account.login, now=now()
        ),
        "Replay texts": lambda: import_texts(installation.store, path, purpose="replay", name=name, by=account.login, now=now()),
    }
    try:
        report = act[kind]()
    except (BadImport, ValueError) as error:
        look.said(retold(str(error).replace(f"{path.parent}/", "")), "flag")
        return
    skipped = [
        trn("{count} left out: {reason}.", "{count} left out: {reason}.", count, reason=retold(reason))
        for reason, count in report.skipped.items()
    ]
    added = trn(
        "{count} of {rows} added, {duplicates} were here already.",
        "{count} of {rows} added, {duplicates} were here already.",
        report.added,
        rows=number(report.rows),
        duplicates=number(report.duplicates),
    )
    look.said(" ".join([added, *skipped]), "ok")


def _take(installation: Installation, account: Account) -> None:
    of_sets: dict[str, Rows] = {
        "Preference pairs of the newest set": "pairs",
        "Unpaired answers of the newest set": "unpaired",
    }
    what = str(st.radio(tr("What?"), ["Reviews", *of_sets], horizontal=True, format_func=_kind))
    formats: list[Format] = ["parquet", "jsonl", "csv"]
    file_format = st.radio(tr("Format"), formats, horizontal=True)
    conversational = what != "Reviews" and st.toggle(tr("Conversational (lists of messages)"), help=tr("TRL reads both forms."))
    with_background = what == "Reviews" and st.toggle(
        tr("With reviewers' background"), help=tr("Of those who agreed to it, and only in groups of five or more.")
    )
    key = installation.pseudonym_key if with_background else None
    if st.button(tr("Prepare the download"), type="primary"):
        with tempfile.TemporaryDirectory() as folder, st.spinner(tr("Writing…")):
            place = Path(folder) / "export"
            try:
                report: Any = (
                    export_reviews(installation.store, place, format=file_format, background_key=key)
                    if what == "Reviews"
                    else export_set(
                        installation.store, place, what=of_sets[what], format=file_format, conversational=bool(conversational)
                    )
                )
            except ExportRefused as error:
                look.said(retold(str(error)))
                return
            ticket = downloads.prepare(installation, account, place, f"flagback-{report.what}")
            st.session_state["flagback_download"] = (ticket, report.what, sum(report.rows.values()), report.left_out)
    if "flagback_download" in st.session_state:
        ticket, name, count, left_out = st.session_state["flagback_download"]
        size = downloads.size(installation, account, ticket)
        if size is not None:
            words = trn(
                "Download {count} rows of {name} ({size} KB)",
                "Download {count} rows of {name} ({size} KB)",
                count,
                name=stored("file", name),
                size=written(size / 1024, ",.0f"),
            )
            look.html(f'<p><a class="fb-download" href="/downloads/{ticket}" download>{look.quiet(words)}</a></p>')
            if left_out:
                look.said(
                    tr(
                        "{left_out} rows of the set are not in it: reviews they rest on were left out since it was frozen.",
                        left_out=number(left_out),
                    )
                )
