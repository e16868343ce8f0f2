"""Takes pictures of every screen in every state: `python -m tests.gallery [FOLDER]`, for 'make screenshots'.

Writes FOLDER/index.html with all of them; FOLDER is build/screenshots unless given. The home they show is kept beside the pictures,
and each time a copy of it is shown; delete the folder to have a new one. With `--only WORD` just the states
whose names hold the word.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Error, Page

from flagback.review_app.settings import Settings
from flagback.storage.store import Store
from tests.browser import WebProcess, chromium
from tests.fresh import migrate
from tests.gallery import states
from tests.gallery.home import Door, rehearsed
from tests.gallery.states import State, Visits

#: Longest picture, pixels.
TALLEST = 6_000
_TITLES = {"plain": "Before signing in", "board": "The review board", "own": "A reviewer’s own pages", "steering": "Everybody else"}
_STYLE = """:root { color-scheme: light dark; --ink: light-dark(#1d2129, #e9e7e2); --paper: light-dark(#faf8f4, #16181d);
 --line: light-dark(#dcd7cc, #363b46); --soft: light-dark(#5b6472, #a3abb8); }
body { margin: 0; padding: 32px; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h2 { margin: 40px 0 8px; } figure { margin: 0; } figcaption { color: var(--soft); font-size: 14px; }
.state { border-top: 1px solid var(--line); padding: 16px 0; }
.row { display: flex; gap: 16px; align-items: flex-start; overflow-x: auto; }
img { display: block; border: 1px solid var(--line); border-radius: 8px; max-height: 560px; width: auto; }
nav a { margin-right: 16px; }"""


class View(NamedTuple):
    """One size and theme."""

    width: int
    dark: bool

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.width}{'-dark' if self.dark else ''}"


def views(state: State) -> list[View]:
    """In which sizes and themes a state is looked at."""
    wide = [View(1280, False), View(390, False)]
    if state.kind == "board":
        return [*wide, View(320, False), View(1280, True), View(390, True)]
    return [*wide, View(1280, True)]


def take(page: Page, path: Path, view: View) -> None:
    """The whole page: Streamlit scrolls inside of itself, so the window is made as tall as what is in it."""
    least = 844 if view.width < 500 else 800
    page.set_viewport_size({"width": view.width, "height": least})
    page.wait_for_timeout(250)
    tall = page.evaluate(
        "() => Math.max(document.querySelector('[data-testid=stMain]')?.scrollHeight ?? 0, document.documentElement.scrollHeight)"
    )
    page.set_viewport_size({"width": view.width, "height": min(TALLEST, max(least, tall))})
    page.wait_for_timeout(200)
    page.screenshot(path=path)


def gallery(folder: Path, taken: Sequence[tuple[State, list[View]]]) -> str:
    """The page with all pictures."""
    sections = []
    for kind, title in _TITLES.items():
        shown = [
            f'<div class="state" id="{state.name}"><h3>{escape(state.words)}</h3><div class="row">'
            + "".join(
                f'<figure><a href="{state.name}-{view.name}.png"><img loading="lazy" src="{state.name}-{view.name}.png" '
                f'alt="{escape(state.words)}, {view.width} px{", dark" if view.dark else ""}"></a>'
                f"<figcaption>{view.width} px{', dark' if view.dark else ''}</figcaption></figure>"
                for view in found
                if (folder / f"{state.name}-{view.name}.png").exists()
            )
            + "</div></div>"
            for state, found in taken
            if state.kind == kind
        ]
        if shown:
            sections.append(f'<h2 id="{kind}">{title}</h2>{"".join(shown)}')
    ways = "".join(f'<a href="#{kind}">{title}</a>' for kind, title in _TITLES.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Flagback: every screen</title><style>{_STYLE}</style><h1>Every screen in every state</h1><nav>{ways}</nav>"
        f"{''.join(sections)}</html>\n"
    )


def furnished(folder: Path) -> tuple[Settings, Door]:
    """The home beside the pictures, made where there is none."""
    made, home, kept = folder / "home-as-made", folder / "home", folder / "door.txt"
    if not kept.exists():
        shutil.rmtree(made, ignore_errors=True)
        _, door = rehearsed(made, say=lambda words: print(f"  {words}", file=sys.stderr))
        kept.write_text(" ".join(door), encoding="utf-8")
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(made, home)
    settings = Settings(home=home)
    migrate(Store(settings.records_url))
    return settings, Door(*kept.read_text(encoding="utf-8").split())


def main(arguments: Sequence[str]) -> int:
    """Takes them all; 1 where a state could not be come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/screenshots"))
    parser.add_argument("--only", default="", help="just the states whose names hold this word")
    given = parser.parse_args(arguments)
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print("Filling a home (two rounds of the loop, about two minutes the first time)", file=sys.stderr)
    settings, door = furnished(folder)
    all_states = states.everything(door)
    wanted = [state for state in all_states if given.only in state.name]
    missed: list[str] = []
    with WebProcess(settings.home, folder=folder) as web, chromium() as browser:
        visits = Visits(browser, web.url)
        for state in wanted:
            try:
                for dark in (False, True):
                    with visits.at(state, dark=dark) as page:
                        for view in views(state):
                            if view.dark == dark:
                                take(page, folder / f"{state.name}-{view.name}.png", view)
            except (Error, AssertionError) as error:
                missed.append(f"{state.name}: {(str(error) or type(error).__name__).splitlines()[0]}")
            print(f"  {time.monotonic() - began:5.0f} s  {state.name}", file=sys.stderr)
    (folder / "index.html").write_text(gallery(folder, [(state, views(state)) for state in all_states]), encoding="utf-8")
    for line in missed:
        print(f"Not taken: {line}", file=sys.stderr)
    print(f"{folder / 'index.html'}, in {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
