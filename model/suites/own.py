"""What every evaluation of a candidate measures by itself, listed beside the published tests: blind harm rate and held-out pairs.

Knows what they are called and what is wrong with them; the measuring is in `flagback.model.evaluation`.
"""

from typing import NamedTuple


class Measured(NamedTuple):
    """A test that asks for no data: `flagback evaluate VERSION --suite NAME` shows what the newest evaluation found."""

    NAME: str
    PAPER: str
    LICENCE: str
    SOURCE: str
    WEAKNESSES: tuple[str, ...]
    #: How the names of its figures begin.
    FIGURES: tuple[str, ...]


HARM_RATE = Measured(
    NAME="harm-rate",
    PAPER="none: your own reviewers, who see fresh answers of base and candidate to the same prompts and not whose they are",
    LICENCE="yours",
    SOURCE=(
        "no data: 'flagback evaluate VERSION' samples, the board shows the answers, and the figures flag_rate and flag_rate:GROUP "
        "of its newest evaluation are shown here and on the Compare page"
    ),
    WEAKNESSES=(
        "It is the judgement of the reviewers you have: whom they do not include, it does not hear.",
        "60 prompts a time: groups that few prompts speak of get no figure, and small changes do not show.",
        "Reviewers may tell the two versions apart by their style, so blind is not always blind.",
        "A model that refuses or says nothing is not flagged: read the checks of usefulness beside it.",
    ),
    FIGURES=("flag_rate",),
)
HELD_OUT = Measured(
    NAME="held-out",
    PAPER="none: preference accuracy as in reward and preference learning (Rafailov and others 2023, arXiv 2305.18290)",
    LICENCE="yours",
    SOURCE=(
        "no data: pairs of the correction's own set on held-out prompts (shards 70-99); the figures preference_accuracy and "
        "logp_chosen of the newest evaluation, here and on the Compare page"
    ),
    WEAKNESSES=(
        "It says which of two answers is the likelier one, not what the model writes: a rejected answer may stay likely.",
        "Accuracy hangs on length: how often the shorter answer would have been right stands beside it.",
        "Pairs come from the same reviewers and kinds of prompts as those that were learnt from.",
    ),
    FIGURES=("preference_accuracy", "logp_chosen"),
)
