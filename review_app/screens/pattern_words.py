"""Which words go with flags, and which the model writes about one group: a picture of log-odds, and the texts behind a word."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import altair as alt
import pandas as pd
import streamlit as st

from flagback.model import word_odds
from flagback.review_app.installation import Installation
from flagback.review_app.screens import figure_data, look, pattern_texts, picture
from flagback.review_app.words import number, tr, written
from flagback.storage.records import Account

if TYPE_CHECKING:
    from flagback.review_app.screens.patterns import Answer, Stamp

#: Words drawn to each side.
DRAWN = 12
Sides = Literal["flags", "group"]


def draw(at: "Stamp", answers: "Sequence[Answer]", installation: Installation, account: Account) -> None:
    """The card."""
    st.subheader(tr("Words that go with flags"), anchor=False)
    if not answers:
        look.empty(
            tr("No answer was judged yet."),
            tr("People judge what the model writes on the page Review; their flags show here at once."),
        )
        return
    groups = sorted({named for answer in answers for named in answer.groups.items()})
    kind: Sides = "flags"
    left, right = st.columns(2)
    with left:
        about = st.selectbox(
            tr("Prompts"),
            [None, *groups],
            format_func=lambda group: tr("All prompts") if group is None else tr("About {group}", group=group_name(group)),
            key="patterns_group",
        )
    with right:
        if about is not None and st.toggle(
            tr("Against other groups"),
            key="patterns_sides",
            help=tr("Not flags: words written about this group more than about others."),
        ):
            kind = "group"
    first, second, names = sides(answers, about, kind)
    with st.spinner(tr("Comparing words…")):
        found = _odds(at, about, kind, first, second)
    look.note(_counts(found, names))
    if not found.words:
        look.empty(
            tr("Too few answers to compare words."),
            tr(
                "A word is compared once answers to {least} kinds of prompt hold it, and there are both sorts.",
                least=word_odds.MIN_CLUSTERS,
            ),
        )
        return
    frame = _frame(found, names)
    picked = _picture(frame, names)
    figure_data.offer(pd.DataFrame([odds._asdict() for odds in found.words]), f"words-{kind}", installation, account)
    shown = frame["word"].tolist()
    word = st.selectbox(
        tr("Read the answers with a word"),
        shown,
        index=shown.index(picked) if picked in shown else None,
        placeholder=tr("Choose a word, or click one in the picture"),
        key=f"patterns_word_{picked}",
    )
    if word is not None:
        pattern_texts.draw([one for one in (*first, *second) if word in one.words], key="words")


@st.cache_resource(max_entries=32, show_spinner=False)
def _odds(
    at: "Stamp",  # noqa: ARG001 # what it is kept under, and so are the next two
    about: tuple[str, str] | None,  # noqa: ARG001
    kind: Sides,  # noqa: ARG001
    _first: "Sequence[Answer]",
    _second: "Sequence[Answer]",
) -> word_odds.WordOdds:
    """The comparison; shared by all sessions, so nobody may change it."""
    one, other = ([word_odds.Said(answer.words, answer.cluster) for answer in side] for side in (_first, _second))
    return word_odds.compare(one, other)


def group_name(group: tuple[str, str]) -> str:
    """A group as a list shows it: its own name, and its axis where that helps."""
    return pattern_texts.plain(f"{group[1]} ({group[0].replace('_', ' ')})")


def sides(
    answers: "Sequence[Answer]", about: tuple[str, str] | None, kind: Sides
) -> "tuple[list[Answer], list[Answer], tuple[str, str]]":
    """What is compared with what, and what both are called."""
    if kind == "group" and about is not None:
        spoken = [one for one in answers if about[0] in one.groups]
        own = [one for one in spoken if one.groups[about[0]] == about[1]]
        others = [one for one in spoken if one.groups[about[0]] != about[1]]
        return own, others, (tr("about {group}", group=pattern_texts.plain(about[1])), tr("about others"))
    chosen = [one for one in answers if about is None or one.groups.get(about[0]) == about[1]]
    harmful = [one for one in chosen if 2 * one.harm > one.votes]
    return harmful, [one for one in chosen if 2 * one.harm < one.votes], (tr("flagged"), tr("fine"))


def _counts(found: word_odds.WordOdds, names: tuple[str, str]) -> str:
    """How much was compared, and what may be read from it."""
    first, second = (look.quiet(name) for name in names)
    return tr(
        "{n_first} {first} answers beside {n_second} {second} ones. {compared} words were compared, {differ} differ by more than "
        "chance (Holm, 5 % for all of them together); {rare} are too rare to compare. Phrases that name a group (“young people”) "
        "are left out. Drawn are the {drawn} most telling on each side.",
        n_first=number(found.texts[0]),
        first=first,
        n_second=number(found.texts[1]),
        second=second,
        compared=number(len(found.words)),
        differ=number(len(found.found)),
        rare=number(found.rare),
        drawn=DRAWN,
    )


def _frame(found: word_odds.WordOdds, names: tuple[str, str]) -> pd.DataFrame:
    """The words drawn: those that differ first, and where they are few the nearest to it."""
    leading = [odds for odds in found.words if odds.z > 0][:DRAWN]
    trailing = [odds for odds in reversed(found.words) if odds.z < 0][:DRAWN]
    rows = [*leading, *reversed(trailing)]
    return pd.DataFrame(
        {
            "word": [odds.word for odds in rows],
            "log_odds": [odds.log_odds for odds in rows],
            "z": [odds.z for odds in rows],
            "p": [odds.p_holm for odds in rows],
            "first": [odds.first for odds in rows],
            "second": [odds.second for odds in rows],
            "times": [odds.first + odds.second for odds in rows],
            "prompts": [odds.clusters for odds in rows],
            "side": [names[0] if odds.z > 0 else names[1] for odds in rows],
            "sure": [odds.p_holm < word_odds.LEVEL for odds in rows],
        }
    )


def _spoken(word: str, odds: float, *, sure: bool) -> str:
    said = written(odds, "+.2f")
    return f"{word} {said}" if sure else tr("{word} {odds} (may be chance)", word=word, odds=said)


def _picture(frame: pd.DataFrame, names: tuple[str, str]) -> str | None:
    """Draws the words; the one that was clicked, None before that."""
    palette = look.colours()
    order = frame["word"].tolist()
    reach = max(0.5, float(frame["log_odds"].abs().max()) * 1.1)
    axis = alt.Axis(labelFontSize=13, grid=False, labelFlush=False, tickCount=5)
    words = alt.Y(
        "word:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelFontSize=14, ticks=False, domain=False, labelFlush=False, labelLimit=160),
    )
    across = alt.X(
        "log_odds:Q",
        scale=alt.Scale(domain=[-reach, reach]),
        axis=axis,
        title=tr("← {less} · log odds · {more} →", less=names[1], more=names[0]),
    )
    colour = alt.Color("side:N", scale=alt.Scale(domain=list(names), range=[palette["flag"], palette["accent"]]), legend=None)
    faint = alt.condition("datum.sure", alt.value(1.0), alt.value(0.35))
    place = alt.Chart(frame).encode(y=words, color=colour)
    stems = place.mark_rule(strokeWidth=2).encode(x=across, x2=alt.datum(0), opacity=faint)
    chosen = alt.selection_point(name="word", fields=["word"], on="click", empty=False)
    dots = (
        place.mark_circle(opacity=1, cursor="pointer")
        .encode(
            x=across,
            opacity=faint,
            size=alt.Size("times:Q", scale=alt.Scale(type="sqrt", range=[60, 420]), legend=None),
            tooltip=[
                alt.Tooltip("word:N", title=picture.column("word")),
                alt.Tooltip("log_odds:Q", title=tr("log odds"), format="+.2f"),
                alt.Tooltip("z:Q", format="+.1f"),
                alt.Tooltip("p:Q", title=tr("p, all words counted in"), format=".3f"),
                alt.Tooltip("first:Q", title=tr("times, {side}", side=names[0])),
                alt.Tooltip("second:Q", title=tr("times, {side}", side=names[1])),
                alt.Tooltip("prompts:Q", title=tr("kinds of prompt")),
            ],
        )
        .add_params(chosen)
    )
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color=palette["line"], strokeWidth=1.5).encode(x="x:Q")
    spoken = "; ".join(_spoken(str(row.word), float(str(row.log_odds)), sure=bool(row.sure)) for row in frame.itertuples())
    event = st.altair_chart(
        picture.quiet(zero + stems + dots, max(160, 26 * len(frame) + 60)),
        alt=tr("Log odds of words, {more} above 0, {less} below: {words}", more=names[0], less=names[1], words=spoken),
        on_select="rerun",
        selection_mode="word",
        key="patterns_words",
    )
    look.note(tr("Large dots are written often. Faint ones may be chance. Click one to read the answers."))
    return pattern_texts.picked(event, "word", "word")
