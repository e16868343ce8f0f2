"""The records: every table of an installation, and what makes each row trustworthy.

Knows columns and constraints; knows no engine, no transaction and no rule of the domain beyond what the database enforces.
Rows are plain values after a session ends (`Store` sets expire_on_commit=False); there are no relationships to lazy-load.
`table=True` models do not validate on construction: functions that take outside input check it before they build a row.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, CheckConstraint, Index, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

#: How a reviewer judged an item. flag/fine/skip for single items; the others for pair items.
Verdict = Literal["flag", "fine", "skip", "left", "right", "equal", "both_bad"]
#: slight = would annoy; clear = should be rewritten; severe = must not appear.
Severity = Literal["slight", "clear", "severe"]
#: What an item asks for. Only `single` is served today; the others share the same slots and reviews.
ItemKind = Literal["single", "pair", "rank", "practice", "gold", "repeat", "confirm"]
#: Why an item exists. loop = to learn from; blind = fresh samples of base and candidate, judged without knowing which.
ItemPurpose = Literal["loop", "blind"]
SlotState = Literal["open", "claimed", "done"]
#: held -> submitted | released (given back) | expired (swept); late = answered after it had expired.
LeaseOutcome = Literal["held", "submitted", "released", "expired", "late"]
#: candidate = trained, not promoted; current = the one sampled; retired = was current, or was rolled back.
VersionState = Literal["candidate", "current", "retired"]
VersionKind = Literal["base", "correction"]
#: waiting = the row exists and a worker will take it; the last three are final.
RunState = Literal["waiting", "running", "succeeded", "failed", "cancelled"]
GateVerdict = Literal["pass", "fail", "not_enough_data"]
#: plain = prompt text goes before the answer as it is; chat = the tokenizer's own chat template.
Template = Literal["plain", "chat"]
#: end = the model wrote its end token; length = cut at max_tokens; given = text from people or files.
FinishReason = Literal["end", "length", "given"]
#: sampled by a version; imported from a file; rewrite = a reviewer's better wording.
GenerationSource = Literal["sampled", "imported", "rewrite"]
Role = Literal["reviewer", "lead", "maintainer", "auditor", "administrator"]
#: local = an administrator of Flagback gives the role; groups = the groups of the single sign-on do, at every login.
RoleSource = Literal["local", "groups"]
#: password = name and password; oidc = single sign-on; link = an address that was given to the person.
OpenedBy = Literal["password", "oidc", "link"]
PairKind = Literal["contrast", "rewrite", "imported"]
#: replay = trained on as a neutral anchor; perplexity = utility texts of the maintainer's choice. Never both.
TextPurpose = Literal["replay", "perplexity"]
DecisionKind = Literal["promote", "override", "roll_back"]
#: join = makes an account; reset = a new password for one; first = makes the first administrator.
InvitationPurpose = Literal["join", "reset", "first"]
#: named = people choose a name and a password; anonymous = a crowd platform sends people who give neither.
PoolKind = Literal["named", "anonymous"]
#: review = to judge answers at all; the others are uses of one's background: who gets which item, weights in training, exports.
ConsentPurpose = Literal["review", "assignment", "training", "export"]


def now() -> datetime:
    """The present moment in UTC, with zone. The default clock of records; functions that need one take it as an argument."""
    return datetime.now(UTC)


def one_of(column: str, values: Any, *, nullable: bool = False) -> CheckConstraint:
    """A CHECK that `column` holds one of the Literal's members (SQLModel does not enforce them by itself)."""
    listed = ", ".join(f"'{value}'" for value in values.__args__)
    condition = f"{column} IN ({listed})"
    return CheckConstraint(f"{column} IS NULL OR {condition}" if nullable else condition, name=f"{column}_known")


class Record(
    SQLModel,
    registry=registry(
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "pk": "pk_%(table_name)s",
            }
        )
    ),
):
    """Base of all tables. A registry of its own, or Streamlit's hot reload raises 'already defined'."""


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
    #: sha256 of each adapter from the first base to this version, in order; empty for a base.
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
    __table_args__ = (one_of("state", RunState), one_of("purpose", ItemPurpose))
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id", index=True)
    purpose: ItemPurpose = Field(default="loop", sa_type=String)
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
    #: "run:<id>", "import:<name>" or "rewrite": within one origin a text stands once a prompt.
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
    #: 0-1, filled by a detector or a simulation; never shown to reviewers.
    expected_harm: float | None = None
    expected_harm_source: str | None = None
    created_at: AwareDatetime = Field(default_factory=now)


class Item(Record, table=True):
    """What one reviewer sees at a time: one or more generations of one prompt."""

    __tablename__ = "item"
    __table_args__ = (one_of("kind", ItemKind), one_of("purpose", ItemPurpose))
    id: int = Field(default=None, primary_key=True)
    kind: ItemKind = Field(default="single", sa_type=String)
    purpose: ItemPurpose = Field(default="loop", sa_type=String)
    prompt_id: int = Field(foreign_key="prompt.id", index=True)
    #: Set for kind single, so that the database can hold UNIQUE(generation, reviewer); null otherwise.
    generation_id: int | None = Field(default=None, foreign_key="generation.id", unique=True)
    created_at: AwareDatetime = Field(default_factory=now)


class ItemGeneration(Record, table=True):
    """The generations of an item in the order shown."""

    __tablename__ = "item_generation"
    item_id: int = Field(foreign_key="item.id", primary_key=True)
    position: int = Field(primary_key=True)
    generation_id: int = Field(foreign_key="generation.id", index=True)


class Slot(Record, table=True):
    """One wanted review of one item, made ahead so that a claim costs the same at any size."""

    __tablename__ = "slot"
    __table_args__ = (
        one_of("state", SlotState),
        UniqueConstraint("item_id", "number"),
        Index(
            "uq_slot_item_reviewer",
            "item_id",
            "reviewer",
            unique=True,
            sqlite_where=text("reviewer IS NOT NULL"),
            postgresql_where=text("reviewer IS NOT NULL"),
        ),
        Index(
            "ix_slot_open",
            "want_group",
            "lang",
            "bucket",
            "rank",
            "id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_slot_claimed", "expires_at", sqlite_where=text("state = 'claimed'"), postgresql_where=text("state = 'claimed'")),
        Index("ix_slot_holder", "reviewer", sqlite_where=text("state = 'claimed'"), postgresql_where=text("state = 'claimed'")),
    )
    id: int = Field(default=None, primary_key=True)
    item_id: int = Field(foreign_key="item.id")
    number: int
    #: The declared group this seat is kept for, or "any". Never exported beside a pseudonym.
    want_group: str = "any"
    #: Primary language subtag of the prompt ("en", "pt"), "und" where unknown: only who reads it is handed the item.
    lang: str = "und"
    state: SlotState = Field(default="open", sa_type=String)
    #: 0 is served first.
    bucket: int = 1
    #: Random within the bucket, from the item's content hash: one order for all would show a family in a row.
    rank: int
    reviewer: str | None = None
    expires_at: AwareDatetime | None = None


class Lease(Record, table=True):
    """The history of who held which slot, so that a late answer can be recognised."""

    __tablename__ = "lease"
    __table_args__ = (one_of("outcome", LeaseOutcome), Index("ix_lease_item_reviewer", "item_id", "reviewer"))
    #: Random UUID handed to the browser with the item.
    id: str = Field(primary_key=True)
    slot_id: int = Field(foreign_key="slot.id", index=True)
    item_id: int = Field(foreign_key="item.id")
    reviewer: str
    claimed_at: AwareDatetime
    expires_at: AwareDatetime
    outcome: LeaseOutcome = Field(default="held", sa_type=String)


class Review(Record, table=True):
    """One answer by one reviewer. Append-only: a correction is a new row that names the one it supersedes."""

    __tablename__ = "review"
    __table_args__ = (
        one_of("verdict", Verdict),
        one_of("severity", Severity, nullable=True),
        Index(
            "uq_review_item_reviewer",
            "item_id",
            "reviewer",
            unique=True,
            sqlite_where=text("supersedes IS NULL"),
            postgresql_where=text("supersedes IS NULL"),
        ),
        Index(
            "uq_review_slot",
            "slot_id",
            unique=True,
            sqlite_where=text("supersedes IS NULL AND slot_id IS NOT NULL"),
            postgresql_where=text("supersedes IS NULL AND slot_id IS NOT NULL"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    #: UUID made by the browser: the same answer sent twice is stored once.
    token: str = Field(unique=True)
    item_id: int = Field(foreign_key="item.id", index=True)
    #: The slot this answer fills; null for skips and late answers, which fill none.
    slot_id: int | None = Field(default=None, foreign_key="slot.id")
    lease_id: str = Field(foreign_key="lease.id")
    #: Keyed pseudonym, never an account id.
    reviewer: str = Field(index=True)
    verdict: Verdict = Field(sa_type=String)
    #: Category codes of the taxonomy version, main one first.
    categories: list[str] = Field(default_factory=list, sa_type=JSON)
    #: Target group codes, and the reviewer's own words in target_other.
    targets: list[str] = Field(default_factory=list, sa_type=JSON)
    target_other: str | None = None
    severity: Severity | None = Field(default=None, sa_type=String)
    sure: bool = True
    #: [{"start": int, "end": int, "category": str|None}], code points of the stored generation text, end exclusive.
    spans: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    rewrite: str | None = None
    note: str | None = None
    skip_reason: str | None = None
    taxonomy_version: str
    guideline_version: str
    policy_version: str
    #: Time the item was open with the tab visible.
    seconds_open: float | None = None
    #: Answered after the lease had expired; stored all the same.
    late: bool = False
    supersedes: int | None = Field(default=None, foreign_key="review.id", unique=True)
    #: Written by a rehearsal's simulated reviewer; never mixed with people's answers.
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)


class PreferenceSet(Record, table=True):
    """A frozen, fingerprinted set of pairs. The only thing a correction run reads."""

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
    #: {"pairs_per_prompt": int, ...}: the arguments of pair building.
    arguments: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    n_pairs: int
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


class CorrectionRun(Record, table=True):
    """One fine-tune of a parent version on a frozen set."""

    __tablename__ = "correction_run"
    __table_args__ = (one_of("state", RunState),)
    id: int = Field(default=None, primary_key=True)
    #: Null until the set is frozen (a run may be asked for on "the reviews as they are when it starts").
    set_id: int | None = Field(default=None, foreign_key="preference_set.id")
    parent_id: int = Field(foreign_key="model_version.id")
    recipe: dict[str, Any] = Field(sa_type=JSON)
    seed: int
    state: RunState = Field(default="waiting", sa_type=String)
    #: freeze, train, register, evaluate, done: the step that is under way.
    stage: str = "freeze"
    error: str | None = None
    adapter_sha256: str | None = None
    candidate_id: int | None = Field(default=None, foreign_key="model_version.id")
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


class Evaluation(Record, table=True):
    """A paired comparison of a candidate with its base, and the gate's word on it."""

    __tablename__ = "evaluation"
    __table_args__ = (one_of("state", RunState), one_of("verdict", GateVerdict, nullable=True))
    id: int = Field(default=None, primary_key=True)
    candidate_id: int = Field(foreign_key="model_version.id", index=True)
    #: The parent of the candidate: what it is compared with.
    base_id: int = Field(foreign_key="model_version.id")
    set_id: int | None = Field(default=None, foreign_key="preference_set.id")
    seed: int
    state: RunState = Field(default="waiting", sa_type=String)
    stage: str = "measure"
    error: str | None = None
    #: {metric name: {"base", "candidate", "change", "low", "high", "n", "clusters", "unit"}}; null figures mean not enough data.
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    verdict: GateVerdict | None = Field(default=None, sa_type=String)
    #: [{"check": str, "verdict": GateVerdict, "words": str}]
    reasons: list[dict[str, str]] = Field(default_factory=list, sa_type=JSON)
    gate_version: str = ""
    asked_by: str
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)
    ended_at: AwareDatetime | None = None


class EvaluationItem(Record, table=True):
    """One paired measurement, kept so that any figure opens the texts behind it."""

    __tablename__ = "evaluation_item"
    evaluation_id: int = Field(foreign_key="evaluation.id", primary_key=True)
    metric: str = Field(primary_key=True)
    #: The prompt's content hash, a pair's row hash or a text's hash.
    item_key: str = Field(primary_key=True)
    #: What is independent of what: split key, template, reviewer.
    cluster: str
    base: float | None = None
    candidate: float | None = None
    #: Texts of both sides where there are any: {"prompt", "base", "candidate"}.
    texts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class Decision(Record, table=True):
    """Who made which version current, on what ground. Append-only."""

    __tablename__ = "decision"
    __table_args__ = (one_of("kind", DecisionKind),)
    id: int = Field(default=None, primary_key=True)
    kind: DecisionKind = Field(sa_type=String)
    version_id: int = Field(foreign_key="model_version.id")
    #: The version that was current before, null for the first.
    previous_id: int | None = Field(default=None, foreign_key="model_version.id")
    evaluation_id: int | None = Field(default=None, foreign_key="evaluation.id")
    #: Login name of the maintainer, or "gate".
    decided_by: str
    reason: str
    created_at: AwareDatetime = Field(default_factory=now)


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


class Pool(Record, table=True):
    """Reviewers who came by one invitation code: a team, or the takers of a crowd platform's task."""

    __tablename__ = "pool"
    __table_args__ = (one_of("kind", PoolKind),)
    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    kind: PoolKind = Field(sa_type=String)
    #: Answers after which an anonymous reviewer is shown the completion code; null: there is no end.
    answers_wanted: int | None = None
    completion_code: str | None = None
    created_at: AwareDatetime = Field(default_factory=now)


class Account(Record, table=True):
    """Who may sign in. Lives apart from reviews, which know pseudonyms only."""

    __tablename__ = "account"
    __table_args__ = (one_of("role", Role), one_of("role_source", RoleSource), UniqueConstraint("pool_id", "external_hash"))
    id: int = Field(default=None, primary_key=True)
    login: str = Field(unique=True)
    role: Role = Field(sa_type=String)
    role_source: RoleSource = Field(default="local", sa_type=String)
    #: argon2id; null for who signs in another way only.
    password_hash: str | None = None
    #: Made by `flagback demo`; marked as such everywhere.
    demo: bool = False
    disabled: bool = False
    pool_id: int | None = Field(default=None, foreign_key="pool.id")
    #: Keyed hash of the id that a crowd platform knows the person by; the id itself is kept nowhere.
    external_hash: str | None = None
    #: Primary subtags of the languages the person reads; null until asked.
    languages: list[str] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    created_at: AwareDatetime = Field(default_factory=now)


class Invitation(Record, table=True):
    """A link that lets someone in. Known by its code's hash only; shown once, when it is made."""

    __tablename__ = "invitation"
    __table_args__ = (one_of("purpose", InvitationPurpose), one_of("role", Role))
    id: int = Field(default=None, primary_key=True)
    #: sha256 of the code.
    code_hash: str = Field(unique=True)
    purpose: InvitationPurpose = Field(sa_type=String)
    role: Role = Field(sa_type=String)
    pool_id: int | None = Field(default=None, foreign_key="pool.id")
    #: Whose password is reset; null for the other purposes.
    account_id: int | None = Field(default=None, foreign_key="account.id")
    uses_left: int = 1
    made_by: str
    created_at: AwareDatetime = Field(default_factory=now)
    expires_at: AwareDatetime
    #: Withdrawn before its time.
    ended_at: AwareDatetime | None = None


class Session(Record, table=True):
    """A signed-in browser. Checked on every rerun and every request."""

    __tablename__ = "session"
    __table_args__ = (one_of("opened_by", OpenedBy),)
    #: sha256 of the cookie's value.
    token_hash: str = Field(primary_key=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    #: The browser in a few words, for its owner to tell one from another.
    browser: str = ""
    created_at: AwareDatetime = Field(default_factory=now)
    expires_at: AwareDatetime
    #: When a request last came, to the hour.
    seen_at: AwareDatetime = Field(default_factory=now)
    ended_at: AwareDatetime | None = None
    opened_by: OpenedBy = Field(default="password", sa_type=String)
    #: sha256 of the nonce of the single sign-on that opened it: one login there opens one session here.
    nonce_hash: str | None = Field(default=None, unique=True)
    #: Until when a single sign-on in this browser is tied to this account instead of opening one of its own.
    connecting_until: AwareDatetime | None = None


class Identity(Record, table=True):
    """Who an account's person is at the single sign-on. Never found by name or address: both are handed out anew."""

    __tablename__ = "identity"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: int = Field(default=None, primary_key=True)
    #: The provider's own address, `iss`.
    issuer: str
    #: What the provider calls the person for ever, `sub`.
    subject: str
    account_id: int = Field(foreign_key="account.id", index=True)
    created_at: AwareDatetime = Field(default_factory=now)
    last_seen_at: AwareDatetime = Field(default_factory=now)


class SignInFailure(Record, table=True):
    """Failed sign-ins in a row of one login, or from one address; what the growing delay is reckoned from."""

    __tablename__ = "sign_in_failure"
    #: Keyed hash of the login or the address.
    who: str = Field(primary_key=True)
    failures: int = 0
    last_at: AwareDatetime


class Consent(Record, table=True):
    """What a person agreed to, or took back. Append-only: the newest row of a purpose is in force."""

    __tablename__ = "consent"
    __table_args__ = (one_of("purpose", ConsentPurpose), Index("ix_consent_account_id_purpose", "account_id", "purpose"))
    id: int = Field(default=None, primary_key=True)
    account_id: int = Field(foreign_key="account.id")
    purpose: ConsentPurpose = Field(sa_type=String)
    given: bool
    #: Version of the words that were on the screen.
    text_version: str
    created_at: AwareDatetime = Field(default_factory=now)


class BackgroundForm(Record, table=True):
    """The questions about people's background, as the administrator set them. Append-only: the newest is asked."""

    __tablename__ = "background_form"
    id: int = Field(default=None, primary_key=True)
    #: [{"code", "question", "options": [{"code", "words"}, ...], "several": bool, "own_words": bool}, ...]
    questions: list[dict[str, Any]] = Field(sa_type=JSON)
    made_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class Background(Record, table=True):
    """One answer about someone's background, under a pseudonym that is neither the account nor the one on the reviews."""

    __tablename__ = "background"
    #: "b_" pseudonym: only the key file's holder can tell whose it is, or which reviews are the same person's.
    person: str = Field(primary_key=True)
    question: str = Field(primary_key=True)
    #: Option codes; empty where only own words were given.
    answers: list[str] = Field(sa_type=JSON)
    own_words: str | None = None
    form_id: int = Field(foreign_key="background_form.id")
    #: The month: a moment could be laid beside a sign-in.
    updated_at: AwareDatetime = Field(default_factory=now)


class WorkLog(Record, table=True):
    """Time and answers of a week, for payment: under a pseudonym of its own, so that no answer can be found through it."""

    __tablename__ = "work_log"
    #: "w_" pseudonym.
    person: str = Field(primary_key=True)
    #: ISO week in UTC: "2026-W47".
    week: str = Field(primary_key=True)
    answers: int = 0
    seconds: float = 0.0


class WorkerHeartbeat(Record, table=True):
    """When a worker was last alive; a live worker takes over the runs of one silent for 60 s."""

    __tablename__ = "worker_heartbeat"
    worker_id: str = Field(primary_key=True)
    started_at: AwareDatetime = Field(default_factory=now)
    seen_at: AwareDatetime = Field(default_factory=now)
    stopped: bool = False


class AuditEntry(Record, table=True):
    """What was done, by whom: a hash chain, so that a removed or altered row shows."""

    __tablename__ = "audit_entry"
    id: int = Field(default=None, primary_key=True)
    actor: str
    action: str
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: AwareDatetime = Field(default_factory=now)
    previous_hash: str = Field(unique=True)
    #: sha256 of (previous_hash, actor, action, canonical details, created_at).
    entry_hash: str = Field(unique=True)
