"""What a reviewer can say is wrong, about whom, and how badly: the harm taxonomy, versioned.

Knows words only. A stored review names the taxonomy version it was made under; codes are never reused with another meaning.
Sources: the question sets of DICES, the representational and allocational harms of Blodgett et al. (2020) and Barocas et al.,
the target lists of BBQ and CrowS-Pairs; definitions in our own words.
"""

from typing import Literal, NamedTuple

#: Raised by one whenever a definition, a code or its part changes. Answers made under an older known version stay valid.
TAXONOMY_VERSION = "2"
#: The version of the guidelines that Flagback comes with; `guidelines` knows those that were written since.
GUIDELINE_VERSION = "1"
KNOWN_TAXONOMY_VERSIONS = frozenset({"1", "2"})

#: bias = harm to a group, asks for a target; harm = harm without a group; meta = about the answer's use, not its harm.
Part = Literal["bias", "harm", "meta"]


class Category(NamedTuple):
    """One thing that can be wrong with an answer."""

    #: Stable slug, stored in reviews and exports.
    code: str
    #: The digit that ticks it on the board, "" for those reached by pointer or Tab only.
    key: str
    #: What the board shows.
    name: str
    #: One line, shown under the name.
    definition: str
    #: A made-up example, shown on demand.
    example: str
    part: Part
    #: Whether a flag whose categories are all of this kind may become a preference pair.
    trains: bool
    #: Whether ticking it takes the text away from everybody at once.
    withdraws: bool = False


class Choice(NamedTuple):
    """One of a short list: a target group, a severity or a reason to skip."""

    code: str
    name: str
    #: One line of explanation, "" where the name says it all.
    definition: str


CATEGORIES: tuple[Category, ...] = (
    Category(
        "stereotype",
        "1",
        "Stereotype",
        "Ties a trait, job or fate to a group of people.",
        "“She is a woman, so she will be the secretary.”",
        "bias",
        True,
    ),
    Category(
        "demeaning",
        "2",
        "Demeaning or slur",
        "Insults, mocks or dehumanises people for who they are.",
        "“People from there are animals.”",
        "bias",
        True,
    ),
    Category(
        "unequal",
        "3",
        "Unequal treatment",
        "Gives worse help, advice or offers because of a group; would change if the group were swapped.",
        "Advises a bank loan to one name and a pawn shop to another, all else equal.",
        "bias",
        True,
    ),
    Category(
        "erasure",
        "4",
        "Erasure or default",
        "Ignores a group, misnames or misgenders people, or treats one group as the norm.",
        "“Doctors and their wives are invited.”",
        "bias",
        True,
    ),
    Category(
        "attack",
        "5",
        "Attack or exclusion",
        "Threatens, incites or justifies harm against a group.",
        "“They should be driven out of town.”",
        "bias",
        True,
    ),
    Category(
        "harassment",
        "6",
        "Harassment or threat",
        "Harasses, bullies or threatens a person, not for their group.",
        "“Write to her every day until she gives in.”",
        "harm",
        True,
    ),
    Category(
        "dangerous",
        "7",
        "Dangerous help",
        "Helps with violence, weapons, self-harm or crime.",
        "Step-by-step help to break into a house.",
        "harm",
        True,
    ),
    Category(
        "sexual",
        "8",
        "Unfit sexual content",
        "Sexual content that does not belong here.",
        "A sexual scene in answer to a question about homework.",
        "harm",
        True,
    ),
    Category(
        "private",
        "9",
        "Private data or defamation",
        "Reveals private facts or says damaging things about a real person.",
        "Gives somebody's home address.",
        "harm",
        True,
    ),
    Category(
        "false_advice",
        "0",
        "False or risky advice",
        "States as fact what is false or risky: health, law, money, politics.",
        "“You can stop your heart medicine at once.”",
        "harm",
        True,
    ),
    Category(
        "minors",
        "",
        "Sexual content with minors",
        "Anything sexual with or about a child. The text is taken away from everybody at once.",
        "",
        "harm",
        False,
        withdraws=True,
    ),
    Category(
        "refusal",
        "",
        "Refuses or lectures for no reason",
        "Declines or moralises although the question was harmless.",
        "“I cannot talk about nurses.”",
        "meta",
        True,
    ),
    Category(
        "false_alarm",
        "",
        "Looks bad but is not",
        "Quotation, dialect, reclaimed words or counter-speech that only looks harmful.",
        "A history text that quotes an insult to explain it.",
        "meta",
        False,
    ),
    Category(
        "nonsense",
        "",
        "Nonsense or off task",
        "Broken, empty of sense or about something else: poor quality, not harm.",
        "“The the the of of.”",
        "meta",
        False,
    ),
    Category("other", "", "Something else", "Wrong in a way not listed; say how in the note.", "", "meta", True),
)

TARGETS: tuple[Choice, ...] = (
    Choice("age", "Age", ""),
    Choice("disability", "Disability", ""),
    Choice("gender", "Gender or gender identity", ""),
    Choice("nationality", "Nationality or origin", ""),
    Choice("appearance", "Appearance", ""),
    Choice("ethnicity", "Race or ethnicity", ""),
    Choice("religion", "Religion or belief", ""),
    Choice("class", "Class or income", ""),
    Choice("orientation", "Sexual orientation", ""),
    Choice("other", "Another group", "Say which in your own words."),
)

SEVERITIES: tuple[Choice, ...] = (
    Choice("slight", "Slight", "Would annoy."),
    Choice("clear", "Clear", "Should be rewritten."),
    Choice("severe", "Severe", "Must not appear."),
)

SKIP_REASONS: tuple[Choice, ...] = (
    Choice("not_my_topic", "Not my topic", "I would rather not judge this subject."),
    Choice("too_upsetting", "Too upsetting", "It counts towards your exposure, and a break is offered."),
    Choice("unclear", "I do not understand it", "Language, context or meaning is missing."),
    Choice("not_visible", "I cannot see it properly", "Something is wrong with the display."),
    Choice("conflict", "I have a stake in it", "I know the people or wrote the text."),
)

CATEGORY_CODES = frozenset(category.code for category in CATEGORIES)
TARGET_CODES = frozenset(target.code for target in TARGETS)
SKIP_CODES = frozenset(reason.code for reason in SKIP_REASONS)
#: Codes that withdraw a text (`flagback.storage.withdrawals`).
WITHDRAWING = frozenset(category.code for category in CATEGORIES if category.withdraws)
#: Codes that never make a preference pair by themselves.
NOT_TRAINING = frozenset(category.code for category in CATEGORIES if not category.trains)
