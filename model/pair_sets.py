"""Preference sets from the store: reads the reviews, asks a policy, builds the pairs, weighs them, and freezes them.

Fetches and keeps; votes become scores in `policies.py`, scores become pairs in `pairs.py`. Needs no torch, so that a page and a
command can show what a set would hold by the very code that makes it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple

from sqlmodel import Session

from flagback.model import contamination, pairs, policies, policy
from flagback.storage import adjudications, comparisons, preferences, rater_groups, reviews, unpaired
from flagback.storage.artifacts import Artifacts
from flagback.storage.comparisons import Compared
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.preferences import NewPair
from flagback.storage.rater_groups import Grouping
from flagback.storage.records import Conclusion, Generation, PreferenceSet, Prompt, Review
from flagback.storage.store import insert_missing
from flagback.storage.unpaired import NewUnpaired

#: What a lead's conclusion makes of an answer's harm at least (harm) or at most (fine): a person's word, not a certainty.
CONCLUDED: Mapping[Conclusion, float] = {"harm": 0.95, "fine": 0.05}


class Choice(NamedTuple):
    """How votes are to become pairs; what a run is asked with and what a set keeps."""

    policy: str = policy.POLICY
    #: The question about background whose answers are the groups; None: the only one that gives two groups.
    by: str | None = None
    #: A jury's seats by group; None: twelve dealt out evenly.
    seats: Mapping[str, int] | None = None
    #: Leave out what overlaps a published test in place of refusing all.
    drop_contaminated: bool = False
    #: Have answers without a counterpart teach too.
    unpaired: bool = False

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, for JSON."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in self._asdict().items()
            if value != Choice._field_defaults[name]
        }


class Read(NamedTuple):
    """A reviewed answer with what people said of it."""

    generation: Generation
    prompt: Prompt
    reviews: list[Review]


class Contaminated(Exception):
    """Pairs overlap a published test that evaluations put: learning from them would make that test worthless."""


def read(session: Session, version_id: int, *, simulated: bool) -> list[Read]:
    """Every answer of a version that was reviewed for the loop, answers set aside left out."""
    return [Read(*row) for row in reviews.judged(session, version_id, simulated=simulated)]


def grouping_for(
    session: Session, choice: Choice, rows: Sequence[Read], key: bytes | None, compared: Sequence[Compared] = ()
) -> Grouping:
    """The groups that a choice weighs; nobody's where its policy weighs none, or where no key ties people to their background."""
    wanted = policies.named(choice.policy).needs_groups or choice.by is not None
    if key is None or not wanted:
        return rater_groups.NOBODY
    return rater_groups.grouping(session, key, _voters(rows, compared), choice.by)


def groups_to_speak_of(
    session: Session, choice: Choice, rows: Sequence[Read], key: bytes, compared: Sequence[Compared] = ()
) -> Grouping:
    """The groups by which a preview says whose flags a policy overrules, also one that weighs none; nobody's where several
    questions give groups and none is named."""
    voters = _voters(rows, compared)
    try:
        return rater_groups.grouping(session, key, voters, choice.by)
    except rater_groups.NoSuchQuestion:
        if choice.by is not None:
            raise
        return rater_groups.NOBODY


def _voters(rows: Sequence[Read], compared: Sequence[Compared]) -> set[str]:
    of_one = {review.reviewer for row in rows for review in row.reviews if policy.ballot(review) != "none"}
    return of_one | {review.reviewer for one in compared for review in one.reviews}


def votes_of(row: Read, grouping: Grouping) -> list[policies.RaterVote]:
    """An answer's votes on harm, with their raters' groups; skips and mere nonsense are none."""
    return [
        policies.RaterVote(
            review.reviewer, grouping.of.get(review.reviewer, ()), said == "harm", 1.0 if review.sure else policies.UNSURE
        )
        for review in row.reviews
        if (said := policy.ballot(review)) != "none"
    ]


def judgements(
    rows: Sequence[Read], choice: Choice, grouping: Grouping, concluded: Mapping[int, Conclusion]
) -> dict[int, policy.Judgement]:
    """Generation -> what the panel said under a policy.

    A lead's conclusion of harm or fine decides; "legitimate disagreement" keeps what the votes say. Raises NoGroups, UnknownPolicy
    or BadArguments.
    """
    votes = {row.generation.id: votes_of(row, grouping) for row in rows}
    scores = policies.score(choice.policy, votes, groups=grouping.groups, seats=choice.seats)
    found = {}
    for row in rows:
        score, plain = scores[row.generation.id], policy.judge(row.reviews)
        judged = plain._replace(outcome=score.outcome, harm=score.harm)
        conclusion = concluded.get(row.generation.id)
        if conclusion == "harm":
            judged = judged._replace(outcome="harmful", harm=max(judged.harm, CONCLUDED["harm"]))
        elif conclusion == "fine":
            judged = judged._replace(outcome="fine", harm=min(judged.harm, CONCLUDED["fine"]))
        found[row.generation.id] = judged
    return found


class Rewritten(NamedTuple):
    """A reviewer's better wording of an answer."""

    review_id: int
    prompt_id: int
    mends: int
    text: str


class Built(NamedTuple):
    """What a set would hold."""

    #: A rewrite has no generation before the set is frozen: minus its review's number stands for it.
    pairs: list[NewPair]
    #: Judged answers in none of them; they are frozen where the choice wants them.
    unpaired: list[NewUnpaired]
    rewrites: list[Rewritten]
    judgements: dict[int, policy.Judgement]

    @property
    def effective(self) -> float:
        """How many equally weighed pairs would say as much."""
        return pairs.effective_size([pair.weight for pair in self.pairs])


class Sides(NamedTuple):
    """Two answers that people saw side by side."""

    answers: tuple[pairs.Answer, pairs.Answer]
    #: Against each of them.
    votes: tuple[list[policies.RaterVote], list[policies.RaterVote]]


def sides(compared: Sequence[Compared], choice: Choice, grouping: Grouping) -> list[Sides]:
    """Every two answers that people saw side by side, judged by the same policy as harm is, with the votes against either.

    Against an answer is who ranks the other one before it, or calls both bad; so a policy's "harmful" means "the worse of both"
    here, and what it does about groups it does here too.
    """
    asked: list[tuple[Compared, int, int]] = [
        (one, first, second) for one in compared for first, second in combinations(range(len(one.generations)), 2)
    ]
    votes = {2 * place: _against(one, first, second, grouping) for place, (one, first, second) in enumerate(asked)}
    votes |= {2 * place + 1: _against(one, second, first, grouping) for place, (one, first, second) in enumerate(asked)}
    scores = policies.score(choice.policy, votes, groups=grouping.groups, seats=choice.seats) if asked else {}
    found = []
    for place, (one, *both) in enumerate(asked):
        ids = tuple(review.id for review in one.reviews)
        two = [
            pairs.Answer(
                one.generations[at].id,
                one.prompt.id,
                one.prompt.content_hash,
                one.generations[at].text,
                policy.Judgement(score.outcome, score.harm, nonsense=False, votes=len(one.reviews), review_ids=ids),
            )
            for at, score in zip(both, (scores[2 * place], scores[2 * place + 1]), strict=True)
        ]
        found.append(Sides((two[0], two[1]), (votes[2 * place], votes[2 * place + 1])))
    return found


def _against(one: Compared, answer: int, other: int, grouping: Grouping) -> list[policies.RaterVote]:
    """Everybody's vote on whether an answer is the worse one; equal is a vote for neither."""
    found = []
    for review in one.reviews:
        ranks = comparisons.ranks(review)
        worse = ranks[answer] > ranks[other] or review.verdict == "both_bad"
        sure = 1.0 if review.sure else policies.UNSURE
        found.append(policies.RaterVote(review.reviewer, grouping.of.get(review.reviewer, ()), worse, sure))
    return found


def build(
    rows: Sequence[Read],
    choice: Choice,
    grouping: Grouping,
    concluded: Mapping[int, Conclusion],
    compared: Sequence[Compared] = (),
) -> Built:
    """The pairs that reviews give under a choice; stores nothing. `compared` are answers judged side by side.

    The majority keeps hard labels and plain weights, as it always had. Graded policies have hard labels too: their harm is a share
    of people, and of two shares far apart it is not in doubt which is larger. The others have soft labels. Those that weigh groups
    have their weights balanced, so that the flags of each group count alike, among pairs and among answers without one.
    """
    known = policies.named(choice.policy)
    judged = judgements(rows, choice, grouping, concluded)
    answers = [
        pairs.Answer(row.generation.id, row.prompt.id, row.prompt.content_hash, row.generation.text, judged[row.generation.id])
        for row in rows
    ]
    rewrites = [
        Rewritten(review.id, row.prompt.id, row.generation.id, pairs.with_same_start(review.rewrite, row.generation.text))
        for row in rows
        for review in row.reviews
        if review.rewrite and policy.ballot(review) == "harm"
    ]
    # One text, however many answers it is better than.
    of_both = [
        (Rewritten(review.id, one.prompt.id, first.id, pairs.with_same_start(review.rewrite, first.text)), one.generations)
        for one in compared
        for review in one.reviews
        if review.rewrite and (first := one.generations[0])
    ]
    labels: pairs.Labels = "hard" if known.name == "majority" or known.pairing == "graded" else "soft"
    given = [pairs.Rewrite(-one.review_id, one.text, one.mends, one.review_id) for one in rewrites]
    given += [pairs.Rewrite(-one.review_id, one.text, bad.id, one.review_id) for one, both in of_both for bad in both]
    rewrites += [one for one, _ in of_both]
    beside = sides(compared, choice, grouping)
    two = [one.answers for one in beside]
    built = pairs.build_pairs(answers, given, graded=known.pairing == "graded", labels=labels, compared=two)
    flagged = {row.generation.id for row in rows if any(policy.ballot(review) == "harm" for review in row.reviews)}
    alone = pairs.build_unpaired(answers, built, flagged=flagged)
    if known.needs_groups:
        flags = flags_by_group(rows, grouping, beside)
        built, alone = pairs.balanced(built, flags), pairs.balanced_unpaired(alone, flags)
    return Built(built, alone, rewrites, judged)


def flags_by_group(rows: Sequence[Read], grouping: Grouping, beside: Sequence[Sides] = ()) -> dict[int, dict[str, float]]:
    """Generation -> flags by group, each as a share of that group's votes on it, alone or beside another answer: a group with more
    raters there flags no louder."""
    votes: dict[int, list[policies.RaterVote]] = defaultdict(list)
    for row in rows:
        votes[row.generation.id] += votes_of(row, grouping)
    for two in beside:
        for answer, against in zip(two.answers, two.votes, strict=True):
            votes[answer.generation_id] += against
    return {generation: _by_group(said) for generation, said in votes.items()}


def _by_group(votes: Sequence[policies.RaterVote]) -> dict[str, float]:
    said: dict[str, list[bool]] = defaultdict(list)
    for vote in votes:
        for group in vote.groups:
            said[group].append(vote.harm)
    return {group: sum(harms) / len(harms) for group, harms in said.items()}


# -------------------------------------------------------------------- freezing


def freeze(
    session: Session,
    version_id: int,
    *,
    simulated: bool,
    choice: Choice | None = None,
    key: bytes | None = None,
    grouping: Grouping | None = None,
    artifacts: Artifacts | None = None,
) -> PreferenceSet:
    """Freezes the pairs that the reviews of a version's answers give now, with what the policy made of each answer.

    `key` ties reviewers to the background they let be used; `grouping` is given in its place by rehearsals. With `artifacts` the
    pairs are held against the published tests in use. Raises NoPairs, NoGroups, Contaminated.
    """
    choice = choice or Choice()
    rows = read(session, version_id, simulated=simulated)
    compared = comparisons.judged(session, version_id, simulated=simulated)
    known = grouping_for(session, choice, rows, key, compared) if grouping is None else grouping
    built = build(rows, choice, known, adjudications.of_generations(session), compared)
    flagged = sum(one.harmful for one in built.unpaired)
    if not choice.unpaired:
        built = built._replace(unpaired=[])
    clean, alone, dropped = _clean(session, built, rows, compared, choice, artifacts)
    if flagged and not clean and not choice.unpaired:
        several = "1 flagged answer has" if flagged == 1 else f"{flagged} flagged answers have"
        raise preferences.NoPairs(
            f"There is no pair to freeze: {several} no counterpart. Have more answers to the same prompts reviewed, or have "
            "them teach as they are: 'flagback correct --unpaired' (a box on the page Corrections)."
        )
    stored = {-one.review_id: _stored(session, one) for one in built.rewrites}
    kept = [pair._replace(chosen_id=stored.get(pair.chosen_id, pair.chosen_id)) for pair in clean]
    arguments: dict[str, Any] = {
        "version": version_id,
        "per_prompt": pairs.PAIRS_PER_PROMPT,
        "effective_pairs": round(pairs.effective_size([pair.weight for pair in kept]), 1),
    }
    if known.groups and policies.named(choice.policy).needs_groups:
        arguments |= {"by": known.question, "groups": list(known.groups)}
    if choice.policy == "jury":
        arguments["seats"] = policies.seats_for(known.groups, choice.seats)
    if dropped:
        arguments["left_out"] = [hit.to_dict() for hit in dropped]
    frozen = preferences.freeze(
        session,
        kept,
        alone=alone,
        origin="reviews",
        policy=choice.policy,
        policy_version=policies.named(choice.policy).version,
        arguments=arguments,
        salt=preferences.SALT,
        simulated=simulated,
    )
    scores = [
        {"set_id": frozen.id, "generation_id": number, "harm": judged.harm, "votes": judged.votes}
        for number, judged in built.judgements.items()
    ]
    insert_missing(session, "policy_score", scores, returning=["id"])
    return frozen


def _stored(session: Session, rewrite: Rewritten) -> int:
    [stored] = add_generations(
        session,
        [NewGeneration(prompt_id=rewrite.prompt_id, text=rewrite.text, finish_reason="given", source="rewrite", origin="rewrite")],
    )
    return stored


def _clean(
    session: Session,
    built: Built,
    rows: Sequence[Read],
    compared: Sequence[Compared],
    choice: Choice,
    artifacts: Artifacts | None,
) -> tuple[list[NewPair], list[NewUnpaired], list[contamination.Hit]]:
    """The pairs and answers that overlap no published test in use, and what was left out for it. Raises Contaminated."""
    hits = overlaps(session, built, rows, artifacts, compared)
    if hits and not choice.drop_contaminated:
        raise Contaminated(refusal([hit for _, hit in hits]))
    places = {place for place, _ in hits}
    clean = [pair for place, pair in enumerate(built.pairs) if place not in places]
    alone = [one for place, one in enumerate(built.unpaired, start=len(built.pairs)) if place not in places]
    if not any(one.harmful for one in alone):
        alone = []
    return clean, alone, [hit for _, hit in hits]


def overlaps(
    session: Session, built: Built, rows: Sequence[Read], artifacts: Artifacts | None, compared: Sequence[Compared] = ()
) -> list[tuple[int, contamination.Hit]]:
    """(place, hit) of pairs, and behind them answers without one, whose texts stand in a published test in use."""
    if artifacts is None:
        return []
    prompts = {row.prompt.id: row.prompt for row in rows} | {one.prompt.id: one.prompt for one in compared}
    texts = {row.generation.id: row.generation.text for row in rows} | {-one.review_id: one.text for one in built.rewrites}
    texts |= {generation.id: generation.text for one in compared for generation in one.generations}
    asked = [
        contamination.Taught(prompts[pair.prompt_id].messages, [texts[pair.chosen_id], texts[pair.rejected_id]])
        for pair in built.pairs
    ]
    asked += [contamination.Taught(prompts[one.prompt_id].messages, [texts[one.generation_id]]) for one in built.unpaired]
    return contamination.hits(asked, contamination.tests_in_use(session, artifacts))


def check_frozen(session: Session, set_id: int, artifacts: Artifacts) -> None:
    """Raises Contaminated where a frozen set, an imported one too, overlaps a test that was taken in since."""
    rows = preferences.each_pair(session, set_id)
    of_pairs = (contamination.Taught(row.messages, [row.chosen_text, row.rejected_text]) for row in rows)
    alone = (contamination.Taught(row.messages, [row.text]) for row in unpaired.each_unpaired(session, set_id))
    hits = contamination.hits(chain(of_pairs, alone), contamination.tests_in_use(session, artifacts))
    if hits:
        raise Contaminated(refusal([hit for _, hit in hits], frozen=set_id))


def refusal(hits: Sequence[contamination.Hit], *, frozen: int | None = None) -> str:
    """What is wrong, which rows, and what to do."""
    named = "; ".join(f"{hit.prompt!r} with {hit.suite}, item {hit.item} ({hit.how})" for hit in hits[:SHOWN])
    more = f"; and {len(hits) - SHOWN} more" if len(hits) > SHOWN else ""
    by_suite = Counter(hit.suite for hit in hits)
    tests = ", ".join(f"{suite} ({count})" for suite, count in sorted(by_suite.items()))
    remedy = (
        "Leave them out with --drop-contaminated (a box on the page Corrections), or withdraw the test: 'flagback suites withdraw'."
        if frozen is None
        else "Import the set again without those rows, or withdraw the test: 'flagback suites withdraw'."
    )
    what = "example overlaps" if len(hits) == 1 else "examples overlap"
    return (
        f"{len(hits)} {what} a published test in use, which would then measure what was learnt by heart: {tests}. {named}{more}. "
        f"{remedy}"
    )


#: Rows named in a message; all of them stand in the set's arguments once they are left out.
SHOWN = 10
