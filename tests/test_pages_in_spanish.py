"""The maintainers' and leads' pages in Spanish: no English is left where the catalogue has other words; what the layers below said
is told in Spanish too."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from streamlit.testing.v1 import AppTest

from flagback.model import gate
from flagback.review_app import retold, words
from flagback.review_app.settings import Settings
from flagback.storage import suites
from flagback.storage.records import CorrectionRun, Decision, Evaluation, RunMetric, now
from flagback.storage.store import Store
from flagback.storage.suites import Answered, NewData
from tests.english_left import english_in
from tests.fresh import migrate
from tests.gallery import recipes
from tests.panel_of_two_groups import KEY
from tests.people import person
from tests.test_evidence_pages import FIGURE
from tests.test_leads_pages import fill
from tests.test_monitoring import evaluation, version

PAGES = {
    "loop": "max",
    "corrections": "max",
    "versions": "max",
    "history": "max",
    "figures": "max",
    "compare": "max",
    "groups": "max",
    "agreement": "max",
    "patterns": "max",
    "panel": "max",
    "contested": "lea",
    "reviewers": "lea",
    "people": "root",
    "data": "max",
}
#: Fields of what Streamlit draws that a person reads.
READ = {"label", "help", "placeholder", "options", "body", "text", "title", "alt", "value", "captions", "default"}


def sources() -> str:
    """Everything that model and storage write out, with their f-strings' places as they stand and lines put together."""
    root = Path(retold.__file__).parent.parent
    paths = [path for folder in ("model", "storage", "review_app") for path in (root / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in paths if path.name != "retold.py")
    return re.sub(r'"\s*\n\s*f?"', "", code)


def home_of(folder: Path, *, filled: bool) -> Path:
    """A home in which every page has something to show, or nothing."""
    home = folder / "home"
    home.mkdir()
    (home / "pseudonym.key").write_bytes(KEY)
    (home / "pseudonym.key").chmod(0o600)
    store = Store(Settings(home=home).records_url)
    migrate(store)
    if filled:
        fill(store)
    with store.writing() as session:
        for login, role in (("max", "maintainer"), ("lea", "lead"), ("root", "administrator")):
            person(session, login, role)  # type: ignore[arg-type]
        if filled:
            version(session, 2, parent=1)
            old = FIGURE | {"metric": "flag_rate:age=old", "note": "Too few prompts to say anything: age=young (3)."}
            length = FIGURE | {"metric": "length", "unit": "tokens", "scale": "ratio", "change": 1.1, "low": 1.05, "high": 1.2}
            rows = [(metric, f"c{n}", 1.0, 0.0) for metric in ("flag_rate", "flag_rate:age=old") for n in range(12)]
            evaluation(session, 1, 2, {"flag_rate": FIGURE, "flag_rate:age=old": old, "length": length}, rows)
            row = session.get_one(Evaluation, 1)
            row.verdict, row.reasons = "not_enough_data", [one.to_dict() for one in gate.judge([]).reasons]
            run = CorrectionRun(id=2, parent_id=1, recipe={"steps": 3}, seed=0, state="succeeded", candidate_id=2, asked_by="max")
            session.add(run)
            session.add(RunMetric(run_id=2, step=1, metrics={"loss": 0.5, "margin": 0.1}))
            recipes.tried_on(session, 1)
            session.add(Decision(kind="promote", version_id=1, decided_by="max", reason="first"))
            level = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 12, "clusters": 12}
            of_age = {"bias_type": {"age": {"figures": {"pct_stereotype": level}}}}
            found = {"n": 12, "figures": {"pct_stereotype": level}, "groups": of_age}
            data = suites.take_in(session, NewData("crows-pairs", "pairs.csv", {}, None, "h", 12), by="max", now=now())
            items = [Answered(f"pair {n}", {"pct_stereotype": 1.0}, []) for n in range(12)]
            for number in (1, 2):
                suites.keep(session, version_id=number, data_id=data.id, form="causal", figures=found, items=items, now=now())
    store.close()
    return home


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with something on every page."""
    return home_of(tmp_path_factory.mktemp("spanish"), filled=True)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with people and nothing else."""
    return home_of(tmp_path_factory.mktemp("nothing"), filled=False)


def _page(home: str, login: str, module: str) -> None:
    """A page as `app` draws it, without the way in."""
    from importlib import import_module
    from pathlib import Path

    from flagback.review_app.installation import open_installation
    from flagback.review_app.settings import Settings
    from flagback.storage import accounts

    installation = open_installation(Settings(home=Path(home)))
    with installation.store.reading() as session:
        account = accounts.by_login(session, login)
        session.expunge(account)
    import_module(f"flagback.review_app.screens.{module}").show(installation, account)
    installation.store.close()


def shown(home: Path, login: str, module: str) -> list[str]:
    """Every text of a page in Spanish."""
    app = AppTest.from_function(_page, kwargs={"home": str(home), "login": login, "module": module}, default_timeout=120)
    app.session_state["flagback_language"] = "es"
    app.run()
    assert not app.exception, app.exception
    return [text for element in app.main for text in _texts(element)]


def _texts(element: Any) -> Iterator[str]:
    """What of an element a person reads; of a picture its titles and its words."""
    proto = element.proto
    for child in getattr(element, "children", {}).values():
        yield from _texts(child)
    if proto is None:
        return
    found = MessageToDict(proto)
    if isinstance(found.get("spec"), str):
        yield from _titles(json.loads(found["spec"]))
    yield from _read(found)


def _read(found: Any, name: str = "") -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield from _read(value, key)
    elif isinstance(found, list):
        for value in found:
            yield from _read(value, name)
    elif isinstance(found, str) and name in READ:
        without = re.sub(
            r'<(?:div|span)[^>]*class="fb-(?:quote|asked)".*?</(?:div|span)>|<style>.*?</style>', "", found, flags=re.DOTALL
        )
        yield from (html.unescape(part).strip() for part in re.split(r"<[^>]*>", without) if part.strip())


def _titles(spec: Any) -> Iterator[str]:
    if isinstance(spec, dict):
        if isinstance(spec.get("title"), str):
            yield spec["title"]
        for key, value in spec.items():
            if key != "datasets":
                yield from _titles(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _titles(value)


@pytest.mark.parametrize("page", PAGES)
def test_a_filled_page_in_spanish_has_no_english_left(filled: Path, page: str) -> None:
    texts = shown(filled, PAGES[page], page)
    assert len(texts) > 10
    assert english_in(texts, "es") == []


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_page_in_spanish_has_no_english_left(empty: Path, page: str) -> None:
    assert english_in(shown(empty, PAGES[page], page), "es") == []


# ------------------------------------------------------- what the layers below said


def test_the_forms_are_those_in_which_the_layers_below_speak() -> None:
    """A quarter at least of every form's runs of three words stands in the code; the layers put some sentences together."""
    code, gone = sources(), []
    for form in retold.FORMS:
        parts = [part.split() for part in re.split(r"\{\w+\}", form)]
        runs = [" ".join(part[at : at + 3]) for part in parts for at in range(len(part) - 2)]
        if runs and 4 * sum(run in code for run in runs) < len(runs):
            gone.append(form)
    assert gone == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The gate does not wait for it.", "El control no lo espera."),
        ("10 or more", "10 o más"),
        ("A text of no known form.", "A text of no known form."),
        (
            "The length of answers changed by +12.5 % (95 %: +1.0 % to +1,024.0 %, 1,200 answers of 12 kinds): at most +50.0 %.",
            (
                "La longitud de las respuestas: cambió +12,5 % (95 %: +1,0 % a +1.024,0 %, 1.200 respuestas de 12 tipos): como "
                "mucho +50,0 %."
            ),
        ),
        (
            (
                "The gap between groups was not measured; add more texts of this set, then evaluate again. The gate does not "
                "wait for it."
            ),
            (
                "La diferencia entre grupos: no se midió; añade más textos de este conjunto y evalúa de nuevo. El control no lo "
                "espera."
            ),
        ),
    ],
)
def test_what_was_said_in_english_is_told_in_spanish_sentence_by_sentence(said: str, told: str) -> None:
    with words.speaking("es"):
        assert retold.retold(said) == told
    assert retold.retold(said) == said


def test_every_reason_of_the_gate_is_told_in_spanish() -> None:
    reasons = gate.judge([]).reasons
    assert len(reasons) > 5
    with words.speaking("es"):
        left = [one.words for one in reasons if retold.retold(one.words) == one.words]
    assert left == []


def test_a_number_in_python_form_is_written_with_the_signs_of_the_language() -> None:
    assert words.written(1234.5, ",.1f") == "1,234.5"
    with words.speaking("es"):
        assert words.written(1234.5, ",.1f") == "1.234,5"
        assert words.written(0.123, ".1%") == "12,3\u00a0%"
        assert words.written(-0.5, "+.2f") == "-0,50"
