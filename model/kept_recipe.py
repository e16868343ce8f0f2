"""Recipes as they are kept and written down: settings by name, each of its kind, and how two recipes differ.

Plain values, no torch and no store.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any, NamedTuple

from flagback.model.recipe import BadRecipe, Recipe

#: How kept settings are to be read; rises when a setting changes its meaning.
FORM = 1


def read_recipe(settings: Mapping[str, Any], *, form: int = FORM) -> Recipe:
    """A recipe from settings as JSON has them. Raises BadRecipe, which names setting, value, what was expected and what helps."""
    if form != FORM:
        raise BadRecipe(f"The recipe is of form {form}; expected {FORM}. Keep it anew with 'flagback recipes keep'.")
    known = {field.name: field.default for field in fields(Recipe)}
    for name, value in settings.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see 'flagback recipes show default' for all of them."
            raise BadRecipe(f"A recipe has no setting {name!r} (given {value!r}); {hint}")
        if (name, value) != ("learning_rate", "find"):
            _check_kind(name, value, known[name])
    return Recipe(**settings)


def _check_kind(name: str, value: object, default: object) -> None:
    """Refuses a value that is of another kind than the setting's default."""
    words = isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, str) for one in value)
    if isinstance(default, bool):
        fits, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, float):
        fits, expected = isinstance(value, (int, float)) and not isinstance(value, bool), "a number"
    elif isinstance(default, int):
        fits, expected = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif name == "targets":
        fits, expected = isinstance(value, str) or words, '"all-linear" or a list of names of modules'
    else:
        fits, expected = isinstance(value, str), "a word"
    if not fits:
        raise BadRecipe(f"{name} is {value!r}; {expected} was expected.")


def recipe_words(settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings written as words (steps=40, targets=q_proj,v_proj) as values of their kinds. Raises BadRecipe."""
    known = {field.name: field.default for field in fields(Recipe)}
    found: dict[str, Any] = {}
    for name, word in settings.items():
        default = known.get(name)
        try:
            if isinstance(default, bool):
                found[name] = {"true": True, "false": False}.get(word, word)
            elif isinstance(default, int):
                found[name] = int(word)
            elif isinstance(default, float) and (name, word) != ("learning_rate", "find"):
                found[name] = float(word)
            else:
                found[name] = word.split(",") if name == "targets" and word != default else word
        except ValueError:
            found[name] = word
    read_recipe(found)
    return found


class Changed(NamedTuple):
    """A setting in which two recipes differ."""

    setting: str
    before: object
    after: object


def differences(before: Recipe, after: Recipe) -> list[Changed]:
    """In the order of a recipe's settings."""
    one, other = asdict(before), asdict(after)
    return [Changed(name, one[name], other[name]) for name in one if one[name] != other[name]]
