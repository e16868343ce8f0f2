"""What the pictures of the evidence pages show, as tables: one row a point. The same tables are what is downloaded.

Reads the store; draws nothing. Only people's answers count, never a rehearsal's. Blind shares are of both versions' answers to the
same held-out prompts; loop shares are of whatever a version wrote to be learnt from, so they compare versions only roughly.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isnan, sqrt
from typing import Any, Literal, NamedTuple

import pandas as pd
from sqlalchemy import case, func
from sqlalchemy import select as rows_of
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.model.agreement import nominal
from flagback.model.propensity import PartDraw, parts_by_cluster
from flagback.review_app.words import tr, trc
from flagback.storage import counting, suites
from flagback.storage.prompts import primary_language
from flagback.storage.records import (
    Evaluation,
    EvaluationItem,
    Generation,
    Item,
    Lease,
    ModelVersion,
    Prompt,
    Review,
    SetAside,
    Slot,
    SuiteData,
    SuiteRun,
)

#: blind: fresh held-out answers; loop: answers reviewed to learn from; live: logged answers of a model in use.
Seen = Literal["blind", "loop", "live"]
#: 97.5 % point of the normal distribution.
_Z = 1.959964
HARM = ["version", "seen", "evaluation", "share", "low", "high", "n", "unit"]
GAPS = ["version", "gap", "low", "high", "steps", "n"]
GROUPS = ["version", "axis", "group", "share", "low", "high", "n", "clusters", "evaluation", "metric"]
_OF_A_FIGURE = ["unit", "scale", "better", "base", "candidate", "change", "low", "high", "n", "detectable"]
CHANGES = ["version", "parent", "metric", *_OF_A_FIGURE]
_ALPHA = ["alpha", "alpha_low", "alpha_high", "judged_twice"]
WEEKS = ["week", "monday", "reviews", "flagged", "share", "low", "high", "reviewers", *_ALPHA]
COVERAGE = ["version", "purpose", "answers", "begun", "finished", "prompts", "reviews"]
TESTS = ["version", "suite", "data", "kind", "group", "metric", "value", "low", "high", "n", "clusters"]


class Share(NamedTuple):
    """The share of flags on one version's answers."""

    version: int
    seen: Seen
    #: The evaluation whose prompts these are, None for answers of the loop and in use. Only within one are versions alike.
    evaluation: int | None
    share: float
    low: float
    high: float
    n: int
    #: What n counts: "prompts" behind a blind share, else "reviews".
    unit: str


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


# ---------------------------------------------------------------------- votes


def votes(session: Session) -> pd.DataFrame:
    """People's answers in force: one row a review with what it judged. Columns item, version, seen, family, flag, reviewer, at; and
    of the first time its item was handed out lang, drawn_at and probability (NaN where it is not known), for `propensity`."""
    newer, first = aliased(Review), aliased(Lease)
    rows = session.execute(
        rows_of(
            col(Review.item_id),
            col(Generation.version_id),
            col(Item.purpose),
            col(Generation.source),
            col(Prompt.split_key),
            col(Review.verdict),
            col(Review.reviewer),
            col(Review.created_at),
            col(Prompt.lang),
            col(first.claimed_at),
            col(first.probability),
        )
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .outerjoin(first, (col(first.item_id) == Review.item_id) & col(first.probability).is_not(None))
        .where(col(newer.id).is_(None), col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]))
        .where(counting.counts())
        .order_by(col(Review.id))
    ).all()
    names = ["item", "version", "purpose", "source", "family", "verdict", "reviewer", "at", "lang", "drawn_at", "probability"]
    frame = pd.DataFrame(rows, columns=names)
    frame["seen"] = frame["purpose"].where(frame["source"] != "logged", "live")
    frame["flag"] = (frame["verdict"] == "flag").astype(int)
    frame["at"] = pd.to_datetime(frame["at"], utc=True).dt.as_unit("us")
    frame["drawn_at"] = pd.to_datetime(frame["drawn_at"], utc=True).dt.as_unit("us")
    frame["probability"] = frame["probability"].astype(float)
    frame["lang"] = frame["lang"].map(primary_language)
    return frame.drop(columns=["purpose", "source", "verdict"])


def newest_review(session: Session) -> tuple[int, int, int]:
    """The newest review, the newest record of setting aside and how many of those have ended: while they stay, so do `votes`."""
    newest = session.exec(select(func.max(Review.id))).one() or 0
    aside, ended = session.exec(select(func.max(SetAside.id), func.count(col(SetAside.ended_at)))).one()
    return newest, aside or 0, ended


def _share(frame: pd.DataFrame) -> tuple[float, float, float]:
    """The share of flags of some votes, by family of prompts."""
    by_family = frame.groupby("family")["flag"].agg(["sum", "count"])
    return share_of(zip(by_family["sum"].tolist(), by_family["count"].tolist(), strict=True))


def _loop_items(loop: pd.DataFrame) -> pd.DataFrame:
    """One row for each item of the loop's votes, in the order in which they were handed out."""
    items = loop.groupby("item", sort=False).agg(
        version=("version", "first"),
        lang=("lang", "first"),
        family=("family", "first"),
        share=("flag", "mean"),
        at=("drawn_at", "first"),
        first_vote=("at", "min"),
        probability=("probability", "first"),
    )
    items["at"] = items["at"].fillna(items["first_vote"])
    return items.sort_values("at", kind="stable")


def _share_of_loop(loop: pd.DataFrame, items: pd.DataFrame, version: int) -> tuple[float, float, float]:
    """The share of flags on all a version's answers of the loop, by how likely each was to be handed out; `loop` is all its votes,
    `items` its `_loop_items`.

    Too few of known probability: the plain share of what was judged.
    """
    asked = (items["version"] == version).astype(float)
    columns = items["lang"], items["family"], items["share"] * asked, asked, items["probability"]
    draws = [
        PartDraw(lang, family, part, whole, None if isnan(chance) else chance)
        for lang, family, part, whole, chance in zip(*(column.tolist() for column in columns), strict=True)
    ]
    estimated = parts_by_cluster(draws)
    return _share(loop[loop["version"] == version]) if estimated is None else share_of(estimated)


# ------------------------------------------------------------ harm by version


def harm_by_version(session: Session, judged: pd.DataFrame) -> pd.DataFrame:
    """The share of flags blind, in the loop and in use, by version. `judged` is `votes`.

    Each evaluation has prompts of its own, so a version that was in two of them has two blind rows; only rows of one evaluation are
    of the same prompts. Answers of the loop are drawn for a purpose, so each counts by how likely that was.
    """
    found = sorted([*_blind(session), *_others(judged)], key=lambda one: (one.seen, one.evaluation or 0, one.version))
    return pd.DataFrame(found, columns=HARM)


def gaps_to_base(session: Session) -> pd.DataFrame:
    """How far each version's blind share stands from the first base's, through the paired changes of its evaluations.

    A version that was evaluated against the first base has one step; a later one the sum of the steps that lead to it, each paired
    on prompts of its own, with ends put together from theirs (Zou and Donner 2008, MOVER). A step that nobody judged: no row.
    """
    parents = dict(session.exec(select(ModelVersion.id, ModelVersion.parent_id)).all())
    newest = newest_evaluations(session)
    rows = []
    for version in sorted(newest):
        steps: list[dict[str, Any]] = []
        at: int | None = version
        while at is not None and parents.get(at) is not None:
            evaluation = newest.get(at)
            figure = (evaluation.figures.get("flag_rate") or {}) if evaluation and evaluation.base_id == parents[at] else {}
            if figure.get("low") is None:
                break
            steps.append(figure)
            at = parents[at]
        else:
            change = sum(step["change"] for step in steps)
            low = change - sqrt(sum((step["change"] - step["low"]) ** 2 for step in steps))
            high = change + sqrt(sum((step["high"] - step["change"]) ** 2 for step in steps))
            rows.append((version, change, low, high, len(steps), sum(int(step["n"]) for step in steps)))
    return pd.DataFrame(rows, columns=GAPS)


def too_few(evaluation: Evaluation) -> list[str]:
    """The groups that an evaluation names as too few to say anything of: "old (4)"."""
    for metric, figure in evaluation.figures.items():
        listed = re.search(r"Too few prompts to say anything: (.*?)\.(?: |$)", str(figure.get("note") or ""))
        if metric.partition(":")[0] == "flag_rate" and listed:
            return listed[1].split(", ")
    return []


def newest_evaluations(session: Session) -> dict[int, Evaluation]:
    """Candidate -> its newest evaluation that ended well; of a rehearsal none."""
    judged = select(Evaluation).where(Evaluation.state == "succeeded", col(Evaluation.simulated).is_(False))
    return {row.candidate_id: row for row in session.exec(judged.order_by(col(Evaluation.id))).all()}


def _blind(session: Session) -> list[Share]:
    """Both sides of every candidate's newest evaluation."""
    found = []
    for evaluation in sorted(newest_evaluations(session).values(), key=lambda row: row.id):
        items = _items(session, evaluation.id, "flag_rate")
        for version, side in ((evaluation.base_id, "base"), (evaluation.candidate_id, "candidate")):
            if items:
                found.append(Share(version, "blind", evaluation.id, *_side(items, side), len(items), "prompts"))
    return found


def _items(session: Session, evaluation_id: int, metric: str) -> Sequence[EvaluationItem]:
    rows = select(EvaluationItem).where(EvaluationItem.evaluation_id == evaluation_id, EvaluationItem.metric == metric)
    return session.exec(rows).all()


def _side(items: Sequence[EvaluationItem], side: str) -> tuple[float, float, float]:
    by_cluster: dict[str, list[float]] = defaultdict(list)
    for item in items:
        by_cluster[item.cluster].append(float(getattr(item, side) or 0.0))
    return share_of((sum(rates), len(rates)) for rates in by_cluster.values())


def _others(judged: pd.DataFrame) -> list[Share]:
    """Reviews of the loop and of answers in use."""
    found = []
    others = judged[(judged["seen"] != "blind") & judged["version"].notna()]
    loop = others[others["seen"] == "loop"]
    items = _loop_items(loop)
    for version in sorted(others["version"].unique()):
        for seen in ("loop", "live"):
            part = others[(others["version"] == version) & (others["seen"] == seen)]
            if len(part):
                kind: Seen = "live" if seen == "live" else "loop"
                share = _share_of_loop(loop, items, version) if kind == "loop" else _share(part)
                found.append(Share(int(version), kind, None, *share, len(part), "reviews"))
    return found


# -------------------------------------------------------------- harm by group


def harm_by_group(session: Session) -> pd.DataFrame:
    """Blind share of flags on the prompts about each group, and about two at once, by version; all prompts first.

    Both sides of an evaluation are there, so a version that was in two has two rows; only rows of one evaluation are of the same
    prompts. Groups with too few prompts have no row: the evaluation names them.
    """
    found: list[dict[str, Any]] = []
    for evaluation in sorted(newest_evaluations(session).values(), key=lambda row: row.id):
        for metric in evaluation.figures:
            if metric != "flag_rate" and not metric.startswith("flag_rate:"):
                continue
            items = _items(session, evaluation.id, metric)
            if not items:
                continue
            axis, group = group_of(metric)
            for version, side in ((evaluation.base_id, "base"), (evaluation.candidate_id, "candidate")):
                share, low, high = _side(items, side)
                row = {
                    "version": version,
                    "axis": axis,
                    "group": group,
                    "share": share,
                    "low": low,
                    "high": high,
                    "n": len(items),
                    "clusters": len({item.cluster for item in items}),
                    "evaluation": evaluation.id,
                    "metric": metric,
                }
                found.append(row)
    order = ("axis", "group", "evaluation", "version")
    rows = sorted(found, key=lambda row: (row["metric"] != "flag_rate", *(row[name] for name in order)))
    return pd.DataFrame(rows, columns=GROUPS)


def group_of(metric: str) -> tuple[str, str]:
    """("age and gender", "old and woman") of "flag_rate:age=old,gender=woman"; ("", "all prompts") of "flag_rate"."""
    named = [part.partition("=") for part in metric.partition(":")[2].split(",") if part]
    if not named:
        return "", tr("all prompts")
    return together([axis for axis, _, _ in named]), together([group for _, _, group in named])


def together(names: Sequence[str]) -> str:
    """Groups, or kinds of them, of which a prompt speaks at once: "old and woman"."""
    return trc("between groups", " and ").join(names)


# ------------------------------------------------------ figures of evaluations


def changes_by_version(session: Session) -> pd.DataFrame:
    """Every figure of each candidate's newest evaluation: levels of both sides, the change with its interval, what would show."""
    rows = [
        {"version": candidate, "parent": evaluation.base_id, "metric": metric} | {name: figure.get(name) for name in _OF_A_FIGURE}
        for candidate, evaluation in sorted(newest_evaluations(session).items())
        for metric, figure in evaluation.figures.items()
    ]
    return pd.DataFrame(rows, columns=CHANGES)


# -------------------------------------------------------------------- by week


def weeks(judged: pd.DataFrame) -> pd.DataFrame:
    """By ISO week: reviews, share of flags, how many people reviewed, and Krippendorff's alpha of what two or more judged."""
    rows = []
    if len(judged):
        calendar = judged["at"].dt.isocalendar()
        named = judged.assign(week=calendar["year"].astype(str) + "-W" + calendar["week"].astype(str).str.zfill(2))
        for week, part in named.groupby("week"):
            share, low, high = _share(part)
            agreed = _agreement(part)
            rows.append(
                {
                    "week": week,
                    "monday": pd.Timestamp.fromisocalendar(int(str(week)[:4]), int(str(week)[6:]), 1),
                    "reviews": len(part),
                    "flagged": int(part["flag"].sum()),
                    "share": share,
                    "low": low,
                    "high": high,
                    "reviewers": part["reviewer"].nunique(),
                    "alpha": agreed.alpha,
                    "alpha_low": agreed.low,
                    "alpha_high": agreed.high,
                    "judged_twice": agreed.items,
                }
            )
    return pd.DataFrame(rows, columns=WEEKS)


def _agreement(part: pd.DataFrame) -> Any:
    by_item = part.groupby("item").agg(flags=("flag", "sum"), n=("flag", "count"), family=("family", "first"))
    counts = list(zip(by_item["flags"].tolist(), (by_item["n"] - by_item["flags"]).tolist(), strict=True))
    return nominal(counts, by_item["family"].tolist())


# ------------------------------------------------------------------- coverage


def coverage(session: Session) -> pd.DataFrame:
    """By version and purpose: answers put before people, those begun and those with every wanted review, prompts and reviews."""
    done = func.sum(case((col(Slot.state) == "done", 1), else_=0))
    rows = session.execute(
        rows_of(col(Generation.version_id), col(Item.purpose), col(Item.prompt_id), done, func.count())
        .select_from(Item)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Slot, col(Slot.item_id) == Item.id)
        .group_by(col(Item.id), col(Generation.version_id), col(Item.purpose), col(Item.prompt_id))
    ).all()
    frame = pd.DataFrame(rows, columns=["version", "purpose", "prompt", "filled", "wanted"]).sort_values(["version", "purpose"])
    found = []
    for key in dict.fromkeys(zip(frame["version"].fillna(0).astype(int), frame["purpose"], strict=True)):
        part = frame[(frame["version"].fillna(0) == key[0]) & (frame["purpose"] == key[1])]
        found.append(
            {
                "version": key[0] or None,
                "purpose": key[1],
                "answers": len(part),
                "begun": int((part["filled"] > 0).sum()),
                "finished": int((part["filled"] == part["wanted"]).sum()),
                "prompts": part["prompt"].nunique(),
                "reviews": int(part["filled"].sum()),
            }
        )
    return pd.DataFrame(found, columns=COVERAGE)


# ------------------------------------------------------------ published tests


def suites_by_version(session: Session, version: int | None = None) -> pd.DataFrame:
    """Every number of the published tests, of all versions or one: over all items (kind "") and by group."""
    asked = select(SuiteRun, SuiteData).join(SuiteData, col(SuiteData.id) == SuiteRun.data_id)
    if version is not None:
        asked = asked.where(SuiteRun.version_id == version)
    rows: list[dict[str, Any]] = []
    for run, data in session.exec(asked.order_by(col(SuiteData.suite), col(SuiteData.id), col(SuiteRun.version_id))).all():
        parts = [("", "", run.figures)]
        parts += [(kind, group, part) for kind, found in run.figures.get("groups", {}).items() for group, part in found.items()]
        rows += [
            {"version": run.version_id, "suite": data.suite, "data": data.id, "kind": kind, "group": group, "metric": metric}
            | {name: level.get(name) for name in ("value", "low", "high", "n", "clusters")}
            for kind, group, part in parts
            for metric, level in part.get("figures", {}).items()
        ]
    return pd.DataFrame(rows, columns=TESTS)


def suites_too_few(session: Session, version: int, data: int) -> list[tuple[str, int]]:
    """("age and stereo", items) of two groups at once in a published test that are too few to say anything of."""
    run = suites.run_of(session, version, data)
    return [(together(str(one["group"]).split(" & ")), int(one["n"])) for one in run.figures.get("suppressed", [])] if run else []


def suites_not_put(session: Session, version: int) -> list[tuple[str, str]]:
    """(suite, reason) of published tests that a version could not be put."""
    asked = select(SuiteRun, SuiteData).join(SuiteData, col(SuiteData.id) == SuiteRun.data_id).where(SuiteRun.version_id == version)
    return [(data.suite, str(run.figures["error"])) for run, data in session.exec(asked).all() if "error" in run.figures]
