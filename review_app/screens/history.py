"""History: figures by version and by week as pictures; a click on a point opens the texts behind it."""

from datetime import UTC
from typing import Any

import pandas as pd
import streamlit as st
from sqlmodel import Session

from flagback.review_app import monitoring
from flagback.review_app.installation import Installation
from flagback.review_app.screens import harm, look, picture, section, texts
from flagback.storage.records import Account

#: Figures of usefulness in the order of the picture; those that are not there are left out.
USEFUL = ("refusal_rate", "empty_rate", "repeated_share", "preference_accuracy", "length", "distinct_1", "distinct_2")


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading("History", "What changed, for whom, and how sure that is. Every picture opens the texts behind it.")
    section.strip(account, "history")
    with installation.store.reading() as session:
        weeks = monitoring.weeks(harm.judged(installation, session))
        with st.container(key="fb-card-harm"):
            _harm(installation, account, session)
        left, right = st.columns(2, gap="medium")
        with left, st.container(key="fb-card-gap"):
            _gap(installation, account, session)
        with right, st.container(key="fb-card-worst"):
            _worst(installation, account, session)
        with st.container(key="fb-card-useful"):
            _useful(installation, account, session)
        left, right = st.columns(2, gap="medium")
        with left, st.container(key="fb-card-weeks"):
            _weeks(installation, account, session, weeks)
        with right, st.container(key="fb-card-agreement"):
            _agreement(installation, account, session, weeks)
        with st.container(key="fb-card-tests"):
            _tests(installation, account, session)
        with st.container(key="fb-card-coverage"):
            _coverage(installation, account, session)


def _harm(installation: Installation, account: Account, session: Session) -> None:
    st.subheader("Harm people flagged", anchor=False)
    clicked = harm.draw(installation, account, session)
    asked = st.query_params
    if clicked is None and asked.get("version", "").isdigit() and asked.get("seen") in harm.SEEN:
        clicked = {"version": int(asked["version"]), "seen": asked["seen"]}
    if clicked is not None and clicked["version"] is not None:
        names = harm.names_of(session)
        if clicked["version"] in names:
            st.subheader(f"Flagged answers of {names[clicked['version']]}, {harm.SEEN[clicked['seen']]}", anchor=False)
            texts.flagged(session, clicked["version"], clicked["seen"], key="harm")


def _gap(installation: Installation, account: Account, session: Session) -> None:
    st.subheader("Gap to the first base", anchor=False)
    found = monitoring.gaps_to_base(session)
    if not len(found):
        look.empty("No gap yet.", "It shows as soon as blind answers of a correction and of the base are judged.")
        return
    names = harm.names_of(session)
    frame = pd.DataFrame(
        {"version": found["version"].map(names), "n": found["n"]}
        | {new: found[old].astype(float) * 100 for new, old in (("value", "gap"), ("low", "low"), ("high", "high"))}
    )
    along = picture.Along("version", list(frame["version"]))
    chart = picture.across(frame, along, unit="points", none=0.0)
    said = f"Points of flagged answers from the first base: {picture.spoken(frame, ['version'], 'points')}"
    clicked = picture.show(chart, found, name="gap-to-base", spoken=said, installation=installation, account=account)
    several = [names[row["version"]] for row in found.to_dict("records") if row["steps"] > 1]
    summed = f" {', '.join(several)}: the sum of the steps that led there, each on prompts of its own." if several else ""
    look.html(
        '<div class="small soft">Points of flagged blind answers, paired by prompt; below the line is less harm than the base.'
        f"{look.marked(summed)}</div>"
    )
    if clicked:
        _open(names, clicked, "compare", "Read what {} and its parent wrote, side by side")


def _worst(installation: Installation, account: Account, session: Session) -> None:
    st.subheader("The worst group beside the whole", anchor=False)
    found = monitoring.harm_by_group(session)
    whole, groups = found[found["axis"] == ""], found[found["axis"] != ""]
    if not len(groups):
        look.empty("No group has enough prompts yet.", "Ten judged held-out prompts about a group are needed.")
        return
    # A version that was in two evaluations counts where it was the candidate, or, the base, where it first stood.
    whole, groups = (
        part.sort_values("evaluation").groupby(["version", "metric"], as_index=False).first() for part in (whole, groups)
    )
    worst = groups.loc[groups.groupby("version")["share"].idxmax()]
    many = groups.groupby("version")["metric"].nunique()
    names = harm.names_of(session)
    frame = pd.concat([whole.assign(of="all prompts"), worst.assign(of="worst group")])
    frame = frame.assign(value=frame["share"], version=frame["version"].map(names))
    order = [name for number, name in sorted(names.items()) if name in set(frame["version"])]
    shades = picture.Shades("of", {"all prompts": "accent", "worst group": "flag"})
    shown = frame[["version", "of", "axis", "group", "value", "low", "high", "n"]]
    chart = picture.across(shown, picture.Along("version", order), unit="share", shades=shades)
    said = f"Share flagged: {picture.spoken(shown, ['version', 'group'], 'share')}"
    clicked = picture.show(chart, shown, name="worst-group", spoken=said, installation=installation, account=account)
    if clicked:
        _open(names, clicked, "figures", "Read the answers behind each group of {}")
    few = {one.candidate_id: len(monitoring.too_few(one)) for one in monitoring.newest_evaluations(session).values()}
    told = "; ".join(
        f"{names[row['version']]}: {row['group']}, of {many[row['version']]} groups with enough prompts"
        + (f" ({few[row['version']]} have too few)" if few.get(row["version"]) else "")
        for row in worst.to_dict("records")
    )
    look.html(
        f'<div class="small soft">The highest share: {look.marked(told)}. The highest of many is high by chance too; One version '
        "says what chance alone would show.</div>"
    )


def _open(names: dict[int, str], clicked: dict[str, Any], page: str, words: str) -> None:
    """A way to where the texts behind a version's point are."""
    for number, name in names.items():
        if name == clicked.get("version"):
            look.html(look.link(f"/{page}?version={number}", words.format(name)))


def _useful(installation: Installation, account: Account, session: Session) -> None:
    st.subheader("Usefulness, each version against its parent", anchor=False)
    found = monitoring.changes_by_version(session)
    kinds = found["metric"].map(lambda metric: str(metric).partition(":")[0])
    found = found[(found["metric"].isin(USEFUL)) | kinds.isin(["perplexity", "kl_to_base"])]
    found = found[found["change"].notna() & found["low"].notna()]
    if not len(found):
        look.empty("Nothing was compared yet.", "A correction is compared with its parent as soon as it has run.")
        return
    names = harm.names_of(session)
    left, right = st.columns(2, gap="medium")
    with left:
        _changes(installation, account, found[found["scale"] == "ratio"], names, "per cent", "usefulness-in-per-cent")
    with right:
        shares = found[(found["scale"] != "ratio") & (found["unit"] == "share")]
        _changes(installation, account, shares, names, "points", "usefulness-in-points")


def _changes(
    installation: Installation, account: Account, found: pd.DataFrame, names: dict[int, str], unit: picture.Unit, name: str
) -> None:
    if not len(found):
        return
    scaled = found[["change", "low", "high"]].astype(float)
    scaled = (scaled - 1) * 100 if unit == "per cent" else scaled * 100
    frame = pd.DataFrame(
        {
            "figure": found["metric"].map(look.figure_name),
            "version": found["version"].map(names),
            "value": scaled["change"],
            "low": scaled["low"],
            "high": scaled["high"],
            "n": found["n"],
        }
    )
    versions = list(dict.fromkeys(frame["version"]))
    newest = versions[-len(picture.LATEST) :]
    shades = picture.Shades("version", dict(zip(newest, picture.LATEST[-len(newest) :], strict=True)))
    frame = frame[frame["version"].isin(shades.of)]
    along = picture.Along("figure", list(dict.fromkeys(frame["figure"])))
    chart = picture.down(frame, along, unit=unit, shades=shades, none=0.0)
    said = f"Change in {unit}: {picture.spoken(frame, ['figure', 'version'], unit)}"
    height = picture.rows_high(frame, along, shades=shades)
    look.html(f'<div class="small soft">Change in {unit}; the line is no change.</div>')
    clicked = picture.show(chart, frame, name=name, spoken=said, installation=installation, account=account, height=height)
    if clicked:
        _open_compare(found, names, clicked)


def _open_compare(found: pd.DataFrame, names: dict[int, str], clicked: dict[str, Any]) -> None:
    for row in found.to_dict("records"):
        if look.figure_name(str(row["metric"])) == clicked.get("figure") and names[row["version"]] == clicked.get("version"):
            address = f"/compare?version={row['version']}&figure={row['metric']}"
            look.html(look.link(address, f"Read the texts behind {clicked['figure']}, {clicked['version']}"))


def _weeks(installation: Installation, account: Account, session: Session, found: pd.DataFrame) -> None:
    st.subheader("Week by week", anchor=False)
    if not len(found):
        look.empty("No week yet.", "Reviews appear here as they are stored.")
        return
    frame = found.rename(columns={"share": "value", "reviews": "n"}).assign(week=_mondays(found))
    chart = picture.across(frame, picture.Along("week", list(frame["week"])), unit="share", joined=True)
    said = f"Share of answers flagged by week: {picture.spoken(frame, ['week'], 'share')}"
    clicked = picture.show(chart, found, name="weeks", spoken=said, installation=installation, account=account)
    last = found.iloc[-1]
    look.html(
        f'<div class="small soft">Share of reviews that flag. In the last week {int(last["reviews"]):,} reviews by '
        f"{int(last['reviewers']):,} people. What is sampled changes from week to week: compare versions by blind shares.</div>"
    )
    _week(session, found, clicked, contested=False)


def _week(session: Session, found: pd.DataFrame, clicked: dict[str, Any] | None, *, contested: bool) -> None:
    """The texts of the week that was clicked."""
    for monday, name in zip(found["monday"], _mondays(found), strict=True):
        if clicked and name == clicked.get("week"):
            st.subheader(f"{'Answers people differed on' if contested else 'Flagged answers'}, week of {name}", anchor=False)
            moment = monday.to_pydatetime().replace(tzinfo=UTC)
            texts.of_a_week(session, moment, contested=contested, key=f"week-{contested}")


def _mondays(found: pd.DataFrame) -> list[str]:
    """What a picture calls a week: its Monday."""
    return [f"{monday:%-d %b}" for monday in found["monday"]]


def _agreement(installation: Installation, account: Account, session: Session, found: pd.DataFrame) -> None:
    st.subheader("Agreement", anchor=False)
    found = found[found["alpha"].notna()] if len(found) else found
    if not len(found):
        look.empty("No agreement to show yet.", "It needs answers that two people or more have judged.")
        return
    frame = pd.DataFrame(
        {"week": _mondays(found), "value": found["alpha"], "low": found["alpha_low"], "high": found["alpha_high"]}
        | {"n": found["judged_twice"]}
    ).astype({"value": float, "low": float, "high": float})
    chart = picture.across(frame, picture.Along("week", list(frame["week"])), unit="plain", none=0.0)
    said = f"Krippendorff's alpha by week: {picture.spoken(frame, ['week'], 'plain')}"
    clicked = picture.show(chart, frame, name="agreement", spoken=said, installation=installation, account=account)
    look.html(
        '<div class="small soft">Krippendorff’s alpha of “flag it” and “looks fine”: 1 is full agreement, 0 is chance. '
        "People who differ are no error: their disagreement is data.</div>"
    )
    _week(session, found, clicked, contested=True)


def _tests(installation: Installation, account: Account, session: Session) -> None:
    st.subheader("Published tests", anchor=False)
    found = monitoring.suites_by_version(session)
    found = found[(found["kind"] == "") & found["value"].notna()]
    if not len(found):
        look.empty(
            "No published test is in use.",
            "Take one in: flagback suites add crows-pairs --data FILE. Every evaluation then puts it to both versions.",
        )
        return
    choices = list(dict.fromkeys(zip(found["suite"], found["data"], found["metric"], strict=True)))
    chosen = st.selectbox(
        "Which number", choices, format_func=lambda one: f"{one[0]}: {one[2].replace('_', ' ')}", key="test-number"
    )
    part = found[(found["suite"] == chosen[0]) & (found["data"] == chosen[1]) & (found["metric"] == chosen[2])]
    names = harm.names_of(session)
    frame = part.assign(version=part["version"].map(names))[["version", "value", "low", "high", "n"]]
    frame = frame.astype({"value": float, "low": float, "high": float})
    chart = picture.across(frame, picture.Along("version", list(frame["version"])), unit="plain")
    said = f"{chosen[0]}, {chosen[2]}: {picture.spoken(frame, ['version'], 'plain')}"
    clicked = picture.show(chart, part, name="published-tests", spoken=said, installation=installation, account=account, height=220)
    if clicked:
        _open(names, clicked, "compare", "See the items on which {} and its parent differ")
    texts.about_suite(str(chosen[0]), str(chosen[2]))
    look.html(
        '<div class="small soft">A level says little: read the change between two versions. A model that knows nothing lands '
        "near “no bias”; no gate reads these tests.</div>"
    )


def _coverage(installation: Installation, account: Account, session: Session) -> None:
    st.subheader("Coverage", anchor=False)
    found = monitoring.coverage(session)
    if not len(found):
        look.empty("Nothing was put before people yet.", "Sample the model: 'flagback sample', or the button on The loop.")
        return
    names = harm.names_of(session)
    of = {row["version"]: names.get(int(row["version"]), "") for row in found.to_dict("records") if pd.notna(row["version"])}
    frame = pd.DataFrame(
        {
            "answers": [f"{of.get(row['version'], 'from files')}, {row['purpose']}" for row in found.to_dict("records")],
            "value": found["finished"] / found["answers"],
            "low": None,
            "high": None,
            "n": found["answers"],
        }
    ).astype({"low": float, "high": float})
    along = picture.Along("answers", list(frame["answers"]))
    chart = picture.down(frame, along, unit="share")
    said = f"Share of answers with every wanted review: {picture.spoken(frame, ['answers'], 'share')}"
    height = picture.rows_high(frame, along)
    picture.show(chart, found, name="coverage", spoken=said, installation=installation, account=account, height=height, opens=False)
    look.html('<div class="small soft">Share of the answers put before people that have every review they wait for.</div>')
