"""Two texts line by line: what went and what came."""

from flagback.review_app.screens import look
from flagback.storage import guidelines

_SIGNS = {"+": ("ins", "+"), "-": ("del", "−"), " ": ("span", "")}


def html(before: str, after: str) -> str:
    """What went and what came, line by line, as HTML; far from any change nothing is repeated."""
    lines = guidelines.differences(before, after)
    near = {
        place + step
        for place, (sign, _) in enumerate(lines)
        if sign != " "
        for step in (-1, 0, 1)
        if 0 <= place + step < len(lines)
    }
    rows, last = [], -1
    for place in sorted(near):
        tag, mark = _SIGNS[lines[place][0]]
        rows.append("<div class='soft'>…</div>" if place != last + 1 else "")
        rows.append(f"<div>{mark} <{tag}>{look.marked(lines[place][1]) or '&nbsp;'}</{tag}></div>")
        last = place
    return f"<div class='fb-difference' dir='auto'>{''.join(rows)}</div>"
