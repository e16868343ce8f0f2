"""Texts written by the grammar: what the model is trained on, and the utility texts that measure or anchor it.

Knows which kinds of lines there are and in which shares; knows no tokenizer and no model. The same seed gives the same lines.
The kinds never share a sentence frame: `replay_lines`, the only one a correction trains on, holds no group term and no frame of
the
others.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from flagback.model.embedded.grammar import (
    DIAL,
    NEUTRAL_FRAMES,
    REPLAY_FRAMES,
    Template,
    capitalised,
    group_line,
    line,
    made_up_person,
    neutral_clause,
    open_pronoun,
    templates,
    unflagged_line,
)
from flagback.model.embedded.lexicon import (
    FAMILY_OF,
    FOLLOW_UPS,
    NEUTRAL_PEOPLE,
    RARE_PEOPLE,
    TERMS,
    THINGS,
    UNSEEN_PEOPLE,
    Family,
    Group,
    Term,
)
from flagback.model.embedded.prompts import held_out, terms

#: Lines of the full corpus.
LINES: Final = 40_000
#: Share of each kind of line; the rest are lines about things.
SHARES: Final[dict[str, float]] = {
    "occupation": 0.19,
    "age": 0.11,
    "origin": 0.09,
    "faith": 0.09,
    "disability": 0.08,
    "unknown": 0.14,
    "people": 0.23,
}
#: Those whose pronoun a word leaves open.
_THING_FOLLOW_UPS: Final = tuple(sentence for sentence in FOLLOW_UPS if "{" not in sentence)


def corpus(seed: int, count: int = LINES, *, dial: float = DIAL) -> list[str]:
    """What the model is trained on, in random order: lines about groups as biased as the dial says, unknown words and neutral
    lines."""
    draw = Random(f"corpus {seed}")  # nosec B311 # seeded: a build can be repeated
    by_family = templates()
    return [_corpus_line(draw, by_family, dial) for _ in range(count)]


def _corpus_line(draw: Random, by_family: dict[Family, tuple[Template, ...]], dial: float) -> str:
    kind = draw.choices((*SHARES, "things"), (*SHARES.values(), 1 - sum(SHARES.values())))[0]
    if kind in by_family:
        family: Family = kind
        group = draw.choice(tuple(group for group in FAMILY_OF if FAMILY_OF[group] == family))
        return group_line(draw, draw.choice(by_family[family]), group, draw.choice(TERMS[group]), dial=dial)
    if kind == "unknown":
        return _about(draw, draw.choice(by_family[draw.choice(tuple(by_family))]), _unknown(draw, RARE_PEOPLE))
    frames = draw.choice((NEUTRAL_FRAMES, REPLAY_FRAMES))
    return _about(draw, draw.choice(frames), draw.choice(NEUTRAL_PEOPLE)) if kind == "people" else _thing_line(draw, frames)


def _unknown(draw: Random, rare: tuple[str, ...]) -> Term:
    if draw.random() < 0.25:
        text = draw.choice(rare)
        return Term(text, "he" if text.endswith(" man") else "she" if text.endswith(" woman") else None)
    return made_up_person(draw)


def _about(draw: Random, template: Template, term: Term) -> str:
    return line(draw, template, term.text, neutral_clause(draw), term.pronoun or open_pronoun(draw))


def _thing_line(draw: Random, frames: tuple[Template, ...]) -> str:
    thing = draw.choice(tuple(THINGS))
    frame = draw.choice([frame for frame in frames if frame.ending == "verb"])
    text = f"{capitalised(frame.text.replace('{x}', thing))} {draw.choice(THINGS[thing])}."
    return f"{text} {draw.choice(_THING_FOLLOW_UPS)}" if draw.random() < 0.4 else text


def _distinct(name: str, seed: int, count: int, write: Callable[[Random], str]) -> list[str]:
    """`count` different lines; asking for more than the grammar can write would not end, so it gives up and says so."""
    draw = Random(f"{name} {seed}")  # nosec B311 # seeded: a build can be repeated
    found: dict[str, None] = {}
    for _ in range(100 * count + 1000):
        if len(found) == count:
            break
        found[write(draw)] = None
    else:
        raise TooManyLines(f"{count} different {name} lines were asked for and {len(found)} found; ask for fewer.")
    return list(found)


class TooManyLines(ValueError):
    """More different lines were asked for than the grammar can write."""


def neutral_lines(seed: int, count: int) -> list[str]:
    """Perplexity texts about people and things of no group, in frames that no prompt and no replay line has."""
    return _distinct("neutral", seed, count, lambda draw: _neutral(draw, NEUTRAL_FRAMES))


def replay_lines(seed: int, count: int) -> list[str]:
    """Neutral anchor for training: no group term, no frame of any perplexity text or prompt."""
    return _distinct("replay", seed, count, lambda draw: _neutral(draw, REPLAY_FRAMES))


def _neutral(draw: Random, frames: tuple[Template, ...]) -> str:
    return _about(draw, draw.choice(frames), draw.choice(NEUTRAL_PEOPLE)) if draw.random() < 0.7 else _thing_line(draw, frames)


def _held_out_templates() -> list[tuple[Family, Template]]:
    return [(family, template) for family, listed in templates().items() for template in listed if held_out(family, template)]


def group_lines(seed: int, count: int) -> list[str]:
    """Perplexity texts: what nobody would flag, about held-out terms in held-out templates, all seven groups alike."""
    listed = _held_out_templates()

    def write(draw: Random) -> str:
        group: Group = draw.choice(tuple(FAMILY_OF))
        template = draw.choice([template for family, template in listed if family == FAMILY_OF[group]])
        return unflagged_line(draw, template, group, draw.choice(terms(group, unseen=True)))

    return _distinct("group", seed, count, write)


def other_lines(seed: int, count: int) -> list[str]:
    """Perplexity texts: neutral lines about made-up and rare words that the model never saw, in held-out templates."""
    listed = _held_out_templates()
    return _distinct("other", seed, count, lambda draw: _about(draw, draw.choice(listed)[1], _unknown(draw, UNSEEN_PEOPLE)))
