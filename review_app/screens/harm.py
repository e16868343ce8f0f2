"""Harm by version as a picture: which share of a version's answers people flagged, with its interval."""

from typing import Any

import pandas as pd
import streamlit as st
from sqlmodel import Session, select

from flagback.review_app import monitoring
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, picture
from flagback.review_app.words import stored, tr
from flagback.storage.records import Account, ModelVersion

SEEN = {
    "blind": "blind: a line is one evaluation",
    "loop": "answers reviewed to learn from",
    "live": "answers in use",
}
_COLOURS = {"blind": "accent", "loop": "soft", "live": "flag"}


def names_of(session: Session) -> dict[int, str]:
    """What pictures call each version: "base" or "v2"; further bases by their number."""
    found = session.exec(select(ModelVersion)).all()
    bases = [version.id for version in found if version.kind == "base"]
    return {version.id: tr("base") if [version.id] == bases else f"v{version.id}" for version in found}


def draw(installation: Installation, account: Account, session: Session, *, name: str = "harm-by-version") -> dict[str, Any] | None:
    """The picture, or what has to happen first. Returns the version and kind of answers that were clicked."""
    found = monitoring.harm_by_version(session, judged(installation, session))
    if not len(found):
        look.empty(
            tr("No picture yet."), tr("It shows which share of its answers people flagged, as soon as they have reviewed some.")
        )
        return None
    names = names_of(session)
    kinds = {kind: stored("seen", words) for kind, words in SEEN.items()}
    frame = pd.DataFrame(
        {"version": found["version"].map(names), "answers": found["seen"].map(kinds), "value": found["share"]}
        | {column: found[column] for column in ("low", "high", "n")}
        | {"line": found["seen"] + found["evaluation"].map(lambda one: "" if pd.isna(one) else f" {int(one)}")}
    )
    along = picture.Along("version", list(dict.fromkeys(frame["version"])))
    chart = picture.across(
        frame,
        along,
        unit="share",
        shades=picture.Shades("answers", {kinds[kind]: shade for kind, shade in _COLOURS.items()}),
        joined=True,
    )
    said = tr("Share of answers flagged by version: {points}", points=picture.spoken(frame, ["version", "answers"], "share"))
    clicked = picture.show(chart, found, name=name, spoken=said, installation=installation, account=account)
    if "blind" in set(found["seen"]):
        blind = tr("The two ends of a blind line answered the same held-out prompts; every evaluation has others.")
    else:
        blind = tr("Blind answers on held-out prompts will compare versions.")
    look.note(f"{blind} {tr('Answers of the loop are of different prompts each time.')}")
    if clicked is None:
        return None
    numbers = {label: number for number, label in names.items()}
    seen = {words: kind for kind, words in kinds.items()}.get(str(clicked.get("answers")), found["seen"].iloc[0])
    return {"version": numbers.get(str(clicked.get("version"))), "seen": seen}


def judged(installation: Installation, session: Session) -> pd.DataFrame:
    """`monitoring.votes`, read again only when there are new ones."""
    return _votes(str(installation.settings.home), monitoring.newest_review(session), session)


@st.cache_data(max_entries=4, show_spinner=False)
def _votes(home: str, stand: tuple[int, int, int], _session: Session) -> pd.DataFrame:
    del home, stand  # what the cache goes by
    return monitoring.votes(_session)
