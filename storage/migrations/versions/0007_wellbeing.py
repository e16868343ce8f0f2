"""Wellbeing of reviewers: terms of care, declined topics, withdrawn texts."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

from flagback.storage.migrations.append_only import make_append_only

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sqlmodel.sql.sqltypes.AutoString
MOMENT = sqlmodel.sql.sqltypes.UTCDateTime
KEPT = sa.text("restored_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "care_terms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("support", TEXT(), nullable=False),
        sa.Column("severe_a_day", sa.Integer(), nullable=False),
        sa.Column("cover_from", sa.Float(), nullable=False),
        sa.Column("sensitive_topics", sa.JSON(), nullable=False),
        sa.Column("set_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_care_terms")),
    )
    op.create_table(
        "declined",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("topic", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_declined_account_id")),
        sa.PrimaryKeyConstraint("account_id", "topic", name=op.f("pk_declined")),
    )
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("review_id", sa.Integer(), nullable=True),
        sa.Column("category", TEXT(), nullable=False),
        sa.Column("text", TEXT(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=True),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("restored_at", MOMENT(), nullable=True),
        sa.Column("restored_by", TEXT(), nullable=True),
        sa.Column("reason", TEXT(), nullable=True),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_withdrawal_generation_id")),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_withdrawal_review_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
    )
    op.create_index(
        "uq_withdrawal_generation", "withdrawal", ["generation_id"], unique=True, sqlite_where=KEPT, postgresql_where=KEPT
    )
    # What somebody met in a day is asked at every claim: read by the day, not by all that they ever answered.
    op.create_index("ix_review_reviewer_day", "review", ["reviewer", "created_at"])
    make_append_only("care_terms")


def downgrade() -> None:
    # Texts go back where they were: a schema that knows no withdrawal has no other place for them.
    gone = "withdrawal w WHERE w.generation_id = generation.id AND w.restored_at IS NULL"
    op.execute(f"UPDATE generation SET text = (SELECT w.text FROM {gone}) WHERE EXISTS (SELECT 1 FROM {gone})")  # nosec B608 # no value from outside
    op.drop_index("ix_review_reviewer_day", "review")
    for name in ("withdrawal", "declined", "care_terms"):
        op.drop_table(name)
