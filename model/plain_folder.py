"""A version as a plain folder that other programs load: merged weights for transformers, or its adapter for PEFT.

Nothing in either needs this package. Knows loaded models and adapter folders; knows nothing of the store. A folder is written aside
and moved into place once it is whole.
"""

import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from flagback.model.adapter import CONFIG
from flagback.model.checkpoint import Loaded
from flagback.model.directory import quiet
from flagback.model.rounds import stack, trains_every_weight
from flagback.storage.export import written_aside

Dtype = Literal["float32", "bfloat16", "float16"]


class NoAdapter(Exception):
    """A base has no adapter."""


def write_merged(loaded: Loaded, folder: Path, *, card: str, dtype: Dtype = "float32") -> None:
    """Weights, configuration, tokenizer with its template, generation settings and card. Raises FolderInUse.

    In float32 the logits are those of `loaded`, bit for bit; the other types round. The tokens that end an answer stand in
    generation_config.json, so that `generate` ends where people saw answers end.
    """

    model = loaded.model if dtype == "float32" else copy.deepcopy(loaded.model).to(getattr(torch, dtype))
    before = model.generation_config
    settings = copy.deepcopy(before)
    settings.eos_token_id = list(loaded.end) if len(loaded.end) > 1 else loaded.end[0]
    if settings.pad_token_id is None:
        settings.pad_token_id = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else loaded.end[0]
    try:
        model.generation_config = settings
        with written_aside(folder) as place, quiet():
            model.save_pretrained(place)
            loaded.tokenizer.save_pretrained(place)
            (place / "README.md").write_text(card, encoding="utf-8")
            _readable(place)
    finally:
        model.generation_config = before


def write_adapter(adapters: Sequence[Path], folder: Path, *, card: str, base: tuple[str, str] | None = None) -> None:
    """One plain PEFT folder for the first base: the version's adapter, or the stack of its chain; a copy of every weight is it all.

    `base` is the hub's name and commit of the first base, where it is there; a place on this machine is never written. Raises
    FolderInUse, NoAdapter, UnusableAdapter.
    """
    if not adapters:
        raise NoAdapter("This version is a base and has no adapter; export its weights instead, or name a correction.")

    if trains_every_weight(adapters[-1]):
        adapters = adapters[-1:]
    with written_aside(folder) as place:
        if len(adapters) == 1:
            for path in sorted(adapters[0].iterdir()):
                shutil.copyfile(path, place / path.name)
        else:
            stack(adapters, place)
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base[0] if base else None, "revision": base[1] if base else None}
        (place / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
        (place / "README.md").write_text(card, encoding="utf-8")
        _readable(place)


def _readable(place: Path) -> None:
    """Files are for other programs, perhaps of other users: safetensors writes for its owner alone."""
    for path in place.iterdir():
        path.chmod(0o644)
