"""Claims about the web process: it starts from anywhere, ends quietly, and never loads what the worker loads."""

import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from flagback.review_app import server
from flagback.review_app.home import NoInstallation, PortInUse
from flagback.review_app.installation import open_installation, serve_from, served
from flagback.review_app.settings import Settings
from flagback.storage.claims import held
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import now
from flagback.storage.slots import claim
from flagback.storage.store import Store
from tests.browser import WebProcess, free_port
from tests.fresh import migrate


def migrated(home: Path) -> Settings:
    """A home with empty records."""
    settings = Settings(home=home)
    store = Store(settings.records_url)
    migrate(store)
    store.close()
    return settings


def test_the_web_process_loads_no_torch_and_no_job_engine() -> None:
    code = (
        "import sys, importlib\n"
        "import flagback.review_app.server\n"
        "from flagback.review_app.access import PAGES\n"
        "for page in PAGES: importlib.import_module(page.module)\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'accelerate', 'dbos') if name in sys.modules])\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120).stdout
    assert printed.strip().splitlines()[-1] == "[]"


def test_it_serves_from_any_folder_and_ends_quietly_on_ctrl_c(tmp_path: Path) -> None:
    migrated(tmp_path / "home")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".streamlit").mkdir(parents=True)
    (elsewhere / ".streamlit" / "config.toml").write_text('[server]\nport = 1\nbaseUrlPath = "elsewhere"\n', encoding="utf-8")
    web = WebProcess(tmp_path / "home", folder=elsewhere)
    with web:
        with urlopen(f"{web.url}/signin", timeout=10) as page:  # nosec B310 # the web process started here
            assert "Sign in" in page.read().decode()
        with urlopen(f"{web.url}/look/serif.woff2", timeout=10) as font:  # nosec B310 # the web process started here
            assert font.read(4) == b"wOF2"
        with pytest.raises(HTTPError) as missing:
            urlopen(f"{web.url}/api/v1/nothing", timeout=10)  # nosec B310 # the web process started here
        missing.value.close()
        assert missing.value.code == 404
        assert missing.value.headers["content-type"] == "application/json"
        assert web.interrupt() == 0
    assert "Traceback" not in web.log()
    told, link = web.log().strip().splitlines()
    assert told == f"Flagback is at {web.url} (Ctrl+C stops it)."
    assert link.startswith(f"Nobody manages accounts yet. Make the first administrator within 24 hours, once: {web.url}/join/")


def test_a_port_in_use_is_an_error_that_names_it_and_the_next_command(tmp_path: Path) -> None:
    settings = migrated(tmp_path / "home")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Port {port} on 127.0.0.1 .* --port {port + 1}"):
            server.serve(settings.model_copy(update={"port": port}))


def test_a_home_without_records_is_refused_with_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(NoInstallation, match="flagback migrate"):
        server.serve(Settings(home=tmp_path / "nothing", port=free_port()))


def test_leases_that_ran_out_while_the_web_was_down_are_given_back_when_it_starts(tmp_path: Path) -> None:
    settings = migrated(tmp_path / "home")
    store = Store(settings.records_url)
    with store.writing() as session:
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "The harbour was"}])]).ids
        made = add_generations(session, [NewGeneration(prompts[0], " quiet.", "end", "imported", "import:x")])
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=0)
    past = now() - timedelta(hours=2)
    (old,) = claim(store, "r_one", count=1, now=past, lease_for=timedelta(minutes=1), seed=0)
    with WebProcess(settings.home):
        (fresh,) = claim(store, "r_two", count=1, now=now(), lease_for=timedelta(minutes=1), seed=0)
    assert fresh.item_id == old.item_id
    with store.reading() as session:
        assert held(session, "r_one", now=now()) == []
    store.close()


def test_health_is_503_once_the_database_is_gone(tmp_path: Path) -> None:
    settings = migrated(tmp_path / "home")
    installation = open_installation(settings)
    client = TestClient(Starlette(routes=server._routes(installation)))
    assert client.get("/healthz").json() == {"status": "ok"}
    installation.store.close()
    (settings.home / "flagback.db").unlink()
    (settings.home / "flagback.db").mkdir()
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "Traceback" not in answer.text
    installation.store.close()


def test_what_screens_show_is_the_installation_that_is_served(tmp_path: Path) -> None:
    installation = open_installation(migrated(tmp_path / "home"))
    serve_from(installation)
    assert served() is installation
    installation.store.close()
