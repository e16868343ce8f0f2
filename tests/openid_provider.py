"""A real OpenID provider for tests: discovery, PKCE, single-use codes, RS256 and an end of session, over HTTP in a thread.

It holds to the protocol strictly, so that a client's mistake fails a test here, and lies on request, so that a client's check is
shown to hold. Knows nothing of Flagback.
"""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "flagback"
CLIENT_SECRET = "hunter2-the-client-secret"  # pragma: allowlist secret - of the test's own provider

#: What the provider gets wrong, on purpose.
Fault = Literal[
    "wrong nonce",
    "no nonce",
    "expired",
    "wrong audience",
    "another program's token that names us",
    "wrong issuer",
    "bad signature",
    "alg none",
    "alg none, announced",
    "signed with the public key",
    "no id token",
    "refused",
    "token endpoint broken",
]


@dataclass
class Someone:
    """Who sits at the browser, as the provider knows them."""

    sub: str
    groups: list[str] | str | None = None
    preferred_username: str | None = None
    email: str | None = None

    def claims(self) -> dict[str, Any]:
        """What stands in the token."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class _Login:
    """A login between the browser's visit and the client's."""

    someone: Someone
    redirect_uri: str
    nonce: str
    challenge: str


@dataclass
class OpenIDProvider:
    """The provider and its switches; change them between requests."""

    port: int
    someone: Someone = field(default_factory=lambda: Someone("nobody"))
    fault: Fault | None = None
    has_end_session: bool = True
    codes_count_once: bool = True
    #: Everything secret that was handed out or seen: none of it may stand in a log.
    secrets_seen: set[str] = field(default_factory=set)
    #: Parameters of every visit of the end of session.
    ended: list[dict[str, str]] = field(default_factory=list)
    redirect_uri: str = ""
    _key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    _stranger: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    _codes: dict[str, _Login] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def metadata_url(self) -> str:
        """Where clients begin."""
        return f"{self.issuer}/.well-known/openid-configuration"

    def app(self) -> Starlette:
        """All of it."""
        routes: list[tuple[str, Callable[[Request], Any], str]] = [
            ("/.well-known/openid-configuration", self._discovery, "GET"),
            ("/authorize", self._authorize, "GET"),
            ("/token", self._token, "POST"),
            ("/jwks", self._jwks, "GET"),
            ("/logout", self._end_session, "GET"),
        ]
        return Starlette(routes=[Route(path, endpoint, methods=[method]) for path, endpoint, method in routes])

    async def _discovery(self, _request: Request) -> Response:
        algorithms = ["RS256", "none"] if self.fault == "alg none, announced" else ["RS256"]
        metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        if self.fault == "signed with the public key":
            metadata["id_token_signing_alg_values_supported"] = ["RS256", "HS256"]
        if self.has_end_session:
            metadata["end_session_endpoint"] = f"{self.issuer}/logout"
        return JSONResponse(metadata)

    async def _authorize(self, request: Request) -> Response:
        """Approves at once whoever `someone` is."""
        asked = dict(request.query_params)
        wanted = {
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        wrong = [name for name, value in wanted.items() if asked.get(name) != value]
        wrong += [name for name in ("state", "nonce", "code_challenge") if not asked.get(name)]
        if wrong or "openid" not in asked.get("scope", "").split():
            return PlainTextResponse(f"not a request of this client: {wrong or 'scope'}", 400)
        self.secrets_seen |= {asked["state"], asked["nonce"]}
        if self.fault == "refused":
            back = {"error": "access_denied", "error_description": f"refused, state {asked['state']}", "state": asked["state"]}
            return RedirectResponse(f"{self.redirect_uri}?{urlencode(back)}", 302)
        code = secrets.token_urlsafe(24)
        self.secrets_seen.add(code)
        self._codes[code] = _Login(self.someone, asked["redirect_uri"], asked["nonce"], asked["code_challenge"])
        return RedirectResponse(f"{self.redirect_uri}?{urlencode({'code': code, 'state': asked['state']})}", 302)

    async def _token(self, request: Request) -> Response:
        """Exchanges a code, once."""
        expected = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if not secrets.compare_digest(request.headers.get("authorization", ""), expected):
            return JSONResponse({"error": "invalid_client"}, 401)
        async with request.form() as form:
            given = {name: str(value) for name, value in form.items()}
        if self.fault == "token endpoint broken":
            return PlainTextResponse(f"no: {given.get('code')}", 500)
        login = self._codes.get(given.get("code", ""))
        if login is not None and self.codes_count_once:
            del self._codes[given["code"]]
        verifier = given.get("code_verifier", "")
        self.secrets_seen.add(verifier)
        challenge = _base64(hashlib.sha256(verifier.encode()).digest())
        if (
            login is None
            or given.get("grant_type") != "authorization_code"
            or given.get("redirect_uri") != login.redirect_uri
            or challenge != login.challenge
        ):
            return JSONResponse({"error": "invalid_grant", "error_description": f"code {given.get('code')}"}, 400)
        access_token = secrets.token_urlsafe(24)
        answer = {"access_token": access_token, "token_type": "Bearer", "expires_in": 300}
        if self.fault != "no id token":
            answer["id_token"] = self._id_token(login)
        self.secrets_seen |= {access_token, str(answer.get("id_token", access_token))}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    def _id_token(self, login: _Login) -> str:
        moment = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": moment,
            "exp": moment + 300,
            "nonce": login.nonce,
            **login.someone.claims(),
        }
        match self.fault:
            case "wrong nonce":
                claims["nonce"] = "another"
            case "no nonce":
                del claims["nonce"]
            case "expired":
                claims |= {"iat": moment - 900, "exp": moment - 600}
            case "wrong audience":
                claims["aud"] = "another-program"
            case "another program's token that names us":
                claims |= {"aud": "another-program", "azp": CLIENT_ID}
            case "wrong issuer":
                claims["iss"] = "https://elsewhere.example"
            case "bad signature":
                return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._stranger)
            case "alg none" | "alg none, announced":
                return _by_hand({"alg": "none"}, claims, None)
            case "signed with the public key":
                return _by_hand({"alg": "HS256", "kid": "one"}, claims, self._key.as_pem(private=False))
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._key)

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _end_session(self, request: Request) -> Response:
        """Ends nothing, as nothing is kept; goes back where it was asked to, if that is the client's."""
        self.ended.append(dict(request.query_params))
        back = request.query_params.get("post_logout_redirect_uri", "")
        if request.query_params.get("client_id") != CLIENT_ID or back != self.redirect_uri.replace("/oauth2callback", "/signin"):
            return PlainTextResponse("not an address of this client", 400)
        return RedirectResponse(back, 302)


def _by_hand(header: dict[str, str], claims: dict[str, Any], key: bytes | None) -> str:
    """A token that no library makes: HMAC-SHA256 with `key`, or no signature at all."""
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{_base64(hmac.digest(key, signed.encode(), 'sha256')) if key else ''}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Running:
    """The provider's server in a thread: up, down and up again on the same port."""

    def __init__(self, provider: OpenIDProvider) -> None:
        self.provider = provider
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts it and waits until it listens."""
        config = uvicorn.Config(
            self.provider.app(), host="127.0.0.1", port=self.provider.port, log_level="critical", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < until, "the provider did not start within 20 s"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stops it; its port is closed afterwards."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(20)


@contextmanager
def openid_provider() -> Iterator[Running]:
    """A running provider on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    running = Running(OpenIDProvider(port))
    running.start()
    try:
        yield running
    finally:
        running.stop()
