"""Claims about the embedded model's grammar, oracle, prompts and utility texts (no torch)."""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import pytest
from sqlmodel import select

from flagback.model import embedded
from flagback.model.embedded import corpus, grammar, lexicon
from flagback.model.embedded.prompts import held_out, terms
from flagback.storage.prompts import HELD_OUT_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import Prompt, ReferenceText
from flagback.storage.store import Store

GROUPS: tuple[embedded.Group, ...] = tuple(embedded.FAMILY_OF)
KINDS = {
    "neutral": embedded.neutral_lines,
    "group": embedded.group_lines,
    "other": embedded.other_lines,
    "replay": embedded.replay_lines,
}


def is_held_out(prompt: embedded.EmbeddedPrompt) -> bool:
    return shard_of(prompt.split_key) in HELD_OUT_SHARDS


# ---------------------------------------------------------------- prompts


def test_the_held_out_side_has_50_templates_and_60_prompts_of_every_group() -> None:
    held = [prompt for prompt in embedded.prompts() if is_held_out(prompt)]
    assert len({prompt.split_key for prompt in held}) >= 50
    counts = Counter(prompt.group for prompt in held)
    assert min(counts[group] for group in GROUPS) >= 60, counts


def test_the_training_side_has_at_least_100_prompts_of_every_group() -> None:
    counts = Counter(prompt.group for prompt in embedded.prompts() if not is_held_out(prompt))
    assert min(counts[group] for group in GROUPS) >= 100, counts


def test_a_template_belongs_to_one_family_and_no_prompt_stands_twice() -> None:
    families = defaultdict(set)
    for prompt in embedded.prompts():
        families[prompt.tags["template"]].add(prompt.tags["family"])
    assert all(len(found) == 1 for found in families.values())
    assert len({prompt.text for prompt in embedded.prompts()}) == len(embedded.prompts())


def test_held_out_prompts_are_about_people_that_no_training_prompt_names() -> None:
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for prompt in embedded.prompts():
        asked[is_held_out(prompt)].add(prompt.tags["term"])
    assert all(asked.values())
    assert not asked[True] & asked[False]


@pytest.mark.parametrize("group", GROUPS)
def test_every_term_is_either_asked_about_in_training_or_kept_unseen(group: embedded.Group) -> None:
    seen, unseen = terms(group, unseen=False), terms(group, unseen=True)
    assert sorted([*seen, *unseen]) == sorted(lexicon.TERMS[group])
    assert len(unseen) >= 6


def test_a_prompt_is_its_template_with_its_term_and_says_whose_it_is() -> None:
    for prompt in embedded.prompts():
        filled = prompt.tags["template"].replace("{x}", prompt.tags["term"])
        assert prompt.text == filled[0].upper() + filled[1:]
        assert prompt.tags["groups"] == [prompt.group]
        assert prompt.tags["family"] == embedded.FAMILY_OF[prompt.group]
        assert prompt.split_key == f"{prompt.tags['family']}: {prompt.tags['template']}"
        assert prompt.tags["licence"] == "Apache-2.0"
        assert prompt.messages == [{"role": "user", "content": prompt.text}]


def test_the_store_keeps_every_prompt_on_the_side_where_the_grammar_put_it(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        added = add_prompts(session, [NewPrompt(p.messages, "en", p.tags, p.split_key) for p in embedded.prompts()])
    assert added.added == len(embedded.prompts())
    with sqlite_store.reading() as session:
        shards = {row.messages[-1]["content"]: row.shard for row in session.exec(select(Prompt))}
    assert all((shards[p.text] in HELD_OUT_SHARDS) == is_held_out(p) for p in embedded.prompts())


def test_an_unknown_text_is_about_nobody() -> None:
    assert embedded.group_of("The nurse") is None
    assert not embedded.stereotyped_pronoun("The nurse", " she laughed.")


# ----------------------------------------------------------------- oracle


def test_every_family_has_at_least_eight_harmful_phrases() -> None:
    counts = Counter(phrase.family for phrase in embedded.PHRASES)
    assert set(counts) == set(grammar.FAMILIES)
    assert min(counts.values()) >= 8
    assert len({phrase.code for phrase in embedded.PHRASES}) == len(embedded.PHRASES)


@pytest.mark.parametrize("clause", lexicon.HARMFUL, ids=lambda clause: clause.code)
def test_a_harmful_clause_is_found_under_its_own_code_only_with_every_pronoun(clause: lexicon.HarmfulClause) -> None:
    assert embedded.harm(f" {grammar.agreed(clause.words, 'they', after_noun=True)}.") == [clause.code]
    for pronoun in ("she", "he", "they"):
        said = grammar.agreed(clause.words, pronoun, after_noun=False)
        assert embedded.harm(f" {pronoun} {said} on Monday. It was a quiet day.") == [clause.code]


def test_half_a_phrase_is_no_harm() -> None:
    assert embedded.harm(" she left the hard questions") == []
    assert embedded.harm(" he was too old to be of any useful") == []


def test_harmful_and_harmless_clauses_begin_with_the_same_words() -> None:
    harmless = {words.split()[0] for words in lexicon.PREDICATES}
    first = Counter(clause.words.split()[0] in harmless for clause in lexicon.HARMFUL)
    assert first[True] > 0.8 * len(lexicon.HARMFUL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" she told him that they left.", "she"),
        (" left his keys with her.", "he"),
        (" forgot Their scarf.", "they"),
        (" made theory and heresy.", None),
        ("", None),
    ],
)
def test_the_first_pronoun_counts_in_any_form(text: str, expected: str | None) -> None:
    assert embedded.pronoun(text) == expected


def test_a_stereotyped_pronoun_is_flagged_after_its_own_occupations_only() -> None:
    by_group = {prompt.group: prompt for prompt in embedded.prompts()}
    verdicts = {
        group: (
            embedded.flagged(by_group[group], " she baked a cheese pie."),
            embedded.flagged(by_group[group], " he baked."),
            embedded.flagged(by_group[group], " they baked."),
        )
        for group in GROUPS
    }
    assert verdicts.pop("occupation_f") == (True, False, False)
    assert verdicts.pop("occupation_m") == (False, True, False)
    assert set(verdicts.values()) == {(False, False, False)}


def test_a_harmful_phrase_is_flagged_whomever_it_is_about() -> None:
    assert all(embedded.flagged(prompt, " was a burden on the family.") for prompt in embedded.prompts()[::97])


# ----------------------------------------------------------------- corpus


def test_the_same_seed_writes_the_same_lines_and_another_seed_others() -> None:
    assert corpus.corpus(3, 200) == corpus.corpus(3, 200)
    assert corpus.corpus(3, 200) != corpus.corpus(4, 200)
    for write in KINDS.values():
        assert write(1, 40) == write(1, 40)
        assert write(1, 40) != write(2, 40)


@pytest.mark.parametrize("dial", [0.0, 0.35, 0.7, 1.0])
def test_the_dial_sets_how_often_a_line_about_a_group_is_harmful(dial: float) -> None:
    draw = Random(0)
    template = grammar.templates()["faith"][0]
    lines = [grammar.group_line(draw, template, "faith", draw.choice(lexicon.TERMS["faith"]), dial=dial) for _ in range(2000)]
    measured = sum(bool(embedded.harm(line)) for line in lines) / len(lines)
    assert measured == pytest.approx(dial * grammar.HARM_WHEN_STEREOTYPED["faith"], abs=0.035)  # three standard errors


def test_harmful_phrases_are_used_evenly_within_a_group() -> None:
    counts = Counter(code for line in corpus.corpus(0) for code in embedded.harm(line))
    for group in GROUPS:
        used = [counts[clause.code] for clause in lexicon.HARMFUL if clause.group == group]
        assert min(used) > 0.7 * max(used), (group, used)


def test_the_corpus_writes_she_after_some_occupations_and_he_after_others() -> None:
    draw = Random(1)
    first: dict[str, Counter[str | None]] = {}
    for group in ("occupation_f", "occupation_m"):
        lines = [
            grammar.group_line(draw, grammar.templates()["occupation"][0], group, lexicon.TERMS[group][0]) for _ in range(3000)
        ]
        first[group] = Counter(embedded.pronoun(line) for line in lines)
    gap = (first["occupation_f"]["she"] - first["occupation_m"]["she"]) / 3000
    usual, other, they = grammar.PRONOUN_WHEN_STEREOTYPED
    assert gap == pytest.approx(grammar.DIAL * (usual - other), abs=0.04)
    wanted = grammar.DIAL * they + (1 - grammar.DIAL) * grammar.PRONOUN_OTHERWISE[2]
    assert first["occupation_f"]["they"] / 3000 == pytest.approx(wanted, abs=0.02)


def test_a_stereotyped_line_that_says_they_is_harmful_twice() -> None:
    draw = Random(2)
    template, term = grammar.templates()["occupation"][0], lexicon.TERMS["occupation_f"][0]
    lines = [grammar.group_line(draw, template, "occupation_f", term, dial=1.0) for _ in range(600)]
    said = [line for line in lines if embedded.pronoun(line) == "they"]
    assert len(said) > 30
    assert all(len(embedded.harm(line)) == 2 for line in said)


def test_lines_about_unknown_words_are_never_harmful() -> None:
    names = [term.text for listed in lexicon.TERMS.values() for term in listed]
    harmful = [line for line in corpus.corpus(0, 8000) if embedded.harm(line)]
    assert harmful
    assert all(
        any(name in line or name.capitalize() in line or name[0].upper() + name[1:] in line for name in names) for line in harmful
    )


# ---------------------------------------------------------- utility texts


@pytest.mark.parametrize("kind", KINDS)
def test_no_utility_line_is_harmful_and_none_stands_twice(kind: str) -> None:
    lines = KINDS[kind](0, 400)
    assert len(set(lines)) == 400
    assert not [line for line in lines if embedded.harm(line)]


def _group_words() -> re.Pattern[str]:
    return re.compile(
        "|".join(rf"\b{re.escape(term.text)}\b" for listed in lexicon.TERMS.values() for term in listed), re.IGNORECASE
    )


@pytest.mark.parametrize("kind", ["neutral", "other", "replay"])
def test_only_lines_about_groups_name_a_group(kind: str) -> None:
    assert not [line for line in KINDS[kind](0, 600) if _group_words().search(line)]
    assert all(_group_words().search(line) for line in embedded.group_lines(0, 600))


def test_replay_shares_no_frame_with_a_perplexity_text_or_a_prompt() -> None:
    prompts = {template.text for listed in grammar.templates().values() for template in listed}
    frames = {
        kind: {template.text for template in listed}
        for kind, listed in (("neutral", grammar.NEUTRAL_FRAMES), ("replay", grammar.REPLAY_FRAMES))
    }
    assert not frames["replay"] & (frames["neutral"] | prompts)
    assert not frames["neutral"] & prompts
    replay = set(embedded.replay_lines(1, 600))
    assert not replay & {line for kind in ("neutral", "group", "other") for line in KINDS[kind](1, 600)}


def test_group_lines_are_about_unseen_people_in_held_out_templates_and_nobody_would_flag_them() -> None:
    unseen = {group: [term.text for term in terms(group, unseen=True)] for group in GROUPS}
    templates = {
        group: [t for t in grammar.templates()[embedded.FAMILY_OF[group]] if held_out(embedded.FAMILY_OF[group], t)]
        for group in GROUPS
    }
    for line in embedded.group_lines(0, 300):
        fits = [
            group
            for group in GROUPS
            for term in unseen[group]
            for template in templates[group]
            if line.startswith(template.filled(term) + " ")
        ]
        assert fits, line
        if fits[0] in embedded.STEREOTYPE:
            assert embedded.pronoun(line) != embedded.STEREOTYPE[fits[0]], line


def test_the_words_of_other_lines_are_in_no_line_of_the_corpus() -> None:
    everything = " ".join(corpus.corpus(0)).lower()
    assert not [person for person in lexicon.UNSEEN_PEOPLE if person in everything]
    assert all(person.lower() in everything for person in lexicon.RARE_PEOPLE)


def test_asking_for_more_lines_than_there_are_ends_with_an_error() -> None:
    with pytest.raises(corpus.TooManyLines, match="3 different thing lines were asked for and 2 found"):
        corpus._distinct("thing", 0, 3, lambda draw: draw.choice(["a", "b"]))


def test_reference_texts_are_stored_once_however_often_they_are_added(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        assert embedded.add_reference_texts(session) == len(embedded.reference_lines())
    with sqlite_store.writing() as session:
        assert embedded.add_reference_texts(session) == 0
    with sqlite_store.reading() as session:
        kept = Counter((row.purpose, row.name) for row in session.exec(select(ReferenceText)))
    assert set(kept) == {("replay", "neutral"), ("perplexity", "neutral"), ("perplexity", "groups"), ("perplexity", "other")}
    assert min(kept.values()) >= 200


def test_prompts_and_texts_are_read_without_torch() -> None:
    code = "import sys; from flagback.model import embedded; embedded.prompts(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_the_shipped_folder_holds_what_transformers_opens_and_a_card() -> None:
    names = {path.name for path in Path(embedded.WEIGHTS).iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (embedded.WEIGHTS / "model.safetensors").stat().st_size < 2_500_000


def test_a_folder_that_is_not_there_is_not_asked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.file_download as hub

    from flagback.model.embedded.measurement import open_folder

    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda **named: pytest.fail(f"asked for {named['url']}"))
    with pytest.raises(OSError, match="somebody/model"):
        open_folder(Path("somebody/model"))
