"""Claims about storing generations."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.prompts import NewPrompt, add_prompts, text_hash
from flagback.storage.records import Generation
from flagback.storage.store import Store


def two_prompts(store: Store) -> list[int]:
    with store.writing() as session:
        return add_prompts(session, [NewPrompt([{"role": "user", "content": text}]) for text in "ab"]).ids


def answer(
    prompt: int, text: str, *, origin: str = "import:x", count: int = 1, draw: int = 0, ids: list[int] | None = None
) -> NewGeneration:
    return NewGeneration(prompt, text, "end", "imported", origin, ids, count=count, draw=draw)


def test_the_same_answers_again_are_the_same_rows_with_the_same_counts(store: Store) -> None:
    a, b = two_prompts(store)
    batch = [answer(a, " x", count=3), answer(b, " x"), answer(a, " y")]
    with store.writing() as session:
        first = add_generations(session, batch)
    with store.writing() as session:
        again = add_generations(session, [*batch, answer(a, " x", origin="import:y")])
    assert again[:3] == first
    assert len({*again}) == 4
    with store.reading() as session:
        assert session.exec(select(Generation.count).order_by(col(Generation.id))).all() == [3, 1, 1, 1]


def test_equal_answers_of_one_call_are_one_row_that_counts_them(store: Store) -> None:
    a, _ = two_prompts(store)
    with store.writing() as session:
        ids = add_generations(
            session, [answer(a, " x", count=2, draw=3, ids=[7]), answer(a, " y"), answer(a, " x", draw=1, ids=[8])]
        )
    assert ids[0] == ids[2]
    with store.reading() as session:
        kept = session.get(Generation, ids[0])
    assert kept is not None
    assert (kept.count, kept.draw, kept.token_ids) == (3, 1, [8])


def test_a_sampled_answer_keeps_every_draw_that_gave_it_and_others_none(store: Store) -> None:
    a, b = two_prompts(store)
    texts = [" x", " y", " x"]
    sampled = [answer(a, text, origin="run:1", draw=draw)._replace(source="sampled") for draw, text in enumerate(texts)]
    with store.writing() as session:
        [x, y, _] = add_generations(session, sampled)
        [twice, given] = add_generations(session, [sampled[0]._replace(prompt_id=b, count=2), answer(b, " z")])
    with store.reading() as session:
        kept = {row.id: row.draws for row in session.exec(select(Generation)).all()}
        unknown = session.exec(select(Generation.id).where(col(Generation.draws).is_(None)).order_by(col(Generation.id))).all()
    assert kept == {x: [0, 2], y: [1], twice: None, given: None}
    assert unknown == [twice, given], "a null of the database, not JSON's"


def test_a_text_that_no_database_keeps_is_mended_and_its_ids_stay(store: Store) -> None:
    a, _ = two_prompts(store)
    with store.writing() as session:
        [row] = add_generations(session, [answer(a, " a\0b\ud800c", ids=[5, 0, 9])])
    with store.reading() as session:
        kept = session.get(Generation, row)
    assert kept is not None
    assert kept.text == " a\ufffdb\ufffdc"
    assert kept.text_hash == text_hash(kept.text)
    assert kept.token_ids == [5, 0, 9]


def test_odd_texts_come_back_as_they_went(store: Store) -> None:
    a, _ = two_prompts(store)
    texts = ["", " ", "None", "007", "a\u2028b", "\ufeffx", "é", "e\u0301", "🦊" * 3, "\r\n\t"]
    with store.writing() as session:
        ids = add_generations(session, [answer(a, text) for text in texts])
    with store.reading() as session:
        stored = {row.id: row for row in session.exec(select(Generation))}
    assert [stored[row].text for row in ids] == texts
    assert all(row.token_ids is None for row in stored.values())


def test_two_workers_that_store_one_run_store_it_once(store: Store) -> None:
    a, b = two_prompts(store)
    batch = [answer(prompt, f" {number}") for number in range(400) for prompt in (a, b)]

    def add(_: int) -> list[int]:
        def work(session: Session) -> list[int]:
            return add_generations(session, batch)

        return store.settle(work)

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(add, range(2))
    assert one == two
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Generation)).one() == 800
