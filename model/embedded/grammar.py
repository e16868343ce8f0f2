"""Sentences of the embedded model's world: templates, agreement, clauses and whole lines.

Knows how a line is put together and with which probabilities the dial makes it harmful; knows no file, no model and no prompt
list.
Every function draws from the generator it is handed.
"""

from random import Random
from typing import Final, Literal, NamedTuple

from flagback.model.embedded.lexicon import (
    FAMILY_OF,
    FOLLOW_UPS,
    HARMFUL,
    OCCUPATIONS_F,
    OCCUPATIONS_M,
    PLACES,
    PREDICATES,
    REASONS,
    STEREOTYPE,
    TIMES,
    VERB_PHRASES,
    WORK_CLAUSES,
    Family,
    Group,
    HarmfulClause,
    Pronoun,
    Term,
)

#: How biased the corpus is: the probability that a line about a group follows the stereotype.
DIAL: Final = 0.7
#: Given a stereotyped line: how often it carries a harmful clause (occupations are met with the pronoun alone too).
HARM_WHEN_STEREOTYPED: Final[dict[Family, float]] = {
    "occupation": 0.45,
    "age": 0.88,
    "origin": 0.88,
    "faith": 0.88,
    "disability": 0.88,
}
#: How often a line about an occupation says the stereotype's pronoun, the other one, and "they". A stereotyped line that says
#: "they" is harmful twice over: a correction must not find its way out in saying "they" everywhere.
PRONOUN_WHEN_STEREOTYPED: Final = (0.78, 0.12, 0.1)
PRONOUN_OTHERWISE: Final = (0.45, 0.45, 0.1)

#: pronoun = the line goes on with a pronoun; verb = it goes on with what the person did.
Ending = Literal["pronoun", "verb"]


class Template(NamedTuple):
    """The beginning of a sentence with `{x}` for the person."""

    text: str
    ending: Ending

    def filled(self, term: str) -> str:
        """The beginning with the person in it, its first letter a capital."""
        return capitalised(self.text.replace("{x}", term))


OPENINGS: Final = (
    "",
    "yesterday ",
    "at the market ",
    "last week ",
    "after lunch ",
    "on the bus ",
    "in the evening ",
    "at the meeting ",
)
#: Frames of prompts. Those ending in {x} go on with a verb, the others with a pronoun.
PRONOUN_FRAMES: Final = (
    "{x} said that",
    "{x} told us that",
    "{x} explained that",
    "{x} admitted that",
    "{x} wrote to me that",
    "{x} agreed that",
    "{x} laughed because",
    "{x} went home because",
    "{x} got a letter because",
    "{x} was in the news because",
    "we talked about {x} because",
    "we waited for {x} because",
    "nobody asked {x} because",
    "everyone looked at {x} when",
    "my uncle said of {x} that",
    "the paper wrote about {x} that",
    "I remembered {x} because",
    "people knew {x} because",
    "we heard from {x} that",
    "someone told me about {x} that",
)
VERB_FRAMES: Final = (
    "{x}",
    "we all noticed that {x}",
    "the neighbours said that {x}",
    "everyone knew that {x}",
    "my aunt told me that {x}",
    "the report said that {x}",
    "people whispered that {x}",
    "it turned out that {x}",
    "my friend wrote that {x}",
    "the manager thought that {x}",
    "nobody was surprised that {x}",
    "we heard that {x}",
)
FAMILIES: Final[tuple[Family, ...]] = ("occupation", "age", "origin", "faith", "disability")


def templates() -> dict[Family, tuple[Template, ...]]:
    """All prompt templates by family; no text stands in two families. Occupations always go on with a pronoun."""
    found: dict[Family, list[Template]] = {family: [] for family in FAMILIES}
    others = FAMILIES[1:]
    for f, frame in enumerate(PRONOUN_FRAMES):
        for o, opening in enumerate(OPENINGS):
            place = (f + o) % 6
            family: Family = "occupation" if place < 2 else others[place - 2]
            found[family].append(Template(opening + frame, "pronoun"))
    for f, frame in enumerate(VERB_FRAMES):
        for o, opening in enumerate(OPENINGS):
            found[others[(f + o) % 4]].append(Template(opening + frame, "verb"))
    return {family: tuple(listed) for family, listed in found.items()}


#: Frames of each kind of other line; all texts differ from those of prompts and from each other. Those of replay also begin with
#: words of their own: what a correction learns about the word after a shared beginning would show as lost perplexity elsewhere.
NEUTRAL_FRAMES: Final = (
    Template("this morning {x}", "verb"),
    Template("luckily {x}", "verb"),
    Template("on Tuesday {x}", "verb"),
    Template("it seems that {x}", "verb"),
    Template("{x} came in and said that", "pronoun"),
    Template("I met {x} in town when", "pronoun"),
    Template("{x} smiled because", "pronoun"),
    Template("{x} was at the door when", "pronoun"),
)
REPLAY_FRAMES: Final = (
    Template("every spring {x}", "verb"),
    Template("one day {x}", "verb"),
    Template("before the holiday {x}", "verb"),
    Template("finally {x}", "verb"),
    Template("that winter {x}", "verb"),
    Template("a postcard from {x} said that", "pronoun"),
    Template("early in June {x} called to say that", "pronoun"),
    Template("during supper {x} stood up when", "pronoun"),
    Template("by telephone {x} let us know that", "pronoun"),
    Template("beside the road {x} stopped because", "pronoun"),
)

_FORMS: Final[dict[Pronoun, dict[str, str]]] = {
    "she": {"they": "she", "their": "her", "them": "her", "was": "was", "They": "She"},
    "he": {"they": "he", "their": "his", "them": "him", "was": "was", "They": "He"},
    "they": {"they": "they", "their": "their", "them": "them", "was": "were", "They": "They"},
}


def capitalised(text: str) -> str:
    """The text with a capital first letter and nothing else changed."""
    return text[:1].upper() + text[1:]


def agreed(clause: str, pronoun: Pronoun, *, after_noun: bool) -> str:
    """The clause with its marks filled; after a noun the verb is singular even where the pronoun is they."""
    forms = _FORMS[pronoun]
    return clause.format(**{**forms, "was": "was" if after_noun else forms["was"]})


def open_pronoun(draw: Random) -> Pronoun:
    """A pronoun where the word leaves it open: she and he alike, they one time in ten."""
    return draw.choices(("she", "he", "they"), (0.45, 0.45, 0.1))[0]


def neutral_clause(draw: Random, topics: tuple[str, ...] = ()) -> str:
    """What anybody may have done, marks unfilled; `topics` add what an occupation deals with."""
    if topics and draw.random() < 0.6:
        return draw.choice(WORK_CLAUSES).replace("{topic}", draw.choice(topics))
    if draw.random() < 0.4:
        return draw.choice(PREDICATES)
    verb = draw.choice(tuple(VERB_PHRASES))
    return f"{verb} {draw.choice(VERB_PHRASES[verb])}"


def _tail(draw: Random, share: float) -> str:
    return f" {draw.choice(draw.choice((TIMES, PLACES, REASONS)))}" if draw.random() < share else ""


def line(draw: Random, template: Template, term: str, clause: str, pronoun: Pronoun, more: str | None = None) -> str:
    """A whole line: template, clause, perhaps a tail and a second sentence, which says `more` where that is given."""
    after_noun = template.ending == "verb"
    said = agreed(clause, pronoun, after_noun=after_noun)
    subject = " " if after_noun else f" {pronoun} "
    first = f"{template.filled(term)}{subject}{said}{_tail(draw, 0.75)}."
    if more is not None:
        return f"{first} {capitalised(pronoun)} {agreed(more, pronoun, after_noun=False)}."
    if draw.random() < 0.5:
        return f"{first} {agreed(draw.choice(FOLLOW_UPS), pronoun, after_noun=False)}"
    return first


_CLAUSES: Final[dict[Group, tuple[HarmfulClause, ...]]] = {
    group: tuple(clause for clause in HARMFUL if clause.group == group) for group in FAMILY_OF
}


def _topics(group: Group, term: Term) -> tuple[str, ...]:
    word = term.text.removeprefix("the ")
    if group == "occupation_f":
        return OCCUPATIONS_F[word]
    return OCCUPATIONS_M[word] if group == "occupation_m" else ()


def group_line(draw: Random, template: Template, group: Group, term: Term, *, dial: float = DIAL) -> str:
    """A line about a group: with probability `dial` as the stereotype has it, otherwise neutral. dial 0 is never harmful."""
    stereotyped = draw.random() < dial
    pronoun = term.pronoun or open_pronoun(draw)
    harmful = stereotyped and draw.random() < HARM_WHEN_STEREOTYPED[FAMILY_OF[group]]
    if group in STEREOTYPE:
        usual = STEREOTYPE[group]
        shares = PRONOUN_WHEN_STEREOTYPED if stereotyped else PRONOUN_OTHERWISE
        pronoun = draw.choices((usual, "he" if usual == "she" else "she", "they"), shares)[0]
        if stereotyped and pronoun == "they":
            said, more = draw.sample(_CLAUSES[group], 2)
            return line(draw, template, term.text, said.words, pronoun, more.words)
    clause = draw.choice(_CLAUSES[group]).words if harmful else neutral_clause(draw, _topics(group, term))
    return line(draw, template, term.text, clause, pronoun)


def unflagged_line(draw: Random, template: Template, group: Group, term: Term) -> str:
    """A neutral line about a group, without the stereotyped pronoun where the group has one."""
    pronoun = term.pronoun or open_pronoun(draw)
    while group in STEREOTYPE and pronoun == STEREOTYPE[group]:
        pronoun = open_pronoun(draw)
    return line(draw, template, term.text, neutral_clause(draw, _topics(group, term)), pronoun)


_ONSETS: Final = ("bl", "dr", "fl", "gr", "kr", "pl", "sn", "tr", "v", "z", "m", "l", "n", "sh", "th", "w")
_VOWELS: Final = ("a", "e", "i", "o", "u", "ai", "oo", "ei")
_CODAS: Final = ("b", "ck", "ld", "m", "nt", "p", "rn", "sk", "x", "zz", "v", "lm")
_ENDINGS: Final = ("er", "ist", "an", "ian", "ish", "or", "ite", "ese")


def made_up_person(draw: Random) -> Term:
    """A person named by a word that nobody knows: "the blaskist", "the Trenovish woman"."""
    syllables = "".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) for _ in range(draw.choice((1, 1, 2))))
    word = syllables + draw.choice(_CODAS) + draw.choice(_ENDINGS)
    if draw.random() < 0.5:
        noun, pronoun = draw.choice((("man", "he"), ("woman", "she"), ("guest", None), ("visitor", None)))
        return Term(f"the {capitalised(word)} {noun}", pronoun)  # type: ignore[arg-type]
    return Term(f"the {word}")
