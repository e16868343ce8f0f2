"""The OpenID provider of an installation: what its settings must say before anybody can sign in there.

Knows settings and files; knows no HTTP, no token and no person.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args
from urllib.parse import urlsplit

from flagback.review_app.home import is_loopback
from flagback.review_app.settings import Settings
from flagback.storage.records import Role


class BadSingleSignOn(Exception):
    """Settings of the public address or the single sign-on that cannot work."""


@dataclass(frozen=True)
class Provider:
    """An OpenID provider, as an installation is told of it."""

    #: What people call it.
    name: str
    metadata_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str
    #: The claim of the ID token that lists a person's groups.
    groups_claim: str
    #: Group to role.
    roles: Mapping[str, Role]
    #: Where people reach us, without a slash at the end.
    public_url: str


def configured(settings: Settings) -> Provider | None:
    """The provider of these settings, None where single sign-on is not set up. Raises BadSingleSignOn."""
    needed = {
        "FLAGBACK_OIDC_METADATA_URL": settings.oidc_metadata_url,
        "FLAGBACK_OIDC_CLIENT_ID": settings.oidc_client_id,
        "FLAGBACK_OIDC_CLIENT_SECRET_FILE": settings.oidc_client_secret_file,
        "FLAGBACK_OIDC_ROLES": settings.oidc_roles,
    }
    missing = [name for name, value in needed.items() if value is None]
    if len(missing) == len(needed):
        return None
    if missing:
        given = next(name for name in needed if name not in missing)
        raise BadSingleSignOn(
            f"Single sign-on is set up by half: {given} is set, {' and '.join(missing)} is not. Set it, or unset the others; "
            "docs/single-sign-on.md has the whole list."
        )
    return Provider(
        name=settings.oidc_name,
        metadata_url=secure_address("FLAGBACK_OIDC_METADATA_URL", str(settings.oidc_metadata_url)),
        client_id=str(settings.oidc_client_id),
        client_secret=_client_secret(settings),
        scope=settings.oidc_scope,
        groups_claim=settings.oidc_groups_claim,
        roles=_roles(str(settings.oidc_roles)),
        public_url=public_address(settings),
    )


def secure_address(variable: str, address: str) -> str:
    """The address, if what is sent there cannot be read or changed on the way."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return address
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return address
    raise BadSingleSignOn(
        f"{variable} is {address!r}; expected an address that begins with https:// (http:// for this machine only)."
    )


def _client_secret(settings: Settings) -> str:
    path = settings.oidc_client_secret_file
    assert path is not None  # nosec B101 # for the type checker: configured() has looked
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSingleSignOn(
            f"FLAGBACK_OIDC_CLIENT_SECRET_FILE is {path}, which cannot be read ({type(error).__name__}); name a text file that "
            "holds the client's secret and that Flagback may read."
        ) from error
    if not secret:
        raise BadSingleSignOn(f"FLAGBACK_OIDC_CLIENT_SECRET_FILE is {path}, which is empty; put the client's secret in it.")
    return secret


def _roles(text: str) -> dict[str, Role]:
    """Group to role, from JSON."""
    form = '{"flagback-reviewers": "reviewer", "flagback-leads": "lead"}'
    try:
        read = json.loads(text)
    except ValueError as error:
        raise BadSingleSignOn(f"FLAGBACK_OIDC_ROLES is not JSON ({error}); expected a form like {form}.") from error
    if not isinstance(read, dict):
        raise BadSingleSignOn(f"FLAGBACK_OIDC_ROLES is {text}; expected a form like {form}.")
    for group, role in read.items():
        if role not in get_args(Role):
            raise BadSingleSignOn(
                f"FLAGBACK_OIDC_ROLES gives the group {group!r} the role {role!r}; expected one of {', '.join(get_args(Role))}."
            )
    return read


def public_address(settings: Settings) -> str:
    """The address people use, scheme and host only. Raises BadSingleSignOn."""
    if settings.public_url is None:
        if settings.host in ("0.0.0.0", "::"):  # nosec B104 # compared with, not listened on
            raise BadSingleSignOn(
                f"Single sign-on needs the address that people use, and {settings.host} is none; set FLAGBACK_PUBLIC_URL, "
                "https://review.example.org for example."
            )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"http://{host}:{settings.port}"
    parts = urlsplit(settings.public_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadSingleSignOn(
            f"FLAGBACK_PUBLIC_URL is {settings.public_url!r}; expected scheme and host only, like https://review.example.org."
        )
    return f"{parts.scheme}://{parts.netloc}"
