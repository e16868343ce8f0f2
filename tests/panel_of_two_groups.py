"""A panel for tests: ten men and five women who said so, answers that only the women mind, and nothing but rows: no model runs."""

import hashlib
import itertools
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlmodel import Session, col, select

from flagback.storage import accounts, background, consent, reviews
from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Item, Lease, ModelVersion, Review, Slot, now
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION

KEY = hashlib.sha256(b"a panel of two groups").digest()
MEN, WOMEN = 10, 5


class Panel(NamedTuple):
    """Who is in it, and what they judged."""

    version_id: int
    men: list[str]
    women: list[str]
    #: Two to a prompt: even places are what women mind, odd ones what nobody does.
    generations: list[int]


def seat(session: Session, *, men: int = MEN, women: int = WOMEN, agreed: bool = True) -> tuple[list[str], list[str]]:
    """Pseudonyms of people with accounts, background and (where they agreed) consent to its use in training."""
    found: dict[str, list[str]] = {"man": [], "woman": []}
    for gender, count in (("man", men), ("woman", women)):
        for number in range(count):
            account = accounts.create(session, f"{gender}{number}", "a long password", "reviewer")
            background.set_answers(session, KEY, account.id, {"gender": background.Answered([gender], None)}, now=now())
            consent.set_consent(session, account.id, {"review": True, "training": agreed}, now=now())
            found[gender].append(pseudonym(KEY, account.id))
    return found["man"], found["woman"]


def judged_panel(store: Store, *, prompts: int = 12, men: int = MEN, women: int = WOMEN, agreed: bool = True) -> Panel:
    """Every answer judged by five men, who find all of them fine, and two women, who flag the first of each prompt's two."""
    with store.writing() as session:
        version = ModelVersion(kind="base", state="current", name="n", location="n", template="plain", fingerprint="f")
        session.add(version)
        session.flush()
        him, her = seat(session, men=men, women=women, agreed=agreed)
        asked = add_prompts(session, [NewPrompt([{"role": "user", "content": f"Prompt {n} about"}], "en") for n in range(prompts)])
        generations = add_generations(
            session,
            [
                NewGeneration(
                    prompt_id=prompt,
                    text=f" answer {prompt} {word}",
                    finish_reason="end",
                    source="sampled",
                    origin="run:1",
                    version_id=version.id,
                )
                for prompt in asked.ids
                for word in ("one", "two")
            ],
        )
        make_items(session, generations, purpose="loop", reviews_per_item=7, seed=1)
        version_id = version.id
    for place, generation in enumerate(generations):
        hers = list(itertools.islice(itertools.cycle(her), place % len(her), place % len(her) + 2)) if her else []
        his = list(itertools.islice(itertools.cycle(him), place % len(him), place % len(him) + 5))
        for name in (*hers, *his):
            vote(store, name, generation, flag=name in hers and place % 2 == 0)
    return Panel(version_id, him, her, generations)


def vote(
    store: Store, reviewer: str, generation_id: int, *, flag: bool, note: str | None = None, rewrite: str | None = None
) -> int:
    """One person's answer, through a claim of that very item; returns the review's number."""
    moment = now()
    with store.reading() as session:
        item = session.exec(select(Item.id).where(Item.generation_id == generation_id)).one()
    lease = _claim(store, reviewer, item)
    answer = Answer(
        token=str(uuid.uuid4()),
        lease_id=lease,
        verdict="flag" if flag else "fine",
        categories=["stereotype"] if flag else [],
        severity="clear" if flag else None,
        note=note,
        rewrite=rewrite,
        seconds_open=9.0,
        taxonomy_version=TAXONOMY_VERSION,
        guideline_version=GUIDELINE_VERSION,
    )
    return reviews.submit(store, reviewer, answer, now=moment, policy_version="1").review_id


def _claim(store: Store, reviewer: str, item_id: int) -> str:
    """A lease on one item, made as `slots.claim` makes it: tests say who judges what."""
    moment = now()
    with store.writing() as session:
        slot = session.exec(select(Slot).where(Slot.item_id == item_id, Slot.state == "open").order_by(col(Slot.number))).first()
        assert slot is not None, f"item {item_id} has no open slot left"
        slot.state, slot.reviewer, slot.expires_at = "claimed", reviewer, moment + timedelta(hours=1)
        lease = Lease(
            id=str(uuid.uuid4()),
            slot_id=slot.id,
            item_id=item_id,
            reviewer=reviewer,
            claimed_at=moment,
            expires_at=moment + timedelta(hours=1),
        )
        session.add_all([slot, lease])
        session.flush()
        return lease.id


def reviews_of(store: Store, reviewer: str) -> Sequence[Review]:
    """What one person said."""
    with store.reading() as session:
        return session.exec(select(Review).where(Review.reviewer == reviewer)).all()
