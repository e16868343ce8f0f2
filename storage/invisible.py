"""Which characters of a text cannot be seen or deceive the eye, and what they are called where a text is shown.

Knows strings only; the board's invisible.js is the same rule in the browser (a test holds the two together). The rule:

Named by a sign: control characters but tab and line end; what reorders text (overrides, embeddings, isolates); what takes no room
(zero-width blanks and joiners, soft hyphen, word joiner, byte order mark, fillers, tag characters, variation selectors); line ends
that few programs see (U+2028, U+2029, U+0085, a lone CR); private and non-characters, half surrogates; the sixth and every further
accent on one letter.

Left alone, because honest writing needs them, and each only once in a row: the joiners after a letter of a script that joins
(Arabic, Syriac, Mongolian, the Indic ones) and the joiner between two emoji; a variation selector after an emoji, a digit of a
keycap, an ideograph or a Mongolian letter; a zero-width blank between Thai, Lao, Khmer or Burmese letters; a direction mark (LRM,
RLM, ALM) whose nearest letter on either side is written from right to left; the tags of the three flags that have them; the blank
of Braille beside Braille, the fillers of Hangul beside Hangul; CR before a line feed. All blanks with a width (no-break, thin,
ideographic) are left alone too, and letters that only look like others: they are seen.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

#: Blanks around a text that need not be shown; a hidden character there is not among them.
BLANKS = " \t\n\r\xa0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
#: Accents that one letter may bear: pointed and chanted Hebrew needs five.
MOST_ACCENTS = 5

_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"
_CONTROL = "\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
_MEANINGLESS = "\ud800-\uf8ff\ufdd0-\ufdef\ufff9-\ufffc\ufffe\uffff\U000f0000-\U0010ffff" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 15)
)
_NO_ROOM = (
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
#: Every character that is named somewhere; whether it is named here depends on its neighbours.
CANDIDATE = re.compile(f"[{_DIRECTION}{_CONTROL}{_MEANINGLESS}{_NO_ROOM}]")
_KINDS = (
    (re.compile(f"[{_DIRECTION}]"), "changes the direction of the text unseen"),
    (re.compile(f"[{_CONTROL}]"), "a control character"),
    (re.compile("[\U000e0000-\U000e007f]"), "letters that cannot be seen"),
    (re.compile(f"[{_MEANINGLESS}]"), "a character without a meaning of its own"),
    (re.compile(f"[{_NO_ROOM}]"), "takes no room and cannot be seen"),
)
_TOO_MANY_ACCENTS = "more accents than one letter bears"
#: All that `Piece.words` can say.
KINDS_IN_WORDS = (*(words for _, words in _KINDS), _TOO_MANY_ACCENTS)

_JOINING = re.compile(
    "[\u0600-\u07ff\u0840-\u085f\u0870-\u0dff\u1000-\u109f\u1780-\u17ff\u1800-\u18af\u1b00-\u1b7f\ua980-\ua9df\uabc0-\uabff"
    "\ufb50-\ufdcf\ufe70-\ufefc\U00011000-\U00011fff]"
)
_EMOJI = re.compile(
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297"
    "\u3299\U0001f000-\U0001faff]"
)
_KEYCAP = re.compile(r"[0-9#*]")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003fffd]")
_VARIED = re.compile("[\u1000-\u109f\u2200-\u22ff\u2a00-\u2aff\u3000-\u303f\ua840-\ua87f\uff01-\uff9f]")
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_JAMO = re.compile("[\u1100-\u115e\u1161-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
_BRAILLE = re.compile("[\u2801-\u28ff]")
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
#: England, Scotland and Wales: the black flag with the region in tags.
_FLAGS = {"".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f" for region in ("gbeng", "gbsct", "gbwls")}
#: How far the nearest letter may be from a direction mark, and Braille from its blank.
_NEAR = 40


class Piece(NamedTuple):
    """A stretch of a text, either shown as it is or named by a sign."""

    #: First code point and the one after the last.
    start: int
    end: int
    #: What stands on the sign ("U+202E", "U+200B ×3"); None for what is shown as it is.
    sign: str | None = None
    #: What the sign means, in words.
    words: str = ""


def pieces(text: str) -> list[Piece]:
    """The text from its first to its last code point; neighbouring hidden characters share one sign."""
    found: list[Piece] = []
    start = 0
    for first, last in _runs(_hidden_places(text)):
        if start < first:
            found.append(Piece(start, first))
        found.append(Piece(first, last, *_sign(text, first, last)))
        start = last
    if start < len(text):
        found.append(Piece(start, len(text)))
    return found


def visible(text: str, *, breaks: bool = False) -> str:
    """The text for a terminal, a log or a card: hidden characters by name, as <U+202E>; a line end too unless `breaks`."""
    shown = "".join(
        text[piece.start : piece.end].replace("\r\n", "\n") if piece.sign is None else f"<{piece.sign}>" for piece in pieces(text)
    )
    return shown if breaks else shown.replace("\n", "<U+000A>")


def blank(text: str) -> bool:
    """Whether nothing of the text can be seen: blanks and hidden characters alone."""
    return all(piece.sign is not None or not text[piece.start : piece.end].strip(BLANKS) for piece in pieces(text))


def _runs(places: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring places as (first, one after the last)."""
    first = last = -1
    for place in places:
        if place != last:
            if last > first >= 0:
                yield first, last
            first = place
        last = place + 1
    if first >= 0:
        yield first, last


def _hidden_places(text: str) -> Iterator[int]:
    if text.isascii() and not CANDIDATE.search(text):
        return
    accents = 0
    quiet_until = 0
    for at, character in enumerate(text):
        if CANDIDATE.match(character):
            if (
                character == "\U000e0067"
                and text[at - 1 : at] == "\U0001f3f4"
                and (tags := _TAGS.match(text, at))
                and tags[0] in _FLAGS
            ):
                quiet_until = tags.end()
            if at >= quiet_until and not _is_honest(text, at):
                yield at
        elif character > "\u02ff" and unicodedata.category(character) in ("Mn", "Me") and not "\u0f00" <= character <= "\u0fff":
            accents += 1
            if accents > MOST_ACCENTS:
                yield at
        else:
            accents = 0


def _is_honest(text: str, at: int) -> bool:
    """Whether a candidate stands where honest writing has it; the module's docstring says where that is."""
    character, before, after = text[at], text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if character == "\r":
        return after == "\n"
    alone = after in ("", "\r") or not CANDIDATE.match(after)
    if character == "\u200b":
        return bool(_SPACELESS.match(before) and _SPACELESS.match(after))
    if character == "\u200d" and _EMOJI.match(after):
        return bool(_EMOJI.match(before) or before == "\ufe0f")
    if character in "\u200c\u200d":
        return alone and bool(_JOINING.match(before))
    if character in "\u061c\u200e\u200f":
        return alone and not CANDIDATE.match(before) and _beside(text, at, str.isalpha, _RIGHT_TO_LEFT)
    if character in "\ufe0e\ufe0f":
        return bool(_EMOJI.match(before) or _KEYCAP.match(before))
    if "\ufe00" <= character <= "\ufe0d":
        return bool(_HAN.match(before) or _VARIED.match(before))
    if "\U000e0100" <= character <= "\U000e01ef":
        return bool(_HAN.match(before))
    if "\u180b" <= character <= "\u180f":
        return bool(_MONGOLIAN.match(before))
    if character in "\u115f\u1160":
        return bool(_JAMO.match(before) or _JAMO.match(after))
    return character == "\u2800" and _beside(text, at, lambda one: one not in "\u2800\n", _BRAILLE)


def _beside(text: str, at: int, counts: Callable[[str], bool], wanted: re.Pattern[str]) -> bool:
    """Whether the nearest character that counts, on one side or the other, is one that is wanted."""
    for near in (reversed(text[max(0, at - _NEAR) : at]), iter(text[at + 1 : at + 1 + _NEAR])):
        if wanted.match(next((one for one in near if counts(one)), "")):
            return True
    return False


def _sign(text: str, first: int, last: int) -> tuple[str, str]:
    """What stands on the sign of a hidden run, and what it means."""
    run = text[first:last]
    words = next((words for kind, words in _KINDS if kind.match(run[0])), _TOO_MANY_ACCENTS)
    if words == _TOO_MANY_ACCENTS:
        return f"{last - first} accents", words
    if len(run) > 1 and _TAGS.fullmatch(run):
        letters = "".join(chr(ord(tag) - 0xE0000) for tag in run)
        return f"tags “{re.sub(r'[^ -~]|[<>]', '', letters[:200])}”", words
    counted: list[tuple[str, int]] = []
    for character in run:
        if counted and counted[-1][0] == character:
            counted[-1] = (character, counted[-1][1] + 1)
        else:
            counted.append((character, 1))
    named = [f"U+{ord(character):04X}" + (f" ×{count}" if count > 1 else "") for character, count in counted]
    return " ".join(named if len(named) <= 3 else [*named[:2], f"… {last - first} hidden"]), words
