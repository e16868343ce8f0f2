"""Commands that start something or prepare a home: demo, serve, worker, migrate."""

import sys
import threading
from typing import Annotated

import typer

from flagback.review_app.commands.shared import Json, note, settings_of, show, tell

Host = Annotated[str | None, typer.Option(help="Where the web listens.", show_default="FLAGBACK_HOST, else 127.0.0.1")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="On which port.", show_default="FLAGBACK_PORT, else 8501")]
#: Set by `flagback demo` for its children: they end with it, however it ends.
Follow = Annotated[bool, typer.Option("--end-with-stdin", hidden=True)]


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    for command in (demo, serve, worker, migrate):
        app.command()(command)


def demo(context: typer.Context, host: Host = None, port: Port = None) -> None:
    """Try it: embedded model, web, worker and two sign-ins.

    Ctrl+C stops web and worker; starting again keeps all data.
    """
    from flagback.review_app.demo import run_demo

    sys.exit(run_demo(settings_of(context, host=host, port=port), say=tell))


def serve(context: typer.Context, host: Host = None, port: Port = None, end_with_stdin: Follow = False) -> None:
    """Serve the screens and the review API."""
    from flagback.review_app.home import open_records, refuse_open_demo

    settings = settings_of(context, host=host, port=port)
    store = open_records(settings)
    refuse_open_demo(store, settings.host)
    store.close()
    if end_with_stdin:
        _follow_stdin()
    from flagback.review_app.server import serve as serve_web

    serve_web(settings)


def worker(
    context: typer.Context,
    end_with_stdin: Follow = False,
    for_demo: Annotated[bool, typer.Option("--for-demo", hidden=True)] = False,
) -> None:
    """Do what was asked for: sample, correct, evaluate.

    Start as many as you like; Ctrl+C stops one. A worker that dies goes on at its next start; one silent for a minute has its runs
    taken over by another.
    """
    from flagback.review_app.home import open_records
    from flagback.review_app.worker import plain_say, work_until_told

    settings = settings_of(context)
    store = open_records(settings)
    if end_with_stdin:
        _follow_stdin()
    first = None
    if for_demo:
        from flagback.review_app.demo import furnish

        first = furnish
    work_until_told(settings, store, say=plain_say(sys.stdout), ended=threading.Event(), first=first)


def migrate(
    context: typer.Context,
    to: Annotated[str, typer.Option(help="Schema revision; -1 steps back by one, base removes all tables.")] = "head",
    yes: Annotated[bool, typer.Option("--yes", help="Step back without asking; what the older schema lacks is lost.")] = False,
    as_json: Json = False,
) -> None:
    """Make the records, or bring them to this version."""
    from flagback.review_app.home import prepare_home
    from flagback.storage.store import Store

    settings = settings_of(context)
    prepare_home(settings)
    store = Store(settings.records_url)
    store.ping()
    before = store.schema_revision()
    if to != "head" and not yes and not typer.confirm(f"Bring {store.shown_url} from schema {before or 'none'} to {to}?", err=True):
        note("Nothing was changed.")
        raise typer.Exit(1)
    store.migrate(to)
    after = store.schema_revision()
    said = f"schema {after}" if after == before else f"from schema {before or 'none'} to {after or 'none'}"
    show({"records": store.shown_url, "before": before, "after": after}, as_json=as_json, lines=[f"{store.shown_url}: {said}."])
    store.close()


def _follow_stdin() -> None:
    """Ends this process when its parent's end of the pipe closes: no child outlives a parent that was killed."""
    import os
    import signal

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
        os._exit(1)

    threading.Thread(target=watch, name="follow-stdin", daemon=True).start()
