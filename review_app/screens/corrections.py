"""Corrections: preview what a run would learn from, start it, watch it learn, and read how each one ended."""

from html import escape

import streamlit as st
from sqlmodel import col, select

from flagback.model import pair_sets
from flagback.model.recipe import Recipe
from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, policy_choice, run_curves, tradeoff_curve
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import preferences, recipes, runs
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
        tr("Corrections"),
        tr(
            "A correction learns from a frozen set of pairs. Nothing goes live until it passes the gate, or you override it by "
            "name."
        ),
    )
    _preview(installation, account)
    _watch(installation, account)
    tradeoff_curve.draw(installation, account)
    _list(installation, account)


def _preview(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        try:
            parent = current(session)
        except NoModel as error:
            look.empty(tr("No model is here yet."), retold(str(error)))
            return
        imported = session.exec(
            select(PreferenceSet).where(PreferenceSet.origin != "reviews").order_by(col(PreferenceSet.id))
        ).all()
        ended = session.exec(
            select(CorrectionRun)
            .where(CorrectionRun.state == "succeeded", col(CorrectionRun.set_id).is_not(None))
            .order_by(col(CorrectionRun.id).desc())
            .limit(1)
        ).first()
    took = (
        tr("The last one took {time} here.", time=look.seconds(sum(ended.seconds.values())))
        if ended
        else tr("The embedded model takes about half a minute on two cores.")
    )
    sources = {tr("What people flagged on version {version}", version=parent.id): None} | {
        trn(
            "Imported set {set}: {name} ({count} pair)",
            "Imported set {set}: {name} ({count} pairs)",
            found.n_pairs,
            set=found.id,
            name=found.origin.removeprefix("import:"),
        ): found.id
        for found in imported
    }
    with st.container(key="fb-card-next"):
        st.subheader(tr("Next correction"), anchor=False)
        chosen = st.selectbox(tr("Learn from"), list(sources)) if imported else next(iter(sources))
        from_reviews = sources[chosen] is None
        choice, would = pair_sets.Choice(), None
        if from_reviews:
            choice, would = policy_choice.ask(installation, parent.id)
            if would is not None:
                look.html(_said_of(would, parent.id))
        else:
            look.html(tr("The imported set is used as it was frozen."))
        look.aside(
            tr(
                "It corrects version {version} ({name}), which stays as it is. {took} Then both versions answer the same "
                "held-out prompts, and people judge them blindly.",
                version=parent.id,
                name=look.quiet(parent.name),
                took=took,
            )
        )
        recipe, seed = _recipe()
        ready = not from_reviews or (would is not None and would.training > 0)
        if st.button(tr("Start the correction"), type="primary", disabled=not ready):
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
                look.said(retold(str(error)), "flag")
            else:
                st.rerun()
        if would is not None and would.examples:
            with st.expander(tr("Some of the pairs it would learn from")):
                for messages, good, bad in would.examples:
                    _pair(messages, good, bad)


def _said_of(would: policy_choice.Preview, version_id: int) -> str:
    """The preview in words: what there is, or what is missing."""
    if not would.flags:
        nobody = tr("Nobody has flagged an answer of version {version} yet.", version=version_id)
        return f"<b>{nobody}</b> " + tr("Flags come first: have people review some.")
    if not would.pairs:
        flags = trn("{count} flag, but no pair yet.", "{count} flags, but no pair yet.", would.flags)
        return f"<b>{flags}</b> " + tr(
            "A pair is a flagged answer beside one to the same prompt that looked fine, or beside its rewrite: have more "
            "answers to "
            "the same prompts reviewed, or flag with a rewrite."
        )
    bold, ended, pairs = "<b>", "</b>", number(len(would.pairs))
    if not would.training:
        return trn(
            "{bold}{count} flag make {pairs} pairs, all on held-out prompts{ended}, which are kept back to test on. About 7 of 10 "
            "prompts are for training: have more of them reviewed.",
            "{bold}{count} flags make {pairs} pairs, all on held-out prompts{ended}, which are kept back to test on. About 7 of 10 "
            "prompts are for training: have more of them reviewed.",
            would.flags,
            bold=bold,
            ended=ended,
            pairs=pairs,
        )
    return trn(
        "{bold}{count} flag make {pairs} pairs:{ended} {training} to learn from, {held_out} on held-out prompts to test on. "
        "Weighed "
        "as they are, they say as much as {equal} equal ones.",
        "{bold}{count} flags make {pairs} pairs:{ended} {training} to learn from, {held_out} on held-out prompts to test on. "
        "Weighed as they are, they say as much as {equal} equal ones.",
        would.flags,
        bold=bold,
        ended=ended,
        pairs=pairs,
        training=number(would.training),
        held_out=number(would.held_out),
        equal=written(would.effective, ",.1f"),
    )


def _recipe() -> tuple[dict[str, float | int], int]:
    with st.expander(tr("Recipe")):
        st.caption(tr("Defaults fit the embedded model. Steps are optimiser steps, so that runs with few and many pairs compare."))
        columns, known = st.columns(5), Recipe()
        recipe: dict[str, float | int] = {
            "steps": int(columns[0].number_input(tr("Steps"), 1, 10_000, known.steps)),
            "learning_rate": float(columns[1].number_input(tr("Learning rate"), 1e-6, 1e-1, known.learning_rate, format="%.1e")),
            "beta": float(columns[2].number_input(tr("Beta"), 0.01, 5.0, known.beta)),
            "rank": int(columns[3].number_input(tr("LoRA rank"), 1, 256, known.rank)),
        }
        return recipe, int(columns[4].number_input(tr("Seed"), 0, 2**31 - 1, 0))


def _done(stage: str) -> str:
    """What a step did, once it is over."""
    return tr("learning") if stage == "train" else look.stage(stage)


def _pair(messages: list[dict[str, str]], good: str, bad: str, note: str = "") -> None:
    look.html(look.asked(messages))
    rather = tr("rather this ({note})", note=note) if note else tr("rather this")
    look.side_by_side((rather, look.quote(good)), (tr("than this"), look.quote(bad)))


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
        alive = runs.worker_alive(session, now=now())
    st.session_state["flagback_watched"] = run.id
    with st.container(key="fb-card-watch"):
        st.subheader(tr("Correction {run} is {state}", run=run.id, state=stored("state", run.state)), anchor=False)
        if not alive:
            st.warning(tr("No worker is running, so nothing moves; start one with 'flagback worker'."))
        line, stop = st.columns([6, 1], vertical_alignment="center")
        line.progress(standing.share, text=look.how_far(standing))
        if stop.button(tr("Stop"), key=f"stop-correction-{run.id}", width="stretch"):
            with installation.store.writing() as session:
                runs.cancel(session, CorrectionRun, run.id, by=account.login, now=now())
            st.rerun(scope="fragment")
        if steps:
            run_curves.learning(run.id, steps)


def _list(installation: Installation, account: Account) -> None:
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
    st.subheader(tr("Past corrections"), anchor=False)
    if not found:
        look.empty(tr("None yet."), tr("Each one stays here with the pairs it learnt from, its learning curve and its end."))
        return
    asked = st.query_params.get("run")
    for run in found:
        frozen = sets.get(run.set_id or 0)
        ends = {"succeeded": tr("done"), "failed": stored("state", "failed"), "cancelled": tr("stopped by hand")}
        learnt, kept = sizes.get(run.set_id or 0, (0, 0))
        learnt = run.environment.get("pairs", learnt)
        title = tr("Correction {run} · {end} · {when}", run=run.id, end=ends[run.state], when=look.clock(run.created_at))
        if frozen and run.state == "succeeded":
            size = trn(
                "{count} pair learnt, {kept} kept to test on",
                "{count} pairs learnt, {kept} kept to test on",
                learnt,
                kept=number(kept),
            )
            title = f"{title} · {size}"
        if run.candidate_id is not None:
            title = f"{title} · {tr('version {version}', version=run.candidate_id)}"
        with st.expander(title, expanded=asked == str(run.id)):
            _detail(installation, account, run, frozen, versions, judged)


def _detail(
    installation: Installation,
    account: Account,
    run: CorrectionRun,
    frozen: PreferenceSet | None,
    versions: dict[int, ModelVersion],
    judged: dict[int, Evaluation],
) -> None:
    if run.error:
        look.said(retold(run.error), "flag" if run.state == "failed" else "plain")
    for alarm in run.environment.get("alarms", []):
        look.said(tr("Step {step}: {advice}", step=alarm["step"], advice=retold(alarm["advice"])), "flag")
    candidate = versions.get(run.candidate_id or 0)
    if candidate is not None:
        evaluation = judged.get(candidate.id)
        verdict = look.verdict_pill(evaluation.verdict if evaluation else None)
        made = tr(
            "Made {version} ({state}) from version {parent}",
            version=f"<b>{tr('version {version}', version=candidate.id)}</b>",
            state=stored("state", candidate.state),
            parent=run.parent_id,
        )
        compared = look.link(f"/compare?version={candidate.id}", tr("compare them"))
        # On a line of their own: between other words only their colour would tell them apart.
        look.html(f"{made} {verdict}<div>{compared} &emsp;{look.link('/versions', tr('decide'))}</div>")
    with installation.store.reading() as session:
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step))).all()
        learnt = preferences.pairs_of(session, frozen.id) if frozen else []
    if steps:
        run_curves.learning(run.id, steps)
    run_curves.draw(run, installation, account)
    if learnt:
        pages = -(-len(learnt) // PAIRS_A_PAGE)
        page = (
            int(st.number_input(tr("Page of {pages}", pages=pages), 1, pages, 1, key=f"page-{run.id}", width=160))
            if pages > 1
            else 1
        )
        for pair in learnt[(page - 1) * PAIRS_A_PAGE : page * PAIRS_A_PAGE]:
            kind, weight = stored("kind of pair", pair.kind), written(pair.weight, ".2f")
            note = (
                tr("{kind}, weight {weight}", kind=kind, weight=weight)
                if pair.shard in TRAINING_SHARDS
                else tr("{kind}, weight {weight}, held out", kind=kind, weight=weight)
            )
            _pair(pair.messages, pair.chosen_text, pair.rejected_text, note)
    rows = [
        [tr("asked by"), f"{look.quiet(run.asked_by)}, {look.clock(run.created_at)}"],
        [
            tr("time"),
            escape(", ".join(f"{_done(stage)} {written(value, '.1f')} s" for stage, value in run.seconds.items())) or "–",
        ],
        [tr("recipe"), escape(", ".join(f"{name} {_plain(value)}" for name, value in recipes.in_use(run.recipe).items())) or "–"],
        [
            tr("set"),
            tr(
                "{set}, policy {policy}, fingerprint {fingerprint}…",
                set=frozen.id,
                policy=look.quiet(f"{frozen.policy} {frozen.policy_version}"),
                fingerprint=frozen.fingerprint[:16],
            )
            if frozen
            else tr("none"),
        ],
        [tr("adapter"), f"sha256 {run.adapter_sha256[:16]}…" if run.adapter_sha256 else tr("none")],
    ]
    look.table(["", ""], rows)


def _plain(value: object) -> str:
    """A setting as people write it: a rate that was found has sixteen digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
