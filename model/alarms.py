"""Alarms of a correction under way, told from the figures that every step has anyway: what goes wrong, and what cures it.

Knows figures and the recipe; computes nothing of a model, stores nothing. The same figures give the same alarms, so that a run that
was killed and goes on has those of the undisturbed one.
"""

from collections.abc import Sequence
from statistics import fmean, median

from flagback.model.recipe import Alarm, AlarmKind, Recipe, StepMetrics

#: Steps over which a figure is averaged before it counts: a single batch is noise.
WINDOW = 4
#: Nats an answer: chosen answers less than e^-2 = .14 times as likely as they were.
DISPLACED = -2.0
#: Nats a token between reference and policy. Runs of the embedded model that end well have .6 to .85, since what people rejected is
#: unlearnt; one with five times the learning rate, which spoils sentences about groups, 1.1.
FAR = 1.0
#: A gradient this many times the median of the steps before it, of so many of them.
JUMP = 10.0
USUAL = 64


def alarms(metrics: Sequence[StepMetrics], recipe: Recipe) -> tuple[Alarm, ...]:
    """All of a run's alarms in the order of their steps."""
    found: dict[AlarmKind, Alarm] = {}
    for last in range(1, len(metrics) + 1):
        for alarm in newest(metrics[max(0, last - USUAL - 1) : last], recipe):
            found.setdefault(alarm.kind, alarm)
    return tuple(found.values())


def newest(metrics: Sequence[StepMetrics], recipe: Recipe) -> list[Alarm]:
    """Those of the last step given, whatever sounded before; the USUAL steps before it decide."""
    step, rate = metrics[-1].step, recipe.learning_rate
    found: list[Alarm] = []
    if len(metrics) >= WINDOW:
        window = metrics[-WINDOW:]
        chosen = fmean(one.chosen_change for one in window)
        # Likelihood displacement: a margin that grows while both answers fall (Razin et al. 2024, arXiv 2410.08847).
        if chosen < DISPLACED and window[-1].chosen_change < 0:
            found.append(
                Alarm(
                    "displacement",
                    step,
                    chosen,
                    DISPLACED,
                    f"The chosen answers lost {-chosen:.2g} nats each (more than {-DISPLACED:g}): the model moves away from what "
                    f"people chose, too. Raise anchor_weight (now {recipe.anchor_weight:g}) to "
                    f"{recipe.anchor_weight + 0.1:g}, or lower learning_rate from {rate:g} to {rate / 2:g}.",
                )
            )
        far = fmean(one.kl for one in window)
        if far > FAR:
            found.append(
                Alarm(
                    "kl",
                    step,
                    far,
                    FAR,
                    f"The model is about {far:.2g} nats a token from its reference (more than {FAR:g}). Raise beta (now "
                    f"{recipe.beta:g}) to {recipe.beta * 2:g}, lower learning_rate from {rate:g} to {rate / 2:g}, or take fewer "
                    f"than {recipe.steps} steps.",
                )
            )
    before = [one.grad_norm for one in metrics[-USUAL - 1 : -1]]
    if len(before) >= WINDOW:
        limit, norm = JUMP * median(before), metrics[-1].grad_norm
        if norm > limit > 0:
            found.append(
                Alarm(
                    "gradient",
                    step,
                    norm,
                    limit,
                    f"The gradient's norm jumped to {norm:.3g}, over {JUMP:g} times what is usual in this run. Raise warmup (now "
                    f"{recipe.warmup} steps), lower learning_rate from {rate:g} to {rate / 2:g}, or lower max_grad_norm (now "
                    f"{recipe.max_grad_norm:g}).",
                )
            )
    return found
