"""Corrections one after the other: how a round's adapter is put together with those before it, and how far a line has drifted.

Three ways (`recipe.Rounds`). merge: the adapter is trained on the parent's merged weights, and the version is the chain of all
adapters. stack: trained alike, but the version is one plain adapter of the first base, whose rank is the sum of theirs. rebase: the
adapter is trained on the first base anew, on the pairs of all rounds, and replaces those before it. What a way's weights are is
exactly PEFT's own composition. Reads the store for a version's ancestors; writes nothing there.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from sqlmodel import Session, col, select
from torch import Tensor

from flagback.model import dialogue
from flagback.model.adapter import CONFIG, NO_MATRICES, WEIGHTS
from flagback.model.checkpoint import Loaded, distance
from flagback.model.directory import UnusableAdapter
from flagback.model.divergence import divergences
from flagback.model.lesson import replay_texts
from flagback.model.recipe import Recipe
from flagback.storage.artifacts import Artifacts
from flagback.storage.records import CorrectionRun, ModelVersion, ReferenceText

#: Texts that drift is measured on, at most.
TEXTS = 100
#: Settings of PEFT under which an adapter is more than a scaled product of two matrices, and cannot be stacked.
UNSTACKABLE = ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias", "layer_replication")


class DriftTooFar(Exception):
    """A correction would take its line further from the first base than its recipe allows."""


class NothingToRelearn(Exception):
    """A line cannot be re-based, since one of its versions did not come from pairs."""


class Drift(NamedTuple):
    """How far a version is from the first base of its line."""

    #: ||W - W0|| / ||W0|| over all weights.
    distance: float
    #: KL(version | first base) in nats a token over neutral texts; None where the installation has no such text.
    kl: float | None
    #: How many texts.
    texts: int

    def told(self) -> dict[str, Any]:
        """As it is kept with the run and the version."""
        return self._asdict()


class Line(NamedTuple):
    """A version's corrections, the oldest first."""

    #: The base that the line started from.
    first: ModelVersion
    corrections: list[ModelVersion]
    #: The frozen set of each; None where it came from none.
    sets: list[int | None]


def line_of(session: Session, version: ModelVersion) -> Line:
    """The version's line, itself included."""
    corrections: list[ModelVersion] = []
    while version.parent_id is not None:
        corrections.append(version)
        version = session.get_one(ModelVersion, version.parent_id)
    corrections.reverse()
    made_by = [session.exec(select(CorrectionRun).where(CorrectionRun.id == one.correction_run_id)).first() for one in corrections]
    return Line(version, corrections, [run.set_id if run is not None else None for run in made_by])


def sets_to_learn(line: Line, set_id: int, recipe: Recipe) -> list[int]:
    """The sets that a round's adapter is trained on, the newest last. Raises NothingToRelearn."""
    if recipe.rounds != "rebase":
        return [set_id]
    known = [found for found in line.sets if found is not None]
    if len(known) < len(line.sets):
        odd = line.corrections[line.sets.index(None)]
        raise NothingToRelearn(
            f"Version {odd.id} ({odd.name}) did not learn from pairs, so that re-basing would lose it; correct with rounds merge "
            "or stack."
        )
    return list(dict.fromkeys([*known, set_id]))


def start_of(line: Line, parent: ModelVersion, recipe: Recipe) -> ModelVersion:
    """The version whose weights the adapter is trained on."""
    return line.first if recipe.rounds == "rebase" else parent


def adapters_of(parent: ModelVersion, adapter: str, recipe: Recipe, artifacts: Artifacts, *, aside: Path) -> list[str]:
    """The addresses of a version's adapters on the first base, in order; stacked ones are written to `aside` and kept."""
    if recipe.rounds == "rebase":
        return [adapter]
    chain = [*parent.adapters, adapter]
    if recipe.rounds == "merge" or len(chain) == 1:
        return chain
    stack([artifacts.path(address) for address in chain], aside)
    return [artifacts.put(aside)]


def check_stack(parent: ModelVersion, recipe: Recipe, artifacts: Artifacts) -> None:
    """Refuses, before anything is trained, rounds that could not be stacked in the end. Raises UnusableAdapter."""
    if recipe.rounds == "stack":
        for address in parent.adapters:
            _check_plain(_config(artifacts.path(address)), f"of version {parent.id} ({parent.name})")


def trains_every_weight(adapter: Path) -> bool:
    """Whether a folder holds a copy of every weight: it is then the whole of a version, whatever adapters came before it."""
    return bool(_config(adapter).get("target_modules") == NO_MATRICES)


def _config(adapter: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    return found


def _check_plain(config: dict[str, Any], which: str) -> None:
    odd = [name for name in UNSTACKABLE if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias") not in (None, "none") or odd:
        why = ", ".join(odd) or config.get("peft_type")
        raise UnusableAdapter(
            f"The adapter {which} is no plain LoRA ({why}) and cannot be stacked: correct with rounds merge or rebase, and export "
            "merged weights."
        )


def stack(adapters: Sequence[Path], place: Path) -> None:
    """Writes one plain LoRA folder whose update is the sum of these: their factors side by side, scales multiplied in.

    B A = s1 B1 A1 + s2 B2 A2 for A = [A1; A2] and B = [s1 B1, s2 B2]: no approximation, PEFT's combination "cat". A module that an
    adapter leaves alone gets its rank in zeros. Raises UnusableAdapter where one is no plain LoRA.
    """
    configs = [_config(adapter) for adapter in adapters]
    for adapter, config in zip(adapters, configs, strict=True):
        _check_plain(config, str(adapter))
    weights = [load_file(adapter / WEIGHTS) for adapter in adapters]
    modules = sorted({name.removesuffix(".lora_A.weight") for held in weights for name in held if name.endswith(".lora_A.weight")})
    stacked: dict[str, Tensor] = {}
    for module in modules:
        a_name, b_name = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
        like = next(held for held in weights if a_name in held)
        inner, outer = like[a_name].shape[1], like[b_name].shape[0]
        above: list[Tensor] = []
        beside: list[Tensor] = []
        for held, config in zip(weights, configs, strict=True):
            rank, scale = int(config["r"]), float(config["lora_alpha"]) / int(config["r"])
            above.append(held[a_name].float() if a_name in held else torch.zeros(rank, inner))  # (r, I)
            beside.append(scale * held[b_name].float() if b_name in held else torch.zeros(outer, rank))  # (O, r)
        stacked[a_name], stacked[b_name] = torch.cat(above), torch.cat(beside, 1).contiguous()
    rank = sum(int(config["r"]) for config in configs)
    targets = sorted({name for config in configs for name in config["target_modules"]})
    config = configs[-1] | {"r": rank, "lora_alpha": float(rank), "target_modules": targets, "lora_dropout": 0.0}
    place.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted(stacked.items())), place / WEIGHTS, metadata={"format": "pt"})
    (place / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    (place / WEIGHTS).chmod(0o644)


def drift_of(made: Loaded, first: Loaded, texts: Sequence[str]) -> Drift:
    """How far a model is from the first base, over neutral texts of at least two tokens."""
    rows = [dialogue.answer_ids(first.tokenizer, text, "plain") for text in texts]
    longest = first.context
    split = [(row[:1], row[1:longest]) for row in rows if len(row) > 1]
    moved = sum(divergences(first.model, made.model, split))
    tokens = sum(len(compared) for _, compared in split)
    return Drift(distance(made.model, first.model), moved / tokens if tokens else None, len(split))


def neutral_texts(session: Session) -> list[str]:
    """Up to TEXTS neutral texts in an order of their content: those that the gate reads as "neutral", else those of the replay."""
    query = (
        select(ReferenceText.text)
        .where(ReferenceText.purpose == "perplexity", ReferenceText.name == "neutral")
        .order_by(col(ReferenceText.text_hash))
        .limit(TEXTS)
    )
    return list(session.exec(query).all()) or replay_texts(session)[:TEXTS]


def check_drift(drift: Drift, recipe: Recipe, first: ModelVersion) -> None:
    """Refuses a version past its recipe's budget to the first base. Raises DriftTooFar."""
    named = f"version {first.id} ({first.name}), the first base"
    advice = (
        "Correct with rounds rebase, which starts from the first base anew; or lower learning_rate "
        f"({recipe.learning_rate:g}) or steps ({recipe.steps}), or raise "
    )
    if recipe.max_distance and drift.distance > recipe.max_distance:
        raise DriftTooFar(
            f"The correction would be {drift.distance:.2%} of its weights' norm away from {named}; the recipe allows "
            f"{recipe.max_distance:.2%}. {advice}max_distance."
        )
    if recipe.max_kl and drift.kl is None:
        raise DriftTooFar(
            f"max_kl is {recipe.max_kl:g}, but there is no neutral text to measure the drift from {named} on; bring some with "
            "'flagback import texts FILE --purpose perplexity --name neutral', or set max_kl to 0."
        )
    if recipe.max_kl and drift.kl is not None and drift.kl > recipe.max_kl:
        raise DriftTooFar(
            f"The correction would foretell neutral texts {drift.kl:.3g} nats a token apart from {named}; the recipe allows "
            f"{recipe.max_kl:g}. {advice}max_kl."
        )
