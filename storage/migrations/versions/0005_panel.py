"""The panel's work: studies, who is set aside, adjudications, overlap, policy scores; seats that relax, probabilities of leases."""

from typing import Any

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

from flagback.storage.migrations.append_only import make_append_only

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sqlmodel.sql.sqltypes.AutoString
MOMENT = sqlmodel.sql.sqltypes.UTCDateTime
#: What the checked columns knew before, and which of their tables refuse changes.
VERDICTS = ["flag", "fine", "skip", "left", "right", "equal", "both_bad"]
APPEND_ONLY = ("review",)
PAIR_KINDS = ["contrast", "rewrite", "imported"]
OPEN = sa.text("state = 'open'")
KEPT = sa.text("state = 'open' AND want_group <> 'any'")


def upgrade() -> None:
    with op.batch_alter_table("slot") as slot:
        slot.add_column(sa.Column("relax_at", MOMENT(), nullable=True))
        slot.add_column(sa.Column("probability", sa.Float(), nullable=True))
        slot.add_column(sa.Column("mode", sa.String(), nullable=False, server_default="single"))
    with op.batch_alter_table("slot") as slot:
        slot.alter_column("mode", existing_type=sa.String(), server_default=None)
        slot.create_check_constraint(op.f("ck_slot_mode_known"), "mode IN ('single', 'compare')")
    op.drop_index("ix_slot_open", "slot")
    op.create_index(
        "ix_slot_open", "slot", ["mode", "want_group", "lang", "bucket", "rank", "id"], sqlite_where=OPEN, postgresql_where=OPEN
    )
    _know("review", "verdict", [*VERDICTS, "ranked"], adding=sa.Column("ranking", sa.JSON(), nullable=True))
    _know("preference_pair", "kind", [*PAIR_KINDS, "comparison"])
    op.create_index("ix_slot_kept", "slot", ["relax_at"], sqlite_where=KEPT, postgresql_where=KEPT)
    with op.batch_alter_table("lease") as lease:
        lease.add_column(sa.Column("probability", sa.Float(), nullable=True))
    with op.batch_alter_table("correction_run") as run:
        run.add_column(sa.Column("pairs", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("correction_run") as run:
        run.alter_column("pairs", existing_type=sa.JSON(), server_default=None)
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", TEXT(), nullable=False),
        sa.Column("scale", sa.String(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("brought_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.CheckConstraint("scale IN ('nominal', 'ordinal', 'interval')", name=op.f("ck_study_scale_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("name", name=op.f("uq_study_name")),
    )
    op.create_table(
        "study_item",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("item", TEXT(), nullable=False),
        sa.Column("text", TEXT(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_study_item_study_id")),
        sa.PrimaryKeyConstraint("study_id", "item", name=op.f("pk_study_item")),
    )
    op.create_table(
        "study_rater",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("rater", TEXT(), nullable=False),
        sa.Column("background", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_study_rater_study_id")),
        sa.PrimaryKeyConstraint("study_id", "rater", name=op.f("pk_study_rater")),
    )
    op.create_table(
        "study_rating",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("item", TEXT(), nullable=False),
        sa.Column("rater", TEXT(), nullable=False),
        sa.Column("label", TEXT(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_study_rating_study_id")),
        sa.PrimaryKeyConstraint("study_id", "item", "rater", name=op.f("pk_study_rating")),
    )
    op.create_table(
        "set_aside",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("reviewer", TEXT(), nullable=True),
        sa.Column("review_id", sa.Integer(), nullable=True),
        sa.Column("reason", TEXT(), nullable=False),
        sa.Column("decided_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("ended_at", MOMENT(), nullable=True),
        sa.Column("ended_by", TEXT(), nullable=True),
        sa.CheckConstraint("kind IN ('pause', 'exclude')", name=op.f("ck_set_aside_kind_known")),
        sa.CheckConstraint("(reviewer IS NULL) <> (review_id IS NULL)", name=op.f("ck_set_aside_one_of_both")),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_set_aside_review_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_set_aside")),
    )
    op.create_index(op.f("ix_set_aside_reviewer"), "set_aside", ["reviewer"])
    op.create_index(op.f("ix_set_aside_review_id"), "set_aside", ["review_id"])
    op.create_table(
        "adjudication",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("conclusion", sa.String(), nullable=False),
        sa.Column("reason", TEXT(), nullable=False),
        sa.Column("decided_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.CheckConstraint(
            "conclusion IN ('harm', 'fine', 'legitimate_disagreement')", name=op.f("ck_adjudication_conclusion_known")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_adjudication_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudication")),
    )
    op.create_index(op.f("ix_adjudication_item_id"), "adjudication", ["item_id"])
    op.create_table(
        "overlap",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("seats", sa.JSON(), nullable=False),
        sa.Column("relax_after_hours", sa.Float(), nullable=False),
        sa.Column("random_share", sa.Float(), nullable=False),
        sa.Column("set_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_overlap")),
    )
    with op.batch_alter_table("item") as item:
        item.add_column(sa.Column("overlap_id", sa.Integer(), nullable=True))
        item.create_foreign_key(op.f("fk_item_overlap_id"), "overlap", ["overlap_id"], ["id"])
    op.create_table(
        "policy_score",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("harm", sa.Float(), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["preference_set.id"], name=op.f("fk_policy_score_set_id")),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_policy_score_generation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_score")),
        sa.UniqueConstraint("set_id", "generation_id", name=op.f("uq_policy_score_set_id_generation_id")),
    )
    op.create_index(op.f("ix_policy_score_set_id"), "policy_score", ["set_id"])
    for table in ("adjudication", "overlap"):
        make_append_only(table)


def _know(table: str, column: str, values: list[str], *, adding: sa.Column[Any] | None = None, dropping: str | None = None) -> None:
    """Gives a checked column other values. SQLite rebuilds the table for that, and loses triggers."""
    with op.batch_alter_table(table) as changed:
        if adding is not None:
            changed.add_column(adding)
        if dropping is not None:
            changed.drop_column(dropping)
        changed.drop_constraint(op.f(f"ck_{table}_{column}_known"), type_="check")
        listed = ", ".join(f"'{value}'" for value in values)
        changed.create_check_constraint(op.f(f"ck_{table}_{column}_known"), f"{column} IN ({listed})")
    if table in APPEND_ONLY and op.get_bind().dialect.name == "sqlite":
        make_append_only(table)


def downgrade() -> None:
    _know("preference_pair", "kind", PAIR_KINDS)
    _know("review", "verdict", VERDICTS, dropping="ranking")
    op.drop_index("ix_slot_open", "slot")
    op.create_index(
        "ix_slot_open", "slot", ["want_group", "lang", "bucket", "rank", "id"], sqlite_where=OPEN, postgresql_where=OPEN
    )
    with op.batch_alter_table("slot") as slot:
        slot.drop_constraint(op.f("ck_slot_mode_known"), type_="check")
        slot.drop_column("mode")
    with op.batch_alter_table("item") as item:
        item.drop_constraint(op.f("fk_item_overlap_id"), type_="foreignkey")
        item.drop_column("overlap_id")
    for name in (
        "policy_score",
        "overlap",
        "adjudication",
        "set_aside",
        "study_rating",
        "study_rater",
        "study_item",
        "study",
    ):
        op.drop_table(name)
    with op.batch_alter_table("correction_run") as run:
        run.drop_column("pairs")
    with op.batch_alter_table("lease") as lease:
        lease.drop_column("probability")
    op.drop_index("ix_slot_kept", "slot")
    with op.batch_alter_table("slot") as slot:
        slot.drop_column("probability")
        slot.drop_column("relax_at")
