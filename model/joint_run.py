"""A correction as a folder, which several processes compute: what they are given, the command that starts them, what they say.

    torchrun --nproc-per-node 8 -m flagback.model.joint_run FOLDER

`write` puts all that `training.correct` is given into FOLDER/joint; every process reads it from there, and the run's checkpoints
are beside it. The first one tells of steps, alarms and the end, a line of JSON each, in FOLDER/joint/told.jsonl. A file
FOLDER/joint/stop asks it to stop. Knows nothing of the store; the caller answers for the folder being one that every machine sees.
"""

import json
import subprocess  # nosec B404 # torchrun, with our own words
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from flagback.model import checkpoint, shortage, training
from flagback.model.progress import Progress, untold
from flagback.model.ranks import Ranks, join
from flagback.model.recipe import Alarm, Flag, Pair, Ranking, Recipe, StepMetrics, SwappedPrompt, Trained
from flagback.model.reference import KeptReference
from flagback.model.spool import Spool
from flagback.storage.records import Template

#: How often the caller looks what was said, seconds, and how long it waits for an end after it asked for one.
LOOK, PATIENCE = 0.2, 60.0
KINDS: dict[str, type[Pair | Flag | Ranking | SwappedPrompt]] = {
    "pairs": Pair,
    "flags": Flag,
    "rankings": Ranking,
    "swaps": SwappedPrompt,
}


class JointRunFailed(RuntimeError):
    """A process of a run over several ended without a result, and without saying why."""


class Asked(NamedTuple):
    """What a run over several processes is asked to do; the examples are in files beside it."""

    #: As `checkpoint.load` takes them.
    location: str
    adapters: list[str]
    template: Template
    recipe: dict[str, Any]
    seed: int
    threads: int
    #: Folder and fingerprints of `KeptReference`.
    kept: tuple[str, str, str] | None = None


def write(
    folder: Path,
    asked: Asked,
    pairs: Sequence[Pair],
    *,
    flags: Sequence[Flag] = (),
    rankings: Sequence[Ranking] = (),
    swaps: Sequence[SwappedPrompt] = (),
    replay: Sequence[Sequence[int]] = (),
) -> None:
    """Writes what all processes are given; the last file is the one they look for first."""
    place = folder / "joint"
    place.mkdir(parents=True, exist_ok=True)
    for name, examples in (("pairs", pairs), ("flags", flags), ("rankings", rankings), ("swaps", swaps)):
        with (place / f"{name}.jsonl").open("w", encoding="ascii") as file:
            file.writelines(json.dumps(vars(example), default=list) + "\n" for example in examples)
    with (place / "replay.jsonl").open("w", encoding="ascii") as file:
        file.writelines(json.dumps(list(line)) + "\n" for line in replay)
    for name in ("told.jsonl", "stop"):
        (place / name).unlink(missing_ok=True)
    (place / "asked.json").write_text(json.dumps(asked._asdict(), indent=1))


def command(folder: Path, processes: int) -> list[str]:
    """The words that start the processes on this machine."""
    share = f"--nproc-per-node={processes}"
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", share, "-m", "flagback.model.joint_run", str(folder)]


def correct(
    folder: Path,
    processes: int,
    *,
    on_step: Callable[[StepMetrics], None] = lambda _: None,
    on_alarm: Callable[[Alarm], None] = lambda _: None,
    on_progress: Progress = untold,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Starts the processes of this machine on what `write` has put down, and gives what they found; raises what they raised.

    Where one ran out of memory all are started once more with half as much computed at once.
    """
    last = [0]

    def step_done(metrics: StepMetrics) -> None:
        last[0] = metrics.step
        on_step(metrics)

    try:
        return _followed(folder, processes, step_done, on_alarm, on_progress, should_stop)
    except training.OutOfMemory:
        if shortage.halved(folder):
            raise
    on_alarm(*shortage.halve(folder, last[0]))
    return _followed(folder, processes, on_step, on_alarm, on_progress, should_stop)


def _followed(
    folder: Path,
    processes: int,
    on_step: Callable[[StepMetrics], None],
    on_alarm: Callable[[Alarm], None],
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> Trained:
    place = folder / "joint"
    _end_earlier(folder)
    (place / "told.jsonl").unlink(missing_ok=True)
    with (place / "output.txt").open("ab") as output:
        started = subprocess.Popen(command(folder, processes), stdout=output, stderr=output)  # nosec B603 # our own words
    ending: dict[str, Any] = {}
    heard = 0
    try:
        while True:
            ended = started.poll() is not None
            lines = _told(place)
            for said in lines[heard:]:
                if "step" in said:
                    on_step(StepMetrics(**said["step"]))
                elif "alarm" in said:
                    on_alarm(Alarm(**said["alarm"]))
                elif "progress" in said:
                    on_progress(*said["progress"])
                else:
                    ending = ending or said  # others may go on talking for a while behind an error
            heard = len(lines)
            if ended:
                break
            if should_stop():
                (place / "stop").touch()
            time.sleep(LOOK)
    finally:
        if started.poll() is None:
            started.terminate()
            started.wait(PATIENCE)
    return _ending(ending, started.returncode, place)


def _end_earlier(folder: Path) -> None:
    """Ends processes of this very run that are left of a caller who was killed: two of them must not write into one folder."""
    own = command(folder, 1)[-2:]
    left = [process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or [])[-2:] == own]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, PATIENCE)


def _ending(ending: dict[str, Any], code: int, place: Path) -> Trained:
    """What the word with which the processes ended means; they may have said none."""
    if "trained" in ending:
        found = ending["trained"]
        return Trained(
            **found
            | {
                "adapter": Path(found["adapter"]),
                "metrics": tuple(StepMetrics(**one) for one in found["metrics"]),
                "dropped": tuple(training.Dropped(*one) for one in found["dropped"]),
                "alarms": tuple(Alarm(*one) for one in found["alarms"]),
            }
        )
    if "error" in ending:
        kind = {known.__name__: known for known in ENDINGS}.get(ending["error"], JointRunFailed)
        raise kind(ending["words"])
    raise JointRunFailed(
        f"The processes of the correction ended with code {code} and no word; what they printed is in {place / 'output.txt'}. The "
        "current model is untouched; run 'flagback correct' again."
    )


#: What a process may raise that the caller is told by name.
ENDINGS: tuple[type[Exception], ...] = (
    training.BadPair,
    training.BadRecipe,
    training.DiskFull,
    training.ForeignFolder,
    training.NoPairs,
    training.NotFinite,
    training.NotSharded,
    training.OutOfMemory,
    training.Stopped,
)


def _told(place: Path) -> list[dict[str, Any]]:
    """Whole lines said so far."""
    if not (place / "told.jsonl").exists():
        return []
    *lines, _ = (place / "told.jsonl").read_text(encoding="ascii").split("\n")
    return [json.loads(line) for line in lines]


def main(folder: Path) -> None:
    """One of the processes, as torchrun starts it."""
    place = folder / "joint"
    asked = Asked(**json.loads((place / "asked.json").read_text()))
    recipe = Recipe(**asked.recipe)
    ranks = join(recipe.sharding)
    torch.set_num_threads(asked.threads)

    def tell(**said: Any) -> None:
        with (place / "told.jsonl").open("a", encoding="ascii") as file:
            file.write(json.dumps(said, default=str) + "\n")

    try:
        trained = _computed(place, asked, recipe, ranks, tell)
    except Exception as error:
        if isinstance(error, ENDINGS):
            tell(error=type(error).__name__, words=str(error))
        raise
    if ranks.first:
        tell(trained=asdict(trained))
    ranks.barrier()
    torch.distributed.destroy_process_group()


def _computed(place: Path, asked: Asked, recipe: Recipe, ranks: Ranks, tell: Callable[..., None]) -> Trained:
    loaded = checkpoint.load(asked.location, [Path(adapter) for adapter in asked.adapters], template=asked.template)
    if not ranks.sharded:
        loaded.model.to(ranks.device)
    examples = {name: Spool(kind, file=place / f"{name}.jsonl") for name, kind in KINDS.items()}
    kept = None
    if asked.kept is not None:
        root, weights, tokenizer = asked.kept
        kept = KeptReference(Path(root), weights=weights, tokenizer=tokenizer)
    return training.correct(
        loaded,
        **examples,  # type: ignore[arg-type] # each kind under its own name
        replay=list(_lines(place / "replay.jsonl")),
        recipe=recipe,
        seed=asked.seed,
        folder=place.parent,
        kept=kept,
        ranks=ranks,
        on_step=lambda metrics: tell(step=asdict(metrics)) if ranks.first else None,
        on_alarm=lambda alarm: tell(alarm=alarm._asdict()) if ranks.first else None,
        on_progress=lambda *far: tell(progress=far) if ranks.first else None,
        should_stop=lambda: (place / "stop").exists(),
    )


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
