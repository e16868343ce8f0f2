"""What the screens share: cards, number strips, pills, tables, texts of others. Draws; knows neither the store nor the loop.

Everything that comes from outside goes through `marked` (escaped, hidden characters named by signs): a model's words by `quote`, a
prompt's by `asked`, names and reasons by `quiet`, messages by `said`. Never through Streamlit's own Markdown.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Literal, NamedTuple

import streamlit as st

from flagback.review_app import words
from flagback.review_app.words import tr, trc, trn
from flagback.storage.invisible import BLANKS, Piece, pieces

Tone = Literal["ok", "flag", "plain"]

#: Characters and lines of a text that a page shows: a line of a megabyte would hold up the browser.
LONGEST_SHOWN = 20_000
MOST_LINES = 500
#: Characters of a name or a reason that a page shows.
LONGEST_NAME = 500

#: Streamlit's own widgets beside ours: paper, cards, one border weight, two voices.
STYLE = """<style>
:root { --fb-card: light-dark(#ffffff, #1f2229); --fb-line: light-dark(#dcd7cc, #363b46);
  --fb-accent: light-dark(#0b5cad, #7db7f5); }
.fb { --card: light-dark(#ffffff, #1f2229); --ink: light-dark(#1d2129, #e9e7e2); --soft: light-dark(#5b6472, #a3abb8);
  --line: light-dark(#dcd7cc, #363b46); --accent: light-dark(#0b5cad, #7db7f5); --flag: light-dark(#b3410e, #ff9d66);
  --ok: light-dark(#2f7d4f, #7fca9c); --wait: light-dark(#fdf6ee, #33241b); --wash: light-dark(#fdf0e8, #33241b);
  color: var(--ink); font-size: 16px; line-height: 1.5; }
[data-testid^="stBaseButton-primary"]:not(:disabled), .stMultiSelect [data-baseweb="tag"] {
  color: light-dark(#ffffff, #16181d); }
.stMain h1 { font-size: 28px; letter-spacing: -.01em; padding: 0 0 4px; }
.stMain h2, .stMain h3 { font-size: 18px; letter-spacing: 0; padding: 12px 0 6px; }
[class*="st-key-fb-card"], .st-key-fb-next { background: var(--fb-card); border: 1px solid var(--fb-line); border-radius: 10px;
  padding: 16px 20px 20px; }
[class*="st-key-fb-card"] h3 { padding-top: 0; }
.st-key-fb-next { border-left: 5px solid var(--fb-accent); padding: 16px 20px; }
.fb a.fb-download { display: inline-block; border: 1px solid var(--accent); border-radius: 8px; padding: 8px 16px;
  font-weight: 600; }
.fb a { color: var(--accent); text-decoration: none; } .fb a:hover, .fb a:focus-visible { text-decoration: underline; }
.fb .soft { color: var(--soft); } .fb .small { font-size: 14px; } .fb .title { font-size: 18px; font-weight: 600; }
.fb-way { display: grid; grid-template-columns: repeat(var(--fb-steps, 6), 1fr); border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); overflow: hidden; }
.fb-step { padding: 14px 16px 16px; border-right: 1px solid var(--line); } .fb-step:last-child { border-right: 0; }
.fb-step .n { font-size: 28px; font-weight: 600; letter-spacing: -.02em; line-height: 1.2; font-variant-numeric: tabular-nums; }
.fb-step .t { font-size: 14px; color: var(--soft); } .fb-step .d { font-size: 13px; color: var(--soft); margin-top: 4px; }
.fb-step.wait { background: var(--wait); } .fb-step.wait .d { color: var(--flag); }
.fb-bar { height: 5px; background: var(--line); border-radius: 3px; margin-top: 8px; overflow: hidden; }
.fb-bar i { display: block; height: 5px; background: var(--accent); }
.fb-wide { overflow-x: auto; }
.fb-table { border-collapse: collapse; width: 100%; font-size: 15px; margin: 0; }
.fb-table td, .fb-table th { text-align: left; padding: 9px 8px; border: 0; border-top: 1px solid var(--line); font-weight: 400;
  vertical-align: top; }
.fb-table th { color: var(--soft); font-size: 13px; border: 0; }
.fb-table td:first-child, .fb-table th:first-child { padding-left: 0; }
.fb-table td.num, .fb-table th.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.fb-pill { display: inline-block; border-radius: 999px; font-size: 13px; line-height: 1.4; padding: 2px 10px;
  border: 1px solid var(--line); white-space: nowrap; }
.fb-pill.ok { color: var(--ok); border-color: var(--ok); } .fb-pill.flag { color: var(--flag); border-color: var(--flag); }
.fb-said { border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; background: var(--card); white-space: pre-wrap;
  overflow-wrap: anywhere; }
.fb-said.flag { border-color: var(--flag); background: var(--wash); } .fb-said.ok { border-color: var(--ok); }
.fb-question { margin: 8px 0 -8px; }
.fb-empty { border: 1px dashed var(--line); border-radius: 10px; padding: 20px; color: var(--soft); }
.fb-empty b { color: var(--ink); display: block; font-weight: 600; }
.fb-quote { font-family: "Source Serif", "Source Serif 4", Georgia, serif; font-size: 18px; line-height: 1.5; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.fb-asked { font-family: "Source Serif", "Source Serif 4", Georgia, serif; color: var(--soft); padding-left: 12px;
  border-left: 3px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
.fb-quote, .fb-asked { unicode-bidi: isolate; overflow: clip; overflow-clip-margin: 8px; }
.fb bdi { overflow-wrap: anywhere; }
.fb-sign { display: inline-block; font-size: 0; white-space: pre; vertical-align: middle; overflow: hidden; max-width: 100%;
  margin: 0 2px; border: 1px dashed var(--flag); border-radius: 4px; padding: 1px 4px; }
.fb-sign::before { content: attr(data-sign); font: 600 12px/1.2 "Source Sans", sans-serif; color: var(--flag); white-space: normal;
  overflow-wrap: anywhere; }
.fb-veil { border: 1px solid var(--line); border-radius: 8px; padding: 20px 16px; background: var(--wait); color: var(--soft); }
.fb .fb-facts { display: grid; grid-template-columns: minmax(96px, max-content) 1fr; gap: 4px 16px; margin: 0; padding: 0; }
.fb .fb-facts dt { color: var(--soft); margin: 0; padding: 0; } .fb .fb-facts dd { margin: 0; padding: 0; overflow-wrap: anywhere; }
.fb .fb-asked { margin-top: 8px; } .fb-asked + .fb-quote { margin-top: 8px; } .fb-words td:first-child { min-width: 160px; }
[class*="st-key-fb-section"] [data-testid="stPageLink-NavLink"] p { color: light-dark(#5b6472, #a3abb8); }
.stMain [data-testid="stCaptionContainer"], .stMain [data-testid="stCaptionContainer"] p { color: light-dark(#5b6472, #a3abb8);
  opacity: 1; }
[class*="st-key-fb-section"] [disabled] p, [class*="st-key-fb-section"] [aria-disabled="true"] p {
  color: light-dark(#1d2129, #e9e7e2); font-weight: 600; }
.fb-card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; height: 100%; }
.fb-argument { padding: 8px 0; overflow-wrap: anywhere; } .fb-argument + .fb-argument { border-top: 1px solid var(--line); }
.fb-marked { text-decoration: underline; text-decoration-color: var(--flag); text-decoration-thickness: 2px;
  text-underline-offset: 3px; }
.fb-difference { font-size: 15px; margin: 4px 0 12px; overflow-wrap: anywhere; }
.fb-difference ins { text-decoration: none; background: light-dark(#e6f0fb, #1d2b3d); box-shadow: inset 0 -1.5px 0 var(--accent); }
.fb-difference del { color: var(--soft); }
.fb-range { position: relative; height: 8px; min-width: 96px; margin: 7px 4px 3px 0; border-radius: 4px; background: var(--line); }
.fb-range i { position: absolute; top: 2px; height: 4px; border-radius: 2px; background: var(--accent); opacity: .45; }
.fb-range b { position: absolute; top: 0; width: 8px; height: 8px; margin-left: -4px; border-radius: 50%;
  background: var(--accent); }
.fb-two { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; margin: 8px 0 16px; }
@media (max-width: 760px) {
  .fb-way { grid-template-columns: repeat(2, 1fr); } .fb-step { border-bottom: 1px solid var(--line); }
  .fb-step:last-child { border-bottom: 0; } .fb-step:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .fb-step:nth-child(even) { border-right: 0; }
  .fb-two { grid-template-columns: 1fr; } .stMainBlockContainer { padding-left: 16px; padding-right: 16px; }
  .fb-table td, .fb-table th { padding: 8px 5px; font-size: 14px; }
  .fb-words thead, .fb-stacked thead { display: none; }
  .fb-stacked tr { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 16px; border-top: 1px solid var(--line);
    padding: 8px 0; }
  .fb-table.fb-stacked td { border: 0; padding: 0; text-align: left; }
  .fb-stacked td:first-child { grid-column: 1 / -1; font-weight: 600; }
  .fb-stacked td:not(:first-child)::before { content: attr(data-name); display: block; color: var(--soft); font-size: 13px; }
  .fb-words tr { display: grid; grid-template-columns: 1fr auto; border-top: 1px solid var(--line); }
  .fb-words td { border: 0; padding-left: 0; }
  .fb-words td:last-child { grid-column: 1 / -1; padding-top: 0; }
}
</style>"""


class Step(NamedTuple):
    """One station of the loop's strip."""

    title: str
    number: int
    words: str
    waiting: bool = False
    #: A bar under the words, 0-1; None draws none.
    share: float | None = None


#: A page of one person's own: a column to read in, as on the board.
_COLUMN = "<style>.stMainBlockContainer { max-width: 800px; }</style>"


def column() -> None:
    """Makes the page a narrow column: what is read on it is read by one person, not compared."""
    st.html(_COLUMN)


def html(body: str) -> None:
    """Draws a fragment of our own; the caller has escaped what is not ours."""
    st.html(f'<div class="fb">{body}</div>')


def note(body: str) -> None:
    """A small soft line beneath what it explains, as HTML; the caller has escaped what is not ours."""
    html(f'<div class="small soft">{body}</div>')


def aside(body: str) -> None:
    """A soft line of the usual size, as HTML; the caller has escaped what is not ours."""
    html(f'<div class="soft">{body}</div>')


def marked(text: str) -> str:
    """A text from outside as HTML: escaped, hidden characters named by signs.

    The character itself stays in the sign without a size, so that what is copied is the text; the name is drawn by the style sheet.
    """
    return "".join(
        escape(text[piece.start : piece.end]) if piece.sign is None else _sign(piece, text[piece.start : piece.end])
        for piece in pieces(text)
    )


def _sign(piece: Piece, hidden: str) -> str:
    title = tr("Hidden here: {words}", words=words.stored(None, piece.words))
    return (
        f'<span class="fb-sign" data-sign="{escape(piece.sign or "")}" title="{escape(title)}">{_STRAY.sub(_kept, hidden)}</span>'
    )


#: Half surrogates, which no page can carry, and the carriage return, which HTML would read as a line feed.
_STRAY = re.compile("[\ud800-\udfff\r]")


def _kept(stray: re.Match[str]) -> str:
    return "&#13;" if stray[0] == "\r" else "\ufffd"


def heading(title: str, under: str = "") -> None:
    """The page's title in the sans, with one soft line of HTML under it; the caller escapes."""
    st.html(STYLE)
    st.title(title, anchor=False)
    if under:
        html(f'<div class="soft">{under}</div>')


def strip(steps: Sequence[Step]) -> None:
    """Stations from left to right: the loop's six, or as many as there are."""
    html(
        f'<div class="fb-way" style="--fb-steps:{len(steps)}">'
        + "".join(
            f'<div class="fb-step{" wait" if step.waiting else ""}"><div class="t">{escape(step.title)}</div>'
            f'<div class="n">{step.number:,}</div><div class="d">{escape(step.words)}</div>{_bar(step.share)}</div>'
            for step in steps
        )
        + "</div>"
    )


def _bar(share: float | None) -> str:
    return "" if share is None else f'<div class="fb-bar"><i style="width:{min(1.0, max(0.0, share)):.0%}"></i></div>'


def empty(title: str, words: str) -> None:
    """Nothing is here yet, and what to do so that something will be."""
    html(f'<div class="fb-empty"><b>{marked(title)}</b>{marked(words)}</div>')


def said(words: str, tone: Tone = "plain") -> None:
    """A message; never Markdown, since file names and values from outside stand in it."""
    html(f'<div class="fb-said {tone}" role="{"alert" if tone == "flag" else "status"}">{_long(words)}</div>')


def link(address: str, words: str) -> str:
    """A way to another page of ours, as HTML."""
    return f'<a href="{escape(address)}" target="_self">{marked(words)}</a>'


def colours() -> dict[str, str]:
    """The palette as charts need it, for the theme on the screen."""
    dark = st.context.theme.type == "dark"
    return {
        "accent": "#7db7f5" if dark else "#0b5cad",
        "flag": "#ff9d66" if dark else "#b3410e",
        "soft": "#a3abb8" if dark else "#5b6472",
        "line": "#363b46" if dark else "#dcd7cc",
        "ink": "#e9e7e2" if dark else "#1d2129",
    }


def pill(words: str, tone: Tone = "plain") -> str:
    """A small label, as HTML."""
    return f'<span class="fb-pill {tone if tone != "plain" else ""}">{marked(words)}</span>'


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    words: bool = False,
    stacked: bool = False,
) -> None:
    """A quiet table of HTML cells; the caller escapes. Without any word in the header there is none.

    `words`: three columns of which the last is a sentence; on a narrow screen it goes below the others. `stacked`: on a narrow one
    each row is a block of its own, every cell under its column's name.
    """

    def row(tag: str, cells: Sequence[str]) -> str:
        names = [f' data-name="{escape(name)}"' if stacked else "" for name in header]
        joined = "".join(
            f"<{tag}{' class=num' if place in numeric else ''}{names[place]}>{cell}</{tag}>" for place, cell in enumerate(cells)
        )
        return f"<tr>{joined}</tr>"

    head = f"<thead>{row('th', [escape(name) for name in header])}</thead>" if any(header) else ""
    body = "".join(row("td", cells) for cells in rows)
    kind = " fb-words" if words else " fb-stacked" if stacked else ""
    html(f'<div class="fb-wide"><table class="fb-table{kind}">{head}<tbody>{body}</tbody></table></div>')


def asked(messages: Sequence[dict[str, str]]) -> str:
    """A prompt, as HTML: its last turn, with a note on earlier ones."""
    before = trn("{count} earlier turn", "{count} earlier turns", len(messages) - 1)
    earlier = f'<div class="small soft">{before}</div>' if len(messages) > 1 else ""
    return f'{earlier}<div class="fb-asked" dir="auto">{_long(messages[-1]["content"])}</div>'


def quote(text: str) -> str:
    """A model's words, as HTML."""
    return f'<div class="fb-quote" dir="auto">{_long(text.strip(BLANKS)) or _nothing()}</div>'


def _nothing() -> str:
    return f"<i>{tr('(nothing)')}</i>"


def quiet(name: str) -> str:
    """A name, a reason or other words from outside, as HTML: apart from the words around them in either direction of writing."""
    return f"<bdi>{marked(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + '…')}</bdi>"


def _long(text: str) -> str:
    """A text as HTML, or the first part of a very long one and how long the whole is."""
    part = "\n".join(text[:LONGEST_SHOWN].split("\n")[:MOST_LINES])
    if len(part) == len(text):
        return marked(text)
    shown, whole = words.number(len(part)), words.number(len(text))
    told = tr("The first {shown} of {whole} characters are shown.", shown=shown, whole=whole)
    return f'{marked(part)}…<div class="small soft" dir="{words.direction(words.language())}">{told}</div>'


def side_by_side(*cards: tuple[str, str]) -> None:
    """One or two cards, each (label, HTML)."""
    drawn = "".join(f'<div class="fb-card"><div class="small soft">{marked(label)}</div>{body}</div>' for label, body in cards)
    html(f'<div class="fb-two">{drawn}</div>')


def day(moment: datetime | None) -> str:
    """A day as people write it: 14 November."""
    return trc("no day", "never") if moment is None else words.day(moment.astimezone())


def clock(moment: datetime | None) -> str:
    """Day and time."""
    return "" if moment is None else words.clock(moment.astimezone())


def seconds(amount: float) -> str:
    """A span of time as people say it."""
    if amount < 90:
        return tr("about {number} s", number=max(1, round(amount)))
    return trn("about {count} minute", "about {count} minutes", round(amount / 60))
