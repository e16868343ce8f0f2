"""The API, mounted at /api/v1: what the board claims from and posts to, and where programs send logged answers.

Knows sessions, page tokens and shapes; where a request comes from is `guard`'s business, the rules of claims and answers are
flagback.storage's.
"""

from importlib.metadata import version

from fastapi import FastAPI

from flagback.review_app.api import errors, guidance, outputs, reviewing
from flagback.review_app.installation import Installation


def build_api(installation: Installation) -> FastAPI:
    """The API of one installation. No /docs page: Swagger's files would come from a foreign host."""
    api = FastAPI(title="Flagback", version=version("flagback"), docs_url=None, redoc_url=None)
    api.state.installation = installation
    errors.add_handlers(api)

    api.include_router(reviewing.router)
    api.include_router(guidance.router)
    api.include_router(outputs.router)
    return api
