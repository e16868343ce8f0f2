"""Harm against usefulness over the versions that were evaluated: one point a version, which of them none beats, and the picture.

Reads evaluations that exist, and keeps nothing beside them; a sweep over settings is so many corrections of one parent, each
evaluated. Never a rehearsal's. The page Corrections draws the same points (`screens/tradeoff_curve.py`).
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmodel import Session, col, select

from flagback.review_app.monitoring import harm_by_group, newest_evaluations
from flagback.storage.records import CorrectionRun, KeptRecipe, ModelVersion

if TYPE_CHECKING:
    from flagback.model.recipe import Recipe

WIDTH, HEIGHT, MARGIN = 640, 420, 56


class Ends(NamedTuple):
    """Both ends of a 95 % interval; None where the data are too few for one."""

    low: float | None = None
    high: float | None = None


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
    #: What the recipe is called: "default" or the kept one that it began from, and what was set otherwise; empty without a run.
    title: str = ""
    #: Of `harm`, `parent_harm`, `utility` and `worst_harm`.
    harm_ends: Ends = Ends()
    parent_ends: Ends = Ends()
    utility_ends: Ends = Ends()
    worst_ends: Ends = Ends()
    #: Prompts that both versions answered blind.
    prompts: int = 0
    #: Whether it is the version in use.
    current: bool = False

    def told(self) -> dict[str, Any]:
        """As it is written out: plain values only."""
        return {name: value._asdict() if isinstance(value, Ends) else value for name, value in self._asdict().items()}


def points(session: Session, *, parent: int | None = None) -> list[Point]:
    """One point a version, of one parent or of all; evaluations without blind flags or without neutral texts give none."""
    from flagback.model.kept_recipe import differences, read_recipe
    from flagback.model.recipe import Recipe

    made_by = {run.candidate_id: run for run in session.exec(select(CorrectionRun).order_by(col(CorrectionRun.id).desc())).all()}
    now = in_use(session)
    ends = {
        (row["evaluation"], row["metric"], row["version"]): Ends(row["low"], row["high"])
        for row in harm_by_group(session).to_dict("records")
    }
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
        followed = read_recipe(run.recipe) if run is not None else Recipe()
        found.append(
            Point(
                version,
                evaluation.base_id,
                float(flags["candidate"]),
                float(flags["base"]),
                float(neutral["change"]),
                groups.get(worst, float(flags["candidate"])),
                worst,
                ", ".join(f"{one.setting} {one.after}" for one in differences(Recipe(), followed)),
                False,
                title=_title(session, run, followed),
                harm_ends=ends.get((evaluation.id, "flag_rate", version), Ends()),
                parent_ends=ends.get((evaluation.id, "flag_rate", evaluation.base_id), Ends()),
                utility_ends=Ends(neutral.get("low"), neutral.get("high")),
                worst_ends=ends.get((evaluation.id, f"flag_rate:{worst}" if worst else "flag_rate", version), Ends()),
                prompts=int(flags.get("n") or 0),
                current=version in now,
            )
        )
    return marked(found)


def in_use(session: Session) -> set[int]:
    """The version in use, or nothing."""
    return set(session.exec(select(ModelVersion.id).where(ModelVersion.state == "current")).all())


def _title(session: Session, run: CorrectionRun | None, followed: "Recipe") -> str:
    """What a run's recipe is called. A rate that a sweep found is no setting of somebody's."""
    from flagback.model.kept_recipe import differences, read_recipe
    from flagback.model.recipe import Recipe

    if run is None:
        return ""
    kept = session.get(KeptRecipe, run.recipe_id) if run.recipe_id is not None else None
    began = read_recipe(kept.settings, form=kept.form) if kept else Recipe()
    otherwise = [
        f"{one.setting} {one.after}"
        for one in differences(began, followed)
        if not (followed.find_rate and one.setting == "learning_rate")
    ]
    return ", ".join([f"{kept.name}@{kept.number}" if kept else "default", *otherwise])


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
