"""One version beside its parent: what the gate said, harm by group, published tests, and what these data could show at all."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st
from sqlmodel import Session, col, select

from flagback.review_app import monitoring
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_words, harm, look, picture, run_words, section, texts
from flagback.review_app.words import stored, tr, trn, written
from flagback.storage.records import Account, Decision, Evaluation, ModelVersion

#: Rows of the picture of published tests; those with the most items come first.
MOST_GROUPS = 24


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("One version"), tr("What this version does, for whom, beside the version it corrects."))
    section.strip(account, "figures")
    with installation.store.reading() as session:
        versions = session.exec(select(ModelVersion).order_by(col(ModelVersion.id).desc())).all()
        if not versions:
            look.empty(tr("No model is here yet."), tr("Register one: flagback model add PATH_OR_HUB_ID."))
            return
        names = harm.names_of(session)
        chosen = _chosen(versions, names)
        evaluation = monitoring.newest_evaluations(session).get(chosen.id)
        with st.container(key="fb-card-version"):
            _said(chosen, evaluation, names)
            _decisions(session, chosen)
        with st.container(key="fb-card-groups"):
            _groups(installation, account, session, chosen, evaluation, names)
        with st.container(key="fb-card-tests"):
            _tests(installation, account, session, chosen, names)
        if evaluation is not None:
            with st.container(key="fb-card-figures"):
                st.subheader(tr("All figures"), anchor=False)
                figure_words.table_of(evaluation.figures, evaluation.base_id, evaluation.candidate_id)


def _chosen(versions: Sequence[ModelVersion], names: dict[int, str]) -> ModelVersion:
    listed = {version.id: version for version in versions}
    asked = st.query_params.get("version", "")
    at = list(listed).index(int(asked)) if asked.isdigit() and int(asked) in listed else 0
    chosen = st.selectbox(tr("Which"), list(listed), index=at, format_func=lambda one: f"{names[one]}: {listed[one].name}")
    return listed[int(chosen)]


def _said(version: ModelVersion, evaluation: Evaluation | None, names: dict[int, str]) -> None:
    verdict = run_words.verdict_pill(evaluation.verdict) if evaluation else ""
    tone = look.pill(stored("state", version.state), "ok" if version.state == "current" else "plain")
    title = tr("Version {version}: {name}", version=version.id, name=look.quiet(version.name))
    facts = [
        tr("a base model") if version.kind == "base" else tr("corrects {version}", version=names.get(version.parent_id or 0, "")),
        tr("made {when}", when=look.clock(version.created_at)),
    ]
    if version.kind == "correction":
        facts.append(tr("{share} away from the first base", share=written(version.distance_to_base, ".2%")))
    look.html(f'<span class="title">{title}</span> {tone} {verdict}<div class="soft small">{" · ".join(facts)}</div>')
    if version.kind == "base":
        look.note(tr("A base is judged through its corrections: each is compared with it."))
        return
    if evaluation is None:
        look.empty(tr("Not evaluated yet."), tr("Ask for it under Versions; it needs held-out prompts and people."))
        return
    stopped = [reason for reason in evaluation.reasons if reason["verdict"] != "pass"]
    passed = len(evaluation.reasons) - len(stopped)
    if stopped:
        marks = {"fail": look.pill(tr("fail"), "flag"), "not_enough_data": look.pill(tr("not enough data"))}
        rows = [
            [look.quiet(figure_words.name_of(one["check"])), marks.get(one["verdict"], ""), look.quiet(retold(one["words"]))]
            for one in stopped
        ]
        look.table([tr("what stands against it"), "", tr("in words")], rows, words=True)
    look.note(tr("{passed} of {checks} checks of the gate passed.", passed=passed, checks=len(evaluation.reasons)))
    noise = evaluation.figures.get("shared_noise")
    if noise:
        look.note(look.marked(f"{retold(noise.get('words', ''))}. {retold(noise.get('note') or '')}"))
    look.html(look.link(f"/compare?version={version.id}", tr("Read what both versions wrote, side by side")))


def _decisions(session: Session, version: ModelVersion) -> None:
    """On whose word it became what it is, and why."""
    made = select(Decision).where((col(Decision.version_id) == version.id) | (col(Decision.previous_id) == version.id))
    rows = session.exec(made.order_by(col(Decision.id).desc())).all()
    if not rows:
        look.note(tr("Nobody has decided on this version yet."))
        return
    look.table(
        [tr("when"), tr("decision"), tr("by"), tr("why")],
        [
            [
                look.clock(row.created_at),
                _decided(row),
                look.quiet(row.decided_by),
                look.quiet(row.reason),
            ]
            for row in rows
        ],
    )


def _decided(row: Decision) -> str:
    """What was decided, about the version that became current."""
    if row.kind == "promote":
        return tr("version {version} made current, passed by the gate", version=row.version_id)
    if row.kind == "override":
        return tr("version {version} made current against the gate", version=row.version_id)
    return tr("rolled back to version {version}", version=row.version_id)


def _groups(
    installation: Installation,
    account: Account,
    session: Session,
    version: ModelVersion,
    evaluation: Evaluation | None,
    names: dict[int, str],
) -> None:
    st.subheader(tr("Harm by group, in blind review"), anchor=False)
    found = monitoring.harm_by_group(session)
    shown = found[found["evaluation"] == evaluation.id] if evaluation else found[found["version"] == version.id]
    if not (shown["version"] == version.id).any():
        look.empty(
            tr("Nobody judged blind answers of this version yet."),
            tr("An evaluation puts fresh answers on held-out prompts before the reviewers; they are judged like any other."),
        )
        return
    frame = shown.assign(
        group=[_label(row["axis"], row["group"]) for row in shown.to_dict("records")],
        version=shown["version"].map(names),
        value=shown["share"],
    )
    parent, own = names.get(version.parent_id or 0, ""), names[version.id]
    shades = picture.Shades("version", {parent: "soft", own: "accent"} if parent else {own: "accent"})
    along = picture.Along("group", list(dict.fromkeys(frame["group"])))
    chart = picture.down(frame[["group", "version", "value", "low", "high", "n"]], along, unit="share", shades=shades)
    said = tr("Share flagged by group: {points}", points=picture.spoken(frame, ["group", "version"], "share"))
    height = picture.rows_high(frame, along, shades=shades)
    clicked = picture.show(
        chart, shown, name=f"harm-by-group-v{version.id}", spoken=said, installation=installation, account=account, height=height
    )
    _too_few(evaluation)
    if clicked is None or evaluation is None:
        look.note(tr("Click a point to read the answers behind it."))
        return
    metrics = {row["group"]: row["metric"] for row in frame.to_dict("records")}
    metric = metrics.get(clicked.get("group", ""))
    if metric in evaluation.figures:
        st.subheader(tr("Behind it: {figure}", figure=figure_words.name_of(str(metric))), anchor=False)
        texts.behind(session, evaluation, str(metric), key="group")


def _label(axis: str, group: str) -> str:
    return stored("group", group) if not axis else f"{group} ({axis.replace('_', ' ')})"


def _too_few(evaluation: Evaluation | None) -> None:
    """The groups of which nothing is said, by name, and what the data of the others could show."""
    if evaluation is None:
        return
    for metric, figure in evaluation.figures.items():
        note = str(figure.get("note") or "")
        if metric.startswith("flag_rate:") and note:
            look.html(f'<div class="small soft">{look.quiet(figure_words.name_of(metric))}: {look.marked(retold(note))}</div>')
    whole = evaluation.figures.get("flag_rate")
    if whole and figure_words.would_show(whole):
        look.note(f"{look.quiet(figure_words.would_show(whole))} {tr('Of one group only larger ones.')}")


def _tests(installation: Installation, account: Account, session: Session, version: ModelVersion, names: dict[int, str]) -> None:
    st.subheader(tr("Published tests"), anchor=False)
    for suite, why in monitoring.suites_not_put(session, version.id):
        look.said(tr("{suite} could not be put to this version: {why}", suite=suite, why=retold(why)), "flag")
    found = monitoring.suites_by_version(session)
    mine = found[(found["version"] == version.id) & found["value"].notna()]
    if not len(mine):
        look.empty(
            tr("This version took no published test yet."),
            tr(
                "Take one in and put it: flagback suites add crows-pairs --data FILE, then flagback evaluate {version} "
                "--suite crows-pairs. Later evaluations do it by themselves.",
                version=version.id,
            ),
        )
        return
    choices = list(dict.fromkeys(zip(mine["suite"], mine["data"], mine["metric"], strict=True)))
    chosen = st.selectbox(tr("Which number"), choices, format_func=lambda one: f"{one[0]}: {one[2].replace('_', ' ')}")
    same = (found["suite"] == chosen[0]) & (found["data"] == chosen[1]) & (found["metric"] == chosen[2])
    part = found[same & found["version"].isin([version.id, version.parent_id])]
    crossed = part["kind"].str.contains(" & ")
    if crossed.any():
        part = part[crossed if st.toggle(tr("Two groups at once"), key="test-crossed") else ~crossed]
    sizes = part[part["version"] == version.id].sort_values(["kind", "n", "group"], ascending=[True, False, True])
    parts = list(zip(sizes["kind"], sizes["group"], strict=True))
    kept = set(parts[:MOST_GROUPS])
    part = part[[(row["kind"], row["group"]) in kept for row in part.to_dict("records")]]
    frame = pd.DataFrame(
        {
            "group": [tr("all items") if not row["kind"] else _label(row["kind"], row["group"]) for row in part.to_dict("records")],
            "version": part["version"].map(names),
            "n": part["n"],
        }
        | {column: part[column].astype(float) for column in ("value", "low", "high")}
    )
    order = [tr("all items") if not kind else _label(kind, group) for kind, group in parts[:MOST_GROUPS]]
    along = picture.Along("group", order)
    shades = picture.Shades("version", {names.get(version.parent_id or 0, "-"): "soft", names[version.id]: "accent"})
    chart = picture.down(frame, along, unit="plain", shades=shades)
    points = picture.spoken(frame, ["group", "version"], "plain")
    said = tr("{test}, {figure}, by group: {points}", test=chosen[0], figure=chosen[2], points=points)
    height = picture.rows_high(frame, along, shades=shades)
    name = f"{chosen[0]}-by-group-v{version.id}"
    picture.show(chart, part, name=name, spoken=said, installation=installation, account=account, height=height, opens=False)
    texts.about_suite(str(chosen[0]), str(chosen[2]))
    left_out = len(parts) - len(order)
    smaller = trn("{count} smaller group is in the data only.", "{count} smaller groups are in the data only.", left_out)
    look.note(
        (f"{smaller} " if left_out else "")
        + _suppressed(session, version.id, int(chosen[1]))
        + tr(
            "“–” or no bar: too few independent items for an interval. With 60 items and one pair in ten turned, only changes of "
            "about 11 points would show; the change between two versions has its own line under Two versions."
        )
    )


def _suppressed(session: Session, version: int, data: int) -> str:
    """Two groups at once of which nothing is said, by name: silence is no good news."""
    few = monitoring.suites_too_few(session, version, data)
    if not few:
        return ""
    named = ", ".join(f"{group} ({n})" for group, n in few[:MOST_GROUPS])
    if len(few) <= MOST_GROUPS:
        return tr("Too few items to say anything: {groups}.", groups=look.marked(named)) + " "
    more = len(few) - MOST_GROUPS
    return tr("Too few items to say anything: {groups} and {more} more.", groups=look.marked(named), more=more) + " "
