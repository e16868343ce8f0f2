"""Records of running: workers, and the audit log."""

from typing import Any

from pydantic import AwareDatetime
from sqlalchemy import JSON
from sqlmodel import Field

from flagback.storage.records.record import Record, now


class WorkerHeartbeat(Record, table=True):
    """When a worker was last alive; a live worker takes over the runs of one silent for 60 s."""

    __tablename__ = "worker_heartbeat"
    worker_id: str = Field(primary_key=True)
    started_at: AwareDatetime = Field(default_factory=now)
    seen_at: AwareDatetime = Field(default_factory=now)
    stopped: bool = False


class AuditEntry(Record, table=True):
    """What was done, by whom: a hash chain, so that a removed or altered row shows."""

    __tablename__ = "audit_entry"
    id: int = Field(default=None, primary_key=True)
    actor: str
    action: str
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: AwareDatetime = Field(default_factory=now)
    previous_hash: str = Field(unique=True)
    #: sha256 of (previous_hash, actor, action, canonical details, created_at).
    entry_hash: str = Field(unique=True)
