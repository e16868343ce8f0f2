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
from flagback.review_app.screens import look, picture, section, study_ratings
from flagback.storage import ratings
from flagback.storage.records import Account, ScaleType
from flagback.storage.store import Store
from flagback.storage.suppression import SMALLEST

OWN = "Reviews of this installation"
_SCALES: dict[ScaleType, str] = {"nominal": "same label (nominal)", "ordinal": "ranks (ordinal)", "interval": "numbers (interval)"}
_OWN_SCALES: dict[ScaleType, str] = _SCALES | {"nominal": "flag or fine (nominal)", "ordinal": "severity (ordinal)"}
_PAIRS = ("within the group", "with other groups")
_FOUND = ("found", "groups drawn by lot")


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading("Agreement", "How far people agree, and whether groups of people judge the same answers differently.")
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
    chosen = st.selectbox(
        "Whose ratings", choices, index=at, format_func=lambda name: OWN if name is None else f"Study {name}", key=key
    )
    may = account.role in STEERING_ROLES
    if may:
        look.html(f'<div class="small">{look.link("/data?bring=ratings", "Bring in finished ratings of a study")}</div>')
    found = _report(installation, chosen)
    if not found.n_ratings:
        look.empty(
            "Nobody has judged an answer yet.",
            "Agreement appears as soon as two people have judged the same one. A maintainer brings finished ratings from "
            "elsewhere in on the page Data, or with 'flagback import ratings FILE'.",
        )
        return
    with st.container(key="fb-card-overall"):
        _overall(found, installation, account)
    with st.container(key="fb-card-bygroup"):
        _by_group(found, installation, account)
    if may and chosen is not None:
        study_ratings.manage(installation, account, studies[chosen])


def _report(installation: Installation, study: str | None) -> Report:
    """Background and consent are read anew each time, so that who takes consent back is gone from the groups at once."""
    store = installation.store
    with store.reading() as session:
        if study is not None:
            stamp = next(str(one.created_at) for one in ratings.studies(session) if one.study == study)
            return _of_study(store.shown_url, study, stamp, store)
        newest = monitoring.newest_review(session)
        reviewers = agreement.reviewers(session)
        groups = agreement.shareable(session, installation.pseudonym_key, reviewers)
    return _of_reviews(store.shown_url, newest, groups, store)


@st.cache_data(max_entries=4, show_spinner="Comparing ratings…")
def _of_study(url: str, study: str, stamp: str, _store: Store) -> Report:  # noqa: ARG001 # what it is kept under
    with _store.reading() as session:
        kept = ratings.ratings_of(session, study)
    return agreement.report(agreement.of_study(kept, study), kept.background)


@st.cache_data(max_entries=2, show_spinner="Comparing reviews…")
def _of_reviews(url: str, newest: tuple[int, int, int], groups: Mapping[str, Mapping[str, str]], _store: Store) -> Report:  # noqa: ARG001
    with _store.reading() as session:
        rated = agreement.own(session)
    return agreement.report(rated, groups)


# --------------------------------------------------------------------- over all


def _overall(found: Report, installation: Installation, account: Account) -> None:
    st.subheader("All raters", anchor=False)
    look.html(
        f"<div><b>{found.n_ratings:,}</b> ratings of <b>{found.n_items:,}</b> {'answers' if found.study is None else 'items'} by "
        f"<b>{found.n_raters:,}</b> people.</div>"
    )
    words = _OWN_SCALES if found.study is None else _SCALES
    rows = [{"scale": words[scale], **_numbers(figure)} for scale, figure in found.alpha.items() if figure.n_items]
    known = [row for row in rows if row["value"] is not None]
    if known:
        frame = pd.DataFrame(rows).astype({"value": float, "low": float, "high": float})
        along = picture.Along("scale", list(frame["scale"]))
        chart = picture.down(frame, along, unit="plain", none=0.0)
        said = f"Krippendorff's alpha: {picture.spoken(frame, ['scale'], 'plain')}"
        high = picture.rows_high(frame, along)
        picture.show(chart, frame, name="agreement", spoken=said, installation=installation, account=account, height=high)
    notes = dict.fromkeys(
        f"{words[scale]}: {figure.note}." for scale, figure in found.alpha.items() if figure.note and scale in _measured(found)
    )
    for note in notes:
        look.html(f'<div class="small soft">{look.quiet(note)}</div>')
    look.html(
        '<div class="small soft">Krippendorff’s alpha: 1 is full agreement, 0 is what chance gives. The lines reach as far as '
        "alpha would with other people on the same answers, 19 times in 20. People who differ are no error: their disagreement is "
        "data.</div>"
    )
    again = found.self_consistency
    if again is not None and again.repeated:
        look.html(
            f"<div>Seen again, an answer was judged alike {_share(again.value, again.low, again.high)} of the time "
            f'<span class="soft">({again.repeated:,} repetitions).</span></div>'
        )


def _measured(found: Report) -> list[ScaleType]:
    """The scales that the labels have."""
    order = agreement.SCALES
    return list(order[: order.index(found.scale) + 1])


def _numbers(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n_items}


def _share(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "(not enough raters to say)"
    ends = "" if low is None or high is None else f' <span class="soft">({low:.0%} to {high:.0%})</span>'
    return f"<b>{value:.0%}</b>{ends}"


# --------------------------------------------------------------------- by group


def _by_group(found: Report, installation: Installation, account: Account) -> None:
    st.subheader("By group of raters", anchor=False)
    columns = list(dict.fromkeys(group.column for group in found.groups))
    if not any(not group.suppressed for group in found.groups):
        why = (
            "Groups come from background that reviewers gave and agreed to have beside their reviews in exports; a group is shown "
            f"from {SMALLEST} people who judged something."
            if found.study is None
            else f"A study's groups come from the columns named with --background; a group is shown from {SMALLEST} raters."
        )
        look.empty("Not enough raters in any group." if columns else "No groups are known.", why)
        return
    left, right = st.columns(2)
    open_ = [column for column in columns if any(one.column == column and not one.suppressed for one in found.groups)]
    column = left.selectbox("Groups by", open_, format_func=lambda name: name.replace("_", " "))
    words = _OWN_SCALES if found.study is None else _SCALES
    scale = right.selectbox("Agreement on", _measured(found), format_func=lambda name: words[name])
    groups = [group for group in found.groups if group.column == column]
    shown = [group for group in groups if not group.suppressed]
    look.html(f'<div class="small soft">{_who(groups)}</div>')
    _alphas(shown, scale, installation, account)
    names = [measure.of for measure in shown[0].measures]
    of = names[0] if len(names) == 1 else st.selectbox("Label", names)
    _levels(shown, of, found.study is None, installation, account)


def _who(groups: list[Group]) -> str:
    """Which groups there are, in bands, and that some are not shown."""
    said = [f"{look.quiet(group.group or '')}: {group.raters}" for group in groups if not group.suppressed]
    hidden = [look.quiet(group.group) for group in groups if group.suppressed and group.group]
    if hidden:
        said.append(f"not shown, too few raters: {', '.join(hidden)}")
    elif any(group.suppressed for group in groups):
        said.append("others are not shown: too few raters")
    return "; ".join(said) + "."


def _alphas(shown: list[Group], scale: ScaleType, installation: Installation, account: Account) -> None:
    rows = []
    for group in shown:
        for pair, figures in zip(_PAIRS, (group.alpha, group.across), strict=True):
            if scale in figures:
                rows.append({"group": group.group, "agreement": pair, **_numbers(figures[scale]), "note": figures[scale].note})
    frame = pd.DataFrame(rows, columns=["group", "agreement", "value", "low", "high", "n", "note"]).astype(
        {"value": float, "low": float, "high": float}
    )
    if frame["value"].notna().any():
        along, shades = picture.Along("group", [str(group.group) for group in shown]), picture.Shades("agreement", _shades(_PAIRS))
        chart = picture.down(frame, along, unit="plain", shades=shades, none=0.0)
        said = f"Alpha by group: {picture.spoken(frame, ['group', 'agreement'], 'plain')}"
        high = picture.rows_high(frame, along, shades=shades)
        picture.show(chart, frame, name="agreement-by-group", spoken=said, installation=installation, account=account, height=high)
    for row in frame[frame["note"] != ""].to_dict("records"):
        look.html(f'<div class="small soft">{look.quiet(str(row["group"]))}, {row["agreement"]}: {row["note"]}.</div>')
    look.html(
        '<div class="small soft">Where a group agrees within itself and less with other groups, it sees other things than they '
        "do.</div>"
    )


def _shades(names: tuple[str, str]) -> dict[str, str]:
    return {names[0]: "accent", names[1]: "soft"}


def _levels(shown: list[Group], of: str, own: bool, installation: Installation, account: Account) -> None:
    measures = [(str(group.group), next(one for one in group.measures if one.of == of)) for group in shown]
    share = measures[0][1].share
    # A label comes from a file, and a subheader is Markdown: the label stands in the box above.
    st.subheader("Share flagged" if own else "Mean" if of == "mean" else "Share of this label", anchor=False)
    frame = pd.DataFrame([{"group": name, "value": one.mean, "low": one.low, "high": one.high} for name, one in measures]).astype(
        {"value": float, "low": float, "high": float}
    )
    along = picture.Along("group", [name for name, _ in measures])
    unit: picture.Unit = "share" if share else "plain"
    chart = picture.down(frame, along, unit=unit)
    spoken = f"By group: {picture.spoken(frame, ['group'], unit)}"
    high = picture.rows_high(frame, along)
    picture.show(chart, frame, name="level-by-group", spoken=spoken, installation=installation, account=account, height=high)
    compared = [(name, one) for name, one in measures if one.difference is not None]
    if not compared:
        words = "too few raters of two groups judged the same answers" if len(shown) > 1 else "only one group is shown"
        look.html(f'<div class="small soft">No difference between groups can be told: {words}.</div>')
        return
    times = 100 if share else 1
    rows = [
        {"group": name, "difference": kind, "value": value, "low": low, "high": high, "p": p, "n": one.n_items}
        for name, one in compared
        for kind, value, low, high, p in (
            (_FOUND[0], one.difference, one.difference_low, one.difference_high, one.p),
            (_FOUND[1], None, one.null_low, one.null_high, None),
        )
    ]
    apart = pd.DataFrame(rows).astype(dict.fromkeys(("value", "low", "high", "p"), float))
    apart[["value", "low", "high"]] *= times
    st.subheader("Difference from the other groups, on the same answers", anchor=False)
    along, shades = picture.Along("group", [name for name, _ in compared]), picture.Shades("difference", _shades(_FOUND))
    unit = "points" if share else "plain"
    chart = picture.down(apart, along, unit=unit, shades=shades, none=0.0)
    spoken = f"Difference: {picture.spoken(apart, ['group', 'difference'], unit)}"
    high = picture.rows_high(apart, along, shades=shades)
    picture.show(chart, apart, name="difference-by-group", spoken=spoken, installation=installation, account=account, height=high)
    look.table(
        ["Group", "Difference", "By chance at least as large"],
        [[look.quiet(name), _signed(one.difference, times), f"{one.p:.1%}" if one.p is not None else ""] for name, one in compared],
        numeric=(1, 2),
    )
    unit_words = "In percentage points. " if share else ""
    look.html(
        f'<div class="small soft">{unit_words}Beside each difference stands what 95 of 100 groups drawn by lot from the same '
        "people would show. Several groups are looked at at once: one in twenty stands out by chance.</div>"
    )


def _signed(value: float | None, times: int) -> str:
    return "" if value is None else f"{value * times:+.{1 if times > 1 else 2}f}".replace("-", "−")
