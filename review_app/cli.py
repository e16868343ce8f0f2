"""The command line: `flagback`. Says what went wrong in one message, and what to do next.

Knows the families of commands and how errors are shown; what a command does stands in flagback.review_app.commands.
"""

import secrets
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from flagback.review_app.commands import (
    agreement,
    care,
    correct,
    detect,
    distil,
    evaluate,
    files,
    guidance,
    lists,
    loop,
    outputs,
    overlap,
    pairs,
    people,
    processes,
    quality,
    recipes,
    rehearse,
    suites,
)
from flagback.review_app.commands.shared import Given, note
from flagback.storage.invisible import visible

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback()
def flagback(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="The installation.", show_default="FLAGBACK_HOME, else .flagback")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """People flag what a language model writes, and the model learns from it, with evidence at every step."""
    given: Given = context.obj
    given.home, given.debug = home, debug


processes.add_to(app)
people.add_to(app)
loop.add_to(app)
correct.add_to(app)
evaluate.add_to(app)
distil.add_to(app)
rehearse.add_to(app)
detect.add_to(app)
files.add_to(app)
lists.add_to(app)
suites.add_to(app)
outputs.add_to(app)
agreement.add_to(app)
pairs.add_to(app)
quality.add_to(app)
overlap.add_to(app)
care.add_to(app)
guidance.add_to(app)
recipes.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `flagback` program. Leaves with 0, 1 for an error, 2 for a wrong call, 130 when interrupted."""
    given = Given()
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="flagback", obj=given)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if given.debug:
            raise
        note(words_for(error, given))
        sys.exit(1)


def words_for(error: Exception, given: Given) -> str:
    """What a person is told: our own errors speak for themselves, another's traceback is kept under a number."""
    if type(error).__module__.startswith("flagback."):
        return str(error)
    text = "".join(traceback.format_exception(error))
    number = secrets.token_hex(3)
    try:
        path = _keep(given, number, text)
    except OSError:
        return text
    return (
        f"Something unexpected went wrong ({type(error).__name__}: {error}). It is kept as error {number} in {path}; "
        "--debug before the command shows it here."
    )


def _keep(given: Given, number: str, text: str) -> Path:
    from flagback.review_app.home import log_file
    from flagback.review_app.settings import Settings

    path = log_file(Settings() if given.home is None else Settings(home=given.home), "errors")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"--- error {number}, {datetime.now():%Y-%m-%d %H:%M:%S}\n{visible(text, breaks=True)}\n")
    return path


if __name__ == "__main__":
    main()
