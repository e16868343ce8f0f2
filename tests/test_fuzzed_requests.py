"""Claims about any request at all: none fails inside, none tells a secret, none changes anything without the right to.

About 1,500 requests, each made from a seed by tests/fuzzing.py; tests/acceptance/test_ten_thousand_requests.py sends the rest.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from starlette.applications import Starlette
from starlette.middleware import Middleware

from flagback.review_app import auth, oidc, server
from flagback.review_app.access import PAGES
from flagback.review_app.guard import Guard
from flagback.review_app.installation import Installation
from flagback.review_app.provider import configured
from flagback.storage import output_keys
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import OutputKey
from tests.browser import WebProcess, free_port
from tests.fuzzed_wire import drawn, exchange, frames, page_session, storm_on_the_wire, upload
from tests.fuzzing import Fuzzer, asked, storm
from tests.openid_provider import CLIENT_SECRET, OpenIDProvider, openid_provider
from tests.rights import Fault, Place, Reply, Shot, judge
from tests.test_access import MARKS

SINGLE_SIGN_ON: dict[str, Any] = {"oidc_client_id": "flagback", "oidc_roles": '{"reviewers": "reviewer"}'}


class Inside:
    """A home and its own routes behind the guard, as the server mounts them, asked without a socket."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        secret = folder / "client-secret"
        secret.write_text("the-client-secret", encoding="utf-8")
        self.place = Place(
            folder / "home",
            database_url,
            oidc_metadata_url="http://127.0.0.1:9/.well-known/openid-configuration",  # nobody there
            oidc_client_secret_file=secret,
            **SINGLE_SIGN_ON,
        )
        installation, provider = self.place.installation, configured(self.place.settings)
        around = [Middleware(Guard, installation=installation)]
        around += [Middleware(oidc.Exchange, installation=installation, provider=provider)] if provider else []
        self.app = Starlette(routes=server._routes(installation, provider), middleware=around)
        self.runner = asyncio.Runner()

    def ask(self, shot: Shot) -> Reply:
        """One request, judged."""
        reply = asked(self.runner, self.app, shot)
        judge(self.place, shot, reply, self.place.changes())
        return reply

    def close(self) -> None:
        """Ends it."""
        self.runner.close()
        self.place.close()


@pytest.fixture
def inside(tmp_path: Path, database_url: str) -> Iterator[Inside]:
    """On each kind of database."""
    made = Inside(tmp_path, database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def one_inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """On SQLite, for single requests."""
    made = Inside(tmp_path_factory.mktemp("inside"))
    yield made
    made.close()


def shot(place: Place, method: str, target: str, *headers: tuple[str, str], who: int | None = None) -> Shot:
    """A request of nobody, or of one of the people from our own page."""
    made = Shot(method, target.encode("latin-1"), [(b"host", place.host)])
    if who is not None:
        one = place.people[who]
        made.headers += [
            (b"cookie", f"flagback_session_8501={one.cookie}".encode()),
            (b"x-flagback-token", one.page_token.encode()),
        ]
    for name, value in headers:
        made.headers = [kept for kept in made.headers if kept[0] != name.encode()] + [(name.encode(), value.encode("latin-1"))]
    return made


# ---------------------------------------------------------- what the fuzzing had found


@pytest.mark.parametrize("header", ["origin", "referer"])
@pytest.mark.parametrize("value", ["http://[", "http://[::1", "http://]", "http://\xb9"])
def test_an_origin_that_is_no_address_is_a_foreign_one(one_inside: Inside, header: str, value: str) -> None:
    reply = one_inside.ask(shot(one_inside.place, "POST", "/api/v1/release", (header, value), who=0))
    assert (reply.status, b"foreign_origin" in reply.body) == (403, True)


@pytest.mark.parametrize("length", ["\xb2", "9" * 5_000, "-1", "1e3"], ids=["two", "long", "minus", "e"])
def test_a_content_length_that_is_no_number_of_bytes_is_refused(one_inside: Inside, length: str) -> None:
    assert one_inside.ask(shot(one_inside.place, "POST", "/api/v1/release", ("content-length", length), who=0)).status == 413


@pytest.mark.parametrize("target", ["/you?x=\xff\xfe", "/signin?next=\xff", "/signout?\x80"])
def test_an_address_in_bytes_that_no_browser_sends_is_refused(one_inside: Inside, target: str) -> None:
    assert one_inside.ask(shot(one_inside.place, "GET", target, who=0)).status == 400


def test_an_address_with_a_query_of_many_kilobytes_is_refused_before_it_is_repeated_in_a_redirect(one_inside: Inside) -> None:
    assert one_inside.ask(shot(one_inside.place, "GET", "/review?" + "%00" * 20_000)).status == 414
    assert one_inside.ask(shot(one_inside.place, "GET", "/review?" + "x" * 4_000)).status == 303


@pytest.mark.parametrize("host", ["127.0.0.1/x?y", "127.0.0.1#", "a@127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999999", "127.0.0.1\0"])
def test_a_host_that_is_more_or_less_than_a_name_and_a_port_is_not_ours(one_inside: Inside, host: str) -> None:
    assert one_inside.ask(shot(one_inside.place, "GET", "/signin", ("host", host))).status == 421


@pytest.mark.parametrize("since", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59.999999Z"])
def test_a_day_beyond_the_calendar_counts_as_one_within(inside: Inside, since: str) -> None:
    assert inside.ask(shot(inside.place, "GET", f"/api/v1/today?since={since}", who=0)).status == 200


@pytest.mark.parametrize("onward", ["/%E2%86%92", "/%00", "/%ED%A0%80", "/review%3B%20Path=/"])
def test_the_way_to_the_single_sign_on_keeps_any_address_to_go_on_to(one_inside: Inside, onward: str) -> None:
    reply = one_inside.ask(shot(one_inside.place, "GET", f"/signin/oidc?next={onward}"))
    assert (reply.status, dict(reply.headers)[b"location"][:12]) == (303, b"/auth/login?")


def test_who_hangs_up_before_the_end_of_a_form_is_no_failure(one_inside: Inside, caplog: pytest.LogCaptureFixture) -> None:
    made = shot(one_inside.place, "POST", "/signout", ("content-type", "application/x-www-form-urlencoded"), who=0)
    made.body, made.cut = [b"token=", b"x"], True
    assert one_inside.ask(made).status == 0
    assert caplog.records == []


# ------------------------------------------------------------------------- anything


def test_no_request_fails_tells_a_secret_or_changes_what_it_has_no_right_to(inside: Inside) -> None:
    counted = storm(inside.place, inside.runner, inside.app, Fuzzer(inside.place, seed=1).shots(500))
    assert counted["all"] == 500
    for way in ("claim", "answers", "release", "outputs"):
        assert counted.get(f"POST /api/v1/{way} 200"), f"no {way} came through, so nothing was shown about it"


@pytest.mark.parametrize("lock", ["guard.from_our_pages", "api.reviewing.page_token_fits"])
def test_the_judge_notices_a_lock_that_is_left_open(one_inside: Inside, lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"flagback.review_app.{lock}", lambda *_: True)
    with pytest.raises(Fault, match="changed without any right"):
        storm(one_inside.place, one_inside.runner, one_inside.app, Fuzzer(one_inside.place, seed=2).shots(3_000))


def test_the_judge_notices_a_withdrawn_key_that_still_opens(one_inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = auth.key_of

    def whichever(installation: Installation, header: str | None) -> OutputKey | None:
        with installation.store.reading() as session:
            one = next(key for key in output_keys.known(session) if key.name == "one")
        return rightly(installation, header) or (one if "Bearer" in (header or "") else None)

    monkeypatch.setattr("flagback.review_app.guard.key_of", whichever)
    place, fuzzer = one_inside.place, Fuzzer(one_inside.place, seed=2)
    right = [made for made in (fuzzer.right() for _ in range(2_000)) if made.path == "/api/v1/outputs"]
    for made in right:
        made.headers = [header for header in made.headers if header[0] != b"authorization"]
        made.headers.append((b"authorization", b"Bearer " + place.output_keys[-1].encode()))
    with pytest.raises(Fault, match="changed without any right"):
        storm(place, one_inside.runner, one_inside.app, right)


# ---------------------------------------------------------------- what the form allows


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_bodies_by_the_published_form_and_beside_it_are_stored_or_refused(inside: Inside, mode: GenerationMode) -> None:
    assert by_the_form(inside, mode, examples=25) >= 75


def by_the_form(inside: Inside, mode: GenerationMode, *, examples: int) -> int:
    """Sends what Schemathesis makes of the API's own description, with another lease of the sender's every other time."""
    place, sent = inside.place, 0
    described = schemathesis.openapi.from_dict(json.loads(inside.ask(shot(place, "GET", "/api/v1/openapi.json", who=0)).body))
    for path, method in (("/claim", "POST"), ("/answers", "POST"), ("/today", "GET"), ("/release", "POST")):
        if path == "/release" and mode is GenerationMode.NEGATIVE:
            continue  # nothing about it can be wrong

        @settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=described[path][method].as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            nonlocal sent
            sent += 1
            query = urlencode(case.query or {}, doseq=True)
            made = shot(place, case.method, f"/api/v1{case.path}?{query}", ("content-type", "application/json"), who=0)
            body = case.body
            if isinstance(body, dict) and "lease_id" in body and sent % 2:
                body = body | {"lease_id": place.leases[pseudonym(place.key, place.people[0].account.id)][0]}
            if case.method == "POST":
                made.body = [body if isinstance(body, bytes) else json.dumps(body, default=str).encode()]
            inside.ask(made)

        send()
    return sent


# ------------------------------------------------------------------------- on the wire


class Served:
    """A home served by a process of its own, with a provider for its single sign-on."""

    def __init__(self, folder: Path, provider: OpenIDProvider) -> None:
        port, secret = free_port(), folder / "client-secret"
        secret.write_text(CLIENT_SECRET, encoding="utf-8")
        more: dict[str, Any] = SINGLE_SIGN_ON | {"oidc_metadata_url": provider.metadata_url, "oidc_client_secret_file": str(secret)}
        self.place = Place(folder / "home", port=port, **more)
        provider.redirect_uri = f"http://127.0.0.1:{port}/oauth2callback"
        self.web = WebProcess(folder / "home", port=port, **{f"FLAGBACK_{name.upper()}": value for name, value in more.items()})

    def megabytes(self) -> float:
        """What the process holds in memory."""
        assert self.web.process is not None
        return float(psutil.Process(self.web.process.pid).memory_info().rss) / 2**20

    def is_well(self) -> None:
        """Healthy, draws a page, and has written no secret down."""
        assert httpx.get(f"{self.web.url}/healthz", timeout=20).json() == {"status": "ok"}
        page = drawn(self.place, self.place.people[0].cookie, [])
        assert (page.status, page.closed, MARKS["you"] in page.text) == (101, False, True)
        log = self.web.log()
        assert [what for secret, what in self.place.secrets().items() if secret in log] == []
        assert "A request failed" not in log
        assert "Exception in ASGI application" not in log


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all."""
    with openid_provider() as running:
        made = Served(tmp_path_factory.mktemp("served"), running.provider)
        with made.web:
            yield made
        made.place.close()


def test_an_answer_that_the_server_no_longer_takes_is_no_failure(served: Served) -> None:
    host = served.place.host
    head = b"POST /nothing HTTP/1.1\r\nHost: " + host + b"\r\nOrigin: http://" + host + b"\r\n"
    form = b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    replies = exchange(served.place.settings.port, head + form + b"zz\r\ntoken=x\r\n0\r\n\r\n")
    assert [reply.status for reply in replies] == [400]
    served.is_well()


def test_a_text_frame_ends_the_connection_without_a_trace(served: Served) -> None:
    assert drawn(served.place, served.place.people[0].cookie, ["text"]).closed
    served.is_well()


def test_whatever_stands_on_the_wire_the_process_stays_well(served: Served) -> None:
    counted = storm_on_the_wire(served.place, seed=1, count=250)
    served.is_well()
    assert counted["changed"] > 3


def test_no_frame_draws_a_page_of_another_role_or_ends_the_process(served: Served) -> None:
    throw_frames(served, seed=1, count=20)
    served.is_well()


def throw_frames(served: Served, *, seed: int, count: int) -> int:
    """Fuzzed frames on so many websockets; returns how many were let in."""
    pick, let_in = Random(seed), 0
    for _ in range(count):
        one = pick.choice(served.place.people)
        cookie = pick.choice((one.cookie, one.cookie, one.cookie, None, pick.choice(served.place.ended), one.cookie[:-1]))
        found = drawn(served.place, cookie, frames(pick), session=pick.choice(("", "", "no-such-session", "x" * 900)))
        assert found.status == (101 if cookie == one.cookie else 403)
        let_in += found.status == 101
        for page in PAGES:
            assert one.role in page.roles or MARKS[page.url_path] not in found.text, f"{page.url_path} drawn for a {one.role}"
        assert served.place.changes() == []
    return let_in


def test_no_upload_fails_inside(served: Served) -> None:
    throw_uploads(served, seed=1, count=25)
    served.is_well()


UPLOAD_TYPES = ("multipart/form-data; boundary=x",) * 3 + ("multipart/form-data", "text/plain", "x; boundary=")


def throw_uploads(served: Served, *, seed: int, count: int) -> None:
    """Fuzzed bodies to the address of a live page of Streamlit's, which has its own parser."""
    pick = Random(seed)
    maintainer = next(one for one in served.place.people if one.role == "maintainer")
    own = f"flagback_session_{served.place.settings.port}={maintainer.cookie}"
    with httpx.Client(base_url=served.web.url, timeout=20) as client, page_session(served.place, maintainer.cookie) as session:
        token = client.get("/_stcore/health").cookies["_streamlit_xsrf"]
        statuses = set()
        for _ in range(count):
            headers = {"Origin": served.web.url, "Cookie": f"{own}; _streamlit_xsrf={token}", "X-Xsrftoken": token}
            headers["Content-Type"] = pick.choice(UPLOAD_TYPES)
            answer = client.put(f"/_stcore/upload_file/{session}/{uuid.uuid4()}", headers=headers, content=upload(pick))
            assert answer.status_code < 500, answer.text
            assert "Traceback" not in answer.text
            statuses.add(answer.status_code)
        assert len(statuses) > 1
