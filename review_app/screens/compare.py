"""Two versions: figures first, then the texts that changed most, each way; on the same prompts and on the same tests."""

from typing import Any

import pandas as pd
import streamlit as st
from sqlmodel import Session, col, select

from flagback.model import suite_runs
from flagback.model.suites.suite import Item, Suite
from flagback.review_app import monitoring
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_words, harm, look, picture, run_words, section, texts
from flagback.review_app.words import number, stored, tr, written
from flagback.storage import suites
from flagback.storage.artifacts import Artifacts, MissingArtifact
from flagback.storage.records import Account, Evaluation, ModelVersion, SuiteData

_ALL = "answers"


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Two versions"), tr("Both answer the same held-out prompts with the same noise, so what differs is what was learnt.")
    )
    section.strip(account, "compare")
    with installation.store.reading() as session:
        versions = session.exec(select(ModelVersion).order_by(col(ModelVersion.id).desc())).all()
        if len(versions) < 2:
            look.empty(tr("Nothing to compare yet."), tr("A correction is compared with its parent as soon as it has run."))
            return
        names = harm.names_of(session)
        candidate, base = _chosen(session, list(versions), names)
        evaluation = next(
            (
                one
                for one in monitoring.newest_evaluations(session).values()
                if (one.candidate_id, one.base_id) == (candidate, base)
            ),
            None,
        )
        if evaluation is not None:
            with st.container(key="fb-card-figures"):
                _figures(evaluation, names)
            with st.container(key="fb-card-texts"):
                _texts(session, evaluation)
        else:
            with st.container(key="fb-card-figures"):
                _unevaluated(session, candidate, base, names)
    with st.container(key="fb-card-tests"):
        _tests(installation, account, base, candidate, names)


def _chosen(session: Session, versions: list[ModelVersion], names: dict[int, str]) -> tuple[int, int]:
    """The version and what it stands beside: its parent, unless somebody chooses another."""
    by_id = {version.id: version for version in versions}
    evaluated = monitoring.newest_evaluations(session)
    asked = st.query_params.get("version", "")
    corrections = [version.id for version in versions if version.kind == "correction"] or list(by_id)
    newest = next((one for one in corrections if one in evaluated), corrections[0])
    first = int(asked) if asked.isdigit() and int(asked) in by_id else newest
    left, right = st.columns(2)
    numbers = list(by_id)
    at = numbers.index(first)
    candidate = int(left.selectbox(tr("This version"), numbers, index=at, format_func=lambda one: _name(by_id[one], names)))
    others = [one for one in numbers if one != candidate]
    beside = st.query_params.get("beside", "")
    parent = by_id[candidate].parent_id
    wanted = int(beside) if beside.isdigit() and int(beside) in others else parent
    at = others.index(wanted) if wanted in others else 0
    base = right.selectbox(
        tr("beside"), others, index=at, format_func=lambda one: _name(by_id[one], names), key=f"beside-{candidate}"
    )
    return candidate, int(base)


def _name(version: ModelVersion, names: dict[int, str]) -> str:
    return f"{names[version.id]}: {version.name}, {stored('state', version.state)}"


def _figures(evaluation: Evaluation, names: dict[int, str]) -> None:
    st.subheader(
        tr("{candidate} beside {base}, in figures", candidate=names[evaluation.candidate_id], base=names[evaluation.base_id]),
        anchor=False,
    )
    look.html(
        f'{run_words.verdict_pill(evaluation.verdict)} <span class="small soft">'
        + tr("evaluated {when}; each name opens the texts behind it", when=look.clock(evaluation.ended_at))
        + "</span>"
    )
    figure_words.table_of(evaluation.figures, evaluation.base_id, evaluation.candidate_id)


def _unevaluated(session: Session, candidate: int, base: int, names: dict[int, str]) -> None:
    """Two versions that no evaluation put side by side: what is known of each."""
    st.subheader(tr("{candidate} beside {base}", candidate=names[candidate], base=names[base]), anchor=False)
    found = monitoring.harm_by_group(session)
    shares = {row["version"]: row for row in found[found["axis"] == ""].to_dict("records")}
    said = [
        tr(
            "{version}: {share} of blind answers flagged ({low} to {high})",
            version=names[one],
            share=written(shares[one]["share"], ".1%"),
            low=written(shares[one]["low"], ".1%"),
            high=written(shares[one]["high"], ".1%"),
        )
        for one in (candidate, base)
        if one in shares
    ]
    words = tr("An evaluation compares a correction with its parent; these two were never put side by side on the same prompts.")
    look.empty(words, ". ".join(said) or tr("Choose a version and its parent, or read the published tests below."))


def _texts(session: Session, evaluation: Evaluation) -> None:
    st.subheader(tr("The texts that changed most"), anchor=False)
    asked = st.query_params.get("figure", "")
    choices = [_ALL, *evaluation.figures]
    metric = st.selectbox(
        tr("Show"),
        choices,
        index=choices.index(asked) if asked in choices else 0,
        format_func=_shown,
        key=f"behind-{evaluation.id}",
    )
    if metric == _ALL:
        texts.answers(session, evaluation, key="answers")
    else:
        texts.behind(session, evaluation, str(metric), key=str(metric))


def _shown(metric: str) -> str:
    """What can be shown, as the list names it."""
    return tr("Answers side by side") if metric == _ALL else tr("Behind the figure: {figure}", figure=figure_words.name_of(metric))


# ------------------------------------------------------------ published tests


def _tests(installation: Installation, account: Account, base: int, candidate: int, names: dict[int, str]) -> None:
    st.subheader(tr("On the same published tests"), anchor=False)
    with installation.store.reading() as session:
        both = [data for data in suites.all_data(session) if {base, candidate} <= set(suites.runs_of(session, data.id))]
    if not both:
        look.empty(
            tr("These two took no published test together."),
            tr("Take one in: flagback suites add crows-pairs --data FILE. Every evaluation then puts it to both versions."),
        )
        return
    data = (
        both[0] if len(both) == 1 else st.selectbox(tr("Which test"), both, format_func=lambda one: f"{one.suite}: {one.location}")
    )
    artifacts = Artifacts(installation.settings.artifacts)
    try:
        with st.spinner(tr("Comparing by item…")):
            figures = suite_runs.changes(installation.store, artifacts, data, base, candidate)
    except (suite_runs.NotAsked, MissingArtifact) as error:
        look.said(retold(str(error)), "flag")
        return
    whole = {figure["metric"]: figure for figure in figures if "[" not in figure["metric"]}
    metric = str(st.selectbox(tr("Which number"), list(whole), format_func=lambda one: one.replace("_", " ")))
    _change_picture(installation, account, data, figures, metric, (base, candidate))
    texts.about_suite(data.suite, metric)
    _changed_items(installation, artifacts, data, metric, base, candidate, names)


def _change_picture(
    installation: Installation,
    account: Account,
    data: SuiteData,
    figures: list[dict[str, Any]],
    metric: str,
    versions: tuple[int, int],
) -> None:
    """The change over all items and by group, with what the data could show."""
    mine = [figure for figure in figures if figure["metric"].partition("[")[0] == metric]
    whole = mine[0]
    unit: picture.Unit = "points" if whole["unit"] == "share" else "plain"
    scale = 100 if unit == "points" else 1
    table = pd.DataFrame(mine)
    frame = pd.DataFrame(
        {"items": [_part(figure["metric"]) for figure in mine], "n": table["n"]}
        | {new: table[old].astype(float) * scale for new, old in (("value", "change"), ("low", "low"), ("high", "high"))}
    )
    known = frame[frame["value"].notna()]
    note = look.quiet(retold(str(whole.get("note") or "")))
    look.html(
        f"<div>{look.quiet(retold(str(whole['words'])))}: <b>{figure_words.change_of(whole)}</b> {figure_words.judged(whole)}</div>"
        f'<div class="small soft">{look.quiet(figure_words.would_show(whole))} {note}</div>'
    )
    if not len(known):
        look.empty(tr("Too few independent items for an interval."), tr("Ten families of items are needed."))
        return
    along = picture.Along("items", list(known["items"]))
    chart = picture.down(known, along, unit=unit, none=0.0)
    said = tr("Change of {figure}: {points}", figure=metric, points=picture.spoken(known, ["items"], unit))
    name = f"{data.suite}-{metric}-v{versions[1]}-beside-v{versions[0]}"
    height = picture.rows_high(known, along)
    picture.show(chart, table, name=name, spoken=said, installation=installation, account=account, height=height, opens=False)
    few = [f"{_part(figure['metric'])} ({figure['n']})" for figure in mine if figure["change"] is None]
    if few:
        look.note(tr("Too few items to say anything: {few}.", few=look.quiet(", ".join(few))))


def _part(metric: str) -> str:
    """ "age (bias type)" of "pct_stereotype[bias_type=age]"."""
    if "[" not in metric:
        return tr("all items")
    kind, _, group = metric.partition("[")[2].rstrip("]").partition("=")
    return f"{monitoring.together(group.split(' & '))} ({monitoring.together(kind.replace('_', ' ').split(' & '))})"


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(root: str, data_id: int, _artifacts: Artifacts, _data: SuiteData) -> tuple[Suite, list[Item]]:
    del root, data_id  # what the cache goes by
    return suite_runs.items_of(_artifacts, _data)


def _changed_items(
    installation: Installation, artifacts: Artifacts, data: SuiteData, metric: str, base: int, candidate: int, names: dict[int, str]
) -> None:
    """The items whose own measure changed most, each way."""
    with installation.store.reading() as session:
        runs = suites.runs_of(session, data.id)
        below, above = (suites.answers(session, runs[one].id) for one in (base, candidate))
    moved = {
        key: (above[key].measures[metric] or 0.0) - (mine.measures[metric] or 0.0)
        for key, mine in below.items()
        if key in above and mine.measures.get(metric) is not None and above[key].measures.get(metric) is not None
    }
    if not moved:
        return
    suite, items = _read(str(artifacts.root), data.id, artifacts, data)
    by_key = {item.key: item for item in items}
    ordered = sorted(moved, key=lambda key: (moved[key], key))
    fell = [key for key in ordered if moved[key] < 0]
    rose = [key for key in reversed(ordered) if moved[key] > 0]
    way = st.segmented_control(
        tr("Which items"),
        ["fell most", "rose most"],
        default="fell most",
        format_func=texts.way_words,
        label_visibility="collapsed",
        key=f"items-{data.id}-{metric}",
    )
    look.note(
        tr("{fell} items fell, {rose} rose, of {moved}.", fell=number(len(fell)), rose=number(len(rose)), moved=number(len(moved)))
    )
    shown = rose if way == "rose most" else fell
    if not shown:
        look.empty(tr("None did."), tr("Choose the other way above."))
    form = "masked" if runs[base].form == "masked" else "causal"
    for key in texts.paged(shown, f"items-{data.id}-{metric}-{way}"):
        one, other = below[key], above[key]
        look.html(
            f'<div class="small soft">{look.quiet(key)} · {names[base]}: {written(one.measures[metric] or 0.0, ".4g")} · '
            f"{names[candidate]}: {written(other.measures[metric] or 0.0, '.4g')}</div>"
        )
        asked = suite_runs.asked_of(suite, by_key[key], "masked" if form == "masked" else "causal") if key in by_key else []
        if one.written or other.written:
            look.html("".join(look.asked([{"content": text}]) for text in asked))
            texts.both(base, candidate, "\n".join(one.written), "\n".join(other.written))
        elif asked:
            body = "".join(map(look.quote, asked))
            look.html(f'<div class="fb-card" style="margin:0 0 16px">{body}</div>')
