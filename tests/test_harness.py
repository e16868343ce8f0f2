"""Claims about the harness's plug-in: a plain folder without a shell, bounded in time, nothing left behind, every question kept."""

import importlib.util
import json
import os
import shlex
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlmodel import select

from flagback.model import harness, suite_runs
from flagback.model.checkpoint import Loaded, load
from flagback.model.harness import BadCommand, HarnessFailed, NoCommand, words_of
from flagback.model.suites import harness as results
from flagback.model.suites.harness import NoResults, read_results
from flagback.review_app.settings import environment_of_others
from flagback.storage.artifacts import Artifacts
from flagback.storage.reading import BadImport, BrokenRecord
from flagback.storage.records import ModelVersion, SuiteItem
from flagback.storage.store import Store
from tests.command_line import run_command

#: What stands in for lm_eval: reads its arguments as lm_eval does, and writes what lm_eval 0.4.13 writes.
STAND_IN = """#!{python}
import json, pathlib, sys
said = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = pathlib.Path(said["--model_args"].removeprefix("pretrained="))
assert json.loads((model / "config.json").read_text())["architectures"], "a plain Hugging Face folder"
assert (model / "model.safetensors").is_file() and (model / "tokenizer.json").is_file()
pathlib.Path({seen!r}).write_text(str(model))
folder = pathlib.Path(said["--output_path"]) / "the__model"
folder.mkdir(parents=True)
for name, text in json.loads({files!r}).items():
    (folder / name).write_text(text)
{more}
"""


def _sample(number: int, acc: float, **other: Any) -> dict[str, Any]:
    """A line of samples, as 0.4.13 writes it."""
    return {
        "doc_id": number,
        "doc": {"question": f"question {number}", "choices": [" a", " b"]},
        "target": "0",
        "arguments": {"gen_args_0": {"arg_0": f"question {number}", "arg_1": "  a"}},
        "resps": [[["-31.5", "False"]]],
        "filtered_resps": [["-31.5", "False"]],
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": f"{number:064d}",
        "prompt_hash": f"p{number}",
        "target_hash": "t",
        "acc": acc,
        **other,
    }


def _files(accs: list[float], *, task: str = "colours", samples: list[dict[str, Any]] | None = None) -> dict[str, str]:
    rows = samples if samples is not None else [_sample(number, acc) for number, acc in enumerate(accs)]
    document = {
        "results": {task: {"name": task, "alias": task, "sample_len": len(rows), "acc,none": 0.5, "acc_stderr,none": 0.15}},
        "versions": {task: 1.0},
        "n-shot": {task: 0},
        "higher_is_better": {task: {"acc": True}},
        "lm_eval_version": "0.4.13",
    }
    stamp = "2026-11-21T21-39-03.375983"
    return {
        f"results_{stamp}.json": json.dumps(document),
        f"samples_{task}_{stamp}.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }


Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Makes a stand-in and gives the command that starts it."""

    def made(files: dict[str, str] | None = None, more: str = "", name: str = "lm eval") -> str:
        program = tmp_path / "a folder" / name
        program.parent.mkdir(exist_ok=True)
        seen = str(tmp_path / "seen")
        kept = json.dumps(_files([1.0, 0.0]) if files is None else files)
        program.write_text(STAND_IN.format(python=sys.executable, seen=seen, files=kept, more=more), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return f"{shlex.quote(str(program))} --model_args pretrained={{model}} --tasks {{tasks}} --output_path {{output}}"

    return made


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    torch.set_num_threads(1)
    return load("embedded")


# ------------------------------------------------------------------------ the command


def test_a_command_is_words_and_what_is_filled_in_stays_one_word() -> None:
    words = words_of(
        "lm_eval -m pretrained={model},x=1 -t {tasks} -o '{output}' -c \"a b\"",
        model=Path("/m"),
        tasks="a; rm b",
        output=Path("/o"),
    )
    assert words == ["lm_eval", "-m", "pretrained=/m,x=1", "-t", "a; rm b", "-o", "/o", "-c", "a b"]
    assert words_of(harness.COMMAND, model=Path("/m"), tasks="t", output=Path("/o"))[:5] == [
        "lm_eval", "--model", "hf", "--model_args", "pretrained=/m",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["", "lm_eval {model}", "lm_eval {output}", "lm_eval '{model} {output}"])
def test_a_command_that_cannot_work_is_refused_before_anything_is_written(wrong: str, loaded: Loaded) -> None:
    with pytest.raises(BadCommand, match="--harness"):
        harness.run(loaded, "t", command=wrong, environment={})


def test_a_program_that_is_not_there_says_how_to_install_it(loaded: Loaded) -> None:
    with pytest.raises(NoCommand, match=r"no program 'lm_eval' on the PATH.*environment of its own.*lm_eval\[hf\]==0\.4\.13"):
        harness.run(loaded, "t", environment={"PATH": "/nowhere"})


def test_the_model_is_a_plain_folder_that_is_gone_afterwards(command: Command, loaded: Loaded, tmp_path: Path) -> None:
    found = harness.run(loaded, "colours", command=command(), environment=os.environ)
    folder = Path((tmp_path / "seen").read_text(encoding="utf-8"))
    assert folder.parent.name.startswith("flagback-harness-")
    assert not folder.parent.exists()
    assert (found.version, found.tasks["colours"]["acc"]) == ("0.4.13", 0.5)


def test_what_a_failed_command_said_last_is_told_and_nothing_stays(command: Command, loaded: Loaded, tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match=r"ended with 3\. It said last:\n(.*\n)*Tasks not found: nosuch"):
        harness.run(loaded, "nosuch", command=command(more='print("Tasks not found: nosuch"); sys.exit(3)'), environment=os.environ)
    assert not Path((tmp_path / "seen").read_text(encoding="utf-8")).parent.exists()


def test_a_command_that_does_not_end_is_stopped_with_all_that_it_started(command: Command, loaded: Loaded, tmp_path: Path) -> None:
    child = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\nchild.wait()"
    )
    with pytest.raises(HarnessFailed, match=r"did not end within 6 s and was stopped.*--time-limit"):
        harness.run(loaded, "t", command=command(more=child), time_limit=6, environment=os.environ)
    number = int((tmp_path / "child").read_text(encoding="utf-8"))
    for _ in range(100):
        if not _runs(number):
            break
        time.sleep(0.05)
    assert not _runs(number)


def _runs(number: int) -> bool:
    """Whether a process is there and no zombie that waits for its parent."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_variable_of_ours_reaches_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGBACK_DATABASE_URL", "postgresql://user:secret@host/db")  # pragma: allowlist secret - of no server
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = environment_of_others()
    assert not [name for name in given if name.startswith("FLAGBACK_")]
    assert given["HF_HUB_OFFLINE"] == "1"


# ------------------------------------------------------------------------ what it wrote


def _written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_every_question_is_an_item_with_its_measures(tmp_path: Path) -> None:
    found = read_results(_written(tmp_path, _files([1.0, 0.0, 1.0])))
    assert [item.key for item in found.items] == [f"colours {number} {'0' * 12}" for number in range(3)]
    assert [dict(one) for one in found.measures] == [{"acc": 1.0}, {"acc": 0.0}, {"acc": 1.0}]
    assert found.tasks == {"colours": {"version": 1.0, "n": 3, "acc": 0.5, "acc_stderr": 0.15}}
    suite = results.suite_of(found.items)
    assert suite.METRICS["causal"]["acc"][1:] == ("share", "higher", "rate")
    assert suite.aggregate(found.items, found.measures, "causal") == {"acc": pytest.approx(2 / 3)}


def test_filters_of_one_question_are_measures_of_one_item_and_what_was_written_stays(tmp_path: Path) -> None:
    strict = _sample(0, 0.0, filter="strict", metrics=["exact_match"], exact_match=0.0, filtered_resps=["42"])
    loose = strict | {"filter": "flexible", "exact_match": 1.0}
    sums = _sample(1, 0.0, metrics=["word_perplexity", "acc"], word_perplexity=[-3.0, 5])
    found = read_results(_written(tmp_path, _files([], samples=[strict, loose, sums])))
    assert [dict(one) for one in found.measures] == [{"exact_match (strict)": 0.0, "exact_match (flexible)": 1.0}, {"acc": 0.0}]
    assert found.written == [["42"], []]


def test_the_same_questions_are_the_same_data_whatever_was_answered(tmp_path: Path) -> None:
    one, other, more, elsewhere = (tmp_path / name for name in "abcd")
    for folder in (one, other, more, elsewhere):
        folder.mkdir()
    first = read_results(_written(one, _files([1.0, 0.0]))).content_hash
    assert read_results(_written(other, _files([0.0, 0.0]))).content_hash == first
    assert read_results(_written(more, _files([0.0, 0.0, 0.0]))).content_hash != first
    assert read_results(_written(elsewhere, _files([1.0, 0.0], task="shapes"))).content_hash != first


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({}, NoResults, r"wrote no results_\*\.json"),
        ({"results_1.json": "{"}, BrokenRecord, "is no JSON"),
        ({"results_1.json": "[]"}, BrokenRecord, "holds a JSON array"),
        ({"results_1.json": '{"results": {}}'}, BrokenRecord, "'results' is {}"),
        ({"results_1.json": '{"results": {"t": {}}}'}, NoResults, "--log_samples"),
        ({"results_1.json": '{"results": {"t": {}}}', "samples_t_1.jsonl": '{"doc_id": 1}\n'}, BrokenRecord, "no 'doc_hash'"),
        ({"results_1.json": '{"results": {"t": {}}}', "samples_t_1.jsonl": "oops\n"}, BadImport, "samples_t_1.jsonl, line 1"),
        (
            {
                "results_1.json": '{"results": {"t": {}}}',
                "samples_t_1.jsonl": json.dumps(_sample(0, 0.0)).replace('"acc": 0.0', '"acc": NaN'),
            },
            BadImport,
            "NaN|nan",
        ),
    ],
)
def test_what_is_not_the_harnesss_is_refused_in_words(
    tmp_path: Path, files: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read_results(_written(tmp_path, files))


# ------------------------------------------------------------------------ kept and compared


def test_two_versions_are_compared_question_by_question_from_what_was_kept(sqlite_store: Store, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "artifacts")
    with sqlite_store.writing() as session:
        session.add(
            ModelVersion(id=1, kind="base", state="current", name="a", location="embedded", template="plain", fingerprint="a")
        )
        session.add(
            ModelVersion(
                id=2,
                kind="correction",
                state="candidate",
                parent_id=1,
                name="b",
                location="embedded",
                template="plain",
                fingerprint="b",
            )
        )
    for version, accs in ((1, [1.0, 0.0] * 10), (2, [1.0, 1.0] * 10)):
        folder = tmp_path / str(version)
        folder.mkdir()
        found = read_results(_written(folder, _files(accs)))
        data, run = suite_runs.keep_harness(sqlite_store, artifacts, version, found, tasks="colours", by="ada")
    assert (data.suite, data.location, data.n_items) == ("harness", "colours", 20)
    assert run.figures["figures"]["acc"]["value"] == 1.0
    assert run.figures["tasks"]["colours"]["acc"] == 0.5, "the harness's own numbers stand beside"
    with sqlite_store.reading() as session:
        assert len(session.exec(select(SuiteItem)).all()) == 40
    [whole, by_task] = suite_runs.changes(sqlite_store, artifacts, data, 1, 2)
    assert (whole["metric"], by_task["metric"]) == ("acc", "acc[task=colours]")
    assert (whole["base"], whole["candidate"], whole["change"]) == (0.5, 1.0, 0.5)
    assert whole["low"] > 0
    suite, items = suite_runs.items_of(artifacts, data)
    assert [suite_runs.asked_of(suite, item, "causal") for item in items if item.key.startswith("colours 3 ")] == [["question 3"]]
    with pytest.raises(suite_runs.UnknownSuite, match="--tasks"):
        suite_runs.asked_items(artifacts, data)


def test_the_command_keeps_what_the_harness_found_and_refuses_wrong_calls(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = partial(run_command, capsys, tmp_path / "home")
    assert run("migrate").code == 0
    assert run("model", "add", "embedded").code == 0
    harness = command()
    report = run("evaluate", "1", "--tasks", "colours", "--harness", harness, "--json").json
    assert (report["version"], report["items"], report["tasks"]["colours"]["acc"]) == (1, 2, 0.5)
    assert report["comparison"] is None
    for words, code, message in (
        (["evaluate", "--tasks", "colours"], 2, "expected the number of one version"),
        (["evaluate", "1", "2", "--tasks", "colours"], 2, "expected the number of one version"),
        (["evaluate", "1", "--harness", harness], 2, "--harness needs --tasks"),
        (["evaluate", "1", "--suite", "bbq", "--tasks", "colours"], 2, "one at a time"),
        (["evaluate", "1", "--time-limit", "5"], 2, "--time-limit goes with --tasks"),
        (
            ["evaluate", "1", "--tasks", "x", "--harness", "no-such-lm-eval {model} {tasks} {output}"],
            1,
            "no program 'no-such-lm-eval'",
        ),
    ):
        found = run(*words)
        assert found.code == code, words
        assert message in " ".join(found.err.replace("│", " ").split())


@pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None or importlib.util.find_spec("sacrebleu") is None,
    reason="lm_eval 0.4.13 with all that it needs is not on the path",
)
def test_the_harness_itself_is_read(loaded: Loaded, tmp_path: Path) -> None:
    """Not part of the environment; run on 2026-11-21 with lm_eval 0.4.13, a local task and no network."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    rows = [{"question": f"he read the {n}", "choices": [" paper", "keys"], "answer": n % 2} for n in range(6)]
    (tasks / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tasks / "colours.yaml").write_text(
        f"task: colours\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tasks / 'colours.jsonl'}\n"
        'test_split: test\noutput_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_choice: choices\n'
        "doc_to_target: answer\nmetric_list:\n  - metric: acc\n",
        encoding="utf-8",
    )
    command = f"{sys.executable} -m {harness.COMMAND} --include_path {tasks}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": os.pathsep.join(sys.path)}
    found = harness.run(loaded, "colours", command=command, time_limit=200, environment=environment)
    assert len(found.items) == 6
    assert found.tasks["colours"]["acc"] == pytest.approx(sum(one["acc"] or 0 for one in found.measures) / 6)
