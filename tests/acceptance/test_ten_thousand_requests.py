"""10,000 random requests and 300 websockets: in process on both databases, and on the wire to a real process that stays well.

Prints how many there were of each kind, how long they took, and what the process grew by: pytest -s.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from schemathesis import GenerationMode

from tests.fuzzed_wire import storm_on_the_wire
from tests.fuzzing import Fuzzer, storm
from tests.openid_provider import openid_provider
from tests.test_fuzzed_requests import Inside, Served, by_the_form, throw_frames, throw_uploads

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

#: In process on each database, by the published form on each, on the wire, uploads: 10,000 in all.
ANY, EXAMPLES, WIRE, UPLOADS = 3_000, 200, 2_500, 100
SOCKETS = 300
#: What the process may grow by between the first 500 requests on the wire and the last, MB: its caches fill, nothing else.
GROWTH = 80.0


@pytest.fixture
def inside(tmp_path: Path, database_url: str) -> Iterator[Inside]:
    """On each kind of database."""
    made = Inside(tmp_path, database_url)
    yield made
    made.close()


def test_any_request_in_process(inside: Inside) -> None:
    began = time.monotonic()
    counted = storm(inside.place, inside.runner, inside.app, Fuzzer(inside.place, seed=20).shots(ANY))
    formed = sum(by_the_form(inside, mode, examples=EXAMPLES) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    print(
        json.dumps({"any": counted["all"], "changed": counted["changed"], "by form": formed, "s": round(time.monotonic() - began)})
    )
    assert counted["all"] + formed >= ANY + 4 * EXAMPLES
    for way in ("claim", "answers", "release", "outputs"):
        assert counted[f"POST /api/v1/{way} 200"] > 10


def test_any_bytes_on_the_wire_and_any_frame(tmp_path: Path) -> None:
    began = time.monotonic()
    with openid_provider() as running:
        served = Served(tmp_path, running.provider)
        with served.web:
            storm_on_the_wire(served.place, seed=20, count=500)
            before = served.megabytes()
            counted = storm_on_the_wire(served.place, seed=21, count=WIRE - 500)
            after = served.megabytes()
            let_in = throw_frames(served, seed=20, count=SOCKETS)
            throw_uploads(served, seed=20, count=UPLOADS)
            served.is_well()
            found = {
                "wire": WIRE,
                "answers": counted,
                "MB": [before, after, served.megabytes()],
                "sockets": SOCKETS,
                "let in": let_in,
            }
        served.place.close()
    print(json.dumps(found | {"s": round(time.monotonic() - began)}))
    assert after - before < GROWTH
