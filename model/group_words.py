"""The words of `groups`: axes, groups and their aligned forms, in English and Spanish. No slur is listed.

A table is (axis, columns, ((group, forms), ...)): forms of one column can stand in each other's place, None where a group has none.
Columns "before" and "alone" tell apart words that are written alike: "her" before a noun is "his", "her" alone is "him". Columns of
kind "name" hold given names, which are not swapped where they are part of a longer name.
Words with a second, everyday sense ("old", "black", "poor") are listed together with a noun for a person only.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

_Column: TypeAlias = Literal["any", "before", "alone", "name"]
Table: TypeAlias = tuple[str, tuple[_Column, ...], tuple[tuple[str, tuple[str | None, ...]], ...]]

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
_NAME: Final = "name"


def _names(pairs: Sequence[tuple[str, str]]) -> tuple[_Column, ...]:
    return tuple(_NAME for _ in pairs)


def _anywhere(count: int) -> tuple[_Column, ...]:
    return tuple(_EVERYWHERE for _ in range(count))


_PAIRS: Final[tuple[tuple[str, str | None], ...]] = (
    ("she", "he"),
    ("Ms", None),
    ("herself", "himself"),
    ("woman", "man"),
    ("women", "men"),
    ("girl", "boy"),
    ("girls", "boys"),
    ("lady", "gentleman"),
    ("ladies", "gentlemen"),
    ("mother", "father"),
    ("mothers", "fathers"),
    ("mom", "dad"),
    ("mum", None),
    ("daughter", "son"),
    ("daughters", "sons"),
    ("sister", "brother"),
    ("sisters", "brothers"),
    ("wife", "husband"),
    ("wives", "husbands"),
    ("aunt", "uncle"),
    ("aunts", "uncles"),
    ("niece", "nephew"),
    ("nieces", "nephews"),
    ("grandmother", "grandfather"),
    ("grandmothers", "grandfathers"),
    ("grandma", "grandpa"),
    ("granddaughter", "grandson"),
    ("girlfriend", "boyfriend"),
    ("female", "male"),
    ("females", "males"),
    ("queen", "king"),
    ("princess", "prince"),
    ("waitress", "waiter"),
    ("actress", "actor"),
    ("actresses", "actors"),
    ("stewardess", "steward"),
    ("businesswoman", "businessman"),
    ("policewoman", "policeman"),
    ("chairwoman", "chairman"),
    ("spokeswoman", "spokesman"),
    ("widow", "widower"),
    ("Mrs", "Mr"),
    ("bride", "groom"),
    ("heiress", "heir"),
    ("schoolgirl", "schoolboy"),
    ("ma'am", "sir"),
    ("moms", "dads"),
    ("stepmother", "stepfather"),
    ("godmother", "godfather"),
    ("grandmas", "grandpas"),
    ("granddaughters", "grandsons"),
    ("girlfriends", "boyfriends"),
    ("queens", "kings"),
    ("princesses", "princes"),
    ("waitresses", "waiters"),
    ("stewardesses", "stewards"),
    ("businesswomen", "businessmen"),
    ("policewomen", "policemen"),
    ("chairwomen", "chairmen"),
    ("spokeswomen", "spokesmen"),
    ("saleswoman", "salesman"),
    ("congresswoman", "congressman"),
    ("widows", "widowers"),
    ("brides", "grooms"),
    ("heiresses", "heirs"),
    ("schoolgirls", "schoolboys"),
    ("countrywoman", "countryman"),
)
#: Given names: the most frequent of the last hundred years by the US Social Security Administration (ssa.gov, "Top names over the
#: last 100 years"), paired by rank. Left out: names that are words too (Mark), that both genders bear (Ashley) or that became an
#: insult (Karen). A name says more than a gender (origin, age), so they only stand for one another here, and for no other axis.
_NAMES: Final = (
    ("Mary", "James"),
    ("Patricia", "Michael"),
    ("Jennifer", "Robert"),
    ("Linda", "John"),
    ("Elizabeth", "David"),
    ("Barbara", "William"),
    ("Susan", "Richard"),
    ("Jessica", "Joseph"),
    ("Sarah", "Thomas"),
    ("Lisa", "Christopher"),
    ("Nancy", "Charles"),
    ("Sandra", "Daniel"),
    ("Emily", "Matthew"),
    ("Kimberly", "Anthony"),
    ("Betty", "Steven"),
    ("Margaret", "Andrew"),
)
_GENDER: Final[Table] = (
    "gender",
    ("before", "alone", "alone", *_anywhere(len(_PAIRS)), *_names(_NAMES)),
    (
        ("female", ("her", "her", "hers", *(woman for woman, _ in (*_PAIRS, *_NAMES)))),
        ("male", ("his", "him", "his", *(man for _, man in (*_PAIRS, *_NAMES)))),
    ),
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
    ("médicas", "médicos"),
    ("enfermeras", "enfermeros"),
    ("profesoras", "profesores"),
    ("doctoras", "doctores"),
    ("abogadas", "abogados"),
    ("cocineras", "cocineros"),
    ("vecinas", "vecinos"),
    ("ingenieras", "ingenieros"),
    ("maestras", "maestros"),
    ("directoras", "directores"),
    ("trabajadoras", "trabajadores"),
    ("esposas", "esposos"),
    ("actrices", "actores"),
    ("reinas", "reyes"),
    ("novia", "novio"),
    ("novias", "novios"),
    ("amiga", "amigo"),
    ("amigas", "amigos"),
    ("Sra.", "Sr."),
)
#: Given names: among the most frequent in Spain (INE, "Nombres y apellidos más frecuentes", padrón), paired by rank. Names that are
#: words too are left out (Pilar, Mercedes), and so are double ones: "José María" is no woman.
_SPANISH_NAMES: Final = (
    ("María", "Antonio"),
    ("Carmen", "Manuel"),
    ("Laura", "José"),
    ("Isabel", "Francisco"),
    ("Ana", "David"),
    ("Cristina", "Juan"),
    ("Marta", "Javier"),
    ("Lucía", "Daniel"),
    ("Elena", "Carlos"),
    ("Paula", "Alejandro"),
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
    women, men = (tuple(pair[side] for pair in (*pairs, *_SPANISH_NAMES)) for side in (0, 1))
    return "gender", (*_anywhere(len(pairs)), *_names(_SPANISH_NAMES)), (("female", women), ("male", men))


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
