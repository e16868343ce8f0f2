"""Claims about bad input, for every suite alike: file, line and what was expected are named; an unfit model names the item."""

import gzip
import importlib.util
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from flagback.model.checkpoint import Loaded, load
from flagback.model.examination import Subject, examined
from flagback.model.scoring import BrokenModel, NoPrefixToken, TooLongForModel
from flagback.model.suites import SUITES
from flagback.model.suites.suite import Item, OneGroup, WritingSuite
from flagback.storage.reading import BadImport, NotUtf8, WrongColumns

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "null_rejections.py"


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("null_rejections", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["null_rejections"] = module
    spec.loader.exec_module(module)
    return module


nulls = _benchmark()
EVERY = sorted(nulls.every_suite())
SCORING = [name for name in EVERY if not isinstance(nulls.every_suite()[name], WritingSuite)]


def _data(name: str, folder: Path) -> Path:
    """A suite's data in its own layout; a folder where it reads several files."""
    return Path(nulls.MADE[name](folder, 3, random.Random(0)))


def _main_file(path: Path) -> Path:
    return max((file for file in path.iterdir() if file.is_file()), key=lambda file: file.stat().st_size) if path.is_dir() else path


def test_every_suite_has_made_up_data() -> None:
    assert set(EVERY) == set(nulls.MADE), "a suite is missing from MADE in benchmarks/null_rejections.py"


# ------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", EVERY)
def test_a_latin_1_letter_in_the_middle_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    path = _data(name, tmp_path)
    file = _main_file(path)
    whole = file.read_bytes()
    middle = whole.index(b"e", len(whole) // 2)
    file.write_bytes(whole[:middle] + b"\xe9" + whole[middle + 1 :])
    with pytest.raises(NotUtf8, match=rf"{file.name}.*byte {middle} of the file, 0xe9"):
        nulls.every_suite()[name].read(path)


@pytest.mark.parametrize("name", EVERY)
def test_a_file_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    path = _data(name, tmp_path)
    file = _main_file(path)
    other = {".json": '{"prices": [1, 2]}', ".jsonl": '{"price": 1}\n', ".tsv": "item\tprice\nbread\t1\n"}
    file.write_text(other.get(file.suffix, "item,price\nbread,1\n"), encoding="utf-8")
    with pytest.raises(BadImport, match=f"{file.name}.*expected"):
        nulls.every_suite()[name].read(path)


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    path = _data(name, tmp_path)
    _main_file(path).write_bytes(b"")
    with pytest.raises(BadImport, match=_main_file_name(name, path)):
        nulls.every_suite()[name].read(path)


def _main_file_name(name: str, path: Path) -> str:
    """What a message must name; of files that belong together either will do."""
    return r"sentences|stereotyped" if name in ("winogender", "winobias") else _main_file(path).name


def _without(*words: str) -> Callable[[str], str]:
    """A text without the lines that hold one of some words."""
    return lambda text: "\n".join(line for line in text.splitlines() if not any(word in line for word in words)) + "\n"


ONE_GROUP: dict[str, Callable[[str], str]] = {
    "winogender": _without(".female.", ".neutral."),
    "custom": lambda text: re.sub(r",\w+,(t\d+)$", r",old,\1", text, flags=re.MULTILINE),
    "bold": lambda _text: '{"Old_people": {"Ada": ["The old man went "]}}',
    "counterfactual": lambda text: text.replace('"swaps": [', '"swaps": [], "were": ['),
    "descriptors": _without("old", "poor", "rich", "tall"),
}


@pytest.mark.parametrize("name", [name for name in EVERY if name in ONE_GROUP])
def test_a_suite_with_one_group_has_nothing_to_compare(name: str, tmp_path: Path) -> None:
    path = _data(name, tmp_path)
    file = _main_file(path)
    file.write_text(ONE_GROUP[name](file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(OneGroup, match=r"expected"):
        nulls.every_suite()[name].read(path)


def test_winobias_with_one_side_has_nothing_to_compare(tmp_path: Path) -> None:
    path = _data("winobias", tmp_path)
    (path / "anti_stereotyped_type1.txt.dev").unlink()
    with pytest.raises(OneGroup, match=r"anti_stereotyped_type1\.txt\.dev is not there; expected"):
        SUITES["winobias"].read(path)


@pytest.mark.parametrize(("column", "other"), [("sent_less", "sent_x"), ("bias_type", "type"), ("stereo_antistereo", "direction")])
def test_a_renamed_column_is_named_beside_those_that_are_there(tmp_path: Path, column: str, other: str) -> None:
    path = _data("crows-pairs", tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(column, other, 1), encoding="utf-8")
    with pytest.raises(WrongColumns, match=rf"no column '{column}'; there are .*'{other}'"):
        SUITES["crows-pairs"].read(path)


def test_half_a_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl.gz"
    path.write_bytes(gzip.compress(_data("bbq", tmp_path).read_bytes())[:200])
    with pytest.raises(BadImport, match=r"items\.jsonl\.gz"):
        SUITES["bbq"].read(path)


# ------------------------------------------------------------------------ models


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    torch.set_num_threads(1)
    return load("embedded")


def _items(name: str) -> list[Item]:
    found: list[Item] = nulls.made_items(name, nulls.every_suite()[name], 3)
    return found[:6]


def _examined(name: str, loaded: Loaded) -> Any:
    return examined(Subject("my model", "f", "causal", lambda: loaded), nulls.every_suite()[name], _items(name), keep_in=None)


class _Shorter(Loaded):
    """The same weights with a context of eight tokens."""

    @property
    def context(self) -> int:
        return 8


@pytest.mark.parametrize("name", EVERY)
def test_an_item_longer_than_the_context_is_named(name: str, loaded: Loaded) -> None:
    with pytest.raises(TooLongForModel, match=r"has \d+ tokens, my model reads 8"):
        _examined(name, _Shorter(loaded.model, loaded.tokenizer, loaded.template))


@pytest.mark.parametrize("name", SCORING)
def test_weights_that_are_no_numbers_name_item_and_model(name: str) -> None:
    broken = load("embedded")
    with torch.no_grad():
        broken.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(BrokenModel, match=r"my model gives .* nan, which is no number"):
        _examined(name, broken)


#: Suites that score a text from its first token on, which needs one to stand before it.
FROM_THE_FIRST = ("crows-pairs", "winogender", "stereoset", "custom", "descriptors", "descriptors-es")


@pytest.mark.parametrize("name", SCORING)
def test_a_tokenizer_without_begin_and_end_is_told_only_where_one_is_needed(name: str, loaded: Loaded) -> None:
    bare = load("embedded").tokenizer
    bare.bos_token = bare.eos_token = None
    without = replace(loaded, tokenizer=bare)
    if name in FROM_THE_FIRST:
        with pytest.raises(NoPrefixToken, match="neither bos_token nor eos_token"):
            _examined(name, without)
    elif name != "counterfactual":  # an answer is scored with its end token, in a template that knows it
        assert len(_examined(name, without).measures) == len(_items(name))
