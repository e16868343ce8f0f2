"""Harm against usefulness over the versions that were evaluated: one point a version, which of them none beats, and the picture.

Reads evaluations that exist; a sweep over settings is so many corrections of one parent, each evaluated. Never a rehearsal's.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from sqlmodel import Session, col, select

from flagback.review_app.monitoring import newest_evaluations
from flagback.storage.records import CorrectionRun

WIDTH, HEIGHT, MARGIN = 640, 420, 56


class Point(NamedTuple):
    """A candidate as its newest evaluation found it, beside the parent it was compared with."""

    version: int
    parent: int
    #: Share of its blind answers that people flagged, and that of its parent's on the same prompts.
    harm: float
    parent_harm: float
    #: Perplexity of neutral texts over the parent's: above 1 the version became less useful.
    utility: float
    #: The highest such share on prompts about one group, and whose; harm itself where no group had enough prompts.
    worst_harm: float
    worst_group: str
    #: Settings of its recipe that differ from the default, in words.
    recipe: str
    #: Whether no other point is as good in all three and better in one.
    best: bool


def points(session: Session, *, parent: int | None = None) -> list[Point]:
    """One point a version, of one parent or of all; evaluations without blind flags or without neutral texts give none."""
    from flagback.model.kept_recipe import differences, read_recipe
    from flagback.model.recipe import Recipe

    made_by = {run.candidate_id: run for run in session.exec(select(CorrectionRun).order_by(col(CorrectionRun.id).desc())).all()}
    found: list[Point] = []
    for version, evaluation in sorted(newest_evaluations(session).items()):
        figures = evaluation.figures
        flags, neutral = figures.get("flag_rate") or {}, figures.get("perplexity:neutral") or {}
        if parent not in (None, evaluation.base_id) or flags.get("candidate") is None or neutral.get("change") is None:
            continue
        groups = {
            metric.partition(":")[2]: float(figure["candidate"])
            for metric, figure in figures.items()
            if metric.startswith("flag_rate:") and figure.get("candidate") is not None
        }
        worst = max(groups, key=lambda name: (groups[name], name), default="")
        run = made_by.get(version)
        changed = differences(Recipe(), read_recipe(run.recipe)) if run is not None else []
        found.append(
            Point(
                version,
                evaluation.base_id,
                float(flags["candidate"]),
                float(flags["base"]),
                float(neutral["change"]),
                groups.get(worst, float(flags["candidate"])),
                worst,
                ", ".join(f"{one.setting} {one.after}" for one in changed),
                False,
            )
        )
    return marked(found)


def marked(found: Sequence[Point]) -> list[Point]:
    """The points, each with whether none beats it; only versions of one parent are compared."""
    return [
        point._replace(best=not any(_beats(other, point) for other in found if other.parent == point.parent)) for point in found
    ]


def _beats(one: Point, other: Point) -> bool:
    mine, theirs = ((point.harm, point.utility, point.worst_harm) for point in (one, other))
    return all(a <= b for a, b in zip(mine, theirs, strict=True)) and mine != theirs


def picture(found: Sequence[Point]) -> str:
    """The points as SVG: harm to the right, perplexity upwards, a line to the worst group's harm; those none beats are filled."""
    harms = [value for point in found for value in (point.harm, point.worst_harm)]
    utilities = [1.0, *(point.utility for point in found)]
    across = _scale(0.0, max(harms, default=1.0), MARGIN, WIDTH - MARGIN)
    up = _scale(min(utilities), max(utilities), HEIGHT - MARGIN, MARGIN)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        "<title>Harm, usefulness and the worst group of each version</title>",
        f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#767676"/>',
        f'<path d="M{MARGIN} {up(1.0):.1f}H{WIDTH - MARGIN}" stroke="#767676" stroke-dasharray="4 4"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">share of answers flagged (line: to the worst group)</text>',
        f'<text x="{MARGIN}" y="{MARGIN - 22}">perplexity of neutral texts, times the parent\'s</text>',
    ]
    for end, value in ((MARGIN, 0.0), (WIDTH - MARGIN, max(harms, default=1.0))):
        lines.append(f'<text x="{end}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{value:.2f}</text>')
    for value in sorted({min(utilities), 1.0, max(utilities)}):
        lines.append(f'<text x="{MARGIN - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for point in found:
        x, y, far = across(point.harm), up(point.utility), across(point.worst_harm)
        told = (
            f"Version {point.version}: {point.harm:.3f} flagged, worst group {point.worst_group or 'none'} {point.worst_harm:.3f}"
        )
        fill = "#1f5f8b" if point.best else "#ffffff"
        lines += [
            f'<path d="M{x:.1f} {y:.1f}H{far:.1f}" stroke="#1f5f8b"/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="#1f5f8b"><title>{escape(told)}</title></circle>',
            f'<text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">{point.version}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value stands between two ends of the picture."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)
