"""Items and their slots, made ahead of any reviewer. Knows no lease and no review."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from flagback.storage.prompts import AT_A_TIME, primary_language
from flagback.storage.records import Generation, ItemPurpose, Prompt, now
from flagback.storage.store import insert_all, insert_missing

#: Ranks are random numbers under this; a claim starts somewhere among them.
RANKS = 2**31


def make_items(session: Session, generation_ids: Sequence[int], *, purpose: ItemPurpose, reviews_per_item: int, seed: int) -> int:
    """Makes an item with `reviews_per_item` open slots for each generation that has none yet; returns how many were made.

    An empty text gets no item: there is nothing to judge. A slot's rank comes from (seed, prompt, text, slot number) by hash, so
    that the order of reviewing does not follow the order of sampling.
    """
    if reviews_per_item < 1:
        raise ValueError(f"reviews_per_item is {reviews_per_item}; an item needs at least 1 review.")
    made = 0
    wanted = sorted(set(generation_ids))
    for start in range(0, len(wanted), AT_A_TIME):
        rows = session.exec(
            select(Generation, Prompt.content_hash, Prompt.lang)
            .join(Prompt, col(Prompt.id) == Generation.prompt_id)
            .where(col(Generation.id).in_(wanted[start : start + AT_A_TIME]))
            .order_by(col(Generation.id))
        ).all()
        content = {
            generation.id: (f"{prompt_hash}:{generation.text_hash}", primary_language(lang))
            for generation, prompt_hash, lang in rows
        }
        items = [
            {
                "kind": "single",
                "purpose": purpose,
                "prompt_id": generation.prompt_id,
                "generation_id": generation.id,
                "created_at": now(),
            }
            for generation, _, _ in rows
            if generation.text.strip()
        ]
        returned = insert_missing(session, "item", items, returning=["id", "generation_id"])
        new = sorted((int(row.id), int(row.generation_id)) for row in returned)
        insert_all(
            session, "item_generation", [{"item_id": item, "position": 0, "generation_id": generation} for item, generation in new]
        )
        insert_all(
            session,
            "slot",
            [slot_row(item, number, *content[generation], seed) for item, generation in new for number in range(reviews_per_item)],
        )
        made += len(new)
    return made


def slot_row(item_id: int, number: int, content: str, lang: str, seed: int) -> dict[str, Any]:
    """The columns of one open slot; `content` names what is judged, independent of row ids; `lang` is a primary subtag."""
    digest = hashlib.sha256(f"{seed}:{content}:{number}".encode()).digest()
    return {
        "item_id": item_id,
        "number": number,
        "want_group": "any",
        "lang": lang,
        "state": "open",
        "bucket": 1,
        "rank": int.from_bytes(digest[:8], "big") % RANKS,
        "reviewer": None,
        "expires_at": None,
    }
