"""The screens by role: the script that Streamlit runs for every click.

Knows who is signed in and which pages that role has; what a page shows is its module's business. Runs inside `flagback serve`.
"""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from html import escape
from importlib import import_module
from pathlib import Path

import streamlit as st

from flagback.review_app import auth, words
from flagback.review_app.access import PAGES, Listed, role_name
from flagback.review_app.board import show_watch
from flagback.review_app.installation import Installation, served
from flagback.review_app.screens import look
from flagback.review_app.words import tr
from flagback.storage.records import Account

_log = logging.getLogger(__name__)


#: Bookish paper, tighter than Streamlit's own; the sign-out line at the foot.
_FRAME = """<style>
.stMainBlockContainer { max-width: 1160px; padding-top: 76px; padding-bottom: 48px; }
[data-testid="stLogoLink"] { display: flex; align-items: center; gap: 8px; }
[data-testid="stLogoLink"]::after { content: "Flagback"; font: 600 17px/1 "Source Sans", sans-serif; letter-spacing: -.01em;
  color: light-dark(#1d2129, #e9e7e2); }
[data-testid="stSidebar"][data-collapsed="true"] { visibility: hidden; }
.flagback-foot { color: light-dark(#5b6472, #a3abb8); font-size: 14px; margin-top: 32px; }
.flagback-foot a { color: inherit; }
</style>"""


def draw(installation: Installation) -> None:
    """One run of the script."""
    st.set_page_config(page_title="Flagback", page_icon=str(_logo()), layout="wide", initial_sidebar_state="collapsed")
    st.logo(str(_logo()), size="small", link=None)
    account = auth.account_of(installation, st.context.cookies.get(auth.cookie_name(installation)))
    if account is None:
        _speak(None)
        _ask_to_sign_in()
        return
    spoken = _speak(account)
    show_watch(token=auth.page_token(installation, account), language=spoken)
    own = [listed for listed in PAGES if account.role in listed.roles]
    first = {listed.section: listed for listed in reversed(own) if listed.section}
    pages = [_page(listed, installation, account, alone=first.get(listed.section, listed) is listed) for listed in own]
    # Streamlit opens its default page at "/" only, so that is a page of its own and every listed one keeps its address.
    start = st.Page(partial(st.switch_page, pages[0]), title="Flagback", url_path="start", default=True, visibility="hidden")
    chosen = st.navigation([start, *pages], position="top")
    st.session_state["flagback_pages"] = {listed.url_path: page for listed, page in zip(own, pages, strict=True)}
    if chosen is start:
        chosen.run()
    if chosen.url_path == "review":
        chosen.run()
        return
    st.html(_FRAME)
    chosen.run()
    _sign_out_line(account)


def _speak(account: Account | None) -> str:
    """The language of this run: chosen by the person, or their browser's."""
    spoken = words.best(account.language if account is not None else None, words.of_browser())
    words.speak_in_session(spoken)
    return spoken


def _page(listed: Listed, installation: Installation, account: Account, *, alone: bool) -> st.Page:
    """A page; of a section only the first stands in the navigation, under the section's name."""
    return st.Page(
        _shower(listed, installation, account),
        title=listed.section_name or listed.name if alone else listed.name,
        url_path=listed.url_path,
        visibility="visible" if alone else "hidden",
    )


def _shower(listed: Listed, installation: Installation, account: Account) -> Callable[[], None]:
    """What st.Page calls; Streamlit wants a function with a name."""
    shower = partial(_show, listed.module, installation, account)
    shower.__name__ = listed.url_path  # type: ignore[attr-defined]
    return shower


def _show(module: str, installation: Installation, account: Account) -> None:
    """Draws one page. What goes wrong is told under a number, and written to the log under the same."""
    try:
        import_module(module).show(installation, account)
    except Exception:
        number = secrets.token_hex(3)
        _log.exception("The page %s failed (error %s).", module, number)
        look.said(
            tr(
                "Something went wrong on this page (error {number}; the server's log says what). Nothing you answered is lost. "
                "Reload the page; if it happens again, tell whoever runs this installation the number.",
                number=number,
            ),
            "flag",
        )


def _ask_to_sign_in() -> None:
    """For a page that was open when its sign-in ended; opening one anew leads to /signin by itself."""
    told = tr("What you answered is saved, and answers that still wait stay in this browser.")
    st.html(
        '<div style="max-width:416px;margin:12vh auto 0;font-size:17px"><h1 style="font-size:28px;padding:0 0 8px">'
        f"{tr('Your sign-in has ended')}</h1><p>{told}</p>"
        f'<p><a href="/signin" target="_self">{tr("Sign in again")}</a></p></div>'
    )


def _sign_out_line(account: Account) -> None:
    role = f"{role_name(account.role)}, {tr('demo')}" if account.demo else role_name(account.role)
    who = tr("Signed in as {name} ({role})", name=f"<bdi>{escape(account.login)}</bdi>", role=escape(role))
    st.html(f'<p class="flagback-foot">{who} · <a href="/signout" target="_self">{tr("Sign out")}</a></p>')


def _logo() -> Path:
    return Path(__file__).with_name("board") / "logo.svg"


if __name__ == "__main__":
    draw(served())
