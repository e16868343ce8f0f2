"""How votes become pairs, asked where a correction is started: the policies, what each gives now, and what would change.

Part of the page Corrections. Speaks of groups, never of persons, and of groups of five people or more only.
"""

from collections.abc import Mapping
from typing import NamedTuple

import streamlit as st
from sqlmodel import Session

from flagback.model import pair_sets, policies, policy_comparison
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look
from flagback.review_app.words import number, percent, stored, tr
from flagback.storage import adjudications, background, comparisons, rater_groups
from flagback.storage.comparisons import Compared
from flagback.storage.preferences import NewPair
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.rater_groups import Grouping, NoSuchQuestion
from flagback.storage.records import Conclusion

#: Fewer draws than the command line's: the page is drawn anew at each click.
DRAWS = 40
TITLES: dict[str, str] = {
    "majority": "Majority",
    "any_group": "Any group's majority",
    "mean_of_groups": "Mean of groups",
    "max_of_groups": "The group that minds most",
    "jury": "A jury, seats dealt out evenly",
    "dawid_skene": "Dawid and Skene",
}


class Preview(NamedTuple):
    """What a correction would learn from if it started now."""

    flags: int
    pairs: list[NewPair]
    #: Harmful answers without a counterpart on training prompts, and fine ones that would teach beside them.
    alone: tuple[int, int]
    #: Pairs on training prompts, and those kept back to test on.
    training: int
    held_out: int
    #: How many equally weighed pairs would say as much as all of them.
    effective: float
    #: (messages, chosen, rejected) of some pairs.
    examples: list[tuple[list[dict[str, str]], str, str]]


def preview(session: Session, version_id: int) -> Preview:
    """The pairs that the reviews of a version's answers give now by the majority, by the code that builds them; stores nothing."""
    panel = _panel(session, version_id)
    return _preview(panel, pair_sets.Choice(), rater_groups.NOBODY)


class _Panel(NamedTuple):
    """What people said of a version's answers."""

    rows: list[pair_sets.Read]
    compared: list[Compared]
    concluded: Mapping[int, Conclusion]


def _panel(session: Session, version_id: int) -> _Panel:
    return _Panel(
        pair_sets.read(session, version_id, simulated=False),
        comparisons.judged(session, version_id, simulated=False),
        adjudications.of_generations(session),
    )


def _preview(panel: _Panel, choice: pair_sets.Choice, grouping: Grouping) -> Preview:
    rows, compared, concluded = panel
    built = pair_sets.build(rows, choice, grouping, concluded, compared)
    prompts = {row.prompt.id: row.prompt for row in rows} | {one.prompt.id: one.prompt for one in compared}
    texts = {row.generation.id: row.generation.text for row in rows} | {-one.review_id: one.text for one in built.rewrites}
    texts |= {generation.id: generation.text for one in compared for generation in one.generations}
    training = sum(prompts[pair.prompt_id].shard in TRAINING_SHARDS for pair in built.pairs)
    alone = [one.harmful for one in built.unpaired if prompts[one.prompt_id].shard in TRAINING_SHARDS]
    return Preview(
        flags=sum(review.verdict == "flag" for row in rows for review in row.reviews),
        pairs=built.pairs,
        alone=(sum(alone), len(alone) - sum(alone)),
        training=training,
        held_out=len(built.pairs) - training,
        effective=built.effective,
        examples=[(prompts[p.prompt_id].messages, texts[p.chosen_id], texts[p.rejected_id]) for p in built.pairs[:3]],
    )


def ask(installation: Installation, version_id: int) -> tuple[pair_sets.Choice, Preview | None]:
    """The policy chosen, and what it would give now; None where it cannot be used, which is then said."""
    with st.expander(tr("How votes become pairs")):
        name = st.selectbox(tr("Policy"), list(TITLES), format_func=lambda code: stored("policy", TITLES[code]), key="policy")
        policy = policies.named(name)
        look.html(f"<p>{look.quiet(retold(policy.what))}</p><div class='soft'>{look.quiet(policy.source)}</div>")
        if policy.warning:
            look.said(retold(policy.warning), "flag")
        by = _question(installation) if policy.needs_groups else None
        drop = st.checkbox(tr("Leave out what overlaps a published test in use"), key="drop-contaminated")
        unpaired = st.checkbox(
            tr("Have flagged answers without a counterpart teach too"),
            key="unpaired",
            help=tr(
                "An answer that people flagged teaches even where nothing better was written to its prompt: it is made less "
                "likely. Fine answers that nobody flagged teach beside it, as many in each step."
            ),
        )
        choice = pair_sets.Choice(name, by, None, drop, unpaired)
        with installation.store.reading() as session:
            panel = _panel(session, version_id)
            rows, compared, concluded = panel
            try:
                grouping = pair_sets.grouping_for(session, choice, rows, installation.pseudonym_key, compared)
                would = _preview(panel, choice, grouping)
                if not policy.needs_groups:
                    grouping = pair_sets.groups_to_speak_of(session, choice, rows, installation.pseudonym_key, compared)
                change = (
                    None
                    if name == "majority"
                    else policy_comparison.compare(
                        rows, pair_sets.Choice(), choice, grouping, concluded, compared=compared, draws=DRAWS
                    )
                )
            except (policies.NoGroups, NoSuchQuestion) as error:
                look.said(retold(str(error)), "flag")
                return choice, None
            words = {
                option.code: stored(f"background {asked.code}", option.words)
                for asked in background.questions(session)[0]
                for option in asked.options
            }
        if change is not None:
            _changes(change, words | {rater_groups.REST: tr("Others")})
    return choice, would


def _question(installation: Installation) -> str | None:
    with installation.store.reading() as session:
        asked = {
            question.code: stored(f"background {question.code}", question.question) for question in background.questions(session)[0]
        }
    return st.selectbox(tr("Groups by the answers to"), list(asked), format_func=lambda code: asked[code], key="policy-by")


def _changes(found: policy_comparison.Comparison, words: Mapping[str, str]) -> None:
    stay, appear, vanish, flip = (f"<b>{number(n)}</b>" for n in (found.both, found.appear, found.vanish, found.flip))
    told = tr(
        "In place of the majority: {stay} pairs stay, {appear} appear, {vanish} vanish, {flip} turn round.",
        stay=stay,
        appear=appear,
        vanish=vanish,
        flip=flip,
    )
    look.html(f"<p>{told}</p>")
    if not found.groups:
        return
    rows = [
        [
            look.quiet(words.get(view.group, view.group)),
            *(
                [tr("not shown"), "", "", ""]
                if view.suppressed or view.appear is None or view.vanish is None
                else [_share(view.overruled_a), _share(view.overruled_b), number(view.appear), number(view.vanish)]
            ),
        ]
        for view in found.groups
    ]
    look.aside(
        tr(
            "Of the answers that most of a group flag, the share that is overruled, by the majority and by this "
            "policy; in brackets what chance gives, with reviewers dealt to groups at random."
        )
    )
    look.table(["", tr("majority"), tr("this policy"), tr("pairs in"), tr("out")], rows, numeric=(1, 2, 3, 4))


def _share(found: policy_comparison.Overruled) -> str:
    if found.share is None or found.items is None:
        return tr("too few answers")
    said = tr("{share} of {answers}", share=percent(found.share), answers=number(found.items))
    if found.null_low is None or found.null_high is None:
        return said
    return f"{said} ({percent(found.null_low)}–{percent(found.null_high)})"
