"""Sentences that the layers below the pages make, told in the language of who reads; and the words of the pages' tables.

`flagback.model` and `flagback.storage` speak English only, and much of what they said is kept: a gate's reasons, a figure's words,
the message of an error. Such a text is recognised by its form here when it is shown, what stands in its {places} is told on in
turn, and a text of no known form stays as it is. Knows forms of words; knows nothing of who made them. A test looks for each form
in the code.
"""

import re
from functools import cache, lru_cache
from typing import NamedTuple

from flagback.review_app.words import language, stored, told, written

#: Words that stand in tables or columns of the database, by the context under which they are translated.
TABLES: dict[str, tuple[str, ...]] = {
    "state": ("waiting", "running", "succeeded", "failed", "cancelled", "candidate", "current", "retired", "rejected"),
    "kind of work": ("Sampling", "Correction", "Evaluation"),
    "kind of pair": ("contrast", "comparison", "rewrite", "imported"),
    "decision": ("promote", "override", "roll back"),
    "purpose": ("loop", "blind"),
    "next step": (
        "No model is here yet.",
        "The model has nothing to answer.",
        "Nothing waits for people.",
        "Work is under way.",
        "People have answers to judge.",
        "There are flags to learn from.",
        "A new version waits to be compared.",
        "A new version waits for your decision.",
        "Preview the correction…",
        "Look at the versions…",
        "Look and decide…",
        "Bring prompts…",
    ),
    "seen": ("blind: a line is one evaluation", "answers reviewed to learn from", "answers in use"),
    "which texts": ("fell most", "rose most", "all", "changed", "unchanged"),
    "scale": (
        "same label (nominal)",
        "ranks (ordinal)",
        "numbers (interval)",
        "flag or fine (nominal)",
        "severity (ordinal)",
        "Names: labels without an order",
        "Ranks: labels from low to high",
        "Numbers: differences between them mean something",
    ),
    "kind of error": ("fine, over the line", "harmful, under it"),
    "station": (
        "prompts",
        "answers",
        "reviewed",
        "pairs",
        "what the model is asked",
        "what answers say by themselves",
        "prompts of answers that people judged",
        "prompts of the newest set to learn from",
    ),
    "age": ("under a day", "1 to 3 days", "3 to 7 days", "1 to 2 weeks", "2 to 4 weeks", "longer"),
    "met": ("called severe by somebody", "skipped as too upsetting"),
    "pool": ("by name", "crowd platform", "People who choose a name and a password", "People sent by a crowd platform"),
    "contested": (
        "Most evenly split",
        "Judged last",
        "It is harmful",
        "It is fine",
        "Legitimate disagreement",
        "sets frozen from now on take it as flagged, whatever the votes.",
        "sets frozen from now on take it as fine, whatever the votes.",
        "both readings stand, and the votes are weighed as they are.",
    ),
    "aside": (
        "Pause",
        "Leave all answers out",
        "Is handed nothing more; what was answered counts.",
        "Counts in no figure, total or set, and is handed nothing more; others are asked in their place.",
        "paused",
        "left out",
    ),
    "overlap": ("As many as each sampling asks for", "Few at first, more where people flag or differ"),
    "policy": (
        "Majority",
        "Any group's majority",
        "Mean of groups",
        "The group that minds most",
        "A jury, seats dealt out evenly",
        "Dawid and Skene",
    ),
    "file": (
        "Prompts",
        "Preference pairs",
        "Perplexity texts",
        "Replay texts",
        "Logged answers",
        "Finished ratings",
        "Reviews",
        "Preference pairs of the newest set",
        "Unpaired answers of the newest set",
        "reviews",
        "pairs",
        "unpaired",
    ),
    "column": (
        "version",
        "answers",
        "group",
        "figure",
        "week",
        "of",
        "items",
        "agreement",
        "difference",
        "scale",
        "kept for",
        "waited",
        "day",
        "what",
        "count",
        "value",
        "low",
        "high",
        "about",
        "error",
        "recipe",
        "share",
        "station",
        "texts",
        "word",
    ),
}

#: Forms of sentences of the layers below, and of their parts. What fills a {place} is looked up here in turn.
FORMS: tuple[str, ...] = (
    # What comes next in the loop (storage/overview.py).
    "Register the model to work on: flagback model add PATH_OR_HUB_ID.",
    "Bring prompts for it to answer: flagback import prompts FILE.",
    "A correction is under way.",
    "The model is answering prompts.",
    "{flags} new flags stand on what version {version} wrote: start a correction.",
    "{seats} reviews are wanted; version {version} has {flags}, {enough} are a start.",
    "{count} new flag",
    "{count} new flags",
    "Have version {version} answer some prompts, for people to review.",
    "Compare version {version} ({name}) with its parent: flagback evaluate {number}.",
    "Version {version} ({name}) is being evaluated.",
    "If it waits for blind samples to be judged, {seats} seats are open to reviewers.",
    "The gate waits for {reviews} blind reviews of version {version} ({name}) and its parent. When they are done, evaluate again.",
    "{reviews} blind reviews of version {version} ({name}) came in since: evaluate it again.",
    "The gate said '{said}' of version {version} ({name}): look at the comparison, then promote it, or sample and review more.",
    "pass",
    "fail",
    "not enough data",
    "nothing",
    # The gate's reasons (model/gate.py).
    "{name} was not measured; {more}.",
    "{name}: {counted} are too few for an interval; {more}.",
    "{name} changed by {change} (95 %: {low} to {high}, {counted}): {margin}.",
    "{name} changed by {change} (95 %: {low} to {high}, {counted}): not {margin}.",
    "{name} changed by {change} (95 %: {low} to {high}, {counted}): not shown to be {margin}, though there was data enough.",
    "{name} changed by {change} (95 %: {low} to {high}, {counted}): too uncertain to say that it is {margin}; {more}.",
    "{name} changed by {change} (95 %: {low} to {high}, {counted}): more flags; groups looked at: {groups}.",
    "Correct again more gently (fewer steps or a lower learning rate) or with more replay.",
    "The gate does not wait for it.",
    "between {low} and {high}",
    "at most {amount}",
    "at least {amount}",
    "{amount} points",
    "{n} prompts",
    "{n} texts",
    "{n} pairs",
    "{n} answers",
    "{n} swapped answers",
    "{counted} of {kinds} kinds",
    "There are no texts to measure perplexity on; add some that people would write every day, then evaluate again.",
    "Perplexity on '{texts}'",
    "Variety of wording (distinct-2)",
    "The share of empty answers",
    "The share of answers that refuse",
    "Repetition within an answer",
    "The length of answers",
    "Held-out preference accuracy",
    "The log-probability of chosen answers",
    "The gap between groups",
    "Bias turned round",
    "Perplexity on answers about groups that people found fine",
    "The distance to the base on 'neutral'",
    "evaluate again on more held-out prompts",
    "put more held-out prompts that speak of groups before reviewers, then evaluate again",
    "add more texts of this set, then evaluate again",
    "review more answers to held-out prompts, then evaluate again",
    "review more answers that speak of a group, then evaluate again",
    "No blind comparison was made; sample both versions for blind review and ask reviewers to go on, then evaluate again.",
    "Only {n} of the {planned} blind comparisons are reviewed; ask reviewers to go on, then evaluate again.",
    "{counted} are too few to say anything; put more held-out prompts before reviewers, then evaluate again.",
    (
        "Reviewers flagged {candidate} of the candidate's answers and {base} of its base's, a change of {change} (95 %: {low} "
        "to {high}, {counted}): fewer flags."
    ),
    (
        "Reviewers flagged {candidate} of the candidate's answers and {base} of its base's, a change of {change} (95 %: {low} "
        "to {high}, {counted}): more flags. Look at the flagged answers before correcting again."
    ),
    (
        "Reviewers flagged {candidate} of the candidate's answers and {base} of its base's, a change of {change} (95 %: {low} "
        "to {high}, {counted}): it may be chance. A change under {size} cannot be seen with so few; put more held-out prompts "
        "before reviewers, then evaluate again."
    ),
    (
        "Reviewers flagged {candidate} of the candidate's answers and {base} of its base's, a change of {change} (95 %: {low} "
        "to {high}, {counted}): no improvement, though one of {size} would have shown. Collect more flags, then correct again."
    ),
    "Flags were not measured for any group by itself; {more}.",
    "Flags on prompts about {groups}",
    "Flags on prompts about {groups}: {margin}.",
    "Too uncertain to say that flags changed by {margin}: {groups}; {more}.",
    # Figures and their notes (model/evaluation.py, model/shared_noise.py).
    "Too few prompts to say anything: {groups}.",
    "Share of held-out pairs whose chosen answer is the likelier one",
    "The same, with log-probabilities per token",
    "Always taking the shorter answer is right on {share}.",
    "{right} pairs turned right, {wrong} turned wrong (exact McNemar p = {p}, as if pairs were independent).",
    "Share of answers with nothing in them",
    "Share of answers that refuse, by their first words",
    "Share of an answer's four-token runs that it has said before",
    "Distinct-{size}: share of {n}-token runs that are different ones, at equal length",
    "Base and candidate exchanged at random differ as much with p = {p}; the interval is wider than it need be.",
    "Share of blind reviews that flag an answer",
    "Share of blind reviews that flag an answer, on prompts about {groups}",
    "Improved least of the {count} groups with enough prompts; its change by the pooled estimate: {change} points.",
    (
        "Were groups dealt out by lot, the one that improves least would show {change} points on average, and one this far "
        "from the rest would come up with p = {p}."
    ),
    "The same noise before and after: the comparison varies {share} as much as with independent samples",
    "What is left of the variance: {told}.",
    "{same} of {all} pairs of answers are word for word the same.",
    # Policies (model/policies.py).
    "More than half of all votes; every person counts alike, so a small group is outvoted.",
    "Harmful where more than half of the votes of any group (of two raters or more), or of all, say so.",
    "Each group's view counts alike, however few its raters: the mean over groups of the probability that a member would flag.",
    "The view of the group that minds most, among groups with two raters or more on the item.",
    "The chance that a jury with declared seats by group would say harmful by majority, over all juries that could be drawn.",
    "Estimates each rater's error rates and believes those who agree with the consensus more.",
    "For comparison only: it takes consistent dissent for error, so a minority that agrees with itself is believed less.",
    # Numbers of people (storage/panel.py, storage/suppression.py), and why a figure of agreement is missing.
    "no",
    "fewer than {people}",
    "{people} or more",
    "no item was rated by two people",
    "all ratings are alike",
    "not enough raters: at least {raters} are needed",
    "not enough raters for an interval: at least {raters} are needed",
    "one rater decides it: no interval",
    "more than {labels} different labels",
    # Alarms of a correction (model/alarms.py).
    (
        "The chosen answers lost {nats} nats each (more than {limit}): the model moves away from what people chose, too. Raise "
        "anchor_weight (now {anchor}) to {more}, or lower learning_rate from {rate} to {less}."
    ),
    (
        "The model is about {nats} nats a token from its reference (more than {limit}). Raise beta (now {beta}) to {more}, "
        "lower learning_rate from {rate} to {less}, or take fewer than {steps} steps."
    ),
    (
        "The gradient's norm jumped to {norm}, over {times} times what is usual in this run. Raise warmup (now {warmup} "
        "steps), lower learning_rate from {rate} to {less}, or lower max_grad_norm (now {limit})."
    ),
    # Refusals that a page says.
    "No model has been registered; run 'flagback model add embedded', or name a Hugging Face directory or hub id.",
    "There is no pair to freeze; have reviewers flag some answers, or import preferences, first.",
    (
        "Nobody has flagged an answer of version {version} ({name}), so there is no pair to learn from; let reviewers flag "
        "some answers first, or name an imported set with --set."
    ),
    "Correction {run} is {state} (stage {stage}); wait for it, or stop it with 'flagback runs --cancel {number}'.",
    (
        "Correction {run} is {state} (stage {stage}) and no worker is at it; 'flagback worker' goes on with it where it stands, "
        "'flagback runs --cancel {number}' stops it."
    ),
    "There are no prompts to answer; bring some with 'flagback import prompts FILE'.",
    "Version {version} ({name}) is the first of its line; there is nothing before it.",
    "The reason is {reason}; expected at least {characters} characters that say why, for who reads it later.",
    "Nobody differs on item {item}; expected one that some flag and others find fine: 'flagback contested'.",
    "Record {record} says so already since {day}; end it first: 'flagback set-aside end {number}'.",
    "The pool name {name} cannot be used; expected 1 to {most} visible characters.",
    "There is a pool {name} already; choose another name.",
    "A link for {people} people was asked for the role {role}; only reviewers share a link.",
    "A pool holds reviewers and leads; {role} is neither. Make the link without a pool.",
    "The completion code {code} cannot be used; expected 1 to {most} visible characters, as the platform gave it.",
    "{login} is shut out, so no link is made; let the account in again first: 'flagback account enable {same}'.",
    "{login} is the only administrator; make another one first: flagback account role LOGIN administrator.",
    "The key name {name} cannot be used; expected 1 to 64 letters, digits, dots, dashes or underscores.",
    (
        "There is, or was, a key {name}, and what it brought stands under that name; choose another. 'flagback outputs key "
        "list' has all."
    ),
    "The steps are {steps}; expected at most {most} odd numbers from 1 to {reviews}, such as 3,5,7.",
    "The steps are {steps}; expected each to be more than the one before, such as 3,5,7.",
    "{seats} seats are kept for groups, but an answer begins with {reviews} reviews; keep fewer, or begin with more.",
    (
        "The policy {name} weighs groups of reviewers, and {groups} can be weighed; expected two or more of five people who "
        "agreed to it. Use --policy majority, or ask for background and consent on the page You."
    ),
)
_PLACE = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"([+\-−]?)(\d[\d,]*)(\.\d+)?( ?%)?")
_END = re.compile(r"(?<=[.!?]) ")
#: What fills a place ends before the next sentence begins.
_WITHIN = r"(?:(?!\. [A-Z]).)+?"


class _Form(NamedTuple):
    words: str
    found: re.Pattern[str]


@cache
def _forms() -> tuple[_Form, ...]:
    """The forms, those with the most words of their own first."""
    made = []
    for words in FORMS:
        parts = _PLACE.split(words)
        pattern = "".join(rf"(?P<{part}>{_WITHIN})" if place % 2 else re.escape(part) for place, part in enumerate(parts))
        made.append(_Form(words, re.compile(pattern, re.DOTALL)))
    return tuple(sorted(made, key=lambda form: -len(_PLACE.sub("", form.words))))


def retold(text: str) -> str:
    """A text of the layers below in the language of who reads; of no known form, as it is."""
    return text if language() == "en" else _told(language(), text)


@lru_cache(maxsize=4096)
def _told(code: str, text: str) -> str:
    if (whole := _of_a_form(code, text)) is not None:
        return whole
    for cut in reversed([match.start() for match in _END.finditer(text)]):
        if (first := _of_a_form(code, text[:cut])) is not None:
            return f"{first} {_told(code, text[cut + 1 :])}"
    return told(Exception(text))


def _of_a_form(code: str, text: str) -> str | None:
    if len(text) > 4_000:
        return None
    if (plain := stored("retold", text)) != text:
        return plain
    for form in _forms():
        if match := form.found.fullmatch(text):
            filled = {place: _filling(code, said) for place, said in match.groupdict().items()}
            words = stored("retold", form.words)
            return words.format(**filled) if filled else words
    return None


def _filling(code: str, said: str) -> str:
    """What stands in a place: a number in the language's signs, or a text of a known form, or as it is."""
    if number := _NUMBER.fullmatch(said):
        sign, whole, rest, per_cent = number.groups(default="")
        digits = written(float(whole.replace(",", "") + rest), f"{',' if ',' in whole else ''}.{max(0, len(rest) - 1)}f")
        return f"{sign}{digits}{per_cent}"
    return _told(code, said)
