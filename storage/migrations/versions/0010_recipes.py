"""Recipes that are kept by name, which of them a run followed, and whose answers a distillation learnt."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

from flagback.storage.migrations.append_only import make_append_only

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TEXT = sqlmodel.sql.sqltypes.AutoString
MOMENT = sqlmodel.sql.sqltypes.UTCDateTime


def upgrade() -> None:
    op.create_table(
        "recipe",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", TEXT(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("form", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("note", TEXT(), nullable=False),
        sa.Column("kept_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe")),
        sa.UniqueConstraint("name", "number", name=op.f("uq_recipe_name_number")),
    )
    make_append_only("recipe")
    with op.batch_alter_table("correction_run") as run:
        run.add_column(sa.Column("recipe_id", sa.Integer(), nullable=True))
        run.add_column(sa.Column("teacher", sa.JSON(), nullable=False, server_default="{}"))
        run.create_foreign_key(op.f("fk_correction_run_recipe_id"), "recipe", ["recipe_id"], ["id"])
    with op.batch_alter_table("correction_run") as run:
        run.alter_column("teacher", existing_type=sa.JSON(), server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("correction_run") as run:
        run.drop_constraint(op.f("fk_correction_run_recipe_id"), type_="foreignkey")
        run.drop_column("teacher")
        run.drop_column("recipe_id")
    op.drop_table("recipe")
