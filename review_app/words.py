"""The words of pages and board in a person's language: which one it is, the catalogue, and how numbers and days are written in it.

English is written in the code; `locales/LANG/LC_MESSAGES/flagback.po` holds the others and is read as it is: neither a wheel
nor an editable install needs a step of compiling. One process serves many people: the language belongs to a request (`speaking`) or
to a Streamlit session (`speak_in_session`), never to the process. What a module holds for good must not be a translation: ask for
it when it is shown. Knows languages; knows nothing of accounts, of pages or of what a model wrote. CLI and logs stay English.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from functools import cache
from gettext import c2py
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

from babel.core import Locale
from babel.dates import format_date, format_datetime
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from flagback.storage.consent import TEXT_VERSION

#: Every language there is, by its own name. The board speaks all of them.
LANGUAGES: dict[str, str] = {"en": "English", "es": "Español", "ar": "العربية"}
#: The board's, and those of every other page.
ON_THE_BOARD = ("en", "es", "ar")
ON_PAGES = ("en", "es")
RIGHT_TO_LEFT = frozenset({"ar"})
#: Digits as on the keys, which the board names: in Arabic too.
_LOCALES = {"en": "en", "es": "es", "ar": "ar_AE"}
#: The names (CLDR) that a browser has for the plural forms of a catalogue, in its order; of others one and other.
_PLURALS = {"ar": ["zero", "one", "two", "few", "many", "other"]}
#: Under which a Streamlit session keeps its language.
_IN_SESSION = "flagback_language"
#: A tag of a browser's list with its weight: "es-MX;q=0.8".
_WANTED = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,60})?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")
#: Where what can stand on the board is written, beside the review API.
_BOARD = (".js", "storage/taxonomy.py", "storage/answers.py", "storage/reviews.py")
#: Words in a shipped fragment of HTML: [[Sign in]].
IN_HTML = re.compile(r"\[\[(.+?)\]\]", re.DOTALL)

_language: ContextVar[str | None] = ContextVar("flagback_language", default=None)
_Worded = TypeVar("_Worded", bound=NamedTuple)


# ------------------------------------------------------------------ which language


def best(own: str | None, browser: str | None, offered: Sequence[str] = ON_PAGES) -> str:
    """The person's own choice where it is offered, else the first of the browser's that is, else English.

    `browser` is an Accept-Language header.
    """
    return next((one for one in [own, *wanted(browser)] if one is not None and one in offered), "en")


def wanted(header: str | None) -> list[str]:
    """The primary subtags of an Accept-Language header, the most wanted first; what is not of its form is left out."""
    found: list[tuple[float, str]] = []
    for part in (header or "")[:1_000].split(","):
        if (match := _WANTED.fullmatch(part)) and float(match[2] or 1) > 0:
            found.append((-float(match[2] or 1), match[1].lower()))
    return [code for _, code in sorted(found, key=lambda one: one[0])]


def language() -> str:
    """The language of this request or Streamlit session; English outside of both."""
    chosen = _language.get()
    if chosen is None and "streamlit" in sys.modules:
        from streamlit.runtime.scriptrunner import get_script_run_ctx

        context = get_script_run_ctx(suppress_warning=True)
        if context is not None and _IN_SESSION in context.session_state:
            chosen = str(context.session_state[_IN_SESSION])
    return chosen or "en"


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Everything inside, tasks and threads that are started from it included, is said in this language."""
    before = _language.set(code)
    try:
        yield
    finally:
        _language.reset(before)


def speak(code: str) -> None:
    """The same from here on, inside a `speaking`: where it is found out only on the way who asks."""
    _language.set(code)


def speak_in_session(code: str) -> None:
    """What this Streamlit session shows from now on, reruns of single fragments included, is said in this language."""
    import streamlit as st

    st.session_state[_IN_SESSION] = code


def of_browser() -> str | None:
    """What the browser of this Streamlit session wants, as `best` reads it."""
    import streamlit as st

    return st.context.headers.get("Accept-Language") or st.context.locale


def direction(code: str) -> str:
    """ "rtl" or "ltr"."""
    return "rtl" if code in RIGHT_TO_LEFT else "ltr"


# ------------------------------------------------------------------------- words


def tr(words: str, /, **values: object) -> str:
    """A sentence in the language of the person. `{names}` in it are filled with `values`; without any, braces are braces."""
    return _filled(_singular(language(), None, words), values)


def trc(context: str, words: str, /, **values: object) -> str:
    """The same for words that mean several things: the context says which ("severity" for "clear")."""
    return _filled(_singular(language(), context, words), values)


def trn(one: str, many: str, count: int, /, **values: object) -> str:
    """A sentence that changes with a number, which stands in it as `{count}` with the language's own separators."""
    code = language()
    found = _catalogue(code).get(one) if code != "en" else None
    forms = found.string if found is not None and isinstance(found.string, tuple) else ()
    chosen = forms[_plural(code)(abs(count))] if all(forms) and forms else ""
    return _filled(chosen or (one if count == 1 else many), {"count": number(count), **values})


def stored(context: str | None, words: str) -> str:
    """Words that do not stand at the call but in a table or a fragment of ours; catalogue.py knows which."""
    return _singular(language(), context, words)


def tr_each(one: _Worded, context: str) -> _Worded:
    """A named tuple of stored words with its texts in the language of the person, found by `context` and its code.

    What was stored or set anew in other words stays as it is: those words are in whatever language they were written in.
    """
    fields = one._asdict()
    under = f"{context} {fields['code']}"
    return one._replace(**{name: stored(under, text) for name, text in fields.items() if isinstance(text, str) and text})


def told(error: Exception) -> str:
    """What an error of ours says, in the language of the person; as it is where the catalogue has no sentence of its form."""
    said = str(error)
    code = language()
    for form, translation in _sentences(code) if code != "en" else ():
        if found := form.fullmatch(said):
            return translation.format(**found.groupdict())
    return said


@cache
def _sentences(code: str) -> list[tuple[re.Pattern[str], str]]:
    """What errors below the pages say, as patterns, with the translation; the longest first, so that the most exact one fits."""
    below = [
        one for one in _catalogue(code) if one.id and any(place.startswith(("storage/", "model/")) for place, _ in one.locations)
    ]
    found = [(one.id, one.string) for one in below if isinstance(one.id, str) and one.context is None and one.string]
    return [(_pattern(words), str(said)) for words, said in sorted(found, key=lambda one: -len(one[0]))]


def _pattern(words: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", words)
    return re.compile("".join(f"(?P<{one}>.*?)" if place % 2 else re.escape(one) for place, one in enumerate(pieces)), re.DOTALL)


def consent_version() -> str:
    """Which words of consent are on the screen: the version of the English ones, and the language where it is another."""
    return TEXT_VERSION if language() == "en" else f"{TEXT_VERSION} {language()}"


def _filled(words: str, values: dict[str, Any]) -> str:
    return words.format(**values) if values else words


def _singular(code: str, context: str | None, words: str) -> str:
    if code == "en":
        return words
    found = _catalogue(code).get(words, context)
    return found.string if found is not None and isinstance(found.string, str) and found.string else words


@cache
def _catalogue(code: str) -> Catalog:
    path = files("flagback.review_app").joinpath("locales", code, "LC_MESSAGES", "flagback.po")
    with path.open("rb") as lines:
        return read_po(lines, locale=code, abort_invalid=True)


@cache
def _plural(code: str) -> Callable[[int], int]:
    """Which of the forms a number takes: the rule stands in the catalogue's head."""
    rule: Callable[[int], int] = c2py(_catalogue(code).plural_expr)
    return rule


def of_the_board(code: str) -> dict[str, Any]:
    """What board/words.js needs to speak a language."""
    return {
        "language": code,
        "locale": _LOCALES[code].replace("_", "-"),
        "dir": direction(code),
        "plurals": _PLURALS.get(code, ["one", "other"]),
        "words": _of_scripts(code),
    }


@cache
def _of_scripts(code: str) -> dict[str, str | list[str]]:
    """What the board's scripts say, English -> this language; plural forms stand as a list under the singular."""
    if code == "en":
        return {}
    said = [one for one in _catalogue(code) if one.id and any(place.endswith(".js") for place, _ in one.locations)]
    return {_id(one): _forms(one) for one in said if all(_forms(one))}


def on_the_board(message: Message) -> bool:
    """Whether it can stand on the board: its scripts say it, or the taxonomy, or the review API."""
    return any(place.endswith(_BOARD) or "/api/" in place for place, _ in message.locations)


def _id(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _forms(message: Message) -> str | list[str]:
    return message.string if isinstance(message.string, str) else list(message.string or ())


# -------------------------------------------------------------- numbers and days


@cache
def _locale(code: str) -> Locale:
    return Locale.parse(_LOCALES[code])


def number(amount: float) -> str:
    """A number with the separators of the language: 12,345."""
    return format_decimal(amount, locale=_locale(language()))


def either(names: Sequence[str]) -> str:
    """ "ada or max"; several: "ada or max or tom"."""
    return trc("between names", " or ").join(names)


def percent(share: float) -> str:
    """A share as a whole per cent: 12%."""
    return format_percent(share, locale=_locale(language()))


def written(amount: float, form: str) -> str:
    """A number in a form of Python's, such as ".1%" or "+.2f", with the signs of the language: 12.3%, 12,3 %."""
    english = format(amount, form)
    return english if language() == "en" else signs(english).replace("%", "\u00a0%")


def signs(english: str) -> str:
    """The same number, as English writes it, with the separators of the language."""
    if language() == "en":
        return english
    numbers = _locale(language()).number_symbols["latn"]
    return english.translate(str.maketrans({",": numbers["group"], ".": numbers["decimal"]}))


def day(moment: date) -> str:
    """A day as people write it: 14 November."""
    pattern = {"es": "d 'de' MMMM"}.get(language(), "d MMMM")
    return format_date(moment, pattern, locale=_locale(language()))


def short_day(moment: date) -> str:
    """A day where there is little room: 14 Nov."""
    return format_date(moment, "d MMM", locale=_locale(language()))


def clock(moment: datetime) -> str:
    """Day and time of a moment that knows its zone: 14 Nov, 09:30."""
    return format_datetime(moment, "d MMM, HH:mm", tzinfo=moment.tzinfo, locale=_locale(language()))
