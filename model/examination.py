"""Puts a suite to a model: finds the model, scores the items that were not scored before, keeps what is new.

The only part of the suites that brings weights, files and suites together. Knows nothing of the store beyond the version row it is
handed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from flagback.model.checkpoint import Loaded, load, load_masked
from flagback.model.directory import file_hashes, find, fingerprint, is_masked
from flagback.model.kept_scores import KeptScores, item_hash
from flagback.model.masked import pair_likelihoods
from flagback.model.scoring import Question, likelihoods
from flagback.model.shelf import Shelf, take_threads
from flagback.model.suites.report import measured
from flagback.model.suites.suite import Form, Item, Likelihood, Measures, Suite
from flagback.storage.records import ModelVersion


class UndefinedForm(ValueError):
    """A suite that is not defined for this kind of model."""


class Subject(NamedTuple):
    """A model to be examined; its weights are loaded only when something must be scored."""

    #: "version 3 (correction 2)" or a folder's name.
    name: str
    #: sha256 of its weights, configuration and tokenizer.
    fingerprint: str
    form: Form
    load: Callable[[], Loaded]


class Examined(NamedTuple):
    """What a model did on every item, in order."""

    measures: list[Measures]
    #: What it wrote to each item, where the suite has it write; else nothing.
    written: list[list[str]]
    #: How many items were put to it now; the others were known.
    fresh: int


def version_subject(version: ModelVersion, shelf: Shelf) -> Subject:
    """A registered version, with its corrections."""
    return Subject(f"version {version.id} ({version.name})", version.fingerprint, "causal", lambda: shelf.get(version))


def folder_subject(location: str, *, threads: int = 0) -> Subject:
    """A model folder or hub id that need not be registered, of a causal or a masked model. Raises UnusableModel.

    `threads` as for Shelf.
    """
    name, folder, kept_location = find(location, cache=None)
    masked = is_masked(folder, name)

    def loaded() -> Loaded:
        found = load_masked(kept_location) if masked else load(kept_location)
        parameters = sum(parameter.numel() for parameter in found.model.parameters())
        take_threads(parameters, threads or torch.get_num_threads(), told=bool(threads))
        return found

    return Subject(name, fingerprint(file_hashes(folder)), "masked" if masked else "causal", loaded)


def examined(
    subject: Subject,
    suite: Suite,
    items: Sequence[Item],
    *,
    keep_in: Path | None,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Examined:
    """Scores what is not kept yet, and keeps it batch by batch, so that a stopped run goes on where it was. Without a folder none
    is kept. Raises UndefinedForm, and what `scoring.likelihoods` does."""
    if subject.form not in suite.METRICS:
        raise UndefinedForm(
            f"{suite.NAME} is not defined for a {subject.form} model, which {subject.name} is; expected one of: "
            f"{', '.join(suite.METRICS)}."
        )
    questions = [Question(item.key, suite.texts(item, subject.form)) for item in items]
    hashes = [item_hash(question.texts) for question in questions]
    known: dict[str, list[Likelihood]] = {}
    kept: KeptScores | None = None
    if keep_in is not None:
        kept = KeptScores(keep_in, fingerprint=subject.fingerprint, suite=suite.NAME, form=subject.form)
        known = {key: found for key in hashes if (found := kept.get(key)) is not None}
    fresh = [place for key, place in {key: place for place, key in enumerate(hashes)}.items() if key not in known]
    done = len(known)

    def take(places: Sequence[int], found: Sequence[list[Likelihood]]) -> None:
        nonlocal done
        keys = [hashes[fresh[place]] for place in places]
        known.update(zip(keys, found, strict=True))
        if kept is not None:
            kept.add(keys, found)
        done += len(keys)
        on_progress(done, len(set(hashes)))

    if fresh:
        score = pair_likelihoods if subject.form == "masked" else likelihoods
        score(subject.load(), subject.name, [questions[place] for place in fresh], on_batch=take, should_stop=should_stop)
    scored = [known[key] for key in hashes]
    return Examined(measured(suite, items, scored, subject.form), [[] for _ in items], len(fresh))
