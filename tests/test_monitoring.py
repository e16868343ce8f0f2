"""Claims about the tables behind the evidence pages, each worked by hand on a few records."""

import uuid
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func
from sqlmodel import Session, select

from flagback.review_app import monitoring
from flagback.storage import reviews, slots, suites
from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Evaluation, EvaluationItem, ItemPurpose, Lease, ModelVersion, Prompt, Review, VersionState, now
from flagback.storage.store import Store
from flagback.storage.suites import Answered, NewData
from flagback.storage.taxonomy import CATEGORY_CODES, GUIDELINE_VERSION, SKIP_CODES, TAXONOMY_VERSION

#: A Wednesday.
DAY = datetime(2026, 11, 18, 12, tzinfo=UTC)
_MORE: dict[str, Any] = {
    "flag": {"categories": [min(CATEGORY_CODES)], "severity": "clear"},
    "skip": {"skip_reason": min(SKIP_CODES)},
}


def version(session: Session, number: int, *, parent: int | None = None, state: VersionState = "candidate") -> int:
    """A version of the line that starts with number 1."""
    session.add(
        ModelVersion(
            id=number,
            kind="base" if parent is None else "correction",
            state=state,
            parent_id=parent,
            first_base_id=1,
            name=f"model {number}",
            location="embedded",
            template="plain",
            fingerprint=str(number) * 8,
            correction_run_id=number if parent else None,
        )
    )
    session.flush()
    return number


def evaluation(
    session: Session, base: int, candidate: int, figures: dict[str, Any], items: list[tuple[str, str, float, float]]
) -> None:
    """A succeeded evaluation with items (metric, cluster, base, candidate)."""
    row = Evaluation(
        base_id=base, candidate_id=candidate, seed=0, state="succeeded", figures=figures, asked_by="test", ended_at=now()
    )
    session.add(row)
    session.flush()
    for place, (metric, cluster, below, above) in enumerate(items):
        session.add(
            EvaluationItem(
                evaluation_id=row.id, metric=metric, item_key=f"{place}", cluster=cluster, base=below, candidate=above, texts={}
            )
        )
    session.flush()


def judge(
    store: Store,
    answers: list[str],
    *,
    version_id: int | None,
    verdicts: list[str],
    at: datetime = DAY,
    purpose: ItemPurpose = "loop",
    source: str = "sampled",
    simulated: bool = False,
) -> None:
    """Answers to as many prompts, each judged by as many reviewers as there are letters: F flag, S skip, else fine."""
    with store.writing() as session:
        # Other prompts at each call, and the same ones at each run: what is handed out when hangs on their hashes.
        name = f"call {session.exec(select(func.count()).select_from(Prompt)).one()}"
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"{name} {n}"}], "en") for n in range(len(answers))])
        made = add_generations(
            session,
            [
                NewGeneration(one, text, "end", source, f"x:{name}", version_id=version_id)  # type: ignore[arg-type]
                for one, text in zip(prompts.ids, answers, strict=True)
            ],
        )
        make_items(session, made, purpose=purpose, reviews_per_item=max(map(len, verdicts)), seed=0)
    wanted = dict(zip(made, verdicts, strict=True))
    for place in range(max(map(len, verdicts))):
        for claim in slots.claim(store, f"r_{place}", count=len(made), now=at, lease_for=timedelta(hours=1), seed=1):
            letters = wanted[claim.generation_id or 0]
            if place >= len(letters):
                continue
            kind = {"F": "flag", "S": "skip"}.get(letters[place], "fine")
            more: dict[str, Any] = _MORE.get(kind, {})
            answer = Answer(
                token=str(uuid.uuid4()),
                lease_id=claim.lease_id,
                verdict=kind,
                taxonomy_version=TAXONOMY_VERSION,
                guideline_version=GUIDELINE_VERSION,
                **more,
            )
            reviews.submit(store, f"r_{place}", answer, now=at, policy_version="1", simulated=simulated)


# ------------------------------------------------------------------- intervals


def test_the_share_of_flags_is_of_reviews_and_its_interval_of_families() -> None:
    """Families with 3 of 4 and 1 of 4: share 1/2, between-cluster variance (1 + 1) * 2 / 1 / 64 = 1/16, so worth 4 reviews."""
    share, low, high = monitoring.share_of([(3, 4), (1, 4)])
    z = 1.959964
    centre, half = (0.5 * 4 + z * z / 2) / (4 + z * z), z / (4 + z * z) * sqrt(4 * 0.25 + z * z / 4)
    assert (share, low, high) == pytest.approx((0.5, centre - half, centre + half))
    assert monitoring.share_of([]) == (0.0, 0.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_an_interval_holds_its_share_and_stays_a_share(rows: list[tuple[int, int]]) -> None:
    share, low, high = monitoring.share_of([(min(a, b), max(a, b)) for a, b in rows])
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


def test_groups_are_read_from_a_figures_name() -> None:
    assert monitoring.group_of("flag_rate") == ("", "all prompts")
    assert monitoring.group_of("flag_rate:age=old") == ("age", "old")
    assert monitoring.group_of("flag_rate:age=old,gender=woman") == ("age and gender", "old and woman")


# ---------------------------------------------------------------------- votes


def test_votes_are_peoples_answers_in_force_and_no_skips(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
    judge(sqlite_store, [" a", " b"], version_id=1, verdicts=["Ff", "fS"])
    judge(sqlite_store, [" c"], version_id=1, verdicts=["F"], simulated=True)
    judge(sqlite_store, [" d"], version_id=1, verdicts=["F"], source="logged")
    with sqlite_store.reading() as session:
        votes = monitoring.votes(session)
        assert monitoring.newest_review(session) == (6, 0, 0)
    assert sorted(zip(votes["seen"], votes["flag"], strict=True)) == [("live", 1), ("loop", 0), ("loop", 0), ("loop", 1)]


def test_without_any_review_every_table_is_there_and_empty(sqlite_store: Store) -> None:
    with sqlite_store.reading() as session:
        votes = monitoring.votes(session)
        assert monitoring.newest_review(session) == (0, 0, 0)
        tables = [
            monitoring.harm_by_version(session, votes),
            monitoring.harm_by_group(session),
            monitoring.changes_by_version(session),
            monitoring.weeks(votes),
            monitoring.coverage(session),
            monitoring.suites_by_version(session),
        ]
    assert [len(table) for table in tables] == [0] * 6
    assert [list(table.columns) for table in tables] == [
        monitoring.HARM,
        monitoring.GROUPS,
        monitoring.CHANGES,
        monitoring.WEEKS,
        monitoring.COVERAGE,
        monitoring.TESTS,
    ]


# ------------------------------------------------------------ harm by version


def test_a_version_of_two_evaluations_has_two_blind_shares_and_gaps_are_sums_of_paired_steps(sqlite_store: Store) -> None:
    """Version 3 was never compared with version 1: -50 points to version 2, and -25 from there. Ends: sqrt(.2^2 + .1^2)."""
    with sqlite_store.writing() as session:
        version(session, 1, state="retired")
        version(session, 2, parent=1, state="current")
        version(session, 3, parent=2)
        first = {"flag_rate": {"change": -0.5, "low": -0.7, "high": -0.3, "n": 4}}
        second = {"flag_rate": {"change": -0.25, "low": -0.35, "high": -0.15, "n": 4}}
        evaluation(session, 1, 2, first, [("flag_rate", c, 1.0, 0.5) for c in "abcd"])
        evaluation(session, 2, 3, second, [("flag_rate", c, 0.75, 0.5) for c in "efgh"])
    with sqlite_store.reading() as session:
        shares = monitoring.harm_by_version(session, monitoring.votes(session)).to_dict("records")
        gaps = monitoring.gaps_to_base(session).to_dict("records")
    assert [(row["evaluation"], row["version"], row["share"]) for row in shares] == [
        (1, 1, 1.0),
        (1, 2, 0.5),
        (2, 2, 0.75),
        (2, 3, 0.5),
    ]
    assert [(row["version"], row["gap"], row["steps"], row["n"]) for row in gaps] == [(2, -0.5, 1, 4), (3, -0.75, 2, 8)]
    assert (gaps[0]["low"], gaps[0]["high"]) == pytest.approx((-0.7, -0.3))
    assert (gaps[1]["low"], gaps[1]["high"]) == pytest.approx((-0.75 - sqrt(0.05), -0.75 + sqrt(0.05)))


def test_a_step_that_nobody_judged_leaves_no_gap(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="retired")
        version(session, 2, parent=1, state="current")
        version(session, 3, parent=2)
        evaluation(session, 2, 3, {"flag_rate": {"change": -0.2, "low": -0.3, "high": -0.1, "n": 4}}, [])
    with sqlite_store.reading() as session:
        assert len(monitoring.gaps_to_base(session)) == 0


def test_an_answer_of_the_loop_counts_by_how_likely_it_was_to_be_handed_out(sqlite_store: Store) -> None:
    """Ten harmful answers drawn four times as likely as eighty fine ones, of which twenty were drawn: 1/3 of those, 1/9 of all."""
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
    harmful = [n % 3 == 0 for n in range(30)]
    judge(sqlite_store, [f" answer {n}" for n in range(30)], version_id=1, verdicts=["F" if harm else "f" for harm in harmful])
    with sqlite_store.reading() as session:
        plain = monitoring.harm_by_version(session, monitoring.votes(session)).iloc[0]
    with sqlite_store.writing() as session:
        left = 10 * 4.0 + 80
        for place, review in enumerate(sorted(session.exec(select(Review)).all(), key=lambda one: (one.id * 7) % 31)):
            weight = 4.0 if review.verdict == "flag" else 1.0
            lease = session.get_one(Lease, review.lease_id)
            lease.probability, lease.claimed_at = weight / left, DAY + timedelta(seconds=place)
            left -= weight
    with sqlite_store.reading() as session:
        found = monitoring.harm_by_version(session, monitoring.votes(session)).iloc[0]
    assert plain["share"] == pytest.approx(1 / 3)
    assert found["share"] == pytest.approx(1 / 9, abs=0.06)
    assert found["low"] < 1 / 9 < found["high"]
    assert found["n"] == 30


def test_the_groups_that_are_too_few_are_read_from_the_evaluation() -> None:
    note = "Improved least of the 2 groups. Too few prompts to say anything: old (4), old and a (2)."
    row = Evaluation(base_id=1, candidate_id=2, seed=0, asked_by="t", figures={"length": {}, "flag_rate:age=young": {"note": note}})
    assert monitoring.too_few(row) == ["old (4)", "old and a (2)"]
    row.figures = {"flag_rate": {"note": ""}}
    assert monitoring.too_few(row) == []


def test_loop_and_live_answers_stand_apart_from_blind_ones(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
    judge(sqlite_store, [" a", " b"], version_id=1, verdicts=["FF", "ff"])
    judge(sqlite_store, [" c"], version_id=1, verdicts=["F"], source="logged")
    judge(sqlite_store, [" d"], version_id=None, verdicts=["F"], source="logged")
    with sqlite_store.reading() as session:
        found = monitoring.harm_by_version(session, monitoring.votes(session))
    assert [(row["seen"], row["share"], row["n"]) for row in found.to_dict("records")] == [("live", 1.0, 1), ("loop", 0.5, 4)]


def test_a_rehearsals_evaluation_is_not_evidence(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
        version(session, 2, parent=1)
        evaluation(session, 1, 2, {"flag_rate": {"n": 1}}, [("flag_rate", "a", 1.0, 0.0)])
        for row in session.exec(select(Evaluation)).all():
            row.simulated = True
            session.add(row)
    with sqlite_store.reading() as session:
        assert monitoring.newest_evaluations(session) == {}
        assert len(monitoring.harm_by_group(session)) == 0


def test_groups_come_after_all_prompts_with_both_versions(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
        version(session, 2, parent=1)
        items = [("flag_rate", "a", 1.0, 0.0), ("flag_rate", "b", 0.0, 0.0), ("flag_rate:age=old", "a", 1.0, 0.0)]
        figures = {"flag_rate": {"n": 2}, "flag_rate:age=old": {"n": 1}, "length": {"n": 2}}
        evaluation(session, 1, 2, figures, items)
    with sqlite_store.reading() as session:
        found = monitoring.harm_by_group(session).to_dict("records")
    assert [(row["group"], row["version"], row["share"], row["n"]) for row in found] == [
        ("all prompts", 1, 0.5, 2),
        ("all prompts", 2, 0.0, 2),
        ("old", 1, 1.0, 1),
        ("old", 2, 0.0, 1),
    ]


# ------------------------------------------------------------- weeks, coverage


def test_weeks_count_reviews_flags_people_and_agreement(sqlite_store: Store) -> None:
    """Week 46: one answer, 2 votes that differ. Week 47: 2 answers, (2,0) and (0,2): alpha 1."""
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
    judge(sqlite_store, [" a"], version_id=1, verdicts=["Ff"], at=DAY - timedelta(days=7))
    judge(sqlite_store, [" b", " c"], version_id=1, verdicts=["FF", "ff"])
    with sqlite_store.reading() as session:
        found = monitoring.weeks(monitoring.votes(session)).to_dict("records")
    assert [(row["week"], row["reviews"], row["flagged"], row["reviewers"], row["judged_twice"]) for row in found] == [
        ("2026-W46", 2, 1, 2, 1),
        ("2026-W47", 4, 2, 2, 2),
    ]
    assert [row["monday"].date().isoformat() for row in found] == ["2026-11-09", "2026-11-16"]
    assert [row["alpha"] for row in found] == pytest.approx([0.0, 1.0])


def test_coverage_counts_answers_begun_and_finished(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
    judge(sqlite_store, [" a", " b", " c"], version_id=1, verdicts=["Ff", "f", ""])
    with sqlite_store.reading() as session:
        [row] = monitoring.coverage(session).to_dict("records")
    assert row == {"version": 1, "purpose": "loop", "answers": 3, "begun": 2, "finished": 1, "prompts": 3, "reviews": 3}


# ------------------------------------------------------------ published tests


def test_published_tests_are_listed_by_version_group_and_number_and_failures_apart(sqlite_store: Store) -> None:
    level = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20, "clusters": 10}
    figures = {"n": 20, "figures": {"pct": level}, "groups": {"bias_type": {"age": {"n": 20, "figures": {"pct": level}}}}}
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
        version(session, 2, parent=1)
        data = suites.take_in(session, NewData("crows-pairs", "x.csv", {}, "a" * 64, "h", 20), by="ana", now=DAY)
        for number, kept in ((1, figures), (2, {"error": "pair 3 is too long"})):
            suites.keep(
                session,
                version_id=number,
                data_id=data.id,
                form="causal",
                figures=kept,
                items=[Answered("pair 0", {"pct": 1.0}, [])],
                now=DAY,
            )
    with sqlite_store.reading() as session:
        found = monitoring.suites_by_version(session).to_dict("records")
        assert [(row["version"], row["kind"], row["group"], row["value"]) for row in found] == [
            (1, "", "", 0.5),
            (1, "bias_type", "age", 0.5),
        ]
        assert len(monitoring.suites_by_version(session, 2)) == 0
        assert monitoring.suites_not_put(session, 2) == [("crows-pairs", "pair 3 is too long")]
        assert monitoring.suites_not_put(session, 1) == []
