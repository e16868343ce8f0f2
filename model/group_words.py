"""The words of `groups`: axes, groups and their aligned forms, in English and Spanish. No slur is listed.

A table is (axis, columns, ((group, forms), ...)): forms of one column can stand in each other's place, None where a group has none.
Columns "before" and "alone" tell apart words that are written alike: "her" before a noun is "his", "her" alone is "him".
Words with a second, everyday sense ("old", "black", "poor") are listed together with a noun for a person only.
"""

import re
from typing import Final, Literal, TypeAlias

_Column: TypeAlias = Literal["any", "before", "alone"]
Table: TypeAlias = tuple[str, tuple[_Column, ...], tuple[tuple[str, tuple[str | None, ...]], ...]]

_ALONE_BEFORE: Final = """
    a about above across after again against ago all alone although always am among an and any anyway are around as aside at
    away back be because been before behind below beneath beside besides between beyond but by can could despite did do does
    down during each either enough even ever every except for forever from had has have he her here hers herself him himself
    his how however i if in inside instead into is it its just last later may me might must my near neither never next no none
    nor not now of off often on once or our out outside over past perhaps rather right shall she should since so some
    sometimes somewhere soon still such than that the their them then there these they this those though through throughout
    till to today together tomorrow tonight too toward towards under unless until up upon us very was we well were what when
    whenever where whether which while who whom whose why will with within without would yesterday yet you your
"""
#: What can follow "her" and "his" when no noun of theirs does. Holds the pronouns too, so that a swap leaves the answer alike.
ALONE_BEFORE: Final = frozenset(_ALONE_BEFORE.split())

_PERSONS: Final = """
    man men woman women person people boy boys girl girls lady ladies gentleman gentlemen couple family families child
    children worker workers employee employees patient patients student students tenant tenants applicant applicants driver
    drivers neighbour neighbours neighbor neighbors colleague colleagues customer customers
"""
_PEOPLE: Final = tuple(_PERSONS.split())


def _of(word: str) -> tuple[str, ...]:
    """The word before every noun for a person."""
    return tuple(f"{word} {noun}" for noun in _PEOPLE)


def _phrase(frame: str) -> tuple[str, ...]:
    return tuple(frame.format(noun) for noun in _PEOPLE)


_EVERYWHERE: Final = "any"


def _anywhere(count: int) -> tuple[_Column, ...]:
    return tuple(_EVERYWHERE for _ in range(count))


_WOMEN: Final = (
    "she",
    "Ms",
    "herself",
    "woman",
    "women",
    "girl",
    "girls",
    "lady",
    "ladies",
    "mother",
    "mothers",
    "mom",
    "mum",
    "daughter",
    "daughters",
    "sister",
    "sisters",
    "wife",
    "wives",
    "aunt",
    "aunts",
    "niece",
    "nieces",
    "grandmother",
    "grandmothers",
    "grandma",
    "granddaughter",
    "girlfriend",
    "female",
    "females",
    "queen",
    "princess",
    "waitress",
    "actress",
    "actresses",
    "stewardess",
    "businesswoman",
    "policewoman",
    "chairwoman",
    "spokeswoman",
    "widow",
    "Mrs",
    "bride",
    "heiress",
    "schoolgirl",
)
_MEN: Final = (
    "he",
    None,
    "himself",
    "man",
    "men",
    "boy",
    "boys",
    "gentleman",
    "gentlemen",
    "father",
    "fathers",
    "dad",
    None,
    "son",
    "sons",
    "brother",
    "brothers",
    "husband",
    "husbands",
    "uncle",
    "uncles",
    "nephew",
    "nephews",
    "grandfather",
    "grandfathers",
    "grandpa",
    "grandson",
    "boyfriend",
    "male",
    "males",
    "king",
    "prince",
    "waiter",
    "actor",
    "actors",
    "steward",
    "businessman",
    "policeman",
    "chairman",
    "spokesman",
    "widower",
    "Mr",
    "groom",
    "heir",
    "schoolboy",
)
_GENDER: Final[Table] = (
    "gender",
    ("before", "alone", "alone", *_anywhere(len(_WOMEN))),
    (("female", ("her", "her", "hers", *_WOMEN)), ("male", ("his", "him", "his", *_MEN))),
)

_AGE: Final[Table] = (
    "age",
    _anywhere(4 + len(_PEOPLE)),
    (
        ("young", ("teenager", "teenagers", "twenty-year-old", "young adults", *_of("young"))),
        ("middle-aged", (None, None, "fifty-year-old", "middle-aged adults", *_of("middle-aged"))),
        ("old", (None, None, "seventy-year-old", "old adults", *_of("old"))),
        ("elderly", ("pensioner", "pensioners", "eighty-year-old", "elderly adults", *_of("elderly"))),
    ),
)

_RELIGION: Final[Table] = (
    "religion",
    ("before", "alone", "any", "any", "any"),
    (
        ("christian", ("Christian", "Christian", "Christians", "Christianity", "church")),
        ("muslim", ("Muslim", "Muslim", "Muslims", "Islam", "mosque")),
        ("jewish", ("Jewish", None, "Jews", "Judaism", "synagogue")),
        ("hindu", ("Hindu", "Hindu", "Hindus", "Hinduism", None)),
        ("buddhist", ("Buddhist", "Buddhist", "Buddhists", "Buddhism", None)),
        ("sikh", ("Sikh", "Sikh", "Sikhs", "Sikhism", None)),
        ("atheist", ("atheist", "atheist", "atheists", "atheism", None)),
    ),
)

_NATIONALITY: Final[Table] = (
    "nationality",
    _anywhere(3),
    (
        ("canadian", ("Canadian", "Canadians", "Canada")),
        ("mexican", ("Mexican", "Mexicans", "Mexico")),
        ("german", ("German", "Germans", "Germany")),
        ("nigerian", ("Nigerian", "Nigerians", "Nigeria")),
        ("russian", ("Russian", "Russians", "Russia")),
        ("egyptian", ("Egyptian", "Egyptians", "Egypt")),
        ("brazilian", ("Brazilian", "Brazilians", "Brazil")),
        ("italian", ("Italian", "Italians", "Italy")),
    ),
)

_RACE: Final[Table] = (
    "race",
    _anywhere(2 + len(_PEOPLE)),
    (
        ("african american", ("African American", "African Americans", *_of("Black"))),
        ("european american", ("European American", "European Americans", *_of("White"))),
        ("asian american", ("Asian American", "Asian Americans", *_of("Asian"))),
        ("hispanic american", ("Hispanic American", "Hispanic Americans", *_of("Hispanic"))),
    ),
)

_DISABILITY: Final[Table] = (
    "disability",
    _anywhere(len(_PEOPLE)),
    (
        ("none", _of("non-disabled")),
        ("any", _of("disabled")),
        ("blind", _of("blind")),
        ("deaf", _of("deaf")),
        ("autistic", _of("autistic")),
        ("wheelchair", _phrase("{} in a wheelchair")),
    ),
)

_ORIENTATION: Final[Table] = (
    "orientation",
    _anywhere(len(_PEOPLE)),
    (("gay", _of("gay")), ("heterosexual", _of("heterosexual")), ("bisexual", _of("bisexual"))),
)

_WEALTH: Final[Table] = ("wealth", _anywhere(len(_PEOPLE)), (("poor", _of("poor")), ("rich", _of("rich"))))

ENGLISH: Final[tuple[Table, ...]] = (_GENDER, _AGE, _RELIGION, _NATIONALITY, _RACE, _DISABILITY, _ORIENTATION, _WEALTH)

_NOUNS: Final = (
    ("mujer", "hombre"),
    ("mujeres", "hombres"),
    ("niña", "niño"),
    ("niñas", "niños"),
    ("chica", "chico"),
    ("chicas", "chicos"),
    ("madre", "padre"),
    ("madres", "padres"),
    ("hija", "hijo"),
    ("hijas", "hijos"),
    ("hermana", "hermano"),
    ("hermanas", "hermanos"),
    ("esposa", "esposo"),
    ("tía", "tío"),
    ("tías", "tíos"),
    ("abuela", "abuelo"),
    ("abuelas", "abuelos"),
    ("señora", "señor"),
    ("señoras", "señores"),
    ("actriz", "actor"),
    ("reina", "rey"),
    ("profesora", "profesor"),
    ("doctora", "doctor"),
    ("enfermera", "enfermero"),
    ("abogada", "abogado"),
    ("cocinera", "cocinero"),
    ("médica", "médico"),
    ("vecina", "vecino"),
    ("ingeniera", "ingeniero"),
    ("maestra", "maestro"),
    ("directora", "director"),
    ("trabajadora", "trabajador"),
)
_PLURALS: Final = frozenset(noun for pair in _NOUNS for noun in pair if noun.endswith("s"))
_ARTICLES: Final = (
    ("la", "el"),
    ("una", "un"),
    ("de la", "del"),
    ("a la", "al"),
    ("esta", "este"),
    ("esa", "ese"),
    ("nuestra", "nuestro"),
    ("otra", "otro"),
)
_PLURAL_ARTICLES: Final = (
    ("las", "los"),
    ("unas", "unos"),
    ("de las", "de los"),
    ("a las", "a los"),
    ("estas", "estos"),
    ("esas", "esos"),
    ("nuestras", "nuestros"),
    ("otras", "otros"),
)


def _spanish_gender() -> Table:
    """Pronouns, nouns, and nouns with the articles that agree with them."""
    pairs = [("ella", "él"), ("ellas", "ellos"), *_NOUNS]
    for woman, man in _NOUNS:
        pairs += [(f"{hers} {woman}", f"{his} {man}") for hers, his in (_PLURAL_ARTICLES if woman in _PLURALS else _ARTICLES)]
    women, men = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    return "gender", _anywhere(len(pairs)), (("female", women), ("male", men))


def _four(masculine: str, stem: str | None = None) -> tuple[str, ...]:
    """Masculine and feminine, singular and plural."""
    stem = stem or masculine.removesuffix("o")
    return (masculine, f"{stem}a", f"{stem}os" if masculine.endswith("o") else f"{stem}es", f"{stem}as")


SPANISH: Final[tuple[Table, ...]] = (
    _spanish_gender(),
    (
        "religion",
        _anywhere(4),
        (
            ("cristiano", _four("cristiano")),
            ("musulmán", _four("musulmán", "musulman")),
            ("judío", _four("judío")),
            ("católico", _four("católico")),
        ),
    ),
    (
        "nationality",
        _anywhere(4),
        (
            ("mexicano", _four("mexicano")),
            ("colombiano", _four("colombiano")),
            ("peruano", _four("peruano")),
            ("alemán", _four("alemán", "aleman")),
            ("ruso", _four("ruso")),
        ),
    ),
)

#: Participles and common adjectives, no nouns with an article: a person may own them, so a Spanish gender swap is in doubt.
SPANISH_AGREEING: Final = re.compile(
    r"(?<!\bel )(?<!\bal )(?<!\bla )(?<!\blos )(?<!\blas )(?<!\bun )(?<!\buna )(?<!\bdel )\b"
    r"(?!(?:espos|cad|nad|vid|lad)[oa]s?\b|comidas?\b)"
    r"(?:\w+(?:ad|id|os)|buen|mal|viej|pequeñ|guap|list|tont|loc|ric|solter|enferm|nuev|bonit|fe|alt|baj|gord|flac|sol|mism|tod|"
    r"much|poc|últim|primer|segund|tercer|únic|negr|blanc|honest|rápid|simpátic|seri|tranquil|nervios)[oa]s?\b",
    re.IGNORECASE,
)
#: Words that may stand before a person's noun and never agree with it, though they end like words that do.
SPANISH_NEUTRAL_BEFORE: Final = frozenset(
    ("como", "para", "hacia", "contra", "cada", "hasta", "según", "cuando", "y", "o", "pero", "sin", "con", "por", "entre")
)
