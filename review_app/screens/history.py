"""History: figures by version and by week as pictures; a click on a point opens the texts behind it."""

from collections.abc import Callable
from datetime import UTC
from typing import Any

import pandas as pd
import streamlit as st
from sqlmodel import Session

from flagback.review_app import monitoring
from flagback.review_app.installation import Installation
from flagback.review_app.screens import figure_words, harm, look, picture, section, texts
from flagback.review_app.words import number, short_day, stored, tr, trn
from flagback.storage.records import Account

#: Figures of usefulness in the order of the picture; those that are not there are left out.
USEFUL = ("refusal_rate", "empty_rate", "repeated_share", "preference_accuracy", "length", "distinct_1", "distinct_2")


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("History"), tr("What changed, for whom, and how sure that is. Every picture opens the texts behind it."))
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
    st.subheader(tr("Harm people flagged"), anchor=False)
    clicked = harm.draw(installation, account, session)
    asked = st.query_params
    if clicked is None and asked.get("version", "").isdigit() and asked.get("seen") in harm.SEEN:
        clicked = {"version": int(asked["version"]), "seen": asked["seen"]}
    if clicked is not None and clicked["version"] is not None:
        names = harm.names_of(session)
        if clicked["version"] in names:
            st.subheader(
                tr(
                    "Flagged answers of {version}, {seen}",
                    version=names[clicked["version"]],
                    seen=stored("seen", harm.SEEN[clicked["seen"]]),
                ),
                anchor=False,
            )
            texts.flagged(session, clicked["version"], clicked["seen"], key="harm")


def _gap(installation: Installation, account: Account, session: Session) -> None:
    st.subheader(tr("Gap to the first base"), anchor=False)
    found = monitoring.gaps_to_base(session)
    if not len(found):
        look.empty(tr("No gap yet."), tr("It shows as soon as blind answers of a correction and of the base are judged."))
        return
    names = harm.names_of(session)
    frame = pd.DataFrame(
        {"version": found["version"].map(names), "n": found["n"]}
        | {new: found[old].astype(float) * 100 for new, old in (("value", "gap"), ("low", "low"), ("high", "high"))}
    )
    along = picture.Along("version", list(frame["version"]))
    chart = picture.across(frame, along, unit="points", none=0.0)
    said = tr("Points of flagged answers from the first base: {points}", points=picture.spoken(frame, ["version"], "points"))
    clicked = picture.show(chart, found, name="gap-to-base", spoken=said, installation=installation, account=account)
    several = [names[row["version"]] for row in found.to_dict("records") if row["steps"] > 1]
    look.note(
        tr("Points of flagged blind answers, paired by prompt; below the line is less harm than the base.")
        + (
            " "
            + look.marked(
                tr("{versions}: the sum of the steps that led there, each on prompts of its own.", versions=", ".join(several))
            )
            if several
            else ""
        )
    )
    if clicked:
        _open(
            names, clicked, "compare", lambda version: tr("Read what {version} and its parent wrote, side by side", version=version)
        )


def _worst(installation: Installation, account: Account, session: Session) -> None:
    st.subheader(tr("The worst group beside the whole"), anchor=False)
    found = monitoring.harm_by_group(session)
    whole, groups = found[found["axis"] == ""], found[found["axis"] != ""]
    if not len(groups):
        look.empty(tr("No group has enough prompts yet."), tr("Ten judged held-out prompts about a group are needed."))
        return
    # A version that was in two evaluations counts where it was the candidate, or, the base, where it first stood.
    whole, groups = (
        part.sort_values("evaluation").groupby(["version", "metric"], as_index=False).first() for part in (whole, groups)
    )
    worst = groups.loc[groups.groupby("version")["share"].idxmax()]
    many = groups.groupby("version")["metric"].nunique()
    names = harm.names_of(session)
    everything, least = tr("all prompts"), tr("worst group")
    frame = pd.concat([whole.assign(of=everything), worst.assign(of=least)])
    frame = frame.assign(value=frame["share"], version=frame["version"].map(names))
    order = [name for number, name in sorted(names.items()) if name in set(frame["version"])]
    shades = picture.Shades("of", {everything: "accent", least: "flag"})
    shown = frame[["version", "of", "axis", "group", "value", "low", "high", "n"]]
    chart = picture.across(shown, picture.Along("version", order), unit="share", shades=shades)
    said = tr("Share flagged: {points}", points=picture.spoken(shown, ["version", "group"], "share"))
    clicked = picture.show(chart, shown, name="worst-group", spoken=said, installation=installation, account=account)
    if clicked:
        _open(names, clicked, "figures", lambda version: tr("Read the answers behind each group of {version}", version=version))
    few = {one.candidate_id: len(monitoring.too_few(one)) for one in monitoring.newest_evaluations(session).values()}
    told = "; ".join(
        _worst_of(names[row["version"]], str(row["group"]), int(many[row["version"]]), few.get(row["version"], 0))
        for row in worst.to_dict("records")
    )
    look.note(
        tr(
            "The highest share: {told}. The highest of many is high by chance too; One version says what chance alone would show.",
            told=look.marked(told),
        )
    )


def _worst_of(version: str, group: str, many: int, few: int) -> str:
    """The group with the highest share, and among how many it is."""
    said = trn(
        "{version}: {group}, of {count} group with enough prompts",
        "{version}: {group}, of {count} groups with enough prompts",
        many,
        version=version,
        group=group,
    )
    return said + (" " + trn("({count} has too few)", "({count} have too few)", few) if few else "")


def _open(names: dict[int, str], clicked: dict[str, Any], page: str, words: Callable[[str], str]) -> None:
    """A way to where the texts behind a version's point are."""
    for version, name in names.items():
        if name == clicked.get("version"):
            look.html(look.link(f"/{page}?version={version}", words(name)))


def _useful(installation: Installation, account: Account, session: Session) -> None:
    st.subheader(tr("Usefulness, each version against its parent"), anchor=False)
    found = monitoring.changes_by_version(session)
    kinds = found["metric"].map(lambda metric: str(metric).partition(":")[0])
    found = found[(found["metric"].isin(USEFUL)) | kinds.isin(["perplexity", "kl_to_base"])]
    found = found[found["change"].notna() & found["low"].notna()]
    if not len(found):
        look.empty(tr("Nothing was compared yet."), tr("A correction is compared with its parent as soon as it has run."))
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
            "figure": found["metric"].map(figure_words.name_of),
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
    points = picture.spoken(frame, ["figure", "version"], unit)
    in_percent = unit == "per cent"
    said = tr("Change in per cent: {points}", points=points) if in_percent else tr("Change in points: {points}", points=points)
    height = picture.rows_high(frame, along, shades=shades)
    look.note(tr("Change in per cent; the line is no change.") if in_percent else tr("Change in points; the line is no change."))
    clicked = picture.show(chart, frame, name=name, spoken=said, installation=installation, account=account, height=height)
    if clicked:
        _open_compare(found, names, clicked)


def _open_compare(found: pd.DataFrame, names: dict[int, str], clicked: dict[str, Any]) -> None:
    for row in found.to_dict("records"):
        if figure_words.name_of(str(row["metric"])) == clicked.get("figure") and names[row["version"]] == clicked.get("version"):
            address = f"/compare?version={row['version']}&figure={row['metric']}"
            look.html(
                look.link(
                    address, tr("Read the texts behind {figure}, {version}", figure=clicked["figure"], version=clicked["version"])
                )
            )


def _weeks(installation: Installation, account: Account, session: Session, found: pd.DataFrame) -> None:
    st.subheader(tr("Week by week"), anchor=False)
    if not len(found):
        look.empty(tr("No week yet."), tr("Reviews appear here as they are stored."))
        return
    frame = found.rename(columns={"share": "value", "reviews": "n"}).assign(week=_mondays(found))
    chart = picture.across(frame, picture.Along("week", list(frame["week"])), unit="share", joined=True)
    said = tr("Share of answers flagged by week: {points}", points=picture.spoken(frame, ["week"], "share"))
    clicked = picture.show(chart, found, name="weeks", spoken=said, installation=installation, account=account)
    last = found.iloc[-1]
    look.note(
        tr(
            "Share of reviews that flag. In the last week {reviews} reviews by {reviewers} people. What is sampled "
            "changes from week to week: compare versions by blind shares.",
            reviews=number(int(last["reviews"])),
            reviewers=number(int(last["reviewers"])),
        )
    )
    _week(session, found, clicked, contested=False)


def _week(session: Session, found: pd.DataFrame, clicked: dict[str, Any] | None, *, contested: bool) -> None:
    """The texts of the week that was clicked."""
    for monday, name in zip(found["monday"], _mondays(found), strict=True):
        if clicked and name == clicked.get("week"):
            title = (
                tr("Answers people differed on, week of {week}", week=name)
                if contested
                else tr("Flagged answers, week of {week}", week=name)
            )
            st.subheader(title, anchor=False)
            moment = monday.to_pydatetime().replace(tzinfo=UTC)
            texts.of_a_week(session, moment, contested=contested, key=f"week-{contested}")


def _mondays(found: pd.DataFrame) -> list[str]:
    """What a picture calls a week: its Monday."""
    return [short_day(monday) for monday in found["monday"]]


def _agreement(installation: Installation, account: Account, session: Session, found: pd.DataFrame) -> None:
    st.subheader(tr("Agreement"), anchor=False)
    found = found[found["alpha"].notna()] if len(found) else found
    if not len(found):
        look.empty(tr("No agreement to show yet."), tr("It needs answers that two people or more have judged."))
        return
    frame = pd.DataFrame(
        {"week": _mondays(found), "value": found["alpha"], "low": found["alpha_low"], "high": found["alpha_high"]}
        | {"n": found["judged_twice"]}
    ).astype({"value": float, "low": float, "high": float})
    chart = picture.across(frame, picture.Along("week", list(frame["week"])), unit="plain", none=0.0)
    said = tr("Krippendorff's alpha by week: {points}", points=picture.spoken(frame, ["week"], "plain"))
    clicked = picture.show(chart, frame, name="agreement", spoken=said, installation=installation, account=account)
    look.note(
        tr(
            "Krippendorff’s alpha of “flag it” and “looks fine”: 1 is full agreement, 0 is chance. People who differ "
            "are no error: their disagreement is data."
        )
    )
    _week(session, found, clicked, contested=True)


def _tests(installation: Installation, account: Account, session: Session) -> None:
    st.subheader(tr("Published tests"), anchor=False)
    found = monitoring.suites_by_version(session)
    found = found[(found["kind"] == "") & found["value"].notna()]
    if not len(found):
        look.empty(
            tr("No published test is in use."),
            tr("Take one in: flagback suites add crows-pairs --data FILE. Every evaluation then puts it to both versions."),
        )
        return
    choices = list(dict.fromkeys(zip(found["suite"], found["data"], found["metric"], strict=True)))
    chosen = st.selectbox(
        tr("Which number"), choices, format_func=lambda one: f"{one[0]}: {one[2].replace('_', ' ')}", key="test-number"
    )
    part = found[(found["suite"] == chosen[0]) & (found["data"] == chosen[1]) & (found["metric"] == chosen[2])]
    names = harm.names_of(session)
    frame = part.assign(version=part["version"].map(names))[["version", "value", "low", "high", "n"]]
    frame = frame.astype({"value": float, "low": float, "high": float})
    chart = picture.across(frame, picture.Along("version", list(frame["version"])), unit="plain")
    said = f"{chosen[0]}, {chosen[2]}: {picture.spoken(frame, ['version'], 'plain')}"  # names of the test's own
    clicked = picture.show(chart, part, name="published-tests", spoken=said, installation=installation, account=account, height=220)
    if clicked:
        _open(
            names, clicked, "compare", lambda version: tr("See the items on which {version} and its parent differ", version=version)
        )
    texts.about_suite(str(chosen[0]), str(chosen[2]))
    look.note(
        tr(
            "A level says little: read the change between two versions. A model that knows nothing lands near “no "
            "bias”; no gate reads these tests."
        )
    )


def _coverage(installation: Installation, account: Account, session: Session) -> None:
    st.subheader(tr("Coverage"), anchor=False)
    found = monitoring.coverage(session)
    if not len(found):
        look.empty(tr("Nothing was put before people yet."), tr("Sample the model: 'flagback sample', or the button on The loop."))
        return
    names = harm.names_of(session)
    of = {row["version"]: names.get(int(row["version"]), "") for row in found.to_dict("records") if pd.notna(row["version"])}
    frame = pd.DataFrame(
        {
            "answers": [
                f"{of.get(row['version'], tr('from files'))}, {stored('purpose', str(row['purpose']))}"
                for row in found.to_dict("records")
            ],
            "value": found["finished"] / found["answers"],
            "low": None,
            "high": None,
            "n": found["answers"],
        }
    ).astype({"low": float, "high": float})
    along = picture.Along("answers", list(frame["answers"]))
    chart = picture.down(frame, along, unit="share")
    said = tr("Share of answers with every wanted review: {points}", points=picture.spoken(frame, ["answers"], "share"))
    height = picture.rows_high(frame, along)
    picture.show(chart, found, name="coverage", spoken=said, installation=installation, account=account, height=height, opens=False)
    look.note(tr("Share of the answers put before people that have every review they wait for."))
