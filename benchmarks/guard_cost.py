"""What the guard adds to a reviewer's claim and answer: the review API with and without it, in turn, in one process on SQLite.

Prints one JSON object: median milliseconds of each request each way over all repeats, and the difference. Both ways look at the
session (the guard once and for all, without it the API itself), so the difference is what the rest of the guard costs.

    python benchmarks/guard_cost.py [--requests 300] [--repeats 5]
"""

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message

from flagback.review_app import auth
from flagback.review_app.api import build_api
from flagback.review_app.guard import Guard
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, consent
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import now
from flagback.storage.store import Store


def home(folder: Path, items: int) -> tuple[Installation, list[tuple[bytes, bytes]]]:
    """An installation with items to review, and the headers of a signed-in reviewer's page."""
    settings = Settings(home=folder)
    store = Store(settings.records_url)
    store.migrate()
    store.close()
    installation = open_installation(settings)
    with installation.store.writing() as session:
        prompts = add_prompts(
            session, [NewPrompt([{"role": "user", "content": f"Prompt {n}"}], lang="en") for n in range(items)]
        ).ids
        made = add_generations(session, [NewGeneration(one, " an answer.", "end", "imported", "import:x") for one in prompts])
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=0)
        account = accounts.create(session, "ada", None, "reviewer")
        accounts.set_languages(session, account.id, ["en"])
        consent.set_consent(session, account.id, {"review": True}, now=now())
        cookie = accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=9))
    host = f"127.0.0.1:{settings.port}"
    headers = {
        "host": host,
        "origin": f"http://{host}",
        "cookie": f"{auth.cookie_name(installation)}={cookie}",
        "x-flagback-token": auth.page_token(installation, account),
        "content-type": "application/json",
    }
    return installation, [(name.encode(), value.encode()) for name, value in headers.items()]


async def post(app: ASGIApp, path: str, headers: list[tuple[bytes, bytes]], body: Any) -> tuple[float, Any]:
    """Milliseconds that one request took, and what came back."""
    sent = json.dumps(body).encode()
    waiting: list[Message] = [{"type": "http.request", "body": sent, "more_body": False}]
    got: list[Message] = []

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(event: Message) -> None:
        got.append(event)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [*headers, (b"content-length", b"%d" % len(sent))],
        "client": ("127.0.0.1", 1),
    }
    began = time.perf_counter()
    await app(scope, receive, send)
    took = 1_000 * (time.perf_counter() - began)
    if got[0]["status"] != 200:
        raise SystemExit(f"{path} answered {got[0]['status']}: {got[1]['body']!r}")
    return took, json.loads(got[1]["body"])


async def measure(ways: dict[str, ASGIApp], headers: list[tuple[bytes, bytes]], requests: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a claim and of an answer each way, the ways taken in turn request by request."""
    took: dict[str, dict[str, list[float]]] = {way: {"claim": [], "answer": []} for way in ways}
    for number in range(requests):
        for way in sorted(ways, reverse=bool(number % 2)):
            claim, got = await post(ways[way], "/api/v1/claim", headers, {"count": 1})
            said = {"token": str(uuid.uuid4()), "lease_id": got["items"][0]["lease_id"], "verdict": "fine"}
            answer, _ = await post(
                ways[way], "/api/v1/answers", headers, said | {"taxonomy_version": "1", "guideline_version": "1"}
            )
            took[way]["claim"].append(claim)
            took[way]["answer"].append(answer)
    return {way: {name: statistics.median(times) for name, times in found.items()} for way, found in took.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        installation, headers = home(Path(folder), 2 * (given.requests * given.repeats + 20))
        routes = [Mount("/api/v1", app=build_api(installation))]
        ways: dict[str, ASGIApp] = {
            "without": Starlette(routes=routes),
            "with": Starlette(routes=routes, middleware=[Middleware(Guard, installation=installation)]),
        }
        runner.run(measure(ways, headers, 20))
        runs = [runner.run(measure(ways, headers, given.requests)) for _ in range(given.repeats)]
        installation.store.close()
    found: dict[str, Any] = {"requests": given.requests, "repeats": given.repeats, "python": platform.python_version()}
    for name in ("claim", "answer"):
        each = {way: [round(run[way][name], 3) for run in runs] for way in ways}
        added = [round(run["with"][name] - run["without"][name], 3) for run in runs]
        found[name] = {way: statistics.median(times) for way, times in each.items()} | {
            "added": statistics.median(added),
            "all added": added,
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
