"""Using a link: an invitation, a new password, the first administrator, or a crowd platform's study.

Opening a link shows a form and uses nothing (mail programs open links to look at them); sending the form does.
"""

import html

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from flagback.review_app import auth
from flagback.review_app.installation import Installation
from flagback.review_app.plain_pages import FormToken, error_box, form, message, page, piece, stale_form, token_fits
from flagback.storage import accounts, audit, invitations
from flagback.storage.pseudonyms import keyed_hash
from flagback.storage.records import Account, Invitation, Pool, now

#: Names under which crowd platforms send the person's id along: Flagback's own, Prolific's, Mechanical Turk's, Clickworker's.
EXTERNAL_IDS = ("external_id", "PROLIFIC_PID", "workerId", "user_id")
LONGEST_EXTERNAL_ID = 200


def routes(installation: Installation) -> list[BaseRoute]:
    """/join/CODE."""

    async def join(request: Request) -> Response:
        code = request.path_params["code"]
        try:
            found, pool, account = await run_in_threadpool(_look, installation, code)
        except invitations.UnknownInvitation as error:
            return message("This link does not work", str(error), status=410, link=("/signin", "To the sign-in page"))
        anonymous = (pool is not None and pool.kind == "anonymous") or (account is not None and account.password_hash is None)
        if request.method != "POST":
            return _form_page(installation, request, found, pool, account, anonymous=anonymous)
        given = await form(request)
        if not token_fits(installation, request, given.get("token", "")):
            return stale_form(f"/join/{code}")
        try:
            joined = await run_in_threadpool(_accept, installation, request, code, found, given, anonymous=anonymous)
        except (accounts.LoginTaken, accounts.BadLogin, accounts.BadPassword) as error:
            login = given.get("login", "")
            words = "This name is taken; choose another." if isinstance(error, accounts.LoginTaken) else str(error)
            return _form_page(
                installation, request, found, pool, account, anonymous=anonymous, login=login, words=words, status=422
            )
        except (invitations.UnknownInvitation, invitations.TakesPartAlready, invitations.BadInvitation) as error:
            return message("This link does not work", str(error), status=409, link=("/", "To Flagback"))
        response = RedirectResponse("/", status_code=303)
        await run_in_threadpool(auth.open_in_browser, installation, request, response, joined)
        return response

    return [Route("/join/{code}", join, methods=["GET", "POST"])]


def _look(installation: Installation, code: str) -> tuple[Invitation, Pool | None, Account | None]:
    with installation.store.reading() as session:
        found = invitations.look(session, code, now=now())
        pool = None if found.pool_id is None else session.get(Pool, found.pool_id)
        account = None if found.account_id is None else session.get(Account, found.account_id)
    return found, pool, account


def _accept(
    installation: Installation, request: Request, code: str, found: Invitation, given: dict[str, str], *, anonymous: bool
) -> Account:
    external = given.get("external_id", "")[:LONGEST_EXTERNAL_ID]
    with installation.store.writing() as session:
        if not anonymous:
            account = invitations.accept(session, code, login=given.get("login", ""), password=given.get("password", ""), now=now())
        elif found.purpose == "reset":
            account = invitations.come_back(session, code, now=now())
        else:
            here = auth.account_at(installation, request)
            known = keyed_hash(installation.pseudonym_key, f"flagback external id {found.pool_id} {external}") if external else None
            if here is not None and here.pool_id == found.pool_id:
                return here  # the study's link opened again in the browser that takes part already
            account = invitations.accept_anonymously(session, code, external_hash=known, now=now())
        action = {"join": "account made by invitation", "reset": "password set anew by link", "first": "first administrator made"}
        details = {"login": account.login, "role": account.role}
        audit.record(session, actor=account.login, action=action[found.purpose], details=details, now=now())
    return account


def _form_page(
    installation: Installation,
    request: Request,
    found: Invitation,
    pool: Pool | None,
    account: Account | None,
    *,
    anonymous: bool,
    login: str = "",
    words: str = "",
    status: int = 200,
) -> Response:
    token = FormToken(installation, request)
    if anonymous:
        external = next((request.query_params[name] for name in EXTERNAL_IDS if name in request.query_params), "")
        body = piece("take_part.html").format(
            token=token.field(),
            error=error_box(words),
            external_id=html.escape(external[:LONGEST_EXTERNAL_ID]),
            wanted=f"{pool.answers_wanted:,}" if pool is not None else "all",
            days=auth.SESSION_FOR.days,
        )
        return token.send_along(page("Take part", body, status))
    title, lead, act, below = _words(found, pool)
    body = piece("join.html").format(
        title=title,
        lead=html.escape(lead),
        token=token.field(),
        error=error_box(words),
        login=html.escape(account.login if account is not None else login),
        readonly="readonly" if account is not None else "",
        described='aria-describedby="error"' if words else "",
        shortest=accounts.SHORTEST_PASSWORD,
        act=act,
        below=below,
    )
    return token.send_along(page(title, body, status))


def _words(found: Invitation, pool: Pool | None) -> tuple[str, str, str, str]:
    below = "Your answers will be kept under a pseudonym, apart from your name."
    if found.purpose == "first":
        lead = "You make the first account. It can invite others and manages who may do what."
        return "First administrator", lead, "Make the account", "This link works once."
    if found.purpose == "reset":
        return "New password", "You will be signed out everywhere else.", "Set the password", "This link works once."
    where = f" to {pool.name}" if pool is not None else ""
    return "Welcome", f"You are invited{where} as {_a(found.role)}. Choose how you sign in.", "Make my account", below


def _a(role: str) -> str:
    return f"an {role}" if role[0] in "a" else f"a {role}"
