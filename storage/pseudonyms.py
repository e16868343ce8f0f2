"""Turns an account into the name its reviews carry. Knows no database and does not keep the key."""

import base64
import hmac


def pseudonym(key: bytes, account_id: int) -> str:
    """ "r_" and 20 base32 characters (100 bits) of HMAC-SHA256(key, account id).

    The same account has the same pseudonym for as long as the key file lives; without the key nobody, the database's owner
    included, can tell whose it is short of trying every account id with it, which needs the key too.
    """
    if len(key) != 32:
        raise ShortKey(f"The pseudonym key has {len(key)} bytes where 32 were expected; use Settings.pseudonym_key().")
    digest = hmac.digest(key, f"flagback account {account_id}".encode(), "sha256")
    return "r_" + base64.b32encode(digest).decode("ascii")[:20].lower()


class ShortKey(Exception):
    """The pseudonym key does not have 32 bytes."""
