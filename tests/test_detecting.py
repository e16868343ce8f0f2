"""Claims about the detector in the store: people's reviews only, never twice the same, and a queue in its order."""

import random
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from flagback.model import detecting
from flagback.model.detector import TooFewReviews
from flagback.review_app.settings import Settings
from flagback.review_app.steps import steps_of
from flagback.storage import judgements, queue, reviews, slots
from flagback.storage.answers import Answer
from flagback.storage.artifacts import Artifacts
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import AuditEntry, Detector, Generation, ItemPurpose, ModelVersion, SamplingRun, now
from flagback.storage.store import Store
from tests.fresh import migrate


def ask(store: Store, count: int, *, first: int = 0, purpose: ItemPurpose = "loop") -> None:
    """Prompts with two answers each, of which one is harmful by its word."""
    with store.writing() as session:
        asked = [NewPrompt([{"role": "user", "content": f"Visitor {n} was"}], "en") for n in range(first, first + count)]
        prompts = add_prompts(session, asked).ids
        made = add_generations(
            session,
            [
                NewGeneration(
                    prompt, f" {word} and {random.Random(prompt).choice(['tall', 'short', 'old'])}", "end", "sampled", purpose
                )
                for prompt in prompts
                for word in ("lazy", "kind")
            ],
        )
        make_items(session, made, purpose=purpose, reviews_per_item=1, seed=0)


def judge(store: Store, *, most: int = 1_000, simulated: bool = False, turned: bool = False, who: str = "r_one") -> int:
    """Flags what is lazy (or, turned, what is not), until nothing is left."""
    done = 0
    while done < most:
        held = slots.claim(store, who, count=min(50, most - done), now=now(), lease_for=timedelta(hours=1), seed=done)
        if not held:
            return done
        for one in held:
            flag = ("lazy" in one.text) != turned
            answer = Answer(
                token=str(uuid.uuid4()),
                lease_id=one.lease_id,
                verdict="flag" if flag else "fine",
                categories=["stereotype"] if flag else [],
                severity="clear" if flag else None,
                taxonomy_version="1",
                guideline_version="1",
            )
            reviews.submit(store, who, answer, now=now(), policy_version="1", simulated=simulated)
            done += 1
    return done


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """Where weights go."""
    return Artifacts(tmp_path / "artifacts")


def expected(store: Store) -> dict[str, set[str | None]]:
    """By the answer's first word, where what is expected came from."""
    with store.reading() as session:
        rows = session.exec(select(Generation.text, Generation.expected_harm_source)).all()
    found: dict[str, set[str | None]] = {}
    for text, source in rows:
        found.setdefault(text.split()[0], set()).add(source)
    return found


def test_reviews_teach_a_detector_that_expects_harm_where_it_is(store: Store, artifacts: Artifacts) -> None:
    ask(store, 40)
    judge(store)
    made = detecting.detect(store, artifacts, by="max")
    assert (made.n_answers, made.n_harmful, made.simulated) == (80, 40, False)
    assert made.figures["auc"]["value"] > 0.95
    ask(store, 20, first=100)
    ordered = detecting.order(store, artifacts)
    assert ordered.expected == 40
    with store.reading() as session:
        rows = session.exec(
            select(Generation.text, Generation.expected_harm).where(Generation.expected_harm_source == f"detector:{made.id}")
        ).all()
    assert len(rows) == 40
    assert min(harm or 0 for text, harm in rows if "lazy" in text) > max(harm or 0 for text, harm in rows if "kind" in text)
    with store.reading() as session:
        entry = session.exec(select(AuditEntry).order_by(col(AuditEntry.id).desc())).first()
    assert entry is not None
    assert (entry.actor, entry.action) == ("max", "detector trained")


def test_the_same_reviews_give_the_detector_that_is_there(sqlite_store: Store, artifacts: Artifacts) -> None:
    ask(sqlite_store, 40)
    judge(sqlite_store)
    one, other = (detecting.detect(sqlite_store, artifacts, by="max") for _ in range(2))
    assert one.id == other.id
    with sqlite_store.reading() as session:
        assert len(session.exec(select(Detector)).all()) == 1
        assert len(session.exec(select(AuditEntry).where(AuditEntry.action == "detector trained")).all()) == 1


def test_two_installations_with_the_same_reviews_have_the_same_weights(tmp_path: Path) -> None:
    found = []
    for name, parts in (("one", (40,)), ("other", (15, 25))):
        store = Store(f"sqlite:///{tmp_path / name}.db")
        migrate(store)
        for number, part in enumerate(parts):
            ask(store, part, first=sum(parts[:number]))
        with store.writing() as session:  # their answers differ by prompt id only where the texts do
            assert len(session.exec(select(Generation)).all()) == 80
        judge(store, who=f"r_{name}")
        found.append(detecting.detect(store, Artifacts(tmp_path / name), by="max"))
        store.close()
    assert (found[0].fingerprint, found[0].artifact, found[0].figures) == (
        found[1].fingerprint,
        found[1].artifact,
        found[1].figures,
    )


def test_simulated_reviews_never_mix_with_peoples(sqlite_store: Store, artifacts: Artifacts) -> None:
    ask(sqlite_store, 40)
    judge(sqlite_store, simulated=True, turned=True)
    with pytest.raises(TooFewReviews, match="0 judged answers"):
        detecting.detect(sqlite_store, artifacts, by="max")
    rehearsed = detecting.detect(sqlite_store, artifacts, by="rehearsal", simulated=True)
    assert rehearsed.simulated
    with sqlite_store.reading() as session:
        assert detecting.newest_detector(session) is None
    with pytest.raises(detecting.NoDetector, match="flagback detect"):
        detecting.order(sqlite_store, artifacts)
    assert detecting.renew(sqlite_store, artifacts, by="worker") is None


def test_blind_reviews_teach_nothing(sqlite_store: Store, artifacts: Artifacts) -> None:
    ask(sqlite_store, 40, purpose="blind")
    judge(sqlite_store)
    with sqlite_store.reading() as session:
        assert judgements.reviewed(session) == []
        assert judgements.count(session) == 0
    with pytest.raises(TooFewReviews):
        detecting.detect(sqlite_store, artifacts, by="max")


def test_a_corrected_answer_counts_as_corrected_and_a_skip_as_nothing(sqlite_store: Store) -> None:
    ask(sqlite_store, 1)
    first, second = slots.claim(sqlite_store, "r_one", count=2, now=now(), lease_for=timedelta(hours=1), seed=0)
    common = {"taxonomy_version": "1", "guideline_version": "1"}
    said = str(uuid.uuid4())
    given = [
        Answer(token=said, lease_id=first.lease_id, verdict="fine", **common),
        Answer(
            token=str(uuid.uuid4()),
            lease_id=first.lease_id,
            verdict="flag",
            categories=["stereotype"],
            severity="clear",
            supersedes_token=said,
            **common,
        ),
        Answer(token=str(uuid.uuid4()), lease_id=second.lease_id, verdict="skip", skip_reason="unclear", **common),
    ]
    for answer in given:
        reviews.submit(sqlite_store, "r_one", answer, now=now(), policy_version="1")
    with sqlite_store.reading() as session:
        rows = judgements.reviewed(session)
        assert judgements.count(session) == 1
    votes = {row.generation_id: detecting.judged(row) for row in rows}
    assert (votes[first.generation_id or 0].harm, votes[first.generation_id or 0].votes) == (1, 1)
    assert votes[second.generation_id or 0].votes == 0
    assert [one.votes for one in detecting.chosen(rows)] == [1]


def test_a_new_detector_is_trained_only_when_enough_was_judged_since(sqlite_store: Store, artifacts: Artifacts) -> None:
    ask(sqlite_store, 60)
    assert detecting.renew(sqlite_store, artifacts, by="worker") is None  # nothing was judged yet
    judge(sqlite_store, most=80)
    first = detecting.renew(sqlite_store, artifacts, by="worker")
    assert first is not None
    judge(sqlite_store, most=19)
    same = detecting.renew(sqlite_store, artifacts, by="worker")
    assert same is not None
    assert same.detector_id == first.detector_id
    judge(sqlite_store, most=1)
    later = detecting.renew(sqlite_store, artifacts, by="worker")
    assert later is not None
    assert later.detector_id > first.detector_id


def test_lost_weights_are_made_again(sqlite_store: Store, artifacts: Artifacts) -> None:
    ask(sqlite_store, 45)
    judge(sqlite_store, most=80)
    made = detecting.detect(sqlite_store, artifacts, by="max")
    for file in artifacts.path(made.artifact).iterdir():
        file.unlink()
    artifacts.path(made.artifact).rmdir()
    ordered = detecting.renew(sqlite_store, artifacts, by="worker")
    assert ordered is not None
    assert ordered.detector_id == made.id
    artifacts.verify(made.artifact)


def test_the_worker_orders_the_queue_after_a_sampling_and_not_after_a_simulated_one(sqlite_store: Store, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ask(sqlite_store, 40)
    judge(sqlite_store)
    ask(sqlite_store, 20, first=100)
    with sqlite_store.writing() as session:
        version = ModelVersion(kind="base", state="current", name="none", location="none", template="plain", fingerprint="0")
        session.add(version)
        session.flush()
        runs = [
            SamplingRun(version_id=version.id, decoding={}, prompt_ids=[], asked_by="test", simulated=simulated, state="succeeded")
            for simulated in (True, False)
        ]
        session.add_all(runs)
        session.flush()
        simulated, real = (run.id for run in runs)
    order = dict(steps_of(settings, sqlite_store)["sampling"])["order"]
    order(simulated)
    assert expected(sqlite_store) == {"lazy": {None}, "kind": {None}}
    order(real)
    assert expected(sqlite_store) == {"lazy": {None, "detector:1"}, "kind": {None, "detector:1"}}
    order(real)  # a step may be repeated
    assert len({one.generation_id for one in queue.waiting(sqlite_store)}) == 40
