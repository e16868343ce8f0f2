"""What a program that sends logged answers costs reviewers: their claims and answers before, while and after it sends.

Prints one JSON object: milliseconds of three reviewers' requests (median, 95 %, most) in each phase, and seconds a request of the
program takes. A real web process on SQLite; reviewers pause 0.2 s, as nobody reads faster.

    python benchmarks/outputs_cost.py [--answers 1000] [--seconds 20]
"""

import argparse
import json
import platform
import statistics
import subprocess  # nosec B404 # starts the web process that is measured
import sys
import tempfile
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from flagback.review_app import auth
from flagback.review_app.installation import open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, consent, output_keys
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import now
from flagback.storage.store import Store

REVIEWERS = 3
SERVE = "from flagback.review_app.server import serve\nfrom flagback.review_app.settings import Settings\nserve(Settings())"


class Home:
    """An installation with items, reviewers who are signed in, and a program's key."""

    def __init__(self, folder: Path, port: int) -> None:
        self.settings = Settings(home=folder, port=port)
        store = Store(self.settings.records_url)
        store.migrate()
        with store.writing() as session:
            prompts = [NewPrompt([{"role": "user", "content": f"Visitor {n} said"}], "en") for n in range(2_000)]
            made = [NewGeneration(one, " it was late.", "end", "imported", "import:x") for one in add_prompts(session, prompts).ids]
            make_items(session, add_generations(session, made), purpose="loop", reviews_per_item=3, seed=0)
            self.people = [accounts.create(session, f"r{n}", None, "reviewer") for n in range(REVIEWERS)]
            for person in self.people:
                accounts.set_languages(session, person.id, ["en"])
                consent.set_consent(session, person.id, {"review": True}, now=now())
            hours = timedelta(hours=2)
            self.cookies = [accounts.open_session(session, person.id, now=now(), for_=hours) for person in self.people]
            self.key = output_keys.make(session, "chat", by="benchmark", now=now())
        store.close()
        self.installation = open_installation(self.settings)
        self.url = f"http://127.0.0.1:{port}"

    def review(self, number: int, took: list[float], ended: threading.Event) -> None:
        """One reviewer claims and answers until it ends."""
        token = auth.page_token(self.installation, self.people[number])
        cookie = f"{auth.cookie_name(self.installation)}={self.cookies[number]}"
        headers = {"Origin": self.url, "Cookie": cookie, "X-Flagback-Token": token}
        with httpx.Client(base_url=self.url, timeout=60, headers=headers) as client:
            while not ended.is_set():
                began = time.perf_counter()
                items = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
                took.append(time.perf_counter() - began)
                given = {"token": str(uuid.uuid4()), "lease_id": items[0]["lease_id"], "verdict": "fine"}
                given |= {"taxonomy_version": "1", "guideline_version": "1"}
                began = time.perf_counter()
                client.post("/api/v1/answers", json=given).raise_for_status()
                took.append(time.perf_counter() - began)
                time.sleep(0.2)

    def send(self, answers: int) -> float:
        """Seconds that one request of the program takes."""
        rows = [{"prompt": f"What of {uuid.uuid4()}?", "answer": " It was. " + "word " * 60} for _ in range(answers)]
        sent = {"batch": "b", "consent": "Users agreed that answers are read.", "review_share": 0.05, "outputs": rows}
        began = time.perf_counter()
        httpx.post(
            f"{self.url}/api/v1/outputs", json=sent, headers={"Authorization": f"Bearer {self.key}"}, timeout=60
        ).raise_for_status()
        return time.perf_counter() - began


def phase(home: Home, *, answers: int, seconds: float) -> dict[str, Any]:
    """What reviewers wait while a program sends so many answers a request; 0: nobody sends."""
    took: list[float] = []
    sent: list[float] = []
    ended = threading.Event()
    threads = [threading.Thread(target=home.review, args=(number, took, ended)) for number in range(REVIEWERS)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answers:
            sent.append(home.send(answers))
        else:
            time.sleep(0.2)
    ended.set()
    for thread in threads:
        thread.join()
    points = statistics.quantiles(took, n=20)
    found = {"requests": len(took), "median ms": statistics.median(took), "95 % ms": points[-1], "most ms": max(took)}
    shown = {name: round(value * 1_000 if "ms" in name else value) for name, value in found.items()}
    return shown | ({"sent": len(sent), "median s of a sending": round(statistics.median(sent), 2)} if sent else {})


def main() -> None:
    """See the module's docstring."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--answers", type=int, default=1_000)
    reader.add_argument("--seconds", type=float, default=20)
    reader.add_argument("--port", type=int, default=8587)
    asked = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), asked.port)
        environment = {"FLAGBACK_HOME": folder, "FLAGBACK_PORT": str(asked.port), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
        web = subprocess.Popen(  # nosec B603 # this very interpreter, a fixed program
            [sys.executable, "-c", SERVE], env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(300):
                try:
                    httpx.get(f"{home.url}/healthz", timeout=2).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            found = {
                "before": phase(home, answers=0, seconds=asked.seconds / 2),
                "while": phase(home, answers=asked.answers, seconds=asked.seconds),
                "after": phase(home, answers=0, seconds=asked.seconds / 2),
            }
        finally:
            web.terminate()
            web.wait(30)
            home.installation.store.close()
    print(json.dumps({"answers a request": asked.answers, "python": platform.python_version()} | found, indent=2))


if __name__ == "__main__":
    main()
