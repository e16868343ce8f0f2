"""Records of learning: frozen sets with their pairs and unpaired answers, correction runs, reference texts."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, String, UniqueConstraint
from sqlmodel import Field

from flagback.storage.records.record import Record, RunState, now, one_of

#: contrast = of answers judged one at a time; comparison = of answers judged side by side.
PairKind = Literal["contrast", "comparison", "rewrite", "imported"]
#: replay = trained on as a neutral anchor; perplexity = utility texts of the maintainer's choice. Never both.
TextPurpose = Literal["replay", "perplexity"]


class PreferenceSet(Record, table=True):
    """A frozen, fingerprinted set of pairs, and of answers without a counterpart. The only thing a correction run reads."""

    __tablename__ = "preference_set"
    id: int = Field(default=None, primary_key=True)
    #: Merkle root over the salted row hashes, sorted.
    fingerprint: str = Field(unique=True)
    salt: str
    #: "reviews" or "import:<name>".
    origin: str
    policy: str
    policy_version: str
    taxonomy_version: str
    guideline_version: str
    #: {"version", "per_prompt", "effective_pairs", ...}: what the set was made with, and what was left out.
    arguments: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    n_pairs: int
    n_unpaired: int = 0
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)


class PreferencePair(Record, table=True):
    """One (prompt, chosen, rejected) of a set, with the reviews it came from."""

    __tablename__ = "preference_pair"
    __table_args__ = (one_of("kind", PairKind), UniqueConstraint("set_id", "position"))
    id: int = Field(default=None, primary_key=True)
    set_id: int = Field(foreign_key="preference_set.id")
    #: 0.. in the order of row hashes: never row ids, never time.
    position: int
    kind: PairKind = Field(sa_type=String)
    prompt_id: int = Field(foreign_key="prompt.id")
    chosen_id: int = Field(foreign_key="generation.id")
    rejected_id: int = Field(foreign_key="generation.id")
    #: Probability that chosen is truly the better one, 0.5-1.
    soft_label: float = 1.0
    weight: float = 1.0
    review_ids: list[int] = Field(default_factory=list, sa_type=JSON)
    #: Salted sha256 of prompt hash, both text hashes, label and weight.
    row_hash: str


class UnpairedAnswer(Record, table=True):
    """One answer of a set that was judged alone, with the reviews it came from."""

    __tablename__ = "unpaired_answer"
    __table_args__ = (UniqueConstraint("set_id", "position"),)
    id: int = Field(default=None, primary_key=True)
    set_id: int = Field(foreign_key="preference_set.id")
    #: 0.. in the order of row hashes.
    position: int
    prompt_id: int = Field(foreign_key="prompt.id")
    generation_id: int = Field(foreign_key="generation.id", index=True)
    #: Harmful, or fine.
    harmful: bool
    weight: float = 1.0
    review_ids: list[int] = Field(default_factory=list, sa_type=JSON)
    #: Salted sha256 of prompt hash, text hash, verdict and weight.
    row_hash: str


class KeptRecipe(Record, table=True):
    """Settings of a correction under a name; never altered: a change is the next number of that name."""

    __tablename__ = "recipe"
    __table_args__ = (UniqueConstraint("name", "number"),)
    id: int = Field(default=None, primary_key=True)
    name: str
    #: 1.. of that name.
    number: int
    #: How the settings are to be read (`flagback.model.recipe.FORM`).
    form: int
    #: Every setting, defaults included, so that a later default changes no kept recipe.
    settings: dict[str, Any] = Field(sa_type=JSON)
    note: str = ""
    kept_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class CorrectionRun(Record, table=True):
    """One fine-tune of a parent version on a frozen set, or on what a teacher wrote."""

    __tablename__ = "correction_run"
    __table_args__ = (one_of("state", RunState),)
    id: int = Field(default=None, primary_key=True)
    #: Null until the set is frozen (a run may be asked for on "the reviews as they are when it starts").
    set_id: int | None = Field(default=None, foreign_key="preference_set.id")
    parent_id: int = Field(foreign_key="model_version.id")
    #: How votes become pairs when the set is frozen: {"policy": name, "by", "seats", "drop_contaminated", "unpaired"}; empty: the
    #: majority, and pairs alone.
    pairs: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    recipe: dict[str, Any] = Field(sa_type=JSON)
    #: The kept recipe it began from, where it was asked for by name; what it followed in the end stands in `recipe`.
    recipe_id: int | None = Field(default=None, foreign_key="recipe.id")
    #: Of a distillation: {"name", "location", "fingerprint", "way", ...} of the model whose answers were learnt; empty otherwise.
    teacher: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    seed: int
    state: RunState = Field(default="waiting", sa_type=String)
    #: freeze, train, register, explain, done: the step that is under way; or what of it is (`flagback.model.progress`).
    stage: str = "freeze"
    #: How much of it is done, and how much there is; 0 of 0 where that is not known.
    stage_done: int = 0
    stage_total: int = 0
    error: str | None = None
    adapter_sha256: str | None = None
    candidate_id: int | None = Field(default=None, foreign_key="model_version.id")
    #: Artifact with what became of every pair and flagged answer (`flagback.model.explanation`).
    explanation_sha256: str | None = None
    #: {"stage": seconds}
    seconds: dict[str, float] = Field(default_factory=dict, sa_type=JSON)
    #: torch build, device kind, threads, world size: what "same adapter" is promised for.
    environment: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    asked_by: str
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None


class RunMetric(Record, table=True):
    """One optimiser step of a correction run: loss, margin, pairs_per_second, ... Keyed, so a repeated step overwrites."""

    __tablename__ = "run_metric"
    run_id: int = Field(foreign_key="correction_run.id", primary_key=True)
    step: int = Field(primary_key=True)
    #: Also holds "steps", the planned total.
    metrics: dict[str, float] = Field(sa_type=JSON)


class ReferenceText(Record, table=True):
    """Texts of the maintainer's choice: neutral replay for training, or perplexity texts for the gate. Never both."""

    __tablename__ = "reference_text"
    __table_args__ = (one_of("purpose", TextPurpose),)
    id: int = Field(default=None, primary_key=True)
    purpose: TextPurpose = Field(sa_type=String)
    #: "neutral", "groups", "other" or the maintainer's own name: one figure a name.
    name: str
    text: str
    #: Unique over both purposes: a text trained on is never measured on.
    text_hash: str = Field(unique=True)
