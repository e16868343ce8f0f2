"""What every command shares: the installation it is about, who runs it, and how it shows what it found.

Imports nothing slow: `flagback --help` must answer at once.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.storage.invisible import CANDIDATE, visible

if TYPE_CHECKING:
    from flagback.review_app.settings import Settings
    from flagback.storage.store import Store

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines for people.")]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="ACCOUNT", help="Whose act it is, as it will be recorded.", show_default="this machine's user"),
]
Limit = Annotated[int, typer.Option(min=1, help="How many rows at most, newest first.")]


@dataclass
class Given:
    """What was said before the command's name."""

    home: Path | None = None
    debug: bool = False


class UnusableSettings(Exception):
    """A FLAGBACK_ variable holds a value that cannot be used."""


def settings_of(context: typer.Context, **said: Any) -> "Settings":
    """The installation's settings; what was said on the command line goes before the environment."""
    from pydantic import ValidationError

    from flagback.review_app.settings import Settings

    given: Given = context.obj
    values = {name: value for name, value in said.items() if value is not None}
    if given.home is not None:
        values["home"] = given.home
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise UnusableSettings(
            f"{name} is {first['input']!r}: {first['msg']}; set FLAGBACK_{name.upper()} or the option to a value that fits."
        ) from error


@contextmanager
def records(context: typer.Context) -> "Iterator[Store]":
    """The records of an existing installation."""
    from flagback.review_app.home import open_records

    store = open_records(settings_of(context))
    try:
        yield store
    finally:
        store.close()


class ActorNeeded(Exception):
    """An act that someone must answer for was asked for without a name."""


class NotTheirs(Exception):
    """The account may not do this."""


def actor(
    store: "Store", as_: str | None, *, needed_for: str | None = None, administering: bool = False, leading: bool = False
) -> str:
    """Who is recorded: the account named with --as, which must be one that may do this in the browser too.

    Without --as it is the demo's maintainer in a demo, else the user of this machine, marked as such; an act that changes what is
    current (`needed_for`) is then refused. Raises UnknownLogin, NotTheirs or ActorNeeded.
    """
    from sqlmodel import col, select

    from flagback.review_app.access import ADMINISTRATORS, LEADING_ROLES, STEERING_ROLES
    from flagback.review_app.settings import login_name
    from flagback.storage import accounts
    from flagback.storage.records import Account

    may = ADMINISTRATORS if administering else LEADING_ROLES if leading else STEERING_ROLES
    with store.reading() as session:
        if as_ is not None:
            account = accounts.by_login(session, as_)
            if account.disabled or account.role not in may:
                state = "shut out" if account.disabled else account.role
                raise NotTheirs(
                    f"{account.login} is {state}; expected an account that is one of: {', '.join(sorted(may))}. Name another with "
                    "--as; 'flagback account list' has them."
                )
            return account.login
        known = session.exec(select(Account).where(col(Account.role).in_(may), col(Account.disabled).is_(False))).all()
        own = session.exec(select(Account.id).where(col(Account.demo).is_(False)).limit(1)).first()
    demo = next((account.login for account in known if account.demo and account.role == "maintainer"), None)
    if demo is not None and own is None and not administering:
        return demo
    if needed_for is not None:
        named = (
            ", ".join(sorted(account.login for account in known)) or "none yet: 'flagback account create LOGIN --role maintainer'"
        )
        raise ActorNeeded(f"'flagback {needed_for}' is recorded under a name; say whose act it is with --as ACCOUNT ({named}).")
    return f"{login_name()} (command line)"


# --------------------------------------------------------------------- showing


def show(found: Any, *, as_json: bool, lines: Sequence[str]) -> None:
    """Prints what a command reports, for a program or for people."""
    if as_json:
        print(json_text(found))
    else:
        for line in lines:
            tell(line)


def tell(line: str, *, error: bool = False) -> None:
    """Prints a line for people: what a terminal would obey, or what cannot be seen, is named (<U+001B>), wherever it came from."""
    print(visible(line, breaks=True), file=sys.stderr if error else sys.stdout, flush=True)


def json_text(found: Any) -> str:
    """JSON, readable (not ASCII-only), in which no character is left that a terminal would obey or an eye would miss."""
    return CANDIDATE.sub(_escaped, json.dumps(found, ensure_ascii=False, indent=2, default=_plain))


def _escaped(character: re.Match[str]) -> str:
    """As JSON escapes it; a lone half of a surrogate pair too, which no file could hold."""
    return json.dumps(character[0])[1:-1] if character[0] != "\x7f" else "\\u007f"


def columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Rows as aligned columns with a heading; nothing is cut off."""
    table = [list(names), *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def shortened(text: str, length: int = 60) -> str:
    """One line of a text."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def note(line: str) -> None:
    """A line for people that is no part of the report: on stderr."""
    tell(line, error=True)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(visible(str(one)) for one in value) or "-"
    return visible(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
