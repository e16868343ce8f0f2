"""Claims about figures in a table: their names, and which of them are called better or worse."""

from typing import Any

from flagback.review_app.screens import look


def _figure(metric: str, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "low": 0.1, "high": 0.3, "better": "lower", "scale": "difference", **more}


def test_a_change_beyond_its_interval_is_better_or_worse_by_its_direction() -> None:
    assert "worse" in look.judged_pill(_figure("flag_rate"))
    assert "better" in look.judged_pill(_figure("distinct_2", better="higher"))
    assert "no clear change" in look.judged_pill(_figure("flag_rate", low=-0.1))
    assert look.judged_pill(_figure("flag_rate", low=None)) == ""


def test_a_distance_and_the_noise_are_neither_better_nor_worse() -> None:
    assert look.judged_pill(_figure("kl_to_base:neutral")) == ""
    assert look.judged_pill(_figure("shared_noise", scale="ratio")) == ""


def test_figures_have_names_for_people() -> None:
    assert look.figure_name("kl_to_base:neutral") == "Distance to the base, texts “neutral”"
    assert look.figure_name("perplexity:unflagged") == "Perplexity, texts “unflagged”"
    assert look.figure_name("shared_noise") == "What the shared noise leaves of chance"
