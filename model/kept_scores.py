"""Scores kept on disk, so that a second look at a model is free and a stopped run goes on where it was.

One file of JSON lines for each model, suite and form, `scores/FINGERPRINT/SUITE.FORM.jsonl` under a folder of the caller's: an
installation's artifacts, or one named with --cache. An item is known by the hash of the texts it has scored, weights and tokenizer
by the fingerprint. Knows files; knows nothing of models.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from flagback.model.suites.suite import Likelihood, Text

#: Goes into the files' names: raised when the same texts would be scored otherwise, so that nothing old is read.
SCORING = 1


def item_hash(texts: Sequence[Text]) -> str:
    """sha256 of the texts of an item, in their order."""
    return hashlib.sha256(json.dumps([list(text) for text in texts]).encode("ascii")).hexdigest()


class KeptScores:
    """The scores of one model on one suite."""

    def __init__(self, folder: Path, *, fingerprint: str, suite: str, form: str) -> None:
        for word in (fingerprint, suite, form):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", word):
                raise ValueError(f"{word!r} cannot name a file of scores; expected letters, digits, - and _ only.")
        self.path = folder / "scores" / fingerprint / f"{suite}.{form}.{SCORING}.jsonl"
        self._known: dict[str, list[Likelihood]] = {}
        if self.path.is_file():
            for line in self.path.read_bytes().split(b"\n"):
                self._read(line)

    def _read(self, line: bytes) -> None:
        """Takes in a line. One that a killed process left half-written is no score: its item is scored again."""
        try:
            row = json.loads(line)
            found = [Likelihood(float(logp), int(tokens)) for logp, tokens in row["scores"]]
            if all(math.isfinite(one.logp) for one in found):
                self._known[str(row["item"])] = found
        except (ValueError, KeyError, TypeError):
            return

    def get(self, key: str) -> list[Likelihood] | None:
        """An item's scores by its hash."""
        return self._known.get(key)

    def add(self, keys: Sequence[str], found: Sequence[Sequence[Likelihood]]) -> None:
        """Keeps a batch: one write to the end of the file, so that two processes at once do not tear each other's lines."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"item": key, "scores": [[one.logp, one.tokens] for one in likelihoods]})
            for key, likelihoods in zip(keys, found, strict=True)
        ]
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # A line feed first: what stands before may be half a line.
            os.write(handle, ("\n" + "\n".join(lines) + "\n").encode("ascii"))
        finally:
            os.close(handle)
        self._known.update(zip(keys, map(list, found), strict=True))
