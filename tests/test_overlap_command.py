"""Claims about `flagback overlap`: what it will cost stands before it is set, and nonsense is refused with the next step."""

import json
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import select

from flagback.review_app.settings import Settings
from flagback.storage.records import Overlap
from flagback.storage.store import Store
from tests.command_line import Run, run_command
from tests.test_overlap import items, judged_by


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a migrated home."""
    running = partial(run_command, capsys, tmp_path)
    assert running("migrate").code == 0
    return running


@pytest.fixture
def records(run: Run, tmp_path: Path) -> Store:  # noqa: ARG001 (migrates)
    """The home's records."""
    return Store(Settings(home=tmp_path).records_url)


def kept(records: Store) -> list[Overlap]:
    """All policies that were set."""
    with records.reading() as session:
        return list(session.exec(select(Overlap)).all())


def test_before_anything_is_set_each_sampling_says_its_number(run: Run) -> None:
    code, out, _ = run("overlap", "show")
    assert code == 0
    assert "--reviews-per-item" in out
    assert json.loads(run("overlap", "show", "--json")[1])["steps"] == []


def test_setting_says_the_cost_first_and_showing_repeats_it(run: Run, records: Store) -> None:
    words = ["--steps", "3,5,7", "--seat", "gender=woman:1", "--relax-after", "3d", "--random-share", "0.4"]
    code, out, err = run("overlap", "set", *words, "--prevalence", "0.1")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "Cost: about 3.8 reviews an item (3 to 7), where 10% of answers are harmful."
    assert out.splitlines()[-1] == "Set as policy 1, for answers made from now on."
    [policy] = kept(records)
    assert (policy.steps, policy.seats, policy.relax_after_hours, policy.random_share) == ([3, 5, 7], {"gender=woman": 1}, 72, 0.4)
    items(records, 2)
    shown = run("overlap", "show")[1]
    assert "3 people judge an answer, up to 5 and 7 where people flag it or differ." in shown
    assert "Seats kept for gender=woman that are not answered, in tens: 10." in shown
    found = json.loads(run("overlap", "show", "--json", "--prevalence", "0.55")[1])
    assert found["cost"]["reviews_per_item"] == pytest.approx(4.9, abs=0.15)
    assert found["open_seats"] == {"any": 4, "gender=woman": 10}


def test_with_enough_reviews_the_cost_is_reckoned_from_them(run: Run, records: Store) -> None:
    for number in range(20):
        [*_, item] = items(records, number + 1)
        judged_by(records, item, "..")
    found = json.loads(run("overlap", "set", "--steps", "3,5", "--check", "--json")[1])
    assert found["cost"] == {"reviews_per_item": 3.0, "from_items": 20, "prevalence": None, "least": 3, "most": 5}
    assert (found["id"], kept(records)) == (None, [])


def test_it_can_be_turned_off(run: Run, records: Store) -> None:
    assert run("overlap", "set", "--steps", "3,5")[0] == 0
    code, out, _ = run("overlap", "set", "--steps", "off")
    assert code == 0
    assert "As many reviews as each sampling and import asks for." in out
    assert [policy.steps for policy in kept(records)] == [[3, 5], []]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--steps", "2,4"], "odd numbers"),
        (["--steps", "three"], "such as 3,5,7, or off"),
        (["--steps", ""], "such as 3,5,7, or off"),
        (["--steps", "3", "--seat", "gender"], "as gender=woman:1"),
        (["--steps", "3", "--seat", "gender=woman:1", "--seat", "gender=woman:2"], "each group once"),
        (["--steps", "3", "--seat", "gender=elf:1"], "names no answer"),
        (["--steps", "3", "--relax-after", "soon"], "such as 72h or 3d"),
        (["--steps", "3", "--relax-after", "0h"], "such as 72h"),
        (["--steps", "3", "--random-share", "0"], "no rate of"),
    ],
)
def test_nonsense_is_refused_and_nothing_is_set(run: Run, records: Store, words: list[str], expected: str) -> None:
    code, _, err = run("overlap", "set", *words)
    assert code == 1
    assert expected in err
    assert kept(records) == []
