"""Claims about signing in and out: cookies, tokens of forms, delays, and what a page says."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from flagback.review_app import auth
from flagback.review_app.guard import Guard
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, claims, sign_ins, slots
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Account, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.people import PASSWORD, form_token, person, sign_in_by_form

OURS = "http://127.0.0.1"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A home with one reviewer."""
    settings = Settings(home=tmp_path)
    store = Store(settings.records_url)
    migrate(store)
    with store.writing() as session:
        person(session, "ada")
    store.close()
    opened = open_installation(settings)
    yield opened
    opened.store.close()


def browser(installation: Installation, *, base: str = OURS) -> TestClient:
    """A browser-like client of the sign-in routes and one page behind them."""

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("the page")

    routes = [*auth.routes(installation), Route("/", page), Route("/review", page)]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, installation=installation)])
    return TestClient(app, base_url=base, headers={"Origin": base}, follow_redirects=False)


@pytest.fixture
def client(installation: Installation) -> TestClient:
    """A browser at the sign-in page."""
    return browser(installation)


def test_a_right_password_gives_a_cookie_that_scripts_and_other_sites_cannot_use(client: TestClient) -> None:
    answer = sign_in_by_form(client, "Ada ")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("flagback_session_8501=")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_behind_https_no_cookie_travels_in_the_clear(installation: Installation) -> None:
    client = browser(installation, base="https://127.0.0.1")
    page = client.get("/signin")
    assert "secure" in page.headers["set-cookie"].lower()
    sent = {"login": "ada", "password": PASSWORD, "token": form_token(page.text)}
    assert "secure" in client.post("/signin", data=sent).headers["set-cookie"].lower()


@pytest.mark.parametrize(("login", "password"), [("ada", "wrong password"), ("nobody", PASSWORD), ("", ""), ("ada", "")])
def test_a_wrong_name_or_password_gives_the_same_page_and_no_session(client: TestClient, login: str, password: str) -> None:
    answer = sign_in_by_form(client, login, password)
    assert answer.status_code == 401
    assert "flagback_session" not in answer.headers.get("set-cookie", "")
    assert "The name or the password is not right." in answer.text
    assert PASSWORD not in answer.text


def test_a_login_is_shown_again_as_text_not_as_markup(client: TestClient) -> None:
    assert "<script>x" not in sign_in_by_form(client, '"><script>x</script>', "x").text


def test_a_form_without_its_token_or_with_another_browsers_does_nothing(installation: Installation, client: TestClient) -> None:
    other = form_token(browser(installation).get("/signin").text)
    client.get("/signin")
    for token in (None, "", "made up", other, "\ud83d"):
        sent = {"login": "ada", "password": PASSWORD} | ({} if token is None else {"token": token.encode("utf-8", "replace")})
        answer = client.post("/signin", data=sent)
        assert answer.status_code == 403
        assert "flagback_session" not in answer.headers.get("set-cookie", "")


def test_failures_in_a_row_make_the_next_try_wait_longer_and_longer() -> None:
    waits = [sign_ins.wait_after("login", failures).total_seconds() for failures in range(20)]
    assert waits[:5] == [0.0] * 5
    assert waits[5:9] == [1.0, 2.0, 4.0, 8.0]
    assert waits == sorted(waits)
    assert max(waits) == 15 * 60


def test_after_six_wrong_passwords_even_the_right_one_waits_and_says_how_long(client: TestClient) -> None:
    for _ in range(5):
        assert sign_in_by_form(client, "ada", "wrong password").status_code == 401
    answer = sign_in_by_form(client, "ada")
    assert answer.status_code == 429
    assert "Wait 1 second," in answer.text
    assert int(answer.headers["retry-after"]) >= 1


def test_one_address_cannot_try_many_names_either(client: TestClient) -> None:
    codes = [sign_in_by_form(client, f"guess{number}", "wrong password").status_code for number in range(31)]
    assert codes[:30] == [401] * 30
    assert codes[30] == 429


def test_a_page_without_a_session_leads_to_sign_in_and_back(client: TestClient) -> None:
    answer = client.get("/review?item=4", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/signin?next=%2Freview%3Fitem%3D4"
    token = form_token(client.get(answer.headers["location"]).text)
    again = client.post(answer.headers["location"], data={"login": "ada", "password": PASSWORD, "token": token})
    assert again.headers["location"] == "/review?item=4"
    assert client.get("/review", headers={"Accept": "text/html"}).text == "the page"


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/x\r\nSet-Cookie: a=b", "/signout"]
)
def test_sign_in_never_sends_anyone_to_another_site(client: TestClient, onward: str) -> None:
    token = form_token(client.get("/signin").text)
    sent = {"login": "ada", "password": PASSWORD, "token": token}
    assert client.post("/signin", params={"next": onward}, data=sent).headers["location"] == "/"


def test_sign_out_ends_the_session_in_the_records_not_only_the_cookie(client: TestClient, installation: Installation) -> None:
    sign_in_by_form(client, "ada")
    cookie = client.cookies[auth.cookie_name(installation)]
    assert auth.account_of(installation, cookie) is not None
    assert client.post("/signout").status_code == 403, "without the page's token nobody is signed out"
    assert auth.account_of(installation, cookie) is not None
    answer = client.post("/signout", data={"token": form_token(client.get("/signout").text)})
    assert answer.headers["location"] == "/signin?signed_out"
    assert auth.account_of(installation, cookie) is None


def test_signing_out_gives_back_what_one_held_unless_one_is_signed_in_elsewhere(installation: Installation) -> None:
    with installation.store.writing() as session:
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "x"}])]).ids
        made = add_generations(session, [NewGeneration(prompts[0], " y", "end", "imported", "import:x")])
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=0)
        ada = session.exec(select(Account).where(Account.login == "ada")).one()
    claimed_by = installation.reviewer(ada)
    assert slots.claim(installation.store, claimed_by, count=1, now=now(), lease_for=timedelta(hours=1), seed=0)
    one, other = browser(installation), browser(installation)
    for client in (one, other):
        sign_in_by_form(client, "ada")
    for held_then, client in ((1, one), (0, other)):
        client.post("/signout", data={"token": form_token(client.get("/signout").text)})
        with installation.store.reading() as session:
            assert len(claims.held(session, claimed_by, now=now())) == held_then


def test_signing_in_as_someone_else_ends_the_session_the_browser_had(client: TestClient, installation: Installation) -> None:
    with installation.store.writing() as session:
        person(session, "bob")
    sign_in_by_form(client, "ada")
    before = client.cookies[auth.cookie_name(installation)]
    sign_in_by_form(client, "bob")
    assert auth.account_of(installation, before) is None


def test_a_session_that_ran_out_or_was_made_up_is_nobody(installation: Installation) -> None:
    with installation.store.writing() as session:
        account = accounts.create(session, "eve", PASSWORD, "reviewer")
        over = accounts.open_session(session, account.id, now=now() - timedelta(days=20), for_=auth.SESSION_FOR)
    assert auth.account_of(installation, over) is None
    assert auth.account_of(installation, "made up") is None
    assert auth.account_of(installation, None) is None


def test_a_session_is_marked_seen_once_an_hour(installation: Installation) -> None:
    with installation.store.writing() as session:
        account = accounts.by_login(session, "ada")
        cookie = accounts.open_session(session, account.id, now=now() - timedelta(hours=3), for_=auth.SESSION_FOR)
    assert auth.account_of(installation, cookie) is not None
    with installation.store.reading() as session:
        (row,) = accounts.live_sessions(session, account.id, now=now())
    assert now() - row.seen_at < timedelta(minutes=1)


def test_a_page_token_belongs_to_one_account(installation: Installation) -> None:
    with installation.store.writing() as session:
        ada, bob = accounts.by_login(session, "ada"), person(session, "bob")
    assert auth.page_token_fits(installation, ada, auth.page_token(installation, ada))
    for wrong in (auth.page_token(installation, bob), "", None, "é"):
        assert not auth.page_token_fits(installation, ada, wrong)


def test_a_demo_says_so_and_another_installation_does_not(client: TestClient, installation: Installation) -> None:
    assert "Demo." not in client.get("/signin").text
    with installation.store.writing() as session:
        accounts.create(session, "reviewer", PASSWORD, "reviewer", demo=True)
    page = client.get("/signin").text
    assert "Demo." in page
    assert "<b>reviewer</b>" in page
    assert "<b>ada</b>" not in page
