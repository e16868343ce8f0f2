"""Groups: what each group was dealt, version by version, in blind review and in published tests."""

import pandas as pd
import streamlit as st
from sqlmodel import Session

from flagback.review_app import monitoring
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_words, harm, look, picture, section, texts
from flagback.review_app.words import tr
from flagback.storage.records import Account


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("Groups"), tr("Choose a group: how its prompts were answered, version by version, beside all prompts."))
    section.strip(account, "groups")
    with installation.store.reading() as session:
        names = harm.names_of(session)
        with st.container(key="fb-card-blind"):
            _blind(installation, account, session, names)
        with st.container(key="fb-card-tests"):
            _tests(installation, account, session, names)


def _blind(installation: Installation, account: Account, session: Session, names: dict[int, str]) -> None:
    st.subheader(tr("In blind review"), anchor=False)
    found = monitoring.harm_by_group(session)
    groups = found[found["axis"] != ""]
    if not len(groups):
        look.empty(
            tr("No group has enough prompts yet."),
            tr("A group is shown from ten held-out prompts about it that people judged blind, of both versions."),
        )
        return
    choices = list(dict.fromkeys(groups["metric"]))
    asked = st.query_params.get("group", "")
    at = choices.index(f"flag_rate:{asked}") if f"flag_rate:{asked}" in choices else 0
    chosen = st.selectbox(tr("Prompts about"), choices, index=at, format_func=_words)
    part = found[found["metric"].isin(["flag_rate", chosen])]
    group, everything = _words(str(chosen)), tr("all prompts")
    # A version that was in two evaluations stands here as its own evaluation's candidate: the other has other prompts.
    part = part.sort_values("evaluation").groupby(["version", "metric"], as_index=False).first()
    frame = part.assign(
        of=part["metric"].map({"flag_rate": everything, chosen: group}), value=part["share"], version=part["version"].map(names)
    )[["version", "of", "value", "low", "high", "n"]]
    order = [name for _, name in sorted(names.items()) if name in set(frame["version"])]
    shades = picture.Shades("of", {everything: "soft", group: "accent"})
    chart = picture.across(frame, picture.Along("version", order), unit="share", shades=shades, joined=True)
    said = tr("Share flagged: {points}", points=picture.spoken(frame, ["version", "of"], "share"))
    clicked = picture.show(chart, part, name="group-by-version", spoken=said, installation=installation, account=account)
    newest = monitoring.newest_evaluations(session)
    evaluations = [one for one in newest.values() if chosen in one.figures]
    for one in evaluations[-1:]:
        figure = one.figures[chosen]
        look.html(
            '<div class="small">'
            + tr("{candidate} against {base}:", candidate=names[one.candidate_id], base=names[one.base_id])
            + f" {figure_words.change_of(figure)} "
            + f'{figure_words.judged(figure)} <span class="soft">{look.quiet(figure_words.would_show(figure))} '
            f"{look.quiet(retold(str(figure.get('note') or '')))}</span></div>"
        )
    if len(evaluations) > 1:
        look.note(tr("Every evaluation has prompts of its own: read the change of one, not the line."))
    if clicked is None:
        look.note(tr("Click a point to read the answers behind it."))
        return
    of = next((one for one in evaluations if names[one.candidate_id] == clicked.get("version")), None)
    of = of or next((one for one in evaluations if names[one.base_id] == clicked.get("version")), None)
    metric = "flag_rate" if clicked.get("of") == everything else str(chosen)
    if of is not None:
        st.subheader(tr("Behind it: {figure}", figure=figure_words.name_of(metric)), anchor=False)
        texts.behind(session, of, metric, key="behind")


def _words(metric: str) -> str:
    axis, group = monitoring.group_of(metric)
    return f"{group} ({axis.replace('_', ' ')})"


def _tests(installation: Installation, account: Account, session: Session, names: dict[int, str]) -> None:
    st.subheader(tr("In published tests"), anchor=False)
    found = monitoring.suites_by_version(session)
    found = found[(found["kind"] != "") & found["value"].notna()]
    if not len(found):
        look.empty(tr("No published test is in use."), tr("Take one in: flagback suites add crows-pairs --data FILE."))
        return
    left, right = st.columns(2)
    numbers = list(dict.fromkeys(zip(found["suite"], found["data"], found["metric"], strict=True)))
    chosen = left.selectbox(tr("Which number"), numbers, format_func=lambda one: f"{one[0]}: {one[2].replace('_', ' ')}")
    part = found[(found["suite"] == chosen[0]) & (found["data"] == chosen[1]) & (found["metric"] == chosen[2])]
    groups = sorted(set(zip(part["kind"], part["group"], strict=True)))
    group = right.selectbox(tr("Items about"), groups, format_func=lambda one: f"{one[1]} ({one[0].replace('_', ' ')})")
    part = part[(part["kind"] == group[0]) & (part["group"] == group[1])]
    frame = pd.DataFrame(
        {"version": part["version"].map(names), "n": part["n"]}
        | {column: part[column].astype(float) for column in ("value", "low", "high")}
    )
    chart = picture.across(frame, picture.Along("version", list(frame["version"])), unit="plain")
    said = f"{chosen[0]}, {chosen[2]}, {group[1]}: {picture.spoken(frame, ['version'], 'plain')}"
    picture.show(
        chart, part, name="group-in-tests", spoken=said, installation=installation, account=account, height=220, opens=False
    )
