"""Distillation from the store: a teacher answers prompts of training shards, the current version learns its answers.

The way between `distillation.py`, which knows no store, and the records. A distillation is a correction run that names a
teacher: the steps after its training are a correction's, the gate included.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from flagback.model import checkpoint, dialogue, sampling, shortage
from flagback.model.checkpoint import Loaded
from flagback.model.directory import file_hashes, find, fingerprint
from flagback.model.distillation import Distilled, Share, Taught, distil, why_words_alone
from flagback.model.lesson import replay_texts
from flagback.model.recipe import Recipe, Stopped
from flagback.model.shelf import ChangedWeights, Shelf
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.records import CorrectionRun, ModelVersion, Prompt
from flagback.storage.runs import NoPrompts
from flagback.storage.store import Store

#: What the teacher wrote, a JSON object a line.
FILE = "taught.jsonl"
#: What goes on with a distillation.
AGAIN = "flagback distil"


def teacher_of(location: str, *, answers: int, prompts: int, max_tokens: int, share: Share) -> dict[str, Any]:
    """What a run keeps of its teacher, which is looked at as a model is that is added. Raises UnusableModel."""
    found = checkpoint.inspect(location)
    return {
        "name": found.name,
        "location": found.location,
        "template": found.template,
        "fingerprint": found.fingerprint,
        "parameters": found.facts["parameters"],
        "answers": answers,
        "prompts": prompts,
        "max_tokens": max_tokens,
        "share": share._asdict(),
    }


def train(
    store: Store,
    shelf: Shelf,
    run: CorrectionRun,
    parent: ModelVersion,
    *,
    folder: Path,
    keep: Callable[[dict[str, float]], None],
    should_stop: Callable[[], bool],
) -> tuple[Distilled, dict[str, Any]]:
    """Trains the run's adapter; what the teacher wrote is kept as an artifact. Returns what came of it and what the run keeps.

    Raises NoPrompts, ChangedWeights, and what `distil` raises.
    """
    recipe, told = Recipe(**run.recipe), run.teacher
    files = file_hashes(find(told["location"], cache=None)[1])
    if fingerprint(files) != told["fingerprint"]:
        raise ChangedWeights(
            f"{told['location']} is not what was named as the teacher of correction {run.id}; bring the old files back, or ask "
            "for a distillation anew."
        )
    with store.reading() as session:
        prompts = _prompts(session, int(told["prompts"]), run.seed)
        replay = replay_texts(session)
    if not prompts:
        raise NoPrompts("There is no prompt of a training shard for the teacher; bring some with 'flagback import prompts FILE'.")
    student = shelf.fresh(parent)
    teacher = checkpoint.load(told["location"], template=told["template"])
    alone = why_words_alone(teacher, student)
    share = Share(**told["share"])
    if alone is not None:
        share = share._replace(distribution=0.0)
    folder.mkdir(parents=True, exist_ok=True)
    written = _written(teacher, prompts, told, run.seed, folder, should_stop)
    taught = [_taught(row, prompts[row["prompt"]], teacher, student, same=alone is None) for row in written]
    made = distil(
        student,
        teacher,
        taught,
        share=share,
        replay=[dialogue.answer_ids(student.tokenizer, text, "plain") for text in replay],
        recipe=recipe,
        seed=run.seed,
        folder=folder / "steps",
        on_step=keep,
        should_stop=should_stop,
    )
    with shortage.room_on_disk(shelf.artifacts.root, AGAIN):
        kept_text = shelf.artifacts.put(folder / "taught")
    way = "sequences and distributions" if share.distribution else "sequences"
    kept = {"way": way, "why_words_alone": alone, "taught_sha256": kept_text, "prompts": len(prompts)}
    return made, {"distillation": kept, "recipe": asdict(recipe)}


def _prompts(session: Session, limit: int, seed: int) -> dict[str, Prompt]:
    """Up to `limit` prompts of training shards by content hash, in an order drawn by seed and content."""
    found = session.exec(select(Prompt).where(col(Prompt.shard).in_(TRAINING_SHARDS))).all()
    ranked = sorted(found, key=lambda prompt: hashlib.sha256(f"{seed}:{prompt.content_hash}".encode()).digest())
    return {prompt.content_hash: prompt for prompt in ranked[:limit]}


def _written(
    teacher: Loaded, prompts: dict[str, Prompt], told: dict[str, Any], seed: int, folder: Path, should_stop: Callable[[], bool]
) -> list[dict[str, Any]]:
    """What the teacher answers, as it was kept by the run before a kill, or written and kept now."""
    place = folder / "taught"
    if not place.exists():
        decoding = sampling.Decoding(
            k=int(told["answers"]), temperature=1.0, top_p=1.0, max_tokens=int(told["max_tokens"]), seed=seed
        )
        wanted = [
            sampling.SamplePrompt(key, dialogue.prompt_ids(teacher.tokenizer, prompt.messages, teacher.template))
            for key, prompt in prompts.items()
        ]
        rows = [
            {
                "prompt": done.key,
                "draw": done.draw,
                "token_ids": done.token_ids,
                "finish_reason": done.finish_reason,
                "text": dialogue.answer_text(teacher.tokenizer, done.token_ids),
            }
            for done in sampling.sample(teacher, wanted, decoding, should_stop=should_stop)
        ]
        if should_stop():
            raise Stopped("Stopped while the teacher was answering; starting it again has it answer anew.")
        aside = folder / "taught.writing"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        rows.sort(key=lambda row: (str(row["prompt"]), int(str(row["draw"]))))
        (aside / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        aside.rename(place)
    return [json.loads(line) for line in (place / FILE).read_text(encoding="utf-8").splitlines()]


def _taught(row: dict[str, Any], prompt: Prompt, teacher: Loaded, student: Loaded, *, same: bool) -> Taught:
    """An answer for the student: the very ids where both read the same tokens, else its text at the same boundary."""
    ids = row["token_ids"]
    if not same:
        ids = dialogue.answer_ids(student.tokenizer, row["text"], student.template)
        # An answer that was cut short has no end to learn.
        ids = ids if row["finish_reason"] == "end" else ids[:-1]
    return Taught(
        f"{row['prompt']}:{row['draw']}",
        tuple(dialogue.prompt_ids(student.tokenizer, prompt.messages, student.template)),
        tuple(ids),
        tuple(dialogue.prompt_ids(teacher.tokenizer, prompt.messages, teacher.template)) if same else (),
    )
