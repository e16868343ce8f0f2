"""Checkpoints of a correction run that survive a kill at any moment.

The Trainer's own are not atomic: a truncated file raises, and a missing optimizer file resumes silently to another adapter. Here
a checkpoint is written aside, listed with the hash of every file, and only then put in its place. Knows nothing of torch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flagback.model.recipe import ForeignFolder

#: The list of a checkpoint's files.
MANIFEST = "manifest.json"
#: Complete checkpoints that are kept: the newest, and one before it in case the disk loses the newest.
KEPT = 2


class Checkpoint(NamedTuple):
    """A complete checkpoint."""

    step: int
    path: Path


class Checkpoints:
    """The checkpoints of one run under `folder`; `run` is the fingerprint of what the run computes."""

    def __init__(self, folder: Path, run: str) -> None:
        """Makes the folder, and refuses one that belongs to another run (ForeignFolder)."""
        self.folder = folder
        self.run = run
        folder.mkdir(parents=True, exist_ok=True)
        owner = folder / "run.sha256"
        if owner.exists() and owner.read_text() != run:
            raise ForeignFolder(
                f"{folder} holds the checkpoints of another run ({owner.read_text()[:12]}, this one is {run[:12]}: "
                "other pairs, recipe, seed or model); give an empty folder, or delete this one."
            )
        if not owner.exists():
            written = folder / "run.sha256.writing"
            written.write_text(run)
            written.replace(owner)

    @property
    def aside(self) -> Path:
        """Where a checkpoint is written before it counts."""
        return self.folder / "writing"

    def clear_aside(self) -> None:
        """Removes what a killed process left half written."""
        shutil.rmtree(self.aside, ignore_errors=True)

    def keep(self, written: Path, step: int) -> Path:
        """Lists the files of `written`, syncs them, moves it into place, removes all but the newest few. Returns the new place."""
        files = {path.name: file_sha256(path) for path in sorted(written.iterdir())}
        manifest = written / MANIFEST
        manifest.write_text(json.dumps({"run": self.run, "step": step, "files": files}, indent=1))
        for path in written.iterdir():
            _sync(path)
        place = self.folder / f"step-{step:06d}"
        shutil.rmtree(place, ignore_errors=True)
        written.rename(place)
        _sync(self.folder)
        for old in self._all()[KEPT:]:
            shutil.rmtree(old.path, ignore_errors=True)
        return place

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint whose every file is as it was written; others are passed over."""
        return next((found for found in self._all() if self._complete(found)), None)

    def _all(self) -> list[Checkpoint]:
        found = [Checkpoint(int(path.name.removeprefix("step-")), path) for path in self.folder.glob("step-*") if path.is_dir()]
        return sorted(found, reverse=True)

    def _complete(self, found: Checkpoint) -> bool:
        try:
            manifest = json.loads((found.path / MANIFEST).read_text())
            files = {path.name: file_sha256(path) for path in found.path.iterdir() if path.name != MANIFEST}
        except (OSError, ValueError):
            return False
        return bool(manifest == {"run": self.run, "step": found.step, "files": files})


def clear_checkpoints(folder: Path) -> None:
    """Removes the checkpoints under the folder of a run whose adapter is kept elsewhere; what they were scored by stays."""
    for path in [*folder.rglob("step-*"), *folder.rglob("writing")]:
        shutil.rmtree(path, ignore_errors=True)


def write_folder(place: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder aside, syncs its files and moves it to `place`, replacing what was there."""
    aside = place.with_name(place.name + ".writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    write(aside)
    for path in aside.iterdir():
        _sync(path)
    shutil.rmtree(place, ignore_errors=True)
    aside.rename(place)
    _sync(place.parent)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Has the disk hold what was written."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
