"""Reviewers without a browser: they sign in by the form, then claim, answer and refill by the routes the board uses, as it does.

Knows HTTP only; how an answer is judged is whoever's who drives them.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from flagback.review_app import auth
from flagback.review_app.installation import Installation
from flagback.storage.records import Account
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.people import PASSWORD, sign_in_by_form

#: As in board.js.
AHEAD, LOW, MOST_HELD = 10, 6, 40


class Crowded:
    """One such reviewer, with what they hold."""

    def __init__(self, installation: Installation, url: str, account: Account) -> None:
        token = auth.page_token(installation, account)
        self.client = httpx.Client(base_url=url, headers={"Origin": url, "X-Flagback-Token": token}, timeout=30)
        answer = sign_in_by_form(self.client, account.login, PASSWORD)
        assert answer.status_code == 303, f"{account.login} could not sign in: {answer.status_code}"
        self.who = installation.reviewer(account)
        self.queue: list[dict[str, Any]] = []
        self.answered: set[str] = set()
        #: Seconds that each request took, by route.
        self.took: dict[str, list[float]] = {"claim": [], "answers": []}
        self.shown: dict[str, Any] | None = None

    def begin(self) -> None:
        """What the board asks for once."""
        for path in ("recent", "today"):
            self.client.get(f"/api/v1/{path}").raise_for_status()
        self.refill()

    def refill(self) -> None:
        """Keeps enough items ahead."""
        if self.shown is not None and len(self.queue) >= LOW:
            return
        held = len(self.queue) + (self.shown is not None)
        reply = self.ask("claim", {"mode": "single", "count": min(MOST_HELD, held + AHEAD)})
        reply.raise_for_status()
        here = {one["lease_id"] for one in self.queue} | self.answered | ({self.shown["lease_id"]} if self.shown else set())
        self.queue += [one for one in reply.json()["items"] if one["lease_id"] not in here]
        if self.shown is None and self.queue:
            self.shown = self.queue.pop(0)

    def answer(self, verdict: str = "fine", **said: Any) -> None:
        """Answers what is shown, and goes on."""
        assert self.shown is not None
        self.post(said_of(self.shown["lease_id"], verdict, **said)).raise_for_status()
        self.answered.add(self.shown["lease_id"])
        self.shown = self.queue.pop(0) if self.queue else None
        self.refill()

    def post(self, answer: dict[str, Any]) -> httpx.Response:
        """Sends one answer."""
        return self.ask("answers", answer)

    def ask(self, route: str, body: dict[str, Any]) -> httpx.Response:
        """One request, timed."""
        began = time.perf_counter()
        reply = self.client.post(f"/api/v1/{route}", json=body)
        self.took[route].append(time.perf_counter() - began)
        return reply

    def insist(self, answer: dict[str, Any], *, seconds: float, pause: Callable[[float], None] = time.sleep) -> dict[str, Any]:
        """Sends one answer again and again until the server has said that it is stored; returns its receipt."""
        ends = time.monotonic() + seconds
        while True:
            try:
                reply = self.post(answer)
                if reply.status_code == 200:
                    receipt: dict[str, Any] = reply.json()
                    return receipt
                words = f"{reply.status_code} {reply.text[:200]}"
            except httpx.TransportError as error:
                words = repr(error)
            assert time.monotonic() < ends, f"not stored within {seconds} s: {words}"
            pause(0.2)

    def close(self) -> None:
        """Hangs up."""
        self.client.close()


def said_of(lease: str, verdict: str = "fine", **said: Any) -> dict[str, Any]:
    """The body of an answer."""
    versions = {"taxonomy_version": TAXONOMY_VERSION, "guideline_version": GUIDELINE_VERSION}
    return {"token": str(uuid.uuid4()), "lease_id": lease, "verdict": verdict, "seconds_open": 3.0} | versions | said
