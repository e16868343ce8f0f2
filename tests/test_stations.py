"""Claims about the rows that representation is read from: what each station counts, and that no station is read whole for ever."""

from sqlmodel import Session

from flagback.storage import preferences, representation
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.preferences import NewPair
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Generation
from flagback.storage.store import Store
from flagback.storage.unpaired import NewUnpaired
from tests.test_detecting import judge


def furnish(session: Session) -> list[int]:
    """Four prompts; three answers of the loop, drawn 1, 2 and 3 times, a blind one and a logged one; generations in that order."""
    prompts = add_prompts(
        session, [NewPrompt([{"role": "user", "content": f"Visitor {n}"}], "en", {"groups": [f"g{n}"]}) for n in range(4)]
    ).ids
    made = add_generations(
        session,
        [
            NewGeneration(prompts[0], " lazy", "end", "sampled", "run:1", count=1),
            NewGeneration(prompts[0], " kind", "end", "sampled", "run:1", count=2),
            NewGeneration(prompts[1], " kind", "end", "sampled", "run:1", count=3),
            NewGeneration(prompts[2], " blind", "end", "sampled", "run:2"),
            NewGeneration(prompts[3], " logged", "given", "logged", "live:x"),
        ],
    )
    for number, purpose in ((slice(0, 3), "loop"), (slice(3, 4), "blind"), (slice(4, 5), "loop")):
        make_items(session, made[number], purpose=purpose, reviews_per_item=1, seed=0)  # type: ignore[arg-type]
    return made


def test_every_station_counts_what_it_says(store: Store) -> None:
    with store.writing() as session:
        made = furnish(session)
    judge(store)
    with store.writing() as session:
        prompt, other = (session.get_one(Generation, made[place]).prompt_id for place in (0, 2))
        preferences.freeze(
            session,
            [NewPair("contrast", prompt, made[1], made[0], 1.0, 1.0, [])],
            alone=[NewUnpaired(prompt, made[1], False, 1.0, []), NewUnpaired(other, made[2], True, 1.0, [])],
            origin="reviews",
            policy="majority",
            policy_version="1",
            arguments={},
            salt="s",
        )
    with store.reading() as session:
        prompts, answers = representation.prompts(session), representation.answers(session)
        reviewed, pairs = representation.reviewed(session), representation.pairs(session)
    assert (len(prompts.rows), prompts.total, {row.weight for row in prompts.rows}) == (4, 4, {1})
    assert sorted((row.text, row.weight, str(row.tags)) for row in answers.rows) == [
        (" kind", 2, "{}"),
        (" kind", 3, "{}"),
        (" lazy", 1, "{}"),
    ]
    assert sorted((row.text, row.weight) for row in reviewed.rows) == [("Visitor 0", 2), ("Visitor 1", 1), ("Visitor 3", 1)]
    assert sorted((row.id, row.weight) for row in pairs.rows) == [(prompt, 2), (other, 1)]
    assert pairs.total == 2
    assert all(row.tags["groups"] == [f"g{row.text[-1]}"] for row in prompts.rows)


def test_a_large_station_is_read_by_a_draw_that_says_of_how_many(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        furnish(session)
    judge(sqlite_store)
    with sqlite_store.reading() as session:
        for station in (representation.prompts, representation.answers, representation.reviewed):
            part, whole = station(session, most=2), station(session)
            assert (len(part.rows), part.total) == (2, len(whole.rows))
            assert set(map(str, part.rows)) < set(map(str, whole.rows))


def test_an_empty_installation_has_empty_stations(sqlite_store: Store) -> None:
    with sqlite_store.reading() as session:
        for station in (representation.prompts, representation.answers, representation.reviewed, representation.pairs):
            assert station(session) == ([], 0)
