"""Claims about what Flagback is built from: everything is pinned, every pin has a true reason, and the set fits together."""

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
_SCRIPT = runpy.run_path(str(ROOT / ".ci" / "pins.py"))
asked_for: Callable[[str], dict[str, str]] = _SCRIPT["asked_for"]
needs: Callable[[str, str], set[Requirement]] = _SCRIPT["needs"]
lines: Callable[[str], list[str]] = _SCRIPT["lines"]
ASKED = asked_for(PYPROJECT)


class Pin(NamedTuple):
    """One line of constraints.txt."""

    name: str
    reason: str


def pins() -> list[Pin]:
    """Every line of constraints.txt but its head; a line of another form ends the test run."""
    found = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            parts = re.fullmatch(r"([\w.-]+)==[\w.]+  # (.{5,})", line)
            assert parts, f"constraints.txt: {line!r} is not 'name==version  # reason'"
            found.append(Pin(parts[1], parts[2]))
    return found


def required_by(parent: str) -> set[str]:
    """What 'streamlit' or 'psycopg[binary]' requires, by canonical name."""
    name, _, extra = parent.rstrip("]").partition("[")
    return {canonicalize_name(inner.name) for inner in needs(name, extra)}


@pytest.mark.parametrize("requirement", ASKED)
def test_every_direct_dependency_says_why_it_is_here(requirement: str) -> None:
    assert len(ASKED[requirement].split()) >= 2, f"pyproject.toml: {requirement} has no reason on its line"


@pytest.mark.parametrize("pin", pins(), ids=lambda pin: pin.name)
def test_every_pin_has_a_true_reason(pin: Pin) -> None:
    own = {canonicalize_name(Requirement(requirement).name): reason for requirement, reason in ASKED.items()}
    if canonicalize_name(pin.name) in own:
        assert pin.reason == own[canonicalize_name(pin.name)]
        return
    assert pin.reason.startswith("needed by "), f"{pin.name} is neither in pyproject.toml nor said to be needed by anything"
    named = pin.reason.removeprefix("needed by ").split(", ")
    assert [parent for parent in named if canonicalize_name(pin.name) not in required_by(parent)] == []
    assert {parent.partition("[")[0] for parent in named} - {other.name for other in pins()} == set()


def test_everything_that_flagback_needs_is_pinned_as_it_is_installed() -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    missing = [line for line in lines(PYPROJECT) if line not in pinned]
    assert missing == [], "run 'make constraints' in a venv that passes 'make test'"


def test_what_is_asked_for_is_installed() -> None:
    names = {canonicalize_name(pin.name) for pin in pins()}
    assert {canonicalize_name(Requirement(requirement).name) for requirement in ASKED} - names == set()


def test_the_installed_distributions_fit_together() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_a_requirement_without_a_comment_has_no_reason() -> None:
    text = '[project]\ndependencies = [\n    "one>=1", # why it is here\n    "two",\n]\n[project.optional-dependencies]\ndev = []\n'
    assert asked_for(text) == {"one>=1": "why it is here", "two": ""}


def test_an_extra_is_followed_to_what_it_brings() -> None:
    text = '[project]\ndependencies = [\n    "psycopg[binary]", # the driver\n]\n[project.optional-dependencies]\ndev = []\n'
    found = {line.partition("==")[0]: line.partition("# ")[2] for line in lines(text)}
    assert found["psycopg-binary"] == "needed by psycopg[binary]"
    assert found["psycopg"] == "the driver"
