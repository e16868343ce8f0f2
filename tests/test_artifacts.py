"""Claims about artifacts."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flagback.storage.artifacts import Artifacts, DamagedArtifact, MissingArtifact, UnusableFolder


def folder(path: Path, **files: str) -> Path:
    for name, content in files.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return path


def test_a_folder_is_kept_under_its_documented_address(tmp_path: Path) -> None:
    kept = Artifacts(tmp_path / "home" / "artifacts")
    address = kept.put(folder(tmp_path / "a", b="2", a="1", sub__c="3"))
    rows = [[name, hashlib.sha256(content).hexdigest()] for name, content in (("a", b"1"), ("b", b"2"), ("sub/c", b"3"))]
    assert address == hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
    assert (kept.path(address) / "sub" / "c").read_text() == "3"
    kept.verify(address)


def test_the_same_content_is_kept_once_wherever_it_lay(tmp_path: Path) -> None:
    kept = Artifacts(tmp_path / "artifacts")
    first = kept.put(folder(tmp_path / "a", x="1"))
    assert kept.put(folder(tmp_path / "b", x="1")) == first
    assert kept.put(folder(tmp_path / "c", x="2")) != first
    assert kept.put(folder(tmp_path / "d", y="1")) != first
    assert len(list((tmp_path / "artifacts").iterdir())) == 3


def test_the_kept_copy_does_not_follow_the_original(tmp_path: Path) -> None:
    kept = Artifacts(tmp_path / "artifacts")
    address = kept.put(folder(tmp_path / "a", x="1"))
    folder(tmp_path / "a", x="2")
    kept.verify(address)


def test_several_at_once_keep_one_and_leave_nothing_aside(tmp_path: Path) -> None:
    kept = Artifacts(tmp_path / "artifacts")
    source = folder(tmp_path / "a", **{f"f{number}": str(number) * 1000 for number in range(20)})
    with ThreadPoolExecutor(4) as pool:
        addresses = set(pool.map(lambda _: kept.put(source), range(8)))
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == list(addresses)


@pytest.mark.parametrize("address", ["f" * 64, "../a", "", "F" * 64, ".incoming-x"])
def test_a_missing_artifact_is_named_with_what_to_do(tmp_path: Path, address: str) -> None:
    folder(tmp_path / "a", x="1")
    with pytest.raises(MissingArtifact, match="backup of the home, or run the correction again"):
        Artifacts(tmp_path / "artifacts").path(address)


@pytest.mark.parametrize("damage", ["changed", "added", "removed", "renamed"])
def test_a_damaged_artifact_is_found(tmp_path: Path, damage: str) -> None:
    kept = Artifacts(tmp_path / "artifacts")
    address = kept.put(folder(tmp_path / "a", x="1", y="2"))
    there = kept.path(address)
    match damage:
        case "changed":
            (there / "x").write_text("2")
        case "added":
            (there / "z").write_text("")
        case "removed":
            (there / "x").unlink()
        case _:
            (there / "x").rename(there / "z")
    with pytest.raises(DamagedArtifact, match="altered after they were stored"):
        kept.verify(address)


def test_a_folder_that_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    kept = Artifacts(tmp_path / "artifacts")
    (tmp_path / "empty").mkdir()
    os.symlink("/etc/hostname", folder(tmp_path / "linked", x="1") / "link")
    for path, words in (("empty", "holds no file"), ("linked", "is a link"), ("gone", "is no folder")):
        with pytest.raises(UnusableFolder, match=words):
            kept.put(tmp_path / path)
    assert list((tmp_path / "artifacts").iterdir()) == []
