"""Agreement: how far people agree, over all, by group and across groups; of this installation's reviews or of a study.

Draws `flagback.review_app.agreement`; what takes long is reckoned once for a state of the records and of what people agreed to.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from flagback.review_app import agreement, monitoring
from flagback.review_app.access import STEERING_ROLES
from flagback.review_app.agreement import Figure, Group, Report
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, picture, section, study_ratings
from flagback.review_app.words import number, percent, stored, tr, trn, written
from flagback.storage import ratings
from flagback.storage.records import Account, ScaleType
from flagback.storage.store import Store
from flagback.storage.suppression import SMALLEST

_SCALES: dict[ScaleType, str] = {"nominal": "same label (nominal)", "ordinal": "ranks (ordinal)", "interval": "numbers (interval)"}
_OWN_SCALES: dict[ScaleType, str] = _SCALES | {"nominal": "flag or fine (nominal)", "ordinal": "severity (ordinal)"}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("Agreement"), tr("How far people agree, and whether groups of people judge the same answers differently."))
    section.strip(account, "agreement")
    with installation.store.reading() as session:
        studies = {one.study: one for one in ratings.studies(session)}
    names = list(studies)
    if gone := st.session_state.pop("flagback_study_gone", None):
        look.said(gone, "ok")
    asked = st.query_params.get("study")
    choices = [None, *names]
    at = choices.index(asked) if asked in choices else 0
    # A list whose choice is gone is another list: else the browser goes on showing it.
    key = f"agreement-of-{st.session_state.get('flagback_studies_gone', 0)}"
    chosen = st.selectbox(tr("Whose ratings"), choices, index=at, format_func=_whose, key=key)
    may = account.role in STEERING_ROLES
    if may:
        look.html(f'<div class="small">{look.link("/data?bring=ratings", tr("Bring in finished ratings of a study"))}</div>')
    found = _report(installation, chosen)
    if not found.n_ratings:
        look.empty(
            tr("Nobody has judged an answer yet."),
            tr(
                "Agreement appears as soon as two people have judged the same one. A maintainer brings finished ratings from "
                "elsewhere in on the page Data, or with 'flagback import ratings FILE'."
            ),
        )
        return
    with st.container(key="fb-card-overall"):
        _overall(found, installation, account)
    with st.container(key="fb-card-bygroup"):
        _by_group(found, installation, account)
    if may and chosen is not None:
        study_ratings.manage(installation, account, studies[chosen])


def _whose(study: str | None) -> str:
    return tr("Reviews of this installation") if study is None else tr("Study {study}", study=study)


def _report(installation: Installation, study: str | None) -> Report:
    """Background and consent are read anew each time, so that who takes consent back is gone from the groups at once."""
    store = installation.store
    with store.reading() as session:
        if study is not None:
            stamp = next(str(one.created_at) for one in ratings.studies(session) if one.study == study)
            with st.spinner(tr("Comparing ratings…")):
                return _of_study(store.shown_url, study, stamp, store)
        newest = monitoring.newest_review(session)
        reviewers = agreement.reviewers(session)
        groups = agreement.shareable(session, installation.pseudonym_key, reviewers)
    with st.spinner(tr("Comparing reviews…")):
        return _of_reviews(store.shown_url, newest, groups, store)


@st.cache_data(max_entries=4, show_spinner=False)
def _of_study(url: str, study: str, stamp: str, _store: Store) -> Report:  # noqa: ARG001 # what it is kept under
    with _store.reading() as session:
        kept = ratings.ratings_of(session, study)
    return agreement.report(agreement.of_study(kept, study), kept.background)


@st.cache_data(max_entries=2, show_spinner=False)
def _of_reviews(url: str, newest: tuple[int, int, int], groups: Mapping[str, Mapping[str, str]], _store: Store) -> Report:  # noqa: ARG001
    with _store.reading() as session:
        rated = agreement.own(session)
    return agreement.report(rated, groups)


# --------------------------------------------------------------------- over all


def _overall(found: Report, installation: Installation, account: Account) -> None:
    st.subheader(tr("All raters"), anchor=False)
    ratings_, items, people = (f"<b>{number(n)}</b>" for n in (found.n_ratings, found.n_items, found.n_raters))
    look.html(
        "<div>"
        + (
            tr("{ratings} ratings of {answers} answers by {people} people.", ratings=ratings_, answers=items, people=people)
            if found.study is None
            else tr("{ratings} ratings of {items} items by {people} people.", ratings=ratings_, items=items, people=people)
        )
        + "</div>"
    )
    words = _scale_words(found)
    rows = [{"scale": words[scale], **_numbers(figure)} for scale, figure in found.alpha.items() if figure.n_items]
    known = [row for row in rows if row["value"] is not None]
    if known:
        frame = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
        along = picture.Along("scale", list(frame["scale"]))
        chart = picture.down(frame, along, unit="plain", none=0.0)
        said = tr("Krippendorff's alpha: {points}", points=picture.spoken(frame, ["scale"], "plain"))
        high = picture.rows_high(frame, along)
        picture.show(chart, frame, name="agreement", spoken=said, installation=installation, account=account, height=high)
    notes = dict.fromkeys(
        f"{words[scale]}: {retold(figure.note)}."
        for scale, figure in found.alpha.items()
        if figure.note and scale in _measured(found)
    )
    for note in notes:
        look.html(f'<div class="small soft">{look.quiet(note)}</div>')
    look.note(
        tr(
            "Krippendorff’s alpha: 1 is full agreement, 0 is what chance gives. The lines reach as far as alpha "
            "would with other people on the same answers, 19 times in 20. People who differ are no error: their "
            "disagreement is data."
        )
    )
    again = found.self_consistency
    if again is not None and again.repeated:
        alike = tr("Seen again, an answer was judged alike {share} of the time", share=_share(again.value, again.low, again.high))
        times = trn("({count} repetition).", "({count} repetitions).", again.repeated)
        look.html(f'<div>{alike} <span class="soft">{times}</span></div>')


def _scale_words(found: Report) -> dict[ScaleType, str]:
    words = _OWN_SCALES if found.study is None else _SCALES
    return {scale: stored("scale", said) for scale, said in words.items()}


def _measured(found: Report) -> list[ScaleType]:
    """The scales that the labels have."""
    order = agreement.SCALES
    return list(order[: order.index(found.scale) + 1])


def _numbers(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n_items}


def _share(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return tr("(not enough raters to say)")
    ends = ""
    if low is not None and high is not None:
        ends = f' <span class="soft">{tr("({low} to {high})", low=percent(low), high=percent(high))}</span>'
    return f"<b>{percent(value)}</b>{ends}"


# --------------------------------------------------------------------- by group


def _by_group(found: Report, installation: Installation, account: Account) -> None:
    st.subheader(tr("By group of raters"), anchor=False)
    columns = list(dict.fromkeys(group.column for group in found.groups))
    if not any(not group.suppressed for group in found.groups):
        why = (
            tr(
                "Groups come from background that reviewers gave and agreed to have beside their reviews in exports; a group "
                "is shown "
                "from {fewest} people who judged something.",
                fewest=SMALLEST,
            )
            if found.study is None
            else tr(
                "A study's groups come from the columns named with --background; a group is shown from {fewest} raters.",
                fewest=SMALLEST,
            )
        )
        look.empty(tr("Not enough raters in any group.") if columns else tr("No groups are known."), why)
        return
    left, right = st.columns(2)
    open_ = [column for column in columns if any(one.column == column and not one.suppressed for one in found.groups)]
    column = left.selectbox(tr("Groups by"), open_, format_func=lambda name: name.replace("_", " "))
    words = _scale_words(found)
    scale = right.selectbox(tr("Agreement on"), _measured(found), format_func=lambda name: words[name])
    groups = [group for group in found.groups if group.column == column]
    shown = [group for group in groups if not group.suppressed]
    look.html(f'<div class="small soft">{_who(groups)}</div>')
    _alphas(shown, scale, installation, account)
    names = [measure.of for measure in shown[0].measures]
    of = names[0] if len(names) == 1 else st.selectbox(tr("Label"), names)
    _levels(shown, of, found.study is None, installation, account)


def _who(groups: list[Group]) -> str:
    """Which groups there are, in bands, and that some are not shown."""
    said = [f"{look.quiet(group.group or '')}: {retold(group.raters)}" for group in groups if not group.suppressed]
    hidden = [look.quiet(group.group) for group in groups if group.suppressed and group.group]
    if hidden:
        said.append(tr("not shown, too few raters: {groups}", groups=", ".join(hidden)))
    elif any(group.suppressed for group in groups):
        said.append(tr("others are not shown: too few raters"))
    return "; ".join(said) + "."


def _alphas(shown: list[Group], scale: ScaleType, installation: Installation, account: Account) -> None:
    rows = []
    pairs = (tr("within the group"), tr("with other groups"))
    for group in shown:
        for pair, figures in zip(pairs, (group.alpha, group.across), strict=True):
            if scale in figures:
                rows.append({"group": group.group, "agreement": pair, **_numbers(figures[scale]), "note": figures[scale].note})
    frame = pd.DataFrame(rows, columns=["group", "agreement", "value", "low", "high", "n", "note"]).astype(
        {"value": float, "low": float, "high": float}
    )
    if frame["value"].notna().any():
        along, shades = picture.Along("group", [str(group.group) for group in shown]), picture.Shades("agreement", _shades(pairs))
        chart = picture.down(frame, along, unit="plain", shades=shades, none=0.0)
        said = tr("Alpha by group: {points}", points=picture.spoken(frame, ["group", "agreement"], "plain"))
        high = picture.rows_high(frame, along, shades=shades)
        picture.show(chart, frame, name="agreement-by-group", spoken=said, installation=installation, account=account, height=high)
    for row in frame[frame["note"] != ""].to_dict("records"):
        look.note(f"{look.quiet(str(row['group']))}, {row['agreement']}: {retold(str(row['note']))}.")
    look.note(tr("Where a group agrees within itself and less with other groups, it sees other things than they do."))


def _shades(names: tuple[str, str]) -> dict[str, str]:
    return {names[0]: "accent", names[1]: "soft"}


def _levels(shown: list[Group], of: str, own: bool, installation: Installation, account: Account) -> None:
    measures = [(str(group.group), next(one for one in group.measures if one.of == of)) for group in shown]
    share = measures[0][1].share
    # A label comes from a file, and a subheader is Markdown: the label stands in the box above.
    st.subheader(tr("Share flagged") if own else tr("Mean") if of == "mean" else tr("Share of this label"), anchor=False)
    frame = pd.DataFrame([{"group": name, "value": one.mean, "low": one.low, "high": one.high} for name, one in measures]).astype(
        {"value": float, "low": float, "high": float}
    )
    along = picture.Along("group", [name for name, _ in measures])
    unit: picture.Unit = "share" if share else "plain"
    chart = picture.down(frame, along, unit=unit)
    spoken = tr("By group: {points}", points=picture.spoken(frame, ["group"], unit))
    high = picture.rows_high(frame, along)
    picture.show(chart, frame, name="level-by-group", spoken=spoken, installation=installation, account=account, height=high)
    compared = [(name, one) for name, one in measures if one.difference is not None]
    if not compared:
        look.note(
            tr("No difference between groups can be told: too few raters of two groups judged the same answers.")
            if len(shown) > 1
            else tr("No difference between groups can be told: only one group is shown.")
        )
        return
    times = 100 if share else 1
    kinds = (tr("found"), tr("groups drawn by lot"))
    rows = [
        {"group": name, "difference": kind, "value": value, "low": low, "high": high, "p": p, "n": one.n_items}
        for name, one in compared
        for kind, value, low, high, p in (
            (kinds[0], one.difference, one.difference_low, one.difference_high, one.p),
            (kinds[1], None, one.null_low, one.null_high, None),
        )
    ]
    apart = pd.DataFrame(rows).astype(dict.fromkeys(("value", "low", "high", "p"), float))
    apart[["value", "low", "high"]] *= times
    st.subheader(tr("Difference from the other groups, on the same answers"), anchor=False)
    along, shades = picture.Along("group", [name for name, _ in compared]), picture.Shades("difference", _shades(kinds))
    unit = "points" if share else "plain"
    chart = picture.down(apart, along, unit=unit, shades=shades, none=0.0)
    spoken = tr("Difference: {points}", points=picture.spoken(apart, ["group", "difference"], unit))
    high = picture.rows_high(apart, along, shades=shades)
    picture.show(chart, apart, name="difference-by-group", spoken=spoken, installation=installation, account=account, height=high)
    look.table(
        [tr("Group"), tr("Difference"), tr("By chance at least as large")],
        [
            [look.quiet(name), _signed(one.difference, times), written(one.p, ".1%") if one.p is not None else ""]
            for name, one in compared
        ],
        numeric=(1, 2),
    )
    unit_words = tr("In percentage points.") + " " if share else ""
    look.note(
        unit_words
        + tr(
            "Beside each difference stands what 95 of 100 groups drawn by lot from the same people would "
            "show. Several groups are looked at at once: one in twenty stands out by chance.",
        )
    )


def _signed(value: float | None, times: int) -> str:
    return "" if value is None else written(value * times, f"+.{1 if times > 1 else 2}f").replace("-", "−")
