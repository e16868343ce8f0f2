"""Scores and written texts kept on disk, so that a second look at a model is free and a stopped run goes on where it was.

One file of JSON lines for each model, suite and form, `scores/FINGERPRINT/SUITE.FORM.jsonl` (texts a model wrote:
`written/FINGERPRINT/SUITE.jsonl`) under a folder of the caller's: an installation's artifacts, or one named with --cache. An item
is known by the hash of the texts it has scored or of what it had written and how, weights and tokenizer by the fingerprint. Knows
files; knows nothing of models.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flagback.model.suites.suite import Likelihood, Scorable

#: Goes into the files' names: raised when the same texts would be scored otherwise, so that nothing old is read.
SCORING = 1
#: The same for texts: raised when the same seed would write others.
WRITING = 1


def item_hash(texts: Sequence[Scorable]) -> str:
    """sha256 of the texts of an item, in their order."""
    return hashlib.sha256(json.dumps([list(text) for text in texts]).encode("ascii")).hexdigest()


def writing_hash(beginning: str, *, draws: int, longest: int, seed: int) -> str:
    """sha256 of what an item has a model go on from, and how."""
    return hashlib.sha256(json.dumps([beginning, draws, longest, seed]).encode("ascii")).hexdigest()


class KeptScores:
    """The scores of one model on one suite."""

    def __init__(self, folder: Path, *, fingerprint: str, suite: str, form: str) -> None:
        self.path = _file(folder / "scores", fingerprint, suite, form, f"{SCORING}")
        self._known: dict[str, list[Likelihood]] = {}
        for row in _rows(self.path):
            self._read(row)

    def _read(self, row: dict[str, Any]) -> None:
        try:
            found = [Likelihood(float(logp), int(tokens)) for logp, tokens in row["scores"]]
            if all(math.isfinite(one.logp) for one in found):
                self._known[str(row["item"])] = found
        except (ValueError, KeyError, TypeError):
            return

    def get(self, key: str) -> list[Likelihood] | None:
        """An item's scores by its hash."""
        return self._known.get(key)

    def add(self, keys: Sequence[str], found: Sequence[Sequence[Likelihood]]) -> None:
        """Keeps a batch."""
        rows = [
            {"item": key, "scores": [[one.logp, one.tokens] for one in likelihoods]}
            for key, likelihoods in zip(keys, found, strict=True)
        ]
        _append(self.path, rows)
        self._known.update(zip(keys, map(list, found), strict=True))


class KeptTexts:
    """What one model wrote for one suite."""

    def __init__(self, folder: Path, *, fingerprint: str, suite: str) -> None:
        self.path = _file(folder / "written", fingerprint, suite, f"{WRITING}")
        self._known = {
            str(row["item"]): list(row["texts"])
            for row in _rows(self.path)
            if "item" in row and isinstance(row.get("texts"), list) and all(isinstance(text, str) for text in row["texts"])
        }

    def get(self, key: str) -> list[str] | None:
        """An item's texts by its hash, draws in order."""
        return self._known.get(key)

    def add(self, keys: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        """Keeps a batch."""
        _append(self.path, [{"item": key, "texts": list(one)} for key, one in zip(keys, texts, strict=True)])
        self._known.update(zip(keys, map(list, texts), strict=True))


def _file(folder: Path, fingerprint: str, *words: str) -> Path:
    for word in (fingerprint, *words):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", word):
            raise ValueError(f"{word!r} cannot name a file of scores; expected letters, digits, - and _ only.")
    return folder / fingerprint / f"{'.'.join(words)}.jsonl"


def _rows(path: Path) -> list[dict[str, Any]]:
    """A file's lines. One that a killed process left half-written is none: its item is scored again."""
    found = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One write to the end of the file, so that two processes at once do not tear each other's lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # A line feed first: what stands before may be half a line.
        os.write(handle, ("\n" + "\n".join(map(json.dumps, rows)) + "\n").encode("ascii"))
    finally:
        os.close(handle)
