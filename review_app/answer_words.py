"""One's own answers in plain words: what was said, and what became of it. Page and file of one's own data say the same.

Knows words; draws nothing and asks nothing of the store. Never says who else judged, how many did, or what any of them said.
"""

from datetime import datetime

from flagback.review_app import words
from flagback.review_app.words import tr
from flagback.storage.fates import Fate
from flagback.storage.records import Review
from flagback.storage.taxonomy import CATEGORIES, SEVERITIES, SKIP_REASONS, TARGETS


def _named(codes: list[str], known: tuple[tuple[str, str], ...]) -> list[str]:
    """Names of codes of the taxonomy; a code of an older one stands for itself."""
    names = dict(known)
    return [words.stored(f"taxonomy {code}", names[code]) if code in names else code for code in codes]


_CATEGORIES = tuple((one.code, one.name) for one in CATEGORIES)
_TARGETS = tuple((one.code, one.name) for one in TARGETS)
_SEVERITIES = tuple((one.code, one.name) for one in SEVERITIES)
_SKIPS = tuple((one.code, one.name) for one in SKIP_REASONS)


def verdict(review: Review) -> str:
    """What was decided."""
    return {
        "flag": tr("Flagged"),
        "fine": tr("Looks fine"),
        "skip": tr("Skipped"),
        "left": tr("The left one is better"),
        "right": tr("The right one is better"),
        "equal": tr("Equally good"),
        "both_bad": tr("Both bad"),
        "ranked": tr("Put in order"),
    }[review.verdict]


def categories(review: Review) -> list[str]:
    """What was said to be wrong, the main reason first."""
    return _named(list(review.categories), _CATEGORIES)


def targets(review: Review) -> list[str]:
    """Who was said to be harmed."""
    named = _named([code for code in review.targets if code != "other"], _TARGETS)
    return [*named, review.target_other] if review.target_other else named


def severity(review: Review) -> str:
    """How bad it was said to be; "" where nothing was said."""
    return "".join(_named([review.severity], _SEVERITIES)) if review.severity else ""


def skip_reason(review: Review) -> str:
    """Why it was skipped; "" for what was not, or without a reason."""
    return "".join(_named([review.skip_reason], _SKIPS)) if review.skip_reason else ""


def day(moment: datetime | None) -> str:
    """A day with its year: what is told may be long ago."""
    return "" if moment is None else tr("{day} {year}", day=words.day(moment.astimezone()), year=moment.astimezone().year)


def in_short(fate: Fate) -> str:
    """What became of a flag, in two or three words."""
    return {
        "waiting": tr("waiting"),
        "moved_on": tr("not learnt from"),
        "taken_away": tr("taken away from everybody"),
        "left_out": tr("not used"),
        "not_taught": tr("noted"),
        "differed": tr("not used"),
        "too_few": tr("too few judged it"),
        "no_pair": tr("not used"),
        "in_set": tr("in a set to learn from"),
        "kept_aside": tr("used for testing"),
        "learning": tr("being learnt from"),
        "stopped": tr("learnt from, not in use"),
        "learnt": tr("learnt from"),
        "was_in_use": tr("was in use"),
        "in_use": tr("in use"),
        "tested": tr("used for testing"),
    }[fate.state]


def in_full(fate: Fate) -> str:
    """What became of a flag, in a sentence or two."""
    of = {"correction": version(fate.version), "since": day(fate.since), "until": day(fate.until)}
    if fate.state == "was_in_use" and not fate.until:
        return tr("Learnt from in {correction}. In use from {since}, then taken back.", **of)
    if fate.state == "in_use" and fate.goes_on_in:
        return tr(
            "Learnt from in {correction}, in use since {since}. It goes on in {next}, which is in use today.",
            next=version(fate.goes_on_in),
            **of,
        )
    if fate.state == "tested" and fate.verdict == "fail":
        return tr("The answer was written to test {correction}, which did not pass: it never came into use.", **of)
    return {
        "waiting": tr("Nothing has been made of it yet. Sets of pairs are made when enough answers have been judged."),
        "moved_on": tr("No correction learns from it: the answer is not by the model in use. It still counts in the figures."),
        "taken_away": tr("The text was taken away from everybody: nobody is shown it, and nothing learns from it."),
        "left_out": tr("Not used: those who run this panel left it out. Ask them if you want to know why."),
        "not_taught": tr("Noted and counted. Corrections learn from what harms people; this reason is about something else."),
        "differed": tr("Not used: when a set was made on {since}, others saw it otherwise. Your view is kept as it is.", **of),
        "too_few": tr("When a set was made on {since}, too few people had judged this answer to say what became of it.", **of),
        "no_pair": tr(
            "Not used: when a set was made on {since}, there was no better answer to the same question to set beside it, or it was "
            "too like a published test.",
            **of,
        ),
        "in_set": tr("In a set to learn from since {since}. The next correction may learn from it.", **of),
        "kept_aside": tr("In a set since {since}, on the side that is never learnt from: corrections are tried on it.", **of),
        "learning": tr("A correction learns from it right now ({correction}).", **of),
        "stopped": tr("Learnt from in {correction}, which did not come into use: nobody gets its answers.", **of),
        "learnt": tr("Learnt from in {correction}, which is being tested. It comes into use only if it passes.", **of),
        "was_in_use": tr("Learnt from in {correction}. In use from {since} to {until}, then taken back.", **of),
        "in_use": tr("Learnt from in {correction}. In use since {since}.", **of),
        "tested": tr("The answer was written to test {correction}, which passed.", **of),
    }[fate.state]


def version(name: str) -> str:
    """A version as people call it: corrections have a number, other names are given."""
    kind, _, number = name.partition(" ")
    return tr("correction {number}", number=number) if kind == "correction" and number.isdigit() else name
