"""What a person chose for themselves, by account: the language of pages and board, and whether they are away."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.add_column(sa.Column("language", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
        account.add_column(sa.Column("away_since", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.drop_column("away_since")
        account.drop_column("language")
