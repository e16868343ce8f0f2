"""Losses of the correction: pure functions of sums of log-probabilities, each with its equation and source.

Knows nothing of models, of tokenizers or of how a batch is laid out. Every loss comes as (B,), one an example; what
examples weigh is `weighted_mean`'s business alone.
Shapes: B pairs or flags, K answers of a ranking, N scored positions, V vocabulary. Log-probabilities are in nats.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from flagback.model.recipe import LossName

#: A margin closer to 0 is rounding, as before the first update.
TIE = 1e-5


def token_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns (N,) log-probabilities of `targets` (N,) under `logits` (N, V), computed in float32 whatever the model's type."""
    return -functional.cross_entropy(logits.float(), targets, reduction="none")  # (N,)


class Scored(NamedTuple):
    """B pairs as the losses see them; every field is (B,)."""

    #: Summed log-probabilities under the policy ...
    chosen: Tensor
    rejected: Tensor
    #: ... and under the reference.
    ref_chosen: Tensor
    ref_rejected: Tensor
    #: Tokens of the answers, for losses a token.
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def swapped(self) -> "Scored":
        """The same pairs with the rejected answer in the place of the chosen one."""
        return Scored(self.rejected, self.chosen, self.ref_rejected, self.ref_chosen, self.rejected_tokens, self.chosen_tokens)


def weighted_mean(losses: Tensor, weight: Tensor, total_weight: float | None = None) -> Tensor:
    """Returns the scalar sum(w * loss) / sum(w): an example of weight 2 counts as the example given twice; only ratios matter.

    `total_weight` is the sum over the whole optimiser step, all its parts and ranks, where these losses are only a part of it; the
    parts' means then add up to the step's. Nothing at all without `total_weight` is nan.
    """
    return (weight * losses).sum() / (weight.sum() if total_weight is None else total_weight)


# ------------------------------------------------------------------------- pairs


def reward_margin(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float) -> Tensor:
    """Returns (B,) differences of implicit rewards, beta * [(chosen - ref_chosen) - (rejected - ref_rejected)].

    The implicit reward is beta * log(policy / reference): Rafailov et al. 2023 (arXiv 2305.18290), eq. 5 without its constant.
    Swapping chosen and rejected flips the sign.
    """
    return beta * ((chosen - ref_chosen) - (rejected - ref_rejected))  # (B,)


def right(margin: Tensor) -> Tensor:
    """Returns (B,): 1 where the margin favours the chosen answer, 0 where the other; within TIE of 0 it is half right."""
    return ((margin > TIE).to(margin) + (margin >= -TIE).to(margin)) / 2  # (B,)


def preference_losses(margin: Tensor, soft_label: Tensor) -> Tensor:
    """Returns (B,) losses -y * log sigmoid(m) - (1 - y) * log sigmoid(-m); y is the probability that chosen is the better one.

    y = 1 is DPO (Rafailov et al. 2023, eq. 7), other y conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences").
    Its minimum over m lies at log(y / (1 - y)), so a doubtful pair stops pulling once the margin says what its reviewers said.
    """
    return -soft_label * functional.logsigmoid(margin) - (1 - soft_label) * functional.logsigmoid(-margin)  # (B,)


def dpo_losses(pairs: Scored, soft_label: Tensor, *, beta: float) -> Tensor:
    """Direct preference optimisation: -log sigmoid of the margin, with soft labels (`preference_losses`)."""
    return preference_losses(_margin(pairs, beta), soft_label)


def cdpo_losses(pairs: Scored, soft_label: Tensor, *, beta: float, noise: float) -> Tensor:
    """Conservative DPO: every label is wrong with probability e, y' = (1 - e) y + e (1 - y) (Mitchell 2023).

    The margin is no longer driven to infinity: it comes to rest at log(y' / (1 - y')).
    """
    return preference_losses(_margin(pairs, beta), (1 - noise) * soft_label + noise * (1 - soft_label))


def robust_losses(pairs: Scored, soft_label: Tensor, *, beta: float, noise: float) -> Tensor:
    """Robust DPO, [(1 - e) l(m) - e l(-m)] / (1 - 2 e): its mean over labels flipped with probability e < 1/2 is the loss under the
    true ones (Chowdhury et al. 2024, arXiv 2403.00409).

    As l is linear in the label, this is DPO with y' = (y - e) / (1 - 2 e), the inverse of what noise does to a label; y' may leave
    [0, 1], and the loss then has no lower bound.
    """
    return preference_losses(_margin(pairs, beta), (soft_label - noise) / (1 - 2 * noise))


def ipo_losses(pairs: Scored, soft_label: Tensor, *, beta: float) -> Tensor:
    """Identity preference optimisation, (h - 1 / (2 beta))^2 (Azar et al. 2023, arXiv 2310.12036, eq. 17).

    h is the difference of log(policy / reference) a token, chosen minus rejected: by tokens, as its authors told TRL that they did,
    so that long answers do not weigh more. beta is the paper's tau. With a soft label h comes to rest at (2 y - 1) / (2 beta).
    """
    h = (pairs.chosen - pairs.ref_chosen) / pairs.chosen_tokens - (pairs.rejected - pairs.ref_rejected) / pairs.rejected_tokens
    aim = 1 / (2 * beta)
    return soft_label * (h - aim).square() + (1 - soft_label) * (h + aim).square()  # (B,)


def apo_zero_losses(pairs: Scored, soft_label: Tensor, *, beta: float) -> Tensor:
    """Anchored preference optimisation, 1 - sigmoid(r_chosen) + sigmoid(r_rejected), r the implicit reward.

    For chosen answers better than what the model writes: they become likelier and rejected ones less likely, each against the
    reference and not only against each other (D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 7).
    """

    def certain(given: Scored) -> Tensor:
        chosen, rejected = _rewards(given, beta)
        return torch.sigmoid(-chosen) + torch.sigmoid(rejected)  # (B,)

    return _expected(certain, pairs, soft_label)


def apo_down_losses(pairs: Scored, soft_label: Tensor, *, beta: float) -> Tensor:
    """The same for chosen answers worse than what the model writes: sigmoid(r_chosen) + 1 - sigmoid(r_chosen - r_rejected).

    Both become less likely, the rejected one more so (D'Oosterlinck et al. 2024, eq. 8). The one loss here whose gradient at the
    reference does not vanish with y = 1/2: a pair in full doubt still has both of its answers pushed down.
    """

    def certain(given: Scored) -> Tensor:
        chosen, rejected = _rewards(given, beta)
        return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)  # (B,)

    return _expected(certain, pairs, soft_label)


def pair_losses(name: LossName, pairs: Scored, soft_label: Tensor, *, beta: float, noise: float) -> Tensor:
    """Returns (B,) losses by the name that a recipe has for them; `noise` is e of the two that assume wrong labels."""
    match name:
        case "dpo":
            return dpo_losses(pairs, soft_label, beta=beta)
        case "cdpo":
            return cdpo_losses(pairs, soft_label, beta=beta, noise=noise)
        case "robust":
            return robust_losses(pairs, soft_label, beta=beta, noise=noise)
        case "ipo":
            return ipo_losses(pairs, soft_label, beta=beta)
        case "apo_zero":
            return apo_zero_losses(pairs, soft_label, beta=beta)
        case "apo_down":
            return apo_down_losses(pairs, soft_label, beta=beta)


def anchor_losses(chosen: Tensor, ref_chosen: Tensor) -> Tensor:
    """Returns (B,) nats that chosen answers lost against the reference, max(0, ref_chosen - chosen).

    The penalty of DPO-Positive (Pal et al. 2024, arXiv 2402.13228) against likelihood displacement, where a margin grows
    although the chosen answer falls. It stands beside the preference loss and not within its sigmoid, so that it goes with every
    one of them and does not fade with the margin. 0, and without gradient, while the answer is as likely as it was.
    """
    return functional.relu(ref_chosen - chosen)  # (B,)


def _margin(pairs: Scored, beta: float) -> Tensor:
    return reward_margin(pairs.chosen, pairs.rejected, pairs.ref_chosen, pairs.ref_rejected, beta=beta)


def _rewards(pairs: Scored, beta: float) -> tuple[Tensor, Tensor]:
    """(B,) implicit rewards of chosen and of rejected."""
    return beta * (pairs.chosen - pairs.ref_chosen), beta * (pairs.rejected - pairs.ref_rejected)


def _expected(certain: Callable[[Scored], Tensor], pairs: Scored, soft_label: Tensor) -> Tensor:
    """The expected loss where chosen is the better one with probability y: y l(c, r) + (1 - y) l(r, c)."""
    return soft_label * certain(pairs) + (1 - soft_label) * certain(pairs.swapped)


# ------------------------------------------------------------- flags and rankings


def flag_losses(logps: Tensor, ref_logps: Tensor, harmful: Tensor, *, beta: float, point: Tensor | float = 0.0) -> Tensor:
    """Returns (B,) losses of answers judged alone, without a counterpart: 1 - sigmoid(beta (r - z)) of a fine one and
    1 - sigmoid(beta (z - r)) of a harmful one, with r = log(policy / reference).

    Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306, sec. 4); classes are weighed by the examples' weights,
    in place of its lambdas. z is the point from which gain and loss are told: 0, the reference itself (the unpaired form of
    D'Oosterlinck et al. 2024, eq. 7), or `kl_point`. `harmful` is (B,) of truth values.
    """
    reward = beta * (logps - ref_logps - point)  # (B,)
    return torch.sigmoid(torch.where(harmful, reward, -reward))


def kl_point(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Returns the scalar max(0, mean log(policy / reference)) over answers under prompts that they do not belong to.

    KTO's estimate of how far the policy is from the reference (Ethayarajh et al. 2024, sec. 4); taken without gradient.
    """
    return (logps - ref_logps).mean().clamp(min=0).detach()


def ranking_loss(rewards: Tensor) -> Tensor:
    """Returns the scalar -log probability of the order of `rewards` (K,), best first: -sum_k [r_k - log sum_(j >= k) exp r_j].

    Plackett (1975) and Luce (1959), with the implicit reward beta * log(policy / reference) as DPO has it for rankings (Rafailov et
    al. 2023, appendix A.3). Two answers are DPO. The last place is no choice and costs nothing.
    """
    return (torch.logcumsumexp(rewards.flip(0), 0).flip(0) - rewards).sum()


def ranking_losses(logps: Sequence[Tensor], ref_logps: Sequence[Tensor], *, beta: float) -> Tensor:
    """Returns (B,) losses of B rankings, each (K,) of its own length, best first."""
    return torch.stack([ranking_loss(beta * (mine - theirs)) for mine, theirs in zip(logps, ref_logps, strict=True)])


def replay_loss(logps: Tensor, total_tokens: int) -> Tensor:
    """Returns the scalar mean negative log-likelihood a token: minus the sum of `logps` (any shape) over the step's `total_tokens`.

    Keeps the model close to what it wrote before, by ordinary maximum likelihood on neutral lines.
    """
    return -logps.sum() / total_tokens
