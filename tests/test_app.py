"""Claims about the screens: who sees which, and that a page's code runs for nobody else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args
from urllib.request import urlopen
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, expect

from flagback.review_app import app
from flagback.review_app.access import PAGES, REVIEWING_ROLES, STEERING_ROLES
from flagback.review_app.settings import Settings
from flagback.storage.records import Role
from flagback.storage.store import Store
from tests.browser import WebProcess, fits, page_of, sign_in
from tests.fresh import migrate
from tests.people import PASSWORD, person

PEOPLE: dict[str, Role] = {"ada": "reviewer", "max": "maintainer", "audrey": "auditor"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one account for each of three roles."""
    folder = tmp_path_factory.mktemp("app")
    store = Store(Settings(home=folder).records_url)
    migrate(store)
    with store.writing() as session:
        for login, role in PEOPLE.items():
            person(session, login, role)
    store.close()
    return folder


@pytest.fixture(scope="module")
def web(home: Path) -> Iterator[WebProcess]:
    """The home, served."""
    with WebProcess(home) as started:
        yield started


def test_every_listed_page_has_its_module_and_an_address_of_its_own() -> None:
    for listed in PAGES:
        assert callable(import_module(listed.module).show)
    for role in get_args(Role):
        addresses = [listed.url_path for listed in PAGES if role in listed.roles]
        assert addresses, f"there is no page for the role {role}"
        assert len(addresses) == len(set(addresses))


def test_reviewers_have_the_board_and_no_page_of_those_who_steer() -> None:
    reviewing = {listed.url_path for listed in PAGES if "reviewer" in listed.roles}
    assert reviewing == {"review", "you", "mine"}
    assert {listed.url_path for listed in PAGES if listed.roles & STEERING_ROLES and listed.roles & REVIEWING_ROLES} == {
        "care",
        "panel",
        "contested",
        "reviewers",
        "guidelines",
        "practice",
        "checks",
        "you",
    }


def test_no_folder_beside_the_script_is_named_pages() -> None:
    assert not Path(app.__file__).with_name("pages").exists(), "Streamlit would take it for its own and break deep links"


def test_the_board_is_found_in_a_wheel_as_in_an_editable_install(tmp_path: Path, home: Path, browser: Browser) -> None:
    root, source, unpacked = Path(__file__).parents[1], tmp_path / "source", tmp_path / "unpacked"
    for name in ("storage", "model", "review_app", ".streamlit"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(unpacked)
    with WebProcess(home, folder=tmp_path, PYTHONPATH=str(unpacked)) as web, page_of(browser) as page:
        with urlopen(f"{web.url}/look/page.css", timeout=10) as style:  # nosec B310 # the web process started here
            assert b"--paper" in style.read()
        with page.expect_response("**/board.js*") as script:
            sign_in(page, web.url, "ada", PASSWORD)
        assert script.value.ok
        expect(page.get_by_role("heading", name="Nothing to review just now.")).to_be_visible()
        code = "import flagback.review_app.board as board; print(board.__file__)"
        where = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(unpacked)},
        ).stdout
        assert where.startswith(str(unpacked)), "the web must have been the wheel's, not the checkout's"


def test_a_reviewer_sees_the_board_and_no_other_address_exists(web: WebProcess, browser: Browser) -> None:
    with page_of(browser) as page:
        sign_in(page, web.url, "ada", PASSWORD)
        expect(page.get_by_role("heading", name="Nothing to review just now.")).to_be_visible()
        for address, words in (("corrections", "Not for you"), ("people", "Not for you"), ("export", "Nothing here")):
            page.goto(f"{web.url}/{address}")
            expect(page.get_by_role("heading", name=words)).to_be_visible()


def test_an_address_deep_in_the_app_leads_through_sign_in_and_on_to_it(web: WebProcess, browser: Browser) -> None:
    with page_of(browser) as page:
        page.goto(f"{web.url}/review")
        page.wait_for_url("**/signin?next=%2Freview")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Nothing to review just now.")).to_be_visible()


def test_an_auditor_reads_the_evidence_and_can_sign_out(web: WebProcess, browser: Browser) -> None:
    with page_of(browser) as page:
        sign_in(page, web.url, "audrey", PASSWORD)
        expect(page.get_by_text("No published test is in use.")).to_be_visible()
        page.get_by_role("link", name="Sign out").click()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/signin?signed_out")
        page.goto(web.url)
        page.wait_for_url("**/signin")


def test_a_session_that_ends_elsewhere_ends_on_the_open_page_too(web: WebProcess, browser: Browser, home: Path) -> None:
    with page_of(browser) as page:
        sign_in(page, web.url, "audrey", PASSWORD)
        expect(page.get_by_text("No published test is in use.")).to_be_visible()
        store = Store(Settings(home=home).records_url)
        with store.writing() as session:
            session.connection().exec_driver_sql("UPDATE session SET ended_at = created_at")
        store.close()
        ended = page.get_by_text("Your sign-in has ended")
        for _ in range(20):
            page.keyboard.press("r")  # Streamlit's own "run again"; it waits for no one while a run is under way
            page.wait_for_timeout(500)
            if ended.is_visible():
                break
        expect(ended).to_be_visible()


def test_every_page_of_a_maintainer_opens_in_an_empty_home_and_fits_the_screen(web: WebProcess, browser: Browser) -> None:
    with page_of(browser, width=390) as page:
        sign_in(page, web.url, "max", PASSWORD)
        for listed in PAGES:
            if "maintainer" not in listed.roles:
                continue
            page.goto(f"{web.url}/{listed.url_path}")
            expect(page.get_by_role("heading", level=1)).to_have_text(listed.title)
            expect(page.get_by_role("link", name="Sign out")).to_be_visible()
            assert page.locator(".stException").count() == 0
            fits(page, 390, 1280)
