"""Claims about the review API: what it hands out, what it stores, and how it says no."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from flagback.review_app import auth
from flagback.review_app.api import build_api
from flagback.review_app.guard import Guard
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, background, claims, consent, overlap, set_aside, wellbeing
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Account, AuditEntry, Generation, Item, Lease, Review, Role, now
from flagback.storage.store import Store
from tests import test_comparisons
from tests.fresh import migrate
from tests.people import person

OURS = {"Origin": "http://127.0.0.1"}


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """A home with five items, on each kind of database."""
    settings = Settings(home=tmp_path / "home", database_url=database_url)
    store = Store(settings.records_url)
    migrate(store)
    with store.writing() as session:
        prompts = add_prompts(
            session, [NewPrompt([{"role": "user", "content": f"The visitor {number} said"}], lang="en") for number in range(5)]
        ).ids
        made = add_generations(
            session, [NewGeneration(prompt, " it was late.", "end", "imported", "import:x") for prompt in prompts]
        )
        make_items(session, made, purpose="loop", reviews_per_item=2, seed=0)
    store.close()
    opened = open_installation(settings)
    yield opened
    opened.store.close()


def signed_in(installation: Installation, login: str = "ada", role: Role = "reviewer") -> TestClient:
    """A client with the session of a new account."""
    with installation.store.writing() as session:
        account = person(session, login, role)
        cookie = accounts.open_session(session, account.id, now=now(), for_=timedelta(hours=1))
    client = stranger(installation)
    client.cookies.set(auth.cookie_name(installation), cookie)
    client.headers["X-Flagback-Token"] = auth.page_token(installation, account)
    return client


def stranger(installation: Installation) -> TestClient:
    """A client without a session, mounted as the server mounts it."""
    guard = Middleware(Guard, installation=installation)
    app = Starlette(routes=[Mount("/api/v1", app=build_api(installation))], middleware=[guard])
    return TestClient(app, base_url="http://127.0.0.1", headers=OURS, raise_server_exceptions=False)


def answer(lease: str, **said: Any) -> dict[str, Any]:
    """The body of an answer."""
    made = {"token": str(uuid.uuid4()), "lease_id": lease, "verdict": "fine", "taxonomy_version": "1", "guideline_version": "1"}
    return made | said


def test_a_claim_hands_out_text_and_a_lease_and_nothing_about_the_model(installation: Installation) -> None:
    items = signed_in(installation).post("/api/v1/claim", json={"count": 3}).json()["items"]
    assert len(items) == 3
    assert set(items[0]) == {"lease_id", "messages", "lang", "text", "seconds_left", "answers", "veil"}
    assert items[0]["text"] == " it was late."
    assert 0 < items[0]["seconds_left"] <= 30 * 60


def test_who_asks_for_answers_side_by_side_is_handed_those_and_may_take_the_choice_up_again(installation: Installation) -> None:
    test_comparisons.written(installation.store)
    test_comparisons.make(installation.store)
    client = signed_in(installation)
    [shown] = client.post("/api/v1/claim", json={"count": 5, "mode": "compare"}).json()["items"]
    assert (shown["text"], len(set(shown["answers"]))) == ("", 2)
    sent = answer(shown["lease_id"], verdict="left")
    assert client.post("/api/v1/answers", json=sent).json()["stored"] == "new"
    [again] = client.get("/api/v1/recent").json()["answers"]
    assert again["shown"]["answers"] == shown["answers"]
    assert again["answer"]["verdict"] == "left"
    assert all(one["answers"] == [] for one in client.post("/api/v1/claim", json={"count": 5}).json()["items"])
    assert client.post("/api/v1/claim", json={"mode": "both"}).status_code == 422


def test_it_is_told_whether_something_waits_in_the_other_mode(installation: Installation) -> None:
    client = signed_in(installation)

    def other(mode: str) -> bool:
        return bool(client.post("/api/v1/claim", json={"count": 1, "mode": mode}).json()["other"])

    assert not other("single")
    assert other("compare")
    test_comparisons.written(installation.store)
    test_comparisons.make(installation.store)
    assert other("single")
    [shown] = client.post("/api/v1/claim", json={"count": 5, "mode": "compare"}).json()["items"]
    assert other("single"), "it is held"
    client.post("/api/v1/answers", json=answer(shown["lease_id"], verdict="left"))
    assert not other("single"), "the one comparison is done"


def test_answers_side_by_side_are_covered_where_one_of_them_is_expected_to_upset(installation: Installation) -> None:
    test_comparisons.written(installation.store, prompts=2)
    test_comparisons.make(installation.store)
    with installation.store.writing() as session:
        first = session.exec(select(Item).where(Item.kind == "pair")).first()
        assert first is not None
        text = claims.answers_of(session, [first.id])[first.id][1]
        for generation in session.exec(select(Generation).where(Generation.prompt_id == first.prompt_id)).all():
            generation.expected_harm = 0.9 if generation.text == text else 0.0
    items = signed_in(installation).post("/api/v1/claim", json={"count": 5, "mode": "compare"}).json()["items"]
    assert sorted(one["veil"] is not None for one in items) == [False, True]


def test_claiming_again_gives_the_items_already_held_first(installation: Installation) -> None:
    client = signed_in(installation)
    first = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
    again = client.post("/api/v1/claim", json={"count": 4}).json()["items"]
    assert {item["lease_id"] for item in again[:2]} == {item["lease_id"] for item in first}
    assert len(again) == 4


def test_with_nothing_in_ones_languages_and_something_in_others_that_is_said(installation: Installation) -> None:
    client = signed_in(installation)
    assert client.post("/api/v1/claim", json={"count": 1}).json()["only_in"] == []
    client.post("/api/v1/release")
    with installation.store.writing() as session:
        accounts.set_languages(session, accounts.by_login(session, "ada").id, ["es"])
    for mode in ("single", "compare"):
        claimed = client.post("/api/v1/claim", json={"count": 1, "mode": mode}).json()
        assert (claimed["items"], claimed["only_in"]) == ([], ["es"])


def test_a_saved_answer_is_in_the_records_under_a_pseudonym(installation: Installation) -> None:
    client = signed_in(installation)
    (item,) = client.post("/api/v1/claim", json={"count": 1}).json()["items"]
    with installation.store.writing() as session:
        session.execute(update(Lease).values(claimed_at=now() - timedelta(seconds=9)))
    given = answer(item["lease_id"], verdict="flag", categories=["stereotype"], severity="clear", seconds_open=2.5)
    receipt = client.post("/api/v1/answers", json=given)
    assert receipt.status_code == 200
    assert set(receipt.json()) == {"saved_at", "stored", "late", "guideline"}
    assert (receipt.json()["stored"], receipt.json()["late"]) == ("new", False)
    with installation.store.reading() as session:
        review = session.exec(select(Review)).one()
    assert (review.verdict, review.categories, review.seconds_open) == ("flag", ["stereotype"], 2.5)
    assert review.reviewer.startswith("r_")


def test_the_same_answer_sent_twice_is_stored_once(installation: Installation) -> None:
    client = signed_in(installation)
    (item,) = client.post("/api/v1/claim", json={"count": 1}).json()["items"]
    given = answer(item["lease_id"])
    first = client.post("/api/v1/answers", json=given).json()
    again = client.post("/api/v1/answers", json=given).json()
    assert again == {**first, "stored": "again"}
    with installation.store.reading() as session:
        assert len(session.exec(select(Review)).all()) == 1


def test_nobody_answers_with_someone_elses_lease(installation: Installation) -> None:
    (item,) = signed_in(installation).post("/api/v1/claim", json={"count": 1}).json()["items"]
    refused = signed_in(installation, "eve").post("/api/v1/answers", json=answer(item["lease_id"]))
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_lease")


def test_a_second_answer_to_one_item_is_refused_unless_it_corrects_the_first(installation: Installation) -> None:
    client = signed_in(installation)
    (item,) = client.post("/api/v1/claim", json={"count": 1}).json()["items"]
    first = answer(item["lease_id"])
    client.post("/api/v1/answers", json=first)
    refused = client.post("/api/v1/answers", json=answer(item["lease_id"]))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "already_answered")
    corrected = answer(item["lease_id"], verdict="flag", categories=["attack"], severity="severe", supersedes_token=first["token"])
    assert client.post("/api/v1/answers", json=corrected).status_code == 200


@pytest.mark.parametrize(
    ("said", "code", "named"),
    [
        ({"verdict": "flag", "severity": "clear"}, "bad_answer", "category"),
        ({"verdict": "flag", "categories": ["stereotype"]}, "bad_answer", "severity"),
        ({"verdict": "skip"}, "bad_answer", "reason"),
        ({"verdict": "maybe"}, "bad_request", "verdict"),
        ({"token": "seven"}, "bad_request", "token"),
        ({"model": "secret"}, "bad_request", "model"),
    ],
)
def test_an_answer_that_breaks_a_rule_names_it_and_stores_nothing(
    installation: Installation, said: dict[str, Any], code: str, named: str
) -> None:
    client = signed_in(installation)
    (item,) = client.post("/api/v1/claim", json={"count": 1}).json()["items"]
    refused = client.post("/api/v1/answers", json=answer(item["lease_id"], **said))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, code)
    assert named in refused.json()["error"]["message"]
    with installation.store.reading() as session:
        assert session.exec(select(Review)).all() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe"])
def test_a_body_that_is_no_request_is_told_so_in_json(installation: Installation, body: bytes) -> None:
    refused = signed_in(installation).post("/api/v1/answers", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 422
    assert set(refused.json()["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "claim"), ("POST", "answers"), ("POST", "release"), ("GET", "today"), ("GET", "recent")]
)
def test_without_a_session_every_route_is_401_in_json(installation: Installation, method: str, path: str) -> None:
    refused = stranger(installation).request(method, f"/api/v1/{path}", json={} if method == "POST" else None)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("path", ["claim", "answers", "release"])
def test_a_request_from_another_site_is_refused_even_with_a_session(installation: Installation, path: str) -> None:
    refused = signed_in(installation).post(f"/api/v1/{path}", json={}, headers={"Origin": "http://evil.example"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")


def test_a_maintainer_reviews_nothing(installation: Installation) -> None:
    refused = signed_in(installation, "max", "maintainer").post("/api/v1/claim", json={"count": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_your_role")


def test_stop_for_today_frees_what_was_held(installation: Installation) -> None:
    client = signed_in(installation)
    client.post("/api/v1/claim", json={"count": 4})
    assert client.post("/api/v1/release").json() == {"released": 4}
    assert client.post("/api/v1/release").json() == {"released": 0}


def test_today_counts_judgements_since_the_reviewers_midnight_and_no_skips(installation: Installation) -> None:
    client = signed_in(installation)
    one, two = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
    client.post("/api/v1/answers", json=answer(one["lease_id"]))
    client.post("/api/v1/answers", json=answer(two["lease_id"], verdict="skip", skip_reason="unclear"))
    midnight = (now() - timedelta(hours=1)).isoformat()
    assert client.get("/api/v1/today", params={"since": midnight}).json() == {
        "answered": 1,
        "aim": 40,
        "severe": 0,
        "budget": 40,
    }
    tomorrow = (now() + timedelta(hours=1)).isoformat()
    assert client.get("/api/v1/today", params={"since": tomorrow}).json()["answered"] == 0
    assert client.get("/api/v1/today", params={"since": "yesterday"}).json()["error"]["code"] == "bad_request"


def test_recent_gives_back_only_ones_own_answers_in_force(installation: Installation) -> None:
    client, other = signed_in(installation), signed_in(installation, "eve")
    one, two = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
    first = answer(one["lease_id"])
    client.post("/api/v1/answers", json=first)
    client.post(
        "/api/v1/answers",
        json=answer(
            two["lease_id"],
            verdict="flag",
            categories=["private"],
            severity="slight",
            rewrite=" it was early.",
            spans=[{"start": 1, "end": 3}],
        ),
    )
    client.post(
        "/api/v1/answers",
        json=answer(one["lease_id"], verdict="flag", categories=["attack"], severity="severe", supersedes_token=first["token"]),
    )
    answers = client.get("/api/v1/recent").json()["answers"]
    assert [entry["answer"]["categories"] for entry in answers] == [["private"], ["attack"]]
    assert answers[0]["answer"]["rewrite"] == " it was early."
    assert answers[0]["shown"]["messages"] == two["messages"]
    assert other.get("/api/v1/recent").json() == {"answers": []}


def test_a_failure_inside_is_told_without_its_trace(installation: Installation, caplog: pytest.LogCaptureFixture) -> None:
    client = signed_in(installation)
    with installation.store.writing() as session:
        session.connection().exec_driver_sql("ALTER TABLE lease RENAME TO lost")
    refused = client.post("/api/v1/claim", json={"count": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert "lease" not in refused.text
    assert "Traceback" not in refused.text
    assert "refused a request" in caplog.text


def test_the_form_of_every_request_is_published(installation: Installation) -> None:
    paths = signed_in(installation).get("/api/v1/openapi.json").json()["paths"]
    assert set(paths) == {
        *("/outputs", "/claim", "/answers", "/release", "/today", "/recent", "/session"),
        *("/guidelines", "/practice", "/practice/begin", "/practice/leave"),
    }


def test_unknown_paths_and_methods_answer_in_json_too(installation: Installation) -> None:
    client = signed_in(installation)
    assert client.get("/api/v1/nothing").json()["error"]["code"] == "not_found"
    assert client.get("/api/v1/claim").json()["error"]["code"] == "wrong_method"


def test_a_paused_reviewer_is_handed_nothing_is_told_so_and_loses_no_answer(installation: Installation) -> None:
    client = signed_in(installation)
    items = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
    assert client.post("/api/v1/answers", json=answer(items[0]["lease_id"])).status_code == 200
    with installation.store.writing() as session:
        who = session.exec(select(Review.reviewer)).one()
        row = set_aside.add(session, "pause", reviewer=who, reason="a break that was agreed on", by="lea", now=now())
    refused = client.post("/api/v1/claim", json={"count": 2})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "paused")
    assert "Reviewing is paused for you" in refused.json()["error"]["message"]
    assert "agreed on" not in refused.text  # the reason is for those who answer for it
    # what was in hand when the pause came is stored all the same
    assert client.post("/api/v1/answers", json=answer(items[1]["lease_id"])).json()["stored"] == "new"
    with installation.store.writing() as session:
        set_aside.end(session, row.id, by="lea", now=now())
    assert len(client.post("/api/v1/claim", json={"count": 2}).json()["items"]) == 2


def test_a_seat_for_a_group_goes_by_what_one_said_and_agreed_to(installation: Installation) -> None:
    """The seat is kept for women; of two who said they are one, only one agreed to be chosen by it."""
    with installation.store.writing() as session:
        given: dict[str, Any] = {"relax_after": timedelta(hours=72), "random_share": 0.5, "by": "max", "now": now()}
        overlap.set_overlap(session, steps=[1], seats={"gender=woman": 1}, **given)
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "Kept"}], lang="en")]).ids
        made = add_generations(session, [NewGeneration(prompts[0], " for her", "end", "imported", "import:y")])
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=0)
    agreed, silent = (signed_in(installation, login) for login in ("eve", "ida"))
    with installation.store.writing() as session:
        for login in ("eve", "ida"):
            account = session.exec(select(Account).where(Account.login == login)).one()
            said = {"gender": background.Answered(["woman"], None)}
            background.set_answers(session, installation.pseudonym_key, account.id, said, now=now())
            consent.set_consent(session, account.id, {"assignment": login == "eve"}, now=now())
    texts = [
        [item["text"] for item in client.post("/api/v1/claim", json={"count": 8}).json()["items"]] for client in (silent, agreed)
    ]
    assert texts == [[" it was late."] * 5, [" for her"] + [" it was late."] * 5]


def test_past_the_days_measure_nothing_is_handed_out_and_what_was_held_goes_back(installation: Installation) -> None:
    with installation.store.writing() as session:
        wellbeing.set_terms(session, wellbeing.USUAL._replace(severe_a_day=2), by="max", now=now())
    client = signed_in(installation)
    items = client.post("/api/v1/claim", json={"count": 4}).json()["items"]
    severe = {"verdict": "flag", "categories": ["attack"], "severity": "severe"}
    client.post("/api/v1/answers", json=answer(items[0]["lease_id"], **severe))
    assert client.post("/api/v1/claim", json={"count": 4}).json()["severe"] == 1
    client.post("/api/v1/answers", json=answer(items[1]["lease_id"], verdict="skip", skip_reason="too_upsetting"))
    past = client.post("/api/v1/claim", json={"count": 4}).json()
    assert (past["items"], past["enough"], past["severe"]) == ([], True, 2)
    assert client.post("/api/v1/release").json() == {"released": 0}
    assert client.post("/api/v1/answers", json=answer(items[2]["lease_id"])).json()["late"] is True
    assert len(signed_in(installation, "bob").post("/api/v1/claim", json={"count": 4}).json()["items"]) == 4


def test_a_declined_topic_is_never_handed_out_and_that_is_said_to_nobody(installation: Installation) -> None:
    with installation.store.writing() as session:
        [prompt] = add_prompts(session, [NewPrompt([{"role": "user", "content": "x"}], "en", {"topic": "War"})]).ids
        made = add_generations(session, [NewGeneration(prompt, " y.", "end", "imported", "import:y")])
        make_items(session, made, purpose="loop", reviews_per_item=2, seed=0)
    client = signed_in(installation)
    with installation.store.writing() as session:
        wellbeing.decline(session, accounts.by_login(session, "ada").id, ["topic:war"], now=now())
    assert len(client.post("/api/v1/claim", json={"count": 9}).json()["items"]) == 5
    with installation.store.reading() as session:
        assert "war" not in str([entry.details for entry in session.exec(select(AuditEntry)).all()])


def test_a_text_taken_away_takes_prepared_downloads_with_it(installation: Installation) -> None:
    folder = installation.settings.downloads
    folder.mkdir(parents=True)
    client = signed_in(installation)
    one, two = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
    for item, category, left in ((one, "sexual", 1), (two, "minors", 0)):
        (folder / "prepared.zip").write_bytes(b"it was late")
        given = answer(item["lease_id"], verdict="flag", categories=[category], severity="severe", taxonomy_version="2")
        assert client.post("/api/v1/answers", json=given).status_code == 200
        assert len(list(folder.iterdir())) == left


def test_who_is_away_is_handed_nothing_until_they_are_back_and_what_they_decline_stays(installation: Installation) -> None:
    client = signed_in(installation)
    items = client.post("/api/v1/claim", json={"count": 2}).json()["items"]
    with installation.store.writing() as session:
        ada = accounts.by_login(session, "ada")
        wellbeing.decline(session, ada.id, ["category:attack"], now=now())
        wellbeing.go_away(session, ada.id, now=now())
        wellbeing.go_away(session, ada.id, now=now())
        assert wellbeing.declined(session, ada.id) == {"category:attack"}
        wellbeing.decline(session, ada.id, ["category:attack", "target:age"], now=now())  # topics may be chosen meanwhile
        assert wellbeing.away_since(session, ada.id) is not None
    refused = client.post("/api/v1/claim", json={"count": 2})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "away")
    # what was in hand is stored all the same
    assert client.post("/api/v1/answers", json=answer(items[0]["lease_id"])).json()["stored"] == "new"
    with installation.store.writing() as session:
        wellbeing.come_back(session, ada.id)
        assert wellbeing.declined(session, ada.id) == {"category:attack", "target:age"}
    assert len(client.post("/api/v1/claim", json={"count": 2}).json()["items"]) == 2
