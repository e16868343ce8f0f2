"""The review API, mounted at /api/v1: what the board claims from and posts to.

Knows sessions, origins and shapes; the rules of claims and answers are flagback.storage's.
"""

from collections.abc import Awaitable, Callable
from importlib.metadata import version

from fastapi import FastAPI, Request, Response

from flagback.review_app.api import errors, reviewing
from flagback.review_app.auth import from_our_pages
from flagback.review_app.installation import Installation


def build_api(installation: Installation) -> FastAPI:
    """The API of one installation. No /docs page: Swagger's files would come from a foreign host."""
    api = FastAPI(title="Flagback", version=version("flagback"), docs_url=None, redoc_url=None)
    api.state.installation = installation
    errors.add_handlers(api)

    @api.middleware("http")
    async def only_from_our_pages(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method not in ("GET", "HEAD", "OPTIONS") and not from_our_pages(request):
            return errors.answer(
                403,
                "foreign_origin",
                "This request came from another site and was not carried out; behind a "
                "proxy, the proxy must pass the Host header on.",
            )
        response = await go_on(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    api.include_router(reviewing.router)
    return api
