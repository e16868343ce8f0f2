"""Records of judging a version: evaluations, published tests and their results, decisions."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, String, UniqueConstraint
from sqlmodel import Field

from flagback.storage.records.record import Record, RunState, now, one_of

GateVerdict = Literal["pass", "fail", "not_enough_data"]
DecisionKind = Literal["promote", "override", "roll_back"]


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
    #: How much of the stage is done, and how much there is; 0 of 0 where that is not known.
    stage_done: int = 0
    stage_total: int = 0
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


class SuiteData(Record, table=True):
    """A published test's data, taken in once: every evaluation puts it to both versions until it is withdrawn."""

    __tablename__ = "suite_data"
    __table_args__ = (UniqueConstraint("suite", "content_hash"),)
    id: int = Field(default=None, primary_key=True)
    #: Its name in `flagback suites list`.
    suite: str
    #: What it was given as: a path, a hub id or "built from this installation".
    location: str
    #: A user's own pairs: {"more": column, ...}; empty for a published suite.
    columns: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    #: The folder with its files; null for a suite whose items are Flagback's own.
    artifact: str | None = None
    #: sha256 over what its items ask, whatever their order.
    content_hash: str
    n_items: int
    added_by: str
    created_at: AwareDatetime = Field(default_factory=now)
    #: Evaluations stop putting it; what was found stays.
    withdrawn_at: AwareDatetime | None = None


class SuiteRun(Record, table=True):
    """What one version answered to one test's data."""

    __tablename__ = "suite_run"
    __table_args__ = (UniqueConstraint("version_id", "data_id"),)
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id")
    data_id: int = Field(foreign_key="suite_data.id")
    #: "causal" or "masked".
    form: str
    #: {"n", "figures": {metric: {"value", "low", "high", "n", "clusters"}}, "groups": {kind: {group: the same}}}
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: AwareDatetime = Field(default_factory=now)


class SuiteItem(Record, table=True):
    """One item's measures, kept so that any two versions can be compared by item later."""

    __tablename__ = "suite_item"
    run_id: int = Field(foreign_key="suite_run.id", primary_key=True)
    item_key: str = Field(primary_key=True)
    #: {metric: value, null where the item says nothing about it}
    measures: dict[str, Any] = Field(sa_type=JSON)
    #: What the model wrote, where the suite has it write; else empty: the texts are the data's.
    written: list[str] = Field(default_factory=list, sa_type=JSON)


class SuiteComparison(Record, table=True):
    """What changed between two versions on one test's data; derived from their items, and may be reckoned again."""

    __tablename__ = "suite_comparison"
    base_run_id: int = Field(foreign_key="suite_run.id", primary_key=True)
    candidate_run_id: int = Field(foreign_key="suite_run.id", primary_key=True)
    #: Figures as in Evaluation.figures, in order.
    figures: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
