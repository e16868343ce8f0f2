"""Claims about what Flagback is built from: every pin has a true reason, and every exception of the security checks has one."""

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
complaints: Callable[[Path, list[str], dict[str, str]], list[str]] = runpy.run_path(str(ROOT / ".ci" / "exceptions.py"))[
    "complaints"
]


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


def test_the_security_checks_hold_each_finding_against_an_exception_with_a_reason(tmp_path: Path) -> None:
    mark, pragma, key = "no" + "sec", "pragma: allow" + "list secret", "AKIA" + "2B7QX5RNWVTC6YDM"
    (tmp_path / "code.py").write_text(
        f"""import random
open_finding = random.Random(1)
excused = random.Random(1)  # {mark} B311 # repeatable, guards nothing
several = random.Random(
    1
)  # {mark} B311 # on the last line of its call
without_reason = random.Random(1)  # {mark} B311
without_number = random.Random(1)  # {mark}
another_number = random.Random(1)  # {mark} B101 # an exception for something else
nothing_there = 1  # {mark} B311 # excuses nothing
told_about = "# {mark} B311"
open_key = "{key}"
"""
    )
    (tmp_path / "keys.js").write_text(
        f"""const a = "{key}"  // {pragma} - made up, opens nothing
const b = "{key[:-1]}A"  // {pragma}
const c = "a word"  // {pragma} - excuses nothing at all
"""
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("assert open\n")
    said = complaints(tmp_path, ["code.py", "keys.js", "tests/test_a.py"], {"B101": "how a test claims"})
    assert [line.split(": ")[0] + ": " + line.split(": ")[1][:9] for line in sorted(said, key=_place)] == [
        "code.py:2: B311",
        "code.py:7: B311",
        "code.py:7: no reason",
        "code.py:8: B311",
        "code.py:8: no reason",
        "code.py:9: B311",
        "code.py:9: nothing t",
        "code.py:10: nothing t",
        "code.py:12: secret",
        "keys.js:2: no reason",
        "keys.js:3: nothing t",
    ]


def _place(line: str) -> tuple[str, int, str]:
    file, number, words = line.split(":", 2)
    return file, int(number), words


def test_a_file_that_cannot_be_read_as_python_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def broken(:\n")
    assert any("code.py" in line and "error" in line for line in complaints(tmp_path, ["code.py"], {}))
