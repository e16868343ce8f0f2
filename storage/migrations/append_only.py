"""Tables whose rows are written once: the database itself refuses to change or delete them. For migrations."""

from alembic import op


def make_append_only(table: str) -> None:
    """Triggers that refuse UPDATE and DELETE. Batch operations on SQLite rebuild a table and lose its triggers: make them again."""
    message = f"rows of {table} are never changed or deleted; a correction is a new row"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION flagback_append_only('{message}')"
        )
        op.execute(
            f"CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table} FOR EACH STATEMENT "
            f"EXECUTE FUNCTION flagback_append_only('{message}')"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER append_only_{table}_{action.lower()} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
