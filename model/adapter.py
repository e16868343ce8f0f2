"""What a correction trains, as a plain PEFT folder: low-rank matrices beside linear layers (Hu et al. 2021, arXiv 2106.09685), or
a copy of every weight (`recipe.Tuning`).

Both are PEFT's own forms, so that whoever reads a version's adapter needs nothing of ours. PEFT takes seconds to come, torch's
parallel tensors half a one; both are brought when the first of these is called.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from flagback.model.recipe import BadRecipe, Recipe

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
#: PEFT's word for targets where there are no low-rank matrices at all.
NO_MATRICES = "dummy-target-modules"


def with_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with what is trained in it, which changes nothing yet; `take_out` takes it out again. Raises BadRecipe."""
    from peft import get_peft_model

    config = _of_every_weight(model) if recipe.tuning == "full" else _low_rank(model, recipe)
    before = [(module, dict(module._modules)) for module in model.modules()]
    try:
        with warnings.catch_warnings():
            # PEFT sets fan_in_fan_out by itself, module by module, and says so.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            # PEFT 0.21 asks transformers 5.23 by an old name.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            adapted = get_peft_model(model, config)
    except BaseException as error:
        # PEFT goes from module to module, and memory may run out half way.
        for module, children in before:
            module._modules.clear()
            module._modules.update(children)
        vars(model).pop("peft_config", None)
        if not isinstance(error, ValueError):
            raise
        what = (
            f"tuning is 'full', which {type(model).__name__} does not take; use 'lora'"
            if recipe.tuning == "full"
            else f'targets is {recipe.targets!r}; "all-linear" or names of this model\'s linear modules were expected'
        )
        raise BadRecipe(f"{what} ({error}).") from error
    adapted.peft_config["default"].base_model_name_or_path = None
    return adapted


def _low_rank(model: Any, recipe: Recipe) -> Any:
    """PEFT's settings for low-rank matrices."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )


def _of_every_weight(model: Any) -> Any:
    """PEFT's settings for a copy of every module that holds weights, and for no low-rank matrices at all."""
    from peft import LoraConfig

    odd = "holds weights outside of its modules" if dict(model.named_parameters(recurse=False)) else ""
    if _tied(model) and getattr(model.get_output_embeddings(), "bias", None) is not None:
        odd = "has a head with a bias of its own beside the embedding's weights"  # PEFT copies such a head without it
    if odd:
        raise BadRecipe(f"tuning is 'full', but {type(model).__name__} {odd}; use 'lora'.")
    holding: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        inside = any(name.startswith(f"{above}.") for above in holding)
        if not inside and next(module.parameters(recurse=False), None) is not None:
            holding.append(name)
    return LoraConfig(task_type="CAUSAL_LM", target_modules=NO_MATRICES, modules_to_save=holding, ensure_weight_tying=_tied(model))


def _tied(model: Any) -> bool:
    """Whether the head's weights are the embedding's."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def take_out(adapted: Any) -> None:
    """Leaves the model as it was before `with_adapter`."""
    from peft.utils import ModulesToSaveWrapper

    model = adapted.get_base_model()
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):  # `unload` would leave the copy there
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, module.original_module)
    adapted.unload()


def put_in(adapted: Any, weights: dict[str, Tensor]) -> None:
    """Gives what is trained the weights that `adapter_weights` told."""
    from peft import set_peft_model_state_dict

    told = set_peft_model_state_dict(adapted, weights)
    assert not told.unexpected_keys, told.unexpected_keys  # nosec B101 # they came out of this very kind of adapter


def merged(model: Any, folder: Path) -> Any:
    """The model with a PEFT folder's adapter in its weights for good, its head tied as it was. Raises what PEFT raises."""
    from peft import PeftModel

    tied = _tied(model)
    with warnings.catch_warnings():
        # PEFT asks transformers by a name that is on its way out, and tells that a copied head is no longer the embedding.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="(.|\n)*(no longer tied|`ensure_weight_tying`)")
        found = PeftModel.from_pretrained(model, folder, is_trainable=False).merge_and_unload(safe_merge=True)
    if tied and torch.equal(found.get_input_embeddings().weight, found.get_output_embeddings().weight):
        found.config.tie_word_embeddings = True
        found.tie_weights()
    return found


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """The adapter's weights by name, put together where they are cut over ranks; all ranks must ask at once."""
    from peft import get_peft_model_state_dict

    from flagback.model.ranks import whole

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    # Each its own memory: the head may be the embedding, and safetensors writes no tensor twice.
    return {name: whole(weights[name].detach()).cpu().contiguous().clone() for name in sorted(weights)}


def save_adapter(model: Any, place: Path, weights: dict[str, Tensor] | None = None) -> None:
    """Writes adapter_config.json and adapter_model.safetensors: equal adapters give equal bytes, without a path of this machine.

    `weights` are those of `adapter_weights`, where they had to be put together before.
    """
    save_file(adapter_weights(model) if weights is None else weights, place / WEIGHTS, metadata={"format": "pt"})
    settings = model.peft_config["default"].to_dict()
    config = {name: sorted(value) if isinstance(value, (set, frozenset)) else value for name, value in settings.items()}
    config |= {"base_model_name_or_path": None, "inference_mode": True}
    (place / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, default=str))
    (place / WEIGHTS).chmod(0o644)
