"""Records of reviewing: items, slots, leases and the reviews themselves."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, Index, String, UniqueConstraint, text
from sqlmodel import Field

from flagback.storage.records.record import ItemPurpose, Record, now, one_of

#: How a reviewer judged an item. flag/fine for single items; left/right/equal/both_bad for pairs, ranked for more; skip for all.
Verdict = Literal["flag", "fine", "skip", "left", "right", "equal", "both_bad", "ranked"]
#: slight = would annoy; clear = should be rewritten; severe = must not appear.
Severity = Literal["slight", "clear", "severe"]
#: What an item asks for: single = is it harmful; pair = which of two; rank = in which order are up to four; gold and repeat = as
#: single, asked a second time (`SecondLook`). Practice is no item at all: it is judged by nobody but its reader.
ItemKind = Literal["single", "pair", "rank", "practice", "gold", "repeat", "confirm"]
SlotState = Literal["open", "claimed", "done"]
#: What a claim asks for: answers one at a time, or several of one prompt side by side. own = one person's alone: no claim finds it.
SlotMode = Literal["single", "compare", "own"]
#: held -> submitted | released (given back) | expired (swept); late = answered after it had expired.
LeaseOutcome = Literal["held", "submitted", "released", "expired", "late"]


class Item(Record, table=True):
    """What one reviewer sees at a time: one or more generations of one prompt."""

    __tablename__ = "item"
    __table_args__ = (one_of("kind", ItemKind), one_of("purpose", ItemPurpose))
    id: int = Field(default=None, primary_key=True)
    kind: ItemKind = Field(default="single", sa_type=String)
    purpose: ItemPurpose = Field(default="loop", sa_type=String)
    prompt_id: int = Field(foreign_key="prompt.id", index=True)
    #: Set for kind single, so that the database can hold UNIQUE(generation, reviewer); null otherwise (`item_generation` has it).
    generation_id: int | None = Field(default=None, foreign_key="generation.id", unique=True)
    #: The overlap policy that says how many people judge it; null where the number was fixed when it was made.
    overlap_id: int | None = Field(default=None, foreign_key="overlap.id")
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
        one_of("mode", SlotMode),
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
            "mode",
            "want_group",
            "lang",
            "bucket",
            "rank",
            "id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_slot_claimed", "expires_at", sqlite_where=text("state = 'claimed'"), postgresql_where=text("state = 'claimed'")),
        Index(
            "ix_slot_kept",
            "relax_at",
            sqlite_where=text("state = 'open' AND want_group <> 'any'"),
            postgresql_where=text("state = 'open' AND want_group <> 'any'"),
        ),
        Index("ix_slot_holder", "reviewer", sqlite_where=text("state = 'claimed'"), postgresql_where=text("state = 'claimed'")),
    )
    id: int = Field(default=None, primary_key=True)
    item_id: int = Field(foreign_key="item.id")
    number: int
    #: By the item's kind.
    mode: SlotMode = Field(default="single", sa_type=String)
    #: The declared group this seat is kept for ("gender=woman"), or "any". Back to "any" once somebody of the group has answered,
    #: so that it tells nobody's background for longer than a claim lasts. Never exported beside a pseudonym.
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
    #: When a seat kept for a group is open to anybody; null for seats that never were kept, and once answered from the group.
    relax_at: AwareDatetime | None = None
    #: With what probability the next item handed out in this language would be this one when its turn came, by the order that is
    #: in force; null for items not dealt yet, and for those that somebody has already had.
    probability: float | None = None


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
    #: Of the first lease of an item: with what probability it was the next one handed out of those of its language that nobody had
    #: had, 0-1; null for all further leases, and where it is not known. Rates are estimated by it: flagback.model.propensity.
    probability: float | None = None


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
        # What one person said of an item, the answers that were mended too; found by the item first, however much that person said.
        Index("ix_review_item_reviewer", "item_id", "reviewer"),
        # By whom, and whose is the newest.
        Index("ix_review_reviewer", "reviewer", "id"),
        # What somebody said in a day.
        Index("ix_review_reviewer_day", "reviewer", "created_at"),
    )
    id: int = Field(default=None, primary_key=True)
    #: UUID made by the browser: the same answer sent twice is stored once.
    token: str = Field(unique=True)
    item_id: int = Field(foreign_key="item.id")
    #: The slot this answer fills; null for skips and late answers, which fill none.
    slot_id: int | None = Field(default=None, foreign_key="slot.id")
    lease_id: str = Field(foreign_key="lease.id")
    #: Keyed pseudonym, never an account id.
    reviewer: str
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
    #: For verdict ranked: the rank of each answer in the order shown, 1 the best; equal ranks are ties.
    ranking: list[int] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    note: str | None = None
    skip_reason: str | None = None
    taxonomy_version: str
    guideline_version: str
    policy_version: str
    #: Time the item was open with the tab visible, s: as the browser says, and no longer than since it was handed out.
    seconds_open: float | None = None
    #: Answered after the lease had expired; stored all the same.
    late: bool = False
    supersedes: int | None = Field(default=None, foreign_key="review.id", unique=True)
    #: Written by a rehearsal's simulated reviewer; never mixed with people's answers.
    simulated: bool = False
    created_at: AwareDatetime = Field(default_factory=now)
