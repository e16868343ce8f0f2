"""Claims about StereoSet: figures worked by hand, ties, terms against items, and what is refused."""

import gzip
import json
from math import log
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flagback.model.suites import stereoset
from flagback.model.suites.stereoset import Item, MissingScore
from flagback.storage.reading import BadImport, BrokenRecord, EmptyFile, NotUtf8, WrongColumns, WrongValue


def _record(name: str, target: str, *, bias: str = "gender", context: str = "He is BLANK.", **other: Any) -> dict[str, Any]:
    return {
        "id": name,
        "target": target,
        "bias_type": bias,
        "context": context,
        "sentences": [
            {"id": f"{name}-{gold}", "sentence": f"He is {gold}.", "labels": [], "gold_label": gold}
            for gold in ("unrelated", "stereotype", "anti-stereotype")
        ],
        **other,
    }


def _document(intra: list[dict[str, Any]], inter: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"version": "1.0", "data": {"intrasentence": intra, "intersentence": inter or []}}


def _written(folder: Path, document: object, name: str = "dev.json") -> Path:
    path = folder / name
    raw = json.dumps(document).encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def _scores(given: dict[str, tuple[float, float, float]]) -> dict[str, float]:
    """Stereotype, anti-stereotype, unrelated of each item."""
    return {
        f"{name}-{gold}": score
        for name, three in given.items()
        for gold, score in zip(("stereotype", "anti-stereotype", "unrelated"), three, strict=True)
    }


def _items(folder: Path, *records: dict[str, Any], inter: list[dict[str, Any]] | None = None) -> list[Item]:
    return stereoset.read(_written(folder, _document(list(records), inter)))


def test_the_figures_worked_by_hand_and_terms_against_items(tmp_path: Path) -> None:
    # "nurse", three items: stereotype first in all, meaningful beats unrelated in 6 of 6. "poet", one item: anti first, 1 of 2.
    items = _items(tmp_path, *(_record(f"n{i}", "nurse") for i in range(3)), _record("p", "poet"))
    scores = _scores({**{f"n{i}": (3.0, 2.0, 1.0) for i in range(3)}, "p": (1.0, 3.0, 2.0)})
    found = stereoset.aggregate(items, scores).overall
    assert found.by_term == {"nurse": (3, 100.0, 100.0), "poet": (1, 50.0, 0.0)}
    assert (found.items, found.lms, found.ss) == (4, 75.0, 50.0)
    assert found.icat == 75.0
    # Over items: 7 of 8, 3 of 4.
    assert (found.micro_lms, found.micro_ss) == (87.5, 75.0)
    assert found.micro_icat == 87.5 * 25 / 50


def test_a_tie_is_no_stereotype_and_beats_nothing_and_is_counted(tmp_path: Path) -> None:
    found = stereoset.aggregate(_items(tmp_path, _record("a", "nurse")), _scores({"a": (1.0, 1.0, 1.0)})).overall
    assert (found.ss, found.lms, found.icat, found.ties) == (0.0, 0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("three", "lms", "ss", "icat"),
    [((3, 2, 1), 100.0, 100.0, 0.0), ((2, 3, 1), 100.0, 0.0, 0.0), ((1, 2, 3), 0.0, 0.0, 0.0), ((3, 1, 2), 50.0, 100.0, 0.0)],
)
def test_one_item_at_each_extreme(tmp_path: Path, three: tuple[float, float, float], lms: float, ss: float, icat: float) -> None:
    found = stereoset.aggregate(_items(tmp_path, _record("a", "nurse")), _scores({"a": three})).overall
    assert (found.lms, found.ss, found.icat) == (lms, ss, icat)


def test_an_ideal_model_has_100_of_everything_but_the_stereotype(tmp_path: Path) -> None:
    items = _items(tmp_path, _record("a", "nurse"), _record("b", "nurse"))
    found = stereoset.aggregate(items, _scores({"a": (3, 2, 1), "b": (2, 3, 1)})).overall
    assert (found.lms, found.ss, found.icat) == (100.0, 50.0, 100.0)


def test_random_scores_give_50_50_50(tmp_path: Path) -> None:
    draw = Random(3)
    records = [_record(f"i{number}", f"term {number % 40}") for number in range(4000)]
    scores = _scores({record["id"]: (draw.random(), draw.random(), draw.random()) for record in records})
    found = stereoset.aggregate(_items(tmp_path, *records), scores).overall
    assert found.ss == pytest.approx(50, abs=3.2)
    assert found.lms == pytest.approx(50, abs=3.2)
    assert found.icat == pytest.approx(50, abs=5)


def test_kinds_and_bias_types_are_told_apart_and_a_term_of_both_is_one_overall(tmp_path: Path) -> None:
    inter = [_record("b", "nurse", bias="profession", context="She works here")]
    items = _items(tmp_path, _record("a", "nurse"), inter=inter)
    report = stereoset.aggregate(items, _scores({"a": (3, 2, 1), "b": (1, 2, 3)}))
    assert set(report.by_kind) == {"intrasentence", "intersentence"}
    assert report.by_bias["intersentence", "profession"].ss == 0.0
    assert report.by_kind["intrasentence"].ss == 100.0
    assert report.overall.by_term == {"nurse": (2, 50.0, 50.0)}
    assert stereoset.aggregate([], {}).overall.icat is None


def test_rows_to_score_and_the_score_a_token(tmp_path: Path) -> None:
    items = _items(tmp_path, _record("a", "nurse"), inter=[_record("b", "nurse", context="She works here")])
    rows = stereoset.texts(items)
    assert rows[0] == ("", "He is stereotype.")
    assert rows[4] == ("She works here.", " He is anti-stereotype.")
    # Two tokens of 1/2 and 1/8: 2^((-1 - 3) / 2).
    assert stereoset.score(log(1 / 2) + log(1 / 8), 2) == pytest.approx(0.25)
    # The same sum over more tokens is a better score: sums would prefer the shorter sentence.
    scores = stereoset.scored(items, [-4.0] * 6, [2, 4, 2, 2, 2, 2])
    assert scores["a-anti-stereotype"] > scores["a-stereotype"]
    with pytest.raises(ValueError, match="0 tokens"):
        stereoset.score(0.0, 0)
    with pytest.raises(ValueError, match="for 6 sentences"):
        stereoset.scored(items, [0.0], [1])


def test_predictions_are_read_as_the_repository_writes_them(tmp_path: Path) -> None:
    items = _items(tmp_path, _record("a", "nurse"))
    records = [{"id": name, "score": score} for name, score in _scores({"a": (0.3, 0.2, 0.1)}).items()]
    path = _written(tmp_path, {"intrasentence": records}, "predictions.json.gz")
    assert stereoset.aggregate(items, stereoset.read_scores(path)).overall.lms == 100.0
    with pytest.raises(MissingScore, match="'a-unrelated' of the intrasentence item 'a' has no score"):
        stereoset.aggregate(items, {"a-stereotype": 1.0, "a-anti-stereotype": 1.0})


_TWO = _record("a", "nurse")["sentences"][:2]
_BAD_GOLD: list[tuple[object, type[BadImport], str]] = [
    ([1, 2], WrongColumns, "expected StereoSet's own layout"),
    ({"data": {"other": []}}, WrongColumns, "expected StereoSet's own layout"),
    ({"data": {"intrasentence": {}}}, WrongValue, "data.intrasentence is a JSON object"),
    (_document([]), EmptyFile, "holds no item"),
    (_document([{"id": "a"}]), WrongColumns, "item 1: no 'target'"),
    (_document([{**_record("a", "nurse"), "target": 3}]), WrongValue, "target is a JSON number, 3; expected a text"),
    (_document([_record("a", "nurse", context="He is kind.")]), WrongValue, "expected BLANK"),
    (
        _document([_record("a", "nurse", sentences=_TWO)]),
        WrongValue,
        r"2 sentences with the gold labels \['stereotype', 'unrelated'\]",
    ),
    (_document([_record("a", "nurse", sentences=[*_TWO, _TWO[0]])]), WrongValue, "3 sentences .* expected one each"),
    (
        _document([_record("a", "nurse"), _record("a", "poet")]),
        WrongValue,
        "item 2: the sentence 'a-stereotype' stands at .*item 1 too",
    ),
]


@pytest.mark.parametrize(("document", "error", "words"), _BAD_GOLD, ids=[words[:30] for _, _, words in _BAD_GOLD])
def test_broken_gold_files_are_refused_in_words(tmp_path: Path, document: object, error: type[BadImport], words: str) -> None:
    with pytest.raises(error, match=words):
        stereoset.read(_written(tmp_path, document))


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ({"scores": []}, WrongColumns, "expected an object with 'intrasentence'"),
        ({"intrasentence": []}, EmptyFile, "holds no score"),
        ({"intrasentence": [{"id": "a"}]}, WrongValue, "record 1: score is None; expected a number"),
        ({"intrasentence": [{"score": 1}]}, WrongColumns, "no 'id'"),
        ({"intrasentence": [{"id": "a", "score": 1}] * 2}, WrongValue, "record 2: a second score of the sentence 'a'"),
    ],
)
def test_broken_predictions_are_refused_in_words(tmp_path: Path, document: object, error: type[BadImport], words: str) -> None:
    with pytest.raises(error, match=words):
        stereoset.read_scores(_written(tmp_path, document))


def test_other_encodings_and_broken_json_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_bytes('{"data": "é"}'.encode("latin-1"))
    with pytest.raises(NotUtf8, match="0xe9"):
        stereoset.read(tmp_path / "dev.json")
    (tmp_path / "dev.json").write_bytes(b'{"data": {"intrasentence": [')
    with pytest.raises(BrokenRecord, match="not JSON"):
        stereoset.read(tmp_path / "dev.json")
    (tmp_path / "dev.json").write_bytes(b"")
    with pytest.raises(EmptyFile, match="is empty"):
        stereoset.read(tmp_path / "dev.json")
