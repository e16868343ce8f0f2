"""What the maintainer's screens share: cards, number strips, pills, figures in words. Draws; knows neither the store nor the loop.

Everything that comes from outside goes through `html.escape`; model text is shown with `quote`, never as Markdown.
"""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any, Literal, NamedTuple

import streamlit as st

Tone = Literal["ok", "flag", "plain"]

#: Streamlit's own widgets beside ours: paper, cards, one border weight, two voices.
STYLE = """<style>
.fb { --card: light-dark(#ffffff, #1f2229); --ink: light-dark(#1d2129, #e9e7e2); --soft: light-dark(#5b6472, #a3abb8);
  --line: light-dark(#dcd7cc, #363b46); --accent: light-dark(#0b5cad, #7db7f5); --flag: light-dark(#b3410e, #ff9d66);
  --ok: light-dark(#2f7d4f, #7fca9c); --wait: light-dark(#fdf6ee, #33241b); color: var(--ink); }
.stMain h1 { font-size: 28px; letter-spacing: -.01em; padding: 0 0 4px; } .stMain h2, .stMain h3 { font-size: 18px; padding: 12px 0 6px; }
.fb .soft { color: var(--soft); } .fb .small { font-size: 14px; }
.fb-next { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--accent); border-radius: 10px;
  padding: 16px 20px; } .fb-next b { font-size: 18px; }
.fb-way { display: grid; grid-template-columns: repeat(6, 1fr); border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); overflow: hidden; }
.fb-step { padding: 14px 16px 16px; border-right: 1px solid var(--line); } .fb-step:last-child { border: 0; }
.fb-step .n { font-size: 28px; font-weight: 600; letter-spacing: -.02em; line-height: 1.2; font-variant-numeric: tabular-nums; }
.fb-step .t { font-size: 14px; color: var(--soft); } .fb-step .d { font-size: 13px; color: var(--soft); margin-top: 4px; }
.fb-step.wait { background: var(--wait); } .fb-step.wait .d { color: var(--flag); }
.fb-table { border-collapse: collapse; width: 100%; font-size: 15px; }
.fb-table td, .fb-table th { text-align: left; padding: 8px 6px; border: 0; border-top: 1px solid var(--line); font-weight: 400; vertical-align: top; }
.fb-table th { color: var(--soft); font-size: 13px; border: 0; }
.fb-table td.num { text-align: right; font-variant-numeric: tabular-nums; }
.fb-pill { border-radius: 999px; font-size: 13px; padding: 2px 10px; border: 1px solid var(--line); white-space: nowrap; }
.fb-pill.ok { color: var(--ok); border-color: var(--ok); } .fb-pill.flag { color: var(--flag); border-color: var(--flag); }
.fb-quote { font-family: "Source Serif", "Source Serif 4", Georgia, serif; font-size: 18px; line-height: 1.5; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.fb-asked { font-family: "Source Serif", "Source Serif 4", Georgia, serif; color: var(--soft); padding-left: 12px;
  border-left: 3px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
.fb-card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; height: 100%; }
.fb-two { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; margin: 8px 0 20px; }
@media (max-width: 760px) { .fb-way { grid-template-columns: repeat(2, 1fr); } .fb-two { grid-template-columns: 1fr; } }
</style>"""


class Step(NamedTuple):
    """One station of the loop's strip."""

    title: str
    number: int
    words: str
    waiting: bool = False


def html(body: str) -> None:
    """Draws a fragment of our own; the caller has escaped what is not ours."""
    st.html(f'<div class="fb">{body}</div>')


def heading(title: str, under: str = "") -> None:
    """The page's title in the sans, with one soft line under it."""
    st.html(STYLE)
    st.title(title, anchor=False)
    if under:
        html(f'<div class="soft">{escape(under)}</div>')


def strip(steps: Sequence[Step]) -> None:
    """The loop from left to right."""
    html(
        '<div class="fb-way">'
        + "".join(
            f'<div class="fb-step{" wait" if step.waiting else ""}"><div class="t">{escape(step.title)}</div>'
            f'<div class="n">{step.number:,}</div><div class="d">{escape(step.words)}</div></div>'
            for step in steps
        )
        + "</div>"
    )


def pill(words: str, tone: Tone = "plain") -> str:
    """A small label, as HTML."""
    return f'<span class="fb-pill {tone if tone != "plain" else ""}">{escape(words)}</span>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = ()) -> None:
    """A quiet table of HTML cells; the caller escapes."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f'<td class="{"num" if place in numeric else ""}">{cell}</td>' for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    html(f'<table class="fb-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def asked(messages: Sequence[dict[str, str]]) -> str:
    """A prompt, as HTML: its last turn, with a note on earlier ones."""
    earlier = f'<div class="small soft">{len(messages) - 1} earlier turns</div>' if len(messages) > 1 else ""
    return f'{earlier}<div class="fb-asked" dir="auto">{escape(messages[-1]["content"])}</div>'


def quote(text: str) -> str:
    """A model's words, as HTML."""
    return f'<div class="fb-quote" dir="auto">{escape(text.strip()) or "<i>(nothing)</i>"}</div>'


def side_by_side(left: tuple[str, str], right: tuple[str, str]) -> None:
    """Two cards, each (label, HTML)."""
    cards = "".join(
        f'<div class="fb-card"><div class="small soft">{escape(label)}</div>{body}</div>' for label, body in (left, right)
    )
    html(f'<div class="fb-two">{cards}</div>')


def day(moment: datetime | None) -> str:
    """A day as people write it: 14 November."""
    return "never" if moment is None else f"{moment.astimezone():%-d %B}"


def clock(moment: datetime | None) -> str:
    """Day and time."""
    return "" if moment is None else f"{moment.astimezone():%-d %b, %H:%M}"


def verdict_pill(verdict: str | None) -> str:
    """The gate's word as a pill."""
    shown: dict[str | None, tuple[str, Tone]] = {
        "pass": ("passed the gate", "ok"),
        "fail": ("stopped by the gate", "flag"),
        "not_enough_data": ("not enough data yet", "plain"),
        None: ("not evaluated", "plain"),
    }
    return pill(*shown.get(verdict, (str(verdict), "plain")))


def state_pill(state: str) -> str:
    """A run's state as a pill."""
    tone: Tone = "ok" if state == "succeeded" else "flag" if state in ("failed", "cancelled") else "plain"
    return pill(state, tone)


def figure_rows(figures: dict[str, Any]) -> list[list[str]]:
    """An evaluation's figures as table rows: name, base, candidate, change with interval, n."""
    rows = []
    for name, figure in figures.items():
        change = (
            "not enough data"
            if figure.get("low") is None
            else f"{_number(figure['change'])} ({_number(figure['low'])} to {_number(figure['high'])})"
        )
        rows.append(
            [
                escape(figure.get("words") or name.replace("_", " ")),
                _number(figure.get("base")),
                _number(figure.get("candidate")),
                change,
                str(figure.get("n", "")),
            ]
        )
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
