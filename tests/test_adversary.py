"""The probe learns to tell, and what it learns comes back turned round."""

import math

import pytest
import torch

from flagback.model.adversary import Probe, probe_losses, reversed_gradient


def test_states_go_through_and_gradients_come_back_turned_round() -> None:
    states = torch.tensor([[1.0, 2.0]], requires_grad=True)
    turned = reversed_gradient(states, 0.5)
    assert torch.equal(turned, states)
    (gradient,) = torch.autograd.grad((turned * torch.tensor([[3.0, 4.0]])).sum(), states)
    assert gradient.tolist() == [[-1.5, -2.0]]


def test_a_probes_loss_worked_by_hand() -> None:
    # Brought to mean 0 and variance 1 both rows are (-1, 1) or (1, -1), whatever their size; the weight tells them apart by 2 ln 3.
    states = torch.tensor([[0.0, 10.0], [5.0, 3.0]])
    weight = torch.tensor([-math.log(3) / 2, math.log(3) / 2])
    right = probe_losses(states, torch.tensor([1.0, 0.0]), weight, torch.tensor(0.0))
    assert right.tolist() == pytest.approx([-math.log(3 / 4)] * 2, rel=1e-4)
    wrong = probe_losses(states, torch.tensor([0.0, 1.0]), weight, torch.tensor(0.0))
    assert wrong.tolist() == pytest.approx([-math.log(1 / 4)] * 2, rel=1e-4)


def test_a_probe_that_knows_nothing_is_right_half_the_time_and_learns() -> None:
    torch.manual_seed(0)
    probe, states = Probe(8, torch.device("cpu")), torch.randn(40, 8)
    states[20:, 0] += 2.0
    each, right = probe.losses(states, 1.0)
    assert each.tolist() == pytest.approx([math.log(2)] * 40)
    assert right == 0.5
    for _ in range(200):
        each, right = probe.losses(states, 1.0)
        torch.autograd.backward(each.mean())
        probe.step()
    assert right > 0.8
    assert each.mean().item() < 0.5


def test_the_states_follow_where_the_probe_cannot() -> None:
    torch.manual_seed(0)
    probe, states = Probe(8, torch.device("cpu")), torch.randn(40, 8)
    states[20:, 0] += 2.0
    states.requires_grad_()
    for _ in range(200):
        torch.autograd.backward(probe.losses(states, 1.0)[0].mean())
        assert states.grad is not None
        probe.step()
    # What the probe lowers with its weights, the reversed gradient raises with the states: they point to the other side.
    each, _ = probe.losses(states, 1.0)
    (towards,) = torch.autograd.grad(each.mean(), states)
    with torch.no_grad():
        moved = probe.losses(states - 0.5 * towards / towards.norm(), 1.0)[0].mean()
    assert moved > each.mean()


def test_a_probe_goes_on_from_its_state_bit_by_bit() -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 10, 4)

    def stepped(probe: Probe, some: torch.Tensor) -> None:
        torch.autograd.backward(probe.losses(some, 1.0)[0].sum())
        probe.step()

    straight, first, second = (Probe(4, torch.device("cpu")) for _ in range(3))
    for some in states:
        stepped(straight, some)
    stepped(first, states[0])
    second.load(first.state())
    for some in states[1:]:
        stepped(second, some)
    assert torch.equal(straight.weight, second.weight)
    assert torch.equal(straight.bias, second.bias)
    assert straight.weight.abs().max() > 0
