"""Counter-based noise: the right distribution, and nothing in common between prompts, draws, positions and tokens."""

import itertools

import pytest
import torch

from flagback.model.noise import exponentials, step_keys, stream_key, token_keys

torch.set_num_threads(1)


def noise(seed: int, prompt: str, draw: int, positions: int, vocabulary: int) -> torch.Tensor:
    """(positions, vocabulary) variates of one stream."""
    stream = torch.full((positions,), stream_key(seed, prompt, draw))
    return exponentials(step_keys(stream, torch.arange(positions)), token_keys(vocabulary))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_a_variate_depends_on_its_place_alone() -> None:
    streams = torch.tensor([stream_key(1, "a", 0), stream_key(1, "b", 0), stream_key(1, "c", 3)])
    together = exponentials(step_keys(streams, torch.tensor([4, 0, 9])), token_keys(50))
    apart = exponentials(step_keys(streams[2:], torch.tensor([9])), token_keys(5000)[[7, 30]])
    assert torch.equal(together[2, [7, 30]], apart[0])
    assert torch.equal(exponentials(step_keys(streams, torch.tensor([4, 0, 9])), token_keys(50)[None].expand(3, -1)), together)


def test_it_is_exponential_over_its_whole_range() -> None:
    values = noise(3, "prompt", 0, 500, 2000).flatten().double()
    expected = len(values) / 100
    counts = torch.histc(torch.exp(-values), bins=100, min=0, max=1)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert 50 < chi_square < 160  # 99 degrees of freedom: 99.99 % of fair draws
    assert float(values.mean()) == pytest.approx(1, abs=0.005)
    assert float(values.var()) == pytest.approx(1, abs=0.02)
    assert bool((values > 0).all())


def test_its_lower_tail_is_fine_enough_for_rare_tokens() -> None:
    smallest = noise(5, "prompt", 0, 2000, 2000).min()  # of four million: near 1 / 4e6
    assert 1e-9 < float(smallest) < 3e-6
    values = noise(5, "prompt", 0, 2000, 2000).flatten()
    rare = values[values < 1e-4].tolist()
    assert len(set(rare)) > 0.99 * len(rare)


def test_neighbouring_keys_have_nothing_in_common() -> None:
    first = noise(1, "prompt 1", 0, 300, 1000)
    limit = 5 / (300 * 1000) ** 0.5
    others = ((2, "prompt 1", 0), (1, "prompt 2", 0), (1, "prompt 1", 1), (-1, "prompt 1", 0), (1, "prompt 10", 0))
    for seed, prompt, draw in others:
        assert abs(correlation(first, noise(seed, prompt, draw, 300, 1000))) < limit
    assert abs(correlation(first[:-1], first[1:])) < limit
    assert abs(correlation(first[:, :-1], first[:, 1:])) < limit
    second = noise(1, "prompt 2", 0, 300, 1000)
    assert abs(correlation(first[:-1] * second[1:], first[1:] * second[:-1])) < 2 * limit


def test_no_two_streams_of_a_large_run_are_equal() -> None:
    keys = {stream_key(7, f"{prompt:x}", draw) for prompt, draw in itertools.product(range(20_000), range(8))}
    assert len(keys) == 160_000
    assert stream_key(1, "1\0a", 0) != stream_key(1, "a", 0)
    assert stream_key(11, "a", 1) != stream_key(1, "a", 11)


def test_argmax_of_share_over_noise_draws_by_share() -> None:
    shares = torch.tensor([0.5, 0.25, 0.125, 0.1, 0.025])
    drawn = torch.bincount((shares / noise(9, "prompt", 0, 100_000, 5)).argmax(-1), minlength=5)
    chi_square = float(((drawn - shares * 100_000) ** 2 / (shares * 100_000)).sum())
    assert chi_square < 23.5  # 4 degrees of freedom, 99.99 %
