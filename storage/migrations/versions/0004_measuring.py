"""Measuring: published tests and their results, a detector of harm, logged answers of models in use."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sqlmodel.sql.sqltypes.AutoString
MOMENT = sqlmodel.sql.sqltypes.UTCDateTime
SOURCES = "source IN ('sampled', 'imported', 'rewrite')"
SOURCES_NOW = "source IN ('sampled', 'imported', 'rewrite', 'logged')"


def upgrade() -> None:
    with op.batch_alter_table("generation") as generation:
        generation.drop_constraint(op.f("ck_generation_source_known"), type_="check")
        generation.create_check_constraint(op.f("ck_generation_source_known"), SOURCES_NOW)
        generation.add_column(sa.Column("draws", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "suite_data",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("suite", TEXT(), nullable=False),
        sa.Column("location", TEXT(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("artifact", TEXT(), nullable=True),
        sa.Column("content_hash", TEXT(), nullable=False),
        sa.Column("n_items", sa.Integer(), nullable=False),
        sa.Column("added_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("withdrawn_at", MOMENT(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suite_data")),
        sa.UniqueConstraint("suite", "content_hash", name=op.f("uq_suite_data_suite_content_hash")),
    )
    op.create_table(
        "suite_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("data_id", sa.Integer(), nullable=False),
        sa.Column("form", TEXT(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["model_version.id"], name=op.f("fk_suite_run_version_id")),
        sa.ForeignKeyConstraint(["data_id"], ["suite_data.id"], name=op.f("fk_suite_run_data_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suite_run")),
        sa.UniqueConstraint("version_id", "data_id", name=op.f("uq_suite_run_version_id_data_id")),
    )
    op.create_table(
        "suite_item",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("item_key", TEXT(), nullable=False),
        sa.Column("measures", sa.JSON(), nullable=False),
        sa.Column("written", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["suite_run.id"], name=op.f("fk_suite_item_run_id")),
        sa.PrimaryKeyConstraint("run_id", "item_key", name=op.f("pk_suite_item")),
    )
    op.create_table(
        "suite_comparison",
        sa.Column("base_run_id", sa.Integer(), nullable=False),
        sa.Column("candidate_run_id", sa.Integer(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["base_run_id"], ["suite_run.id"], name=op.f("fk_suite_comparison_base_run_id")),
        sa.ForeignKeyConstraint(["candidate_run_id"], ["suite_run.id"], name=op.f("fk_suite_comparison_candidate_run_id")),
        sa.PrimaryKeyConstraint("base_run_id", "candidate_run_id", name=op.f("pk_suite_comparison")),
    )
    op.create_table(
        "detector",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", TEXT(), nullable=False),
        sa.Column("artifact", TEXT(), nullable=False),
        sa.Column("n_answers", sa.Integer(), nullable=False),
        sa.Column("n_harmful", sa.Integer(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detector")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_detector_fingerprint")),
    )
    op.create_table(
        "output_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", TEXT(), nullable=False),
        sa.Column("key_hash", TEXT(), nullable=False),
        sa.Column("made_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("seen_at", MOMENT(), nullable=True),
        sa.Column("ended_at", MOMENT(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_output_key")),
        sa.UniqueConstraint("name", name=op.f("uq_output_key_name")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_output_key_key_hash")),
    )
    op.create_table(
        "output_batch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", TEXT(), nullable=False),
        sa.Column("consent", TEXT(), nullable=False),
        sa.Column("brought_by", TEXT(), nullable=False),
        sa.Column("n_answers", sa.Integer(), nullable=False),
        sa.Column("n_drawn", sa.Integer(), nullable=False),
        sa.Column("review_share", sa.Float(), nullable=True),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("withdrawn_at", MOMENT(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_output_batch")),
        sa.UniqueConstraint("name", name=op.f("uq_output_batch_name")),
    )


def downgrade() -> None:
    for name in ("output_batch", "output_key", "detector", "suite_comparison", "suite_item", "suite_run", "suite_data"):
        op.drop_table(name)
    op.execute("UPDATE generation SET source = 'imported' WHERE source = 'logged'")
    with op.batch_alter_table("generation") as generation:
        generation.drop_constraint(op.f("ck_generation_source_known"), type_="check")
        generation.create_check_constraint(op.f("ck_generation_source_known"), SOURCES)
        generation.drop_column("draws")
