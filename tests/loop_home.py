"""A home whose loop can be gone through step by step: sampled, reviewed by one, corrected. On the embedded model."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from flagback.model import cycle, embedded
from flagback.model.shelf import Shelf
from flagback.storage import reviews, runs, slots
from flagback.storage.answers import Answer
from flagback.storage.artifacts import Artifacts
from flagback.storage.prompts import TRAINING_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import CorrectionRun, SamplingRun, now
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.served_home import ServedHome

#: Small enough for a test, real all the same.
RECIPE: dict[str, Any] = {"steps": 2, "pairs_per_step": 4, "replay_per_step": 2, "rank": 2, "alpha": 4.0, "checkpoint_every": 1}


class Loop:
    """A home with a model, the embedded one unless another is named, and some of the embedded model's prompts."""

    def __init__(self, store: Store, folder: Path, prompts: int, *, model: str = "embedded") -> None:
        self.store, self.folder = store, folder
        self.shelf = Shelf(Artifacts(folder / "artifacts"))
        cycle.add_model(store, model, by="test")
        chosen = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) in TRAINING_SHARDS][:prompts]
        with store.writing() as session:
            add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in chosen])
            embedded.add_reference_texts(session)

    def sample(self, *, k: int = 4, seed: int = 0) -> SamplingRun:
        with self.store.writing() as session:
            run = runs.request_sampling(
                session, by="test", now=now(), limit=100, decoding={"k": k, "seed": seed}, reviews_per_item=1
            )
        return cycle.sample(self.store, self.shelf, run.id)

    def review(self, *, rewrite: str | None = None, flags: Callable[[str, int], bool] = lambda _, place: place % 2 == 1) -> None:
        """One reviewer flags answers by their prompt and place under it (1, 2, ...): every other one; the first flag carries the
        rewrite."""
        seen: dict[str, int] = {}
        while claims := slots.claim(self.store, "r_one", count=40, now=now(), lease_for=timedelta(hours=1), seed=1):
            for claim in claims:
                prompt = claim.prompt[-1]["content"]
                seen[prompt] = seen.get(prompt, 0) + 1
                flag = flags(prompt, seen[prompt])
                answer = Answer(
                    token=str(uuid.uuid4()),
                    lease_id=claim.lease_id,
                    verdict="flag" if flag else "fine",
                    categories=["stereotype"] if flag else [],
                    severity="clear" if flag else None,
                    rewrite=rewrite if flag else None,
                    taxonomy_version=TAXONOMY_VERSION,
                    guideline_version=GUIDELINE_VERSION,
                )
                reviews.submit(self.store, "r_one", answer, now=now(), policy_version="1")
                if flag:
                    rewrite = None

    def correction(self, *, pairs: dict[str, Any] | None = None, **more: Any) -> CorrectionRun:
        with self.store.writing() as session:
            return runs.request_correction(session, by="test", now=now(), recipe=RECIPE | more, pairs=pairs)


class LoopHome(ServedHome):
    """A home that is served while it is entered, with a maintainer called max."""

    def __init__(self, folder: Path, *, prompts: int) -> None:
        super().__init__(folder, {"max": "maintainer"})
        self.loop = Loop(self.store, self.home, prompts=prompts)
