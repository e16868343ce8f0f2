"""The review board: one component that claims, shows and posts, drawn by board.js and board.css beside this file.

Knows how to register itself and what it is handed at mount; the review goes between the browser and our own routes, never
through Streamlit. What it is handed never changes while it is on the page: Streamlit calls a component's function again on every
change and does not call its clean-up.
"""

from pathlib import Path
from typing import Any

from streamlit.components.v2 import component
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

from flagback.review_app import words
from flagback.review_app.guidance import FIRST_GUIDELINE, Guideline
from flagback.storage.taxonomy import CATEGORIES, SEVERITIES, SKIP_REASONS, TARGETS, TAXONOMY_VERSION

#: Name under which Streamlit serves the files.
NAME = "flagback.board"
WATCH = "flagback.watch"


def show_board(
    *,
    account: str,
    token: str,
    aim: int,
    support: str = "",
    language: str = "en",
    guideline: Guideline = FIRST_GUIDELINE,
    practice: bool = False,
) -> None:
    """Mounts the board for one account, whose waiting answers the browser keeps under that name.

    `aim` is answers a day; `support` is whom to turn to, in the maintainer's words; `language` is the board's own; `practice`
    whether somebody is on their way through the practice.
    """
    _register()
    mount = component(NAME, js="board.js", css="board.css")
    data = mount_data(
        account=account, token=token, aim=aim, support=support, language=language, guideline=guideline, practice=practice
    )
    mount(key="board", data=data)


def show_watch(*, token: str, language: str = "en") -> None:
    """Mounts what leaves the page when its sign-in has ended, in this tab or another, and says which language the page is in.

    It shows nothing. Under another language it is mounted anew, since what it is handed must not change.
    """
    _register()
    mount = component(WATCH, js="watch.js")
    data = {"token": token, "api": "/api/v1", "language": language}
    mount(key=f"watch-{language}", data=data, height=0, on_theme_change=_drawn_again)


def _drawn_again() -> None:
    """Another theme: Streamlit runs the page's script again, which is all that is wanted."""


def _register() -> None:
    """Registers the files by hand: Streamlit's own scan finds no pyproject in an editable install, a wrong root in a wheel."""
    folder = Path(__file__).parent
    parts = [ComponentConfig(name=name.removeprefix("flagback."), asset_dir=folder.name) for name in (NAME, WATCH)]
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(NAME) is None:
        manager.register_from_manifest(ComponentManifest(name="flagback", version="1", components=parts), folder.parent)


def mount_data(
    *,
    account: str,
    token: str,
    aim: int,
    support: str = "",
    language: str = "en",
    guideline: Guideline = FIRST_GUIDELINE,
    practice: bool = False,
) -> dict[str, Any]:
    """All that the board is told by the page, in the board's language."""
    with words.speaking(language):
        categories, targets, severities, skips = (
            [words.tr_each(one, "taxonomy")._asdict() for one in ones] for ones in (CATEGORIES, TARGETS, SEVERITIES, SKIP_REASONS)
        )
    return {
        "account": account,
        "token": token,
        "aim": aim,
        "support": support,
        "guideline": guideline._asdict(),
        "practice": practice,
        "api": "/api/v1",
        "spoken": words.of_the_board(language),
        "taxonomy": {
            "version": TAXONOMY_VERSION,
            "categories": categories,
            "targets": targets,
            "severities": severities,
            "skips": skips,
        },
    }
