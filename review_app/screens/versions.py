"""Versions: what each one is, what the gate said of it and why, and who made it current. Promote, override, roll back."""

from html import escape

import streamlit as st
from sqlmodel import col, select

from flagback.review_app import jobs
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import figure_words, look, run_words
from flagback.review_app.words import stored, tr, written
from flagback.storage import runs, versions
from flagback.storage.invisible import blank
from flagback.storage.prompts import UnstorableText
from flagback.storage.records import Account, Decision, Evaluation, ModelVersion, now

_REFUSALS = (
    versions.StaleCandidate,
    versions.GateNotPassed,
    versions.NothingToRollBack,
    versions.MissingReason,
    versions.UnknownVersion,
    UnstorableText,
)


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Versions"), tr("A version becomes current through the gate, or by your recorded override. Roll back is one action.")
    )
    with installation.store.reading() as session:
        found = session.exec(select(ModelVersion).order_by(col(ModelVersion.id).desc())).all()
        newest = {row.candidate_id: row for row in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all()}
        decisions = session.exec(select(Decision).order_by(col(Decision.id).desc())).all()
    if not found:
        look.empty(tr("No model is here yet."), tr("Register one: flagback model add PATH_OR_HUB_ID."))
        return
    for version in found:
        _version(installation, account, version, newest.get(version.id))
    st.subheader(tr("Who decided"), anchor=False)
    look.table(
        [tr("when"), tr("what"), tr("version"), tr("by"), tr("why")],
        [
            [
                look.clock(row.created_at),
                escape(stored("decision", row.kind.replace("_", " "))),
                f"v{row.version_id}",
                look.quiet(row.decided_by),
                look.quiet(row.reason),
            ]
            for row in decisions
        ],
    )


def _version(installation: Installation, account: Account, version: ModelVersion, evaluation: Evaluation | None) -> None:
    with st.container(key=f"fb-card-version-{version.id}"):
        tone = (
            look.pill(stored("state", "current"), "ok") if version.state == "current" else look.pill(stored("state", version.state))
        )
        verdict = run_words.verdict_pill(evaluation.verdict) if version.kind == "correction" and evaluation else ""
        title = tr("Version {version}: {name}", version=version.id, name=look.quiet(version.name))
        facts = [
            tr("base model") if version.kind == "base" else tr("corrects version {version}", version=version.parent_id),
            tr("made {when}", when=look.clock(version.created_at)),
        ]
        if version.kind == "correction":
            facts.append(tr("{share} away from the first base", share=written(version.distance_to_base, ".2%")))
        facts.append(tr("fingerprint {fingerprint}…", fingerprint=version.fingerprint[:12]))
        look.html(f'<span class="title">{title}</span> {tone} {verdict}<div class="soft small">{" · ".join(facts)}</div>')
        if version.kind == "correction":
            _gate(installation, account, version, evaluation)
        if version.state == "current" and version.kind == "correction":
            _roll_back(installation, account, version)


def _gate(installation: Installation, account: Account, version: ModelVersion, evaluation: Evaluation | None) -> None:
    if evaluation is None or evaluation.state in ("failed", "cancelled"):
        why = evaluation.error if evaluation else None
        look.note(tr("Not evaluated: {why}", why=look.quiet(retold(why))) if why else tr("Not evaluated yet."))
    elif evaluation.state in ("waiting", "running"):
        _watch(installation, evaluation.id)
        return
    else:
        marks = {
            "pass": look.pill(tr("pass"), "ok"),
            "fail": look.pill(tr("fail"), "flag"),
            "not_enough_data": look.pill(tr("not enough data")),
        }
        look.table(
            [tr("check"), "", tr("in words")],
            [
                [
                    look.quiet(figure_words.name_of(reason["check"])),
                    marks.get(reason["verdict"], ""),
                    look.quiet(retold(reason["words"])),
                ]
                for reason in evaluation.reasons
            ],
            words=True,
        )
        if version.state == "candidate":
            _blind_progress(evaluation)
        with st.expander(tr("All figures")):
            figure_words.table_of(evaluation.figures, evaluation.base_id, evaluation.candidate_id)
        look.html(look.link(f"/compare?version={version.id}", tr("Read what both versions wrote, side by side")))
    if version.state != "candidate":
        return
    left, middle, _ = st.columns([1, 1, 2])
    if left.button(
        tr("Evaluate again"), key=f"evaluate-{version.id}", help=tr("Reads the blind reviews that came in since."), width="stretch"
    ):
        with installation.store.writing() as session:
            runs.request_evaluation(
                session,
                candidate_id=version.id,
                by=account.login,
                now=now(),
                set_id=evaluation.set_id if evaluation else None,
                seed=evaluation.seed if evaluation else 0,
            )
        st.rerun()
    passed = evaluation is not None and evaluation.verdict == "pass"
    if middle.button(
        tr("Promote") if passed else tr("Promote all the same…"),
        key=f"promote-{version.id}",
        type="primary" if passed else "secondary",
        width="stretch",
    ):
        st.dialog(tr("Make this version current?"))(_ask_to_promote)(installation, account, version, passed)


def _blind_progress(evaluation: Evaluation) -> None:
    """How many of the blind comparisons are judged, while some are not."""
    figure = evaluation.figures.get("flag_rate") or {}
    n, planned = int(figure.get("n") or 0), int(figure.get("planned") or 0)
    if n < planned:
        st.progress(
            n / planned,
            text=tr(
                "{n} of {planned} blind comparisons were judged when this was measured; the rest waits for reviewers. "
                "Evaluate again when they are done.",
                n=n,
                planned=planned,
            ),
        )


@st.fragment(run_every=1.0)
def _watch(installation: Installation, evaluation_id: int) -> None:
    """How far an open evaluation is; the whole page anew when it ends."""
    with installation.store.reading() as session:
        at = jobs.standing(session, jobs.Request("evaluation", evaluation_id))
    if at.final:
        st.rerun()
    words = tr(
        "Evaluation {number} is {state}: {stage}",
        number=evaluation_id,
        state=stored("state", at.state),
        stage=run_words.how_far(at),
    )
    st.progress(at.share, text=words)


def _ask_to_promote(installation: Installation, account: Account, version: ModelVersion, passed: bool) -> None:
    st.markdown(
        tr(
            "Version {version} writes the next answers; version {parent} is kept, and one action brings it back.",
            version=version.id,
            parent=version.parent_id,
        )
    )
    reason = None
    if not passed:
        st.warning(tr("The gate has not passed this version. Your name and your reason are recorded for good."))
        reason = st.text_input(tr("Why do you override the gate?"))
    if st.button(tr("Promote"), type="primary"):
        if not passed and blank(reason or ""):
            look.said(tr("An override needs a reason: one sentence for whoever reads this later."), "flag")
            return
        try:
            versions.promote(installation.store, version.id, by=account.login, now=now(), override_reason=reason)
        except _REFUSALS as error:
            look.said(retold(str(error)), "flag")
        else:
            st.rerun()


def _roll_back(installation: Installation, account: Account, version: ModelVersion) -> None:
    if st.button(tr("Roll back…"), key=f"roll-back-{version.id}"):
        st.dialog(tr("Go back to the version before?"))(_ask_to_roll_back)(installation, account)


def _ask_to_roll_back(installation: Installation, account: Account) -> None:
    st.markdown(
        tr("The version before writes the next answers. Nothing is deleted: the present version and every review are kept.")
    )
    reason = st.text_input(tr("Why?"))
    if st.button(tr("Roll back"), type="primary"):
        if blank(reason):
            look.said(tr("Say why, in one sentence for whoever reads this later."), "flag")
            return
        try:
            versions.roll_back(installation.store, by=account.login, now=now(), reason=reason)
        except _REFUSALS as error:
            look.said(retold(str(error)), "flag")
        else:
            st.rerun()
