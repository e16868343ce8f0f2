"""Claims about versions: one is current, the gate or a named person decides, and every decision is on record."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from flagback.storage import audit
from flagback.storage.records import AuditEntry, CorrectionRun, Decision, Evaluation, GateVerdict, ModelVersion, RunState
from flagback.storage.store import Store
from flagback.storage.versions import (
    GateNotPassed,
    MissingReason,
    NewBase,
    NoModel,
    NothingToRollBack,
    OneLineOnly,
    StaleCandidate,
    UnknownVersion,
    current,
    fingerprint_of,
    promote,
    register_base,
    register_candidate,
    roll_back,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = NewBase("tiny", "/models/tiny", "plain", {"model.safetensors": "a" * 64}, {"parameters": 1}, "f" * 64)


def base(store: Store) -> int:
    with store.writing() as session:
        return register_base(session, BASE, by="ada").id


def candidate(
    store: Store, adapter: str, *, parent: int = 1, verdict: GateVerdict | None = "pass", state: RunState = "succeeded"
) -> int:
    """A corrected version, evaluated."""
    with store.writing() as session:
        run = CorrectionRun(parent_id=parent, recipe={}, seed=1, asked_by="ada")
        session.add(run)
        session.flush()
        made = register_candidate(session, run=run, adapter_sha256=adapter * 64, distance_to_base=0.1, facts={})
        session.add(
            Evaluation(
                candidate_id=made.id,
                base_id=parent,
                seed=1,
                state=state,
                verdict=verdict,
                asked_by="ada",
                reasons=[{"check": "harm", "verdict": verdict or "fail", "words": "Harm did not fall."}],
            )
        )
        return made.id


def states(store: Store) -> dict[int, str]:
    with store.reading() as session:
        return {row.id: row.state for row in session.exec(select(ModelVersion))}


def test_the_first_base_is_current_and_its_decision_on_record(store: Store) -> None:
    made = base(store)
    with store.reading() as session:
        assert current(session).id == made
        decision = session.exec(select(Decision)).one()
        entry = session.exec(select(AuditEntry)).one()
        version = session.get(ModelVersion, made)
    assert (decision.kind, decision.version_id, decision.previous_id, decision.decided_by) == ("promote", made, None, "ada")
    assert (entry.action, entry.details["decision"], entry.actor) == ("version.promote", decision.id, "ada")
    assert version is not None
    assert (version.first_base_id, version.adapters) == (made, [])


def test_the_same_base_again_is_the_same_and_another_is_refused(store: Store) -> None:
    assert base(store) == base(store)
    with (
        pytest.raises(OneLineOnly, match=r"serves 'tiny' .* FLAGBACK_HOME=FOLDER flagback model add /models/big"),
        store.writing() as session,
    ):
        register_base(session, BASE._replace(name="big", location="/models/big", fingerprint="e" * 64), by="ada")
    assert states(store) == {1: "current"}


def test_two_bases_at_once_leave_one(store: Store) -> None:
    gate = Barrier(4)

    def attempt(number: int) -> str:
        gate.wait()
        try:
            with store.writing() as session:
                return register_base(session, BASE._replace(fingerprint=str(number) * 64), by="ada").state
        except OneLineOnly:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == ["current", "refused", "refused", "refused"]


def test_without_a_model_the_next_command_is_named(sqlite_store: Store) -> None:
    with pytest.raises(NoModel, match="flagback model add"), sqlite_store.reading() as session:
        current(session)


def test_a_run_makes_one_candidate_however_often_it_registers(store: Store) -> None:
    base(store)
    with store.writing() as session:
        run = CorrectionRun(parent_id=1, recipe={}, seed=1, asked_by="ada")
        session.add(run)
    for _ in range(2):
        with store.writing() as session:
            made = register_candidate(session, run=run, adapter_sha256="b" * 64, distance_to_base=0.25, facts={"x": 1})
    assert (made.id, made.state, made.kind, made.parent_id, made.first_base_id) == (2, "candidate", "correction", 1, 1)
    assert (made.adapters, made.name, made.files, made.distance_to_base) == (["b" * 64], "correction 1", BASE.files, 0.25)
    assert made.fingerprint == fingerprint_of(BASE.files, ["b" * 64])
    with store.reading() as session:
        noted = session.exec(select(CorrectionRun)).one()
    assert (noted.candidate_id, noted.adapter_sha256) == (2, "b" * 64)


def test_two_runs_that_made_the_same_weights_share_a_version(store: Store) -> None:
    base(store)
    assert candidate(store, "b") == candidate(store, "b") == 2
    assert candidate(store, "c") == 3


def test_a_candidate_that_passed_becomes_current_with_its_evaluation_named(store: Store) -> None:
    base(store)
    made = candidate(store, "b")
    decision = promote(store, made, by="eve", now=NOON)
    assert (decision.kind, decision.version_id, decision.previous_id, decision.evaluation_id) == ("promote", made, 1, 1)
    assert decision.reason == "Evaluation 1 passed the gate."
    assert states(store) == {1: "retired", 2: "current"}
    with store.reading() as session:
        audit.verify(session)
        assert session.exec(select(AuditEntry.action).order_by(col(AuditEntry.id))).all() == ["version.promote", "version.promote"]


@pytest.mark.parametrize(
    ("verdict", "state", "words"),
    [
        ("fail", "succeeded", r"said 'fail' of version 2 \(correction 1\) \(evaluation 1\). Harm did not fall."),
        ("not_enough_data", "succeeded", "said 'not enough data'"),
        (None, "running", "is running; wait for its end"),
        (None, "failed", "is failed"),
    ],
)
def test_what_did_not_pass_is_promoted_only_by_override(
    store: Store, verdict: GateVerdict | None, state: RunState, words: str
) -> None:
    base(store)
    made = candidate(store, "b", verdict=verdict, state=state)
    with pytest.raises(GateNotPassed, match=words):
        promote(store, made, by="eve", now=NOON)
    assert states(store) == {1: "current", 2: "candidate"}
    decision = promote(store, made, by="eve", now=NOON, override_reason="The figures are from a bad prompt.")
    assert (decision.kind, decision.decided_by, decision.reason) == ("override", "eve", "The figures are from a bad prompt.")
    assert states(store) == {1: "retired", 2: "current"}


def test_only_the_newest_evaluation_counts(store: Store) -> None:
    base(store)
    made = candidate(store, "b", verdict="fail")
    with store.writing() as session:
        session.add(Evaluation(candidate_id=made, base_id=1, seed=2, state="succeeded", verdict="pass", asked_by="ada"))
    assert promote(store, made, by="eve", now=NOON).evaluation_id == 2


def test_an_unevaluated_candidate_is_refused(store: Store) -> None:
    base(store)
    made = candidate(store, "b")
    with store.writing() as session:
        session.connection().execute(text("DELETE FROM evaluation"))
    with pytest.raises(GateNotPassed, match="run 'flagback evaluate 2'"):
        promote(store, made, by="eve", now=NOON)


def test_an_override_needs_a_reason_and_every_decision_a_name(sqlite_store: Store) -> None:
    base(sqlite_store)
    made = candidate(sqlite_store, "b")
    with pytest.raises(MissingReason):
        promote(sqlite_store, made, by="eve", now=NOON, override_reason="  ")
    with pytest.raises(MissingReason):
        promote(sqlite_store, made, by="", now=NOON)
    with pytest.raises(MissingReason):
        roll_back(sqlite_store, by="eve", now=NOON, reason="")


def test_of_two_promotions_at_once_exactly_one_wins(store: Store) -> None:
    base(store)
    made = [candidate(store, letter) for letter in "bcde"]
    gate = Barrier(4)

    def attempt(version: int) -> str:
        gate.wait()
        try:
            return promote(store, version, by="eve", now=NOON).kind
        except StaleCandidate:
            return "stale"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, made)) == ["promote", "stale", "stale", "stale"]
    assert sorted(states(store).values()) == ["candidate", "candidate", "candidate", "current", "retired"]
    with store.reading() as session:
        assert len(session.exec(select(Decision)).all()) == len(session.exec(select(AuditEntry)).all()) == 2


def test_a_candidate_of_an_older_parent_is_stale_even_by_override(store: Store) -> None:
    base(store)
    first, second = candidate(store, "b"), candidate(store, "c")
    promote(store, first, by="eve", now=NOON)
    with pytest.raises(StaleCandidate, match=r"corrects version 1, but version 2 \(correction 1\) is current"):
        promote(store, second, by="eve", now=NOON, override_reason="I like it")
    with pytest.raises(StaleCandidate, match="is the current one already"):
        promote(store, first, by="eve", now=NOON)
    with pytest.raises(StaleCandidate, match="go back with 'flagback rollback'"):
        promote(store, 1, by="eve", now=NOON)
    with pytest.raises(UnknownVersion, match="no version 9"):
        promote(store, 9, by="eve", now=NOON)


def test_rolling_back_goes_down_the_line_one_by_one(store: Store) -> None:
    base(store)
    promote(store, candidate(store, "b"), by="eve", now=NOON)
    promote(store, candidate(store, "c", parent=2), by="eve", now=NOON)
    with store.reading() as session:
        assert current(session).adapters == ["b" * 64, "c" * 64]
    decision = roll_back(store, by="ada", now=NOON, reason="It stutters.")
    assert (decision.kind, decision.version_id, decision.previous_id, decision.reason) == ("roll_back", 2, 3, "It stutters.")
    assert states(store) == {1: "retired", 2: "current", 3: "retired"}
    roll_back(store, by="ada", now=NOON, reason="So does this.")
    assert states(store) == {1: "current", 2: "retired", 3: "retired"}
    with pytest.raises(NothingToRollBack, match="first of its line"):
        roll_back(store, by="ada", now=NOON, reason="And this?")


def test_what_was_rolled_back_comes_back_by_override_only(store: Store) -> None:
    base(store)
    made = candidate(store, "b")
    promote(store, made, by="eve", now=NOON)
    roll_back(store, by="ada", now=NOON, reason="It stutters.")
    with pytest.raises(GateNotPassed, match="was rolled back"):
        promote(store, made, by="eve", now=NOON)
    assert promote(store, made, by="eve", now=NOON, override_reason="It did not.").kind == "override"
    assert roll_back(store, by="ada", now=NOON, reason="It did.").version_id == 1


def test_the_database_refuses_a_second_current_version(store: Store) -> None:
    base(store)
    candidate(store, "b")
    with pytest.raises(IntegrityError), store.writing() as session:
        session.exec(update(ModelVersion).values(state="current"))


@pytest.mark.parametrize("statement", ["UPDATE decision SET decided_by = 'x'", "DELETE FROM decision"])
def test_the_database_refuses_to_change_a_decision(store: Store, statement: str) -> None:
    base(store)
    with pytest.raises(IntegrityError, match="rows of decision are never changed"), store.writing() as session:
        session.connection().execute(text(statement))
