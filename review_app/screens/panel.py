"""The panel: who reviews, as totals. No group of fewer than five is shown, nor any that could be reckoned from what is shown."""

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import languages, look
from flagback.storage import panel
from flagback.storage.records import Account


def show(installation: Installation, _account: Account) -> None:
    """Draws the page."""
    look.heading("Panel", "Who reviews, in totals. Nobody's name, answers or hours stand here.")
    with installation.store.reading() as session:
        found = panel.totals(session, installation.pseudonym_key)
    look.html(
        f"<p><b>{look.quiet(panel.counted(found.reviewers))}</b> reviewers may sign in and agreed to review; "
        f"<b>{found.answers:,}</b> answers are in force, skips left out.</p>"
    )
    if found.reviewers == 0:
        look.empty("Nobody reviews yet", "An administrator invites people on the page People, or with 'flagback invite'.")
        return
    st.subheader("Languages read", anchor=False)
    _cells([(languages.name(code), words) for code, words in found.languages], found.languages_hidden)
    st.subheader("Background", anchor=False)
    look.html(
        '<div class="soft">Of those who agreed to its use for choosing what they are asked about. Numbers stand for “at least '
        f"so many”, and a group of fewer than {panel.SMALLEST} is not shown, nor one by which such a group could be reckoned.</div>"
    )
    for question in found.questions:
        with st.container(key=f"fb-card-{question.code}"):
            look.html(f"<b>{look.quiet(question.words)}</b>")
            _cells(list(question.cells), question.hidden)


def _cells(cells: list[tuple[str, str]], hidden: bool) -> None:
    rows = [[look.quiet(name), look.quiet(words)] for name, words in cells]
    if rows and hidden:
        rows.append(['<span class="soft">Others</span>', '<span class="soft">not shown: too few people</span>'])
    if rows:
        look.table(["", ""], rows, numeric=(1,))
    else:
        look.html('<div class="soft">Nothing to show: too few people have said.</div>')
