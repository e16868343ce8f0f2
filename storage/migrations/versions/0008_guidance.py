"""What guides who reviews: guidelines and practice by version, gold, and answers asked a second time."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

from flagback.storage.migrations.append_only import make_append_only

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sqlmodel.sql.sqltypes.AutoString
MOMENT = sqlmodel.sql.sqltypes.UTCDateTime
GOES_ON = sa.text("ended_at IS NULL")
APPEND_ONLY = ("guideline", "practice_set", "second_look_rates")


def upgrade() -> None:
    _know("item", "purpose", ["loop", "blind", "check"])
    _know("slot", "mode", ["single", "compare", "own"])
    op.create_table(
        "guideline",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("texts", sa.JSON(), nullable=False),
        sa.Column("default_lang", TEXT(), nullable=False),
        sa.Column("note", TEXT(), nullable=False),
        sa.Column("brought_back", sa.Integer(), nullable=True),
        sa.Column("set_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_guideline")),
    )
    op.create_table(
        "practice_set",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("default_lang", TEXT(), nullable=False),
        sa.Column("note", TEXT(), nullable=False),
        sa.Column("set_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_practice_set")),
    )
    op.create_table(
        "practice_round",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reviewer", TEXT(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("lang", TEXT(), nullable=False),
        sa.Column("begun_at", MOMENT(), nullable=False),
        sa.Column("ended_at", MOMENT(), nullable=True),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_round")),
    )
    op.create_index("ix_practice_round_reviewer", "practice_round", ["reviewer"])
    op.create_index(
        "uq_practice_round_open", "practice_round", ["reviewer"], unique=True, sqlite_where=GOES_ON, postgresql_where=GOES_ON
    )
    op.create_table(
        "practice_answer",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.CheckConstraint("verdict IN ('flag', 'fine')", name=op.f("ck_practice_answer_verdict_known")),
        sa.ForeignKeyConstraint(["round_id"], ["practice_round.id"], name=op.f("fk_practice_answer_round_id")),
        sa.PrimaryKeyConstraint("round_id", "position", name=op.f("pk_practice_answer")),
    )
    op.create_table(
        "second_look_rates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repeat_every", sa.Integer(), nullable=False),
        sa.Column("gold_every", sa.Integer(), nullable=False),
        sa.Column("days_apart", sa.Integer(), nullable=False),
        sa.Column("answers_apart", sa.Integer(), nullable=False),
        sa.Column("set_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_second_look_rates")),
    )
    op.create_table(
        "gold",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("lang", TEXT(), nullable=False),
        sa.Column("expected", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("added_by", TEXT(), nullable=False),
        sa.Column("created_at", MOMENT(), nullable=False),
        sa.Column("ended_at", MOMENT(), nullable=True),
        sa.Column("ended_by", TEXT(), nullable=True),
        sa.CheckConstraint("expected IN ('flag', 'fine')", name=op.f("ck_gold_expected_known")),
        sa.CheckConstraint("source IN ('unanimous', 'imported')", name=op.f("ck_gold_source_known")),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_gold_generation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gold")),
    )
    op.create_index("uq_gold_generation", "gold", ["generation_id"], unique=True, sqlite_where=GOES_ON, postgresql_where=GOES_ON)
    op.create_table(
        "second_look",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("reviewer", TEXT(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("gold_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_second_look_item_id")),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_second_look_generation_id")),
        sa.ForeignKeyConstraint(["gold_id"], ["gold.id"], name=op.f("fk_second_look_gold_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_second_look")),
        sa.UniqueConstraint("reviewer", "generation_id", name=op.f("uq_second_look_reviewer_generation_id")),
    )
    op.create_index(op.f("ix_second_look_gold_id"), "second_look", ["gold_id"])
    for table in APPEND_ONLY:
        make_append_only(table)


def _know(table: str, column: str, values: list[str]) -> None:
    """Gives a checked column other values; SQLite rebuilds the table for that."""
    with op.batch_alter_table(table) as changed:
        changed.drop_constraint(op.f(f"ck_{table}_{column}_known"), type_="check")
        listed = ", ".join(f"'{value}'" for value in values)
        changed.create_check_constraint(op.f(f"ck_{table}_{column}_known"), f"{column} IN ({listed})")


def downgrade() -> None:
    # An older schema has no word for an item that is asked a second time: what was said of those goes to no other place.
    gone = "SELECT item_id FROM second_look"
    told = op.get_bind().exec_driver_sql(f"SELECT count(*) FROM review WHERE item_id IN ({gone})").scalar_one()  # nosec B608 # no value from outside
    if told:
        raise AnswersWouldBeLost(
            f"{told:,} answers were given to items that were asked a second time, which the schema before 0008 cannot "
            f"hold; reviews "
            "are never deleted. Stay at 0008, or go back to a copy of the home made before it."
        )
    op.execute(f"DELETE FROM lease WHERE item_id IN ({gone})")  # nosec B608 # no value from outside
    op.execute(f"DELETE FROM slot WHERE item_id IN ({gone})")  # nosec B608 # no value from outside
    op.execute(f"DELETE FROM item_generation WHERE item_id IN ({gone})")  # nosec B608 # no value from outside
    for name in ("second_look", "gold", "second_look_rates", "practice_answer", "practice_round", "practice_set", "guideline"):
        op.drop_table(name)
    op.execute("DELETE FROM item WHERE purpose = 'check'")
    _know("item", "purpose", ["loop", "blind"])
    _know("slot", "mode", ["single", "compare"])


class AnswersWouldBeLost(Exception):
    """Going back would delete what people said."""
