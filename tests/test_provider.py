"""Claims about the settings of the single sign-on: what cannot work is an error at start that names the variable."""

from pathlib import Path

import pytest

from flagback.review_app.provider import BadSingleSignOn, configured
from flagback.review_app.settings import Settings

ROLES = '{"writers": "reviewer"}'
URL = "https://idp.example/.well-known/openid-configuration"


def settings(home: Path, **changed: object) -> Settings:
    """A whole configuration, with changes."""
    secret = home / "client.secret"
    secret.write_text("the secret\n", encoding="utf-8")
    whole: dict[str, object] = {
        "home": home,
        "oidc_metadata_url": URL,
        "oidc_client_id": "flagback",
        "oidc_client_secret_file": secret,
        "oidc_roles": ROLES,
        "public_url": "https://review.example.org/",
    }
    return Settings.model_validate(whole | changed)


def test_a_whole_configuration_is_taken_and_its_secret_is_not_shown(tmp_path: Path) -> None:
    provider = configured(settings(tmp_path))
    assert provider is not None
    assert provider.client_secret == "the secret"  # pragma: allowlist secret - of a made-up provider
    assert provider.public_url == "https://review.example.org"
    assert "the secret" not in repr(provider)
    assert "the secret" not in repr(settings(tmp_path))


def test_nothing_set_is_no_single_sign_on(tmp_path: Path) -> None:
    assert configured(Settings(home=tmp_path)) is None
    assert configured(Settings(home=tmp_path, public_url="https://review.example.org")) is None


@pytest.mark.parametrize("name", ["oidc_metadata_url", "oidc_client_id", "oidc_client_secret_file", "oidc_roles"])
def test_half_a_configuration_names_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSingleSignOn, match=rf"FLAGBACK_{name.upper()} is not"):
        configured(settings(tmp_path, **{name: None}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("oidc_roles", "writers", "FLAGBACK_OIDC_ROLES is not JSON"),
        ("oidc_roles", '["writers"]', "FLAGBACK_OIDC_ROLES is"),
        ("oidc_roles", '{"writers": "king"}', "'writers' the role 'king'; expected one of reviewer, lead"),
        ("oidc_roles", '{"writers": ["lead"]}', "expected one of"),
        ("oidc_metadata_url", "http://idp.example/x", "FLAGBACK_OIDC_METADATA_URL"),
        ("oidc_metadata_url", "idp.example", "FLAGBACK_OIDC_METADATA_URL"),
        ("oidc_client_secret_file", "nowhere", "FLAGBACK_OIDC_CLIENT_SECRET_FILE is nowhere, which cannot be read"),
        ("oidc_client_secret_file", "/dev/null", "which is empty"),
        ("public_url", "https://review.example.org/flagback", "FLAGBACK_PUBLIC_URL"),
        ("public_url", "review.example.org", "FLAGBACK_PUBLIC_URL"),
    ],
)
def test_a_value_that_cannot_work_names_its_variable(tmp_path: Path, name: str, value: str, words: str) -> None:
    with pytest.raises(BadSingleSignOn) as error:
        configured(settings(tmp_path, **{name: value}))
    assert words in str(error.value)
    assert "the secret" not in str(error.value)


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "http://127.0.0.1:8600"), ("::1", "http://[::1]:8600")])
def test_without_a_public_address_it_is_where_the_web_listens(tmp_path: Path, host: str, address: str) -> None:
    provider = configured(settings(tmp_path, public_url=None, host=host, port=8600))
    assert provider is not None
    assert provider.public_url == address


def test_listening_everywhere_is_no_address_that_people_use(tmp_path: Path) -> None:
    with pytest.raises(BadSingleSignOn, match="FLAGBACK_PUBLIC_URL"):
        configured(settings(tmp_path, public_url=None, host="0.0.0.0"))  # nosec B104 # nothing listens there
