"""Past corrections: each with what it learnt from, how it learnt, what became of its pairs, and its end.

What is folded away is not read: a set may hold tens of thousands of pairs. What is unfolded draws the list alone anew.
"""

from html import escape
from typing import NamedTuple

import streamlit as st
from sqlmodel import Session, col, select

from flagback.model.explanation import summary_of
from flagback.model.recipe import Recipe
from flagback.review_app import downloads
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look, moves, pair_texts, run_curves, run_words
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import preferences, recipes, unpaired
from flagback.storage.artifacts import Artifacts
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.records import Account, CorrectionRun, Evaluation, KeptRecipe, ModelVersion, PreferenceSet, RunMetric
from flagback.storage.run_report import run_report

ROWS_A_PAGE = 5
RUNS_A_PAGE = 20
ENDED = ("succeeded", "failed", "cancelled")


class Ended(NamedTuple):
    """A correction that is over, with what stands in its line."""

    run: CorrectionRun
    frozen: PreferenceSet | None
    #: Pairs learnt from and kept to test on.
    size: tuple[int, int]


@st.fragment
def draw(installation: Installation, account: Account) -> None:
    """The list, newest first; the one that the address asks for stands open."""
    asked = st.query_params.get("run", "")
    st.subheader(tr("Past corrections"), anchor=False)
    with installation.store.reading() as session:
        numbers = session.exec(
            select(CorrectionRun.id).where(col(CorrectionRun.state).in_(ENDED)).order_by(col(CorrectionRun.id).desc())
        ).all()
        if not numbers:
            look.empty(tr("None yet."), tr("Each one stays here with the pairs it learnt from, its learning curve and its end."))
            return
        shown = _page([int(one) for one in numbers], asked)
        listed = _ended(session, shown)
    for ended in listed:
        key = f"correction-{ended.run.id}"
        with st.expander(_title(ended), expanded=asked == str(ended.run.id), key=key, on_change="rerun") as folded:
            if folded.open:
                _detail(installation, account, ended)


def _page(numbers: list[int], asked: str) -> list[int]:
    """The runs of the page that is looked at, at first the one on which the run that was asked for stands."""
    pages = -(-len(numbers) // RUNS_A_PAGE)
    if pages == 1:
        return numbers
    wanted = int(asked) if asked.isdecimal() and len(asked) < 9 else -1
    start = numbers.index(wanted) // RUNS_A_PAGE + 1 if wanted in numbers else 1
    page = int(st.number_input(tr("Page of {pages}", pages=pages), 1, pages, start, key="page-corrections", width=160))
    return numbers[(page - 1) * RUNS_A_PAGE : page * RUNS_A_PAGE]


def _ended(session: Session, numbers: list[int]) -> list[Ended]:
    runs = session.exec(
        select(CorrectionRun).where(col(CorrectionRun.id).in_(numbers)).order_by(col(CorrectionRun.id).desc())
    ).all()
    used = {run.set_id for run in runs if run.set_id is not None}
    sets = {row.id: row for row in session.exec(select(PreferenceSet).where(col(PreferenceSet.id).in_(used))).all()}
    sizes = preferences.sizes(session, sets)
    return [Ended(run, sets.get(run.set_id or 0), sizes.get(run.set_id or 0, (0, 0))) for run in runs]


def _title(ended: Ended) -> str:
    run = ended.run
    ends = {"succeeded": tr("done"), "failed": stored("state", "failed"), "cancelled": tr("stopped by hand")}
    title = tr("Correction {run} · {end} · {when}", run=run.id, end=ends[run.state], when=look.clock(run.created_at))
    if ended.frozen and run.state == "succeeded":
        learnt, kept = ended.size
        size = trn(
            "{count} pair learnt, {kept} kept to test on",
            "{count} pairs learnt, {kept} kept to test on",
            run.environment.get("pairs", learnt),
            kept=number(kept),
        )
        title = f"{title} · {size}"
        if alone := run.environment.get("unpaired", 0):
            title = f"{title}, " + trn("{count} answer without one", "{count} answers without one", alone)
    if run.candidate_id is not None:
        title = f"{title} · {tr('version {version}', version=run.candidate_id)}"
    return title


def _detail(installation: Installation, account: Account, ended: Ended) -> None:
    run, frozen, _ = ended
    if run.error:
        look.said(retold(run.error), "flag" if run.state == "failed" else "plain")
    for alarm in run.environment.get("alarms", []):
        look.said(tr("Step {step}: {advice}", step=alarm["step"], advice=retold(alarm["advice"])), "flag")
    with installation.store.reading() as session:
        if run.candidate_id is not None:
            _made(session, run)
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step))).all()
        kept = session.get(KeptRecipe, run.recipe_id) if run.recipe_id is not None else None
    if steps:
        run_curves.learning(run.id, steps)
    run_curves.draw(run, installation, account)
    moves.draw(run, installation, account)
    if frozen is not None:
        _pairs(installation, run, frozen)
        _alone(installation, run, frozen)
    _facts(run, frozen, kept)
    _report(installation, account, run)


def _made(session: Session, run: CorrectionRun) -> None:
    candidate = session.get_one(ModelVersion, run.candidate_id)
    evaluation = session.exec(
        select(Evaluation).where(Evaluation.candidate_id == candidate.id).order_by(col(Evaluation.id).desc()).limit(1)
    ).first()
    verdict = run_words.verdict_pill(evaluation.verdict if evaluation else None)
    made = tr(
        "Made {version} ({state}) from version {parent}",
        version=f"<b>{tr('version {version}', version=candidate.id)}</b>",
        state=stored("state", candidate.state),
        parent=run.parent_id,
    )
    compared = look.link(f"/compare?version={candidate.id}", tr("compare them"))
    # On a line of their own: between other words only their colour would tell them apart.
    look.html(f"{made} {verdict}<div>{compared} &emsp;{look.link('/versions', tr('decide'))}</div>")


def _shown(total: int, key: str) -> range:
    """The positions on the page that is looked at, of so many rows."""
    pages = -(-total // ROWS_A_PAGE)
    page = 1
    if pages > 1:
        page = int(st.number_input(tr("Page of {pages}", pages=number(pages)), 1, pages, 1, key=key, width=160))
    return range((page - 1) * ROWS_A_PAGE, min(page * ROWS_A_PAGE, total))


def _pairs(installation: Installation, run: CorrectionRun, frozen: PreferenceSet) -> None:
    if not frozen.n_pairs:
        return
    st.markdown(f"**{tr('The pairs')}**")
    asked = _shown(frozen.n_pairs, f"page-{run.id}")
    with installation.store.reading() as session:
        there = preferences.pairs_at(session, frozen.id, asked)
    for position, pair in there.items():
        if pair is None:
            look.note(tr("Pair {number}: its text was withdrawn.", number=position + 1))
            continue
        kind, weight = stored("kind of pair", pair.kind), written(pair.weight, ".2f")
        note = (
            tr("{kind}, weight {weight}", kind=kind, weight=weight)
            if pair.shard in TRAINING_SHARDS
            else tr("{kind}, weight {weight}, held out", kind=kind, weight=weight)
        )
        pair_texts.show(pair.messages, pair.chosen_text, pair.rejected_text, note)


def _alone(installation: Installation, run: CorrectionRun, frozen: PreferenceSet) -> None:
    if not frozen.n_unpaired:
        return
    st.markdown(f"**{tr('Answers without a counterpart')}**")
    asked = _shown(frozen.n_unpaired, f"page-alone-{run.id}")
    with installation.store.reading() as session:
        there = unpaired.unpaired_at(session, frozen.id, asked)
    for position, answer in there.items():
        if answer is None:
            look.note(tr("Answer {number}: its text was withdrawn.", number=position + 1))
            continue
        weight = written(answer.weight, ".2f")
        note = tr("harmful, weight {weight}", weight=weight) if answer.harmful else tr("fine, weight {weight}", weight=weight)
        held_out = "" if answer.shard in TRAINING_SHARDS else f", {tr('held out')}"
        pair_texts.show_alone(answer.messages, answer.text, note + held_out)


def _facts(run: CorrectionRun, frozen: PreferenceSet | None, kept: KeptRecipe | None) -> None:
    known = vars(Recipe())
    settings = recipes.in_use(run.recipe)
    changed = {name: value for name, value in settings.items() if value != known.get(name)}
    rest = {name: value for name, value in settings.items() if name not in changed}
    name = f"{kept.name}@{kept.number}" if kept is not None else tr("default")
    followed = f"{name}: {_settings(changed)}" if changed else name
    rows = [
        [tr("asked by"), f"{look.quiet(run.asked_by)}, {look.clock(run.created_at)}"],
        [
            tr("time"),
            escape(", ".join(f"{_done(stage)} {written(value, '.1f')} s" for stage, value in run.seconds.items())) or "–",
        ],
        [
            tr("recipe"),
            f'{escape(followed)}<div class="small soft">{tr("As by default: {settings}", settings=escape(_settings(rest)))}</div>',
        ],
        [
            tr("set"),
            tr(
                "{set}, {pairs} pairs and {unpaired} answers without one, policy {policy}, fingerprint {fingerprint}…",
                set=frozen.id,
                pairs=number(frozen.n_pairs),
                unpaired=number(frozen.n_unpaired),
                policy=look.quiet(f"{frozen.policy} {frozen.policy_version}"),
                fingerprint=frozen.fingerprint[:16],
            )
            if frozen
            else tr("none"),
        ],
        [tr("adapter"), f"sha256 {run.adapter_sha256[:16]}…" if run.adapter_sha256 else tr("none")],
    ]
    look.table(["", ""], rows)


def _settings(settings: dict[str, object]) -> str:
    """Settings as people write them: a rate that was found has sixteen digits."""
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items())


def _done(stage: str) -> str:
    """What a step did, once it is over."""
    return tr("learning") if stage == "train" else run_words.stage(stage)


def _report(installation: Installation, account: Account, run: CorrectionRun) -> None:
    """The run's report as a file: written when it is asked for."""
    key = f"flagback_report_{run.id}"
    if st.button(tr("Write the report"), key=f"report-{run.id}"):
        with st.spinner(tr("Writing…")), installation.store.reading() as session:
            text = run_report(session, run, summary_of(run, Artifacts(installation.settings.artifacts)))
        st.session_state[key] = downloads.prepare_file(installation, account, text.encode("utf-8", "replace"), "md")
    ticket = st.session_state.get(key)
    if ticket is None:
        return
    if downloads.size(installation, account, ticket, "md") is None:
        look.note(tr("The report that was written here is no longer kept; write it again."))
    else:
        name = f"flagback-correction-{run.id}.md"
        words = tr("Download the report of correction {run}", run=run.id)
        look.html(f'<p><a class="fb-download" href="/downloads/{ticket}" download="{name}">{words}</a></p>')
