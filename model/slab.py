"""One block of keys and values for all rows of a batch whose texts have different lengths.

A row is one answer being written; it sits at the start of its line, whatever its neighbours do, so that rows can be dropped, moved
and refilled between steps. Knows transformers' cache protocol and masks; knows nothing of prompts or of drawing tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

#: Key lengths are rounded up to this, rows to ROWS: sums over them are then the same bits at any batch size (one thread).
LENGTH, ROWS = 32, 16
#: Families that take a ready mask and positions for each row; the tests run every one of them against `generate`.
FAMILIES = frozenset(
    {
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gpt2",
        "gpt_neox",
        "gemma",
        "gemma2",
        "gemma3_text",
        "phi3",
        "olmo2",
        "granite",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)


def rounded(value: int, unit: int) -> int:
    """`value` rounded up to a multiple of `unit`."""
    return -(-value // unit) * unit


def fits(model: Any) -> bool:
    """Whether a model can be stepped on a slab. Others (linear attention, alibi, rotations that change with length) cannot."""
    config = model.config
    rotations = getattr(config, "rope_parameters", None) or {}
    kinds = {rotations.get("rope_type")} | {inner.get("rope_type") for inner in rotations.values() if isinstance(inner, dict)}
    return (
        config.model_type in FAMILIES
        and config._attn_implementation in ("sdpa", "eager")
        and set(getattr(config, "layer_types", None) or ()) <= {"full_attention", "sliding_attention"}
        and not kinds & {"dynamic", "longrope"}
    )


@contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """Attention by matrix products while it lasts: an eighth faster than the fused kernel for one token a row, and the same bits at
    any batch size with two threads, where the fused one's differ."""
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    try:
        yield
    finally:
        model.config._attn_implementation = before


class SlabLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, (R, heads, W, size); a step writes each row's at its own position."""

    is_sliding = False

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.rows, self.width = rows, width
        self.where = (torch.arange(0), torch.arange(0))
        self.seen = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Zeros of the shape that the first keys and values show; unused places are multiplied by 0, so they must be finite."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_zeros(self.rows, key_states.shape[1], self.width, key_states.shape[3])
        self.values = value_states.new_zeros(self.rows, value_states.shape[1], self.width, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one step, (n, heads, 1, size), and returns everything up to the longest row."""
        rows, places = self.where
        self.keys[rows, :, places] = key_states[:, :, 0]
        self.values[rows, :, places] = value_states[:, :, 0]
        return self.keys[: len(rows), :, : self.seen], self.values[: len(rows), :, : self.seen]

    def get_mask_sizes(self, _: int) -> tuple[int, int]:
        """Length and offset of the keys of this step."""
        return self.seen, 0

    def get_seq_length(self) -> int:
        """Positions before this step, the longest row's."""
        return self.seen

    def get_max_length(self) -> int:
        """How long a row can get."""
        return self.width


class Slab(Cache):  # type: ignore[misc]
    """The keys and values of all layers, and the mask of a step."""

    def __init__(self, model: Any, *, rows: int, width: int) -> None:
        self.rows, self.width = rounded(rows, ROWS), rounded(width, LENGTH)
        self.config = model.config
        super().__init__(layers=[SlabLayer(self.rows, self.width) for _ in range(model.config.num_hidden_layers)])

    def place(self, prompt: Sequence[tuple[torch.Tensor, torch.Tensor]], rows: torch.Tensor) -> None:
        """Copies a prompt's keys and values, (heads, P, size) a layer, to the start of each of `rows`."""
        for layer, (keys, values) in zip(self.layers, prompt, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys[None], values[None])
            layer.keys[rows, :, : keys.shape[1]] = keys
            layer.values[rows, :, : values.shape[1]] = values

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copies rows onto others."""
        for layer in self.layers:
            layer.keys[targets] = layer.keys[sources]
            layer.values[targets] = layer.values[sources]

    def step(self, positions: torch.Tensor, longest: int) -> dict[str, Any] | torch.Tensor:
        """Makes ready for one token in each of the first n rows at `positions` (n,); returns the mask, (n, 1, 1, L) or one for each
        kind of layer."""
        length = rounded(longest + 1, LENGTH)
        where = (torch.arange(len(positions), device=positions.device), positions)
        for layer in self.layers:
            layer.where, layer.seen = where, length
        columns = torch.arange(length, device=positions.device)
        dtype = self.layers[0].keys.dtype
        full = _mask(columns <= positions[:, None], dtype)
        window = getattr(self.config, "sliding_window", None)
        if not window:
            return full
        near = _mask((columns <= positions[:, None]) & (columns > positions[:, None] - window), dtype)
        kinds = set(getattr(self.config, "layer_types", None) or ())
        if not kinds:
            return near
        return {"full_attention": full, "sliding_attention": near} if "sliding_attention" in kinds else full


def _mask(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(n, 1, 1, L): 0 where a key is seen, the lowest number elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)[:, None, None, :]
