"""Claims about `flagback care`: the same as the page, and never a text that was taken away."""

import json
from pathlib import Path

import pytest
from sqlmodel import select

from flagback.review_app.settings import Settings
from flagback.storage import accounts, wellbeing, withdrawals
from flagback.storage.records import AuditEntry, Generation, Item, now
from flagback.storage.store import Store
from tests.command_line import run_command
from tests.fresh import migrate
from tests.panel_of_two_groups import judged_panel


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    store = Store(Settings(home=folder).records_url)
    migrate(store)
    with store.writing() as session:
        accounts.create(session, "max", "a long password", "maintainer")
        accounts.create(session, "lea", "a long password", "lead")
    store.close()
    return folder


def test_what_is_named_changes_and_the_rest_stays(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "support.txt"
    file.write_text("Call Ada, 555-0100.\n", encoding="utf-8")
    code, out, err = run_command(
        capsys, home, "care", "set", "--support", str(file), "--severe-a-day", "10", "--as", "max", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert (found["support"], found["severe_a_day"], found["cover_from"]) == ("Call Ada, 555-0100.", 10, wellbeing.USUAL.cover_from)
    assert found["sensitive_topics"] == wellbeing.USUAL.sensitive_topics
    code, out, _ = run_command(capsys, home, "care", "set", "--sensitive", "War", "--as", "max")
    assert "on: war." in out
    code, out, _ = run_command(capsys, home, "care", "show", "--json")
    shown = json.loads(out)
    assert (shown["severe_a_day"], shown["sensitive_topics"]) == (10, ["war"])
    assert set(shown["lately"]) == {"judged", "flagged", "severe"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "--as", "max"], "expected one of --support"),
        (["set", "--severe-a-day", "0", "--as", "max"], "expected 1 to 1,000"),
        (["set", "--cover-from", "2", "--as", "max"], "at most 1"),
        (["set", "--severe-a-day", "5", "--as", "lea"], "lea is lead"),
        (["set", "--severe-a-day", "5"], "--as"),
        (["set", "--support", "nowhere.txt", "--as", "max"], "nowhere.txt"),
        (["give-back", "7", "--reason", "taken by mistake", "--as", "max"], "in force: none"),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_nothing_changes(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, _, err = run_command(capsys, home, "care", *words)
    assert code == 1
    assert said in err
    store = Store(Settings(home=home).records_url)
    with store.reading() as session:
        assert wellbeing.terms(session) == wellbeing.USUAL
    store.close()


def test_a_text_taken_away_is_listed_without_its_words_and_given_back_with_a_reason(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(Settings(home=home).records_url)
    judged_panel(store, prompts=1)
    with store.writing() as session:
        item = session.exec(select(Item).where(Item.purpose == "loop")).first()
        assert item is not None
        text = session.get_one(Generation, item.generation_id).text
        withdrawals.withdraw(session, item.id, category="minors", review_id=None, by="lea", now=now())
    code, out, _ = run_command(capsys, home, "care", "withdrawn", "--json")
    [row] = json.loads(out)
    assert (row["item_id"], row["category"], row["length"]) == (item.id, "minors", len(text))
    assert text not in out
    words = ["give-back", str(row["id"]), "--reason", "a recipe, ticked by mistake", "--as", "lea"]
    code, out, err = run_command(capsys, home, "care", *words)
    assert code == 0, err
    with store.reading() as session:
        assert session.get_one(Generation, item.generation_id).text == text
        assert "text given back" in {entry.action for entry in session.exec(select(AuditEntry)).all()}
    store.close()
    assert run_command(capsys, home, "care", "withdrawn")[1] == "Nothing is taken away.\n"
