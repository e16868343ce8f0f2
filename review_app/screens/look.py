"""What the maintainer's screens share: cards, number strips, pills, figures in words. Draws; knows neither the store nor the loop.

Everything that comes from outside goes through `marked` (escaped, hidden characters named by signs): a model's words by `quote`, a
prompt's by `asked`, names and reasons by `quiet`, messages by `said`. Never through Streamlit's own Markdown.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any, Literal, NamedTuple
from urllib.parse import quote_plus

import streamlit as st

from flagback.storage.invisible import BLANKS, pieces, visible

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
.fb-card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; height: 100%; }
.fb-argument { padding: 8px 0; overflow-wrap: anywhere; } .fb-argument + .fb-argument { border-top: 1px solid var(--line); }
.fb-marked { text-decoration: underline; text-decoration-color: var(--flag); text-decoration-thickness: 2px;
  text-underline-offset: 3px; }
.fb-range { position: relative; height: 8px; min-width: 96px; margin: 7px 4px 3px 0; border-radius: 4px; background: var(--line); }
.fb-range i { position: absolute; top: 2px; height: 4px; border-radius: 2px; background: var(--accent); opacity: .45; }
.fb-range b { position: absolute; top: 0; width: 8px; height: 8px; margin-left: -4px; border-radius: 50%;
  background: var(--accent); }
.fb-two { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; margin: 8px 0 16px; }
@media (max-width: 760px) {
  .fb-way { grid-template-columns: repeat(2, 1fr); } .fb-step { border-bottom: 1px solid var(--line); }
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


def html(body: str) -> None:
    """Draws a fragment of our own; the caller has escaped what is not ours."""
    st.html(f'<div class="fb">{body}</div>')


def marked(text: str) -> str:
    """A text from outside as HTML: escaped, hidden characters named by signs.

    The character itself stays in the sign without a size, so that what is copied is the text; the name is drawn by the style sheet.
    """
    return "".join(
        escape(text[piece.start : piece.end])
        if piece.sign is None
        else f'<span class="fb-sign" data-sign="{escape(piece.sign)}" title="Hidden here: {escape(piece.words)}">'
        f"{_STRAY.sub(_kept, text[piece.start : piece.end])}</span>"
        for piece in pieces(text)
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
    earlier = f'<div class="small soft">{len(messages) - 1} earlier turns</div>' if len(messages) > 1 else ""
    return f'{earlier}<div class="fb-asked" dir="auto">{_long(messages[-1]["content"])}</div>'


def quote(text: str) -> str:
    """A model's words, as HTML."""
    return f'<div class="fb-quote" dir="auto">{_long(text.strip(BLANKS)) or "<i>(nothing)</i>"}</div>'


def quiet(words: str) -> str:
    """A name, a reason or other words from outside, as HTML: apart from the words around them in either direction of writing."""
    return f"<bdi>{marked(words if len(words) <= LONGEST_NAME else words[: LONGEST_NAME - 1] + '…')}</bdi>"


def _long(text: str) -> str:
    """A text as HTML, or the first part of a very long one and how long the whole is."""
    part = "\n".join(text[:LONGEST_SHOWN].split("\n")[:MOST_LINES])
    if len(part) == len(text):
        return marked(text)
    return f'{marked(part)}…<div class="small soft" dir="ltr">The first {len(part):,} of {len(text):,} characters are shown.</div>'


def side_by_side(left: tuple[str, str], right: tuple[str, str]) -> None:
    """Two cards, each (label, HTML)."""
    cards = "".join(
        f'<div class="fb-card"><div class="small soft">{marked(label)}</div>{body}</div>' for label, body in (left, right)
    )
    html(f'<div class="fb-two">{cards}</div>')


def day(moment: datetime | None) -> str:
    """A day as people write it: 14 November."""
    return "never" if moment is None else f"{moment.astimezone():%-d %B}"


def clock(moment: datetime | None) -> str:
    """Day and time."""
    return "" if moment is None else f"{moment.astimezone():%-d %b, %H:%M}"


def seconds(amount: float) -> str:
    """A span of time as people say it."""
    if amount < 90:
        return f"about {max(1, round(amount))} s"
    return f"about {round(amount / 60)} minutes"


def stage(words: str) -> str:
    """What a worker is doing, in words."""
    return {
        "freeze": "gathering the pairs",
        "train": "getting ready to learn",
        "register": "keeping the new version",
        "explain": "looking at what became of every pair",
        "evaluate": "asking for the evaluation",
        "blind samples": "both versions answer held-out prompts",
        "published tests": "both versions take the published tests",
        "measure": "measuring and comparing",
        "done": "done",
    }.get(words, words)


def verdict_pill(verdict: str | None) -> str:
    """The gate's word as a pill."""
    shown: dict[str | None, tuple[str, Tone]] = {
        "pass": ("passed the gate", "ok"),
        "fail": ("stopped by the gate", "flag"),
        "not_enough_data": ("not enough data yet", "flag"),
        None: ("not evaluated", "plain"),
    }
    return pill(*shown.get(verdict, (str(verdict), "plain")))


def state_pill(state: str) -> str:
    """A run's state as a pill."""
    tone: Tone = "ok" if state == "succeeded" else "flag" if state in ("failed", "cancelled") else "plain"
    return pill({"succeeded": "done", "cancelled": "stopped by hand"}.get(state, state), tone)


#: What a figure is called in a table; the rest say it themselves.
_NAMES = {
    "flag_rate": "Flagged in blind review",
    "flag_rate_by_group": "Flagged, group by group",
    "preference_accuracy": "Prefers what people preferred",
    "preference_accuracy_per_token": "Prefers what people preferred, per token",  # nosec B105 # the name of a figure
    "logp_chosen": "Log-probability of good answers",
    "logp_chosen_per_token": "Log-probability of good answers, per token",  # nosec B105 # the name of a figure
    "counterfactual_gap": "Gap between groups",
    "counterfactual_reversal": "Bias turned round",
    "length": "Length of an answer",
    "empty_rate": "Empty answers",
    "refusal_rate": "Answers that refuse",
    "repeated_share": "Repetition within an answer",
    "distinct_1": "Variety of words (distinct-1)",
    "distinct_2": "Variety of wording (distinct-2)",
    "shared_noise": "What the shared noise leaves of chance",
}


def figure_name(metric: str) -> str:
    """A figure's name as people say it."""
    kind, _, of = metric.partition(":")
    if kind == "perplexity":
        return f"Perplexity, texts “{of}”"
    if kind == "kl_to_base":
        return f"Distance to the base, texts “{of}”"
    if kind == "counterfactual_gap" and of:
        return f"Gap between groups: {of.replace('_', ' ')}"
    if kind == "flag_rate" and of:
        return f"Flagged on prompts about {' and '.join(part.partition('=')[2] for part in of.split(','))}"
    return _NAMES.get(metric, metric.replace("_", " "))


def figures_table(figures: dict[str, Any], base_id: int, candidate_id: int) -> None:
    """An evaluation's figures; each name opens the texts behind it on Compare."""
    rows = []
    for metric, figure in figures.items():
        name = link(f"/compare?version={candidate_id}&figure={quote_plus(metric)}", figure_name(metric))
        rows.append(
            [
                f'<span title="{escape(visible(str(figure.get("words", ""))))}">{name}</span>',
                level(figure.get("base"), figure),
                level(figure.get("candidate"), figure),
                change_words(figure),
                judged_pill(figure),
                _least(figure),
                f"{figure.get('n', 0):,}",
            ]
        )
    header = ["", f"version {base_id}", f"version {candidate_id}", "change (95 % interval)", "", "would show from", "n"]
    table(header, rows, numeric=(1, 2, 5, 6))


def level(value: float | None, figure: dict[str, Any]) -> str:
    """One side's level in the figure's unit."""
    if value is None:
        return "–"
    return f"{value:.1%}".replace("%", " %") if figure.get("unit") == "share" else _number(value)


def change_words(figure: dict[str, Any]) -> str:
    """The change with its interval, or that there are too few data to say."""
    if figure.get("change") is None or figure.get("low") is None:
        return f'<span class="soft">{"too few for an interval" if figure.get("n") else "nothing measured yet"}</span>'
    change, low, high = (change_number(figure[name], figure) for name in ("change", "low", "high"))
    return f'{change} <span class="soft">({low} to {high})</span>'


def change_number(value: float, figure: dict[str, Any]) -> str:
    """A change in points, per cent or the figure's unit, with its sign."""
    if figure.get("scale") == "ratio":
        return _signed(f"{(value - 1) * 100:+.1f} %")
    if figure.get("unit") == "share":
        return _signed(f"{value * 100:+.1f} pts")
    return _signed(f"{value:+.3g}")


def _least(figure: dict[str, Any]) -> str:
    """The smallest change that these data would show; empty where that is not known."""
    least = figure.get("detectable")
    if least is None:
        return ""
    if figure.get("scale") == "ratio":
        return f"{(least - 1) * 100:.1f} %"
    return f"{least * 100:.1f} points" if figure.get("unit") == "share" else f"{least:.2g} {figure.get('unit', '')}".rstrip()


def would_show(figure: dict[str, Any]) -> str:
    """What these data could have shown at all: "With 60 items only changes above 11 points would show"."""
    size = _least(figure)
    if not size or not figure.get("n"):
        return ""
    items = f"{figure['n']:,} items" + (
        f" in {figure['clusters']:,} families" if figure.get("clusters") not in (None, figure["n"]) else ""
    )
    return f"With {items} only changes above {size} would show."


def judged_pill(figure: dict[str, Any]) -> str:
    """Better or worse where the interval leaves no change out, as a pill; else no clear change.

    A distance to the base is above 0 after every correction, and the shared noise is no doing of the candidate: neither is judged.
    """
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None or str(figure.get("metric", "")).partition(":")[0] in ("kl_to_base", "shared_noise"):
        return ""
    none = 1.0 if figure.get("scale") == "ratio" else 0.0
    if low <= none <= high:
        return '<span class="soft small">no clear change</span>'
    if figure.get("better") == "same":
        return pill("changed")
    return pill("better", "ok") if (high < none) == (figure.get("better") == "lower") else pill("worse", "flag")


def _number(value: float) -> str:
    return _signed(f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}")


def _signed(number: str) -> str:
    """A true minus, and no sign on what rounds to nothing."""
    digits = number.strip("+-% ptsx").replace(".", "").replace("0", "").replace(",", "")
    return number.lstrip("+-") if not digits else number.replace("-", "−", 1)
