"""Writes constraints.txt: every distribution that Flagback needs, its exact version, and why it is here.

Knows pyproject.toml and what is installed; knows no index and installs nothing. For 'make constraints'.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
#: torch pins its CUDA libraries itself, exactly, and its CPU build has none of them.
BY_TORCH = ("nvidia-", "cuda-", "triton")
#: What markers are read for: the oldest Python that is supported, on Linux; so every machine gives the same reasons.
AS_TESTED = {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}


def asked_for(pyproject: str) -> dict[str, str]:
    """Every requirement of pyproject.toml, the development extra included, with the comment on its line ('' without one)."""
    project = tomllib.loads(pyproject)["project"]
    asked: list[str] = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return {
        requirement: found[1].strip() if (found := re.search(rf'^ +"{re.escape(requirement)}", +# (.+)$', pyproject, re.M)) else ""
        for requirement in asked
    }


def needs(name: str, extra: str = "") -> set[Requirement]:
    """What a distribution requires, by itself or for one of its extras; nothing for one that is not installed."""
    requirements = [Requirement(line) for line in (distribution(name).requires or [] if is_installed(name) else [])]
    return {inner for inner in requirements if inner.marker is None or inner.marker.evaluate(AS_TESTED | {"extra": extra})}


def needed_by(asked: list[str]) -> dict[str, set[str]]:
    """Everything installed that these requirements lead to, by its canonical name, each with who requires it.

    One that is required for an extra only is 'psycopg[binary]', not 'psycopg'.
    """
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("", Requirement(requirement)) for requirement in asked]
    while waiting:
        parent, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(BY_TORCH) or not is_installed(name):
            continue
        found.setdefault(name, set()).update({parent} - {""})
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                own = needs(name) if extra else set()
                waiting += [(f"{called(name)}[{extra}]" if extra else called(name), inner) for inner in needs(name, extra) - own]
    return found


def is_installed(name: str) -> bool:
    """Whether this environment has the distribution; 'pip check' says whether one is missing."""
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def called(name: str) -> str:
    """The name as the distribution itself writes it."""
    return str(distribution(name).metadata["Name"])


def version(name: str) -> str:
    """The installed version; the same release of torch is '2.13.0' and '2.13.0+cpu', so without the part after '+'."""
    return distribution(name).version.partition("+")[0]


def lines(pyproject: str) -> list[str]:
    """The pins, sorted by name, each with its reason: its own from pyproject.toml, or the names of those that require it."""
    asked = asked_for(pyproject)
    own: dict[str, str] = {canonicalize_name(Requirement(requirement).name): reason for requirement, reason in asked.items()}
    return [
        f"{called(name)}=={version(name)}  # {own.get(name) or 'needed by ' + ', '.join(sorted(parents, key=str.lower))}"
        for name, parents in sorted(needed_by(list(asked)).items())
    ]


if __name__ == "__main__":
    target = ROOT / "constraints.txt"
    head = [line for line in target.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    target.write_text("\n".join([*head, *lines((ROOT / "pyproject.toml").read_text(encoding="utf-8"))]) + "\n", encoding="utf-8")
