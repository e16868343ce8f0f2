"""The losses against values worked by hand, against TRL's code, and against the laws they must obey."""

import inspect
import math
import re
import textwrap
from functools import cache
from itertools import permutations
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor
from torch.nn import functional

from flagback.model.losses import (
    Scored,
    anchor_losses,
    flag_losses,
    kl_point,
    pair_losses,
    preference_losses,
    ranking_loss,
    ranking_losses,
    replay_loss,
    reward_margin,
    token_logps,
    weighted_mean,
)
from flagback.model.recipe import LossName

logps = st.floats(min_value=-80, max_value=0, width=32)
#: No deadline: the machine is shared, and the first call of one test imports TRL.
law = settings(deadline=None, max_examples=60)
weights = st.floats(min_value=0.125, max_value=8, width=32)
labels = st.floats(min_value=0, max_value=1, width=32)
rows = st.lists(st.tuples(logps, logps, logps, logps, labels, weights), min_size=1, max_size=6)
Rows = list[tuple[float, float, float, float, float, float]]


#: Label noise where a loss takes one.
NOISE: dict[LossName, float] = {"dpo": 0.0, "cdpo": 0.2, "robust": 0.2, "ipo": 0.0, "apo_zero": 0.0, "apo_down": 0.0}
NAMES: list[LossName] = list(get_args(LossName))


def loss_of(given_rows: Rows, beta: float = 0.1, total_weight: float | None = None, name: LossName = "dpo") -> Tensor:
    """The loss of rows (chosen, rejected, ref_chosen, ref_rejected, soft label, weight), in float64; answers of one token."""
    columns = [tensor(column, dtype=torch.float64) for column in zip(*given_rows, strict=True)]
    each = pair_losses(name, one_token(columns[:4]), columns[4], beta=beta, noise=NOISE[name])
    return weighted_mean(each, columns[5], total_weight)


def one_token(columns: list[Tensor]) -> Scored:
    """Pairs whose answers have one token."""
    chosen, rejected, ref_chosen, ref_rejected = columns
    ones = torch.ones_like(chosen)
    return Scored(chosen, rejected, ref_chosen, ref_rejected, ones, ones)


def one_pair(
    name: LossName, *, rise: float, fall: float, beta: float, soft_label: float = 1.0, tokens: tuple[int, int] = (1, 1)
) -> float:
    """A pair whose chosen answer became `rise` nats likelier and whose rejected one `fall` nats less likely."""
    chosen, rejected, ref = (tensor([value], dtype=torch.float64) for value in (-20 + rise, -20 - fall, -20.0))
    pair = Scored(chosen, rejected, ref, ref, tensor([tokens[0]]), tensor([tokens[1]]))
    return pair_losses(name, pair, tensor([soft_label], dtype=torch.float64), beta=beta, noise=NOISE[name]).item()


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


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


# ------------------------------------------------------------------ the other pair losses, by hand


def test_conservative_dpo_worked_by_hand() -> None:
    # margin .5 * 4 = 2, a fifth of labels wrong: .8 * .126928 + .2 * 2.126928 = .526928
    assert one_pair("cdpo", rise=3, fall=1, beta=0.5) == pytest.approx(0.52692801)
    # a soft label of .75 is blurred to .8 * .75 + .2 * .25 = .65: .65 * .126928 + .35 * 2.126928 = .826928
    assert one_pair("cdpo", rise=3, fall=1, beta=0.5, soft_label=0.75) == pytest.approx(0.82692801)


def test_robust_dpo_worked_by_hand() -> None:
    # (.8 * .126928 - .2 * 2.126928) / .6 = -.539739
    assert one_pair("robust", rise=3, fall=1, beta=0.5) == pytest.approx(-0.53973866, abs=1e-7)


def test_robust_dpo_undoes_the_noise_that_conservative_dpo_assumes() -> None:
    # its mean over labels flipped with probability e is DPO under the true label: .8 * robust(y) + .2 * robust(1 - y) = dpo(y)
    right, wrong = (one_pair("robust", rise=3, fall=1, beta=0.5, soft_label=label) for label in (1.0, 0.0))
    assert 0.8 * right + 0.2 * wrong == pytest.approx(one_pair("dpo", rise=3, fall=1, beta=0.5))


def test_identity_preference_optimisation_worked_by_hand() -> None:
    # chosen of 2 tokens rose by 3 nats, rejected of 4 fell by 1: h = 1.5 + .25 = 1.75; (1.75 - 1 / (2 * .5))^2 = .5625
    assert one_pair("ipo", rise=3, fall=1, beta=0.5, tokens=(2, 4)) == pytest.approx(0.5625)
    # label .75: .75 * .5625 + .25 * (1.75 + 1)^2 = 2.3125
    assert one_pair("ipo", rise=3, fall=1, beta=0.5, tokens=(2, 4), soft_label=0.75) == pytest.approx(2.3125)


def test_anchored_preference_optimisation_worked_by_hand() -> None:
    # rewards .5 * 3 = 1.5 and .5 * -1 = -.5
    assert one_pair("apo_zero", rise=3, fall=1, beta=0.5) == pytest.approx(1 - sigmoid(1.5) + sigmoid(-0.5))
    assert one_pair("apo_down", rise=3, fall=1, beta=0.5) == pytest.approx(sigmoid(1.5) + 1 - sigmoid(2))
    swapped = sigmoid(1.5) + 1 - sigmoid(-0.5)
    assert one_pair("apo_zero", rise=3, fall=1, beta=0.5, soft_label=0.75) == pytest.approx(
        0.75 * (1 - sigmoid(1.5) + sigmoid(-0.5)) + 0.25 * swapped
    )


def test_the_anchor_counts_only_what_chosen_answers_lost() -> None:
    ref = tensor([-10.0, -10.0, -10.0])
    chosen = tensor([-12.5, -10.0, -4.0], requires_grad=True)
    lost = anchor_losses(chosen, ref)
    assert lost.tolist() == [2.5, 0.0, 0.0]
    [gradient] = torch.autograd.grad(lost.sum(), chosen)
    assert gradient.tolist() == [-1.0, 0.0, 0.0]


# ------------------------------------------------------------------ flags and rankings, by hand


def test_flags_worked_by_hand() -> None:
    # a fine answer 2 nats likelier and a harmful one 2 nats less likely both gain .5 * 2 = 1; a harmful one 2 nats likelier loses
    found = flag_losses(tensor([-8.0, -12.0, -8.0]), tensor([-10.0] * 3), tensor([False, True, True]), beta=0.5)
    assert found.tolist() == pytest.approx([1 - sigmoid(1), 1 - sigmoid(1), 1 - sigmoid(-1)])
    # told from a policy that moved by .6 nats everywhere: .5 * (2 - .6) = .7 and .5 * (.6 + 2) = 1.3
    found = flag_losses(tensor([-8.0, -12.0]), tensor([-10.0] * 2), tensor([False, True]), beta=0.5, point=0.6)
    assert found.tolist() == pytest.approx([1 - sigmoid(0.7), 1 - sigmoid(1.3)])


def test_the_point_of_flags_is_a_mean_that_is_never_below_the_reference() -> None:
    moved = tensor([-8.0, -11.0], requires_grad=True)
    assert kl_point(moved, tensor([-10.0, -10.0])).item() == 0.5
    assert kl_point(moved - 5, tensor([-10.0, -10.0])).item() == 0.0
    assert not kl_point(moved, tensor([-10.0, -10.0])).requires_grad


def test_a_ranking_of_three_worked_by_hand() -> None:
    # rewards 0, log 2, log 3: chances 1 / (1 + 2 + 3), then 2 / (2 + 3), then 1
    found = ranking_loss(tensor([0.0, math.log(2), math.log(3)]))
    assert found.item() == pytest.approx(-math.log(1 / 6) - math.log(2 / 5))


def test_rankings_of_different_lengths_stand_side_by_side() -> None:
    first, second = tensor([-5.0, -6.0, -9.0]), tensor([-2.0, -3.0])
    found = ranking_losses([first, second], [tensor([-5.0, -5.0, -5.0]), tensor([-3.0, -3.0])], beta=0.5)
    assert found.tolist() == pytest.approx(
        [ranking_loss(tensor([0.0, -0.5, -2.0])).item(), ranking_loss(tensor([0.5, 0.0])).item()]
    )


@law
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5))
def test_the_chances_of_all_orders_add_up_to_one(rewards: list[float]) -> None:
    chances = [math.exp(-ranking_loss(tensor(order, dtype=torch.float64)).item()) for order in permutations(rewards)]
    assert sum(chances) == pytest.approx(1)


@law
@given(rows)
def test_a_ranking_of_two_is_dpo(given_rows: Rows) -> None:
    chosen, rejected, ref_chosen, ref_rejected = ([row[i] for row in given_rows] for i in range(4))
    answers = [tensor(pair, dtype=torch.float64) for pair in zip(chosen, rejected, strict=True)]
    origin = [tensor(pair, dtype=torch.float64) for pair in zip(ref_chosen, ref_rejected, strict=True)]
    certain = loss_of([(*row[:4], 1.0, 1.0) for row in given_rows])
    assert ranking_losses(answers, origin, beta=0.1).mean().item() == pytest.approx(certain.item(), rel=1e-9, abs=1e-12)


# ------------------------------------------------------------------ laws


@law
@given(rows, st.sampled_from([name for name in NAMES if name != "robust"]))
def test_no_loss_but_robust_is_below_zero(given_rows: Rows, name: LossName) -> None:
    assert loss_of(given_rows, name=name).item() >= 0


@law
@given(rows, st.sampled_from(NAMES))
def test_swapping_answers_and_label_changes_nothing(given_rows: Rows, name: LossName) -> None:
    swapped = [(r, c, rr, rc, 1 - y, w) for c, r, rc, rr, y, w in given_rows]
    assert loss_of(swapped, name=name).item() == pytest.approx(loss_of(given_rows, name=name).item(), rel=1e-6)


@law
@given(rows, st.floats(min_value=0.25, max_value=4), st.sampled_from(NAMES))
def test_only_ratios_of_weights_matter(given_rows: Rows, factor: float, name: LossName) -> None:
    scaled = [(*row[:5], row[5] * factor) for row in given_rows]
    assert loss_of(scaled, name=name).item() == pytest.approx(loss_of(given_rows, name=name).item(), rel=1e-9)


@law
@given(rows, st.sampled_from(NAMES))
def test_a_pair_of_weight_two_is_the_pair_given_twice(given_rows: Rows, name: LossName) -> None:
    once = [(*given_rows[0][:5], 2.0), *given_rows[1:]]
    twice = [(*given_rows[0][:5], 1.0), (*given_rows[0][:5], 1.0), *given_rows[1:]]
    assert loss_of(once, name=name).item() == pytest.approx(loss_of(twice, name=name).item(), rel=1e-9)


@law
@given(rows, st.data(), st.sampled_from(NAMES))
def test_the_losses_of_parts_add_up_to_the_step(given_rows: Rows, data: st.DataObject, name: LossName) -> None:
    cut = data.draw(st.integers(1, len(given_rows)))
    total = sum(row[5] for row in given_rows)
    parts = [part for part in (given_rows[:cut], given_rows[cut:]) if part]
    together = sum(loss_of(part, total_weight=total, name=name).item() for part in parts)
    assert together == pytest.approx(loss_of(given_rows, name=name).item(), rel=1e-9)


@law
@given(rows, st.sampled_from([name for name in NAMES if name != "apo_down"]))
def test_full_doubt_pulls_nowhere_at_the_reference(given_rows: Rows, name: LossName) -> None:
    """With y = 1/2 the gradient at the reference is 0, whatever the pair; `apo_down` pushes both answers down by design."""
    columns = [tensor([row[i] for row in given_rows], dtype=torch.float64) for i in range(2)]
    policy = [column.clone().requires_grad_() for column in columns]
    half = torch.full_like(columns[0], 0.5)
    each = pair_losses(name, one_token([*policy, *columns]), half, beta=0.3, noise=NOISE[name])
    for gradient in torch.autograd.grad(each.sum(), policy):
        assert gradient.abs().max().item() < 1e-12


# ------------------------------------------------------------------ TRL


@law
@given(rows, st.sampled_from(["dpo", "robust", "ipo", "apo_zero", "apo_down"]))
def test_the_losses_are_those_of_trl(given_rows: Rows, name: LossName) -> None:
    """TRL's own lines, run on the same log-probabilities and numbers of tokens."""
    columns = [tensor(column, dtype=torch.float64) for column in zip(*given_rows, strict=True)]
    tokens = [torch.arange(len(given_rows)) % 5 + first for first in (1, 3)]
    ours = pair_losses(name, Scored(*columns[:4], *tokens), torch.ones_like(columns[0]), beta=0.1, noise=NOISE[name])
    kind = "sigmoid" if name == "dpo" else name
    assert torch.allclose(ours, trl_losses(kind, columns[:4], beta=0.1, smoothing=NOISE[name], tokens=tokens), rtol=1e-9)


@law
@given(rows)
def test_conservative_dpo_is_trls_sigmoid_of_both_directions(given_rows: Rows) -> None:
    columns = [tensor(column, dtype=torch.float64) for column in zip(*given_rows, strict=True)]
    forward = trl_losses("sigmoid", columns[:4], beta=0.1)
    backward = trl_losses("sigmoid", [columns[1], columns[0], columns[3], columns[2]], beta=0.1)
    ours = pair_losses("cdpo", one_token(columns[:4]), torch.ones_like(columns[0]), beta=0.1, noise=0.2)
    assert torch.allclose(ours, 0.8 * forward + 0.2 * backward, rtol=1e-9)


@law
@given(st.lists(st.tuples(logps, logps, st.booleans()), min_size=1, max_size=6), st.floats(0, 5))
def test_the_losses_of_flags_are_those_of_trl(given_flags: list[tuple[float, float, bool]], point: float) -> None:
    columns = [tensor([flag[i] for flag in given_flags], dtype=torch.float64) for i in range(2)]
    harmful = tensor([flag[2] for flag in given_flags])
    names: dict[str, object] = {"F": functional, "self": SimpleNamespace(beta=0.1), "kl": tensor([point], dtype=torch.float64)}
    for kind, at in (("kto", point), ("apo_zero_unpaired", 0.0)):
        ours = flag_losses(columns[0], columns[1], harmful, beta=0.1, point=at)
        for side, rows_of_side in (("chosen", ~harmful), ("rejected", harmful)):
            names[f"{side}_logratios"] = (columns[0] - columns[1])[rows_of_side]
            exec(trl_flag_branch(kind, side), names)  # nosec B102 # the lines of the installed TRL that ours are compared with
            theirs = names[f"{side}_losses"]
            assert isinstance(theirs, Tensor)
            assert torch.allclose(ours[rows_of_side], theirs, rtol=1e-9)


@cache
def trl_branch(kind: str) -> str:
    """The lines of TRL's DPOTrainer that compute one kind of loss."""
    from trl import DPOTrainer

    source = inspect.getsource(DPOTrainer._compute_loss)
    branch = re.search(rf'^( *)(?:el)?if loss_type == "{kind}":\n((?:\1    .*\n|\n)+)', source, re.MULTILINE)
    assert branch is not None, f"TRL has no {kind} loss any more"
    return textwrap.dedent(branch.group(2))


@cache
def trl_flag_branch(kind: str, side: str) -> str:
    """The line of TRL's KTOTrainer that computes one kind of loss for chosen or for rejected answers."""
    from trl import KTOTrainer

    source = inspect.getsource(KTOTrainer._compute_loss)
    found = re.search(rf'if self\.loss_type == "{kind}":\n(?: *#.*\n)* *({side}_losses = .*)\n', source)
    assert found is not None, f"TRL has no {kind} loss of {side} answers any more"
    return found.group(1)


def trl_losses(
    kind: str, columns: list[Tensor], *, beta: float, smoothing: float = 0.0, tokens: list[Tensor] | None = None
) -> Tensor:
    """Per-pair losses from TRL's very lines, run on given log-probabilities and numbers of tokens."""
    chosen, rejected, ref_chosen, ref_rejected = columns
    lengths = tokens or [torch.ones_like(chosen), torch.ones_like(chosen)]
    widest = int(max(length.max() for length in lengths))
    mask = torch.cat([torch.arange(widest) < length[:, None] for length in lengths])
    names: dict[str, object] = {
        "F": functional,
        "torch": torch,
        "self": SimpleNamespace(beta=beta, label_smoothing=smoothing),
        "delta_score": (chosen - ref_chosen) - (rejected - ref_rejected),
        "chosen_scores": chosen - ref_chosen,
        "rejected_scores": rejected - ref_rejected,
        "chosen_logratios": chosen - ref_chosen,
        "rejected_logratios": rejected - ref_rejected,
        "completion_mask": mask,
    }
    exec(trl_branch(kind), names)  # nosec B102 # the lines of the installed TRL that ours are compared with
    found = names["per_sequence_loss"]
    assert isinstance(found, Tensor)
    return found
