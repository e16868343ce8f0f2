"""What a part of a step is trained towards: from summed log-probabilities to the terms of the loss and the step's figures.

Knows plan, recipe and losses. Knows nothing of models, of layouts or of the trainer that follows the gradient.
Shapes: A answers of the part, B pairs, F flags, K answers of a ranking.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flagback.model import losses
from flagback.model.adversary import Probe
from flagback.model.consistency import Seen, consistency_loss
from flagback.model.contents import answers_of
from flagback.model.plan import Part, Plan
from flagback.model.recipe import Flag, Pair, Ranking, Recipe
from flagback.model.spool import View
from flagback.model.trees import Tree

#: What is summed over the parts of a step.
FIGURES = (
    *("preference", "replay", "margin", "right", "chosen", "rejected", "anchor", "flag", "ranking"),
    *("consistency", "adversary", "probe_right", "kl"),
)


class Reference(NamedTuple):
    """Log-probabilities under the reference, answer by answer, by place in the plan."""

    #: (chosen, rejected).
    pairs: Sequence[Sequence[float]]
    #: The best first.
    rankings: Sequence[Sequence[float]]
    #: (answer,), and behind it that of `mismatched` where the point is KTO's.
    flags: Sequence[Sequence[float]]


def tree_of(example: Pair | Flag | Ranking) -> Tree:
    """The example's prompt with all of its answers."""
    return Tree(tuple(example.prompt_ids), tuple(tuple(answer) for answer in answers_of(example)))


def mismatched_trees(plan: Plan, places: Sequence[int]) -> list[Tree | None]:
    """For flags at these places: their prompt with an answer that belongs to another one; None where all share one prompt."""
    trees: list[Tree | None] = []
    for place in places:
        other = plan.mismatched[place]
        answer = None if other is None else tuple(plan.flags[other].answer_ids)
        trees.append(None if answer is None else Tree(tuple(plan.flags[place].prompt_ids), (answer,)))
    return trees


def reference_trees(plan: Plan, recipe: Recipe) -> Sequence[Tree]:
    """All that the reference is asked for: pairs, rankings, flags."""
    pairs, rankings = len(plan.pairs), len(plan.pairs) + len(plan.rankings)

    def tree(place: int) -> Tree:
        if place < rankings:
            return tree_of(plan.pairs[place] if place < pairs else plan.rankings[place - pairs])
        own = tree_of(plan.flags[place - rankings])
        (other,) = mismatched_trees(plan, [place - rankings]) if recipe.flag_point == "kl" else [None]
        return Tree(own.prompt, own.answers + (other.answers if other else ()))

    return View(rankings + len(plan.flags), tree)


def reference_of(plan: Plan, found: Sequence[Sequence[float]]) -> Reference:
    """The values of `reference_trees`, by kind."""
    pairs, rankings = len(plan.pairs), len(plan.pairs) + len(plan.rankings)
    return Reference(found[:pairs], found[pairs:rankings], found[rankings:])


def part_trees(plan: Plan, part: Part) -> list[Tree]:
    """What a part needs scored, in the order in which `part_loss` takes it: pairs, replay lines, rankings, flags."""
    lines = [plan.replay[place] for place in part.replay]
    return [
        *(tree_of(plan.pairs[place]) for place in part.pairs),
        *(Tree(line[:1], (line[1:],)) for line in lines),
        *(tree_of(plan.rankings[place]) for place in part.rankings),
        *(tree_of(plan.flags[place]) for place in part.flags),
    ]


class Terms(NamedTuple):
    """A part's share of a step's loss."""

    #: By name, each times its factor of the recipe; the loss is their sum.
    weighed: dict[str, Tensor]
    #: Of the step's FIGURES.
    figures: dict[str, float]
    #: Share of each group's mean loss, where groups are weighed by it.
    group_losses: dict[str, float]

    @property
    def loss(self) -> Tensor:
        """Their sum."""
        first, *others = self.weighed.values()
        return sum(others, start=first)

    def with_those_of(self, other: "Terms") -> "Terms":
        """Both together; no name is in both."""
        return Terms(self.weighed | other.weighed, self.figures | other.figures, self.group_losses | other.group_losses)


def part_terms(
    plan: Plan,
    part: Part,
    logps: Tensor,
    reference: Reference,
    recipe: Recipe,
    *,
    point: Tensor | float = 0.0,
    group_factors: Mapping[str, float] | None = None,
) -> Terms:
    """The part's share of the step's loss, and of the step's FIGURES.

    `logps` is (A,), for the answers of `part_trees`; `point` is what flags are told from (`losses.flag_losses`). With
    `group_factors` the weights of pairs are multiplied by their groups'; the step's sum of weights stays.
    """
    ranked = [len(plan.rankings[place].answers_ids) for place in part.rankings]
    sizes = [2 * len(part.pairs), len(part.replay), sum(ranked), len(part.flags)]
    pair_logps, line_logps, ranking_logps, flag_logps = torch.split(logps, sizes)
    weighed: dict[str, Tensor] = {}
    figures: dict[str, float] = {}
    group_losses: dict[str, float] = {}
    if part.pairs:
        pairs = [plan.pairs[place] for place in part.pairs]
        scored = _scored(pairs, pair_logps.view(-1, 2), [reference.pairs[place] for place in part.pairs])
        weight = logps.new_tensor([pair.weight for pair in pairs])  # (B,)
        soft_label = logps.new_tensor([pair.soft_label for pair in pairs])  # (B,)
        each = losses.pair_losses(recipe.loss, scored, soft_label, beta=recipe.beta, noise=recipe.label_noise)  # (B,)
        counted = weight
        if group_factors is not None:
            groups = [pair.group for pair in pairs]
            counted = weight * logps.new_tensor([group_factors[group] for group in groups])  # (B,)
            group_losses = _group_losses(groups, (weight * each).tolist(), part.total_weight, plan.group_shares)
        preference = losses.weighted_mean(each, counted, part.total_weight)
        weighed["preference"] = recipe.preference_weight * preference
        figures |= {"preference": float(preference.detach())} | _pair_figures(scored, weight / part.total_weight, recipe.beta)
        if recipe.anchor_weight:
            lost = losses.anchor_losses(scored.chosen, scored.ref_chosen)  # (B,)
            anchor = losses.weighted_mean(soft_label * lost, counted, part.total_weight)
            weighed["anchor"] = recipe.anchor_weight * anchor
            figures["anchor"] = float(anchor.detach())
    if part.replay:
        replay = losses.replay_loss(line_logps, part.total_replay_tokens)
        weighed["replay"] = recipe.replay_weight * replay
        figures["replay"] = float(replay.detach())
    if part.rankings:
        origin = [logps.new_tensor(reference.rankings[place]) for place in part.rankings]
        each = losses.ranking_losses(torch.split(ranking_logps, ranked), origin, beta=recipe.beta)
        weight = logps.new_tensor([plan.rankings[place].weight for place in part.rankings])
        ranking = losses.weighted_mean(each, weight, part.total_ranking_weight)
        weighed["ranking"] = recipe.ranking_weight * ranking
        figures["ranking"] = float(ranking.detach())
    if part.flags:
        flags = [plan.flags[place] for place in part.flags]
        harmful = torch.tensor([flag.harmful for flag in flags], device=logps.device)  # (F,)
        own = logps.new_tensor([reference.flags[place][0] for place in part.flags])  # (F,)
        each = losses.flag_losses(flag_logps, own, harmful, beta=recipe.beta, point=point)
        flagged = losses.weighted_mean(each, logps.new_tensor([flag.weight for flag in flags]), part.total_flag_weight)
        weighed["flag"] = recipe.flag_weight * flagged
        figures["flag"] = float(flagged.detach())
    return Terms(weighed, figures, group_losses)


def swap_terms(plan: Plan, part: Part, seen: Seen, recipe: Recipe, probe: Probe | None) -> Terms:
    """The same of the part's swapped prompts, from what the model made of `consistency.rows_of` them."""
    weighed: dict[str, Tensor] = {}
    figures: dict[str, float] = {}
    if recipe.consistency_weight:
        lengths = [max(len(plan.swaps[place].continuation_ids), 1) for place in part.swaps]
        moved = consistency_loss(seen.logits, lengths, part.total_swaps)
        weighed["consistency"] = recipe.consistency_weight * moved
        figures["consistency"] = float(moved.detach())
    if probe is not None and seen.states is not None:
        each, right = probe.losses(seen.states, recipe.reversal)  # (2 S,)
        told = each.sum() / (2 * part.total_swaps)
        weighed["adversary"] = recipe.adversary_weight * told
        figures |= {"adversary": float(told.detach()), "probe_right": right * len(part.swaps) / part.total_swaps}
    return Terms(weighed, figures, {})


def part_loss(
    plan: Plan, part: Part, logps: Tensor, reference: Reference, recipe: Recipe, *, point: Tensor | float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """The part's loss and figures, every pair weighed as given (`part_terms`)."""
    terms = part_terms(plan, part, logps, reference, recipe, point=point)
    return terms.loss, terms.figures


def total(sums: dict[str, float], recipe: Recipe) -> float:
    """The step's loss from its figures."""
    return (
        recipe.preference_weight * sums["preference"]
        + recipe.replay_weight * sums["replay"]
        + recipe.anchor_weight * sums["anchor"]
        + recipe.ranking_weight * sums["ranking"]
        + recipe.flag_weight * sums["flag"]
        + recipe.consistency_weight * sums["consistency"]
        + recipe.adversary_weight * sums["adversary"]
    )


def _scored(pairs: Sequence[Pair], logps: Tensor, reference: Sequence[Sequence[float]]) -> losses.Scored:
    """Pairs from (B, 2) log-probabilities of chosen and rejected."""
    ref = logps.new_tensor(reference)  # (B, 2)
    tokens = logps.new_tensor([[len(answer) for answer in answers_of(pair)] for pair in pairs])  # (B, 2)
    return losses.Scored(*logps.unbind(1), *ref.unbind(1), *tokens.unbind(1))


def _group_losses(
    groups: Sequence[str], weighed: Sequence[float], total_weight: float, shares: Mapping[str, float]
) -> dict[str, float]:
    """Sums of w l / W by group, over the group's share of all pairs: over many steps the group's mean loss on average, since a step
    without a pair of it adds nothing and one with twice as many adds twice."""
    found: dict[str, float] = {}
    for group, value in zip(groups, weighed, strict=True):
        found[group] = found.get(group, 0.0) + value / total_weight / shares[group]
    return found


@torch.no_grad()
def _pair_figures(scored: losses.Scored, share: Tensor, beta: float) -> dict[str, float]:
    """Means over the step's pairs, of which these have `share` (B,)."""
    margin = losses.reward_margin(scored.chosen, scored.rejected, scored.ref_chosen, scored.ref_rejected, beta=beta)
    right = losses.right(margin)  # (B,)
    return {
        "margin": float(share @ margin),
        "right": float(share @ right),
        "chosen": float(share @ (scored.chosen - scored.ref_chosen)),
        "rejected": float(share @ (scored.rejected - scored.ref_rejected)),
        "kl": -float(
            share
            @ (
                (scored.chosen - scored.ref_chosen) / scored.chosen_tokens
                + (scored.rejected - scored.ref_rejected) / scored.rejected_tokens
            )
        )
        / 2,
    }
