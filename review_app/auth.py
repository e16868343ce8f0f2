"""Who is at the browser: sign-in, sign-out, the session cookie, and the check that a request comes from our own pages.

Knows cookies, headers and the sign-in page; knows nothing of passwords (flagback.storage.accounts) or of what a role may see.
"""

import html
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.resources import files
from urllib.parse import parse_qs, quote, urlsplit

from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from flagback.review_app.installation import Installation
from flagback.storage import accounts
from flagback.storage.records import Account, now

#: How long a sign-in lasts.
SESSION_FOR = timedelta(days=14)
#: Longest sign-in form read, bytes.
LONGEST_FORM = 16_384
#: Paths that answer without a session: our own and those of Streamlit's front end.
OPEN_PATHS = ("/signin", "/signout", "/healthz", "/look/", "/api/", "/static/", "/_stcore/", "/component/", "/media/")


def cookie_name(installation: Installation) -> str:
    """The cookie's name; with the port, because a browser sends cookies to every port of a host."""
    return f"flagback_session_{installation.settings.port}"


def account_of(installation: Installation, cookie: str | None) -> Account | None:
    """The account whose live session the cookie's value names, None without one. Reads the database: call it on every request."""
    if not cookie:
        return None
    with installation.store.reading() as session:
        return accounts.session_account(session, cookie, now=now())


def from_our_pages(request: Request) -> bool:
    """Whether a state-changing request comes from a page of this origin.

    Browsers send Origin with every POST; it must name our host. Older ones are judged by Sec-Fetch-Site or Referer. A program
    that sends none of the three is no browser, so no foreign page can be behind it.
    """
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is not None:
        return urlsplit(origin).netloc == host != ""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    referer = request.headers.get("referer")
    return referer is None or urlsplit(referer).netloc == host != ""


def routes(installation: Installation) -> list[BaseRoute]:
    """/signin and /signout."""
    name = cookie_name(installation)

    async def sign_in(request: Request) -> Response:
        onward = _local_path(request.query_params.get("next"))
        if request.method == "GET":
            return await run_in_threadpool(_sign_in_page, installation, onward)
        if not from_our_pages(request):
            return _foreign()
        form = await _form(request)
        login, password = form.get("login", "").strip(), form.get("password", "")
        cookie = await run_in_threadpool(_open_session, installation, login, password)
        if cookie is None:
            words = "The name or the password is not right. Both are written exactly as they were given to you."
            return await run_in_threadpool(_sign_in_page, installation, onward, login, words)
        response = RedirectResponse(onward, status_code=303)
        response.set_cookie(
            name,
            cookie,
            max_age=int(SESSION_FOR.total_seconds()),
            httponly=True,
            samesite="lax",
            path="/",
            secure=request.url.scheme == "https",
        )
        return response

    async def sign_out(request: Request) -> Response:
        if request.method == "GET":
            return _page("Sign out", _piece("sign_out.html"))
        if not from_our_pages(request):
            return _foreign()
        cookie = request.cookies.get(name)
        if cookie:
            await run_in_threadpool(_end_session, installation, cookie)
        response = RedirectResponse("/signin", status_code=303)
        response.delete_cookie(name, path="/", httponly=True, samesite="lax")
        return response

    return [Route("/signin", sign_in, methods=["GET", "POST"]), Route("/signout", sign_out, methods=["GET", "POST"])]


class SignInFirst:
    """Sends a browser that opens a page without a live session to /signin, and adds the headers every answer carries.

    The screens check the session again on every run: a session that ends while a page is open ends there too.
    """

    def __init__(self, app: ASGIApp, *, installation: Installation) -> None:
        self.app = app
        self.installation = installation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        path = request.url.path
        opens_a_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if opens_a_page and not path.startswith(OPEN_PATHS):
            cookie = request.cookies.get(cookie_name(self.installation))
            if await run_in_threadpool(account_of, self.installation, cookie) is None:
                onward = path + (f"?{request.url.query}" if request.url.query else "")
                target = "/signin" if path == "/" else f"/signin?next={quote(onward, safe='')}"
                await RedirectResponse(target, status_code=303)(scope, receive, send)
                return
        await self.app(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Callable[..., Awaitable[None]]:
    """No framing by other sites, no guessing of types, no address of ours in a Referer."""

    async def sending(message: "dict[str, object]") -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("X-Frame-Options", "SAMEORIGIN")
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "same-origin")
        await send(message)

    return sending


def _open_session(installation: Installation, login: str, password: str) -> str | None:
    with installation.store.reading() as session:
        account = accounts.verify(session, login, password)
    if account is None:
        return None
    with installation.store.writing() as session:
        return accounts.open_session(session, account.id, now=now(), for_=SESSION_FOR)


def _end_session(installation: Installation, cookie: str) -> None:
    with installation.store.writing() as session:
        accounts.end_session(session, cookie, now=now())


def _local_path(wanted: str | None) -> str:
    """`wanted` if it is a path of this site, else "/": a sign-in page that sends people elsewhere is a trap."""
    if wanted is None or not wanted.startswith("/") or wanted.startswith(("//", "/\\")):
        return "/"
    if any(ord(character) < 32 for character in wanted) or wanted.startswith(("/signin", "/signout")):
        return "/"
    return wanted


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small urlencoded form, {} for anything else."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _foreign() -> Response:
    words = (
        "This form was sent from another site, so nothing was done. Open Flagback's own address and try there; behind a "
        "proxy, the proxy must pass the Host header on."
    )
    body = f'<p class="error" role="alert">{words}</p><p><a href="/signin">To the sign-in page</a></p>'
    return _page("Not from here", body, 403)


def _sign_in_page(installation: Installation, onward: str, login: str = "", words: str = "") -> Response:
    """The page with its form; `words` is shown as an error above it."""
    with installation.store.reading() as session:
        demo = session.exec(
            select(Account.login).where(col(Account.demo).is_(True), col(Account.disabled).is_(False)).order_by(Account.login)
        ).all()
    names = " or ".join(f"<b>{html.escape(name)}</b>" for name in demo)
    note = (
        (
            f'<p class="demo"><strong>Demo.</strong> Made to be tried: sign in as {names}. The passwords are in the terminal '
            "that started it.</p>"
        )
        if demo
        else ""
    )
    error = f'<p class="error" role="alert" id="error">{html.escape(words)}</p>' if words else ""
    action = "/signin" if onward == "/" else f"/signin?next={quote(onward, safe='')}"
    form = _piece("sign_in.html").format(
        action=html.escape(action),
        login=html.escape(login),
        error=error,
        demo=note,
        described='aria-describedby="error" aria-invalid="true"' if words else "",
        focus_login="" if login else "autofocus",
        focus_password="autofocus" if login else "",  # pragma: allowlist secret - an attribute of the form, no password
    )
    return _page("Sign in", form, 401 if words else 200)


def _piece(name: str) -> str:
    return files("flagback.review_app.board").joinpath(name).read_text(encoding="utf-8")


def _page(title: str, body: str, status: int = 200) -> Response:
    """A page of our own outside Streamlit, in the same look."""
    content = _piece("page.html").format(title=html.escape(title), body=body)
    return HTMLResponse(
        content,
        status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
        },
    )
