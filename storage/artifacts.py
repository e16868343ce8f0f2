"""Artifacts: folders of files, kept under the sha256 of their content. Knows files; knows no model and no database.

The address of a folder is sha256, in hex, of the JSON array [[name, sha256 of the file], ...] sorted by name (POSIX, relative),
with no spaces and non-ASCII escaped. What is at an address never changes.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


class MissingArtifact(Exception):
    """Nothing is kept under this address."""


class DamagedArtifact(Exception):
    """What is kept is not what was put."""


class UnusableFolder(ValueError):
    """A folder that cannot be kept: empty, or with something that is no plain file."""


class Artifacts:
    """The artifacts under one root folder, which is made at first use."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, folder: Path) -> str:
        """Keeps a copy of a folder and returns its address. Killed half-way it leaves no artifact; done twice it keeps one."""
        self.root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
        try:
            content = aside / "content"
            content.mkdir()
            for name, source in _files(folder).items():
                _copy(source, content / name)
            address = _address(content)
            target = self.root / address
            if not target.exists():
                _keep(content, target)
            return address
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def path(self, sha256: str) -> Path:
        """Where an artifact is. Raises MissingArtifact."""
        found = self.root / sha256
        if not _SHA256.fullmatch(sha256) or not found.is_dir():
            raise MissingArtifact(
                f"No artifact {sha256!r} in {self.root}; bring the folder back from a backup of the home, or "
                "run the "
                "correction again."
            )
        return found

    def verify(self, sha256: str) -> None:
        """Reads every file of an artifact again. Raises MissingArtifact or DamagedArtifact."""
        found = self.path(sha256)
        actual = _address(found)
        if actual != sha256:
            raise DamagedArtifact(
                f"The files in {found} hash to {actual}; they were altered after they were stored. Bring the "
                "folder back "
                "from a backup of the home."
            )


def _files(folder: Path) -> dict[str, Path]:
    """The plain files under a folder by their POSIX name, sorted."""
    if not folder.is_dir():
        raise UnusableFolder(f"{folder} is no folder; expected one with the files to keep.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UnusableFolder(f"{path} is a link or a special file; expected plain files only.")
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path
    if not found:
        raise UnusableFolder(f"{folder} holds no file; expected at least one.")
    return dict(sorted(found.items()))


def _address(folder: Path) -> str:
    rows = [[name, _file_hash(path)] for name, path in _files(folder).items()]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode("ascii")).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Copies the bytes and waits until they are on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, _BLOCK)
        writing.flush()
        os.fsync(writing.fileno())


def _keep(content: Path, target: Path) -> None:
    """Moves a folder to its address in one step; another process may have put the same there meanwhile."""
    try:
        content.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        return
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
