"""The web process: Streamlit's screens, sign-in and the review API in one ASGI app at one address.

Knows routes, start and end; knows nothing of what the screens show. Never imports torch: work is asked for through rows.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import streamlit as st
from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from streamlit import config as streamlit_config

from flagback.review_app import auth, downloads, joining, oidc
from flagback.review_app.api import build_api
from flagback.review_app.guard import Guard
from flagback.review_app.home import open_records, refuse_taken_port
from flagback.review_app.installation import Installation, open_installation, serve_from
from flagback.review_app.provider import Provider, configured, public_address
from flagback.review_app.settings import Settings, streamlit_options
from flagback.storage import invitations, sign_ins, slots
from flagback.storage.records import Account, now
from flagback.storage.store import UnreachableDatabase

#: How often leases that ran out are given back, seconds.
SWEEP_EVERY = 30.0

_log = logging.getLogger(__name__)


def build_app(settings: Settings) -> st.App:
    """The whole web side of one installation. Raises OlderSchema, NewerSchema or BadSingleSignOn where something does not fit."""
    provider = configured(settings)
    if settings.public_url is not None:
        public_address(settings)
    installation = open_installation(settings)
    serve_from(installation)
    return st.App(
        Path(__file__).with_name("app.py"),
        secrets=oidc.streamlit_secrets(provider, settings.cookie_key()) if provider else None,
        routes=_routes(installation, provider),
        lifespan=_lifespan(installation),
        middleware=[
            Middleware(Guard, installation=installation),
            *([Middleware(oidc.Exchange, installation=installation, provider=provider)] if provider else []),
        ],
    )


def serve(settings: Settings, *, say: Callable[[str], None] = print) -> None:
    """Serves until SIGINT or SIGTERM; SIGINT ends quietly. Raises PortInUse before anything is started."""
    refuse_taken_port(settings.host, settings.port)
    app = build_app(settings)
    _read_no_other_config()
    options = streamlit_options() | {"server.address": settings.host, "server.port": settings.port}
    (settings.home / "address").write_text(f"{settings.address}\n", encoding="utf-8")
    say(f"Flagback is at {settings.address} (Ctrl+C stops it).")
    if link := first_administrator_link(settings):
        say(f"Nobody manages accounts yet. Make the first administrator within 24 hours, once: {link}")
    with suppress(KeyboardInterrupt):
        app.run(config=options)


def first_administrator_link(settings: Settings) -> str | None:
    """A one-time link that makes the first administrator; None once there is one, and in a demo, which has its own sign-ins."""
    store = open_records(settings)
    try:
        with store.writing() as session:
            if session.exec(select(Account.id).where(col(Account.demo).is_(True)).limit(1)).first() is not None:
                return None
            code = invitations.first_administrator(session, now=now())
    finally:
        store.close()
    return None if code is None else f"{settings.address}/join/{code}"


def _read_no_other_config() -> None:
    """Keeps Streamlit from the config.toml files of the working directory and of the user, which it reads by itself.

    With a foreign server.baseUrlPath there, every page was gone. Environment variables still count.
    """

    def none_of_them(file_name: str) -> list[str]:  # noqa: ARG001 (Streamlit names it)
        return []

    streamlit_config.get_config_files = none_of_them


def _routes(installation: Installation, provider: Provider | None = None) -> list[BaseRoute]:
    async def health(_request: Request) -> Response:
        """200 while the database answers, 503 otherwise."""
        try:
            await run_in_threadpool(installation.store.ping)
        except UnreachableDatabase as error:
            return JSONResponse({"status": "unavailable", "message": str(error)}, 503)
        return JSONResponse({"status": "ok"})

    return [
        Route("/healthz", health, methods=["GET"]),
        *(_file(f"/look/{name}", path) for name, path in look_files().items()),
        *auth.routes(installation, oidc.other_way(installation, provider) if provider else None),
        *oidc.routes(installation, provider),
        *joining.routes(installation),
        *downloads.routes(installation),
        Mount("/api/v1", app=build_api(installation)),
    ]


def look_files() -> dict[str, Path]:
    """What our pages and the board load by name: style, logo, and the typefaces that Streamlit ships under hashed names."""
    media = Path(st.__file__).with_name("static") / "static" / "media"
    board = Path(__file__).with_name("board")
    return {
        "sans.woff2": next(media.glob("SourceSansVF-Upright.*.woff2")),
        "serif.woff2": next(media.glob("SourceSerifVariable-Roman.*.woff2")),
        "serif-italic.woff2": next(media.glob("SourceSerifVariable-Italic.*.woff2")),
        "page.css": board / "page.css",
        "signed_out.js": board / "signed_out.js",
        "logo.svg": board / "logo.svg",
    }


def _file(address: str, path: Path) -> Route:
    async def answer(_request: Request) -> Response:
        return FileResponse(path, headers={"Cache-Control": "public, max-age=3600"})

    return Route(address, answer, methods=["GET"])


def _lifespan(installation: Installation) -> Callable[[st.App], AbstractAsyncContextManager[None]]:
    """Gives back leases that ran out, and deletes what nobody fetched, as long as the server runs."""

    @asynccontextmanager
    async def living(_app: st.App) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep_for_ever(installation))
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            installation.store.close()

    return living


def _forget_failed_sign_ins(installation: Installation) -> None:
    with installation.store.writing() as session:
        sign_ins.forget_old(session, now=now())


async def _sweep_for_ever(installation: Installation) -> None:
    while True:
        try:
            await run_in_threadpool(slots.sweep, installation.store, now=now())
            await run_in_threadpool(slots.relax, installation.store, now=now())
            await run_in_threadpool(downloads.sweep, installation.settings.downloads)
            await run_in_threadpool(_forget_failed_sign_ins, installation)
        except Exception:
            _log.exception("Leases, downloads and counts that ran out could not be cleared; trying again in %.0f s.", SWEEP_EVERY)
        await asyncio.sleep(SWEEP_EVERY)
