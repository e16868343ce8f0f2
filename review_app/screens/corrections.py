"""Corrections: preview what a run would learn from, start it, watch it learn, and read how each one ended."""

from dataclasses import asdict
from html import escape
from typing import Any

import streamlit as st
from sqlmodel import col, select

from flagback.model import pair_sets
from flagback.model.kept_recipe import differences, read_recipe
from flagback.model.recipe import BadRecipe, Recipe
from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, pair_texts, past_corrections, policy_choice, run_curves, run_words, tradeoff_curve
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import recipes, runs
from flagback.storage.preferences import NoPairs
from flagback.storage.records import (
    Account,
    CorrectionRun,
    KeptRecipe,
    PreferenceSet,
    RunMetric,
    now,
)
from flagback.storage.versions import NoModel, current

#: Under which the session keeps the recipe that is begun from.
RECIPE = "recipe-from"


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
    past_corrections.draw(installation, account)


@st.fragment
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
                if would.alone[0]:
                    look.note(_said_alone(*would.alone, teach=choice.unpaired))
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
        recipe, followed, seed = _recipe(installation)
        teaches = would is not None and (would.training > 0 or (choice.unpaired and would.alone[0] > 0))
        ready = not from_reviews or teaches
        if st.button(tr("Start the correction"), type="primary", disabled=not ready):
            try:
                read_recipe(recipe)  # refuses what cannot work before it is stored
                with installation.store.writing() as session:
                    runs.request_correction(
                        session,
                        by=account.login,
                        now=now(),
                        seed=seed,
                        recipe=recipe,
                        recipe_id=followed,
                        set_id=sources[chosen],
                        pairs=choice.to_dict(),
                    )
            except (NoPairs, BadRecipe, runs.RunUnderWay) as error:
                look.said(retold(str(error)), "flag")
            else:
                st.rerun()
        if would is not None and would.examples:
            with st.expander(tr("Some of the pairs it would learn from")):
                for messages, good, bad in would.examples:
                    pair_texts.show(messages, good, bad)


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


def _said_alone(harmful: int, fine: int, *, teach: bool) -> str:
    """What becomes of answers without a counterpart, in words."""
    if teach:
        return trn(
            "{count} flagged answer without a counterpart teaches too, beside {fine} fine ones.",
            "{count} flagged answers without a counterpart teach too, beside {fine} fine ones.",
            harmful,
            fine=number(fine),
        )
    return trn(
        "{count} flagged answer has no counterpart and teaches nothing; under “{where}” you can have it teach too.",
        "{count} flagged answers have no counterpart and teach nothing; under “{where}” you can have them teach too.",
        harmful,
        where=tr("How votes become pairs"),
    )


def _recipe(installation: Installation) -> tuple[dict[str, Any], int | None, int]:
    """Settings as they are asked for, the kept recipe that they begin from, and the seed."""
    with installation.store.reading() as session:
        kept = {f"{row.name}@{row.number}": row for row in recipes.newest(session)}
        before = str(st.session_state.get(RECIPE, tr("default")))
        if kept and before not in (tr("default"), *kept):  # there is a newer number of it since
            kept[before] = recipes.find(session, before)
    with st.expander(tr("Recipe")):
        name = str(st.selectbox(tr("Begin from"), [tr("default"), *kept], key=RECIPE)) if kept else ""
        start, followed = _begun(kept.get(name))
        recipe: dict[str, Any] = {} if followed is None else asdict(start)
        columns = st.columns(5)

        def chosen(place: int, label: str, setting: str, low: float, high: float, form: str | None = None) -> float:
            """A number of the recipe; a kept one may lie beyond what is offered."""
            kind = type(low)  # a kept number may be written as a whole one
            value = kind(getattr(start, setting))
            key = f"recipe-{setting}-{followed or 'default'}"
            return kind(columns[place].number_input(label, min(low, value), max(high, value), value, format=form, key=key))

        recipe["steps"] = chosen(0, tr("Steps"), "steps", 1, 10_000)
        if start.find_rate:
            columns[1].caption(tr("The learning rate is found by a sweep."))
        else:
            recipe["learning_rate"] = chosen(1, tr("Learning rate"), "learning_rate", 1e-6, 1e-1, "%.1e")
        recipe["beta"] = chosen(2, tr("Beta"), "beta", 0.01, 5.0)
        if start.tuning == "lora":
            recipe["rank"] = chosen(3, tr("LoRA rank"), "rank", 1, 256)
        return recipe, followed, int(columns[4].number_input(tr("Seed"), 0, 2**31 - 1, 0))


def _begun(kept: KeptRecipe | None) -> tuple[Recipe, int | None]:
    """The recipe that settings begin from, with a word about it, and its row where it is a kept one."""
    if kept is None:
        st.caption(tr("Defaults fit the embedded model. Steps are optimiser steps, so that runs with few and many pairs compare."))
        return Recipe(), None
    try:
        found = read_recipe(kept.settings, form=kept.form)
    except BadRecipe as error:
        look.said(retold(str(error)), "flag")
        return Recipe(), None
    if kept.note:
        look.note(look.quiet(kept.note))
    changed = ", ".join(f"{row.setting} {row.after}" for row in differences(Recipe(), found)) or "–"
    look.note(tr("Unlike the default: {settings}", settings=escape(changed)))
    return found, kept.id


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
        line.progress(standing.share, text=run_words.how_far(standing))
        if stop.button(tr("Stop"), key=f"stop-correction-{run.id}", width="stretch"):
            with installation.store.writing() as session:
                runs.cancel(session, CorrectionRun, run.id, by=account.login, now=now())
            st.rerun(scope="fragment")
        if steps:
            run_curves.learning(run.id, steps)
