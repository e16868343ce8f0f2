"""The table behind a picture, one click away. Knows tables; knows nothing of what they show."""

from html import escape

import pandas as pd

from flagback.review_app import downloads
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.review_app.words import tr, trn
from flagback.storage.records import Account


def offer(frame: pd.DataFrame, name: str, installation: Installation, account: Account) -> None:
    """A link to a picture's data as CSV; `name` is the file's, without its ending."""
    table = frame.to_csv(index=False).encode("utf-8", "replace")
    ticket = downloads.prepare_file(installation, account, table, "csv")
    rows = trn("CSV, {count} row", "CSV, {count} rows", len(frame))
    look.html(
        f'<div class="small"><a href="/downloads/{ticket}" download="{escape(name)}.csv">{tr("Download the data")}</a> '
        f'<span class="soft">{rows}</span></div>'
    )
