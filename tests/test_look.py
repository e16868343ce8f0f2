"""Claims about figures in a table: their names, and which of them are called better or worse."""

from typing import Any

from flagback.review_app.screens import figure_words


def _figure(metric: str, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "low": 0.1, "high": 0.3, "better": "lower", "scale": "difference", **more}


def test_a_change_beyond_its_interval_is_better_or_worse_by_its_direction() -> None:
    assert "worse" in figure_words.judged(_figure("flag_rate"))
    assert "better" in figure_words.judged(_figure("distinct_2", better="higher"))
    assert "no clear change" in figure_words.judged(_figure("flag_rate", low=-0.1))
    assert figure_words.judged(_figure("flag_rate", low=None)) == ""


def test_a_distance_and_the_noise_are_neither_better_nor_worse() -> None:
    assert figure_words.judged(_figure("kl_to_base:neutral")) == ""
    assert figure_words.judged(_figure("shared_noise", scale="ratio")) == ""


def test_figures_have_names_for_people() -> None:
    assert figure_words.name_of("kl_to_base:neutral") == "Distance to the base, texts “neutral”"
    assert figure_words.name_of("perplexity:unflagged") == "Perplexity, texts “unflagged”"
    assert figure_words.name_of("shared_noise") == "What the shared noise leaves of chance"
