"""Compare: a version and its parent on the same held-out prompts with the same noise, figures first and the texts behind each."""

import streamlit as st
from sqlmodel import Session, col, select

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage.records import Account, Evaluation, EvaluationItem, Prompt

TEXTS_A_PAGE = 10
_ALL = "answers"


def show(installation: Installation, _account: Account) -> None:
    """Draws the page."""
    look.heading(
        "Compare", "Both versions answer the same held-out prompts with the same noise, so what differs is what was learnt."
    )
    with installation.store.reading() as session:
        found = session.exec(select(Evaluation).where(Evaluation.state == "succeeded").order_by(col(Evaluation.id).desc())).all()
    if not found:
        look.empty("Nothing to compare yet.", "A correction is compared with its parent as soon as it has run.")
        return
    newest: dict[int, Evaluation] = {}
    for row in found:
        newest.setdefault(row.candidate_id, row)
    asked = st.query_params.get("version", "")
    numbers = list(newest)
    number = (
        numbers[0]
        if len(numbers) == 1
        else st.selectbox(
            "Which",
            numbers,
            index=numbers.index(int(asked)) if asked.isdigit() and int(asked) in newest else 0,
            format_func=lambda one: f"Version {one} with its parent, version {newest[one].base_id}",
        )
    )
    evaluation = newest[number]
    with st.container(key="fb-card-texts"):
        _texts(installation, evaluation)
    with st.container(key="fb-card-figures"):
        st.subheader(f"Version {evaluation.candidate_id} beside its parent, in figures", anchor=False)
        look.html(
            f'{look.verdict_pill(evaluation.verdict)} <span class="small soft">evaluated '
            f"{look.clock(evaluation.ended_at)}; each name opens the texts behind it</span>"
        )
        look.figures_table(evaluation.figures, evaluation.base_id, evaluation.candidate_id)


def _texts(installation: Installation, evaluation: Evaluation) -> None:
    st.subheader("The texts", anchor=False)
    asked = st.query_params.get("figure", "")
    choices = [_ALL, *evaluation.figures]
    metric = st.selectbox(
        "Show",
        choices,
        index=choices.index(asked) if asked in choices else 0,
        format_func=lambda one: "Answers side by side" if one == _ALL else f"Behind the figure: {look.figure_name(one)}",
    )
    with installation.store.reading() as session:
        if metric == _ALL:
            _answers(session, evaluation)
        else:
            _behind(session, evaluation, str(metric))


def _answers(session: Session, evaluation: Evaluation) -> None:
    """Fresh answers of both versions, those that differ first."""
    rows = _rows(session, evaluation, "samples")
    if not rows:
        look.empty("This evaluation kept no answers.", "There were no held-out prompts to answer; bring more prompts under Data.")
        return
    changed = [row for row in rows if row.texts.get("base") != row.texts.get("candidate")]
    which = st.segmented_control("Which answers", ["changed", "unchanged", "all"], default="changed", label_visibility="collapsed")
    same = [row for row in rows if row.texts.get("base") == row.texts.get("candidate")]
    shown = {"changed": changed, "unchanged": same, "all": rows}[str(which or "changed")]
    look.html(f'<div class="small soft">{len(changed):,} of {len(rows):,} answers changed.</div>')
    if not shown:
        look.empty(f"No answer is {which}.", "Choose another word above.")
    shown = _page(shown)
    hashes = {row.item_key.split(":")[0] for row in shown}
    found = session.exec(select(Prompt).where(col(Prompt.content_hash).in_(hashes))).all()
    prompts = {prompt.content_hash: prompt for prompt in found}
    for row in shown:
        asked = prompts.get(row.item_key.split(":")[0])
        if asked is not None:
            look.html(look.asked(asked.messages))
        _both(evaluation, row)


def _behind(session: Session, evaluation: Evaluation, metric: str) -> None:
    """What one figure was measured on, the largest changes first."""
    figure = evaluation.figures[metric]
    look.html(
        f"<div>{look.quiet(str(figure.get('words', '')))}: "
        f"<b>{look.change_words(figure)}</b> {look.judged_pill(figure)}</div>"
        + (f'<div class="small soft">{look.quiet(str(figure["note"]))}</div>' if figure.get("note") else "")
    )
    rows = sorted(_rows(session, evaluation, metric), key=lambda row: (-abs((row.candidate or 0) - (row.base or 0)), row.item_key))
    if not rows:
        look.empty(
            "Nothing was measured yet.",
            "Blind answers wait for reviewers; evaluate again under Versions when they are judged."
            if metric == "flag_rate"
            else "This evaluation had no text to measure it on.",
        )
        return
    for row in _page(rows):
        texts = row.texts
        if row.base is not None and row.candidate is not None:
            look.html(
                f'<div class="small soft">version {evaluation.base_id}: {look.level(row.base, figure)} · '
                f"version {evaluation.candidate_id}: {look.level(row.candidate, figure)}</div>"
            )
        if "prompt" in texts:
            look.html(look.asked([{"content": str(texts["prompt"])}]))
        if "base" in texts:
            _both(evaluation, row)
        elif "chosen" in texts:
            look.side_by_side(
                ("people preferred", look.quote(str(texts["chosen"]))), ("to this", look.quote(str(texts["rejected"])))
            )
        elif "answer" in texts:
            look.side_by_side(
                ("as it was written", look.quote(str(texts["answer"]))),
                ("about others", "".join(look.quote(str(text)) for text in texts.get("swapped", []))),
            )
        else:
            look.html(f'<div class="fb-card" style="margin:0 0 16px">{look.quote(str(texts.get("text", "")))}</div>')


def _both(evaluation: Evaluation, row: EvaluationItem) -> None:
    look.side_by_side(
        (f"version {evaluation.base_id}", look.quote(str(row.texts.get("base", "")))),
        (f"version {evaluation.candidate_id}", look.quote(str(row.texts.get("candidate", "")))),
    )


def _rows(session: Session, evaluation: Evaluation, metric: str) -> list[EvaluationItem]:
    return list(
        session.exec(
            select(EvaluationItem)
            .where(EvaluationItem.evaluation_id == evaluation.id, EvaluationItem.metric == metric)
            .order_by(col(EvaluationItem.item_key))
        ).all()
    )


def _page(rows: list[EvaluationItem]) -> list[EvaluationItem]:
    pages = max(1, -(-len(rows) // TEXTS_A_PAGE))
    page = int(st.number_input(f"Page of {pages:,}", 1, pages, 1, width=160)) if pages > 1 else 1
    return rows[(page - 1) * TEXTS_A_PAGE : page * TEXTS_A_PAGE]
