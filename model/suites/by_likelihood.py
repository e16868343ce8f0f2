"""BBQ and StereoSet put to a model: the options' likelihoods become answers, and those the papers' figures.

Knows the two suites' own modules and the form that every suite put to a model has; the definitions are theirs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flagback.model.suites import bbq, stereoset
from flagback.model.suites.suite import Form, Item, Likelihood, Measures, Metric, Text


class Bbq:
    """BBQ by the likeliest of the three options as they are written, after the context and the question."""

    NAME, PAPER, LICENCE, SOURCE, WEAKNESSES = bbq.NAME, bbq.PAPER, bbq.LICENCE, bbq.SOURCE, bbq.WEAKNESSES
    FILES: tuple[str, ...] = ("*.jsonl", "*.jsonl.gz")
    METRICS: Mapping[Form, Mapping[str, Metric]] = {
        "causal": {
            "accuracy_ambiguous": Metric("Share of ambiguous contexts answered with UNKNOWN", "share", "higher", "whole"),
            "accuracy_disambiguated": Metric("Share of disambiguated contexts answered rightly", "share", "higher", "whole"),
            "s_ambiguous": Metric("Bias score in ambiguous contexts, (1 - accuracy) * s; 0 is none", "score", "same", "whole"),
            "s_disambiguated": Metric("Bias score in disambiguated contexts, -1 to 1; 0 is none", "score", "same", "whole"),
            "accuracy_cost": Metric("Accuracy cost of an answer that goes against the bias", "share", "same", "whole"),
        }
    }

    def read(self, path: Path) -> list[Item]:
        """The items of one category's file; several may be concatenated."""
        return [
            Item(
                f"{item.key[0]}:{item.key[1]}",
                f"{item.key[0]}:{item.template}",
                {"category": item.key[0]} | ({} if item.label is None else {"label": item.label}),
                {"item": item},
            )
            for item in bbq.read(path)
        ]

    def texts(self, item: Item, _form: Form) -> list[Text]:
        """Context and question, then each option."""
        return [Text(before, answer) for before, answer in bbq.texts([item.facts["item"]])]

    def score(self, _item: Item, found: Sequence[Likelihood], _form: Form) -> Measures:
        """Which option is the likeliest (0, 1, 2); None where two are alike."""
        chosen = bbq.choose([one.logp for one in found])
        return {"chosen": None if chosen is None else float(chosen)}

    def aggregate(self, items: Sequence[Item], scored: Sequence[Measures], form: Form) -> dict[str, float | None]:
        """The paper's figures over these items."""
        known: list[bbq.Item] = [item.facts["item"] for item in items]
        answers = [measures["chosen"] for measures in scored]
        chosen = {item.key: None if answer is None else int(answer) for item, answer in zip(known, answers, strict=True)}
        figures = bbq.overall(known, chosen)._asdict()
        return {name: figures[name] for name in self.METRICS[form]}


class StereoSet:
    """StereoSet by the mean log-probability a token of its three sentences."""

    NAME, PAPER, LICENCE = stereoset.NAME, stereoset.PAPER, stereoset.LICENCE
    SOURCE, WEAKNESSES = stereoset.SOURCE, stereoset.WEAKNESSES
    FILES: tuple[str, ...] = ("dev.json",)
    METRICS: Mapping[Form, Mapping[str, Metric]] = {
        "causal": {
            "lms": Metric("Meaningful sentences preferred to the unrelated one; ideal 100", "per cent", "higher", "whole"),
            "ss": Metric("Stereotype preferred to the anti-stereotype; ideal 50", "per cent", "same", "whole"),
            "icat": Metric(
                "lms * min(ss, 100 - ss) / 50, of the means over target terms; ideal 100", "per cent", "higher", "whole"
            ),
        }
    }

    def read(self, path: Path) -> list[Item]:
        """The items of data/dev.json."""
        return [
            Item(item.id, item.target, {"bias_type": item.bias, "kind": item.kind}, {"item": item}) for item in stereoset.read(path)
        ]

    def texts(self, item: Item, _form: Form) -> list[Text]:
        """Stereotype, anti-stereotype, unrelated."""
        return [Text(before, sentence) for before, sentence in stereoset.texts([item.facts["item"]])]

    def score(self, _item: Item, found: Sequence[Likelihood], _form: Form) -> Measures:
        """The three sentences' scores, as the repository scores GPT-2."""
        names = ("stereotype", "anti_stereotype", "unrelated")
        return {name: stereoset.score(one.logp, one.tokens) for name, one in zip(names, found, strict=True)}

    def aggregate(self, items: Sequence[Item], scored: Sequence[Measures], form: Form) -> dict[str, float | None]:
        """lms, ss and icat over these items."""
        known: list[stereoset.Item] = [item.facts["item"] for item in items]
        scores = {
            sentence.id: _defined(measures[name])
            for item, measures in zip(known, scored, strict=True)
            for name, sentence in (
                ("stereotype", item.stereotype),
                ("anti_stereotype", item.anti_stereotype),
                ("unrelated", item.unrelated),
            )
        }
        figures = stereoset.overall(known, scores)._asdict()
        return {name: figures[name] for name in self.METRICS[form]}


def _defined(score: float | None) -> float:
    """StereoSet's scores always are; the aggregate refuses what is not a number."""
    return float("nan") if score is None else score
