"""A run's stage, state and verdict in words. Knows no store."""

from flagback.review_app.jobs import Standing
from flagback.review_app.screens import look
from flagback.review_app.words import tr, trc


def stage(words: str) -> str:
    """What a worker is doing, in words."""
    return {
        "prompts answered": tr("prompts answered"),
        "freeze": tr("gathering the pairs"),
        "score the answers": tr("scoring the answers before learning"),
        "try step sizes": tr("trying step sizes"),
        "train": tr("getting ready to learn"),
        "training steps": tr("learning, step by step"),
        "register": tr("keeping the new version"),
        "explain": tr("looking at what became of every pair"),
        "evaluate": tr("asking for the evaluation"),
        "blind samples": tr("both versions answer held-out prompts"),
        "published tests": tr("both versions take the published tests"),
        "measure": tr("measuring and comparing"),
        "measure pairs": tr("both versions read the held-out pairs"),
        "measure swaps": tr("both versions read answers with other groups named"),
        "measure texts": tr("both versions read the reference texts"),
        "done": trc("a stage", "done"),
    }.get(words, words)


def how_far(at: Standing) -> str:
    """What is being done, and how much of it is done: "trying step sizes: 3 of 34"."""
    doing = stage(at.words) + (f" ({at.figures})" if at.figures else "")
    return tr("{doing}: {done} of {total}", doing=doing, done=at.done, total=at.total) if at.total else doing


def verdict_pill(verdict: str | None) -> str:
    """The gate's word as a pill."""
    shown: dict[str | None, tuple[str, look.Tone]] = {
        "pass": (tr("passed the gate"), "ok"),
        "fail": (tr("stopped by the gate"), "flag"),
        "not_enough_data": (tr("not enough data yet"), "flag"),
        None: (tr("not evaluated"), "plain"),
    }
    return look.pill(*shown.get(verdict, (str(verdict), "plain")))


def state_pill(state: str) -> str:
    """A run's state as a pill."""
    tone: look.Tone = "ok" if state == "succeeded" else "flag" if state in ("failed", "cancelled") else "plain"
    return look.pill(state_in_words(state), tone)


def state_in_words(state: str) -> str:
    """What became of a run, or becomes."""
    return {
        "succeeded": trc("state of a run", "done"),
        "cancelled": trc("state of a run", "stopped by hand"),
        "failed": trc("state of a run", "failed"),
        "running": trc("state of a run", "running"),
        "queued": trc("state of a run", "queued"),
    }.get(state, state)
