"""What every record shares: one registry, checked columns, one clock."""

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import CheckConstraint, MetaData
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

#: Why answers are sampled. loop = to learn from; blind = fresh samples of base and candidate, judged without knowing which.
SamplingPurpose = Literal["loop", "blind"]
#: Why an item exists: either of those, or check = asked a second time, to see how steadily one person judges; counts nowhere.
ItemPurpose = Literal["loop", "blind", "check"]
#: waiting = the row exists and a worker will take it; the last three are final.
RunState = Literal["waiting", "running", "succeeded", "failed", "cancelled"]


def now() -> datetime:
    """The present moment in UTC, with zone. The default clock of records; functions that need one take it as an argument."""
    return datetime.now(UTC)


def one_of(column: str, values: Any, *, nullable: bool = False) -> CheckConstraint:
    """A CHECK that `column` holds one of the Literal's members (SQLModel does not enforce them by itself)."""
    listed = ", ".join(f"'{value}'" for value in values.__args__)
    condition = f"{column} IN ({listed})"
    return CheckConstraint(f"{column} IS NULL OR {condition}" if nullable else condition, name=f"{column}_known")


class Record(
    SQLModel,
    registry=registry(
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "pk": "pk_%(table_name)s",
            }
        )
    ),
):
    """Base of all tables. A registry of its own, or Streamlit's hot reload raises 'already defined'."""
