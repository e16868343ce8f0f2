"""What never changes, version by version: who wrote each, what changed since the one before, and how to bring one back.

Serves the guidelines and the practice alike; knows the store of neither.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

import streamlit as st

from flagback.review_app.screens import difference, languages, look
from flagback.review_app.words import day, number, tr

#: Versions that are opened at a time.
SHOWN = 20


class Version(Protocol):
    """What a version of either has."""

    @property
    def version(self) -> int: ...
    @property
    def note(self) -> str: ...
    @property
    def set_by(self) -> str: ...
    @property
    def created_at(self) -> datetime | None: ...


One = TypeVar("One", bound=Version)


class Change(NamedTuple):
    """What one language's words were, and what they are."""

    lang: str
    old: str
    new: str


def about(version: Version, more: str = "") -> str:
    """Who wrote it, when, and what changed, as HTML; `more` is said beside it."""
    if version.created_at is None:
        said = look.quiet(tr("Version {number}, comes with Flagback", number=version.version))
    else:
        head = tr("Version {number}, {day}, by {who}", number=version.version, day=day(version.created_at), who=version.set_by)
        said = f"{look.quiet(head)} · {look.quiet(version.note)}"
    return f"{said} · {look.quiet(more)}" if more else said


def show(
    versions: Sequence[One],
    kind: str,
    *,
    changes: Callable[[One, One], Iterable[Change]],
    alike: Callable[[One, One], bool],
    bring_back: Callable[[int], None],
    more: Callable[[One], str] = lambda _: "",
) -> None:
    """Draws the versions, newest first.

    `kind` is the word of `flagback <kind> history`; `changes` tells what an earlier version and a later one say differently,
    language by language; a version `alike` the newest is not offered to be brought back.
    """
    st.subheader(tr("Versions"), anchor=False)
    for place, version in enumerate(versions[:SHOWN]):
        with st.container(key=f"fb-card-{kind}-version-{version.version}"):
            look.html(f"<div>{about(version, more(version))}</div>")
            if place + 1 < len(versions):
                earlier = versions[place + 1]
                with st.expander(tr("What changed since version {number}", number=earlier.version)):
                    for change in changes(earlier, version):
                        title = look.quiet(languages.name(change.lang))
                        look.html(f"<div class='small soft'>{title}</div>{difference.html(change.old, change.new)}")
            if place and not alike(version, versions[0]):
                with st.popover(tr("Bring it back…"), key=f"{kind}-back-{version.version}"):
                    look.html(f"<p>{tr('A new version says again what this one said. Nothing is lost.')}</p>")
                    if st.button(tr("Bring it back"), type="primary", key=f"{kind}-sure-{version.version}"):
                        bring_back(version.version)
    if len(versions) > SHOWN:
        command = f"flagback {kind} history"
        older = tr("{count} more: '{command}' lists them all.", count=number(len(versions) - SHOWN), command=command)
        look.html(f"<div class='soft'>{older}</div>")
