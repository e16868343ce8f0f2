"""An evaluation's figures in words: names, levels, changes, whether a change is good; and their table. Knows no store."""

from html import escape
from typing import Any
from urllib.parse import quote_plus

from flagback.review_app import words
from flagback.review_app.screens import look
from flagback.review_app.words import signs, tr, trc, trn
from flagback.storage.invisible import visible


def _names() -> dict[str, str]:
    """What a figure is called in a table; the rest say it themselves."""
    return {
        "flag_rate": tr("Flagged in blind review"),
        "flag_rate_by_group": tr("Flagged, group by group"),
        "preference_accuracy": tr("Prefers what people preferred"),
        "preference_accuracy_per_token": tr("Prefers what people preferred, per token"),
        "logp_chosen": tr("Log-probability of good answers"),
        "logp_chosen_per_token": tr("Log-probability of good answers, per token"),
        "counterfactual_gap": tr("Gap between groups"),
        "counterfactual_reversal": tr("Bias turned round"),
        "length": tr("Length of an answer"),
        "empty_rate": tr("Empty answers"),
        "refusal_rate": tr("Answers that refuse"),
        "repeated_share": tr("Repetition within an answer"),
        "distinct_1": tr("Variety of words (distinct-1)"),
        "distinct_2": tr("Variety of wording (distinct-2)"),
        "shared_noise": tr("What the shared noise leaves of chance"),
    }


def name_of(metric: str) -> str:
    """A figure's name as people say it."""
    kind, _, of = metric.partition(":")
    if kind == "perplexity":
        return tr("Perplexity, texts “{texts}”", texts=of)
    if kind == "kl_to_base":
        return tr("Distance to the base, texts “{texts}”", texts=of)
    if kind == "counterfactual_gap" and of:
        return tr("Gap between groups: {groups}", groups=of.replace("_", " "))
    if kind == "flag_rate" and of:
        groups = trc("between groups", " and ").join(part.partition("=")[2] for part in of.split(","))
        return tr("Flagged on prompts about {groups}", groups=groups)
    return _names().get(metric, metric.replace("_", " "))


def table_of(figures: dict[str, Any], base_id: int, candidate_id: int) -> None:
    """An evaluation's figures; each name opens the texts behind it on Compare."""
    rows = []
    for metric, figure in figures.items():
        name = look.link(f"/compare?version={candidate_id}&figure={quote_plus(metric)}", name_of(metric))
        rows.append(
            [
                f'<span title="{escape(visible(str(figure.get("words", ""))))}">{name}</span>',
                level(figure.get("base"), figure),
                level(figure.get("candidate"), figure),
                change_of(figure),
                judged(figure),
                _least(figure),
                words.number(figure.get("n", 0)),
            ]
        )
    header = [
        "",
        tr("version {number}", number=base_id),
        tr("version {number}", number=candidate_id),
        tr("change (95 % interval)"),
        "",
        tr("would show from"),
        "n",
    ]
    look.table(header, rows, numeric=(1, 2, 5, 6), stacked=True)


def level(value: float | None, figure: dict[str, Any]) -> str:
    """One side's level in the figure's unit."""
    if value is None:
        return "–"
    return signs(f"{value:.1%}".replace("%", " %")) if figure.get("unit") == "share" else _number(value)


def change_of(figure: dict[str, Any]) -> str:
    """The change with its interval, or that there are too few data to say."""
    if figure.get("change") is None or figure.get("low") is None:
        none = tr("too few for an interval") if figure.get("n") else tr("nothing measured yet")
        return f'<span class="soft">{none}</span>'
    change, low, high = (change_number(figure[name], figure) for name in ("change", "low", "high"))
    return f'{change} <span class="soft">({tr("{low} to {high}", low=low, high=high)})</span>'


def change_number(value: float, figure: dict[str, Any]) -> str:
    """A change in points, per cent or the figure's unit, with its sign."""
    if figure.get("scale") == "ratio":
        return _signed(f"{(value - 1) * 100:+.1f} %")
    if figure.get("unit") == "share":
        return tr("{number} pts", number=_signed(f"{value * 100:+.1f}"))
    return _signed(f"{value:+.3g}")


def _least(figure: dict[str, Any]) -> str:
    """The smallest change that these data would show; empty where that is not known."""
    least = figure.get("detectable")
    if least is None:
        return ""
    if figure.get("scale") == "ratio":
        return signs(f"{(least - 1) * 100:.1f} %")
    return (
        tr("{number} points", number=signs(f"{least * 100:.1f}"))
        if figure.get("unit") == "share"
        else f"{signs(f'{least:.2g}')} {figure.get('unit', '')}".rstrip()
    )


def would_show(figure: dict[str, Any]) -> str:
    """What these data could have shown at all: "With 60 items only changes above 11 points would show"."""
    size = _least(figure)
    if not size or not figure.get("n"):
        return ""
    if figure.get("clusters") in (None, figure["n"]):
        return trn(
            "With {count} item only changes above {size} would show.",
            "With {count} items only changes above {size} would show.",
            figure["n"],
            size=size,
        )
    return trn(
        "With {count} item in {families} families only changes above {size} would show.",
        "With {count} items in {families} families only changes above {size} would show.",
        figure["n"],
        families=words.number(figure["clusters"]),
        size=size,
    )


def judged(figure: dict[str, Any]) -> str:
    """Better or worse where the interval leaves no change out, as a pill; else no clear change.

    A distance to the base is above 0 after every correction, and the shared noise is no doing of the candidate: neither is judged.
    """
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None or str(figure.get("metric", "")).partition(":")[0] in ("kl_to_base", "shared_noise"):
        return ""
    none = 1.0 if figure.get("scale") == "ratio" else 0.0
    if low <= none <= high:
        return f'<span class="soft small">{tr("no clear change")}</span>'
    if figure.get("better") == "same":
        return look.pill(tr("changed"))
    return look.pill(tr("better"), "ok") if (high < none) == (figure.get("better") == "lower") else look.pill(tr("worse"), "flag")


def _number(value: float) -> str:
    return _signed(f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}")


def _signed(number: str) -> str:
    """A true minus, and no sign on what rounds to nothing."""
    digits = number.strip("+-% ptsx").replace(".", "").replace("0", "").replace(",", "")
    return signs(number.lstrip("+-") if not digits else number.replace("-", "−", 1))
