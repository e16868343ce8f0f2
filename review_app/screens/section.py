"""The way between the pages of one section of the navigation, such as Evidence or Panel."""

import streamlit as st

from flagback.review_app.access import PAGES
from flagback.storage.records import Account


def strip(account: Account, here: str) -> None:
    """Links to the pages of the section of `here` that this role has, where it has two; the one that is open is no link."""
    opened = st.session_state.get("flagback_pages", {})
    section = next(page.section for page in PAGES if page.url_path == here)
    pages = [page for page in PAGES if page.section == section and account.role in page.roles and page.url_path in opened]
    if len(pages) < 2:
        return
    with st.container(horizontal=True, key=f"fb-section-{section.lower()}"):
        for page in pages:
            st.page_link(opened[page.url_path], label=page.name, disabled=page.url_path == here)
