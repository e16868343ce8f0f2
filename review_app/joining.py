"""Using a link: an invitation, a new password, the first administrator, or a crowd platform's study.

Opening a link shows a form and uses nothing (mail programs open links to look at them); sending the form does.

Who takes part in a study and opens its link again in the same browser goes on where they were, also when the link has ended. With
another person's id it is that person who begins: two people may share a browser. Nobody comes in by knowing someone's id.
"""

import html

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from flagback.review_app import auth, words
from flagback.review_app.access import a_role
from flagback.review_app.installation import Installation
from flagback.review_app.plain_pages import FormToken, error_box, form, message, page, piece, stale_form, token_fits
from flagback.review_app.words import tr, trn
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
        external = _external_id(request)
        if len(external) > LONGEST_EXTERNAL_ID:
            told = tr(
                "The id that came with this link has {length} characters; expected up to {longest}. Open the link once more as "
                "your platform shows it, or tell whoever runs the study.",
                length=words.number(len(external)),
                longest=LONGEST_EXTERNAL_ID,
            )
            return message(tr("This link is not whole"), told, status=400, link=("/signin", tr("To the sign-in page")))
        if await run_in_threadpool(_takes_part_here, installation, request, code, external):
            return RedirectResponse("/", status_code=303)
        try:
            found, pool, account = await run_in_threadpool(_look, installation, code)
        except invitations.UnknownInvitation as error:
            return message(
                tr("This link does not work"), words.told(error), status=410, link=("/signin", tr("To the sign-in page"))
            )
        anonymous = account.password_hash is None if account is not None else pool is not None and pool.kind == "anonymous"
        if request.method != "POST":
            return _form_page(installation, request, found, pool, account, anonymous=anonymous)
        given = await form(request)
        if not token_fits(installation, request, given.get("token", "")):
            return stale_form(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        try:
            joined = await run_in_threadpool(_accept, installation, code, found, given, external, anonymous=anonymous)
        except (accounts.LoginTaken, accounts.BadLogin, accounts.BadPassword) as error:
            login = given.get("login", "")
            taken = isinstance(error, accounts.LoginTaken)
            told = tr("This name is taken; choose another.") if taken else words.told(error)
            return _form_page(installation, request, found, pool, account, anonymous=anonymous, login=login, told=told, status=422)
        except (invitations.UnknownInvitation, invitations.TakesPartAlready, invitations.BadInvitation) as error:
            return message(tr("This link does not work"), words.told(error), status=409)
        response = RedirectResponse("/", status_code=303)
        await run_in_threadpool(auth.open_in_browser, installation, request, response, joined, opened_by="link")
        return response

    return [Route("/join/{code}", join, methods=["GET", "POST"])]


def _external_id(request: Request) -> str:
    """What the platform calls the person, "" without one."""
    return next((given for name in EXTERNAL_IDS if (given := request.query_params.get(name, "").strip())), "")


def _hash_of(installation: Installation, pool_id: int | None, external: str) -> str | None:
    return keyed_hash(installation.pseudonym_key, f"flagback external id {pool_id} {external}") if external else None


def _takes_part_here(installation: Installation, request: Request, code: str, external: str) -> bool:
    """Whether the link is of the study that this browser's person takes part in."""
    here = auth.account_at(installation, request)
    if here is None or here.pool_id is None:
        return False
    with installation.store.reading() as session:
        study = invitations.study_of(session, code)
    return study == here.pool_id and (not external or _hash_of(installation, study, external) == here.external_hash)


def _look(installation: Installation, code: str) -> tuple[Invitation, Pool | None, Account | None]:
    """The link, whose password or return it is for, and the pool: the link's, or of who comes back."""
    with installation.store.reading() as session:
        found = invitations.look(session, code, now=now())
        account = None if found.account_id is None else session.get(Account, found.account_id)
        pool_id = found.pool_id if account is None else account.pool_id
        pool = None if pool_id is None else session.get(Pool, pool_id)
    return found, pool, account


def _accept(
    installation: Installation, code: str, found: Invitation, given: dict[str, str], external: str, *, anonymous: bool
) -> Account:
    with installation.store.writing() as session:
        if not anonymous:
            account = invitations.accept(session, code, login=given.get("login", ""), password=given.get("password", ""), now=now())
        elif found.purpose == "reset":
            account = invitations.come_back(session, code, now=now())
        else:
            known = _hash_of(installation, found.pool_id, external)
            account = invitations.accept_anonymously(session, code, external_hash=known, now=now())
        again = "came back by link" if anonymous else "password set anew by link"
        action = {"join": "account made by invitation", "reset": again, "first": "first administrator made"}
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
    told: str = "",
    status: int = 200,
) -> Response:
    token = FormToken(installation, request)
    if anonymous:
        title = tr("Take part") if account is None else tr("Come back")
        again = "" if account is None else tr("You go on where you stopped, and are signed out everywhere else.") + " "
        body = piece("take_part.html").format(
            title=title,
            again=again,
            token=token.field(),
            error=error_box(told),
            wanted=_wanted(pool),
            days=auth.SESSION_FOR.days,
        )
        return token.send_along(page(title, body, status))
    title, lead, act, below = _words(found, pool)
    body = piece("join.html").format(
        title=title,
        lead=html.escape(lead),
        token=token.field(),
        error=error_box(told),
        login=html.escape(account.login if account is not None else login),
        readonly="readonly" if account is not None else "",
        described='aria-describedby="error"' if told else "",
        shortest=accounts.SHORTEST_PASSWORD,
        act=act,
        below=below,
    )
    return token.send_along(page(title, body, status))


def _wanted(pool: Pool | None) -> str:
    """When the completion code comes, "" where there is none."""
    if pool is None or pool.answers_wanted is None:
        return ""
    return trn(
        "After one answer you are shown the code that your platform asks for.",
        "After {count} answers you are shown the code that your platform asks for.",
        pool.answers_wanted,
    )


def _words(found: Invitation, pool: Pool | None) -> tuple[str, str, str, str]:
    below = tr("Your answers will be kept under a pseudonym, apart from your name.")
    if found.purpose == "first":
        lead = tr("You make the first account. It can invite others and manages who may do what.")
        return tr("First administrator"), lead, tr("Make the account"), tr("This link works once.")
    if found.purpose == "reset":
        lead = tr("You will be signed out everywhere else.")
        return tr("New password"), lead, tr("Set the password"), tr("This link works once.")
    lead = (
        tr("You are invited as {a_role}. Choose how you sign in.", a_role=a_role(found.role))
        if pool is None
        else tr("You are invited to {pool} as {a_role}. Choose how you sign in.", pool=pool.name, a_role=a_role(found.role))
    )
    return tr("Welcome"), lead, tr("Make my account"), below
