"""The maintainer's first screen: where the loop stands, what waits, and what to do next with its cost said before the button."""

from html import escape
from typing import Literal, NamedTuple

import streamlit as st
from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_words, harm, look, run_words
from flagback.review_app.screens.policy_choice import preview
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import preferences, runs
from flagback.storage.overview import LoopState, loop_state
from flagback.storage.records import (
    Account,
    CorrectionRun,
    Evaluation,
    Item,
    ModelVersion,
    SamplingRun,
    Slot,
    now,
)

_TITLES = {
    "add_model": "No model is here yet.",
    "import_prompts": "The model has nothing to answer.",
    "sample": "Nothing waits for people.",
    "wait": "Work is under way.",
    "review": "People have answers to judge.",
    "correct": "There are flags to learn from.",
    "evaluate": "A new version waits to be compared.",
    "decide": "A new version waits for your decision.",
}
#: Where each next step is done.
_PLACES = {
    "correct": ("corrections", "Preview the correction…"),
    "evaluate": ("versions", "Look at the versions…"),
    "decide": ("versions", "Look and decide…"),
    "import_prompts": ("data", "Bring prompts…"),
}


class Around(NamedTuple):
    """What the first page says beside the counts."""

    #: Seats that anyone could take, blind ones that nobody has filled, and seats that reviewers hold at this moment.
    seats: int
    blind: int
    held: int
    #: Seats that were ever asked for, and those filled.
    asked: int
    filled: int
    #: Seconds that the last correction took, and the last sampling for one prompt; None before the first.
    correction: float | None
    sampling: float | None
    #: Pairs on training prompts that the reviews of the current version's answers give now; 0 unless a correction comes next.
    to_learn: int


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    with installation.store.reading() as session:
        state = loop_state(session)
        around = _around(session, state)
    since = tr("No version is current")
    if state.current_id:
        name, day = look.quiet(state.current_name or ""), look.day(state.current_since)
        since = tr("Version {version} ({name}) is current since {day}", version=state.current_id, name=name, day=day)
    look.heading(tr("The loop"), since)
    _next(installation, account, state, around)
    look.strip(
        [
            look.Step(tr("Prompts"), state.prompts, trn("{count} language", "{count} languages", len(state.languages))),
            look.Step(tr("Answers"), state.generations, tr("written so far")),
            look.Step(
                tr("Waiting for people"),
                state.items_waiting,
                _waiting_words(state, around),
                state.items_waiting > 0,
                around.filled / around.asked if around.asked else None,
            ),
            look.Step(
                tr("Reviews"),
                state.reviews,
                tr("none yet")
                if state.flag_share is None
                else tr("{share} % flagged", share=written(state.flag_share * 100, ".1f")),
            ),
            look.Step(tr("Pairs"), state.newest_set_pairs, _set_words(state)),
            look.Step(tr("Corrections"), sum(state.corrections.values()), _outcomes(state)),
        ]
    )
    _under_way(installation, account)
    left, right = st.columns([1.15, 1], gap="medium")
    with left, st.container(key="fb-card-harm"):
        st.subheader(tr("Harm people flagged, by version"), anchor=False)
        with installation.store.reading() as session:
            clicked = harm.draw(installation, account, session)
        if clicked is not None:
            st.switch_page(st.session_state["flagback_pages"]["history"], query_params={one: str(clicked[one]) for one in clicked})
    with right, st.container(key="fb-card-corrections"):
        st.subheader(tr("Corrections"), anchor=False)
        _corrections(installation)


def _around(session: Session, state: LoopState) -> Around:
    seats: dict[tuple[str, str], int] = {
        (state, purpose): count
        for state, purpose, count in session.exec(
            select(Slot.state, Item.purpose, func.count())
            .join(Item, col(Item.id) == Slot.item_id)
            .where(Slot.mode != "own")
            .group_by(col(Slot.state), col(Item.purpose))
        ).all()
    }
    correction = session.exec(
        select(CorrectionRun).where(CorrectionRun.state == "succeeded").order_by(col(CorrectionRun.id).desc()).limit(1)
    ).first()
    sampling = session.exec(
        select(SamplingRun).where(SamplingRun.state == "succeeded").order_by(col(SamplingRun.id).desc()).limit(1)
    ).first()
    each = None
    if sampling is not None and sampling.started_at is not None and sampling.ended_at is not None:
        each = (sampling.ended_at - sampling.started_at).total_seconds() / max(1, len(sampling.prompt_ids))

    def count(state: str) -> int:
        return sum(n for (at, _), n in seats.items() if at == state)

    return Around(
        seats=count("open"),
        blind=seats.get(("open", "blind"), 0) + seats.get(("claimed", "blind"), 0),
        held=count("claimed"),
        asked=sum(seats.values()),
        filled=count("done"),
        correction=sum(correction.seconds.values()) if correction else None,
        sampling=each,
        to_learn=preview(session, state.current_id).training if state.next.code == "correct" and state.current_id else 0,
    )


def _set_words(state: LoopState) -> str:
    if not state.newest_set:
        return tr("none frozen yet")
    if state.newest_set_unpaired:
        return trn(
            "in the newest set, and {count} answer without one",
            "in the newest set, and {count} answers without one",
            state.newest_set_unpaired,
        )
    return tr("in the newest set")


def _waiting_words(state: LoopState, around: Around) -> str:
    if not state.items_waiting:
        return tr("all are judged") if around.filled else tr("none yet")
    if not around.seats:
        return trn("all {count} with reviewers now", "all {count} with reviewers now", around.held)
    wanted = around.seats + around.held
    if around.blind == wanted:
        return trn("{count} review wanted, all blind", "{count} reviews wanted, all blind", wanted)
    if around.blind:
        return trn(
            "{count} review wanted, {blind} of them blind",
            "{count} reviews wanted, {blind} of them blind",
            wanted,
            blind=number(around.blind),
        )
    return trn("{count} review wanted", "{count} reviews wanted", wanted)


def _outcomes(state: LoopState) -> str:
    said = [_outcome_words(name, count) for name, count in state.corrections.items()]
    return ", ".join(said) or tr("none yet")


def _outcome_words(state: str, count: int) -> str:
    if state == "succeeded":
        return trn("{count} done", "{count} done", count)
    if state == "failed":
        return trn("{count} failed", "{count} failed", count)
    if state == "cancelled":
        return trn("{count} stopped", "{count} stopped", count)
    return (
        trn("{count} running", "{count} running", count) if state == "running" else trn("{count} waiting", "{count} waiting", count)
    )


def _next_words(installation: Installation, state: LoopState, around: Around) -> tuple[str, str]:
    """Title and words of the next step, its cost and safety among them."""
    title, words = stored("next step", _TITLES[state.next.code]), retold(state.next.words)
    if state.next.code == "correct":
        cost = look.seconds(around.correction) if around.correction else tr("about half a minute with the embedded model")
        if not around.to_learn:
            return trn(
                "{count} flag, and no pair to learn from yet.",
                "{count} flags, and no pair to learn from yet.",
                state.flags_on_current,
            ), tr(
                "A pair is a flagged answer beside one to the same prompt that looked fine, or beside its rewrite; about 3 of 10 "
                "prompts are kept to test on. Have more of the answers judged, or flag with a rewrite."
            )
        return trn(
            "{count} new flag, {pairs} pairs to learn from.",
            "{count} new flags, {pairs} pairs to learn from.",
            state.flags_on_current,
            pairs=number(around.to_learn),
        ), tr(
            "A correction takes {time} here. Nothing goes live until it passes the gate, blind comparisons by people among it.",
            time=cost,
        )
    if state.next.code == "sample" and around.held:
        return tr("Reviewers hold every open answer."), trn(
            "{count} is on their screens; what is not judged within {minutes} minutes goes back to the others. Version {version} "
            "can answer more prompts meanwhile.",
            "{count} are on their screens; what is not judged within {minutes} minutes goes back to the others. Version {version} "
            "can answer more prompts meanwhile.",
            around.held,
            minutes=written(installation.settings.lease_minutes, "g"),
            version=state.current_id,
        )
    if state.next.code in ("sample", "review") and around.sampling is not None:
        time = look.seconds(around.sampling * 60)
        words += " " + tr("Sampling takes {time} for 60 prompts here and changes no model.", time=time)
    if state.next.code == "decide":
        words += " " + tr("Whatever you decide, one action takes it back.")
    return title, words


def _next(installation: Installation, account: Account, state: LoopState, around: Around) -> None:
    title, words = _next_words(installation, state, around)
    with st.container(key="fb-next"):
        card, button = st.columns([4, 1.3], vertical_alignment="center", gap="medium")
        with card:
            look.html(f'<div class="title">{escape(title)}</div><div class="soft">{escape(words)}</div>')
        with button:
            place = _PLACES.get(state.next.code)
            if place is not None and st.button(stored("next step", place[1]), type="primary", width="stretch"):
                st.switch_page(st.session_state["flagback_pages"][place[0]])
            if state.current_id is not None and state.prompts:
                kind: Literal["primary", "secondary"] = "primary" if state.next.code == "sample" else "secondary"
                if st.button(tr("Sample answers…"), type=kind, width="stretch"):
                    asked = st.dialog(tr("Sample answers"), width="medium")(_ask_to_sample)
                    asked(installation, account, state, around.sampling)


def _ask_to_sample(installation: Installation, account: Account, state: LoopState, each: float | None) -> None:
    with st.form("sampling", border=False):
        look.html(
            tr(
                "Version {version} answers prompts that it has not answered yet, then others. Reviewers then see its "
                "answers, without its name. No model is changed.",
                version=state.current_id,
            )
        )
        columns = st.columns(3)
        prompts = columns[0].number_input(tr("Prompts"), 1, 10_000, min(60, max(1, state.prompts)))
        draws = columns[1].number_input(tr("Answers to each"), 1, 16, 4)
        reviews = columns[2].number_input(
            tr("Reviews of each answer"), 1, 9, 3, help=tr("An odd number: three see more than one, and cannot tie.")
        )
        with st.expander(tr("How it writes")):
            columns = st.columns(3)
            temperature = columns[0].number_input(tr("Temperature"), 0.0, 2.0, 1.0, 0.05)
            longest = columns[1].number_input(tr("Longest answer, in tokens"), 1, 1024, runs.DECODING["max_tokens"])
            seed = columns[2].number_input(tr("Seed"), 0, 2**31 - 1, 0, help=tr("The same seed gives the same texts."))
        if each is not None:
            look.note(tr("60 prompts take {time} here.", time=look.seconds(each * 60)))
        if st.form_submit_button(tr("Sample"), type="primary"):
            decoding = {"k": int(draws), "temperature": float(temperature), "max_tokens": int(longest), "seed": int(seed)}
            try:
                with installation.store.writing() as session:
                    runs.request_sampling(
                        session, by=account.login, now=now(), limit=int(prompts), reviews_per_item=int(reviews), decoding=decoding
                    )
            except (runs.NoPrompts, ValueError) as error:
                look.said(retold(str(error)), "flag")
            else:
                st.rerun()


@st.fragment(run_every=1.0)
def _under_way(installation: Installation, account: Account) -> None:
    """Every open request with its progress; one line each, and a way to stop it."""
    with installation.store.reading() as session:
        found = [(request, jobs.standing(session, request)) for request in jobs.open_requests(session)]
        alive = runs.worker_alive(session, now=now())
    before = st.session_state.get("flagback_open", 0)
    st.session_state["flagback_open"] = len(found)
    if len(found) < before:
        st.rerun()
    if found and not alive:
        st.warning(tr("No worker is running, so nothing moves; start one with 'flagback worker'."))
    for request, standing in found:
        line, stop = st.columns([6, 1], vertical_alignment="center")
        line.progress(standing.share, text=_progress(request, standing))
        if stop.button(tr("Stop"), key=f"stop-{request.name}", width="stretch"):
            with installation.store.writing() as session:
                runs.cancel(session, jobs.TABLES[request.kind], request.row_id, by=account.login, now=now())
            st.rerun(scope="fragment")


def _progress(request: jobs.Request, standing: jobs.Standing) -> str:
    """One request in words: "Sampling 3, running · prompts answered: 20 of 60"."""
    kind, state = stored("kind of work", request.kind.capitalize()), stored("state", standing.state)
    return tr(
        "{kind} {number}, {state} · {doing}", kind=kind, number=request.row_id, state=state, doing=run_words.how_far(standing)
    )


def _corrections(installation: Installation) -> None:
    with installation.store.reading() as session:
        found = session.exec(select(CorrectionRun).order_by(col(CorrectionRun.id).desc()).limit(6)).all()
        sizes = preferences.sizes(session)
        versions = {version.id: version for version in session.exec(select(ModelVersion)).all()}
        judged = {row.candidate_id: row for row in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all()}
        sampled = session.exec(select(SamplingRun.id).limit(1)).first() is not None
    if not found:
        look.empty(
            tr("None yet."),
            tr("Reviewers flag what is wrong; flagged and fine answers to one prompt make the pairs to learn from.")
            if sampled
            else tr("Sample some answers first, and have people flag what is wrong with them."),
        )
        return
    rows = []
    for run in found:
        version = versions.get(run.candidate_id or 0)
        evaluation = judged.get(version.id) if version else None
        rows.append(
            [
                look.link(f"/corrections?run={run.id}", str(run.id)),
                number(sizes[run.set_id][0]) if run.set_id in sizes else "–",
                _harm_change(evaluation),
                _utility_change(evaluation),
                outcome(run, version, evaluation),
            ]
        )
    look.table([tr("run"), tr("pairs"), tr("harm"), tr("utility"), ""], rows, numeric=(1,))
    look.note(tr("Every row opens its evidence: the pairs it learnt from, the texts, the gate."))


def _harm_change(evaluation: Evaluation | None) -> str:
    figure = evaluation.figures.get("flag_rate") if evaluation else None
    if evaluation is None or figure is None or figure.get("change") is None:
        return f'<span class="soft">{tr("too few items")}</span>' if evaluation and evaluation.figures else "–"
    return look.link(
        f"/compare?version={evaluation.candidate_id}&figure=flag_rate", figure_words.change_number(figure["change"], figure)
    )


def _utility_change(evaluation: Evaluation | None) -> str:
    """The perplexity set that changed most for the worse."""
    found = {
        name: figure
        for name, figure in (evaluation.figures if evaluation else {}).items()
        if name.startswith("perplexity:") and figure.get("change") is not None
    }
    if evaluation is None or not found:
        return "–"
    name = max(found, key=lambda one: float(found[one]["change"]))
    return look.link(
        f"/compare?version={evaluation.candidate_id}&figure={name}",
        tr("{change} ppl", change=figure_words.change_number(found[name]["change"], found[name])),
    )


def outcome(run: CorrectionRun, version: ModelVersion | None, evaluation: Evaluation | None) -> str:
    """How a correction ended, as a pill."""
    if version is None:
        return run_words.state_pill(run.state)
    if version.state == "current":
        return look.pill(tr("current · v{version}", version=version.id), "ok")
    if version.state == "retired":
        return look.pill(f"v{version.id}")
    if evaluation is not None and evaluation.state in ("waiting", "running"):
        return look.pill(tr("being evaluated"))
    if evaluation is not None and evaluation.verdict == "fail":
        stopped = next((one["check"] for one in evaluation.reasons if one["verdict"] == "fail"), "gate")
        return look.pill(tr("stopped: {check}", check=figure_words.name_of(stopped).lower()), "flag")
    return run_words.verdict_pill(evaluation.verdict if evaluation else None)
