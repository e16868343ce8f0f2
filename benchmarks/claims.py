"""Claims and answers under load, through the product's own functions: 50 people at once who think for a quarter of a second.

SQLite is one process with 50 threads, as the web process is; PostgreSQL is four processes, on a throw-away server of its own. A
worker runs beside: it sweeps and relaxes twice a second and orders the queue, in small batches, every half minute. Overlap follows
the votes (3,5,7), a seat of each step is kept for a group, and a third of the people belong to it. One turn in fifty takes longer
than its lease, so that expiry and answer race. With --kill one of the four processes is killed in the middle (kill -9).

Prints for each database milliseconds of a claim (p50, p95, p99, max) and of an answer, turns a second, what the checks of the
records found afterwards (each must be 0), and the worst case: claims of somebody who has done the whole head of the queue.

    python benchmarks/claims.py [--generations 10000] [--seconds 20] [--clients 50] [--kill] [--only sqlite|postgresql] [--json]
"""

import argparse
import json
import multiprocessing
import os
import queue as queues
import random
import shutil
import subprocess  # nosec B404 # runs initdb and pg_ctl
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text, update
from sqlmodel import col, select

from flagback.storage import queue
from flagback.storage.answers import Answer
from flagback.storage.items import LAST_BUCKET, RANKS
from flagback.storage.overlap import kept_seats, set_overlap
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Item, Overlap, Slot
from flagback.storage.reviews import submit
from flagback.storage.slots import claim, relax, release, sweep
from flagback.storage.store import Store, insert_all

THINK, LEASE = 0.25, timedelta(seconds=3)
#: Seconds between two orders of the worker's; the product takes 300.
ORDER_EVERY = 30.0
GROUP = "gender=woman"
STEPS, SEATS = (3, 5, 7), {GROUP: 1}
PROCESSES = 4
#: Rows of one insert.
AT_ONCE = 5_000
#: What the worst case's person has done.
DONE = 20_000
FAMILIES = 500

#: Each must find nothing.
CHECKS = {
    "seats with two live claims": """
        SELECT count(*) FROM (SELECT slot_id FROM lease WHERE outcome = 'held' GROUP BY slot_id HAVING count(*) > 1) x""",
    "two answers of one person to one item": """
        SELECT count(*) FROM (SELECT item_id, reviewer FROM review WHERE supersedes IS NULL
        GROUP BY item_id, reviewer HAVING count(*) > 1) x""",
    "two seats of one person on one item": """
        SELECT count(*) FROM (SELECT item_id, reviewer FROM slot WHERE reviewer IS NOT NULL
        GROUP BY item_id, reviewer HAVING count(*) > 1) x""",
    "seats filled twice": """
        SELECT count(*) FROM (SELECT slot_id FROM review WHERE slot_id IS NOT NULL GROUP BY slot_id HAVING count(*) > 1) x""",
    "answers without a lease of their own": """
        SELECT count(*) FROM review r LEFT JOIN lease l ON l.id = r.lease_id AND l.reviewer = r.reviewer
        AND l.item_id = r.item_id WHERE l.id IS NULL""",
    "claimed seats without a live lease": """
        SELECT count(*) FROM slot s LEFT JOIN lease l ON l.slot_id = s.id AND l.outcome = 'held' AND l.reviewer = s.reviewer
        WHERE s.state = 'claimed' AND l.id IS NULL""",
    "live leases without a claimed seat": """
        SELECT count(*) FROM lease l LEFT JOIN slot s ON s.id = l.slot_id AND s.state = 'claimed' AND s.reviewer = l.reviewer
        WHERE l.outcome = 'held' AND s.id IS NULL""",
    "done seats without an answer": """
        SELECT count(*) FROM slot s LEFT JOIN review r ON r.slot_id = s.id WHERE s.state = 'done' AND r.id IS NULL""",
    "items with an even number of seats": """
        SELECT count(*) FROM (SELECT item_id FROM slot GROUP BY item_id HAVING count(*) % 2 = 0) x""",
    "done seats that tell a group": "SELECT count(*) FROM slot WHERE state = 'done' AND want_group <> 'any'",
}


def fill(store: Store, generations: int) -> None:
    """Prompts, answers, items and seats, as many as asked for, written in bulk; expected harm as a detector would leave it."""
    moment, draw = datetime.now(UTC), random.Random(0)  # nosec B311 # made-up harm, seeded
    with store.writing() as session:
        policy = set_overlap(
            session, steps=STEPS, seats=SEATS, relax_after=timedelta(hours=72), random_share=0.5, by="benchmark", now=moment
        )
        new = [NewPrompt([{"role": "user", "content": f"Prompt {n}"}], lang="en", split_key=f"f{n}") for n in range(FAMILIES)]
        prompts = add_prompts(session, new).ids
    groups = kept_seats(SEATS, STEPS[0])
    for start in range(0, generations, AT_ONCE):
        numbers = range(start + 1, min(start + AT_ONCE, generations) + 1)
        with store.writing() as session:
            insert_all(session, "generation", [_generation(n, prompts[n % FAMILIES], moment, draw.random()) for n in numbers])
            insert_all(session, "item", [_item(n, prompts[n % FAMILIES], policy, moment) for n in numbers])
            insert_all(
                session,
                "slot",
                [_slot(n, number, group, draw.randrange(RANKS), moment) for n in numbers for number, group in enumerate(groups)],
            )
    if not store.is_sqlite:
        with store.engine.begin() as connection:
            for table in ("generation", "item"):
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {generations})"))
    with store.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


def _generation(number: int, prompt_id: int, moment: datetime, harm: float) -> dict[str, Any]:
    return {
        "id": number,
        "prompt_id": prompt_id,
        "origin": "run:1",
        "source": "sampled",
        "sampling_run_id": None,
        "version_id": None,
        "token_ids": None,  # nosec B105 # an answer's tokens
        "text": f" answer {number}",
        "text_hash": f"{number:064x}",
        "finish_reason": "end",
        "count": 1,
        "draw": 0,
        "draws": None,
        "expected_harm": harm,
        "expected_harm_source": "benchmark",
        "created_at": moment,
    }


def _item(number: int, prompt_id: int, policy: Overlap, moment: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "kind": "single",
        "purpose": "loop",
        "prompt_id": prompt_id,
        "generation_id": number,
        "overlap_id": policy.id,
        "created_at": moment,
    }


def _slot(item: int, number: int, group: str, rank: int, moment: datetime) -> dict[str, Any]:
    return {
        "item_id": item,
        "number": number,
        "mode": "single",
        "want_group": group,
        "lang": "en",
        "state": "open",
        "bucket": LAST_BUCKET,
        "rank": rank,
        "reviewer": None,
        "expires_at": None,
        "relax_at": None if group == "any" else moment + timedelta(hours=72),
        "probability": None,
    }


# --------------------------------------------------------------------- people


def person(store: Store, number: int, ends: float, times: "Times") -> None:
    """One person's turns; an error ends them and is told at the end."""
    try:
        turns(store, number, ends, times)
    except Exception as error:
        times.failed.append(repr(error)[:300])


def turns(store: Store, number: int, ends: float, times: "Times") -> None:
    """Claim, think, answer, until the time is over."""
    who, draw = f"r_{number:03d}", random.Random(number)  # nosec B311 # made-up people, seeded
    groups = [GROUP] if number % 3 == 0 else []
    time.sleep(draw.random() * THINK)
    while time.monotonic() < ends:
        began = time.perf_counter()
        held = claim(
            store,
            who,
            count=1,
            now=datetime.now(UTC),
            lease_for=LEASE,
            seed=draw.getrandbits(32),
            languages=["en"],
            groups=lambda _session: groups,
        )
        times.claims.append(time.perf_counter() - began)
        time.sleep(THINK if draw.random() > 0.02 else LEASE.total_seconds() + THINK)
        if not held:
            times.empty += 1
            continue
        flag = (held[0].generation_id or 0) % 10 == 0
        answer = Answer(
            token=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            lease_id=held[0].lease_id,
            verdict="flag" if flag else "fine",
            categories=["stereotype"] if flag else [],
            severity="clear" if flag else None,
            taxonomy_version="1",
            guideline_version="1",
        )
        began = time.perf_counter()
        submit(store, who, answer, now=datetime.now(UTC), policy_version="1")
        times.answers.append(time.perf_counter() - began)


class Times:
    """What one process measured, seconds."""

    def __init__(self) -> None:
        self.claims: list[float] = []
        self.answers: list[float] = []
        #: Claims that brought nothing.
        self.empty = 0
        #: What ended a person's turns before their time.
        self.failed: list[str] = []


def people(url: str, numbers: Sequence[int], seconds: float, out: Any) -> None:
    """Some people in one process, each in a thread with its own times; what they measured goes into `out` every second."""
    store = Store(url)
    ends = time.monotonic() + seconds
    times = [Times() for _ in numbers]
    each = zip(numbers, times, strict=True)
    threads = [threading.Thread(target=person, args=(store, number, ends, one)) for number, one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    out.put([(one.claims, one.answers, one.empty, one.failed) for one in times])


def upkeep(url: str, ended: Any, out: Any) -> None:
    """The worker beside: what the server's sweep does, and the order of work, again and again, behind the others as it is."""
    from flagback.review_app.worker import give_way

    give_way()
    store = Store(url)
    deals: list[float] = []
    ordering = threading.Thread(target=_order, args=(store, ended, deals))
    ordering.start()
    while not ended.wait(0.5):
        sweep(store, now=datetime.now(UTC))
        relax(store, now=datetime.now(UTC))
    ordering.join()
    store.close()
    out.put(deals)


def _order(store: Store, ended: Any, deals: list[float]) -> None:
    from flagback.review_app.worker import REST

    while not ended.is_set():
        began = time.perf_counter()
        queue.deal(store, now=datetime.now(UTC), pause=0.05)
        deals.append(time.perf_counter() - began)
        ended.wait(max(ORDER_EVERY, REST * deals[-1]))


def run(url: str, given: argparse.Namespace, *, processes: int) -> dict[str, Any]:
    """One database under load."""
    store = Store(url)
    store.migrate()
    began = time.perf_counter()
    fill(store, given.generations)
    filled = time.perf_counter() - began
    # The first order is there before anybody comes, as after a sampling.
    first = queue.deal(store, now=datetime.now(UTC))
    context = multiprocessing.get_context("spawn")
    out, ended, deals = context.Queue(), context.Event(), context.Queue()
    worker = context.Process(target=upkeep, args=(url, ended, deals))
    worker.start()
    parts = [list(range(given.clients))[part::processes] for part in range(processes)]
    crowd = [context.Process(target=people, args=(url, part, given.seconds, out)) for part in parts]
    load = os.getloadavg()[0]
    for process in crowd:
        process.start()
    if given.kill and processes > 1:
        time.sleep(given.seconds / 2)
        crowd[0].kill()
    found = _gather(out, crowd)
    ended.set()
    dealt = deals.get(timeout=600)
    worker.join()
    # Leases of whoever is gone have run out; the sweep gives every seat back.
    swept = sweep(store, now=datetime.now(UTC) + 2 * LEASE)
    claims = sorted(one for part in found for one in part[0])
    answers = sorted(one for part in found for one in part[1])
    with store.engine.connect() as connection:
        checks = {name: int(connection.execute(text(query)).scalar_one()) for name, query in CHECKS.items()}
        left = int(connection.execute(text("SELECT count(*) FROM slot WHERE state = 'claimed'")).scalar_one())
    result = {
        "generations": given.generations,
        "seconds": given.seconds,
        "clients": given.clients,
        "processes": processes,
        "killed": bool(given.kill and processes > 1),
        "load_before": round(load, 1),
        "seconds_to_fill": round(filled, 1),
        "items_in_first_order": first.moved,
        "deals": len(dealt),
        "seconds_a_deal": round(max(dealt), 2) if dealt else None,
        "claim_ms": quantiles(claims),
        "answer_ms": quantiles(answers),
        "turns_a_second": round(len(answers) / given.seconds, 1),
        "claims_without_an_item": sum(part[2] for part in found),
        "failures": [error for part in found for error in part[3]],
        "swept_at_the_end": swept,
        "checks": checks | {"seats still claimed after the last sweep": left},
        "worst_case": worst_case(store, given.generations),
    }
    store.close()
    return result


def _gather(out: Any, crowd: Sequence[Any]) -> list[tuple[list[float], list[float], int, list[str]]]:
    """What every process that lived to its end has measured."""
    found: list[tuple[list[float], list[float], int, list[str]]] = []
    while any(process.is_alive() for process in crowd) or not out.empty():
        try:
            found += out.get(timeout=1)
        except queues.Empty:
            continue
    for process in crowd:
        process.join()
    return found


def quantiles(times: Sequence[float]) -> dict[str, float | int]:
    """Milliseconds; `times` sorted."""
    if not times:
        return {"n": 0}
    at = {name: times[min(len(times) - 1, int(share * len(times)))] for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {name: round(1000 * one, 1) for name, one in (at | {"max": times[-1]}).items()} | {"n": len(times)}


def worst_case(store: Store, generations: int) -> dict[str, Any]:
    """Claims of one who has done the 20,000 items (or half of all) that come first, in a bucket before all others."""
    done, moment, who = min(DONE, generations // 2), datetime.now(UTC), "r_worst"
    with store.writing() as session:
        waiting = select(Slot.item_id).where(Slot.state == "open")
        items = session.exec(select(Item.id).where(col(Item.id).in_(waiting)).order_by(col(Item.id)).limit(done)).all()
        seats = session.exec(select(Slot.id, Slot.item_id).where(Slot.state == "open", col(Slot.item_id) <= items[-1])).all()
        session.exec(update(Slot).where(col(Slot.state) == "open", col(Slot.item_id) <= items[-1]).values(bucket=0))
        leases = {item: str(uuid.uuid4()) for item in items}
        held = {"reviewer": who, "claimed_at": moment, "expires_at": moment, "outcome": "late", "probability": None}
        slot_of = {item: slot for slot, item in seats}
        insert_all(session, "lease", [held | {"id": leases[item], "slot_id": slot_of[item], "item_id": item} for item in items])
        insert_all(session, "review", [_review(item, leases[item], who, moment) for item in items])
    times = []
    for number in range(30):
        began = time.perf_counter()
        claimed = claim(
            store, who, count=1, now=moment, lease_for=LEASE, seed=number, languages=["en"], groups=lambda _session: [GROUP]
        )
        times.append(time.perf_counter() - began)
        assert claimed  # nosec B101 # a check of this benchmark
        assert claimed[0].item_id not in set(items)  # nosec B101 # a check of this benchmark
        release(store, who, now=moment)
    return {"items_done": len(items), "claim_ms": quantiles(sorted(times))}


def _review(item: int, lease: str, who: str, moment: datetime) -> dict[str, Any]:
    return {
        "token": str(uuid.uuid4()),
        "item_id": item,
        "slot_id": None,
        "lease_id": lease,
        "reviewer": who,
        "verdict": "fine",
        "categories": [],
        "targets": [],
        "target_other": None,
        "severity": None,
        "sure": True,
        "spans": [],
        "rewrite": None,
        "note": None,
        "skip_reason": None,
        "taxonomy_version": "1",
        "guideline_version": "1",
        "policy_version": "1",
        "seconds_open": None,
        "late": True,
        "supersedes": None,
        "simulated": False,
        "created_at": moment,
    }


@contextmanager
def postgres() -> Iterator[str]:
    """A server of its own on a socket in a temporary folder, durable as it comes."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not binaries and on_path is None:
        raise SystemExit("There is no PostgreSQL here; install it, or measure SQLite with --only sqlite.")
    folder = Path(tempfile.mkdtemp(prefix="flagback-claims-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        folder.chmod(0o755)
        as_user = ["runuser", "-u", "postgres", "--"]
    where = binaries[-1].parent if binaries else Path(str(on_path)).parent
    data = folder / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(  # nosec B603 # fixed words, no shell
        [*as_user, str(where / "initdb"), "-D", str(data), "-U", "flagback", "-A", "trust", "-E", "UTF8"], check=True, **quiet
    )
    control = [*as_user, str(where / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-k {folder} -c listen_addresses='' -c max_connections=200"
    subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], check=True, **quiet)  # nosec B603 # fixed words, no shell
    try:
        yield f"postgresql+psycopg://flagback@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **quiet)  # nosec B603 # fixed words, no shell
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measures both databases and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--kill", action="store_true", help="kill one of the four processes in the middle")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            found["sqlite"] = run(f"sqlite:///{folder}/records.db", given, processes=1)
    if given.only != "sqlite":
        with postgres() as url:
            found["postgresql"] = run(url, given, processes=PROCESSES)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, of in found.items():
        print(f"{name}: {of['generations']:,} generations, load {of['load_before']}")
        for key in ("claim_ms", "answer_ms", "turns_a_second", "seconds_a_deal", "worst_case", "checks", "failures"):
            print(f"  {key}: {of[key]}")


if __name__ == "__main__":
    main()
