"""What one person said of an item is found by both: by the person alone it took as long as that person had answers."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_review_item_reviewer", "review", ["item_id", "reviewer"])
    op.drop_index("ix_review_item_id", "review")


def downgrade() -> None:
    op.create_index("ix_review_item_id", "review", ["item_id"])
    op.drop_index("ix_review_item_reviewer", "review")
