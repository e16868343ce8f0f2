"""Versions: what each one is, what the gate said of it and why, and who made it current. Promote, override, roll back."""

from html import escape

import streamlit as st
from sqlmodel import col, select

from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
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
    look.heading("Versions", "A version becomes current through the gate, or by your recorded override. Roll back is one action.")
    with installation.store.reading() as session:
        found = session.exec(select(ModelVersion).order_by(col(ModelVersion.id).desc())).all()
        newest = {row.candidate_id: row for row in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all()}
        decisions = session.exec(select(Decision).order_by(col(Decision.id).desc())).all()
    if not found:
        look.empty("No model is here yet.", "Register one: flagback model add PATH_OR_HUB_ID.")
        return
    for version in found:
        _version(installation, account, version, newest.get(version.id))
    st.subheader("Who decided", anchor=False)
    look.table(
        ["when", "what", "version", "by", "why"],
        [
            [
                look.clock(row.created_at),
                escape(row.kind.replace("_", " ")),
                f"v{row.version_id}",
                look.quiet(row.decided_by),
                look.quiet(row.reason),
            ]
            for row in decisions
        ],
    )


def _version(installation: Installation, account: Account, version: ModelVersion, evaluation: Evaluation | None) -> None:
    with st.container(key=f"fb-card-version-{version.id}"):
        tone = look.pill("current", "ok") if version.state == "current" else look.pill(version.state)
        verdict = look.verdict_pill(evaluation.verdict) if version.kind == "correction" and evaluation else ""
        look.html(
            f'<span class="title">Version {version.id}: {look.quiet(version.name)}</span> {tone} {verdict}<div class="soft small">'
            f"{'base model' if version.kind == 'base' else f'corrects version {version.parent_id}'}"
            f" · made {look.clock(version.created_at)}"
            + (f" · {version.distance_to_base:.2%} away from the first base" if version.kind == "correction" else "")
            + f" · fingerprint {version.fingerprint[:12]}…</div>"
        )
        if version.kind == "correction":
            _gate(installation, account, version, evaluation)
        if version.state == "current" and version.kind == "correction":
            _roll_back(installation, account, version)


def _gate(installation: Installation, account: Account, version: ModelVersion, evaluation: Evaluation | None) -> None:
    if evaluation is None or evaluation.state in ("failed", "cancelled"):
        why = f": {look.quiet(evaluation.error)}" if evaluation and evaluation.error else " yet."
        look.html(f'<div class="small soft">Not evaluated{why}</div>')
    elif evaluation.state in ("waiting", "running"):
        st.progress(
            0.3 if evaluation.stage == "blind samples" else 0.7 if evaluation.state == "running" else 0.0,
            text=f"Evaluation {evaluation.id} is {evaluation.state}: {look.stage(evaluation.stage)}",
        )
        _refresh_when_done(installation, evaluation.id)
        return
    else:
        marks = {
            "pass": look.pill("pass", "ok"),
            "fail": look.pill("fail", "flag"),
            "not_enough_data": look.pill("not enough data"),
        }
        look.table(
            ["check", "", "in words"],
            [
                [look.quiet(look.figure_name(reason["check"])), marks.get(reason["verdict"], ""), look.quiet(reason["words"])]
                for reason in evaluation.reasons
            ],
            words=True,
        )
        if version.state == "candidate":
            _blind_progress(evaluation)
        with st.expander("All figures"):
            look.figures_table(evaluation.figures, evaluation.base_id, evaluation.candidate_id)
        look.html(look.link(f"/compare?version={version.id}", "Read what both versions wrote, side by side"))
    if version.state != "candidate":
        return
    left, middle, _ = st.columns([1, 1, 2])
    if left.button(
        "Evaluate again", key=f"evaluate-{version.id}", help="Reads the blind reviews that came in since.", width="stretch"
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
        "Promote" if passed else "Promote all the same…",
        key=f"promote-{version.id}",
        type="primary" if passed else "secondary",
        width="stretch",
    ):
        _ask_to_promote(installation, account, version, passed)


def _blind_progress(evaluation: Evaluation) -> None:
    """How many of the blind comparisons are judged, while some are not."""
    figure = evaluation.figures.get("flag_rate") or {}
    n, planned = int(figure.get("n") or 0), int(figure.get("planned") or 0)
    if n < planned:
        st.progress(
            n / planned,
            text=f"{n} of {planned} blind comparisons were judged when this was measured; the rest waits for "
            "reviewers. Evaluate again when they are done.",
        )


@st.fragment(run_every=1.0)
def _refresh_when_done(installation: Installation, evaluation_id: int) -> None:
    with installation.store.reading() as session:
        state = session.exec(select(Evaluation.state).where(Evaluation.id == evaluation_id)).first()
    if state not in ("waiting", "running"):
        st.rerun()


@st.dialog("Make this version current?")
def _ask_to_promote(installation: Installation, account: Account, version: ModelVersion, passed: bool) -> None:
    st.markdown(
        f"Version {version.id} writes the next answers; version {version.parent_id} is kept, and one action brings it back."
    )
    reason = None
    if not passed:
        st.warning("The gate has not passed this version. Your name and your reason are recorded for good.")
        reason = st.text_input("Why do you override the gate?")
    if st.button("Promote", type="primary"):
        if not passed and blank(reason or ""):
            look.said("An override needs a reason: one sentence for whoever reads this later.", "flag")
            return
        try:
            versions.promote(installation.store, version.id, by=account.login, now=now(), override_reason=reason)
        except _REFUSALS as error:
            look.said(str(error), "flag")
        else:
            st.rerun()


def _roll_back(installation: Installation, account: Account, version: ModelVersion) -> None:
    if st.button("Roll back…", key=f"roll-back-{version.id}"):
        _ask_to_roll_back(installation, account)


@st.dialog("Go back to the version before?")
def _ask_to_roll_back(installation: Installation, account: Account) -> None:
    st.markdown("The version before writes the next answers. Nothing is deleted: the present version and every review are kept.")
    reason = st.text_input("Why?")
    if st.button("Roll back", type="primary"):
        if blank(reason):
            look.said("Say why, in one sentence for whoever reads this later.", "flag")
            return
        try:
            versions.roll_back(installation.store, by=account.login, now=now(), reason=reason)
        except _REFUSALS as error:
            look.said(str(error), "flag")
        else:
            st.rerun()
