"""Whom the data speak of: each group's share at every station beside its share among the prompts, and who reviews, in bands."""

from typing import TYPE_CHECKING, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st
from sqlmodel import select

from flagback.model import mentions
from flagback.model.representation import Cell, Spoken, compare, spoken_of
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_data, look, pattern_texts, picture
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import panel, representation
from flagback.storage.records import Account, Prompt
from flagback.storage.store import Store
from flagback.storage.suppression import BANDS

if TYPE_CHECKING:
    from flagback.review_app.screens.patterns import Stamp

#: Stations in the loop's order: what it is called, and what is counted.
STATIONS = {
    "prompts": "what the model is asked",
    "answers": "what answers say by themselves",
    "reviewed": "prompts of answers that people judged",
    "pairs": "prompts of the newest set to learn from",
}
TEXTS = 8


def draw(at: "Stamp", installation: Installation, account: Account) -> None:
    """The card."""
    st.subheader(tr("Whom the data speak of"), anchor=False)
    with st.spinner(tr("Counting groups…")):
        cells, stations = read(at, installation.store)
    axes = sorted({cell.axis for cell in cells if cell.station != "prompts"})
    if not axes:
        look.empty(
            tr("No text names a group yet."), tr("Bring prompts on the page Data, or tag them with `groups`; then sample answers.")
        )
    else:
        axis = st.selectbox(tr("Kind of group"), axes, format_func=lambda name: pattern_texts.plain(name.replace("_", " ")))
        own = [cell for cell in cells if cell.axis == axis]
        picked = _picture(own)
        _table(own)
        figure_data.offer(pd.DataFrame([cell._asdict() for cell in cells]), "representation", installation, account)
        sampled = [
            tr("{read} of {all} {station}", read=number(len(one.rows)), all=number(one.total), station=stored("station", name))
            for name, one in stations.items()
            if len(one.rows) < one.total
        ]
        if sampled:
            look.note(tr("Read by a draw: {sampled}.", sampled="; ".join(sampled)))
        if picked is not None:
            _texts(stations, str(axis), picked)
    _reviewers(installation, account)


@st.cache_resource(max_entries=2, show_spinner=False)
def read(at: "Stamp", _store: Store) -> tuple[list[Cell], dict[str, "Counted"]]:  # noqa: ARG001 # what it is kept under
    """Every group at every station, and the stations; shared by all sessions, so nobody may change them."""
    stations = _stations(_store)
    return compare({name: [one for _, one in station.rows] for name, station in stations.items()}), stations


class Counted(NamedTuple):
    """A station with the groups that its texts speak of."""

    rows: list[tuple[representation.Row, Spoken]]
    #: How many rows there are in all.
    total: int


def _stations(store: Store) -> dict[str, Counted]:
    with store.reading() as session:
        axes = mentions.tagged_axes(session.exec(select(Prompt.tags)).all())
        found = {
            "prompts": representation.prompts(session),
            "answers": representation.answers(session),
            "reviewed": representation.reviewed(session),
            "pairs": representation.pairs(session),
        }
    return {
        name: Counted(
            [
                (row, Spoken(spoken_of(row.text, row.tags, lang=row.lang, extra=axes), row.cluster, float(row.weight)))
                for row in station.rows
            ],
            station.total,
        )
        for name, station in found.items()
    }


def _picture(cells: list[Cell]) -> str | None:
    """Ratios to the share among prompts; the group that was clicked."""
    drawn = [cell for cell in cells if cell.ratio]
    if not drawn:
        look.empty(
            tr("Nothing beside the prompts yet."), tr("Sample answers and have them judged; each station then stands beside them.")
        )
        return None
    palette = look.colours()
    stations = {name: stored("station", name) for name in STATIONS if name in {cell.station for cell in drawn}}
    colours = {"answers": palette["accent"], "reviewed": palette["flag"], "pairs": palette["soft"]}
    frame = pd.DataFrame(
        {
            "group": [cell.group for cell in drawn],
            "name": [pattern_texts.plain(cell.group) for cell in drawn],
            "station": [stored("station", cell.station) for cell in drawn],
            "ratio": [min(32.0, max(1 / 32, cell.ratio or 0)) for cell in drawn],
            "low": [max(1 / 32, cell.low) if cell.low is not None else None for cell in drawn],
            "high": [min(32.0, cell.high) if cell.high is not None else None for cell in drawn],
            "share": [cell.share for cell in drawn],
            "texts": [cell.texts for cell in drawn],
        }
    )
    ends = [*frame["ratio"], *frame["low"].dropna(), *frame["high"].dropna(), 0.5, 2.0]
    scale = alt.Scale(type="log", domain=[min(ends) / 1.1, max(ends) * 1.1])
    ticks = [value for value in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16) if min(ends) / 1.1 <= value <= max(ends) * 1.1]
    label = "datum.value < 1 ? '1/' + round(1 / datum.value) : datum.value + 'x'"
    across = alt.X(
        "ratio:Q",
        scale=scale,
        title=tr("← fewer than among prompts · more →"),
        axis=alt.Axis(values=ticks, labelExpr=label, labelFontSize=13, grid=False, labelFlush=False),
    )
    place = alt.Chart(frame).encode(
        y=alt.Y("name:N", title=None, axis=alt.Axis(labelFontSize=14, ticks=False, domain=False, labelFlush=False, labelLimit=160)),
        yOffset=alt.YOffset("station:N", sort=list(stations.values())),
        color=alt.Color(
            "station:N",
            title=None,
            sort=list(stations.values()),
            scale=alt.Scale(domain=list(stations.values()), range=[colours[name] for name in stations]),
            legend=alt.Legend(orient="bottom", symbolType="circle", labelFontSize=13),
        ),
    )
    chosen = alt.selection_point(name="group", fields=["group"], on="click", empty=False)
    dots = (
        place.mark_circle(size=90, opacity=1, cursor="pointer")
        .encode(
            x=across,
            tooltip=[
                alt.Tooltip("name:N", title=picture.column("group")),
                alt.Tooltip("station:N", title=picture.column("station")),
                alt.Tooltip("share:Q", title=picture.column("share"), format=".1%"),
                alt.Tooltip("ratio:Q", title=tr("times the share among prompts"), format=".2f"),
                alt.Tooltip("low:Q", title=picture.column("low"), format=".2f"),
                alt.Tooltip("high:Q", title=picture.column("high"), format=".2f"),
                alt.Tooltip("texts:Q", title=picture.column("texts"), format=",.0f"),
            ],
        )
        .add_params(chosen)
    )
    bars = place.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    one = (
        alt.Chart(pd.DataFrame({"x": [1.0]})).mark_rule(color=palette["line"], strokeWidth=1.5).encode(x=alt.X("x:Q", scale=scale))
    )
    spoken = "; ".join(
        f"{row.name_} {row.station} {written(float(str(row.ratio)), '.2f')}"
        for row in frame.rename(columns={"name": "name_"}).itertuples()
    )
    event = st.altair_chart(
        picture.quiet(one + bars + dots, 44 * int(frame["name"].nunique()) + 110),
        alt=tr("Share of each group over its share among prompts: {points}", points=spoken),
        on_select="rerun",
        selection_mode="group",
        key="patterns_groups",
    )
    look.note(
        "; ".join(f"<b>{words}</b>: {stored('station', STATIONS[name])}" for name, words in stations.items())
        + ". "
        + tr(
            "Bars are 95 % intervals, by kind of prompt; without one there are too few. A text counts where it names one group "
            "of the "
            "kind alone. Click a dot to read."
        )
    )
    return pattern_texts.picked(event, "group", "group")


def _table(cells: list[Cell]) -> None:
    """Shares and counts, one line a group."""
    stations = [name for name in STATIONS if name in {cell.station for cell in cells}]
    groups = list(dict.fromkeys(cell.group for cell in cells))
    by_place = {(cell.group, cell.station): cell for cell in cells}

    def shown(group: str, station: str) -> str:
        cell = by_place.get((group, station))
        return "–" if cell is None else f'{written(cell.share, ".1%")} <span class="soft">{written(cell.texts, ",.0f")}</span>'

    with st.expander(tr("Shares and counts")):
        look.table(
            ["", *(stored("station", name) for name in stations)],
            [[look.quiet(group), *(shown(group, station) for station in stations)] for group in groups],
            numeric=range(1, len(stations) + 1),
        )


def _texts(stations: dict[str, Counted], axis: str, group: str) -> None:
    """A few texts of each station that speak of a group."""
    for name, (rows, _) in stations.items():
        own = [row for row, one in rows if one.groups.get(axis) == group]
        if own:
            bold, where = f"<b>{look.quiet(group)}</b>", stored("station", STATIONS[name])
            look.html(
                trn("{group}, {station}: {count} text", "{group}, {station}: {count} texts", len(own), group=bold, station=where)
            )
            cards = "".join(f'<div class="fb-card" style="margin:0 0 8px">{look.quote(row.text)}</div>' for row in own[:TEXTS])
            look.html(cards)


def _reviewers(installation: Installation, account: Account) -> None:
    """Who reviews, by what they said of themselves: bands of five or more, as on the page Panel."""
    st.subheader(tr("Who reviews"), anchor=False)
    with installation.store.reading() as session:
        found = panel.totals(session, installation.pseudonym_key)
    rows = [
        (stored(f"background {question.code}", question.words), stored(f"background {question.code}", words), band)
        for question in found.questions
        for words, band in question.cells
    ]
    if not rows:
        look.empty(
            tr("Too few people have said who they are."),
            tr("A group shows from {fewest} people on, of those who agreed; nobody has to answer.", fewest=panel.SMALLEST),
        )
        return
    palette = look.colours()
    frame = pd.DataFrame(rows, columns=["question", "group", "people"])
    frame["at_least"] = [next(low for low in reversed(BANDS) if f"{low:,} or more" == band) for band in frame["people"]]
    hidden = {stored(f"background {question.code}", question.words) for question in found.questions if question.hidden}
    for question, part in frame.groupby("question", sort=False):
        asked = look.quiet(str(question))
        look.note(tr("{question}; others are not shown: too few people", question=asked) if question in hidden else asked)
        part = part.assign(
            group=[pattern_texts.plain(name) for name in part["group"]], people=[retold(band) for band in part["people"]]
        )
        place = alt.Chart(part).encode(
            y=alt.Y(
                "group:N",
                sort=None,
                title=None,
                axis=alt.Axis(labelFontSize=14, ticks=False, domain=False, labelFlush=False, labelLimit=200),
            ),
            x=alt.X("at_least:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.4 * float(frame["at_least"].max())])),
        )
        bars = place.mark_bar(color=palette["accent"], height=14, cornerRadiusEnd=3)
        words = place.mark_text(align="left", dx=8, fontSize=13, color=palette["soft"]).encode(text="people:N")
        st.altair_chart(
            picture.quiet(bars + words, 30 * len(part) + 20),
            alt="; ".join(f"{row.group}: {row.people}" for row in part.itertuples()),
            key=f"patterns_reviewers_{question}",
        )
    look.note(
        tr(
            "Numbers stand for “at least so many”. A group of fewer than five is not shown, nor one by which such a "
            "group could be reckoned."
        )
    )
    figure_data.offer(frame, "reviewers", installation, account)
