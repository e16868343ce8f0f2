"""Runs bandit and detect-secrets over every tracked file, and holds what they find against the exceptions in the code.

An exception stands on its line and says why: '# nosec B603 # why', or '# pragma: allowlist secret - why'. What is found without
one fails; so does one that excuses nothing, and one that gives no reason. Says nothing where all is well; asks no other machine.
"""

import json
import re
import subprocess  # nosec B404 # runs git and the two tools, never a shell
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

NOSEC = re.compile(r"#\s*nosec\b(?: (?P<ids>B\d{3}(?:,B\d{3})*) # (?P<why>\S.{7,}))?", re.IGNORECASE)
PRAGMA = re.compile(r"pragma: ?allowlist[ -](?:nextline[ -])?secret(?: - (?P<why>\S.{7,}))?")
#: Words that stand for a secret in an address that is shown as an example.
PLACEHOLDERS = "^PASSWORD$"


class Mark(NamedTuple):
    """An exception written in a file."""

    file: str
    line: int
    #: What it excuses, such as "B603"; "secret" for detect-secrets.
    what: str
    #: Empty where its line gives none.
    why: str


class Finding(NamedTuple):
    """What one of the two tools found."""

    file: str
    line: int
    what: str
    words: str
    #: The lines on which an exception counts.
    lines: frozenset[int]


def marks(root: Path, files: Sequence[str]) -> Iterator[Mark]:
    """Every exception in these files. In Python only a comment is one, so that a text may speak of them."""
    for file in files:
        for number, comment in _comments(root / file):
            if file.endswith(".py") and (found := NOSEC.search(comment)):
                for what in (found["ids"] or "everything").split(","):
                    yield Mark(file, number, what, found["why"] or "")
            if found := PRAGMA.search(comment):
                yield Mark(file, number, "secret", found["why"] or "")


def _comments(path: Path) -> Iterator[tuple[int, str]]:
    """The comments of a Python file, the lines of any other, each with its line's number."""
    if path.suffix != ".py":
        yield from enumerate(path.read_bytes().decode("utf-8", "ignore").splitlines(), start=1)
        return
    with path.open("rb") as file, suppress(tokenize.TokenError, SyntaxError):  # bandit names a file that is no Python
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def unsafe(root: Path, files: Sequence[str], allowed: dict[str, str]) -> Iterator[Finding]:
    """What bandit finds in these files, exceptions or not; under tests, all but what is `allowed` there."""
    options = ["--ignore-nosec", "--quiet", "--format", "json"]
    report = _report(root, "bandit", *options, *(file for file in files if file.endswith(".py")))
    for error in report["errors"]:
        yield Finding(error["filename"], 0, "error", error["reason"], frozenset())
    for found in report["results"]:
        file = found["filename"].removeprefix("./")
        if not (file.startswith("tests/") and found["test_id"] in allowed):
            lines = frozenset([found["line_number"], *found["line_range"]])
            yield Finding(file, found["line_number"], found["test_id"], found["issue_text"], lines)


def secrets(root: Path, files: Sequence[str], *, excused: bool) -> Iterator[Finding]:
    """What detect-secrets finds in these files: without those that a comment excuses, or only those."""
    options = ["--no-verify", "--exclude-secrets", PLACEHOLDERS, *(["--only-allowlisted"] if excused else [])]
    for file, found in _report(root, "detect_secrets", "scan", *options, *files)["results"].items():
        for secret in found:
            yield Finding(file, secret["line_number"], "secret", secret["type"], frozenset([secret["line_number"]]))


def _report(root: Path, tool: str, *words: str) -> dict[str, Any]:
    """A tool's JSON; one that did not run to its end gives no clean report."""
    command = [sys.executable, "-m", tool, *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # nosec B603 # names from git, no shell
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{tool} ended with {done.returncode}:\n{done.stderr}")
    return report


def complaints(root: Path, files: Sequence[str], allowed: dict[str, str]) -> list[str]:
    """One line for each finding without an exception, and for each exception without a finding or a reason."""
    written = list(marks(root, files))
    found = list(unsafe(root, files, allowed))
    open_secrets = list(secrets(root, files, excused=False))
    with_pragma = sorted({mark.file for mark in written if mark.what == "secret"})
    excused = list(secrets(root, with_pragma, excused=True)) if with_pragma else []
    said = [
        f"{one.file}:{one.line}: {one.what}: {one.words}"
        for one in [*found, *open_secrets]
        if one in open_secrets or not any(_covers(mark, one) for mark in written)
    ]
    for mark in written:
        if not mark.why:
            said.append(f"{mark.file}:{mark.line}: no reason, or no number; write '# nosec B603 # why' or '... secret - why'.")
        elif not any(_covers(mark, one) for one in [*found, *excused]):
            said.append(f"{mark.file}:{mark.line}: nothing there needs the exception for {mark.what}; take it out.")
    return said


def _covers(mark: Mark, found: Finding) -> bool:
    return (mark.file, mark.what) == (found.file, found.what) and mark.line in found.lines


def tracked(root: Path) -> list[str]:
    """The files that git knows and that are there."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # nosec B603 # fixed words, no shell
    listed = done.stdout.split("\0")
    return [file for file in listed if file and (root / file).is_file()]


if __name__ == "__main__":
    here = Path(__file__).parent.parent
    settings = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["exceptions"]
    found = complaints(here, tracked(here), settings["tests"])
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)
