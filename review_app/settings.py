"""Settings of an installation: the only reader of the environment, and the layout of the home folder.

Every other function is handed its values. Names are `FLAGBACK_` plus the field's name in capitals.
"""

import getpass
import os
import secrets
import tomllib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an installation is told from outside."""

    model_config = SettingsConfigDict(env_prefix="FLAGBACK_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(default=Path(".flagback"), description="The installation: records, key, artifacts and job ledger.")
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy address of the records, postgresql+psycopg://USER:PASSWORD@HOST/NAME; unset: SQLite in the home.",
    )
    host: str = Field(default="127.0.0.1", description="Where the web listens.")
    port: int = Field(default=8501, ge=1, le=65535, description="On which port.")
    public_url: str | None = Field(
        default=None, description="The address people use, https://review.example.org, where it is not the one the web listens on."
    )
    lease_minutes: int = Field(default=30, ge=1, le=24 * 60, description="How long a claimed item stays with its reviewer.")
    items_a_day: int = Field(default=40, ge=1, description="What a reviewer sees as today's aim; no countdown hangs on it.")
    oidc_metadata_url: str | None = Field(
        default=None, description="Single sign-on: the provider's .well-known/openid-configuration. See docs/single-sign-on.md."
    )
    oidc_client_id: str | None = Field(default=None, description="What the provider calls Flagback.")
    oidc_client_secret_file: Path | None = Field(default=None, description="File that holds the secret shared with the provider.")
    oidc_name: str = Field(default="single sign-on", description="What people call the provider: Sign in with NAME.")
    oidc_scope: str = Field(
        default="openid email profile", description="What is asked for; some providers want one more for groups."
    )
    oidc_groups_claim: str = Field(default="groups", description="The claim of the ID token that lists a person's groups.")
    oidc_roles: str | None = Field(default=None, description='Which group has which role, {"flagback-reviewers": "reviewer"}.')
    threads: int = Field(default=0, ge=0, description="torch threads of a worker; 0 leaves torch's own choice.")

    @property
    def records_url(self) -> str:
        """SQLAlchemy address of the records."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'flagback.db'}"

    @property
    def jobs_url(self) -> str:
        """Address of the job ledger: a file of its own on SQLite (so that jobs never hold up reviews), else the same database."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'jobs.db'}"

    @property
    def artifacts(self) -> Path:
        """Adapters and other files, addressed by sha256."""
        return self.home / "artifacts"

    @property
    def downloads(self) -> Path:
        """Exports prepared in the browser, until they are fetched or an hour has gone."""
        return self.home / "downloads"

    @property
    def served_address(self) -> str:
        """The address people use, as the web process that was started last said; before that, as the settings say."""
        try:
            said = (self.home / "address").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            said = ""
        return self.address if self.public_url or not said else said

    @property
    def address(self) -> str:
        """The address people use."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    def pseudonym_key(self) -> bytes:
        """The 32-byte key that turns account ids into pseudonyms."""
        return _key(
            self.home, "pseudonym", "bring the file back from a backup: without it reviews cannot be tied to their reviewers"
        )

    def cookie_key(self) -> bytes:
        """The 32-byte key that signs a browser's way to the single sign-on and back."""
        return _key(self.home, "cookie", "remove it and start again: a new one is made, and who is just signing in tries again")


def _key(home: Path, name: str, remedy: str) -> bytes:
    """A random 32-byte key in a file outside the database, made at first use, mode 0600. Raises BrokenKey."""
    path = home / f"{name}.key"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        made = home / f"{name}.{secrets.token_hex(4)}"
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # web and worker start at once: the first one's key is the key
            os.link(made, path)
        made.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise BrokenKey(f"{path} holds {len(key)} bytes where 32 were expected; {remedy}.")
    if len(set(key)) < 8:
        raise BrokenKey(
            f"{path} holds a key that anyone could guess (written by hand, or for a test); move it away and a random one is made "
            "at the next start. What stands under the old key then belongs to nobody any more."
        )
    return key


def login_name() -> str:
    """Who runs this process, as the machine knows them; "command line" where it does not."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "command line"


def environment_of_others() -> dict[str, str]:
    """This process's environment for a program that is not ours: without the FLAGBACK_ variables, in which passwords may stand."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("FLAGBACK_")}


class BrokenKey(Exception):
    """A key file is damaged."""


def streamlit_options() -> dict[str, Any]:
    """All options of the shipped config.toml, flattened to Streamlit's dotted names: {"server.headless": True, ...}."""
    shipped = tomllib.loads(files("flagback.theme").joinpath("config.toml").read_text(encoding="utf-8"))
    flat: dict[str, Any] = {}

    def walk(prefix: str, table: dict[str, Any]) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                walk(f"{prefix}{key}.", value)
            else:
                flat[f"{prefix}{key}"] = value

    walk("", shipped)
    return flat
