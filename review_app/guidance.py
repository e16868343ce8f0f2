"""Which words of the guidelines and of the practice one person is shown. Knows their languages; knows no page."""

from typing import NamedTuple

from sqlmodel import Session

from flagback.review_app import words
from flagback.storage import guidelines
from flagback.storage.records import Account


class Guideline(NamedTuple):
    """The guidelines as their reader is shown them."""

    version: int
    lang: str
    #: Markdown.
    text: str


FIRST_GUIDELINE = Guideline(
    guidelines.FIRST.version, guidelines.FIRST.default_lang, guidelines.FIRST.texts[guidelines.FIRST.default_lang]
)


def preferred(account: Account, browser: str | None) -> list[str]:
    """Languages to show somebody words in, best first: their own choice, then their browser's that they read or that the board
    speaks to them, then others that they read.

    `browser` is an Accept-Language header.
    """
    read = account.languages or []
    own = [account.language] if account.language is not None else []
    return [*own, *(lang for lang in words.wanted(browser) if lang in read or lang in words.ON_THE_BOARD), *read]


def practised_in(account: Account, browser: str | None) -> list[str]:
    """Languages to practise in, best first: those that they read, and no others."""
    return [lang for lang in preferred(account, browser) if lang in (account.languages or [])]


def guideline_for(session: Session, account: Account, browser: str | None) -> Guideline:
    """The version in force, as this person is shown it."""
    version = guidelines.in_force(session)
    lang = guidelines.language_for(version.texts, version.default_lang, preferred(account, browser))
    return Guideline(version.version, lang, version.texts[lang])
