"""Claims about the harm taxonomy."""

from typing import get_args

from flagback.storage.records import Severity
from flagback.storage.taxonomy import (
    CATEGORIES,
    KNOWN_TAXONOMY_VERSIONS,
    NOT_TRAINING,
    SEVERITIES,
    SKIP_REASONS,
    TARGETS,
    TAXONOMY_VERSION,
    WITHDRAWING,
)


def test_ten_harms_have_the_ten_digits_and_what_withdraws_a_text_is_no_key_away() -> None:
    assert [category.key for category in CATEGORIES if category.part != "meta"] == [*"1234567890", ""]
    assert {category.code for category in CATEGORIES if category.withdraws and not category.key} == {"minors"} == WITHDRAWING
    assert {category.key for category in CATEGORIES if category.part == "meta"} == {""}


def test_codes_are_stable_slugs_and_unique() -> None:
    for listed in (CATEGORIES, TARGETS, SEVERITIES, SKIP_REASONS):
        codes = [entry.code for entry in listed]
        assert len(set(codes)) == len(codes)
        assert all(code.replace("_", "").isascii() and code.replace("_", "").islower() for code in codes)
    # Codes stand in stored reviews: a change here needs a new TAXONOMY_VERSION.
    assert TAXONOMY_VERSION == "2"
    assert [category.code for category in CATEGORIES] == [
        "stereotype",
        "demeaning",
        "unequal",
        "erasure",
        "attack",
        "harassment",
        "dangerous",
        "sexual",
        "private",
        "false_advice",
        "minors",
        "refusal",
        "false_alarm",
        "nonsense",
        "other",
    ]


def test_every_category_says_what_it_means() -> None:
    assert all(category.name and category.definition.endswith(".") for category in CATEGORIES)
    assert all(category.example for category in CATEGORIES if category.code not in ("other", "minors"))


def test_a_false_alarm_nonsense_and_what_is_withdrawn_never_train() -> None:
    assert {"false_alarm", "nonsense", "minors"} == NOT_TRAINING


def test_severities_are_those_of_the_records() -> None:
    assert tuple(severity.code for severity in SEVERITIES) == get_args(Severity)


def test_the_present_versions_are_known_ones() -> None:
    assert TAXONOMY_VERSION in KNOWN_TAXONOMY_VERSIONS
