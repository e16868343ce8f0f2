"""Claims about guessing what the columns of a file of ratings are: usual names are found, nothing is invented, scales are seen."""

import json
from pathlib import Path

import pytest

from flagback.storage.rating_columns import Guess, Sample, guess, sample, scale_of
from flagback.storage.reading import BadImport


def _file(folder: Path, text: str, name: str = "ratings.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("item,rater,label,text", Guess("item", "rater", "label", "text", [])),
        ("id,Annotator ID,Toxicity,Comment Text", Guess("id", "Annotator ID", "Toxicity", "Comment Text", [])),
        ("worker,comment_id,comment,is_rating", Guess("comment_id", "worker", "is_rating", "comment", [])),
        ("a,b,c,d", Guess(None, None, None, None, [])),
    ],
)
def test_columns_are_known_by_their_usual_names(tmp_path: Path, head: str, expected: Guess) -> None:
    found = sample(_file(tmp_path, f"{head}\nx,y,1,t\nx,z,0,t\n"))
    assert found.names == head.split(",")
    assert guess(found) == expected


def test_facts_about_raters_are_those_that_stay_the_same_with_a_rater(tmp_path: Path) -> None:
    rows = ["c1,ann,1,woman,30,10", "c2,ann,0,woman,31,12", "c1,bob,1,man,40,11"]
    found = sample(_file(tmp_path, "item,rater,label,gender,age,message_length\n" + "\n".join(rows) + "\n"))
    assert guess(found).background == ["gender"]


def test_no_column_is_two_things(tmp_path: Path) -> None:
    found = guess(sample(_file(tmp_path, "response_id,rater_id,response,rating\nx,y,t,1\n")))
    assert found[:4] == ("response_id", "rater_id", "rating", "response")
    assert guess(sample(_file(tmp_path, "rating_rater,x\n1,2\n"))).rater == "rating_rater"
    assert guess(sample(_file(tmp_path, "rating_rater,x\n1,2\n"))).label is None


@pytest.mark.parametrize(
    ("labels", "scale", "order"),
    [
        (["yes", "no", ""], "nominal", ["no", "yes"]),
        (["10", "9", "0"], "ordinal", ["0", "9", "10"]),
        (["1.5", "2"], "interval", ["1.5", "2"]),
        ([str(n) for n in range(12)], "interval", [str(n) for n in range(12)]),
        (["1", "two"], "nominal", ["1", "two"]),
        (["1", "nan"], "nominal", ["1", "nan"]),
        ([""], "nominal", []),
    ],
)
def test_the_scale_is_seen_in_the_labels(labels: list[str], scale: str, order: list[str]) -> None:
    assert scale_of(Sample(["l"], [{"l": label} for label in labels]), "l") == (scale, order)


def test_rows_that_differ_in_their_keys_and_lists_are_shown_all_the_same(tmp_path: Path) -> None:
    rows = [{"item": 1, "rater": "a", "label": True}, {"item": 2.0, "rater": "b", "label": None, "more": [1]}]
    found = sample(_file(tmp_path, "\n".join(json.dumps(row) for row in rows), "ratings.jsonl"))
    assert found.rows == [
        {"item": "1", "rater": "a", "label": "true", "more": ""},
        {"item": "2", "rater": "b", "label": "", "more": ""},
    ]


def test_a_file_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(BadImport, match="line 3: 2 cells where the header has 3"):
        sample(_file(tmp_path, "a,b,c\n1,2,3\n1,2\n"))
