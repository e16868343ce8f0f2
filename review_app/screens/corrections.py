"""Corrections: preview what a run would learn from, start it, watch it learn, and read how each one ended."""

from collections.abc import Sequence
from html import escape

import altair as alt
import pandas as pd
import streamlit as st
from sqlmodel import col, select

from flagback.model import pair_sets
from flagback.model.recipe import Recipe
from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, policy_choice
from flagback.storage import preferences, runs
from flagback.storage.preferences import NoPairs
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.records import (
    Account,
    CorrectionRun,
    Evaluation,
    ModelVersion,
    PreferenceSet,
    RunMetric,
    now,
)
from flagback.storage.versions import NoModel, current

PAIRS_A_PAGE = 5


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        "Corrections",
        "A correction learns from a frozen set of pairs. Nothing goes live until it passes the gate, or you override it by name.",
    )
    _preview(installation, account)
    _watch(installation, account)
    _list(installation)


def _preview(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        try:
            parent = current(session)
        except NoModel as error:
            look.empty("No model is here yet.", str(error))
            return
        imported = session.exec(
            select(PreferenceSet).where(PreferenceSet.origin != "reviews").order_by(col(PreferenceSet.id))
        ).all()
        ended = session.exec(
            select(CorrectionRun).where(CorrectionRun.state == "succeeded").order_by(col(CorrectionRun.id).desc()).limit(1)
        ).first()
    took = (
        f"The last one took {look.seconds(sum(ended.seconds.values()))} here."
        if ended
        else "The embedded model takes about half a minute on two cores."
    )
    sources = {f"What people flagged on version {parent.id}": None} | {
        f"Imported set {found.id}: {found.origin.removeprefix('import:')} ({found.n_pairs:,} pairs)": found.id for found in imported
    }
    with st.container(key="fb-card-next"):
        st.subheader("Next correction", anchor=False)
        chosen = st.selectbox("Learn from", list(sources)) if imported else next(iter(sources))
        from_reviews = sources[chosen] is None
        choice, would = pair_sets.Choice(), None
        if from_reviews:
            choice, would = policy_choice.ask(installation, parent.id)
            if would is not None:
                look.html(_said_of(would, parent.id))
        else:
            look.html("The imported set is used as it was frozen.")
        look.html(
            f'<div class="soft">It corrects version {parent.id} ({look.quiet(parent.name)}), which stays as it is. {took} '
            "Then both versions answer the same held-out prompts, and people judge them blindly.</div>"
        )
        recipe, seed = _recipe()
        ready = not from_reviews or (would is not None and would.training > 0)
        if st.button("Start the correction", type="primary", disabled=not ready):
            try:
                with installation.store.writing() as session:
                    runs.request_correction(
                        session,
                        by=account.login,
                        now=now(),
                        seed=seed,
                        recipe=recipe,
                        set_id=sources[chosen],
                        pairs=choice.to_dict(),
                    )
            except (NoPairs, runs.RunUnderWay) as error:
                look.said(str(error), "flag")
            else:
                st.rerun()
        if would is not None and would.examples:
            with st.expander("Some of the pairs it would learn from"):
                for messages, good, bad in would.examples:
                    _pair(messages, good, bad)


def _said_of(would: policy_choice.Preview, version_id: int) -> str:
    """The preview in words: what there is, or what is missing."""
    if not would.flags:
        return f"<b>Nobody has flagged an answer of version {version_id} yet.</b> Flags come first: have people review some."
    flags = f"{would.flags:,} flag{'s' * (would.flags != 1)}"
    if not would.pairs:
        return (
            f"<b>{flags}, but no pair yet.</b> A pair is a flagged answer beside one to the same prompt that looked fine, or "
            "beside its rewrite: have more answers to the same prompts reviewed, or flag with a rewrite."
        )
    if not would.training:
        return (
            f"<b>{flags} make {len(would.pairs):,} pairs, all on held-out prompts</b>, which are kept back to test on. "
            "About 7 of 10 prompts are for training: have more of them reviewed."
        )
    return (
        f"<b>{flags} make {len(would.pairs):,} pairs:</b> {would.training:,} to learn from, {would.held_out:,} on held-out "
        f"prompts to test on. Weighed as they are, they say as much as {would.effective:,.1f} equal ones."
    )


def _recipe() -> tuple[dict[str, float | int], int]:
    with st.expander("Recipe"):
        st.caption("Defaults fit the embedded model. Steps are optimiser steps, so that runs with few and many pairs compare.")
        columns, known = st.columns(5), Recipe()
        recipe: dict[str, float | int] = {
            "steps": int(columns[0].number_input("Steps", 1, 10_000, known.steps)),
            "learning_rate": float(columns[1].number_input("Learning rate", 1e-6, 1e-1, known.learning_rate, format="%.1e")),
            "beta": float(columns[2].number_input("Beta", 0.01, 5.0, known.beta)),
            "rank": int(columns[3].number_input("LoRA rank", 1, 256, known.rank)),
        }
        return recipe, int(columns[4].number_input("Seed", 0, 2**31 - 1, 0))


def _pair(messages: list[dict[str, str]], good: str, bad: str, note: str = "") -> None:
    look.html(look.asked(messages))
    look.side_by_side((f"rather this{note}", look.quote(good)), ("than this", look.quote(bad)))


@st.fragment(run_every=1.0)
def _watch(installation: Installation, account: Account) -> None:
    """The run under way: stage, loss and margin as they come."""
    with installation.store.reading() as session:
        run = session.exec(select(CorrectionRun).where(col(CorrectionRun.state).in_(["waiting", "running"]))).first()
        if run is None:
            if st.session_state.pop("flagback_watched", None):
                st.rerun()
            return
        standing = jobs.standing(session, jobs.Request("correction", run.id))
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step))).all()
        alive = jobs.worker_alive(session, now=now())
    st.session_state["flagback_watched"] = run.id
    with st.container(key="fb-card-watch"):
        st.subheader(f"Correction {run.id} is {run.state}", anchor=False)
        if not alive:
            st.warning("No worker is running, so nothing moves; start one with 'flagback worker'.")
        share = standing.done / standing.total if standing.total else 0.0
        amount = f"{standing.done} of {standing.total} " if standing.total else ""
        line, stop = st.columns([6, 1], vertical_alignment="center")
        line.progress(min(1.0, share), text=f"{amount}{look.stage(standing.words)}")
        if stop.button("Stop", key=f"stop-correction-{run.id}", width="stretch"):
            with installation.store.writing() as session:
                runs.cancel(session, CorrectionRun, run.id, by=account.login, now=now())
            st.rerun(scope="fragment")
        if steps:
            learning_curve(steps)


def learning_curve(steps: Sequence[RunMetric]) -> None:
    """Loss falling and margin rising, side by side."""
    frame = pd.DataFrame([{"step": row.step, **row.metrics} for row in steps])
    left, right = st.columns(2)
    palette = look.colours()
    for place, name, colour, words in (
        (left, "loss", palette["flag"], "loss"),
        (right, "margin", palette["accent"], "margin, better over flagged"),
    ):
        if name in frame:
            place.altair_chart(
                alt.Chart(frame)
                .mark_line(color=colour, point=len(frame) < 40)
                .encode(
                    x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, grid=False)),
                    y=alt.Y(f"{name}:Q", title=words, scale=alt.Scale(zero=False)),
                    tooltip=["step", alt.Tooltip(f"{name}:Q", format=".3f")],
                )
                .configure(background="transparent"),
                height=180,
            )


def _list(installation: Installation) -> None:
    with installation.store.reading() as session:
        found = session.exec(
            select(CorrectionRun)
            .where(col(CorrectionRun.state).in_(["succeeded", "failed", "cancelled"]))
            .order_by(col(CorrectionRun.id).desc())
        ).all()
        sets = {row.id: row for row in session.exec(select(PreferenceSet)).all()}
        sizes = preferences.sizes(session)
        versions = {row.id: row for row in session.exec(select(ModelVersion)).all()}
        judged = {row.candidate_id: row for row in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all()}
    st.subheader("Past corrections", anchor=False)
    if not found:
        look.empty("None yet.", "Each one stays here with the pairs it learnt from, its learning curve and its end.")
        return
    asked = st.query_params.get("run")
    for run in found:
        frozen = sets.get(run.set_id or 0)
        ends = {"succeeded": "done", "failed": "failed", "cancelled": "stopped by hand"}
        learnt, kept = sizes.get(run.set_id or 0, (0, 0))
        size = f" · {learnt:,} pairs learnt, {kept:,} kept to test on" if frozen else ""
        title = f"Correction {run.id} · {ends[run.state]} · {look.clock(run.created_at)}{size}"
        with st.expander(title, expanded=asked == str(run.id)):
            _detail(installation, run, frozen, versions, judged)


def _detail(
    installation: Installation,
    run: CorrectionRun,
    frozen: PreferenceSet | None,
    versions: dict[int, ModelVersion],
    judged: dict[int, Evaluation],
) -> None:
    if run.error:
        look.said(run.error, "flag" if run.state == "failed" else "plain")
    for alarm in run.environment.get("alarms", []):
        look.said(f"Step {alarm['step']}: {alarm['advice']}", "flag")
    candidate = versions.get(run.candidate_id or 0)
    if candidate is not None:
        evaluation = judged.get(candidate.id)
        verdict = look.verdict_pill(evaluation.verdict if evaluation else None)
        look.html(
            f"Made <b>version {candidate.id}</b> ({candidate.state}) from version {run.parent_id} {verdict} · "
            f"{look.link(f'/compare?version={candidate.id}', 'compare them')} · {look.link('/versions', 'decide')}"
        )
    with installation.store.reading() as session:
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step))).all()
        learnt = preferences.pairs_of(session, frozen.id) if frozen else []
    if steps:
        learning_curve(steps)
    if learnt:
        pages = -(-len(learnt) // PAIRS_A_PAGE)
        page = int(st.number_input(f"Page of {pages}", 1, pages, 1, key=f"page-{run.id}", width=160)) if pages > 1 else 1
        for pair in learnt[(page - 1) * PAIRS_A_PAGE : page * PAIRS_A_PAGE]:
            side = "" if pair.shard in TRAINING_SHARDS else ", held out"
            _pair(pair.messages, pair.chosen_text, pair.rejected_text, f" ({pair.kind}, weight {pair.weight:.2f}{side})")
    rows = [
        ["asked by", f"{look.quiet(run.asked_by)}, {look.clock(run.created_at)}"],
        ["time", escape(", ".join(f"{look.stage(stage)} {value:.1f} s" for stage, value in run.seconds.items())) or "–"],
        ["recipe", escape(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in run.recipe.items())) or "–"],
        [
            "set",
            f"{frozen.id}, policy {look.quiet(f'{frozen.policy} {frozen.policy_version}')}, fingerprint {frozen.fingerprint[:16]}…"
            if frozen
            else "none",
        ],
        ["adapter", f"sha256 {run.adapter_sha256[:16]}…" if run.adapter_sha256 else "none"],
    ]
    look.table(["", ""], rows)
