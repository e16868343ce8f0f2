"""Claims about keys of programs: shown once, kept as a hash, ended at once, in the log without their secret."""

from datetime import timedelta

import pytest
from sqlmodel import select

from flagback.storage import output_keys
from flagback.storage.output_keys import BadKeyName, KeyExists, UnknownKey
from flagback.storage.records import AuditEntry, OutputKey, now
from flagback.storage.store import Store


def test_a_key_is_known_by_its_hash_only(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        key = output_keys.make(session, "chat", by="root", now=now())
        other = output_keys.make(session, "other", by="root", now=now())
    assert key.startswith("fbk_")
    assert len(key) > 40
    assert key != other
    with sqlite_store.reading() as session:
        stored = str([row.model_dump() for kind in (OutputKey, AuditEntry) for row in session.exec(select(kind)).all()])
        found = output_keys.holder(session, key)
    assert key not in stored
    assert key[4:] not in stored
    assert found is not None
    assert found.name == "chat"


@pytest.mark.parametrize("other", ["{0}a", " {0}", "a{0}", "", "fbk_", "{0}é", "{0}{0}{0}{0}{0}", "{1}", "{2}", "{3}"])
def test_no_other_text_is_the_key(sqlite_store: Store, other: str) -> None:
    """Nor its beginning, its end or another case of it."""
    with sqlite_store.writing() as session:
        key = output_keys.make(session, "chat", by="root", now=now())
    with sqlite_store.reading() as session:
        assert output_keys.holder(session, other.format(key, key[:-1], key[4:], key.swapcase())) is None


def test_a_withdrawn_key_is_nobodys_and_its_name_is_not_given_again(store: Store) -> None:
    with store.writing() as session:
        key = output_keys.make(session, "chat", by="root", now=now())
    with store.writing() as session:
        ended = output_keys.withdraw(session, "chat", by="root", now=now()).ended_at
    with store.writing() as session:
        assert output_keys.withdraw(session, "chat", by="max", now=now() + timedelta(days=1)).ended_at == ended, "once"
    with store.writing() as session, pytest.raises(KeyExists, match="There is, or was, a key 'chat'"):
        output_keys.make(session, "chat", by="root", now=now())
    with store.reading() as session:
        assert output_keys.holder(session, key) is None
        assert [(entry.actor, entry.action) for entry in session.exec(select(AuditEntry)).all()] == [
            ("root", "output key made"),
            ("root", "output key withdrawn"),
        ]


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "é", "x" * 65, "a\n", "<b>", "bad\ud800"])
def test_a_name_that_cannot_be_is_refused_in_words(sqlite_store: Store, name: str) -> None:
    with sqlite_store.writing() as session, pytest.raises(BadKeyName, match="expected 1 to 64 letters"):
        output_keys.make(session, name, by="root", now=now())
    with sqlite_store.writing() as session, pytest.raises(UnknownKey, match="flagback outputs key list"):
        output_keys.withdraw(session, name, by="root", now=now())


def test_when_a_key_was_used_is_kept_to_the_hour(sqlite_store: Store) -> None:
    moment = now().replace(minute=40)
    with sqlite_store.writing() as session:
        key = output_keys.make(session, "chat", by="root", now=moment)
        found = output_keys.holder(session, key)
        assert found is not None
        assert output_keys.stale(found, moment)
        output_keys.seen(session, found.id, now=moment)
    assert found.seen_at == moment.replace(minute=0, second=0, microsecond=0)
    assert not output_keys.stale(found, moment + timedelta(minutes=19))
    assert output_keys.stale(found, moment + timedelta(minutes=20))
