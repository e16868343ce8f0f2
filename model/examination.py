"""Puts a suite to a model: finds the model, scores (or has it write) what is not known from before, keeps what is new.

The only part of the suites that brings weights, files and suites together. Knows nothing of the store beyond the version row it is
handed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from flagback.model import dialogue
from flagback.model.checkpoint import Loaded, load, load_masked
from flagback.model.directory import file_hashes, find, fingerprint, is_masked
from flagback.model.kept_scores import KeptScores, KeptTexts, item_hash, writing_hash
from flagback.model.masked import pair_likelihoods
from flagback.model.recipe import Stopped
from flagback.model.sampling import Decoding, SamplePrompt, sample
from flagback.model.scoring import NothingToScore, Question, TooLongForModel, likelihoods
from flagback.model.shelf import Shelf, take_threads
from flagback.model.suites.report import measured
from flagback.model.suites.suite import Form, Item, Likelihood, Measures, ScoringSuite, WritingSuite
from flagback.storage.prompts import content_hash
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
    suite: ScoringSuite | WritingSuite,
    items: Sequence[Item],
    *,
    keep_in: Path | None,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Examined:
    """Puts what is not known yet to the model, and keeps it batch by batch, so that a stopped run goes on where it was. Without a
    folder none is kept. Raises UndefinedForm, and what `scoring.likelihoods` and `sampling.sample` do."""
    if subject.form not in suite.METRICS:
        raise UndefinedForm(
            f"{suite.NAME} is not defined for a {subject.form} model, which {subject.name} is; expected one of: "
            f"{', '.join(suite.METRICS)}."
        )
    if isinstance(suite, WritingSuite):
        return _written(subject, suite, items, keep_in, on_progress, should_stop)
    return _scored(subject, suite, items, keep_in, on_progress, should_stop)


def _scored(
    subject: Subject,
    suite: ScoringSuite,
    items: Sequence[Item],
    keep_in: Path | None,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> Examined:
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


def _written(
    subject: Subject,
    suite: WritingSuite,
    items: Sequence[Item],
    keep_in: Path | None,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> Examined:
    """Beginnings in no template, with the noise that belongs to the text of each: every model meets the same."""
    beginnings = [suite.beginning(item) for item in items]
    hashes = [writing_hash(text, draws=suite.DRAWS, longest=suite.LONGEST, seed=suite.seed) for text in beginnings]
    kept = None if keep_in is None else KeptTexts(keep_in, fingerprint=subject.fingerprint, suite=suite.NAME)
    known = {key: found for key in hashes if kept is not None and (found := kept.get(key)) is not None}
    fresh = {key: place for place, key in enumerate(hashes) if key not in known}
    done = len(known)
    if fresh:
        loaded = subject.load()
        prompts = {key: _prompt(loaded, subject.name, items[place], beginnings[place]) for key, place in fresh.items()}
        keys = {prompt.key: key for key, prompt in prompts.items()}
        decoding = Decoding(k=suite.DRAWS, max_tokens=suite.LONGEST, seed=suite.seed)
        waiting: dict[str, list[str]] = {}
        for completion in sample(loaded, list(prompts.values()), decoding, should_stop=should_stop):
            texts = waiting.setdefault(completion.key, [])
            texts.append(dialogue.answer_text(loaded.tokenizer, completion.token_ids))
            if len(texts) == suite.DRAWS:
                known[keys[completion.key]] = texts
                if kept is not None:
                    kept.add([keys[completion.key]], [texts])
                done += 1
                on_progress(done, len(set(hashes)))
        if len(known) < len(set(hashes)):
            raise Stopped("Stopped while the model was writing; what was written so far is kept.")
    written = [known[key] for key in hashes]
    return Examined([suite.judged(item, texts) for item, texts in zip(items, written, strict=True)], written, len(fresh))


def _prompt(loaded: Loaded, model_name: str, item: Item, beginning: str) -> SamplePrompt:
    """A beginning as ids, with the noise that an imported prompt of the same words has."""
    messages = [{"role": "user", "content": beginning}]
    ids = dialogue.prompt_ids(loaded.tokenizer, messages, "plain")
    if not ids:
        raise NothingToScore(f"{item.key}: {beginning[:60]!r} becomes no token, so there is nothing to go on from.")
    if loaded.context is not None and len(ids) >= loaded.context:
        raise TooLongForModel(
            f"{item.key}: {beginning[:60]!r} has {len(ids)} tokens, {model_name} reads {loaded.context} with what it writes; leave "
            "the item out, or choose a model with a longer context."
        )
    return SamplePrompt(content_hash(messages, "en"), ids)
