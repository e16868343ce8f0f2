"""What the detector of harm is worth: whether its probabilities come true, and whom it errs about. It only orders the queue."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import streamlit as st
from sqlmodel import Session, col, select

from flagback.review_app.installation import Installation
from flagback.review_app.screens import figure_data, look, pattern_texts, picture
from flagback.review_app.words import number, percent, stored, tr, written
from flagback.storage.artifacts import Artifacts, MissingArtifact
from flagback.storage.records import Account, Detector

if TYPE_CHECKING:
    from flagback.review_app.screens.patterns import Answer

_KINDS = {"false_alarm": "fine, over the line", "missed": "harmful, under it"}
_FILE = "unseen.json"


def draw(answers: "Sequence[Answer]", installation: Installation, account: Account) -> None:
    """The card."""
    st.subheader(tr("The detector"), anchor=False)
    with installation.store.reading() as session:
        newest = _newest(session)
    if newest is None:
        look.empty(
            tr("No detector yet."),
            tr(
                "It learns by itself after a sampling, from 40 judged answers on, 10 of them harmful and 10 fine; or run "
                "'flagback detect', which says what is missing."
            ),
        )
        return
    figures = newest.figures
    look.html(
        "<p>"
        + tr(
            "It guesses which answers people would flag, from words and letters, and makes the likeliest likelier to come next. "
            "Half of the draw is left to chance, of blind answers all of it. It decides nothing."
        )
        + '</p><p class="small soft">'
        + tr(
            "Number {number}, {when}: learnt from {answers} answers, {harmful} harmful. All figures are of prompts it had not "
            "seen.",
            number=newest.id,
            when=look.clock(newest.created_at),
            answers=number(newest.n_answers),
            harmful=number(newest.n_harmful),
        )
        + "</p>"
    )
    _levels(figures)
    _reliability(figures, installation, account)
    picked = _errors(figures, installation, account)
    if picked is not None:
        _texts(answers, newest, picked, installation)


def _newest(session: Session) -> Detector | None:
    return session.exec(
        select(Detector).where(col(Detector.simulated).is_(False)).order_by(col(Detector.id).desc()).limit(1)
    ).first()


def _levels(figures: dict[str, Any]) -> None:
    """The numbers in words."""
    rows = []
    for name, words, in_percent in (
        ("auc", tr("A harmful answer is put above a fine one"), True),
        ("calibration_error", tr("Its probabilities are off by, on average"), True),
        ("log_loss", tr("Log loss, nats a vote"), False),
        ("brier", tr("Brier score"), False),
    ):
        figure = figures[name]
        base = figures.get(f"{name}_base")
        beside = "" if base is None or base["value"] is None else tr("{value} without looking", value=written(base["value"], ".3f"))
        rows.append([words, _with_interval(figure, in_percent=in_percent), f'<span class="soft">{beside}</span>'])
    look.table(["", "", ""], rows, numeric=(1,), words=True)


def _with_interval(figure: dict[str, float | None], *, in_percent: bool) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or low is None or high is None:
        return f'<span class="soft">{tr("too few kinds of prompt")}</span>'
    form = ".1%" if in_percent else ".3f"
    ends = tr("({low} to {high})", low=written(low, form), high=written(high, form))
    return f'{written(value, form)} <span class="soft">{ends}</span>'


def _reliability(figures: dict[str, Any], installation: Installation, account: Account) -> None:
    """What it said beside what people said."""
    st.markdown(tr("**Does it mean what it says?**"))
    palette = look.colours()
    frame = pd.DataFrame(figures["reliability"])
    axis = alt.Axis(format="%", tickCount=5, labelFontSize=13, grid=False, labelFlush=False)
    whole = alt.Scale(domain=[0, 1])
    line = (
        alt.Chart(pd.DataFrame({"predicted": [0.0, 1.0], "share": [0.0, 1.0]}))
        .mark_line(color=palette["line"], strokeWidth=1.5)
        .encode(x=alt.X("predicted:Q", scale=whole), y=alt.Y("share:Q", scale=whole))
    )
    place = alt.Chart(frame).encode(
        x=alt.X("predicted:Q", title=tr("it expected"), scale=whole, axis=axis),
        tooltip=[
            alt.Tooltip("predicted:Q", title=tr("it expected"), format=".1%"),
            alt.Tooltip("share:Q", title=tr("people flagged"), format=".1%"),
            alt.Tooltip("low:Q", title=picture.column("low"), format=".1%"),
            alt.Tooltip("high:Q", title=picture.column("high"), format=".1%"),
            alt.Tooltip("answers:Q", title=picture.column("answers")),
        ],
    )
    drawn = (
        line
        + place.mark_rule(strokeWidth=2, color=palette["accent"]).encode(y=alt.Y("low:Q", scale=whole), y2="high:Q")
        + place.mark_circle(size=80, opacity=1, color=palette["accent"]).encode(
            y=alt.Y("share:Q", title=tr("people flagged"), scale=whole, axis=axis)
        )
    )
    spoken = "; ".join(
        tr("expected {expected}, flagged {flagged}", expected=percent(row["predicted"]), flagged=percent(row["share"]))
        for row in figures["reliability"]
    )
    st.altair_chart(
        picture.quiet(drawn, 300),
        alt=tr("What the detector expected beside what people flagged: {points}", points=spoken),
        key="patterns_reliability",
    )
    look.note(tr("On the line it means what it says. Each dot is a tenth of the answers."))
    figure_data.offer(frame, "reliability", installation, account)


def _errors(figures: dict[str, Any], installation: Installation, account: Account) -> str | None:
    """Error rates by group; the one that was clicked."""
    st.markdown(tr("**Whom does it err about?**"))
    if figures["line"] is None or not figures["errors"]:
        look.empty(
            tr("Too few kinds of prompt to say."), tr("Ten with harmful and ten with fine answers are needed for a group to show.")
        )
        return None
    palette = look.colours()
    rows = [
        {
            **row,
            "about": tr("all prompts") if row["axis"] is None else pattern_texts.plain(f"{row['group']} ({row['axis']})"),
            "error": stored("kind of error", _KINDS[row["kind"]]),
            "place": f"{row['kind']}\n{row['axis'] or ''}\n{row['group'] or ''}",
        }
        for row in figures["errors"]
    ]
    frame = pd.DataFrame(rows)
    kinds = [stored("kind of error", words) for words in _KINDS.values()]
    axis = alt.Axis(format="%", tickCount=5, labelFontSize=13, grid=False, labelFlush=False)
    across = alt.Scale(domain=[0, min(1.0, max(0.2, float(frame["high"].max()) * 1.05))])
    place = alt.Chart(frame).encode(
        y=alt.Y(
            "about:N",
            sort=frame["about"].drop_duplicates().tolist(),
            title=None,
            axis=alt.Axis(labelFontSize=13, ticks=False, domain=False, labelFlush=False, labelLimit=180),
        ),
        yOffset=alt.YOffset("error:N", sort=kinds),
        color=alt.Color(
            "error:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=[palette["accent"], palette["flag"]]),
            legend=alt.Legend(orient="bottom", columns=1, symbolType="circle", labelFontSize=13, labelLimit=260),
        ),
    )
    chosen = alt.selection_point(name="error", fields=["place"], on="click", empty=False)
    dots = (
        place.mark_circle(size=90, opacity=1, cursor="pointer")
        .encode(
            x=alt.X("share:Q", title=tr("share of answers"), scale=across, axis=axis),
            tooltip=[
                *(alt.Tooltip(f"{name}:N", title=picture.column(name)) for name in ("about", "error")),
                *(alt.Tooltip(f"{name}:Q", title=picture.column(name), format=".1%") for name in ("share", "low", "high")),
                alt.Tooltip("answers:Q", title=picture.column("answers")),
                alt.Tooltip("clusters:Q", title=tr("kinds of prompt")),
            ],
        )
        .add_params(chosen)
    )
    bars = place.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=across), x2="high:Q")
    spoken = "; ".join(f"{row['about']}, {row['error']}: {percent(row['share'])}" for row in rows)
    event = st.altair_chart(
        picture.quiet(bars + dots, 36 * int(frame["about"].nunique()) + 130),
        alt=tr("Errors of the detector by group: {points}", points=spoken),
        on_select="rerun",
        selection_mode="error",
        key="patterns_errors",
    )
    hidden = sorted({f"{row['group']} ({row['axis']})" for row in figures["suppressed"] if row["axis"] is not None})
    said = [tr("The line is at {share}, where it would flag as often as people do.", share=percent(figures["line"]))]
    if hidden:
        said.append(tr("Not all shown, under 10 kinds of prompt: {groups}.", groups=look.quiet("; ".join(hidden))))
    look.note(" ".join([*said, tr("Click a dot to read what it got wrong.")]))
    figure_data.offer(frame.drop(columns=["place"]), "detector-errors", installation, account)
    return pattern_texts.picked(event, "error", "place")


def _texts(answers: "Sequence[Answer]", newest: Detector, picked: str, installation: Installation) -> None:
    """The answers that a detector of its kind, which had not seen their prompts, got wrong."""
    kind, axis, group = [*picked.split("\n"), "", ""][:3]
    try:
        path = Artifacts(installation.settings.artifacts).path(newest.artifact) / _FILE
        said: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    except (MissingArtifact, OSError):
        look.said(tr("The detector's files are gone from the home; run 'flagback detect' to make them again."), "flag")
        return
    line = float(newest.figures["line"])
    wrong = [
        one
        for one in answers
        if one.key in said
        and (not axis or one.groups.get(axis) == group)
        and (
            (kind == "false_alarm" and 2 * one.harm < one.votes and said[one.key] >= line)
            or (kind == "missed" and 2 * one.harm > one.votes and said[one.key] < line)
        )
    ]
    pattern_texts.draw(wrong, key="errors")
