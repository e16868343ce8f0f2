"""Claims about logged answers of models in use: who agreed, what is refused, what is drawn, and that twice is once."""

import json
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sqlmodel import col, func, select

from flagback.model import pair_sets
from flagback.storage import audit, live_batches, logged, outputs, reviews, slots, versions
from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.logged import read_outputs
from flagback.storage.outputs import NoConsent, OtherBatch, OutputReport, Terms
from flagback.storage.preferences import NoPairs, pairs_of
from flagback.storage.prompts import NewPrompt, add_prompts, content_hash, shard_of, split_key_of, text_hash
from flagback.storage.reading import BadImport, Place, Row, TooLong
from flagback.storage.records import (
    AuditEntry,
    Generation,
    Item,
    Lease,
    ModelVersion,
    OutputBatch,
    Prompt,
    Record,
    Review,
    Slot,
    now,
)
from flagback.storage.store import Store

AGREED = "Users agreed in the terms of 2026-10-01 that answers are read by reviewers."
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def terms(name: str = "november", *, number: int | None = 0, share: float | None = None, **more: Any) -> Terms:
    """Those of a file, or of a program where a share is given."""
    return Terms(
        name, more.pop("consent", AGREED), more.pop("by", "max"), number=None if share is not None else number, share=share, **more
    )


def written(folder: Path, rows: Sequence[dict[str, Any]], name: str = "log.jsonl") -> Path:
    """A file of rows."""
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    elif name.endswith(".csv"):
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    """Rows that differ."""
    return [{"prompt": f"What is at number {n}?", "answer": f" A house, and {n} trees.", "lang": "en"} | more for n in range(count)]


def sent(store: Store, rows: Sequence[dict[str, Any]], under: Terms) -> OutputReport:
    """Rows as a program sends them."""
    found = read_outputs(
        [Row(Place("the request", n, "output"), dict(row)) for n, row in enumerate(rows, 1)], now=NOON, strict=True
    )
    with store.writing() as session:
        return outputs.take_in(session, found, under, where="the request", now=NOON)


def counted(store: Store) -> dict[str, int]:
    """Rows of every table."""
    with store.reading() as session:
        return {
            name: session.connection().execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Record.metadata.tables.items()
        }


def drawn(store: Store, batch: str = "november") -> set[str]:
    """The texts of a batch that people are asked to review."""
    with store.reading() as session:
        rows = select(Generation.text).join(Item, col(Item.generation_id) == Generation.id)
        return set(session.exec(rows.where(Generation.origin == f"live:{batch}")).all())


def answered(store: Store, reviewer: str = "r_one", *, verdict: str = "fine", most: int = 99, **said: Any) -> list[Review]:
    """A reviewer judges what is open."""
    more = {"categories": ["stereotype"], "severity": "clear"} if verdict == "flag" else {}
    claims = slots.claim(store, reviewer, count=most, now=now(), lease_for=timedelta(hours=1), seed=1)
    for claim in claims:
        reviews.submit(store, reviewer, answer(claim.lease_id, verdict, **more, **said), now=now(), policy_version="1")
    with store.reading() as session:
        return list(session.exec(select(Review).where(Review.reviewer == reviewer)).all())


def answer(lease: str, verdict: str, **said: Any) -> Answer:
    """One answer."""
    made = {"token": str(uuid.uuid4()), "lease_id": lease, "verdict": verdict, "taxonomy_version": "1", "guideline_version": "1"}
    return Answer.model_validate(made | said)


def version(session: Any, name: str, state: Any = "retired") -> ModelVersion:
    """A registered model without weights."""
    made = ModelVersion(kind="base", state=state, name=name, location=name, template="plain", fingerprint=name)
    session.add(made)
    session.flush()
    return made


# ------------------------------------------------------------------------ worked example


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_a_log_comes_in_as_prompts_and_answers_with_their_batch_and_an_entry(store: Store, tmp_path: Path, name: str) -> None:
    rows = [
        {
            "prompt": "Who is there?",
            "response": " A visitor.",
            "lang": "en",
            "timestamp": "2026-11-20T09:30:00+01:00",
            "topic": "door",
        },
        {"prompt": "And now?", "response": " Nobody.", "lang": "en", "timestamp": "2026-11-20T08:31:00Z", "topic": "door"},
    ]
    report = outputs.import_outputs(store, written(tmp_path, rows, name), terms(number=1, seed=4), now=NOON)
    assert (report.rows, report.added, report.duplicates, report.drawn, report.refused) == (2, 2, 0, 1, {})
    with store.reading() as session:
        kept = {
            prompt.messages[0]["content"]: (generation, prompt)
            for generation, prompt in session.exec(
                select(Generation, Prompt).join(Prompt, col(Prompt.id) == Generation.prompt_id)
            ).all()
        }
        batch = session.exec(select(OutputBatch)).one()
        entry = session.exec(select(AuditEntry)).one()
        seats = session.exec(select(Slot)).all()
        audit.verify(session)
    generation, prompt = kept["Who is there?"]
    assert (generation.text, generation.source, generation.origin) == (" A visitor.", "logged", "live:november")
    assert (generation.version_id, generation.expected_harm, generation.token_ids, generation.finish_reason) == (
        None,
        None,
        None,
        "given",
    )
    assert generation.created_at == datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    assert prompt.tags == {"topic": "door", "source": "live:november"}
    assert prompt.shard == shard_of(split_key_of(prompt.messages, {}))
    assert (batch.name, batch.consent, batch.brought_by, batch.n_answers, batch.n_drawn) == ("november", AGREED, "max", 2, 1)
    assert (entry.actor, entry.action) == ("max", "import outputs")
    assert entry.details["drawn"] == 1
    assert [(seat.state, seat.lang) for seat in seats] == [("open", "en")] * 3


def test_a_prompt_that_was_known_keeps_its_side_of_the_split_and_its_tags(sqlite_store: Store, tmp_path: Path) -> None:
    with sqlite_store.writing() as session:
        add_prompts(session, [NewPrompt([{"role": "user", "content": "Who is there?"}], "en", {"source": "x"}, "a family")])
    rows = [{"prompt": "Who is there?", "answer": "A visitor.", "lang": lang} for lang in ("en", "de")]
    report = outputs.import_outputs(sqlite_store, written(tmp_path, rows), terms(), now=NOON)
    with sqlite_store.reading() as session:
        first, second = session.exec(select(Prompt).order_by(col(Prompt.id))).all()
    assert (report.added, report.prompts_added) == (2, 1)
    assert first.tags == {"source": "x"}
    assert (second.split_key, second.shard) == (first.split_key, first.shard)


def test_a_dialogue_is_one_family_however_many_of_its_turns_were_logged(sqlite_store: Store, tmp_path: Path) -> None:
    opening = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    longer = [*opening, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Why?"}]
    rows = [{"messages": opening, "answer": "Yes?"}, {"messages": longer, "answer": "Because."}]
    outputs.import_outputs(sqlite_store, written(tmp_path, rows), terms(), now=NOON)
    with sqlite_store.reading() as session:
        assert len(set(session.exec(select(Prompt.split_key)).all())) == 1


# ------------------------------------------------------------------------ consent


@pytest.mark.parametrize("words", ["", "   ", "yes", "\u200b" * 40, "x" * 1_001])
def test_without_words_of_consent_nothing_is_taken_in_at_all(sqlite_store: Store, tmp_path: Path, words: str) -> None:
    before = counted(sqlite_store)
    with pytest.raises(NoConsent, match="what the people whose prompts these are agreed to"):
        outputs.import_outputs(sqlite_store, written(tmp_path, numbered(2, consent=True)), terms(consent=words), now=NOON)
    assert counted(sqlite_store) == before


def test_where_rows_speak_of_consent_only_those_that_say_true_are_kept(sqlite_store: Store, tmp_path: Path) -> None:
    said = [True, False, None, "yes", "no", "", 1, 0, "TRUE"]
    rows = [row | {"consent": value} for row, value in zip(numbered(9), said, strict=True)] + [numbered(10)[9]]
    report = outputs.import_outputs(sqlite_store, written(tmp_path, rows), terms(), now=NOON)
    assert (report.added, report.refused) == (4, {logged.NO_CONSENT: 6})
    assert len(report.refused_rows) == 6
    assert report.refused_rows[0].endswith(f"line 2: {logged.NO_CONSENT}")
    with sqlite_store.reading() as session:
        kept = session.exec(select(Generation.text)).all()
        prompts = session.exec(select(Prompt)).all()
    assert sorted(kept) == sorted(f" A house, and {n} trees." for n in (0, 3, 6, 8))
    assert len(prompts) == 4, "not even the prompt of a refused one"


def test_a_file_in_which_nobody_agreed_leaves_no_trace(sqlite_store: Store, tmp_path: Path) -> None:
    before = counted(sqlite_store)
    report = outputs.import_outputs(sqlite_store, written(tmp_path, numbered(3, consent=False)), terms(number=2), now=NOON)
    assert (report.added, report.drawn, report.refused) == (0, 0, {logged.NO_CONSENT: 3})
    assert counted(sqlite_store) == before


# ------------------------------------------------------------------------ contacts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write to ada.b+c@mail.example.org today", logged.HOLDS_EMAIL),
        ("ada@localhost is a machine", None),
        ("a @ b, user@, @name", None),
        ("Ring +49 30 901820 now", logged.HOLDS_TELEPHONE),
        ("0049 (30) 90 18 20", logged.HOLDS_TELEPHONE),
        ("(030) 901820-77", logged.HOLDS_TELEPHONE),
        ("(555) 123-4567", logged.HOLDS_TELEPHONE),
        ("555-123-4567", logged.HOLDS_TELEPHONE),
        ("on 2026-11-21 at 12:30", None),
        ("0.123456789012 and 1,234,567,890", None),
        ("order 4711, id 1700000000", None),
        ("x" * 200_000 + "@" + "y" * 200_000, None),
        ("0" * 200_000, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_looks_like_an_address_or_a_number_is_found_by_two_simple_patterns(text: str, found: str | None) -> None:
    assert logged.contact_in(text) == found


def test_contacts_are_refused_wherever_they_stand_and_kept_only_when_asked(sqlite_store: Store, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "My mail is ada@mail.example", "answer": "Thanks."},
        {"prompt": "Who?", "answer": "Ring +49 30 901820."},
        {"prompt": "Tagged?", "answer": "Yes.", "tags": {"by": ["ada@mail.example"]}},
        {"messages": [{"role": "system", "content": "Ring (555) 123-4567"}, {"role": "user", "content": "Why?"}], "answer": "So."},
        {"prompt": "Nothing?", "answer": "Nothing."},
    ]
    path = written(tmp_path, rows)
    report = outputs.import_outputs(sqlite_store, path, terms(), now=NOON)
    assert (report.added, report.refused) == (1, {logged.HOLDS_EMAIL: 2, logged.HOLDS_TELEPHONE: 2})
    assert "ada@" not in str(report), "what is refused is not repeated"
    kept = outputs.import_outputs(sqlite_store, path, terms("with-contacts"), keep_contacts=True, now=NOON)
    assert (kept.added, kept.refused) == (5, {})


def test_columns_that_reviewers_do_not_need_are_named_and_not_kept(sqlite_store: Store, tmp_path: Path) -> None:
    report = outputs.import_outputs(sqlite_store, written(tmp_path, numbered(2, user_id="u-77", ip="10.0.0.1")), terms(), now=NOON)
    assert report.columns_left == ["ip", "user_id"]
    with sqlite_store.reading() as session:
        assert "u-77" not in str([prompt.tags for prompt in session.exec(select(Prompt)).all()])


# ------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "A."}, "expected prompt or messages, and answer or completion or output or response"),
        ({"prompt": "Q"}, "expected prompt or messages, and answer"),
        ({"prompt": "Q", "answer": 5}, "answer is a JSON number, 5; expected a string"),
        ({"prompt": ["Q"], "answer": "A"}, "prompt holds 'Q'; expected an object of role and content"),
        ({"prompt": "Q", "answer": "A", "output": "B"}, "both answer and output are given; expected one of them"),
        ({"prompt": "Q", "messages": [{"role": "user", "content": "Q"}], "answer": "A"}, "both prompt and messages are given"),
        (
            {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "answer": "A"},
            "expected the user's",
        ),
        ({"prompt": "Q", "answer": "A", "lang": "?"}, "lang is '?'; expected a BCP 47 tag"),
        ({"prompt": "Q", "answer": "A", "consent": "maybe"}, "consent is 'maybe'; expected true or false"),
        ({"prompt": "Q", "answer": "A", "consent": 1.0}, "consent is 1.0; expected true or false"),
        ({"prompt": "Q", "answer": "A", "version": "two"}, "version is 'two'; expected the number of a version"),
        ({"prompt": "Q", "answer": "A", "version": True}, "version is True; expected the number of a version"),
        ({"prompt": "Q", "answer": "A", "version": 77}, "version is 77, which this installation does not have"),
        ({"prompt": "Q", "answer": "A", "written_at": "yesterday"}, "written_at is 'yesterday'; expected a moment"),
        ({"prompt": "Q", "answer": "A", "written_at": "2026-11-20T09:30:00"}, "without a time zone"),
        ({"prompt": "Q", "answer": "A", "written_at": "2026-12-24T09:30:00Z"}, "not in the future"),
        ({"prompt": "Q", "answer": "A", "written_at": 1_790_000_000_000}, "not in the future"),
        ({"prompt": "Q", "answer": "A", "written_at": 10**30}, "not in the future"),
        ({"prompt": "Q", "answer": "A", "written_at": "0001-01-01T00:00:00+14:00"}, "after 1999"),
        ({"prompt": "Q", "answer": "A", "timestamp": False}, "timestamp is False; expected a moment"),
        ({"prompt": "Q", "answer": "A", "tags": [1]}, "tags is a JSON array, [1]; expected an object"),
        ({"prompt": "Q", "answer": "A", "groups": [1]}, "a group is a JSON number"),
        ({"prompt": "Q", "answer": "A", "topic": {}}, "topic is a JSON object"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_value_refuses_the_whole_file_with_place_and_field(
    sqlite_store: Store, tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    before = counted(sqlite_store)
    path = written(tmp_path, [*numbered(2), row])
    with pytest.raises(BadImport) as refused:
        outputs.import_outputs(sqlite_store, path, terms(number=2), now=NOON)
    assert said in str(refused.value)
    assert f"{path}, line 3" in str(refused.value)
    assert "Nothing was stored" in str(refused.value)
    assert counted(sqlite_store) == before


@pytest.mark.parametrize(
    ("under", "said"),
    [
        (terms("a b"), "the batch is named 'a b'"),
        (terms(""), "the batch is named ''"),
        (terms(number=-1), "-1 answers"),
        (terms(share=1.5), "a share of 1.5"),
        (terms(reviews_per_item=0), "0 reviews of each are wanted"),
        (terms(consent=f"agreed\0{AGREED}"), "NUL"),
    ],
)
def test_terms_that_cannot_be_are_refused_in_words(sqlite_store: Store, tmp_path: Path, under: Terms, said: str) -> None:
    before = counted(sqlite_store)
    with pytest.raises((BadImport, ValueError), match=said):
        outputs.import_outputs(sqlite_store, written(tmp_path, numbered(2)), under, now=NOON)
    assert counted(sqlite_store) == before


def test_empty_prompts_and_answers_are_left_out_and_counted(sqlite_store: Store, tmp_path: Path) -> None:
    empty: list[dict[str, Any]] = [
        {"prompt": "Q", "answer": " \n"},
        {"prompt": "Q", "answer": None},
        {"prompt": " ", "answer": "A"},
    ]
    rows = [*numbered(1), *empty]
    report = outputs.import_outputs(sqlite_store, written(tmp_path, rows), terms(), now=NOON)
    assert (report.added, report.refused) == (1, {logged.EMPTY_ANSWER: 2, logged.EMPTY_PROMPT: 1})


def test_a_gap_that_pandas_writes_as_nan_is_nothing_and_a_version_of_a_column_with_gaps_is_read(
    sqlite_store: Store, tmp_path: Path
) -> None:
    with sqlite_store.writing() as session:
        number = version(session, "x", "current").id
    rows = [row | {"version": value} for row, value in zip(numbered(2), (float(number), None), strict=True)]
    for name in ("log.parquet", "log.csv"):
        kind = name.split(".")[1]
        report = outputs.import_outputs(sqlite_store, written(tmp_path, rows, name), terms(kind), now=NOON)
        assert report.added == 2
    with sqlite_store.reading() as session:
        assert sorted(session.exec(select(Generation.version_id)).all(), key=str) == [number, number, None, None]


def test_a_file_of_too_many_answers_is_refused(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MOST_ANSWERS", 3)
    with pytest.raises(TooLong, match="holds 4 answers; expected at most 3"):
        outputs.import_outputs(sqlite_store, written(tmp_path, numbered(4)), terms(), now=NOON)


def test_json_nested_deeper_than_anyone_needs_is_refused_in_words(sqlite_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"prompt": "Q", "answer": "A", "tags": {"x": ' + "[" * 400 + "]" * 400 + "}}", encoding="utf-8")
    with pytest.raises(BadImport, match="nested more than 100 deep"):
        outputs.import_outputs(sqlite_store, path, terms(), now=NOON)


def test_a_process_killed_in_the_middle_leaves_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    before = counted(sqlite_store)
    path = written(tmp_path, numbered(50))
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from flagback.storage import outputs\nfrom flagback.storage.records import now\nfrom flagback.storage.store import Store\n"
        "outputs.audit.record = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "terms = outputs.Terms('november', sys.argv[3], 'max', number=5)\n"
        "outputs.import_outputs(Store(sys.argv[1]), Path(sys.argv[2]), terms, now=now())\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(sqlite_store.url), str(path), AGREED], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert counted(sqlite_store) == before
    assert outputs.import_outputs(sqlite_store, path, terms(number=5), now=NOON).drawn == 5


# ------------------------------------------------------------------------ twice is once


def test_the_same_file_again_adds_and_draws_nothing_and_a_look_stores_nothing(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path, [*numbered(20), numbered(1)[0]])
    before = counted(store)
    looked = outputs.import_outputs(store, path, terms(number=5), check=True, now=NOON)
    assert counted(store) == before
    first = outputs.import_outputs(store, path, terms(number=5), now=NOON)
    assert first == looked
    assert (first.rows, first.added, first.duplicates, first.drawn) == (21, 20, 1, 5)
    after = counted(store)
    again = outputs.import_outputs(store, path, terms(number=5), now=NOON)
    assert (again.added, again.duplicates, again.drawn) == (0, 21, 0)
    assert counted(store) == after, "not even an entry in the log"


def test_a_whole_batch_takes_no_more_answers(sqlite_store: Store, tmp_path: Path) -> None:
    outputs.import_outputs(sqlite_store, written(tmp_path, numbered(3)), terms(number=1), now=NOON)
    before = counted(sqlite_store)
    with pytest.raises(OtherBatch, match=r"1 of its answers are not in the batch 'november', which came in whole on 2026-11-21"):
        outputs.import_outputs(sqlite_store, written(tmp_path, numbered(4)), terms(number=1), now=NOON)
    with pytest.raises(OtherBatch, match="which came in whole"):
        sent(sqlite_store, numbered(4), terms(share=0.5))
    assert counted(sqlite_store) == before


def test_a_batch_sent_in_parts_grows_and_a_request_sent_twice_counts_once(store: Store) -> None:
    rows = numbered(60)
    parts = [sent(store, rows[start : start + 20], terms(share=0.3)) for start in (0, 20, 40)]
    assert [part.added for part in parts] == [20, 20, 20]
    after, shown = counted(store), drawn(store)
    for start in (0, 10, 40):
        again = sent(store, rows[start : start + 20], terms(share=0.3))
        assert (again.added, again.duplicates, again.drawn) == (0, 20, 0)
    assert (counted(store), drawn(store)) == (after, shown)
    with store.reading() as session:
        batch = session.exec(select(OutputBatch)).one()
    assert (batch.n_answers, batch.n_drawn, batch.review_share) == (60, sum(part.drawn for part in parts), 0.3)
    assert batch.n_drawn == len(shown)


@pytest.mark.parametrize(
    ("under", "said"),
    [
        (terms(share=0.4), "review share is 0.4, but 0.3"),
        (terms(share=0.3, by="key other"), "brought by is 'key other', but 'max'"),
        (terms(share=0.3, consent=f"{AGREED} And more."), "consent is"),
    ],
)
def test_a_batch_keeps_the_terms_it_began_with(sqlite_store: Store, under: Terms, said: str) -> None:
    sent(sqlite_store, numbered(5), terms(share=0.3))
    before = counted(sqlite_store)
    with pytest.raises(OtherBatch, match=said):
        sent(sqlite_store, numbered(6), under)
    assert counted(sqlite_store) == before


def test_two_that_send_the_same_at_once_store_it_once(store: Store) -> None:
    rows, failed, reports = numbered(40), [], []
    ready = threading.Barrier(4)

    def send() -> None:
        ready.wait()
        try:
            reports.append(sent(store, rows, terms(share=0.5)))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert sorted(report.added for report in reports) == [0, 0, 0, 40]
    with store.reading() as session:
        batch = session.exec(select(OutputBatch)).one()
        assert (batch.n_answers, batch.n_drawn) == (40, len(drawn(store)))
        assert session.exec(select(func.count()).select_from(Generation)).one() == 40


def test_an_answer_of_two_versions_is_kept_as_the_newest_ones_whatever_the_order(sqlite_store: Store, tmp_path: Path) -> None:
    with sqlite_store.writing() as session:
        old, new = version(session, "old").id, version(session, "new", "current").id
    rows = [numbered(1)[0] | {"version": number} for number in (old, new, None)]
    for name, order in (("a", rows), ("b", rows[::-1])):
        report = outputs.import_outputs(sqlite_store, written(tmp_path, order), terms(name), now=NOON)
        assert (report.added, report.duplicates) == (1, 2)
    with sqlite_store.reading() as session:
        assert session.exec(select(Generation.version_id)).all() == [new, new]


# ------------------------------------------------------------------------ the draw


def keys(count: int) -> list[tuple[str, str]]:
    """What names answers."""
    return [(content_hash([{"role": "user", "content": str(n)}], "en"), text_hash(str(n))) for n in range(count)]


@settings(max_examples=60, deadline=None)
@given(some.permutations(range(30)), some.integers(0, 40), some.integers(0, 2**64), some.floats(0, 1))
def test_the_draw_does_not_depend_on_the_order(order: list[int], number: int, seed: int, share: float) -> None:
    known = keys(30)
    for under in (terms(number=number, seed=seed), terms(share=share, seed=seed)):
        straight = set(outputs.drawn_of(known, under))
        assert set(outputs.drawn_of([known[place] for place in order], under)) == straight
        assert under.number is None or len(straight) == min(number, 30)


def test_every_answer_is_drawn_equally_often() -> None:
    """400 seeds, 50 answers, 10 drawn: 80 times each; chi-square with 49 degrees stays under its 99.9 % point, 85.4.

    Drawing without putting back spreads less than a binomial: the sum is divided by 1 - 10/50.
    """
    known = keys(50)
    times = dict.fromkeys(known, 0)
    for seed in range(400):
        for key in outputs.drawn_of(known, terms(number=10, seed=seed)):
            times[key] += 1
    assert sum(times.values()) == 4_000
    assert sum((found - 80) ** 2 / (80 * (1 - 10 / 50)) for found in times.values()) < 85.4
    shared = sum(len(outputs.drawn_of(known, terms(share=0.2, seed=seed))) for seed in range(400))
    assert abs(shared - 4_000) < 4 * (20_000 * 0.2 * 0.8) ** 0.5


def test_the_edges_of_a_share_are_none_and_all_and_batches_draw_apart() -> None:
    known = keys(200)
    assert outputs.drawn_of(known, terms(share=0.0)) == []
    assert outputs.drawn_of(known, terms(share=1.0)) == known
    one, other = (set(outputs.drawn_of(known, terms(name, number=50))) for name in ("a", "b"))
    assert len(one & other) < 30, "what is drawn of one batch is not what is drawn of the next"


# ------------------------------------------------------------------------ on-policy


def test_only_logged_answers_of_the_current_version_enter_a_set(sqlite_store: Store, tmp_path: Path) -> None:
    """Two answers to each of three prompts, one flagged and one fine: of an unknown model, an older version, the current one."""
    with sqlite_store.writing() as session:
        old, new = version(session, "old").id, version(session, "new", "current").id
    rows = [
        {"prompt": f"Asked of {name}", "answer": text, "version": number, "lang": "en"}
        for name, number in (("unknown", None), ("old", old), ("new", new))
        for text in (" a bad thing", " a good thing")
    ]
    outputs.import_outputs(sqlite_store, written(tmp_path, rows), terms(number=6, reviews_per_item=1), now=NOON)
    judged_by_text(sqlite_store)
    with sqlite_store.writing() as session:
        frozen = pair_sets.freeze(session, new, simulated=False)
        pairs = pairs_of(session, frozen.id)
        assert [(pair.messages[0]["content"], pair.chosen_text, pair.rejected_text) for pair in pairs] == [
            ("Asked of new", " a good thing", " a bad thing")
        ]
        assert pairs[0].chosen_ids is None, "text of unknown tokens; the trainer reads it at the same boundary"
        wrote = {
            session.get_one(Generation, item.generation_id).version_id
            for pair in pairs
            for number in pair.review_ids
            for item in [session.get_one(Item, session.get_one(Review, number).item_id)]
        }
        assert wrote == {new}
    with sqlite_store.writing() as session:
        later = ModelVersion(
            kind="correction", state="candidate", parent_id=new, name="c", location="x", template="plain", fingerprint="c"
        )
        session.add(later)
        session.flush()
        with pytest.raises(NoPairs):
            pair_sets.freeze(session, later.id, simulated=False)


def test_a_text_that_was_sampled_and_logged_and_judged_both_ways_makes_no_pair_with_itself(
    sqlite_store: Store, tmp_path: Path
) -> None:
    with sqlite_store.writing() as session:
        new = version(session, "new", "current").id
        [prompt] = add_prompts(session, [NewPrompt([{"role": "user", "content": "Q"}], "en")]).ids
        made = [
            NewGeneration(prompt, text, "end", "sampled", "run:1", version_id=new) for text in (" a good thing", " a bad thing")
        ]
        make_items(session, add_generations(session, made), purpose="loop", reviews_per_item=1, seed=0)
    judged_by_text(sqlite_store)
    rows = [{"prompt": "Q", "answer": " a bad thing", "version": new, "lang": "en"}]
    outputs.import_outputs(sqlite_store, written(tmp_path, rows), terms(number=1, reviews_per_item=1), now=NOON)
    answered(sqlite_store, "r_two", verdict="fine")
    with sqlite_store.writing() as session:
        frozen = pair_sets.freeze(session, new, simulated=False)
        assert [(pair.chosen_text, pair.rejected_text) for pair in pairs_of(session, frozen.id)] == [
            (" a good thing", " a bad thing")
        ]


def judged_by_text(store: Store) -> None:
    """One reviewer flags what says bad."""
    for claim in slots.claim(store, "r_one", count=50, now=now(), lease_for=timedelta(hours=1), seed=1):
        bad = {"categories": ["stereotype"], "severity": "clear"} if "bad" in claim.text else {}
        reviews.submit(store, "r_one", answer(claim.lease_id, "flag" if bad else "fine", **bad), now=now(), policy_version="1")


# ------------------------------------------------------------------------ what people said; taking back


def test_a_batch_says_how_many_were_drawn_reviewed_and_flagged(store: Store, tmp_path: Path) -> None:
    outputs.import_outputs(store, written(tmp_path, numbered(30)), terms(number=6, reviews_per_item=2), now=NOON)
    sent(store, numbered(3), terms("other", share=0.0))
    answered(store, "r_one", verdict="flag", most=2)
    answered(store, "r_two", most=3)
    with store.reading() as session:
        other, batch = live_batches.batches(session)
        seen = session.exec(select(func.count(func.distinct(Review.item_id)))).one()
    assert (other.name, other.n_answers, other.n_drawn, other.reviewed, other.waiting, other.by_family) == ("other", 3, 0, 0, 0, [])
    assert (batch.n_answers, batch.n_drawn, batch.reviewed, batch.reviews, batch.flags) == (30, 6, seen, 5, 2)
    assert batch.waiting == 12 - 5
    assert [sum(column) for column in zip(*batch.by_family, strict=True)] == [2, 5]
    assert batch.review_share is None


def test_skips_corrections_and_simulated_reviews_are_not_counted_twice(sqlite_store: Store, tmp_path: Path) -> None:
    outputs.import_outputs(sqlite_store, written(tmp_path, numbered(5)), terms(number=3, reviews_per_item=3), now=NOON)
    first, _, _ = slots.claim(sqlite_store, "r_one", count=3, now=now(), lease_for=timedelta(hours=1), seed=1)
    given_first = answer(first.lease_id, "fine")
    reviews.submit(sqlite_store, "r_one", given_first, now=now(), policy_version="1")
    flag = answer(first.lease_id, "flag", categories=["stereotype"], severity="clear", supersedes_token=given_first.token)
    reviews.submit(sqlite_store, "r_one", flag, now=now(), policy_version="1")
    other, skipped, _ = slots.claim(sqlite_store, "r_two", count=3, now=now(), lease_for=timedelta(hours=1), seed=1)
    reviews.submit(sqlite_store, "r_two", answer(other.lease_id, "fine"), now=now(), policy_version="1", simulated=True)
    reviews.submit(sqlite_store, "r_two", answer(skipped.lease_id, "skip", skip_reason="unclear"), now=now(), policy_version="1")
    with sqlite_store.reading() as session:
        (batch,) = live_batches.batches(session)
    assert (batch.reviewed, batch.reviews, batch.flags) == (1, 1, 1)


def test_a_batch_taken_back_is_handed_out_no_more_and_loses_no_answer(store: Store, tmp_path: Path) -> None:
    outputs.import_outputs(store, written(tmp_path, numbered(9)), terms(number=4, reviews_per_item=2), now=NOON)
    judged, held, skipping, giving_back = slots.claim(store, "r_one", count=4, now=now(), lease_for=timedelta(hours=1), seed=1)
    done = answer(judged.lease_id, "fine")
    reviews.submit(store, "r_one", done, now=now(), policy_version="1")
    with store.writing() as session:
        closed = live_batches.withdraw(session, "november", by="max", now=NOON)
    assert (closed.closed, closed.held) == (7, 3)
    late = reviews.submit(store, "r_one", answer(held.lease_id, "fine"), now=now(), policy_version="1")
    assert (late.stored, late.late) == ("new", True)
    reviews.submit(store, "r_one", answer(skipping.lease_id, "skip", skip_reason="unclear"), now=now(), policy_version="1")
    assert slots.release(store, "r_one", now=now()) == 0
    slots.sweep(store, now=now() + timedelta(days=2))
    undo = answer(judged.lease_id, "skip", skip_reason="unclear", supersedes_token=done.token)
    reviews.submit(store, "r_one", undo, now=now(), policy_version="1")
    for reviewer in ("r_one", "r_two"):
        assert slots.claim(store, reviewer, count=9, now=now(), lease_for=timedelta(hours=1), seed=1) == []
    with store.reading() as session:
        (batch,) = live_batches.batches(session)
        assert session.exec(select(func.count()).select_from(Generation)).one() == 9, "the texts stay"
        assert session.exec(select(func.count()).select_from(Review)).one() == 4
        assert session.exec(select(Lease.outcome).where(Lease.id == giving_back.lease_id)).one() == "released"
        assert [entry.action for entry in session.exec(select(AuditEntry)).all()] == ["import outputs", "outputs withdrawn"]
    assert (batch.waiting, batch.withdrawn_at) == (0, NOON)


def test_a_batch_is_taken_back_once_takes_nothing_more_and_must_exist(sqlite_store: Store) -> None:
    sent(sqlite_store, numbered(4), terms(share=1.0))
    with sqlite_store.writing() as session:
        assert live_batches.withdraw(session, "november", by="max", now=NOON).closed == 12
    with sqlite_store.writing() as session:
        assert live_batches.withdraw(session, "november", by="max", now=NOON) == (0, 0)
        assert len(session.exec(select(AuditEntry)).all()) == 2
    with pytest.raises(OtherBatch, match="was taken back from review on 2026-11-21"):
        sent(sqlite_store, numbered(5), terms(share=1.0))
    with sqlite_store.writing() as session, pytest.raises(live_batches.UnknownBatch, match="flagback outputs list"):
        live_batches.withdraw(session, "december", by="max", now=NOON)


def test_people_who_claim_release_and_answer_while_a_batch_is_taken_back_break_nothing(store: Store, tmp_path: Path) -> None:
    outputs.import_outputs(store, written(tmp_path, numbered(60)), terms(number=60, reviews_per_item=2), now=NOON)
    failed: list[BaseException] = []
    ended = threading.Event()

    def working(reviewer: str) -> Callable[[], None]:
        def work() -> None:
            try:
                while not ended.is_set():
                    held = slots.claim(store, reviewer, count=5, now=now(), lease_for=timedelta(hours=1), seed=len(reviewer))
                    for claim in held[:2]:
                        reviews.submit(store, reviewer, answer(claim.lease_id, "fine"), now=now(), policy_version="1")
                    slots.release(store, reviewer, now=now())
            except Exception as error:
                failed.append(error)

        return work

    threads = [threading.Thread(target=working(f"r_{'x' * n}")) for n in range(1, 4)]
    for thread in threads:
        thread.start()
    with store.writing() as session:
        live_batches.withdraw(session, "november", by="max", now=NOON)
    ended.set()
    for thread in threads:
        thread.join(60)
    assert failed == []
    with store.reading() as session:
        assert session.exec(select(Slot).where(Slot.state != "done")).all() == []
        assert session.exec(select(Lease).where(Lease.outcome == "held")).all() == []
        filled = session.exec(select(func.count()).select_from(Slot).where(col(Slot.reviewer).is_not(None))).one()
        kept = session.exec(select(func.count()).select_from(Review).where(col(Review.slot_id).is_not(None))).one()
    assert filled == kept


def test_an_answer_of_a_version_counts_in_what_was_seen_of_it(sqlite_store: Store, tmp_path: Path) -> None:
    with sqlite_store.writing() as session:
        new = version(session, "new", "current").id
    outputs.import_outputs(sqlite_store, written(tmp_path, numbered(3, version=new)), terms(number=2, reviews_per_item=1), now=NOON)
    answered(sqlite_store, verdict="flag")
    with sqlite_store.reading() as session:
        judged = reviews.judged(session, versions.current(session).id, simulated=False)
    assert [(generation.source, len(votes)) for generation, _, votes in judged] == [("logged", 1)] * 2
