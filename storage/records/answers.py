"""Records of what is asked and answered: prompts, versions of the model, sampling runs, generations, logged answers, detectors."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, CheckConstraint, Index, String, UniqueConstraint, text
from sqlmodel import Field

from flagback.storage.records.record import Record, RunState, SamplingPurpose, now, one_of

#: candidate = trained, not promoted; current = the one sampled; retired = was current, or was rolled back.
VersionState = Literal["candidate", "current", "retired"]
VersionKind = Literal["base", "correction"]
#: plain = prompt text goes before the answer as it is; chat = the tokenizer's own chat template.
Template = Literal["plain", "chat"]
#: end = the model wrote its end token; length = cut at max_tokens; given = text from people or files.
FinishReason = Literal["end", "length", "given"]
#: sampled by a version; imported from a file; rewrite = a reviewer's better wording; logged = by a model in use.
GenerationSource = Literal["sampled", "imported", "rewrite", "logged"]


class Prompt(Record, table=True):
    """What the model is asked to go on from."""

    __tablename__ = "prompt"
    __table_args__ = (CheckConstraint("shard >= 0 AND shard < 100", name="shard_range"), Index("ix_prompt_shard", "shard"))
    id: int = Field(default=None, primary_key=True)
    #: sha256 of the canonical JSON of (messages, lang): equal prompts are one row.
    content_hash: str = Field(unique=True)
    #: [{"role": "system"|"user"|"assistant", "content": str}, ...]; the last is what the model answers.
    messages: list[dict[str, str]] = Field(sa_type=JSON)
    #: BCP 47, "und" where unknown.
    lang: str = "und"
    #: {"groups": [..], "topic": str, "source": str, "licence": str, ...}; unknown columns of an import are kept here.
    tags: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    #: Template and group, or first turn of a dialogue: prompts of one family never stand on both sides of a split.
    split_key: str
    #: 0-99 from the split key's hash, fixed at import and never re-drawn.
    shard: int
    created_at: AwareDatetime = Field(default_factory=now)


class ModelVersion(Record, table=True):
    """One set of weights: a base, or a correction of its parent."""

    __tablename__ = "model_version"
    __table_args__ = (
        one_of("kind", VersionKind),
        one_of("state", VersionState),
        one_of("template", Template),
        Index(
            "uq_model_version_current",
            "state",
            unique=True,
            sqlite_where=text("state = 'current'"),
            postgresql_where=text("state = 'current'"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    kind: VersionKind = Field(sa_type=String)
    state: VersionState = Field(sa_type=String)
    parent_id: int | None = Field(default=None, foreign_key="model_version.id")
    #: The base this line started from (its own id for a base).
    first_base_id: int | None = Field(default=None, foreign_key="model_version.id")
    #: What people call it: "embedded", a directory name, or "correction 3".
    name: str
    #: A directory path, a hub id, or "embedded": where the FIRST BASE's weights are.
    location: str
    template: Template = Field(sa_type=String)
    #: sha256 of each adapter that is put on the first base for this version, in order; empty for a base.
    adapters: list[str] = Field(default_factory=list, sa_type=JSON)
    #: sha256 of every file of the base directory, by file name; a base whose files changed is refused.
    files: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    #: sha256 over (files, adapters): equal weights have equal fingerprints.
    fingerprint: str = Field(unique=True)
    correction_run_id: int | None = Field(default=None, unique=True)
    #: Relative Frobenius distance of all weights to the first base, ||W - W0|| / ||W0||; 0 for a base.
    distance_to_base: float = 0.0
    #: Architecture, parameter count, vocabulary size, context length, dtype.
    facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: AwareDatetime = Field(default_factory=now)


class SamplingRun(Record, table=True):
    """k completions of each prompt by one version with recorded decoding."""

    __tablename__ = "sampling_run"
    __table_args__ = (one_of("state", RunState), one_of("purpose", SamplingPurpose))
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id", index=True)
    purpose: SamplingPurpose = Field(default="loop", sa_type=String)
    #: Set for blind runs: the evaluation whose prompts both versions answer with the same noise.
    evaluation_id: int | None = Field(default=None, index=True)
    #: {"k": int, "temperature": float, "top_p": float, "max_tokens": int, "seed": int}
    decoding: dict[str, Any] = Field(sa_type=JSON)
    #: Prompt ids to answer, fixed when the run is made.
    prompt_ids: list[int] = Field(sa_type=JSON)
    done: int = 0
    reviews_per_item: int = 3
    state: RunState = Field(default="waiting", sa_type=String)
    error: str | None = None
    asked_by: str
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None


class Generation(Record, table=True):
    """One answer text to one prompt. Equal completions in one run are one row with a count."""

    __tablename__ = "generation"
    __table_args__ = (
        one_of("source", GenerationSource),
        one_of("finish_reason", FinishReason),
        UniqueConstraint("prompt_id", "origin", "text_hash"),
        Index("ix_generation_sampling_run_id", "sampling_run_id"),
    )
    id: int = Field(default=None, primary_key=True)
    prompt_id: int = Field(foreign_key="prompt.id")
    #: "run:<id>", "import:<name>", "rewrite" or "live:<batch>": within one origin a text stands once a prompt.
    origin: str
    source: GenerationSource = Field(sa_type=String)
    sampling_run_id: int | None = Field(default=None, foreign_key="sampling_run.id")
    version_id: int | None = Field(default=None, foreign_key="model_version.id", index=True)
    #: The sampled ids, end token included where finish_reason is "end"; null for given text.
    token_ids: list[int] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    #: Exactly what the ids decode to (leading space kept); reviewers' span offsets are code points of this string.
    text: str
    text_hash: str
    finish_reason: FinishReason = Field(sa_type=String)
    #: How many of the k draws gave this text.
    count: int = 1
    #: Lowest draw number 0..k-1 that gave this text.
    draw: int = 0
    #: All draws that gave it, ascending: what pairs two versions' answers draw by draw. Null where it was not kept.
    draws: list[int] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    #: 0-1, filled by a detector or a simulation; never shown to reviewers.
    expected_harm: float | None = None
    expected_harm_source: str | None = None
    created_at: AwareDatetime = Field(default_factory=now)


class OutputKey(Record, table=True):
    """What a program in use shows to send logged answers. Known by its hash only; shown once, when it is made."""

    __tablename__ = "output_key"
    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    #: sha256 of the key.
    key_hash: str = Field(unique=True)
    made_by: str
    created_at: AwareDatetime = Field(default_factory=now)
    #: When a request last came, to the hour.
    seen_at: AwareDatetime | None = None
    #: Withdrawn.
    ended_at: AwareDatetime | None = None


class OutputBatch(Record, table=True):
    """Logged answers of a model in use that came in together."""

    __tablename__ = "output_batch"
    id: int = Field(default=None, primary_key=True)
    #: What its generations name as their origin: "live:<name>".
    name: str = Field(unique=True)
    #: What the people whose prompts these are agreed to, in the words of who sent them.
    consent: str
    #: A login, or "key <name>".
    brought_by: str
    n_answers: int
    #: How many were drawn for review, each with probability n_drawn / n_answers.
    n_drawn: int
    #: 0-1, with which each answer is drawn as it comes; null for a batch that came whole and of which a number was drawn.
    review_share: float | None = None
    created_at: AwareDatetime = Field(default_factory=now)
    #: Taken back from review: nothing of it is handed out any more, and nothing is added.
    withdrawn_at: AwareDatetime | None = None


class Detector(Record, table=True):
    """A small classifier of harm trained on this installation's own reviews. It orders what is reviewed; it decides nothing."""

    __tablename__ = "detector"
    id: int = Field(default=None, primary_key=True)
    #: sha256 of the texts and votes it learnt from and its settings: the same reviews give the same detector.
    fingerprint: str = Field(unique=True)
    #: The folder with its weights.
    artifact: str
    n_answers: int
    n_harmful: int
    #: Measured on prompts it never saw: discrimination, calibration, error rates by group, each with its interval.
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)
