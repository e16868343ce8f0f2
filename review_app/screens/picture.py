"""Pictures of figures: points with intervals, bars of counts; their data, and the texts behind a point, are one click away.

Knows Altair, the palette and tables with the columns value, low and high, or count; knows nothing of what they measure.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import figure_data, look
from flagback.review_app.words import language, number, stored, tr, written
from flagback.storage.records import Account

#: share: drawn as per cent; points: a difference of shares, already times 100; plain: as it is.
Unit = Literal["share", "points", "per cent", "plain"]
_FORMATS: dict[Unit, str] = {"share": ".1%", "points": "+.1f", "per cent": "+.1f", "plain": ".3~g"}
_AXES: dict[Unit, str] = {"share": "%", "points": "+~f", "per cent": "+~f", "plain": "~g"}
POINT = "point"
#: Colours of up to three versions side by side, the newest last.
LATEST = ("line", "soft", "accent")


class Along(NamedTuple):
    """Where points stand: a column, and the order of its values."""

    column: str
    order: Sequence[str]


class Shades(NamedTuple):
    """What colour tells apart: a column and, for each of its values in order, a name of the palette."""

    column: str
    of: dict[str, str]


def _ground() -> dict[str, Any]:
    """What every chart is configured with: no background, and numbers written in the language of the page."""
    code = language()
    if code == "en":
        return {"background": "transparent"}
    ten_thousand, half = written(10_000, ",d"), written(0.5, ".1f")
    signs = {"decimal": half[1], "thousands": ten_thousand[2], "grouping": [3], "currency": ["", ""], "percent": "\u00a0%"}
    return {"background": "transparent", "locale": {"number": signs}}


def column(name: str) -> str:
    """What a column of a table is called beside a point."""
    return stored("column", name)


def across(
    frame: pd.DataFrame, along: Along, *, unit: Unit, shades: Shades | None = None, joined: bool = False, none: float | None = None
) -> alt.LayerChart:
    """Points from left to right: versions, or weeks. `joined` draws a line through each colour, or through each value of a column
    "line" where there is one; `none` a rule at no change."""
    return _drawn(frame, along, unit, shades, joined, none, upright=True)


def down(
    frame: pd.DataFrame, along: Along, *, unit: Unit, shades: Shades | None = None, none: float | None = None
) -> alt.LayerChart:
    """Points one below the other: groups, or kinds of figures, whose names are long."""
    return _drawn(frame, along, unit, shades, False, none, upright=False)


def bars(frame: pd.DataFrame, along: Along, *, shades: Shades | None = None, upright: bool = True) -> alt.LayerChart:
    """Counts, in a column "count": bars from left to right, or one below the other where names are long."""
    palette = look.colours()
    names = alt.Axis(labelAngle=0, labelFontSize=13, labelLimit=260, ticks=False, title=None, labelOverlap="greedy", domain=False)
    numbers = alt.Axis(format=",~d", tickCount=4, tickMinStep=1, labelFontSize=13, title=None)
    # With nothing to count the axis still needs a length.
    scale = alt.Scale(domain=[0, 1.05 * max(1, *(int(count) for count in frame["count"].fillna(0)))], nice=True)
    place, amount = (alt.X, alt.Y) if upright else (alt.Y, alt.X)
    shared = [along.column, *([shades.column] if shades else [])]
    encoded: dict[str, Any] = {
        "x" if upright else "y": place(f"{along.column}:N", sort=list(along.order), axis=names),
        "y" if upright else "x": amount("count:Q", axis=numbers, scale=scale),
        "tooltip": [
            *(alt.Tooltip(f"{name}:N", title=column(name)) for name in shared),
            alt.Tooltip("count:Q", title=column("count"), format=","),
        ],
        "color": alt.value(palette["accent"]),
    }
    if shades is not None:
        colours = alt.Scale(domain=list(shades.of), range=[palette[name] for name in shades.of.values()])
        below = 1 if sum(map(len, shades.of)) > 45 else 0  # as in _drawn
        legend = alt.Legend(orient="bottom", labelLimit=300, columns=below)
        encoded["color"] = alt.Color(f"{shades.column}:N", title=None, legend=legend, scale=colours)
        offset = alt.XOffset if upright else alt.YOffset
        encoded["xOffset" if upright else "yOffset"] = offset(f"{shades.column}:N", sort=list(shades.of))
    chart = alt.Chart(frame).transform_filter("isValid(datum.count)")
    return alt.layer(chart.mark_bar(cornerRadiusEnd=2).encode(**encoded))


def spoken_counts(frame: pd.DataFrame, names: Sequence[str]) -> str:
    """A table of counts as words: "3 November: 12; 4 November: not shown"."""
    said = []
    for row in frame.to_dict("records"):
        count = tr("not shown") if pd.isna(row["count"]) else number(int(row["count"]))
        said.append(f"{', '.join(str(row[name]) for name in names)}: {count}")
    return "; ".join(said)


def _drawn(
    frame: pd.DataFrame, along: Along, unit: Unit, shades: Shades | None, joined: bool, none: float | None, *, upright: bool
) -> alt.LayerChart:
    palette = look.colours()
    # Altair takes lists and plain columns only.
    names = alt.Axis(labelAngle=0, labelFontSize=13, labelLimit=260, ticks=False, title=None, labelOverlap="greedy", domain=False)
    numbers = alt.Axis(format=_AXES[unit], tickCount=5, labelFontSize=13, title=None)
    reach = _reach(frame, unit, none)
    scale = alt.Scale(domain=list(reach), nice=False, zero=False)
    place, value, low, high = ("x", "y", "y", "y2") if upright else ("y", "x", "x", "x2")
    channel = alt.X if upright else alt.Y
    encoded: dict[str, Any] = {
        place: channel(f"{along.column}:N", sort=list(along.order), axis=names),
        "tooltip": [
            *(
                alt.Tooltip(f"{name}:N", title=column(name))
                for name in dict.fromkeys([along.column, *([shades.column] if shades else [])])
            ),
            *(alt.Tooltip(f"{name}:Q", title=column(name), format=_FORMATS[unit]) for name in ("value", "low", "high")),
            *([alt.Tooltip("n:Q", title="n", format=",")] if "n" in frame else []),
        ],
    }
    if shades is not None:
        shown = [name for name in shades.of if name in set(frame[shades.column])]
        colours = [palette[shades.of[name]] for name in shown]
        below = 1 if sum(map(len, shown)) > 45 else 0  # long names one below the other, or a phone cuts them off
        legend = (
            alt.Legend(orient="bottom", labelLimit=300, symbolType="circle", symbolStrokeWidth=0, columns=below)
            if len(shown) > 1
            else None
        )
        encoded["color"] = alt.Color(f"{shades.column}:N", title=None, legend=legend, scale=alt.Scale(domain=shown, range=colours))
        if len(shown) > 1:
            offset = alt.XOffset if upright else alt.YOffset
            encoded["xOffset" if upright else "yOffset"] = offset(f"{shades.column}:N", sort=shown)
    else:
        encoded["color"] = alt.value(palette["accent"])
    amount = alt.Y if upright else alt.X
    there = {value: amount("value:Q", axis=numbers, scale=scale)}
    picked = alt.selection_point(
        name=POINT, fields=list(dict.fromkeys([along.column, *([shades.column] if shades else [])])), empty=False
    )
    chart = alt.Chart(frame)
    layers: list[Any] = []
    if none is not None:
        rule = alt.Chart(pd.DataFrame({"none": [none]})).mark_rule(color=palette["soft"], strokeDash=[4, 4])
        layers.append(rule.encode(**{value: amount("none:Q", scale=scale, axis=numbers)}))
    if joined:
        apart = {"detail": "line:N"} if "line" in frame else {}
        layers.append(chart.mark_line(strokeWidth=2.5).encode(**encoded, **there, **apart))
    ends = {low: amount("low:Q", scale=scale, axis=numbers), high: "high:Q"}
    layers.append(chart.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(**encoded, **ends))
    size = alt.condition(picked, alt.value(160), alt.value(70))
    points = chart.transform_filter("isValid(datum.value)").mark_point(filled=True, opacity=1, cursor="pointer")
    layers.append(points.encode(**encoded, **there, size=size).add_params(picked))
    return alt.layer(*layers)


def _reach(frame: pd.DataFrame, unit: Unit, none: float | None) -> tuple[float, float]:
    """What the axis of numbers spans: all ends, no change where it is drawn, and zero for shares."""
    known = pd.concat([frame[name] for name in ("value", "low", "high")]).astype(float).dropna()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if unit == "share":
        return 0.0, min(1.0, max(0.1, high * 1.08))
    if none is not None:
        low, high = min(low, none), max(high, none)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def show(
    chart: alt.LayerChart,
    frame: pd.DataFrame,
    *,
    name: str,
    spoken: str,
    installation: Installation,
    account: Account,
    height: int = 280,
    opens: bool = True,
) -> dict[str, Any] | None:
    """Draws it with its data to download beneath; returns the columns of the point that was clicked, None before.

    A picture that `opens` nothing takes no clicks.

    `name` is unique on its page and names the file; `spoken` is the picture in words, for who cannot see it.
    """
    if not opens:
        still(chart, name=name, spoken=spoken, height=height)
        figure_data.offer(frame, name, installation, account)
        return None
    event = st.altair_chart(quiet(chart, height), key=f"picture-{name}", alt=spoken, on_select="rerun", selection_mode=POINT)
    figure_data.offer(frame, name, installation, account)
    found = event["selection"].get(POINT) if event else None
    return dict(found[0]) if found else None


def still(chart: alt.LayerChart, *, name: str, spoken: str, height: int) -> None:
    """Draws it alone: nothing to click, and its data are offered elsewhere."""
    # Streamlit gives a chart that takes no clicks no class of its key.
    with st.container(key=f"picture-{name}"):
        st.altair_chart(quiet(chart, height), alt=spoken)


def quiet(chart: alt.LayerChart, height: int) -> alt.LayerChart:
    """On no ground of its own, `height` pixels high, its marks without names: `alt` speaks the whole of it."""
    bare = chart.properties(height=height).configure(**_ground(), aria=False)
    return bare.configure_mark(aria=False).configure_view(strokeWidth=0)


def rows_high(frame: pd.DataFrame, along: Along, *, shades: Shades | None = None) -> int:
    """A height, in pixels, in which every row of `down` can be read."""
    series = frame[shades.column].nunique() if shades else 1
    return 70 + len(along.order) * max(30, 17 * series + 8)


def spoken(frame: pd.DataFrame, names: Sequence[str], unit: Unit) -> str:
    """The points of a table as words: "v2, blind: 12.0% (9.0% to 16.1%); ..."."""

    def said_of(value: Any) -> str:
        return tr("unknown") if pd.isna(value) else written(float(value), _FORMATS[unit].replace("~", ""))

    said = []
    for row in frame.to_dict("records"):
        ends = ""
        if not pd.isna(row["low"]):
            ends = " " + tr("({low} to {high})", low=said_of(row["low"]), high=said_of(row["high"]))
        said.append(f"{', '.join(str(row[name]) for name in names)}: {said_of(row['value'])}{ends}")
    return "; ".join(said)
