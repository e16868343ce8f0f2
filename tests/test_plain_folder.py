"""What is exported loads without this package, writes what the version writes, and says where it is from."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml  # type: ignore[import-untyped]  # comes with huggingface_hub
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from flagback.model import checkpoint
from flagback.model.directory import check_files
from flagback.model.explanation import Explanation, FlaggedMove, PairMove, summary
from flagback.model.plain_folder import NoAdapter, write_adapter, write_merged
from flagback.storage.export import FolderInUse
from flagback.storage.model_card import Told, hub_id, model_card
from flagback.storage.records import CorrectionRun, Evaluation, ModelVersion, PreferenceSet
from tests.foreign_models import make
from tests.test_rounds import ROW, Rounds, logits

#: PEFT 0.21 asks transformers 5.23 by an old name when it loads an adapter.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    """Two rounds on a sharded fp16 directory with an untied head."""
    return Rounds(tmp_path_factory.mktemp("export"), "llama")


def test_merged_weights_load_with_nothing_of_ours_and_have_the_very_logits(two: Rounds, tmp_path: Path) -> None:
    loaded = checkpoint.load(two.base, two.adapters)
    before = loaded.model.generation_config
    write_merged(loaded, tmp_path / "out", card="# card\n")
    assert loaded.model.generation_config is before
    expected = tmp_path / "expected.pt"
    torch.save(logits(loaded.model), expected)
    code = (
        "import sys, torch; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; torch.set_num_threads(1);"
        f"m = M.from_pretrained({str(tmp_path / 'out')!r}).eval(); t = T.from_pretrained({str(tmp_path / 'out')!r});"
        f"found = m(torch.tensor({ROW.tolist()})).logits[0];"
        f"assert torch.equal(found, torch.load({str(expected)!r})), 'logits';"
        "assert t('The nurse')['input_ids'], 'tokens';"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('flagback', 'peft')], 'imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "README.md").read_text() == "# card\n"
    check_files(tmp_path / "out", "out")


def test_the_folder_ends_answers_where_the_version_does_and_keeps_the_template(tmp_path: Path) -> None:
    loaded = checkpoint.load(str(make(tmp_path / "base", "qwen2_chat")))
    write_merged(loaded, tmp_path / "out", card="")
    settings = GenerationConfig.from_pretrained(tmp_path / "out")  # nosec B615 # a folder made here
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    assert tuple(sorted(ends)) == loaded.end
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")  # nosec B615 # a folder made here
    said = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(said, tokenize=False) == loaded.tokenizer.apply_chat_template(said, tokenize=False)


def test_a_rounded_copy_leaves_the_model_as_it_is(two: Rounds, tmp_path: Path) -> None:
    loaded = checkpoint.load(two.base, two.adapters)
    write_merged(loaded, tmp_path / "out", card="", dtype="bfloat16")
    assert loaded.model.dtype == torch.float32
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")  # nosec B615 # a folder made here
    assert found.dtype == torch.bfloat16
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight.to(torch.bfloat16)), name


def test_an_adapter_is_what_peft_loads_and_a_chain_is_one_adapter(two: Rounds, tmp_path: Path) -> None:
    for number, chain in enumerate((two.adapters[:1], two.adapters)):
        write_adapter(chain, tmp_path / str(number), card="# card\n", base=("org/small", "c0ffee"))
        found = PeftModel.from_pretrained(two.loaded([]), tmp_path / str(number)).merge_and_unload()
        assert torch.allclose(logits(found), logits(two.loaded(chain)), atol=1e-5, rtol=0)
        config = json.loads((tmp_path / str(number) / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("org/small", "c0ffee")
    write_adapter(two.adapters, tmp_path / "local", card="")
    assert str(tmp_path.parent) not in "".join(path.read_text() for path in (tmp_path / "local").glob("*.json"))


def test_a_folder_that_holds_something_and_a_base_without_an_adapter_are_refused(two: Rounds, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(FolderInUse, match="new or empty folder"):
        write_adapter(two.adapters, tmp_path / "full", card="")
    with pytest.raises(NoAdapter, match="is a base and has no adapter"):
        write_adapter([], tmp_path / "new", card="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_write_that_fails_leaves_no_folder(two: Rounds, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(two.adapters[0], broken)
    (broken / "adapter_config.json").write_text("{")
    with pytest.raises(json.JSONDecodeError):
        write_adapter([broken], tmp_path / "out", card="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


def told(**more: Any) -> Told:
    base = ModelVersion(
        id=1, kind="base", state="retired", name="org/small", location="org/small@c0ffee", template="plain", fingerprint="f0"
    )
    made = ModelVersion(
        id=3, kind="correction", state="current", name="correction 2", location="x", template="chat", fingerprint="f3"
    )
    run = CorrectionRun(id=2, parent_id=1, recipe={"steps": 24}, seed=5, asked_by="lena", adapter_sha256="ad", **more)
    learnt = PreferenceSet(
        fingerprint="s1", salt="", origin="reviews", policy="majority", policy_version="1", taxonomy_version="1",
        guideline_version="1", n_pairs=1234,
    )  # fmt: skip
    reasons = [{"check": "flag_rate", "verdict": "pass", "words": "It fell | from .4 to .1 <b>."}]
    evaluation = Evaluation(
        candidate_id=3, base_id=1, seed=0, asked_by="lena", state="succeeded", verdict="pass", reasons=reasons, figures={}
    )
    return Told(made, base, run, learnt, evaluation)


def test_the_card_says_what_the_records_say() -> None:
    text = model_card(told(), shape="adapter", dtype="float32")
    head = yaml.safe_load(text.split("---")[1])
    assert head == {
        "library_name": "peft",
        "tags": ["flagback"],
        "pipeline_tag": "text-generation",
        "base_model": "org/small",
        "base_model_relation": "adapter",
    }
    for words in (
        "1,234 pairs",
        "policy majority 1",
        "`s1`",
        "steps 24",
        "the gate said: **pass**",
        "chat template",
        "commit c0ffee",
    ):
        assert words in text
    assert "simulated" not in text
    assert "`It fell \\| from .4 to .1 <b>.`".replace("`", "") in text.replace("`", "")
    assert "no person judged" in model_card(told(simulated=True), shape="merged", dtype="float32")
    rows = (
        PairMove(0, "h", "contrast", "learnt", ("gender: woman",), 1.0, 1.0, 7, 8, -3.0, -2.0, -2.0, -4.0),
        PairMove(1, "i", "contrast", "held_out", (), 1.0, 1.0, 7, 8, -3.0, -3.0, -2.0, -2.0),
    )
    moved = summary(Explanation(2, 1, 3, rows, (FlaggedMove(8, "learnt", (), 0.9, -2.0, -4.0),), 0))
    explained = told(explanation_sha256="e")
    assert "gone, or was altered" in model_card(explained, shape="merged", dtype="float32")
    with_moves = model_card(explained, shape="merged", dtype="float32", moved=moved)
    # learnt: -3 - -2 = -1 before, -2 - -4 = 2 after; e^2 = 7.39
    assert "| learnt | 1 | 1 | 0 | 0 | -1.00 | +2.00 | 1 | 1 | 0 |" in with_moves
    assert "| `gender: woman` | 1 |".replace("`", "") in with_moves.replace("`", "")
    assert "| held out | 1 | 0 | 1 | 0 | -1.00 | -1.00 | 0 | 0 | 0 |" in with_moves
    assert "7.39 times less likely" in with_moves
    assert "What became" not in text
    assert "distillation" in model_card(told(teacher={"name": "big", "fingerprint": "f9"}), shape="merged", dtype="float32")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("org/small@c0ffee", ("org/small", "c0ffee")),
        ("small@c0ffee", ("small", "c0ffee")),
        ("embedded", None),
        ("/home/lena@work/model", None),
    ],
)
def test_only_the_hub_is_named_as_a_place(location: str, expected: tuple[str, str] | None) -> None:
    version = ModelVersion(id=1, kind="base", state="current", name="x", location=location, template="plain", fingerprint="0")
    assert hub_id(version) == expected
