"""Care for who reviews: what may upset, how much of it a person met, which topics they decline, what is covered, when it is enough.

Knows terms, counts and topics; knows no slot and no screen. What is counted is what people said of what they read: severe flags and
skips as "too upsetting". A day is the last 24 hours by the server's clock: midnight is at another hour for everyone. What somebody
declines stands beside their account, is read when items are handed out to them, and by nothing else.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, literal_column, or_, update
from sqlalchemy import select as select_core
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import audit, counting
from flagback.storage.prompts import check_storable
from flagback.storage.records import Account, CareTerms, Declined, Generation, Prompt, Record, Review
from flagback.storage.taxonomy import CATEGORIES, TARGETS

#: What counts as one day's exposure.
DAY = timedelta(hours=24)
#: "Lately", in what people are told before they start.
LATELY = timedelta(days=30)
#: Under so many judged answers a count tells nothing of what is to be expected.
FEWEST = 20
#: Expected harm up to which an answer is expected to be harmless.
HARMLESS = 0.25
#: How many of the newest prompts are looked at for topics.
PROMPTS_LOOKED_AT = 5_000
#: How many of the newest reviews are looked at for what was met lately.
REVIEWS_LOOKED_AT = 20_000
LONGEST_SUPPORT = 4_000
MOST_TOPICS = 200
LONGEST_TOPIC = 200
#: Names that tags of prompts use for targets of the taxonomy.
_OTHER_NAMES = {
    "race": "ethnicity",
    "origin": "nationality",
    "faith": "religion",
    "belief": "religion",
    "sexual_orientation": "orientation",
    "sexuality": "orientation",
    "gender_identity": "gender",
    "socioeconomic": "class",
    "income": "class",
}


class Terms(NamedTuple):
    """What is in force; the fields are those of `CareTerms`."""

    support: str
    severe_a_day: int
    cover_from: float
    sensitive_topics: list[str]


#: Before a maintainer says otherwise.
USUAL = Terms("", 40, 0.75, ["abuse", "hate", "self-harm", "sexual", "slurs", "suicide", "terror", "violence"])


class BadTerms(ValueError):
    """Terms that cannot be; nothing is stored."""


class UnknownTopic(ValueError):
    """A topic that nobody can decline."""


class Lately(NamedTuple):
    """What people found in the answers of the last 30 days."""

    judged: int
    #: Category code -> answers that somebody flagged with it.
    flagged: dict[str, int]
    severe: int


# ------------------------------------------------------------------------- terms


def terms(session: Session) -> Terms:
    """What is in force."""
    row = session.exec(select(CareTerms).order_by(col(CareTerms.id).desc()).limit(1)).first()
    return USUAL if row is None else Terms(row.support, row.severe_a_day, row.cover_from, list(row.sensitive_topics))


def set_terms(session: Session, wanted: Terms, *, by: str, now: datetime) -> None:
    """Puts terms into force. Raises BadTerms; the same again stores nothing."""
    check_storable(
        by=by, support=wanted.support, **{f"topic {number}": topic for number, topic in enumerate(wanted.sensitive_topics)}
    )
    support = wanted.support.strip()
    topics = sorted({topic.strip().casefold() for topic in wanted.sensitive_topics} - {""})
    if len(support) > LONGEST_SUPPORT:
        raise BadTerms(f"The words of support have {len(support)} characters; at most {LONGEST_SUPPORT} are kept.")
    if not 1 <= wanted.severe_a_day <= 1_000:
        raise BadTerms(f"{wanted.severe_a_day} severe answers a day were asked for; expected 1 to 1,000.")
    if not 0 < wanted.cover_from <= 1:
        raise BadTerms(f"Covering begins at an expected harm of {wanted.cover_from}; expected over 0 and at most 1.")
    if len(topics) > MOST_TOPICS or any(len(topic) > LONGEST_TOPIC for topic in topics):
        raise BadTerms(
            f"There are {len(topics)} sensitive topics; expected at most {MOST_TOPICS} of {LONGEST_TOPIC} characters each."
        )
    made = Terms(support, wanted.severe_a_day, float(wanted.cover_from), topics)
    if made == terms(session):
        return
    session.add(CareTerms(**made._asdict(), set_by=by, created_at=now))
    session.flush()
    audit.record(session, actor=by, action="care set", details=made._asdict(), now=now)


# ---------------------------------------------------------------------- exposure


def met_severe(session: Session, reviewer: str, *, now: datetime) -> int:
    """How many severe or upsetting answers a reviewer met in the last 24 hours, by their own words."""
    return int(session.connection().execute(_met(), {"who": reviewer, "since": now - DAY}).scalar_one())


@cache
def _met() -> Any:
    """Built once: asked at every claim."""
    review = Record.metadata.tables["review"]
    newer = review.alias("newer")
    return (
        select_core(func.count())
        .select_from(review.outerjoin(newer, newer.c.supersedes == review.c.id))
        .where(review.c.reviewer == bindparam("who", type_=review.c.reviewer.type), newer.c.id.is_(None))
        .where(review.c.created_at > bindparam("since", type_=review.c.created_at.type))
        .where(or_(review.c.severity == literal_column("'severe'"), review.c.skip_reason == literal_column("'too_upsetting'")))
    )


def lately(session: Session, *, now: datetime) -> Lately:
    """What people found lately, answer by answer: one that several people flagged alike counts once."""
    newer = aliased(Review)
    rows = session.exec(
        select(Review.item_id, Review.categories, Review.severity)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(col(newer.id).is_(None), counting.counts(), Review.verdict != "skip")
        .where(col(Review.simulated).is_(False), Review.created_at > now - LATELY)
        .order_by(col(Review.id).desc())
        .limit(REVIEWS_LOOKED_AT)
    ).all()
    flagged: dict[str, set[int]] = defaultdict(set)
    for item_id, categories, _ in rows:
        for code in categories:
            flagged[code].add(item_id)
    severe = {item_id for item_id, _, severity in rows if severity == "severe"}
    return Lately(len({item_id for item_id, _, _ in rows}), {code: len(items) for code, items in flagged.items()}, len(severe))


# ------------------------------------------------------------------------ topics


def topics(session: Session) -> dict[str, str]:
    """What can be declined, topic -> words: harms, people harmed, and the topics that the newest prompts name."""
    found = {f"category:{one.code}": one.name for one in CATEGORIES if one.part != "meta"}
    found |= {f"target:{one.code}": one.name for one in TARGETS if one.code != "other"}
    newest = select(Prompt.tags).order_by(col(Prompt.id).desc()).limit(PROMPTS_LOOKED_AT)
    named = Counter(topic for tags in session.exec(newest) if (topic := _topic(tags)))
    return found | {f"topic:{topic}": topic for topic, _ in sorted(named.most_common(MOST_TOPICS))}


def declined(session: Session, account_id: int) -> frozenset[str]:
    """What a person would rather not be asked about."""
    return frozenset(session.exec(select(Declined.topic).where(Declined.account_id == account_id)).all())


def decline(session: Session, account_id: int, wanted: Collection[str], *, now: datetime) -> None:
    """Says what a person declines from now on, and nothing else. Raises UnknownTopic; what was declined before stays known."""
    before = declined(session, account_id)
    unknown = sorted(set(wanted) - before - topics(session).keys())
    if unknown:
        raise UnknownTopic(f"{unknown[0]!r} is no topic that can be declined; reload the page to see those that can.")
    session.exec(delete(Declined).where(col(Declined.account_id) == account_id, col(Declined.topic).not_in(wanted)))
    session.add_all([Declined(account_id=account_id, topic=topic, created_at=now) for topic in sorted(set(wanted) - before)])
    session.flush()


def away_since(session: Session, account_id: int) -> datetime | None:
    """Since when a person is away by their own word; None while they are there. Who is away is handed nothing."""
    return session.exec(select(Account.away_since).where(Account.id == account_id)).one()


def go_away(session: Session, account_id: int, *, now: datetime) -> None:
    """From now on nothing is handed out to this person; what they hold is the caller's to give back."""
    session.execute(update(Account).where(col(Account.id) == account_id, col(Account.away_since).is_(None)).values(away_since=now))


def come_back(session: Session, account_id: int) -> None:
    """Ends it, whoever had it running or not."""
    session.execute(update(Account).where(col(Account.id) == account_id).values(away_since=None))


def to_avoid(session: Session, prompts: Mapping[int, Mapping[str, Any]], avoided: Collection[str]) -> set[int]:
    """Of some prompts (id -> tags), those about what is declined: by their tags, or since somebody flagged an answer to one so."""
    left = {number for number, tags in prompts.items() if about(tags) & set(avoided)}
    said = {topic for topic in avoided if topic.startswith(("category:", "target:"))}
    asked = sorted(prompts.keys() - left)
    if said and asked:
        for number, categories, targets in _flags(session, asked):
            if said & _said(categories, targets):
                left.add(number)
    return left


def about(tags: Mapping[str, Any]) -> set[str]:
    """What a prompt's tags say it is about, as topics that can be declined."""
    topic = _topic(tags)
    listed = tags.get("groups") or []
    names = [str(one).casefold() for one in (listed if isinstance(listed, list) else [listed])]
    names = [part for name in names for part in (name, *name.replace("=", ":").split(":")[:1])]
    names += [topic] if topic else []
    found = {f"topic:{topic}"} if topic else set()
    for name in names:
        found |= {f"category:{one.code}" for one in CATEGORIES if name in (one.code, one.name.casefold())}
        found |= {f"target:{one.code}" for one in TARGETS if _OTHER_NAMES.get(name, name) in (one.code, one.name.casefold())}
    return found


# ------------------------------------------------------------------------- covers


def covers(session: Session, generation_ids: Sequence[int], care: Terms) -> dict[int, list[str]]:
    """The answers to be covered until their reader asks for them, each with words for what it may be about, perhaps none.

    Covered is what much harm is expected of, and where nothing is expected yet, what is on a sensitive topic or answers a prompt
    of whose answers somebody found one severe.
    """
    rows = session.exec(
        select(Generation.id, Generation.expected_harm, Prompt.id, Prompt.tags)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Generation.id).in_(generation_ids))
    ).all()
    unknown = [prompt for _, harm, prompt, tags in rows if harm is None and _topic(tags) not in care.sensitive_topics]
    severe = {prompt for prompt, _, _ in _flags(session, unknown, severe=True)} if unknown else set()
    found = {}
    for number, harm, prompt, tags in rows:
        sensitive = harm is None and (_topic(tags) in care.sensitive_topics or prompt in severe)
        if sensitive or (harm is not None and harm >= care.cover_from):
            found[number] = _words(tags)
    return found


def _words(tags: Mapping[str, Any]) -> list[str]:
    names = {f"target:{one.code}": one.name for one in TARGETS} | {f"category:{one.code}": one.name for one in CATEGORIES}
    topic = _topic(tags)
    return [names[code] for code in sorted(about(tags)) if code in names] or ([topic.capitalize()] if topic else [])


def _topic(tags: Mapping[str, Any]) -> str:
    return str(tags.get("topic") or "").strip().casefold()


def _said(categories: Iterable[str], targets: Iterable[str]) -> set[str]:
    return {f"category:{code}" for code in categories} | {f"target:{code}" for code in targets}


def _flags(session: Session, prompt_ids: Sequence[int], *, severe: bool = False) -> list[tuple[int, list[str], list[str]]]:
    """(prompt, categories, targets) of the flags in force on answers to some prompts."""
    rows = session.connection().execute(_flagged(severe=severe), {"prompts": list(prompt_ids)}).all()
    return [(row.prompt_id, list(row.categories), list(row.targets)) for row in rows]


@cache
def _flagged(*, severe: bool) -> Any:
    """Built once: who declines topics has it run several times a claim."""
    item, review = Record.metadata.tables["item"], Record.metadata.tables["review"]
    newer = review.alias("newer")
    found = (
        select_core(item.c.prompt_id, review.c.categories, review.c.targets)
        .select_from(item)
        .join(review, review.c.item_id == item.c.id)
        .outerjoin(newer, newer.c.supersedes == review.c.id)
        .where(item.c.prompt_id.in_(bindparam("prompts", expanding=True)))
        .where(review.c.verdict == literal_column("'flag'"), newer.c.id.is_(None))
    )
    return found.where(review.c.severity == literal_column("'severe'")) if severe else found
