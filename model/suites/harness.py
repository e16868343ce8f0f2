"""What lm-evaluation-harness found of a version, task by task, as items that two versions can be compared on.

Knows the files that the harness writes (0.4.13: results_*.json and samples_*.jsonl) and the file in which their items are kept;
knows nothing of how the harness is started. Nothing here is put to a model: the harness did that.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from flagback.model.figures import Better
from flagback.model.suites.suite import Form, Item, Measures, Metric, means
from flagback.storage.reading import BrokenRecord, Place, json_type, read_rows, shortened

NAME = "harness"
PAPER = "Gao and others, A framework for few-shot language model evaluation (github.com/EleutherAI/lm-evaluation-harness)"
LICENCE = "MIT; each task's data have a licence of their own"
SOURCE = (
    "the harness's own command line, in an environment of its own: 'flagback evaluate VERSION --tasks hellaswag,arc_easy', with "
    "--harness COMMAND where it is not on the PATH as lm_eval"
)
WEAKNESSES = (
    "Its questions are old and public: a model may have learnt them by heart, and a correction cannot make it forget.",
    "Usefulness in everyday writing is not what multiple choice measures; read it as a guard, not as a goal.",
    "Intervals take a task's questions for independent; where several stand under one passage they are too narrow.",
)
#: The file that keeps the items.
ITEMS = "harness.jsonl"
#: Characters kept of what was asked.
LONGEST = 4000
#: Beginnings of the names of metrics that are yes or no, or a share, of one question.
_RATES = ("acc", "exact_match", "em", "f1", "mc1", "mc2", "contains", "pct_")
#: What a line of samples holds beside its metrics is not read; these must be there.
_NEEDED = ("doc_id", "doc_hash", "prompt_hash", "target_hash", "metrics", "arguments", "filter")


class NoResults(Exception):
    """The harness wrote no results, or no samples of them."""


class Results(NamedTuple):
    """One run of the harness."""

    items: list[Item]
    measures: list[Measures]
    #: What a generated answer was, [] for a choice by likelihood.
    written: list[list[str]]
    #: sha256 over tasks, their versions and every question with its prompt, whatever the order.
    content_hash: str
    #: task -> {"version", "n", metric: value, metric_stderr: value}, as the harness reckoned them.
    tasks: dict[str, dict[str, Any]]
    #: Of the harness.
    version: str


class Kept:
    """The suite of kept items; its metrics are those of its tasks."""

    NAME, PAPER, LICENCE, SOURCE, WEAKNESSES = NAME, PAPER, LICENCE, SOURCE, WEAKNESSES
    FILES: tuple[str, ...] = (ITEMS,)

    def __init__(self, better: Mapping[str, Better]) -> None:
        self.METRICS: Mapping[Form, Mapping[str, Metric]] = {"causal": {name: _metric(name, one) for name, one in better.items()}}

    def read(self, path: Path) -> list[Item]:
        """See `kept_items`."""
        return kept_items(path)

    def aggregate(self, items: Sequence[Item], scored: Sequence[Measures], form: Form) -> dict[str, float | None]:  # noqa: ARG002
        """Means over questions; the harness's own numbers for most tasks (some weigh otherwise: those stand with the run)."""
        return means(scored, self.METRICS[form])


def _metric(name: str, better: Better) -> Metric:
    rate = name.startswith(_RATES)
    return Metric(f"Mean of {name} over the questions", "share" if rate else "score", better, "rate" if rate else "mean")


# ------------------------------------------------------------------------ the harness's files


def read_results(folder: Path) -> Results:
    """What a run wrote anywhere under a folder. Raises NoResults, and BadImport for files that are not the harness's."""
    found = sorted(folder.rglob("results_*.json"), key=lambda path: path.name)
    if not found:
        raise NoResults(
            f"The command wrote no results_*.json under {folder}; expected lm-evaluation-harness with --output_path {{output}}."
        )
    document = _document(found[-1])
    results = {task: one for task, one in _object(found[-1], document, "results").items() if isinstance(one, dict)}
    rows: dict[str, _Row] = {}
    for path in sorted(folder.rglob("samples_*.jsonl")):
        task = max((name for name in results if path.name.startswith(f"samples_{name}_")), key=len, default=None)
        if task is not None:
            _samples(path, task, rows)
    if not rows:
        raise NoResults(f"The command wrote results of {', '.join(results)} and no samples_*.jsonl; give it --log_samples.")
    versions, higher = document.get("versions") or {}, document.get("higher_is_better") or {}
    n_shot = document.get("n-shot") or {}
    ordered = [rows[key] for key in sorted(rows)]
    better = _better(ordered, higher)
    asked = [[row.task, versions.get(row.task), n_shot.get(row.task), *row.hashes] for row in ordered]
    digest = hashlib.sha256(json.dumps(sorted(asked, key=repr)).encode("ascii")).hexdigest()
    items = [Item(row.key, row.key, {"task": row.task}, {"asked": row.asked, "better": better}) for row in ordered]
    told = {
        task: {"version": versions.get(task), "n": sum(row.task == task for row in ordered)}
        | {_plain(name): value for name, value in one.items() if isinstance(value, int | float) and name != "sample_len"}
        for task, one in sorted(results.items())
    }
    return Results(
        items,
        [row.measures for row in ordered],
        [row.written for row in ordered],
        digest,
        told,
        str(document.get("lm_eval_version")),
    )


class _Row:
    """One question of a task, gathered over filters."""

    def __init__(self, task: str, key: str, hashes: tuple[str, ...], asked: str) -> None:
        self.task, self.key, self.hashes, self.asked = task, key, hashes, asked
        self.measures: dict[str, float | None] = {}
        self.written: list[str] = []


def _samples(path: Path, task: str, rows: dict[str, _Row]) -> None:
    for place, values in read_rows(path):
        absent = [name for name in _NEEDED if name not in values]
        if absent:
            raise BrokenRecord(
                f"{place}: no {', '.join(map(repr, absent))} among {shortened(list(values), 200)}; expected a sample of "
                "lm-evaluation-harness 0.4."
            )
        hashes = tuple(str(values[name]) for name in ("doc_hash", "prompt_hash", "target_hash"))
        key = f"{task} {values['doc_id']} {hashes[0][:12]}"
        row = rows.setdefault(key, _Row(task, key, hashes, _asked(values["arguments"])))
        for name in values["metrics"]:
            value = values.get(name)
            if isinstance(value, int | float):  # a perplexity's pair of sums is no measure of one question
                row.measures[name if values["filter"] == "none" else f"{name} ({values['filter']})"] = _number(place, name, value)
        answers = values.get("filtered_resps")
        if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers):
            row.written = [str(answer) for answer in answers]


def _number(place: Place, name: str, value: float) -> float:
    number = float(value)
    if not isfinite(number):
        raise BrokenRecord(f"{place}: {name} is {number}; expected a number. The model's weights may be broken.")
    return number


def _asked(arguments: object) -> str:
    """What stood before the answer."""
    first = next(iter(arguments.values()), None) if isinstance(arguments, dict) else None
    asked = first.get("arg_0") if isinstance(first, dict) else None
    return asked[-LONGEST:] if isinstance(asked, str) else ""


def _better(rows: Sequence[_Row], higher: Mapping[str, Any]) -> dict[str, Better]:
    """Which way each metric is better, by the harness's word on the tasks that have it; "same" where they differ or say nothing."""
    said: dict[str, set[Better]] = {}
    for row in rows:
        for name in row.measures:
            told = (higher.get(row.task) or {}).get(name.partition(" (")[0])
            said.setdefault(name, set()).add("higher" if told is True else "lower" if told is False else "same")
    return {name: next(iter(words)) if len(words) == 1 else "same" for name, words in sorted(said.items())}


def _plain(name: str) -> str:
    """ "acc,none" as acc, "exact_match,strict-match" as exact_match (strict-match)."""
    metric, _, used = name.partition(",")
    return metric if used in ("", "none") else f"{metric} ({used})"


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise BrokenRecord(f"{path} is no JSON ({error}); expected the harness's results.") from error
    if not isinstance(document, dict):
        raise BrokenRecord(f"{path} holds a JSON {json_type(document)}; expected the harness's results, an object.")
    return document


def _object(path: Path, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict) or not value:
        raise BrokenRecord(f"{path}: {name!r} is {shortened(value)}; expected an object with one entry a task.")
    return value


# ------------------------------------------------------------------------ kept items


def keep_items(items: Sequence[Item], folder: Path) -> None:
    """Writes the items of a run into a folder."""
    rows = ({"key": item.key, "task": item.groups["task"], **item.facts} for item in items)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / ITEMS).write_text(text, encoding="utf-8", errors="replace")


def kept_items(path: Path) -> list[Item]:
    """The items that `keep_items` wrote. Raises BadImport."""
    return [
        Item(str(row["key"]), str(row["key"]), {"task": str(row["task"])}, {"asked": row["asked"], "better": row["better"]})
        for row in _kept_rows(path)
    ]


def _kept_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for place, values in read_rows(path):
        if not {"key", "task", "asked", "better"} <= values.keys():
            raise BrokenRecord(f"{place}: {shortened(list(values))}; expected key, task, asked and better.")
        yield values


def suite_of(items: Sequence[Item]) -> Kept:
    """The suite of some items."""
    return Kept(items[0].facts["better"] if items else {})
