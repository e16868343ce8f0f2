"""The suites: published tests of bias, one file each, and a user's own pairs."""

from flagback.model.suites import crows_pairs, custom, winobias, winogender
from flagback.model.suites.by_likelihood import Bbq, StereoSet
from flagback.model.suites.suite import Described, Suite

#: Suites whose texts a model scores, by the name that follows --suite; `custom.Pairs` is one more, made from a user's columns.
SUITES: dict[str, Suite] = {suite.NAME: suite for suite in (crows_pairs, winogender, winobias, Bbq(), StereoSet())}
#: Everything that `flagback suites` lists.
LISTED: dict[str, Described] = {**SUITES, custom.NAME: custom}
