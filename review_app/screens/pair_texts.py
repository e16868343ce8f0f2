"""A preference pair as people read it: what was asked, what would rather be said, and than what."""

from collections.abc import Sequence

from flagback.review_app.screens import look
from flagback.review_app.words import tr


def show(messages: Sequence[dict[str, str]], good: str, bad: str, note: str = "") -> None:
    """Draws it, with a word about it beside the better answer."""
    look.html(look.asked(messages))
    rather = tr("rather this ({note})", note=note) if note else tr("rather this")
    look.side_by_side((rather, look.quote(good)), (tr("than this"), look.quote(bad)))
