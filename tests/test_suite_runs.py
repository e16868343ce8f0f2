"""Claims about published tests in the store: taken in once, put to both versions, compared by item, withdrawn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select

from flagback.model import suite_runs
from flagback.model.suites import crows_pairs
from flagback.model.suites.report import compared
from flagback.storage import audit, suites
from flagback.storage.reading import BadImport
from flagback.storage.records import AuditEntry, Evaluation, ModelVersion, SuiteComparison, SuiteData, SuiteItem, SuiteRun, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.test_evaluating import Candidate

HEAD = "sent_more,sent_less,stereo_antistereo,bias_type\n"


def _file(folder: Path, name: str = "pairs.csv", *, rows: int = 12, long: bool = False) -> Path:
    words = "very " * (3_000 if long else 1)
    path = folder / name
    path.write_text(
        HEAD
        + "".join(
            f"The {words}old man {i} hid.,The {words}young man {i} hid.,stereo,{('age', 'looks')[i % 2]}\n" for i in range(rows)
        ),
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Candidate]:
    """A base and its candidate; each test takes in data of its own."""
    folder = tmp_path_factory.mktemp("suite-runs")
    store = Store(f"sqlite:///{folder / 'records.db'}")
    migrate(store)
    yield Candidate(store, folder, prompts=60)
    store.close()


@pytest.fixture(autouse=True)
def fresh(candidate: Candidate) -> None:
    with candidate.store.writing() as session:
        for data in suites.in_use(session):
            suites.withdraw(session, data.id, by="test", now=now())
        evaluation = session.get_one(Evaluation, candidate.evaluation)
        evaluation.state = "running"
        session.add(evaluation)


def _take_in(candidate: Candidate, path: Path) -> SuiteData:
    return suite_runs.take_in(
        candidate.store, candidate.shelf.artifacts, "crows-pairs", path, location=str(path), columns={}, by="ana"
    )


def _versions(candidate: Candidate) -> list[int]:
    with candidate.store.reading() as session:
        return list(session.exec(select(ModelVersion.id).order_by(col(ModelVersion.id))).all())


def test_an_evaluation_puts_every_test_in_use_to_both_versions_and_keeps_each_item(candidate: Candidate, tmp_path: Path) -> None:
    data = _take_in(candidate, _file(tmp_path, rows=12))
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)
    base, corrected = _versions(candidate)
    with candidate.store.reading() as session:
        found = suites.runs_of(session, data.id)
        assert set(found) == {base, corrected}
        answered = {version: suites.answers(session, run.id) for version, run in found.items()}
        kept = suites.comparison(session, found[base].id, found[corrected].id)
    assert [len(one) for one in answered.values()] == [12, 12]
    assert found[base].figures["figures"]["pct_stereotype"]["n"] == 12
    assert found[base].figures["groups"]["bias_type"].keys() == {"age", "looks"}
    items = crows_pairs.read(tmp_path / "pairs.csv")
    below, above = ([answered[version][item.key].measures for item in items] for version in (base, corrected))
    again = [one.to_dict() for one in compared(crows_pairs, items, below, above, "causal", seed=suite_runs.SEED)]
    assert kept == again, "what is kept by item gives the comparison anew"


def test_the_same_data_twice_are_one_row_and_are_put_once(
    candidate: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _take_in(candidate, _file(tmp_path, "a.csv", rows=4))
    assert _take_in(candidate, _file(tmp_path, "b.csv", rows=4)).id == data.id
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)
    monkeypatch.setattr("flagback.model.examination.examined", lambda *_a, **_k: pytest.fail("asked again"))
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)


def test_withdrawn_data_are_put_no_more_and_what_was_found_stays(candidate: Candidate, tmp_path: Path) -> None:
    data = _take_in(candidate, _file(tmp_path, rows=5))
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)
    with candidate.store.writing() as session:
        suites.withdraw(session, data.id, by="ana", now=now())
        suites.withdraw(session, data.id, by="ana", now=now())
        assert suites.in_use(session) == []
        assert len(suites.runs_of(session, data.id)) == 2
        said = session.exec(select(AuditEntry).where(AuditEntry.action == "suite.withdraw", AuditEntry.actor == "ana")).all()
        assert [one.details["data"] for one in said] == [data.id]
        audit.verify(session)
    assert _take_in(candidate, tmp_path / "pairs.csv").id == data.id
    with candidate.store.reading() as session:
        assert [one.id for one in suites.in_use(session)] == [data.id]


def test_the_copy_that_was_kept_is_put_even_when_the_file_is_gone(candidate: Candidate, tmp_path: Path) -> None:
    path = _file(tmp_path, rows=6)
    data = _take_in(candidate, path)
    path.unlink()
    suite, items = suite_runs.items_of(candidate.shelf.artifacts, data)
    assert (suite.NAME, len(items)) == ("crows-pairs", 6)


def test_data_that_a_model_cannot_be_put_fail_no_evaluation_and_say_why(candidate: Candidate, tmp_path: Path) -> None:
    data = _take_in(candidate, _file(tmp_path, rows=2, long=True))
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)
    base, corrected = _versions(candidate)
    with candidate.store.reading() as session:
        found = suites.runs_of(session, data.id)
        assert session.get_one(Evaluation, candidate.evaluation).state == "running"
    assert "pair 0" in found[base].figures["error"]
    with pytest.raises(suite_runs.NotAsked, match=rf"Version {base} has no answers to crows-pairs.*flagback evaluate {base}"):
        suite_runs.changes(candidate.store, candidate.shelf.artifacts, data, base, corrected)


def test_a_file_that_is_refused_leaves_nothing(candidate: Candidate, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n", encoding="utf-8")
    before = _counts(candidate.store)
    with pytest.raises(BadImport, match="no column 'sent_more'"):
        _take_in(candidate, wrong)
    with pytest.raises(suite_runs.UnknownSuite, match="No suite is called 'crows'"):
        suite_runs.take_in(candidate.store, candidate.shelf.artifacts, "crows", wrong, location="x", columns={}, by="ana")
    assert _counts(candidate.store) == before


def _counts(store: Store) -> list[int]:
    with store.reading() as session:
        return [len(session.exec(select(kind)).all()) for kind in (SuiteData, SuiteRun, SuiteItem, SuiteComparison, AuditEntry)]


def test_answers_put_anew_replace_the_old_ones_and_forget_what_rested_on_them(candidate: Candidate, tmp_path: Path) -> None:
    data = _take_in(candidate, _file(tmp_path, rows=3))
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)
    base, corrected = _versions(candidate)
    with candidate.store.writing() as session:
        ran = suites.runs_of(session, data.id)
        one = suites.Answered("only", {"pct_stereotype": 1.0}, ["said"])
        suites.keep(session, version_id=corrected, data_id=data.id, form="causal", figures={"n": 1}, items=[one], now=now())
        assert suites.answers(session, ran[corrected].id) == {"only": one}
        assert suites.comparison(session, ran[base].id, ran[corrected].id) is None


def test_an_unknown_number_says_which_are_in_use(candidate: Candidate, tmp_path: Path) -> None:
    data = _take_in(candidate, _file(tmp_path, rows=7))
    with candidate.store.reading() as session, pytest.raises(suites.UnknownSuiteData, match=rf"number 999; in use: {data.id}\."):
        suites.get(session, 999)


def test_an_ended_evaluation_is_left_as_it_is(candidate: Candidate, tmp_path: Path) -> None:
    data = _take_in(candidate, _file(tmp_path, rows=9))
    with candidate.store.writing() as session:
        evaluation = session.get_one(Evaluation, candidate.evaluation)
        evaluation.state = "cancelled"
        session.add(evaluation)
    suite_runs.put_all(candidate.store, candidate.shelf, candidate.evaluation)
    with candidate.store.reading() as session:
        assert suites.runs_of(session, data.id) == {}
