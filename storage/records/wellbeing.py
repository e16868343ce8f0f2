"""Records that protect who reviews: the terms of care, topics that people decline, texts withdrawn from everybody."""

from pydantic import AwareDatetime
from sqlalchemy import JSON, Index, text
from sqlmodel import Field

from flagback.storage.records.record import Record, now


class CareTerms(Record, table=True):
    """How much a person may be asked to read, and what they are told. Append-only: the newest row is in force."""

    __tablename__ = "care_terms"
    id: int = Field(default=None, primary_key=True)
    #: Shown where reviewing may hurt: whom to turn to. Plain text; "" for none.
    support: str = ""
    #: Severe answers that one person meets in 24 hours before nothing more is handed out.
    severe_a_day: int
    #: Expected harm, 0-1, from which a text is covered until its reader asks for it.
    cover_from: float
    #: Topics whose answers are covered too while nothing is expected of them, in small letters.
    sensitive_topics: list[str] = Field(sa_type=JSON)
    set_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class Declined(Record, table=True):
    """A topic that a person would rather not be asked about. Beside the account, never beside reviews or background."""

    __tablename__ = "declined"
    account_id: int = Field(foreign_key="account.id", primary_key=True)
    #: "category:<code>", "target:<code>" or "topic:<a prompt's topic>".
    topic: str = Field(primary_key=True)
    created_at: AwareDatetime = Field(default_factory=now)


class Withdrawal(Record, table=True):
    """A text taken away from everybody: it is kept here, and nowhere else, until somebody decides about it."""

    __tablename__ = "withdrawal"
    __table_args__ = (
        Index(
            "uq_withdrawal_generation",
            "generation_id",
            unique=True,
            sqlite_where=text("restored_at IS NULL"),
            postgresql_where=text("restored_at IS NULL"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    generation_id: int = Field(foreign_key="generation.id")
    #: The answer that withdrew it; null where the same text came again later.
    review_id: int | None = Field(default=None, foreign_key="review.id")
    #: The category that withdraws.
    category: str
    #: What the generation held.
    text: str
    token_ids: list[int] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    #: Seats that were closed by it.
    seats: int = 0
    created_at: AwareDatetime = Field(default_factory=now)
    restored_at: AwareDatetime | None = None
    restored_by: str | None = None
    reason: str | None = None
