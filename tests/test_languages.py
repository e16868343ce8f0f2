"""Claims about languages: nobody is handed what they cannot read, nobody waits for ever behind a larger language."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from flagback.review_app.screens.languages import NAMES
from flagback.storage import slots
from flagback.storage.claims import Claim
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts, primary_language
from flagback.storage.store import Store

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def stock(store: Store, reviews_per_item: int = 1, **counts: int) -> None:
    """So many items of each language; pt_BR stands for pt-BR."""
    with store.writing() as session:
        wanted = [
            NewPrompt([{"role": "user", "content": f"{lang} visitor {n} said"}], lang.replace("_", "-"))
            for lang, count in counts.items()
            for n in range(count)
        ]
        made = add_generations(
            session,
            [NewGeneration(one, " it was late.", "end", "imported", "import:x") for one in add_prompts(session, wanted).ids],
        )
        make_items(session, made, purpose="loop", reviews_per_item=reviews_per_item, seed=0)


def claim(store: Store, who: str, reads: list[str] | None, count: int = 50, seed: int = 0) -> list[Claim]:
    """What a reviewer is handed."""
    return slots.claim(store, who, count=count, now=NOON, lease_for=timedelta(hours=1), seed=seed, languages=reads)


def handed(store: Store, who: str, reads: list[str] | None, count: int = 50) -> Counter[str]:
    """By language."""
    return Counter(found.prompt_lang for found in claim(store, who, reads, count))


def test_spanish_is_never_handed_to_who_reads_english_only(store: Store) -> None:
    stock(store, es=20, en=3)
    for seed in range(5):
        assert {one.prompt_lang for one in claim(store, "r_ada", ["en"], seed=seed)} == {"en"}
    assert handed(store, "r_bea", ["es"]) == {"es": 20}


def test_what_is_in_no_known_language_goes_to_everyone(store: Store) -> None:
    stock(store, 3, und=2, es=2)
    assert handed(store, "r_ada", ["en"]) == {"und": 2}
    assert handed(store, "r_bea", []) == {"und": 2}
    assert handed(store, "r_cem", ["es", "en"]) == {"und": 2, "es": 2}


def test_a_region_or_script_does_not_part_readers_of_one_language(store: Store) -> None:
    stock(store, 2, pt_BR=2, pt_PT=1, pt=1, zh_Hant_TW=1)
    assert handed(store, "r_ada", ["pt"]) == {"pt-BR": 2, "pt-PT": 1, "pt": 1}
    assert handed(store, "r_bea", ["zh"]) == {"zh-Hant-TW": 1}


@pytest.mark.parametrize(
    ("tag", "primary"),
    [("pt-BR", "pt"), ("PT_br", "pt"), ("en", "en"), ("", "und"), ("und", "und"), ("zh-Hant-TW", "zh"), (" EN ", "en")],
)
def test_the_first_subtag_counts(tag: str, primary: str) -> None:
    assert primary_language(tag) == primary


def test_who_reads_two_languages_gets_both_though_one_has_far_more(store: Store) -> None:
    stock(store, en=200, es=5)
    assert handed(store, "r_ada", ["en", "es"], count=40)["es"] == 5


def test_who_reads_the_small_language_alone_finds_all_of_it_behind_a_large_one(store: Store) -> None:
    stock(store, en=300, es=4)
    assert handed(store, "r_bea", ["es"]) == {"es": 4}


def test_readers_of_the_small_language_leave_the_large_one_to_others(store: Store) -> None:
    stock(store, en=6, es=2)
    assert handed(store, "r_both", ["en", "es"], count=2).total() == 2
    left = handed(store, "r_en", ["en"]).total() + handed(store, "r_es", ["es"]).total()
    assert left == 6, "every item is with somebody"


def test_names_are_by_primary_subtag_and_each_is_told_apart() -> None:
    assert all(primary_language(code) == code for code in NAMES)
    assert len(set(NAMES.values())) == len(NAMES)
