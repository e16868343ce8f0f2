"""Curves of one correction: how it learnt, at which learning rate and why that one, and when it stopped and why then.

Reads a run's steps and what it kept in its environment (`rate_sweep`, `early_stop`); knows nothing of how either is computed.
"""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import figure_data, look, picture
from flagback.review_app.words import number, percent, signs, tr, trn, written
from flagback.storage.records import Account, CorrectionRun, RunMetric

#: How far above its start a loss is drawn, in units of how far it fell; what climbs on leaves the picture.
_ABOVE = 0.6
_AXIS: dict[str, Any] = {"labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": "normal"}


def learning(run_id: int, steps: Sequence[RunMetric]) -> None:
    """Loss falling and margin rising, side by side."""
    frame = pd.DataFrame([{"step": row.step, **row.metrics} for row in steps])
    palette = look.colours()
    for place, name, colour, words in zip(
        st.columns(2),
        ("loss", "margin"),
        (palette["flag"], palette["accent"]),
        (tr("loss"), tr("margin, better over flagged")),
        strict=True,
    ):
        if name not in frame or not frame[name].any():  # no pair, no margin
            continue
        chart = (
            alt.Chart(frame)
            .mark_line(color=colour, point=len(frame) < 40)
            .encode(
                x=alt.X("step:Q", title=tr("step"), axis=alt.Axis(tickMinStep=1, grid=False)),
                y=alt.Y(f"{name}:Q", title=None, scale=alt.Scale(zero=False)),
                tooltip=[alt.Tooltip("step:Q", title=tr("step")), alt.Tooltip(f"{name}:Q", title=words, format=".3f")],
            )
        )
        ends = [
            tr("step {step}: {value}", step=row["step"], value=written(float(row[name]), ".3f"))
            for row in frame.iloc[[0, -1]].to_dict("records")
        ]
        with place:
            _title(words)
            picture.still(alt.layer(chart), name=f"{name}-{run_id}", spoken=f"{words}: {'; '.join(ends)}", height=180)


def _title(words: str) -> None:
    """Above the picture, where there is room: beside the axis a long title is cut off."""
    look.note(words[0].upper() + words[1:])


def draw(run: CorrectionRun, installation: Installation, account: Account) -> None:
    """What else there is of this run: the rates that were tried, and the looks at the pairs kept aside."""
    swept, looked = run.environment.get("rate_sweep"), run.environment.get("early_stop")
    if swept and swept.get("tried"):
        _sweep(run, swept, installation, account)
    if looked and looked.get("readings"):
        _stop(run, looked, installation, account)


# --------------------------------------------------------------------- learning rate


def rate(value: float) -> str:
    """A learning rate as people write it: 1.2e-3."""
    figure, _, power = f"{value:.2e}".partition("e")
    return signs(f"{figure.rstrip('0').rstrip('.')}e{int(power)}")


def _sweep(run: CorrectionRun, swept: dict[str, Any], installation: Installation, account: Account) -> None:
    st.markdown(f"**{tr('How the learning rate was found')}**")
    frame = pd.DataFrame(swept["tried"]).astype(float)
    chosen = frame[frame["rate"] == float(swept["suggestion"])]
    words = _sweep_words(frame, float(swept["suggestion"]), swept.get("diverged"))
    look.html(words)
    points = "; ".join(f"{rate(row['rate'])}: {written(row['smoothed'], '.3f')}" for row in frame.to_dict("records"))
    picture.show(
        _sweep_chart(frame, chosen),
        frame,
        name=f"learning-rates-{run.id}",
        spoken=f"{words} {tr('Smoothed loss at each rate: {points}', points=points)}",
        installation=installation,
        account=account,
        height=220,
        opens=False,
    )
    look.note(
        tr("Dots: the loss behind one step at each rate. Line: the same, smoothed. The rates grow by the same factor each time.")
    )


def _sweep_words(frame: pd.DataFrame, suggestion: float, diverged: float | None) -> str:
    """The sweep in words: what was tried, what was chosen and why, and where it broke off."""
    said = [
        trn(
            "{count} rate was tried, from {low} to {high}, one step each, on weights that were thrown away.",
            "{count} rates were tried, from {low} to {high}, one step each, on weights that were thrown away.",
            len(frame),
            low=rate(frame["rate"].min()),
            high=rate(frame["rate"].max()),
        ),
        tr("The loss fell most steeply at {rate}, so that rate was chosen.", rate=rate(suggestion)),
    ]
    if diverged is None:
        said.append(tr("It did not blow up at any of them."))
    else:
        said.append(tr("At {rate} the loss stood far above its lowest, so no higher one was tried.", rate=rate(float(diverged))))
    if _unsure(frame):
        said.append(tr("The losses scatter about as much as they fall: this choice is little better than a guess."))
    return " ".join(said)


def _unsure(frame: pd.DataFrame) -> bool:
    """Whether the smoothed loss falls by less than two standard deviations of the losses about it."""
    fall = float(frame["smoothed"].iloc[0] - frame["smoothed"].min())
    about = (frame["loss"] - frame["smoothed"]).iloc[: int(frame["smoothed"].to_numpy().argmin()) + 1]
    return fall < 2 * float(about.std(ddof=0))


def _decimals(span: float) -> str:
    """A form of numbers in which marks on an axis of this length differ."""
    return f".{min(8, max(1, math.ceil(-math.log10(max(span, 1e-9) / 4))))}~f"


def _sweep_chart(frame: pd.DataFrame, chosen: pd.DataFrame) -> alt.LayerChart:
    palette = look.colours()
    drawn = pd.concat([frame["loss"], frame["smoothed"]])
    lowest, start = float(drawn.min()), float(frame["loss"].iloc[0])
    top = min(float(drawn.max()), max(start, float(frame["smoothed"].iloc[0])) + _ABOVE * max(start - lowest, 1e-9))
    margin = (top - lowest) * 0.06 or abs(top) * 0.1 or 1.0
    along = alt.X(
        "rate:Q",
        title=tr("learning rate"),
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(format="~e", grid=False, tickCount=5, labelOverlap="greedy", **_AXIS),
    )

    def up(name: str) -> alt.Y:
        scale = alt.Scale(domain=[lowest - margin, top + 4 * margin], nice=False, zero=False)  # above: room for words
        return alt.Y(
            f"{name}:Q", title=tr("loss"), scale=scale, axis=alt.Axis(tickCount=4, format=_decimals(top - lowest), **_AXIS)
        )

    tooltip = [
        alt.Tooltip("rate:Q", title=tr("learning rate"), format=".3~g"),
        alt.Tooltip("loss:Q", title=tr("loss"), format=".3f"),
        alt.Tooltip("smoothed:Q", title=tr("smoothed"), format=".3f"),
    ]
    chart, mark = alt.Chart(frame), alt.Chart(chosen.assign(words=f"{tr('chosen')}: {rate(float(chosen['rate'].iloc[0]))}"))
    left = float(chosen["rate"].iloc[0]) ** 2 < frame["rate"].min() * frame["rate"].max()
    return alt.layer(
        mark.mark_rule(color=palette["accent"], strokeDash=[4, 4]).encode(x=along),
        chart.mark_point(color=palette["soft"], size=28, filled=True, opacity=0.8, clip=True).encode(
            x=along, y=up("loss"), tooltip=tooltip
        ),
        chart.mark_line(color=palette["accent"], strokeWidth=2.5, clip=True).encode(x=along, y=up("smoothed")),
        mark.mark_point(color=palette["accent"], size=110, filled=True, opacity=1).encode(
            x=along, y=up("smoothed"), tooltip=tooltip
        ),
        mark.mark_text(
            align="left" if left else "right", dx=8 if left else -8, dy=9, baseline="top", fontSize=13, color=palette["accent"]
        ).encode(x=along, y=alt.value(0), text="words:N"),
    )


# ------------------------------------------------------------------------ early stop


def _stop(run: CorrectionRun, looked: dict[str, Any], installation: Installation, account: Account) -> None:
    st.markdown(f"**{tr('When it stopped')}**")
    frame = pd.DataFrame(looked["readings"]).astype({"step": int, "loss": float, "accuracy": float})
    best = int(looked["best_step"])
    words = _stop_words(frame, best, looked, run.recipe)
    look.html(words)
    left, right = st.columns(2)
    for place, name, title, form in (
        (left, "loss", tr("loss on the pairs kept aside"), ".3f"),
        (right, "accuracy", tr("share of them told right"), ".0%"),
    ):
        points = "; ".join(
            tr("step {step}: {value}", step=row["step"], value=written(row[name], form)) for row in frame.to_dict("records")
        )
        with place:
            _title(title)
            spoken = f"{title}: {points}"
            picture.still(_stop_chart(frame, best, name, title), name=f"stop-{name}-{run.id}", spoken=spoken, height=190)
    figure_data.offer(frame, f"early-stop-{run.id}", installation, account)


def _stop_words(frame: pd.DataFrame, best: int, looked: dict[str, Any], recipe: dict[str, Any]) -> str:
    """Why it stopped where it did, and which weights it kept."""
    last, planned = int(frame["step"].max()), int(recipe.get("steps", frame["step"].max()))
    kept = frame[frame["step"] == best].iloc[0]
    after = int((frame["step"] > best).sum())
    said = [
        trn(
            "Every few steps it was tried on {count} pair that it never learnt from.",
            "Every few steps it was tried on {count} pairs that it never learnt from.",
            int(looked["pairs"]),
        )
    ]
    if last < planned:
        said.append(
            trn(
                "It stopped after step {last} of {planned}: {count} look in a row was no better than the one at step {best}.",
                "It stopped after step {last} of {planned}: {count} looks in a row were no better than the one at step {best}.",
                after,
                last=number(last),
                planned=number(planned),
                best=number(best),
            )
        )
    else:
        said.append(tr("It went through all {planned} steps.", planned=number(planned)))
    said.append(
        tr(
            "The weights of step {best} are kept: their loss on those pairs was the lowest ({loss}), and they tell {accuracy} "
            "of them right.",
            best=number(best),
            loss=written(float(kept["loss"]), ".3f"),
            accuracy=percent(float(kept["accuracy"])),
        )
    )
    return " ".join(said)


def _stop_chart(frame: pd.DataFrame, best: int, name: str, title: str) -> alt.LayerChart:
    palette = look.colours()
    share = name == "accuracy"
    least, most = float(frame[name].min()), float(frame[name].max())
    span = most - least or abs(most) * 0.1 or 1.0
    domain = [0.0, 1.25] if share else [least - 0.1 * span, most + 0.3 * span]  # above: room for words
    along = alt.X(
        "step:Q",
        title=tr("step"),
        scale=alt.Scale(nice=False, zero=False, padding=12),
        axis=alt.Axis(format=",~d", tickMinStep=1, tickCount=5, grid=False, **_AXIS),
    )
    up = alt.Y(
        f"{name}:Q",
        title=None,
        scale=alt.Scale(domain=domain, nice=False, zero=False),
        axis=alt.Axis(format="%", values=[0, 0.5, 1], **_AXIS) if share else alt.Axis(format=_decimals(span), tickCount=4, **_AXIS),
    )
    tooltip = [
        alt.Tooltip("step:Q", title=tr("step"), format=","),
        alt.Tooltip(f"{name}:Q", title=title, format=".1%" if share else ".3f"),
    ]
    chart, mark = alt.Chart(frame), alt.Chart(frame[frame["step"] == best].assign(words=tr("kept: step {best}", best=number(best))))
    left = 2 * best < frame["step"].min() + frame["step"].max()
    return alt.layer(
        mark.mark_rule(color=palette["accent"], strokeDash=[4, 4]).encode(x=along),
        chart.mark_line(color=palette["soft"], strokeWidth=2).encode(x=along, y=up),
        chart.mark_point(color=palette["soft"], filled=True, size=40, opacity=1).encode(x=along, y=up, tooltip=tooltip),
        mark.mark_point(color=palette["accent"], filled=True, size=120, opacity=1).encode(x=along, y=up, tooltip=tooltip),
        mark.mark_text(
            align="left" if left else "right", dx=8 if left else -8, dy=2, baseline="top", fontSize=13, color=palette["accent"]
        ).encode(x=along, y=alt.value(0), text="words:N"),
    )
