"""The installation that this process serves: its settings, its open store and its pseudonym key.

Knows how to open one and which one the screens of this process belong to; knows nothing of HTTP or Streamlit. Streamlit runs the
screens' script anew for every click and hands it nothing, so the one installation of the process is kept here.
"""

from dataclasses import dataclass

from flagback.review_app.home import open_records
from flagback.review_app.settings import Settings
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account
from flagback.storage.store import Store


@dataclass(frozen=True)
class Installation:
    """One home folder, opened."""

    settings: Settings
    store: Store
    #: 32 bytes; turns account ids into pseudonyms.
    pseudonym_key: bytes

    def reviewer(self, account: Account) -> str:
        """The pseudonym that an account's answers are stored under."""
        return pseudonym(self.pseudonym_key, account.id)

    def browser_name(self, account: Account) -> str:
        """What a browser keeps an account's waiting answers and drafts under: tells nobody who it is."""
        return pseudonym(self.pseudonym_key, account.id, "browser")


class NothingServed(Exception):
    """A screen was run before an installation was opened."""


_served: Installation | None = None


def open_installation(settings: Settings) -> Installation:
    """Opens the records of a home. Raises NoInstallation, OlderSchema or NewerSchema where they do not fit this Flagback."""
    return Installation(settings, open_records(settings), settings.pseudonym_key())


def serve_from(installation: Installation) -> None:
    """Makes `installation` the one that the screens of this process show."""
    global _served
    _served = installation


def served() -> Installation:
    """The installation of this process. Raises NothingServed before `serve_from`."""
    if _served is None:
        raise NothingServed(
            "No installation is open in this process; screens are started with 'flagback serve', not with 'streamlit run'."
        )
    return _served
