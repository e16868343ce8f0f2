"""The detector in the store: learns from people's reviews, says what it expects of answers that wait, has the queue re-ordered.

Fetches and keeps; what is computed is in detector.py and detector_figures.py. It orders and decides nothing: no figure of a model,
no gate and no set reads what it expects. Reviews of blind samples teach it nothing: it knows nothing of what judges a candidate.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session, col, select

from flagback.model import detector, policy
from flagback.model.detector_figures import Told, figures
from flagback.model.mentions import tagged_axes
from flagback.model.representation import spoken_of
from flagback.storage import audit, judgements, queue
from flagback.storage.artifacts import Artifacts, MissingArtifact
from flagback.storage.records import Detector, Prompt, now
from flagback.storage.store import Store

Clock = Callable[[], datetime]

#: A new detector is trained by itself when so many more answers were judged than the last one learnt from: a number and a share.
NEW_ANSWERS, NEW_SHARE = 20, 0.2
#: Answers that one detector learns from at most, drawn by the hash of their content; 10,000 take about a minute.
MOST_ANSWERS = 10_000
#: Answers looked at in one go.
AT_A_TIME = 1_000
#: What a detector said of answers it had not seen, by content key: for reading them on the page.
UNSEEN = "unseen.json"


class Ordered(NamedTuple):
    """What a look at the queue did."""

    detector_id: int
    #: Answers that something is expected of now.
    expected: int
    #: Items that nobody has had, items that lack further reviews, and items whose place changed.
    fresh: int
    begun: int
    moved: int


class NoDetector(Exception):
    """There is no detector yet; train one with 'flagback detect'."""


def detect(store: Store, artifacts: Artifacts, *, by: str, simulated: bool = False, clock: Clock = now) -> Detector:
    """Trains a detector on the reviews as they stand and keeps it with its figures; the same reviews give the one that is there.

    Raises TooFewReviews.
    """
    with store.reading() as session:
        rows = judgements.reviewed(session, simulated=simulated)
        axes = tagged_axes(session.exec(select(Prompt.tags)).all())
    learnt = chosen(rows)
    by_key = {judged(row).key: row for row in rows}
    groups = {
        one.key: spoken_of(by_key[one.key].prompt, by_key[one.key].tags, lang=by_key[one.key].lang, extra=axes) for one in learnt
    }
    detector.check(learnt)
    name = detector.fingerprint(learnt)
    known = _named(store, name)
    if known is not None and _is_kept(artifacts, known):
        return known
    trained = detector.train(learnt)
    told = [
        Told(float(probability), float(base), one.harm, one.votes, one.cluster, groups[one.key])
        for one, probability, base in zip(trained.judged, trained.unseen, trained.base_rates, strict=True)
    ]
    found = figures(told)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        detector.save(trained.detector, folder)
        said = {one.key: round(float(p), 6) for one, p in zip(trained.judged, trained.unseen, strict=True)}
        (folder / UNSEEN).write_text(json.dumps(said, separators=(",", ":")), encoding="utf-8")
        artifact = artifacts.put(folder)

    def keep(session: Session) -> Detector:
        row = session.exec(select(Detector).where(Detector.fingerprint == name)).first()
        if row is not None:
            return row
        row = Detector(
            fingerprint=name,
            artifact=artifact,
            n_answers=len(learnt),
            n_harmful=found["harmful"],
            figures=found,
            simulated=simulated,
            created_at=clock(),
        )
        session.add(row)
        session.flush()
        details = {"detector": row.id, "answers": row.n_answers, "artifact": artifact}
        audit.record(session, actor=by, action="detector trained", details=details, now=clock())
        return row

    return store.settle(keep)


def order(store: Store, artifacts: Artifacts, *, clock: Clock = now) -> Ordered:
    """Has the newest detector look at every answer that waits unjudged, and re-orders the queue. Raises NoDetector."""
    with store.reading() as session:
        newest = newest_detector(session)
    if newest is None:
        raise NoDetector("There is no detector yet; train one with 'flagback detect'.")
    loaded = detector.load(artifacts.path(newest.artifact))
    waiting = queue.waiting(store)
    expected: dict[int, float] = {}
    for start in range(0, len(waiting), AT_A_TIME):
        part = waiting[start : start + AT_A_TIME]
        harm = detector.predict(loaded, [(one.prompt, one.answer) for one in part])
        expected |= {one.generation_id: float(value) for one, value in zip(part, harm, strict=True)}
    # What somebody has judged keeps what was expected before: afterwards is too late to expect.
    unjudged = {one.generation_id: expected[one.generation_id] for one in waiting if not one.begun}
    queue.expect(store, unjudged, source=f"detector:{newest.id}")
    return Ordered(newest.id, len(unjudged), *queue.deal(store, now=clock()))


def renew(store: Store, artifacts: Artifacts, *, by: str, clock: Clock = now) -> Ordered | None:
    """After new answers came in: trains anew where enough was judged since, then orders the queue. None where there are too few
    reviews for a first detector."""
    with store.reading() as session:
        newest, answers = newest_detector(session), judgements.count(session)
    learnt_from = newest.n_answers if newest else 0
    if (
        newest is None
        or not _is_kept(artifacts, newest)
        or min(answers, MOST_ANSWERS) >= learnt_from + max(NEW_ANSWERS, NEW_SHARE * learnt_from)
    ):
        try:
            detect(store, artifacts, by=by, clock=clock)
        except detector.TooFewReviews:
            if newest is None or not _is_kept(artifacts, newest):
                return None
    return order(store, artifacts, clock=clock)


def newest_detector(session: Session, *, simulated: bool = False) -> Detector | None:
    """The one that orders the queue."""
    return session.exec(select(Detector).where(Detector.simulated == simulated).order_by(col(Detector.id).desc()).limit(1)).first()


def chosen(rows: Sequence[judgements.Reviewed]) -> list[detector.Judged]:
    """What a detector learns from: answers with votes on harm, equal ones of several versions as one, at most MOST_ANSWERS."""
    found: dict[str, detector.Judged] = {}
    for row in rows:
        one = judged(row)
        if one.votes:
            before = found.get(one.key)
            found[one.key] = one if before is None else one._replace(harm=one.harm + before.harm, votes=one.votes + before.votes)
    return sorted(found.values(), key=lambda one: hashlib.sha256(one.key.encode()).digest())[:MOST_ANSWERS]


def judged(row: judgements.Reviewed) -> detector.Judged:
    """A reviewed answer as the detector reads it; votes by the policy's rule, so that a false alarm is a vote for fine."""
    ballots = [policy.ballot(vote) for vote in row.votes]
    harm = ballots.count("harm")
    key = f"{row.prompt_hash}:{row.text_hash}"
    return detector.Judged(key, row.prompt, row.answer, harm, harm + ballots.count("fine"), row.split_key)


def _is_kept(artifacts: Artifacts, row: Detector) -> bool:
    """Whether its weights are still there, and of this Flagback."""
    try:
        detector.load(artifacts.path(row.artifact))
    except (MissingArtifact, detector.UnusableDetector):
        return False
    return True


def _named(store: Store, fingerprint: str) -> Detector | None:
    with store.reading() as session:
        return session.exec(select(Detector).where(Detector.fingerprint == fingerprint)).first()
