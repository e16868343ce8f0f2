"""The board and a reviewer's pages in Spanish and Arabic, in a real browser: no English is left, the layout is turned where it
should be, keys and the model's own words stay what they are."""

from collections.abc import Iterator
from gettext import c2py
from typing import NamedTuple

import pytest
from babel.messages.catalog import Catalog
from playwright.sync_api import Browser, Page, expect
from sqlmodel import select

from flagback.review_app import catalogue, words
from flagback.storage import accounts
from flagback.storage.records import Consent
from tests import test_comparisons
from tests.board_place import Place, press
from tests.browser import choose, page_of
from tests.english_left import english_in, texts_of
from tests.people import PASSWORD
from tests.waiting import until

HEBREW = "הספר של John היה טוב, but the end was bad (3 פרקים)."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Single answers in English and Hebrew, pairs to compare; nothing expected to be covered."""
    place = Place(tmp_path_factory.mktemp("languages"), answers=2)
    place.add("כתבתי", [HEBREW], lang="he")
    test_comparisons.written(place.store, answers=2, prompts=3)
    test_comparisons.make(place.store, prompts=3, answers=2, reviews_per_item=30)
    with place:
        yield place


def enter(
    page: Page, place: Place, labels: tuple[str, str, str], *, language: str | None = None, reads: tuple[str, ...] = ("en",)
) -> None:
    """A new reviewer signs in by the form in whatever language it is in."""
    login = place.reviewer()
    with place.store.writing() as session:
        account = accounts.by_login(session, login)
        accounts.set_languages(session, account.id, reads)
        accounts.set_language(session, account.id, language)
    page.goto(f"{place.web.url}/signin")
    page.get_by_label(labels[0]).fill(login)
    page.get_by_label(labels[1]).fill(PASSWORD)
    page.get_by_role("button", name=labels[2]).click()
    page.wait_for_url(lambda address: "/signin" not in address)


ENGLISH = ("Name", "Password", "Sign in")
SPANISH = ("Nombre", "Contraseña", "Entrar")


class Walked(NamedTuple):
    """What a Spanish browser met on its way."""

    #: Where -> every text there.
    texts: dict[str, list[str]]
    #: `lang` of the document where the board was, and on one's own page.
    spoken: list[str]


@pytest.fixture(scope="module")
def walked(browser: Browser, place: Place) -> Walked:
    """One way through everything that a reviewer meets, in a Spanish browser of somebody who has chosen nothing."""
    texts: dict[str, list[str]] = {}
    spoken = []
    with page_of(browser, locale="es-MX", height=1400) as page:

        def look(where: str) -> None:
            texts[where] = texts_of(page)

        page.goto(f"{place.web.url}/signin")
        look("sign-in")
        enter(page, place, SPANISH)
        expect(page.locator(".board .ask")).to_have_text("¿Cambiarías esta respuesta?")
        spoken.append(page.evaluate("document.documentElement.lang"))
        look("an item")
        for where, keys in (
            ("a flag", ("f", "1", "2", "d")),
            ("what is missing", ("Enter",)),
            ("marking", ("v", "Enter", "Escape")),
            ("the help", ("Escape", "h")),
            ("reasons to skip", ("Escape", "k")),
            ("the next one", ("Escape", "j")),
            ("an old one", ("u",)),
            ("two answers", ("Escape", "c")),
            ("both are bad", ("b",)),
            ("the end of the day", ("x",)),
        ):
            press(page, *keys)
            page.wait_for_timeout(150)
            look(where)
        page.goto(f"{place.web.url}/you")
        expect(page.get_by_text("Salir en todas partes")).to_be_visible()
        expect(page.locator(".stMultiSelect")).to_have_count(3)
        expect(page.locator("html")).not_to_have_attribute("lang", "en")  # watch.js says it, behind the page's first words
        spoken.append(page.evaluate("document.documentElement.lang"))
        look("one's own page")
        page.get_by_role("button", name="Acepto").first.click()
        expect(page.get_by_role("button", name="Retirarlo…")).to_have_count(2)
        page.get_by_role("button", name="Retirarlo…").first.click()
        expect(page.get_by_role("button", name="Dejarlo como está")).to_be_visible()
        look("taking consent back")
        page.get_by_role("button", name="Retirarlo", exact=True).click()
        expect(page.get_by_role("button", name="Dejarlo como está")).to_have_count(0)
        expect(page.get_by_role("button", name="Retirarlo…")).to_have_count(1)
        page.goto(f"{place.web.url}/review")
        expect(page.get_by_role("heading", name="Antes de empezar")).to_be_visible()
        expect(page.locator(".stMultiSelect")).to_have_count(2)
        look("before the start")
        page.goto(f"{place.web.url}/signout")
        look("sign-out")
    return Walked(texts, spoken)


def test_a_spanish_browser_meets_no_english_of_ours(walked: Walked) -> None:
    assert {where: english_in(texts, "es") for where, texts in walked.texts.items() if english_in(texts, "es")} == {}


def test_the_law_finds_english_where_it_stands() -> None:
    assert english_in(
        ["Señalarla", "Flag it", "3 of 40 today", "3 de 40 hoy", "Hoy. Nothing is counted while you are away."], "es"
    ) == [
        "Flag it",
        "3 of 40 today",
        "Hoy. Nothing is counted while you are away.",
    ]


def test_every_place_on_the_way_had_something_to_say(walked: Walked) -> None:
    for where, texts in walked.texts.items():
        assert len(texts) > 5, f"{where} says hardly anything: {texts}"
    assert walked.spoken == ["es", "es"]


def test_consent_is_kept_with_the_language_of_its_words(walked: Walked, place: Place) -> None:
    assert walked.spoken
    with place.store.reading() as session:
        rows = session.exec(select(Consent).where(Consent.purpose == "assignment")).all()
    assert [row.text_version.partition(" ")[2] for row in rows] == ["es"]


# ---------------------------------------------------------------------- right to left


@pytest.fixture(scope="module")
def arabic(browser: Browser, place: Place) -> Iterator[Page]:
    """The board of somebody who chose Arabic, in an English browser."""
    with page_of(browser, width=1000, height=1400) as page:
        enter(page, place, ENGLISH, language="ar", reads=("he", "en"))
        expect(page.locator(".board .ask")).to_have_text("هل كنت ستغيّر هذه الإجابة؟")
        yield page


def middle(page: Page, selector: str) -> float:
    """Where something is, from left to right."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box["x"] + box["width"] / 2


def laid(page: Page, selector: str) -> list[str | None]:
    """Language, direction and isolation of what is on the screen."""
    found: list[str | None] = page.locator(selector).first.evaluate(
        "one => [one.lang || null, getComputedStyle(one).direction, getComputedStyle(one).unicodeBidi]"
    )
    return found


def test_arabic_is_laid_out_from_the_right(arabic: Page) -> None:
    board = arabic.locator(".board")
    assert (board.get_attribute("dir"), board.get_attribute("lang")) == ("rtl", "ar")
    assert arabic.evaluate("document.documentElement.lang") == "ar"
    assert middle(arabic, ".logo") > middle(arabic, ".today") > middle(arabic, ".stop")
    assert middle(arabic, ".big.flag") > middle(arabic, ".big.fine")
    assert middle(arabic, ".big.flag kbd") > middle(arabic, ".big.flag span")
    flag, cap = (arabic.locator(one).bounding_box() for one in (".big.flag span", ".big.flag kbd"))
    assert flag is not None
    assert cap is not None
    assert cap["x"] - (flag["x"] + flag["width"]) >= 6, "the cap touches its words"
    assert arabic.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_key_means_in_arabic_what_it_means_in_english(arabic: Page, place: Place) -> None:
    """And the form unfolds without a word of English."""
    before = len(place.rows())
    until_hebrew(arabic)
    assert laid(arabic, ".output") == ["he", "rtl", "isolate"]
    assert arabic.locator(".output").inner_text() == HEBREW
    press(arabic, "f", "1", "2", "d")
    assert english_in(texts_of(arabic), "ar") == []
    assert middle(arabic, "[data-category=stereotype]") > middle(arabic, "[data-category=harassment]")
    press(arabic, "s", "Enter")
    until(lambda: len(place.rows()) > before and place.rows()[-1].verdict == "flag", "a stored flag")
    assert (place.rows()[-1].categories, place.rows()[-1].severity) == ('["stereotype", "demeaning"]', "clear")


def until_hebrew(page: Page) -> None:
    """Passes what comes first, each once the next one stands there."""
    while (output := page.locator(".output").inner_text()) != HEBREW:
        press(page, "j")
        expect(page.locator(".output")).not_to_have_text(output)


def test_a_model_s_english_stays_from_left_to_right(arabic: Page) -> None:
    for _ in range(3):
        if laid(arabic, ".output")[0] == "en":
            break
        press(arabic, "u")
        arabic.wait_for_timeout(100)
    assert laid(arabic, ".output") == ["en", "ltr", "isolate"]
    assert laid(arabic, ".turns .prompt")[:2] == ["en", "ltr"]
    assert laid(arabic, ".card .label")[1] == "rtl"
    assert english_in(texts_of(arabic), "ar") == []
    press(arabic, "Escape")


def test_help_and_reasons_to_skip_are_arabic_and_name_the_same_keys(arabic: Page) -> None:
    press(arabic, "h")
    assert english_in(texts_of(arabic), "ar") == []
    assert arabic.locator(".help .change[data-changes=flag] kbd").inner_text() == "F"
    press(arabic, "Escape", "k")
    assert english_in(texts_of(arabic), "ar") == []
    press(arabic, "Escape")


def test_the_left_of_two_answers_is_on_the_left_in_arabic_too_since_the_arrow_points_there(arabic: Page, place: Place) -> None:
    press(arabic, "c")
    expect(arabic.locator(".board .ask")).to_have_text("أي الإجابتين أفضل؟")
    cards = [box["x"] for one in arabic.locator(".answers .card").all() if (box := one.bounding_box())]
    assert cards == sorted(cards)
    assert arabic.locator(".answers .card .label .beside").first.inner_text() == "الإجابة اليسرى"
    assert middle(arabic, "[data-verdict=left]") < middle(arabic, "[data-verdict=right]")
    assert laid(arabic, ".answers .card .label")[1] == "rtl"
    assert english_in(texts_of(arabic), "ar") == []
    press(arabic, "ArrowLeft")
    until(lambda: place.rows()[-1].verdict == "left", "a stored preference")


def test_the_other_pages_of_who_chose_arabic_speak_their_browser_s_language_and_one_can_choose_another(
    arabic: Page, place: Place
) -> None:
    arabic.goto(f"{place.web.url}/you")
    expect(arabic.get_by_text("The review board speaks it")).to_be_visible()
    assert arabic.evaluate("document.documentElement.lang") == "en"
    choose(arabic.locator(".st-key-language input"), "Español")
    expect(arabic.get_by_role("heading", name="Dónde tienes la sesión abierta")).to_be_visible()
    expect(arabic.get_by_test_id("stTopNav").get_by_role("link", name="Revisar")).to_be_visible()
    expect(arabic.locator("html")).to_have_attribute("lang", "es")
    arabic.goto(f"{place.web.url}/review")
    expect(arabic.locator(".board .ask")).to_have_text("¿Qué respuesta es mejor?")
    assert laid(arabic, ".board")[1] == "ltr"


def test_browser_and_catalogue_choose_the_same_form_for_every_number(arabic: Page) -> None:
    for code in words.LANGUAGES:
        spoken = words.of_the_board(code)
        chosen = arabic.evaluate(
            "([tag, names]) => { const rule = new Intl.PluralRules(tag); "
            "return Array.from({ length: 1100 }, (_, count) => names.indexOf(rule.select(count))); }",
            [spoken["locale"], spoken["plurals"]],
        )
        kept = catalogue.read(catalogue.file_of(code), code) if code != "en" else Catalog(locale="en")
        rule = c2py(kept.plural_expr)
        assert chosen == [rule(count) for count in range(1100)], code
