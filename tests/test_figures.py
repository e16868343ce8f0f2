"""Claims about figures: the words beside them are the numbers', in the figure's own unit."""

from dataclasses import replace

from flagback.model.figures import Figure, detectable_words

FIGURE = Figure(
    metric="pct_stereotype",
    words="",
    unit="share",
    scale="difference",
    better="lower",
    base=0.6,
    candidate=0.5,
    change=-0.1,
    low=-0.2,
    high=0.0,
    n=60,
    clusters=60,
    detectable=0.114,
)


def test_the_smallest_change_that_would_show_is_told_in_the_figures_unit() -> None:
    assert detectable_words(FIGURE) == "With 60 items only changes above 11 points would show."
    assert detectable_words(replace(FIGURE, clusters=22, detectable=0.0334)) == (
        "With 60 items in 22 clusters only changes above 3.3 points would show."
    )
    assert (
        detectable_words(replace(FIGURE, scale="ratio", detectable=1.052)) == "With 60 items only changes above 5.2 % would show."
    )
    assert (
        detectable_words(replace(FIGURE, unit="nats", detectable=0.31)) == "With 60 items only changes above 0.31 nats would show."
    )


def test_without_an_interval_nothing_would_show_and_equal_results_tell_nothing() -> None:
    assert detectable_words(replace(FIGURE, n=7, clusters=7, detectable=None)) == (
        "With 7 items no change would show: too few for an interval."
    )
    assert "nothing differs at all" in detectable_words(replace(FIGURE, detectable=0.0))
