"""Matrix products by whichever library of torch's is quick on this processor.

torch's CPU wheels compute float32 products with MKL, which keeps to a narrower instruction set on processors that are not its
maker's: 95 of 230 GFLOP/s a core of an AMD EPYC with AVX-512, where oneDNN, which is in the same wheels, reaches the 230
(docs/log.md). What is not float32 torch gives to oneDNN by itself.
Knows no gradients: for use inside an autograd.Function, or where none are wanted.
Shapes: N rows, I inputs, O outputs.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

#: Below so many multiplications a product's fixed cost is what counts.
WORTH_IT = 2**18
#: Rows given to oneDNN at once, and what their number is a multiple of: it makes a program for every number of rows, and keeps it.
BLOCK, UNIT = 1024, 32


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, O): rows (N, I) times the transpose of `weight` (O, I), and `bias` (O,) added; all of one type of number."""
    if not _by_one_dnn(rows, weight):
        return functional.linear(rows, weight, bias)
    if len(rows) <= BLOCK and len(rows) % UNIT == 0:
        return _whole(rows, weight, bias)
    found = rows.new_empty(len(rows), len(weight))  # no view of a longer block: a model may work on it in place
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        padded = functional.pad(some, (0, 0, 0, -len(some) % UNIT)) if len(some) % UNIT else some
        found[start : start + BLOCK] = _whole(padded, weight, bias)[: len(some)]
    return found


def _whole(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


def mm(one: Tensor, other: Tensor) -> Tensor:
    """(N, O): `one` (N, I) times `other` (I, O), of one type of number."""
    return linear(one, other.t())


def _by_one_dnn(rows: Tensor, weight: Tensor) -> bool:
    return (
        rows.dtype == torch.float32
        and rows.device.type == "cpu"
        and rows.numel() * len(weight) >= WORTH_IT
        and min(len(rows), *weight.shape) >= UNIT
        and type(weight) in (Tensor, torch.nn.Parameter)
        and slow_elsewhere()
    )


@cache
def slow_elsewhere() -> bool:
    """Whether MKL leaves this processor's instructions unused, and oneDNN does not. By its name, not by a trial: two processes of
    one run, or one before and one after a kill, have to compute the same bits."""
    there = torch.cpu.get_capabilities()
    return (
        hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(there.get("avx512_f"))
        and "intel" not in str(there.get("cpu_name", "")).lower()
    )
