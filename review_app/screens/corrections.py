"""Corrections: preview what a run would learn from, start it, watch it learn, and read how each one ended."""

from collections.abc import Sequence
from html import escape

import altair as alt
import pandas as pd
import streamlit as st
from sqlmodel import col, select

from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage import preferences, runs
from flagback.storage.preferences import NoPairs
from flagback.storage.records import Account, CorrectionRun, ModelVersion, PreferenceSet, RunMetric, now
from flagback.storage.versions import NoModel, current


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        "Corrections",
        "A correction learns from a frozen set of pairs. Nothing goes live until it passes the gate, or you override it by name.",
    )
    _preview(installation, account)
    _watch(installation)
    _list(installation)


def _preview(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        try:
            parent = current(session)
        except NoModel as error:
            st.info(str(error))
            return
        flags = runs.flags_to_learn_from(session, parent.id)
        imported = session.exec(
            select(PreferenceSet).where(PreferenceSet.origin != "reviews").order_by(col(PreferenceSet.id))
        ).all()
        ended = session.exec(
            select(CorrectionRun).where(CorrectionRun.state == "succeeded").order_by(col(CorrectionRun.id).desc()).limit(1)
        ).first()
    took = (
        f"The last one took {sum(ended.seconds.values()):.0f} s here."
        if ended
        else "The embedded model takes about half a minute on two cores."
    )
    sources = {f"What people flagged on version {parent.id} ({flags} flags)": None} | {
        f"Imported set {found.id}: {found.origin.removeprefix('import:')} ({found.n_pairs} pairs)": found.id for found in imported
    }
    with st.container(border=True):
        st.subheader("Next correction", anchor=False)
        st.markdown(f"Parent: version {parent.id} ({parent.name}). {took}")
        chosen = st.selectbox("Learn from", list(sources))
        with st.expander("Recipe"):
            st.caption("Defaults fit the embedded model. Steps are optimiser steps, so that runs with few and many pairs compare.")
            columns = st.columns(4)
            recipe = {
                "steps": int(columns[0].number_input("Steps", 1, 10_000, 24)),
                "learning_rate": float(columns[1].number_input("Learning rate", 1e-6, 1e-1, 1.5e-3, format="%.1e")),
                "beta": float(columns[2].number_input("Beta", 0.01, 5.0, 0.1)),
                "rank": int(columns[3].number_input("LoRA rank", 1, 256, 8)),
            }
            seed = int(columns[0].number_input("Seed", 0, 2**31 - 1, 0))
        if st.button("Start the correction", type="primary"):
            try:
                with installation.store.writing() as session:
                    runs.request_correction(session, by=account.login, now=now(), seed=seed, recipe=recipe, set_id=sources[chosen])
            except (NoPairs, runs.RunUnderWay) as error:
                st.error(str(error))
            else:
                st.rerun()


@st.fragment(run_every=1.0)
def _watch(installation: Installation) -> None:
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
    with st.container(border=True):
        st.subheader(f"Correction {run.id} is {run.state}", anchor=False)
        if not alive:
            st.warning("No worker is running, so nothing moves; start one with 'flagback worker'.")
        share = standing.done / standing.total if standing.total else 0.0
        st.progress(min(1.0, share), text=f"{standing.words} {f'{standing.done} of {standing.total}' if standing.total else ''}")
        if steps:
            learning_curve(steps)


def learning_curve(steps: Sequence[RunMetric]) -> None:
    """Loss falling and margin rising, side by side."""
    frame = pd.DataFrame([{"step": row.step, **row.metrics} for row in steps])
    left, right = st.columns(2)
    for place, name, colour, words in (
        (left, "loss", "#b3410e", "loss"),
        (right, "margin", "#0b5cad", "margin, chosen over rejected"),
    ):
        if name in frame:
            place.altair_chart(
                alt.Chart(frame)
                .mark_line(color=colour, point=len(frame) < 40)
                .encode(
                    x=alt.X("step:Q", title="step"),
                    y=alt.Y(f"{name}:Q", title=words, scale=alt.Scale(zero=False)),
                    tooltip=["step", alt.Tooltip(f"{name}:Q", format=".3f")],
                ),
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
        versions = {row.id: row for row in session.exec(select(ModelVersion)).all()}
    st.subheader("Past corrections", anchor=False)
    if not found:
        st.caption("None yet.")
        return
    for run in found:
        frozen = sets.get(run.set_id or 0)
        title = f"Correction {run.id} · {run.state} · {look.clock(run.created_at)}" + (
            f" · {frozen.n_pairs} pairs" if frozen else ""
        )
        with st.expander(title):
            _detail(installation, run, frozen, versions)


def _detail(
    installation: Installation, run: CorrectionRun, frozen: PreferenceSet | None, versions: dict[int, ModelVersion]
) -> None:
    candidate = versions.get(run.candidate_id or 0)
    rows = [
        ["asked by", escape(run.asked_by)],
        ["parent", f"version {run.parent_id}"],
        ["candidate", f"version {candidate.id} ({candidate.state})" if candidate else "none"],
        [
            "set",
            f"{frozen.id}, policy {escape(frozen.policy)} v{escape(frozen.policy_version)}, fingerprint {frozen.fingerprint[:16]}…"
            if frozen
            else "none",
        ],
        ["adapter", f"sha256 {run.adapter_sha256[:16]}…" if run.adapter_sha256 else "none"],
        ["seconds", escape(", ".join(f"{stage} {value:.1f}" for stage, value in run.seconds.items()))],
        ["recipe", escape(", ".join(f"{name} {value}" for name, value in run.recipe.items()))],
    ]
    if run.error:
        rows.insert(0, ["why it ended", escape(run.error)])
    look.table(["", ""], rows)
    with installation.store.reading() as session:
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step))).all()
        examples = preferences.pairs_of(session, frozen.id)[:5] if frozen else []
    if steps:
        learning_curve(steps)
    for pair in examples:
        look.html(look.asked(pair.messages))
        look.side_by_side(
            (f"rather this ({pair.kind}, weight {pair.weight:.2f})", look.quote(pair.chosen_text)),
            ("than this", look.quote(pair.rejected_text)),
        )
