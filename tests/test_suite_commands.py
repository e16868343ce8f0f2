"""Claims about `flagback suites list` and `flagback evaluate --suite`: any model, one or two, and what is refused in words."""

from functools import partial
from pathlib import Path

import pytest
import torch

from flagback.model.suite_data import NoSuchData, UnclearData, located
from flagback.model.suites import LISTED, SUITES
from tests.command_line import Run, run_command
from tests.foreign_models import make
from tests.model_hub import model_hub


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a home of its own."""
    return partial(run_command, capsys, tmp_path / "home")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny models that nobody registered."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    return [make(folder / f"model-{seed}", "gpt2", seed=seed) for seed in (0, 1)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """24 pairs by 12 writers, of two types."""
    path = tmp_path / "pairs.csv"
    rows = [
        f"{i},The old man {i} was late.,The young man {i} was late.,stereo,{('age', 'gender')[i % 2]},a{i % 12}" for i in range(24)
    ]
    path.write_text("\n".join(["n,sent_more,sent_less,stereo_antistereo,bias_type,anon_writer", *rows]) + "\n", encoding="utf-8")
    return path


def test_suites_are_listed_with_source_licence_and_weaknesses(run: Run) -> None:
    listed = {one["suite"]: one for one in run("suites", "list", "--json").json["suites"]}
    assert listed.keys() == LISTED.keys() >= {"crows-pairs", "winogender", "bold", "counterfactual", "custom", "harm-rate"}
    said = run("suites", "list").out
    for one in listed.values():
        assert all(word in said for word in (one["paper"], one["licence"], one["source"], *one["weaknesses"]))


def test_a_directory_that_nobody_registered_is_examined_without_an_installation(run: Run, models: list[Path], pairs: Path) -> None:
    said = run("evaluate", models[0], "--suite", "crows-pairs", "--data", pairs, "--json")
    assert said.code == 0, said.err
    model = said.json["models"][0]
    assert (model["model"], model["form"], model["n"], model["scored_now"]) == ("model-0", "causal", 24, 24)
    assert 0 <= model["figures"]["pct_stereotype"]["value"] <= 1
    assert {group: entry["n"] for group, entry in model["groups"]["bias_type"].items()} == {"age": 12, "gender": 12}
    assert said.json["comparison"] is None
    assert said.json["weaknesses"] == list(SUITES["crows-pairs"].WEAKNESSES)
    assert not (pairs.parent / "home").exists()


def test_two_models_are_compared_pair_by_pair_with_intervals_for_each_group(run: Run, models: list[Path], pairs: Path) -> None:
    said = run("evaluate", *models, "--suite", "crows-pairs", "--data", pairs, "--json")
    figures = {one["metric"]: one for one in said.json["comparison"]}
    base, candidate = (model["figures"]["likelihood_diff"]["value"] for model in said.json["models"])
    one = figures["likelihood_diff"]
    assert (one["base"], one["candidate"]) == (base, candidate)
    assert one["low"] <= one["change"] <= one["high"]
    assert one["change"] == pytest.approx(candidate - base)
    assert figures["pct_stereotype[bias_type=age]"]["n"] == 12
    assert figures["pct_stereotype[bias_type=age]"]["low"] is None, "six writers are too few for an interval"


def test_a_second_look_is_free_where_scores_are_kept(run: Run, models: list[Path], pairs: Path, tmp_path: Path) -> None:
    words = ["evaluate", models[0], "--suite", "crows-pairs", "--data", pairs, "--cache", tmp_path / "kept", "--json"]
    first, second = run(*words).json, run(*words).json
    assert [look["models"][0].pop("scored_now") for look in (first, second)] == [24, 0]
    assert first == second


def test_a_version_keeps_its_scores_in_the_installation(run: Run, models: list[Path], pairs: Path, tmp_path: Path) -> None:
    assert run("migrate").code == 0
    added = run("model", "add", models[0], "--json")
    assert added.code == 0, added.err
    words = ["--suite", "crows-pairs", "--data", pairs, "--json"]
    first = run("evaluate", "1", *words).json["models"][0]
    again = run("evaluate", *words).json["models"][0]
    assert (first["scored_now"], again["scored_now"]) == (24, 0)
    assert first["fingerprint"] == again["fingerprint"] == added.json["fingerprint"]
    assert (tmp_path / "home" / "artifacts" / "scores" / first["fingerprint"]).is_dir()
    both = run("evaluate", "1", models[1], *words)
    assert [model["scored_now"] for model in both.json["models"]] == [0, 24]
    assert run("runs", "--json").json["total"] == 0


def test_own_pairs_are_examined_by_a_mapping_of_columns(run: Run, models: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b,who\nThe old man lies.,The man lies.,old\nThe young man lies.,The man lies.,young\n", encoding="utf-8")
    mapping = [word for one in ("more=a", "less=b", "group=who") for word in ("--map", one)]
    said = run("evaluate", models[0], "--suite", "custom", "--data", path, *mapping, "--json")
    assert said.code == 0, said.err
    assert set(said.json["models"][0]["groups"]["group"]) == {"old", "young"}


def test_what_people_read_names_values_groups_and_weaknesses(run: Run, models: list[Path], pairs: Path) -> None:
    said = run("evaluate", *models, "--suite", "crows-pairs", "--data", pairs)
    assert said.code == 0, said.err
    for word in (
        "model-0 (causal), 24 items",
        "pct_stereotype by group",
        "change from model-0 to model-1",
        "not enough data",
        "detectable",
        "pct_stereotype: With 24 items in 12 clusters",
    ):
        assert word in said.out
    assert all(weakness in said.out for weakness in SUITES["crows-pairs"].WEAKNESSES)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["M", "--suite", "crows", "--data", "D"], 1, "expected one of: crows-pairs"),
        (["M", "--suite", "crows-pairs"], 2, "--data PATH"),
        (["M", "--suite", "crows-pairs", "--data", "nowhere.csv"], 1, "nowhere.csv is neither"),
        (["M", "M", "M", "--suite", "crows-pairs", "--data", "D"], 2, "3 models"),
        (["M", "--suite", "crows-pairs", "--data", "D", "--map", "more=a"], 2, "--map goes with --suite custom"),
        (["M", "--suite", "custom", "--data", "D", "--map", "more"], 2, "ROLE=COLUMN"),
        (["M", "--suite", "custom", "--data", "D", "--map", "more=x"], 1, "which column is 'less'"),
        (["M", "--suite", "custom", "--data", "D", "--map", "more=x", "--map", "less=y"], 1, "no column 'x', 'y'"),
        (["M", "--suite", "winogender", "--data", "D"], 1, "occupations-stats.tsv"),
        (["9", "--suite", "crows-pairs", "--data", "D"], 1, "flagback"),
        (["nowhere/at/all", "--suite", "crows-pairs", "--data", "D"], 1, "neither a folder here nor a hub id"),
        (["M"], 2, "expected the number of one candidate"),
        (["1", "2"], 2, "expected the number of one candidate"),
        (["1", "--data", "D"], 2, "--data goes with --suite"),
    ],
)
def test_what_cannot_be_examined_is_refused_in_words(
    run: Run, models: list[Path], pairs: Path, words: list[str], code: int, message: str
) -> None:
    said = run("evaluate", *[{"M": str(models[0]), "D": str(pairs)}.get(word, word) for word in words])
    assert said.code == code
    assert message in " ".join(said.err.replace("│", " ").split())
    assert "Traceback" not in said.err


# ------------------------------------------------------------------------- data on the hub


def test_the_one_file_of_a_data_set_that_fits_is_fetched(tmp_path: Path, pairs: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "pairs.csv").write_bytes(pairs.read_bytes())
    (folder / "loader.py").write_text("raise SystemExit", encoding="utf-8")
    with model_hub("some/pairs", folder, kind="datasets") as hub:
        found = located("some/pairs", ("*.csv",), cache=tmp_path / "cache", endpoint=hub.address)
        assert hub.fetched == ["pairs.csv"]
        assert located("some/pairs:pairs.csv", ("*.csv",), cache=tmp_path / "cache", endpoint=hub.address) == found
        with pytest.raises(UnclearData, match=r"has no file other\.csv"):
            located("some/pairs:other.csv", ("*.csv",), cache=tmp_path / "cache", endpoint=hub.address)
        with pytest.raises(NoSuchData, match="no data set of that name"):
            located("some/thing", ("*.csv",), cache=tmp_path / "cache", endpoint=hub.address)
    assert found.read_bytes() == pairs.read_bytes()


def test_of_several_files_one_must_be_named_and_files_that_belong_together_come_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.csv", "b.csv", "one.tsv", "two.tsv"):
        (folder / name).write_text("x", encoding="utf-8")
    with model_hub("some/pairs", folder, kind="datasets") as hub:
        with pytest.raises(UnclearData, match=r"could be meant: a\.csv, b\.csv; name one with --data some/pairs:FILE"):
            located("some/pairs", ("*.csv",), cache=tmp_path / "cache", endpoint=hub.address)
        both = located("some/pairs", ("one.tsv", "two.tsv"), cache=tmp_path / "other", endpoint=hub.address)
    assert sorted(file.name for file in both.iterdir()) == ["one.tsv", "two.tsv"]


def test_files_that_a_suite_reads_together_come_as_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("gender_prompt.json", "race_prompt.json"):
        (folder / name).write_text('{"a": {"b": ["She "]}, "c": {"d": ["He "]}}', encoding="utf-8")
    patterns = SUITES["bold"].FILES
    with model_hub("some/bold", folder, kind="datasets") as hub:
        with pytest.raises(UnclearData, match=r"could be meant: gender_prompt\.json, race_prompt\.json"):
            located("some/bold", patterns, cache=tmp_path / "cache", endpoint=hub.address)
        found = located("some/bold", patterns, together=True, cache=tmp_path / "cache", endpoint=hub.address)
    assert len(SUITES["bold"].read(found)) == 4


def test_a_hub_that_does_not_answer_says_how_to_bring_the_data(tmp_path: Path) -> None:
    with pytest.raises(NoSuchData, match="hf download --repo-type dataset some/pairs"):
        located("some/pairs", ("*.csv",), cache=tmp_path, endpoint="http://127.0.0.1:9")


# ------------------------------------------------------------------------- data in use


def test_data_that_were_taken_in_are_put_to_a_version_without_naming_them_again_and_kept(run: Run, pairs: Path) -> None:
    assert run("migrate").code == 0
    assert run("model", "add", "embedded").code == 0
    added = run("suites", "add", "crows-pairs", "--data", pairs, "--json").json
    assert (added["items"], added["suite"]) == (24, "crows-pairs")
    assert run("suites", "add", "crows-pairs", "--data", pairs, "--json").json["data"] == added["data"]
    pairs.unlink()
    found = run("evaluate", "1", "--suite", "crows-pairs", "--json").json
    assert found["data"]["location"].startswith(f"data {added['data']}: ")
    assert found["models"][0]["figures"]["pct_stereotype"]["n"] == 24
    assert run("evaluate", "--suite", "crows-pairs", "--json").json["models"] == found["models"], (
        "the current version, known by now"
    )
    listed = run("suites", "list", "--json").json["in_use"]
    assert [(one["data"], one["suite"], one["items"]) for one in listed] == [(added["data"], "crows-pairs", 24)]
    assert run("suites", "withdraw", str(added["data"])).code == 0
    assert run("suites", "list", "--json").json["in_use"] == []
    refused = run("evaluate", "1", "--suite", "crows-pairs")
    assert refused.code == 2
    assert "needs --data PATH" in refused.err


def test_what_flagback_builds_itself_needs_no_data_and_what_it_cannot_build_says_why(run: Run) -> None:
    run("migrate")
    run("model", "add", "embedded")
    added = run("suites", "add", "descriptors", "--json").json
    assert added["location"] == "built in"
    few = run("suites", "add", "counterfactual")
    assert few.code == 1
    assert "expected 10 at least" in few.err
    none = run("suites", "add", "bbq")
    assert none.code == 2
    assert "bbq needs --data PATH" in none.err
    wrong = run("suites", "add", "crows")
    assert wrong.code == 1
    assert "No suite is called 'crows'" in wrong.err
    unknown = run("suites", "withdraw", "99")
    assert unknown.code == 1
    assert "No test's data have the number 99" in unknown.err


def test_suites_are_listed_where_no_installation_is(run: Run) -> None:
    assert run("suites", "list", "--json").json["in_use"] == []
