"""What a set holds as people read it: what was asked, and what would rather be said than what, or what would rather not be."""

from collections.abc import Sequence

from flagback.review_app.screens import look
from flagback.review_app.words import tr


def show(messages: Sequence[dict[str, str]], good: str, bad: str, note: str = "") -> None:
    """Draws it, with a word about it beside the better answer."""
    look.html(look.asked(messages))
    rather = tr("rather this ({note})", note=note) if note else tr("rather this")
    look.side_by_side((rather, look.quote(good)), (tr("than this"), look.quote(bad)))


def show_alone(messages: Sequence[dict[str, str]], answer: str, note: str) -> None:
    """Draws an answer without a counterpart, with what is said of it."""
    look.html(look.asked(messages))
    look.side_by_side((note, look.quote(answer)))
