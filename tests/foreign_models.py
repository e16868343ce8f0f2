"""Tiny model directories of other makes, saved as real files: sharded, grouped-query, untied, fp16, sentencepiece; and broken ones.

`make(folder, "llama")` writes a usable directory in a fraction of a second; `make_broken(folder, "pickle")` one that must be
refused. The weights are random: these directories test plumbing, not what a model says.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
    TokenizersBackend,
)

LINES = [
    "The nurse said that she would come back after the shift.",
    "Yesterday the old man walked to the market and bought cheese for the week.",
    "The engineer told us that he thought about the bridge design before anyone asked.",
    "My neighbour is a doctor and he found the keys under the table.",
    "In the evening they talked about the weather, the garden and the train.",
    "Héllo wörld, ça va? Ĳsland — naïve café. 你好 世界 नमस्ते",
]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: Gemma's: no system turn, the assistant is called model, and the day is printed as Llama 3 does.
TURNS = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}

#: Layouts that `make` can write. bloom knows distances instead of positions and names no context length; qwen3_5 is mostly linear
#: attention, whose state is no list of keys.
LAYOUTS = (
    "llama",
    "llama_sentencepiece",
    "qwen2",
    "qwen2_chat",
    "qwen3",
    "gpt2",
    "gemma",
    "gemma2",
    "gemma3",
    "mistral",
    "gpt_neox",
    "bloom",
    "qwen3_5",
)
#: What `make_broken` can break, and what is wrong with it.
BROKEN = {
    "no_config": "config.json is missing",
    "no_weights": "there are no weights",
    "no_shard": "a shard named by the index is missing",
    "cut_short": "the weight file is truncated",
    "lost_tensor": "a tensor is missing from the weight file",
    "other_shape": "config.json describes other shapes",
    "pickle": "weights are pytorch_model.bin only",
    "masked": "a BERT masked language model",
    "encoder_decoder": "a T5",
    "own_cache": "a Mamba, whose state is not transformers' cache",
    "two_sided": "a BERT that claims to write on, but sees what follows",
    "remote_code": "needs Python code from its folder",
    "unknown_type": "a model_type nobody knows",
    "quantised": "GPTQ weights",
    "no_tokenizer": "no tokenizer files",
    "broken_tokenizer": "tokenizer.json is not JSON",
    "no_end": "nothing names an end token",
    "small_vocabulary": "fewer rows than the tokenizer has tokens",
    "nan": "a weight is not a number",
    "not_json": "config.json is not JSON",
    "adapter": "a LoRA adapter without its base",
}


def make(folder: Path, layout: str, *, seed: int = 0, **overrides: Any) -> Path:
    """Writes a tiny usable model of a layout into `folder` and returns it. `overrides` go into its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(layout, folder)
    size = len(tokenizer)
    named = {
        "vocab_size": size,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = _config(layout, {**named, **overrides})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    _loosen(model)
    if layout in ("llama", "gemma3"):
        model = model.half()
    model.save_pretrained(folder, max_shard_size="20KB" if layout in ("llama", "qwen3") else "50GB")
    if layout != "llama_sentencepiece":
        tokenizer.save_pretrained(folder)
    return folder


def make_broken(folder: Path, how: str) -> Path:
    """Writes a directory that must be refused, broken in the way named in BROKEN."""
    if how in ("masked", "encoder_decoder", "two_sided", "own_cache"):
        return _other_architecture(folder, how)
    make(folder, {"no_shard": "llama", "no_end": "gpt2"}.get(how, "qwen2"))
    weights = folder / "model.safetensors"
    if how == "no_config":
        (folder / "config.json").unlink()
    elif how == "no_weights":
        weights.unlink()
    elif how == "no_shard":
        sorted(folder.glob("model-*.safetensors"))[1].unlink()
    elif how == "cut_short":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "lost_tensor":
        tensors = load_file(weights)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "other_shape":
        _edit(folder / "config.json", intermediate_size=80)
    elif how == "pickle":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    elif how == "remote_code":
        _edit(
            folder / "config.json",
            model_type="mine",
            architectures=["MineForCausalLM"],
            auto_map={"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineForCausalLM"},
        )
        (folder / "mine.py").write_text(f"open({str(folder / 'was_run')!r}, 'w').close()\n", encoding="utf-8")
    elif how == "unknown_type":
        _edit(folder / "config.json", model_type="mine", architectures=["MineForCausalLM"])
    elif how == "quantised":
        _edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    elif how == "no_tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
    elif how == "broken_tokenizer":
        (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    elif how == "no_end":
        _edit(folder / "tokenizer_config.json", eos_token=None)
        _edit(folder / "config.json", eos_token_id=None)
        (folder / "generation_config.json").unlink(missing_ok=True)
    elif how == "small_vocabulary":
        model = AutoModelForCausalLM.from_pretrained(folder)  # nosec B615 # a folder made here
        model.resize_token_embeddings(100)
        model.save_pretrained(folder)
    elif how == "nan":
        tensors = load_file(weights)
        tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = float("nan")
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "not_json":
        (folder / "config.json").write_text("model: llama\n", encoding="utf-8")
    elif how == "adapter":
        for path in folder.iterdir():
            path.unlink()
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    else:
        raise ValueError(f"unknown way to break a model: {how}; expected one of {', '.join(BROKEN)}")
    return folder


def byte_level_tokenizer(
    *, begin: str | None = None, end: str = "<|endoftext|>", marks: tuple[str, ...] = (), chat: str | None = None, size: int = 400
) -> Any:
    """A byte-level BPE tokenizer trained on LINES: any text comes back as it went."""
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    named = [token for token in (begin, end) if token] + list(marks)
    raw.train_from_iterator(
        LINES * 4,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=named, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    if begin:
        raw.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, raw.token_to_id(begin))])
    return TokenizersBackend(
        tokenizer_object=raw,
        bos_token=begin,
        eos_token=end,
        extra_special_tokens=list(marks),
        chat_template=chat,
        clean_up_tokenization_spaces=False,
    )


def sentencepiece_file(folder: Path, size: int = 420) -> Path:
    """A real `tokenizer.model` with byte fallback and the space put before a text's first word, as Llama 2 has it."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    return folder / "tokenizer.model"


def _tokenizer(layout: str, folder: Path) -> Any:
    if layout in ("llama_sentencepiece", "mistral"):
        from transformers import AutoTokenizer

        sentencepiece_file(folder)
        settings = {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "add_bos_token": True,
            "add_eos_token": False,
            "legacy": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)  # nosec B615 # a folder made here
    if layout in ("gemma", "gemma2", "gemma3"):
        return byte_level_tokenizer(begin="<bos>", end="<eos>", marks=("<start_of_turn>", "<end_of_turn>"), chat=TURNS)
    if layout == "qwen2_chat":
        return byte_level_tokenizer(marks=("<|im_start|>", "<|im_end|>"), chat=CHATML)
    return byte_level_tokenizer(begin="<|begin_of_text|>" if layout == "llama" else None)


def _config(layout: str, named: dict[str, Any]) -> Any:
    """Grouped queries where the family has them, an untied head for llama, windows of 8 where there are windows."""
    if layout == "llama":
        return LlamaConfig(**{**_SMALL, "num_key_value_heads": 2, "tie_word_embeddings": False, **named})
    if layout == "llama_sentencepiece":
        return LlamaConfig(**{**_SMALL, "tie_word_embeddings": True, **named})
    if layout in ("qwen2", "qwen2_chat"):
        return Qwen2Config(**{**_SMALL, "num_key_value_heads": 2, "tie_word_embeddings": True, **named})
    if layout == "qwen3":
        return Qwen3Config(**{**_SMALL, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": False, **named})
    if layout == "gpt2":
        small = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "resid_pdrop": 0.1}
        return GPT2Config(**{**small, **named})
    if layout == "qwen3_5":
        linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
        return Qwen3_5TextConfig(**{**_SMALL, "num_hidden_layers": 4, "num_key_value_heads": 2, "head_dim": 8, **linear, **named})
    if layout == "gemma":
        return GemmaConfig(**{**_SMALL, "num_key_value_heads": 1, "head_dim": 8, **named})
    if layout == "gemma2":
        return Gemma2Config(**{**_SMALL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8, **named})
    if layout == "gemma3":
        return Gemma3TextConfig(
            **{
                **_SMALL,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "sliding_window": 8,
                "layer_types": ["sliding_attention", "full_attention"],
                **named,
            }
        )
    if layout == "mistral":
        return MistralConfig(**{**_SMALL, "num_key_value_heads": 2, "sliding_window": 8, **named})
    if layout == "bloom":
        return BloomConfig(**{"hidden_size": 32, "n_layer": 2, "n_head": 4, **named})
    if layout == "gpt_neox":
        return GPTNeoXConfig(**{**_SMALL, **named})
    raise ValueError(f"unknown layout {layout}; expected one of {', '.join(LAYOUTS)}")


def _loosen(model: Any) -> None:
    """Larger random weights than a fresh start has, so that the next token depends on the text and ties are rare.

    Gemma multiplies its embeddings: small ones, or it would only ever say its last token again.
    """
    embedding = 0.01 if model.config.model_type.startswith("gemma") else 0.15
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, embedding if "embed" in name or "wte" in name else 0.25)


def _other_architecture(folder: Path, how: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    size = len(tokenizer)
    model: Any
    if how == "encoder_decoder":
        model = T5ForConditionalGeneration(T5Config(vocab_size=size, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2))
    elif how == "own_cache":
        model = MambaForCausalLM(
            MambaConfig(vocab_size=size, hidden_size=16, num_hidden_layers=2, bos_token_id=0, eos_token_id=0, pad_token_id=0)
        )
        _loosen(model)
    else:
        model = BertForMaskedLM(
            BertConfig(
                vocab_size=size,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
            )
        )
        _loosen(model)
    model.save_pretrained(folder)
    if how == "two_sided":
        _edit(folder / "config.json", architectures=["BertLMHeadModel"])
    return folder


def _edit(path: Path, **changes: Any) -> None:
    """Changes top-level keys of a JSON file; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
    path.write_text(json.dumps(content), encoding="utf-8")
