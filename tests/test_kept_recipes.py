"""Recipes have names and numbers, are never altered, and say in words what is wrong with a setting."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError
from sqlmodel import select, update

from flagback.model.kept_recipe import FORM, differences, read_recipe, recipe_words
from flagback.model.recipe import BadRecipe, Recipe
from flagback.review_app.commands import correct as correcting
from flagback.review_app.settings import Settings
from flagback.storage import recipes
from flagback.storage.recipes import UnknownRecipe, UnusableName
from flagback.storage.records import AuditEntry, CorrectionRun, KeptRecipe, ModelVersion, now
from flagback.storage.store import Store
from tests.command_line import Run
from tests.test_cli import home, run  # noqa: F401 # fixtures


def keep(store: Store, name: str, **settings: Any) -> KeptRecipe:
    with store.writing() as session:
        return recipes.keep(session, name, settings, form=FORM, by="lena", now=now())


def test_each_change_is_a_number_of_its_own_and_the_same_again_is_none(store: Store) -> None:
    first, same, second = keep(store, "gentle", steps=12), keep(store, "gentle", steps=12), keep(store, "gentle", steps=14)
    assert (first.number, same.id, second.number) == (1, first.id, 2)
    with store.reading() as session:
        assert recipes.find(session, "gentle").settings == {"steps": 14}
        assert recipes.find(session, "gentle@1").settings == {"steps": 12}
        assert [row.id for row in recipes.newest(session)] == [second.id]
        kept = [row for row in session.exec(select(AuditEntry)).all() if row.action == "recipe.kept"]
    assert [row.details["recipe"] for row in kept] == ["gentle@1", "gentle@2"]


def test_a_kept_recipe_is_never_altered(store: Store) -> None:
    keep(store, "gentle", steps=12)
    with pytest.raises(DatabaseError, match="rows of recipe are never changed"), store.writing() as session:
        session.exec(update(KeptRecipe).values(number=7))


@pytest.mark.parametrize("name", ["", "Gentle", "a b", "a@2", "default", "correction-3", "x" * 41])
def test_a_name_that_could_be_mistaken_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UnusableName, match="expected up to 40 small letters"):
        keep(store, name, steps=12)


@pytest.mark.parametrize("name", ["harsh", "gentle@9", "gentle@x", "gentle@99999999999999999999"])
def test_an_unknown_name_or_number_is_told_with_those_that_are_there(store: Store, name: str) -> None:
    keep(store, "gentle", steps=12)
    with store.reading() as session, pytest.raises(UnknownRecipe, match=f"no recipe '{name}'; expected 'default' or gentle"):
        recipes.find(session, name)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"step": 3}, r"no setting 'step' \(given 3\); did you mean steps\?"),
        ({"zzz": 3}, r"no setting 'zzz' .*recipes show default"),
        ({"steps": "many"}, "steps is 'many'; a whole number was expected"),
        ({"steps": True}, "steps is True; a whole number was expected"),
        ({"beta": "high"}, "beta is 'high'; a number was expected"),
        ({"beta": None}, "beta is None; a number was expected"),
        ({"find_rate": 1}, "find_rate is 1; true or false was expected"),
        ({"targets": 3}, "targets is 3; .*all-linear"),
        ({"schedule": ["linear"]}, "schedule is .*a word was expected"),
        ({"steps": 0}, "steps is 0; .*at least 1"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named_with_what_was_expected(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRecipe, match=words):
        read_recipe(settings)


def test_settings_of_another_form_are_not_guessed_at() -> None:
    with pytest.raises(BadRecipe, match=f"form {FORM + 1}; expected {FORM}"):
        read_recipe({}, form=FORM + 1)


def test_words_become_values_of_their_setting() -> None:
    words = {"steps": "40", "beta": "0.1", "targets": "q_proj,v_proj", "find_rate": "true", "schedule": "cosine"}
    found = recipe_words(words)
    assert read_recipe(found) == Recipe(steps=40, beta=0.1, targets=("q_proj", "v_proj"), find_rate=True, schedule="cosine")
    assert recipe_words({"learning_rate": "find", "targets": "all-linear"}) == {"learning_rate": "find", "targets": "all-linear"}
    with pytest.raises(BadRecipe, match="steps is 'x'"):
        recipe_words({"steps": "x"})


def test_two_recipes_differ_in_what_is_named() -> None:
    assert [tuple(one) for one in differences(Recipe(), Recipe(steps=40, beta=0.1))] == [("steps", 24, 40), ("beta", 0.4, 0.1)]


def test_the_commands_keep_list_show_and_tell_apart(run: Run, tmp_path: Path) -> None:  # noqa: F811
    assert run("migrate").code == 0
    kept = run("recipes", "keep", "gentle", "--set", "steps=12", "--set", "learning_rate=find", "--note", "slow", "--json")
    assert (kept.code, kept.json["recipe"]) == (0, "gentle@1")
    assert kept.json["settings"] == asdict(Recipe(steps=12, find_rate=True))
    settings = tmp_path / "more.json"
    settings.write_text('{"beta": 0.2}')
    again = run("recipes", "keep", "gentle", "--file", str(settings))
    assert (again.code, again.out.splitlines()[0]) == (0, "Recipe gentle@2 is kept: gentle@1 with beta 0.2.")
    listed = run("recipes", "list", "--json").json["recipes"]
    assert [row["name"] for row in listed] == ["default", "gentle@2"]
    assert listed[1]["changes"] == {"steps": 12, "beta": 0.2, "find_rate": True}
    assert run("recipes", "show", "gentle@1", "--json").json["settings"]["beta"] == Recipe().beta
    told = run("recipes", "diff", "gentle@1", "gentle")
    assert [line.split() for line in told.out.splitlines()] == [["setting", "gentle@1", "gentle@2"], ["beta", "0.4", "0.2"]]
    assert "same settings" in run("recipes", "diff", "default", "default").out
    anew = run("recipes", "keep", "gentle", "--from", "default", "--set", "steps=9", "--json")
    assert anew.json["settings"] == asdict(Recipe(steps=9)), "nothing is taken over from its earlier numbers"
    run("recipes", "keep", "sought", "--set", "learning_rate=find")
    found = run("recipes", "keep", "sought", "--set", "learning_rate=0.001", "--json")
    assert found.json["settings"] == asdict(Recipe(learning_rate=0.001)), "a rate that is named is not looked for"
    assert run("recipes", "keep", "gentle").out.startswith("Recipe gentle@3 is kept: these settings.")
    assert run("recipes", "keep", "other", "--from", "gentle@1").out.startswith("Recipe other@1 is kept: the same as gentle@1.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "harsh"], "There is no recipe 'harsh'"),
        (["show", "correction-3"], "There is no correction 3"),
        (["keep", "x", "--set", "steps"], "has no '='"),
        (["keep", "x", "--set", "stepz=3"], "did you mean steps?"),
        (["keep", "default", "--set", "steps=3"], "cannot be called 'default'"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(run: Run, words: list[str], expected: str) -> None:  # noqa: F811
    assert run("migrate").code == 0
    said = run("recipes", *words)
    assert said.code == 1
    assert expected in said.err
    assert "Traceback" not in said.err


def test_a_file_of_settings_that_is_none_is_named(run: Run, tmp_path: Path) -> None:  # noqa: F811
    assert run("migrate").code == 0
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "torn.json").write_text("{")
    assert "holds a list; expected an object" in run("recipes", "keep", "x", "--file", str(tmp_path / "list.json")).err
    assert "cannot be read as JSON" in run("recipes", "keep", "x", "--file", str(tmp_path / "torn.json")).err


def test_a_correction_may_follow_a_kept_recipe_and_change_it(run: Run, tmp_path: Path) -> None:  # noqa: F811
    assert run("migrate").code == 0
    store = Store(Settings(home=tmp_path / "home").records_url)
    with store.writing() as session:
        session.add(ModelVersion(kind="base", state="current", name="none", location="none", template="plain", fingerprint="0"))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "The nurse", "chosen": " came home.", "rejected": " left."}\n')
    assert run("import", "preferences", str(pairs), "--name", "few").code == 0
    assert run("recipes", "keep", "gentle", "--set", "steps=12", "--set", "find_rate=true").code == 0
    asked = run("correct", "--set", "1", "--recipe", "gentle@1", "--learning-rate", "0.002", "--no-wait")
    assert (asked.code, asked.err) == (0, "")
    with store.reading() as session:
        made = session.exec(select(CorrectionRun)).one()
        kept = session.get_one(KeptRecipe, made.recipe_id)
    assert (kept.name, kept.number) == ("gentle", 1)
    assert read_recipe(made.recipe) == Recipe(steps=12, learning_rate=0.002), "a rate that is said is not looked for"
    assert run("recipes", "diff", "gentle", "correction-1", "--json").json["differences"] == [
        {"setting": "learning_rate", "before": 0.0032, "after": 0.002},
        {"setting": "find_rate", "before": True, "after": False},
    ]
    store.close()


def test_what_a_sweep_costs_is_said_before_it_is_asked_for(run: Run) -> None:  # noqa: F811
    assert run("migrate").code == 0
    refused = run("correct", "--find-rate", "--no-wait")
    assert "takes up to 32 steps on an adapter that is thrown away" in refused.err
    assert "both" not in refused.err
    assert "two answers to one question" in run("correct", "--find-rate", "--learning-rate", "0.1").err


def test_a_dry_run_repeats_what_was_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Pasted, its command asks for the same correction."""
    assert run("migrate").code == 0
    asked: list[str] = []
    monkeypatch.setattr(correcting, "_forecast", lambda context, *_, **__: asked.append(correcting._asked(context)))
    words = ["--tuning", "full", "--learning-rate", "0.0003", "--policy", "any_group", "--seed", "3"]
    assert run("correct", "--dry-run", *words, "--processes", "2", "--json").code == 0
    assert asked == [" ".join(["flagback correct", *words])]


def test_what_a_forecast_is_asked_for_is_read_like_a_correction(run: Run) -> None:  # noqa: F811
    assert run("migrate").code == 0
    assert run("recipes", "keep", "wide", "--set", "processes=2").code == 0
    refused = run("correct", "--dry-run", "--recipe", "wide", "--stop-every", "4")
    assert refused.code == 1
    assert "stop_every is 4 with processes 2" in refused.err
    assert "There is no recipe 'narrow'" in run("correct", "--dry-run", "--recipe", "narrow").err
