"""Claims about finding groups fast: the lexicon's own answer, whatever the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model import embedded, groups
from flagback.model.mentions import mentions, tagged_axes

FORMS = sorted(
    {form for lang in ("en", "es") for axis in groups.lexicon(lang) for group in axis.groups for form in group.forms if form}
)
PIECES = st.one_of(st.sampled_from(FORMS), st.sampled_from([" ", ", ", "-", "the", "s", "'s", "é", "_", "HE", "İ", "Old  man"]))


@given(st.lists(PIECES, max_size=8).map(" ".join), st.sampled_from(["en", "es", "und", "pt"]))
def test_it_names_what_the_lexicon_names(text: str, lang: str) -> None:
    assert mentions(text, lang=lang).alone == groups.named(text, lang=lang)


@given(st.text(max_size=40))
def test_any_text_can_be_read(text: str) -> None:
    assert mentions(text).alone == groups.named(text)


def test_the_embedded_models_prompts_with_axes_of_their_own() -> None:
    prompts = embedded.prompts()[::7]
    axes = tagged_axes(prompt.tags for prompt in prompts)
    assert [mentions(one.text, extra=axes).alone for one in prompts] == [groups.named(one.text, extra=axes) for one in prompts]
    assert {"origin", "faith"} <= {axis.name for axis in axes}


@pytest.mark.parametrize(
    ("text", "named", "rest"),
    [
        ("She met a man.", {"gender": ("female", "male")}, "  met a  ."),
        ("Nothing here", {}, "Nothing here"),
        ("mankind shed", {}, "mankind shed"),
    ],
)
def test_what_names_a_group_is_blanked_and_all_groups_are_listed(text: str, named: dict[str, tuple[str, ...]], rest: str) -> None:
    found = mentions(text)
    assert (found.groups, found.rest) == (named, rest)
