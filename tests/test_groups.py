"""Group swaps: grammar kept, ambiguity left alone, and swapping twice gives the text back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagback.model import groups
from flagback.model.group_words import ENGLISH, SPANISH
from flagback.model.groups import UnevenAxis

FLIPS = [
    (
        "The nurse said that she took her book to him; the book is hers.",
        "The nurse said that he took his book to her; the book is his.",
    ),
    ("I saw her yesterday and gave her his books", "I saw him yesterday and gave him her books"),
    ("SHE told Mr Smith; Her sons left.", "HE told Mrs Smith; His daughters left."),
    ("He looked at himself", "She looked at herself"),
]


@pytest.mark.parametrize(("text", "expected"), FLIPS)
def test_gender_is_swapped_as_a_whole(text: str, expected: str) -> None:
    assert [swap.text for swap in groups.swaps(text, axes=["gender"])] == [expected]


def test_articles_and_capitals_follow_the_new_word() -> None:
    texts = {swap.target: swap.text for swap in groups.swaps("An old man left.", axes=["age"])}
    assert texts == {"young": "A young man left.", "middle-aged": "A middle-aged man left.", "elderly": "An elderly man left."}
    texts = {
        swap.target: swap.text
        for swap in groups.swaps("A Christian teacher met Hindus. Christians sang.", axes=["religion"])
        if swap.source == "christian"
    }
    assert texts["atheist"] == "An atheist teacher met Hindus. Atheists sang."
    assert texts["hindu"] == "A Hindu teacher met Christians. Hindus sang."
    assert texts["jewish"] == "A Jewish teacher met Hindus. Jews sang."


def test_a_phrase_takes_the_place_of_an_adjective() -> None:
    texts = [swap.text for swap in groups.swaps("The man in a wheelchair left", axes=["disability"])]
    assert "The autistic man left" in texts


def test_part_of_a_compound_is_no_word_for_anybody() -> None:
    """ "year-old woman" is nobody old; a great-grandmother is a grandmother."""
    assert groups.named("The twenty-year-old woman left", lang="en") == {"age": "young", "gender": "female"}
    swapped = {swap.text for swap in groups.swaps("The twenty-year-old woman left.", axes=["age"])}
    assert swapped == {"The fifty-year-old woman left.", "The seventy-year-old woman left.", "The eighty-year-old woman left."}
    assert "disability" not in groups.named("The non-blind man left.")
    assert [swap.text for swap in groups.swaps("The great-grandmother left.", axes=["gender"])] == ["The great-grandfather left."]
    texts = [swap.text for swap in groups.swaps("An old man met a twenty-year-old man.", axes=["age"]) if swap.target == "elderly"]
    assert "An elderly man met a twenty-year-old man." in texts


@pytest.mark.parametrize(
    "text",
    [
        "I saw her walking home",  # his walking, or him walking?
        "We gave him books",  # her books would come back as his books
        "He is a Ms",  # no counterpart
        "The black key and the old door, they are three years old",
        "The shepherd heard",  # he and her inside words
        "sHe left",
    ],
)
def test_where_grammar_leaves_a_doubt_there_is_no_swap(text: str) -> None:
    assert groups.swaps(text) == []


def test_her_before_a_noun_is_his_and_alone_is_him() -> None:
    assert groups.swaps("I know her mother")[0].text == "I know his father"
    assert groups.swaps("I know her.")[0].text == "I know him."
    assert groups.swaps("I know her and her dog")[0].text == "I know him and his dog"


def test_spanish_articles_agree_and_doubtful_adjectives_stop_the_swap() -> None:
    text = "La mujer dijo que él fue al mercado con el hijo de la doctora."
    assert [s.text for s in groups.swaps(text, lang="es-MX", axes=["gender"])] == [
        "El hombre dijo que ella fue al mercado con la hija del doctor."
    ]
    assert groups.swaps("La mujer está cansada", lang="es") == []
    assert groups.swaps("La vieja mujer rio", lang="es") == []
    assert "Una colombiana rio" in [s.text for s in groups.swaps("Una mexicana rio", lang="es")]


def test_other_languages_know_only_the_axes_of_the_caller() -> None:
    assert groups.swaps("Sie sagte, he and she", lang="de") == []
    own = groups.axis("herkunft", ["Norvier", "Talier"])
    assert [s.text for s in groups.swaps("Der Norvier lachte", lang="de", extra=[own])] == ["Der Talier lachte"]


def test_an_axis_of_the_callers_own_swaps_aligned_forms() -> None:
    own = groups.axis("origin", [("Norvian", "Norvians"), ("Ilvetic", "Ilvets")], language="en")
    assert [s.text for s in groups.swaps("A Norvian cook met Ilvets", extra=[own])] == ["An Ilvetic cook met Norvians"]
    with pytest.raises(UnevenAxis, match="origin"):
        groups.axis("origin", [("Norvian", "Norvians"), ("Ilvetic",)])


def test_axes_are_read_from_the_tags_of_prompts() -> None:
    tags = [
        {"family": family, "term": term}
        for family, terms in {
            "origin": ["the Norvian man", "the Norvian woman", "the Talish man", "the Ostrani man"],
            "occupation": ["the nurse", "the pilot"],
        }.items()
        for term in terms
    ]
    [found] = groups.axes_from_tags([*tags, {"topic": "untagged"}], families=["origin"])
    assert (found.name, [group.name for group in found.groups]) == ("origin", ["Norvian", "Ostrani", "Talish"])
    assert groups.axes_from_tags([{"family": "origin", "term": "the Norvian man"}], families=["origin"]) == []


def test_a_dialogue_and_its_answer_are_swapped_together() -> None:
    messages = [{"role": "user", "content": "The nurse said that her"}]
    [found] = groups.variants(messages, " mother was late")
    assert (found.messages, found.answer) == ([{"role": "user", "content": "The nurse said that his"}], " father was late")
    turns = [
        {"role": "user", "content": "Who is she?"},
        {"role": "assistant", "content": "A boy."},
        {"role": "user", "content": "No"},
    ]
    [found] = groups.variants(turns, "Right, a girl.")
    assert [message["content"] for message in found.messages] == ["Who is he?", "A girl.", "No"]
    assert found.answer == "Right, a boy."
    assert turns[0]["content"] == "Who is she?"


def test_the_number_of_variants_is_limited_an_axis_at_a_time() -> None:
    found = groups.variants([{"role": "user", "content": "A Muslim woman"}], " sang", limit=3)
    assert sorted(variant.axis for variant in found) == ["gender", "religion", "religion", "religion"]


def test_every_table_is_aligned() -> None:
    for name, columns, listed in (*ENGLISH, *SPANISH):
        assert len(listed) >= 2, name
        assert {len(forms) for _, forms in listed} == {len(columns)}, name


def test_most_words_of_the_lexicon_can_be_swapped() -> None:
    asked = answered = 0
    for lang, tables in (("en", ENGLISH), ("es", SPANISH)):
        for name, _, listed in tables:
            for _, forms in listed:
                for form in filter(None, forms):
                    asked += 1
                    answered += bool(groups.swaps(f"{form} .", lang=lang, axes=[name]))
    assert answered / asked > 0.97


_words = {
    lang: sorted({form for _, _, listed in tables for _, forms in listed for form in forms if form})
    for lang, tables in (("en", ENGLISH), ("es", SPANISH))
}
_fillers = ["a", "an", "A", "the", "house", "red", "and", "to", "seeing", ".", ",", "el", "la", "casa", "dijo", "'s", "\n", "1999"]


@st.composite
def _sentences(draw: st.DrawFn) -> tuple[str, str]:
    lang = draw(st.sampled_from(["en", "es"]))
    word = st.one_of(
        st.sampled_from(_words[lang]),
        st.sampled_from(_fillers),
        st.sampled_from(_words[lang]).map(str.upper),
        st.sampled_from(_words[lang]).map(str.capitalize),
    )
    return lang, " ".join(draw(st.lists(word, max_size=8)))


@settings(max_examples=150, deadline=None)
@given(_sentences())
def test_swapping_twice_gives_the_original(sentence: tuple[str, str]) -> None:
    lang, text = sentence
    axes = {axis.name: axis for axis in groups.lexicon(lang)}
    for swap in groups.swaps(text, lang=lang):
        assert swap.text != text
        assert axes[swap.axis].flip(swap.text, swap.source, swap.target) == text


def test_a_text_is_about_the_one_group_it_names_on_an_axis() -> None:
    origin = groups.axis("origin", ["Norvian", "Talish"])
    assert groups.named("The Norvian woman said", extra=[origin]) == {"gender": "female", "origin": "Norvian"}
    assert groups.named("A Norvian and a Talish met", extra=[origin]) == {}
    assert groups.named("Nothing is said of anybody.") == {}


# ------------------------------------------------------------------------- names, and where grammar leaves a doubt


def _gender(text: str, lang: str = "en") -> list[str]:
    return [swap.text for swap in groups.swaps(text, lang=lang, axes=["gender"])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mary said she was late.", "James said he was late."),
        ("Yesterday Susan met Uncle Thomas.", "Yesterday Richard met Aunt Sarah."),
        ("JESSICA left; Emily's brother stayed.", "JOSEPH left; Matthew's sister stayed."),
        ("An heir of the queens met waiters.", "An heiress of the kings met waitresses."),
        ("He gave her book back and saw her mother.", "She gave his book back and saw his father."),
        ("He told her everything.", "She told him everything."),
    ],
)
def test_names_plurals_and_clear_cases_of_her_are_swapped(text: str, expected: str) -> None:
    assert _gender(text) == [expected]
    assert _gender(expected) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "Mary Smith said she was late.",  # somebody who may exist
        "They saw Queen Elizabeth II there.",
        "Jesse James rode on.",
        "Elizabeth of York",
        "Mary-Ann laughed.",
        "The house of John F. Kennedy",
        "She made her happy.",  # him happy, or his happy?
        "He gave her two books.",
        "I saw her dance.",
        "We found her asleep.",
        "They made him happy.",  # would come back in doubt
    ],
)
def test_part_of_a_longer_name_or_an_open_her_is_left_alone(text: str) -> None:
    assert _gender(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("El médico habló con una enfermera.", "La médica habló con un enfermero."),
        ("Los médicos vieron a las enfermeras.", "Las médicas vieron a los enfermeros."),
        ("El hijo del abogado dijo algo al director.", "La hija de la abogada dijo algo a la directora."),
        ("María dijo que ella fue al mercado.", "Antonio dijo que él fue al mercado."),
        ("Ana es médica.", "David es médico."),
        ("La Sra. Pérez llamó.", "El Sr. Pérez llamó."),
        ("Ella es una persona amable.", "Él es una persona amable."),
        ("La chica quería comer.", "El chico quería comer."),
    ],
)
def test_spanish_nouns_names_and_articles_are_swapped_together(text: str, expected: str) -> None:
    assert _gender(text, "es") == [expected]
    assert _gender(expected, "es") == [text]


@pytest.mark.parametrize(
    "text",
    [
        "La mujer es arquitecta.",
        "El hombre español habló.",
        "La médica famosa habló.",
        "Ella fue la primera.",
        "Él parece muy trabajador y simpático.",
        "El vecino alemán llamó.",
        "Una mujer mandona llamó.",
        "José María habló.",
        "El buen doctor llamó.",
        "Ana está cansada.",
    ],
)
def test_a_spanish_word_that_may_have_to_agree_stops_the_swap(text: str) -> None:
    assert _gender(text, "es") == []


_english = {axis: listed for axis, _, listed in ENGLISH}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_english_article_before_a_swapped_word_is_the_one_its_sound_asks_for(data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from(sorted(_english)))
    forms = [
        form for _, listed in _english[axis] for form in listed if form and not form.endswith("s") and form not in ("her", "his")
    ]
    word = data.draw(st.sampled_from(forms))
    # Worked out apart from `groups`: how each beginning of the lexicon sounds.
    for swap in groups.swaps(f"It was {_sounding(word)} {word}.", axes=[axis]):
        article, _, rest = swap.text.removeprefix("It was ").removesuffix(".").partition(" ")
        assert article == _sounding(rest)


def _sounding(phrase: str) -> str:
    as_a_vowel = phrase.lower().startswith(("a", "e", "i", "o", "u", "heir")) and not phrase.lower().startswith("eu")
    return "an" if as_a_vowel else "a"


_spanish_gender = next(listed for name, _, listed in SPANISH if name == "gender")
_pairs_of_nouns = [
    (woman.removeprefix("una "), man.removeprefix("un "))
    for woman, man in zip(_spanish_gender[0][1], _spanish_gender[1][1], strict=True)
    if woman and man and woman.startswith("una ")
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(_pairs_of_nouns), st.sampled_from(_pairs_of_nouns))
def test_spanish_articles_go_with_their_nouns_both_ways(one: tuple[str, str], other: tuple[str, str]) -> None:
    women = f"Vi a una {one[0]} y a la {other[0]} de otra {one[0]}."
    men = f"Vi a un {one[1]} y al {other[1]} de otro {one[1]}."
    assert _gender(women, "es") == [men]
    assert _gender(men, "es") == [women]


def test_names_tell_of_a_gender_and_of_nothing_else() -> None:
    assert groups.named("Emily asked for a loan.") == {"gender": "female"}
    assert groups.named("Javier pidió un préstamo.", lang="es") == {"gender": "male"}


def test_an_article_is_put_before_a_phrase_as_it_sounds() -> None:
    phrases = ("old man", "European", "heiress", "Ukrainian", "young man", "Asian woman")
    assert [groups.indefinite(phrase).split()[0] for phrase in phrases] == ["an", "a", "an", "a", "a", "an"]
