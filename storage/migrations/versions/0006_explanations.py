"""What a correction did to its pairs and flagged answers: the artifact that says so, by run."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("correction_run") as run:
        run.add_column(sa.Column("explanation_sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("correction_run") as run:
        run.drop_column("explanation_sha256")
