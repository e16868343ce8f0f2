"""Claims about pseudonyms."""

import pytest

from flagback.storage.pseudonyms import ShortKey, pseudonym

KEY = bytes(range(32))


def test_a_pseudonym_is_the_documented_one() -> None:
    # printf 'flagback account 7' |
    #   openssl dgst -sha256 -mac hmac -macopt hexkey:000102...1f -binary | base32 | cut -c1-20 | tr A-Z a-z
    assert pseudonym(KEY, 7) == "r_jn4iyzzlno4bw4vgq4rx"


def test_one_account_has_one_pseudonym_and_two_have_two() -> None:
    names = [pseudonym(KEY, account) for account in range(200)]
    assert len(set(names)) == 200
    assert names == [pseudonym(KEY, account) for account in range(200)]
    assert all(len(name) == 22 and name.startswith("r_") for name in names)


def test_another_installation_gives_another_pseudonym() -> None:
    assert pseudonym(KEY, 7) != pseudonym(bytes(32), 7)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ShortKey, match="3 bytes where 32"):
        pseudonym(b"abc", 7)
