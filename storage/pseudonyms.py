"""Turns an account into the names that its answers, background and hours are kept under. Knows no database, keeps no key.

One person has a different name in each of the three, so that nobody who reads the tables can put them together: only who also
holds the key file can.
"""

import base64
import hmac
from typing import Literal

#: What the name stands on: reviews; facts about a person's background; hours and counts for payment; what a browser keeps for
#: its reader (outbox, drafts, page token).
Domain = Literal["review", "background", "work", "browser"]
_PREFIX: dict[Domain, str] = {"review": "r_", "background": "b_", "work": "w_", "browser": "a_"}


def pseudonym(key: bytes, account_id: int, domain: Domain = "review") -> str:
    """The domain's prefix and 20 base32 characters (100 bits) of HMAC-SHA256(key, domain and account id).

    The same account has the same pseudonym for as long as the key file lives; without the key nobody, the database's owner
    included, can tell whose it is short of trying every account id with it, which needs the key too.
    """
    subject = "flagback account" if domain == "review" else f"flagback {domain} of account"
    return _PREFIX[domain] + keyed_hash(key, f"{subject} {account_id}")


def keyed_hash(key: bytes, text: str) -> str:
    """20 base32 characters of HMAC-SHA256(key, text), for what must be recognised but not known: external ids, addresses."""
    if len(key) != 32:
        raise ShortKey(f"The pseudonym key has {len(key)} bytes where 32 were expected; use Settings.pseudonym_key().")
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")
    return base64.b32encode(digest).decode("ascii")[:20].lower()


class ShortKey(Exception):
    """The pseudonym key does not have 32 bytes."""
