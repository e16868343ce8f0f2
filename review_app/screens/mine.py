"""One's own answers, what became of the flags among them, one's hours and one's data to take along. Shows nobody else anything."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import streamlit as st

from flagback.review_app import answer_words, downloads, own_data
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, section
from flagback.review_app.words import number as written
from flagback.review_app.words import tr, trn
from flagback.storage import fates, own_answers, wellbeing
from flagback.storage.fates import Fate
from flagback.storage.own_answers import Kind, Own, Tally
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Review

#: Answers on one page.
PAGE = 10
#: Signs of hidden texts that were asked for, by review number, for as long as the page is open.
_OPENED = "flagback_mine_opened"


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("Your answers"), tr("Yours alone: nobody else sees this page, and it shows you nobody else’s answers."))
    look.column()
    section.strip(account, "mine")
    reviewer = installation.reviewer(account)
    with installation.store.reading() as session:
        total = own_answers.tally(session, reviewer)
        weeks = own_answers.weeks(session, pseudonym(installation.pseudonym_key, account.id, "work"))
        flags = own_answers.flags(session, reviewer)
        told = fates.of_flags(session, flags)
    if not total.judged and not total.skipped:
        look.empty(tr("You have not judged an answer yet."), tr("Each one that you judge appears here, with what became of it."))
        look.html(f"<p>{look.link('/review', tr('Start reviewing'))}</p>")
        _take_along(installation, account)
        return
    _what_became(told)
    _listed(installation, reviewer, total, told)
    _hours(weeks)
    _take_along(installation, account)


# ----------------------------------------------------------------- what became of flags


def _what_became(told: Mapping[int, Fate]) -> None:
    st.subheader(tr("What became of your flags"), anchor=False)
    if not told:
        look.empty(
            tr("You have flagged nothing so far."), tr("That is fine: there is no right number. Flags are followed up here.")
        )
        return
    states = Counter(fate.state for fate in told.values())
    in_set = states["in_set"] + states["learning"]
    learnt = states["learnt"] + states["stopped"] + states["was_in_use"]
    tried = states["kept_aside"] + states["tested"]
    waiting = states["waiting"]
    look.strip(
        [
            look.Step(tr("Flags"), len(told), trn("{count} waits", "{count} wait", waiting) if waiting else tr("so far")),
            look.Step(tr("In a set to learn from"), in_set, tr("a correction may learn from them")),
            look.Step(tr("Learnt from"), learnt, tr("by a correction that is not in use")),
            look.Step(tr("Used for testing"), tried, tr("corrections are tried on them")),
            look.Step(tr("In use"), states["in_use"], tr("the model in use learnt from them")),
        ]
    )
    others = len(told) - waiting - in_set - learnt - tried - states["in_use"]
    if others:
        words = trn(
            "{count} was not used; beside the answer below stands why. No view is ever deleted.",
            "{count} were not used; beside each answer below stands why. No view is ever deleted.",
            others,
        )
        look.html(f'<p class="soft">{look.quiet(words)}</p>')


# ------------------------------------------------------------------------ the answers


def _listed(installation: Installation, reviewer: str, total: Tally, told: Mapping[int, Fate]) -> None:
    st.subheader(tr("Answer by answer"), anchor=False)
    counts = {
        "all": total.judged + total.skipped,
        "flagged": total.flagged,
        "fine": total.fine,
        "compared": total.compared,
        "skipped": total.skipped,
    }
    names = {
        "all": tr("All"),
        "flagged": tr("Flagged"),
        "fine": tr("Looks fine"),
        "compared": tr("Side by side"),
        "skipped": tr("Skipped"),
    }
    offered = [kind for kind in get_args(Kind) if kind == "all" or counts[kind]]
    kind: Kind = (
        st.segmented_control(
            tr("Which answers"),
            offered,
            default="all",
            format_func=lambda one: f"{names[one]} ({written(counts[one])})",
            key="mine-kind",
            label_visibility="collapsed",
        )
        or "all"
    )
    last = max(0, (counts[kind] - 1) // PAGE)
    number = min(int(st.session_state.get(f"mine-page-{kind}", 0)), last)
    with installation.store.reading() as session:
        rows = own_answers.page(session, reviewer, kind=kind, number=number, size=PAGE)
        care = wellbeing.terms(session)
        shown = [text.generation_id for row in rows for text in row.texts]
        again = [fate.again.generation_id for row in rows if (fate := told.get(row.review.id)) and fate.again]
        covered = wellbeing.covers(session, [*shown, *again], care)
    for row in rows:
        with st.container(key=f"fb-card-mine-{row.review.id}"):
            _one(row, told.get(row.review.id), covered)
    if last:
        _turn(kind, number, last)


def _turn(kind: Kind, number: int, last: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="fb-turn"):
        if st.button(tr("Newer"), disabled=number == 0, key="mine-newer"):
            st.session_state[f"mine-page-{kind}"] = number - 1
            st.rerun()
        page = tr("Page {number} of {last}", number=written(number + 1), last=written(last + 1))
        look.html(f'<span class="soft">{page}</span>')
        if st.button(tr("Older"), disabled=number == last, key="mine-older"):
            st.session_state[f"mine-page-{kind}"] = number + 1
            st.rerun()


def _one(row: Own, fate: Fate | None, covered: Mapping[int, list[str]]) -> None:
    """One answer: what was asked, what was judged, what was said, what became of it."""
    review = row.review
    tone: look.Tone = "flag" if review.verdict in ("flag", "both_bad") else "plain"
    severe = review.severity == "severe" or review.skip_reason == "too_upsetting"
    look.html(
        f"<div>{look.pill(answer_words.verdict(review), tone)} "
        f'<span class="small soft">{look.clock(review.created_at)}</span></div>{look.asked(row.prompt.messages)}'
    )
    if any(text.withdrawn for text in row.texts):
        look.html(f'<p class="soft">{tr("This text was taken away from everybody.")}</p>')
    elif _open(f"{review.id}", severe or any(text.generation_id in covered for text in row.texts), _about(row, covered)):
        look.html("".join(_text(place, text.text, row) for place, text in enumerate(row.texts)))
    look.html(_said(review))
    if fate is not None:
        look.html(
            f"<div>{look.pill(answer_words.in_short(fate), 'ok' if fate.state == 'in_use' else 'plain')} "
            f"{look.quiet(answer_words.in_full(fate))}</div>"
        )
        if fate.again is not None:
            look.html(f'<div class="small soft">{tr("To the same question the corrected model answers now")}</div>')
            if _open(f"{review.id}-again", fate.again.generation_id in covered, covered.get(fate.again.generation_id, [])):
                look.html(look.quote(fate.again.text))


def _text(place: int, text: str, row: Own) -> str:
    if len(row.texts) == 1:
        return look.quote(text)
    name = (tr("Left"), tr("Right"))[place] if len(row.texts) == 2 else tr("Answer {number}", number=place + 1)
    if row.review.ranking:
        name = tr("{answer}, your number {rank}", answer=name, rank=row.review.ranking[place])
    return f'<div class="small soft">{look.quiet(name)}</div>{look.quote(text)}'


def _about(row: Own, covered: Mapping[int, list[str]]) -> list[str]:
    found = [words for text in row.texts for words in covered.get(text.generation_id, [])]
    return list(dict.fromkeys(found or answer_words.categories(row.review)))


def _open(name: str, covered: bool, about: Sequence[str]) -> bool:
    """Whether a text may be drawn; a covered one is not in the page until it was asked for."""
    opened: set[str] = st.session_state.setdefault(_OPENED, set())
    if not covered or name in opened:
        return True
    may = tr("Covered. It may be about: {what}.", what=", ".join(about)) if about else tr("Covered: it may be upsetting.")
    look.html(f'<div class="fb-veil">{look.quiet(may)}</div>')
    if st.button(tr("Show this text"), key=f"show-{name}"):
        opened.add(name)
        st.rerun()
    return False


def _said(review: Review) -> str:
    """What the person said beside the verdict, as HTML."""
    parts = [
        (tr("What is wrong"), ", ".join(answer_words.categories(review))),
        (tr("Who is harmed"), ", ".join(answer_words.targets(review))),
        (tr("How bad"), answer_words.severity(review)),
        (tr("Why skipped"), answer_words.skip_reason(review)),
        (tr("How sure"), "" if review.sure else tr("Unsure")),
        (tr("Your note"), review.note or ""),
    ]
    drawn = "".join(f"<dt>{name}</dt><dd>{look.quiet(words)}</dd>" for name, words in parts if words)
    rewrite = (
        f'<div class="small soft">{tr("How you would have it read")}</div>{look.quote(review.rewrite)}' if review.rewrite else ""
    )
    return (f'<dl class="fb-facts">{drawn}</dl>' if drawn else "") + rewrite


# -------------------------------------------------------------------------- hours, data


def _hours(weeks: Sequence[own_answers.Week]) -> None:
    st.subheader(tr("Your hours"), anchor=False)
    if not weeks:
        look.empty(
            tr("No hours are counted yet."), tr("Time counts while an answer is open in front of you, up to 15 minutes each.")
        )
        return
    rows = [[look.quiet(_week(one.week)), written(one.answers), _time(one.seconds)] for one in weeks[:12]]
    look.table([tr("Week"), tr("Answers"), tr("Time")], rows, numeric=(1, 2))
    counted = tr(
        "Time counts while an answer is open in front of you, up to 15 minutes each. Who pays sees it rounded up, by week, and can "
        "find no answer through it."
    )
    look.html(f'<p class="small soft">{counted}</p>')


def _week(code: str) -> str:
    year, _, week = code.partition("-W")
    return tr("Week {week} of {year}", week=int(week), year=year)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        tr("{minutes} min", minutes=minutes)
        if minutes < 60
        else tr("{hours} h {minutes} min", hours=written(minutes // 60), minutes=minutes % 60)
    )


def _take_along(installation: Installation, account: Account) -> None:
    st.subheader(tr("Your data"), anchor=False)
    words = tr(
        "Everything that is kept under your names here, in one file: a table for people, and the same for programs, with a page "
        "that says what is what. Texts that were covered stand in it uncovered."
    )
    look.html(f'<p class="soft">{words}</p>')
    if st.button(tr("Prepare my data")):
        with tempfile.TemporaryDirectory() as folder, st.spinner(tr("Writing…")):
            place = Path(folder)
            own_data.write(installation, account, place)
            st.session_state["flagback_own_data"] = downloads.prepare(installation, account, place, "flagback-my-data")
    ticket = st.session_state.get("flagback_own_data")
    size = None if ticket is None else downloads.size(installation, account, ticket)
    if size is not None:
        words = tr("Download my data ({size} KB)", size=written(max(1, round(size / 1024))))
        look.html(f'<p><a class="fb-download" href="/downloads/{ticket}" download>{words}</a></p>')
        look.html(f'<p class="small soft">{tr("It waits here for an hour, for you alone.")}</p>')
