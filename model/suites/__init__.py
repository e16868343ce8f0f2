"""The suites: published tests of bias, one file each, a user's own pairs, and what this installation measures itself."""

from flagback.model.suites import counterfactual, crows_pairs, custom, harness, own, winobias, winogender
from flagback.model.suites.bold import Bold
from flagback.model.suites.by_likelihood import Bbq, StereoSet
from flagback.model.suites.descriptors import Descriptors
from flagback.model.suites.suite import Described, ScoringSuite, WritingSuite

#: Suites that are put to a model, by the name that follows --suite; `custom.Pairs` is one more, made from a user's columns.
SUITES: dict[str, ScoringSuite | WritingSuite] = {
    suite.NAME: suite
    for suite in (
        crows_pairs,
        winogender,
        winobias,
        Bbq(),
        StereoSet(),
        Bold(),
        counterfactual,
        Descriptors("en"),
        Descriptors("es"),
    )
}
#: What every evaluation of a candidate measures by itself: `--suite NAME` shows it.
OWN: dict[str, own.Measured] = {one.NAME: one for one in (own.HARM_RATE, own.HELD_OUT)}
#: Everything that `flagback suites list` shows.
LISTED: dict[str, Described] = {**SUITES, custom.NAME: custom, harness.NAME: harness, **OWN}
