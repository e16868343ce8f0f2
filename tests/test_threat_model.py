"""Claims about docs/threat-model.md: what it names as a test is one."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_test_that_the_threat_model_names_exists() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    files = set(re.findall(r"tests/test_\w+\.py", text))
    assert len(named) > 20
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in named if f"def {name}(" not in code) == []
    assert sorted(name for name in files if not (ROOT / name).exists()) == []


def test_every_table_row_names_a_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| tries")]
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"`test_\w+`|tests/test_\w+\.py", row.split("|")[3])] == []
