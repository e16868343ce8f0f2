"""Claims about exports: whole folders or none, every value back as it went, readable by pandas, datasets and TRL."""

import csv
import hashlib
import io
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlmodel import col, select

from flagback.storage import export
from flagback.storage.card import Format
from flagback.storage.export import FORMATS, FolderInUse, NothingToExport, UnknownFormat, export_reviews
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.importing import import_preferences
from flagback.storage.items import make_items
from flagback.storage.preferences import NewPair, freeze, pairs_of
from flagback.storage.prompts import HELD_OUT_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.reading import UnusableFile
from flagback.storage.records import Item, Lease, PreferencePair, PreferenceSet, Review, SamplingRun, Slot
from flagback.storage.set_export import export_set
from flagback.storage.store import Store
from flagback.storage.versions import NewBase, register_base
from tests.fresh import migrate

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
#: Texts that readers like to change.
NASTY = [
    "007",
    "None",
    "NaN",
    "null",
    "\\N",
    "\\\\N",
    "=1+1",
    "-2",
    "@SUM(A1)",
    "a\u2028b\u2029c\u0085d",
    'a,b\n"c"',
    "x\ry\r\n",
    " two ",
    "\x0b\x1c\ttab",
    "\ufeffbom",
    "e\u0301 👩🏽‍🔬 שלום",
    "1e999",
    "true",
    "[]",
    "'",
    "#N/A",
]
TEXT = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """datasets keeps its cache in the test's folder and asks nobody."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def _answers(store: Store, texts: Sequence[str]) -> list[int]:
    """Items of one version's sampled answers, one item a text."""
    with store.writing() as session:
        version = register_base(session, NewBase("tiny", "somewhere", "plain", {}, {}, "f" * 64), by="ada")
        run = SamplingRun(version_id=version.id, decoding={"k": 1, "seed": 2**62 + 1}, prompt_ids=[], asked_by="ada")
        session.add(run)
        session.flush()
        prompts = add_prompts(
            session,
            [
                NewPrompt(
                    [{"role": "user", "content": f"{text}?"}], lang="en", tags={"groups": ["g"], "source": "mine", "n": number}
                )
                for number, text in enumerate(texts)
            ],
        )
        made = add_generations(
            session,
            [
                NewGeneration(prompt, text, "end", "sampled", f"run:{run.id}", sampling_run_id=run.id, version_id=version.id)
                for prompt, text in zip(prompts.ids, texts, strict=True)
            ],
        )
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=1)
        by_generation = {item.generation_id: item.id for item in session.exec(select(Item))}
    return [by_generation[generation] for generation in made]


def _review(store: Store, item: int, **values: Any) -> int:
    """A review as it is stored, straight into the table: an export must bear whatever is there."""
    with store.writing() as session:
        slot = session.exec(select(Slot).where(Slot.item_id == item)).first()
        assert slot is not None
        lease = Lease(id=str(uuid.uuid4()), slot_id=slot.id, item_id=item, reviewer="r_a", claimed_at=NOW, expires_at=NOW)
        session.add(lease)
        session.flush()
        known: dict[str, Any] = {
            "verdict": "flag",
            "reviewer": "r_a",
            "taxonomy_version": "1",
            "guideline_version": "1",
            "policy_version": "1",
            "created_at": NOW + timedelta(hours=item),
        }
        row = Review(token=str(uuid.uuid4()), item_id=item, lease_id=lease.id, **(known | values))
        session.add(row)
        session.flush()
        return row.id


def _reviewed(store: Store) -> list[int]:
    """A review a nasty text, every optional column filled in half of them."""
    ids = []
    for number, (item, text) in enumerate(zip(_answers(store, NASTY), NASTY, strict=True)):
        full = {
            "categories": ["stereotype", text],
            "targets": [text],
            "target_other": text,
            "severity": "clear",
            "sure": False,
            "spans": [{"start": 0, "end": 1, "category": None}, {"start": 1, "end": 2, "category": "stereotype"}],
            "rewrite": text,
            "note": "" if text == "true" else text,
            "seconds_open": 0.1 + number,
            "late": True,
        }
        ids.append(_review(store, item, **(full if number % 2 else {"verdict": "fine"})))
    return ids


def _expected(store: Store) -> list[dict[str, Any]]:
    """What the export of _reviewed's rows should hold, spelled out from the tables."""
    with store.reading() as session:
        rows = session.exec(select(Review).order_by(col(Review.id))).all()
    return [
        {
            "review_id": row.id,
            "item_id": row.item_id,
            "item_kind": "single",
            "purpose": "loop",
            "prompt": f"{text}?",
            "prompt_messages": [{"role": "user", "content": f"{text}?"}],
            "lang": "en",
            "groups": ["g"],
            "response": text,
            "finish_reason": "end",
            "model_version": 1,
            "model_fingerprint": "f" * 64,
            "sampling_seed": 2**62 + 1,
            "pseudonym": "r_a",
            "verdict": row.verdict,
            "categories": row.categories,
            "targets": row.targets,
            "target_other": row.target_other,
            "severity": row.severity,
            "sure": row.sure,
            "spans": row.spans,
            "rewrite": row.rewrite,
            "note": row.note,
            "skip_reason": None,
            "seconds_open": row.seconds_open,
            "late": row.late,
            "supersedes": None,
            "superseded": False,
            "left_out": False,
            "policy_version": "1",
            "taxonomy_version": "1",
            "guideline_version": "1",
            "simulated": False,
            "created_at": row.created_at,
        }
        for row, text in zip(rows, NASTY, strict=True)
    ]


def loaded_rows(folder: Path) -> datasets.DatasetDict:
    return datasets.load_dataset(str(folder))  # nosec B615 # an export made here


def _as_declared(row: dict[str, Any]) -> dict[str, Any]:
    """A CSV row of datasets with JSON texts, times and whole numbers read, and the extra backslash of a text like \\N taken off."""
    row = dict(row)
    for name in ("prompt_messages", "groups", "categories", "targets", "spans"):
        row[name] = json.loads(row[name])
    for name in ("model_version", "sampling_seed", "supersedes"):
        row[name] = None if row[name] is None else int(row[name])
    for name in ("target_other", "rewrite", "note", "response"):
        if row[name] is not None and row[name].startswith("\\") and row[name].strip("\\") == "N":
            row[name] = row[name][1:]
    return row | {"created_at": datetime.fromisoformat(row["created_at"])}


# ------------------------------------------------------------------------- reviews


@pytest.mark.parametrize("file_format", FORMATS)
def test_datasets_reads_every_review_back_as_it_went(store: Store, tmp_path: Path, file_format: Format) -> None:
    _reviewed(store)
    report = export_reviews(store, tmp_path / "out", format=file_format)
    assert report.rows == {f"reviews.{file_format}": len(NASTY)}
    rows = list(loaded_rows(tmp_path / "out")["reviews"])
    rows = [_as_declared(row) if file_format == "csv" else row for row in rows]
    for row, expected in zip(rows, _expected(store), strict=True):
        assert row.pop("prompt_hash")
        assert 0 <= row.pop("shard") < 100
        assert json.loads(row.pop("tags"))["source"] == "mine"
        assert row == expected
        assert row["created_at"].utcoffset() == timedelta(0)


def test_pandas_reads_every_text_back_as_it_went(sqlite_store: Store, tmp_path: Path) -> None:
    _reviewed(sqlite_store)
    for file_format in FORMATS:
        export_reviews(sqlite_store, tmp_path / file_format, format=file_format)
    jsonl = pd.read_json(tmp_path / "jsonl" / "reviews.jsonl", lines=True, dtype=False)
    parquet = pd.read_parquet(tmp_path / "parquet" / "reviews.parquet")
    table = pd.read_csv(tmp_path / "csv" / "reviews.csv", keep_default_na=False, dtype=str)
    for frame in (jsonl, parquet, table):
        assert frame["prompt"].tolist() == [f"{text}?" for text in NASTY]
    assert jsonl["response"].tolist() == parquet["response"].tolist() == NASTY
    assert str(parquet["created_at"].dtype) == "datetime64[us, UTC]"
    assert table["note"].tolist()[0] == "\\N"


def test_no_line_of_a_text_file_is_cut_by_any_reader(sqlite_store: Store, tmp_path: Path) -> None:
    _reviewed(sqlite_store)
    export_reviews(sqlite_store, tmp_path / "out", format="jsonl")
    content = (tmp_path / "out" / "reviews.jsonl").read_text(encoding="utf-8")
    assert len(content.splitlines()) == len(NASTY)
    assert [json.loads(line)["response"] for line in content.splitlines()] == NASTY


def test_a_column_that_is_missing_for_eleven_megabytes_is_still_a_text(sqlite_store: Store, tmp_path: Path) -> None:
    items = _answers(sqlite_store, [f"{number} " + "x" * 100_000 for number in range(111)])
    for item in items[:-1]:
        _review(sqlite_store, item, verdict="fine")
    _review(sqlite_store, items[-1], note="007", spans=[{"start": 0, "end": 1, "category": "stereotype"}], supersedes=1)
    for file_format in FORMATS:
        folder = tmp_path / file_format
        export_reviews(sqlite_store, folder, format=file_format)
        rows = loaded_rows(folder)["reviews"]
        assert (file_format, rows["note"][:]) == (file_format, [None] * 110 + ["007"])
    assert (tmp_path / "jsonl" / "reviews.jsonl").stat().st_size > 11_000_000


def test_texts_that_are_all_dates_stay_as_they_are_in_csv_and_parquet(sqlite_store: Store, tmp_path: Path) -> None:
    for item in _answers(sqlite_store, ["a", "b"]):
        _review(sqlite_store, item, note="2024-01-01")
    for file_format in ("csv", "parquet"):
        export_reviews(sqlite_store, tmp_path / file_format, format=file_format)
        assert loaded_rows(tmp_path / file_format)["reviews"]["note"][:] == ["2024-01-01"] * 2
    export_reviews(sqlite_store, tmp_path / "jsonl", format="jsonl")
    frame = pd.read_json(tmp_path / "jsonl" / "reviews.jsonl", lines=True, dtype=False)
    assert frame["note"].tolist() == ["2024-01-01"] * 2


def test_an_export_names_no_account_and_no_wanted_group(sqlite_store: Store, tmp_path: Path) -> None:
    _reviewed(sqlite_store)
    export_reviews(sqlite_store, tmp_path / "out", format="parquet")
    names = set(pq.read_schema(tmp_path / "out" / "reviews.parquet").names)
    assert not names & {"account_id", "account", "login", "want_group", "token", "lease_id", "slot_id"}


def test_for_whom_a_seat_was_kept_stands_in_no_export(sqlite_store: Store, tmp_path: Path) -> None:
    """Even of a seat that, against all rules, still names its group after the answer."""
    _reviewed(sqlite_store)
    with sqlite_store.writing() as session:
        for slot in session.exec(select(Slot)).all():
            slot.want_group = "gender=woman"
            session.add(slot)
    for file_format in FORMATS:
        folder = tmp_path / file_format
        export_reviews(sqlite_store, folder, format=file_format)
        written = [path.read_bytes() for path in folder.iterdir()]
        assert written
        assert not any(b"gender=woman" in content or b"want_group" in content for content in written)


def test_a_corrected_answer_is_kept_and_marked(store: Store, tmp_path: Path) -> None:
    item = _answers(store, ["a"])[0]
    first = _review(store, item, verdict="fine")
    second = _review(store, item, verdict="flag", supersedes=first)
    export_reviews(store, tmp_path / "out", format="parquet")
    rows = pq.read_table(tmp_path / "out" / "reviews.parquet").to_pylist()
    assert [(row["review_id"], row["superseded"], row["supersedes"]) for row in rows] == [
        (first, True, None),
        (second, False, first),
    ]


def test_simulated_reviews_never_stand_beside_those_of_people(store: Store, tmp_path: Path) -> None:
    real, pretended = _answers(store, ["a", "b"])
    wanted = {False: _review(store, real), True: _review(store, pretended, simulated=True)}
    for simulated, review in wanted.items():
        folder = tmp_path / str(simulated)
        export_reviews(store, folder, format="jsonl", simulated=simulated)
        assert [json.loads(line)["review_id"] for line in (folder / "reviews.jsonl").read_text().splitlines()] == [review]
        assert ("simulated: a rehearsal" in (folder / "README.md").read_text()) == simulated


def test_pages_join_without_a_gap_or_a_repeat(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = _reviewed(sqlite_store)
    monkeypatch.setattr(export, "PAGE", 4)
    export_reviews(sqlite_store, tmp_path / "out", format="parquet")
    assert pq.read_table(tmp_path / "out" / "reviews.parquet")["review_id"].to_pylist() == ids


# ------------------------------------------------------------------------- folders


@pytest.mark.parametrize("file_format", FORMATS)
def test_equal_records_give_equal_bytes_and_the_manifest_proves_them(
    sqlite_store: Store, tmp_path: Path, file_format: Format
) -> None:
    _reviewed(sqlite_store)
    first, second = (export_reviews(sqlite_store, tmp_path / name, format=file_format) for name in ("one", "two"))
    assert first.manifest_sha256 == second.manifest_sha256
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert set(manifest["files"]) == {"README.md", f"reviews.{file_format}"}
    for name, facts in manifest["files"].items():
        content = (tmp_path / "one" / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (facts["sha256"], facts["bytes"])
    for key in ("policy_version", "taxonomy_version", "guideline_version"):
        assert manifest["versions"][key] == ["1"] == first.versions[key]
        assert f"- {key.replace('_', ' ')}: 1\n" in (tmp_path / "one" / "README.md").read_text()


def test_a_folder_that_holds_something_is_refused_and_left_alone(sqlite_store: Store, tmp_path: Path) -> None:
    _reviewed(sqlite_store)
    (tmp_path / "out").mkdir()
    export_reviews(sqlite_store, tmp_path / "out", format="jsonl")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(FolderInUse, match="holds files; expected a new or empty folder"):
        export_reviews(sqlite_store, tmp_path / "out", format="jsonl")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(FolderInUse, match="is a file"):
        export_reviews(sqlite_store, tmp_path / "out" / "README.md", format="jsonl")


def test_an_export_that_fails_half_way_leaves_no_folder(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _reviewed(sqlite_store)
    monkeypatch.setattr(export, "PAGE", 4)
    pages = export._review_pages

    def breaking(store: Store, **asked: bool) -> Iterator[list[dict[str, Any]]]:
        yield next(pages(store, **asked))
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_review_pages", breaking)
    for file_format in FORMATS:
        with pytest.raises(KeyboardInterrupt):
            export_reviews(sqlite_store, tmp_path / "new" / "out", format=file_format)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_killed_export_leaves_no_half_folder(sqlite_store: Store, tmp_path: Path) -> None:
    _reviewed(sqlite_store)
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from flagback.storage import export\nfrom flagback.storage.store import Store\n"
        "export.card = lambda **_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export.export_reviews(Store(sys.argv[1]), Path(sys.argv[2]), format='csv')\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(sqlite_store.url), str(tmp_path / "out")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert [path.name.startswith(".out.") for path in tmp_path.iterdir() if path.name.endswith(".part")] == [True]
    assert export_reviews(sqlite_store, tmp_path / "out", format="csv").rows == {"reviews.csv": len(NASTY)}


def test_nothing_to_export_and_unknown_formats_are_said_in_words(sqlite_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(NothingToExport, match="no review by people"):
        export_reviews(sqlite_store, out, format="jsonl")
    with pytest.raises(NothingToExport, match="no preference set 7; there is none yet"):
        export_set(sqlite_store, out, set_id=7, format="jsonl")
    with pytest.raises(UnknownFormat, match="'xlsx' is not known; expected one of jsonl, csv, parquet"):
        export_reviews(sqlite_store, out, format="xlsx")  # type: ignore[arg-type]
    with pytest.raises(UnknownFormat, match="no lists of messages"):
        export_set(sqlite_store, out, format="csv", conversational=True)
    assert list(tmp_path.glob("*out*")) == []


def test_only_the_copy_for_spreadsheets_is_made_harmless(sqlite_store: Store, tmp_path: Path) -> None:
    _reviewed(sqlite_store)
    export_reviews(sqlite_store, tmp_path / "out", format="csv", spreadsheet=True)
    exact, harmless = (
        [row["response"] for row in csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))]
        for path in (tmp_path / "out" / "reviews.csv", tmp_path / "out" / "reviews.spreadsheet.csv")
    )
    assert {"=1+1", "-2", "@SUM(A1)"} <= set(exact)
    assert {"'=1+1", "'-2", "'@SUM(A1)"} <= set(harmless)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in harmless)
    assert loaded_rows(tmp_path / "out")["reviews"].num_rows == len(NASTY)


# ------------------------------------------------------------------------- pairs


def _talk(good: str, bad: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"be {good}"},
        {"role": "user", "content": bad},
        {"role": "assistant", "content": good},
        {"role": "user", "content": f"{good}!"},
    ]


def _pairs(store: Store, texts: Sequence[tuple[str, str]], *, simulated: bool = False) -> PreferenceSet:
    """A set of pairs: odd ones answer a dialogue with a system text, even ones continue a text."""
    with store.writing() as session:
        prompts = add_prompts(
            session,
            [
                NewPrompt(
                    _talk(good, bad) if number % 2 else [{"role": "user", "content": f"{good} and {bad}"}],
                    lang="de",
                    tags={"groups": ["g"], "topic": bad},
                    split_key=f"family {number}",
                )
                for number, (good, bad) in enumerate(texts)
            ],
        )
        answers = add_generations(
            session,
            [
                NewGeneration(prompt, text, "given", "imported", "import:test")
                for prompt, pair in zip(prompts.ids, texts, strict=True)
                for text in pair
            ],
        )
        return freeze(
            session,
            [
                NewPair("contrast", prompt, good, bad, 0.75, 1.5, [1, 2])
                for prompt, good, bad in zip(prompts.ids, answers[::2], answers[1::2], strict=True)
            ],
            origin="reviews",
            policy="majority",
            policy_version="1",
            arguments={},
            salt="s",
            simulated=simulated,
        )


def _texts(store: Store, frozen_id: int | None) -> set[tuple[str, ...]]:
    assert frozen_id is not None
    with store.reading() as session:
        return {
            (
                json.dumps(row.messages),
                row.lang,
                row.split_key,
                row.chosen_text,
                row.rejected_text,
                str(row.weight),
                str(row.soft_label),
            )
            for row in pairs_of(session, frozen_id)
        }


SOME = [(f" good {number}", f" bad {number}") for number in range(12)]


@pytest.mark.parametrize(
    ("file_format", "conversational"), [("jsonl", False), ("jsonl", True), ("csv", False), ("parquet", False), ("parquet", True)]
)
def test_pairs_load_in_trls_layout_train_and_heldout_apart(
    store: Store, tmp_path: Path, file_format: Format, conversational: bool
) -> None:
    frozen = _pairs(store, SOME)
    report = export_set(store, tmp_path / "out", format=file_format, conversational=conversational)
    loaded = loaded_rows(tmp_path / "out")
    assert sum(report.rows.values()) == len(SOME)
    found = set()
    for name, split in loaded.items():
        for row in split:
            assert row["split"] == name == ("heldout" if shard_of(row["split_key"]) in HELD_OUT_SHARDS else "train")
            assert (row["weight"], row["soft_label"], row["kind"]) == (1.5, 0.75, "contrast")
            assert (json.loads(row["review_ids"]) if file_format == "csv" else row["review_ids"]) == [1, 2]
            assert (row["set_fingerprint"], row["policy"], row["policy_version"]) == (frozen.fingerprint, "majority", "1")
            sides = (row["chosen"], row["rejected"])
            if conversational:
                assert row["prompt"][-1]["role"] == "user"
                assert {message["role"] for side in sides for message in side} == {"assistant"}
                sides = (sides[0][0]["content"], sides[1][0]["content"])
            found.add(sides)
    assert found == set(SOME)


def test_the_newest_set_of_people_is_exported_unless_one_is_named(sqlite_store: Store, tmp_path: Path) -> None:
    older = _pairs(sqlite_store, SOME[:3])
    newest = _pairs(sqlite_store, SOME)
    pretended = _pairs(sqlite_store, SOME[:5], simulated=True)
    for name, set_id, expected in (("a", None, newest), ("b", older.id, older), ("c", pretended.id, pretended)):
        report = export_set(sqlite_store, tmp_path / name, set_id=set_id, format="jsonl")
        assert (sum(report.rows.values()), report.versions["preference_set"]) == (expected.n_pairs, [expected.fingerprint])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(TEXT, TEXT).filter(lambda pair: pair[0].strip() != "" and pair[1].strip() != "" and pair[0] != pair[1]),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_export_then_import_is_the_same(
    sqlite_store: Store, tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("back")
    with sqlite_store.writing() as session:
        session.connection().execute(delete(PreferencePair))
        session.connection().execute(delete(PreferenceSet))
    original = _texts(sqlite_store, _pairs(sqlite_store, texts).id)
    fresh = Store(f"sqlite:///{folder / 'fresh.db'}")
    migrate(fresh)
    prints = set()
    for layout in ("jsonl", "csv", "parquet", "jsonl conversational", "parquet conversational"):
        file_format, _, conversational = layout.partition(" ")
        export_set(sqlite_store, folder / layout, format=file_format, conversational=bool(conversational))  # type: ignore[arg-type]
        for store in (sqlite_store, fresh):
            report = import_preferences(store, folder / layout, name="back", by="ada", now=NOW)
            assert (report.rows, report.added, report.skipped) == (len(texts), len(texts), {})
            assert _texts(store, report.set_id) == original
            prints.add(report.fingerprint)
    fresh.close()
    assert len(prints) == 1


def test_an_export_folder_that_was_changed_is_not_imported(sqlite_store: Store, tmp_path: Path) -> None:
    _pairs(sqlite_store, SOME)
    export_set(sqlite_store, tmp_path / "out", format="jsonl")
    (tmp_path / "other").mkdir()
    with pytest.raises(UnusableFile, match="without a manifest"):
        import_preferences(sqlite_store, tmp_path / "other", name="back", by="ada", now=NOW)
    with (tmp_path / "out" / "train.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(UnusableFile, match=r"train\.jsonl was changed: its sha256"):
        import_preferences(sqlite_store, tmp_path / "out", name="back", by="ada", now=NOW)
    (tmp_path / "out" / "train.jsonl").unlink()
    with pytest.raises(UnusableFile, match=r"train\.jsonl is missing"):
        import_preferences(sqlite_store, tmp_path / "out", name="back", by="ada", now=NOW)


def test_a_simulated_set_is_marked_and_does_not_come_back_as_peoples(sqlite_store: Store, tmp_path: Path) -> None:
    frozen = _pairs(sqlite_store, SOME, simulated=True)
    with pytest.raises(NothingToExport, match="made by people"):
        export_set(sqlite_store, tmp_path / "out", format="jsonl")
    export_set(sqlite_store, tmp_path / "out", set_id=frozen.id, format="jsonl")
    assert "The reviewers are simulated" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(Exception, match="rehearsal's simulated reviewers"):
        import_preferences(sqlite_store, tmp_path / "out", name="back", by="ada", now=NOW)


# ------------------------------------------------------------------------- TRL


def tiny_model(tokenizer: Any) -> Any:
    """A Llama of one layer for a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def one_step(folder: Path) -> dict[str, Any]:
    """Arguments of a TRL trainer that takes one step of four examples and keeps nothing."""
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "bf16": False,
    }


def byte_tokenizer() -> Any:
    """A tokenizer that knows every byte, with an end token and a small chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<end>", *alphabet])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<end>",
        chat_template="{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<end>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
    )


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # TRL 1.16 uses the old names
@pytest.mark.parametrize(("file_format", "conversational"), [("jsonl", False), ("jsonl", True), ("csv", False), ("parquet", True)])
def test_trl_takes_a_real_dpo_step_on_an_export(
    sqlite_store: Store, tmp_path: Path, file_format: Format, conversational: bool
) -> None:
    import torch
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    _pairs(sqlite_store, SOME)
    report = export_set(sqlite_store, tmp_path / "out", format=file_format, conversational=conversational)
    train = loaded_rows(tmp_path / "out")["train"]
    train_texts = {row["chosen"][0]["content"] if conversational else row["chosen"] for row in train}
    tokenizer = byte_tokenizer()
    model, reference = tiny_model(tokenizer), tiny_model(tokenizer)
    reference.load_state_dict(model.state_dict())
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    arguments = DPOConfig(**one_step(tmp_path / "run"), logging_steps=1)
    trainer = DPOTrainer(model=model, ref_model=reference, args=arguments, train_dataset=train, processing_class=tokenizer)
    assert len(trainer.train_dataset) == train.num_rows == report.rows[f"train.{file_format}"]
    assert trainer.train().metrics["train_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert any(not torch.equal(weights, before[name]) for name, weights in model.state_dict().items())
    # What the trainer learns from is the stored text, its leading space included.
    chosen = {tokenizer.decode(row["chosen_ids"], skip_special_tokens=True) for row in trainer.train_dataset}
    assert chosen == {good for good, _ in SOME if good in train_texts}
