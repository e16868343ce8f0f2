"""The role matrix: every address of the running application, by every role and by nobody, over raw HTTP and raw websockets.

Expected is the table in flagback.review_app.access, which docs/access.md is written from; found is what the process answers.
"""

import http.client
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from flagback.review_app import access, auth, guard, server
from flagback.review_app.access import PAGES, RULES, Listed, Rule
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, invitations, output_keys
from flagback.storage.records import Role, now
from flagback.storage.store import Store
from tests.browser import WebProcess
from tests.fresh import migrate
from tests.people import person

ROOT = Path(__file__).resolve().parents[1]
ROLES: tuple[Role, ...] = get_args(Role)
#: What stands in for the variable part of an address.
SAMPLES = {
    "{code}": "no-such-code",
    "{name}": "page.css",
    "{ticket}": "x" * 32,
    "{session}": "s",
    "{file}": "f",
    "{rest:path}": "x/y.js",
}
#: What the guard says when it refuses; an allowed request may fail for reasons of its own, but never with these.
REFUSALS = {"no_key", "not_signed_in", "not_your_role", "wrong_method", "foreign_origin", "unknown_host"}


class Place:
    """A served home with one account a role, each signed in."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        store = Store(self.settings.records_url)
        migrate(store)
        with store.writing() as session:
            people = {role: person(session, f"{role}-1", role) for role in ROLES}
        store.close()
        self.installation: Installation = open_installation(self.settings)
        self.web = WebProcess(folder)
        self.http = httpx.Client(timeout=20)
        self.cookies: dict[Role, str] = {}
        self.tokens: dict[Role, str] = {}
        for role, account in people.items():
            with self.installation.store.writing() as session:
                self.cookies[role] = accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=1))
            self.tokens[role] = auth.page_token(self.installation, account)

    def headers(self, role: Role | None) -> dict[str, str]:
        """What a browser of the role sends; of nobody: no cookie."""
        own = {"Origin": self.web.url}
        if role is None:
            return own
        return own | {
            "Cookie": f"flagback_session_{self.web.port}={self.cookies[role]}",
            "X-Flagback-Token": self.tokens[role],
        }

    def ask(self, rule: Rule, method: str, role: Role | None, **more: str) -> httpx.Response:
        """One request."""
        return self.send(method, sample(rule), self.headers(role) | more)

    def send(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        """A request of a browser that keeps nothing; the connection is kept, since opening one costs more than the answer."""
        answer = self.http.request(method, self.web.url + path, headers=headers, **more)
        self.http.cookies.clear()
        return answer


def sample(rule: Rule) -> str:
    """An address of a rule."""
    path = rule.path
    for name, value in SAMPLES.items():
        path = path.replace(name, value)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The served home."""
    made = Place(tmp_path_factory.mktemp("access"))
    with made.web:
        yield made
    made.http.close()
    made.installation.store.close()


def code_of(answer: httpx.Response) -> str:
    """The code of a refusal, "" for anything else."""
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def test_every_rule_answers_every_role_as_the_table_says(place: Place) -> None:
    for rule in RULES:
        for method in sorted(rule.methods - {"WS"}):
            for role in (None, *ROLES):
                answer = place.ask(rule, method, role)
                allowed = rule.roles is None or role in rule.roles
                where = f"{method} {rule.path} as {role}: {answer.status_code} {answer.text[:80]}"
                if allowed:
                    assert code_of(answer) not in REFUSALS, where
                    assert answer.status_code < 500, where
                    assert rule.kind != "page" or method == "HEAD" or answer.status_code == 200, where
                elif rule.by_key:
                    assert (answer.status_code, code_of(answer)) == (401, "no_key"), where
                elif role is None and rule.kind in ("page", "form"):
                    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/signin"), where
                else:
                    assert answer.status_code == (401 if role is None else 403), where


def test_a_programs_key_opens_its_one_address_and_is_nobody_everywhere_else(place: Place) -> None:
    with place.installation.store.writing() as session:
        key = output_keys.make(session, "chat", by="test", now=now())
    shown = {"Authorization": f"Bearer {key}"}
    opened = []
    for rule in RULES:
        for method in sorted(rule.methods - {"WS"}):
            with_key, nobody = place.send(method, sample(rule), shown), place.ask(rule, method, None)
            if rule.by_key:
                opened.append((method, rule.path))
                assert (with_key.status_code, code_of(with_key)) == (400, "bad_outputs"), with_key.text
                assert place.send(method, sample(rule), shown | place.headers("administrator")).status_code == 400
            else:
                assert (with_key.status_code, code_of(with_key)) == (nobody.status_code, code_of(nobody)), f"{method} {rule.path}"
    assert opened == [("POST", "/api/v1/outputs")]
    assert refusal(place, **shown) == 403, "nor a websocket"
    with place.installation.store.writing() as session:
        output_keys.withdraw(session, "chat", by="test", now=now())
    assert code_of(place.send("POST", "/api/v1/outputs", shown)) == "no_key"
    assert key not in place.web.log()


def test_what_is_not_in_the_table_does_not_exist_even_for_administrators(place: Place) -> None:
    shut = [
        "/_stcore/metrics",
        "/_stcore/script-health-check",
        "/auth/logout",
        "/st-metrics",
        "/stream",
        "/component/x/y",
        "/app/static/x",
        "/api/v1/docs",
        "/docs",
        "/_stcore/agent",
        "/admin",
        "/.env",
        "/review/x",
        "/loop/_stcore/stream",
        "/_stcore/allowed-message-origins",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/look/../../settings.py",
        "/downloads/..%2f..%2fflagback.db",
    ]
    for path in shut:
        answer = place.send("GET", path, place.headers("administrator"))
        assert answer.status_code in (400, 404), f"{path}: {answer.status_code}"
        assert "root:" not in answer.text
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        answer = place.send(method, "/loop", place.headers("administrator"))
        assert answer.status_code == 405, f"{method}: {answer.status_code}"


def test_a_route_without_a_rule_fails(place: Place) -> None:
    def addresses(routes: list[BaseRoute], before: str = "") -> Iterator[tuple[str, set[str]]]:
        for route in routes:
            if isinstance(route, Mount):
                yield from addresses(list(route.routes), before + route.path)
            elif isinstance(route, Route):
                yield before + route.path, set(route.methods or ())

    found = list(addresses(server._routes(place.installation)))
    assert len(found) > 10
    for path, methods in found:
        concrete = path.replace("{code}", "x").replace("{ticket}", "x")
        for method in methods:
            assert access.rule_for(method, concrete), f"{method} {path} has no rule in flagback.review_app.access"


@pytest.mark.parametrize("role", ROLES)
def test_state_changes_need_the_pages_token_and_our_origin(place: Place, role: Role) -> None:
    for rule in RULES:
        if "POST" not in rule.methods or (rule.roles is not None and role not in rule.roles):
            continue
        foreign = place.ask(rule, "POST", role, Origin="https://evil.example")
        assert (foreign.status_code, code_of(foreign)) == (403, "foreign_origin"), rule.path
        without = place.ask(rule, "POST", role, **{"X-Flagback-Token": "made up"})
        assert without.status_code in (403, 404, 410), f"{rule.path}: {without.status_code}"
    for name in ("claim", "answers", "release", "today", "recent", "session"):
        if role not in access.REVIEWING_ROLES and name != "session":
            continue
        method = "POST" if name in ("claim", "answers", "release") else "GET"
        other: Role = "lead" if role != "lead" else "reviewer"
        headers = place.headers(role) | {"X-Flagback-Token": place.tokens[other]}
        answer = place.send(method, f"/api/v1/{name}", headers, json={"count": 1})
        assert (answer.status_code, code_of(answer)) in ((403, "other_account"), (405, "")), f"{name}: {answer.text}"


# ---------------------------------------------------------------------- websockets


def opened(place: Place, role: Role) -> ClientConnection:
    """A raw websocket with a role's cookie."""
    return connect(
        place.web.url.replace("http", "ws") + "/_stcore/stream",
        additional_headers={"Cookie": place.headers(role)["Cookie"]},
        origin=Origin(place.web.url),
        subprotocols=[Subprotocol("streamlit")],
        max_size=None,
    )


def run_page(place: Place, role: Role, page: Listed) -> str:
    """Everything that one run of a page sends over a raw websocket, as text."""
    address = place.web.url.replace("http", "ws") + "/_stcore/stream"
    headers = {"Cookie": place.headers(role)["Cookie"]}
    with connect(
        address, additional_headers=headers, origin=Origin(place.web.url), subprotocols=[Subprotocol("streamlit")], max_size=None
    ) as socket:
        ask = BackMsg()
        ask.rerun_script.page_name = page.url_path
        ask.rerun_script.query_string = ""
        socket.send(ask.SerializeToString())
        found = ""
        while True:
            raw = socket.recv(timeout=20)
            assert isinstance(raw, bytes)
            message = ForwardMsg()
            message.ParseFromString(raw)
            if message.WhichOneof("type") == "delta":
                found += str(message)
            if message.WhichOneof("type") == "script_finished":
                return found


#: Words that only this page draws.
MARKS = {
    "review": "flagback.board",
    "loop": 'body: "The loop"',
    "corrections": 'body: "Corrections"',
    "versions": 'body: "Versions"',
    "history": 'body: "History"',
    "figures": 'body: "One version"',
    "compare": 'body: "Two versions"',
    "groups": 'body: "Groups"',
    "agreement": 'body: "Agreement"',
    "patterns": 'body: "Patterns"',
    "panel": 'body: "Panel"',
    "contested": 'body: "Contested"',
    "reviewers": 'body: "Reviewers"',
    "guidelines": 'body: "Guidelines"',
    "practice": 'body: "Practice"',
    "checks": 'body: "Checks"',
    "care": 'body: "Care"',
    "data": 'body: "Data"',
    "people": 'body: "People"',
    "you": 'body: "You"',
    "mine": 'body: "Your answers"',
}


@pytest.mark.parametrize("role", ROLES)
def test_a_raw_websocket_draws_a_roles_own_pages_and_no_others(place: Place, role: Role) -> None:
    for page in PAGES:
        drawn = run_page(place, role, page)
        assert (MARKS[page.url_path] in drawn) == (role in page.roles), f"{page.url_path} as {role}"


def refusal(place: Place, **headers: str) -> int:
    """The status with which a websocket is turned away; 101 where it is not."""
    origin = headers.pop("Origin", place.web.url)
    try:
        with connect(place.web.url.replace("http", "ws") + "/_stcore/stream", additional_headers=headers, origin=Origin(origin)):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_a_websocket_without_a_session_or_from_another_site_is_turned_away(place: Place) -> None:
    cookie = place.headers("reviewer")["Cookie"]
    assert refusal(place, Cookie=cookie) == 101
    assert refusal(place) == 403
    assert refusal(place, Cookie=cookie[:-3] + "abc") == 403
    assert refusal(place, Cookie=cookie, Origin="https://evil.example") == 403
    for header in ("X-Forwarded-User", "Remote-User", "X-Streamlit-User", "X-Auth-Request-Email"):
        assert refusal(place, **{header: "administrator-1"}) == 403, "no header signs anyone in"


def test_a_session_revoked_or_demoted_ends_on_the_open_websocket(place: Place) -> None:
    with place.installation.store.writing() as session:
        person(session, "moved", "maintainer")
        account = accounts.by_login(session, "moved")
        cookie = accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=1))
    place.cookies["maintainer"], kept = cookie, place.cookies["maintainer"]
    try:
        (loop,) = [page for page in PAGES if page.url_path == "loop"]
        address = place.web.url.replace("http", "ws") + "/_stcore/stream"
        with connect(
            address, additional_headers={"Cookie": place.headers("maintainer")["Cookie"]}, origin=Origin(place.web.url)
        ) as socket:
            ask = BackMsg()
            ask.rerun_script.page_name = loop.url_path

            def again() -> str:
                socket.send(ask.SerializeToString())
                drawn = ""
                while True:
                    message = ForwardMsg()
                    message.ParseFromString(socket.recv(timeout=20))
                    drawn += str(message) if message.WhichOneof("type") == "delta" else ""
                    if message.WhichOneof("type") == "script_finished":
                        return drawn

            assert MARKS["loop"] in again()
            with place.installation.store.writing() as session:
                accounts.set_role(session, "moved", "reviewer", now=now(), by="test")
            drawn = again()
            assert MARKS["loop"] not in drawn
            assert "sign-in has ended" in drawn
    finally:
        place.cookies["maintainer"] = kept


# -------------------------------------------------------------------------- the rest


def test_the_documented_table_is_the_one_in_force() -> None:
    assert (ROOT / "docs" / "access.md").read_text(encoding="utf-8") == access.table(), "run 'make docs'"


def test_a_foreign_host_name_that_points_here_is_refused(place: Place) -> None:
    for host in ("evil.example", f"evil.example:{place.web.port}", "", "127.0.0.1.evil.example"):
        answer = place.send("GET", "/signin", {"Host": host})
        assert answer.status_code in (400, 421), host
    assert place.send("GET", "/signin", {"Host": f"localhost:{place.web.port}"}).status_code == 200


def test_every_answer_carries_the_policy_and_no_other_site_is_let_in(place: Place) -> None:
    for rule in RULES:
        if "GET" not in rule.methods:
            continue
        for role in (None, "administrator"):
            headers = place.ask(rule, "GET", role, Origin="https://evil.example").headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"], rule.path
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "access-control-allow-origin" not in headers
    assert "unsafe-eval" not in headers["content-security-policy"]
    scripts = headers["content-security-policy"].split("script-src")[1].split(";")[0]
    assert "unsafe-inline" not in scripts
    assert "'sha256-" in guard.inline_script_hash()


def test_a_body_too_long_is_refused_whether_or_not_its_length_is_told(place: Place) -> None:
    large = b'{"token": "' + b"a" * (access.LONGEST_BODY + 10) + b'"}'

    def pieces() -> Iterator[bytes]:
        yield from (large[start : start + 65_536] for start in range(0, len(large), 65_536))

    for content in (large, pieces()):
        headers = place.headers("reviewer") | {"Content-Type": "application/json"}
        answer = place.send("POST", "/api/v1/answers", headers, content=content)
        assert answer.status_code == 413
    connection = http.client.HTTPConnection("127.0.0.1", place.web.port, timeout=20)
    connection.putrequest("PUT", "/_stcore/upload_file/s/f")
    for name, value in (place.headers("administrator") | {"Content-Length": str(2**33)}).items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status in (400, 403, 413)
    connection.close()


def test_what_breaks_is_told_by_a_number_and_found_in_the_log_by_it(place: Place) -> None:
    with place.installation.store.writing() as session:
        code = invitations.invite(session, "reviewer", by="test", now=now())
        session.connection().exec_driver_sql("ALTER TABLE pool RENAME TO pool_away")
    try:
        answer = place.send("GET", f"/join/{code}?external_id=secret-id", {"Accept": "text/html"})
        refused = place.send("POST", "/api/v1/claim", place.headers("reviewer"), json={"count": 1})
    finally:
        with place.installation.store.writing() as session:
            session.connection().exec_driver_sql("ALTER TABLE pool_away RENAME TO pool")
    assert refused.status_code in (200, 503)
    if answer.status_code == 500:
        number = answer.text.split("error ")[2].split(";")[0]
        assert number in place.web.log()
    assert "Traceback" not in answer.text
    assert code not in place.web.log(), "links never stand in the log"
    assert "secret-id" not in place.web.log()
