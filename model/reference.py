"""Log-probabilities under the reference: computed once without an adapter, and kept.

Kept twice. In a run's own folder, so that a killed run goes on with the very numbers it began with. And, where a caller names a
place, by (weights, tokenizer, prompt, answer), so that later runs of the same parent score only what is new: one file of JSON
lines a model, `reference/FINGERPRINT/TOKENIZER.1.jsonl`, which may be copied to another machine as it is. What is damaged, torn or
another model's is scored again and never read. Knows token ids; knows nothing of preferences or of the store.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from flagback.model.layout import tree_logps
from flagback.model.progress import Scored, untold
from flagback.model.ranks import ALONE, Ranks
from flagback.model.recipe import LayoutName, NotFinite
from flagback.model.spool import View
from flagback.model.trees import Tree

#: The file in a run's folder.
FILE = "reference.safetensors"
#: Goes into names and seals: raised when the same ids would be scored otherwise, so that nothing old is read.
SCORING = 1
#: Trees whose numbers are written together.
AT_A_TIME = 500


class Found(NamedTuple):
    """Log-probabilities of every tree's answers, tree by tree."""

    logps: list[list[float]]
    #: Answers whose number was kept from an earlier run, of all of them.
    kept: int
    #: sha256 of all numbers as float32: with it, equal pairs, recipe and seed give equal adapters.
    sha256: str


class KeptReference:
    """What one model made of answers in earlier runs."""

    def __init__(self, folder: Path, *, weights: str, tokenizer: str) -> None:
        """`weights` and `tokenizer` are fingerprints; a line that was not written for both of them is not read."""
        for word in (weights, tokenizer):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", word):
                raise ValueError(f"{word!r} cannot name a file of references; expected letters, digits, - and _ only.")
        self.path = folder / "reference" / weights / f"{tokenizer}.{SCORING}.jsonl"
        self._model = (weights, tokenizer)
        #: By (how, answer), and by (how, tree, answer) for the very tree it was scored in.
        self._known: dict[bytes, float] = {}
        self._exact: dict[bytes, float] = {}
        for row in _rows(self.path):
            self._read(row)

    def get(self, how: str, tree: Tree) -> list[float | None]:
        """The log-probabilities of a tree's answers, scored in the way `how` (layout and type of number); None for one not kept.

        Numbers from the same tree go before others of the same answer, which differ in their last bits: the same pairs get the
        numbers of their first run again.
        """
        name = tree_key(tree)
        found: list[float | None] = []
        for answer in tree.answers:
            key = answer_key(tree.prompt, answer)
            found.append(self._exact.get(_short(how, name, key), self._known.get(_short(how, key))))
        return found

    def add(self, how: str, trees: Sequence[Tree], logps: Sequence[Sequence[float]]) -> None:
        """Keeps trees' numbers where they are new; so many lines in one write, so that two processes tear none."""
        for start in range(0, len(trees), AT_A_TIME):
            self._add(how, trees[start : start + AT_A_TIME], logps[start : start + AT_A_TIME])

    def _add(self, how: str, trees: Sequence[Tree], logps: Sequence[Sequence[float]]) -> None:
        lines: list[str] = []
        for tree, values in zip(trees, logps, strict=True):
            name = tree_key(tree)
            for answer, logp in zip(tree.answers, values, strict=True):
                key = answer_key(tree.prompt, answer)
                if _short(how, name, key) not in self._exact:
                    seal = self._seal(how, name, key, logp)
                    lines.append(json.dumps({"how": how, "tree": name, "answer": key, "logp": logp, "seal": seal}))
                    self._take(how, name, key, logp)
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # A line feed first: what stands before may be half a line.
            os.write(handle, ("\n" + "\n".join(lines) + "\n").encode("ascii"))
        finally:
            os.close(handle)

    def _read(self, row: dict[str, Any]) -> None:
        """Takes a line whose seal says that it is whole and this model's. Against mishaps, not against a forger."""
        how, name, key, logp = (row.get(field) for field in ("how", "tree", "answer", "logp"))
        if not isinstance(how, str) or not isinstance(name, str) or not isinstance(key, str):
            return
        if isinstance(logp, float) and math.isfinite(logp) and row.get("seal") == self._seal(how, name, key, logp):
            self._take(how, name, key, logp)

    def _take(self, how: str, name: str, key: str, logp: float) -> None:
        self._exact.setdefault(_short(how, name, key), logp)
        self._known.setdefault(_short(how, key), logp)

    def _seal(self, how: str, name: str, key: str, logp: float) -> str:
        sealed = [SCORING, *self._model, how, name, key, logp.hex()]
        return hashlib.sha256(json.dumps(sealed).encode("ascii")).hexdigest()


def _short(*words: str) -> bytes:
    """A name of 16 bytes for words without a space: what is held for each answer ever scored."""
    return hashlib.blake2b(" ".join(words).encode("ascii"), digest_size=16).digest()


def answer_key(prompt: Sequence[int], answer: Sequence[int]) -> str:
    """sha256 of a prompt's and an answer's token ids."""
    return hashlib.sha256(json.dumps([list(prompt), list(answer)]).encode("ascii")).hexdigest()


def tree_key(tree: Tree) -> str:
    """sha256 of a prompt's and all answers' token ids."""
    return hashlib.sha256(json.dumps([list(tree.prompt), [list(answer) for answer in tree.answers]]).encode("ascii")).hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of a tokenizer's class and of its tokens with their ids."""
    named = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    return hashlib.sha256(json.dumps(named).encode("ascii")).hexdigest()


def reference_logps(
    model: Any,
    trees: Sequence[Tree],
    layout: LayoutName,
    *,
    folder: Path,
    run: str,
    file: str = FILE,
    kept: KeptReference | None = None,
    cuts: int = 1,
    ranks: Ranks = ALONE,
    on_scored: Scored = untold,
    should_stop: Callable[[], bool] = lambda: False,
) -> Found:
    """Every tree's answers under the model without an adapter: of the run's folder, else what was kept, else computed.

    Which answers are computed at once decides their last bits, so that a run which finds some of them kept may differ there from
    one that finds none. Raises NotFinite and Stopped.
    """
    before = _of_run(folder / file, run, trees)
    if ranks.agreed(before is not None) and before is not None:
        return before
    logps, known = kept_logps(model, trees, layout, kept, cuts=cuts, ranks=ranks, on_scored=on_scored, should_stop=should_stop)
    found = _found(logps, known)
    if not ranks.first:
        return found
    aside = (folder / file).with_suffix(".writing")
    save_file({"logps": _tensor(logps)}, aside, metadata={"run": run, "sha256": found.sha256, "kept": str(found.kept)})
    aside.replace(folder / file)
    return found


def kept_logps(
    model: Any,
    trees: Sequence[Tree],
    layout: LayoutName,
    kept: KeptReference | None,
    *,
    cuts: int = 1,
    ranks: Ranks = ALONE,
    on_scored: Scored = untold,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[list[list[float]], int]:
    """Every tree's answers under a model, and how many of them were kept from before; what was not is kept now.

    Raises NotFinite and Stopped, and keeps nothing then.
    """
    weight = next(iter(model.parameters()))
    how = f"{layout}.{str(weight.dtype).removeprefix('torch.')}"
    if torch.is_autocast_enabled(weight.device.type):
        how += f".{str(torch.get_autocast_dtype(weight.device.type)).removeprefix('torch.')}"
    known = [[None] * len(tree.answers) if kept is None else kept.get(how, tree) for tree in trees]
    new = [place for place, values in enumerate(known) if None in values]

    def missing(number: int) -> Tree:
        tree, values = trees[new[number]], known[new[number]]
        return Tree(tree.prompt, tuple(answer for answer, value in zip(tree.answers, values, strict=True) if value is None))

    scored = tree_logps(
        model, View(len(new), missing), layout, cuts=cuts, ranks=ranks, on_scored=on_scored, should_stop=should_stop
    )
    fresh = iter(scored)
    logps = [_filled(values, next(fresh) if None in values else ()) for values in known]
    before = sum(value is not None for values in known for value in values)
    for whole in (scored, known, new):  # of all trees, and needed no more
        whole.clear()
    if not all(math.isfinite(value) for values in logps for value in values):
        raise NotFinite(
            "The model gives an answer of the pairs no finite probability before any training; "
            "check the model with 'flagback model add', and load it in float32."
        )
    if kept is not None and ranks.first:
        kept.add(how, trees, logps)
    return logps, before


def _filled(known: Sequence[float | None], fresh: Sequence[float]) -> list[float]:
    """A tree's numbers, those that were not known taken from the fresh ones in turn."""
    more = iter(fresh)
    return [next(more) if value is None else value for value in known]


def _of_run(place: Path, run: str, trees: Sequence[Tree]) -> Found | None:
    """What the run's folder holds; None where it is another run's, damaged, or not there."""
    try:
        with safe_open(place, framework="pt") as file:
            told = file.metadata() or {}
            values = iter(file.get_tensor("logps").reshape(-1).tolist())
    except (FileNotFoundError, SafetensorError):
        return None
    try:
        found = _found([[next(values) for _ in tree.answers] for tree in trees], int(told.get("kept", "0")))
    except (StopIteration, RuntimeError, ValueError):
        return None
    return found if told.get("run") == run and told.get("sha256") == found.sha256 else None


def _found(logps: list[list[float]], kept: int) -> Found:
    return Found(logps, kept, hashlib.sha256(_tensor(logps).numpy().tobytes()).hexdigest())


def _tensor(logps: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.tensor([value for values in logps for value in values], dtype=torch.float32)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """A file's lines that are JSON objects; half a line, which a killed process may leave, is none."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
