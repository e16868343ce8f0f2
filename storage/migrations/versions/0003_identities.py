"""Single sign-on: identities, where a role comes from, and how a session was opened."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("account") as batch:
        batch.add_column(sa.Column("role_source", sa.String(), nullable=False, server_default="local"))
        batch.create_check_constraint(op.f("ck_account_role_source_known"), "role_source IN ('local', 'groups')")
    with op.batch_alter_table("session") as batch:
        batch.add_column(sa.Column("opened_by", sa.String(), nullable=False, server_default="password"))
        batch.add_column(sa.Column("nonce_hash", sqlmodel.sql.sqltypes.AutoString(), nullable=True))
        batch.add_column(sa.Column("connecting_until", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=True))
        batch.create_check_constraint(op.f("ck_session_opened_by_known"), "opened_by IN ('password', 'oidc', 'link')")
        batch.create_unique_constraint(op.f("uq_session_nonce_hash"), ["nonce_hash"])
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("issuer", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("subject", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.Column("last_seen_at", sqlmodel.sql.sqltypes.UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_identity_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_identity_issuer_subject")),
    )
    op.create_index(op.f("ix_identity_account_id"), "identity", ["account_id"])


def downgrade() -> None:
    op.drop_table("identity")
    with op.batch_alter_table("session") as batch:
        batch.drop_constraint(op.f("uq_session_nonce_hash"), type_="unique")
        batch.drop_constraint(op.f("ck_session_opened_by_known"), type_="check")
        batch.drop_column("connecting_until")
        batch.drop_column("nonce_hash")
        batch.drop_column("opened_by")
    with op.batch_alter_table("account") as batch:
        batch.drop_constraint(op.f("ck_account_role_source_known"), type_="check")
        batch.drop_column("role_source")
