"""How the API says no: always JSON {"error": {"code", "message"}}, never a trace.

Knows which failure has which code; the codes are what the board acts on.
"""

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from flagback.review_app import words
from flagback.review_app.words import tr
from flagback.storage.answers import BadAnswer
from flagback.storage.invisible import visible
from flagback.storage.reviews import AlreadyAnswered, UnknownLease

_log = logging.getLogger(__name__)

#: Codes of the plain HTTP errors.
_CODES = {401: "not_signed_in", 403: "not_allowed", 404: "not_found", 405: "wrong_method", 409: "conflict", 413: "too_large"}


class Refused(Exception):
    """A request that is not carried out, for a reason the caller can act on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def answer(status: int, code: str, message: str) -> JSONResponse:
    """The one shape of an error."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers={"Cache-Control": "no-store"})


def add_handlers(api: FastAPI) -> None:
    """Gives every failure of `api` the one shape."""

    async def refused(_request: Request, error: Any) -> JSONResponse:
        return answer(error.status, error.code, str(error))

    async def http(_request: Request, error: Any) -> JSONResponse:
        return answer(error.status_code, _CODES.get(error.status_code, "http_error"), str(error.detail))

    async def invalid(_request: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        told = tr(
            "{place}: {problem}. The form of every request is in /api/v1/openapi.json.", place=visible(place), problem=first["msg"]
        )
        return answer(422, "bad_request", told)

    async def unavailable(_request: Request, error: Exception) -> JSONResponse:
        _log.error("The database refused a request of the API.", exc_info=error)
        return answer(503, "unavailable", tr("The records do not answer just now. Nothing is lost; send the same request again."))

    async def broken(_request: Request, error: Exception) -> JSONResponse:
        number = secrets.token_hex(3)
        _log.error("A request of the API failed (error %s).", number, exc_info=error)
        told = tr(
            "Something went wrong on the server (error {number}; its log says what). Send the same request again.", number=number
        )
        return answer(500, "internal", told)

    async def unknown_lease(_request: Request, error: Exception) -> JSONResponse:
        return answer(404, "unknown_lease", words.told(error))

    async def already_answered(_request: Request, error: Exception) -> JSONResponse:
        return answer(409, "already_answered", words.told(error))

    async def bad_answer(_request: Request, error: Exception) -> JSONResponse:
        return answer(422, "bad_answer", words.told(error))

    api.add_exception_handler(Refused, refused)
    api.add_exception_handler(HTTPException, http)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(UnknownLease, unknown_lease)
    api.add_exception_handler(AlreadyAnswered, already_answered)
    api.add_exception_handler(BadAnswer, bad_answer)
    api.add_exception_handler(DBAPIError, unavailable)
    api.add_exception_handler(Exception, broken)
