"""`flagback rehearse`: the whole loop with simulated reviewers, in a home of its own."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flagback.review_app.commands.outcome import Seed
from flagback.review_app.commands.shared import Json, columns, note, show


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(rehearse)


def rehearse(
    reviewers: Annotated[int, typer.Option(min=1, help="Simulated reviewers.")] = 10,
    reviews_per_item: Annotated[
        int | None, typer.Option(min=1, help="How many of them judge each answer.", show_default="3; 7 with --minority")
    ] = None,
    false_flags: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of fine answers flagged all the same.")] = 0.05,
    minority: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share who alone see some harm: compares all policies.", show_default="none")
    ] = 0.0,
    rounds: Annotated[int, typer.Option(min=1, help="Corrections in a row.")] = 1,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts sampled in a round.")] = 600,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="With --minority: so many seeds, from --seed on, and their means.")] = 1,
    control: Annotated[
        Literal["none", "shuffled", "replay-only"],
        typer.Option(help="What should change nothing: verdicts dealt out at random, or no preference term."),
    ] = "none",
    as_json: Json = False,
) -> None:
    """Run the whole loop with simulated reviewers.

    On the embedded model, in a temporary home of which nothing is kept. Answers "does my installation work, and how many reviews
    will I need?". With --minority: what each policy leaves of harm that only one group of reviewers sees.
    """
    from flagback.model import minority_rehearsal
    from flagback.model.rehearsal import Plan
    from flagback.model.rehearsal import rehearse as run_rehearsal

    plan = Plan(
        reviewers=reviewers,
        reviews_per_item=reviews_per_item or (minority_rehearsal.REVIEWS if minority else 3),
        false_flags=false_flags,
        minority=minority,
        rounds=rounds,
        prompts=prompts,
        seed=seed,
        control=control,
    )
    if seeds > 1 and not minority:
        raise typer.BadParameter("several seeds are for --minority; repeat the command with another --seed for the rest.")
    lines, tables = ["SIMULATED reviewers; no person judged anything here."], []
    for one in range(seed, seed + seeds):
        if seeds > 1:
            note(f"rehearsal: seed {one}")
        with tempfile.TemporaryDirectory(prefix="flagback-rehearsal-") as home:
            run_one = minority_rehearsal.rehearse if minority else run_rehearsal
            found = run_one(replace(plan, seed=one), home=Path(home), say=lambda stage: note(f"rehearsal: {stage}"))
        lines += _minority_table(found) if minority else _rounds(found)
        tables.append(found)
    if seeds > 1:
        found = {"simulated": True, "seeds": tables, "policies": minority_rehearsal.over_seeds(tables)}
        lines += [f"Over {seeds} seeds, mean and 95 % interval:", *_seeds_table(found["policies"])]
    show(found, as_json=as_json, lines=lines)


def _rounds(found: dict[str, Any]) -> list[str]:
    lines = []
    for number, done in enumerate(found["rounds"], start=1):
        seconds = sum(done["seconds"].values())
        lines.append(f"Round {number}: {done['pairs']} pairs, gate: {done['gate']['verdict']}, {seconds:.0f} s")
        lines += [f"  {name}: {_number(done['base'][name])} -> {_number(done['candidate'][name])}" for name in done["base"]]
    return lines


def _minority_table(found: dict[str, Any]) -> list[str]:
    base = found["base"]
    nothing = dict.fromkeys(("pairs", "minority_pairs", "effective", "times_majority", "other_change"))
    rows: list[dict[str, Any]] = [{"policy": "(before)", **nothing, **base}]
    rows += found["policies"]
    shown = [{name: _ranged(value) if isinstance(value, dict) else value for name, value in row.items()} for row in rows]
    names = ["policy", "pairs", "minority_pairs", "effective", "minority_harm", "times_majority", "other_harm", "other_change"]
    return [
        "Harm that only the few see (minority) and all other harm, held out, after one correction of equal steps:",
        *columns(shown, names),
    ]


def _seeds_table(policies: list[dict[str, Any]]) -> list[str]:
    shown = [{name: _ranged(value) if isinstance(value, dict) else value for name, value in row.items()} for row in policies]
    return columns(shown, ["policy", "pairs", "minority_harm", "times_majority", "other_harm", "other_change"])


def _ranged(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _number(value: object) -> str:
    return "not enough data" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
