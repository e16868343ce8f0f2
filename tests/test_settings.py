"""Claims about settings: one reader of the environment, one key, one source of theme and server options."""

import ast
import multiprocessing
import stat
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import ValidationError

from flagback.review_app.settings import BrokenKey, Settings, login_name, streamlit_options

ROOT = Path(__file__).parent.parent


def test_the_environment_is_read_by_name_and_what_is_said_goes_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLAGBACK_HOME", str(tmp_path))
    monkeypatch.setenv("FLAGBACK_PORT", "9000")
    assert Settings().home == tmp_path
    assert Settings(port=9001).port == 9001
    assert Settings().port == 9000


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGBACK_HOME", "")
    monkeypatch.setenv("FLAGBACK_PORT", "")
    assert Settings().home == Path(".flagback")
    assert Settings().port == 8501


@pytest.mark.parametrize(
    ("name", "value"), [("port", 0), ("port", 65536), ("threads", -1), ("lease_minutes", 0), ("items_a_day", 0)]
)
def test_a_value_that_cannot_work_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_records_and_ledger_are_two_files_on_sqlite_and_one_database_elsewhere(tmp_path: Path) -> None:
    alone = Settings(home=tmp_path)
    assert alone.records_url == f"sqlite:///{tmp_path}/flagback.db"
    assert alone.jobs_url == f"sqlite:///{tmp_path}/jobs.db"
    shared = Settings(home=tmp_path, database_url="postgresql+psycopg://u@h/d")
    assert shared.records_url == shared.jobs_url == "postgresql+psycopg://u@h/d"


def test_processes_that_start_at_once_agree_on_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = set(pool.map(Settings.pseudonym_key, [Settings(home=home)] * 8))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert stat.S_IMODE((home / "pseudonym.key").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["pseudonym.key"]


def test_a_damaged_key_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "pseudonym.key").write_bytes(b"short")
    with pytest.raises(BrokenKey, match=r"pseudonym\.key holds 5 bytes where 32"):
        Settings(home=tmp_path).pseudonym_key()
    assert (tmp_path / "pseudonym.key").read_bytes() == b"short"


def test_the_shipped_config_is_the_source_of_all_streamlit_options() -> None:
    assert files("flagback.theme").joinpath("config.toml").read_text() == (ROOT / ".streamlit" / "config.toml").read_text()
    options = streamlit_options()
    assert options["server.headless"] is True
    assert options["browser.gatherUsageStats"] is False
    assert options["server.enableAgentApi"] is False
    assert options["client.showErrorDetails"] == "none"
    assert str(options["theme.primaryColor"]).startswith("#")
    assert all(not isinstance(value, dict) for value in options.values())


def test_only_settings_reads_the_environment_and_what_torchrun_tells_its_processes_is_read_in_one_place() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("storage", "model", "review_app")
        for path in (ROOT / folder).rglob("*.py")
        if _reads_environment(path)
    }
    assert readers == {"review_app/settings.py", "model/ranks.py"}


def _reads_environment(path: Path) -> bool:
    """os.environ, os.getenv or getpass.getuser (which looks there too)."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "getuser")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_whoever_runs_a_command_has_a_name_to_be_recorded_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert login_name() == "ada"
