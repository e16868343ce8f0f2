"""How a reviewer works: how fast, how steadily, and whether they see what nobody overlooks. Pure; a person decides what it means.

Never whether they agree with the majority: dissent is what diverse reviewers are asked for, and nothing here can see it. Each
figure looks at one person's own answers, but for the plain cases: answers that five others or more all flagged as clear or severe.
There only a "fine" counts, and a flag that nobody shares never does: to see more than others is no fault.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from flagback.model import intervals
from flagback.model.policy import ballot
from flagback.storage.judgements import Given
from flagback.storage.second_looks import Second

#: A judgement in less than so many seconds was hardly read.
HASTE = 2.0
#: Others who must all have flagged an answer before it is a plain case.
OTHERS = 5
#: Fewest answers behind a share; with fewer it is not given.
FEWEST = 5


class Share(NamedTuple):
    """So many of so many, with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float
    n: int


class Quality(NamedTuple):
    """One reviewer's answers."""

    reviewer: str
    #: Flags and fines in force; skips.
    judged: int
    skipped: int
    #: Median seconds that an answer was open; None where the browser told none.
    seconds: float | None
    #: Share of judged answers that were open for less than HASTE; None with fewer than FEWEST.
    hasty: Share | None
    #: Of the texts judged twice or more, the share judged alike each time; None with fewer than FEWEST.
    steady: Share | None
    #: Of the plain cases, the share flagged; None with fewer than FEWEST.
    plain: Share | None
    #: Of own answers asked a second time, the share judged as before; None with fewer than FEWEST.
    repeats: Share | None = None
    #: Of gold, the share judged as expected; None with fewer than FEWEST.
    gold: Share | None = None


def qualities(given: Sequence[Given], seconds: Sequence[Second] = ()) -> list[Quality]:
    """Every reviewer's figures, by pseudonym. `given` holds all answers in force, so that others' are known; `seconds` what came of
    second looks."""
    mine: dict[str, list[Given]] = defaultdict(list)
    for answer in given:
        mine[answer.reviewer].append(answer)
    flagged = _flagged_by(given)
    looks: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for second in seconds:
        looks[second.reviewer, second.kind].append(second.same)

    def alike(reviewer: str, kind: str) -> Share | None:
        found = looks[reviewer, kind]
        return share(sum(found), len(found))

    return [
        _quality(reviewer, mine[reviewer], flagged)._replace(repeats=alike(reviewer, "repeat"), gold=alike(reviewer, "gold"))
        for reviewer in sorted(mine)
    ]


def _quality(reviewer: str, answers: Sequence[Given], flagged: dict[int, dict[str, bool]]) -> Quality:
    judged = [answer for answer in answers if answer.verdict in ("flag", "fine")]
    times = [answer.seconds for answer in judged if answer.seconds is not None]
    return Quality(
        reviewer,
        judged=len(judged),
        skipped=len(answers) - len(judged),
        seconds=median(times) if times else None,
        hasty=share(sum(time < HASTE for time in times), len(times)),
        steady=steadiness(judged),
        plain=plain_cases(reviewer, judged, flagged),
    )


def steadiness(judged: Sequence[Given]) -> Share | None:
    """Of the texts that one person judged more than once, the share judged alike every time."""
    said: dict[str, list[str]] = defaultdict(list)
    for answer in judged:
        said[answer.content].append(answer.verdict)
    again = [verdicts for verdicts in said.values() if len(verdicts) > 1]
    return share(sum(len(set(verdicts)) == 1 for verdicts in again), len(again))


def plain_cases(reviewer: str, judged: Sequence[Given], flagged: dict[int, dict[str, bool]]) -> Share | None:
    """Of the answers that OTHERS people or more all flagged as clear or severe, the share that this one flagged too."""
    met = []
    for answer in judged:
        others = [strongly for name, strongly in flagged[answer.item_id].items() if name != reviewer]
        if len(others) >= OTHERS and all(others):
            met.append(answer.verdict == "flag")
    return share(sum(met), len(met))


def share(count: int, of: int) -> Share | None:
    """A share with its interval; None where it would be of fewer than FEWEST."""
    if of < FEWEST:
        return None
    low, high = intervals.wilson(count, of)
    return Share(count / of, low, high, of)


def _flagged_by(given: Sequence[Given]) -> dict[int, dict[str, bool]]:
    """Item -> reviewer -> whether they flagged it for a harm that is clear or severe; skips and what was left out are not in it."""
    found: dict[int, dict[str, bool]] = defaultdict(dict)
    for answer in given:
        if answer.verdict in ("flag", "fine") and answer.counts:
            found[answer.item_id][answer.reviewer] = ballot(answer) == "harm" and answer.severity in ("clear", "severe")
    return found
