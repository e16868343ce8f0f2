"""Harm by version: which share of a version's answers people flagged, with its interval.

Knows reviews in force and evaluations; draws one picture. Blind shares are of both versions' answers to the same held-out prompts;
loop shares are of whatever the version wrote to be learnt from, so they compare versions only roughly.
"""

from collections import defaultdict
from collections.abc import Iterable
from math import sqrt
from typing import Literal, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st
from sqlalchemy import case, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.review_app.screens import look
from flagback.storage.records import Evaluation, EvaluationItem, Generation, Item, ModelVersion, Prompt, Review

Seen = Literal["blind", "loop"]
#: 97.5 % point of the normal distribution.
_Z = 1.959964


class Share(NamedTuple):
    """The share of flags on one version's answers."""

    version: int
    seen: Seen
    share: float
    low: float
    high: float
    #: Reviews behind a loop share, prompts behind a blind one.
    n: int


def shares(session: Session) -> list[Share]:
    """By version: from the newest evaluation that has it where blind answers were judged, and from reviews of the loop."""
    return sorted([*_blind(session), *_loop(session)])


def share_of(flags: Iterable[tuple[float, float]]) -> tuple[float, float, float]:
    """Share and 95 % interval of (flags, reviews) by cluster.

    The ratio estimate and its between-cluster variance (Cochran, Sampling Techniques, 6.5), as a Wilson interval on the number of
    reviews that would vary as much (Korn and Graubard 1998); that number is at most the number of reviews, and it is the number of
    clusters where all reviews say the same.
    """
    rows = [(float(flagged), float(n)) for flagged, n in flags if n]
    total = sum(n for _, n in rows)
    if not total:
        return 0.0, 0.0, 1.0
    share, k = sum(flagged for flagged, _ in rows) / total, len(rows)
    spread = sum((flagged - share * n) ** 2 for flagged, n in rows) * k / (k - 1) / total**2 if k > 1 else 0.0
    size = min(total, share * (1 - share) / spread) if spread else float(k)
    centre = (share * size + _Z**2 / 2) / (size + _Z**2)
    half = _Z / (size + _Z**2) * sqrt(size * share * (1 - share) + _Z**2 / 4)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def _blind(session: Session) -> list[Share]:
    found: dict[int, Share] = {}
    judged = select(Evaluation).where(Evaluation.state == "succeeded", col(Evaluation.simulated).is_(False))
    for evaluation in session.exec(judged.order_by(col(Evaluation.id))).all():
        items = session.exec(
            select(EvaluationItem).where(EvaluationItem.evaluation_id == evaluation.id, EvaluationItem.metric == "flag_rate")
        ).all()
        for version, side in ((evaluation.base_id, "base"), (evaluation.candidate_id, "candidate")):
            by_cluster: dict[str, list[float]] = defaultdict(list)
            for item in items:
                by_cluster[item.cluster].append(float(getattr(item, side) or 0.0))
            if items:
                found[version] = Share(version, "blind", *share_of((sum(v), len(v)) for v in by_cluster.values()), len(items))
    return list(found.values())


def _loop(session: Session) -> list[Share]:
    newer = aliased(Review)
    rows = session.exec(
        select(Generation.version_id, Prompt.split_key, func.sum(case((col(Review.verdict) == "flag", 1), else_=0)), func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(newer.id).is_(None), col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]))
        .where(Item.purpose == "loop", col(Generation.version_id).is_not(None))
        .group_by(col(Generation.version_id), col(Prompt.split_key))
    ).all()
    by_version: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for version, _, flagged, n in rows:
        if version is not None:
            by_version[version].append((flagged, n))
    return [
        Share(version, "loop", *share_of(clusters), int(sum(n for _, n in clusters))) for version, clusters in by_version.items()
    ]


def draw(session: Session) -> None:
    """The picture, or what has to happen first."""
    found = shares(session)
    if not found:
        look.empty("No picture yet.", "It shows which share of its answers people flagged, as soon as they have reviewed some.")
        return
    bases = set(session.exec(select(ModelVersion.id).where(ModelVersion.kind == "base")).all())
    names = {"blind": "blind, same held-out prompts", "loop": "answers reviewed to learn from"}
    frame = pd.DataFrame(found)
    frame["version"] = ["base" if one.version in bases else f"v{one.version}" for one in found]
    frame["seen"] = [names[one.seen] for one in found]
    order = list(dict.fromkeys(frame["version"]))
    palette = look.colours()
    both = frame["seen"].nunique() > 1
    kinds = [names[kind] for kind in ("blind", "loop") if names[kind] in set(frame["seen"])]
    colour = alt.Color(
        "seen:N",
        title=None,
        legend=alt.Legend(orient="bottom", labelLimit=260, symbolType="circle", symbolDash=[1, 0], symbolStrokeWidth=0)
        if both
        else None,
        scale=alt.Scale(domain=[names["blind"], names["loop"]], range=[palette["accent"], palette["soft"]]),
    )
    dash = alt.StrokeDash("seen:N", legend=None, scale=alt.Scale(domain=[names["blind"], names["loop"]], range=[[1, 0], [5, 4]]))
    top = min(1.0, max(0.1, float(frame["high"].max()) * 1.08))
    place = alt.Chart(frame).encode(
        x=alt.X("version:N", sort=order, title=None, axis=alt.Axis(labelAngle=0, labelFontSize=13, ticks=False)),
        color=colour,
        tooltip=[
            alt.Tooltip("version:N"),
            alt.Tooltip("seen:N", title="answers"),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("low:Q", format=".1%"),
            alt.Tooltip("high:Q", format=".1%"),
            alt.Tooltip("n:Q"),
        ],
    )
    offset = {"xOffset": alt.XOffset("seen:N", sort=kinds)} if both else {}
    axis = alt.Axis(format="%", tickCount=5, labelFontSize=13)
    across = alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, top]), axis=axis)
    picture = (
        place.mark_line(strokeWidth=2.5).encode(y=across, strokeDash=dash, **offset)
        + place.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=None), y2="high:Q", **offset)
        + place.mark_point(filled=True, size=60, opacity=1).encode(y=across, **offset)
    )
    spoken = "; ".join(f"{one.version} {one.share:.1%} ({one.low:.1%} to {one.high:.1%}), {one.seen}" for one in found)
    quiet = picture.configure(background="transparent").configure_view(strokeWidth=0)
    st.altair_chart(quiet, height=280, alt=f"Share of answers flagged by version: {spoken}")
    look.html(
        '<div class="small soft">'
        + (
            "Blind shares compare versions; the others are of different prompts each time."
            if both or kinds == [names["blind"]]
            else "Reviews of the loop only: blind answers on held-out prompts will compare versions."
        )
        + "</div>"
    )
