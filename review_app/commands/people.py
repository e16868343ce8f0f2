"""Commands about people: `flagback account ...`, `invite`, `pool ...`, `background ...`, `hours`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, settings_of, show, tell

#: flagback.storage.records.Role, written out: importing the records would slow every --help (a test compares).
Role = Literal["reviewer", "lead", "maintainer", "auditor", "administrator"]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")]
Login = Annotated[str, typer.Argument(help="The name they sign in with.")]


class NoPassword(Exception):
    """A password was asked for where nobody can type one."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    account = typer.Typer(no_args_is_help=True, help="Who may sign in.")
    account.command()(create)
    account.command("list")(list_accounts)
    account.command()(passwd)
    account.command("role")(role)
    account.command()(disable)
    account.command()(enable)
    account.command("sign-out")(sign_out)
    account.command("link")(link)
    account.command()(disconnect)
    app.add_typer(account, name="account")
    app.command()(invite)
    pool = typer.Typer(no_args_is_help=True, help="Reviewers who came by one link: a team, or a crowd platform's study.")
    pool.command("create")(create_pool)
    pool.command("list")(list_pools)
    app.add_typer(pool, name="pool")
    background = typer.Typer(no_args_is_help=True, help="The questions about reviewers' background, each optional to them.")
    background.command("show")(show_questions)
    background.command("set")(set_questions)
    app.add_typer(background, name="background")
    app.command()(hours)


def create(
    context: typer.Context,
    login: Login,
    role: Annotated[Role, typer.Option(help="A reviewer judges answers, a maintainer steers the loop.")] = "reviewer",
    password_stdin: FromStdin = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make an account; its password is asked for."""
    from flagback.storage import accounts, audit
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        password = _password(login, from_stdin=password_stdin)
        with store.writing() as session:
            made = accounts.create(session, login, password, role)
            audit.record(session, actor=by, action="account made", details={"login": made.login, "role": role}, now=now())
    show(
        {"id": made.id, "login": made.login, "role": made.role},
        as_json=as_json,
        lines=[f"{made.login} may sign in as {made.role}."],
    )


def list_accounts(context: typer.Context, as_json: Json = False) -> None:
    """List who may sign in."""
    from sqlmodel import col, select

    from flagback.storage.records import Account

    with records(context) as store, store.reading() as session:
        found = session.exec(select(Account).order_by(col(Account.login))).all()
    rows = [
        {
            "login": account.login,
            "role": account.role,
            "state": "disabled" if account.disabled else "active",
            "demo": "demo" if account.demo else "",
            "created_at": account.created_at,
        }
        for account in found
    ]
    lines = (
        columns(rows, ["login", "role", "state", "demo", "created_at"])
        if rows
        else ["Nobody may sign in yet; make an account with 'flagback account create LOGIN --role maintainer'."]
    )
    show(rows, as_json=as_json, lines=lines)


def passwd(context: typer.Context, login: Login, password_stdin: FromStdin = False, as_: As = None) -> None:
    """Give an account a new password and end its sessions."""
    from flagback.storage import accounts, audit
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        password = _password(login, from_stdin=password_stdin)
        with store.writing() as session:
            changed = accounts.change_password(session, login, password, now=now())
            audit.record(session, actor=by, action="password set", details={"login": changed.login}, now=now())
    tell(f"{changed.login} has a new password and is signed out everywhere.")


def role(
    context: typer.Context, login: Login, to: Annotated[Role, typer.Argument(help="The role from now on.")], as_: As = None
) -> None:
    """Give an account another role and end its sign-ins."""
    from flagback.storage import accounts
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            changed = accounts.set_role(session, login, to, now=now(), by=by)
    tell(f"{changed.login} is {changed.role} now and is signed out everywhere.")


def disable(context: typer.Context, login: Login, as_: As = None) -> None:
    """Let someone sign in no more. Their reviews stay."""
    _set_disabled(context, login, as_, disabled=True)
    tell(f"{login} may not sign in any more.")


def enable(context: typer.Context, login: Login, as_: As = None) -> None:
    """Let a disabled account sign in again."""
    _set_disabled(context, login, as_, disabled=False)
    tell(f"{login} may sign in again.")


def _set_disabled(context: typer.Context, login: str, as_: str | None, *, disabled: bool) -> None:
    from flagback.storage import accounts
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            accounts.set_disabled(session, login, disabled=disabled, now=now(), by=by)


def disconnect(context: typer.Context, login: Login, as_: As = None) -> None:
    """Part an account from single sign-on and end its sessions."""
    from flagback.storage import identities
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            parted = identities.disconnect(session, login, by=by, now=now())
    tell(f"{login} is connected with single sign-on no more." if parted else f"{login} was not connected with single sign-on.")


def sign_out(context: typer.Context, login: Login, as_: As = None) -> None:
    """End every sign-in of an account, in all browsers, at once."""
    from flagback.storage import accounts, audit
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            account = accounts.by_login(session, login)
            ended = accounts.end_sessions(session, account.id, now=now())
            audit.record(session, actor=by, action="signed out everywhere", details={"login": account.login}, now=now())
    tell(f"{ended} sign-in{'s' * (ended != 1)} of {login} ended.")


def link(context: typer.Context, login: Login, as_: As = None, as_json: Json = False) -> None:
    """Make a one-time link with which an account's owner sets a new password."""
    from flagback.storage import accounts, audit, invitations
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            account = accounts.by_login(session, login)
            code = invitations.reset(session, account, by=by, now=now())
            audit.record(session, actor=by, action="reset link made", details={"login": account.login}, now=now())
    _show_link(context, code, "It works once, for 24 hours.", as_json=as_json)


def invite(
    context: typer.Context,
    role: Annotated[Role, typer.Option(help="What who comes by it will be.")] = "reviewer",
    pool: Annotated[str | None, typer.Option(help="The pool they join.", show_default="none")] = None,
    uses: Annotated[int, typer.Option(min=1, help="For how many people.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=365, help="How long it works.")] = 7,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make a link that lets people make an account."""
    from datetime import timedelta

    from flagback.storage import audit, invitations
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            into = None if pool is None else invitations.pool_named(session, pool)
            code = invitations.invite(session, role, by=by, now=now(), for_=timedelta(days=days), pool=into, uses=uses)
            details = {"role": role, "pool": pool, "uses": uses}
            audit.record(session, actor=by, action="invitation made", details=details, now=now())
    _show_link(context, code, f"It works for {days} days and {uses} {'people' if uses > 1 else 'person'}.", as_json=as_json)


def _show_link(context: typer.Context, code: str, words: str, *, as_json: bool) -> None:
    address = f"{settings_of(context).served_address}/join/{code}"
    show({"link": address}, as_json=as_json, lines=[address, f"Shown this once. {words} Whoever has it can use it."])


def create_pool(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="For people sent by a crowd platform: no name, no password.")
    ] = False,
    answers: Annotated[int | None, typer.Option(min=1, help="Answers after which they see the completion code.")] = None,
    completion_code: Annotated[str | None, typer.Option(help="What the platform asks them for.")] = None,
    as_: As = None,
) -> None:
    """Make a pool of reviewers; 'flagback invite --pool NAME' makes its link."""
    from flagback.storage import audit, invitations
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            kind: Literal["anonymous", "named"] = "anonymous" if anonymous else "named"
            made = invitations.make_pool(session, name, kind, answers_wanted=answers, completion_code=completion_code, now=now())
            audit.record(session, actor=by, action="pool made", details={"name": made.name, "kind": kind}, now=now())
    tell(f"The pool {made.name} is made. Next: 'flagback invite --pool \"{made.name}\" --uses 100'.")


def list_pools(context: typer.Context, as_json: Json = False) -> None:
    """List the pools."""
    from sqlalchemy import func
    from sqlmodel import col, select

    from flagback.storage.records import Account, Pool

    with records(context) as store, store.reading() as session:
        found = session.exec(
            select(Pool, func.count(col(Account.id)))
            .outerjoin(Account, col(Account.pool_id) == Pool.id)
            .group_by(*Pool.__table__.columns)  # type: ignore[attr-defined]
            .order_by(col(Pool.name))
        ).all()
    rows = [
        {"pool": pool.name, "kind": pool.kind, "accounts": count, "answers": pool.answers_wanted, "created_at": pool.created_at}
        for pool, count in found
    ]
    lines = columns(rows, list(rows[0])) if rows else ["There is no pool yet; make one with 'flagback pool create NAME'."]
    show(rows, as_json=as_json, lines=lines)


def show_questions(context: typer.Context) -> None:
    """Print the questions as JSON, for changing them and 'flagback background set'."""
    from flagback.storage import background

    with records(context) as store, store.reading() as session:
        asked, _ = background.questions(session)
    print(json.dumps([question.model_dump() for question in asked], ensure_ascii=False, indent=2))


def set_questions(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON in the form of 'flagback background show'.")],
    as_: As = None,
) -> None:
    """Ask other questions from now on. What was answered stays under its question and is used no more."""
    from flagback.storage import audit, background
    from flagback.storage.reading import read_document
    from flagback.storage.records import now

    wanted = read_document(file)
    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            asked = background.set_questions(session, wanted, by=by, now=now())
            codes = [question.code for question in asked]
            audit.record(session, actor=by, action="background questions set", details={"questions": codes}, now=now())
    tell(f"{len(asked)} questions are asked from now on: {', '.join(codes)}." if asked else "Nothing is asked from now on.")


def hours(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="WEEK", help="From this ISO week on, like 2026-W47.")] = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """List hours and counts for payment, rounded up, by week and account."""
    from flagback.storage import work

    with records(context) as store:
        actor(store, as_, administering=True)
        key = settings_of(context).pseudonym_key()
        with store.reading() as session:
            sheet = work.sheet(session, key, since_week=since)
    rows: list[dict[str, Any]] = [row._asdict() for row in sheet]
    lines = columns(rows, list(rows[0])) if rows else ["Nobody has worked yet in that time."]
    show(rows, as_json=as_json, lines=lines)


def _password(login: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise NoPassword(f"There is no terminal to type the password of {login} at; pipe it in with --password-stdin.")
    return str(typer.prompt(f"Password of {login}", hide_input=True, confirmation_prompt=True, err=True))
