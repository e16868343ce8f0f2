"""Claims about words: which language a person reads, what fills a sentence, and that one person's language is nobody else's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest
from starlette.testclient import TestClient

from flagback.review_app import words
from flagback.review_app.board import mount_data
from flagback.review_app.server import build_app
from flagback.review_app.settings import Settings
from flagback.review_app.words import speaking, tr, trc, trn
from flagback.storage import accounts
from flagback.storage.answers import BadAnswer
from flagback.storage.consent import PURPOSES
from flagback.storage.store import Store
from flagback.storage.taxonomy import CATEGORIES, Category
from tests.english_left import english_in
from tests.fresh import migrate
from tests.people import person


@pytest.mark.parametrize(
    ("own", "browser", "language"),
    [
        (None, None, "en"),
        (None, "es-MX,es;q=0.9,en;q=0.8", "es"),
        (None, "de-DE,de;q=0.9,es;q=0.5", "es"),
        (None, "en-GB,es;q=0.9", "en"),
        (None, "es;q=0.2,en;q=0.9", "en"),
        (None, "es;q=0", "en"),
        ("es", "en", "es"),
        ("en", "es", "en"),
        ("ar", "es", "es"),  # no page speaks it, the board does
        ("tlh", "es", "es"),
        (None, ";;;q=x, \x00, *, es-" + "x" * 500, "en"),
    ],
)
def test_a_person_s_own_choice_comes_first_then_the_browser_s_then_english(
    own: str | None, browser: str | None, language: str
) -> None:
    assert words.best(own, browser) == language


def test_the_board_speaks_a_language_that_the_pages_do_not() -> None:
    assert words.best("ar", "es", words.ON_THE_BOARD) == "ar"
    assert set(words.ON_PAGES) < set(words.ON_THE_BOARD) == set(words.LANGUAGES)


def test_outside_of_a_request_everything_is_english() -> None:
    assert (words.language(), tr("Sign in"), trn("{count} minute", "{count} minutes", 1_200)) == ("en", "Sign in", "1,200 minutes")


def test_a_sentence_is_filled_where_the_language_wants_it() -> None:
    with speaking("es"):
        assert tr("Sign in with {provider}", provider="{x}") == "Entrar con {x}"
        assert trc("state of a run", "done") != trc("a stage", "done")
        assert trc("a context nobody knows", "done") == "done"
        assert tr("{braces} without values stay") == "{braces} without values stay"


@pytest.mark.parametrize(
    ("language", "counts"),
    [
        ("es", {0: "0 minutos", 1: "1 minuto", 2: "2 minutos", 12_000: "12.000 minutos"}),
        ("en", {0: "0 minutes", 1: "1 minute", 2: "2 minutes", 12_000: "12,000 minutes"}),
    ],
)
def test_a_number_chooses_the_form(language: str, counts: dict[int, str]) -> None:
    with speaking(language):
        assert {count: trn("{count} minute", "{count} minutes", count) for count in counts} == counts


def test_arabic_has_six_forms_and_the_digits_of_the_keys() -> None:
    with speaking("ar"):
        said = [trn("You gave {count} answer today.", "You gave {count} answers today.", count) for count in (0, 1, 2, 5, 11, 100)]
        assert len(set(said[:5])) == 5
        assert "5" in said[3]
        assert said[4].replace("11", "100") == said[5]


def test_days_and_numbers_are_written_as_the_language_does() -> None:
    moment = datetime(2026, 11, 4, 9, 5, tzinfo=UTC)
    assert (words.day(moment), words.clock(moment), words.percent(0.4)) == ("4 November", "4 Nov, 09:05", "40%")
    with speaking("es"):
        assert (words.day(moment), words.clock(moment), words.number(12_345.5)) == ("4 de noviembre", "4 nov, 09:05", "12.345,5")


def test_two_people_at_once_each_read_their_own_language() -> None:
    met = Barrier(2)

    def read(language: str) -> set[str]:
        with speaking(language):
            found = set()
            for _ in range(200):
                met.wait(10)
                found.add(tr("Sign in"))
            return found

    with ThreadPoolExecutor(2) as threads:
        english, spanish = threads.map(read, ("en", "es"))
    assert (english, spanish) == ({"Sign in"}, {"Entrar"})


def test_an_error_from_below_is_told_in_the_language_with_its_values() -> None:
    error = accounts.BadPassword("The password has 3 characters; expected 12 to 200.")
    assert words.told(error) == str(error)
    with speaking("es"):
        assert words.told(error) == "La contraseña tiene 3 caracteres; se esperaban de 12 a 200."
        assert words.told(ValueError("a sentence of nobody's")) == "a sentence of nobody's"
        assert words.told(BadAnswer("note", "The category 'other' needs a note that says what is wrong.")).startswith(
            "La categoría"
        )


def test_the_taxonomy_is_found_by_code_and_what_somebody_set_anew_stays_as_it_was_written() -> None:
    known = CATEGORIES[0]
    reworded = Category("stereotype", "1", "Our own name", "Stereotype", "", "bias", True)
    with speaking("es"):
        assert words.tr_each(known, "taxonomy") == known._replace(
            name="Estereotipo",
            definition="Ata un rasgo, un trabajo o un destino a un grupo de personas.",
            example="«Es mujer, así que será la secretaria.»",
        )
        assert words.tr_each(reworded, "taxonomy").name == "Our own name"
        assert words.tr_each(PURPOSES[0], "consent").code == "review"


def test_the_board_is_told_its_language_and_keeps_the_codes() -> None:
    english, arabic = (mount_data(account="a", token="t", aim=40, language=code) for code in ("en", "ar"))
    assert (english["spoken"]["words"], english["spoken"]["dir"]) == ({}, "ltr")
    assert (arabic["spoken"]["dir"], len(arabic["spoken"]["plurals"])) == ("rtl", 6)
    for part in ("categories", "targets", "severities", "skips"):
        here, there = english["taxonomy"][part], arabic["taxonomy"][part]
        assert [one["code"] for one in here] == [one["code"] for one in there]
        assert all(one["name"] != other["name"] for one, other in zip(here, there, strict=True))


# ------------------------------------------------------------------------ requests


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("words"))
    store = Store(settings.records_url)
    migrate(store)
    with store.writing() as session:
        for login in ("ada", "eva"):
            account = person(session, login)
            accounts.set_language(session, account.id, "es" if login == "eva" else None)
    store.close()
    return settings


@pytest.fixture(scope="module")
def web(home: Settings) -> Iterator[TestClient]:
    with TestClient(build_app(home), base_url="http://127.0.0.1") as client:
        yield client


def test_the_sign_in_page_is_in_the_browser_s_language_and_says_which(web: TestClient) -> None:
    spanish = web.get("/signin", headers={"Accept-Language": "es-ES,es;q=0.9"})
    english = web.get("/signin", headers={"Accept-Language": "ar,fr"})
    assert '<html lang="es" dir="ltr">' in spanish.text
    assert '<html lang="en" dir="ltr">' in english.text
    assert "Contraseña" in spanish.text
    assert "Password" not in spanish.text
    assert "Password" in english.text
    assert "Accept-Language" in spanish.headers["Vary"]


@pytest.mark.parametrize("address", ["/signin", "/join/none", "/nothing-here"])
def test_no_plain_page_leaves_a_sentence_in_english(web: TestClient, address: str) -> None:
    answer = web.get(address, headers={"Accept-Language": "es", "Accept": "text/html"})
    shown = [part.strip() for part in answer.text.replace("<", ">").split(">") if part.strip()]
    assert english_in(shown, "es") == []


def test_what_the_api_refuses_is_told_in_the_board_s_language(web: TestClient) -> None:
    told = web.get("/api/v1/session", headers={"Accept-Language": "ar"}).json()["error"]
    assert told["code"] == "not_signed_in"
    assert told["message"].startswith("لم تسجّل الدخول")
