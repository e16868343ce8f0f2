"""Claims about sign-in: who gets a cookie, what it is worth, and which requests are taken from where."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from flagback.review_app import auth
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts
from flagback.storage.records import now
from flagback.storage.store import Store

PASSWORD = "a long password"  # pragma: allowlist secret - of an account that lives for one test
OURS = "http://testserver"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A home with one reviewer."""
    settings = Settings(home=tmp_path)
    store = Store(settings.records_url)
    store.migrate()
    with store.writing() as session:
        accounts.create(session, "ada", PASSWORD, "reviewer")
    store.close()
    opened = open_installation(settings)
    yield opened
    opened.store.close()


@pytest.fixture
def client(installation: Installation) -> TestClient:
    """A browser-like client of the sign-in routes and one page behind them."""

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("the page")

    routes = [*auth.routes(installation), Route("/", page), Route("/review", page)]
    app = Starlette(routes=routes, middleware=[Middleware(auth.SignInFirst, installation=installation)])
    return TestClient(app, follow_redirects=False)


def test_a_right_password_gives_a_cookie_that_scripts_and_other_sites_cannot_use(client: TestClient) -> None:
    answer = client.post("/signin", data={"login": "Ada ", "password": PASSWORD}, headers={"Origin": OURS})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("flagback_session_8501=")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_behind_https_the_cookie_never_travels_in_the_clear(installation: Installation) -> None:
    client = TestClient(Starlette(routes=auth.routes(installation)), base_url="https://testserver", follow_redirects=False)
    answer = client.post("/signin", data={"login": "ada", "password": PASSWORD}, headers={"Origin": "https://testserver"})
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(("login", "password"), [("ada", "wrong password"), ("nobody", PASSWORD), ("", ""), ("ada", "")])
def test_a_wrong_name_or_password_gives_the_same_page_and_no_cookie(client: TestClient, login: str, password: str) -> None:
    answer = client.post("/signin", data={"login": login, "password": password}, headers={"Origin": OURS})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "The name or the password is not right." in answer.text
    assert PASSWORD not in answer.text


def test_a_login_is_shown_again_as_text_not_as_markup(client: TestClient) -> None:
    answer = client.post("/signin", data={"login": '"><script>x</script>', "password": "x"}, headers={"Origin": OURS})
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "http://evil.example/page"},
    ],
)
def test_a_form_sent_from_another_site_does_nothing(client: TestClient, headers: dict[str, str]) -> None:
    for path in ("/signin", "/signout"):
        answer = client.post(path, data={"login": "ada", "password": PASSWORD}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("headers", [{"Origin": OURS}, {"Sec-Fetch-Site": "same-origin"}, {"Referer": f"{OURS}/signin"}, {}])
def test_a_form_from_our_own_page_or_from_a_program_is_taken(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/signin", data={"login": "ada", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 303


def test_a_page_without_a_session_leads_to_sign_in_and_back(client: TestClient) -> None:
    answer = client.get("/review?item=4", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/signin?next=%2Freview%3Fitem%3D4"
    again = client.post(answer.headers["location"], data={"login": "ada", "password": PASSWORD}, headers={"Origin": OURS})
    assert again.headers["location"] == "/review?item=4"
    assert client.get("/review", headers={"Accept": "text/html"}).text == "the page"


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/x\r\nSet-Cookie: a=b", "/signout"]
)
def test_sign_in_never_sends_anyone_to_another_site(client: TestClient, onward: str) -> None:
    answer = client.post("/signin", params={"next": onward}, data={"login": "ada", "password": PASSWORD}, headers={"Origin": OURS})
    assert answer.headers["location"] == "/"


def test_sign_out_ends_the_session_in_the_records_not_only_the_cookie(client: TestClient, installation: Installation) -> None:
    client.post("/signin", data={"login": "ada", "password": PASSWORD}, headers={"Origin": OURS})
    cookie = client.cookies[auth.cookie_name(installation)]
    assert auth.account_of(installation, cookie) is not None
    answer = client.post("/signout", headers={"Origin": OURS})
    assert answer.headers["location"] == "/signin"
    assert auth.account_of(installation, cookie) is None


def test_a_session_that_ran_out_or_was_made_up_is_nobody(installation: Installation) -> None:
    with installation.store.writing() as session:
        account = accounts.create(session, "eve", PASSWORD, "reviewer")
        over = accounts.open_session(session, account.id, now=now() - timedelta(days=20), for_=auth.SESSION_FOR)
    assert auth.account_of(installation, over) is None
    assert auth.account_of(installation, "made up") is None
    assert auth.account_of(installation, None) is None


def test_a_demo_says_so_and_another_installation_does_not(client: TestClient, installation: Installation) -> None:
    assert "Demo." not in client.get("/signin").text
    with installation.store.writing() as session:
        accounts.create(session, "reviewer", PASSWORD, "reviewer", demo=True)
    page = client.get("/signin").text
    assert "Demo." in page
    assert "<b>reviewer</b>" in page
    assert "<b>ada</b>" not in page


def test_a_form_too_large_to_be_one_is_not_read(client: TestClient) -> None:
    answer = client.post("/signin", data={"login": "a" * 100_000, "password": PASSWORD}, headers={"Origin": OURS})
    assert answer.status_code == 401


def test_no_page_of_ours_may_be_framed_by_another_site(client: TestClient) -> None:
    answer = client.get("/signin")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
