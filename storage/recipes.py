"""Recipes kept by name: each change is a new number of it, and nothing that a run followed is ever altered.

Knows names, numbers and settings as values; what a setting means and which values it may have is `flagback.model.recipe`'s
business, which whoever writes here has asked.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.prompts import check_storable
from flagback.storage.records import KeptRecipe
from flagback.storage.store import one_at_a_time

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
#: Names of what is no row: the built-in recipe, and those that runs followed.
_TAKEN = re.compile(r"default|correction-.*")


class UnknownRecipe(Exception):
    """No recipe has this name or number."""


class UnusableName(ValueError):
    """A recipe cannot be called so."""


#: What is not read where every weight is trained.
_OF_ADAPTERS = ("rank", "alpha", "targets", "dropout")


def in_use(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings without those that it did not read."""
    full = settings.get("tuning") == "full"
    return {name: value for name, value in settings.items() if not (full and name in _OF_ADAPTERS)}


def keep(
    session: Session, name: str, settings: Mapping[str, Any], *, form: int, note: str = "", by: str, now: datetime
) -> KeptRecipe:
    """Keeps settings under a name, as its next number; the same settings again give the newest row. Raises UnusableName.

    `form` says how the settings are to be read: it rises when a setting changes its meaning.
    """
    check_storable(by=by, note=note)
    if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
        raise UnusableName(
            f"A recipe cannot be called {name!r}; expected up to 40 small letters, digits, dots, dashes or underscores, and "
            "neither 'default' nor 'correction-N', which name the built-in one and those of runs."
        )
    one_at_a_time(session, "recipes")
    newest = session.exec(select(KeptRecipe).where(KeptRecipe.name == name).order_by(col(KeptRecipe.number).desc())).first()
    plain = json.loads(json.dumps(dict(settings)))
    if newest is not None and (newest.form, newest.settings) == (form, plain):
        return newest
    made = KeptRecipe(
        name=name,
        number=1 if newest is None else newest.number + 1,
        form=form,
        settings=plain,
        note=note,
        kept_by=by,
        created_at=now,
    )
    session.add(made)
    session.flush()
    audit.record(session, actor=by, action="recipe.kept", now=now, details={"recipe": f"{name}@{made.number}", "settings": plain})
    return made


def find(session: Session, name: str) -> KeptRecipe:
    """The recipe "NAME@NUMBER", or the newest of NAME. Raises UnknownRecipe."""
    plain, _, number = name.partition("@")
    query = select(KeptRecipe).where(KeptRecipe.name == plain).order_by(col(KeptRecipe.number).desc())
    if number:
        query = query.where(KeptRecipe.number == (int(number) if number.isdecimal() and len(number) < 9 else -1))
    found = session.exec(query).first()
    if found is None:
        names = sorted(set(session.exec(select(KeptRecipe.name)).all()))
        raise UnknownRecipe(
            f"There is no recipe {name!r}; expected 'default' or {', '.join(names) or 'one that was kept'}, with @NUMBER where an "
            "older one is meant. See 'flagback recipes list'."
        )
    return found


def newest(session: Session) -> list[KeptRecipe]:
    """The newest number of every name, by name."""
    last = select(func.max(KeptRecipe.id)).group_by(KeptRecipe.name)
    return list(session.exec(select(KeptRecipe).where(col(KeptRecipe.id).in_(last)).order_by(KeptRecipe.name)).all())
