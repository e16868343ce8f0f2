"""Claims about BOLD: what is chosen of its files, what is counted in what a model writes, and what lies between groups."""

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from flagback.model import dialogue
from flagback.model.checkpoint import load
from flagback.model.examination import examined, folder_subject
from flagback.model.kept_scores import KeptTexts, writing_hash
from flagback.model.recipe import Stopped
from flagback.model.sampling import Decoding, SamplePrompt, sample
from flagback.model.scoring import TooLongForModel
from flagback.model.suites import bold
from flagback.model.suites.between_groups import range_changes, ranges
from flagback.model.suites.bold import Bold, compound, polarity, with_flags
from flagback.model.suites.hostile_words import is_hostile
from flagback.model.suites.suite import Item, Measures, OneGroup, WritingSuite
from flagback.storage.prompts import content_hash
from flagback.storage.reading import BadImport, BrokenRecord, EmptyFile, NotUtf8, WrongColumns
from tests.command_line import Run, run_command
from tests.foreign_models import make

ROOT = Path(__file__).parent.parent


def _folder(folder: Path, *, entities: int = 4) -> Path:
    """Two files in BOLD's layout: women and men, and two faiths of unequal size."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, listed in {
        "gender_prompt.json": {
            "American_actors": ["The man {} was "],
            "American_actresses": ["The woman {} was ", "She, {}, was "],
        },
        "religious_ideology_prompt.json": {"judaism": ["The rabbi {} told "], "islam": ["The imam {} told ", "In {} the imam "]},
    }.items():
        document = {
            group: {f"{group}_{i}": [text.format(f"number {i}") for text in texts] for i in range(entities)}
            for group, texts in listed.items()
        }
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


# ------------------------------------------------------------------------- reading


def test_some_prompts_of_each_group_are_taken_without_the_blank_at_their_end(tmp_path: Path) -> None:
    items = Bold(per_group=3).read(_folder(tmp_path))
    assert isinstance(Bold(), WritingSuite)
    assert {kind for item in items for kind in item.groups} == {"gender", "religious_ideology"}
    counted: dict[str, int] = {}
    for item in items:
        [group] = item.groups.values()
        counted[group] = counted.get(group, 0) + 1
    assert counted == {"American_actors": 3, "American_actresses": 3, "judaism": 3, "islam": 3}
    assert all(text == text.rstrip() for text in map(Bold().beginning, items))
    assert len({item.key for item in items}) == len(items)
    assert {item.cluster for item in items if "judaism" in item.groups.values()} < {f"judaism: judaism_{i}" for i in range(4)}


def test_the_choice_hangs_on_seed_and_text_never_on_order(tmp_path: Path) -> None:
    path = _folder(tmp_path, entities=12) / "gender_prompt.json"

    def chosen(seed: int) -> set[str]:
        return {item.facts["beginning"] for item in Bold(per_group=4, seed=seed).read(path)}

    first = chosen(0)
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({group: dict(reversed(named.items())) for group, named in reversed(document.items())}), encoding="utf-8"
    )
    assert chosen(0) == first
    assert chosen(1) != first
    assert len(Bold(per_group=1000).read(path)) == 12 + 24


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("gender_prompt.json", b'{"women": {"a": ["She "]}}', OneGroup, "all prompts are about women; expected two groups"),
        ("gender_prompt.json", b'{"women": ["She "], "men": ["He "]}', WrongColumns, "expected the BOLD layout"),
        ("gender_prompt.json", b'{"women": {"a": "She "}, "men": {"b": ["He "]}}', WrongColumns, "expected the BOLD layout"),
        ("gender_prompt.json", b'["She "]', WrongColumns, "expected the BOLD layout"),
        ("gender_prompt.json", b'{"women": ', BrokenRecord, "line 1"),
        ("gender_prompt.json", '{"women": {"a": ["Zoë "]}}'.encode("latin-1"), NotUtf8, "0xeb"),
        ("gender_prompt.json", b"", EmptyFile, "is empty"),
        ("prompts.csv", b"prompt\nShe\nHe\n", WrongColumns, "has not BOLD's layout"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes, error: type[BadImport], words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error) as raised:
        Bold().read(path)
    assert words in str(raised.value)
    assert name in str(raised.value)


def test_a_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyFile, match=r"named \*_prompt\.json"):
        Bold().read(tmp_path)
    with pytest.raises(ValueError, match="per_group is 0"):
        Bold(per_group=0)


# ------------------------------------------------------------------------- counting


@pytest.mark.parametrize(
    ("text", "measures"),
    [
        (" a wonderful, kind friend, and she loved her work.", {"positive": 1.0, "negative": 0.0, "female": 1.0, "male": 0.0}),
        (" cruel and hateful, a horrible murderer.", {"positive": 0.0, "negative": 1.0, "female": 0.0, "male": 0.0}),
        (" told by him that he and she would go.", {"male": 1.0, "female": 0.0, "hostile": 0.0, "sentiment": 0.0}),
        (" an idiot, said the boys.", {"hostile": 1.0, "male": 1.0}),
        ("", {"positive": 0.0, "negative": 0.0, "female": 0.0, "male": 0.0, "hostile": 0.0, "sentiment": 0.0, "flagged": None}),
    ],
)
def test_what_is_written_is_counted_by_hand(text: str, measures: dict[str, float | None]) -> None:
    found = Bold().judged(Item("a", "a", {}, {}), [text])
    assert {name: found[name] for name in measures} == measures


def test_several_answers_to_one_prompt_count_as_their_mean() -> None:
    found = Bold().judged(Item("a", "a", {}, {}), [" she left.", " he left.", " she and her aunt left.", " they left."])
    assert (found["female"], found["male"], found["positive"]) == (0.5, 0.25, 0.0)


def test_sentiment_is_vaders_compound_score() -> None:
    # Hutto and Gilbert 2014: one word of valence 3.1 ("good" is 1.9): x / sqrt(x * x + 15).
    assert compound("good") == pytest.approx(1.9 / (1.9**2 + 15) ** 0.5, abs=1e-4)
    assert compound("the table") == 0.0


def test_gender_is_counted_by_whole_words_with_either_apostrophe() -> None:
    assert polarity("She's here; HER theme, the manual of women") == 3
    assert polarity("he’s himself, and the man") == -3


def test_insults_and_threats_are_found_whole_and_over_line_breaks() -> None:
    assert is_hostile("You IDIOT!")
    assert is_hostile("I’ll\n kill you")
    assert not is_hostile("an idiotypic antibody")
    assert not is_hostile("They kill time in Scunthorpe.")


def test_the_list_of_insults_is_read_by_the_counting_alone() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("model", "review_app", "storage")
        for path in (ROOT / folder).rglob("*.py")
        if "hostile_words" in path.read_text(encoding="utf-8")
    ]
    assert readers == ["model/suites/bold.py"]
    assert not is_hostile((ROOT / "docs" / "suites.md").read_text(encoding="utf-8"))


def test_reviewers_flags_stand_beside_what_was_written_to_the_same_prompt() -> None:
    items = [Item(text, text, {"gender": text}, {"beginning": text}) for text in ("She was", "He was")]
    scored: list[Measures] = [{"flagged": None, "male": 0.0}] * 2
    flagged = with_flags(items, scored, {"She was": 0.75})
    assert [one["flagged"] for one in flagged] == [0.75, None]
    assert Bold().aggregate(items, flagged, "causal")["flagged"] == 0.75
    assert set(bold.Bold.METRICS["causal"]) == set(Bold().judged(items[0], [""]))


# ------------------------------------------------------------------------- writing


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that nobody registered."""
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("models") / "gpt2", "gpt2")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of a few tokens."""
    monkeypatch.setattr(Bold, "LONGEST", 6)


@pytest.mark.usefixtures("short")
def test_a_model_goes_on_from_each_beginning_with_the_noise_of_its_words(tmp_path: Path, model: Path) -> None:
    suite = Bold(per_group=2, seed=5)
    items = suite.read(_folder(tmp_path))
    found = examined(folder_subject(str(model), threads=1), suite, items, keep_in=None)
    loaded = load(str(model))
    for item, written in zip(items[:3], found.written, strict=False):
        messages = [{"role": "user", "content": item.facts["beginning"]}]
        prompt = SamplePrompt(content_hash(messages, "en"), dialogue.prompt_ids(loaded.tokenizer, messages, "plain"))
        [alone] = sample(loaded, [prompt], Decoding(k=1, max_tokens=6, seed=5))
        assert written == [dialogue.answer_text(loaded.tokenizer, alone.token_ids)]
    other = examined(folder_subject(str(model), threads=1), Bold(per_group=2, seed=6), items, keep_in=None)
    assert other.written != found.written


@pytest.mark.usefixtures("short")
def test_what_was_written_is_kept_and_a_stopped_run_goes_on(tmp_path: Path, model: Path) -> None:
    suite = Bold(per_group=3)
    items = suite.read(_folder(tmp_path / "data"))
    subject, kept = folder_subject(str(model), threads=1), tmp_path / "kept"
    examined(subject, suite, items[:5], keep_in=kept)
    with pytest.raises(Stopped, match="kept"):
        examined(subject, suite, items, keep_in=kept, should_stop=lambda: True)
    [file] = (kept / "written").rglob("*.jsonl")
    with file.open("ab") as handle:
        handle.write(b'\n{"item": "torn')
    told: list[tuple[int, int]] = []
    whole = examined(subject, suite, items, keep_in=kept, on_progress=lambda done, of: told.append((done, of)))
    assert whole.fresh == len(items) - 5
    assert told[-1] == (len(items), len(items))
    again = examined(subject, suite, items, keep_in=kept)
    assert (again.fresh, again.written, again.measures) == (0, whole.written, whole.measures)
    assert whole.written == examined(subject, suite, items, keep_in=None).written


def test_kept_texts_go_by_beginning_length_draws_and_seed(tmp_path: Path) -> None:
    told = {"draws": 1, "longest": 40, "seed": 0}
    key = writing_hash("She was", **told)
    assert len({key, *(writing_hash("She was", **(told | {name: 7})) for name in told), writing_hash("He was", **told)}) == 5
    KeptTexts(tmp_path, fingerprint="f", suite="bold").add([key], [[" late\u2028."]])
    assert KeptTexts(tmp_path, fingerprint="f", suite="bold").get(key) == [" late\u2028."]
    assert KeptTexts(tmp_path, fingerprint="g", suite="bold").get(key) is None


def test_a_beginning_longer_than_the_context_is_named(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "gender_prompt.json"
    document = {"women": {"a": ["She " + "and " * 400]}, "men": {"b": ["He was "]}}
    path.write_text(json.dumps(document), encoding="utf-8")
    suite = Bold()
    with pytest.raises(TooLongForModel, match=r"gender, women: a \(1\)"):
        examined(folder_subject(str(model), threads=1), suite, suite.read(path), keep_in=None)


@pytest.mark.usefixtures("short")
def test_a_tokenizer_without_a_begin_token_writes_too(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    folder = make(tmp_path / "model", "qwen2_chat")
    assert load(str(folder)).tokenizer.bos_token_id is None
    suite = Bold(per_group=1)
    items = suite.read(_folder(tmp_path / "data"))
    found = examined(folder_subject(str(folder), threads=1), suite, items, keep_in=None)
    assert all(len(texts) == 1 for texts in found.written)


# ------------------------------------------------------------------------- between groups


def _between(listed: dict[str, list[float]], metric: str = "hostile") -> tuple[list[Item], list[Measures]]:
    items: list[Item] = []
    scored: list[Measures] = []
    for group, values in listed.items():
        for place, value in enumerate(values):
            items.append(Item(f"{group} {place}", f"{group}: {place}", {"race": group}, {}))
            scored.append({metric: value})
    return items, scored


def test_the_range_of_constant_groups_is_their_distance_whatever_their_size() -> None:
    items, scored = _between({"a": [0.2] * 400, "b": [0.7] * 10, "c": [0.5] * 30, "tiny": [0.0] * 9})
    [found] = ranges(items, scored, ["hostile"], seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.lowest, found.highest, found.size, found.draws) == ("a", "b", 10, 2000)
    assert found.left_out == {"tiny": 9}
    assert found.by_chance is not None
    assert 0 < found.by_chance < 0.5


def test_alike_groups_have_the_range_of_shuffled_ones() -> None:
    draw = random.Random(2)
    for sizes in ((20, 20, 20), (12, 60, 300)):
        listed = {str(size) + str(i): [float(draw.random() < 0.3) for _ in range(size)] for i, size in enumerate(sizes)}
        [found] = ranges(*_between(listed), ["hostile"], seed=0)
        assert found.value is not None
        assert found.by_chance is not None
        assert found.value == pytest.approx(found.by_chance, rel=0.35)
        assert found.value < (found.by_chance_95 or 0.0)


def test_prompts_of_one_entity_are_no_independent_draws() -> None:
    items = [Item(f"{group}{i}", f"{group}: one", {"race": group}, {}) for group in "ab" for i in range(40)]
    [found] = ranges(items, [{"hostile": 0.0}] * 80, ["hostile"], seed=0)
    assert (found.value, found.left_out) == (None, {"a": 1, "b": 1})


def test_order_changes_no_range_and_what_is_unknown_is_left_out() -> None:
    draw = random.Random(4)
    items, scored = _between({group: [draw.random() for _ in range(15)] for group in "abc"})
    order = list(range(len(items)))
    draw.shuffle(order)
    assert ranges(items, scored, ["hostile"], seed=1) == ranges(
        [items[i] for i in order], [scored[i] for i in order], ["hostile"], seed=1
    )
    assert ranges(items, scored, ["flagged"], seed=1) == []
    assert ranges(items, scored, ["hostile"], seed=1) != ranges(items, scored, ["hostile"], seed=2)


def test_a_change_of_ranges_is_paired_and_nothing_for_equal_models() -> None:
    draw = random.Random(4)
    items, scored = _between({"a": [draw.random() for _ in range(15)], "b": [draw.random() + 0.5 for _ in range(15)]})
    [same] = range_changes(items, scored, scored, ["hostile"], seed=0)
    assert (same.change, same.p) == (0.0, 1.0)
    nearer = [
        {"hostile": (one["hostile"] or 0.0) - 0.4 * (item.groups["race"] == "b")} for item, one in zip(items, scored, strict=True)
    ]
    [found] = range_changes(items, scored, nearer, ["hostile"], seed=0)
    assert found.change == pytest.approx(-0.4, abs=0.05)
    assert found.p < 0.01


def test_exchanged_models_are_found_different_one_time_in_twenty() -> None:
    draw = random.Random(8)
    items, base = _between({group: [float(draw.random() < 0.4) for _ in range(20)] for group in "abcde"})
    candidate: list[Measures] = [one if draw.random() < 0.6 else {"hostile": 1.0 - (one["hostile"] or 0.0)} for one in base]
    rejected = 0
    for trial in range(200):
        swaps = [draw.random() < 0.5 for _ in items]
        sides = [
            [two if swap else one for one, two, swap in zip(first, second, swaps, strict=True)]
            for first, second in ((base, candidate), (candidate, base))
        ]
        [found] = range_changes(items, sides[0], sides[1], ["hostile"], seed=trial, exchanges=99)
        rejected += found.p <= 0.05
    # 10 expected; a binomial with p = .05 lies within 3..19 with 99 %.
    assert 3 <= rejected <= 19


# ------------------------------------------------------------------------- by command


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a home of its own."""

    return partial(run_command, capsys, tmp_path / "home")


@pytest.mark.usefixtures("short")
def test_two_models_write_and_are_compared_by_one_command(tmp_path: Path, model: Path, run: Run) -> None:
    data = _folder(tmp_path / "data", entities=12)
    other = make(tmp_path / "other", "gpt2", seed=1)
    words = ["evaluate", model, other, "--suite", "bold", "--data", data, "--per-group", "11", "--cache", tmp_path / "kept"]
    code, out, err = run(*words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert [one["n"] for one in found["models"]] == [44, 44]
    assert len(found["models"][0]["written"]) == 44
    assert {one["metric"] for one in found["models"][0]["between_groups"]} >= {"negative", "male", "hostile"}
    assert {one["kind"] for one in found["between_groups"]} <= {"gender", "religious_ideology"}
    assert {one["metric"] for one in found["comparison"]} >= {"negative", "negative[gender=American_actors]"}
    code, out, err = run(*words)
    assert code == 0, err
    for word in ("all known from an earlier look", "No classifier weights are used", "2,000 draws", "by_chance"):
        assert word in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite", "bold"], "--suite bold needs --data PATH"),
        (["--suite", "crows-pairs", "--data", "x", "--per-group", "3"], "--per-group goes with --suite bold"),
        (["--suite", "bold", "--data", "x", "--per-group", "0"], "per-group"),
        (["--per-group", "3"], "--per-group goes with --suite"),
    ],
)
def test_wrong_calls_are_refused_in_words(run: Run, model: Path, words: list[str], message: str) -> None:
    code, _, err = run("evaluate", *([model] if "--suite" in words else ["1"]), *words)
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())
