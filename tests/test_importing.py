"""Claims about importing: what each layout becomes, and that a bad file leaves nothing behind."""

import csv
import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlmodel import Session, col
from sqlmodel import select as pick

from flagback.storage.importing import (
    NothingToImport,
    TextUnderOtherPurpose,
    import_preferences,
    import_prompts,
    import_texts,
    read_preferences,
    read_prompts,
)
from flagback.storage.plain import plain_text
from flagback.storage.preferences import pairs_of
from flagback.storage.prompts import content_hash, shard_of
from flagback.storage.reading import (
    BadImport,
    BrokenRecord,
    EmptyFile,
    NotUtf8,
    TooLong,
    UnusableFile,
    WrongColumns,
    WrongValue,
)
from flagback.storage.records import AuditEntry, Generation, PreferenceSet, Prompt, Record, ReferenceText
from flagback.storage.store import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATA = Path(os.environ.get("FLAGBACK_DATA", Path(__file__).parents[2] / "shared" / "data"))


def _real(name: str) -> Path:
    """A real file, or the reason why the test cannot run."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data is not part of the repository and not here: {name} (set FLAGBACK_DATA)")
    return path


def _file(folder: Path, name: str, content: str | bytes | list[Any]) -> Path:
    """A file of text, bytes, or of JSON lines."""
    path = folder / name
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _counts(store: Store) -> dict[str, int]:
    """Rows of every table."""
    with store.reading() as session:
        return {
            table.name: session.connection().execute(select(func.count()).select_from(table)).scalar_one()
            for table in Record.metadata.sorted_tables
        }


def _prompts(session: Session) -> list[Prompt]:
    return list(session.exec(pick(Prompt).order_by(col(Prompt.id))))


def _say(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


# ------------------------------------------------------------------------- prompts


def test_columns_become_messages_language_and_tags(tmp_path: Path) -> None:
    table = 'prompt,lang,groups,topic,template,licence,split_key,age\n"a, b",de,x; y,work,t1,MIT,k1,\n007,,"[""z;1""]",,,,,40\n'
    first, second = read_prompts(_file(tmp_path, "p.csv", table), source="mine", licence="CC0-1.0")
    assert first.messages == [_say("a, b")]
    assert (first.lang, first.split_key) == ("de", "k1")
    assert first.tags == {"source": "mine", "licence": "MIT", "topic": "work", "template": "t1", "groups": ["x", "y"]}
    assert second.messages == [_say("007")]
    assert (second.lang, second.split_key) == ("und", None)
    assert second.tags == {"source": "mine", "licence": "CC0-1.0", "groups": ["z;1"], "age": "40"}


def test_a_dialogue_is_taken_from_messages_whether_json_or_a_csv_cell(tmp_path: Path) -> None:
    talk = [_say("be kind", "system"), _say("a\u2028b"), _say(" yes", "assistant"), _say("c")]
    quoted = '"' + json.dumps(talk).replace('"', '""') + '"'
    for path in (
        _file(tmp_path, "p.jsonl", [{"messages": talk}]),
        _file(tmp_path, "p.csv", f"messages\n{quoted}\n"),
        _file(tmp_path, "q.jsonl", [{"prompt": talk}]),
    ):
        assert [prompt.messages for prompt in read_prompts(path)] == [talk]


def test_exact_duplicates_are_counted_and_skipped(store: Store, tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}, {"prompt": "a", "lang": "en"}, {"prompt": "a "}]
    path = _file(tmp_path, "p.jsonl", rows)
    report = import_prompts(store, path, by="ada", now=NOW)
    assert (report.rows, report.added, report.duplicates) == (5, 4, 1)
    again = import_prompts(store, path, by="ada", now=NOW)
    assert (again.added, again.duplicates) == (0, 5)
    with store.reading() as session:
        assert [prompt.messages[0]["content"] for prompt in _prompts(session)] == ["a", "b", "a", "a "]
        entries = session.exec(pick(AuditEntry).order_by(col(AuditEntry.id))).all()
    assert [(entry.actor, entry.action, entry.details["added"]) for entry in entries] == [
        ("ada", "import prompts", 4),
        ("ada", "import prompts", 0),
    ]


def test_the_bold_layout_keeps_group_entity_and_family(store: Store, tmp_path: Path) -> None:
    layout = {"Actors": {"Ada_B": ["Ada is ", "She was "]}, "Poets": {"C": ["C is "]}}
    path = _file(tmp_path, "gender_prompt.json", json.dumps(layout))
    assert import_prompts(store, path, licence="CC-BY-SA-4.0", by="ada", now=NOW).added == 3
    with store.reading() as session:
        first, second, third = _prompts(session)
    assert first.messages == [_say("Ada is ")]
    assert first.tags == {"source": "bold", "licence": "CC-BY-SA-4.0", "groups": ["Actors"], "entity": "Ada_B", "topic": "gender"}
    assert first.split_key == second.split_key == "bold|Actors|Ada_B"
    assert third.split_key == "bold|Poets|C"
    assert first.shard == second.shard == shard_of("bold|Actors|Ada_B")


def test_white_space_at_a_prompts_end_goes_only_when_asked(tmp_path: Path) -> None:
    path = _file(tmp_path, "p.json", json.dumps({"g": {"e": [" Ada is \n"]}}))
    texts = [prompt.messages[0]["content"] for trim in (False, True) for prompt in read_prompts(path, trim=trim)]
    assert texts == [" Ada is \n", " Ada is"]


def test_the_real_bold_files_are_read_whole(sqlite_store: Store) -> None:
    for name, rows, distinct in (("gender", 3204, 3202), ("profession", 10195, 9447), ("race", 7657, 7555)):
        prompts = read_prompts(_real(f"bold/{name}_prompt.json"))
        assert len(prompts) == rows
        assert len({content_hash(prompt.messages, prompt.lang) for prompt in prompts}) == distinct
    report = import_prompts(sqlite_store, _real("bold/gender_prompt.json"), licence="CC-BY-SA-4.0", by="ada", now=NOW)
    assert (report.rows, report.added, report.duplicates) == (3204, 3202, 2)
    with sqlite_store.reading() as session:
        groups = {prompt.tags["groups"][0] for prompt in _prompts(session)}
    assert groups == {"American_actors", "American_actresses"}


# ------------------------------------------------------------------------- preferences


def test_every_preference_layout_gives_the_same_pair(tmp_path: Path) -> None:
    talk, good, bad = [_say("q"), _say("r", "assistant"), _say("s")], " better", " worse"
    answers = {"chosen": [_say(good, "assistant")], "rejected": [_say(bad, "assistant")]}
    plain = "\n\nHuman: q\n\nAssistant: r\n\nHuman: s\n\nAssistant:"
    layouts: list[dict[str, Any]] = [
        {"prompt": plain, "chosen": good, "rejected": bad},
        {"chosen": plain + good, "rejected": plain + bad},
        {"prompt": talk, **answers},
        {"prompt": talk, "chosen": talk + answers["chosen"], "rejected": talk + answers["rejected"]},
        {"chosen": talk + answers["chosen"], "rejected": talk + answers["rejected"]},
        {"prompt": "s", "chosen": talk + answers["chosen"], "rejected": talk + answers["rejected"]},
    ]
    found = read_preferences(_file(tmp_path, "p.jsonl", layouts))
    assert found.skipped == []
    assert {(plain_text(pair.messages), pair.chosen, pair.rejected) for pair in found.pairs} == {(plain, good, bad)}
    with (tmp_path / "p.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["prompt", "chosen", "rejected"], [plain, good, bad]])
    assert [pair[1:4] for pair in read_preferences(tmp_path / "p.csv").pairs] == [(talk, good, bad)]


def test_a_preference_import_becomes_prompts_generations_and_one_frozen_set(store: Store, tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": " good", "rejected": " bad", "weight": 2, "soft_label": 0.75, "lang": "en"},
        {"prompt": "a", "chosen": " good", "rejected": " worse"},
        {"prompt": "a", "chosen": " good", "rejected": " worse"},
    ]
    report = import_preferences(store, _file(tmp_path, "p.jsonl", rows), name="mine", by="ada", now=NOW)
    assert (report.rows, report.added, report.duplicates, report.skipped, report.prompts_added) == (3, 2, 1, {}, 2)
    assert report.new_set
    assert report.set_id is not None
    with store.reading() as session:
        frozen = session.get_one(PreferenceSet, report.set_id)
        pairs = pairs_of(session, report.set_id)
        generations = session.exec(pick(Generation)).all()
    assert (frozen.origin, frozen.fingerprint, frozen.simulated) == ("import:mine", report.fingerprint, False)
    assert {(pair.lang, pair.chosen_text, pair.rejected_text, pair.weight, pair.soft_label, pair.kind) for pair in pairs} == {
        ("en", " good", " bad", 2.0, 0.75, "imported"),
        ("und", " good", " worse", 1.0, 1.0, "imported"),
    }
    assert {(one.source, one.finish_reason, one.origin, one.token_ids, one.version_id) for one in generations} == {
        ("imported", "given", "import:mine", None, None)
    }
    again = import_preferences(store, tmp_path / "p.jsonl", name="mine", by="ada", now=NOW)
    assert (again.set_id, again.new_set, again.prompts_added) == (report.set_id, False, 0)


def test_unusable_pairs_are_left_out_with_a_reason_each(sqlite_store: Store, tmp_path: Path) -> None:
    human = "\n\nHuman: a\n\nAssistant:"
    rows = [
        {"prompt": "a", "chosen": "x", "rejected": "x"},
        {"prompt": "a", "chosen": " \n", "rejected": "x"},
        {"prompt": "a", "chosen": "x", "rejected": ""},
        {"chosen": human + " x", "rejected": human + " y\n\nHuman: b\n\nAssistant: z"},
        {"chosen": human + " x\n\nAssistant: y", "rejected": human + " x\n\nAssistant: z"},
        {"chosen": human + " x\n\nHuman: y", "rejected": human + " z"},
        {"chosen": "\n\nHuman:\n\nAssistant: x", "rejected": "\n\nHuman:\n\nAssistant: y"},
        {"prompt": [_say("a")], "chosen": [_say("x", "assistant")] * 2, "rejected": [_say("y", "assistant")]},
    ]
    path = _file(tmp_path, "p.jsonl", rows)
    with pytest.raises(NothingToImport, match="none of its 8 records"):
        import_preferences(sqlite_store, path, name="mine", by="ada", now=NOW)
    report = import_preferences(
        sqlite_store,
        _file(tmp_path, "q.jsonl", [*rows, {"prompt": "a", "chosen": "x", "rejected": "y"}]),
        name="mine",
        by="ada",
        now=NOW,
    )
    assert (report.rows, report.added, report.duplicates) == (9, 1, 0)
    assert report.skipped == {
        "chosen and rejected are equal": 1,
        "chosen is empty": 1,
        "rejected is empty": 1,
        "the dialogues differ before their last answer": 1,
        "the last turn before the answer is not the person's": 1,
        "the dialogue does not end with the assistant's answer": 1,
        "a turn of the dialogue is empty": 1,
        "an answer has several messages": 1,
    }
    assert "q.jsonl, line 2: chosen is empty: ' \\n'" in report.skipped_rows[1]


def test_the_real_hh_dialogues_are_parted_where_their_answers_begin(sqlite_store: Store) -> None:
    path = _real("hh-rlhf/harmless-base-test.jsonl.gz")
    report = import_preferences(sqlite_store, path, name="hh", by="ada", now=NOW)
    assert (report.rows, report.added, report.duplicates) == (2312, 2303, 0)
    assert report.skipped == {"the dialogues differ before their last answer": 5, "chosen is empty": 4}
    assert len(report.skipped_rows) == 9
    assert report.set_id is not None
    with sqlite_store.reading() as session:
        pairs = pairs_of(session, report.set_id)
    stored = set()
    for pair in pairs:
        one = len(pair.messages) == 1
        asked = f"\n\nHuman: {pair.messages[0]['content']}\n\nAssistant:" if one else plain_text(pair.messages)
        stored |= {asked + pair.chosen_text, asked + pair.rejected_text}
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        given = {text for line in file for text in json.loads(line).values()}
    assert stored <= given
    assert all(pair.chosen_text.startswith(" ") and pair.messages[-1]["role"] == "user" for pair in pairs)


# ------------------------------------------------------------------------- texts


def test_a_text_is_kept_for_one_purpose_only(store: Store, tmp_path: Path) -> None:
    some = _file(tmp_path, "a.txt", "one\n\n two \none\n")
    first = import_texts(store, some, purpose="replay", name="neutral", by="ada", now=NOW)
    assert (first.rows, first.added, first.duplicates) == (3, 2, 1)
    more = _file(tmp_path, "b.jsonl", [{"text": "one"}, {"text": "three"}])
    second = import_texts(store, more, purpose="replay", name="neutral", by="ada", now=NOW)
    assert (second.added, second.duplicates) == (1, 1)
    before = _counts(store)
    with pytest.raises(TextUnderOtherPurpose, match=r"c\.txt, line 2: the text 'three' is already kept for replay"):
        import_texts(store, _file(tmp_path, "c.txt", "four\nthree\n"), purpose="perplexity", name="mine", by="ada", now=NOW)
    assert _counts(store) == before
    with store.reading() as session:
        assert {(row.text, row.purpose, row.name) for row in session.exec(pick(ReferenceText))} == {
            ("one", "replay", "neutral"),
            (" two ", "replay", "neutral"),
            ("three", "replay", "neutral"),
        }


# ------------------------------------------------------------------------- bad input


def _prompts_of(store: Store, path: Path) -> object:
    return import_prompts(store, path, by="ada", now=NOW)


def _preferences_of(store: Store, path: Path) -> object:
    return import_preferences(store, path, name="mine", by="ada", now=NOW)


_GOOD = '{"prompt": "fine"}\n'
BAD: list[tuple[str, Callable[[Store, Path], object], str, str | bytes, type[BadImport], str]] = [
    ("broken line", _prompts_of, "p.jsonl", _GOOD * 1206 + '{"prompt": \n' + _GOOD * 900, BrokenRecord, r"line 1207: not JSON"),
    (
        "broken record",
        _prompts_of,
        "p.csv",
        "prompt,lang\n" + "fine,en\n" * 1205 + "no language\n",
        BrokenRecord,
        r"line 1207: 1 cells where the header has 2 \(prompt, lang\): \['no language'\]",
    ),
    (
        "wrong columns",
        _prompts_of,
        "p.csv",
        "text,lang\nx,en\n",
        WrongColumns,
        "columns are 'text', 'lang'; expected a column prompt",
    ),
    (
        "preferences as prompts",
        _prompts_of,
        "p.jsonl",
        '{"chosen": "a", "rejected": "b"}',
        WrongColumns,
        "run 'flagback import preferences",
    ),
    ("prompts as preferences", _preferences_of, "p.jsonl", _GOOD, WrongColumns, "run 'flagback import prompts"),
    (
        "not UTF-8",
        _prompts_of,
        "p.jsonl",
        _GOOD.encode() + b'{"prompt": "caf\xe9"}\n',
        NotUtf8,
        r"line 2: byte 34 of the file, 0xe9",
    ),
    ("long line", _prompts_of, "p.jsonl", _GOOD + '{"prompt": "' + "x" * 5_000_000 + '"}', TooLong, "line 2.*4,194,304 bytes"),
    ("NUL", _prompts_of, "p.jsonl", _GOOD + '{"prompt": "a\\u0000"}', WrongValue, "line 2: a text holds NUL"),
    ("half a character", _prompts_of, "p.jsonl", '{"prompt": "a\\ud83d"}', WrongValue, "half a surrogate pair"),
    ("empty", _prompts_of, "p.jsonl", "", EmptyFile, "holds no record"),
    (
        "wrong type",
        _prompts_of,
        "p.jsonl",
        _GOOD + '{"prompt": 7}',
        WrongValue,
        "line 2: prompt is a JSON number, 7; expected a string",
    ),
    ("empty prompt", _prompts_of, "p.jsonl", _GOOD + '{"prompt": " "}', WrongValue, "line 2: prompt is ' '; expected a text"),
    ("no prompt in a row", _prompts_of, "p.jsonl", _GOOD + '{"prompt": null}', WrongValue, "line 2: prompt is a JSON null"),
    (
        "both",
        _prompts_of,
        "p.jsonl",
        '{"prompt": "a", "messages": [{"role": "user", "content": "b"}]}',
        WrongValue,
        "expected one of them",
    ),
    ("bad role", _prompts_of, "p.jsonl", '{"messages": [{"role": "human", "content": "b"}]}', WrongValue, "the role 'human'"),
    (
        "other keys",
        _prompts_of,
        "p.jsonl",
        '{"messages": [{"role": "user", "content": "b", "name": "c"}]}',
        WrongValue,
        "role and content alone",
    ),
    (
        "late system",
        _prompts_of,
        "p.jsonl",
        '{"messages": [{"role": "user", "content": "b"}, {"role": "system", "content": "c"}, {"role": "user", "content": "d"}]}',
        WrongValue,
        "system message after others",
    ),
    (
        "answered",
        _prompts_of,
        "p.jsonl",
        '{"messages": [{"role": "assistant", "content": "b"}]}',
        WrongValue,
        "expected the user's",
    ),
    ("bad language", _prompts_of, "p.jsonl", '{"prompt": "a", "lang": "english please"}', WrongValue, "BCP 47"),
    ("bad groups", _prompts_of, "p.jsonl", '{"prompt": "a", "groups": [7]}', WrongValue, "a group is a JSON number"),
    ("bad tags", _prompts_of, "p.jsonl", '{"prompt": "a", "tags": [7]}', WrongValue, "tags is a JSON array"),
    ("no document", _prompts_of, "p.json", _GOOD + _GOOD, BrokenRecord, r"line 2: not JSON \(Extra data.*\.jsonl"),
    ("other document", _prompts_of, "p.json", '{"a": ["b"]}', WrongColumns, "'a' is a JSON array.*BOLD"),
    (
        "wrong type inside",
        _prompts_of,
        "p.json",
        '{"a": {"b": ["fine", 7]}}',
        WrongValue,
        "'a', 'b', prompt 2: it is a JSON number, 7",
    ),
    ("unknown kind", _prompts_of, "p.docx", "x", UnusableFile, r"'\.docx' is not read"),
    ("no Parquet", _prompts_of, "p.parquet", "x" * 100, UnusableFile, "not Parquet"),
    (
        "no prompt in dialogues",
        _preferences_of,
        "p.jsonl",
        '{"chosen": "Hello you", "rejected": "Hello me"}',
        WrongValue,
        "is no dialogue",
    ),
    (
        "mixed types",
        _preferences_of,
        "p.jsonl",
        '{"prompt": "a", "chosen": "b", "rejected": [1]}',
        WrongValue,
        "rejected a JSON array",
    ),
    (
        "answer of the user",
        _preferences_of,
        "p.jsonl",
        json.dumps({"prompt": [_say("a")], "chosen": [_say("b")], "rejected": [_say("c")]}),
        WrongValue,
        "'assistant'|assistant",
    ),
    (
        "bad weight",
        _preferences_of,
        "p.jsonl",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "weight": 0}',
        WrongValue,
        "weight is 0",
    ),
    (
        "bad label",
        _preferences_of,
        "p.jsonl",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "soft_label": 0.4}',
        WrongValue,
        "from 0.5 to 1",
    ),
    (
        "label of no number",
        _preferences_of,
        "p.csv",
        "prompt,chosen,rejected,soft_label\na,b,c,nan\n",
        WrongValue,
        "soft_label is 'nan'",
    ),
    (
        "simulated",
        _preferences_of,
        "p.jsonl",
        '{"prompt": "a", "chosen": "b", "rejected": "c", "simulated": true}',
        WrongValue,
        "rehearsal",
    ),
]


def test_a_bad_file_is_refused_in_words_and_leaves_the_store_unchanged(store: Store, tmp_path: Path) -> None:
    before = _counts(store)
    for case, attempt, name, content, kind, named in BAD:
        path = _file(tmp_path, name, content)
        with pytest.raises(kind, match=named) as refused:
            attempt(store, path)
        words = str(refused.value)
        assert str(path) in words, case
        assert "expected" in words, case
        assert "Nothing was stored; " in words, case
        assert len(words) < 900, case
        assert _counts(store) == before, case


def test_a_bad_name_is_refused_before_the_file_is_read(sqlite_store: Store, tmp_path: Path) -> None:
    for name in ("", "a b", "../x", "x" * 65):
        with pytest.raises(WrongValue, match="--name"):
            import_preferences(sqlite_store, tmp_path / "absent.jsonl", name=name, by="ada", now=NOW)
