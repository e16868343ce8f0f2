"""How far a correction or an evaluation is in the stage that it is at."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = ("correction_run", "evaluation")
COLUMNS = ("stage_done", "stage_total")


def upgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as run:
            for column in COLUMNS:
                run.add_column(sa.Column(column, sa.Integer(), nullable=False, server_default="0"))
        with op.batch_alter_table(table) as run:
            for column in COLUMNS:
                run.alter_column(column, existing_type=sa.Integer(), server_default=None)


def downgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as run:
            for column in COLUMNS:
                run.drop_column(column)
