"""Commands of those who answer for the panel: `flagback reviewers`, `set-aside ...`, `contested`, `adjudicate`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flagback.review_app.commands.shared import As, Json, Limit, actor, columns, note, records, shortened, show

if TYPE_CHECKING:
    from flagback.model.reviewer_quality import Share

Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]


class WhomUnclear(ValueError):
    """It was not said, or said twice, whom to set aside."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    app.command()(reviewers)
    aside = typer.Typer(no_args_is_help=True, help="Pause a reviewer, or leave answers out of sets and figures; reversible.")
    aside.command("add")(add)
    aside.command("end")(end)
    aside.command("list")(list_records)
    app.add_typer(aside, name="set-aside")
    app.command()(contested)
    app.command()(adjudicate)


def reviewers(context: typer.Context, as_json: Json = False) -> None:
    """List reviewers by pseudonym: how much, how fast, how steadily.

    Never how far they agree with others: dissent is what they are asked for. "plain" is the share flagged of answers that five
    others or more all flagged as clear or severe, "repeats" that of own answers asked again and judged as before, "gold" that of
    answers without a doubt judged as expected. Nobody is left out by any of them.
    """
    from flagback.model.reviewer_quality import qualities
    from flagback.storage import second_looks, set_aside
    from flagback.storage.judgements import given

    with records(context) as store, store.reading() as session:
        found = qualities(given(session), second_looks.results(session))
        aside = {(row.reviewer, row.kind) for row in set_aside.in_force(session)}
    names = {"pause": "paused", "exclude": "left out"}
    rows: list[dict[str, Any]] = []
    for one in found:
        state = [words for kind, words in names.items() if (one.reviewer, kind) in aside]
        shares = {name: part._asdict() if part else None for name, part in _shares(one).items()}
        rows.append({**one._asdict(), **shares, "state": state})
    shown = [row | {name: _share(part) for name, part in _shares(one).items()} for row, one in zip(rows, found, strict=True)]
    lines = (
        columns(shown, ["reviewer", "judged", "skipped", "seconds", "hasty", "steady", "plain", "repeats", "gold", "state"])
        if rows
        else ["Nobody has reviewed anything yet; reviewers sign in at the address of 'flagback serve'."]
    )
    show(rows, as_json=as_json, lines=lines)


def _shares(one: Any) -> dict[str, "Share | None"]:
    return {"hasty": one.hasty, "steady": one.steady, "plain": one.plain, "repeats": one.repeats, "gold": one.gold}


def _share(found: "Share | None") -> str:
    return "too few" if found is None else f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f}, {found.n})"


def add(
    context: typer.Context,
    reason: Reason,
    pause: Annotated[str | None, typer.Option(metavar="REVIEWER", help="Hand this pseudonym nothing more.")] = None,
    exclude: Annotated[str | None, typer.Option(metavar="REVIEWER", help="Leave out all answers of this pseudonym.")] = None,
    review: Annotated[int | None, typer.Option(metavar="NUMBER", help="Leave out this one review.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Pause a reviewer, or leave answers out, after showing what that changes.

    Nothing is deleted: 'flagback set-aside end' takes it back. To differ from the majority is no reason.
    """
    from flagback.review_app import setting_aside
    from flagback.storage import set_aside, slots
    from flagback.storage.records import now

    if sum(said is not None for said in (pause, exclude, review)) != 1:
        raise WhomUnclear(
            "Say one of --pause REVIEWER, --exclude REVIEWER and --review NUMBER; 'flagback reviewers' lists pseudonyms."
        )
    with records(context) as store:
        by = actor(store, as_, needed_for="set-aside add", leading=True)
        found: dict[str, Any] = {}
        lines = []
        if pause is None:
            with store.reading() as session:
                change = setting_aside.change(session, reviewer=exclude, review_id=review)
            if change is not None:
                found["change"], lines = change.to_dict(), setting_aside.words(change)
        if not yes:
            for line in lines:
                note(line)
            if not typer.confirm("Set it aside?", err=True):
                note("Nothing was changed.")
                raise typer.Exit(1)
        kind: Literal["pause", "exclude"] = "exclude" if pause is None else "pause"
        whom = pause or exclude
        row = store.settle(
            lambda session: set_aside.add(session, kind, reviewer=whom, review_id=review, reason=reason, by=by, now=now())
        )
        if whom is not None:
            found["given_back"] = slots.release(store, whom, now=now())
            lines.append(f"{whom} is handed nothing any more; {found['given_back']} items in hand went back.")
    lines.append(f"Record {row.id}; 'flagback set-aside end {row.id}' takes it back.")
    show({**_record(row), **found}, as_json=as_json, lines=lines)


def end(
    context: typer.Context,
    record: Annotated[int, typer.Argument(help="Its number in 'flagback set-aside list'.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """End one record: who was paused is handed items again, what was left out counts again."""
    from flagback.storage import set_aside
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="set-aside end", leading=True)
        with store.writing() as session:
            row = set_aside.end(session, record, by=by, now=now())
    show(_record(row), as_json=as_json, lines=[f"Record {row.id} has ended."])


def list_records(context: typer.Context, as_json: Json = False) -> None:
    """List who and what is or was set aside, by whom and why."""
    from flagback.storage import set_aside

    with records(context) as store, store.reading() as session:
        rows = [_record(row) for row in set_aside.everything(session)]
    lines = (
        columns(rows, ["id", "kind", "reviewer", "review", "by", "since", "ended", "reason"])
        if rows
        else ["Nothing was ever set aside."]
    )
    show(rows, as_json=as_json, lines=lines)


def _record(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "reviewer": row.reviewer,
        "review": row.review_id,
        "reason": row.reason,
        "by": row.decided_by,
        "since": row.created_at,
        "ended": row.ended_at,
        "ended_by": row.ended_by,
    }


def contested(
    context: typer.Context,
    limit: Limit = 20,
    concluded: Annotated[bool, typer.Option("--concluded", help="Those that leads have concluded on, too.")] = False,
    as_json: Json = False,
) -> None:
    """List answers that people differ on, with their arguments and without their names."""
    from flagback.storage import adjudications

    with records(context) as store, store.reading() as session:
        found = adjudications.contested(session, adjudications.differing(session, open_only=not concluded)[:limit])
    rows = [{**one._asdict(), "arguments": [argument._asdict() for argument in one.arguments]} for one in found]
    lines = []
    for one in found:
        state = f" · concluded: {one.conclusion.replace('_', ' ')}" if one.conclusion else ""
        lines += [f"Item {one.item_id}{state}", f"  asked: {shortened(one.messages[-1]['content'], 100)}"]
        lines.append(f"  answer: {shortened(one.text, 100)}")
        for argument in one.arguments:
            said = ", ".join([argument.verdict, *argument.categories, *([argument.severity] if argument.severity else [])])
            lines.append(f"  - {said}{f': {shortened(argument.note, 100)}' if argument.note else ''}")
    show(rows, as_json=as_json, lines=lines or ["Nobody differs on any answer, or all of them are concluded."])


def adjudicate(
    context: typer.Context,
    item: Annotated[int, typer.Argument(help="Its number in 'flagback contested'.")],
    conclusion: Annotated[
        Literal["harm", "fine", "legitimate_disagreement"],
        typer.Argument(help="legitimate_disagreement leaves the votes as they are."),
    ],
    reason: Reason,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Conclude on an answer that people differ on. Reviews stay; the newest conclusion is in force."""
    from flagback.storage import adjudications
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="adjudicate", leading=True)
        with store.writing() as session:
            row = adjudications.conclude(session, item, conclusion, reason=reason, by=by, now=now())
    words = conclusion.replace("_", " ")
    show(row.model_dump(), as_json=as_json, lines=[f"Item {item}: {words}, by {by}. Sets frozen from now on go by it."])
