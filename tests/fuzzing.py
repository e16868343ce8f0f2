"""Random requests: one hostile request after another from a seed, half of them nearly right, and a way to send them in process.

Knows what browsers, programs and attackers send; what a request may change is tests/rights.py's business.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote, urlencode

from starlette.types import ASGIApp, Message

from flagback.review_app import auth
from flagback.review_app.access import RULES
from flagback.review_app.plain_pages import form_cookie_name
from flagback.storage import accounts
from flagback.storage.pseudonyms import pseudonym
from tests.people import PASSWORD
from tests.rights import Fault, Place, Reply, Shot, Someone, as_cookie, judge, plain_answer

# ------------------------------------------------------------------------ the requests

LONG = 70_000
HOSTILE = (
    "", " ", "\0", "a\0b", "../../etc/passwd", "..%2f..%2f", "%00", "%", "%zz", "%c0%ae", "%ed%a0%80", "%ff", "\u202eabc", "\u2028",
    "é", "日本語", "🙂" * 40, "ａｄｍｉｎ", "١٢٣", "²", "İ", "ß", "<script>alert(1)</script>", "'; DROP TABLE review; --", '"',
    "\\", "{}", "{0}", "{token}", "%s%n", "${jndi:ldap://x}", "null", "true", "-1", "1e400", "NaN", "0x10", "9" * 400, "a" * 3_000,
    "//evil.example", "/\\evil.example", "javascript:alert(1)", "https://evil.example", "\r\nSet-Cookie: a=b",
    "\t/evil.example", "/review?x=→", "/→",
)  # fmt: skip
UNLISTED = (
    "/admin", "/.env", "/docs", "/api/v1/docs", "/api/v1/", "/api/v1", "/api/v2/claim", "/_stcore/metrics",
    "/_stcore/agent/mcp", "/auth/logout", "/component/x/y", "//evil.example/", "/review/", "/review/_stcore/stream", "/signin/",
    "/join/", "/join/a/b", "/look/../settings.py", "/downloads/", "*", "http://evil.example/", "/static/", "/media/",
    "/API/v1/claim", "/api/v1//claim", "/./api/v1/claim", "/x/../api/v1/claim", "/api/v1/claim/", "/api/v1/claim;x=1",
    "/api/v1/claim%00", "/API%2fv1%2fclaim", "/%2e%2e/",
)  # fmt: skip
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "post",
    "Get",
    "X" * 40,
    "M-SEARCH",
)
ORIGINS = (
    b"https://evil.example", b"null", b"", b"http://", b"http://[", b"http://[::1", b"//", b"http://127.0.0.1",
    b"http://127.0.0.1:1", b"http://\xe2\x84\x80", b"http://127.0.0.1:8501.evil.example", b"http://evil.example/127.0.0.1:8501",
    b"http://a@127.0.0.1:8501", "http://１２７.0.0.1".encode(), b"http://]", b"http://127.0.0.1:99999",
    b"http://evil.example#127.0.0.1:8501", b"x" * 9_000,
)  # fmt: skip
HOSTS = (
    b"", b"evil.example", b"127.0.0.1.evil.example", b"evil.example:8501", b"[", b"[::1", b"[::1]:x", b"]", b"127.0.0.1:x",
    b"127.0.0.1:-1", b"127.0.0.1:99999999", b"127.0.0.1/x?y", b"127.0.0.1#", b"a@127.0.0.1", b"127.0.0.1@evil.example",
    b"\xe2\x84\x80", b"0x7f.1", b"localhost.", b"LOCALHOST", b"127.0.0.1 ", b"[::ffff:127.0.0.1]", "１２７.0.0.1".encode(), b"%31",
    b"127.0.0.1\x80", b"h" * 5_000,
)  # fmt: skip
CONTENT_TYPES = (
    b"application/json", b"application/json; charset=utf-16", b"text/plain", b"", b"application/x-www-form-urlencoded",
    b"multipart/form-data", b"multipart/form-data; boundary=x", b"application/xml", b"application/problem+json", b"\xff\xfe",
    b"application/json;" * 50, b"/", b";", b"application/x-www-form-urlencoded; charset=utf-7", b"APPLICATION/JSON",
)  # fmt: skip
NOISE: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"accept", (b"text/html", b"*/*", b"", b"text/html" * 500, b"\xff")),
    (b"accept-encoding", (b"gzip", b"gzip;q=x", b"identity;q=0, *;q=0", b"br" * 2_000)),
    (b"accept-language", (b"en", b"\xff" * 20)),
    (
        b"range",
        (b"bytes=0-1", b"bytes=-1", b"bytes=5-1", b"bytes=0-,1-,2-", b"bytes=" + b"0-," * 2_000, b"lines=1-2", b"bytes=x-y",
         b"bytes=-" + b"9" * 5_000, b"\xb2"),
    ),
    (b"if-range", (b"x", b"Wed, 21 Oct 2015 07:28:00 GMT")),
    (b"if-modified-since", (b"yesterday", b"Wed, 21 Oct 99999 07:28:00 GMT", b"Wed, 21 Oct 2035 07:28:00 GMT", b"\xff")),
    (b"if-none-match", (b"*", b'W/"', b'"' * 900)),
    (b"content-length", (b"0", b"-1", b"+1", b"1e3", b"99999999999999999999", b"9" * 5_000, b"\xb2", b" 5", b"5, 5", b"\xd9\xa1")),
    (b"transfer-encoding", (b"chunked", b"gzip, chunked", b"identity", b"x")),
    (b"x-forwarded-for", (b"1.2.3.4", b"unknown", b"::1, 127.0.0.1", b"1.2.3.4:x", b"\xff", b"," * 900, b"[::1]:80")),
    (b"x-forwarded-proto", (b"https", b"gopher", b"https,http", b"\xff")), (b"x-forwarded-host", (b"evil.example",)),
    (b"x-forwarded-user", (b"administrator-1",)), (b"remote-user", (b"administrator-1",)),
    (b"authorization", (b"Basic YWRtaW46YWRtaW4=", b"Bearer x", b"Basic " + b"A" * 9_000)),
    (b"forwarded", (b"for=127.0.0.1;host=evil.example;proto=https",)), (b"x-http-method-override", (b"POST", b"DELETE")),
    (b"sec-fetch-mode", (b"navigate", b"websocket")), (b"sec-websocket-key", (b"x", b"dGhlIHNhbXBsZSBub25jZQ==")),
    (b"sec-websocket-version", (b"13", b"0", b"x")), (b"sec-websocket-protocol", (b"streamlit, a, b", b"," * 300)),
    (b"upgrade", (b"h2c", b"TLS/1.0")), (b"expect", (b"200-ok", b"100-continue")),
    (b"user-agent", (b"", b"Firefox/ Windows", b"\xff" * 300, b"a" * 9_000)), (b"cookie2", (b"$Version=1",)),
    (b"x-" + b"y" * 900, (b"z" * 900,)), (b"traceparent", (b"00-00000000000000000000000000000000-0000000000000000-00",)),
)  # fmt: skip


class Fuzzer:
    """Makes requests from a seed: half of them nearly right, half of them anything."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.random = Random(seed)

    def shots(self, count: int) -> Iterator[Shot]:
        """`count` of them."""
        for _ in range(count):
            yield self._nearly_right() if self.random.random() < 0.5 else self._anything()

    def _nearly_right(self) -> Shot:
        """What one of our own pages might send, with nothing, one thing or a few things wrong."""
        shot = self.right()
        changes = (
            self._path,
            self._query,
            self._method,
            self._host,
            self._from,
            self._cookies,
            self._tokens,
            self._noise,
            self._body,
            self._key,
        )
        for change in self.random.choices(changes, k=self.random.choice((0, 1, 1, 1, 2, 2, 4))):
            change(shot)
        return shot

    def right(self) -> Shot:
        """A request that is answered as it should be."""
        pick, place = self.random, self.place
        posts = [rule for rule in RULES if "POST" in rule.methods]
        rule = pick.choice([*(rule for rule in RULES if "WS" not in rule.methods), *posts * 4, *posts[-3:] * 5])
        method = "POST" if "POST" in rule.methods and pick.random() < 0.8 else pick.choice(sorted(rule.methods))
        one = pick.choice([one for one in place.people if not rule.roles or one.role in rule.roles])
        target = rule.path.replace("{code}", pick.choice([*place.codes, *place.codes, *place.dead_codes[-4:]]))
        target = (
            target.replace("{ticket}", pick.choice(place.tickets)).replace("{name}", "page.css").replace("{session}/{file}", "s/f")
        )
        shot = Shot(method, target.replace("{rest:path}", "media/x.woff2").encode(), [(b"host", place.host)])
        shot.client = (f"10.1.{pick.randrange(250)}.{pick.randrange(250)}", 40_000)
        if method not in ("GET", "HEAD"):
            shot.headers.append((b"origin", b"http://" + place.host))
        form_cookie, form_token = pick.choice(place.forms)
        cookies = [as_cookie(f"{form_cookie_name(place.installation)}={form_cookie}")]
        if rule.by_key:
            shot.headers.append((b"authorization", b"Bearer " + pick.choice(place.output_keys[:2]).encode()))
        if rule.roles or pick.random() < 0.3:
            cookies.append(f"{auth.cookie_name(place.installation)}={one.cookie}".encode())
        shot.headers.append((b"cookie", b"; ".join(cookies)))
        if rule.kind == "api":
            shot.headers.append((b"x-flagback-token", one.page_token.encode()))
            if method == "POST":
                shot.headers.append((b"content-type", b"application/json"))
                shot.body = [json.dumps(self._api_body(rule.path, one)).encode()]
        elif method == "POST":
            session_form = rule.path in ("/signout", "/signin/oidc/connect")
            fields = {"token": one.page_token if session_form else form_token}
            if rule.path == "/signin":
                right = pick.random() < 0.3
                fields |= {
                    "login": one.account.login if right else f"x{pick.random()}",
                    "password": PASSWORD if right else "wrong pass",
                }
            elif rule.path.startswith("/join"):
                fields |= {
                    "login": f"new-{pick.randrange(10**9)}",
                    "password": "another password",  # pragma: allowlist secret - of an account that is never signed in to again
                    "external_id": pick.choice(HOSTILE),
                }
            shot.headers.append((b"content-type", b"application/x-www-form-urlencoded"))
            shot.body = [urlencode(fields).encode()]
        if rule.path in ("/signin", "/signin/oidc") and method == "GET":
            shot.target += b"?next=" + quote(pick.choice(HOSTILE), safe="/").encode()
        if rule.path == "/api/v1/today" and pick.random() < 0.6:
            shot.target += b"?since=" + quote(pick.choice(MOMENTS)).encode()
        return shot

    def _api_body(self, path: str, one: Someone) -> Any:
        pick, place = self.random, self.place
        if path.endswith("claim"):
            return {"count": pick.choice((1, 2, 8, 40))} if pick.random() < 0.9 else {}
        if path.endswith("outputs"):
            return self._outputs_body()
        if not path.endswith("answers"):
            return {}
        name = pseudonym(place.key, one.account.id)
        anyones = [lease for leases in place.leases.values() for lease in leases]
        mine = place.leases.get(name) or anyones
        said = plain_answer(pick.choice(mine if pick.random() < 0.7 else anyones))
        if pick.random() < 0.5:
            said |= {"verdict": "flag", "categories": ["stereotype"], "severity": "clear", "note": "n", "rewrite": " No."}
            said |= {"spans": [{"start": 1, "end": 3, "category": "stereotype"}], "seconds_open": pick.choice((1.5, 1e308, 0))}
        elif pick.random() < 0.3:
            said |= {"verdict": "skip", "skip_reason": "unclear"}
        if pick.random() < 0.3:
            tokens = [token for tokens in place.answered.values() for token in tokens]
            said |= {pick.choice(("token", "supersedes_token")): pick.choice(tokens)}
        return said

    def _outputs_body(self) -> Any:
        """Logged answers, some of them sent before."""
        pick = self.random
        rows: list[dict[str, Any]] = [
            {"prompt": f"Asked {pick.randrange(40)}", "answer": f" Said {pick.randrange(3)}"} for _ in range(pick.choice((0, 1, 3)))
        ]
        for row in rows:
            row |= {"written_at": pick.choice(MOMENTS)} if pick.random() < 0.2 else {}
            row |= {"version": pick.choice(VALUES)} if pick.random() < 0.1 else {}
            row |= {"tags": pick.choice(VALUES), "topic": pick.choice(HOSTILE)} if pick.random() < 0.1 else {}
            row |= {"consent": pick.choice((True, True, False, "yes", None))} if pick.random() < 0.2 else {}
        consent = "Users agreed that answers are read by reviewers." if pick.random() < 0.95 else pick.choice(HOSTILE)
        batch = pick.choice(("day-1", "day-2", f"day-{pick.randrange(10**6)}"))
        return {"batch": batch, "consent": consent, "review_share": pick.choice((0.5, 0.5, 0, 1)), "outputs": rows}

    def _anything(self) -> Shot:
        """Any address, method, headers and body."""
        pick, place = self.random, self.place
        rule = pick.choice(RULES)
        path = rule.path if pick.random() < 0.75 else pick.choice(UNLISTED)
        target = re.sub(r"\{[^}]+\}", lambda _: quote(pick.choice([*HOSTILE, *place.codes, *place.tickets]), safe="/%"), path)
        shot = Shot(pick.choice(METHODS), target.encode(), [(b"host", place.host)])
        shot.client = pick.choice((("127.0.0.1", 1), ("::1", 1), ("unknown", 0), (f"10.2.0.{pick.randrange(250)}", 9)))
        changes = [self._path, self._query, self._method, self._host, self._from, self._noise]
        for change in pick.choices(changes, k=pick.randrange(4)):
            change(shot)
        for change in (self._cookies, self._tokens, self._body, self._noise, self._key):
            if pick.random() < 0.7:
                change(shot)
        return shot

    # ----------------------------------------------------------- what can be wrong

    def _path(self, shot: Shot) -> None:
        pick = self.random
        path, mark, query = shot.target.partition(b"?")
        place = pick.randrange(len(path) + 1)
        hostile = quote(pick.choice(HOSTILE), safe="/%.\\;").encode()
        path = pick.choice(
            (
                path[:place] + hostile + path[place:],
                path + b"/" + hostile,
                path.replace(b"/", b"//", 1),
                path.replace(b"/", b"/./", 1),
                path.replace(b"/", b"%2f"),
                b"".join(b"%%%02x" % letter for letter in path),
                path + b"%00",
                path + b"/..%2f" * 40,
                path + b"a" * pick.choice((1, 1_990, 3_000)),
                path.upper(),
                path[:place],
                path + b"%ff%fe",
                path + quote_from_bytes(pick.randbytes(pick.randrange(20))).encode(),
            )
        )
        shot.target = (path if path[:1] in (b"/", b"*", b"h") else b"/" + path) + mark + query

    def _query(self, shot: Shot) -> None:
        pick = self.random
        name = pick.choice(
            (
                "next",
                "since",
                "failed",
                "error",
                "signed_out",
                "here",
                "external_id",
                "PROLIFIC_PID",
                "code",
                "state",
                "provider",
                "x",
            )
        )
        value = quote(pick.choice([*HOSTILE, *MOMENTS]), safe="/%").encode()
        more = pick.choice(
            (
                name.encode() + b"=" + value,
                name.encode() + b"=" + value + b"&here=1",
                name.encode(),
                b"&" * 900,
                b"a=b&" * 3_000,
                b"=" + value,
                name.encode() + b"=" + quote_from_bytes(pick.randbytes(9)).encode(),
                name.encode() + b"=\xff\xfe\xe2",
                name.encode() + b"[]=" + value + b";b=c",
                b"next=" + value * 3,
            )
        )
        shot.target += (b"&" if b"?" in shot.target else b"?") + more

    def _method(self, shot: Shot) -> None:
        shot.method = self.random.choice(METHODS)

    def _host(self, shot: Shot) -> None:
        pick = self.random
        hosts = [(b"host", value) for value in (pick.choice(HOSTS), *([self.place.host] if pick.random() < 0.2 else []))]
        shot.headers = [header for header in shot.headers if header[0] != b"host"] + pick.choice((hosts, hosts, hosts[:0]))

    def _from(self, shot: Shot) -> None:
        pick, ours = self.random, b"http://" + self.place.host
        shot.headers = [header for header in shot.headers if header[0] not in (b"origin", b"referer", b"sec-fetch-site")]
        for name, values in (
            (b"origin", (*ORIGINS, ours, b"https://" + self.place.host)),
            (b"referer", (*ORIGINS, ours + b"/review", ours)),
            (b"sec-fetch-site", (b"cross-site", b"same-site", b"same-origin", b"none", b"", b"\xff")),
        ):
            if pick.random() < 0.5:
                shot.headers.extend((name, value) for value in pick.choices(values, k=pick.choice((1, 1, 1, 2))))

    def _cookies(self, shot: Shot) -> None:
        pick, place = self.random, self.place
        name = auth.cookie_name(place.installation)
        one, other = pick.sample(place.people, 2)
        form_cookie, _ = pick.choice(place.forms)
        header = pick.choice(
            (
                f"{name}={one.cookie}",
                f"{name}={pick.choice(place.ended)}",
                f"{name}={one.cookie[:-1]}",
                f"{name}={one.cookie}a",
                f"{name}={one.cookie.swapcase()}",
                f"{name}={one.cookie}; {name}={other.cookie}",
                f"{name}={other.cookie}; {name}=x",
                f'{name}="{one.cookie}"',
                f"{name.upper()}={one.cookie}",
                f"{name} = {one.cookie} ;;;",
                f"{name}={accounts._cookie_hash(one.cookie)}",
                f"{name}=" + "a" * LONG,
                f"{name}='; DROP TABLE session; --",
                "; ".join(f"c{number}=v" for number in range(2_000)),
                f"{name}={one.cookie}; {form_cookie_name(place.installation)}={form_cookie}",
                f"{form_cookie_name(place.installation)}={form_cookie}",
                f"{name}=\xff\xfe; \x80=\x81",
                "=;=;===",
                f"_streamlit_user={one.cookie}; _streamlit_xsrf=2|x|y|z; _streamlit_session=x.y.z",
                f'_streamlit_user="{"x" * 5_000}"; _streamlit_user__1=x; flagback_onward_8501="\\303"; flagback_onward_8501=//x',
            )
        ).encode("latin-1")
        kept = [] if pick.random() < 0.8 else shot.header(b"cookie")
        shot.headers = [entry for entry in shot.headers if entry[0] != b"cookie"]
        shot.headers += [(b"cookie", value) for value in (*kept, header)]
        if pick.random() < 0.1:
            shot.headers = [entry for entry in shot.headers if entry[0] != b"cookie"]

    def _tokens(self, shot: Shot) -> None:
        """Another's token, a made-up one, or none; in the header and, where there is a form, in its field."""
        pick, place = self.random, self.place
        known = [one.page_token for one in place.people] + [token for _, token in place.forms]
        token = pick.choice(
            (pick.choice(known), pick.choice(known)[:-1], pick.choice(known).upper(), "", "\xff", "a" * 900)
        ).encode("latin-1")
        shot.headers = [header for header in shot.headers if header[0] != b"x-flagback-token"]
        if pick.random() < 0.8:
            shot.headers.append((b"x-flagback-token", token))
        whole = b"".join(shot.body)
        for one in known:
            whole = whole.replace(b"token=" + one.encode(), b"token=" + quote_from_bytes(token).encode())
        shot.body = [whole] if whole else []

    def _key(self, shot: Shot) -> None:
        """Another key, a withdrawn or a broken one, several, none, or a session in a key's place."""
        pick, place = self.random, self.place
        key = pick.choice(place.output_keys)
        one, hostile = pick.choice(place.people), pick.choice(HOSTILE)
        keys = (key, key, key[:-1], f"{key}a", key.swapcase(), place.output_keys[-1], "", "fbk_", "fbk_" + "a" * LONG, "fbk_\xff")
        values = [f"Bearer {shown}" for shown in (*keys, one.cookie, one.page_token, hostile)]
        values += [f"bearer   {key} ", f"Basic {key}", key, "Bearer"]
        kept = [header for header in shot.headers if header[0] != b"authorization"]
        shown = pick.choices(values, k=pick.choice((0, 1, 1, 1, 2)))
        shot.headers = kept + [(b"authorization", value.encode("latin-1", "replace")) for value in shown]

    def _noise(self, shot: Shot) -> None:
        for name, values in self.random.sample(NOISE, k=self.random.randrange(1, 4)):
            shot.headers.append((name, self.random.choice(values)))

    def _body(self, shot: Shot) -> None:
        """Another body, another type, other pieces, or none of these."""
        pick = self.random
        whole = b"".join(shot.body)
        if pick.random() < 0.75:
            whole = self._hostile_body(whole)
        if pick.random() < 0.4:
            shot.headers = [header for header in shot.headers if header[0] != b"content-type"]
            shot.headers.append((b"content-type", pick.choice(CONTENT_TYPES)))
        pieces = sorted(pick.choices(range(len(whole) + 1), k=pick.choice((0, 0, 1, 5))))
        shot.body = [whole[start:end] for start, end in zip([0, *pieces], [*pieces, len(whole)], strict=True)]
        shot.cut = pick.random() < 0.05

    def _hostile_body(self, whole: bytes) -> bytes:
        pick = self.random
        try:
            read = json.loads(whole)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict) and read and pick.random() < 0.7:
            for _ in range(pick.choice((1, 1, 2))):
                name = pick.choice([*sorted(read), "spans", "count", "seconds_open", pick.choice(HOSTILE)])
                read[name] = pick.choice(VALUES) if pick.random() < 0.6 else pick.choice(HOSTILE)
            written = json.dumps(read, ensure_ascii=pick.random() < 0.5)
            if pick.random() < 0.2:
                written = written[:-1] + f', "lease_id": "x", "lease_id": {json.dumps(pick.choice(HOSTILE))}, "\\ud800": 1}}'
            encoding = pick.choice(("utf-8",) * 6 + ("utf-16", "utf-32", "utf-8-sig", "utf-16-le", "latin-1"))
            return written.replace('"__RAW__"', pick.choice(RAW_VALUES)).encode(encoding, "replace")
        place = pick.randrange(len(whole) + 1)
        fields = urlencode(
            {"login": pick.choice(HOSTILE), "password": pick.choice(HOSTILE), "token": pick.choice(HOSTILE)}
        ).encode()
        return pick.choice(
            (
                b"",
                whole[:place],
                whole[:place] + pick.randbytes(5) + whole[place:],
                whole + whole,
                b"\xff\xfe" + whole,
                pick.randbytes(200),
                b"[" * 100_000,
                b'{"a":' * 50_000 + b"1",
                b'{"count": ' + b"9" * 5_000 + b"}",
                b'{"count": NaN}',
                b'{"count": -Infinity}',
                b'{"count": 1e999}',
                b"null",
                b"[]",
                b'"x"',
                b"1",
                b'{"count": 1, "count": "x"}',
                "{}".encode("utf-16"),
                b'{"\\ud800": "\\udfff"}',
                fields,
                fields + b"&" + whole,
                whole + b"&" + fields,
                b"a=b&" * 4_000,
                b"&".join(b"f%d=%d" % (n, n) for n in range(3_000)),
                b"token=%ff%fe&login=%00&password=%ed%a0%80",
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../x"\r\n\r\nabc\r\n--x--\r\n',
                b"--x\r\n" * 3_000,
                b"x" * (600 * 1024),
                b"\x1f\x8b\x08\x00" + pick.randbytes(60),
            )
        )


#: For ?since=.
MOMENTS = (
    "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59+14:00", "1e400", "-1", "253402300799", "-62135596800", "99999999999999",
    "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00.1234567890Z", "now", "NaN",
)  # fmt: skip
#: In place of a field of a JSON body; "__RAW__" becomes one of RAW_VALUES.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 41, 2**31, 2**63, 2**64, 10**300, 1.5, 1e308, -0.0, [], {}, [[]], [None], ["stereotype", "stereotype"],
    ["other"], [{"start": 0, "end": 10**30}], [{"start": -1, "end": 1}], [{"start": 0, "end": 1, "category": "\ud800"}],
    [{"start": 0, "end": 2}] * 101, "\ud800", "\udfff\ud800", "x" * 20_001, "x" * 2_001, "other", "flag", "skip",
    {"a": {"b": []}}, "__RAW__", "1" * 36, "{" + "a" * 36 + "}", "urn:uuid:00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-00000000000١", ["a"] * 5_000,
)  # fmt: skip
RAW_VALUES = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1" * 4_400,
    "[" * 3_000 + "]" * 3_000,
    "01",
    "0x1",
    "tru",
    "'x'",
    '"\\u12"',
)


# ------------------------------------------------------------------------- in process


async def _ask(app: ASGIApp, shot: Shot) -> Reply:
    path, _, query = shot.target.partition(b"?")
    waiting = [*shot.body] or [b""]
    started: list[Message] = []
    body = bytearray()

    async def receive() -> Message:
        if not waiting:
            return {"type": "http.disconnect"}
        piece = waiting.pop(0)
        if shot.cut and not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(waiting) or shot.cut}

    async def send(event: Message) -> None:
        if event["type"] == "http.response.start":
            started.append(event)
        elif event["type"] == "http.response.body":
            body.extend(event.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": shot.method,
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in shot.headers],
        "client": shot.client,
        "server": ("127.0.0.1", 8501),
        "state": {},
    }
    await asyncio.wait_for(app(scope, receive, send), 30)
    if not started:
        return Reply(0, [], b"")
    if len(started) > 1:
        raise Fault(f"answered {len(started)} times: {shot}")
    return Reply(started[0]["status"], list(started[0]["headers"]), bytes(body))


def asked(runner: asyncio.Runner, app: ASGIApp, shot: Shot) -> Reply:
    """What the application answers; an exception that gets through to the server is a fault."""
    try:
        return runner.run(_ask(app, shot))
    except Fault:
        raise
    except Exception as error:
        raise Fault(f"{error!r} got through to the server by {shot}") from error


def storm(place: Place, runner: asyncio.Runner, app: ASGIApp, shots: Iterable[Shot]) -> Mapping[str, int]:
    """Sends and judges each; returns how many were answered how ("POST /api/v1/claim 200"), and how many changed something."""
    found: dict[str, int] = {}
    for number, shot in enumerate(shots):
        reply = asked(runner, app, shot)
        changes = place.changes()
        judge(place, shot, reply, changes)
        way = re.sub(r"^(/[a-z]+(/v1/[a-z]+)?)?.*", r"\1", shot.path)
        for key in (f"{shot.method} {way} {reply.status}", *(["changed"] if changes else []), "all"):
            found[key] = found.get(key, 0) + 1
        if changes and shot.path.startswith(("/join", "/signin", "/signout")):
            place.renew()
        if number % 50 == 0:
            for one in place.reviewers:
                place.hold(one)
        place.changes()  # what the place itself did is nobody's
    return found
