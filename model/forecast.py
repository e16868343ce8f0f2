"""What a correction would do, before anything is done: pairs, steps, memory, and the commands that spread it over processes.

Knows the store as `cycle` does, and writes nothing to it: what must be frozen to be counted is rolled back.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from flagback.model import joint_run, lesson, memory, pair_sets, rounds, shortage, training
from flagback.model.adapter import with_adapter
from flagback.model.layout import Choice, choose_layout
from flagback.model.objective import reference_trees
from flagback.model.plan import make_plan
from flagback.model.shelf import Shelf
from flagback.storage.store import Store
from flagback.storage.versions import current


@dataclass(frozen=True)
class Forecast:
    """What `flagback correct` would do, and what it would take."""

    parent: int
    pairs: int
    dropped: int
    #: Pairs that are not learnt from, and tell when to stop.
    aside: int
    #: Answers without a counterpart, and how many go into a step.
    unpaired: int
    unpaired_per_step: int
    replay: int
    steps: int
    pairs_per_step: int
    #: What is computed at once, and how often a step.
    parts_per_step: int
    layout: str
    #: How often each pair is seen.
    passes: float
    trained_parameters: int
    needed: memory.Needed
    machine: memory.Machine
    #: Megabytes that the run writes at most, two checkpoints included, and that are free there.
    disk: float
    disk_free: float
    #: What to change where it takes too much.
    smaller: str
    processes: int
    #: Flagback's own command for many processes, and what the worker then starts on this machine.
    command: str
    torchrun: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        named = {"needed_mb": self.needed._asdict() | {"total": self.needed.total}, "machine_mb": self.machine._asdict()}
        return {name: value for name, value in asdict(self).items() if name not in ("needed", "machine", "smaller")} | named

    @property
    def step(self) -> str:
        """What a step has, in words."""
        said = [f"{self.pairs_per_step} pairs, each pair about {self.passes:g} times"] if self.pairs else []
        said += [f"{self.unpaired_per_step} answers without one, harmful and fine in turn"] if self.unpaired else []
        return ", and ".join(said)

    @property
    def warning(self) -> str | None:
        """What a person should know before it is started."""
        if self.needed.total > self.machine.total:
            return (
                f"This machine has {self.machine.total:,.0f} MB in all: 'flagback correct' would refuse. {self.smaller}, "
                "or see docs/scale-out.md."
            )
        if self.disk > self.disk_free:
            return f"It writes up to {self.disk:,.0f} MB, and {self.disk_free:,.0f} are free on the disk: make room first."
        if self.needed.total > self.machine.free:
            return f"Only {self.machine.free:,.0f} MB are free now: stop other programs first, or it may run out of memory."
        return None


def forecast(
    store: Store,
    shelf: Shelf,
    *,
    recipe: training.Recipe,
    seed: int,
    set_id: int | None,
    choice: pair_sets.Choice,
    key: bytes | None,
    work: Path,
    command: str = "flagback correct",
) -> Forecast:
    """The forecast for the current version and the reviews as they stand, or a frozen set. Loads the model; stores nothing.

    `command` asks for this very run, without its number of processes.

    Raises what the run would raise: NoPairs, NoGroups, NothingToRelearn, Contaminated, UnusableModel.
    """
    with store.writing() as session:
        parent = current(session)
        if set_id is None:
            frozen = pair_sets.freeze(session, parent.id, simulated=False, choice=choice, key=key, artifacts=shelf.artifacts)
            set_id = frozen.id
        line = rounds.line_of(session, parent)
        given = lesson.records_of(session, rounds.sets_to_learn(line, set_id, recipe), recipe)
        start = rounds.start_of(line, parent, recipe)
        rounds.check_stack(parent, recipe, shelf.artifacts)
        session.expunge_all()
        session.rollback()
    loaded = shelf.fresh(start)
    model = loaded.model
    examples = lesson.lesson_of(given, recipe, loaded)
    del given  # the texts of all pairs
    limits = training.limits_of(model)
    plan = make_plan(
        examples.pairs, examples.replay, recipe=recipe, seed=seed, limits=limits, flags=examples.flags, swaps=examples.swaps
    )
    layout = (
        choose_layout(model, reference_trees(plan, recipe)) if recipe.layout == "auto" else Choice(recipe.layout, "asked for")
    ).layout
    with training.as_it_was(model):
        memory.check_copy(model, recipe)
        adapted = with_adapter(model, recipe)
        trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
        needed = memory.needed(adapted, plan, recipe, layout)
    there = torch.cuda.device_count() if torch.cuda.is_available() else os.cpu_count() or 1
    many = recipe.processes if recipe.processes > 1 else max(there, 2)
    return Forecast(
        parent=parent.id,
        pairs=len(plan.pairs),
        dropped=len(plan.dropped),
        aside=len(examples.aside),
        unpaired=len(plan.flags),
        unpaired_per_step=min(recipe.flags_per_step, len(plan.flags)),
        replay=len(plan.replay),
        steps=recipe.steps,
        pairs_per_step=plan.pairs_per_step,
        parts_per_step=plan.parts_per_step,
        layout=layout,
        passes=round(recipe.steps * plan.pairs_per_step / max(len(plan.pairs), 1), 2),
        trained_parameters=trained,
        needed=needed,
        machine=memory.machine(model.device),
        disk=shortage.to_write(trained),
        disk_free=shortage.room(work),
        smaller=recipe.smaller,
        processes=recipe.processes,
        command=f"{command} --processes {many}",
        torchrun=" ".join(joint_run.command(work / "correction-NUMBER" / "joint", many)),
    )
