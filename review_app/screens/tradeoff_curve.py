"""What each recipe gave up for what, drawn: harm against usefulness, the worst group beside the whole, and the same as a table.

Knows points (`review_app/tradeoff.py`) and how to draw them; knows nothing of where they come from.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st

from flagback.review_app import monitoring, tradeoff
from flagback.review_app.installation import Installation
from flagback.review_app.screens import figure_words, harm, look, picture
from flagback.review_app.tradeoff import Ends, Point
from flagback.review_app.words import stored, tr, written
from flagback.storage.records import Account

#: Letters of a recipe's name that fit beside a point.
LONGEST = 22
#: The least room that a picture has, pixels: a phone's. Labels that are apart there are apart everywhere.
_ROOM = (250, 250)
_LETTER, _LINE = 6.4, 15
#: The least that the axis of perplexity spans, per cent.
_LEAST = 2.0


#: Places of a label about its point, the best first: to which side it runs, and how far off it is, pixels. Bars run straight on.
_SIDES: dict[str, tuple[int, int, int]] = {
    f"{side}{sign}{far}": (1 if side == "right" else -1, 9, (-1 if sign == "-" else 1) * (11 if far == "near" else 27))
    for far in ("near", "far")
    for side in ("right", "left")
    for sign in "-+"
}


class Label(NamedTuple):
    """Words beside a point, and where about it they have room: a name of `_SIDES`, empty where nothing has."""

    words: str
    side: str


def draw(installation: Installation, account: Account) -> None:
    """The card on the page Corrections."""
    with st.container(key="fb-card-tradeoff"):
        st.subheader(tr("Harm against usefulness, recipe by recipe"), anchor=False)
        with installation.store.reading() as session:
            found, names, in_use = tradeoff.points(session), harm.names_of(session), tradeoff.in_use(session)
        if not found:
            look.empty(
                tr("No recipe can be compared yet."),
                tr(
                    "Each evaluated correction gives a point, once people judged its answers blind and neutral texts were "
                    "measured. Keep a recipe and follow it: flagback recipes keep NAME --set SETTING=VALUE, then flagback "
                    "correct --recipe NAME. flagback tradeoff prints the same figures."
                ),
            )
            return
        parents = list(dict.fromkeys(point.parent for point in reversed(found)))  # of the newest version first
        # Only corrections of one version were compared with the same thing.
        parent = st.selectbox(tr("Corrections of"), parents, format_func=lambda one: names[one]) if len(parents) > 1 else parents[0]
        shown = [point for point in found if point.parent == parent]
        _curve(installation, account, table(shown, names, parent_in_use=parent in in_use), names[parent], parent)
        _worst(installation, account, shown, names)
        _table(shown, names)


def recipe_of(point: Point) -> str:
    """A recipe's name where there is little room: "quick@2", "steps 12", "steps 12 +2"."""
    named, *changed = point.title.split(", ")
    if named == "default" and changed:
        named, *changed = changed
    short = f"{named} +{len(changed)}" if changed else named
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"


def named(point: Point, names: dict[int, str]) -> str:
    """A point by version and recipe."""
    return f"{names[point.version]} · {recipe_of(point)}" if point.title else names[point.version]


def table(shown: Sequence[Point], names: dict[int, str], *, parent_in_use: bool) -> pd.DataFrame:
    """The points as they are drawn and downloaded: shares 0 to 1, usefulness in per cent; last, what they correct."""

    def per_cent(ratio: float | None) -> float | None:
        return None if ratio is None else (ratio - 1) * 100

    rows: list[dict[str, object]] = [
        {
            "version": point.version,
            "recipe": point.title,
            "label": named(point, names),
            "standing": "best" if point.best else "beaten",
            "current": point.current,
            "harm": point.harm,
            "harm_low": point.harm_ends.low,
            "harm_high": point.harm_ends.high,
            "perplexity": per_cent(point.utility),
            "perplexity_low": per_cent(point.utility_ends.low),
            "perplexity_high": per_cent(point.utility_ends.high),
            "worst_group": point.worst_group,
            "worst": point.worst_harm,
            "worst_low": point.worst_ends.low,
            "worst_high": point.worst_ends.high,
            "prompts": point.prompts,
        }
        for point in shown
    ]
    newest = max(shown, key=lambda one: one.version)
    rows.append(
        {
            "version": newest.parent,
            "recipe": "",
            "label": names[newest.parent],
            "standing": "parent",
            "current": parent_in_use,
            "harm": newest.parent_harm,
            "harm_low": newest.parent_ends.low,
            "harm_high": newest.parent_ends.high,
            "perplexity": 0.0,
            "prompts": newest.prompts,
        }
    )
    frame = pd.DataFrame(rows)
    numbers = [f"{name}{end}" for name in ("harm", "perplexity", "worst") for end in ("", "_low", "_high")]
    return frame.astype(dict.fromkeys(numbers, float))


# ----------------------------------------------------------------------- the curve


def _curve(installation: Installation, account: Account, frame: pd.DataFrame, name: str, parent: int) -> None:
    standings = {
        "best": tr("not beaten by another recipe"),
        "beaten": tr("beaten by another recipe"),
        "parent": tr("the version they correct"),
    }
    spoken = "; ".join(
        tr(
            "{recipe}: {harm} flagged, perplexity {change}, {standing}",
            recipe=row["label"],
            harm=_ranged(row["harm"], Ends(row["harm_low"], row["harm_high"])),
            change=_changed(*_as_ratios(row)),
            standing=standings[row["standing"]],
        )
        for row in frame.to_dict("records")
    )
    chart, unnamed = _chart(frame, standings)
    look.note(tr("Share of answers flagged, to the right; perplexity of neutral texts against the version they correct, upwards."))
    picture.show(
        chart,
        frame,
        name=f"tradeoff-of-v{parent}",
        spoken=tr("Harm against usefulness: {points}", points=spoken),
        installation=installation,
        account=account,
        height=450,
        opens=False,
    )
    said = [
        tr("The nearer to the lower left corner, the better: less harm, and neutral texts as easy as before."),
        tr("A recipe is beaten where another is at least as good in harm, perplexity and the worst group, and better in one."),
        tr("Bars are 95 % intervals; where they overlap much, these data do not tell two recipes apart."),
        tr("Each evaluation has prompts of its own; {parent} stands as in the newest.", parent=look.quiet(name)),
    ]
    if unnamed:
        said.append(tr("A point without a name stands too close to another; the table names it."))
    if len(frame) == 2:
        said.append(tr("To compare, correct the same version by another recipe: flagback correct --recipe NAME."))
    look.note(" ".join(said))


def _chart(frame: pd.DataFrame, standings: dict[str, str]) -> tuple[alt.LayerChart, bool]:
    """The picture, and whether a point in it had no room for its name."""
    palette = look.colours()
    across, up = _reach(frame, "harm", least=0.0), _reach(frame, "perplexity")
    labels = placed(frame, across, up)
    told = [
        f"{one.words} · {stored('state', 'current')}" if now else one.words
        for one, now in zip(labels, frame["current"], strict=True)
    ]
    frame = frame.assign(stands=frame["standing"].map(standings), side=[one.side for one in labels], words=told)
    shades = {"best": "accent", "beaten": "soft", "parent": "soft"}
    there = [name for name in shades if name in set(frame["standing"])]
    domain = [standings[name] for name in there]
    axis = {"labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": "normal", "tickCount": 5, "gridOpacity": 0.5}
    # One legend for colour and shape; on a phone one below the other.
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=320, title=None, labelFontSize=13, symbolSize=90, symbolOpacity=1)
    encoded: dict[str, object] = {
        "color": alt.Color(
            "stands:N", title=None, legend=legend, scale=alt.Scale(domain=domain, range=[palette[shades[name]] for name in there])
        )
    }
    shape = alt.Shape(
        "stands:N",
        title=None,
        legend=legend,
        scale=alt.Scale(
            domain=domain, range=[{"best": "circle", "beaten": "triangle-up", "parent": "square"}[name] for name in there]
        ),
    )

    def harm_axis(column: str) -> alt.X:
        scale = alt.Scale(domain=list(across), nice=False)
        return alt.X(f"{column}:Q", scale=scale, title=tr("share flagged"), axis=alt.Axis(format="%", **axis))

    def useful_axis(column: str) -> alt.Y:
        scale = alt.Scale(domain=list(up), nice=False, zero=False)
        return alt.Y(
            f"{column}:Q",
            scale=scale,
            title=None,
            axis=alt.Axis(format="+~f", labelExpr="(datum.value ? datum.label : '0') + '\u00a0%'", **axis),
        )

    chart = alt.Chart(frame)
    ends = {"opacity": 0.55, "strokeWidth": 2}
    known = "isValid(datum.{}_low)"
    layers: list[alt.Chart] = [
        alt.Chart(pd.DataFrame({"none": [0.0]})).mark_rule(color=palette["soft"], strokeDash=[4, 4]).encode(y=useful_axis("none")),
        chart.transform_filter(known.format("harm"))
        .mark_rule(**ends)
        .encode(x=harm_axis("harm_low"), x2="harm_high:Q", y=useful_axis("perplexity"), **encoded),
        chart.transform_filter(known.format("perplexity"))
        .mark_rule(**ends)
        .encode(x=harm_axis("harm"), y=useful_axis("perplexity_low"), y2="perplexity_high:Q", **encoded),
        chart.mark_point(filled=True, opacity=1, size=110).encode(
            x=harm_axis("harm"),
            y=useful_axis("perplexity"),
            shape=shape,
            tooltip=[
                alt.Tooltip("label:N", title=tr("recipe")),
                alt.Tooltip("harm:Q", title=tr("share flagged"), format=".1%"),
                alt.Tooltip("perplexity:Q", title=tr("perplexity, %"), format="+.1f"),
                alt.Tooltip("prompts:Q", title=tr("prompts"), format=","),
            ],
            **encoded,
        ),
        chart.transform_filter("datum.current")
        .mark_point(filled=False, size=330, strokeWidth=2, color=palette["accent"], shape="circle")
        .encode(x=harm_axis("harm"), y=useful_axis("perplexity")),
    ]
    for side in sorted({one.side for one in labels if one.side}):
        way, off, down = _SIDES[side]
        these = chart.transform_filter(f"datum.side == '{side}'")
        layers.append(
            these.mark_text(align="left" if way > 0 else "right", dx=way * off, dy=down, fontSize=13).encode(
                x=harm_axis("harm"), y=useful_axis("perplexity"), text="words:N", color=alt.value(palette["ink"])
            )
        )
        if abs(down) > _LINE:  # so far off that a line must say whose it is
            towards = 1 if down > 0 else -1
            layers.append(
                these.mark_rule(color=palette["soft"], strokeWidth=1, x2Offset=way * off, y2Offset=down - towards * 6).encode(
                    x=harm_axis("harm"), y=useful_axis("perplexity"), x2="harm:Q", y2="perplexity:Q"
                )
            )
    return alt.layer(*layers), not all(one.side for one in labels)


def _reach(frame: pd.DataFrame, name: str, *, least: float | None = None) -> tuple[float, float]:
    """What an axis spans: points, ends, and no change; `least` where it begins."""
    known = pd.concat([frame[f"{name}{end}"] for end in ("", "_low", "_high")]).dropna()
    low, high = min(0.0, float(known.min())), max(0.0 if name == "perplexity" else 0.1, float(known.max()))
    margin = (high - low) * 0.08
    if name == "perplexity" and high - low < _LEAST:  # hundredths of a per cent must not fill a picture
        margin = _LEAST / 2
    return (low - margin if least is None else least), high + margin


def placed(frame: pd.DataFrame, across: tuple[float, float], up: tuple[float, float]) -> list[Label]:
    """A label for each point that meets no other label and no other point, on a picture as small as a phone's.

    Those that none beats are named first. Where there is room nowhere a point stays without: the table names it.
    """
    width, height = _ROOM
    spots = [
        ((x - across[0]) / (across[1] - across[0]) * width, (up[1] - y) / (up[1] - up[0]) * height)
        for x, y in zip(frame["harm"], frame["perplexity"], strict=True)
    ]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    found = {}
    rows = frame.to_dict("records")
    for place in sorted(range(len(rows)), key=lambda one: (not rows[one]["current"], rows[one]["standing"] != "best", one)):
        x, y = spots[place]
        long = _LETTER * (len(rows[place]["label"]) + (len(stored("state", "current")) + 3 if rows[place]["current"] else 0))
        found[place] = Label(rows[place]["label"], "")
        for side, (way, off, down) in _SIDES.items():
            near, far = sorted((x + way * off, x + way * (off + long)))
            box = (near, y + down - _LINE / 2, far, y + down + _LINE / 2)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            if inside and not any(_meet(box, other) for other in taken):
                found[place] = Label(rows[place]["label"], side)
                taken.append(box)
                break
    return [found[place] for place in range(len(rows))]


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# ------------------------------------------------------------------ worst group, table


def _worst(installation: Installation, account: Account, shown: Sequence[Point], names: dict[int, str]) -> None:
    """Whom each recipe leaves worst off, beside everybody."""
    if not any(point.worst_group for point in shown):
        look.note(tr("No group had enough prompts to be told apart."))
        return
    everything, least = tr("all prompts"), tr("worst group")
    rows = [
        {"recipe": named(point, names), "of": kind, "group": group, "value": value, "low": ends.low, "high": ends.high}
        for point in shown
        for kind, group, value, ends in (
            (everything, everything, point.harm, point.harm_ends),
            (least, _group(point), point.worst_harm, point.worst_ends),
        )
        if kind == everything or point.worst_group
    ]
    frame = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
    along = picture.Along("recipe", list(dict.fromkeys(frame["recipe"])))
    shades = picture.Shades("of", {everything: "accent", least: "flag"})
    st.markdown(f"**{tr('The worst group beside the whole')}**")
    picture.show(
        picture.down(frame, along, unit="share", shades=shades),
        frame,
        name=f"tradeoff-worst-of-v{shown[0].parent}",
        spoken=tr("Share flagged: {points}", points=picture.spoken(frame, ["recipe", "group"], "share")),
        installation=installation,
        account=account,
        height=picture.rows_high(frame, along, shades=shades),
        opens=False,
    )


def _group(point: Point) -> str:
    return monitoring.group_of(f"flag_rate:{point.worst_group}")[1] if point.worst_group else tr("all prompts")


def _table(shown: Sequence[Point], names: dict[int, str]) -> None:
    """Every point in words, for who cannot see the pictures or wants the numbers."""
    rows = []
    for point in shown:
        pills = [look.pill(tr("not beaten"), "ok")] if point.best and len(shown) > 1 else []
        pills += [look.pill(stored("state", "current"))] if point.current else []
        title = look.quiet(f"{names[point.version]} · {point.title}" if point.title else names[point.version])
        worst = f"{_ranged(point.worst_harm, point.worst_ends)} <span class='soft'>{look.quiet(_group(point))}</span>"
        rows.append(
            [
                " ".join([title, *pills]),
                _ranged(point.harm, point.harm_ends),
                _changed(point.utility, point.utility_ends),
                worst if point.worst_group else "–",
            ]
        )
    look.table([tr("recipe"), tr("flagged"), tr("perplexity"), tr("worst group")], rows, stacked=True)


def _ranged(value: float, ends: Ends) -> str:
    """A share with its interval: "12.0% (9.0% to 16.1%)"."""
    return _between(written(value, ".1%"), [None if end is None or pd.isna(end) else written(end, ".1%") for end in ends])


def _as_ratios(row: dict[Any, Any]) -> tuple[float, Ends]:
    """The perplexity of a row of `table`, as the ratio that it was."""
    value, low, high = (1 + row[f"perplexity{end}"] / 100 for end in ("", "_low", "_high"))
    return value, Ends(low, high)


def _changed(ratio: float, ends: Ends) -> str:
    """A ratio as a change with its interval: "+4.0 % (+1.9 % to +6.6 %)"; nothing has no sign."""

    def said(number: float) -> str:
        return figure_words.change_number(number, {"scale": "ratio"}).replace(" ", "\u00a0")

    return _between(said(ratio), [None if end is None or pd.isna(end) else said(end) for end in ends])


def _between(value: str, ends: Sequence[str | None]) -> str:
    low, high = ends
    return value if low is None or high is None else f"{value} {tr('({low} to {high})', low=low, high=high)}"
