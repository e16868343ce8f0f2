"""The panel: what waits for people, how much they do and what they met, who they are; all of it totals.

No group of fewer than five is shown, nor any that could be reckoned from what is shown; no number of any one person.
"""

from datetime import datetime, timedelta

import pandas as pd
import streamlit as st

from flagback.review_app import overlap_policy
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import languages, look, overlap_choice, picture, section
from flagback.review_app.words import number, short_day, stored, tr, trn
from flagback.storage import panel, panel_health
from flagback.storage.panel_health import AGES, DAYS, Day, Health
from flagback.storage.records import Account, now
from flagback.storage.suppression import SMALLEST

_MET = {"called severe by somebody": "accent", "skipped as too upsetting": "flag"}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Panel"),
        tr("What waits for people, what they did and met, and who they are: in totals. Nobody's own numbers stand here."),
    )
    section.strip(account, "panel")
    moment = now().astimezone()
    with installation.store.reading() as session:
        health = panel_health.health(session, now=moment)
        totals = panel.totals(session, installation.pseudonym_key)
        groups = overlap_policy.group_words(session)
    if health.waiting or totals.answers:
        _strip(health, totals.answers, moment)
    _next_step(health, totals)
    if health.waiting or totals.answers:
        _pictures(health, groups, installation, account)
    with st.container(key="fb-card-overlap"):
        overlap_choice.show(installation, account)
    _people(totals)


def _pictures(health: Health, groups: dict[str, str], installation: Installation, account: Account) -> None:
    left, right = st.columns(2)
    with left, st.container(key="fb-card-seats", height="stretch"):
        _seats(health, groups, installation, account)
    with right, st.container(key="fb-card-ages", height="stretch"):
        _ages(health, installation, account)
    left, right = st.columns(2)
    with left, st.container(key="fb-card-days", height="stretch"):
        _days(health.days, installation, account)
    with right, st.container(key="fb-card-met", height="stretch"):
        _met(health.days, installation, account)


# ------------------------------------------------------------------- what waits


def _strip(health: Health, answers: int, moment: datetime) -> None:
    week = sum(day.reviews for day in health.days[-7:])
    oldest = tr("nothing waits") if health.oldest is None else tr("the oldest for {time}", time=_span(moment - health.oldest))
    look.strip(
        [
            look.Step(tr("Answers that wait"), health.waiting, oldest),
            look.Step(tr("Open seats"), sum(health.seats.values()), tr("reviews that are wanted")),
            look.Step(tr("Last seven days"), week, tr("reviews, skips left out")),
            look.Step(tr("In all"), answers, tr("answers of people that count")),
        ]
    )


def _span(time: timedelta) -> str:
    if time < timedelta(hours=1):
        return tr("less than an hour")
    if time.days:
        return trn("{count} day", "{count} days", time.days)
    return trn("{count} hour", "{count} hours", time.seconds // 3600)


def _next_step(health: Health, totals: panel.Totals) -> None:
    """What would help most, where something is missing."""
    if totals.reviewers == 0:
        look.empty(tr("Nobody reviews yet"), tr("An administrator invites people on the page People, or with 'flagback invite'."))
    elif not health.waiting:
        look.empty(tr("Nothing waits for review"), tr("A maintainer has the model answer prompts on the page The loop."))
    elif totals.answers == 0:
        look.empty(
            tr("Nobody has reviewed yet"),
            trn(
                "{count} reviews are wanted; reviewers find them when they sign in.",
                "{count} reviews are wanted; reviewers find them when they sign in.",
                sum(health.seats.values()),
            ),
        )


def _seats(health: Health, groups: dict[str, str], installation: Installation, account: Account) -> None:
    st.subheader(tr("Seats nobody has taken"), anchor=False)
    anybody = tr("anybody")
    rows = [
        {"kept for": groups.get(group, anybody if group == "any" else group), "count": count}
        for group, count in health.seats.items()
    ]
    rows.sort(key=lambda row: (row["kept for"] == anybody, str(row["kept for"])))
    if not rows:
        look.aside(tr("No seat is open."))
        return
    frame = pd.DataFrame(rows)
    along = picture.Along("kept for", list(frame["kept for"]))
    chart = picture.bars(frame, along, upright=False)
    spoken = tr("Open seats: {counts}", counts=picture.spoken_counts(frame, ["kept for"]))
    high = 60 + 34 * len(rows)
    picture.show(chart, frame, name="seats", spoken=spoken, installation=installation, account=account, height=high, opens=False)
    kept = sum(count for group, count in health.seats.items() if group != "any")
    look.note(
        trn(
            "About {count} are kept for people of a group who agreed to be asked as such, told in tens until they are "
            "answered; after "
            "a time they are open to anybody.",
            "About {count} are kept for people of a group who agreed to be asked as such, told in tens until they are "
            "answered; after "
            "a time they are open to anybody.",
            kept,
        )
        if kept
        else tr("None is kept for a group.")
    )


def _ages(health: Health, installation: Installation, account: Account) -> None:
    st.subheader(tr("How long answers have waited"), anchor=False)
    if not health.waiting:
        look.aside(tr("No answer waits."))
        return
    frame = pd.DataFrame({"waited": [stored("age", name) for _, name in AGES], "count": list(health.ages)})
    chart = picture.bars(frame, picture.Along("waited", list(frame["waited"])), upright=False)
    spoken = tr("Answers that wait: {counts}", counts=picture.spoken_counts(frame, ["waited"]))
    picture.show(chart, frame, name="waiting", spoken=spoken, installation=installation, account=account, height=264, opens=False)
    look.note(tr("From when an answer was put up for review, while any seat of it is open."))


# --------------------------------------------------------------- what was done


def _days(days: list[Day], installation: Installation, account: Account) -> None:
    st.subheader(tr("Reviews a day"), anchor=False)
    if not any(day.reviews for day in days):
        look.aside(tr("Nobody has reviewed in the last {days} days.", days=DAYS))
        return
    frame = pd.DataFrame({"day": [_day(one) for one in days], "count": [one.reviews for one in days]})
    chart = picture.bars(frame, picture.Along("day", list(frame["day"])))
    spoken = tr("Reviews a day: {counts}", counts=picture.spoken_counts(frame, ["day"]))
    picture.show(
        chart, frame, name="reviews-a-day", spoken=spoken, installation=installation, account=account, height=220, opens=False
    )
    look.note(tr("The last {days} days, of everybody together; skips and what was left out do not count.", days=DAYS))


def _met(days: list[Day], installation: Installation, account: Account) -> None:
    st.subheader(tr("What people met"), anchor=False)
    shown = [day for day in days if day.severe_met is not None]
    note = tr(
        "Everybody together, a day. Not shown: today, and days on which fewer than {fewest} people worked, since a total would "
        "be one "
        "person's own.",
        fewest=SMALLEST,
    )
    if not any(day.severe_met or day.too_upsetting for day in shown):
        hidden = any(day.severe_met is None for day in days[:-1])
        words = tr("Nothing that can be shown.") if hidden else tr("No severe answer in the last {days} days.", days=DAYS)
        look.html(f'<div class="soft">{words}</div><div class="small soft">{note}</div>')
        return
    severe, upset = (sum(getattr(day, name) for day in shown) for name in ("severe_met", "too_upsetting"))
    met, skipped = (f"<b>{number(times)}</b>" for times in (severe, upset))
    words = (
        tr(
            "{met} times somebody met an answer that is called severe; {skipped} times one was too upsetting to judge.",
            met=met,
            skipped=skipped,
        )
        if upset
        else tr("{met} times somebody met an answer that is called severe.", met=met)
    )
    look.html(f"<div>{words}</div>")
    kinds = {stored("met", what): shade for what, shade in _MET.items()}
    rows = [
        {"day": _day(day), "what": what, "count": count}
        for day in days
        for what, count in zip(kinds, (day.severe_met, day.too_upsetting), strict=True)
    ]
    frame = pd.DataFrame(rows).astype({"count": float})
    shades = picture.Shades("what", kinds)
    chart = picture.bars(frame, picture.Along("day", [_day(day) for day in days]), shades=shades)
    spoken = tr("What people met: {counts}", counts=picture.spoken_counts(frame, ["day", "what"]))
    picture.show(chart, frame, name="met-a-day", spoken=spoken, installation=installation, account=account, height=240, opens=False)
    look.html(f'<div class="small soft">{note}</div>')


def _day(one: Day) -> str:
    return short_day(one.day)


# ------------------------------------------------------------------- who reviews


def _people(found: panel.Totals) -> None:
    st.subheader(tr("Who reviews"), anchor=False)
    how_many = f"<b>{look.quiet(retold(panel.counted(found.reviewers)))}</b>"
    look.html(f"<p>{tr('{number} reviewers may sign in and agreed to review.', number=how_many)}</p>")
    if found.reviewers == 0:
        return
    st.subheader(tr("Languages read"), anchor=False)
    _cells([(languages.name(code), words) for code, words in found.languages], found.languages_hidden)
    st.subheader(tr("Background"), anchor=False)
    look.aside(
        tr(
            "Of those who agreed to its use for choosing what they are asked about. Numbers stand for “at least so "
            "many”, and a group of fewer than {fewest} is not shown, nor one by which such a group could be "
            "reckoned.",
            fewest=panel.SMALLEST,
        )
    )
    for question in found.questions:
        if question.cells:
            with st.container(key=f"fb-card-{question.code}"):
                asked = f"background {question.code}"
                look.html(f"<b>{look.quiet(stored(asked, question.words))}</b>")
                _cells([(stored(asked, words), band) for words, band in question.cells], question.hidden)
    if silent := [stored(f"background {question.code}", question.words) for question in found.questions if not question.cells]:
        asked = "".join(f"<div>{look.quiet(words)}</div>" for words in silent)
        look.note(tr("Too few people have said, so nothing is shown of:") + asked)


def _cells(cells: list[tuple[str, str]], hidden: bool) -> None:
    rows = [[look.quiet(name), look.quiet(retold(words))] for name, words in cells]
    if rows and hidden:
        rows.append([f'<span class="soft">{words}</span>' for words in (tr("Others"), tr("not shown: too few people"))])
    if rows:
        look.table(["", ""], rows, numeric=(1,))
    else:
        look.aside(tr("Nothing to show: too few people have said."))
