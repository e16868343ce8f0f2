"""The losses against values worked by hand, against TRL's code, and against the laws they must obey."""

import inspect
import math
import re
import textwrap
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor
from torch.nn import functional

from flagback.model.losses import dpo_loss, preference_losses, replay_loss, reward_margin, token_logps

logps = st.floats(min_value=-80, max_value=0, width=32)
#: No deadline: the machine is shared, and the first call of one test imports TRL.
law = settings(deadline=None, max_examples=60)
weights = st.floats(min_value=0.125, max_value=8, width=32)
labels = st.floats(min_value=0, max_value=1, width=32)
rows = st.lists(st.tuples(logps, logps, logps, logps, labels, weights), min_size=1, max_size=6)
Rows = list[tuple[float, float, float, float, float, float]]


def loss_of(given_rows: Rows, beta: float = 0.1, total_weight: float | None = None) -> Tensor:
    """dpo_loss of rows (chosen, rejected, ref_chosen, ref_rejected, soft label, weight), in float64."""
    columns = [tensor(column, dtype=torch.float64) for column in zip(*given_rows, strict=True)]
    return dpo_loss(*columns[:4], beta=beta, soft_label=columns[4], weight=columns[5], total_weight=total_weight)


def test_a_margin_of_two_worked_by_hand() -> None:
    # chosen rose by 3 nats, rejected fell by 1: margin .5 * 4 = 2; -log sigmoid(2) = log(1 + e^-2) = .126928
    margin = reward_margin(tensor([-7.0]), tensor([-9.0]), tensor([-10.0]), tensor([-8.0]), beta=0.5)
    assert margin.item() == 2.0
    assert preference_losses(margin, tensor([1.0])).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert loss_of([(-7, -9, -10, -8, 1.0, 1.0)], beta=0.5).item() == pytest.approx(0.12692801)


def test_a_doubtful_label_worked_by_hand() -> None:
    # .75 * log(1 + e^-2) + .25 * log(1 + e^2) = .75 * .126928 + .25 * 2.126928 = .626928
    assert preference_losses(tensor([2.0]), tensor([0.75])).item() == pytest.approx(0.62692801)


def test_two_pairs_of_different_weight_worked_by_hand() -> None:
    # losses log 2 = .693147 (no change) and .126928, weights 3 and 1: (3 * .693147 + .126928) / 4 = .551592
    assert loss_of([(-5, -5, -5, -5, 1, 3), (-7, -9, -10, -8, 1, 1)], beta=0.5).item() == pytest.approx(0.55159241)


def test_the_loss_is_smallest_where_the_margin_says_what_the_reviewers_said() -> None:
    margin = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    best = margin[preference_losses(margin, torch.tensor(0.8, dtype=torch.float64)).argmin()]
    assert best.item() == pytest.approx(math.log(0.8 / 0.2), abs=2e-3)


def test_token_log_probabilities_worked_by_hand() -> None:
    # softmax of (0, log 3) is (1/4, 3/4)
    found = token_logps(tensor([[0.0, math.log(3)], [0.0, math.log(3)]]), tensor([0, 1]))
    assert found.tolist() == pytest.approx([math.log(0.25), math.log(0.75)])


def test_half_precision_logits_are_scored_in_float32() -> None:
    assert token_logps(tensor([[1.0, 2.0]], dtype=torch.bfloat16), tensor([0])).dtype == torch.float32


def test_replay_is_a_mean_over_the_tokens_of_the_whole_step() -> None:
    assert replay_loss(tensor([-6.0, -3.0]), 12).item() == pytest.approx(0.75)


@law
@given(rows)
def test_swapping_chosen_and_rejected_flips_the_margin(given_rows: Rows) -> None:
    columns = list(zip(*given_rows, strict=True))[:4]
    chosen, rejected, ref_chosen, ref_rejected = (tensor(column, dtype=torch.float64) for column in columns)
    forward = reward_margin(chosen, rejected, ref_chosen, ref_rejected, beta=0.3)
    assert torch.equal(forward, -reward_margin(rejected, chosen, ref_rejected, ref_chosen, beta=0.3))


@law
@given(rows)
def test_swapping_answers_and_label_changes_nothing(given_rows: Rows) -> None:
    swapped = [(r, c, rr, rc, 1 - y, w) for c, r, rc, rr, y, w in given_rows]
    assert loss_of(swapped).item() == pytest.approx(loss_of(given_rows).item(), rel=1e-6)


@law
@given(rows, st.floats(min_value=0.25, max_value=4))
def test_only_ratios_of_weights_matter(given_rows: Rows, factor: float) -> None:
    scaled = [(*row[:5], row[5] * factor) for row in given_rows]
    assert loss_of(scaled).item() == pytest.approx(loss_of(given_rows).item(), rel=1e-9)


@law
@given(rows)
def test_a_pair_of_weight_two_is_the_pair_given_twice(given_rows: Rows) -> None:
    once = [(*given_rows[0][:5], 2.0), *given_rows[1:]]
    twice = [(*given_rows[0][:5], 1.0), (*given_rows[0][:5], 1.0), *given_rows[1:]]
    assert loss_of(once).item() == pytest.approx(loss_of(twice).item(), rel=1e-9)


@law
@given(rows, st.data())
def test_the_losses_of_parts_add_up_to_the_step(given_rows: Rows, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(given_rows)))
    total = sum(row[5] for row in given_rows)
    parts = [part for part in (given_rows[:cut], given_rows[cut:]) if part]
    together = sum(loss_of(part, total_weight=total).item() for part in parts)
    assert together == pytest.approx(loss_of(given_rows).item(), rel=1e-9)


@law
@given(rows)
def test_the_loss_is_the_one_of_trl(given_rows: Rows) -> None:
    """TRL's own lines for 'robust', which is (1 - e) and -e times its 'sigmoid' of both directions over (1 - 2e)."""
    epsilon = 0.2
    columns = [tensor(column, dtype=torch.float64) for column in zip(*given_rows, strict=True)]
    forward = trl_losses("sigmoid", columns[:4], beta=0.1)
    backward = trl_losses("sigmoid", [columns[1], columns[0], columns[3], columns[2]], beta=0.1)
    ours = preference_losses(reward_margin(*columns[:4], beta=0.1), tensor(1 - epsilon, dtype=torch.float64))
    assert torch.allclose(ours, (1 - epsilon) * forward + epsilon * backward, rtol=1e-9)
    robust = trl_losses("robust", columns[:4], beta=0.1, smoothing=epsilon)
    assert torch.allclose((1 - epsilon) * forward - epsilon * backward, robust * (1 - 2 * epsilon), rtol=1e-9)


@cache
def trl_branch(kind: str) -> str:
    """The lines of TRL's DPOTrainer that compute one kind of loss."""
    from trl import DPOTrainer

    source = inspect.getsource(DPOTrainer._compute_loss)
    branch = re.search(rf'^( *)(?:el)?if loss_type == "{kind}":\n((?:\1    .*\n|\n)+)', source, re.MULTILINE)
    assert branch is not None, f"TRL has no {kind} loss any more"
    return textwrap.dedent(branch.group(2))


def trl_losses(kind: str, columns: list[Tensor], *, beta: float, smoothing: float = 0.0) -> Tensor:
    """Per-pair losses from TRL's very lines, run on given log-probabilities."""
    chosen, rejected, ref_chosen, ref_rejected = columns
    names: dict[str, object] = {
        "F": functional,
        "torch": torch,
        "self": SimpleNamespace(beta=beta, label_smoothing=smoothing),
        "delta_score": (chosen - ref_chosen) - (rejected - ref_rejected),
    }
    exec(trl_branch(kind), names)  # nosec B102 # the lines of the installed TRL that ours are compared with
    found = names["per_sequence_loss"]
    assert isinstance(found, Tensor)
    return found
