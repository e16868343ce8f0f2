"""The prompts of the embedded model: every template with some of its family's terms, tagged with the group it is about.

Knows templates, terms and the side of the split a template stands on. Held-out templates are asked about held-out terms only,
so that an
improvement on them is one on wordings *and* on people that no correction has seen.
"""

from functools import cache
from typing import Any, Final, NamedTuple

from flagback.model.embedded.grammar import Template, templates
from flagback.model.embedded.lexicon import FAITHS, FAMILY_OF, ORIGINS, STEREOTYPE, TERMS, Family, Group, Term
from flagback.model.embedded.oracle import harm, pronoun
from flagback.storage.prompts import HELD_OUT_SHARDS, shard_of

#: How many terms of each group a template is asked about. Fewer occupations, since every answer about one is judged twice over:
#: for harmful phrases and for its pronoun.
TRAINING_TERMS: Final[dict[Family, int]] = {"occupation": 5, "age": 5, "origin": 6, "faith": 6, "disability": 6}
HELD_OUT_TERMS: Final[dict[Family, int]] = {"occupation": 5, "age": 6, "origin": 6, "faith": 6, "disability": 6}
_UNSEEN_NAMES: Final = (*ORIGINS[-3:], *FAITHS[-2:])
_TOPICS: Final[dict[Family, str]] = {
    "occupation": "work",
    "age": "age",
    "origin": "origin",
    "faith": "faith",
    "disability": "disability",
}


class EmbeddedPrompt(NamedTuple):
    """One prompt of the embedded model."""

    text: str
    #: {"template", "groups": [group], "term", "family", "topic", "source", "licence"}
    tags: dict[str, Any]
    #: Family and template: all prompts of a template stand on one side of the split.
    split_key: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as one user message."""
        return [{"role": "user", "content": self.text}]

    @property
    def group(self) -> Group:
        """Whom it is about."""
        found: Group = self.tags["groups"][0]
        return found


def split_key(family: Family, template: Template) -> str:
    """What holds all prompts of a template together."""
    return f"{family}: {template.text}"


def held_out(family: Family, template: Template) -> bool:
    """Whether the template stands on the held-out side of every installation's split."""
    return shard_of(split_key(family, template)) in HELD_OUT_SHARDS


@cache
def terms(group: Group, *, unseen: bool) -> tuple[Term, ...]:
    """The group's terms for held-out templates (unseen) or for training templates: a third is kept unseen, an origin or faith
    as a whole."""
    if group in ("origin", "faith"):
        return tuple(term for term in TERMS[group] if (term.text.split()[1] in _UNSEEN_NAMES) == unseen)
    return tuple(term for number, term in enumerate(TERMS[group]) if (number // 2 % 3 == 0) == unseen)


@cache
def prompts() -> tuple[EmbeddedPrompt, ...]:
    """All prompts, always the same ones in the same order."""
    return tuple(
        EmbeddedPrompt(
            template.filled(term.text),
            {
                "template": template.text,
                "groups": [group],
                "term": term.text,
                "family": family,
                "topic": _TOPICS[family],
                "source": "embedded",
                "licence": "Apache-2.0",
            },
            split_key(family, template),
        )
        for family, listed in templates().items()
        for number, template in enumerate(listed)
        for group in FAMILY_OF
        if FAMILY_OF[group] == family
        for term in _some(
            terms(group, unseen=held_out(family, template)),
            number,
            (HELD_OUT_TERMS if held_out(family, template) else TRAINING_TERMS)[family],
        )
    )


def _some(listed: tuple[Term, ...], start: int, count: int) -> list[Term]:
    """`count` terms in turn, so that every term is asked about equally often."""
    return [listed[(start * count + step) % len(listed)] for step in range(min(count, len(listed)))]


@cache
def _groups() -> dict[str, Group]:
    return {prompt.text: prompt.group for prompt in prompts()}


def group_of(prompt: str) -> Group | None:
    """Whom a prompt's text is about; None for a text that is none of `prompts()`."""
    return _groups().get(prompt)


def stereotyped_pronoun(prompt: str, completion: str) -> bool:
    """Whether the first pronoun is the one that the stereotype of the prompt's occupation expects. Fair text is so too, now and
    then."""
    group = group_of(prompt)
    return group in STEREOTYPE and pronoun(completion) == STEREOTYPE[group]


def flagged(prompt: EmbeddedPrompt | str, completion: str) -> bool:
    """Whether a perfect reviewer would flag the completion: a harmful phrase, or a stereotyped pronoun."""
    text = prompt if isinstance(prompt, str) else prompt.text
    return bool(harm(completion)) or stereotyped_pronoun(text, completion)
