"""Counter-based noise: a random number is a function of where it is used, not of what was drawn before.

Every number is keyed by (seed, prompt, draw, position, token), so the same seed gives the same texts at any batch size and in
any order, different prompts never share a stream, and two models that answer the same prompt meet the same noise. Knows integers
and tensors; knows no model.
"""

import hashlib

import numpy as np
import torch

#: splitmix64 (Steele, Lea and Flood 2014): step and the two multipliers of its finaliser.
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def stream_key(seed: int, prompt: str, draw: int) -> int:
    """The 64-bit key of one draw's stream, as a signed integer; equal only by a chance of 2^-64 a pair."""
    digest = hashlib.blake2b(f"{seed}\0{draw}\0{prompt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def token_keys(vocabulary: int) -> torch.Tensor:
    """(V,) int64: one well-mixed key for each token id."""
    ids = np.arange(1, vocabulary + 1, dtype=np.uint64)
    return torch.from_numpy(_mixed(ids * np.uint64(_STEP)).view(np.int64))


def step_keys(streams: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """(R,) int64 keys of the positions that R streams have reached."""
    return _mix_(streams + (positions + 1) * _signed(_STEP))


def exponentials(steps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Exp(1) variates in float32, exact in their lower tail: (R, M) from step keys (R,) and token keys (M,) or (R, M)."""
    bits = _mix_(torch.bitwise_xor(steps[:, None], tokens))  # (R, M)
    uniform = bits.bitwise_right_shift_(11).bitwise_and_((1 << 53) - 1).to(torch.float32).add_(0.5).mul_(-(2.0**-53))
    return uniform.log1p_().neg_()


def _mix_(bits: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser in place; torch has no logical shift, so the sign's copies are masked off."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        bits.bitwise_xor_((bits >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(_signed(factor))
    return bits.bitwise_xor_((bits >> 31).bitwise_and_((1 << 33) - 1))


def _mixed(bits: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
