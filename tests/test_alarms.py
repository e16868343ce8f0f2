"""An alarm sounds where a figure leaves its bounds, once, and names the cure in the run's own numbers."""

from pathlib import Path

import pytest

from flagback.model.alarms import alarms
from flagback.model.recipe import Alarm, Recipe, StepMetrics
from flagback.model.training import correct
from tests.tiny_model import Held, random_lines, random_pairs, tiny_llama

RECIPE = Recipe(learning_rate=4e-3, beta=0.2)


def steps(**figures: list[float]) -> list[StepMetrics]:
    """A run of healthy figures but for those given, one value a step."""
    count = max(map(len, figures.values()))
    made = []
    for number in range(count):
        own = {"chosen_change": 0.1, "kl": 0.01, "grad_norm": 1.0} | {name: values[number] for name, values in figures.items()}
        made.append(
            StepMetrics(
                step=number + 1,
                steps=count,
                loss=1.0,
                preference_loss=0.5,
                replay_loss=0.5,
                margin=0.1,
                accuracy=0.8,
                rejected_change=-1.0,
                learning_rate=1e-3,
                pairs_per_second=1.0,
                **own,
            )
        )
    return made


def kinds(found: tuple[Alarm, ...]) -> list[tuple[str, int]]:
    return [(alarm.kind, alarm.step) for alarm in found]


def test_a_healthy_run_has_none() -> None:
    assert alarms(steps(kl=[0.01] * 24), RECIPE) == ()
    assert alarms([], RECIPE) == ()


def test_falling_chosen_answers_sound_once_and_name_the_anchor() -> None:
    # Means of four: -1.75 at step 5 is not enough, -2.5 at step 6 is.
    found = alarms(steps(chosen_change=[0.0, -1.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0]), RECIPE)
    assert kinds(found) == [("displacement", 6)]
    assert found[0].value == pytest.approx(-2.5)
    assert "anchor_weight (now 0) to 0.1" in found[0].advice
    assert "learning_rate from 0.004 to 0.002" in found[0].advice


def test_one_bad_batch_is_no_displacement_and_neither_is_one_that_was_mended() -> None:
    assert alarms(steps(chosen_change=[0.0, 0.0, -6.0, 0.0, 0.0]), RECIPE) == ()
    assert alarms(steps(chosen_change=[-9.0, -9.0, -9.0, 0.5]), RECIPE) == ()


def test_a_policy_far_from_its_reference_names_beta() -> None:
    found = alarms(steps(kl=[0.9, 1.0, 1.1, 1.1]), RECIPE)
    assert kinds(found) == [("kl", 4)]
    assert "Raise beta (now 0.2) to 0.4" in found[0].advice


def test_a_gradient_ten_times_the_usual_names_warmup() -> None:
    assert alarms(steps(grad_norm=[1.0, 1.0, 1.0, 1.0, 9.9]), RECIPE) == ()
    found = alarms(steps(grad_norm=[1.0, 1.0, 1.0, 1.0, 10.1, 30.0]), RECIPE)
    assert kinds(found) == [("gradient", 5)]
    assert "warmup (now 0 steps)" in found[0].advice


def test_the_alarms_so_far_are_those_of_the_whole_run_so_far() -> None:
    run = steps(chosen_change=[0.0, -3.0, -3.0, -3.0, -3.0, -3.0], kl=[0.0, 0.0, 1.9, 1.9, 1.9, 1.9])
    for last in range(len(run)):
        assert alarms(run[:last], RECIPE) == alarms(run, RECIPE)[: len(alarms(run[:last], RECIPE))]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_run_that_loses_its_chosen_answers_tells_while_it_trains_and_keeps_it(tmp_path: Path) -> None:
    told: list[tuple[int, Alarm]] = []
    seen: list[StepMetrics] = []
    # A loss that lowers both answers, and next to no tie to the reference.
    recipe = Recipe(
        steps=8, pairs_per_step=6, learning_rate=0.05, schedule="constant", replay_weight=0.0, loss="apo_down", beta=0.05
    )
    made = correct(
        Held(tiny_llama()),
        random_pairs(6),
        replay=random_lines(4),
        recipe=recipe,
        seed=1,
        folder=tmp_path,
        on_step=seen.append,
        on_alarm=lambda alarm: told.append((len(seen), alarm)),
    )
    assert told, "so fast it must"
    assert [alarm for _, alarm in told] == list(made.alarms) == list(alarms(made.metrics, recipe))
    assert all(step == alarm.step for step, alarm in told)
    assert "displacement" in {alarm.kind for alarm in made.alarms}
    assert made.environment["alarms"] == [alarm._asdict() for alarm in made.alarms]
