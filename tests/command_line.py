"""`flagback` run in this process, as a shell would: what it answers, prints and complains of."""

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flagback.review_app import cli


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its report."""
        return json.loads(self.out)


#: Runs a command in a home that is chosen already.
Run = Callable[..., Said]


def run_command(capsys: pytest.CaptureFixture[str], home: Path, *words: str | Path, stdin: str = "") -> Said:
    """Runs a command in a home; `stdin` is what is piped in."""
    before, sys.stdin, code = sys.stdin, StringIO(stdin), 0
    capsys.readouterr()
    try:
        cli.main(["--home", str(home), *map(str, words)])
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.stdin = before
    sys.stdout.flush()
    return Said(code, *capsys.readouterr())
