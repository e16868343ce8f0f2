"""Our training steps are TRL's: same tiny model, same adapter, same token ids in the same order, same losses."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import TokenizersBackend

from flagback.model.adapter import with_adapter
from flagback.model.contents import Limits
from flagback.model.plan import make_plan, seed_of
from flagback.model.recipe import LossName, Pair, Recipe, StepMetrics, Tuning
from flagback.model.training import correct
from tests.tiny_model import VOCABULARY, Held, random_ids, random_pairs, tiny_llama

SEED = 5


def plain_pairs(count: int) -> list[Pair]:
    """Pairs of weight and label 1, as TRL knows them."""
    return [Pair(p.key, p.prompt_ids, p.chosen_ids, p.rejected_ids) for p in random_pairs(count)]


def words(ids: Any) -> str:
    return " ".join(f"t{i}" for i in ids)


def trl_steps(pairs: list[Pair], recipe: Recipe, folder: Path) -> list[dict[str, float]]:
    """What TRL's DPOTrainer logs for the pairs in their order, from the adapter ours begins with."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
    from trl import DPOConfig, DPOTrainer

    lora = recipe.tuning == "lora"
    if lora:
        bare = tiny_llama()
        torch.manual_seed(seed_of(SEED, "adapter"))
        begin = get_peft_model_state_dict(with_adapter(bare, recipe))
    raw = Tokenizer(WordLevel({("<end>" if i == 2 else f"t{i}"): i for i in range(VOCABULARY)}, unk_token="t0"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = TokenizersBackend(tokenizer_object=raw, eos_token="<end>", pad_token="t0")
    rows = Dataset.from_list(
        [
            {"prompt": words(p.prompt_ids), "chosen": " " + words(p.chosen_ids[:-1]), "rejected": " " + words(p.rejected_ids[:-1])}
            for p in pairs
        ]
    )
    arguments = DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.pairs_per_step,
        max_steps=recipe.steps,
        beta=recipe.beta,
        loss_type="sigmoid" if recipe.loss == "dpo" else recipe.loss,
        label_smoothing=recipe.label_noise,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        train_sampling_strategy="sequential",
        max_length=None,
    )
    trainer = DPOTrainer(
        model=tiny_llama(),
        ref_model=None if lora else tiny_llama(),
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=recipe.rank, lora_alpha=int(recipe.alpha), target_modules="all-linear", task_type="CAUSAL_LM", bias="none"
        )
        if lora
        else None,
    )
    sampled = [trainer.train_dataset[i] for i in range(len(pairs))]
    assert [(r["prompt_ids"], r["chosen_ids"], r["rejected_ids"]) for r in sampled] == [
        (list(p.prompt_ids), list(p.chosen_ids), list(p.rejected_ids)) for p in pairs
    ]
    if lora:
        set_peft_model_state_dict(trainer.model, begin)
    trainer.train()
    return [entry for entry in trainer.state.log_history if "grad_norm" in entry]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("loss", "tuning"),
    [("dpo", "lora"), ("robust", "lora"), ("ipo", "lora"), ("apo_zero", "lora"), ("apo_down", "lora"), ("dpo", "full")],
)
def test_every_step_has_the_loss_margin_and_gradient_of_trl(loss: LossName, tuning: Tuning, tmp_path: Path) -> None:
    noise = 0.1 if loss == "robust" else 0.0
    recipe = Recipe(
        steps=6,
        pairs_per_step=4,
        replay_weight=0.0,
        learning_rate=5e-3 if tuning == "lora" else 1e-3,
        schedule="constant",
        beta=0.1,
        tuning=tuning,
        loss=loss,
        label_noise=noise,
    )
    pairs = plain_pairs(24)
    plan = make_plan(pairs, [], recipe=recipe, seed=SEED, limits=Limits(VOCABULARY, None))
    ordered = [plan.pairs[place] for part in plan.parts for place in part.pairs]
    theirs = trl_steps(ordered, recipe, tmp_path / "trl")
    ours: list[StepMetrics] = []
    correct(Held(tiny_llama()), pairs, recipe=recipe, seed=SEED, folder=tmp_path / "ours", on_step=ours.append)
    assert len(ours) == len(theirs) == 6
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.loss == pytest.approx(other["loss"], abs=1e-4)
        assert mine.margin == pytest.approx(other["rewards/margins"], abs=1e-4)
        assert mine.grad_norm == pytest.approx(other["grad_norm"], rel=1e-3)
    assert abs(ours[-1].margin) > 0.005, "the steps must have moved the model for the comparison to mean anything"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_four_answers_in_one_row_have_the_losses_of_padded_rows_and_of_trl(tmp_path: Path) -> None:
    """Six pairs a prompt: their prompt and each answer are computed once; TRL computes twelve rows."""
    draw = Random(6)
    pairs = []
    for number in range(4):
        prompt, answers = random_ids(draw, 4, 9), [[*random_ids(draw, 2, 8), 2] for _ in range(4)]
        pairs += [Pair(f"{number} {i} {j}", prompt, answers[i], answers[j]) for i in range(4) for j in range(i + 1, 4)]
    recipe = Recipe(
        steps=6,
        pairs_per_step=6,
        replay_weight=0.0,
        learning_rate=5e-3,
        schedule="constant",
        beta=0.1,
        sharing="prompt",
    )
    plan = make_plan(pairs, [], recipe=recipe, seed=SEED, limits=Limits(VOCABULARY, None))
    theirs = trl_steps([plan.pairs[place] for part in plan.parts for place in part.pairs], recipe, tmp_path / "trl")
    for layout in ("flat", "padded"):
        some = replace(recipe, layout=layout)
        mine = correct(Held(tiny_llama()), pairs, recipe=some, seed=SEED, folder=tmp_path / layout).metrics
        for one, other in zip(mine, theirs, strict=True):
            assert one.loss == pytest.approx(other["loss"], abs=1e-4)
            assert one.grad_norm == pytest.approx(other["grad_norm"], rel=1e-3)
    assert abs(theirs[-1]["rewards/margins"]) > 0.005


def test_bfloat16_teaches_nearly_the_same_and_keeps_the_adapter_in_float32(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    recipe = Recipe(steps=6, pairs_per_step=4, replay_weight=0.0, learning_rate=5e-3, schedule="constant", beta=0.1)
    pairs = plain_pairs(24)
    exact = correct(Held(tiny_llama()), pairs, recipe=recipe, seed=SEED, folder=tmp_path / "exact")
    rough = correct(Held(tiny_llama()), pairs, recipe=replace(recipe, precision="bfloat16"), seed=SEED, folder=tmp_path / "rough")
    assert rough.weights_sha256 != exact.weights_sha256
    assert [m.loss for m in rough.metrics] == pytest.approx([m.loss for m in exact.metrics], abs=0.02)
    assert rough.metrics[0].margin == pytest.approx(0, abs=0.01), "the reference is computed in the same numbers"
    assert {weight.dtype for weight in load_file(rough.adapter / "adapter_model.safetensors").values()} == {torch.float32}
