"""Records of the panel's work: studies brought in, who is set aside and why, adjudications, how many reviews an answer gets."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, CheckConstraint, String, UniqueConstraint
from sqlmodel import Field

from flagback.storage.records.record import Record, now, one_of

#: nominal: labels without an order; ordinal: ranks; interval: numbers whose differences mean something.
ScaleType = Literal["nominal", "ordinal", "interval"]
#: pause: is handed no item; exclude: answers are left out of sets, figures, totals and exports of pairs.
SettingAside = Literal["pause", "exclude"]
#: What leads conclude of a contested item; legitimate_disagreement keeps the split as it is.
Conclusion = Literal["harm", "fine", "legitimate_disagreement"]


class Study(Record, table=True):
    """Finished ratings from elsewhere, brought in to be analysed. Never mixed with this installation's reviews."""

    __tablename__ = "study"
    __table_args__ = (one_of("scale", ScaleType),)
    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    scale: ScaleType = Field(sa_type=String)
    #: Which column was what: {"item": ..., "rater": ..., "label": ..., "text": ..., "background": [...]}
    columns: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    brought_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class StudyItem(Record, table=True):
    """What was rated in a study."""

    __tablename__ = "study_item"
    study_id: int = Field(foreign_key="study.id", primary_key=True)
    #: As the file names it.
    item: str = Field(primary_key=True)
    text: str | None = None


class StudyRater(Record, table=True):
    """Who rated in a study: a hash of the file's name for the person, and background columns as the file has them."""

    __tablename__ = "study_rater"
    study_id: int = Field(foreign_key="study.id", primary_key=True)
    rater: str = Field(primary_key=True)
    background: dict[str, str] = Field(default_factory=dict, sa_type=JSON)


class StudyRating(Record, table=True):
    """One rating of a study."""

    __tablename__ = "study_rating"
    study_id: int = Field(foreign_key="study.id", primary_key=True)
    item: str = Field(primary_key=True)
    rater: str = Field(primary_key=True)
    label: str


class SetAside(Record, table=True):
    """A reviewer paused, or answers left out, by a lead, with a reason; ended, never deleted."""

    __tablename__ = "set_aside"
    __table_args__ = (
        one_of("kind", SettingAside),
        CheckConstraint("(reviewer IS NULL) <> (review_id IS NULL)", name="one_of_both"),
    )
    id: int = Field(default=None, primary_key=True)
    kind: SettingAside = Field(sa_type=String)
    #: A pseudonym, or null where one review is meant.
    reviewer: str | None = Field(default=None, index=True)
    review_id: int | None = Field(default=None, foreign_key="review.id", index=True)
    reason: str
    decided_by: str
    created_at: AwareDatetime = Field(default_factory=now)
    ended_at: AwareDatetime | None = None
    ended_by: str | None = None


class Adjudication(Record, table=True):
    """What a lead concluded of a contested item. Append-only: the newest of an item is in force; reviews stay as they are."""

    __tablename__ = "adjudication"
    __table_args__ = (one_of("conclusion", Conclusion),)
    id: int = Field(default=None, primary_key=True)
    item_id: int = Field(foreign_key="item.id", index=True)
    conclusion: Conclusion = Field(sa_type=String)
    reason: str
    decided_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class Overlap(Record, table=True):
    """How many people judge an answer, and for whom seats are kept. Append-only: the newest is in force."""

    __tablename__ = "overlap"
    id: int = Field(default=None, primary_key=True)
    #: Odd numbers in rising order: reviews to begin with, and what an answer goes on to where people flag it or differ. Empty: as
    #: many as the sampling or import asks for.
    steps: list[int] = Field(sa_type=JSON)
    #: Declared group ("question=answer") -> seats of each step that are kept for it.
    seats: dict[str, int] = Field(default_factory=dict, sa_type=JSON)
    #: After so long a seat without takers is open to anybody.
    relax_after_hours: float = 72.0
    #: Share of what is handed out that is drawn uniformly, whatever is expected of it, 0-1.
    random_share: float = 0.5
    set_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class PolicyScore(Record, table=True):
    """What a policy made of an item when a set was frozen: kept beside the set, so that its labels can be explained."""

    __tablename__ = "policy_score"
    __table_args__ = (UniqueConstraint("set_id", "generation_id"),)
    id: int = Field(default=None, primary_key=True)
    set_id: int = Field(foreign_key="preference_set.id", index=True)
    generation_id: int = Field(foreign_key="generation.id")
    #: The policy's probability that the answer is harmful, 0-1.
    harm: float
    #: Votes behind it.
    votes: int
