"""Claims about the catalogue of words: it is what the code asks for, and every translation can stand where its words stood."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Message

from flagback.review_app import catalogue, words

LANGUAGES = [code for code in words.LANGUAGES if code != "en"]
NAMED = re.compile(r"\{(\w+)\}")


def entries(code: str) -> list[Message]:
    return [one for one in catalogue.read(catalogue.file_of(code), code) if one.id]


def texts(text: str | tuple[str, ...] | list[str] | None) -> list[str]:
    return [text] if isinstance(text, str) else list(text or ())


def test_the_template_is_what_the_code_asks_for() -> None:
    kept = (catalogue.LOCALES / "flagback.pot").read_bytes()
    assert kept == catalogue.written(catalogue.template()), "run 'make catalogue' and commit review_app/locales"


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_has_the_entries_of_the_template(code: str) -> None:
    path = catalogue.file_of(code)
    assert path.read_bytes() == catalogue.written(catalogue.brought_in_line(code, catalogue.read(path, code)))


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_translation_keeps_the_names_of_what_is_filled_in(code: str) -> None:
    wrong = []
    for one in entries(code):
        wanted = set(NAMED.findall(texts(one.id)[-1]))
        for form in filter(None, texts(one.string)):
            named = set(NAMED.findall(form))
            missing = wanted - named - ({"count"} if len(texts(one.id)) > 1 else set())
            if missing or named - wanted or form.count("{") != len(NAMED.findall(form)) or form.count("}") != form.count("{"):
                wrong.append((one.id, form))
    assert wrong == []


@pytest.mark.parametrize("code", LANGUAGES)
def test_nothing_is_fuzzy(code: str) -> None:
    assert [one.id for one in entries(code) if one.fuzzy] == []


def test_spanish_is_complete() -> None:
    assert [one.id for one in entries("es") if not all(texts(one.string))] == []


def test_arabic_is_complete_for_the_board() -> None:
    assert [one.id for one in entries("ar") if words.on_the_board(one) and not all(texts(one.string))] == []


def test_no_sentence_of_a_script_is_overlooked() -> None:
    """The extractor sees no call within another's arguments."""
    for path in (catalogue.ROOT / "board").glob("*.js"):
        asked = len(re.findall(r"\btrn?\(", path.read_text(encoding="utf-8")))
        if path.name != "words.js":
            assert len(list(catalogue.in_script(path, path.name))) == asked, path.name


def test_words_that_are_computed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.py"
    path.write_text('tr(f"{count} answers")', encoding="utf-8")
    with pytest.raises(catalogue.NotWords, match=r"page\.py, line 1: tr"):
        list(catalogue.in_python(path, "page.py"))


def test_two_branches_are_brought_together() -> None:
    """What one has not translated yet is taken from the other; what both have stays as it is here."""
    here, there = (catalogue.brought_in_line("es", catalogue.read(catalogue.file_of("es"), "es")) for _ in range(2))
    unsaid, changed = here.get("Sign in"), there.get("Sign out")
    assert unsaid is not None
    assert changed is not None
    unsaid.string, changed.string = "", "Otra cosa"
    both = catalogue.brought_in_line("es", here, there)
    assert [found.string for word in ("Sign in", "Sign out") if (found := both.get(word))] == ["Entrar", "Salir"]
