"""Writes the catalogue of words from the code: `python -m flagback.review_app.catalogue`, for 'make catalogue'.

Finds `tr`, `trn` and `trc` in Python, `tr` and `trn` in the board's scripts, [[words]] in the plain pages' HTML, and the words of
taxonomy and consent; writes `locales/flagback.pot` and brings every `flagback.po` in line with it, keeping what is translated. With
`--from OTHER.po LANG`, what has no translation yet takes the other's: so that two branches are brought together. Nothing here runs
while Flagback is served.
"""

import ast
import io
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from flagback.model import suites
from flagback.review_app.access import PAGES, ROLES, a_role
from flagback.review_app.auth import SYSTEMS
from flagback.review_app.retold import FORMS, TABLES
from flagback.review_app.words import IN_HTML, LANGUAGES
from flagback.storage.background import DEFAULT_QUESTIONS
from flagback.storage.consent import PURPOSES
from flagback.storage.invisible import KINDS_IN_WORDS
from flagback.storage.taxonomy import CATEGORIES, SEVERITIES, SKIP_REASONS, TARGETS

ROOT = Path(__file__).parent
LOCALES = ROOT / "locales"
HEAD = """# Words of Flagback's pages and board.
# Written by 'make catalogue' from the code; only the translations are written by hand.
"""
#: Words that a language's translations share, for whoever writes more of them; they stand in its catalogue's head.
GLOSSARIES = {
    "es": """# Glosario (tú; sin género donde se pueda): flag = señal, señalar; prompt = entrada; held out = reservada;
# reviewer = quien revisa; gate = control; candidate = candidata; promote = poner en uso; current = en uso;
# roll back = revertir; correction = corrección; pair = par; parent = origen; set aside = apartar; seat = plaza;
# rating = valoración; pool = grupo de entrada; sampling = muestreo; share = parte; blind = a ciegas, ciega.
""",
}
#: Rules of CLDR, as browsers have them, where Babel has another.
PLURALS = {
    "ar": "nplurals=6; plural=(n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 && n%100<=99 ? 4 : 5);",
}
#: The same for every writing, so that a catalogue changes with its words only.
_WRITTEN = datetime(2026, 11, 22, tzinfo=UTC)
#: Errors below the pages whose words people meet there: `words.told` finds the sentence that one says.
ERRORS = frozenset(
    {
        "AlreadyAnswered",
        "BadAnswer",
        "BadBackground",
        "BadInvitation",
        "BadLogin",
        "BadPassword",
        "BadTerms",
        "LoginTaken",
        "NoReason",
        "NotWithdrawn",
        "TakesPartAlready",
        "UnknownInvitation",
        "UnknownLease",
        "UnknownTopic",
        "UnstorableText",
    }
)
#: Names under which Python asks for words; the number of arguments that are words.
_ASKING = {"tr": 1, "trc": 2, "trn": 2}


class Found(NamedTuple):
    """One entry of the catalogue."""

    words: str | tuple[str, str]
    place: str
    context: str | None = None


class NotWords(Exception):
    """Words to be translated are computed; they must be written out where they are asked for."""


def in_python(path: Path, place: str) -> Iterator[Found]:
    """What a module asks for. Raises NotWords where it is no literal."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name not in _ASKING:
            continue
        given = node.args[: _ASKING[name]]
        texts = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if len(texts) != _ASKING[name]:
            raise NotWords(
                f"{place}, line {node.lineno}: {name}({ast.unparse(given[0]) if given else ''}…) holds no plain words; write them "
                "out there, with {names} for what changes."
            )
        if name == "tr":
            yield Found(texts[0], place)
        elif name == "trc":
            yield Found(texts[1], place, texts[0])
        else:
            yield Found((texts[0], texts[1]), place)


def in_errors(path: Path, place: str) -> Iterator[Found]:
    """What the errors of a module say, where they are made with words of their own; the words come last."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
            said = node.args[-1]
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                yield Found(said.value, place)
            elif isinstance(said, ast.JoinedStr):
                yield Found(_sentence(said), place)


def _sentence(said: ast.JoinedStr) -> str:
    """An f-string with a name for whatever is filled in: its own where it has one, else "value"."""
    words, names = "", list[str]()
    for part in said.values:
        if isinstance(part, ast.Constant):
            words += str(part.value)
        elif isinstance(part, ast.FormattedValue):
            of = part.value
            name = (of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else "value").lower()
            names.append(name)
            words += f"{{{name}{names.count(name) if names.count(name) > 1 else ''}}}"
    return words


def in_script(path: Path, place: str) -> Iterator[Found]:
    """What a script of the board asks for."""
    options = {"parse_template_string": True}
    asking = {"tr": None, "trn": (1, 2)}
    for _, words, _, _ in extract("javascript", io.BytesIO(path.read_bytes()), keywords=asking, options=options):
        yield Found((words[0], words[1]) if isinstance(words, tuple) else words, place)


def in_html(path: Path, place: str) -> Iterator[Found]:
    """What stands in [[brackets]] in a plain page."""
    for match in IN_HTML.finditer(path.read_text(encoding="utf-8")):
        yield Found(match[1], place)


def in_tables() -> Iterator[Found]:
    """What stands in tables of ours. Taxonomy and consent by code: what is stored is the code, or a text that somebody set anew,
    which is in no catalogue."""
    tables: tuple[tuple[str, str, tuple[NamedTuple, ...]], ...] = (
        ("taxonomy", "storage/taxonomy.py", (*CATEGORIES, *TARGETS, *SEVERITIES, *SKIP_REASONS)),
        ("consent", "storage/consent.py", PURPOSES),
    )
    for context, place, ones in tables:
        for one in ones:
            fields = one._asdict()
            unsaid = {"code", "key", "part"}
            for text in (value for name, value in fields.items() if isinstance(value, str) and value and name not in unsaid):
                yield Found(text, place, f"{context} {fields['code']}")
    for context, table in TABLES.items():
        for text in table:
            yield Found(text, "review_app/retold.py", context)
    for text in dict.fromkeys((*FORMS, *_of_tests())):
        yield Found(text, "review_app/retold.py", "retold")
    for question in DEFAULT_QUESTIONS:
        yield Found(question.question, "storage/background.py", f"background {question.code}")
        for option in question.options:
            yield Found(option.words, "storage/background.py", f"background {question.code}")
    for page in PAGES:
        for title in {page.title, page.section} - {""}:
            yield Found(title, "review_app/access.py", "page")
    for words in KINDS_IN_WORDS:
        yield Found(words, "review_app/board/invisible.js")
    for name in ("A browser", "Another program", *(system for _, system in SYSTEMS if system.startswith(("a ", "an ")))):
        yield Found(name, "review_app/auth.py", "browser")
    for role in ROLES:
        yield Found(role, "review_app/access.py", "role")
        yield Found(a_role(role), "review_app/access.py", "one with the role")


def _of_tests() -> Iterator[str]:
    """What the published tests say of their numbers and of themselves."""
    for suite in suites.LISTED.values():
        yield from suite.WEAKNESSES
        for metrics in getattr(suite, "METRICS", {}).values():
            yield from (metric.words for metric in metrics.values())


def found() -> list[Found]:
    """Every entry, in the order of files."""
    entries: list[Found] = []
    for path in sorted(ROOT.rglob("*")):
        place = f"review_app/{path.relative_to(ROOT).as_posix()}"
        if path.suffix == ".py":
            entries += in_python(path, place)
        elif path.suffix == ".js" and path.name != "words.js":
            entries += in_script(path, place)
        elif path.suffix == ".html":
            entries += in_html(path, place)
    for path in sorted((ROOT.parent / "storage").resolve().glob("*.py")):
        entries += in_errors(path, f"storage/{path.name}")
    return entries + list(in_tables())


def template() -> Catalog:
    """The catalogue without translations."""
    catalogue = _empty(None)
    for entry in found():
        text = entry.words if isinstance(entry.words, str) else "".join(entry.words)
        flags = ["python-brace-format"] if re.search(r"\{\w+\}", text) else []
        catalogue.add(entry.words, locations=[(entry.place, 0)], context=entry.context, flags=flags)
    return catalogue


def _empty(code: str | None) -> Catalog:
    made = Catalog(
        locale=code,
        header_comment=(HEAD + GLOSSARIES.get(code or "", "")).rstrip(),
        project="Flagback",
        version="1",
        creation_date=_WRITTEN,
        revision_date=_WRITTEN,
        last_translator="Flagback",
        language_team=LANGUAGES.get(code or "", "none"),
        fuzzy=False,
    )
    if code in PLURALS:
        made.mime_headers = [("Plural-Forms", PLURALS[code])]
    return made


def brought_in_line(code: str, known: Catalog, other: Catalog | None = None) -> Catalog:
    """The catalogue of a language with every entry of the template, translated where `known`, or else `other`, has it."""
    made = _empty(code)
    for entry in template():
        if not entry.id:
            continue
        string = next(
            (
                before.string
                for catalogue in (known, other)
                if catalogue is not None
                and (before := catalogue.get(entry.id, entry.context)) is not None
                and any(before.string or ())
            ),
            None,
        )
        flags = [flag for flag in entry.flags if flag != "python-format"]
        made.add(entry.id, string or "", locations=entry.locations, context=entry.context, flags=flags)
    return made


def written(catalogue: Catalog) -> bytes:
    """The catalogue as a file."""
    out = io.BytesIO()
    write_po(out, catalogue, width=100, sort_output=True, include_lineno=False)
    head, _, rest = out.getvalue().partition(b'"Generated-By: ')
    return head + rest.partition(b"\n")[2]


def file_of(code: str) -> Path:
    """Where a language's catalogue lies."""
    return LOCALES / code / "LC_MESSAGES" / "flagback.po"


def read(path: Path, code: str) -> Catalog:
    """A catalogue from its file."""
    with path.open("rb") as lines:
        return read_po(lines, locale=code, abort_invalid=True)


def main(arguments: list[str]) -> int:
    """Writes every catalogue; says how much is without a translation."""
    others = {arguments[2]: read(Path(arguments[1]), arguments[2])} if arguments[:1] == ["--from"] else {}
    LOCALES.mkdir(exist_ok=True)
    (LOCALES / "flagback.pot").write_bytes(written(template()))
    for code in (code for code in LANGUAGES if code != "en"):
        path = file_of(code)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = brought_in_line(code, read(path, code) if path.exists() else _empty(code), others.get(code))
        path.write_bytes(written(made))
        missing = len([one for one in made if one.id and not any(one.string or ())])
        sys.stdout.write(f"{code}: {len(made)} entries, {missing} without a translation\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
