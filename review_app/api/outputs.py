"""Logged answers of a model in use, sent by a program with a key: the one route that no person opens.

Knows the two forms of a request; what an answer looks like is flagback.storage.logged's business, what becomes of it
flagback.storage.outputs'. The same request sent again, after a reply that was lost, stores nothing twice.
"""

from dataclasses import asdict
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from flagback.review_app.api.errors import Refused
from flagback.review_app.installation import Installation
from flagback.storage import output_keys, outputs
from flagback.storage.logged import ANSWER_COLUMNS, COLUMNS, PROMPT_COLUMNS, read_outputs
from flagback.storage.outputs import NoConsent, OtherBatch, OutputReport, Terms
from flagback.storage.prompts import UnstorableText
from flagback.storage.pseudonyms import keyed_hash
from flagback.storage.reading import BadImport, Place, Row, WrongColumns, WrongValue, decoded, json_type, parse_json, shortened
from flagback.storage.records import OutputKey, now

#: Answers of one request: one short transaction, so that no reviewer waits for it.
MOST_ANSWERS = 1_000
#: Content types of one JSON object a line; anything else is read as one JSON document.
LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"})
HEAD_FIELDS = ("batch", "consent", "review_share", "keep_contacts")
REQUEST = "the request"

router = APIRouter()


class Sent(NamedTuple):
    """A request as it was read."""

    #: The values of HEAD_FIELDS that were given.
    head: dict[str, Any]
    outputs: list[Row]


_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["batch", "consent", "outputs"],
                    "additionalProperties": False,
                    "properties": {
                        "batch": {"type": "string", "description": "Letters, digits, dots, dashes, underscores; at most 64."},
                        "consent": {"type": "string", "description": "What the people whose prompts these are agreed to."},
                        "review_share": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
                        "keep_contacts": {"type": "boolean", "default": False},
                        "outputs": {
                            "type": "array",
                            "maxItems": MOST_ANSWERS,
                            "items": {
                                "type": "object",
                                "description": f"One of {', '.join(PROMPT_COLUMNS)}, and one of {', '.join(ANSWER_COLUMNS)}.",
                                "properties": {name: {} for name in COLUMNS},
                                "additionalProperties": False,
                            },
                        },
                    },
                }
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "The object without outputs, then one output a line."}
            },
        },
    }
}


@router.post("/outputs", openapi_extra=_FORM)
async def take(request: Request) -> dict[str, Any]:
    """Keeps logged answers for review. Needs 'Authorization: Bearer KEY' (flagback outputs key create)."""
    key: OutputKey | None = request.scope.get("flagback.key")
    if key is None:
        raise no_key()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    report = await run_in_threadpool(_take, request.app.state.installation, key, body, lines=kind in LINES)
    return asdict(report)


def no_key() -> Refused:
    """What the guard says too, for a key that was withdrawn while its request was read."""
    return Refused(401, "no_key", "This address is opened by a key alone, sent as 'Authorization: Bearer KEY'; this one is none.")


def _take(here: Installation, key: OutputKey, body: bytes, *, lines: bool) -> OutputReport:
    try:
        sent = read_lines(body) if lines else read_document(body)
        if len(sent.outputs) > MOST_ANSWERS:
            held = f"{REQUEST} holds {len(sent.outputs):,} outputs; expected at most {MOST_ANSWERS:,}."
            raise Refused(413, "too_large", f"{held} Nothing was stored; send fewer at a time.")
        moment = now()
        terms = terms_of(here, key, sent.head)
        found = read_outputs(sent.outputs, now=moment, keep_contacts=sent.head.get("keep_contacts", False), strict=True)
        with here.store.writing() as session:
            if not output_keys.lives(session, key.id):
                raise no_key()
            return outputs.take_in(session, found, terms, where=REQUEST, now=moment)
    except OtherBatch as error:
        raise Refused(409, "other_batch", _words(error.what)) from error
    except NoConsent as error:
        raise Refused(400, "no_consent", _words(error.what)) from error
    except BadImport as error:
        raise Refused(400, "bad_outputs", _words(error.what)) from error
    except UnstorableText as error:
        raise Refused(400, "bad_outputs", _words(str(error))) from error


def _words(what: str) -> str:
    return f"{what} Nothing was stored; correct it and send it again."


def terms_of(here: Installation, key: OutputKey, head: dict[str, Any]) -> Terms:
    """Under what the answers of a request come in. Raises WrongValue or NoConsent.

    Which are drawn depends on this installation's own key, so that who sends them cannot choose what people will see.
    """
    for field, kinds, expected in (
        ("batch", (str,), "a text"),
        ("consent", (str,), "a text: what the people whose prompts these are agreed to"),
        ("review_share", (int, float), "a number from 0 to 1"),
        ("keep_contacts", (bool,), "true or false"),
    ):
        value = head.get(field, {"review_share": 0.0, "keep_contacts": False, "consent": ""}.get(field))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise WrongValue(f"{REQUEST}: {field} is a JSON {json_type(value)}, {shortened(value)}; expected {expected}.")
    share = head.get("review_share", 0)
    if not 0 <= share <= 1:
        raise WrongValue(f"{REQUEST}: review_share is {shortened(head['review_share'])}; expected a number from 0 to 1.")
    seed = int.from_bytes(keyed_hash(here.pseudonym_key, "flagback draw of live outputs").encode(), "big")
    terms = Terms(head["batch"], head.get("consent", ""), f"key {key.name}", share=float(share), seed=seed)
    outputs.check_terms(terms, where=REQUEST)
    return terms


def read_document(body: bytes) -> Sent:
    """One JSON object with the head's fields and a list outputs. Raises BadImport."""
    place = Place(REQUEST)
    value = parse_json(decoded(body, place, 0), place)
    if not isinstance(value, dict):
        raise WrongValue(
            f"{place}: a JSON {json_type(value)}, {shortened(value)}; expected an object with batch, consent and outputs."
        )
    rows = value.pop("outputs", None)
    if not isinstance(rows, list):
        raise WrongValue(f"{place}: outputs is a JSON {json_type(rows)}, {shortened(rows)}; expected a list of objects.")
    return Sent(_head(value), [_row(row, number) for number, row in enumerate(rows, start=1)])


def read_lines(body: bytes) -> Sent:
    """One JSON object a line: the head's fields in the first, an output in each of the others. Raises BadImport."""
    text = decoded(body, Place(REQUEST), 0)
    values = [parse_json(line, Place(REQUEST, number)) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not values or not isinstance(values[0], dict):
        raise WrongValue(f"{REQUEST}: the first line is {shortened(values[:1])}; expected an object with batch and consent.")
    return Sent(_head(values[0]), [_row(row, number) for number, row in enumerate(values[1:], start=1)])


def _head(value: dict[str, Any]) -> dict[str, Any]:
    unknown = next((name for name in value if name not in HEAD_FIELDS), None)
    if unknown is not None:
        raise WrongColumns(
            f"{REQUEST}: the field {shortened(unknown)} is not known; expected some of {', '.join((*HEAD_FIELDS, 'outputs'))}."
        )
    return value


def _row(value: Any, number: int) -> Row:
    place = Place(REQUEST, number, "output")
    if not isinstance(value, dict):
        raise WrongValue(f"{place}: a JSON {json_type(value)}, {shortened(value)}; expected an object.")
    return Row(place, value)
