"""The shelf of loaded models: a version's weights, loaded once and kept while they are used.

Knows where a version's files are; knows nothing of the database beyond the row it is handed.
"""

from pathlib import Path

import torch

from flagback.model.checkpoint import Loaded, load
from flagback.model.directory import file_hashes, find
from flagback.storage.artifacts import Artifacts
from flagback.storage.records import ModelVersion

#: Models smaller than this compute on one thread: their steps are so short that threads mostly wait for one another (the embedded
#: model on a busy two-core machine: 0.7 s of processor time with one thread, 7 s with two, for the same 240 completions).
SMALL = 10_000_000


class ChangedWeights(Exception):
    """A base model's files are no longer those that were registered."""


def take_threads(parameters: int, threads: int, *, told: bool) -> None:
    """Sets torch's threads for a model of this size: as many as told, else one for a small model."""
    torch.set_num_threads(1 if parameters < SMALL and not told else threads)


class Shelf:
    """Loads versions as base plus adapters merged in fp32. Keeps the two used last (base and candidate of an evaluation)."""

    def __init__(self, artifacts: Artifacts, *, cache: Path | None = None, threads: int = 0) -> None:
        """`threads` are torch's; 0 takes one for a small model and torch's own choice for others."""
        self.artifacts = artifacts
        self._threads = threads
        self._own_choice = torch.get_num_threads()
        self._cache = cache
        self._loaded: dict[str, Loaded] = {}
        self._checked: set[str] = set()

    def get(self, version: ModelVersion) -> Loaded:
        """The version's model, tokenizer and template. Raises ChangedWeights, MissingArtifact or UnusableModel."""
        if version.fingerprint in self._loaded:
            self._loaded[version.fingerprint] = self._loaded.pop(version.fingerprint)
            return self._loaded[version.fingerprint]
        loaded = self.fresh(version)
        while len(self._loaded) >= 2:
            self._loaded.pop(next(iter(self._loaded)))
        self._loaded[version.fingerprint] = loaded
        return loaded

    def fresh(self, version: ModelVersion) -> Loaded:
        """A copy of its own, for a trainer that will change it."""
        self._check(version)
        take_threads(version.facts.get("parameters", SMALL), self._threads or self._own_choice, told=bool(self._threads))
        return load(
            version.location, [self.artifacts.path(sha) for sha in version.adapters], cache=self._cache, template=version.template
        )

    def _check(self, version: ModelVersion) -> None:
        if version.location in self._checked:
            return
        files = file_hashes(find(version.location, cache=self._cache)[1])
        if files != version.files:
            changed = sorted(name for name in {*files, *version.files} if files.get(name) != version.files.get(name))
            raise ChangedWeights(
                f"{version.location} is not what was registered as '{version.name}': {', '.join(changed[:5])} "
                "changed; bring the old files back, or start a new home with 'flagback model add'."
            )
        self._checked.add(version.location)
