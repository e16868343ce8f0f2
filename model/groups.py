"""Words for groups of people, and swaps that put one group in the place of another and keep the sentence whole.

Knows words, English and Spanish, of a first size; other words come in as axes of the caller. Knows no model and no tokenizer.
Only swaps that can be undone are handed out: swapping twice gives the text back, letter by letter. Where grammar leaves a
doubt (a Spanish adjective that would have to agree, an English "her" before an -ing) there is no swap rather than a broken one.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from flagback.model.group_grammar import (
    ALONE_BEFORE,
    OBJECT_BEFORE,
    OWNED,
    SPANISH_AGREEING,
    SPANISH_GENDERED,
    SPANISH_IMPERFECT,
    SPANISH_NEUTRAL,
    SPANISH_SAID_OF,
)
from flagback.model.group_words import ENGLISH, SPANISH

#: Where a form of a column may stand: anywhere, before a noun of its own ("her book"), by itself ("I saw her"), or as a given name
#: that is no part of a longer one.
Column = Literal["any", "before", "alone", "name"]
Language = Literal["en", "es", "other"]
#: Joins prompt and answer while both are swapped; no stored text holds a NUL.
_SEAM = "\x00"
_NEXT_WORD = re.compile(r"[\s\x00\"“”«»]*([^\W\d_]+)")
_WORD_BEFORE = re.compile(r"([^\W\d_]+)[\s\x00]+$")
#: A capital letter right behind a name, or joined to it: a surname, an initial, a number, a second name.
_MORE_NAME = re.compile(r"[ \t]+(?!I\b)[A-ZÀ-ÖØ-Þ]|[ \t]+(?:de|del|da|van|von|of)[ \t]+[A-ZÀ-ÖØ-Þ]|[-–][^\W\d_]")
#: Spanish words before a noun that agree with it though they end like words that do not.
_BESIDE_A_NOUN = frozenset(("el", "un", "la", "una", "los", "las", "buen", "mal", "primer", "tercer"))
#: Words before a name that make it somebody's or some place's: any with a capital, save these at the start of a sentence and kin.
_OPENERS = frozenset(("dear", "hello", "hi", "hola", "ayer", "hoy", "dice"))
_KIN = frozenset(("aunt", "uncle", "tía", "tío"))
_TITLES = frozenset(
    (
        *(
            "dr",
            "don",
            "doña",
            "duke",
            "king",
            "lady",
            "lord",
            "miss",
            "mr",
            "mrs",
            "ms",
            "pope",
            "president",
            "prince",
            "princess",
        ),
        *("queen", "rey", "reina", "saint", "san", "santa", "señor", "señora", "sir", "st", "virgen"),
    )
)


class Group(NamedTuple):
    """One group of an axis and its words, aligned with those of the other groups."""

    name: str
    #: One form a column, None where this group has no such word.
    forms: tuple[str | None, ...]


class Axis(NamedTuple):
    """Groups that can stand in each other's place."""

    #: "gender", "age", "religion" or a name of the caller's.
    name: str
    groups: tuple[Group, ...]
    columns: tuple[Column, ...]
    #: Whose grammar holds: articles in English, agreement in Spanish, nothing elsewhere.
    language: Language = "other"

    def flip(self, text: str, one: str, other: str) -> str | None:
        """The text with the words of two groups exchanged; None where a word has no counterpart or its role is in doubt."""
        return _flip(self, text, one, other)


class Swap(NamedTuple):
    """A text in which one group stands in the place of another."""

    axis: str
    text: str
    #: The group whose words were in the text.
    source: str
    #: The group that stands there now (and the other way round, where both were there).
    target: str


class Variant(NamedTuple):
    """A dialogue and its answer with one group put in the place of another in both."""

    axis: str
    source: str
    target: str
    messages: list[dict[str, str]]
    answer: str


def axis(name: str, words: Iterable[str | Sequence[str]], *, language: Language = "other") -> Axis:
    """An axis of the caller's own: each word, or each list of aligned forms ("Norvian", "Norvians"), is one group."""
    groups = tuple(Group(forms[0], tuple(forms)) for forms in ((word,) if isinstance(word, str) else tuple(word) for word in words))
    widths = {len(group.forms) for group in groups}
    if len(widths) != 1 or len(groups) < 2:
        raise UnevenAxis(
            f"The axis '{name}' has {len(groups)} groups with {sorted(widths)} forms; expected two groups or more, "
            "with equally many forms each."
        )
    return Axis(name, groups, tuple("any" for _ in groups[0].forms), language)


def axes_from_tags(tags: Iterable[Mapping[str, Any]], *, families: Sequence[str]) -> list[Axis]:
    """Axes from the prompts' own tags, one a family: words that stand in the same place of terms otherwise alike.

    From "the Norvian man" and "the Talish man" (tags "family" and "term") come the groups Norvian and Talish. Where several places
    vary ("the Norvian man", "the Norvian woman") the one with the most words counts.
    """
    terms: dict[str, set[str]] = defaultdict(set)
    for tag in tags:
        if tag.get("family") in families and isinstance(tag.get("term"), str):
            terms[tag["family"]].add(tag["term"])
    found = []
    for family in sorted(terms):
        frames: dict[int, dict[tuple[str, ...], set[str]]] = defaultdict(lambda: defaultdict(set))
        for term in terms[family]:
            words = term.split()
            for place, word in enumerate(words):
                frames[place][(*words[:place], "", *words[place + 1 :])].add(word)
        varying = [set().union(*(words for words in frame.values() if len(words) > 1)) for frame in frames.values()]
        most = max(varying, key=lambda words: (len(words), sorted(words)))
        if len(most) > 1:
            found.append(axis(family, sorted(most), language="en"))
    return found


def lexicon(lang: str) -> tuple[Axis, ...]:
    """The axes known for a language tag: Spanish for "es...", English for "en..." and for "und"; none for others."""
    return _lexicon("es" if lang.startswith("es") else "en" if lang.startswith(("en", "und")) else "other")


def swaps(text: str, *, lang: str = "en", axes: Sequence[str] | None = None, extra: Sequence[Axis] = ()) -> list[Swap]:
    """Every swap that this text allows: one for each other group of each axis it speaks of.

    axes names those wanted (None: all); extra adds axes of the caller's own, whose name replaces a known one of that name.
    """
    known = {found.name: found for found in (*lexicon(lang), *extra)}
    made: list[Swap] = []
    for found in known.values():
        if axes is not None and found.name not in axes:
            continue
        for source in found.groups:
            if not _pattern(found, source.name, source.name).search(text):
                continue
            for target in found.groups:
                if target.name == source.name or any(
                    s.axis == found.name and (s.target, s.source) == (source.name, target.name) for s in made
                ):
                    continue
                other = found.flip(text, source.name, target.name)
                if other is not None and other != text and found.flip(other, source.name, target.name) == text:
                    made.append(Swap(found.name, other, source.name, target.name))
    return made


def named(text: str, *, lang: str = "en", extra: Sequence[Axis] = ()) -> dict[str, str]:
    """Axis -> the one group of it that a text speaks of; an axis of which it names none, or several groups, is left out."""
    found = {}
    for known in {axis.name: axis for axis in (*lexicon(lang), *extra)}.values():
        spoken = [group.name for group in known.groups if _pattern(known, group.name, group.name).search(text)]
        if len(spoken) == 1:
            found[known.name] = spoken[0]
    return found


def indefinite(phrase: str) -> str:
    """An English phrase behind its article: "an old man", "a European"."""
    return f"{_article('a', phrase)} {phrase}"


def variants(
    messages: Sequence[Mapping[str, str]],
    answer: str,
    *,
    lang: str = "en",
    axes: Sequence[str] | None = None,
    extra: Sequence[Axis] = (),
    limit: int = 7,
) -> list[Variant]:
    """The same dialogue about other groups: messages and answer swapped as one text, so that "The nurse said" + " she" gives " he".

    At most `limit` variants an axis, chosen by the hash of what they say, never by order.
    """
    joined = _SEAM.join([*(message["content"] for message in messages), answer])
    by_axis: dict[str, list[Swap]] = defaultdict(list)
    for swap in swaps(joined, lang=lang, axes=axes, extra=extra):
        by_axis[swap.axis].append(swap)
    made = []
    for found in by_axis.values():
        for swap in sorted(found, key=lambda swap: hashlib.sha256(swap.text.encode()).digest())[:limit]:
            *contents, swapped = swap.text.split(_SEAM)
            rebuilt = [{**message, "content": content} for message, content in zip(messages, contents, strict=True)]
            made.append(Variant(swap.axis, swap.source, swap.target, rebuilt, swapped))
    return made


class UnevenAxis(ValueError):
    """An axis whose groups do not line up."""


@cache
def _lexicon(language: Language) -> tuple[Axis, ...]:
    spoken = {"en": ENGLISH, "es": SPANISH, "other": ()}[language]
    return tuple(Axis(name, tuple(Group(*group) for group in groups), columns, language) for name, columns, groups in spoken)


@cache
def _words(found: Axis, one: str, other: str) -> dict[str, list[tuple[str, Column, str | None]]]:
    """Lower-case form -> what it may stand for: (form as written, where it may stand, counterpart)."""
    forms = {group.name: group.forms for group in found.groups}
    words: dict[str, list[tuple[str, Column, str | None]]] = defaultdict(list)
    for source, target in dict.fromkeys([(one, other), (other, one)]):
        for here, column, there in zip(forms[source], found.columns, forms[target], strict=True):
            if here is not None:
                words[here.lower()].append((here, column, there))
    return dict(words)


@cache
def _pattern(found: Axis, one: str, other: str) -> re.Pattern[str]:
    """Any form of the two groups as whole words, longest first, with an English article before it."""
    article = r"(?:(?<!\w)(?P<article>an?)(?P<space>\s+))?" if found.language == "en" else "(?P<article>)(?P<space>)"
    forms = "|".join(written(word) for word in sorted(_words(found, one, other), key=lambda word: (-len(word), word)))
    return re.compile(rf"{article}(?P<form>{forms})", re.IGNORECASE)


def written(form: str) -> str:
    """The pattern of a form as whole words; a phrase not behind a hyphen: a "twenty-year-old woman" is no "old woman"."""
    return rf"(?<!\w){'(?<![-–])' if ' ' in form else ''}{re.escape(form)}(?!\w)"


def _flip(found: Axis, text: str, one: str, other: str) -> str | None:
    words = _words(found, one, other)
    parts, end = [], 0
    for match in _pattern(found, one, other).finditer(text):
        meanings = words[match["form"].lower()]
        if any(column == "name" for _, column, _ in meanings) and _is_part_of_a_name(text, match):
            return None
        place = _role(text, match)
        readings = {(form, there) for form, _, there in meanings}
        if len(readings) > 1:
            readings = {(form, there) for form, column, there in meanings if column in ("any", place)}
        counterpart = _recased(match["form"], *readings.pop()) if len(readings) == 1 else None
        if counterpart is None or (found.language == "es" and found.name == "gender" and _needs_agreement(text, match, words)):
            return None
        if _starts_sentence(text, match.start()) and not match["article"] and match["form"][0].isupper():
            counterpart = counterpart[0].upper() + counterpart[1:]
        article = _article(match["article"], counterpart) + match["space"] if match["article"] else ""
        parts += [text[end : match.start()], article, counterpart]
        end = match.end()
    return "".join([*parts, text[end:]])


def _role(text: str, match: re.Match[str]) -> Column | None:
    """Whether a word stands before a noun of its own or alone; None where an -ing leaves it open, or a verb that may be
    done to her: "made her happy", "gave her two books"."""
    following = _NEXT_WORD.match(text, match.end())
    if following is None:
        return "alone"
    word = following[1].lower()
    if word in ALONE_BEFORE or word.endswith("ly"):
        return "alone"
    if match["form"].lower() == "her" and word not in OWNED:
        before = _WORD_BEFORE.search(text[: match.start()])
        if before is not None and before[1].lower() in OBJECT_BEFORE:
            return None
    return None if word.endswith("ing") else "before"


def _is_part_of_a_name(text: str, match: re.Match[str]) -> bool:
    """ "Mary Smith", "Queen Mary", "Mary-Ann", "San Antonio": somebody or some place of that name, not anybody."""
    if _MORE_NAME.match(text, match.end()):
        return True
    if match.start() and text[match.start("form") - 1] in "-–":
        return True
    before = _WORD_BEFORE.search(text[: match.start("form")])
    if before is None or before[1].lower() in _KIN or "\n" in before[0] or _SEAM in before[0]:
        return False
    if before[1].lower() in _TITLES:
        return True
    opens = before[1].lower() in ALONE_BEFORE | SPANISH_NEUTRAL | _OPENERS and _starts_sentence(text, before.start())
    return before[1][0].isupper() and before[1] != "I" and not opens


def _recased(found: str, form: str, counterpart: str | None) -> str | None:
    """The counterpart in the letter case in which the form was found; None for a case that is none of the usual ones."""
    if counterpart is None or found == form:
        return counterpart
    if found == form.upper():
        return counterpart.upper()
    if found == form[0].upper() + form[1:]:
        return counterpart[0].upper() + counterpart[1:]
    return counterpart.lower() if found == form.lower() else None


def _article(found: str, following: str) -> str:
    """ "a" or "an" as the following word sounds, in the case found."""
    word = following.lower()
    sounds_otherwise = word.startswith(("uni", "eu", "one", "ukr", "us ", "uru", "uga", "heir"))
    vowel = (word[0] in "aeiou") != sounds_otherwise
    if found.isupper() and (len(found) > 1 or following.isupper()):
        return "AN" if vowel else "A"
    return found[0] + ("n" if vowel else "")


def _starts_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(' \t\n\x00"“«¿¡(')
    return not before or before[-1] in ".!?:…"


def _needs_agreement(text: str, match: re.Match[str], words: Mapping[str, object]) -> bool:
    """Whether a Spanish word nearby may have to agree with the swapped one: then the swap is left out."""
    if any(found[0].lower() not in words for found in SPANISH_AGREEING.finditer(text)):
        return True
    if any(_may_agree(said[1], words) for said in SPANISH_SAID_OF.finditer(text)):
        return True
    following = _NEXT_WORD.match(text, match.end())
    # Words behind a pronoun are verbs and what belongs to them; behind a noun or name an adjective may stand.
    if following is not None and not _is_pronoun(match["form"]) and _may_agree(following[1], words):
        return True
    before = _WORD_BEFORE.search(text[: match.start()])
    if before is None or " " in match["form"]:
        return False
    return _may_agree(before[1], words) or before[1].lower() in _BESIDE_A_NOUN


def _is_pronoun(form: str) -> bool:
    return form.lower() in ("él", "ella", "ellos", "ellas")


def _may_agree(word: str, words: Mapping[str, object]) -> bool:
    """Whether a Spanish word ends like one that agrees, is none of those known not to, and is not swapped itself."""
    word = word.lower()
    known = word in SPANISH_NEUTRAL or word in words or SPANISH_IMPERFECT.fullmatch(word) is not None
    return not known and SPANISH_GENDERED.fullmatch(word) is not None
