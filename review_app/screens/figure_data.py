"""The data behind a picture, to take along: a table as CSV, handed out by a ticket like any export."""

import re
import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from flagback.review_app import downloads
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage.records import Account


def offer(frame: pd.DataFrame, name: str, installation: Installation, account: Account) -> None:
    """A button that prepares the table, and then a link to it. `name` is the picture's, of letters and dashes."""
    place = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "picture"
    kept = f"flagback_figure_{place}"
    if st.button("Download the data", key=f"{kept}_button"):
        with tempfile.TemporaryDirectory() as folder:
            frame.to_csv(Path(folder) / f"{place}.csv", index=False)
            st.session_state[kept] = downloads.prepare(installation, account, Path(folder), place)
    ticket = st.session_state.get(kept)
    if ticket is not None and downloads.size(installation, account, ticket) is not None:
        look.html(f'<p><a class="fb-download" href="/downloads/{ticket}" download>{look.quiet(f"{place}.csv")}</a></p>')
