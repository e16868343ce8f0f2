"""A hub on this machine: the few addresses that `snapshot_download` asks, serving one folder as one model or data set."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # pragma: allowlist secret - a made-up commit


class Hub(NamedTuple):
    """A running hub: its address, and the files that were fetched from it."""

    address: str
    fetched: list[str]


@contextmanager
def model_hub(name: str, folder: Path, *, kind: Literal["models", "datasets"] = "models") -> Iterator[Hub]:
    """Serves `folder` as the model or data set `name` at COMMIT; `private/...` is gated, everything else unknown."""
    fetched: list[str] = []
    prefix = "/datasets" if kind == "datasets" else ""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            if path.startswith(f"/api/{kind}/private/"):
                self.answer(403, b"{}", X_Error_Code="GatedRepo", X_Error_Message="ask first")
            elif path == f"/api/{kind}/{name}/revision/main":
                self.answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode(), Content_Type="application/json")
            elif path == f"/api/{kind}/{name}/tree/{COMMIT}":
                files = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _sha1(file)}
                    for file in sorted(folder.iterdir())
                ]
                self.answer(200, json.dumps(files).encode(), Content_Type="application/json")
            elif path.startswith(f"{prefix}/{name}/resolve/{COMMIT}/") and (file := folder / path.rsplit("/", 1)[1]).is_file():
                if self.command == "GET":
                    fetched.append(file.name)
                self.answer(200, file.read_bytes(), ETag=f'"{_sha1(file)}"', X_Repo_Commit=COMMIT)
            else:
                self.answer(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="not here")

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_port}", fetched)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _sha1(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
