"""The panel: what waits for people, how much they do and what they met, who they are; all of it totals.

No group of fewer than five is shown, nor any that could be reckoned from what is shown; no number of any one person.
"""

from datetime import datetime, timedelta

import pandas as pd
import streamlit as st

from flagback.review_app import overlap_policy
from flagback.review_app.installation import Installation
from flagback.review_app.screens import languages, look, overlap_choice, picture, section
from flagback.storage import panel, panel_health
from flagback.storage.panel_health import AGES, DAYS, Day, Health
from flagback.storage.records import Account, now
from flagback.storage.suppression import SMALLEST

ANYBODY = "anybody"
_MET = {"called severe by somebody": "accent", "skipped as too upsetting": "flag"}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        "Panel", "What waits for people, what they did and met, and who they are: in totals. Nobody's own numbers stand here."
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
    oldest = "nothing waits" if health.oldest is None else f"the oldest for {_span(moment - health.oldest)}"
    look.strip(
        [
            look.Step("Answers that wait", health.waiting, oldest),
            look.Step("Open seats", sum(health.seats.values()), "reviews that are wanted"),
            look.Step("Last seven days", week, "reviews, skips left out"),
            look.Step("In all", answers, "answers of people that count"),
        ]
    )


def _span(time: timedelta) -> str:
    if time < timedelta(hours=1):
        return "less than an hour"
    whole, unit = (time.days, "day") if time.days else (time.seconds // 3600, "hour")
    return f"{whole:,} {unit}{'s' * (whole != 1)}"


def _next_step(health: Health, totals: panel.Totals) -> None:
    """What would help most, where something is missing."""
    if totals.reviewers == 0:
        look.empty("Nobody reviews yet", "An administrator invites people on the page People, or with 'flagback invite'.")
    elif not health.waiting:
        look.empty("Nothing waits for review", "A maintainer has the model answer prompts on the page The loop.")
    elif totals.answers == 0:
        look.empty(
            "Nobody has reviewed yet", f"{sum(health.seats.values()):,} reviews are wanted; reviewers find them when they sign in."
        )


def _seats(health: Health, groups: dict[str, str], installation: Installation, account: Account) -> None:
    st.subheader("Seats nobody has taken", anchor=False)
    rows = [
        {"kept for": groups.get(group, ANYBODY if group == "any" else group), "count": count}
        for group, count in health.seats.items()
    ]
    rows.sort(key=lambda row: (row["kept for"] == ANYBODY, str(row["kept for"])))
    if not rows:
        look.html('<div class="soft">No seat is open.</div>')
        return
    frame = pd.DataFrame(rows)
    along = picture.Along("kept for", list(frame["kept for"]))
    chart = picture.bars(frame, along, upright=False)
    spoken = f"Open seats: {picture.spoken_counts(frame, ['kept for'])}"
    high = 60 + 34 * len(rows)
    picture.show(chart, frame, name="seats", spoken=spoken, installation=installation, account=account, height=high, opens=False)
    kept = sum(count for group, count in health.seats.items() if group != "any")
    words = (
        f"About {kept:,} are kept for people of a group who agreed to be asked as such, told in tens until they are answered; "
        "after a time they are open to anybody."
        if kept
        else "None is kept for a group."
    )
    look.html(f'<div class="small soft">{words}</div>')


def _ages(health: Health, installation: Installation, account: Account) -> None:
    st.subheader("How long answers have waited", anchor=False)
    if not health.waiting:
        look.html('<div class="soft">No answer waits.</div>')
        return
    frame = pd.DataFrame({"waited": [name for _, name in AGES], "count": list(health.ages)})
    chart = picture.bars(frame, picture.Along("waited", list(frame["waited"])), upright=False)
    spoken = f"Answers that wait: {picture.spoken_counts(frame, ['waited'])}"
    picture.show(chart, frame, name="waiting", spoken=spoken, installation=installation, account=account, height=264, opens=False)
    look.html('<div class="small soft">From when an answer was put up for review, while any seat of it is open.</div>')


# --------------------------------------------------------------- what was done


def _days(days: list[Day], installation: Installation, account: Account) -> None:
    st.subheader("Reviews a day", anchor=False)
    if not any(day.reviews for day in days):
        look.html(f'<div class="soft">Nobody has reviewed in the last {DAYS} days.</div>')
        return
    frame = pd.DataFrame({"day": [_day(one) for one in days], "count": [one.reviews for one in days]})
    chart = picture.bars(frame, picture.Along("day", list(frame["day"])))
    spoken = f"Reviews a day: {picture.spoken_counts(frame, ['day'])}"
    picture.show(
        chart, frame, name="reviews-a-day", spoken=spoken, installation=installation, account=account, height=220, opens=False
    )
    look.html(
        f'<div class="small soft">The last {DAYS} days, of everybody together; skips and what was left out do not count.</div>'
    )


def _met(days: list[Day], installation: Installation, account: Account) -> None:
    st.subheader("What people met", anchor=False)
    shown = [day for day in days if day.severe_met is not None]
    note = (
        f"Everybody together, a day. Not shown: today, and days on which fewer than {SMALLEST} people worked, since a total would "
        "be one person's own."
    )
    if not any(day.severe_met or day.too_upsetting for day in shown):
        hidden = any(day.severe_met is None for day in days[:-1])
        words = "Nothing that can be shown." if hidden else f"No severe answer in the last {DAYS} days."
        look.html(f'<div class="soft">{words}</div><div class="small soft">{note}</div>')
        return
    severe, upset = (sum(getattr(day, name) for day in shown) for name in ("severe_met", "too_upsetting"))
    skipped = f"; <b>{upset:,}</b> times one was too upsetting to judge" if upset else ""
    look.html(f"<div><b>{severe:,}</b> times somebody met an answer that is called severe{skipped}.</div>")
    rows = [
        {"day": _day(day), "what": what, "count": count}
        for day in days
        for what, count in zip(_MET, (day.severe_met, day.too_upsetting), strict=True)
    ]
    frame = pd.DataFrame(rows).astype({"count": float})
    shades = picture.Shades("what", _MET)
    chart = picture.bars(frame, picture.Along("day", [_day(day) for day in days]), shades=shades)
    spoken = f"What people met: {picture.spoken_counts(frame, ['day', 'what'])}"
    picture.show(chart, frame, name="met-a-day", spoken=spoken, installation=installation, account=account, height=240, opens=False)
    look.html(f'<div class="small soft">{note}</div>')


def _day(one: Day) -> str:
    return f"{one.day:%-d %b}"


# ------------------------------------------------------------------- who reviews


def _people(found: panel.Totals) -> None:
    st.subheader("Who reviews", anchor=False)
    look.html(f"<p><b>{look.quiet(panel.counted(found.reviewers))}</b> reviewers may sign in and agreed to review.</p>")
    if found.reviewers == 0:
        return
    st.subheader("Languages read", anchor=False)
    _cells([(languages.name(code), words) for code, words in found.languages], found.languages_hidden)
    st.subheader("Background", anchor=False)
    look.html(
        '<div class="soft">Of those who agreed to its use for choosing what they are asked about. Numbers stand for “at least '
        f"so many”, and a group of fewer than {panel.SMALLEST} is not shown, nor one by which such a group could be reckoned.</div>"
    )
    for question in found.questions:
        if question.cells:
            with st.container(key=f"fb-card-{question.code}"):
                look.html(f"<b>{look.quiet(question.words)}</b>")
                _cells(list(question.cells), question.hidden)
    if silent := [question.words for question in found.questions if not question.cells]:
        asked = "".join(f"<div>{look.quiet(words)}</div>" for words in silent)
        look.html(f'<div class="small soft">Too few people have said, so nothing is shown of:{asked}</div>')


def _cells(cells: list[tuple[str, str]], hidden: bool) -> None:
    rows = [[look.quiet(name), look.quiet(words)] for name, words in cells]
    if rows and hidden:
        rows.append(['<span class="soft">Others</span>', '<span class="soft">not shown: too few people</span>'])
    if rows:
        look.table(["", ""], rows, numeric=(1,))
    else:
        look.html('<div class="soft">Nothing to show: too few people have said.</div>')
