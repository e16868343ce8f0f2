"""The maintainer's first screen: where the loop stands, what waits, and what to do next with its cost said before the button."""

from html import escape

import altair as alt
import pandas as pd
import streamlit as st
from sqlmodel import col, select

from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage import runs
from flagback.storage.overview import LoopState, loop_state
from flagback.storage.records import Account, CorrectionRun, Evaluation, ModelVersion, SamplingRun, now

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


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    with installation.store.reading() as session:
        state = loop_state(session)
    since = (
        f"Version {state.current_id} ({state.current_name}) is current since {look.day(state.current_since)}"
        if state.current_id
        else "No version is current"
    )
    look.heading("The loop", since)
    _next(installation, account, state)
    look.strip(
        [
            look.Step("Prompts", state.prompts, f"{len(state.languages)} language{'s' * (len(state.languages) != 1)}"),
            look.Step("Answers", state.generations, "written so far"),
            look.Step("Waiting for people", state.items_waiting, f"{state.seats_open} reviews wanted", state.items_waiting > 0),
            look.Step("Reviews", state.reviews, "none yet" if state.flag_share is None else f"{state.flag_share:.1%} flagged"),
            look.Step("Pairs", state.newest_set_pairs, "in the newest set" if state.newest_set else "no set frozen yet"),
            look.Step("Corrections", sum(state.corrections.values()), _outcomes(state)),
        ]
    )
    _under_way(installation, account)
    left, right = st.columns([1.25, 1], gap="medium")
    with left:
        st.subheader("Harm people flagged, by version", anchor=False)
        _harm_by_version(installation)
    with right:
        st.subheader("Corrections", anchor=False)
        _corrections(installation)


def _outcomes(state: LoopState) -> str:
    return ", ".join(f"{count} {name}" for name, count in state.corrections.items()) or "none yet"


def _next(installation: Installation, account: Account, state: LoopState) -> None:
    card, button = st.columns([4, 1.3], vertical_alignment="center")
    with card:
        look.html(
            f'<div class="fb-next"><b>{escape(_TITLES[state.next.code])}</b><br>'
            f'<span class="soft">{escape(state.next.words)}</span></div>'
        )
    with button:
        place = _PLACES.get(state.next.code)
        if place is not None:
            if st.button(place[1], type="primary", width="stretch"):
                st.switch_page(st.session_state["flagback_pages"][place[0]])
        elif state.current_id is not None and state.prompts:
            _sampling_form(installation, account, state)


def _sampling_form(installation: Installation, account: Account, state: LoopState) -> None:
    with st.popover("Sample answers…", width="stretch"), st.form("sampling", border=False):
        st.markdown(
            f"Version {state.current_id} answers prompts it has not answered yet. Reviewers then see its answers, without its name."
        )
        prompts = st.number_input("Prompts", 1, 10_000, min(60, max(1, state.prompts)))
        draws = st.number_input("Answers to each", 1, 16, 4)
        reviews = st.number_input("Reviews of each answer", 1, 9, 3, help="An odd number: three see more than one, and cannot tie.")
        temperature = st.slider("Temperature", 0.0, 2.0, 1.0, 0.05)
        longest = st.number_input("Longest answer, in tokens", 1, 1024, runs.DECODING["max_tokens"])
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, help="The same seed gives the same texts.")
        if st.form_submit_button("Sample", type="primary"):
            try:
                with installation.store.writing() as session:
                    runs.request_sampling(
                        session,
                        by=account.login,
                        now=now(),
                        limit=int(prompts),
                        reviews_per_item=int(reviews),
                        decoding={
                            "k": int(draws),
                            "temperature": float(temperature),
                            "max_tokens": int(longest),
                            "seed": int(seed),
                        },
                    )
            except (runs.NoPrompts, ValueError) as error:
                st.error(str(error))
            else:
                st.rerun()


@st.fragment(run_every=1.0)
def _under_way(installation: Installation, account: Account) -> None:
    """Every open request with its progress; one line each, and a way to stop it."""
    with installation.store.reading() as session:
        found = [(request, jobs.standing(session, request)) for request in jobs.open_requests(session)]
        alive = jobs.worker_alive(session, now=now())
    before = st.session_state.get("flagback_open", 0)
    st.session_state["flagback_open"] = len(found)
    if len(found) < before:
        st.rerun()
    if found and not alive:
        st.warning("No worker is running, so nothing moves; start one with 'flagback worker'.")
    for request, standing in found:
        line, stop = st.columns([6, 1], vertical_alignment="center")
        share = standing.done / standing.total if standing.total else 0.0
        amount = f": {standing.done} of {standing.total}" if standing.total else ""
        line.progress(
            min(1.0, share), text=f"{request.kind.capitalize()} {request.row_id}, {standing.state}{amount} {standing.words}"
        )
        if stop.button("Stop", key=f"stop-{request.name}", width="stretch"):
            with installation.store.writing() as session:
                runs.cancel(session, jobs.TABLES[request.kind], request.row_id, by=account.login, now=now())
            st.rerun(scope="fragment")


def _harm_by_version(installation: Installation) -> None:
    """Flag share of blind samples by version, as the evaluations measured it."""
    with installation.store.reading() as session:
        evaluations = session.exec(select(Evaluation).where(Evaluation.state == "succeeded").order_by(col(Evaluation.id))).all()
    rows: dict[int, dict[str, object]] = {}
    for evaluation in evaluations:
        figure = evaluation.figures.get("flag_rate")
        if figure and figure.get("candidate") is not None:
            rows.setdefault(
                evaluation.base_id, {"version": f"v{evaluation.base_id}", "number": evaluation.base_id, "share": figure["base"]}
            )
            rows[evaluation.candidate_id] = {
                "version": f"v{evaluation.candidate_id}",
                "number": evaluation.candidate_id,
                "share": figure["candidate"],
                "n": figure["n"],
            }
    if not rows:
        st.caption("A picture stands here once people have judged blind samples of a version and its parent.")
        return
    ordered = sorted(rows.values(), key=lambda row: int(str(row["number"])))
    frame = pd.DataFrame(ordered)
    base = alt.Chart(frame).encode(
        x=alt.X("version:N", sort=[str(row["version"]) for row in ordered], title=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("share:Q", title="share of fresh answers flagged", axis=alt.Axis(format="%"), scale=alt.Scale(domainMin=0)),
    )
    st.altair_chart(
        base.mark_line(color="#0b5cad")
        + base.mark_point(filled=True, size=70, color="#0b5cad").encode(
            tooltip=[alt.Tooltip("version:N"), alt.Tooltip("share:Q", format=".1%")]
        ),
        height=240,
    )
    st.caption("Blind samples on held-out prompts, judged without knowing which version wrote them. Intervals: under Versions.")


def _corrections(installation: Installation) -> None:
    with installation.store.reading() as session:
        found = session.exec(select(CorrectionRun).order_by(col(CorrectionRun.id).desc()).limit(6)).all()
        versions = {version.id: version for version in session.exec(select(ModelVersion)).all()}
        judged = {row.candidate_id: row for row in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all()}
        sampled = session.exec(select(SamplingRun.id).limit(1)).first() is not None
    if not found:
        st.caption(
            "None yet. Flags come first."
            if sampled
            else "None yet. Sample some answers, have people flag what is wrong with them, then start a correction."
        )
        return
    rows = []
    for run in found:
        version = versions.get(run.candidate_id or 0)
        if version is None:
            end = look.state_pill(run.state)
        elif version.state == "current":
            end = look.pill(f"current · v{version.id}", "ok")
        else:
            evaluation = judged.get(version.id)
            end = f"v{version.id} " + (
                look.pill("retired")
                if version.state == "retired"
                else look.verdict_pill(evaluation.verdict if evaluation else None)
            )
        rows.append([str(run.id), look.clock(run.created_at), escape(run.asked_by), end])
    look.table(["run", "asked", "by", ""], rows)
