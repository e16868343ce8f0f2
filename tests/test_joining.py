"""Claims about using a link in a browser: what is shown, what is used, who one is afterwards, and what the log says of it."""

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from flagback.review_app import auth, joining
from flagback.review_app.api import build_api
from flagback.review_app.guard import LONGEST_QUERY, Guard
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, consent, invitations, slots
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Account, AuditEntry, Invitation, Review, Role, now
from flagback.storage.records import Session as SessionRow
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.people import PASSWORD, agree, form_token, page_token, person, sign_in_by_form

OURS = "http://127.0.0.1"
OTHER = "another long one"
WANTED = 3


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A home with an administrator, ten items, and a study that wants three answers."""
    settings = Settings(home=tmp_path)
    store = Store(settings.records_url)
    migrate(store)
    with store.writing() as session:
        person(session, "root", "administrator")
        invitations.make_pool(session, "study", "anonymous", answers_wanted=WANTED, completion_code="C0DE-42", now=now())
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"Visitor {n} said"}], "en") for n in range(10)]).ids
        made = add_generations(session, [NewGeneration(one, " it was late.", "end", "imported", "import:x") for one in prompts])
        make_items(session, made, purpose="loop", reviews_per_item=5, seed=0)
    store.close()
    opened = open_installation(settings)
    yield opened
    opened.store.close()


def browser(installation: Installation) -> TestClient:
    """A browser of its own."""

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("the page")

    routes = [
        *auth.routes(installation),
        *joining.routes(installation),
        Route("/", page),
        Mount("/api/v1", app=build_api(installation)),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, installation=installation)])
    return TestClient(app, base_url=OURS, headers={"Origin": OURS, "User-Agent": "Firefox/1 Linux"}, follow_redirects=False)


def invite(installation: Installation, role: Role = "reviewer", *, pool: str | None = None, uses: int = 1) -> str:
    """The address of a link."""
    with installation.store.writing() as session:
        into = None if pool is None else invitations.pool_named(session, pool)
        return "/join/" + invitations.invite(session, role, by="root", now=now(), pool=into, uses=uses)


def reset(installation: Installation, login: str) -> str:
    """The address of a link for a new password, or to come back."""
    with installation.store.writing() as session:
        return "/join/" + invitations.reset(session, accounts.by_login(session, login), by="root", now=now())


def send(client: TestClient, address: str, login: str = "", password: str = PASSWORD) -> Any:
    """Opens the link and sends its form as it stands."""
    shown = client.get(address)
    assert shown.status_code == 200, shown.text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
    return client.post(address, data=fields | {"login": login, "password": password})


def who(installation: Installation, client: TestClient) -> Account | None:
    """Whose browser it is."""
    return auth.account_of(installation, client.cookies.get(auth.cookie_name(installation)))


def guest(installation: Installation, client: TestClient, address: str) -> Account:
    """Takes part in a study."""
    assert send(client, address).status_code == 303
    found = who(installation, client)
    assert found is not None
    return found


def audited(installation: Installation) -> list[tuple[str, str, str]]:
    """(actor, action, login) of the log."""
    with installation.store.reading() as session:
        return [(row.actor, row.action, row.details["login"]) for row in session.exec(select(AuditEntry)).all()]


# ------------------------------------------------------------------------- invitations


def test_an_invitation_leads_from_the_form_into_the_application(installation: Installation) -> None:
    client, address = browser(installation), invite(installation, "auditor")
    shown = client.get(address)
    assert "You are invited as an auditor" in shown.text
    answer = send(client, address, "Ada")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    found = who(installation, client)
    assert found is not None
    assert (found.login, found.role) == ("ada", "auditor")
    assert audited(installation) == [("ada", "account made by invitation", "ada")]
    with installation.store.reading() as session:
        opened = session.exec(select(SessionRow)).one()
    assert (opened.opened_by, opened.browser) == ("link", "Firefox on Linux")


def test_opening_a_link_ten_times_uses_nothing_and_a_form_of_another_site_does_neither(installation: Installation) -> None:
    address = invite(installation)
    for _ in range(10):
        assert browser(installation).get(address).status_code == 200
    stranger = browser(installation)
    assert stranger.post(address, data={"login": "eve", "password": PASSWORD}).status_code == 403
    stranger.headers["Origin"] = "https://evil.example"
    assert stranger.post(address, data={"login": "eve", "password": PASSWORD}).status_code == 403
    assert send(browser(installation), address, "ada").status_code == 303


@pytest.mark.parametrize(
    ("login", "password", "words"),
    [
        ("root", PASSWORD, "This name is taken"),
        ("ada", "short", "expected 8 to"),
        ("", PASSWORD, "expected 1 to 100"),
        ('"><script>alert(1)</script>\u202e', PASSWORD, "cannot be used"),
    ],
)
def test_a_form_that_does_not_fit_is_shown_again_and_uses_nothing(
    installation: Installation, login: str, password: str, words: str
) -> None:
    client, address = browser(installation), invite(installation)
    answer = send(client, address, login, password)
    assert answer.status_code == 422
    assert words in answer.text
    assert "<script>" not in answer.text
    assert password not in answer.text
    assert send(client, address, "ada").status_code == 303


@pytest.mark.parametrize("code", ["no-such-code", "%00", "%ed%a0%80", "x" * 1_900, "..%2f..", "%3Cscript%3E"])
def test_a_link_that_does_not_work_says_so_kindly(installation: Installation, code: str) -> None:
    answer = browser(installation).get(f"/join/{code}", headers={"Accept": "text/html"})
    assert answer.status_code in (404, 410)
    assert "<script>" not in answer.text
    if answer.status_code == 410:
        assert "Ask whoever sent it to you for a new one" in answer.text


def test_whoever_was_signed_in_is_signed_out_by_joining(installation: Installation) -> None:
    client = browser(installation)
    sign_in_by_form(client, "root")
    before = client.cookies[auth.cookie_name(installation)]
    send(client, invite(installation), "ada")
    assert auth.account_of(installation, before) is None
    found = who(installation, client)
    assert found is not None
    assert found.login == "ada"


def test_no_code_password_cookie_or_id_stands_in_the_audit_log(installation: Installation) -> None:
    client, address = browser(installation), invite(installation)
    send(client, address, "ada")
    crowd = browser(installation)
    study = invite(installation, pool="study", uses=9)
    guest(installation, crowd, f"{study}?PROLIFIC_PID=abc123secret")
    link = reset(installation, "ada")
    send(client, link)
    with installation.store.reading() as session:
        log = " ".join(str(row.model_dump()) for row in session.exec(select(AuditEntry)).all())
        rows = " ".join(str(row.model_dump()) for row in session.exec(select(Account)).all())
    cookies = [one.cookies[auth.cookie_name(installation)] for one in (client, crowd)]
    for secret in (PASSWORD, address[6:], study[6:], link[6:], *cookies, "abc123secret"):
        assert secret not in log
        assert secret not in rows


# ----------------------------------------------------------------------- a new password


def test_a_reset_link_sets_the_password_and_ends_the_other_browsers(installation: Installation) -> None:
    with installation.store.writing() as session:
        person(session, "ada")
    elsewhere, client = browser(installation), browser(installation)
    sign_in_by_form(elsewhere, "ada")
    answer = send(client, reset(installation, "ada"), "root", "another long one")
    assert answer.status_code == 303
    found = who(installation, client)
    assert found is not None
    assert found.login == "ada", "the name in the form does not count"
    assert who(installation, elsewhere) is None
    assert sign_in_by_form(browser(installation), "ada").status_code == 401
    assert sign_in_by_form(browser(installation), "ada", "another long one").status_code == 303
    assert ("ada", "password set anew by link", "ada") in audited(installation)


def test_an_account_that_is_shut_out_gets_in_by_no_way_and_sign_in_does_not_tell_guessers(installation: Installation) -> None:
    with installation.store.writing() as session:
        person(session, "ada")
    client, link = browser(installation), reset(installation, "ada")
    assert client.get(link).status_code == 200
    token = form_token(client.get(link).text)
    with installation.store.writing() as session:
        accounts.set_disabled(session, "ada", disabled=True, now=now(), by="root")
    assert client.post(link, data={"token": token, "password": OTHER}).status_code in (
        409,
        410,
    )
    assert client.get(link).status_code == 410
    assert who(installation, client) is None
    right, wrong = sign_in_by_form(client, "ada"), sign_in_by_form(client, "ada", "not this one")
    assert (right.status_code, wrong.status_code) == (401, 401)
    assert "not right" in right.text
    assert re.sub(r'value="[^"]*"', "", right.text) == re.sub(r'value="[^"]*"', "", wrong.text)


# ---------------------------------------------------------------------------- a study


@pytest.fixture
def study(installation: Installation) -> str:
    """A study's link."""
    return invite(installation, pool="study", uses=50)


def test_the_page_of_a_study_says_what_comes_and_asks_for_no_name(installation: Installation, study: str) -> None:
    shown = browser(installation).get(study).text
    assert "After 3 answers" in shown
    assert 'name="login"' not in shown
    assert "password" not in shown.lower()


def test_who_takes_part_comes_back_by_the_studys_link_also_when_it_has_ended(installation: Installation, study: str) -> None:
    client = browser(installation)
    first = guest(installation, client, f"{study}?PROLIFIC_PID=p1")
    with installation.store.writing() as session:
        session.exec(select(Invitation)).one().uses_left = 0
    for address in (study, f"{study}?PROLIFIC_PID=p1", f"{study}?PROLIFIC_PID=%20p1%20"):
        answer = client.get(address)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/"), address
        found = who(installation, client)
        assert found is not None
        assert found.id == first.id
    assert browser(installation).get(study).status_code == 410


def test_without_the_cookie_the_same_id_takes_part_no_second_time_and_is_told_what_to_do(
    installation: Installation, study: str
) -> None:
    guest(installation, browser(installation), f"{study}?PROLIFIC_PID=p1")
    stranger = browser(installation)
    answer = send(stranger, f"{study}?PROLIFIC_PID=p1")
    assert answer.status_code == 409
    assert "Open Flagback in the browser where you began" in answer.text
    assert who(installation, stranger) is None


def test_another_persons_id_in_a_shared_browser_makes_another_person(installation: Installation, study: str) -> None:
    client = browser(installation)
    first = guest(installation, client, f"{study}?PROLIFIC_PID=p1")
    second = guest(installation, client, f"{study}?PROLIFIC_PID=p2")
    assert second.id != first.id
    third = browser(installation)
    guest(installation, third, study)
    assert send(third, f"{study}?PROLIFIC_PID=p1").status_code == 409, "nobody takes over who takes part already"
    found = who(installation, third)
    assert found is not None
    assert found.id not in (first.id, second.id)


@pytest.mark.parametrize("name", joining.EXTERNAL_IDS)
def test_each_platforms_name_for_the_id_is_known(installation: Installation, study: str, name: str) -> None:
    guest(installation, browser(installation), f"{study}?{name}=p1")
    assert send(browser(installation), f"{study}?external_id=p1").status_code == 409


def test_an_empty_id_is_none(installation: Installation, study: str) -> None:
    found = [guest(installation, browser(installation), f"{study}?PROLIFIC_PID={blank}") for blank in ("", "", "%20", "%09")]
    assert len({one.id for one in found}) == 4


@pytest.mark.parametrize("length", [201, 5_000, 40_000])
def test_a_huge_id_is_refused_in_words_instead_of_cut(installation: Installation, study: str, length: int) -> None:
    answer = browser(installation).get(f"{study}?PROLIFIC_PID={'p' * length}")
    if length > LONGEST_QUERY:  # the guard reads no such address
        assert (answer.status_code, "too long" in answer.text) == (414, True)
    else:
        assert answer.status_code == 400
        assert f"{length:,} characters" in answer.text
    assert "ppppp" not in answer.text


@pytest.mark.parametrize(
    "hostile", ["%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "%00", "%ED%A0%80", "%E2%80%AE", "'%20OR%201=1", "{token}"]
)
def test_a_hostile_id_is_text_like_any_other(installation: Installation, study: str, hostile: str) -> None:
    client = browser(installation)
    assert "<script>alert" not in client.get(f"{study}?PROLIFIC_PID={hostile}").text
    first = guest(installation, client, f"{study}?PROLIFIC_PID={hostile}")
    assert first.login.startswith("guest-")
    assert send(browser(installation), f"{study}?PROLIFIC_PID={hostile}").status_code == 409


def test_a_form_that_was_open_too_long_leads_back_with_the_id(installation: Installation, study: str) -> None:
    answer = browser(installation).post(f"{study}?PROLIFIC_PID=p1&x=%22", data={"token": "old"})
    assert answer.status_code == 403
    assert f'href="{study}?PROLIFIC_PID=p1&amp;x=%22"' in answer.text


def test_a_link_to_come_back_says_so_and_leads_to_the_same_person_once(installation: Installation, study: str) -> None:
    lost, client = browser(installation), browser(installation)
    before = guest(installation, lost, study)
    link = reset(installation, before.login)
    shown = client.get(link).text
    assert "Come back" in shown
    assert "After 3 answers" in shown
    assert send(client, link).status_code == 303
    found = who(installation, client)
    assert found is not None
    assert found.id == before.id
    assert who(installation, lost) is None
    assert client.get(link).status_code == 410
    assert (before.login, "came back by link", before.login) in audited(installation)


# ----------------------------------------------------------------- the completion code


class Reviewing:
    """A guest at the board."""

    def __init__(self, installation: Installation, study: str, external_id: str = "") -> None:
        self.installation = installation
        self.client = browser(installation)
        self.account = guest(installation, self.client, f"{study}?external_id={external_id}")
        with installation.store.writing() as session:
            agree(session, session.get_one(Account, self.account.id))
        self.client.headers.update(page_token(installation, self.account.login))

    def claim(self, count: int = 20) -> tuple[list[str], str | None]:
        """The items held, and the code."""
        answer = self.client.post("/api/v1/claim", json={"count": count})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return sorted(item["lease_id"] for item in found["items"]), found["completion_code"]

    def say(self, lease: str, verdict: str = "fine", **more: str) -> str:
        """Answers; returns the token."""
        token = str(uuid.uuid4())
        body = {"token": token, "lease_id": lease, "verdict": verdict, "taxonomy_version": "1", "guideline_version": "1"} | more
        answer = self.client.post("/api/v1/answers", json=body)
        assert answer.status_code == 200, answer.text
        return token


def test_the_code_comes_with_the_last_answer_wanted_and_no_item_after_it(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    leases, code = one.claim()
    assert (len(leases), code) == (WANTED, None), "nobody holds more than is wanted of them"
    for lease in leases[:-1]:
        one.say(lease)
        assert one.claim() == ([leases[-1]] if lease == leases[-2] else leases[1:], None)
    one.say(leases[-1])
    assert one.claim() == ([], "C0DE-42")
    assert one.claim(40) == ([], "C0DE-42")


def test_an_answer_that_comes_in_while_items_are_handed_out_makes_nobody_hold_one_too_many(
    installation: Installation, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Reviewing(installation, study)
    leases, _ = one.claim()
    claimed = slots.claim
    answering = [leases[0]]

    def slow(*given: Any, **more: Any) -> Any:
        if answering:
            one.say(answering.pop())
        return claimed(*given, **more)

    monkeypatch.setattr(slots, "claim", slow)
    assert one.claim() == (leases[1:], None)


def test_a_skip_earns_nothing_and_is_made_up_for(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    leases, _ = one.claim()
    one.say(leases[0], "skip", skip_reason="too_upsetting")
    for lease in leases[1:]:
        one.say(lease)
    more, code = one.claim()
    assert (len(more), code) == (1, None)
    one.say(more[0])
    assert one.claim() == ([], "C0DE-42")


def test_a_corrected_answer_counts_once(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    leases, _ = one.claim()
    token = one.say(leases[0])
    for _ in range(5):
        token = one.say(leases[0], supersedes_token=token)
    assert one.claim()[1] is None


def test_an_answer_taken_back_after_the_code_takes_the_code_back(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    tokens = [(lease, one.say(lease)) for lease in one.claim()[0]]
    lease, token = tokens[-1]
    one.say(lease, "skip", skip_reason="too_upsetting", supersedes_token=token)
    more, code = one.claim()
    assert (len(more), code) == (1, None)


def test_the_code_is_for_that_person_alone(installation: Installation, study: str) -> None:
    one, other = Reviewing(installation, study), Reviewing(installation, study)
    for lease in one.claim()[0]:
        one.say(lease)
    assert one.claim()[1] == "C0DE-42"
    assert other.claim()[1] is None
    with installation.store.writing() as session:
        person(session, "ada")
    ada = browser(installation)
    sign_in_by_form(ada, "ada")
    ada.headers.update(page_token(installation, "ada"))
    assert ada.post("/api/v1/claim", json={"count": 1}).json()["completion_code"] is None


def test_what_is_still_held_when_enough_is_answered_goes_to_others(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    leases, _ = one.claim()
    one.say(leases[0])
    with installation.store.writing() as session:
        session.connection().exec_driver_sql("UPDATE pool SET answers_wanted = 1")
    assert one.claim() == ([], "C0DE-42")
    assert one.client.post("/api/v1/release").json() == {"released": 0}
    one.say(leases[1])
    with installation.store.reading() as session:
        assert len(session.exec(select(Review)).all()) == 2, "what was answered all the same is kept"


# ----------------------------------------------------------------------- consent and claims


def test_consent_taken_back_ends_handing_out_also_through_the_api_directly(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    leases, _ = one.claim()
    with installation.store.writing() as session:
        consent.set_consent(session, one.account.id, {"review": False}, now=now())
    refused = one.client.post("/api/v1/claim", json={"count": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_consent")
    one.say(leases[0])
    with installation.store.reading() as session:
        assert len(session.exec(select(Review)).all()) == 1, "an answer on its way when consent was taken back is not lost"


def test_consent_taken_back_while_items_are_handed_out_gives_them_back(
    installation: Installation, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Reviewing(installation, study)
    claimed = slots.claim

    def slow(*given: Any, **more: Any) -> Any:
        with installation.store.writing() as session:
            consent.set_consent(session, one.account.id, {"review": False}, now=now())
        return claimed(*given, **more)

    monkeypatch.setattr(slots, "claim", slow)
    refused = one.client.post("/api/v1/claim", json={"count": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_consent")
    assert one.client.post("/api/v1/release").json() == {"released": 0}


def test_who_has_not_said_which_languages_they_read_is_handed_nothing(installation: Installation, study: str) -> None:
    one = Reviewing(installation, study)
    with installation.store.writing() as session:
        session.get_one(Account, one.account.id).languages = None
    refused = one.client.post("/api/v1/claim", json={"count": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_languages")


# ---------------------------------------------------------------------------- throttling


def test_the_present_password_is_guessed_no_faster_on_ones_own_page_than_at_the_door(installation: Installation) -> None:
    tries = [auth.try_password(installation, "root", f"guess number {n}", address=None) for n in range(6)]
    assert tries[:5] == [None] * 5
    assert isinstance(tries[5], timedelta)
    assert isinstance(auth.try_password(installation, "root", PASSWORD, address=None), timedelta), "also for the right one"
    assert sign_in_by_form(browser(installation), "root").status_code == 429, "one count for both"
