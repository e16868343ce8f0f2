"""Claims about setting aside and adjudicating: reasoned, reversible, recorded; and about what is told of how reviewers work."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError
from sqlmodel import col, select

from flagback.model import pair_sets, reviewer_quality
from flagback.model.reviewer_quality import qualities
from flagback.storage import adjudications, audit, judgements, overlap, reviews, runs, set_aside
from flagback.storage.answers import Answer
from flagback.storage.export import FORMATS, NothingToExport, export_reviews
from flagback.storage.judgements import Given
from flagback.storage.overview import loop_state
from flagback.storage.panel import totals as panel_totals
from flagback.storage.preferences import NewPair, freeze
from flagback.storage.records import Adjudication, AuditEntry, Item, Review, now
from flagback.storage.set_aside import AlreadySetAside, NoReason, NotSetAside, UnknownReviewer
from flagback.storage.set_export import export_set
from flagback.storage.store import Store
from tests.panel_of_two_groups import KEY, judged_panel

REASON = "answers in under a second, all fine"


def test_answers_left_out_count_nowhere_until_it_is_ended(store: Store) -> None:
    panel = judged_panel(store, prompts=2, men=5, women=2)
    who = panel.men[0]
    with store.writing() as session:
        before = len(reviews.effective(session))
        row = set_aside.add(session, "exclude", reviewer=who, reason=REASON, by="lea", now=now())
    with store.reading() as session:
        left = reviews.effective(session)
        assert len(left) == before - 4
        assert who not in {review.reviewer for review in left}
        assert all(len(row.votes) == 6 for row in judgements.reviewed(session))
        assert len(session.exec(select(Review)).all()) == before  # nothing is deleted
        assert {one.reviewer for one in judgements.given(session)} >= {who}  # how somebody works stays to be seen
    with store.writing() as session:
        set_aside.end(session, row.id, by="lea", now=now())
        assert len(reviews.effective(session)) == before
        assert [entry.action for entry in session.exec(select(AuditEntry)).all()][-2:] == ["set aside", "set aside ended"]
        audit.verify(session)


def test_one_review_left_out_takes_its_corrections_with_it(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    with sqlite_store.reading() as session:
        [first] = session.exec(
            select(Review).join(Item).where(Review.reviewer == panel.women[0], Item.generation_id == panel.generations[0])
        ).all()
    corrected = Answer(
        token="00000000-0000-4000-8000-000000000001",
        lease_id=first.lease_id,
        verdict="fine",
        taxonomy_version="1",
        guideline_version="1",
        supersedes_token=first.token,
    )
    with sqlite_store.writing() as session:
        before = len(reviews.effective(session))
        set_aside.add(session, "exclude", review_id=first.id, reason=REASON, by="lea", now=now())
        assert len(reviews.effective(session)) == before - 1
    reviews.submit(sqlite_store, panel.women[0], corrected, now=now(), policy_version="1")
    with sqlite_store.reading() as session:
        assert len(reviews.effective(session)) == before - 1


def test_a_pause_ends_and_answers_given_before_it_count_throughout(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    with sqlite_store.writing() as session:
        before = len(reviews.effective(session))
        row = set_aside.add(session, "pause", reviewer=panel.men[0], reason=REASON, by="lea", now=now())
        assert set_aside.paused(session, panel.men[0])
        assert not set_aside.paused(session, panel.men[1])
        assert len(reviews.effective(session)) == before
        set_aside.end(session, row.id, by="lea", now=now())
        assert not set_aside.paused(session, panel.men[0])


def test_whether_an_answer_counts_is_looked_up_by_its_item(sqlite_store: Store) -> None:
    """Looked up by its reviewer it takes as long as that person has answers: asking for a correction held the store for minutes."""
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(sqlite_store.engine, "before_cursor_execute", keep)
    with sqlite_store.reading() as session:
        runs.flags_to_learn_from(session, 1)
    event.remove(sqlite_store.engine, "before_cursor_execute", keep)
    [(statement, parameters)] = [one for one in sent if "set_aside" in one[0]]
    with sqlite_store.engine.connect() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    of_reviews = [line for line in plan if line.startswith(("SEARCH review", "SCAN review"))]
    assert len(of_reviews) == 2
    assert all("ix_review_item_reviewer (item_id=?" in line for line in of_reviews), plan


def test_setting_aside_needs_a_reason_a_person_and_happens_once(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    who = panel.men[0]
    with sqlite_store.writing() as session:
        with pytest.raises(NoReason, match="at least 10"):
            set_aside.add(session, "pause", reviewer=who, reason="  bad    ", by="lea", now=now())
        with pytest.raises(UnknownReviewer, match="r_nobody"):
            set_aside.add(session, "pause", reviewer="r_nobody", reason=REASON, by="lea", now=now())
        with pytest.raises(UnknownReviewer, match="no review 999"):
            set_aside.add(session, "exclude", review_id=999, reason=REASON, by="lea", now=now())
        with pytest.raises(UnknownReviewer, match="whom"):
            set_aside.add(session, "pause", review_id=1, reason=REASON, by="lea", now=now())
        row = set_aside.add(session, "pause", reviewer=who, reason=REASON, by="lea", now=now())
        with pytest.raises(AlreadySetAside, match=f"Record {row.id}"):
            set_aside.add(session, "pause", reviewer=who, reason=REASON, by="lea", now=now())
        set_aside.end(session, row.id, by="lea", now=now())
        with pytest.raises(NotSetAside, match="in force: none"):
            set_aside.end(session, row.id, by="lea", now=now())
        assert set_aside.add(session, "pause", reviewer=who, reason=REASON, by="lea", now=now()).id != row.id


# -------------------------------------------------------------------- adjudication


def test_leads_see_arguments_and_no_identity_and_the_newest_conclusion_is_in_force(store: Store) -> None:
    panel = judged_panel(store, prompts=2, men=5, women=2)
    with store.writing() as session:
        found = adjudications.contested(session, adjudications.differing(session))
        assert len(found) == 2
        shown = repr(found)
        assert not any(name in shown for name in (*panel.men, *panel.women))
        assert [argument.verdict for argument in found[0].arguments] == ["flag"] * 2 + ["fine"] * 5
        assert found[0].conclusion is None
        item = found[0].item_id
        for conclusion in ("harm", "legitimate_disagreement"):
            adjudications.conclude(session, item, conclusion, reason="by the guideline, 3.2", by="lea", now=now())
        assert adjudications.in_force(session) == {item: "legitimate_disagreement"}
        assert item not in adjudications.differing(session)
        both = adjudications.contested(session, adjudications.differing(session, open_only=False))
        assert {one.item_id: one.conclusion for one in both}[item] == "legitimate_disagreement"
        assert len(both) == 2
        assert len(session.exec(select(Adjudication)).all()) == 2


def test_what_nobody_differs_on_is_not_adjudicated_and_a_conclusion_needs_a_reason(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    with sqlite_store.writing() as session:
        items = dict(session.exec(select(Item.generation_id, Item.id)).all())
        with pytest.raises(adjudications.NotContested):
            adjudications.conclude(session, items[panel.generations[1]], "harm", reason="a long reason", by="lea", now=now())
        with pytest.raises(adjudications.NotContested):
            adjudications.conclude(session, 999, "harm", reason="a long reason", by="lea", now=now())
        with pytest.raises(adjudications.NoReason):
            adjudications.conclude(session, items[panel.generations[0]], "harm", reason="so", by="lea", now=now())
        assert not session.exec(select(Adjudication)).all()


def test_a_conclusion_cannot_be_overwritten(store: Store) -> None:
    judged_panel(store, prompts=1, men=5, women=2)
    with store.writing() as session:
        item = adjudications.differing(session)[0]
        adjudications.conclude(session, item, "harm", reason="by the guideline", by="lea", now=now())
    with pytest.raises(DatabaseError), store.writing() as session:
        session.exec(select(Adjudication)).one().conclusion = "fine"
        session.flush()


# ------------------------------------------------------------------------- quality


def given(reviewer: str, item: int, verdict: str, *, seconds: float | None = 5.0, content: str | None = None) -> Given:
    flag = verdict == "flag"
    return Given(reviewer, item, content or f"c{item}", verdict, ["stereotype"] if flag else [], "clear" if flag else None, seconds)


def test_a_lone_dissenter_looks_no_worse_for_flagging_what_nobody_else_does() -> None:
    others = [given(f"r{n}", item, "fine") for n in range(6) for item in range(20)]
    dissent = [given("lone", item, "flag") for item in range(20)]
    agree = [given("meek", item, "fine") for item in range(20)]
    found = {one.reviewer: one for one in qualities([*others, *dissent, *agree])}
    assert found["lone"]._replace(reviewer="") == found["meek"]._replace(reviewer="")


def test_plain_cases_are_those_that_five_others_all_flagged() -> None:
    rows = [given(f"r{n}", item, "flag") for n in range(5) for item in range(10)]
    mine = [given("me", item, "fine" if item < 5 else "flag") for item in range(10)]
    found = {one.reviewer: one for one in qualities([*rows, *mine])}
    assert found["me"].plain is not None
    assert (found["me"].plain.value, found["me"].plain.n) == (0.5, 10)
    assert found["r0"].plain is not None
    # where "me" said fine, it was no plain case for the others: not everybody saw it
    assert (found["r0"].plain.value, found["r0"].plain.n) == (1.0, 5)


def test_speed_and_steadiness_are_a_persons_own() -> None:
    rows = [given("a", item, "fine", seconds=1.0 if item < 2 else 10.0) for item in range(8)]
    rows += [given("a", 100 + item, "flag" if item == 0 else "fine", content=f"c{item}") for item in range(5)]
    [found] = qualities([*rows, given("a", 50, "skip")])
    assert (found.judged, found.skipped, found.seconds) == (13, 1, 5.0)
    assert found.hasty is not None
    assert (found.hasty.value, found.hasty.n) == (2 / 13, 13)
    assert found.steady is not None
    assert (found.steady.value, found.steady.n) == (0.8, 5)
    assert found.plain is None


def test_figures_of_too_few_answers_are_not_given() -> None:
    [found] = qualities([given("a", 1, "fine", seconds=None)])
    assert (found.seconds, found.hasty, found.steady, found.plain) == (None, None, None, None)
    assert reviewer_quality.share(4, 4) is None
    assert pair_sets.Choice().to_dict() == {}


def test_contested_answers_come_a_page_at_a_time_the_most_split_first_or_those_judged_last(store: Store) -> None:
    panel = judged_panel(store, prompts=4, men=5, women=2)
    with store.reading() as session:
        items = {found.generation_id: found.id for found in session.exec(select(Item)).all()}
        contested = [items[generation] for generation in panel.generations[::2]]
    newest = session_ids(store, newest_first=True)
    assert session_ids(store) == contested  # all alike: two of seven
    assert newest == contested[::-1]
    with store.writing() as session:  # one man fewer on the third answer makes it the most even
        third = session.exec(select(Review.id).where(Review.item_id == contested[2], Review.reviewer == panel.men[0])).one()
        set_aside.add(session, "exclude", review_id=third, reason=REASON, by="lea", now=now())
    split = [contested[2], contested[0], contested[1], contested[3]]
    assert session_ids(store) == split
    with store.reading() as session:
        page = adjudications.contested(session, split[:3])
    assert [(one.item_id, len(one.arguments)) for one in page] == list(zip(split[:3], [6, 7, 7], strict=True))


def session_ids(store: Store, *, newest_first: bool = False) -> list[int]:
    with store.reading() as session:
        return adjudications.differing(session, newest_first=newest_first)


def test_everything_that_was_concluded_stays_to_be_seen_newest_first(store: Store) -> None:
    judged_panel(store, prompts=1, men=5, women=2)
    item = session_ids(store)[0]
    with store.writing() as session:
        adjudications.conclude(session, item, "harm", reason=REASON, by="lea", now=now())
        adjudications.conclude(session, item, "legitimate_disagreement", reason=REASON, by="lou", now=now())
    with store.reading() as session:
        found = [(row.conclusion, row.decided_by) for row in adjudications.history(session, item)]
        assert adjudications.history(session, item + 1) == []
    assert found == [("legitimate_disagreement", "lou"), ("harm", "lea")]


# ----------------------------------------------------------------- exports and totals


def test_an_export_of_reviews_keeps_what_is_left_out_and_marks_it(store: Store, tmp_path: Path) -> None:
    panel = judged_panel(store, prompts=2, men=5, women=2)
    who = panel.men[0]
    with store.writing() as session:
        one = set_aside.add(session, "exclude", reviewer=who, reason=REASON, by="lea", now=now())
        other = session.exec(select(Review.id).where(Review.reviewer == panel.women[0])).all()[0]
        set_aside.add(session, "exclude", review_id=other, reason=REASON, by="lea", now=now())
        set_aside.add(session, "pause", reviewer=panel.men[1], reason=REASON, by="lea", now=now())
    for kind in FORMATS:
        export_reviews(store, tmp_path / kind, format=kind)
    rows = [json.loads(line) for line in (tmp_path / "jsonl" / "reviews.jsonl").read_text().splitlines()]
    assert len(rows) == 28
    assert {row["review_id"] for row in rows if row["left_out"]} == {
        other,
        *(row["review_id"] for row in rows if row["pseudonym"] == who),
    }
    assert [row["left_out"] for row in rows] == pd.read_parquet(tmp_path / "parquet" / "reviews.parquet")["left_out"].tolist()
    with store.writing() as session:
        set_aside.end(session, one.id, by="lea", now=now())
    export_reviews(store, tmp_path / "again", format="jsonl")
    after = [json.loads(line) for line in (tmp_path / "again" / "reviews.jsonl").read_text().splitlines()]
    assert [row["review_id"] for row in after if row["left_out"]] == [other]


def test_an_export_of_pairs_is_without_those_that_rest_on_what_was_left_out_since(store: Store, tmp_path: Path) -> None:
    panel = judged_panel(store, prompts=3, men=5, women=2)
    with store.writing() as session:
        mine = session.exec(select(Review.id).where(Review.reviewer == panel.men[0])).all()
        theirs = session.exec(select(Review.id).where(Review.reviewer == panel.men[1])).all()
        prompts = session.exec(select(Item.prompt_id).distinct().order_by(col(Item.prompt_id))).all()
        pairs = [
            NewPair("contrast", prompt, panel.generations[2 * place + 1], panel.generations[2 * place], 0.9, 1.0, [backing])
            for place, (prompt, backing) in enumerate(zip(prompts, (mine[0], theirs[0], theirs[1]), strict=True))
        ]
        freeze(session, pairs, origin="reviews", policy="majority", policy_version="1", arguments={}, salt="s", simulated=False)
    whole = export_set(store, tmp_path / "whole", format="jsonl")
    assert (sum(whole.rows.values()), whole.left_out) == (3, 0)
    with store.writing() as session:
        first = set_aside.add(session, "exclude", reviewer=panel.men[0], reason=REASON, by="lea", now=now())
    part = export_set(store, tmp_path / "part", format="jsonl")
    assert (sum(part.rows.values()), part.left_out) == (2, 1)
    rows = [json.loads(line) for file in (tmp_path / "part").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(row["review_ids"] for row in rows) == sorted([[theirs[0]], [theirs[1]]])
    assert "1 pairs of the set are not here" in (tmp_path / "part" / "README.md").read_text()
    with store.writing() as session:
        set_aside.add(session, "exclude", reviewer=panel.men[1], reason=REASON, by="lea", now=now())
    with pytest.raises(NothingToExport, match="All 3 pairs of set 1 rest on answers that were left out"):
        export_set(store, tmp_path / "none", format="jsonl")
    with store.writing() as session:
        set_aside.end(session, first.id, by="lea", now=now())
    assert export_set(store, tmp_path / "back", format="jsonl").left_out == 2


def test_what_is_left_out_is_in_no_total(store: Store) -> None:
    panel = judged_panel(store, prompts=2, men=5, women=2)

    def totals() -> tuple[int, int, int, float | None, list[tuple[int, int]], int]:
        with store.reading() as session:
            loop = loop_state(session)
            voted = sorted(overlap.votes(session))
            learnt = runs.flags_to_learn_from(session, panel.version_id)
            return panel_totals(session, KEY).answers, loop.reviews, loop.flags_on_current, loop.flag_share, voted, learnt

    before = totals()
    assert before == (28, 28, 4, 4 / 28, [(0, 7), (0, 7), (2, 7), (2, 7)], 4)
    with store.writing() as session:
        row = set_aside.add(session, "exclude", reviewer=panel.women[0], reason=REASON, by="lea", now=now())
    assert totals() == (24, 24, 2, 2 / 24, [(0, 6), (0, 6), (1, 6), (1, 6)], 2)
    with store.writing() as session:
        set_aside.end(session, row.id, by="lea", now=now())
        set_aside.add(session, "pause", reviewer=panel.women[0], reason=REASON, by="lea", now=now())
    assert totals() == before


def test_who_is_left_out_is_handed_nothing_since_it_would_fill_seats_and_count_nowhere(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    with sqlite_store.writing() as session:
        row = set_aside.add(session, "exclude", reviewer=panel.men[0], reason=REASON, by="lea", now=now())
        assert set_aside.paused(session, panel.men[0])
        set_aside.end(session, row.id, by="lea", now=now())
        assert not set_aside.paused(session, panel.men[0])


def test_one_answer_left_out_pauses_nobody(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    with sqlite_store.writing() as session:
        [review] = session.exec(select(Review).where(Review.reviewer == panel.men[0]).limit(1)).all()
        set_aside.add(session, "exclude", review_id=review.id, reason=REASON, by="lea", now=now())
        assert not set_aside.paused(session, panel.men[0])


def test_a_conclusion_can_be_revised_when_nobody_differs_any_more(sqlite_store: Store) -> None:
    panel = judged_panel(sqlite_store, prompts=1, men=5, women=2)
    with sqlite_store.writing() as session:
        [item] = session.exec(select(Item.id).where(Item.generation_id == panel.generations[0])).all()
        adjudications.conclude(session, item, "fine", reason=REASON, by="lea", now=now())
        for who in panel.men:
            set_aside.add(session, "exclude", reviewer=who, reason=REASON, by="lea", now=now())
        verdicts = {review.verdict for review in reviews.effective(session, item_ids=[item])}
        assert len(verdicts) == 1
        assert item in adjudications.differing(session, open_only=False)
        assert item not in adjudications.differing(session)
        adjudications.conclude(session, item, "legitimate_disagreement", reason=REASON, by="lea", now=now())
        assert adjudications.in_force(session)[item] == "legitimate_disagreement"


def test_what_was_left_out_makes_no_plain_case() -> None:
    """Six flag everything as clear, one does not; five of the six are left out, and nothing is plain any more."""
    given = [
        Given(who, item, f"text {item}", "fine" if who == "r_other" else "flag", ["stereotype"], "clear", 5.0, counts=counted)
        for item in range(6)
        for who, counted in [("r_other", True), *((f"r_{n}", n == 0) for n in range(6))]
    ]
    [plain] = [one.plain for one in qualities(given) if one.reviewer == "r_other"]
    assert plain is None
    [before] = [one.plain for one in qualities([one._replace(counts=True) for one in given]) if one.reviewer == "r_other"]
    assert before is not None
    assert before.value == 0
