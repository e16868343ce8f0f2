"""Claims about the pages of guidelines and practice: what somebody is writing is theirs until they keep it or throw it away."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from flagback.review_app.settings import Settings
from flagback.storage import guidelines, practice
from flagback.storage.guidance_words import GUIDELINES, PRACTICE, PracticeItem
from flagback.storage.records import now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.people import person
from tests.test_pages_in_spanish import _page


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two leads."""
    store = Store(Settings(home=tmp_path).records_url)
    migrate(store)
    with store.writing() as session:
        person(session, "lea", "lead")
        person(session, "max", "lead")
    store.close()
    return tmp_path


def tab(home: Path, login: str, module: str) -> AppTest:
    app = AppTest.from_function(_page, kwargs={"home": str(home), "login": login, "module": module}, default_timeout=120)
    return drawn(app.run())


def drawn(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def field(app: AppTest, words: str, place: int = 0):  # type: ignore[no-untyped-def]
    kinds = (app.text_area, app.text_input, app.button, app.multiselect)
    return [one for kind in kinds for one in kind if one.label == words][place]


def labels(app: AppTest) -> list[str]:
    return [one.label for one in app.button]


def said(app: AppTest) -> str:
    return " ".join(one.proto.body for one in app.main if hasattr(one.proto, "body")) + " ".join(
        element.proto.body for element in app.get("html")
    )


ENGLISH = PRACTICE["en"]
TEXT, NOTE = "Text, in Markdown", "What changed, in one line"


WHY = "Why most guidelines would say so"


def in_force(home: Path) -> guidelines.Version:
    store = Store(Settings(home=home).records_url)
    try:
        with store.reading() as session:
            return guidelines.in_force(session)
    finally:
        store.close()


def kept(home: Path, text: str, lang: str = "en") -> None:
    store = Store(Settings(home=home).records_url)
    with store.writing() as session:
        guidelines.set_text(session, text, lang=lang, note="Hers.", by="lea", now=now())
    store.close()


def test_a_draft_outlives_what_somebody_else_keeps_meanwhile(home: Path) -> None:
    his = tab(home, "max", "guidelines")
    field(his, TEXT).set_value("His words.")
    kept(home, "Her words.")  # before his page heard of his first letter
    drawn(field(his, NOTE).set_value("His note.").run())
    drawn(field(his, "Keep as version 3").click().run())
    assert in_force(home).texts["en"] == "Her words.\n"
    assert (field(his, TEXT).value, field(his, NOTE).value) == ("His words.", "His note.")
    assert "Version 2 was kept meanwhile, by lea: Hers." in said(his)
    assert "<ins>Her words.</ins>" in said(his)
    drawn(field(his, "Go on from version 2 with my draft").click().run())
    assert (field(his, TEXT).value, field(his, NOTE).value) == ("His words.", "His note.")
    drawn(field(his, "Keep as version 3").click().run())
    made = in_force(home)
    assert (made.version, made.texts["en"], made.note, made.set_by) == (3, "His words.\n", "His note.", "max")
    assert (field(his, TEXT).value, field(his, NOTE).value) == ("His words.\n", "")
    assert "Throw the draft away" not in labels(his)


def test_a_draft_is_one_language_s_and_thrown_away_only_by_hand(home: Path) -> None:
    page = tab(home, "max", "guidelines")
    drawn(field(page, TEXT).set_value("His words.").run())
    drawn(page.selectbox(key="guidelines-write-lang").set_value("es").run())
    assert field(page, TEXT).value == GUIDELINES["es"]
    drawn(page.selectbox(key="guidelines-write-lang").set_value("en").run())
    assert field(page, TEXT).value == "His words."
    drawn(field(page, "Throw the draft away").click().run())
    assert field(page, TEXT).value == GUIDELINES["en"]
    assert in_force(home).version == 1


def test_who_wrote_nothing_writes_from_the_newest_version(home: Path) -> None:
    page = tab(home, "max", "guidelines")
    kept(home, "Her words.")
    drawn(page.run())
    assert field(page, TEXT).value == "Her words.\n"
    assert "kept meanwhile" not in said(page)


def test_the_page_says_which_languages_are_behind_and_of_which_version_their_words_are(home: Path) -> None:
    assert "still has the words" not in said(tab(home, "max", "guidelines"))
    kept(home, "One.")
    kept(home, "Two.")
    page = tab(home, "max", "guidelines")
    assert "Español (Spanish) still has the words of version 1: English was changed since." in said(page)
    kept(home, "Dos.", "es")
    assert "still has the words" not in said(tab(home, "max", "guidelines"))


# ----------------------------------------------------------------------- practice


def practised(home: Path) -> practice.Version:
    store = Store(Settings(home=home).records_url)
    try:
        with store.reading() as session:
            return practice.in_force(session)
    finally:
        store.close()


def keep_items(home: Path, items: list[PracticeItem]) -> None:
    store = Store(Settings(home=home).records_url)
    with store.writing() as session:
        practice.set_items(session, items, lang="en", note="Hers.", by="lea", now=now())
    store.close()


def test_keeping_one_item_leaves_what_is_being_written_of_the_others(home: Path) -> None:
    page = tab(home, "max", "practice")
    drawn(field(page, WHY, 2).set_value("Third, unkept.").run())
    drawn(field(page, WHY, 0).set_value("First.").run())
    drawn(field(page, "Keep this item", 0).click().run())
    assert [item.explanation for item in practised(home).items["en"]][:3] == ["First.", *[one.explanation for one in ENGLISH[1:3]]]
    assert [field(page, WHY, place).value for place in (0, 2)] == ["First.", "Third, unkept."]
    keep_items(home, [*practised(home).items["en"][1:], ENGLISH[0]])  # hers: the first is the last now
    drawn(page.run())
    assert field(page, WHY, 1).value == "Third, unkept."
    drawn(page.selectbox(key="practice-lang").set_value("es").run())
    drawn(page.selectbox(key="practice-lang").set_value("en").run())
    assert field(page, WHY, 1).value == "Third, unkept."
    drawn(field(page, "Throw the draft away").click().run())
    assert field(page, WHY, 1).value == ENGLISH[2].explanation


def test_a_draft_of_an_item_that_somebody_changed_meanwhile_is_still_there(home: Path) -> None:
    page = tab(home, "max", "practice")
    field(page, WHY, 0).set_value("His.")
    keep_items(home, [ENGLISH[0]._replace(explanation="Hers."), *ENGLISH[1:]])  # before his page heard of his first letter
    drawn(field(page, "Keep this item", 0).click().run())
    assert practised(home).version == 2
    assert "Version 2 was kept meanwhile, by lea, and changed or removed this item." in said(page)
    assert field(page, WHY, 0).value == "His."
    drawn(field(page, "Keep this item", 0).click().run())
    assert [item.explanation for item in practised(home).items["en"]][0::8] == ["Hers.", "His."]
    assert "was kept meanwhile" not in said(page)


def test_an_item_kept_as_it_was_changes_nothing_and_says_so(home: Path) -> None:
    page = drawn(field(tab(home, "max", "practice"), "Keep this item", 0).click().run())
    assert "That is what version 1 says already; nothing was changed." in said(page)
    assert practised(home).version == 1


def test_an_added_item_leaves_an_empty_form(home: Path) -> None:
    page = tab(home, "max", "practice")
    for words, text in (("What somebody wrote", "Hi."), ("How the model went on", "Go."), (WHY, "It is rude.")):
        field(page, words, -1).set_value(text)
    drawn(field(page, "Keep this item", -1).click().run())
    assert practised(home).items["en"][-1] == PracticeItem("Hi.", "Go.", "flag", ("stereotype",), "It is rude.")
    assert [field(page, words, -1).value for words in ("What somebody wrote", WHY)] == ["", ""]
    assert "Throw the draft away" not in labels(page)


def test_an_item_is_removed_on_a_second_press_and_a_version_brought_back_from_its_difference(home: Path) -> None:
    page = tab(home, "max", "practice")
    assert "Remove this item" not in labels(page)
    drawn(field(page, "Remove it", 1).click().run())
    assert practised(home).items["en"] == (ENGLISH[0], *ENGLISH[2:])
    assert f"<del>{ENGLISH[1].prompt}</del>" in said(page)
    drawn(field(page, "Bring it back", 0).click().run())
    assert (practised(home).version, practised(home).items["en"]) == (3, ENGLISH)


# ------------------------------------------------------------------- other fields


def test_rates_that_are_refused_are_called_what_the_field_is_called(home: Path) -> None:
    page = tab(home, "max", "checks")
    page.number_input[0].set_value(1)
    drawn(page.button[0].click().run())
    assert "“An own earlier answer: one in” is 1; expected 0 for never, or 5 and more" in said(page)
    assert "repeat_every" not in said(page)


def _choose(home: str, module: str) -> None:
    """A field by itself, as pages draw it."""
    from importlib import import_module
    from pathlib import Path

    from flagback.review_app.installation import open_installation
    from flagback.review_app.settings import Settings
    from flagback.storage import accounts

    installation = open_installation(Settings(home=Path(home)))
    with installation.store.reading() as session:
        account = accounts.by_login(session, "max")
        session.expunge(account)
    account.languages = []
    import_module(f"flagback.review_app.screens.{module}").choose(installation, account)
    installation.store.close()


def test_no_field_offers_everything_at_one_press(home: Path) -> None:
    """Whoever says at one press that they read every language is handed what they cannot read."""
    pages = [tab(home, "max", "practice")]
    for module in ("languages", "topics"):
        app = AppTest.from_function(_choose, kwargs={"home": str(home), "module": module}, default_timeout=120)
        pages.append(drawn(app.run()))
    for page in pages:
        assert [one.proto.select_all for one in page.multiselect] == [False] * len(page.multiselect) != []
