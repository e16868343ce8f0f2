"""Claims about reading files from outside: exact texts, named places, limits."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model import dialogue
from flagback.storage import reading
from flagback.storage.plain import messages_of, plain_text
from flagback.storage.reading import (
    BrokenRecord,
    EmptyFile,
    NotUtf8,
    TooLong,
    UnusableFile,
    WrongColumns,
    WrongValue,
    read_csv,
    read_jsonl,
)

#: What Unicode and spreadsheets have in store for a text.
NASTY = [
    "a\u2028b\u2029c\u0085d",
    "007",
    "None",
    "NaN",
    "null",
    "NULL",
    "\\N",
    "=1+1",
    "-2",
    "+3",
    "@SUM(A1)",
    "'quoted'",
    '"',
    '""',
    ",",
    "a,b\nc",
    "\r",
    "\r\n",
    "x\ry",
    " leading",
    "trailing ",
    "\ttab",
    "\x0b\x0c\x1c\x1d\x1e",
    "\ufeffbom",
    "é",
    "e\u0301",
    "👩🏽‍🔬",
    "שלום",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "1e999",
    "true",
    "[]",
    "{}",
]
#: Everything a database keeps: no NUL, no half surrogate.
TEXT = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))


def _file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return path


@given(st.lists(st.dictionaries(TEXT, TEXT, min_size=1), min_size=1))
def test_json_lines_come_back_as_they_went(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    for ascii_only in (True, False):
        path = _file(folder, "rows.jsonl", "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows))
        assert [row.values for row in read_jsonl(path)] == rows


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_quoted_csv_cells_come_back_as_they_went(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [("left", "right"), *rows]]
    for end in ("\n", "\r\n"):
        path = _file(tmp_path_factory.mktemp("csv"), "rows.csv", "".join(line + end for line in quoted))
        assert [tuple(row.values.values()) for row in read_csv(path)] == rows


def test_a_gzipped_file_is_read_alike_whatever_its_name(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"prompt": "a"}\n')
    for name in ("a.jsonl.gz", "a.jsonl"):
        assert [row.values for row in read_jsonl(_file(tmp_path, name, packed))] == [{"prompt": "a"}]


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert next(read_csv(_file(tmp_path, "a.csv", "\ufeffprompt\nx\n"))).values == {"prompt": "x"}


def test_a_broken_line_is_named_by_number_value_and_column(tmp_path: Path) -> None:
    lines = ['{"prompt": "fine"}'] * 2000
    lines[1206] = '{"prompt": "not closed}'
    path = _file(tmp_path, "prompts.jsonl", "\n".join(lines))
    with pytest.raises(BrokenRecord, match=r"prompts\.jsonl, line 1207: not JSON .*column 12.*not closed.*Nothing was stored"):
        list(read_jsonl(path))


def test_a_csv_record_of_another_width_is_named_by_the_line_it_begins_on(tmp_path: Path) -> None:
    path = _file(tmp_path, "prompts.csv", 'prompt,lang\n"two\nlines",en\nthree,en,more\n')
    with pytest.raises(BrokenRecord, match=r"line 4: 3 cells where the header has 2 \(prompt, lang\)"):
        list(read_csv(path))


def test_a_quotation_mark_that_is_never_closed_names_where_it_opened(tmp_path: Path) -> None:
    path = _file(tmp_path, "prompts.csv", 'prompt\nfine\n"never closed\nmore\nmore\n')
    with pytest.raises(BrokenRecord, match="line 3 to 5: not CSV"):
        list(read_csv(path))


def test_a_byte_that_is_no_utf8_is_named_by_offset_and_line(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.jsonl", b'{"prompt": "ok"}\n{"prompt": "caf\xe9"}\n')
    with pytest.raises(NotUtf8, match=r"line 2: byte 32 of the file, 0xe9.*iconv"):
        list(read_jsonl(path))
    with pytest.raises(NotUtf8, match=r"line 1: byte 0 of the file, 0xff.*UTF-16"):
        list(read_csv(_file(tmp_path, "a.csv", "prompt\nx\n".encode("utf-16"))))
    with pytest.raises(NotUtf8, match="line 3: byte 8 of the file"):
        reading.read_document(_file(tmp_path, "a.json", b'{\n"a":\n"\xe9"}'))


def test_a_line_over_the_limit_is_refused_without_reading_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "fine"}\n{"prompt": "')
        file.truncate(50 * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(TooLong, match=r"big\.jsonl, line 2, which begins .*longer than 4,194,304 bytes, the limit of a line"):
            list(read_jsonl(path))
        assert tracemalloc.get_traced_memory()[1] < 3 * reading.MAX_LINE_BYTES
    finally:
        tracemalloc.stop()


def test_a_csv_record_over_the_limit_is_refused_where_it_begins(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.csv", 'prompt\n"open\n' + "x" * 1000 + ("\n" + "x" * 999) * 5000)
    with pytest.raises(TooLong, match="line 2: the record that begins here"):
        list(read_csv(path))


def test_a_long_text_within_the_limit_is_read_whole(tmp_path: Path) -> None:
    text = "x" * (reading.MAX_LINE_BYTES - 100)
    assert next(read_csv(_file(tmp_path, "a.csv", f'prompt\n"{text}"\n'))).values == {"prompt": text}
    assert next(read_jsonl(_file(tmp_path, "a.jsonl", json.dumps({"prompt": text})))).values == {"prompt": text}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"prompt": "a\x00b"}', "is NUL"),
        (b'{"prompt": "a\\u0000b"}', "NUL"),
        (b'{"prompt": "a\\ud800b"}', "half a surrogate"),
        (b'{"\\uDFFF": 1}', "half a surrogate"),
        (b'{"prompt": NaN}', "NaN"),
        (b'{"weight": 1e999}', "too large"),
        (b'{"prompt": "a", "prompt": "b"}', "'prompt' stands twice"),
        (b'["a"]', "a JSON array"),
        (b'"a"', "a JSON string"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"prompt": "a\nb"}', "line 1"),
    ],
)
def test_json_that_cannot_be_kept_as_it_is_is_refused(tmp_path: Path, content: bytes, named: str) -> None:
    with pytest.raises((BrokenRecord, WrongValue), match=named):
        list(read_jsonl(_file(tmp_path, "a.jsonl", content)))


def test_an_escaped_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    assert next(read_jsonl(_file(tmp_path, "a.jsonl", '{"prompt": "\\ud83d\\ude00"}'))).values == {"prompt": "😀"}


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.csv", ""), ("a.csv", "prompt\n"), ("a.json", " ")]
)
def test_an_empty_file_is_named_as_such(tmp_path: Path, name: str, content: str) -> None:
    path = _file(tmp_path, name, content)
    with pytest.raises(EmptyFile, match=name):
        list(reading.read_document(path) if name.endswith(".json") else reading.read_rows(path))


@pytest.mark.parametrize("header", ["prompt;lang", "prompt\tlang", "prompt,prompt"])
def test_an_unusable_header_is_named(tmp_path: Path, header: str) -> None:
    with pytest.raises(WrongColumns, match="line 1"):
        list(read_csv(_file(tmp_path, "a.csv", f"{header}\nx\n")))


def test_a_file_that_is_missing_or_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    sheet = _file(tmp_path, "a.xlsx", "x")
    for path, named in ((tmp_path / "no.csv", "no such file"), (tmp_path, "not a file"), (sheet, "'.xlsx'")):
        with pytest.raises(UnusableFile, match=named):
            reading.kind_of(path)


def test_a_gzip_cut_short_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"prompt": "a"}\n' * 10_000)
    for broken in (whole[:-20], whole[:10] + b"\xff" * 30):
        with pytest.raises(UnusableFile, match="gzip data is broken"):
            list(read_jsonl(_file(tmp_path, "a.jsonl.gz", broken)))


@given(st.lists(TEXT.filter(lambda text: "\n\nHuman:" not in text and "\n\nAssistant:" not in text), min_size=2, max_size=6))
def test_a_plain_dialogue_is_parted_into_the_messages_it_was_made_of(texts: list[str]) -> None:
    messages = [{"role": "user" if number % 2 == 0 else "assistant", "content": text} for number, text in enumerate(texts)]
    if len(messages) % 2 == 0:
        messages.append({"role": "user", "content": "last"})
    if not any(message["content"].endswith("\n") for message in messages):
        assert messages_of(plain_text(messages)) == messages


@given(TEXT)
def test_any_text_is_the_plain_text_of_its_messages(text: str) -> None:
    for whole in (text, f"\n\nHuman: {text}\n\nAssistant:", f"\n\nHuman:{text}\n\nAssistant: a\n\nHuman: b\n\nAssistant:"):
        assert plain_text(messages_of(whole)) == whole


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT), min_size=1, max_size=5), st.booleans())
def test_an_export_writes_a_prompt_as_the_plain_template_reads_it(turns: list[tuple[str, str]], system: bool) -> None:
    messages = [{"role": "system", "content": "be kind"}] if system else []
    messages += [{"role": role, "content": text} for role, text in turns]
    assert plain_text(messages) == dialogue.plain_text(messages)
