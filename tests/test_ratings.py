"""Claims about finished ratings: all of a file or nothing, errors that name the line, raters that nobody can be found by."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlmodel import Session, select

from flagback.storage import ratings
from flagback.storage.ratings import (
    Columns,
    NoStudy,
    OneRater,
    RatedTwice,
    StudyReport,
    StudyThere,
    import_ratings,
    preview_ratings,
)
from flagback.storage.reading import BadImport, WrongColumns, WrongValue
from flagback.storage.records import AuditEntry, ScaleType, Study, StudyItem, StudyRater, StudyRating
from flagback.storage.store import Store

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)
HEAD = "item,who,label,text,country\n"
FILE = HEAD + "a,ann,1,Text A,India\na,bob,0,Text A,\nb,ann,2.5,Text B,India\nb,bob,,Text B,\n"
COLUMNS = Columns("item", "who", "label", "text", ["country"])


def bring(store: Store, folder: Path, text: str = FILE, *, scale: ScaleType = "nominal", **given: Any) -> StudyReport:
    """Brings a CSV file in."""
    path = folder / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    more: dict[str, Any] = {"study": "s", "columns": COLUMNS, "scale": scale, "by": "max", "now": NOON} | given
    return import_ratings(store, path, **more)


def rows(session: Session) -> int:
    """How many rows studies have in all tables together."""
    return sum(len(session.exec(select(table)).all()) for table in (Study, StudyItem, StudyRater, StudyRating))


def test_a_study_comes_in_with_texts_background_and_what_was_left_out(store: Store, tmp_path: Path) -> None:
    report = bring(store, tmp_path)
    assert report == ("s", str(tmp_path / "ratings.csv"), "nominal", 3, 2, 2, 3, ["country"], 1)
    with store.reading() as session:
        found = ratings.ratings_of(session, "s")
        assert [item.text for item in session.exec(select(StudyItem).order_by(StudyItem.item)).all()] == ["Text A", "Text B"]
        entry = session.exec(select(AuditEntry).where(AuditEntry.action == "import ratings")).one()
        assert (entry.actor, entry.details["ratings"], entry.details["file"]) == ("max", 3, "ratings.csv")
        assert ratings.studies(session) == [("s", "nominal", 3, 2, 2, ["country"], "max", NOON)]
    assert sorted((item, label) for item, _, label in found.rows) == [("a", "0"), ("a", "1"), ("b", "2.5")]
    assert found.levels == ["0", "1", "2.5"]
    india = found.background["country"]
    assert list(india.values()) == ["India"]
    assert {item for item, rater, _ in found.rows if rater in india} == {"a", "b"}


def test_raters_are_kept_under_a_hash_that_is_another_one_in_every_study(sqlite_store: Store, tmp_path: Path) -> None:
    bring(sqlite_store, tmp_path)
    bring(sqlite_store, tmp_path, study="t")
    with sqlite_store.reading() as session:
        first, second = ({row[1] for row in ratings.ratings_of(session, name).rows} for name in ("s", "t"))
    assert not first & second
    everything = b"".join(path.read_bytes() for path in tmp_path.glob("flagback.db*"))
    assert b"India" in everything
    assert b"ann" not in everything
    assert b"bob" not in everything


def test_json_lines_and_parquet_say_the_same_as_csv(sqlite_store: Store, tmp_path: Path) -> None:
    cells = [("a", "ann", 1, "India"), ("a", "bob", 0.0, None), ("b", "ann", 2.5, "India"), ("b", "bob", None, None)]
    made = [dict(zip(("item", "who", "label", "country"), cell, strict=True)) for cell in cells]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(one) + "\n" for one in made))
    pq.write_table(pa.table({name: [one[name] for one in made] for name in made[0]}), tmp_path / "r.parquet")
    columns = Columns("item", "who", "label", None, ["country"])
    for name in ("r.jsonl", "r.parquet"):
        found = import_ratings(sqlite_store, tmp_path / name, study=name[2:], columns=columns, scale="interval", by="max", now=NOON)
        assert (found.ratings, found.items, found.raters, found.without_label) == (3, 2, 2, 1)
        with sqlite_store.reading() as session:
            kept = ratings.ratings_of(session, name[2:])
        assert sorted(row[2] for row in kept.rows) == ["0", "1", "2.5"]
        assert list(kept.background["country"].values()) == ["India"]


@pytest.mark.parametrize(
    ("text", "scale", "error", "words"),
    [
        (HEAD + "a,ann,1,A,\na,bob,0,A,\na,ann,0,A,\n", "nominal", RatedTwice, r"line 4: rater 'ann' rates item 'a' a second time"),
        (HEAD + "a,ann,1,A,\na,bob,high,A,\n", "interval", WrongValue, r"line 3: the label is 'high', which is no number"),
        (HEAD + "a,ann,1,A,\na,bob,infinity,A,\n", "interval", WrongValue, r"'infinity', which is no number"),
        (HEAD + "a,ann,1,A,\na,bob,1e999,A,\n", "interval", WrongValue, r"'1e999', which is no number"),
        (HEAD + "a,ann,1,A,\na,bob,1_0,A,\n", "interval", WrongValue, r"'1_0', which is no number"),
        (
            HEAD + "a,ann,1,A,\na,bob,high,A,\n",
            "ordinal",
            WrongValue,
            r"or labels named from low to high\..*name the labels with --levels",
        ),
        (HEAD + "a,ann,1,A,\nb,ann,0,B,\n", "nominal", OneRater, r"all 2 ratings are by one rater, 'ann'"),
        (HEAD + "a,ann,1,A,\na,,0,A,\n", "nominal", WrongValue, r"line 3: the column 'who' is empty"),
        (HEAD + "a,ann,1,A,\na,bob,0,B,\n", "nominal", WrongValue, r"line 3: item 'a' has another text than before"),
        (HEAD + "a,ann,1,A,India\nb,ann,0,B,Peru\n", "nominal", WrongValue, r"country 'Peru' here and country 'India' before"),
        (HEAD + "a,ann,,A,\na,bob,,A,\n", "nominal", WrongValue, r"no row has a label in the column 'label'"),
        ("item,who,label,text\na,ann,1,A\n", "nominal", WrongColumns, r"there is no column 'country'; the columns are 'item'"),
        (HEAD + "".join(f"a,p{n},{n},A,\n" for n in range(201)), "nominal", WrongValue, r"201 different labels in 'label'"),
        (HEAD + "".join(f"a,p{n},1,A,mail{n}\n" for n in range(101)), "nominal", WrongValue, r"101 different values in the column"),
        (HEAD + f"a,ann,{'x' * 201},A,\n", "nominal", WrongValue, r"has 201 characters"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place_and_nothing_is_stored(
    sqlite_store: Store, tmp_path: Path, text: str, scale: ScaleType, error: type[BadImport], words: str
) -> None:
    with pytest.raises(error, match=words):
        bring(sqlite_store, tmp_path, text, scale=scale)
    with sqlite_store.reading() as session:
        assert rows(session) == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"study": "../x"}, r"expected 1 to 64 letters"),
        ({"columns": Columns("item", "who", "who")}, r"the column 'who' was named for two things"),
        ({"levels": ["low", "high"]}, r"for a scale that is nominal"),
        ({"scale": "ordinal", "levels": ["low", "low"]}, r"expected each once"),
        ({"scale": "ordinal", "levels": ["0", "1"]}, r"line 4: the label is '2.5'; expected one of 0, 1"),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(sqlite_store: Store, tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadImport, match=words):
        bring(sqlite_store, tmp_path, **given)


def test_levels_order_labels_that_are_no_numbers_and_numbers_order_themselves(sqlite_store: Store, tmp_path: Path) -> None:
    bring(sqlite_store, tmp_path, HEAD + "a,ann,mild,A,\na,bob,grave,A,\n", scale="ordinal", levels=["none", "mild", "grave"])
    bring(sqlite_store, tmp_path, HEAD + "a,ann,10,A,\na,bob,9,A,\nb,ann,9.0,B,\n", scale="ordinal", study="t")
    with sqlite_store.reading() as session:
        assert ratings.ratings_of(session, "s").levels == ["none", "mild", "grave"]
        assert ratings.ratings_of(session, "t").levels == ["9", "10"]


def test_a_name_is_taken_once_and_free_again_when_the_study_is_removed(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path)
    with pytest.raises(StudyThere, match="flagback study remove s"):
        bring(store, tmp_path)
    bring(store, tmp_path, study="other")
    assert ratings.remove(store, "s", by="max", now=NOON) == 3
    with store.reading() as session:
        assert [one.study for one in ratings.studies(session)] == ["other"]
        assert session.exec(select(AuditEntry).where(AuditEntry.action == "remove study")).one().details["study"] == "s"
        with pytest.raises(NoStudy, match="expected one of: other"):
            ratings.ratings_of(session, "s")
    assert bring(store, tmp_path).ratings == 3


def test_a_preview_says_what_an_import_does_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(FILE, encoding="utf-8")
    said: dict[str, Any] = {"study": "s", "columns": COLUMNS, "scale": "interval"}
    looked = preview_ratings(store, path, **said)
    with store.reading() as session:
        assert rows(session) == 0
        assert session.exec(select(AuditEntry)).all() == []
    assert import_ratings(store, path, **said, by="max", now=NOON) == looked
    with pytest.raises(StudyThere, match="There is a study 's' already"):
        preview_ratings(store, path, **said)
    with pytest.raises(WrongValue, match=r"line 2: the label is '1'; expected one of 0, 2\.5"):
        preview_ratings(store, path, study="t", columns=COLUMNS, scale="ordinal", levels=["0", "2.5"])


def test_what_other_programs_write_for_no_value_is_none(sqlite_store: Store, tmp_path: Path) -> None:
    """R writes NA: a rating that was not given and a background that is not known, not a category and a group."""
    text = HEAD + "a,ann,1,Text A,NA\na,bob,NA,Text A,India\nb,ann,0,Text B,NA\nb,bob,0,Text B,India\n"
    report = bring(sqlite_store, tmp_path, text)
    assert (report.ratings, report.labels, report.without_label) == (3, 2, 1)
    with sqlite_store.reading() as session:
        assert set(ratings.ratings_of(session, "s").background["country"].values()) == {"India"}


def test_minus_nought_is_nought_and_a_number_beyond_reckoning_is_refused(sqlite_store: Store, tmp_path: Path) -> None:
    report = bring(sqlite_store, tmp_path, HEAD + "a,ann,-0,,\na,bob,0.0,,\n", scale="interval")
    assert report.labels == 1
    with pytest.raises(WrongValue, match="1e308"):
        bring(sqlite_store, tmp_path, HEAD + "a,ann,1e308,,\na,bob,0,,\n", scale="interval", study="t")
