"""What a correction did to its own pairs and flagged answers: a picture by side and by group, and the texts that went amiss.

Reads the explanation that the run kept (`flagback.model.explanation`); knows nothing of how it is computed.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import altair as alt
import pandas as pd
import streamlit as st
from sqlmodel import Session, col, select

from flagback.model import explanation
from flagback.model.explanation import STILL, Direction, FlaggedMove, PairMove
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, pair_texts, picture
from flagback.review_app.screens.texts import TEXTS_A_PAGE, paged
from flagback.review_app.words import number, percent, signs, tr, trn, written
from flagback.storage import preferences
from flagback.storage.artifacts import Artifacts, DamagedArtifact, MissingArtifact
from flagback.storage.moves import MOST_NATS
from flagback.storage.quarantine import withdrawn_generations
from flagback.storage.records import Account, CorrectionRun, Generation, Prompt

#: Groups in the picture and in the table; those with the most pairs come first.
MOST_GROUPS = 12
#: Texts of each kind that can be paged through, the worst first.
LISTED = 20 * TEXTS_A_PAGE
_SHADES: Final[dict[Direction, str]] = {"towards": "accent", "still": "line", "against": "flag"}

Shown = Literal["against", "still", "risen"]
Move = TypeVar("Move", PairMove, FlaggedMove)


class Kept(NamedTuple):
    """Of an explanation, what is drawn."""

    summary: dict[str, Any]
    #: The worst first, at most LISTED of each.
    against: Sequence[PairMove]
    still: Sequence[PairMove]
    risen: Sequence[FlaggedMove]
    left_out: int


def draw(run: CorrectionRun, installation: Installation, account: Account) -> None:
    """All of it; nothing where the run has no explanation."""
    if run.explanation_sha256 is None:
        return
    st.markdown(f"**{tr('What became of its pairs')}**")
    try:
        with st.spinner(tr("Reading what became of its pairs…")):
            kept = _kept(installation.settings.artifacts, run.explanation_sha256)
    except (MissingArtifact, DamagedArtifact) as error:
        look.said(retold(str(error)), "flag")
        return
    words = _words(kept)
    look.html(words)
    rows = _rows(kept.summary)
    if rows:
        _picture(run, rows, words, installation, account)
        _table(rows)
    _texts(run, kept, installation)


@lru_cache(maxsize=4)
def _kept(artifacts: Path, sha256: str) -> Kept:
    found = explanation.read(Artifacts(artifacts), sha256)

    def worst(rows: Sequence[Move], way: Direction) -> Sequence[Move]:
        return sorted((row for row in rows if row.direction == way), key=lambda row: -abs(row.change))[:LISTED]

    stayed = sorted((pair for pair in found.pairs if pair.direction == "still"), key=lambda pair: pair.margin_after)[:LISTED]
    return Kept(explanation.summary(found), worst(found.pairs, "against"), stayed, worst(found.flagged, "against"), found.left_out)


def _words(kept: Kept) -> str:
    """In words: how many pairs moved which way on either side of the split, and how much likelier flagged answers are."""
    said = []
    learnt, held_out, everything = (kept.summary[side] for side in ("learnt", "held_out", "all"))
    if learnt["pairs"]:
        said.append(
            trn(
                "Of {count} pair that it learnt from, {towards} moved towards what reviewers said, {still} hardly moved and "
                "{against} moved against it.",
                "Of {count} pairs that it learnt from, {towards} moved towards what reviewers said, {still} hardly moved and "
                "{against} moved against it.",
                learnt["pairs"],
                towards=number(learnt["pairs_towards"]),
                still=number(learnt["pairs_still"]),
                against=number(learnt["pairs_against"]),
            )
        )
    if held_out["pairs"]:
        said.append(
            trn(
                "Of {count} held-out pair, {share} moved towards it: what it never saw.",
                "Of {count} held-out pairs, {share} moved towards it: what it never saw.",
                held_out["pairs"],
                share=percent(held_out["pairs_towards"] / held_out["pairs"]),
            )
        )
    if everything["flagged_change"] is not None:
        factor = factor_of(abs(everything["flagged_change"]))
        said.append(
            trn(
                "{count} flagged answer became {factor} times less likely.",
                "{count} flagged answers became {factor} times less likely, on the geometric mean.",
                everything["flagged"],
                factor=factor,
            )
            if everything["flagged_change"] <= 0
            else trn(
                "{count} flagged answer became {factor} times more likely.",
                "{count} flagged answers became {factor} times more likely, on the geometric mean.",
                everything["flagged"],
                factor=factor,
            )
        )
    if kept.left_out:
        said.append(
            trn(
                "{count} pair or answer is longer than the model can hold and is not among them.",
                "{count} pairs and answers are longer than the model can hold and are not among them.",
                kept.left_out,
            )
        )
    return " ".join(said)


def _rows(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Both sides of the split and the largest groups, those that have pairs."""
    rows = [(tr("learnt"), summary["learnt"]), (tr("held out"), summary["held_out"])]
    rows += list(summary["groups"].items())[:MOST_GROUPS]
    return [(name, figures) for name, figures in rows if figures["pairs"]]


def _ways() -> dict[Direction, str]:
    return {"towards": tr("towards"), "still": tr("hardly moved"), "against": tr("against")}


def _picture(
    run: CorrectionRun, rows: Sequence[tuple[str, dict[str, Any]]], words: str, installation: Installation, account: Account
) -> None:
    palette, ways = look.colours(), _ways()
    frame = pd.DataFrame(
        [
            {"pairs": name, "moved": ways[way], "count": figures[f"pairs_{way}"], "order": place}
            for name, figures in rows
            for place, way in enumerate(ways)
        ]
    )
    names = alt.Axis(labelFontSize=13, labelLimit=260, ticks=False, title=None, domain=False)
    shares = alt.Axis(format="%", tickCount=5, labelFontSize=13, title=None)
    colours = alt.Scale(domain=list(ways.values()), range=[palette[_SHADES[way]] for way in ways])
    legend = alt.Legend(orient="bottom", labelLimit=300, columns=1 if sum(map(len, ways.values())) > 34 else 0)
    chart = (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("pairs:N", sort=[name for name, _ in rows], axis=names),
            x=alt.X("count:Q", stack="normalize", axis=shares),
            color=alt.Color("moved:N", title=None, scale=colours, legend=legend),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("pairs:N", title=tr("pairs")),
                alt.Tooltip("moved:N", title=tr("moved")),
                alt.Tooltip("count:Q", title=picture.column("count"), format=","),
            ],
        )
    )
    spoken = "; ".join(f"{name}: " + ", ".join(f"{ways[way]} {number(one[f'pairs_{way}'])}" for way in ways) for name, one in rows)
    picture.show(
        alt.layer(chart),
        frame.drop(columns="order"),
        name=f"moves-{run.id}",
        spoken=f"{words} {spoken}",
        installation=installation,
        account=account,
        height=90 + 30 * len(rows),
        opens=False,
    )


def _table(rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    def margin(one: dict[str, Any]) -> str:
        return tr("{before} to {after}", before=_signed(one["margin_before"]), after=_signed(one["margin_after"]))

    look.table(
        [tr("pairs"), tr("how many"), tr("margin"), tr("flagged answers"), tr("likelihood")],
        [
            [
                look.quiet(name),
                number(one["pairs"]),
                margin(one),
                number(one["flagged"]) if one["flagged"] else "–",
                "–" if one["flagged_change"] is None else escape(_times(one["flagged_change"])),
            ]
            for name, one in rows
        ],
        numeric=(1, 2, 3, 4),
        stacked=True,
    )
    look.note(
        tr(
            "Margin: how much likelier the chosen answer is than the rejected one, in nats of log-probability, before and after; a "
            "change under {still} is none. A group counts every pair that speaks of it.",
            still=written(STILL, ".1f"),
        )
    )


def _signed(nats: float) -> str:
    return signs(written(nats, "+.2f"))


def _times(change: float) -> str:
    """A change in nats as people say it: ×0.25."""
    return f"×{factor_of(change)}"


def factor_of(change: float) -> str:
    """e to the power of it: 0.004, 0.25, 1.10, 12.5, 1,808; beyond a million times no further."""
    beyond = "" if abs(change) <= MOST_NATS else ">" if change > 0 else "<"
    factor = math.exp(max(-MOST_NATS, min(MOST_NATS, change)))
    form = ".2f" if 0.1 <= factor < 10 else ".1f" if 10 <= factor < 100 else ",.0f"
    return beyond + written(factor, form if factor >= 0.1 else f".{math.ceil(-math.log10(factor)) + 1}f")


# ------------------------------------------------------------------------- texts


def _texts(run: CorrectionRun, kept: Kept, installation: Installation) -> None:
    """The pairs that moved against their reviewers, those that stayed, and the flagged answers that are likelier now."""
    there: dict[Shown, tuple[str, Sequence[PairMove] | Sequence[FlaggedMove]]] = {
        "against": (tr("Moved against the reviewers"), kept.against),
        "still": (tr("Hardly moved"), kept.still),
        "risen": (tr("Flagged, and likelier now"), kept.risen),
    }
    options = [name for name, (_, rows) in there.items() if rows]
    if not options:
        look.note(tr("No pair stayed where it was or moved against its reviewers, and no flagged answer is likelier now."))
        return
    asked = st.segmented_control(
        tr("Read the texts"),
        options,
        format_func=lambda name: f"{there[name][0]} ({_at_most(len(there[name][1]))})",
        key=f"moves-texts-{run.id}",
    )
    if asked is None:
        return
    if asked == "risen":
        _answers(paged(kept.risen, f"moves-risen-{run.id}"), installation)
    else:
        rows = kept.against if asked == "against" else kept.still
        _pairs(run, paged(rows, f"moves-{asked}-{run.id}"), installation)


def _at_most(count: int) -> str:
    return f"{number(count)}+" if count == LISTED else number(count)


def _pairs(run: CorrectionRun, rows: Sequence[PairMove], installation: Installation) -> None:
    with installation.store.reading() as session:
        texts = preferences.pairs_at(session, run.set_id or 0, [row.position for row in rows])
    for row in rows:
        pair = texts.get(row.position)
        if pair is None:
            look.note(tr("Pair {number}: its text was withdrawn.", number=row.position + 1))
            continue
        note = tr("margin {before} to {after}", before=_signed(row.margin_before), after=_signed(row.margin_after))
        pair_texts.show(pair.messages, pair.chosen_text, pair.rejected_text, f"{note}, {_side(row)}")


def answers_of(session: Session, rows: Sequence[FlaggedMove]) -> dict[int, tuple[Generation, Prompt]]:
    """The answers by their numbers, with their prompts; none whose text was withdrawn since."""
    asked = (
        select(Generation, Prompt)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Generation.id).in_([row.generation_id for row in rows]), col(Generation.id).not_in(withdrawn_generations()))
    )
    return {generation.id: (generation, prompt) for generation, prompt in session.exec(asked).all()}


def _answers(rows: Sequence[FlaggedMove], installation: Installation) -> None:
    with installation.store.reading() as session:
        texts = answers_of(session, rows)
    for row in rows:
        if row.generation_id not in texts:
            look.note(tr("Answer {number}: its text was withdrawn.", number=row.generation_id))
            continue
        generation, prompt = texts[row.generation_id]
        look.html(look.asked(prompt.messages))
        look.html(look.quote(generation.text))
        look.note(tr("{times} as likely as before, {side}", times=_times(row.change), side=_side(row)))


def _side(row: PairMove | FlaggedMove) -> str:
    return tr("learnt") if row.side == "learnt" else tr("held out")
