"""Writes docs/cli.md from the commands' own --help, and docs/access.md: `python -m flagback.review_app.reference docs`.

Knows how to walk the command tree; knows nothing of what the commands do.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from flagback.review_app.access import table
from flagback.review_app.cli import app
from flagback.review_app.settings import Settings

HEAD = """# The command line

Written by `make docs` from the commands' own `--help`; a test compares. What reports takes `--json`. Errors are one message on
stderr with code 1, a wrong call is code 2.

| setting | default | |
|---|---|---|
"""


def reference() -> str:
    """The whole page."""
    settings = "\n".join(
        f"| `FLAGBACK_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    )
    pages = [f"{HEAD}{settings}\n"]
    for path, text in _helps(typer.main.get_command(app), "flagback", None):
        pages.append(f"{'#' * min(4, 2 + path.count(' '))} {path}\n\n```text\n{text}\n```\n")
    return "\n".join(pages)


def _helps(command: Any, path: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Every command's path and help, depth first, in the order they were added. typer's own click has no stubs, hence Any."""
    context = command.context_class(
        command,
        info_name=path.rpartition(" ")[2],
        parent=parent,
        terminal_width=100,
        max_content_width=100,
        help_option_names=["-h", "--help"],
    )
    lines = command.get_help(context).splitlines()
    yield path, "\n".join(line.rstrip() for line in lines).strip()
    for name, child in getattr(command, "commands", {}).items():
        yield from _helps(child, f"{path} {name}", context)


def _default(value: object) -> str:
    return "" if value is None else f"`{value}`"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "cli.md").write_text(reference(), encoding="utf-8")
    (folder / "access.md").write_text(table(), encoding="utf-8")
