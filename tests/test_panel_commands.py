"""Claims about the commands of those who answer for the panel, and those that say how votes become pairs."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from sqlmodel import col, select

from flagback.model import policies
from flagback.review_app.screens.policy_choice import TITLES
from flagback.review_app.settings import Settings
from flagback.storage import accounts, adjudications, quarantine
from flagback.storage.answers import Answer
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.records import CorrectionRun, Generation, Item, Prompt, Review, SetAside, now
from flagback.storage.reviews import submit
from flagback.storage.slots import claim
from flagback.storage.store import Store
from tests.command_line import run_command
from tests.fresh import migrate
from tests.panel_of_two_groups import KEY, Panel, judged_panel


class Home(NamedTuple):
    """An installation with a judged panel."""

    folder: Path
    store: Store
    panel: Panel


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "pseudonym.key").write_bytes(KEY)
    (folder / "pseudonym.key").chmod(0o600)
    store = Store(Settings(home=folder).records_url)
    migrate(store)
    panel = judged_panel(store)
    with store.writing() as session:
        accounts.create(session, "lea", "a long password", "lead")
        accounts.create(session, "rea", "a long password", "reviewer")
    yield Home(folder, store, panel)
    store.close()


def reported(home: Home, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    found = run_command(capsys, home.folder, *words, "--json")
    assert found.code == 0, found.err
    return found.json


def test_the_preview_says_in_json_and_in_words_whose_flags_the_majority_overrules(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reported(home, capsys, "pairs", "preview", "--policy", "majority", "--against", "max_of_groups")
    assert found["pairs"] == {"both": 0, "appear": 12, "vanish": 0, "flip": 0}
    women = next(group for group in found["groups"] if group["group"] == "woman")
    assert (women["overruled"]["a"]["share"], women["overruled"]["b"]["share"]) == (1.0, 0.0)
    assert found["contaminated"] == []
    code, out, _ = run_command(capsys, home.folder, "pairs", "preview", "--against", "max_of_groups")
    assert code == 0
    assert "From majority to max_of_groups: 0 pairs stay, 12 appear, 0 vanish, 0 turn round." in out
    assert "1.00 of 12 (by chance" in out
    assert not any(name in out for name in (*home.panel.men, *home.panel.women))


def test_the_preview_counts_what_has_no_counterpart_and_a_correction_that_wants_it_keeps_that(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reported(home, capsys, "pairs", "preview")["unpaired"] == {"harmful": 0, "fine": 0, "contaminated": []}
    assert "counterpart" not in run_command(capsys, home.folder, "pairs", "preview")[1]
    with home.store.writing() as session:
        shards = dict(session.exec(select(Generation.id, Prompt.shard).join(Prompt, col(Prompt.id) == Generation.prompt_id)).all())
        place = next(at for at in range(0, 24, 2) if shards[home.panel.generations[at]] in TRAINING_SHARDS)
        flagged, better = home.panel.generations[place : place + 2]  # of one prompt
        [item] = session.exec(select(Item.id).where(Item.generation_id == flagged)).all()
        adjudications.conclude(session, item, "harm", reason="as the guideline says", by="lea", now=now())
        quarantine.put_away(session, better, review_id=None, category="real_person", seats=1, now=now())
    # Under each of the other prompts one answer was flagged by nobody; women flag the other.
    fine = sum(shards[generation] in TRAINING_SHARDS for generation in home.panel.generations[1::2]) - 1
    assert reported(home, capsys, "pairs", "preview")["unpaired"] == {"harmful": 1, "fine": fine, "contaminated": []}
    words = run_command(capsys, home.folder, "pairs", "preview")[1]
    assert "1 harmful answer has no counterpart (on prompts for training); with 'flagback correct --unpaired'" in words
    assert f"beside {fine} fine ones" in words
    code, _, err = run_command(capsys, home.folder, "correct", "--no-wait", "--unpaired", "--set", "1")
    assert (code, "--set names a set that is" in " ".join(err.split())) == (2, True)
    code, _, err = run_command(capsys, home.folder, "correct", "--no-wait", "--flag-weight", "0.5")
    assert (code, "none would teach; add --unpaired" in " ".join(err.split())) == (2, True), "a weight that nothing reads"
    report = reported(home, capsys, "correct", "--no-wait", "--unpaired", "--flag-weight", "0.5")
    with home.store.reading() as session:
        run = session.get_one(CorrectionRun, int(report["run"].split("-")[1]))
    assert (run.pairs, run.recipe) == ({"unpaired": True}, {"flag_weight": 0.5})


def test_answers_side_by_side_are_asked_for_once_and_what_is_preferred_counts_in_the_preview(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    before = reported(home, capsys, "pairs", "preview")["a"]["pairs"]
    made = reported(home, capsys, "pairs", "ask", "--prompts", "2", "--reviews-per-item", "1")
    assert (made["comparisons"], made["answers"]) == (2, 2)
    moment = now()
    held = claim(home.store, "r_ada", count=2, now=moment, lease_for=timedelta(hours=1), seed=0, mode="compare")
    for one in held:
        answer = Answer(token=str(uuid4()), lease_id=one.lease_id, verdict="left", taxonomy_version="1", guideline_version="1")
        submit(home.store, "r_ada", answer, now=moment, policy_version="1")
    assert reported(home, capsys, "pairs", "preview")["a"]["pairs"] == before + 2
    assert "2 comparisons" in run_command(capsys, home.folder, "pairs", "preview")[1]
    code, _, err = run_command(capsys, home.folder, "pairs", "ask", "--answers", "4", "--prompts", "1000")
    assert code == 0, err
    code, _, err = run_command(capsys, home.folder, "pairs", "ask")
    assert code == 1
    assert "flagback sample" in err


REFUSED: list[tuple[list[str], str]] = [
    (["pairs", "preview", "--policy", "mode"], "No policy is called 'mode'"),
    (["pairs", "preview", "--against", "jury", "--seats", "woman"], "GROUP=NUMBER"),
    (["pairs", "preview", "--against", "jury", "--seats", "elf=3"], "for 'elf'"),
    (["pairs", "preview", "--seats", "woman=3"], "Only the policy 'jury'"),
    (["pairs", "preview", "--policy", "any_group", "--by", "shoe"], "No question about background is called 'shoe'"),
    (["set-aside", "add", "--reason", "a good reason", "--as", "lea"], "Say one of"),
    (["set-aside", "add", "--pause", "r_x", "--reason", "a good reason", "--as", "rea", "--yes"], "rea is reviewer"),
    (["set-aside", "add", "--pause", "r_x", "--reason", "a good reason", "--yes"], "say whose act it is"),
    (["set-aside", "end", "9", "--as", "lea"], "Nothing with the number 9"),
    (["adjudicate", "2", "harm", "--reason", "a good reason", "--as", "lea"], "Nobody differs on item 2"),
    (["correct", "--policy", "mode"], "No policy is called 'mode'"),
]


def test_what_cannot_be_done_is_said_in_one_message_and_stores_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in REFUSED:
        code, _, err = run_command(capsys, home.folder, *words)
        assert (code, told in err) == (1, True), (words, err)
    with home.store.reading() as session:
        assert not session.exec(select(SetAside)).all()
        assert not session.exec(select(CorrectionRun)).all()


def test_a_lead_sets_aside_after_a_preview_and_takes_it_back(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    who = home.panel.men[0]
    asked = ["set-aside", "add", "--exclude", who, "--reason", "all in under a second", "--as", "lea"]
    code, _, err = run_command(capsys, home.folder, *asked, stdin="n\n")
    assert code == 1
    assert "reviews would be left out" in err
    with home.store.reading() as session:
        assert not session.exec(select(SetAside)).all()
        mine = len(session.exec(select(Review).where(Review.reviewer == who)).all())
    made = reported(home, capsys, *asked, "--yes")
    assert made["change"]["reviews"] == mine
    assert "woman" not in str(made["change"])  # nothing there says which group of reviewers it is of
    listed = reported(home, capsys, "reviewers")
    assert next(one for one in listed if one["reviewer"] == who)["state"] == ["left out"]
    assert len(listed) == 15
    reported(home, capsys, "set-aside", "end", str(made["id"]), "--as", "lea")
    [row] = reported(home, capsys, "set-aside", "list")
    assert (row["by"], row["reason"], row["ended_by"]) == ("lea", "all in under a second", "lea")


def test_a_contested_answer_is_listed_with_arguments_and_concluded(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    found = reported(home, capsys, "contested", "--limit", "3")
    assert len(found) == 3
    assert {argument["verdict"] for argument in found[0]["arguments"]} == {"flag", "fine"}
    assert "reviewer" not in json.dumps(found)
    item = str(found[0]["item_id"])
    reported(home, capsys, "adjudicate", item, "legitimate_disagreement", "--reason", "both readings are fair", "--as", "lea")
    assert len(reported(home, capsys, "contested", "--limit", "50")) == 11
    [shown] = [one for one in reported(home, capsys, "contested", "--limit", "50", "--concluded") if str(one["item_id"]) == item]
    assert shown["conclusion"] == "legitimate_disagreement"


def test_a_correction_keeps_how_its_votes_are_to_become_pairs(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["correct", "--no-wait", "--policy", "jury", "--by", "gender", "--seats", "woman=5,man=7", "--drop-contaminated"]
    reported(home, capsys, *words)
    with home.store.reading() as session:
        run = session.exec(select(CorrectionRun)).one()
    assert run.pairs == {"policy": "jury", "by": "gender", "seats": {"woman": 5, "man": 7}, "drop_contaminated": True}


def test_every_policy_is_listed_with_its_source_and_has_a_name_on_the_page(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    listed = reported(home, capsys, "pairs", "policies")
    assert [row["name"] for row in listed] == list(policies.POLICIES) == list(TITLES)
    _, out, _ = run_command(capsys, home.folder, "pairs", "policies")
    assert "Warning: For comparison only" in out
