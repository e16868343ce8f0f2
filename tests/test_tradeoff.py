"""The trade-off curve is of evaluations that exist, and marks what none beats."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml  # nosec B405 # of what was made here

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagback.review_app import monitoring
from flagback.review_app.tradeoff import Point, marked, picture, points
from flagback.storage.records import CorrectionRun, Evaluation, ModelVersion
from flagback.storage.store import Store
from tests.command_line import Run
from tests.gallery import recipes
from tests.test_cli import home, run  # noqa: F401 # fixtures
from tests.test_monitoring import version

shares = st.floats(0, 1).map(lambda value: round(value, 2))


def point(version: int, harm: float, utility: float, worst: float, parent: int = 1) -> Point:
    return Point(version, parent, harm, 0.6, utility, worst, "age=old", "", False)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(shares, shares, shares), max_size=9))
def test_whatever_is_not_marked_is_beaten_by_something_marked(rows: list[tuple[float, float, float]]) -> None:
    found = marked([point(number, *row) for number, row in enumerate(rows)])
    best = [(one.harm, one.utility, one.worst_harm) for one in found if one.best]
    for one in found:
        mine = (one.harm, one.utility, one.worst_harm)
        beaten = any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in best)
        assert beaten is not one.best


def test_versions_of_other_parents_are_not_beaten_by_one_another() -> None:
    found = marked([point(2, 0.1, 1.0, 0.1), point(3, 0.3, 1.2, 0.4, parent=2)])
    assert [one.best for one in found] == [True, True]


def figures(harm: float, ratio: float | None, **groups: float) -> dict[str, Any]:
    found: dict[str, Any] = {"flag_rate": {"base": 0.6, "candidate": harm}, "perplexity:neutral": {"change": ratio}}
    return found | {f"flag_rate:{name.replace('__', '=')}": {"candidate": share} for name, share in groups.items()}


def fill(store: Store) -> None:
    with store.writing() as session:
        for number in range(1, 6):
            kind: Any = "base" if number == 1 else "correction"
            session.add(
                ModelVersion(
                    id=number, kind=kind, state="candidate", name="x", location="x", template="plain", fingerprint=str(number)
                )
            )
        session.flush()
        session.add(CorrectionRun(parent_id=1, candidate_id=2, recipe={"steps": 12}, seed=0, asked_by="x", state="succeeded"))
        told: list[tuple[int, dict[str, Any], bool]] = [
            (2, figures(0.2, 1.1, age__old=0.3, age__young=0.1), False),
            (3, figures(0.3, 1.2, age__old=0.4), False),
            (4, figures(0.1, None), False),
            (5, figures(0.0, 1.0), True),
        ]
        for candidate, found, simulated in told:
            session.add(
                Evaluation(
                    candidate_id=candidate, base_id=1, seed=0, asked_by="x", state="succeeded", figures=found, simulated=simulated
                )
            )


def test_points_are_of_people_and_of_versions_with_both_figures(sqlite_store: Store) -> None:
    fill(sqlite_store)
    with sqlite_store.reading() as session:
        found, none = points(session), points(session, parent=4)
    assert none == []
    assert [tuple(one)[:10] for one in found] == [
        (2, 1, 0.2, 0.6, 1.1, 0.3, "age=old", "steps 12", True, "default, steps 12"),
        (3, 1, 0.3, 0.6, 1.2, 0.4, "age=old", "", False, ""),
    ]


def test_a_point_has_the_ends_of_its_figures_and_the_name_of_its_recipe(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        version(session, 1, state="current")
        recipes.tried_on(session, 1)
        run = session.get_one(CorrectionRun, 3)
        run.recipe = run.recipe | {"steps": 33}
        session.get_one(ModelVersion, 1).state = "retired"
        session.get_one(ModelVersion, 2).state = "current"
    with sqlite_store.reading() as session:
        found = points(session)
        expected = monitoring.share_of([(1.0, 1.0)] * 18 + [(0.0, 1.0)] * 22)
    assert [one.title for one in found] == ["gentle@1", "usual@1, steps 33", "strong@1", "found@1", "harsh@1"]
    assert [one.current for one in found] == [True, False, False, False, False]
    gentle = found[0]
    assert (gentle.harm, *gentle.harm_ends) == pytest.approx(expected)
    assert tuple(gentle.utility_ends) == pytest.approx((1.01 * 0.98, 1.01 * 1.025))
    assert (gentle.parent_ends.low or 1) < 0.6 < (gentle.parent_ends.high or 0)
    assert (gentle.worst_ends.low or 1) < 0.6 < (gentle.worst_ends.high or 0)
    assert json.loads(json.dumps(gentle.told()))["harm_ends"] == {"low": gentle.harm_ends.low, "high": gentle.harm_ends.high}


def test_the_picture_has_a_circle_a_version_and_reads_as_xml() -> None:
    drawn = Xml.fromstring(picture(marked([point(2, 0.2, 1.1, 0.3), point(3, 0.3, 1.2, 0.4)._replace(worst_group="<b>")])))  # nosec B314 # made here
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2
    assert float(circles[0].get("cx", "0")) < float(circles[1].get("cx", "0"))
    assert float(circles[0].get("cy", "0")) > float(circles[1].get("cy", "0"))
    assert circles[0].get("fill") != circles[1].get("fill")
    assert Xml.fromstring(picture([])) is not None  # nosec B314 # made here


def test_the_command_says_when_there_is_nothing_and_writes_the_picture(run: Run, tmp_path: Path) -> None:  # noqa: F811
    assert run("migrate").code == 0
    said = run("tradeoff", "--out", str(tmp_path / "curve.svg"))
    assert "No version has both" in said.out
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
