"""The guard before every request and websocket: known address, right host, right origin, live session, role or key, size; and the
headers.

Knows `access`' table and applies it before anything else runs: Streamlit's routes and our own alike. What a route or page then
checks again (the session on every rerun, the page token on every answer) is checked there because a second lock costs little.
"""

import base64
import hashlib
import logging
import re
import secrets
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flagback.review_app import access, words
from flagback.review_app.access import LONGEST_BODY, Rule, role_name
from flagback.review_app.auth import account_of, cookie_name, key_of
from flagback.review_app.home import is_loopback
from flagback.review_app.installation import Installation
from flagback.review_app.plain_pages import message
from flagback.review_app.words import tr
from flagback.storage.records import Account

#: Longest address and query, so that logs and redirects stay small; a single sign-on sends codes of a few kilobytes back.
LONGEST_PATH = 2_000
LONGEST_QUERY = 8_000
_SAFE = frozenset({"GET", "HEAD"})
#: A name, an IPv4 or a bracketed IPv6 address, and perhaps a port; urlsplit takes "a@127.0.0.1" and "127.0.0.1/x" for one too.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
#: A body's length; no int() of what a header holds before this, which "²" and 5,000 digits break.
_LENGTH = re.compile(r"[0-9]{1,9}")

_log = logging.getLogger(__name__)


class Guard:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, *, installation: Installation) -> None:
        self.app = app
        self.installation = installation
        self._headers = headers_for(installation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the opening of one websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if scope["type"] == "websocket":
            refusal = await self._refusal(connection, "WS")
            if refusal is None:
                await self.app(scope, _binary(receive), send)
            else:
                await _refuse_socket(receive, send)
            return
        never_kept = {"Cache-Control": "no-store"} if scope["path"].startswith("/api/") else {}
        watched = _Watched(send, self._headers | never_kept)
        with words.speaking(_language(connection, None)):
            await self._answer(connection, receive, watched)

    async def _answer(self, connection: HTTPConnection, receive: Receive, watched: "_Watched") -> None:
        """One request, in the language of who asks."""
        scope = connection.scope
        try:
            refusal = await self._refusal(connection, scope["method"])
            if refusal is not None:
                await refusal(scope, receive, watched)
            else:
                await self.app(scope, _limited(scope, receive), watched)
        except (ClientDisconnect, _Gone):
            return  # hung up before the end of its own request or of the answer; there is nobody to tell
        except _TooLong as error:
            if not watched.begun:
                await _said(connection, 413, "too_large", error.detail)(scope, receive, watched)
        except Exception:
            number = secrets.token_hex(3)
            _log.exception("A request failed (error %s): %s %s", number, scope["method"], _loggable(scope["path"]))
            if not watched.begun:
                told = tr(
                    "Something went wrong here (error {number}; the server's log says what). Nothing you answered is lost.",
                    number=number,
                )
                await _said(connection, 500, "internal", told)(scope, receive, watched)

    async def _refusal(self, connection: HTTPConnection, method: str) -> Response | None:
        """Why a request is not let through, None if it is; who asks is left in the scope."""
        path, query = connection.scope["path"], connection.scope["query_string"]
        if len(path) > LONGEST_PATH or len(query) > LONGEST_QUERY:
            return _said(connection, 414, "too_long", tr("The address is too long."))
        if not query.isascii():  # Starlette reads it as UTF-8, and raises where it is none
            return _said(connection, 400, "bad_address", tr("The address holds bytes that stand in none; they are written %C3%A9."))
        if not host_is_ours(self.installation, connection.headers.get("host", "")):
            told = tr(
                "Flagback does not answer under this address. Open it under the one it was started with, or name this one in "
                "FLAGBACK_PUBLIC_URL."
            )
            return _said(connection, 421, "unknown_host", told)
        if method not in _SAFE and not from_our_pages(connection):
            told = tr(
                "This was sent from another site, so nothing was done. Open Flagback's own address and try there; behind a "
                "proxy, the proxy must pass the Host header on."
            )
            return _said(connection, 403, "foreign_origin", told)
        rules = access.rules_for(path)
        rule = next((rule for rule in rules if method in rule.methods), None)
        if rule is None:
            if rules:
                return _said(connection, 405, "wrong_method", tr("This address is not asked in that way."))
            return _said(connection, 404, "not_found", tr("There is nothing at this address."))
        connection.scope["flagback.rule"] = rule
        if rule.by_key:
            connection.scope["flagback.account"] = None  # whoever's cookie came along
            connection.scope["flagback.key"] = await run_in_threadpool(
                key_of, self.installation, connection.headers.get("authorization")
            )
            return None if connection.scope["flagback.key"] is not None else _no_key(connection)
        if rule.roles is None:
            return None  # a page load fetches some forty files: none of them asks the database who wants it
        cookie = connection.cookies.get(cookie_name(self.installation))
        account = await run_in_threadpool(account_of, self.installation, cookie)
        connection.scope["flagback.account"] = account
        words.speak(_language(connection, account))
        return _by_role(connection, rule, account)


def _language(connection: HTTPConnection, account: Account | None) -> str:
    """What a request is answered in: who asks has chosen, or their browser; what the board asks is said on the board."""
    offered = words.ON_THE_BOARD if connection.scope["path"].startswith("/api/") else words.ON_PAGES
    return words.best(account.language if account is not None else None, connection.headers.get("accept-language"), offered)


def _no_key(connection: HTTPConnection) -> Response:
    told = (
        "This address is opened by a key alone, sent as 'Authorization: Bearer KEY'; none came, or one that is not known or was "
        "withdrawn. An administrator makes one with 'flagback outputs key create NAME'."
    )
    refused = _said(connection, 401, "no_key", told)
    refused.headers["WWW-Authenticate"] = "Bearer"
    return refused


def _by_role(connection: HTTPConnection, rule: Rule, account: Account | None) -> Response | None:
    assert rule.roles is not None  # nosec B101 # for the type checker: the caller has looked
    if account is None:
        if rule.kind in ("page", "form") and connection.scope["type"] == "http":
            path, query = connection.scope["path"], connection.url.query
            onward = path + (f"?{query}" if query else "")
            return RedirectResponse("/signin" if path == "/" else f"/signin?next={quote(onward, safe='')}", status_code=303)
        told = tr("You are not signed in, or your sign-in has ended; sign in again at /signin.")
        return _said(connection, 401, "not_signed_in", told)
    if account.role not in rule.roles:
        told = tr(
            "Your role is {role}; this is for: {roles}. Ask an administrator if that should be otherwise.",
            role=role_name(account.role),
            roles=", ".join(sorted(role_name(role) for role in rule.roles)),
        )
        return _said(connection, 403, "not_your_role", told)
    return None


def _said(connection: HTTPConnection, status: int, code: str, told: str) -> Response:
    """A refusal in the form that the asker reads: a page for people, JSON for programs."""
    if "text/html" in connection.headers.get("accept", "") and not connection.scope["path"].startswith("/api/"):
        titles = {403: tr("Not for you"), 404: tr("Nothing here"), 500: tr("That went wrong")}
        return message(titles.get(status, tr("Not like this")), told, status=status)
    return JSONResponse({"error": {"code": code, "message": told}}, status, headers={"Cache-Control": "no-store"})


async def _refuse_socket(receive: Receive, send: Send) -> None:
    """Ends a handshake with 403, which is all that a browser can be told."""
    if (await receive())["type"] == "websocket.connect":
        await send({"type": "websocket.close", "code": 4403, "reason": "not signed in"})


def _binary(receive: Receive) -> Receive:
    """`receive` for which a text frame is the end: Streamlit's pages send none, and its reader raises KeyError for them."""

    async def received() -> Message:
        event = await receive()
        text = event["type"] == "websocket.receive" and event.get("bytes") is None
        return {"type": "websocket.disconnect", "code": 1003} if text else event

    return received


# ------------------------------------------------------------------ where it comes from


def from_our_pages(connection: HTTPConnection) -> bool:
    """Whether a state-changing request, or a websocket, comes from a page of this origin.

    Browsers send Origin with both; it must name our host. Older ones are judged by Sec-Fetch-Site or Referer. A program that sends
    none of the three is no browser, so no foreign page can be behind it; it still needs a session and a page token.
    """
    origin, host = connection.headers.get("origin"), connection.headers.get("host", "")
    if origin is not None:
        return _netloc(origin) == host != ""
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    referer = connection.headers.get("referer")
    return referer is None or _netloc(referer) == host != ""


def _netloc(address: str) -> str:
    """Name and port of an address, "" where it is none (urlsplit raises for some: "http://[")."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def host_is_ours(installation: Installation, host: str) -> bool:
    """Whether the Host header is a name we are known by: on a loopback address the loopback names only.

    Else any site could point a name of its own at 127.0.0.1 and have its pages count as ours (DNS rebinding).
    """
    settings = installation.settings
    if not _HOST.fullmatch(host):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if settings.public_url is not None and name == urlsplit(settings.public_url).hostname:
        return True
    return is_loopback(name) if is_loopback(settings.host) or settings.public_url is not None else name != ""


# ------------------------------------------------------------------------------- size


class _TooLong(HTTPException):
    """More was sent than is read. Of Starlette's kind, so that a framework which is just reading the body passes it on."""

    def __init__(self, longest: int) -> None:
        super().__init__(413, tr("More than {size} KB were sent; nothing was stored.", size=words.number(longest // 1024)))


def _limited(scope: Scope, receive: Receive) -> Receive:
    """`receive` that raises once the body is too long, whatever Content-Length says."""
    if scope["path"].startswith("/_stcore/upload_file/"):
        return receive
    longest = scope["flagback.rule"].longest if "flagback.rule" in scope else LONGEST_BODY
    length = Request(scope).headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length) or int(length) > longest:
        raise _TooLong(longest)
    read = 0

    async def counted() -> Message:
        nonlocal read
        event = await receive()
        read += len(event.get("body", b""))
        if read > longest:
            raise _TooLong(longest)
        return event

    return counted


# ----------------------------------------------------------------------------- headers


@cache
def inline_script_hash() -> str:
    """'sha256-...' of the one inline script in Streamlit's page, so that a policy without 'unsafe-inline' lets it run."""
    index = (Path(st.__file__).with_name("static") / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", index, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)


def headers_for(installation: Installation) -> dict[str, str]:
    """What every answer carries unless its route says otherwise.

    Scripts from here only; Streamlit sets styles from script, hence 'unsafe-inline' for those alone; nothing is loaded from or sent
    to another host; nobody may frame a page.
    """
    policy = (
        f"default-src 'self'; script-src 'self' {inline_script_hash()}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    }
    if (installation.settings.public_url or "").startswith("https://"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


class _Gone(Exception):
    """The server takes no answer any more."""


class _Watched:
    """`send` that adds the headers and remembers whether an answer has begun."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.begun = False

    async def __call__(self, event: Message) -> None:
        if event["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=event)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
            for foreign in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Server"):
                if foreign in headers:
                    del headers[foreign]
        try:
            await self._send(event)
        except Exception as error:  # uvicorn's, where it has closed the connection: after a torn body it says 400 by itself
            raise _Gone from error


def _loggable(path: str) -> str:
    """An address without the secrets that stand in some: the code of a link, the ticket of a download."""
    return re.sub(r"^/(join|downloads)/.*", r"/\1/…", path).encode("ascii", "backslashreplace").decode()[:200]
