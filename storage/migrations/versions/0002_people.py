"""People: pools, invitations, sessions that can be listed, consent, background, hours, and slots bound to a language."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

from flagback.storage.migrations.append_only import make_append_only

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sqlmodel.sql.sqltypes.AutoString
MOMENT = sqlmodel.sql.sqltypes.UTCDateTime
ROLES = "role IN ('reviewer', 'lead', 'maintainer', 'auditor', 'administrator')"
#: Rows of these are written once, as reviews are.
APPEND_ONLY = ("consent", "background_form")
OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", TEXT(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("answers_wanted", sa.Integer(), nullable=True),
        sa.Column("completion_code", TEXT(), nullable=True),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.CheckConstraint("kind IN ('named', 'anonymous')", name=op.f("ck_pool_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
        sa.UniqueConstraint("name", name=op.f("uq_pool_name")),
    )
    with op.batch_alter_table("account") as account:
        account.alter_column("password_hash", existing_type=TEXT(), nullable=True)
        account.add_column(sa.Column("pool_id", sa.Integer(), nullable=True))
        account.add_column(sa.Column("external_hash", TEXT(), nullable=True))
        account.add_column(sa.Column("languages", sa.JSON(none_as_null=True), nullable=True))
        account.create_foreign_key(op.f("fk_account_pool_id"), "pool", ["pool_id"], ["id"])
        account.create_unique_constraint(op.f("uq_account_pool_id_external_hash"), ["pool_id", "external_hash"])
    with op.batch_alter_table("session") as session:
        session.add_column(sa.Column("browser", TEXT(), nullable=False, server_default=""))
        session.add_column(sa.Column("seen_at", MOMENT(), nullable=False, server_default="2026-01-01 00:00:00+00:00"))
    with op.batch_alter_table("session") as session:
        session.alter_column("browser", existing_type=TEXT(), server_default=None)
        session.alter_column("seen_at", existing_type=MOMENT(), server_default=None)
    op.execute("UPDATE session SET seen_at = created_at")
    op.create_table(
        "invitation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("code_hash", TEXT(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("pool_id", sa.Integer(), nullable=True),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("made_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("expires_at", MOMENT(), nullable=False),
        sa.Column("ended_at", MOMENT(), nullable=True),
        sa.CheckConstraint("purpose IN ('join', 'reset', 'first')", name=op.f("ck_invitation_purpose_known")),
        sa.CheckConstraint(ROLES, name=op.f("ck_invitation_role_known")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_invitation_account_id")),
        sa.ForeignKeyConstraint(["pool_id"], ["pool.id"], name=op.f("fk_invitation_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_invitation_code_hash")),
    )
    op.create_table(
        "sign_in_failure",
        sa.Column("who", TEXT(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("who", name=op.f("pk_sign_in_failure")),
    )
    op.create_table(
        "consent",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("text_version", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.CheckConstraint("purpose IN ('review', 'assignment', 'training', 'export')", name=op.f("ck_consent_purpose_known")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_consent_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index("ix_consent_account_id_purpose", "consent", ["account_id", "purpose"])
    op.create_table(
        "background_form",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("made_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_background_form")),
    )
    op.create_table(
        "background",
        sa.Column("person", TEXT(), nullable=False),
        sa.Column("question", TEXT(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("own_words", TEXT(), nullable=True),
        sa.Column("form_id", sa.Integer(), nullable=False),
        sa.Column("updated_at", MOMENT(), nullable=False),
        sa.ForeignKeyConstraint(["form_id"], ["background_form.id"], name=op.f("fk_background_form_id")),
        sa.PrimaryKeyConstraint("person", "question", name=op.f("pk_background")),
    )
    op.create_table(
        "work_log",
        sa.Column("person", TEXT(), nullable=False),
        sa.Column("week", TEXT(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("person", "week", name=op.f("pk_work_log")),
    )
    for table in APPEND_ONLY:
        make_append_only(table)
    with op.batch_alter_table("slot") as slot:
        slot.add_column(sa.Column("lang", TEXT(), nullable=False, server_default="und"))
    with op.batch_alter_table("slot") as slot:
        slot.alter_column("lang", existing_type=TEXT(), server_default=None)
    _bind_slots_to_languages()
    op.drop_index("ix_slot_open", "slot")
    op.create_index(
        "ix_slot_open", "slot", ["want_group", "lang", "bucket", "rank", "id"], sqlite_where=OPEN, postgresql_where=OPEN
    )


def _bind_slots_to_languages() -> None:
    """Each slot gets the primary subtag of its prompt's language (flagback.storage.prompts.primary_language at this revision)."""
    bind = op.get_bind()
    for (lang,) in bind.execute(sa.text("SELECT DISTINCT lang FROM prompt")).all():
        bind.execute(
            sa.text(
                "UPDATE slot SET lang = :primary WHERE item_id IN "
                "(SELECT item.id FROM item JOIN prompt ON prompt.id = item.prompt_id WHERE prompt.lang = :lang)"
            ),
            {"primary": lang.split("-")[0].split("_")[0].lower() or "und", "lang": lang},
        )


def downgrade() -> None:
    op.drop_index("ix_slot_open", "slot")
    with op.batch_alter_table("slot") as slot:
        slot.drop_column("lang")
    op.create_index("ix_slot_open", "slot", ["want_group", "bucket", "rank", "id"], sqlite_where=OPEN, postgresql_where=OPEN)
    for table in ("work_log", "background", "background_form", "consent", "sign_in_failure", "invitation"):
        op.drop_table(table)
    with op.batch_alter_table("session") as session:
        session.drop_column("seen_at")
        session.drop_column("browser")
    # Accounts without a password cannot sign in under the older schema; nobody's password has this hash.
    op.execute("UPDATE account SET password_hash = 'none' WHERE password_hash IS NULL")  # pragma: allowlist secret - no hash at all
    with op.batch_alter_table("account") as account:
        account.drop_constraint(op.f("uq_account_pool_id_external_hash"), type_="unique")
        account.drop_constraint(op.f("fk_account_pool_id"), type_="foreignkey")
        for column in ("languages", "external_hash", "pool_id"):
            account.drop_column(column)
        account.alter_column("password_hash", existing_type=TEXT(), nullable=False)
    op.drop_table("pool")
