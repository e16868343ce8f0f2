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

from flagback.storage.taxonomy import CATEGORIES, GUIDELINE_VERSION, SEVERITIES, SKIP_REASONS, TARGETS, TAXONOMY_VERSION

#: Name under which Streamlit serves the files.
NAME = "flagback.board"
WATCH = "flagback.watch"


def show_board(*, account: str, token: str, aim: int, support: str = "") -> None:
    """Mounts the board for one account, whose waiting answers the browser keeps under that name.

    `aim` is answers a day; `support` is whom to turn to, in the maintainer's words.
    """
    _register()
    mount = component(NAME, js="board.js", css="board.css")
    mount(key="board", data=mount_data(account=account, token=token, aim=aim, support=support))


def show_watch(*, token: str) -> None:
    """Mounts what leaves the page when its sign-in has ended, in this tab or another; it shows nothing."""
    _register()
    mount = component(WATCH, js="watch.js")
    mount(key="watch", data={"token": token, "api": "/api/v1"}, height=0)


def _register() -> None:
    """Registers the files by hand: Streamlit's own scan finds no pyproject in an editable install, a wrong root in a wheel."""
    folder = Path(__file__).parent
    parts = [ComponentConfig(name=name.removeprefix("flagback."), asset_dir=folder.name) for name in (NAME, WATCH)]
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(NAME) is None:
        manager.register_from_manifest(ComponentManifest(name="flagback", version="1", components=parts), folder.parent)


def mount_data(*, account: str, token: str, aim: int, support: str = "") -> dict[str, Any]:
    """All that the board is told by the page."""
    return {
        "account": account,
        "token": token,
        "aim": aim,
        "support": support,
        "api": "/api/v1",
        "taxonomy": {
            "version": TAXONOMY_VERSION,
            "guideline": GUIDELINE_VERSION,
            "categories": [category._asdict() for category in CATEGORIES],
            "targets": [choice._asdict() for choice in TARGETS],
            "severities": [choice._asdict() for choice in SEVERITIES],
            "skips": [choice._asdict() for choice in SKIP_REASONS],
        },
    }
