"""Claims about any request at all: none fails inside, none tells a secret, none changes anything without the right to.

About 1,500 requests, each made from a seed by tests/fuzzing.py; tests/acceptance/test_ten_thousand_requests.py sends the rest.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from flagback.review_app import oidc, server
from flagback.review_app.guard import Guard
from flagback.review_app.provider import configured
from tests.fuzzing import Fuzzer, asked, storm
from tests.rights import Fault, Place, Reply, Shot, judge


class Inside:
    """A home and its own routes behind the guard, as the server mounts them, asked without a socket."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        secret = folder / "client-secret"
        secret.write_text("the-client-secret", encoding="utf-8")
        self.place = Place(
            folder / "home",
            database_url,
            oidc_metadata_url="http://127.0.0.1:9/.well-known/openid-configuration",  # nobody there
            oidc_client_id="flagback",
            oidc_client_secret_file=secret,
            oidc_roles='{"reviewers": "reviewer"}',
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
    counted = storm(inside.place, inside.runner, inside.app, Fuzzer(inside.place, seed=1).shots(700))
    assert counted["all"] == 700
    for way in ("claim", "answers", "release"):
        assert counted.get(f"POST /api/v1/{way} 200"), f"no {way} came through, so nothing was shown about it"


@pytest.mark.parametrize("lock", ["guard.from_our_pages", "api.reviewing.page_token_fits"])
def test_the_judge_notices_a_lock_that_is_left_open(one_inside: Inside, lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"flagback.review_app.{lock}", lambda *_: True)
    with pytest.raises(Fault, match="changed without any right"):
        storm(one_inside.place, one_inside.runner, one_inside.app, Fuzzer(one_inside.place, seed=2).shots(3_000))
