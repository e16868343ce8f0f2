"""Weights and tokenizers: whether a model can be used, and loading it with its corrections merged in.

Computes a few tokens with a model before it is accepted. Knows transformers and PEFT; knows nothing of the store. What can be
seen without weights in memory is `directory`'s business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, DynamicCache

from flagback.model import dialogue, shortage
from flagback.model.adapter import CONFIG, WEIGHTS, merged
from flagback.model.directory import (
    BrokenWeights,
    NoTokenizer,
    UnusableAdapter,
    UnusableModel,
    VocabularyMismatch,
    WrongArchitecture,
    check_files,
    file_hashes,
    find,
    fingerprint,
    quiet,
)
from flagback.storage.records import Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Inspected", "Loaded", "UnusableModel", "context_length", "distance", "inspect", "load", "load_masked"]


class Inspected(NamedTuple):
    """What `inspect` found out about a usable model."""

    #: What people may call it: "embedded", the folder's name, or the hub id.
    name: str
    #: Where `load` finds the same weights again: "embedded", an absolute folder, or "hub/id@commit".
    location: str
    #: chat where the tokenizer has a chat template, else plain.
    template: Template
    #: sha256 by file name of everything that makes the model (not its README).
    files: dict[str, str]
    #: architecture, model_type, parameters, vocabulary, tokenizer, context (None: no limit told), dtype, end, megabytes.
    facts: dict[str, Any]
    #: sha256 over `files`: equal folders have equal fingerprints.
    fingerprint: str


@dataclass(frozen=True)
class Loaded:
    """Weights ready to compute, in eval mode, with the tokenizer and template they go with."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    template: Template

    @property
    def end(self) -> tuple[int, ...]:
        """Tokens that end an answer, ascending."""
        return dialogue.end_ids(self.tokenizer, self.model.generation_config)

    @property
    def context(self) -> int | None:
        """How many tokens prompt and answer may have together; None where the configuration names no limit."""
        named = context_length(self.model.config)
        return None if named is None else named - _positions_unused(self.model)

    @property
    def vocabulary(self) -> int:
        """Rows of the input embedding: every id must be below."""
        return int(self.model.get_input_embeddings().weight.shape[0])


def inspect(
    location: str, *, cache: Path | None = None, template: Template | None = None, endpoint: str | None = None
) -> Inspected:
    """Looks at a model the way `load` will, and computes a few tokens with it; raises an UnusableModel where it cannot be used.

    `template` overrules what the tokenizer says; `endpoint` is another hub's address. The cheap checks come first: only a model
    that passes them is loaded.
    """
    name, folder, kept_location = find(location, cache=cache, endpoint=endpoint)
    config = check_files(folder, name)
    tokenizer = _tokenizer(folder, name)
    _check_tokens(tokenizer, config, name)
    model = _weights(folder, name, dtype="float32")
    loaded = Loaded(model, tokenizer, template or ("chat" if tokenizer.chat_template else "plain"))
    _probe(loaded, name)
    files = file_hashes(folder)
    text_config = model.config.get_text_config()
    facts = {
        "architecture": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": loaded.vocabulary,
        "tokenizer": len(tokenizer),
        "context": loaded.context,
        "layers": getattr(text_config, "num_hidden_layers", None),
        "hidden": getattr(text_config, "hidden_size", None),
        "dtype": str(config.get("dtype") or config.get("torch_dtype") or "float32"),
        "end": list(loaded.end),
        "megabytes": round(sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6, 1),
    }
    return Inspected(name, kept_location, loaded.template, files, facts, fingerprint(files))


def load(
    location: str,
    adapters: Sequence[Path] = (),
    *,
    dtype: Literal["float32", "bfloat16", "float64"] = "float32",
    cache: Path | None = None,
    template: Template | None = None,
) -> Loaded:
    """The base at `location` with `adapters` merged into it in order, in eval mode.

    Merging is done in float32 (float64 where asked) whatever the stored dtype, and the result is turned into `dtype` last.
    """
    name, folder, _ = find(location, cache=cache)
    check_files(folder, name)
    tokenizer = _tokenizer(folder, name)
    model = _weights(folder, name, dtype="float64" if dtype == "float64" else "float32")
    for adapter in adapters:
        model = _merged(model, Path(adapter), name)
    model = model.to(getattr(torch, dtype))
    model.eval()
    model.requires_grad_(True)
    return Loaded(model, tokenizer, template or ("chat" if tokenizer.chat_template else "plain"))


def load_masked(location: str, *, cache: Path | None = None) -> Loaded:
    """A masked language model (BERT) in float32, for suites that are defined for one. It can be scored, not corrected."""
    name, folder, _ = find(location, cache=cache)
    check_files(folder, name, masked=True)
    return Loaded(_weights(folder, name, dtype="float32", masked=True), _tokenizer(folder, name), "plain")


def distance(model: torch.nn.Module, base: torch.nn.Module) -> float:
    """||W - W0|| / ||W0|| over all parameters, tied ones once, summed in float64. Raises ValueError where names differ."""
    theirs = dict(base.named_parameters())
    mine = dict(model.named_parameters())
    if mine.keys() != theirs.keys():
        raise ValueError(f"The two models have other parameters: {sorted(mine.keys() ^ theirs.keys())[:5]}")
    moved = total = 0.0
    with torch.no_grad():
        for key, weight in mine.items():
            origin = theirs[key].double()
            moved += float((weight.double() - origin).square().sum())
            total += float(origin.square().sum())
    return math.sqrt(moved / total) if total else 0.0


def context_length(config: Any) -> int | None:
    """The positions a configuration allows, under whichever name it has; None where it names none."""
    text_config = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(text_config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _positions_unused(model: Any) -> int:
    """Rows of the table of positions that no token ever has: RoBERTa and its kin count from padding_idx + 1 on, so that of 514
    positions a text has 512."""
    encoder = getattr(model, "base_model", model)
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _tokenizer(folder: Path, name: str) -> "PreTrainedTokenizerBase":
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)  # nosec B615 # a folder, no hub id
        except Exception as error:  # every tokenizer backend raises its own kinds
            raise NoTokenizer(
                f"{name}: its tokenizer cannot be loaded ({type(error).__name__}: {error}); save it again with "
                "tokenizer.save_pretrained."
            ) from error
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:
        raise NoTokenizer(f"{name}: its tokenizer turns 'a' into no token; its files look empty. Download it again.")
    return tokenizer


def _check_tokens(tokenizer: "PreTrainedTokenizerBase", config: dict[str, Any], name: str) -> None:
    """Every id a text can become is below the vocabulary's size. Marks for pictures may lie above it (Gemma 3 has one)."""
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    if not isinstance(rows, int):
        return
    marks = dialogue.control_ids(tokenizer)
    highest = max(token for token in tokenizer.get_vocab().values() if token not in marks)
    named = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None]
    if max([highest, *named]) >= rows:
        raise VocabularyMismatch(
            f"{name}: its tokenizer has token ids up to {max([highest, *named])}, its weights have {rows} "
            "rows (vocab_size in config.json); the tokenizer belongs to another model. Bring the right one."
        )


def _weights(folder: Path, name: str, *, dtype: str, masked: bool = False) -> "PreTrainedModel":
    """The model with every tensor from the files: none left at its random start."""
    with quiet():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)  # nosec B615 # a folder, no hub id
            kind = AutoModelForMaskedLM if masked else AutoModelForCausalLM
            model, told = kind.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # shapes, keys and configuration values each raise their own kinds
            raise BrokenWeights(
                f"{name}: its weights cannot be loaded as config.json describes them ({type(error).__name__}: "
                f"{error}); download the folder again."
            ) from error
    lost = sorted(told["missing_keys"])
    if lost:
        raise BrokenWeights(
            f"{name}: its files lack {len(lost)} tensors that {type(model).__name__} needs, such as {lost[0]}; "
            "they would be random. Download the folder again, or save the whole model."
        )
    return model.eval()


def _merged(model: "PreTrainedModel", adapter: Path, name: str) -> "PreTrainedModel":
    """The model with one adapter folder added to its weights for good."""
    for file in (CONFIG, WEIGHTS):
        if not (adapter / file).is_file():
            raise UnusableAdapter(f"The adapter {adapter} has no {file}; expected a PEFT adapter saved as safetensors.")
    with quiet():
        try:
            return merged(model, adapter)
        except (ValueError, RuntimeError, KeyError) as error:
            if shortage.of_memory(error):
                raise
            raise UnusableAdapter(f"The adapter {adapter} does not fit {name} ({error}); it belongs to another base.") from error


def _probe(loaded: Loaded, name: str) -> None:
    """A few tokens through the weights: finite, each only from those before it, and the same from a cache."""
    if not loaded.end:
        raise NoTokenizer(
            f"{name}: neither its tokenizer nor its generation_config.json names an end token, so no answer "
            'would ever end; set "eos_token" in tokenizer_config.json.'
        )
    if min(loaded.end) < 0 or min(loaded.end) >= loaded.vocabulary:
        raise VocabularyMismatch(
            f"{name}: its end token {loaded.end} is outside of the {loaded.vocabulary} rows of its "
            "weights; the tokenizer belongs to another model. Bring the right one."
        )
    for key, weight in loaded.model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise BrokenWeights(f"{name}: its weights hold values that are not numbers (in {key}); download the folder again.")
    ids = [
        token
        for token in loaded.tokenizer("The first words of a text, to see what follows.")["input_ids"]
        if token < loaded.vocabulary
    ][:12] * 2
    row = torch.tensor([ids])  # (1, T)
    other = row.clone()
    other[0, -1] = (other[0, -1] + 1) % loaded.vocabulary
    with torch.no_grad():
        logits, changed = loaded.model(row, use_cache=False).logits, loaded.model(other, use_cache=False).logits  # (1, T, V)
    if not bool(torch.isfinite(logits).all()):
        raise BrokenWeights(f"{name}: it computes values that are not numbers for a plain text; download the folder again.")
    earlier, last = ((logits - changed)[0].abs().amax(-1)[where] for where in (slice(0, -1), slice(-1, None)))
    if float(earlier.max()) > 1e-3 * float(last.max()) + 1e-6 * float(logits.abs().max()):
        raise WrongArchitecture(
            f"{name} lets a token see those after it, so it cannot write on from a text; expected a causal language model."
        )
    if not torch.allclose(_stepped(loaded.model, row), logits[0, -1], atol=1e-3 * float(logits.abs().max()), rtol=1e-3):
        raise WrongArchitecture(
            f"{name} ({loaded.model.config.model_type}) does not go on token by token from transformers' "
            "cache, so answers cannot be sampled from it; choose another model family."
        )


@torch.no_grad()
def _stepped(model: "PreTrainedModel", row: torch.Tensor) -> torch.Tensor:
    """(V,) logits after the last token, computed from a cache of those before it."""
    cache = DynamicCache(config=model.config)
    model(row[:, :-1], past_key_values=cache, use_cache=True)
    last: torch.Tensor = model(row[:, -1:], past_key_values=cache, use_cache=True).logits[0, -1]
    return last
