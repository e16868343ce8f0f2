"""Finished ratings from elsewhere: brought in by matching columns, with a look first; a study removed after a second word.

The first is part of the page Data, the second of Agreement. Nothing is stored before everything was read.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
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
_NONE = "(none)"


# ---------------------------------------------------------------------- bringing in


def bring(installation: Installation, account: Account) -> None:
    """Asks for a file, what its columns are and what the study is called; shows what would come in; takes it in."""
    turn = st.session_state.setdefault("flagback_ratings", 0)
    if done := st.session_state.pop("flagback_study", None):
        report, address = done
        look.said(_words(report, "Brought in: "), "ok")
        look.html(f"<p>{look.link(address, 'See how far its raters agree')}</p>")
    # Before the file: what is only there with a file is forgotten while another is chosen.
    study = st.text_input(
        "Name the study",
        max_chars=64,
        placeholder="safety-2026",
        key=f"study-{turn}",
        help="Letters, digits, dots, dashes, underscores.",
    ).strip()
    file = st.file_uploader(
        "File of finished ratings", type=["csv", "jsonl", "gz", "parquet"], key=f"ratings-{turn}", help="One rating a row."
    )
    if file is None:
        look.html(
            '<div class="soft">One rating a row: who rated, what was rated, the label. Further columns may say what the text was '
            "and facts about the rater, to compare groups by. Raters’ names are hashed by a key that is thrown away.</div>"
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
        look.html('<div class="soft">Give the study a name to see what would come in.</div>')
        return
    asked: dict[str, Any] = {"study": study, "columns": columns, "scale": scale, "levels": levels}
    try:
        report = ratings.preview_ratings(installation.store, path, **asked)
    except BadImport as error:
        _refused(error, path)
        return
    look.said(_words(report, "Would come in: "))
    if st.button("Bring it in", type="primary", key=f"bring-{turn}"):
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
        "item": ("What was rated", guessed.item),
        "rater": ("Who rated", guessed.rater),
        "label": ("The rating", guessed.label),
    }
    for place, (what, (words, likely)) in zip(places, kinds.items(), strict=True):
        at = found.names.index(likely) if likely in found.names else None
        needed[what] = place.selectbox(words, found.names, index=at, placeholder="Choose a column", key=f"{what}-{turn}")
    left, right = st.columns(2)
    offered = [_NONE, *found.names]
    at = offered.index(guessed.text) if guessed.text in found.names else 0
    text = left.selectbox("The text, if the file has it", offered, index=at, key=f"text-{turn}")
    facts = right.multiselect(
        "Facts about raters", found.names, guessed.background, key=f"facts-{turn}", placeholder="None", help="To compare groups by."
    )
    item, rater, label = needed["item"], needed["rater"], needed["label"]
    if item is None or rater is None or label is None:
        look.said("Choose what was rated, who rated and the rating.")
        return None
    return Columns(item, rater, label, None if text == _NONE else text, facts)


def _scale(found: Sample, label: str, turn: int) -> tuple[ScaleType, list[str]]:
    likely, labels = rating_columns.scale_of(found, label)
    kinds: list[ScaleType] = list(SCALES)
    scale: ScaleType = st.radio(
        "What kind of ratings?", kinds, index=kinds.index(likely), format_func=SCALES.__getitem__, key=f"scale-{turn}-{label}"
    )
    if scale != "ordinal" or likely != "nominal":
        return scale, []
    said = st.text_input(
        "The labels from low to high, with commas between",
        ", ".join(labels),
        key=f"levels-{turn}-{label}",
        help="Put them in order.",
    )
    return scale, [part.strip() for part in said.split(",") if part.strip()]


def _rows(found: Sample, names: Sequence[str]) -> None:
    """The first rows of some columns."""
    shown = list(dict.fromkeys(names))
    cells = [[look.quiet(_cut(row[name])) for name in shown] for row in found.rows[:SHOWN]]
    head = "".join(f"<th>{look.quiet(name)}</th>" for name in shown)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    look.html(
        f'<div class="small soft">The first rows</div><div class="fb-wide"><table class="fb-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cut(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _words(report: StudyReport, before: str) -> str:
    without = f" {report.without_label:,} rows without a label are left out." if report.without_label else ""
    facts = f" Groups by {', '.join(report.background)}." if report.background else ""
    return (
        f"{before}{report.ratings:,} ratings of {report.items:,} items by {report.raters:,} raters, {report.labels:,} different "
        f"labels, as the study {report.study}.{without}{facts}"
    )


def _refused(error: BadImport, path: Path) -> None:
    look.said(f"{error.what.replace(f'{path.parent}/', '')} Nothing was stored.", "flag")


def _file_name(given: str) -> str:
    """A short name that any folder takes, with the ending by which a file is read."""
    name = storable(given.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".")
    return name[-60:] or "file"


# ------------------------------------------------------------------------- removing


def manage(installation: Installation, account: Account, study: Listed) -> None:
    """Where a study came from, and the way to remove it."""
    look.html(
        f'<div class="small soft">Study {look.quiet(study.study)}, brought in by {look.quiet(study.brought_by)} on '
        f"{look.day(study.created_at)}: {study.ratings:,} ratings.</div>"
    )
    with st.popover("Remove the study…", key="study-remove"):
        look.html(
            f"<p>All {study.ratings:,} ratings of {look.quiet(study.study)} are deleted for good. To have it back, its file must "
            "be brought in again.</p>"
        )
        if st.button("Remove it", type="primary", key="study-sure"):
            try:
                gone = ratings.remove(installation.store, study.study, by=account.login, now=now())
            except ratings.NoStudy as error:
                look.said(str(error), "flag")
                return
            st.query_params.clear()
            st.session_state["flagback_studies_gone"] = st.session_state.get("flagback_studies_gone", 0) + 1
            st.session_state["flagback_study_gone"] = (
                f"The study {study.study} and its {gone:,} ratings are deleted. To have it back, bring its file in again on Data."
            )
            st.rerun()
