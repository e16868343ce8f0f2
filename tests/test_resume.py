"""Only complete checkpoints count, and a folder belongs to one run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flagback.model.recipe import ForeignFolder
from flagback.model.resume import MANIFEST, Checkpoints, write_folder


def kept(checkpoints: Checkpoints, step: int) -> Path:
    written = checkpoints.aside / f"checkpoint-{step}"
    written.mkdir(parents=True)
    (written / "optimizer.pt").write_text(f"optimizer at {step}")
    (written / "adapter.safetensors").write_text(f"adapter at {step}")
    return checkpoints.keep(written, step)


def test_the_newest_is_used_and_only_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", "a")
    assert checkpoints.newest() is None
    for step in (8, 16, 100):
        kept(checkpoints, step)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 100
    assert sorted(path.name for path in (tmp_path / "run").glob("step-*")) == ["step-000016", "step-000100"]


@pytest.mark.parametrize(
    "damage", ["cut", "changed", "gone", "no manifest", "broken manifest", "extra", "another step", "another run"]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(damage: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", "a")
    good, bad = kept(checkpoints, 8), kept(checkpoints, 16)
    if damage == "cut":
        (bad / "optimizer.pt").write_text("opt")
    elif damage == "changed":
        (bad / "optimizer.pt").write_text("optimizer at 17")
    elif damage == "gone":
        (bad / "optimizer.pt").unlink()
    elif damage == "no manifest":
        (bad / MANIFEST).unlink()
    elif damage == "broken manifest":
        (bad / MANIFEST).write_text("{")
    elif damage == "extra":
        (bad / "scheduler.pt").write_text("")
    elif damage == "another step":
        bad.rename(bad.with_name("step-000024"))
    else:
        (bad / MANIFEST).write_text((bad / MANIFEST).read_text().replace('"run": "a"', '"run": "b"'))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.path == good


def test_what_is_still_being_written_does_not_count(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", "a")
    (checkpoints.aside / "checkpoint-8").mkdir(parents=True)
    assert checkpoints.newest() is None
    checkpoints.clear_aside()
    assert not checkpoints.aside.exists()


def test_the_folder_of_another_run_is_refused_by_name(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "run", "a" * 64)
    Checkpoints(tmp_path / "run", "a" * 64)
    with pytest.raises(ForeignFolder, match=r"checkpoints of another run \(aaaaaaaaaaaa, this one is bbbbbbbbbbbb"):
        Checkpoints(tmp_path / "run", "b" * 64)


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "adapter"

    def writing(name: str) -> Callable[[Path], None]:
        def write(aside: Path) -> None:
            (aside / name).write_text(name)

        return write

    write_folder(place, writing("one"))

    def failing(aside: Path) -> None:
        (aside / "two").write_text("2")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(place, failing)
    assert [path.name for path in place.iterdir()] == ["one"]
    write_folder(place, writing("three"))
    assert [path.name for path in place.iterdir()] == ["three"]
