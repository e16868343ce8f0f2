"""Who is at the browser, or which program asks: sign-in, sign-out, the session cookie, the token of our pages, a program's key.

Knows cookies and the sign-in page; knows nothing of passwords (flagback.storage.accounts), of what a role may see (access) or of
where requests come from (guard).
"""

import hmac
import html
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import quote

from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from flagback.review_app import words
from flagback.review_app.installation import Installation
from flagback.review_app.plain_pages import FormToken, by_tls, error_box, form, moving_on, page, piece, stale_form, token_fits
from flagback.review_app.words import stored, tr, trn
from flagback.storage import accounts, output_keys, sign_ins, slots
from flagback.storage.pseudonyms import keyed_hash
from flagback.storage.records import Account, OpenedBy, OutputKey, now

#: How long a sign-in lasts.
SESSION_FOR = timedelta(days=14)


def cookie_name(installation: Installation) -> str:
    """The cookie's name; with the port, because a browser sends cookies to every port of a host."""
    return f"flagback_session_{installation.settings.port}"


def account_of(installation: Installation, cookie: str | None) -> Account | None:
    """The account whose live session the cookie's value names, None without one. Reads the database: call it on every request."""
    if not cookie:
        return None
    moment = now()
    with installation.store.reading() as session:
        found = accounts.signed_in(session, cookie, now=moment)
    if found is None:
        return None
    if found.stale(moment):
        with installation.store.writing() as session:
            accounts.seen(session, cookie, now=moment)
    return found.account


def account_at(installation: Installation, connection: HTTPConnection) -> Account | None:
    """Who a request or websocket comes from; what `guard` found out a moment ago is not asked again."""
    if "flagback.account" in connection.scope:
        account: Account | None = connection.scope["flagback.account"]
        return account
    return account_of(installation, connection.cookies.get(cookie_name(installation)))


def key_of(installation: Installation, header: str | None) -> OutputKey | None:
    """The live key of a program that an Authorization header shows, None without one. Reads the database on every request."""
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    moment = now()
    with installation.store.reading() as session:
        found = output_keys.holder(session, given.strip())
    if found is not None and output_keys.stale(found, moment):
        with installation.store.writing() as session:
            output_keys.seen(session, found.id, now=moment)
    return found


def page_token(installation: Installation, account: Account) -> str:
    """What our pages send back with everything they ask for, so that it is done for the account the page was made for."""
    return keyed_hash(installation.pseudonym_key, f"flagback page of account {account.id}")


def page_token_fits(installation: Installation, account: Account, given: str | None) -> bool:
    """Whether a request comes from a page that was made for this account."""
    return hmac.compare_digest(page_token(installation, account).encode(), (given or "").encode("utf-8", "replace"))


class OtherWay(NamedTuple):
    """A second way in beside name and password: what this module's pages need to know of it."""

    #: What people call it: "Sign in with NAME".
    name: str
    #: Where it begins; takes ?next=.
    path: str
    #: What the sign-in page says after a try that failed, "" otherwise.
    words: Callable[[Request], str]
    #: Where a session that it opened is signed out too, None where there is no such place.
    signed_out_at: Callable[[], Awaitable[str | None]]
    #: Address of the page that connects it with the account of this session cookie, None where that cannot be.
    connect_at: Callable[[str], str | None]


def routes(installation: Installation, other: OtherWay | None = None) -> list[BaseRoute]:
    """/signin and /signout."""
    name = cookie_name(installation)

    async def sign_in(request: Request) -> Response:
        onward = local_path(request.query_params.get("next"))

        def shown(login: str = "", told: str = "", status: int = 200) -> Response:
            return _sign_in_page(installation, request, onward, login, told, status, other)

        if request.method != "POST":
            failed = other.words(request) if other else ""
            return await run_in_threadpool(shown, told=failed, status=401 if failed else 200)
        given = await form(request)
        if not token_fits(installation, request, given.get("token", "")):
            return stale_form("/signin")
        login, password = given.get("login", "").strip(), given.get("password", "")
        tried = await run_in_threadpool(try_password, installation, login, password, address=address_of(request))
        if isinstance(tried, timedelta):
            told = tr(
                "Too many tries. Wait {span}, then try again. Forgotten the password? Whoever invited you can send a link for a "
                "new one.",
                span=waiting(tried),
            )
            answer = await run_in_threadpool(shown, login, told, 429)
            answer.headers["Retry-After"] = str(max(1, round(tried.total_seconds())))
            return answer
        if tried is None:
            told = tr("The name or the password is not right. Both are written exactly as they were given to you.")
            return await run_in_threadpool(shown, login, told, 401)
        response = RedirectResponse(onward, status_code=303)
        await run_in_threadpool(open_in_browser, installation, request, response, tried)
        return response

    async def sign_out(request: Request) -> Response:
        account = await run_in_threadpool(account_at, installation, request)
        if account is None:
            return RedirectResponse("/signin", status_code=303)
        if request.method != "POST":
            return await run_in_threadpool(_sign_out_page, installation, account, request.cookies.get(name), other)
        if not page_token_fits(installation, account, (await form(request)).get("token")):
            return stale_form("/signout")
        by_other = await run_in_threadpool(_end_session, installation, request.cookies.get(name))
        there = await other.signed_out_at() if other and by_other else None
        told = tr("You are signed out here; signing out at {provider} comes next.", provider=other.name) if other else ""
        response = moving_on(there, tr("Signed out"), told) if there else RedirectResponse("/signin?signed_out", status_code=303)
        response.delete_cookie(name, path="/", httponly=True, samesite="lax")
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    return [Route("/signin", sign_in, methods=["GET", "POST"]), Route("/signout", sign_out, methods=["GET", "POST"])]


def open_in_browser(
    installation: Installation, request: Request, response: Response, account: Account, *, opened_by: OpenedBy = "password"
) -> None:
    """Signs the browser in: a session row, its cookie, and the end of whatever session the browser had before."""
    before, moment = request.cookies.get(cookie_name(installation)), now()
    with installation.store.writing() as session:
        if before:
            accounts.end_session(session, before, now=moment)
        cookie = accounts.open_session(
            session, account.id, now=moment, for_=SESSION_FOR, browser=browser_of(request), opened_by=opened_by
        )
    set_cookie(installation, request, response, cookie, for_=SESSION_FOR)


def set_cookie(installation: Installation, request: Request, response: Response, cookie: str, *, for_: timedelta) -> None:
    """Hands a session's cookie to the browser, for TLS only where people reach us by it."""
    response.set_cookie(
        cookie_name(installation),
        cookie,
        max_age=int(for_.total_seconds()),
        httponly=True,
        samesite="lax",
        path="/",
        secure=by_tls(installation, request),
    )


def address_of(request: HTTPConnection) -> str:
    """Where a request comes from; behind a proxy uvicorn has put the client's address here, if it trusts the proxy."""
    return request.client.host if request.client else "unknown"


def try_password(installation: Installation, login: str, password: str, *, address: str | None) -> Account | timedelta | None:
    """The account, how long to wait first, or None for a wrong name or password. Wherever a password is asked for, it is here."""
    under = sign_ins.counted(
        installation.pseudonym_key, login=accounts.login_form(login)[: accounts.LONGEST_LOGIN], address=address
    )
    with installation.store.writing() as session:
        wait = sign_ins.attempt(session, under, now=now())
    if wait > timedelta(0):
        return wait
    with installation.store.reading() as session:
        account = accounts.verify(session, login, password)
    if account is not None:
        with installation.store.writing() as session:
            sign_ins.succeeded(session, under)
    return account


def _end_session(installation: Installation, cookie: str | None) -> bool:
    """Ends the session; True where the single sign-on had opened it. What the person still holds to review goes to others, unless
    they are signed in somewhere else too."""
    if not cookie:
        return False
    with installation.store.writing() as session:
        found = accounts.signed_in(session, cookie, now=now())
        accounts.end_session(session, cookie, now=now())
        elsewhere = found is not None and accounts.is_signed_in(session, found.account.id, now=now())
    if found is None:
        return False
    if not elsewhere:
        slots.release(installation.store, installation.reviewer(found.account), now=now())
    return found.session.opened_by == "oidc"


def browser_of(request: Request) -> str:
    """The browser in two words: enough to tell one's own apart, too little to be told by."""
    agent = request.headers.get("user-agent", "")
    name = next((word for mark, word in _BROWSERS if mark in agent), "Another program")
    system = next((word for mark, word in SYSTEMS if mark in agent), "")
    return f"{name} on {system}" if system else name


def browser_in_words(kept: str) -> str:
    """What was kept of a browser, in the language of who reads: "Firefox on a Mac"."""
    name, _, system = kept.partition(" on ")
    shown = stored("browser", name or "A browser")
    return tr("{browser} on {system}", browser=shown, system=stored("browser", system)) if system else shown


_BROWSERS = (("Firefox/", "Firefox"), ("Edg/", "Edge"), ("OPR/", "Opera"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "a Mac"),
    ("Linux", "Linux"),
)


def waiting(wait: timedelta) -> str:
    """A span of time as people say it."""
    seconds = max(1, round(wait.total_seconds()))
    if seconds < 90:
        return trn("{count} second", "{count} seconds", seconds)
    return trn("{count} minute", "{count} minutes", round(seconds / 60))


def local_path(wanted: str | None) -> str:
    """`wanted` if it is a path of this site, else "/": a sign-in page that sends people elsewhere is a trap."""
    if wanted is None or not wanted.startswith("/") or wanted.startswith(("//", "/\\")):
        return "/"
    if any(ord(character) < 32 for character in wanted) or wanted.startswith(("/signin", "/signout")):
        return "/"
    return wanted


def _sign_out_page(installation: Installation, account: Account, cookie: str | None, other: OtherWay | None) -> Response:
    field = f'<input type="hidden" name="token" value="{page_token(installation, account)}">'
    connect = other.connect_at(cookie) if other and cookie else None
    told = html.escape(tr("Connect {provider} with this account", provider=other.name)) if other else ""
    more = f'<p class="small"><a href="{connect}">{told}</a></p>' if connect else ""
    return page(tr("Sign out"), piece("sign_out.html").format(token=field) + more)


def _other_button(other: OtherWay, onward: str) -> str:
    href = other.path if onward == "/" else f"{other.path}?next={quote(onward, safe='')}"
    return (
        f'<p class="other"><a href="{html.escape(href)}">{html.escape(tr("Sign in with {provider}", provider=other.name))}</a></p>'
    )


def _sign_in_page(
    installation: Installation, request: Request, onward: str, login: str, told: str, status: int, other: OtherWay | None
) -> Response:
    """The page with its form; `told` is shown as an error above it."""
    with installation.store.reading() as session:
        demo = session.exec(
            select(Account.login).where(col(Account.demo).is_(True), col(Account.disabled).is_(False)).order_by(Account.login)
        ).all()
    names = words.either([f"<b>{html.escape(name)}</b>" for name in demo])
    made = tr("Made to be tried: sign in as {names}. The passwords are in the terminal that started it.", names=names)
    note = f'<p class="demo"><strong>{tr("Demo.")}</strong> {made}</p>' if demo else ""
    ended = tr("You were signed out here in another tab, or your sign-in ended.")
    token = FormToken(installation, request)
    filled = piece("sign_in.html").format(
        action=html.escape("/signin" if onward == "/" else f"/signin?next={quote(onward, safe='')}"),
        token=token.field(),
        login=html.escape(login),
        error=error_box(told),
        demo=note + (f'<p role="status">{html.escape(ended)}</p>' if "ended" in request.query_params and not told else ""),
        signed_out="data-signed-out" if "signed_out" in request.query_params else "",
        described='aria-describedby="error" aria-invalid="true"' if told else "",
        focus_login="" if login else "autofocus",
        focus_password="autofocus" if login else "",  # pragma: allowlist secret - an attribute of the form, no password
        other=_other_button(other, onward) if other else "",
    )
    return token.send_along(page(tr("Sign in"), filled, status))
