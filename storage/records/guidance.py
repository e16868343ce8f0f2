"""Records that guide who reviews: guidelines and practice, version by version, and answers asked a second time."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, Index, String, UniqueConstraint, text
from sqlmodel import Field

from flagback.storage.records.record import Record, now, one_of

#: What somebody who knows would say of an answer that leaves no doubt.
Expected = Literal["flag", "fine"]
#: unanimous = everybody who judged it said so; imported = brought along with what is to be said of it.
GoldSource = Literal["unanimous", "imported"]


class Guideline(Record, table=True):
    """One version of the guidelines, in as many languages as it was written in. Append-only: the newest is in force."""

    __tablename__ = "guideline"
    #: From 2: version 1 comes with Flagback and is no row.
    version: int = Field(primary_key=True)
    #: {primary language subtag: Markdown}
    texts: dict[str, str] = Field(sa_type=JSON)
    #: The language that whoever reads none of the others is shown.
    default_lang: str
    #: What changed, in one line for reviewers.
    note: str
    #: The earlier version that was brought back, None for new words.
    brought_back: int | None = None
    set_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class PracticeSet(Record, table=True):
    """One version of the practice, in as many languages as it was written in. Append-only: the newest is in force."""

    __tablename__ = "practice_set"
    #: From 2: version 1 comes with Flagback and is no row.
    version: int = Field(primary_key=True)
    #: {primary language subtag: [{"prompt", "answer", "verdict", "categories", "explanation"}]}; no language: none is offered.
    items: dict[str, list[dict[str, Any]]] = Field(sa_type=JSON)
    default_lang: str
    note: str
    set_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class PracticeRound(Record, table=True):
    """One person's way through the practice: the first before the first answer, further ones whenever they like."""

    __tablename__ = "practice_round"
    __table_args__ = (
        Index("ix_practice_round_reviewer", "reviewer"),
        Index(
            "uq_practice_round_open",
            "reviewer",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    reviewer: str
    #: Version of the practice and the language it was shown in; both stay for the round.
    version: int
    lang: str
    begun_at: AwareDatetime = Field(default_factory=now)
    #: When it was left or finished; None while it goes on.
    ended_at: AwareDatetime | None = None
    #: Every item was answered.
    finished: bool = False


class PracticeAnswer(Record, table=True):
    """What was said of one practice item: for nobody but the person, and in no figure. No review."""

    __tablename__ = "practice_answer"
    __table_args__ = (one_of("verdict", Expected),)
    round_id: int = Field(foreign_key="practice_round.id", primary_key=True)
    #: From 0.
    position: int = Field(primary_key=True)
    verdict: Expected = Field(sa_type=String)
    categories: list[str] = Field(default_factory=list, sa_type=JSON)
    created_at: AwareDatetime = Field(default_factory=now)


class SecondLookRates(Record, table=True):
    """How often answers are asked a second time. Append-only: the newest row is in force."""

    __tablename__ = "second_look_rates"
    id: int = Field(default=None, primary_key=True)
    #: One in so many of what is handed out, 0 for none.
    repeat_every: int
    gold_every: int
    #: An own answer comes again after so many days and so many further answers, whichever is later.
    days_apart: int
    answers_apart: int
    set_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class Gold(Record, table=True):
    """An answer of which people agree what is to be said."""

    __tablename__ = "gold"
    __table_args__ = (
        one_of("expected", Expected),
        one_of("source", GoldSource),
        Index(
            "uq_gold_generation",
            "generation_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    generation_id: int = Field(foreign_key="generation.id")
    #: Primary language subtag of its prompt, "und" where unknown.
    lang: str = "und"
    expected: Expected = Field(sa_type=String)
    source: GoldSource = Field(sa_type=String)
    added_by: str
    created_at: AwareDatetime = Field(default_factory=now)
    #: Handed out no more since; what was said of it stays.
    ended_at: AwareDatetime | None = None
    ended_by: str | None = None


class SecondLook(Record, table=True):
    """An item of kind gold or repeat: made for one person, who was asked nothing else about its answer in this way."""

    __tablename__ = "second_look"
    __table_args__ = (UniqueConstraint("reviewer", "generation_id"),)
    item_id: int = Field(foreign_key="item.id", primary_key=True)
    reviewer: str
    generation_id: int = Field(foreign_key="generation.id")
    #: None for a repeat.
    gold_id: int | None = Field(default=None, foreign_key="gold.id", index=True)
