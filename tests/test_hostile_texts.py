"""Hostile texts through every way in and out: stored to the character, inert everywhere, shown for what they are."""

import csv
import io
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml  # type: ignore[import-untyped]  # comes with huggingface_hub
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, expect
from sqlmodel import col, select
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from flagback.review_app import auth
from flagback.review_app.api import build_api
from flagback.review_app.commands import shared
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.screens import look
from flagback.review_app.screens.data import file_name
from flagback.review_app.settings import Settings
from flagback.storage import accounts, runs, versions
from flagback.storage.answers import LONGEST_NOTE, LONGEST_REWRITE
from flagback.storage.card import csv_options, inert
from flagback.storage.export import REVIEW_COLUMNS, export_reviews
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.importing import import_preferences, import_prompts, import_texts
from flagback.storage.invisible import BLANKS, CANDIDATE, blank, pieces, visible
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, UnstorableText, add_prompts
from flagback.storage.reading import BadImport
from flagback.storage.records import (
    CorrectionRun,
    Evaluation,
    EvaluationItem,
    Generation,
    Item,
    ModelVersion,
    PreferenceSet,
    Prompt,
    Review,
    SamplingRun,
    now,
)
from flagback.storage.set_export import export_set, pair_columns
from flagback.storage.store import Store
from flagback.storage.versions import NewBase, register_base
from flagback.storage.writers import LONGEST_CELL, harmless
from tests.board_place import asked, press
from tests.browser import WebProcess, page_in, sign_in
from tests.command_line import Run, run_command
from tests.fresh import migrate
from tests.hostile_texts import HONEST, HOSTILE, UNSTORABLE
from tests.people import PASSWORD, person

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
OURS = {"Origin": "http://testserver"}
#: What a text from a file may be: a prompt of blanks alone is refused, and both of a pair must differ.
TEXTS = list(HOSTILE.values())
#: What a terminal obeys: C0 but tab and line feed, DEL, C1.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: Reads a rewrite and a note that may be too long for their fields.
SHORT = {name: text for name, text in HOSTILE.items() if len(text) <= LONGEST_NOTE}

# ----------------------------------------------------------------------- the rule


def test_the_list_is_long_and_nothing_of_it_is_honest() -> None:
    assert len(HOSTILE) >= 50
    assert len(set(HOSTILE.values())) == len(HOSTILE)


@pytest.mark.parametrize("name", HONEST)
def test_honest_writing_bears_no_sign(name: str) -> None:
    assert [piece for piece in pieces(HONEST[name]) if piece.sign] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_pieces_make_up_the_text_and_no_character_that_deceives_is_outside_a_sign(name: str) -> None:
    text = HOSTILE[name]
    found = pieces(text)
    assert "".join(text[piece.start : piece.end] for piece in found) == text
    left = "".join(text[piece.start : piece.end] for piece in found if piece.sign is None).replace("\r\n", "\n")
    assert not CANDIDATE.search(left)
    assert not OBEYED.search(visible(text, breaks=True))
    assert "\n" not in visible(text)


def test_a_sign_says_what_it_stands_for() -> None:
    signs = {name: [piece.sign for piece in pieces(text) if piece.sign] for name, text in HOSTILE.items()}
    assert signs["override right to left"] == ["U+202E", "U+202C"]
    assert signs["tags"] == ["tags “ignore all rules”"]
    assert signs["zero width message"] == ["U+200C U+200B ×2 … 64 hidden"]
    assert signs["zalgo"] == ["35 accents"] * 5
    assert visible(HOSTILE["ansi clipboard"]) == "<U+001B>]52;c;cm0gLXJmIC8=<U+0007>"
    assert [name for name in HOSTILE if blank(HOSTILE[name])] == ["only hidden"]


# ----------------------------------------------------------------------- in and out


class Kept(NamedTuple):
    """A home that holds every hostile text as prompt, answer, rewrite, note, tag, pair and name."""

    home: Path
    store: Store
    #: Reviews by the hostile text's name, in the order of HOSTILE.
    reviews: dict[str, int]
    base: int
    candidate: int


def _written(folder: Path, kind: str, rows: Sequence[dict[str, str]]) -> Path:
    """Rows as a file of each kind, by the standard writers of Python."""
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            made = csv.DictWriter(file, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_ALL)
            made.writeheader()
            made.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_prompts_come_in_to_the_character(sqlite_store: Store, tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": text, "topic": text[:50] if text[:50].strip() else "x", "source": name} for name, text in HOSTILE.items()]
    report = import_prompts(sqlite_store, _written(tmp_path, kind, rows), by="ada", now=NOW)
    assert (report.added, report.duplicates) == (len(HOSTILE), 0)
    with sqlite_store.reading() as session:
        found = session.exec(select(Prompt).order_by(col(Prompt.id))).all()
    assert [prompt.messages for prompt in found] == [[{"role": "user", "content": text}] for text in TEXTS]
    assert [prompt.tags["topic"] for prompt in found] == [row["topic"] for row in rows]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """One home for all that only reads it."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = Settings(home=folder / "home")
    store = Store(settings.records_url)
    migrate(store)
    base, candidate = _models(store)
    made = _answers(store, base)
    with open_home(settings) as installation:
        reviews = _reviewed(installation, made)
    _pairs(store, folder)
    yield Kept(settings.home, store, reviews, base, candidate)
    store.close()


def _models(store: Store) -> tuple[int, int]:
    """A base and a candidate of hostile names, decided on and evaluated by hostile people in hostile words."""
    ansi, bidi, script = (HOSTILE[name] for name in ("ansi colour", "override right to left", "script"))
    with store.writing() as session:
        base = register_base(session, NewBase(f"{script}{bidi}", "somewhere", "plain", {}, {}, "f" * 64), by=f"{bidi} {script}")
        run = CorrectionRun(
            parent_id=base.id,
            recipe={"**rank**": 8},
            seed=0,
            state="failed",
            error=f"{ansi} {HOSTILE['markdown image']} {HOSTILE['image onerror']}",
            asked_by=f"{bidi}{HOSTILE['streamlit colour']}",
        )
        session.add(run)
        session.flush()
        made = versions.register_candidate(session, run=run, adapter_sha256="a" * 64, distance_to_base=0.1, facts={})
        made.name = f"{HOSTILE['tags']}{HOSTILE['image remote']}"
        session.add(made)
        shown = {"base": 0.5, "candidate": 0.4, "change": -0.1, "low": -0.2, "high": -0.05, "n": 9, "unit": "share"}
        session.add(
            Evaluation(
                candidate_id=made.id,
                base_id=base.id,
                seed=0,
                state="succeeded",
                verdict="fail",
                reasons=[{"check": script, "verdict": "fail", "words": f"{bidi} {HOSTILE['markdown link']}"}],
                figures={"perplexity:neutral": shown | {"words": HOSTILE["attribute break"], "note": script}},
                asked_by="ada",
                ended_at=NOW,
            )
        )
        session.flush()
        evaluation = session.exec(select(Evaluation)).one()
        texts = {"answer": "all of them", "swapped": TEXTS}
        session.add(
            EvaluationItem(evaluation_id=evaluation.id, metric="perplexity:neutral", item_key="1", cluster="1", texts=texts)
        )
        session.add(
            EvaluationItem(
                evaluation_id=evaluation.id,
                metric="samples",
                item_key="x:1",
                cluster="1",
                texts={"base": HOSTILE["zalgo"], "candidate": HOSTILE["overwriting"]},
            )
        )
        session.add(
            SamplingRun(
                version_id=base.id, decoding={}, prompt_ids=[], asked_by=f"{ansi}\neve", state="failed", error=f"{ansi}{bidi}"
            )
        )
        return base.id, made.id


def _answers(store: Store, version: int) -> dict[str, int]:
    """An item for each text: it stands in the prompt and is the answer. Returns item ids by name."""
    with store.writing() as session:
        prompts = add_prompts(
            session,
            [
                NewPrompt(
                    [
                        {"role": "user", "content": f"case {number}"},
                        {"role": "assistant", "content": text[:300]},
                        {"role": "user", "content": text},
                    ],
                    lang="en",
                    tags={"source": text[:300], "licence": name, "groups": [text[:300]], text[:50]: text[:300]},
                )
                for number, (name, text) in enumerate(HOSTILE.items())
            ],
        )
        made = add_generations(
            session,
            [
                NewGeneration(prompt, text, "end", "sampled", "run:1", version_id=version)
                for prompt, text in zip(prompts.ids, TEXTS, strict=True)
            ],
        )
        assert make_items(session, made, purpose="loop", reviews_per_item=3, seed=0) == len(HOSTILE)
        assert [session.get_one(Generation, one).text for one in made] == TEXTS
        items = dict(session.exec(select(Item.generation_id, Item.id)).all())
    return {name: items[one] for name, one in zip(HOSTILE, made, strict=True)}


class _Home:
    """An installation that is closed after use."""

    def __init__(self, settings: Settings) -> None:
        self.installation = open_installation(settings)

    def __enter__(self) -> Installation:
        return self.installation

    def __exit__(self, *_: object) -> None:
        self.installation.store.close()


def open_home(settings: Settings) -> _Home:
    """The installation of a home."""
    return _Home(settings)


def client_of(installation: Installation, login: str) -> TestClient:
    """The API as a new reviewer's browser calls it."""
    with installation.store.writing() as session:
        account = person(session, login)
        cookie = accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=1))
    app = Starlette(routes=[Mount("/api/v1", app=build_api(installation))])
    headers = OURS | {"X-Flagback-Token": auth.page_token(installation, account)}
    client = TestClient(app, headers=headers, raise_server_exceptions=False)
    client.cookies.set(auth.cookie_name(installation), cookie)
    return client


def flag(lease: str, **said: Any) -> dict[str, Any]:
    """The body of a flag."""
    return {
        "token": str(uuid.uuid4()),
        "lease_id": lease,
        "verdict": "flag",
        "categories": ["stereotype"],
        "severity": "clear",
        "taxonomy_version": "1",
        "guideline_version": "1",
        **said,
    }


def _reviewed(installation: Installation, items: dict[str, int]) -> dict[str, int]:
    """Every item claimed and flagged through the API, with the text as rewrite, note and group where it fits."""
    client = client_of(installation, "api")
    names = {f"case {number}": name for number, name in enumerate(HOSTILE)}
    found: dict[str, int] = {}
    while held := client.post("/api/v1/claim", json={"count": 40}).json()["items"]:
        for item in held:
            name = names[item["messages"][0]["content"]]
            text = HOSTILE[name]
            assert item["text"] == text, name
            assert item["messages"][2]["content"] == text, name
            said = {
                "rewrite": f"{text[: LONGEST_REWRITE - 9]} changed",
                "note": text[:LONGEST_NOTE],
                "targets": ["other"],
                "target_other": text[:200],
            }
            answered = client.post("/api/v1/answers", json=flag(item["lease_id"], **said))
            assert answered.status_code == 200, (name, answered.text)
            found[name] = items[name]
    back = client.get("/api/v1/recent").json()["answers"]
    assert all(one["answer"]["note"] == one["shown"]["text"][:LONGEST_NOTE] for one in back)
    assert set(found) == set(HOSTILE)
    return {name: found[name] for name in HOSTILE}


def _pairs(store: Store, folder: Path) -> PreferenceSet:
    """A frozen set whose pairs are hostile."""
    rows = [
        {"prompt": text, "chosen": f"{text} better", "rejected": text, "source": text[:300].strip() or "x", "licence": name}
        for name, text in HOSTILE.items()
        if len(text) < 200_000
    ]
    report = import_preferences(store, _written(folder, "jsonl", rows), name="hostile", by="ada", now=NOW)
    assert report.added == len(rows)
    with store.reading() as session:
        return session.get_one(PreferenceSet, report.set_id)


def _stored(kept: Kept) -> list[dict[str, Any]]:
    """What the export must hold, read past it."""
    with kept.store.reading() as session:
        return [
            {"rewrite": review.rewrite, "note": review.note, "target_other": review.target_other, "item_id": review.item_id}
            for review in session.exec(select(Review).order_by(col(Review.id))).all()
        ]


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_reviews_leave_to_the_character(kept: Kept, tmp_path: Path, file_format: Literal["jsonl", "csv", "parquet"]) -> None:
    export_reviews(kept.store, tmp_path / "out", format=file_format, spreadsheet=file_format == "csv")
    path = tmp_path / "out" / f"reviews.{file_format}"
    if file_format == "jsonl":
        with path.open(encoding="utf-8", newline="\n") as file:
            rows = [json.loads(line) for line in file]
    elif file_format == "csv":
        frame = pd.read_csv(path, lineterminator="\n", encoding="utf-8", **csv_options(REVIEW_COLUMNS))
        rows = frame.to_dict("records")
    else:
        rows = pq.read_table(path).to_pylist()
    by_item = {item: name for name, item in kept.reviews.items()}
    assert len(rows) == len(HOSTILE)
    for row, stored in zip(rows, _stored(kept), strict=True):
        text = HOSTILE[by_item[row["item_id"]]]
        assert row["response"] == text
        assert {name: row[name] for name in stored} == stored
        tags = json.loads(row["tags"])
        assert (tags["source"], tags["groups"]) == (text[:300], [text[:300]])
        messages = json.loads(row["prompt_messages"]) if isinstance(row["prompt_messages"], str) else row["prompt_messages"]
        assert messages[2]["content"] == text
    _check_card(tmp_path / "out")
    if file_format == "csv":
        _check_spreadsheet(tmp_path / "out" / "reviews.spreadsheet.csv", len(HOSTILE))


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_pairs_leave_and_come_back_the_same(
    kept: Kept, tmp_path: Path, sqlite_store: Store, file_format: Literal["jsonl", "csv", "parquet"]
) -> None:
    export_set(kept.store, tmp_path / "out", format=file_format, spreadsheet=file_format == "csv")
    report = import_preferences(sqlite_store, tmp_path / "out", name="hostile", by="ada", now=NOW)
    with kept.store.reading() as session, sqlite_store.reading() as other:
        first, again = (one.exec(select(PreferenceSet)).one() for one in (session, other))
        wanted = set(session.exec(select(Generation.text).where(Generation.source == "imported")).all())
        assert set(other.exec(select(Generation.text)).all()) == wanted
    assert (report.added, again.fingerprint) == (first.n_pairs, first.fingerprint)
    _check_card(tmp_path / "out")
    if file_format == "csv":
        for split in ("train", "heldout"):
            _check_spreadsheet(tmp_path / "out" / f"{split}.spreadsheet.csv", None)


def _check_card(folder: Path) -> None:
    """The card's head is YAML of declared keys, its Markdown holds nothing from outside that acts, the manifest is JSON."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert set(yaml.safe_load(head)) == {"pretty_name", "tags", "configs", "dataset_info"}
    sources = body[body.index("## Where the prompts are from") : body.index("## Reading it")]
    lines = [line for line in sources.splitlines()[4:] if line]
    assert len(lines) == sources.count(" rows\n"), "one line a source"
    assert all(re.fullmatch(r"- .*: [\d,]+ rows", line) for line in lines)
    outside_code = re.sub(r"(`+) .*? \1", "", sources)
    assert not re.search(r"[<>\[\]*_$!{}|\\]", outside_code.split("\n", 4)[4])
    assert not CANDIDATE.search(sources)
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["flagback_export"] == 1


_SIGNS = "=+-@＝＋－＠﹦﹢﹣﹫−"


def _check_spreadsheet(path: Path, count: int | None) -> None:
    """No cell begins with a formula: by commas, by semicolons or by tabs; no cell is longer than programs take."""
    text = path.read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert count is None or len(rows) == count + 1
    known = {column.name for column in (*REVIEW_COLUMNS, *pair_columns(conversational=False))}
    assert set(rows[0]) <= known, "headers are ours alone"
    for row in rows[1:]:
        for name, cell in zip(rows[0], row, strict=True):
            bare = cell.lstrip().lstrip("\"'‘’“”`´ \u00a0\t\r\n") if not cell.startswith("'") else ""
            bare = CANDIDATE.sub("", bare)
            assert not bare.startswith(tuple(_SIGNS)) or re.fullmatch(r"-?\d[\d.e+-]*", cell), (name, cell[:80])
            assert len(cell) < 32_767
    for part in re.split("[;\t\r\n]", text):
        assert not part.lstrip(' "\u00a0\u200b\ufeff').startswith(tuple(_SIGNS)), part[:80]


@pytest.mark.parametrize(
    "before", ["", " ", "\t", "\r", "\n", "\u00a0", "\u3000", '"', "'", "“", "\u200b", "\ufeff", "\u202e", ' "\u200b']
)
@pytest.mark.parametrize("sign", list(_SIGNS))
def test_a_formula_is_made_harmless_whatever_stands_before_it(before: str, sign: str) -> None:
    made = harmless(f"{before}{sign}1+1")
    assert made.startswith("'")
    assert harmless(f"text;{before}{sign}1+1") == f"text;{before}'{sign}1+1"


def test_what_is_no_formula_stays_and_a_long_cell_is_cut() -> None:
    for text in ("a = b", "well-known", "me@example.org", "1+1", "3 - 2; 4", "C++", "x=1"):
        assert harmless(text) == text
    assert len(harmless(HOSTILE["formula far down"])) < LONGEST_CELL + 100
    began = time.perf_counter()
    harmless("\n;\t '" * 6_000)
    assert time.perf_counter() - began < 1, "blanks are looked at once"


def test_a_card_shows_words_as_words_and_the_rest_as_code() -> None:
    assert inert("BOLD (Amazon), CC BY-SA 4.0") == "BOLD (Amazon), CC BY-SA 4.0"
    assert inert("https://huggingface.co/datasets, MIT") == "https://huggingface.co/datasets, MIT"
    assert inert("a `b` ![c](d)") == "`` a `b` ![c](d) ``"
    assert inert("a\nb\u202e") == "` a<U+000A>b<U+202E> `"


# ----------------------------------------------------------------------- refused


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """A home with one item, on each kind of database."""
    settings = Settings(home=tmp_path / "home", database_url=database_url)
    store = Store(settings.records_url)
    migrate(store)
    with store.writing() as session:
        register_base(session, NewBase("tiny", "somewhere", "plain", {}, {}, "f" * 64), by="ada")
        (prompt,) = add_prompts(session, [NewPrompt([{"role": "user", "content": "The visitor said"}], lang="en")]).ids
        made = add_generations(session, [NewGeneration(prompt, " it was late.", "end", "imported", "import:x")])
        make_items(session, made, purpose="loop", reviews_per_item=2, seed=0)
    store.close()
    with open_home(settings) as opened:
        yield opened


def test_an_answer_with_half_a_character_is_refused_in_words_whatever_field_holds_it(installation: Installation) -> None:
    client = client_of(installation, "ada")
    lease = client.post("/api/v1/claim", json={"count": 1}).json()["items"][0]["lease_id"]
    for bad in UNSTORABLE.values():
        for said in (
            {"note": bad},
            {"rewrite": bad},
            {"targets": ["other"], "target_other": bad},
            {"lease_id": bad},
            {"token": bad},
            {"supersedes_token": bad},
            {"skip_reason": bad},
            {"categories": [bad]},
            {"targets": [bad]},
            {"spans": [{"start": 0, "end": 1, "category": bad}]},
            {"taxonomy_version": bad},
            {"guideline_version": bad},
            {bad: 1},
        ):
            body = json.dumps(flag(lease) | said).encode("ascii")
            answered = client.post("/api/v1/answers", content=body, headers={"Content-Type": "application/json"})
            assert answered.status_code in (404, 422), (said, answered.text)
            assert answered.json()["error"]["code"] in ("bad_answer", "bad_request", "unknown_lease")
            assert not OBEYED.search(answered.json()["error"]["message"])
            assert "valid dictionary" not in answered.text, "it was read as an answer"
    with installation.store.reading() as session:
        assert session.exec(select(Review.id)).all() == []


def test_a_file_with_half_a_character_is_refused_whole_whatever_holds_it(installation: Installation, tmp_path: Path) -> None:
    store = installation.store
    before = _count(store)
    for number, bad in enumerate(UNSTORABLE.values()):
        rows: list[dict[str, Any]] = [
            {"prompt": bad},
            {"prompt": "p", "topic": bad},
            {"prompt": "p", bad: "x"},
            {"prompt": "p", "groups": [bad]},
            {"prompt": "p", "tags": {"deep": [{"er": bad}]}},
            {"prompt": "p", "split_key": bad},
            {"prompt": "p", "lang": bad},
            {"messages": [{"role": "user", "content": bad}]},
        ]
        for row in rows:
            path = tmp_path / f"{number}.jsonl"
            path.write_text(json.dumps({"prompt": "fine"}) + "\n" + json.dumps(row) + "\n", encoding="ascii")
            with pytest.raises(BadImport, match="Nothing was stored"):
                import_prompts(store, path, by="ada", now=NOW)
        as_csv = tmp_path / f"{number}.csv"
        as_csv.write_bytes(b'prompt,topic\n"' + bad.encode("utf-8", "surrogatepass") + b'","x"\n')
        with pytest.raises(BadImport):
            import_prompts(store, as_csv, by="ada", now=NOW)
        in_cell = tmp_path / f"cell{number}.csv"
        in_cell.write_text('prompt,tags\n"p","' + json.dumps({"a": bad}).replace('"', '""') + '"\n', encoding="ascii")
        with pytest.raises(BadImport):
            import_prompts(store, in_cell, by="ada", now=NOW)
        as_parquet = tmp_path / f"{number}.parquet"
        whole = pa.array([bad.encode("utf-8", "surrogatepass")], pa.binary()).cast(pa.string(), safe=False)
        pq.write_table(pa.table({"prompt": whole, "text": whole, "chosen": whole, "rejected": whole}), as_parquet)
        with pytest.raises(BadImport):
            import_prompts(store, as_parquet, by="ada", now=NOW)
        with pytest.raises(BadImport):
            import_preferences(store, as_parquet, name="x", by="ada", now=NOW)
        with pytest.raises(BadImport):
            import_texts(store, as_parquet, purpose="perplexity", name="x", by="ada", now=NOW)
        for maker, content in ((".txt", bad), (".jsonl", "")):
            texts = tmp_path / f"texts{number}{maker}"
            texts.write_bytes(
                content.encode("utf-8", "surrogatepass") if content else json.dumps({"text": bad}).encode("ascii") + b"\n"
            )
            with pytest.raises(BadImport):
                import_texts(store, texts, purpose="replay", name="x", by="ada", now=NOW)
    assert _count(store) == before


def test_a_name_or_a_reason_with_half_a_character_is_refused_in_words(installation: Installation, tmp_path: Path) -> None:
    store = installation.store
    good = tmp_path / "good.jsonl"
    good.write_text('{"prompt": "fine"}\n', encoding="ascii")
    before = _count(store)
    for bad in UNSTORABLE.values():
        acts: list[Callable[[], object]] = [
            lambda bad=bad: versions.promote(store, 1, by=bad, now=NOW, override_reason="why"),  # type: ignore[misc]
            lambda bad=bad: versions.promote(store, 1, by="ada", now=NOW, override_reason=bad),  # type: ignore[misc]
            lambda bad=bad: versions.roll_back(store, by=bad, now=NOW, reason="why"),  # type: ignore[misc]
            lambda bad=bad: versions.roll_back(store, by="ada", now=NOW, reason=bad),  # type: ignore[misc]
            lambda bad=bad: import_prompts(store, good, by=bad, now=NOW),  # type: ignore[misc]
            lambda bad=bad: import_prompts(store, good, by="ada", now=NOW, source=bad),  # type: ignore[misc]
            lambda bad=bad: import_preferences(store, good, name="x", by=bad, now=NOW),  # type: ignore[misc]
            lambda bad=bad: import_texts(store, good, purpose="replay", name="x", by=bad, now=NOW),  # type: ignore[misc]
        ]
        for act in acts:
            with pytest.raises(UnstorableText, match="which no database keeps"):
                act()
        with pytest.raises(BadImport, match="the name"):
            import_texts(store, good, purpose="replay", name=bad, by="ada", now=NOW)
        with store.writing() as session:
            for ask in (
                lambda bad=bad: runs.request_sampling(session, by=bad, now=NOW),
                lambda bad=bad: runs.request_correction(session, by=bad, now=NOW),
                lambda bad=bad: runs.request_evaluation(session, candidate_id=1, by=bad, now=NOW),
                lambda bad=bad: runs.cancel(session, SamplingRun, 1, by=bad, now=NOW),
            ):
                with pytest.raises(UnstorableText):
                    ask()
            with pytest.raises(accounts.BadLogin):
                accounts.create(session, bad, PASSWORD, "reviewer")
            with pytest.raises(accounts.UnknownLogin):
                accounts.set_disabled(session, bad, disabled=True, now=NOW, by="root")
            assert accounts.verify(session, bad, PASSWORD) is None
    assert _count(store) == before


def _count(store: Store) -> tuple[int, ...]:
    with store.reading() as session:
        return tuple(len(session.exec(select(table.id)).all()) for table in (Prompt, Generation, ModelVersion, SamplingRun))


@pytest.mark.parametrize("login", ["a\u200bda", "ada\u3164", "\u202eada", "ad\u00ada", "a\ufe0fda", "\x1b[31mada"])
def test_a_login_that_looks_like_another_by_what_cannot_be_seen_is_refused(sqlite_store: Store, login: str) -> None:
    with sqlite_store.writing() as session, pytest.raises(accounts.BadLogin):
        accounts.create(session, login, PASSWORD, "reviewer")


@pytest.mark.parametrize("reason", ["\u200b", "\u2060\ufeff ", "\u202e", " \t"])
def test_a_reason_of_which_nothing_is_seen_is_no_reason(sqlite_store: Store, reason: str) -> None:
    with pytest.raises(versions.MissingReason):
        versions.roll_back(sqlite_store, by="ada", now=NOW, reason=reason)
    with pytest.raises(versions.MissingReason):
        versions.promote(sqlite_store, 1, by="ada", now=NOW, override_reason=reason)


def test_the_name_of_an_uploaded_file_leads_nowhere(tmp_path: Path) -> None:
    for number, text in enumerate([*HOSTILE.values(), *UNSTORABLE.values(), "..", ".", "", "👩" * 300 + ".jsonl.gz"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        name = file_name(text)
        (folder / name).write_bytes(b"x")
        assert [path.name for path in folder.iterdir()] == [name]
    for name in ("a.prompts.jsonl.gz", "gender_prompt.json"):
        assert file_name(name) == name
    assert file_name("👩" * 300 + ".jsonl.gz").endswith(".jsonl.gz")


# ----------------------------------------------------------------------- the terminal


@pytest.fixture
def run(kept: Kept, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the hostile home."""

    return partial(run_command, capsys, kept.home)


@pytest.mark.parametrize("command", ["prompts", "reviews", "runs", "versions"])
def test_a_terminal_is_told_and_never_commanded(run: Run, command: str) -> None:
    said = run(command, "--limit", "500")
    assert (said.code, said.err) == (0, "")
    assert not CANDIDATE.search(said.out)
    rows = len(said.out.splitlines())
    as_json = run(command, "--limit", "500", "--json")
    assert not CANDIDATE.search(as_json.out)
    found = json.loads(as_json.out)
    assert rows == 1 + len(found[command]), "one line a row"
    if command == "prompts":
        texts = {row["text"] for row in found["prompts"]}
        assert set(TEXTS) <= texts, "JSON holds the texts to the character"
        assert "<U+001B>[31mred" in said.out
        assert "photo_<U+202E>gpj.exe<U+202C> end" in said.out
    if command == "runs":
        assert "<U+000A>eve" in said.out


def test_an_error_and_a_file_name_do_not_command_the_terminal_either(run: Run, tmp_path: Path) -> None:
    for number, text in enumerate(("\x1b[31mred\u202e.jsonl", "\x9b2J.jsonl", "a\udcffb.jsonl")):
        path = tmp_path / text
        path.write_bytes(b"{broken")
        for words in (("import", "prompts", str(path)), ("import", "prompts", str(path) + "x")):
            said = run(*words)
            assert said.code == 1, number
            assert not CANDIDATE.search(said.err)
            assert "Nothing was stored" in said.err
        said = run("import", "texts", str(path), "--purpose", "replay", "--name", "x", "--as", "\udcff")
        assert "There is no account" in said.err
        assert not CANDIDATE.search(said.err)
    path = tmp_path / "\x1b[31mred\udcff.jsonl"
    path.write_text('{"prompt": "one more"}\n', encoding="ascii")
    for more in ([], ["--json"]):
        said = run("import", "prompts", str(path), *more)
        assert (said.code, said.err) == (0, "")
        assert not CANDIDATE.search(said.out)


def test_an_unexpected_error_is_shown_and_kept_without_commands(run: Run, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(HOSTILE["ansi clipboard"] + "\udcff")

    monkeypatch.setattr("flagback.review_app.commands.loop.actor", broken)
    said = run("sample", "--no-wait")
    assert "<U+001B>]52;c;" in said.err
    assert not CANDIDATE.search(said.err)
    assert not CANDIDATE.search((kept.home / "logs" / "errors.log").read_text(encoding="utf-8"))


def test_json_keeps_every_value_though_it_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    everything = {**HOSTILE, **HONEST, **UNSTORABLE}
    shared.show(everything, as_json=True, lines=[])
    out = capsys.readouterr().out
    assert json.loads(out) == everything
    assert not CANDIDATE.search(out)


# ----------------------------------------------------------------------- the screens


class Watch:
    """What a page must never do: open a dialog, ask another host, run a text's code, break the page's policy."""

    def __init__(self, context: BrowserContext) -> None:
        self.seen: list[str] = []
        context.on("request", lambda request: self._asked(request.url))
        context.on("dialog", self._opened)
        context.on("console", self._said)

    def _asked(self, url: str) -> None:
        if not re.match(r"(https?|ws)://127\.0\.0\.1[:/]|data:|blob:|about:", url):
            self.seen.append(f"request {url}")

    def _opened(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _said(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "evil.invalid" in message.text:
            self.seen.append(f"console {message.text}")

    def check(self, page: Page) -> None:
        """Nothing of it happened so far."""
        assert page.evaluate("window.__pwned") is None
        assert self.seen == []


@pytest.fixture(scope="module")
def web(kept: Kept) -> Iterator[WebProcess]:
    """The hostile home, served."""
    with kept.store.writing() as session:
        for login, role in (("eye", "reviewer"), ("max", "maintainer")):
            person(session, login, role)  # type: ignore[arg-type]
    with WebProcess(kept.home) as started:
        yield started


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for all, which may read its clipboard."""
    context = browser.new_context(viewport={"width": 900, "height": 900}, permissions=["clipboard-read", "clipboard-write"])
    yield context
    context.close()


def shown_part(text: str, *, characters: int = 20_000, lines: int = 500) -> str:
    """What a screen shows of a text before anyone asks for more."""
    return "\n".join(text.strip(BLANKS)[:characters].split("\n")[:lines])


_BOARD = """() => {
  const find = (name) => [...document.querySelectorAll('*')].map((one) => one.shadowRoot).filter(Boolean)
    .flatMap((one) => [...one.querySelectorAll(name)]).concat([...document.querySelectorAll(name)]);
  const output = find('.output')[0], turns = find('.turns .prompt');
  return {
    name: turns[0]?.textContent ?? '', text: output.textContent, prompt: turns[2]?.textContent ?? '',
    signs: [...output.querySelectorAll('.hidden-sign')].map((one) => one.dataset.sign),
    drawn: [...output.querySelectorAll('.hidden-sign')].map((one) => getComputedStyle(one, '::before').content),
    more: find('.card .more').map((one) => one.hidden ? '' : one.textContent)[0],
    markup: output.querySelectorAll(':not(span):not(mark)').length,
    wide: document.documentElement.scrollWidth > innerWidth,
  };
}"""


def test_the_board_shows_every_text_for_what_it_is_and_runs_none(kept: Kept, web: WebProcess, profile: BrowserContext) -> None:
    watch = Watch(profile)
    names = {f"case {number}": name for number, name in enumerate(HOSTILE)}
    with page_in(profile) as page:
        sign_in(page, web.url, "eye", PASSWORD)
        asked(page)
        seen: dict[str, dict[str, Any]] = {}
        for _ in range(len(HOSTILE)):
            page.wait_for_function(
                f"() => {{ const at = ({_BOARD})(); return at.name && !{json.dumps(list(seen))}.includes(at.name); }}"
            )
            found = page.evaluate(_BOARD)
            seen[found["name"]] = found
            if names[found["name"]] == "override right to left":
                _marks_and_copies(page, kept)
            else:
                press(page, "j")
        watch.check(page)
    assert {names[name] for name in seen} == set(HOSTILE)
    for number, (name, text) in enumerate(HOSTILE.items()):
        found = seen[f"case {number}"]
        part = shown_part(text)
        assert found["text"].rstrip("\n") == part.rstrip("\n"), name
        assert found["prompt"].rstrip("\n") == part.rstrip("\n"), name
        assert found["signs"] == [piece.sign for piece in pieces(part) if piece.sign], name
        assert found["drawn"] == [json.dumps(sign, ensure_ascii=False) for sign in found["signs"]], name
        assert found["markup"] == 0, name
        assert not found["wide"], name
        total = len(text.strip(BLANKS))
        assert (found["more"] != "") == (total > len(part)), name
        if found["more"]:
            assert f"of {total:,} characters" in found["more"], name


def _marks_and_copies(page: Page, kept: Kept) -> None:
    """Behind two signs a marked word is stored at its place in the stored text, and what is copied is the text."""
    text = HOSTILE["override right to left"]
    select_in = """(wanted) => {
      const holder = [...document.querySelectorAll('*')].find((one) => one.shadowRoot?.querySelector('.output'));
      const root = holder ? holder.shadowRoot : document;
      const output = root.querySelector('.output');
      const selection = getSelection();
      if (wanted === null) { selection.selectAllChildren(output); return; }
      const span = [...output.querySelectorAll('span')].find((one) => one.textContent.includes(wanted));
      const from = span.firstChild.data.indexOf(wanted);
      selection.setBaseAndExtent(span.firstChild, from, span.firstChild, from + wanted.length);
      output.dispatchEvent(new MouseEvent('mouseup', { bubbles: true }));
    }"""
    page.evaluate(select_in, None)
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()").strip() == text
    page.keyboard.press("f")
    expect(page.locator(".unseen-words")).to_have_text("What is in the box holds what cannot be seen: U+202E, U+202C.")
    page.evaluate(select_in, "end")
    expect(page.locator(".output mark")).to_have_text("end")
    page.get_by_label("How should it read").fill(text.replace("exe", "png"))
    expect(page.locator(".changes .hidden-sign")).not_to_have_count(0)
    page.keyboard.press("Escape")
    for key in ("1", "s", "Enter"):
        page.keyboard.press(key)
    until = time.monotonic() + 15
    while time.monotonic() < until:
        with kept.store.reading() as session:
            stored = session.exec(select(Review).order_by(col(Review.id).desc()).limit(1)).one()
        if stored.verdict == "flag" and stored.spans:
            break
        time.sleep(0.05)
    start = text.index("end")
    assert [(span["start"], span["end"]) for span in stored.spans] == [(start, start + 3)]
    assert stored.rewrite == text.replace("exe", "png")


def test_the_browser_and_the_server_follow_one_rule(profile: BrowserContext) -> None:
    source = Path(look.__file__).parents[1] / "board" / "invisible.js"
    texts = {name: text[:30_000] for name, text in {**HOSTILE, **HONEST, **UNSTORABLE}.items()}
    wanted = {name: [list(piece) for piece in pieces(text)] for name, text in texts.items()}
    with page_in(profile) as page:
        page.goto("about:blank")  # our own pages would not let a script in
        found = page.evaluate(
            """async ([code, texts]) => {
              const { pieces } = await import(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
              return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name,
                pieces(Array.from(JSON.parse(text))).map((one) => [one.start, one.end, one.sign, one.words])]));
            }""",
            [source.read_text(encoding="utf-8"), {name: json.dumps(text) for name, text in texts.items()}],
        )
    assert found == wanted


_TEXTS_OF = """(name) => [...document.querySelectorAll(name)].map((one) => ({
  text: [...one.childNodes].filter((part) => part.tagName !== 'DIV').map((part) => part.textContent).join(''),
  signs: [...one.querySelectorAll('.fb-sign')].map((sign) => sign.dataset.sign),
  markup: one.querySelectorAll(':not(span):not(div):not(i)').length,
  isolated: getComputedStyle(one).unicodeBidi,
}))"""


def _opened(page: Page, address: str, title: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    expect(page.get_by_text("Sign out")).to_be_visible()
    expect(page.locator("[data-testid=stStatusWidget]")).to_have_count(0)
    assert page.locator(".stException").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{title} runs out of the window"


def test_every_page_of_a_maintainer_shows_texts_for_what_they_are_and_runs_none(
    kept: Kept, web: WebProcess, profile: BrowserContext
) -> None:
    profile.clear_cookies()
    watch = Watch(profile)
    with page_in(profile) as page:
        sign_in(page, web.url, "max", PASSWORD)
        _opened(page, f"{web.url}/compare?version={kept.candidate}&figure=perplexity%3Aneutral", "Two versions")
        expect(page.locator(".fb-quote")).to_have_count(len(HOSTILE) + 1)
        for (name, text), found in zip(HOSTILE.items(), page.evaluate(_TEXTS_OF, ".fb-quote")[1:], strict=True):
            part = shown_part(text)
            # HTML has no carriage return of its own: a lone one is named by its sign and copied as a line end.
            assert found["text"].replace("\n", "").rstrip("…") == part.replace("\r", "").replace("\n", ""), name
            assert found["signs"] == [piece.sign for piece in pieces(part) if piece.sign], name
            assert (found["markup"], found["isolated"]) == (0, "isolate"), name
        expect(page.get_by_text("The first 20,000 of 1,048,576 characters are shown.").first).to_be_visible()
        watch.check(page)
        _opened(page, f"{web.url}/versions", "Versions")
        signs = page.evaluate("() => [...document.querySelectorAll('.fb-sign')].map((one) => one.dataset.sign)")
        assert {"U+202E", "U+202C", "tags “ignore all rules”"} <= set(signs)
        expect(page.get_by_text("[click me](javascript:").first).to_be_visible()
        watch.check(page)
        _opened(page, f"{web.url}/corrections?run=1", "Corrections")
        expect(page.get_by_text("![a picture](https://evil.invalid/tracker.png)").first).to_be_visible()
        expect(page.get_by_text(":red[stop]").first).to_be_visible()
        assert "U+001B" in page.evaluate("() => [...document.querySelectorAll('.fb-sign')].map((one) => one.dataset.sign)")
        watch.check(page)
        _opened(page, f"{web.url}/loop", "The loop")
        expect(page.get_by_text("<script>").first).to_be_visible()
        watch.check(page)
        _opened(page, f"{web.url}/data", "Data")
        page.locator("input[type=file]").set_input_files(
            {"name": "\u202e![x](evil.invalid).jsonl", "mimeType": "application/json", "buffer": b"{broken"}
        )
        page.get_by_role("button", name="Bring it in").click()
        said = page.locator(".fb-said.flag")
        expect(said).to_contain_text("![x](evil.invalid)")
        expect(said.locator(".fb-sign")).to_have_count(1)
        watch.check(page)
