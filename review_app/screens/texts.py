"""The texts behind a figure: what was compared, what people flagged, what a published test asked. Draws; decides nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import streamlit as st
from sqlalchemy import ColumnElement, and_, case, func
from sqlalchemy import select as rows_of
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.model import suites
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_words, look
from flagback.review_app.words import number, stored, tr
from flagback.storage.records import Evaluation, EvaluationItem, Generation, Item, Prompt, Review

#: How many texts a page shows, and how many each way of what changed most.
TEXTS_A_PAGE = 10
EACH_WAY = 5
#: Flagged answers that are listed; the share of flags says how many there are.
LISTED = 200

Row = TypeVar("Row")


def paged(rows: Sequence[Row], key: str) -> Sequence[Row]:
    """One page of rows, with a choice of page above it where there are several."""
    pages = max(1, -(-len(rows) // TEXTS_A_PAGE))
    page = (
        int(st.number_input(tr("Page of {pages}", pages=number(pages)), 1, pages, 1, width=160, key=f"page-{key}"))
        if pages > 1
        else 1
    )
    return rows[(page - 1) * TEXTS_A_PAGE : page * TEXTS_A_PAGE]


def flagged(session: Session, version: int, seen: str, *, key: str) -> None:
    """Answers of a version that people flagged, most flagged first. `seen` is a kind of `monitoring.Seen`."""
    of_version = (
        col(Generation.version_id) == version,
        col(Item.purpose) == ("blind" if seen == "blind" else "loop"),
        (col(Generation.source) == "logged") if seen == "live" else (col(Generation.source) != "logged"),
    )
    rows = _judged(session, of_version, contested=False)
    if not rows:
        look.empty(tr("Nobody flagged any of these answers."), tr("The share is 0 % of what was reviewed."))
    _list(rows, key)


def of_a_week(session: Session, monday: datetime, *, contested: bool, key: str) -> None:
    """Answers judged in the week that begins then: the flagged ones, or those on which people differ."""
    week = (col(Review.created_at) >= monday, col(Review.created_at) < monday + timedelta(days=7))
    rows = _judged(session, week, contested=contested)
    if not rows:
        look.empty(
            tr("Nobody differed that week.") if contested else tr("Nothing was flagged that week."), tr("Choose another point.")
        )
    _list(rows, key)


def _judged(session: Session, which: Sequence[ColumnElement[bool]], *, contested: bool) -> Sequence[Any]:
    """(text, messages, flags, reviews) of answers that people flagged, most flagged first, or differed on, most evenly first."""
    newer = aliased(Review)
    flags = func.sum(case((col(Review.verdict) == "flag", 1), else_=0))
    share = flags * 1.0 / func.count()
    return session.execute(
        rows_of(col(Generation.text), col(Prompt.messages), flags, func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(newer.id).is_(None), col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]))
        .where(*which)
        .group_by(col(Generation.id), col(Generation.text), col(Prompt.id))
        .having(and_(flags > 0, flags < func.count()) if contested else flags > 0)
        .order_by(func.abs(share - 0.5) if contested else share.desc(), func.count().desc(), col(Generation.id))
        .limit(LISTED)
    ).all()


def _list(rows: Sequence[Any], key: str) -> None:
    for text, messages, flags_here, reviews in paged(rows, key) if rows else ():
        by = tr("flagged by {flags} of {reviews}", flags=number(flags_here), reviews=number(reviews))
        look.html(
            look.asked(messages)
            + f'<div class="fb-card" style="margin:0 0 16px">{look.quote(text)}<div class="small soft">{by}</div></div>'
        )


def behind(session: Session, evaluation: Evaluation, metric: str, *, key: str) -> None:
    """What one figure of an evaluation was measured on: the largest changes each way, then all of them."""
    figure = evaluation.figures[metric]
    least = figure_words.would_show(figure)
    look.html(
        f"<div>{look.quiet(retold(str(figure.get('words', ''))))}: "
        f"<b>{figure_words.change_of(figure)}</b> {figure_words.judged(figure)}</div>"
        + (f'<div class="small soft">{look.quiet(least)}</div>' if least else "")
        + (f'<div class="small soft">{look.quiet(retold(str(figure["note"])))}</div>' if figure.get("note") else "")
    )
    rows = kept(session, evaluation, metric)
    if not rows:
        look.empty(
            tr("Nothing was measured yet."),
            tr("Blind answers wait for reviewers; evaluate again under Versions when they are judged.")
            if metric == "flag_rate"
            else tr("This evaluation had no text to measure it on."),
        )
        return
    ordered = sorted(rows, key=lambda row: ((row.candidate or 0) - (row.base or 0), row.item_key))
    fell = [row for row in ordered if (row.candidate or 0) < (row.base or 0)]
    rose = [row for row in reversed(ordered) if (row.candidate or 0) > (row.base or 0)]
    way = st.segmented_control(
        tr("Which"),
        ["fell most", "rose most", "all"],
        default="fell most" if fell else "rose most" if rose else "all",
        format_func=way_words,
        label_visibility="collapsed",
        key=f"way-{key}",
    )
    look.note(tr("{fell} fell, {rose} rose, of {rows}.", fell=number(len(fell)), rose=number(len(rose)), rows=number(len(rows))))
    shown = {"fell most": fell, "rose most": rose}.get(str(way), rows)
    if not shown:
        look.empty(tr("None did."), tr("Choose another word above."))
    for row in paged(shown, f"{key}-{way}"):
        _one(evaluation, row, figure)


def _one(evaluation: Evaluation, row: EvaluationItem, figure: dict[str, Any]) -> None:
    texts = row.texts
    if row.base is not None and row.candidate is not None:
        look.note(
            tr(
                "version {base_id}: {base} · version {candidate_id}: {candidate}",
                base_id=evaluation.base_id,
                base=figure_words.level(row.base, figure),
                candidate_id=evaluation.candidate_id,
                candidate=figure_words.level(row.candidate, figure),
            )
        )
    if "prompt" in texts:
        look.html(look.asked([{"content": str(texts["prompt"])}]))
    if "base" in texts:
        both(evaluation.base_id, evaluation.candidate_id, str(texts["base"]), str(texts.get("candidate", "")))
    elif "chosen" in texts:
        look.side_by_side(
            (tr("people preferred"), look.quote(str(texts["chosen"]))), (tr("to this"), look.quote(str(texts["rejected"])))
        )
    elif "answer" in texts:
        look.side_by_side(
            (tr("as it was written"), look.quote(str(texts["answer"]))),
            (tr("about others"), "".join(look.quote(str(text)) for text in texts.get("swapped", []))),
        )
    else:
        look.html(f'<div class="fb-card" style="margin:0 0 16px">{look.quote(str(texts.get("text", "")))}</div>')


def answers(session: Session, evaluation: Evaluation, *, key: str) -> None:
    """Fresh answers of both versions, those that differ first."""
    rows = kept(session, evaluation, "samples")
    if not rows:
        look.empty(
            tr("This evaluation kept no answers."), tr("There were no held-out prompts to answer; bring more prompts under Data.")
        )
        return
    changed = [row for row in rows if row.texts.get("base") != row.texts.get("candidate")]
    which = st.segmented_control(
        tr("Which answers"),
        ["changed", "unchanged", "all"],
        default="changed",
        format_func=way_words,
        label_visibility="collapsed",
        key=f"which-{key}",
    )
    same = [row for row in rows if row.texts.get("base") == row.texts.get("candidate")]
    shown = {"changed": changed, "unchanged": same, "all": rows}[str(which or "changed")]
    look.note(tr("{changed} of {rows} answers changed.", changed=number(len(changed)), rows=number(len(rows))))
    if not shown:
        none = tr("No answer is unchanged.") if which == "unchanged" else tr("No answer is changed.")
        look.empty(none, tr("Choose another word above."))
    page = paged(shown, key)
    hashes = {row.item_key.split(":")[0] for row in page}
    found = session.exec(select(Prompt).where(col(Prompt.content_hash).in_(hashes))).all()
    prompts = {prompt.content_hash: prompt for prompt in found}
    for row in page:
        asked = prompts.get(row.item_key.split(":")[0])
        if asked is not None:
            look.html(look.asked(asked.messages))
        both(evaluation.base_id, evaluation.candidate_id, str(row.texts.get("base", "")), str(row.texts.get("candidate", "")))


def about_suite(name: str, metric: str) -> None:
    """What a published test's number is, and what is known to be wrong with the test."""
    suite = suites.LISTED.get(name)
    if suite is None:
        return
    found = [metrics[metric].words for metrics in getattr(suite, "METRICS", {}).values() if metric in metrics]
    if found:
        look.note(f"{look.marked(metric.replace('_', ' '))}: {look.marked(retold(found[0]))}.")
    with st.expander(tr("What is known to be wrong with {test}", test=name)):
        look.html("<ul>" + "".join(f"<li>{look.marked(retold(one))}</li>" for one in suite.WEAKNESSES) + "</ul>")


def both(base_id: int, candidate_id: int, base: str, candidate: str) -> None:
    """Two versions' texts side by side."""
    left, right = (tr("version {version}", version=one) for one in (base_id, candidate_id))
    look.side_by_side((left, look.quote(base)), (right, look.quote(candidate)))


def way_words(way: str) -> str:
    """A choice of texts, as the page names it."""
    return stored("which texts", way)


def kept(session: Session, evaluation: Evaluation, metric: str) -> list[EvaluationItem]:
    """The items of a figure, by key."""
    rows = select(EvaluationItem).where(EvaluationItem.evaluation_id == evaluation.id, EvaluationItem.metric == metric)
    return list(session.exec(rows.order_by(col(EvaluationItem.item_key))).all())
