"""Commands about people: `flagback account create | list | passwd | disable | enable`."""

import sys
from typing import Annotated, Literal

import typer

from flagback.review_app.commands.shared import Json, columns, records, show, tell

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
    account.command()(disable)
    account.command()(enable)
    app.add_typer(account, name="account")


def create(
    context: typer.Context,
    login: Login,
    role: Annotated[Role, typer.Option(help="A reviewer judges answers, a maintainer steers the loop.")] = "reviewer",
    password_stdin: FromStdin = False,
    as_json: Json = False,
) -> None:
    """Make an account; its password is asked for."""
    from flagback.storage import accounts

    with records(context) as store:
        password = _password(login, from_stdin=password_stdin)
        with store.writing() as session:
            made = accounts.create(session, login, password, role)
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


def passwd(context: typer.Context, login: Login, password_stdin: FromStdin = False) -> None:
    """Give an account a new password and end its sessions."""
    from flagback.storage import accounts
    from flagback.storage.records import now

    with records(context) as store:
        password = _password(login, from_stdin=password_stdin)
        with store.writing() as session:
            changed = accounts.change_password(session, login, password, now=now())
    tell(f"{changed.login} has a new password and is signed out everywhere.")


def disable(context: typer.Context, login: Login) -> None:
    """Let someone sign in no more. Their reviews stay."""
    _set_disabled(context, login, disabled=True)
    tell(f"{login} may not sign in any more.")


def enable(context: typer.Context, login: Login) -> None:
    """Let a disabled account sign in again."""
    _set_disabled(context, login, disabled=False)
    tell(f"{login} may sign in again.")


def _set_disabled(context: typer.Context, login: str, *, disabled: bool) -> None:
    from flagback.storage import accounts
    from flagback.storage.records import now

    with records(context) as store, store.writing() as session:
        accounts.set_disabled(session, login, disabled=disabled, now=now())


def _password(login: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise NoPassword(f"There is no terminal to type the password of {login} at; pipe it in with --password-stdin.")
    return str(typer.prompt(f"Password of {login}", hide_input=True, confirmation_prompt=True, err=True))
