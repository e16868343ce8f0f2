"""What a request may change: a home full of other people's secrets, and the judge of every request that is sent to it.

The judge reads the bytes that were sent and nothing of how the product decides: a request may change something only where it
carries a live session's cookie, the page token of the same account and an origin of ours, or a live link's code or a right
password beside a form token that fits its cookie, or a program's live key. Where it carries two of a kind, either may count.
"""

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import unquote, unquote_to_bytes

from sqlalchemy import create_engine
from sqlmodel import select

from flagback.review_app import auth, downloads
from flagback.review_app.access import REVIEWING_ROLES
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, claims, invitations, output_keys, reviews, slots
from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import keyed_hash, pseudonym
from flagback.storage.records import Account, Pool, Record, Role, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.people import PASSWORD, person

ROLES: tuple[Role, ...] = get_args(Role)
#: What may differ between two looks at the records without anybody's right: counters of requests themselves.
NOT_COUNTED = {"sign_in_failure"}
NOT_COMPARED = {"session": {"seen_at"}, "output_key": {"seen_at"}}
Rows = dict[str, dict[str, tuple[Any, ...]]]


@dataclass
class Shot:
    """One request as bytes; `body` in the pieces in which it arrives."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: list[bytes] = field(default_factory=list)
    #: Whether the sender hangs up before the body's end.
    cut: bool = False
    client: tuple[str, int] = ("127.0.0.1", 40_000)

    @property
    def path(self) -> str:
        """As a server decodes it."""
        return unquote(self.target.partition(b"?")[0].decode("ascii", "replace"))

    def all(self) -> bytes:
        """Everything that was sent, for looking into."""
        headers = b"\n".join(name + b": " + value for name, value in self.headers)
        return b"\n".join((self.target, unquote_to_bytes(self.target), headers, b"".join(self.body)))

    def header(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]

    def __str__(self) -> str:
        headers = [(name.decode("latin-1"), value[:300].decode("latin-1")) for name, value in self.headers]
        return f"{self.method} {self.target[:300]!r} {headers} {b''.join(self.body)[:500]!r} cut={self.cut} from {self.client}"


class Reply(NamedTuple):
    """What came back; status 0 where the connection was closed without a word."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def all(self) -> bytes:
        """Head and body, for looking into."""
        return b"\n".join(name + b": " + value for name, value in self.headers) + b"\n\n" + self.body


class Fault(AssertionError):
    """What a request must not do, with the request."""


class Change(NamedTuple):
    """One row that differs between two looks."""

    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Someone(NamedTuple):
    """One account with all that it could prove itself by."""

    account: Account
    cookie: str
    page_token: str
    #: Pseudonyms of reviews and of hours.
    names: frozenset[str]

    @property
    def role(self) -> Role:
        """What it may do."""
        return self.account.role


# --------------------------------------------------------------------------- the home


class Place:
    """A home with two people of every role, ended sessions, links of every kind, leases, answers and downloads of each."""

    def __init__(self, folder: Path, database_url: str | None = None, port: int = 8501, **more: Any) -> None:
        self.settings = Settings(home=folder, port=port, database_url=database_url, lease_minutes=600, **more)
        self.host = f"127.0.0.1:{port}".encode()
        store = Store(self.settings.records_url)
        migrate(store)
        with store.writing() as session:
            people = [person(session, f"{role}-{number}", role) for role in ROLES for number in (1, 2)]
            prompts = [NewPrompt([{"role": "user", "content": f"Visitor {n} said"}], lang=("en", "und")[n % 2]) for n in range(150)]
            made = [NewGeneration(one, " it was late.", "end", "imported", "import:x") for one in add_prompts(session, prompts).ids]
            make_items(session, add_generations(session, made), purpose="loop", reviews_per_item=4, seed=0)
        store.close()
        self.installation: Installation = open_installation(self.settings)
        #: Of programs that send logged answers; the last was withdrawn.
        self.output_keys = self._output_keys()
        self.people = [self._signed_in(account) for account in people]
        self.ended = [self._cookie(account, ended=True) for account in people]
        self.ended += [self._cookie(account, for_=timedelta(seconds=-1)) for account in people]
        self.codes: list[str] = []
        self.dead_codes: list[str] = []
        self.renew()
        self.forms = [(cookie, keyed_hash(self.key, f"flagback form {cookie}")) for cookie in ("a" * 24, "b" * 24, "é")]
        self.leases: dict[str, list[str]] = {}
        self.answered: dict[str, list[str]] = {}
        self.tickets = [self._ticket(one) for one in self.people if one.role in ("maintainer", "administrator")]
        for one in self.reviewers:
            self.hold(one)
        self._engine = create_engine(self.settings.records_url, isolation_level="AUTOCOMMIT")
        self._watching = self._engine.connect()
        self.rows = self.look()

    def close(self) -> None:
        """Lets go of the database."""
        self._watching.close()
        self._engine.dispose()
        self.installation.store.close()

    @property
    def key(self) -> bytes:
        """The pseudonym key."""
        return self.installation.pseudonym_key

    @property
    def reviewers(self) -> list[Someone]:
        """Who may claim."""
        return [one for one in self.people if one.role in REVIEWING_ROLES]

    def _output_keys(self) -> list[str]:
        with self.installation.store.writing() as session:
            made = [output_keys.make(session, name, by="test", now=now()) for name in ("one", "two", "gone")]
            output_keys.withdraw(session, "gone", by="test", now=now())
        return made

    def _cookie(self, account: Account, *, for_: timedelta = timedelta(hours=5), ended: bool = False) -> str:
        with self.installation.store.writing() as session:
            cookie = accounts.open_session(session, account.id, now=now(), for_=for_)
            if ended:
                accounts.end_session(session, cookie, now=now())
        return cookie

    def _signed_in(self, account: Account) -> Someone:
        names = frozenset({pseudonym(self.key, account.id), pseudonym(self.key, account.id, "work")})
        return Someone(account, self._cookie(account), auth.page_token(self.installation, account), names)

    def _ticket(self, one: Someone) -> str:
        folder = self.settings.home / "export"
        folder.mkdir(exist_ok=True)
        (folder / "reviews.jsonl").write_text("{}\n", encoding="utf-8")
        return downloads.prepare(self.installation, one.account, folder, "reviews")

    def hold(self, one: Someone) -> None:
        """Gives a reviewer leases, and one answer."""
        name = pseudonym(self.key, one.account.id)
        with self.installation.store.reading() as session:
            self.leases[name] = [held.claim.lease_id for held in claims.held(session, name, now=now())]
        if len(self.leases[name]) > 2:
            return
        held = slots.claim(
            self.installation.store, name, count=4, now=now(), lease_for=timedelta(hours=9), seed=one.account.id, languages=["en"]
        )
        self.leases[name] = [claim.lease_id for claim in held]
        if held:
            given = Answer.model_validate(plain_answer(held[0].lease_id))
            reviews.submit(self.installation.store, name, given, now=now(), policy_version="1")
            self.answered.setdefault(name, []).append(given.token)

    def renew(self) -> None:
        """Live links of every kind, ended ones, and a live session for everyone; what lives is left as it is."""
        moment = now()
        with self.installation.store.writing() as session:
            pool = session.exec(select(Pool)).first() or invitations.make_pool(
                session, "crowd", "anonymous", answers_wanted=3, completion_code="C0MPL3T10N-C0D3", now=moment
            )
            made: list[Callable[[], str]] = [
                lambda: invitations.invite(session, "reviewer", by="test", now=moment, uses=5),
                lambda: invitations.invite(session, "administrator", by="test", now=moment),
                lambda: invitations.invite(session, "reviewer", by="test", now=moment, pool=pool, uses=50),
                lambda: invitations.reset(session, self.people[1].account, by="test", now=moment),
            ]
            for place, make in enumerate(made):
                if place == len(self.codes):
                    self.codes.append(make())
                try:
                    invitations.look(session, self.codes[place], now=moment)
                except invitations.UnknownInvitation:
                    self.dead_codes.append(self.codes[place])
                    self.codes[place] = make()
            if not self.dead_codes:
                self.dead_codes.append(invitations.invite(session, "lead", by="test", now=moment, for_=timedelta(seconds=-1)))
            live = {one.account.id for one in self.people if accounts.signed_in(session, one.cookie, now=moment)}
        self.ended += [one.cookie for one in self.people if one.account.id not in live]
        self.people = [one if one.account.id in live else one._replace(cookie=self._cookie(one.account)) for one in self.people]

    def secrets(self) -> dict[str, str]:
        """What must stand in no answer, with what it is; what a request itself sent may come back, but for cookies."""
        found = {one.cookie: "cookie" for one in self.people} | dict.fromkeys(self.ended, "cookie")
        found |= dict.fromkeys([*self.codes, *self.dead_codes], "link") | dict.fromkeys(self.tickets, "ticket")
        found |= {one.page_token: "page token" for one in self.people}
        found |= {self.key.hex(): "key", self.settings.cookie_key().hex(): "key", "$argon2id$": "password hash"}
        found["C0MPL3T10N-C0D3"] = "completion code"
        found |= dict.fromkeys(self.output_keys, "program's key")
        return found | {PASSWORD: "password"}  # pragma: allowlist secret - what is looked for in answers

    # ------------------------------------------------------------------ the records

    def _version(self) -> object:
        """Something that differs whenever another connection has written."""
        if self.installation.store.is_sqlite:
            return self._watching.exec_driver_sql("PRAGMA data_version").scalar_one()
        return self._watching.exec_driver_sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").scalar_one()

    def look(self) -> Rows:
        """Every row of every table, by table and primary key, as the database gives it."""
        self._seen = self._version()
        found: Rows = {}
        with self.installation.store.engine.execution_options(flagback_read_only=True).connect() as connection:
            for name, table in Record.metadata.tables.items():
                if name in NOT_COUNTED:
                    continue
                columns = [column.name for column in table.columns if column.name not in NOT_COMPARED.get(name, ())]
                key = [columns.index(column.name) for column in table.primary_key]
                rows = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {name}")  # nosec B608 # names of our own tables
                found[name] = {repr([row[place] for place in key]): tuple(row) for row in rows}
            connection.rollback()
        return found

    def changes(self) -> list[Change]:
        """What differs since the last look."""
        if self._version() == self._seen:
            return []
        before, self.rows = self.rows, self.look()
        return [
            Change(table, _row(table, before[table].get(key)), _row(table, after.get(key)))
            for table, after in self.rows.items()
            if after != before[table]
            for key in sorted({*before[table], *after})
            if before[table].get(key) != after.get(key)
        ]


def _row(table: str, values: tuple[Any, ...] | None) -> dict[str, Any] | None:
    names = [column.name for column in Record.metadata.tables[table].columns if column.name not in NOT_COMPARED.get(table, ())]
    return None if values is None else dict(zip(names, values, strict=True))


def plain_answer(lease: str, **said: Any) -> dict[str, Any]:
    """The body of an answer that breaks no rule."""
    made = {"lease_id": lease, "verdict": "fine", "taxonomy_version": "1", "guideline_version": "1"}
    return {"token": str(uuid.uuid4())} | made | said


# -------------------------------------------------------------------------- the judge


def entitled(place: Place, shot: Shot) -> dict[str, set[str]]:
    """What a request might rightly change: each way ("claim", "join", ...) with the logins it might act as."""
    if shot.method != "POST" or not _ours(shot):
        return {}
    sent = shot.all()
    cookies = b"; ".join(shot.header(b"cookie"))
    signed_in = [one for one in place.people if one.cookie.encode() in cookies]
    with_token = {one.account.login for one in signed_in if one.page_token.encode() in sent}
    reviewing = {one.account.login for one in signed_in if one.role in REVIEWING_ROLES} & with_token
    form = any(as_cookie(cookie) in cookies and token.encode() in sent for cookie, token in place.forms)
    path = shot.path
    found: dict[str, set[str]] = {}
    if path == "/api/v1/outputs":
        shown = b"\n".join(shot.header(b"authorization"))
        found[path] = {name for name, key in zip(("one", "two"), place.output_keys, strict=False) if key.encode() in shown}
    elif path in ("/api/v1/claim", "/api/v1/answers", "/api/v1/release", *PRACTICE):
        found[path] = reviewing
    elif path in ("/signout", "/signin/oidc/connect"):
        found[path] = with_token
    elif path == "/signin" and form:
        typed = unquote_to_bytes(b"".join(shot.body).replace(b"+", b" "))
        found[path] = {
            one.account.login for one in place.people if PASSWORD.encode() in typed and one.account.login.encode() in typed
        }
    elif path.startswith("/join/") and path[6:] in place.codes and form:
        found["/join"] = {path[6:]}
    return {way: who for way, who in found.items() if who}


def as_cookie(value: str) -> bytes:
    """As a browser writes it into its header."""
    return value.encode("latin-1")


def _ours(shot: Shot) -> bool:
    """Whether the request says, somewhere, that it comes from our pages, or nothing that a browser would say."""
    hosts = shot.header(b"host")
    if not any(re.fullmatch(rb"(127\.[0-9.]+|localhost|\[::1\])(:[0-9]+)?", host, re.IGNORECASE) for host in hosts):
        return False

    def names_us(value: bytes) -> bool:
        return any(value.partition(b"://")[2].partition(b"/")[0] == host for host in hosts)

    if origins := shot.header(b"origin"):
        return any(names_us(origin) for origin in origins)
    if sites := shot.header(b"sec-fetch-site"):
        return any(site in (b"same-origin", b"none") for site in sites)
    referers = shot.header(b"referer")
    return not referers or any(names_us(referer) for referer in referers)


#: One's own way through the practice.
PRACTICE = ("/api/v1/practice", "/api/v1/practice/begin", "/api/v1/practice/leave")
#: Tables that each way may touch.
TOUCHES = {
    **{way: {"practice_round", "practice_answer"} for way in PRACTICE},
    "/api/v1/outputs": {"prompt", "generation", "item", "item_generation", "slot", "output_batch", "audit_entry"},
    "/api/v1/claim": {"slot", "lease", "item", "item_generation", "second_look"},
    "/api/v1/release": {"slot", "lease"},
    "/api/v1/answers": {"slot", "lease", "review", "work_log"},
    "/signout": {"session", "slot", "lease"},
    "/signin/oidc/connect": {"session"},
    "/signin": {"session"},
    "/join": {"session", "account", "invitation", "audit_entry"},
}


def judge(place: Place, shot: Shot, reply: Reply, changes: Sequence[Change]) -> None:
    """Raises Fault for an answer that fails or tells, and for a change beyond the request's rights."""
    if reply.status >= 500:
        raise Fault(f"{reply.status} {reply.body[:300]!r} to {shot}")
    judge_words(place, shot, reply)
    if not changes:
        return
    rights = entitled(place, shot)
    if not rights:
        raise Fault(f"changed without any right ({reply.status}): {changes[:3]} by {shot}")
    ((way, who),) = rights.items()
    mine = [one for one in place.people if one.account.login in who]
    names = {name for one in mine for name in one.names}
    sent = b"; ".join(shot.header(b"cookie"))
    for change in changes:
        row = change.after or change.before or {}
        wrong = f"{way} as {sorted(who)} changed {change} by {shot}"
        if change.table not in TOUCHES[way] or (change.after is None):
            raise Fault(wrong)
        if way == "/api/v1/outputs" and change.table in ("prompt", "item", "slot", "item_generation") and change.before is not None:
            raise Fault(f"changed what was there: {wrong}")
        if change.table in ("slot", "lease", "review", "practice_round", "second_look"):
            for side in (change.before, change.after):
                if side is not None and side["reviewer"] is not None and side["reviewer"] not in names:
                    raise Fault(f"another's row: {wrong}")
        elif change.table in ("output_batch", "generation") and not _brought(who, change):
            raise Fault(f"another's batch: {wrong}")
        elif change.table == "work_log" and row["person"] not in names:
            raise Fault(f"another's hours: {wrong}")
        elif change.table == "session" and not _session_change(place, way, who, sent, change):
            raise Fault(f"another's session: {wrong}")
        elif change.table in ("account", "invitation") and not _link_change(place, who, change):
            raise Fault(f"another's link or account: {wrong}")


def _brought(who: set[str], change: Change) -> bool:
    """Whether a batch, or an answer, is one that a program with one of these keys may bring or add to."""
    row = change.after or {}
    if change.table == "generation":
        return change.before is None and row["source"] == "logged" and row["origin"].startswith("live:")
    grown = change.before is None or {**change.before, "n_answers": row["n_answers"], "n_drawn": row["n_drawn"]} == row
    return grown and row["brought_by"] in {f"key {name}" for name in who}


def _session_change(place: Place, way: str, who: set[str], cookies: bytes, change: Change) -> bool:
    owner = {one.account.id: one for one in place.people}
    row = change.after or {}
    named = {accounts._cookie_hash(one.cookie) for one in place.people if one.cookie.encode() in cookies}
    if change.before is not None:  # only ended, only the browser's own, unless a password was set anew
        kept = {**change.before, "ended_at": row["ended_at"], "connecting_until": row["connecting_until"]} == row
        resets = way == "/join" and row["account_id"] == place.people[1].account.id
        return kept and (row["token_hash"] in named or resets)
    if way == "/signin":
        return row["account_id"] in owner and owner[row["account_id"]].account.login in who
    return way == "/join" and (row["account_id"] not in owner or row["account_id"] == place.people[1].account.id)


def _link_change(place: Place, who: set[str], change: Change) -> bool:
    (code,) = who
    row = change.after or {}
    if change.table == "invitation":
        # A reset link that was used is ended as well: a new password ends every link of its account.
        own = ("uses_left", "ended_at") if row["purpose"] == "reset" else ("uses_left",)
        same = change.before is not None and change.before | {name: row[name] for name in own} == row
        return same and row["code_hash"] == invitations._hash(code)
    if change.before is None:
        return code != place.codes[3] and row["role"] == ("administrator" if code == place.codes[1] else "reviewer")
    return code == place.codes[3] and {**change.before, "password_hash": row["password_hash"]} == row


def judge_words(place: Place, shot: Shot, reply: Reply) -> None:
    """Raises Fault for an answer that holds a secret, a trace, or a header that another could be smuggled in by."""
    said, sent = reply.all(), shot.all()
    for secret, what in place.secrets().items():
        if secret.encode() not in said:
            continue
        own_token = what == "page token" and any(
            one.page_token == secret and one.cookie.encode() in sent for one in place.people if one.page_token == secret
        )
        returned = what in ("link", "ticket", "password", "page token") and secret.encode() in sent
        own_code = what == "completion code" and shot.path == "/api/v1/claim"
        if not (own_token or returned or own_code):
            raise Fault(f"a {what} stands in the answer {reply.status} to {shot}")
    for trace in (b"Traceback", b"site-packages", b"sqlalchemy", b"psycopg", b'.py", line', b"sqlite3"):
        if trace in said and trace not in sent:
            raise Fault(f"{trace!r} stands in the answer {reply.status} to {shot}: {said[:500]!r}")
    for name, value in reply.headers:
        if re.search(rb"[\r\n\0]", name + value):
            raise Fault(f"a header holds a line end: {name!r} {value[:200]!r} to {shot}")
    if shot.path.startswith("/api/") and reply.status >= 400 and reply.body not in (b"", b"Invalid HTTP request received."):
        error = json.loads(reply.body)["error"]
        if set(error) != {"code", "message"}:
            raise Fault(f"an error of another shape: {reply.body[:300]!r} to {shot}")
