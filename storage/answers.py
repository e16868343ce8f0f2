"""Answers as the browser sends them, and the rules that they keep. Knows no database.

A single text is flagged, found fine or skipped; of several side by side people say which is better, or in what order they stand.
"""

import math
from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flagback.storage.prompts import unstorable
from flagback.storage.records import Severity, Verdict
from flagback.storage.taxonomy import CATEGORY_CODES, KNOWN_TAXONOMY_VERSIONS, SKIP_CODES, TARGET_CODES

LONGEST_NOTE = 2_000
LONGEST_REWRITE = 20_000
LONGEST_TARGET = 200
MOST_SPANS = 100


class Span(BaseModel):
    """Marked words."""

    model_config = ConfigDict(extra="forbid")

    #: First code point of the stored text, and the one after the last.
    start: int
    end: int
    #: One of the answer's categories, None where the words are only marked.
    category: str | None = None


class Answer(BaseModel):
    """What the browser sends. Its shape is checked here, its rules by `submit`."""

    model_config = ConfigDict(extra="forbid")

    #: UUID made by the browser when the answer is given: sent twice, it is stored once.
    token: str
    lease_id: str
    verdict: Verdict
    #: Main one first.
    categories: list[str] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    target_other: str | None = None
    severity: Severity | None = None
    sure: bool = True
    spans: list[Span] = Field(default_factory=list)
    rewrite: str | None = None
    #: For verdict ranked: the rank of each answer in the order shown, 1 the best.
    ranking: list[int] | None = None
    note: str | None = None
    skip_reason: str | None = None
    seconds_open: float | None = None
    taxonomy_version: str
    guideline_version: str
    #: Token of the earlier answer that this one corrects.
    supersedes_token: str | None = None

    @field_validator("token", "supersedes_token")
    @classmethod
    def _is_uuid(cls, value: str | None) -> str | None:
        return None if value is None else str(UUID(value))


class BadAnswer(ValueError):
    """An answer that breaks a rule; nothing is stored."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        #: The field at fault, for the screen to point at.
        self.field = field


def check(answer: Answer, text: str) -> None:
    """Raises BadAnswer naming the first rule that the answer breaks; `text` is the judged generation's."""
    _check_common(answer)
    if answer.verdict not in ("flag", "fine", "skip"):
        raise BadAnswer(
            "verdict", f"{answer.verdict!r} says which of several answers is better; this item shows one: flag, fine or skip."
        )
    if answer.ranking is not None:
        raise BadAnswer("ranking", "A ranking is of several answers; this item shows one: leave it out.")
    if answer.verdict == "flag":
        _check_flag(answer, text)
        return
    _check_only(answer, frozenset())


def check_comparison(answer: Answer, answers: Sequence[str]) -> None:
    """The same for an item that shows several answers side by side."""
    _check_common(answer)
    allowed = ("left", "right", "equal", "both_bad", "skip") if len(answers) == 2 else ("ranked", "skip")
    if answer.verdict not in allowed:
        raise BadAnswer(
            "verdict",
            f"{answer.verdict!r} is no answer to {len(answers)} texts side by side; expected one of {', '.join(allowed)}.",
        )
    _check_only(answer, frozenset({"rewrite"}) if answer.verdict == "both_bad" else frozenset())
    if answer.rewrite is not None:
        for text in answers:
            _check_rewrite(answer.rewrite, text)
    if answer.verdict != "ranked":
        if answer.ranking is not None:
            raise BadAnswer("ranking", f"An answer with verdict {answer.verdict!r} takes no ranking; leave it out.")
        return
    ranks = answer.ranking or []
    if len(ranks) != len(answers) or set(ranks) != set(range(1, len(set(ranks)) + 1)):
        raise BadAnswer(
            "ranking",
            f"The ranking is {ranks}; expected a rank for each of the {len(answers)} answers in the order shown, from 1 for the "
            "best without a gap, equal ranks for ties.",
        )


def _check_common(answer: Answer) -> None:
    if answer.taxonomy_version not in KNOWN_TAXONOMY_VERSIONS:
        raise BadAnswer("taxonomy_version", f"Taxonomy version {answer.taxonomy_version!r} is not known here; reload the page.")
    if answer.seconds_open is not None and not (math.isfinite(answer.seconds_open) and answer.seconds_open >= 0):
        raise BadAnswer("seconds_open", f"The time open is {answer.seconds_open} s; expected 0 or more.")
    _check_codes("categories", answer.categories, CATEGORY_CODES)
    _check_codes("targets", answer.targets, TARGET_CODES)
    for field, value, longest in (
        ("note", answer.note, LONGEST_NOTE),
        ("rewrite", answer.rewrite, LONGEST_REWRITE),
        ("target_other", answer.target_other, LONGEST_TARGET),
    ):
        _check_text(field, value, longest)


def _check_only(answer: Answer, allowed: frozenset[str]) -> None:
    """Of what belongs to a flag, only what is allowed; a skip has its reason, and nothing else has one."""
    for field in ("categories", "targets", "target_other", "severity", "spans", "rewrite"):
        if getattr(answer, field) and field not in allowed:
            raise BadAnswer(
                field,
                f"An answer with verdict '{answer.verdict}' takes no {field.replace('_', ' ')}; flag the item, or leave it out.",
            )
    if answer.verdict == "skip" and answer.skip_reason not in SKIP_CODES:
        raise BadAnswer(
            "skip_reason", f"A skip needs a reason; got {answer.skip_reason!r}, expected one of {', '.join(sorted(SKIP_CODES))}."
        )
    if answer.verdict != "skip" and answer.skip_reason is not None:
        raise BadAnswer("skip_reason", f"An answer with verdict '{answer.verdict}' takes no skip reason; leave it out.")


def _check_flag(answer: Answer, text: str) -> None:
    if not answer.categories:
        raise BadAnswer("categories", "A flag needs at least one category; tick what is wrong.")
    if answer.severity is None:
        raise BadAnswer("severity", "A flag needs a severity: slight, clear or severe.")
    if answer.skip_reason is not None:
        raise BadAnswer("skip_reason", "A flag takes no skip reason; leave it out.")
    if "other" in answer.categories and not (answer.note or "").strip():
        raise BadAnswer("note", "The category 'other' needs a note that says what is wrong.")
    if answer.target_other and "other" not in answer.targets:
        raise BadAnswer("target_other", "A group in your own words needs the target 'other' ticked.")
    if len(answer.spans) > MOST_SPANS:
        raise BadAnswer("spans", f"{len(answer.spans)} passages are marked; at most {MOST_SPANS} are kept.")
    for span in answer.spans:
        if not 0 <= span.start < span.end <= len(text):
            raise BadAnswer(
                "spans",
                f"A marked passage runs from {span.start} to {span.end}; expected 0 <= start < end <= "
                f"{len(text)}, counted in code points of the stored text.",
            )
        if span.category is not None and span.category not in answer.categories:
            raise BadAnswer("spans", f"A marked passage has category {span.category!r}, which the answer does not tick.")
    if answer.rewrite is not None:
        _check_rewrite(answer.rewrite, text)


def _check_rewrite(rewrite: str, text: str) -> None:
    if not rewrite.strip():
        raise BadAnswer("rewrite", "The rewrite is empty; write how it should read, or leave it out.")
    if rewrite.split() == text.split():
        raise BadAnswer("rewrite", "The rewrite is the same as the answer but for white space; change something, or leave it out.")


def _check_codes(field: str, codes: Sequence[str], known: frozenset[str]) -> None:
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise BadAnswer(field, f"Unknown among the {field}: {unknown[0]!r}; expected some of {', '.join(sorted(known))}.")
    if len(set(codes)) != len(codes):
        raise BadAnswer(field, f"The {field} name one twice: {', '.join(codes)}.")


def _check_text(field: str, value: str | None, longest: int) -> None:
    if value is None:
        return
    if len(value) > longest:
        raise BadAnswer(field, f"The {field.replace('_', ' ')} has {len(value)} characters; at most {longest} are kept.")
    if bad := unstorable(value):
        raise BadAnswer(field, f"The {field.replace('_', ' ')} holds {bad}, which no database keeps; remove it.")
