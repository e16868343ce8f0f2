"""Single sign-on: what an OpenID provider says about a person becomes a session of ours, through Streamlit's own st.login.

Knows claims, Streamlit's two routes and its cookies; who the person is here is flagback.storage.identities' business.
Streamlit runs the protocol: state, nonce, PKCE, signature. Its result is a signed cookie that is good for 30 days and that nobody
can end, so it never reaches a browser: `Exchange` takes it out of the answer and opens a session row instead. That row is the one
credential, whichever way somebody came in.
"""

import base64
import hashlib
import html
import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import httpx
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.auth_util import build_logout_url, encode_provider_token, get_cookie_with_chunks
from streamlit.runtime.secrets import SecretsValue
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import TOKENS_COOKIE_NAME, USER_COOKIE_NAME

from flagback.review_app import auth
from flagback.review_app.installation import Installation
from flagback.review_app.plain_pages import error_box, form, moving_on, page, stale_form
from flagback.review_app.provider import BadSingleSignOn, Provider, secure_address
from flagback.review_app.words import tr
from flagback.storage import accounts, identities
from flagback.storage.identities import Admission, Person, Refusal
from flagback.storage.records import Role, now

#: How long a session lasts that the provider opened: a group taken away there counts here after this time at the latest.
SESSION_FOR = timedelta(hours=12)
#: How long somebody may take at the provider, seconds.
AWAY_FOR = 600
#: Streamlit's routes. Its sign-out, a GET that any page can make a browser call, is shut: ours is POST /signout.
LOGIN, CALLBACK = "/auth/login", "/oauth2callback"
START, CONNECT = "/signin/oidc", "/signin/oidc/connect"
#: The provider's section in Streamlit's secrets. No underscore: Streamlit finds it again by splitting at them.
SECTION = "idp"
#: From least to most. An auditor judges what the others do, so that role is given only where no other is.
RANKS: tuple[Role, ...] = ("auditor", "reviewer", "lead", "maintainer", "administrator")
#: Families of algorithms with a private and a public key. "none" and a shared secret are not among them.
SIGNED_WITH = ("RS", "PS", "ES", "Ed")
#: Longest issuer or subject kept, characters (a subject has at most 255, OpenID Connect Core, section 2).
LONGEST_NAME = 1_000

_log = logging.getLogger(__name__)


class NotALogin(Exception):
    """What the provider said is no login of ours."""


def streamlit_secrets(provider: Provider, key: bytes) -> dict[str, SecretsValue]:
    """What st.App(secrets=) is given, so that no secrets.toml is needed."""
    section: dict[str, SecretsValue] = {
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "server_metadata_url": provider.metadata_url,
        "client_kwargs": {"scope": provider.scope},
    }
    return {"auth": {"redirect_uri": provider.public_url + CALLBACK, "cookie_secret": key.hex(), SECTION: section}}


# ------------------------------------------------------------------ what a login says


def role_of(groups: object, roles: Mapping[str, Role]) -> Role | None:
    """The highest role that the groups give; auditor only where they give no other. A lone text is one group."""
    listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    given = {roles[group] for group in listed if isinstance(group, str) and group in roles}
    return max(given, key=RANKS.index, default=None)


class Login(NamedTuple):
    """What Streamlit's login cookies hold."""

    claims: dict[str, object]
    #: How the ID token was signed, "RS256".
    algorithm: str


def person_of(login: Login, provider: Provider) -> Person:
    """Who logged in. Raises NotALogin.

    Streamlit has checked signature, issuer, times and nonce, with two gaps that are closed here. It takes an unsigned token from a
    provider whose metadata list "none" as an algorithm, as many do; and a token for another program that names us as `azp`. The
    nonce must be there, because it is what makes a login count once.
    """
    claims = login.claims
    if not login.algorithm.startswith(SIGNED_WITH):
        raise NotALogin("the token is not signed with the provider's private key")
    if claims.get("provider") != SECTION or claims.get("is_logged_in") is not True:
        raise NotALogin("not a login of this provider")
    audience = claims.get("aud")
    if provider.client_id not in (audience if isinstance(audience, list) else [audience]):
        raise NotALogin("the token is for another program (aud)")
    issuer, subject, nonce = (_text(claims, name) for name in ("iss", "sub", "nonce"))
    names = [name for claim in ("preferred_username", "email", "sub") if isinstance(name := claims.get(claim), str)]
    role = role_of(claims.get(provider.groups_claim), provider.roles)
    return Person(issuer, subject, hashlib.sha256(nonce.encode()).hexdigest(), names, role)


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not value.isprintable():
        raise NotALogin(f"the token has no usable {name}")
    return value


def login_in(set_cookies: Sequence[str], secret: str) -> Login | None:
    """The login in the signed cookies that an answer sets, in as many chunks as it takes; None without one."""
    pairs = (header.partition(";")[0].partition("=") for header in set_cookies)
    values = {name.strip(): value.strip() for name, _, value in pairs}

    def one(name: str) -> bytes | None:
        return decode_signed_value(secret, name, values.get(name, ""))

    claims, tokens = (get_cookie_with_chunks(one, name) for name in (USER_COOKIE_NAME, TOKENS_COOKIE_NAME))
    if claims is None or tokens is None:
        return None
    return Login(json.loads(claims), _algorithm(json.loads(tokens).get("id_token", "")))


def _algorithm(token: str) -> str:
    """What a token's own header says, "" where there is none. Padding beyond need does no harm."""
    header = json.loads(base64.urlsafe_b64decode(f"{token.partition('.')[0]}===") or b"{}")
    return str(header.get("alg", ""))


# ------------------------------------------------------------------ what failed, in words


def _words(provider: Provider, failed: str, number: str) -> str:
    """What to do, for the person at the browser."""
    name = provider.name
    known: dict[str, str] = {
        "down": tr(
            "{provider} does not answer at the moment; try again in a minute, or use your name and password.", provider=name
        ),
        "no_role": tr(
            "{provider} knows you, but none of your groups there gives you a role here. An administrator can add you to a group "
            "that FLAGBACK_OIDC_ROLES names; after that, sign in again.",
            provider=name,
        ),
        "disabled": tr("Your account here is disabled. An administrator can let you in again: 'flagback account enable'."),
        "replayed": tr("This sign-in was used before, so it opened nothing. Sign in with {provider} again.", provider=name),
        "taken": tr(
            "{provider} leads to another account here already, so nothing was connected. An administrator can part the two with "
            "'flagback account disconnect'; after that, connect again.",
            provider=name,
        ),
        "ended": tr(
            "Nothing was connected: the sign-in that asked for it has ended. Sign in with name and password, then connect "
            "{provider} again.",
            provider=name,
        ),
    }
    other = tr("Signing in with {provider} did not work; try again, or use your name and password.", provider=name)
    told = known.get(failed, other)
    return tr("{what} (error {number})", what=told, number=number) if re.fullmatch(r"[0-9a-f]{4}", number) else told


def _failed(request: Request, provider: Provider) -> str:
    failed = request.query_params.get("failed")
    return _words(provider, failed, request.query_params.get("error", "")) if failed else ""


def _sent_back(page: str, failed: Refusal | str, reason: str) -> Response:
    """Back to a page of ours that says what to do; the log says why, under the same number."""
    number = secrets.token_hex(2)
    _log.warning("Single sign-on failed (error %s): %s.", number, reason)
    return RedirectResponse(f"{page}?{urlencode({'failed': failed, 'error': number})}", status_code=303)


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


class _Hearing(logging.Filter):
    """Keeps what Streamlit's routes log during a login for `_sent_back`, instead of printing it.

    Streamlit tells why a login failed only in its log, and there with the provider's own words and a traceback, in which a code or
    a token may stand. Class names and registered error codes cannot hold one.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        heard = _heard.get()
        if heard is None:
            return True
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            heard.append(_what(error))
        else:
            given = record.args if isinstance(record.args, tuple) else ()
            words = str(record.msg).replace("%s", "{}").format(*(_code(value) or "..." for value in given))
            heard.append(words.partition(";")[0].rstrip("."))
        return False


def _what(error: BaseException) -> str:
    """The kind of error, with the OAuth error code or the claim it is about."""
    about = _code(getattr(error, "claim", None) or getattr(error, "error", None))
    return f"{type(error).__name__} ({about})" if about else type(error).__name__


def _code(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[a-z_]{1,40}", value) else ""


@contextmanager
def _listening() -> Iterator[list[str]]:
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


# ------------------------------------------------------------------ the exchange


class _Answer:
    """An answer that is looked at before it is sent."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def set_cookies(self) -> list[str]:
        return [value.decode("latin-1") for name, value in self.headers if name.lower() == b"set-cookie"]

    def response(self) -> Response:
        response = Response(self.body, self.status)
        response.raw_headers = self.headers
        return response


class Exchange:
    """Stands around Streamlit's login routes: its login cookie goes no further than here, a session of ours goes out instead."""

    def __init__(self, app: ASGIApp, *, installation: Installation, provider: Provider) -> None:
        self.app = app
        self.installation = installation
        self.provider = provider
        self.secret = installation.settings.cookie_key().hex()
        routes = logging.getLogger("streamlit.web.server.starlette.starlette_auth_routes")
        if not any(isinstance(kept, _Hearing) for kept in routes.filters):
            routes.addFilter(_Hearing())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] not in (LOGIN, CALLBACK):
            await self.app(scope, receive, send)
            return
        answer = _Answer()
        with _listening() as heard:
            try:
                await self.app(scope, receive, answer.take)
            except Exception as error:
                heard.append(_what(error))
                answer = _Answer()
        request = Request(scope)
        if scope["path"] == LOGIN:
            response = _departure(answer, heard)
        else:
            response = await self._arrival(request, answer, heard)
        for name in request.cookies:
            if name.startswith(USER_COOKIE_NAME):
                response.delete_cookie(name, path="/")
        await response(scope, receive, send)

    async def _arrival(self, request: Request, answer: _Answer, heard: list[str]) -> Response:
        """The browser is back from the provider."""
        onward = request.cookies.get(_onward_cookie(self.installation), "/")
        connecting = onward == CONNECT
        try:
            login = login_in(answer.set_cookies(), self.secret)
            if login is None:
                raise NotALogin(", ".join(heard) or f"answer {answer.status} without a login")
            person = person_of(login, self.provider)
        except NotALogin as error:
            response = _sent_back(CONNECT if connecting else "/signin", "sso", str(error))
        else:
            browser = request.cookies.get(auth.cookie_name(self.installation), "")
            admission = await run_in_threadpool(_admitted, self.installation, person, browser, connecting)
            response = self._welcome(request, admission, onward)
        for header in answer.set_cookies():
            if not header.startswith(USER_COOKIE_NAME):  # Streamlit's note of the login under way, now taken back
                response.headers.append("set-cookie", header)
        response.delete_cookie(_onward_cookie(self.installation), path=CALLBACK)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _welcome(self, request: Request, admission: Admission, onward: str) -> Response:
        connecting = onward == CONNECT
        if admission.refusal is not None:
            return _sent_back(CONNECT if connecting else "/signin", admission.refusal, admission.refusal)
        if connecting:
            return RedirectResponse(f"{CONNECT}?done=1", status_code=303)
        response = RedirectResponse(auth.local_path(onward), status_code=303)
        assert admission.cookie is not None  # nosec B101 # no refusal, so a cookie
        auth.set_cookie(self.installation, request, response, admission.cookie, for_=SESSION_FOR)
        return response


def _departure(answer: _Answer, heard: list[str]) -> Response:
    """The browser is on its way to the provider, unless that does not answer."""
    target = dict(answer.headers).get(b"location", b"").decode("latin-1")
    if answer.status == 302 and urlsplit(target).netloc:
        return answer.response()
    if answer.status == 302:
        return RedirectResponse("/signin", status_code=303)
    return _sent_back("/signin", "down", ", ".join(heard) or f"answer {answer.status}")


def _admitted(installation: Installation, person: Person, browser: str, connecting: bool) -> Admission:
    def work(session: Session) -> Admission:
        if connecting:
            return Admission(None, identities.connect(session, browser, person, now=now()))
        admission = identities.enter(session, person, now=now(), for_=SESSION_FOR)
        if admission.cookie is not None:
            accounts.end_session(session, browser, now=now())
        return admission

    return installation.store.settle(work)


def _onward_cookie(installation: Installation) -> str:
    """Holds where to go after the login: a path of ours, or CONNECT for a login that is to be tied to the account here."""
    return f"flagback_onward_{installation.settings.port}"


# ------------------------------------------------------------------ our own pages


def other_way(installation: Installation, provider: Provider) -> auth.OtherWay:
    """What the pages of flagback.review_app.auth need to know."""

    async def signed_out_at() -> str | None:
        return await _sign_out_address(provider)

    def connect_at(cookie: str) -> str | None:
        with installation.store.reading() as session:
            return CONNECT if identities.may_connect(session, cookie, now=now()) else None

    return auth.OtherWay(provider.name, START, lambda request: _failed(request, provider), signed_out_at, connect_at)


async def _sign_out_address(provider: Provider) -> str | None:
    """Where the browser is signed out at the provider too, None where it has no such place or does not answer."""
    try:
        async with httpx.AsyncClient(timeout=3) as client:
            metadata = (await client.get(provider.metadata_url)).raise_for_status().json()
        endpoint = metadata["end_session_endpoint"]
        return build_logout_url(
            secure_address("end_session_endpoint", endpoint), provider.client_id, provider.public_url + "/signin"
        )
    except (httpx.HTTPError, ValueError, LookupError, TypeError, BadSingleSignOn) as error:
        _log.warning("Signed out here only: the provider names no place to sign out at (%s).", type(error).__name__)
        return None


def routes(installation: Installation, provider: Provider | None) -> list[BaseRoute]:
    """Our way to the provider; and nothing where Streamlit's own routes must not be."""

    async def nothing(_request: Request) -> Response:
        return PlainTextResponse("Not Found", 404)

    if provider is None:
        return [
            *(Route(path, nothing, methods=["GET"]) for path in (LOGIN, CALLBACK, START)),
            Route(CONNECT, nothing, methods=["GET", "POST"]),
        ]

    async def start(request: Request) -> Response:
        onward = auth.local_path(request.query_params.get("next"))
        public = urlsplit(provider.public_url).netloc
        if request.headers.get("host") != public and "here" not in request.query_params:
            # The provider sends people back to the public address, where cookies set at another one are not sent.
            return RedirectResponse(f"{provider.public_url}{START}?{urlencode({'next': onward, 'here': 1})}", status_code=303)
        return _with_onward(RedirectResponse(_login_address(), status_code=303), installation, provider, onward)

    async def connect(request: Request) -> Response:
        cookie = request.cookies.get(auth.cookie_name(installation), "")
        if request.method != "POST":
            return await run_in_threadpool(_connect_page, installation, provider, cookie, request)
        account = await run_in_threadpool(auth.account_at, installation, request)
        given = (await form(request)).get("token")
        if account is None:
            return RedirectResponse(CONNECT, status_code=303)
        if not auth.page_token_fits(installation, account, given):
            return stale_form(CONNECT)
        if not await run_in_threadpool(_asked_to_connect, installation, cookie):
            return RedirectResponse(CONNECT, status_code=303)
        told = tr("{provider} asks who you are; then you are back here.", provider=provider.name)
        return _with_onward(moving_on(_login_address(), tr("Connecting"), told), installation, provider, CONNECT)

    return [
        Route(START, start, methods=["GET"]),
        Route(CONNECT, connect, methods=["GET", "POST"]),
    ]


def _login_address() -> str:
    return f"{LOGIN}?{urlencode({'provider': encode_provider_token(SECTION)})}"


def _with_onward(response: Response, installation: Installation, provider: Provider, onward: str) -> Response:
    response.set_cookie(
        _onward_cookie(installation),
        quote(onward, safe="/%?=&#"),  # a cookie is Latin-1, an address need not be; a redirect to it quotes it all the same
        max_age=AWAY_FOR,
        path=CALLBACK,
        httponly=True,
        samesite="lax",
        secure=provider.public_url.startswith("https:"),
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _asked_to_connect(installation: Installation, cookie: str) -> bool:
    with installation.store.writing() as session:
        return identities.ask_to_connect(session, cookie, now=now())


def _connect_page(installation: Installation, provider: Provider, cookie: str, request: Request) -> Response:
    with installation.store.reading() as session:
        found = accounts.signed_in(session, cookie, now=now())
        may = identities.may_connect(session, cookie, now=now())
    failed = _failed(request, provider)
    if found is None:
        target = f"/signin?{request.url.query}" if failed else "/signin"
        return RedirectResponse(target, status_code=303)
    name, login = html.escape(provider.name), html.escape(found.account.login)
    error = error_box(failed)
    title = tr("Connect {provider}", provider=name)
    token = f'<input type="hidden" name="token" value="{auth.page_token(installation, found.account)}">'
    if may:
        lead = tr(
            "After that, both ways lead to your account {login}: its name and password, and {provider}.", login=login, provider=name
        )
        more = f'<form method="post" action="{CONNECT}">{token}<button>{title}</button></form>'
    else:
        lead = tr("{provider} leads to your account {login}. There is nothing more to do.", provider=name, login=login)
        more = ""
    body = f'<h1>{title}</h1><p class="lead">{lead}</p>{error}{more}<p class="small"><a href="/">{tr("Back to Flagback")}</a></p>'
    return page(tr("Connect {provider}", provider=provider.name), body)
