"""The texts behind a point of a picture on Patterns: prompts, answers and how people judged them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from flagback.review_app.screens import look
from flagback.review_app.words import number, tr, trn
from flagback.storage.invisible import visible

if TYPE_CHECKING:
    from flagback.review_app.screens.patterns import Answer

TEXTS_A_PAGE = 8
#: Characters of a group's name in a picture or a list.
LONGEST = 60


def picked(event: Any, selection: str, field: str) -> str | None:
    """The value of the point that was clicked; None where none is."""
    points = event["selection"].get(selection) if event else None
    if not isinstance(points, list) or not points:
        return None
    value = points[-1].get(field)
    return value if isinstance(value, str) else None


def plain(name: str) -> str:
    """A name from outside for a picture or a list, which draw it as text: what cannot be seen is named, a long one is cut."""
    shown = visible(name)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def draw(answers: "Sequence[Answer]", *, key: str) -> None:
    """Answers with their prompts, the most flagged first."""
    rows = sorted(answers, key=lambda one: (-one.harm / one.votes, one.generation_id))
    pages = max(1, -(-len(rows) // TEXTS_A_PAGE))
    look.note(trn("{count} answer, the most flagged first.", "{count} answers, the most flagged first.", len(rows)))
    page = (
        int(st.number_input(tr("Page of {pages}", pages=number(pages)), 1, pages, 1, width=160, key=f"patterns_page_{key}"))
        if pages > 1
        else 1
    )
    for one in rows[(page - 1) * TEXTS_A_PAGE : page * TEXTS_A_PAGE]:
        tone = "flag" if 2 * one.harm > one.votes else "ok" if 2 * one.harm < one.votes else "plain"
        judged = look.pill(tr("{flags} of {votes} flagged it", flags=one.harm, votes=one.votes), tone)  # type: ignore[arg-type]
        body = look.asked([{"content": one.prompt}]) + look.quote(one.text) + judged
        look.html(f'<div class="fb-card" style="margin:0 0 12px">{body}</div>')
