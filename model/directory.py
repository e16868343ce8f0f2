"""Where a model is and what its folder holds: every check that needs no weights in memory.

Knows Hugging Face directories and the hub; reads safetensors headers and JSON, never pickle, and runs no code from a
folder. Knows nothing of computing. A model that cannot be used is refused with a subclass of UnusableModel that says what to do.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from safetensors import SafetensorError, safe_open
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

#: What is fetched from the hub and what a fingerprint covers: weights, configuration, tokenizer; never code, never pickle.
KEPT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
#: JSON and text files in a folder that say nothing about what the model computes.
IDLE_FILES = frozenset(
    {
        "trainer_state.json",
        "all_results.json",
        "train_results.json",
        "eval_results.json",
        "LICENSE.txt",
        "requirements.txt",
        "README.txt",
        "NOTICE.txt",
        "USE_POLICY.txt",
    }
)
#: Weight files that may run code when opened, or that another program reads.
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.onnx")
#: One of these sets of files makes a tokenizer.
TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
)
#: "name" or "organisation/name", with "@revision" where one is meant.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")
EMBEDDED = "embedded"


class UnusableModel(Exception):
    """The model at a location cannot be used; the message says what is wrong and what to do."""


class NoSuchModel(UnusableModel):
    """The location is neither a folder here nor a model that the hub hands out."""


class HubUnreachable(UnusableModel):
    """The hub does not answer, and the model is not in the cache."""


class MissingFiles(UnusableModel):
    """A file without which a model cannot be loaded is not there, or cannot be read."""


class PickleWeights(UnusableModel):
    """The weights are stored in a format that runs code when opened, or that is not safetensors."""


class WrongArchitecture(UnusableModel):
    """The model is not one that writes on from a text."""


class RemoteCode(UnusableModel):
    """The model needs Python code from its own folder, which is never run."""


class NoTokenizer(UnusableModel):
    """The folder holds no tokenizer that can be read, or the tokenizer marks no end."""


class VocabularyMismatch(UnusableModel):
    """The tokenizer names tokens that the weights have no row for."""


class BrokenWeights(UnusableModel):
    """The weights are truncated, incomplete, of other shapes than the configuration says, or not finite."""


class UnusableAdapter(UnusableModel):
    """An adapter cannot be merged into this base."""


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 by name of the files in a model's folder that decide what it computes, sorted by name."""
    names = {path.name for pattern in KEPT_FILES for path in folder.glob(pattern) if path.is_file()} - IDLE_FILES
    hashes = {}
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def fingerprint(files: dict[str, str]) -> str:
    """sha256 over the sorted (name, sha256) of files."""
    return hashlib.sha256(json.dumps(sorted(files.items()), separators=(",", ":")).encode()).hexdigest()


def find(location: str, *, cache: Path | None, endpoint: str | None = None) -> tuple[str, Path, str]:
    """(name, folder, location to keep) of the embedded model, a folder, or a hub id that is fetched into the cache."""
    if location == EMBEDDED:
        from flagback.model.embedded import WEIGHTS

        return EMBEDDED, WEIGHTS, EMBEDDED
    folder = Path(location).expanduser()
    if folder.is_dir():
        return folder.resolve().name, folder, str(folder.resolve())
    if folder.exists():
        raise NoSuchModel(
            f"{location} is a file; expected the folder that holds a model's config.json and *.safetensors. "
            f"Run the same command with {folder.parent}."
        )
    if not HUB_ID.fullmatch(location):
        raise NoSuchModel(
            f"{location} is neither a folder here nor a hub id (organisation/name); check the path and run "
            "the same command with another."
        )
    return _fetched(location, cache=cache, endpoint=endpoint)


def _fetched(location: str, *, cache: Path | None, endpoint: str | None) -> tuple[str, Path, str]:
    """The snapshot of a hub id, fetched unless it is in the cache; pinned to the commit it has now."""
    name, _, revision = location.partition("@")
    elsewhere = (
        f"On a machine with a connection run 'hf download {name} --local-dir FOLDER', bring the folder here, and run "
        "the same command with it."
    )

    def snapshot(*, local: bool) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                cache_dir=cache,
                allow_patterns=list(KEPT_FILES),
                endpoint=endpoint,
                local_files_only=local,
            )
        )

    with quiet():
        try:
            folder = None
            if re.fullmatch(r"[0-9a-f]{40}", revision):
                with suppress(LocalEntryNotFoundError):
                    folder = snapshot(local=True)
            folder = folder or snapshot(local=False)
        except GatedRepoError as error:
            raise NoSuchModel(
                f"The hub hands {name} out only to accounts that accepted its terms; accept them on its page and "
                "run 'hf auth login'."
            ) from error
        except RepositoryNotFoundError as error:
            raise NoSuchModel(
                f"{location} is no folder here, and the hub knows no model of that name (or hides it from you); "
                "check the spelling, or run 'hf auth login' if it is private."
            ) from error
        except HFValidationError as error:
            raise NoSuchModel(f"{location} is no folder here and no valid hub id: {error}") from error
        except HfHubHTTPError as error:
            raise HubUnreachable(f"The hub refused {location}: {error}. {elsewhere}") from error
        except (LocalEntryNotFoundError, OSError) as error:
            raise HubUnreachable(
                f"{location} is no folder here, and the hub does not answer ({type(error).__name__}). {elsewhere}"
            ) from error
    return name, folder, f"{name}@{folder.name}"


def is_masked(folder: Path, name: str) -> bool:
    """Whether the folder says of itself that it holds a masked language model (BERT), which fills in and does not write on."""
    written = read_json(folder / "config.json", name).get("architectures") or [] if (folder / "config.json").is_file() else []
    return bool(set(written) & set(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()) - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()))


def check_files(folder: Path, name: str, *, masked: bool = False) -> dict[str, Any]:
    """The configuration, after every check that needs no weights; of a causal language model, or a masked one."""
    if not (folder / "config.json").is_file():
        hint = " It looks like a LoRA adapter; add its base model instead." if (folder / "adapter_config.json").is_file() else ""
        raise MissingFiles(
            f"{name} ({folder}) has no config.json; expected a Hugging Face model folder with config.json, "
            f"*.safetensors and a tokenizer.{hint} Download it again, or save it with save_pretrained."
        )
    config = read_json(folder / "config.json", name)
    _check_architecture(config, name, masked=masked)
    _check_weight_files(folder, name)
    if not any(all((folder / file).is_file() for file in files) for files in TOKENIZER_FILES):
        raise NoTokenizer(
            f"{name} ({folder}) has no tokenizer; expected tokenizer.json (or tokenizer.model, or vocab.json "
            "with merges.txt) beside the weights. Save it there with tokenizer.save_pretrained."
        )
    return config


def _check_architecture(config: dict[str, Any], name: str, *, masked: bool) -> None:
    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        if config.get("auto_map"):
            raise RemoteCode(
                f"{name} needs its own Python code (auto_map in config.json, model_type {kind!r}), and code from "
                "a model folder is never run; choose a model that transformers knows by itself."
            )
        raise WrongArchitecture(
            f"{name} has model_type {kind!r} in config.json, which transformers does not know; expected a "
            "causal language model such as llama, qwen3, gemma3_text or gpt2."
        )
    written = config.get("architectures") or []
    if kernels := sorted(_kernels(config)):
        raise RemoteCode(
            f"{name} names code on the hub in config.json ({', '.join(kernels)}), which is never fetched or run; "
            "take the entry out of config.json, transformers then computes with its own."
        )
    fitting = MODEL_FOR_MASKED_LM_MAPPING_NAMES if masked else MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if fitting.get(kind) is None or (written and not set(written) & set(fitting.values())):
        raise WrongArchitecture(
            f"{name} is a {', '.join(written) or kind}; expected a masked language model (…ForMaskedLM)."
            if masked
            else f"{name} is a {', '.join(written) or kind}, which does not write on from a text; expected a "
            "causal language model (…ForCausalLM). Choose the generative version of this model."
        )
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise PickleWeights(
            f"{name} is quantised ({method}); a correction needs weights in float32, float16 or bfloat16. "
            "Choose the unquantised version of this model."
        )


def _kernels(value: object) -> set[str]:
    """The hub ids under keys such as attn_implementation, at any depth; with the package 'kernels' transformers would run them."""
    if not isinstance(value, dict):
        return set()
    found = set().union(*(_kernels(inner) for inner in value.values()))
    for key, inner in value.items():
        if "_implementation" in str(key):
            found |= {word for word in (inner.values() if isinstance(inner, dict) else [inner]) if "/" in str(word)}
    return found


def _check_weight_files(folder: Path, name: str) -> None:
    """All tensors named by the index, or by the one file, are there and readable."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        mapping = read_json(index, name).get("weight_map")
        if not isinstance(mapping, dict) or not mapping:
            raise MissingFiles(f"{name}: {index.name} names no weights (no weight_map); download the folder again.")
        shards = sorted({str(shard) for shard in mapping.values()})
        absent = [shard for shard in shards if Path(shard).name != shard or not (folder / shard).is_file()]
        if absent:
            raise MissingFiles(
                f"{name} ({folder}) lacks {len(absent)} of {len(shards)} weight files named by {index.name}: "
                f"{', '.join(absent[:3])}; download the folder again."
            )
    elif (folder / "model.safetensors").is_file():
        mapping, shards = {}, ["model.safetensors"]
    else:
        others = sorted(path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern))
        if others:
            raise PickleWeights(
                f"{name} ({folder}) has its weights in {', '.join(others[:3])} only; expected "
                "model.safetensors. Such files can run code when opened, so they are not read. Where you trust "
                "them, convert them with model.save_pretrained(FOLDER) and run the same command with it."
            )
        raise MissingFiles(
            f"{name} ({folder}) has no weights as safetensors; expected model.safetensors, or "
            "model.safetensors.index.json with its shards. Download the folder again, or choose a model that "
            "has them."
        )
    held: dict[str, set[str]] = {}
    for shard in shards:
        try:
            with safe_open(folder / shard, framework="pt") as opened:
                held[shard] = set(opened.keys())
        except (SafetensorError, OSError) as error:
            raise BrokenWeights(
                f"{name}: {shard} cannot be read as safetensors ({error}); it may be cut short or a Git LFS "
                "pointer. Download it again."
            ) from error
    lost = [tensor for tensor, shard in mapping.items() if tensor not in held[shard]]
    if lost:
        raise BrokenWeights(
            f"{name}: the index names {len(lost)} tensors that its shards do not hold, such as {lost[0]}; "
            "download the folder again."
        )


def read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MissingFiles(f"{name}: {path.name} cannot be read as JSON ({error}); download it again.") from error
    if not isinstance(content, dict):
        raise MissingFiles(f"{name}: {path.name} holds a {type(content).__name__} where an object was expected; download it again.")
    return content


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' and the hub's progress bars and hints off the terminal while loading; errors are raised anyway."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
