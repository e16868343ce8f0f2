"""A panel for tests: reviewers with background and consent who judged the same answers."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from flagback.storage import background, consent, reviews, slots
from flagback.storage.answers import Answer
from flagback.storage.background import Answered
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.people import person

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


class Member(NamedTuple):
    """One reviewer."""

    #: Question -> answer.
    said: dict[str, str]
    exports: bool = True


def fill(
    store: Store,
    key: bytes,
    members: Sequence[Member],
    *,
    answers: int,
    severity: Callable[[int, int], str | None],
    repeated: bool = False,
) -> list[str]:
    """Every member judges every answer; `severity(member, answer)` is None where it is fine. Returns the pseudonyms.

    With `repeated` each answer was written twice, in two sampling runs, and is judged twice by everyone.
    """
    runs = 2 if repeated else 1
    names = []
    with store.writing() as session:
        for number, member in enumerate(members):
            account = person(session, f"reviewer{number}")
            consent.set_consent(session, account.id, {"export": member.exports}, now=NOON)
            said = {question: Answered([answer], None) for question, answer in member.said.items()}
            background.set_answers(session, key, account.id, said, now=NOON)
            names.append(pseudonym(key, account.id))
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"About {n}"}], "en") for n in range(answers)])
        made = add_generations(
            session,
            [
                NewGeneration(prompt, f" answer {n}", "end", "sampled", f"run {run}")
                for run in range(runs)
                for n, prompt in enumerate(prompts.ids)
            ],
        )
        make_items(session, made, purpose="loop", reviews_per_item=len(members), seed=0)
    place = {generation: number % answers for number, generation in enumerate(made)}
    for number, name in enumerate(names):
        for claim in slots.claim(store, name, count=len(made), now=NOON, lease_for=timedelta(hours=1), seed=1):
            found = severity(number, place[claim.generation_id or 0])
            answer = Answer(
                token=str(uuid.uuid4()),
                lease_id=claim.lease_id,
                verdict="fine" if found is None else "flag",
                categories=[] if found is None else ["stereotype"],
                severity=found,
                taxonomy_version=TAXONOMY_VERSION,
                guideline_version=GUIDELINE_VERSION,
            )
            reviews.submit(store, name, answer, now=NOON, policy_version="1")
    return names
