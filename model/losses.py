"""Losses of the correction: preference loss over sums of log-probabilities, and plain likelihood for replay.

Pure functions of tensors. Knows nothing of models, of tokenizers or of how a batch is laid out.
Shapes: B pairs, N scored positions, V vocabulary. Log-probabilities are in nats.
"""

from torch import Tensor
from torch.nn import functional


def token_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns (N,) log-probabilities of `targets` (N,) under `logits` (N, V), computed in float32 whatever the model's type."""
    return -functional.cross_entropy(logits.float(), targets, reduction="none")  # (N,)


def reward_margin(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float) -> Tensor:
    """Returns (B,) differences of implicit rewards, beta * [(chosen - ref_chosen) - (rejected - ref_rejected)].

    The implicit reward is beta * log(policy / reference): Rafailov et al. 2023 (arXiv 2305.18290), eq. 5 without its constant.
    Swapping chosen and rejected flips the sign.
    """
    return beta * ((chosen - ref_chosen) - (rejected - ref_rejected))  # (B,)


def preference_losses(margin: Tensor, soft_label: Tensor) -> Tensor:
    """Returns (B,) losses -y * log sigmoid(m) - (1 - y) * log sigmoid(-m); y is the probability that chosen is the better one.

    y = 1 is DPO (Rafailov et al. 2023, eq. 7), other y conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences").
    Its minimum over m lies at log(y / (1 - y)), so a doubtful pair stops pulling once the margin says what its reviewers said.
    """
    return -soft_label * functional.logsigmoid(margin) - (1 - soft_label) * functional.logsigmoid(-margin)  # (B,)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float,
    soft_label: Tensor,
    weight: Tensor,
    total_weight: float | None = None,
) -> Tensor:
    """Returns the scalar sum(w * loss) / sum(w): a pair of weight 2 counts as the pair given twice; only ratios of weights matter.

    All tensors are (B,), the first four summed log-probabilities. `total_weight` is the sum over the whole optimiser step where
    this batch is only a part of it; the parts' losses then add up to the step's. An empty batch without `total_weight` is nan.
    """
    losses = preference_losses(reward_margin(chosen, rejected, ref_chosen, ref_rejected, beta=beta), soft_label)  # (B,)
    return (weight * losses).sum() / (weight.sum() if total_weight is None else total_weight)


def replay_loss(logps: Tensor, total_tokens: int) -> Tensor:
    """Returns the scalar mean negative log-likelihood a token: minus the sum of `logps` (any shape) over the step's `total_tokens`.

    Keeps the model close to what it wrote before, by ordinary maximum likelihood on neutral lines.
    """
    return -logps.sum() / total_tokens
