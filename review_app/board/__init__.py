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


def show_board(*, account: str, aim: int) -> None:
    """Mounts the board for one account, whose waiting answers the browser keeps under that name; `aim` is answers a day.

    The files are registered by hand: Streamlit's own scan finds no pyproject in an editable install, and from a wheel resolves a
    wrong root.
    """
    folder = Path(__file__).parent
    manifest = ComponentManifest(name="flagback", version="1", components=[ComponentConfig(name="board", asset_dir=folder.name)])
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(NAME) is None:
        manager.register_from_manifest(manifest, folder.parent)
    mount = component(NAME, js="board.js", css="board.css")
    mount(key="board", data=mount_data(account=account, aim=aim))


def mount_data(*, account: str, aim: int) -> dict[str, Any]:
    """All that the board is told by the page."""
    return {
        "account": account,
        "aim": aim,
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
