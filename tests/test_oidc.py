"""Claims about single sign-on, against a real OpenID provider and a real web process: who gets in, as whom, and who does not."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlmodel import col, select

from flagback.review_app import oidc
from flagback.review_app.settings import Settings
from flagback.storage import accounts, records
from flagback.storage.records import Account, AuditEntry, Identity, Role, now
from flagback.storage.store import Store
from tests.browser import WebProcess, chromium, free_port, page_of, sign_in
from tests.fresh import migrate
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, Fault, OpenIDProvider, Running, Someone, openid_provider

PASSWORD = "a long password"  # pragma: allowlist secret - of accounts that live for one test
ROLES = '{"writers": "reviewer", "leads": "lead", "stewards": "maintainer", "checkers": "auditor"}'
NAME = "Example & Co"


class House:
    """A web process, the provider beside it, and the records underneath."""

    def __init__(self, web: WebProcess, running: Running, store: Store) -> None:
        self.web = web
        self.running = running
        self.store = store
        #: Values of every cookie that any answer set: none may stand in a log.
        self.cookies_seen: set[str] = set()
        self._visitors: list[Visitor] = []

    @property
    def provider(self) -> OpenIDProvider:
        return self.running.provider

    @property
    def cookie_name(self) -> str:
        return f"flagback_session_{self.web.port}"

    def visitor(self) -> "Visitor":
        """A fresh browser."""
        self._visitors.append(Visitor(self))
        return self._visitors[-1]

    def close(self) -> None:
        """Closes every browser."""
        for visitor in self._visitors:
            visitor.http.close()
        self._visitors.clear()

    def account(self, cookie: str | None) -> Account | None:
        with self.store.reading() as session:
            found = accounts.signed_in(session, cookie or "", now=now())
        return None if found is None else found.account

    def make(self, login: str, role: Role = "reviewer") -> int:
        with self.store.writing() as session:
            return accounts.create(session, login, PASSWORD, role).id

    def logins(self) -> set[str]:
        with self.store.reading() as session:
            return set(session.exec(select(Account.login)).all())

    def actions(self, login: str) -> list[str]:
        with self.store.reading() as session:
            entries = session.exec(select(AuditEntry).order_by(col(AuditEntry.id))).all()
        return [entry.action for entry in entries if entry.details.get("login") == login]


TOKEN = re.compile(r'name="token" value="([^"]+)"')


class Visitor:
    """A browser without a screen: keeps cookies, follows redirects, and looks at every answer for a login cookie of Streamlit's."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.http = httpx.Client(
            base_url=house.web.url,
            headers={"Accept": "text/html"},
            follow_redirects=True,
            timeout=30,
            event_hooks={"response": [self._looked_at]},
        )

    def _looked_at(self, answer: httpx.Response) -> None:
        for header in answer.headers.get_list("set-cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            assert not name.startswith("_streamlit_user") or value in ("", '""'), f"{name} reached the browser"
            if len(value) > 10:
                self.house.cookies_seen.add(value)

    def sign_in(self, onward: str = "/") -> httpx.Response:
        """By single sign-on, to the page after it."""
        return self.http.get("/signin/oidc", params={"next": onward})

    def up_to_the_callback(self, onward: str = "/") -> httpx.Request:
        """Single sign-on up to the provider's answer, which is not opened yet."""
        answer = self.http.get("/signin/oidc", params={"next": onward}, follow_redirects=False)
        while (step := answer.next_request) is not None and step.url.path != "/oauth2callback":
            answer = self.http.send(step, follow_redirects=False)
        assert step is not None
        return step

    def sign_in_by_password(self, login: str) -> httpx.Response:
        return self.post("/signin", {"login": login, "password": PASSWORD})

    def post(self, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        """Opens the form's page and sends the form with the token that stands in it."""
        token = TOKEN.search(self.http.get(path).text)
        filled = (form or {}) | ({"token": token[1]} if token else {})
        return self.http.post(path, data=filled, headers={"Origin": self.house.web.url})

    def connect(self) -> httpx.Response:
        """Presses the button of the connect page, and goes where the page after it leads."""
        moving = self.post("/signin/oidc/connect")
        return self.http.get(moving.headers["refresh"].partition("url=")[2]) if "refresh" in moving.headers else moving

    @property
    def cookie(self) -> str | None:
        return self.http.cookies.get(self.house.cookie_name)

    @property
    def account(self) -> Account | None:
        return self.house.account(self.cookie)


def callback_of(answer: httpx.Response) -> str:
    """The address that the provider sent the browser back to."""
    return next(str(step.url) for step in [*answer.history, answer] if step.url.path == "/oauth2callback")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    store = Store(Settings(home=home).records_url)
    migrate(store)
    secret = home / "client.secret"
    secret.write_text(f"{CLIENT_SECRET}\n", encoding="utf-8")
    port = free_port()
    with openid_provider() as running:
        running.provider.redirect_uri = f"http://127.0.0.1:{port}/oauth2callback"
        web = WebProcess(
            home,
            port=port,
            FLAGBACK_OIDC_METADATA_URL=running.provider.metadata_url,
            FLAGBACK_OIDC_CLIENT_ID=CLIENT_ID,
            FLAGBACK_OIDC_CLIENT_SECRET_FILE=str(secret),
            FLAGBACK_OIDC_ROLES=ROLES,
            FLAGBACK_OIDC_NAME=NAME,
        )
        with web:
            yield House(web, running, store)
    store.close()


@pytest.fixture
def house(opened: House) -> Iterator[House]:
    """The house with an honest provider."""
    provider = opened.provider
    provider.fault, provider.codes_count_once, provider.has_end_session = None, True, True
    yield opened
    opened.close()


# ------------------------------------------------------------------ getting in


def test_a_login_makes_an_account_whose_role_its_groups_give_and_lands_on_the_page_that_was_asked_for(house: House) -> None:
    house.provider.someone = Someone("s-ada", ["writers", "chess"], preferred_username="Ada")
    visitor = house.visitor()
    asked = visitor.http.get("/review?item=4")
    assert asked.url.path == "/signin"
    assert f"Sign in with {NAME.replace('&', '&amp;')}" in asked.text
    link = re.search(r'href="(/signin/oidc\?next=[^"]+)"', asked.text)
    assert link
    landed = visitor.http.get(link[1])
    assert (landed.url.path, landed.url.query) == ("/review", b"item=4")
    assert landed.status_code == 200
    account = visitor.account
    assert account is not None
    assert (account.login, account.role, account.role_source, account.password_hash) == ("ada", "reviewer", "groups", None)
    assert house.actions("ada") == ["account made by single sign-on"]


def test_a_second_login_is_the_same_account_and_another_session(house: House) -> None:
    house.provider.someone = Someone("s-bob", ["writers"], email="bob@example.org")
    first, second = house.visitor(), house.visitor()
    first.sign_in()
    second.sign_in()
    assert first.cookie != second.cookie
    assert first.account is not None
    assert first.account == second.account
    assert first.account.login == "bob@example.org"
    with house.store.reading() as session:
        (identity,) = session.exec(select(Identity).where(Identity.subject == "s-bob")).all()
    assert identity.last_seen_at > identity.created_at


def test_a_login_in_a_browser_that_was_signed_in_ends_what_was_open_there(house: House) -> None:
    house.provider.someone = Someone("s-cleo", ["writers"])
    visitor = house.visitor()
    visitor.sign_in()
    before = visitor.cookie
    visitor.sign_in()
    assert house.account(before) is None
    assert visitor.account is not None


def test_an_equal_name_or_address_never_leads_to_another_persons_account(house: House) -> None:
    house.make("mallory", "administrator")
    house.provider.someone = Someone("s-thief", ["writers"], preferred_username="Mallory", email="mallory")
    visitor = house.visitor()
    visitor.sign_in()
    account = visitor.account
    assert account is not None
    assert (account.login, account.role) == ("mallory-2", "reviewer")


def test_an_account_made_by_single_sign_on_has_no_password_that_fits(house: House) -> None:
    house.provider.someone = Someone("s-nopass", ["writers"], preferred_username="nopass")
    house.visitor().sign_in()
    for password in ("", "None", PASSWORD):
        answer = house.visitor().post("/signin", {"login": "nopass", "password": password})
        assert answer.status_code == 401


def test_so_many_groups_that_streamlit_splits_its_cookie_still_give_one_login(house: House) -> None:
    many = [f"group-{number:04d}-of-a-large-institute" for number in range(1_500)]
    house.provider.someone = Someone("s-many", [*many, "leads"], preferred_username="many")
    visitor = house.visitor()
    visitor.sign_in()
    assert visitor.account is not None
    assert visitor.account.role == "lead"


def test_somebody_at_another_of_our_addresses_is_taken_to_the_public_one_first(house: House) -> None:
    house.provider.someone = Someone("s-local", ["writers"])
    visitor = house.visitor()
    landed = visitor.http.get(f"http://localhost:{house.web.port}/signin/oidc")
    assert landed.url.host == "127.0.0.1"
    assert visitor.http.cookies.get(house.cookie_name, domain="127.0.0.1")


# ------------------------------------------------------------------ roles follow groups


def test_another_group_at_the_next_login_is_another_role_and_ends_the_sessions_of_the_old_one(house: House) -> None:
    house.provider.someone = Someone("s-dan", ["writers"], preferred_username="dan")
    before = house.visitor()
    before.sign_in()
    house.provider.someone = Someone("s-dan", ["writers", "stewards"], preferred_username="dan")
    after = house.visitor()
    after.sign_in()
    assert before.account is None
    assert after.account is not None
    assert after.account.role == "maintainer"
    assert house.actions("dan") == ["account made by single sign-on", "role changed by groups"]


def test_without_a_mapped_group_nobody_gets_in_and_the_page_says_what_an_administrator_does(house: House) -> None:
    house.provider.someone = Someone("s-out", ["chess"], preferred_username="outsider")
    visitor = house.visitor()
    page = visitor.sign_in()
    assert visitor.cookie is None
    assert page.url.path == "/signin"
    assert "none of your groups there gives you a role here" in page.text
    assert "FLAGBACK_OIDC_ROLES" in page.text
    assert "outsider" not in house.logins()


def test_losing_the_last_mapped_group_ends_all_sessions_at_the_next_login(house: House) -> None:
    house.provider.someone = Someone("s-eve", "writers", preferred_username="eve")
    first = house.visitor()
    first.sign_in()
    assert first.account is not None
    house.provider.someone = Someone("s-eve", [], preferred_username="eve")
    again = house.visitor()
    page = again.sign_in()
    assert "none of your groups" in page.text
    assert again.cookie is None
    assert first.account is None
    assert first.http.get("/review").url.path == "/signin"


def test_a_disabled_account_stays_out(house: House) -> None:
    house.provider.someone = Someone("s-fay", ["leads"], preferred_username="fay")
    house.visitor().sign_in()
    with house.store.writing() as session:
        accounts.set_disabled(session, "fay", disabled=True, now=now(), by="root")
    visitor = house.visitor()
    assert "Your account here is disabled" in visitor.sign_in().text
    assert visitor.cookie is None


# ------------------------------------------------------------------ a provider that lies, or is down


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong nonce", "InvalidClaimError (nonce)"),
        ("no nonce", "MissingClaimError (nonce)"),
        ("expired", "ExpiredTokenError"),
        ("wrong audience", "MissingClaimError (azp)"),
        ("another program's token that names us", "the token is for another program (aud)"),
        ("wrong issuer", "InvalidClaimError (iss)"),
        ("bad signature", "BadSignatureError"),
        ("alg none", "UnsupportedAlgorithmError"),
        ("alg none, announced", "the token is not signed with the provider's private key"),
        ("signed with the public key", "InvalidKeyTypeError"),
        ("no id token", "did not return user information"),
        ("refused", "access_denied"),
        ("token endpoint broken", "HTTPStatusError"),
    ],
)
def test_a_login_that_is_not_right_in_every_part_opens_nothing(house: House, fault: Fault, reason: str) -> None:
    house.provider.someone = Someone("s-faulty", ["stewards"], preferred_username="faulty")
    house.provider.fault = fault
    visitor = house.visitor()
    page = visitor.sign_in()
    assert page.url.path == "/signin"
    number = re.search(r"did not work; try again, or use your name and password\. \(error ([0-9a-f]{4})\)", page.text)
    assert number, page.text
    assert visitor.cookie is None
    assert "faulty" not in house.logins()
    (line,) = [line for line in house.web.log().splitlines() if f"(error {number[1]})" in line]
    assert reason in line


def test_after_a_failed_login_the_next_one_works(house: House) -> None:
    house.provider.someone = Someone("s-gus", ["writers"])
    house.provider.fault = "wrong nonce"
    visitor = house.visitor()
    visitor.sign_in()
    house.provider.fault = None
    visitor.sign_in()
    assert visitor.account is not None


def test_a_provider_that_is_down_is_a_page_that_says_so_and_passwords_go_on(house: House) -> None:
    house.make("hana")
    house.running.stop()
    try:
        visitor = house.visitor()
        page = visitor.sign_in()
        assert page.url.path == "/signin"
        assert "does not answer at the moment" in page.text
        assert visitor.sign_in_by_password("hana").status_code == 200
        assert visitor.account is not None
    finally:
        house.running.start()


def test_a_provider_that_goes_down_half_way_is_a_page_too(house: House) -> None:
    house.provider.someone = Someone("s-half", ["writers"])
    visitor = house.visitor()
    back = visitor.up_to_the_callback()
    house.running.stop()
    try:
        assert "did not work" in visitor.http.send(back, follow_redirects=True).text
    finally:
        house.running.start()


# ------------------------------------------------------------------ replay and foreign logins


def test_a_callback_address_opened_again_opens_nothing_here_or_elsewhere(house: House) -> None:
    house.provider.someone = Someone("s-ida", ["writers"])
    visitor = house.visitor()
    address = callback_of(visitor.sign_in())
    before = visitor.cookie
    again = visitor.http.get(address)
    assert "did not work" in again.text
    assert visitor.cookie == before
    thief = house.visitor()
    assert "did not work" in thief.http.get(address).text
    assert thief.cookie is None


@pytest.mark.parametrize(("once", "words"), [(True, "did not work"), (False, "was used before")])
def test_a_login_replayed_with_its_own_state_cookie_opens_no_second_session(house: House, once: bool, words: str) -> None:
    """The state is a signed cookie that outlives its use, so a copy of it fits again. Even a careless provider changes nothing."""
    house.provider.someone = Someone("s-jan", ["writers"])
    house.provider.codes_count_once = once
    visitor = house.visitor()
    back = visitor.up_to_the_callback()
    address, state = str(back.url), visitor.http.cookies["_streamlit_session"]
    visitor.http.get(address)
    assert visitor.account is not None
    thief = house.visitor()
    thief.http.cookies.set("_streamlit_session", state, domain="127.0.0.1")
    assert words in thief.http.get(address).text
    assert thief.cookie is None


def test_a_link_into_somebody_elses_login_signs_nobody_in(house: House) -> None:
    """Login CSRF: the attacker's own code and state, opened in the victim's browser."""
    house.provider.someone = Someone("s-attacker", ["writers"])
    attacker = house.visitor()
    back = attacker.up_to_the_callback()
    for started in (False, True):
        victim = house.visitor()
        if started:
            victim.http.get("/signin/oidc", follow_redirects=False)
        page = victim.http.get(str(back.url))
        assert "did not work" in page.text
        assert victim.cookie is None


@pytest.mark.parametrize(
    "onward", ["https://evil.example/", "//evil.example", "/\\evil.example", "/signout", "/x\r\nSet-Cookie: a=b"]
)
def test_a_login_leads_to_no_other_site(house: House, onward: str) -> None:
    house.provider.someone = Someone("s-kim", ["writers"])
    visitor = house.visitor()
    assert str(visitor.sign_in(onward).url).startswith(f"{house.web.url}/")
    back = visitor.up_to_the_callback()
    back.headers["cookie"] += f'; flagback_onward_{house.web.port}="{onward.splitlines()[0]}"'
    assert re.fullmatch(r"/([a-z.][^/\\]*)?", visitor.http.send(back, follow_redirects=False).headers["location"])


def test_streamlits_own_cookie_is_no_credential_and_is_taken_out_of_a_browser_that_has_one(house: House) -> None:
    visitor = house.visitor()
    for name in ("_streamlit_user", "_streamlit_user_1", "_streamlit_user_tokens"):
        visitor.http.cookies.set(name, "kept from somewhere", domain="127.0.0.1", path="/")
    assert visitor.http.get("/review").url.path == "/signin"
    house.provider.someone = Someone("s-lea", ["writers"])
    visitor.sign_in()
    assert [name for name in visitor.http.cookies if name.startswith("_streamlit_user")] == []


def test_a_login_started_without_our_page_leads_to_it(house: House) -> None:
    for query in ("", "?provider=made-up"):
        assert house.visitor().http.get(f"/auth/login{query}").url.path == "/signin"


# ------------------------------------------------------------------ the same person by both ways


def test_an_account_that_connects_is_one_row_by_both_ways_and_keeps_its_local_role(house: House) -> None:
    account_id = house.make("mia", "maintainer")
    house.provider.someone = Someone("s-mia", ["writers"], preferred_username="mia")
    visitor = house.visitor()
    visitor.sign_in_by_password("mia")
    assert "/signin/oidc/connect" in visitor.http.get("/signout").text
    before = visitor.cookie
    done = visitor.connect()
    assert "leads to your account mia" in done.text
    assert visitor.cookie == before
    other_way, by_password = house.visitor(), house.visitor()
    other_way.sign_in()
    by_password.sign_in_by_password("mia")
    for one in (visitor, other_way, by_password):
        assert one.account is not None
        assert (one.account.id, one.account.role) == (account_id, "maintainer")
    assert "/signin/oidc/connect" not in visitor.http.get("/signout").text
    assert house.actions("mia") == ["identity connected"]
    house.provider.someone = Someone("s-mia", [])
    without_groups = house.visitor()
    without_groups.sign_in()
    assert without_groups.account is not None
    with house.store.reading() as session:
        opened = session.exec(
            select(records.Session.opened_by).where(
                records.Session.account_id == account_id, col(records.Session.ended_at).is_(None)
            )
        ).all()
    assert sorted(opened) == ["oidc", "oidc", "password", "password"]


def test_somebody_who_has_another_account_already_is_not_taken_over(house: House) -> None:
    house.provider.someone = Someone("s-nat", ["writers"], preferred_username="nat")
    house.visitor().sign_in()
    house.make("natalie")
    visitor = house.visitor()
    visitor.sign_in_by_password("natalie")
    page = visitor.connect()
    assert "leads to another account here already" in page.text
    by_sso = house.visitor()
    by_sso.sign_in()
    assert by_sso.account is not None
    assert by_sso.account.login == "nat"


def test_a_login_that_was_to_connect_opens_nothing_once_the_session_that_asked_is_over(house: House) -> None:
    house.make("olga")
    house.provider.someone = Someone("s-olga", ["writers"], preferred_username="olga-at-work")
    visitor = house.visitor()
    visitor.sign_in_by_password("olga")
    moving = visitor.post("/signin/oidc/connect")
    with house.store.writing() as session:
        accounts.end_session(session, visitor.cookie or "", now=now())
    page = visitor.http.get(moving.headers["refresh"].partition("url=")[2])
    assert page.url.path == "/signin"
    assert "Nothing was connected" in page.text
    assert "olga-at-work" not in house.logins()


def test_a_question_to_connect_is_over_after_ten_minutes(house: House) -> None:
    house.make("pia")
    house.provider.someone = Someone("s-pia", ["writers"])
    visitor = house.visitor()
    visitor.sign_in_by_password("pia")
    moving = visitor.post("/signin/oidc/connect")
    with house.store.writing() as session:
        found = accounts.signed_in(session, visitor.cookie or "", now=now())
        assert found is not None
        asking = found.session
        assert asking.connecting_until is not None
        asking.connecting_until -= timedelta(minutes=10)
        session.add(asking)
    page = visitor.http.get(moving.headers["refresh"].partition("url=")[2])
    assert "Nothing was connected" in page.text


def test_a_plain_login_in_a_browser_that_asked_to_connect_and_went_away_connects_nothing(house: House) -> None:
    house.make("quin")
    house.provider.someone = Someone("s-quin", ["writers"], preferred_username="somebody-else")
    visitor = house.visitor()
    visitor.sign_in_by_password("quin")
    visitor.post("/signin/oidc/connect")
    visitor.sign_in()
    assert visitor.account is not None
    assert visitor.account.login == "somebody-else"


def test_connecting_is_asked_for_by_our_own_page_and_a_live_session_only(house: House) -> None:
    house.make("rita")
    visitor = house.visitor()
    assert visitor.connect().url.path == "/signin"
    visitor.sign_in_by_password("rita")
    foreign = visitor.http.post("/signin/oidc/connect", headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    with house.store.reading() as session:
        found = accounts.signed_in(session, visitor.cookie or "", now=now())
    assert found is not None
    assert found.session.connecting_until is None


# ------------------------------------------------------------------ signing out


def test_signing_out_ends_our_session_and_then_leads_to_the_providers_end_of_session(house: House) -> None:
    house.provider.someone = Someone("s-sam", ["writers"])
    visitor = house.visitor()
    visitor.sign_in()
    cookie = visitor.cookie
    answer = visitor.post("/signout")
    assert house.account(cookie) is None
    target = answer.headers["refresh"].partition("url=")[2]
    assert target.startswith(f"{house.provider.issuer}/logout?")
    assert parse_qs(urlsplit(target).query) == {
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": [f"{house.web.url}/signin"],
    }
    assert visitor.http.get(target).url == f"{house.web.url}/signin"
    assert visitor.cookie is None


def test_signing_out_leads_to_the_sign_in_page_where_the_provider_has_no_such_place_or_is_down(house: House) -> None:
    house.provider.someone = Someone("s-tom", ["writers"])
    house.provider.has_end_session = False
    visitor = house.visitor()
    visitor.sign_in()
    assert visitor.post("/signout").url.path == "/signin"
    visitor.sign_in()
    house.running.stop()
    try:
        assert visitor.post("/signout").url.path == "/signin"
    finally:
        house.running.start()
    assert visitor.account is None


def test_a_session_opened_by_password_is_signed_out_here_only(house: House) -> None:
    house.make("uma")
    visitor = house.visitor()
    visitor.sign_in_by_password("uma")
    assert visitor.post("/signout").url.path == "/signin"


def test_streamlits_sign_out_by_get_is_not_there(house: House) -> None:
    house.provider.someone = Someone("s-vic", ["writers"])
    visitor = house.visitor()
    visitor.sign_in()
    assert visitor.http.get("/auth/logout").status_code == 404
    assert visitor.account is not None


def test_without_single_sign_on_its_addresses_are_not_there(tmp_path: Path) -> None:
    store = Store(Settings(home=tmp_path).records_url)
    migrate(store)
    store.close()
    with WebProcess(tmp_path) as web, httpx.Client(base_url=web.url, headers={"Accept": "text/html"}) as http:
        for path in ("/auth/login", "/auth/logout", "/oauth2callback", "/oauth2callback?code=a&state=b"):
            assert http.get(path).status_code == 404
        assert "/signin/oidc" not in http.get("/signin").text
    assert not (tmp_path / "cookie.key").exists()


# ------------------------------------------------------------------ in a real browser, and the log


def test_in_a_real_browser_somebody_connects_signs_out_everywhere_and_comes_in_the_other_way(house: House) -> None:
    house.make("wanda", "maintainer")
    house.provider.someone = Someone("s-wanda", ["writers"], preferred_username="wanda")
    with chromium() as browser, page_of(browser) as page:
        sign_in(page, house.web.url, "wanda", PASSWORD)
        page.goto(f"{house.web.url}/signout")
        page.get_by_role("link", name=f"Connect {NAME} with this account").click()
        page.get_by_role("button", name=f"Connect {NAME}").click()
        page.get_by_text(f"{NAME} leads to your account wanda.").wait_for()
        page.goto(f"{house.web.url}/signout")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{house.web.url}/signin?signed_out")
        before = len(house.provider.ended)
        page.get_by_role("link", name=f"Sign in with {NAME}").click()
        page.wait_for_url(f"{house.web.url}/loop")
        page.get_by_text("Signed in as wanda (maintainer)").wait_for()
        names = [str(cookie.get("name")) for cookie in page.context.cookies()]
        assert house.cookie_name in names
        assert not [name for name in names if name.startswith("_streamlit_user")]
        page.goto(f"{house.web.url}/signout")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{house.web.url}/signin")
        assert len(house.provider.ended) == before + 1


def test_no_log_line_holds_a_token_a_code_a_nonce_a_cookie_or_the_secret(house: House) -> None:
    """Looks at everything the tests before have left as well."""
    faults: tuple[Fault | None, ...] = (None, "wrong nonce", "refused", "token endpoint broken", "no id token", "bad signature")
    for fault in faults:
        house.provider.fault = fault
        house.provider.someone = Someone("s-log", ["writers"])
        house.visitor().sign_in()
    log = house.web.log()
    assert "Single sign-on failed" in log
    assert "Traceback" not in log
    key = (house.web.home / "cookie.key").read_bytes().hex()
    hidden = {*house.provider.secrets_seen, *house.cookies_seen, CLIENT_SECRET, key}
    assert len(hidden) > 20
    assert [secret for secret in hidden if len(secret) > 10 and secret in log] == []


# ------------------------------------------------------------------ groups to roles


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        ([], None),
        (None, None),
        (["chess", 7, None], None),
        ({"writers": True}, None),
        ("writers", "reviewer"),
        (["writers", "stewards", "leads"], "maintainer"),
        (["checkers"], "auditor"),
        (["checkers", "writers"], "reviewer"),
    ],
)
def test_the_highest_role_of_the_groups_counts_and_auditor_only_alone(groups: object, role: Role | None) -> None:
    roles: dict[str, Role] = {"writers": "reviewer", "leads": "lead", "stewards": "maintainer", "checkers": "auditor"}
    assert oidc.role_of(groups, roles) == role
