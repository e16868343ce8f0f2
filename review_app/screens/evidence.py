"""The way between the pages of evidence: history, one version, two versions, groups, agreement, patterns."""

import streamlit as st

from flagback.review_app.access import PAGES
from flagback.storage.records import Account

SECTION = "Evidence"


def strip(account: Account, here: str) -> None:
    """Links to the pages of evidence that this role has; the one that is open is no link."""
    opened = st.session_state.get("flagback_pages", {})
    with st.container(horizontal=True, key="fb-evidence"):
        for page in PAGES:
            if page.section == SECTION and account.role in page.roles and page.url_path in opened:
                st.page_link(opened[page.url_path], label=page.title, disabled=page.url_path == here)
