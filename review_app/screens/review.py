"""The reviewer's one screen: the board, and nothing beside it."""

import streamlit as st

from flagback.review_app.board import show_board
from flagback.review_app.installation import Installation
from flagback.storage.records import Account

#: Streamlit's own header and margins are taken away: one column, one decision.
_FRAME = """<style>
header[data-testid="stHeader"] { display: none; }
.stMainBlockContainer { max-width: 760px; padding: 20px 20px 40px; }
.stMain { scrollbar-gutter: stable; }
@media (max-width: 560px) { .stMainBlockContainer { padding: 12px 16px 32px; } .stMain { scrollbar-gutter: auto; } }
</style>"""


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    st.html(_FRAME)
    show_board(account=str(account.id), aim=installation.settings.items_a_day)
