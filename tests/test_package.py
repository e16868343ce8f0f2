"""Claims about the package as a whole: every module imports, the layers hold, the web has no torch, a wheel lacks nothing."""

import importlib
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
#: Run by Alembic inside a migration, which tests/test_store.py does; not importable by themselves.
BY_ALEMBIC = ("flagback.storage.migrations.",)


def modules() -> list[str]:
    """Every module of the project, by its installed name."""
    found = []
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            found.append(".".join((name, *(part for part in inner if part != "__init__"))))
    return [module for module in found if not module.startswith(BY_ALEMBIC)]


@pytest.mark.parametrize("module", modules())
def test_every_module_can_be_imported(module: str) -> None:
    assert importlib.import_module(module).__doc__, f"{module} has no docstring that says what it knows"


def test_the_web_process_imports_neither_torch_nor_a_detector_nor_the_job_engine() -> None:
    computing = ("worker", "steps")
    web = [
        name
        for name in modules()
        if name.startswith(("flagback.review_app", "flagback.storage")) and name.rpartition(".")[2] not in computing
    ]
    heavy = ("torch", "transformers", "peft", "accelerate", "dbos", "sklearn", "scipy")
    code = (
        f"import importlib, sys\nfor name in {web!r}: importlib.import_module(name)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_every_folder_with_code_is_a_listed_package() -> None:
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    found = set()
    for name, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join((name, *init.parent.relative_to(ROOT / folder).parts)))
    assert found == listed


def test_every_file_beside_the_code_is_shipped() -> None:
    data: dict[str, list[str]] = PYPROJECT["tool"]["setuptools"]["package-data"]
    missing = []
    for name, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc") and not _is_matched(name, ROOT / folder, path, data):
                missing.append(str(path.relative_to(ROOT)))
    assert missing == []


def _is_matched(package: str, folder: Path, path: Path, data: dict[str, list[str]]) -> bool:
    """Whether a pattern of the file's package, or of one above it, names it."""
    inner = path.relative_to(folder).parts
    return any(
        fnmatch("/".join(inner[depth:]), pattern)
        for depth in range(len(inner))
        for pattern in data.get(".".join((package, *inner[:depth])), [])
    )


def test_no_file_of_the_project_names_a_machine_or_a_registry() -> None:
    words = ("/work/", "/root/", "/opt/py", "index-" + "url", "pypi." + "org", "pythonhosted")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")  # nosec B607 # the developer's own git
    found = []
    for name in listed:
        if name and (ROOT / name).is_file() and name != "tests/test_package.py":
            content = (ROOT / name).read_bytes().decode("utf-8", "ignore")
            found += [f"{name}: {word}" for word in words if word in content]
    assert found == []
