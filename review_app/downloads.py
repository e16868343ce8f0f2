"""Files on their way to a browser: exports of the Data page, tables behind pictures, reports, one's own data; gone after an hour.

Only who had a file prepared can fetch it, and only in the role they had it prepared in. It stands in the home under its ticket's
hash, never in Streamlit's media store, whose addresses ask for no role.
"""

import base64
import hashlib
import re
import secrets
import shutil
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from flagback.review_app.auth import account_at
from flagback.review_app.installation import Installation
from flagback.review_app.words import tr
from flagback.storage.records import Account

#: How long a prepared file waits, seconds.
KEPT_FOR = 3_600.0
_TYPES = {"zip": "application/zip", "csv": "text/csv; charset=utf-8", "md": "text/markdown; charset=utf-8"}
#: What a file is, and how its name ends.
Kind = Literal["zip", "csv", "md"]
_TICKET = re.compile(r"[A-Za-z0-9_-]{32}")


def prepare(installation: Installation, account: Account, folder: Path, name: str) -> str:
    """Packs a folder for its account to fetch, and returns the ticket; `name` is the file's name at the browser, without .zip."""
    ticket = secrets.token_urlsafe(24)
    place = _place(installation, account, ticket)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = place.with_suffix(".part")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with archive.open(f"{name}/{path.relative_to(folder)}", "w") as target, path.open("rb") as source:
                    shutil.copyfileobj(source, target)
    aside.replace(place)
    return ticket


def prepare_file(installation: Installation, account: Account, content: bytes, kind: Kind) -> str:
    """Puts a table or a report down for its account to fetch, and returns the ticket. The same content is put down once."""
    ticket = base64.urlsafe_b64encode(hashlib.sha256(content).digest()[:24]).decode()
    place = _place(installation, account, ticket, kind)
    if place.exists():
        place.touch()  # it waits its hour anew
        return ticket
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = place.with_suffix(f".{secrets.token_hex(4)}.part")
    aside.write_bytes(content)
    aside.replace(place)
    return ticket


def size(installation: Installation, account: Account, ticket: str, kind: Kind = "zip") -> int | None:
    """Bytes of a prepared file; None once it is gone."""
    place = _place(installation, account, ticket, kind)
    return place.stat().st_size if place.exists() else None


def routes(installation: Installation) -> list[BaseRoute]:
    """/downloads/TICKET."""

    async def download(request: Request) -> Response:
        account = await run_in_threadpool(account_at, installation, request)
        ticket = request.path_params["ticket"]
        known = account is not None and _TICKET.fullmatch(ticket)
        places = [_place(installation, account, ticket, kind) for kind in _TYPES] if account and known else []
        place = next((one for one in places if one.is_file()), None)
        if place is None:
            told = tr("This download is gone, or was prepared by someone else; reload the page it came from and prepare it again.")
            return JSONResponse({"error": {"code": "not_found", "message": told}}, 404)
        kind = place.suffix[1:]
        # Its own name is on its link, which a name from here would overrule.
        return FileResponse(
            place,
            media_type=_TYPES[kind],
            filename="flagback.zip" if kind == "zip" else None,
            headers={"Cache-Control": "no-store"} | ({} if kind == "zip" else {"Content-Disposition": "attachment"}),
        )

    return [Route("/downloads/{ticket}", download, methods=["GET"])]


def sweep(folder: Path, *, kept_for: float = KEPT_FOR) -> int:
    """Deletes what has waited longer than so many seconds; returns how many files that were."""
    gone = 0
    for path in folder.glob("*") if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another process of this home sweeps too
            if time.time() - path.stat().st_mtime > kept_for:
                path.unlink()
                gone += 1
    return gone


def _place(installation: Installation, account: Account, ticket: str, kind: str = "zip") -> Path:
    """Where a ticket's file is: named by hash, so that no ticket, whatever it holds, leads out of the folder.

    The role is part of it: who prepared an export and lost the role since finds it no more.
    """
    digest = hashlib.sha256(f"{account.id}:{account.role}:{ticket}".encode("utf-8", "replace")).hexdigest()
    return installation.settings.downloads / f"{digest}.{kind}"
