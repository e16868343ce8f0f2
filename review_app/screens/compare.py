"""Compare: a version and its parent on the same held-out prompts with the same noise, texts first, figures beside them."""

from typing import Literal

import streamlit as st
from sqlmodel import col, select

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage.records import Account, Evaluation, EvaluationItem, Prompt

Show = Literal["changed", "unchanged", "all"]


def show(installation: Installation, _account: Account) -> None:
    """Draws the page."""
    look.heading(
        "Compare", "Both versions answer the same held-out prompts with the same noise, so what differs is what was learnt."
    )
    with installation.store.reading() as session:
        found = session.exec(select(Evaluation).where(Evaluation.state == "succeeded").order_by(col(Evaluation.id).desc())).all()
    if not found:
        st.info("Nothing to compare yet: a correction is compared with its parent as soon as it has run.")
        return
    newest: dict[int, Evaluation] = {}
    for row in found:
        newest.setdefault(row.candidate_id, row)
    names = {f"Version {row.candidate_id} with its parent, version {row.base_id}": row for row in newest.values()}
    evaluation = names[st.selectbox("Which", list(names))]
    look.table(
        ["figure", f"version {evaluation.base_id}", f"version {evaluation.candidate_id}", "change (95 % interval)", "n"],
        look.figure_rows(evaluation.figures),
        numeric=(1, 2, 4),
    )
    _texts(installation, evaluation)


def _texts(installation: Installation, evaluation: Evaluation) -> None:
    with installation.store.reading() as session:
        rows = session.exec(
            select(EvaluationItem)
            .where(EvaluationItem.evaluation_id == evaluation.id, EvaluationItem.metric == "samples")
            .order_by(col(EvaluationItem.item_key))
        ).all()
        prompts = {
            prompt.content_hash: prompt
            for prompt in session.exec(
                select(Prompt).where(col(Prompt.content_hash).in_({row.item_key.split(":")[0] for row in rows}))
            ).all()
        }
    changed = [row for row in rows if row.texts.get("base") != row.texts.get("candidate")]
    st.subheader("The texts", anchor=False)
    if not rows:
        st.caption("This evaluation kept no samples.")
        return
    which = st.segmented_control("Show", ["changed", "unchanged", "all"], default="changed", label_visibility="collapsed")
    shown = {"changed": changed, "unchanged": [row for row in rows if row not in changed], "all": list(rows)}[
        str(which or "changed")
    ]
    st.caption(f"{len(changed)} of {len(rows)} answers changed.")
    pages = max(1, -(-len(shown) // 20))
    page = st.number_input("Page", 1, pages, 1) if pages > 1 else 1
    for row in shown[(page - 1) * 20 : page * 20]:
        prompt = prompts.get(row.item_key.split(":")[0])
        if prompt is not None:
            look.html(look.asked(prompt.messages))
        look.side_by_side(
            (f"Version {evaluation.base_id}", look.quote(str(row.texts.get("base", "")))),
            (f"Version {evaluation.candidate_id}", look.quote(str(row.texts.get("candidate", "")))),
        )
