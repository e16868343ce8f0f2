"""Answers judged alone that a set holds beside its pairs."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unpaired_answer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("harmful", sa.Boolean(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("review_ids", sa.JSON(), nullable=False),
        sa.Column("row_hash", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_unpaired_answer_generation_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_unpaired_answer_prompt_id")),
        sa.ForeignKeyConstraint(["set_id"], ["preference_set.id"], name=op.f("fk_unpaired_answer_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unpaired_answer")),
        sa.UniqueConstraint("set_id", "position", name=op.f("uq_unpaired_answer_set_id_position")),
    )
    op.create_index(op.f("ix_unpaired_answer_generation_id"), "unpaired_answer", ["generation_id"])
    with op.batch_alter_table("preference_set") as frozen:
        frozen.add_column(sa.Column("n_unpaired", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("preference_set") as frozen:
        frozen.alter_column("n_unpaired", existing_type=sa.Integer(), server_default=None)


def downgrade() -> None:
    """Refuses where a set holds such answers: without them its fingerprint would name rows that are gone."""
    held = op.get_bind().scalar(sa.text("SELECT count(*) FROM preference_set WHERE n_unpaired > 0"))
    if held:
        raise RuntimeError(
            f"{held} sets hold answers without a counterpart, which an older version cannot read; go on with this one."
        )
    with op.batch_alter_table("preference_set") as frozen:
        frozen.drop_column("n_unpaired")
    op.drop_table("unpaired_answer")
