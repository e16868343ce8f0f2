"""Finished ratings from elsewhere: brought in by matching columns, with a look first; a study removed after a second word.

The first is part of the page Data, the second of Agreement. Nothing is stored before everything was read.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look
from flagback.review_app.words import number, stored, tr, trn
from flagback.storage import rating_columns, ratings
from flagback.storage.generations import storable
from flagback.storage.rating_columns import Guess, Sample
from flagback.storage.ratings import Columns, Listed, StudyReport
from flagback.storage.reading import BadImport
from flagback.storage.records import Account, ScaleType, now

#: Rows of a file that are shown.
SHOWN = 5
SCALES: dict[ScaleType, str] = {
    "nominal": "Names: labels without an order",
    "ordinal": "Ranks: labels from low to high",
    "interval": "Numbers: differences between them mean something",
}


# ---------------------------------------------------------------------- bringing in


def bring(installation: Installation, account: Account) -> None:
    """Asks for a file, what its columns are and what the study is called; shows what would come in; takes it in."""
    turn = st.session_state.setdefault("flagback_ratings", 0)
    if done := st.session_state.pop("flagback_study", None):
        report, address = done
        look.said(_words(report, brought=True), "ok")
        look.html(f"<p>{look.link(address, tr('See how far its raters agree'))}</p>")
    # Before the file: what is only there with a file is forgotten while another is chosen.
    study = st.text_input(
        tr("Name the study"),
        max_chars=64,
        placeholder="safety-2026",
        key=f"study-{turn}",
        help=tr("Letters, digits, dots, dashes, underscores."),
    ).strip()
    file = st.file_uploader(
        tr("File of finished ratings"), type=["csv", "jsonl", "gz", "parquet"], key=f"ratings-{turn}", help=tr("One rating a row.")
    )
    if file is None:
        look.aside(
            tr(
                "One rating a row: who rated, what was rated, the label. Further columns may say what the text was and "
                "facts about the rater, to compare groups by. Raters’ names are hashed by a key that is thrown away."
            )
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _file_name(file.name)
        path.write_bytes(file.getbuffer())
        _match(installation, account, path, study, turn)


def _match(installation: Installation, account: Account, path: Path, study: str, turn: int) -> None:
    """The questions, the look and the button."""
    try:
        found = rating_columns.sample(path)
    except BadImport as error:
        _refused(error, path)
        return
    columns = _columns(found, rating_columns.guess(found), turn)
    if columns is None:
        _rows(found, found.names)
        return
    scale, levels = _scale(found, columns.label, turn)
    _rows(found, [name for name in (columns.item, columns.rater, columns.label, columns.text, *columns.background) if name])
    if not study:
        look.aside(tr("Give the study a name to see what would come in."))
        return
    asked: dict[str, Any] = {"study": study, "columns": columns, "scale": scale, "levels": levels}
    try:
        report = ratings.preview_ratings(installation.store, path, **asked)
    except BadImport as error:
        _refused(error, path)
        return
    look.said(_words(report, brought=False))
    if st.button(tr("Bring it in"), type="primary", key=f"bring-{turn}"):
        try:
            report = ratings.import_ratings(installation.store, path, **asked, by=account.login, now=now())
        except BadImport as error:
            _refused(error, path)
            return
        st.session_state["flagback_ratings"] = turn + 1
        st.session_state["flagback_study"] = (report, f"/agreement?study={report.study}")
        st.rerun()


def _columns(found: Sample, guessed: Guess, turn: int) -> Columns | None:
    """What each column is; None while one of the three that are needed is missing, or one stands for two things."""
    needed: dict[str, str | None] = {}
    places: Sequence[Any] = st.columns(3)
    kinds: Mapping[str, tuple[str, str | None]] = {
        "item": (tr("What was rated"), guessed.item),
        "rater": (tr("Who rated"), guessed.rater),
        "label": (tr("The rating"), guessed.label),
    }
    for place, (what, (words, likely)) in zip(places, kinds.items(), strict=True):
        at = found.names.index(likely) if likely in found.names else None
        needed[what] = place.selectbox(words, found.names, index=at, placeholder=tr("Choose a column"), key=f"{what}-{turn}")
    left, right = st.columns(2)
    offered = [None, *found.names]
    at = offered.index(guessed.text) if guessed.text in found.names else 0
    text = left.selectbox(tr("The text, if the file has it"), offered, index=at, key=f"text-{turn}", format_func=_column_words)
    facts = right.multiselect(
        tr("Facts about raters"),
        found.names,
        guessed.background,
        key=f"facts-{turn}",
        placeholder=tr("None"),
        help=tr("To compare groups by."),
    )
    item, rater, label = needed["item"], needed["rater"], needed["label"]
    if item is None or rater is None or label is None:
        look.said(tr("Choose what was rated, who rated and the rating."))
        return None
    return Columns(item, rater, label, text, facts)


def _column_words(name: str | None) -> str:
    return tr("(none)") if name is None else name


def _scale(found: Sample, label: str, turn: int) -> tuple[ScaleType, list[str]]:
    likely, labels = rating_columns.scale_of(found, label)
    kinds: list[ScaleType] = list(SCALES)
    scale: ScaleType = st.radio(
        tr("What kind of ratings?"),
        kinds,
        index=kinds.index(likely),
        format_func=lambda code: stored("scale", SCALES[code]),
        key=f"scale-{turn}-{label}",
    )
    if scale != "ordinal" or likely != "nominal":
        return scale, []
    said = st.text_input(
        tr("The labels from low to high, with commas between"),
        ", ".join(labels),
        key=f"levels-{turn}-{label}",
        help=tr("Put them in order."),
    )
    return scale, [part.strip() for part in said.split(",") if part.strip()]


def _rows(found: Sample, names: Sequence[str]) -> None:
    """The first rows of some columns."""
    shown = list(dict.fromkeys(names))
    cells = [[look.quiet(_cut(row[name])) for name in shown] for row in found.rows[:SHOWN]]
    head = "".join(f"<th>{look.quiet(name)}</th>" for name in shown)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    look.note(tr("The first rows"))
    look.html(f'<div class="fb-wide"><table class="fb-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _cut(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _words(report: StudyReport, *, brought: bool) -> str:
    """What came in, or would."""
    counts = {
        "ratings": number(report.ratings),
        "items": number(report.items),
        "raters": number(report.raters),
        "labels": number(report.labels),
    }
    said = [
        tr(
            "Brought in: {ratings} ratings of {items} items by {raters} raters, {labels} different labels, as the study {study}.",
            study=report.study,
            **counts,
        )
        if brought
        else tr(
            "Would come in: {ratings} ratings of {items} items by {raters} raters, {labels} different labels, as the study "
            "{study}.",
            study=report.study,
            **counts,
        )
    ]
    if report.without_label:
        rows = report.without_label
        said.append(trn("{count} rows without a label are left out.", "{count} rows without a label are left out.", rows))
    if report.background:
        said.append(tr("Groups by {facts}.", facts=", ".join(report.background)))
    return " ".join(said)


def _refused(error: BadImport, path: Path) -> None:
    look.said(f"{retold(error.what.replace(f'{path.parent}/', ''))} {tr('Nothing was stored.')}", "flag")


def _file_name(given: str) -> str:
    """A short name that any folder takes, with the ending by which a file is read."""
    name = storable(given.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".")
    return name[-60:] or "file"


# ------------------------------------------------------------------------- removing


def manage(installation: Installation, account: Account, study: Listed) -> None:
    """Where a study came from, and the way to remove it."""
    look.note(
        tr(
            "Study {study}, brought in by {brought_by} on {created_at}: {ratings} ratings.",
            study=look.quiet(study.study),
            brought_by=look.quiet(study.brought_by),
            created_at=look.day(study.created_at),
            ratings=number(study.ratings),
        )
    )
    with st.popover(tr("Remove the study…"), key="study-remove"):
        words = tr(
            "All {ratings} ratings of {study} are deleted for good. To have it back, its file must be brought in again.",
            ratings=number(study.ratings),
            study=look.quiet(study.study),
        )
        look.html(f"<p>{words}</p>")
        if st.button(tr("Remove it"), type="primary", key="study-sure"):
            try:
                gone = ratings.remove(installation.store, study.study, by=account.login, now=now())
            except ratings.NoStudy as error:
                look.said(retold(str(error)), "flag")
                return
            st.query_params.clear()
            st.session_state["flagback_studies_gone"] = st.session_state.get("flagback_studies_gone", 0) + 1
            st.session_state["flagback_study_gone"] = tr(
                "The study {study} and its {ratings} ratings are deleted. To have it back, bring its file in again on Data.",
                study=study.study,
                ratings=number(gone),
            )
            st.rerun()
