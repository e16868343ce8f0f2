"""A wheel holds everything: installed in a bare venv it answers, migrates, serves and looks as it does from the source."""

import json
import os
import site
import subprocess
import sys
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this source, built from a copy so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")  # nosec B607 # the developer's own git
    for name in listed:
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist"],
        cwd=copy,
        check=True,
        capture_output=True,
        timeout=200,
    )
    [built] = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh venv's bin folder with the wheel in it; what it depends on is reached through a .pth line, not installed anew."""
    folder = tmp_path_factory.mktemp("venv")
    venv.EnvBuilder(with_pip=True).create(folder)
    binaries = folder / "bin"
    subprocess.run(
        [binaries / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True, capture_output=True, timeout=200
    )
    purelib = subprocess.run(
        [binaries / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # addsitedir would run the editable install's own .pth as well; a bare line adds the path only.
    (Path(purelib) / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return binaries


def answer(binaries: Path, code: str, folder: Path) -> str:
    """What a line of Python prints in the fresh venv, started in a folder of no importance."""
    done = subprocess.run([binaries / "python", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_ships_one_namespace_and_every_file_that_is_not_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"flagback", next(top for top in tops if top.endswith(".dist-info"))}
    for name in (
        "flagback/theme/config.toml",
        "flagback/review_app/board/board.js",
        "flagback/review_app/board/board.css",
        "flagback/review_app/board/sign_in.html",
        "flagback/model/embedded/weights/model.safetensors",
        "flagback/model/embedded/weights/tokenizer.json",
        "flagback/storage/migrations/env.py",
        "flagback/storage/migrations/versions/0001_the_first_schema.py",
        "flagback/storage/py.typed",
        "flagback/model/py.typed",
        "flagback/review_app/py.typed",
        "flagback/review_app/app.py",
    ):
        assert name in names
    assert not any(name.startswith("flagback/") and "/tests/" in name for name in names)
    assert "flagback/__init__.py" not in names


def test_the_command_answers_and_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    said = subprocess.run([installed / "flagback", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert "Usage: flagback" in said.stdout
    where = answer(installed, "import flagback.review_app.cli as cli; print(cli.__file__)", tmp_path)
    assert Path(where).is_relative_to(installed.parent)


def test_theme_and_options_are_those_of_the_source_from_any_folder(installed: Path, tmp_path: Path) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[theme]\nprimaryColor = "#ff0000"\n')
    code = "import json; from flagback.review_app.settings import streamlit_options; print(json.dumps(streamlit_options()))"
    from_wheel = json.loads(answer(installed, code, tmp_path))
    from_source = json.loads(answer(Path(sys.executable).parent, code, ROOT))
    assert from_wheel == from_source
    assert from_wheel["theme.primaryColor"] != "#ff0000"


@pytest.fixture
def address(installed: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a web served from the wheel, in a folder that holds a foreign Streamlit configuration."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[theme]\nprimaryColor = "#ff0000"\n[server]\nbaseUrlPath = "elsewhere"\n')
    home = ["--home", str(tmp_path / "home")]
    subprocess.run([installed / "flagback", *home, "migrate"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [installed / "flagback", *home, "serve", "--port", str(port)],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    url = f"http://127.0.0.1:{port}"
    ends = time.monotonic() + 90
    while not _healthy(url):
        assert process.poll() is None, (tmp_path / "web.log").read_text()
        assert time.monotonic() < ends, (tmp_path / "web.log").read_text()
        time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(20)


def test_the_web_of_a_wheel_serves_sign_in_look_and_streamlit(address: str) -> None:
    with httpx.Client(base_url=address, timeout=20) as client:
        assert "password" in client.get("/signin").raise_for_status().text
        for name in ("page.css", "logo.svg", "sans.woff2", "serif.woff2"):
            assert client.get(f"/look/{name}").raise_for_status().content
        assert client.get("/_stcore/health").status_code == 200
        assert client.get("/api/v1/openapi.json").status_code == 401, "the description is for who is signed in"


def test_the_embedded_model_of_a_wheel_registers(installed: Path, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "home")]
    subprocess.run([installed / "flagback", *home, "migrate"], check=True, capture_output=True, timeout=120, cwd=tmp_path)
    done = subprocess.run(
        [installed / "flagback", *home, "model", "add", "embedded", "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "current"


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
