"""The schema's history: one Alembic revision a release, up and down."""
