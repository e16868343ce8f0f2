"""Claims about the report of agreement: who may be spoken of, what a program reads, and that no group of few has a figure."""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flagback.model.agreement import Ratings, alpha
from flagback.model.group_rates import difference
from flagback.review_app import agreement
from flagback.review_app.commands.agreement import Scale
from flagback.review_app.settings import Settings
from flagback.storage import consent, ratings
from flagback.storage.accounts import by_login
from flagback.storage.records import ScaleType
from flagback.storage.store import Store
from tests.command_line import Run, run_command
from tests.fresh import migrate
from tests.reviewed_panel import NOON, Member, fill

KEY = b"k" * 32
#: Krippendorff 2011, C, as rows of a file.
PAPER_C = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A migrated home."""
    settings = Settings(home=tmp_path / "home")
    store = Store(settings.records_url)
    migrate(store)
    store.close()
    return settings


@pytest.fixture
def run(home: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in that home."""

    return partial(run_command, capsys, home.home)


def _file(folder: Path, *, groups: dict[str, int], items: int = 30, apart: str = "") -> Path:
    """Ratings 0 to 3 by groups of so many people; those of the group `apart` rate one higher."""
    random = np.random.default_rng(3)
    truth = random.integers(0, 3, items)
    people = [(f"{name}{n}", name) for name, size in groups.items() for n in range(size)]
    lines = ["item,rater,label,country"]
    for item in range(items):
        for person, name in people:
            value = int(np.clip(truth[item] + random.integers(-1, 2) + (name == apart), 0, 3))
            lines.append(f"{item},{person},{value},{name}")
    path = folder / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _bring(run: Run, path: Path, scale: ScaleType, *more: str) -> None:
    named = ("--item", "item", "--rater", "rater", "--label", "label")
    assert run("import", "ratings", path, "--study", "s", *named, "--scale", scale, *more).code == 0


def _agreement(run: Run, *more: str) -> dict[str, Any]:
    said = run("agreement", *more, "--json")
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


# --------------------------------------------------------------------- studies


def test_the_papers_values_come_out_of_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "paper.csv"
    cells = [f"{u},{r},{v}" for r, row in enumerate(PAPER_C) for u, v in enumerate(row.split()) if v != "."]
    path.write_text("item,rater,label\n" + "\n".join(cells) + "\n")
    _bring(run, path, "interval")
    found = _agreement(run, "--study", "s")["alpha"]
    assert {scale: round(one["value"], 3) for scale, one in found.items()} == {
        "nominal": 0.743,
        "ordinal": 0.815,
        "interval": 0.849,
    }
    assert {(one["n_items"], one["n_raters"], one["low"]) for one in found.values()} == {(11, 4, None)}
    assert found["nominal"]["note"] == "not enough raters for an interval: at least 5 are needed"


@pytest.mark.parametrize(("scale", "none"), [("nominal", {"ordinal", "interval"}), ("ordinal", {"interval"}), ("interval", set())])
def test_a_scale_has_the_alphas_of_what_its_labels_mean(run: Run, tmp_path: Path, scale: ScaleType, none: set[str]) -> None:
    _bring(run, _file(tmp_path, groups={"India": 6}), scale)
    found = _agreement(run, "--study", "s")["alpha"]
    assert {name for name, one in found.items() if one["value"] is None} == none
    assert all(one["low"] < one["value"] < one["high"] for one in found.values() if one["value"] is not None)


def test_groups_of_a_study_have_mean_interval_and_alpha_or_are_suppressed(run: Run, tmp_path: Path) -> None:
    """Chile has 3 people; Brazil, the smallest of the others, is hidden too, or Chile were the total minus what is shown."""
    path = _file(tmp_path, groups={"India": 9, "Peru": 8, "Brazil": 6, "Chile": 3}, apart="Peru")
    _bring(run, path, "interval", "--background", "country")
    groups = {one["group"]: one for one in _agreement(run, "--study", "s")["groups"]}
    assert groups["Chile"] == {"column": "country", "group": "Chile", "suppressed": True}
    assert groups["Brazil"] == {"column": "country", "group": "Brazil", "suppressed": True}
    peru, india = groups["Peru"], groups["India"]
    assert (peru["n_raters"], peru["raters"], peru["suppressed"]) == (8, "5 or more", False)
    assert peru["low"] < peru["mean"] < peru["high"]
    assert set(peru["alpha"]) == {"nominal", "ordinal", "interval"}
    assert peru["alpha"]["interval"]["low"] < peru["alpha"]["interval"]["value"]
    assert peru["measures"][0]["difference"] == pytest.approx(-india["measures"][0]["difference"])
    assert peru["measures"][0]["difference_low"] > 0
    assert peru["measures"][0]["p"] < 0.01
    assert peru["across"]["interval"]["value"] == pytest.approx(india["across"]["interval"]["value"])


def test_the_figures_of_a_group_are_those_of_its_ratings_alone(sqlite_store: Store, tmp_path: Path) -> None:
    path = _file(tmp_path, groups={"India": 7, "Peru": 6}, apart="Peru")
    columns = ratings.Columns("item", "rater", "label", None, ["country"])
    ratings.import_ratings(sqlite_store, path, study="s", columns=columns, scale="ordinal", by="max", now=NOON)
    with sqlite_store.reading() as session:
        kept = ratings.ratings_of(session, "s")
    found = agreement.report(agreement.of_study(kept, "s"), kept.background)
    peru = next(group for group in found.groups if group.group == "Peru")
    cells = [line.split(",") for line in path.read_text().splitlines()[1:]]
    who = {name: n for n, name in enumerate(sorted({cell[1] for cell in cells}))}
    all_ = Ratings(
        np.array([int(cell[0]) for cell in cells]),
        np.array([who[cell[1]] for cell in cells]),
        np.array([float(cell[2]) for cell in cells]),
    )
    ours = np.array([cell[3] == "Peru" for cell in cells])
    assert peru.alpha["ordinal"][:3] == pytest.approx(alpha(all_.where(ours), "ordinal")[:3])
    assert peru.measures[0].difference == pytest.approx(difference(all_, ours, seed=0, permutations=9).value)
    assert peru.measures[0].mean == pytest.approx(all_.values[ours].mean())


def test_five_people_of_whom_four_rated_what_others_rated_have_no_alpha(sqlite_store: Store, tmp_path: Path) -> None:
    """India's fifth person rated an item of his own: the group is large enough, the figure would be of four."""
    lines = [
        f"{u},{name}{n},{(u + n) % 2},{name}" for u in range(9) for name, size in (("India", 4), ("Peru", 6)) for n in range(size)
    ]
    path = tmp_path / "r.csv"
    path.write_text("item,rater,label,country\n" + "\n".join([*lines, "own,India9,1,India"]) + "\n")
    columns = ratings.Columns("item", "rater", "label", None, ["country"])
    ratings.import_ratings(sqlite_store, path, study="s", columns=columns, scale="nominal", by="max", now=NOON)
    with sqlite_store.reading() as session:
        kept = ratings.ratings_of(session, "s")
    found = agreement.report(agreement.of_study(kept, "s"), kept.background)
    india, peru = found.groups
    assert (india.group, india.n_raters) == ("India", 5)
    assert india.alpha["nominal"] == (None, None, None, 0, None, "not enough raters: at least 5 are needed")
    assert india.across["nominal"].value is None
    assert india.measures[0].difference is None
    assert peru.alpha["nominal"].value is not None


def test_labels_that_are_names_have_a_share_each_and_no_and_yes_a_mean(run: Run, tmp_path: Path) -> None:
    for name, labels in (("s", ("no", "yes")), ("t", ("bad", "good", "odd"))):
        path = tmp_path / f"{name}.csv"
        cells = [f"{u},p{r},{labels[(u + r) % len(labels)]},India" for u in range(12) for r in range(6)]
        path.write_text("item,rater,label,country\n" + "\n".join(cells) + "\n")
        named = ("--item", "item", "--rater", "rater", "--label", "label", "--background", "country")
        assert run("import", "ratings", path, "--study", name, *named, "--scale", "nominal").code == 0
    yes, odd = (_agreement(run, "--study", name)["groups"][0] for name in ("s", "t"))
    assert yes["mean"] == pytest.approx(0.5)
    assert odd["mean"] is None
    assert {one["of"]: round(one["mean"], 3) for one in odd["measures"]} == {"bad": 0.333, "good": 0.333, "odd": 0.333}


def test_studies_are_listed_and_removed_after_a_question(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No study yet" in run("study", "list").out
    _bring(run, _file(tmp_path, groups={"India": 5}), "ordinal")
    assert [one["study"] for one in json.loads(run("study", "list", "--json").out)] == ["s"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("study", "remove", "s").code == 1
    assert "s " in run("study", "list").out
    assert "150 ratings are deleted" in run("study", "remove", "s", "--yes").out
    assert run("agreement", "--study", "s").code == 1
    assert "There is no study 's'" in run("study", "remove", "s", "--yes").err


def test_the_scales_of_the_command_are_those_of_the_records() -> None:
    assert Scale == ScaleType


# ---------------------------------------------------------------- own reviews


def _severity(member: int, answer: int) -> str | None:
    """Women (even numbers) flag answers 0 to 5, men 0 to 3; number 0 is harsher than the rest."""
    if answer < (6 if member % 2 == 0 else 4):
        return "severe" if member == 0 else "clear"
    return None


PANEL = [Member({"gender": "woman" if n % 2 == 0 else "man"}) for n in range(12)]


def test_reviews_have_alpha_of_flags_and_of_rungs_of_harm_and_nothing_exact_of_groups(sqlite_store: Store) -> None:
    fill(sqlite_store, KEY, PANEL, answers=10, severity=_severity)
    with sqlite_store.reading() as session:
        found = agreement.of_reviews(session, KEY)
    flags = np.array([[_severity(member, answer) is not None for answer in range(10)] for member in range(12)], dtype=float)
    who, what = np.nonzero(flags >= 0)
    assert found.alpha["nominal"].value == pytest.approx(alpha(Ratings(what, who, flags[who, what]), "nominal").value)
    assert found.alpha["ordinal"].value is not None
    assert found.alpha["interval"].value is None
    assert (found.n_ratings, found.n_items, found.n_raters) == (120, 10, 12)
    man, woman = found.groups
    assert (man.group, woman.group, woman.raters, woman.n_raters) == ("man", "woman", "5 or more", None)
    assert man.measures[0].mean == pytest.approx(0.4)
    assert woman.measures[0].mean == pytest.approx(0.6)
    assert woman.measures[0].difference == pytest.approx(0.2)
    assert woman.measures[0].p is not None
    assert woman.measures[0].p < 0.05
    assert woman.alpha["nominal"].value == pytest.approx(1)
    assert woman.alpha["nominal"].n_raters is None


def test_who_did_not_agree_to_exports_is_in_no_group_and_gives_no_smaller_one_away(sqlite_store: Store) -> None:
    """Five men agreed and one did not: 11 minus 6 women minus 5 men would be that one."""
    members = [*PANEL[:11], PANEL[11]._replace(exports=False)]
    fill(sqlite_store, KEY, members, answers=10, severity=_severity)
    with sqlite_store.reading() as session:
        found = agreement.of_reviews(session, KEY)
    assert [(group.group, group.suppressed) for group in found.groups] == [("woman", False), (None, True)]
    assert found.alpha["nominal"].n_raters == 12
    with sqlite_store.writing() as session:
        consent.set_consent(session, by_login(session, "reviewer0").id, {"export": False}, now=NOON)
    with sqlite_store.reading() as session:
        after = agreement.of_reviews(session, KEY)
    # Two are in no group now, so one of two groups of five goes with them; who withdrew was the only one to say "severe".
    assert [(group.group, group.suppressed) for group in after.groups] == [("woman", False), (None, True)]
    assert found.groups[0].alpha["ordinal"].value != pytest.approx(1)
    assert after.groups[0].alpha["ordinal"].value == pytest.approx(1)


def test_four_people_of_a_group_are_never_named(home: Settings, run: Run) -> None:
    members = [Member({"faith": "hindu" if n < 4 else "none"}) for n in range(14)]
    store = Store(home.records_url)
    fill(store, home.pseudonym_key(), members, answers=6, severity=_severity)
    store.close()
    said = run("agreement", "--json")
    assert said.code == 0
    assert "hindu" not in said.out
    assert "r_" not in said.out.replace("n_raters", "")
    assert json.loads(said.out)["groups"] == []
    assert "hindu" not in run("agreement").out


def test_an_answer_seen_again_is_compared_with_what_the_same_person_said_before(sqlite_store: Store) -> None:
    """Six people judge 4 answers twice; number 0 flags only what comes second."""
    seen: dict[tuple[int, int], int] = {}

    def severity(member: int, answer: int) -> str | None:
        seen[member, answer] = seen.get((member, answer), 0) + 1
        return "clear" if answer == 0 or (member == 0 and seen[member, answer] == 2) else None

    fill(sqlite_store, KEY, PANEL[:6], answers=4, severity=severity, repeated=True)
    with sqlite_store.reading() as session:
        found = agreement.of_reviews(session, KEY).self_consistency
    assert found is not None
    assert (found.repeated, found.raters) == (24, 6)
    assert found.value == pytest.approx(21 / 24)


def test_an_installation_without_reviews_says_so(run: Run) -> None:
    assert "Nobody has judged an answer yet" in run("agreement").out
    empty = _agreement(run)
    assert (empty["n_ratings"], empty["groups"], empty["alpha"]["nominal"]["value"]) == (0, [], None)
