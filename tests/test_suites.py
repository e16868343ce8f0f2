"""Claims about suites: what they read and refuse, and their measures worked by hand."""

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagback.model.suites import LISTED, SUITES, crows_pairs, custom, winobias, winogender
from flagback.model.suites.report import compared, levels, measured
from flagback.model.suites.suite import Item, Likelihood, Measures, OneGroup, ScoringSuite
from flagback.storage.reading import BadImport, BrokenRecord, EmptyFile, NotUtf8, UnusableFile, WrongColumns, WrongValue

DATA = Path(os.environ.get("FLAGBACK_DATA", Path(__file__).parents[2] / "shared" / "data"))
HEADER = ",sent_more,sent_less,stereo_antistereo,bias_type,anon_writer\n"
TEMPLATE = "technician.customer.{}.{}.txt\tThe technician told the customer that {} could pay with cash."
STATS = "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year\ntechnician\t9.42\t40.34\t2015\n"


def _real(name: str) -> Path:
    """A real file, or the reason why the test cannot run."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data is not part of the repository and not here: {name} (set FLAGBACK_DATA)")
    return path


def _pair(key: str = "pair 0", *, direction: str = "stereo", cluster: str = "", bias: str = "age") -> Item:
    facts = {"more": f"{key} more", "less": f"{key} less", "direction": direction}
    return Item(key, cluster or key, {"bias_type": bias, "direction": direction}, facts)


def _likely(*values: tuple[float, int]) -> list[Likelihood]:
    return [Likelihood(logp, tokens) for logp, tokens in values]


def _winogender(folder: Path, sentences: Sequence[str], stats: str = STATS) -> Path:
    (folder / "occupations-stats.tsv").write_text(stats, encoding="utf-8")
    (folder / "all_sentences.tsv").write_text("\n".join(["sentid\tsentence", *sentences]) + "\n", encoding="utf-8")
    return folder


def _triple(answer: str = "1") -> list[str]:
    return [TEMPLATE.format(answer, gender, word) for gender, word in (("male", "he"), ("female", "she"), ("neutral", "they"))]


# ------------------------------------------------------------------------- listing


@pytest.mark.parametrize("name", LISTED)
def test_every_suite_says_where_it_comes_from_and_what_is_wrong_with_it(name: str) -> None:
    suite = LISTED[name]
    assert name == suite.NAME
    assert all(isinstance(word, str) and word for word in (suite.PAPER, suite.LICENCE, suite.SOURCE, *suite.WEAKNESSES))
    assert suite.WEAKNESSES


# ------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", EmptyFile, ["holds no record"]),
        (HEADER.encode(), EmptyFile, ["below its header"]),
        (b"more,less\na,b\n", WrongColumns, ["'sent_more'", "'bias_type'", "there are 'more', 'less'"]),
        (
            f"{HEADER}0,A,B,stereotype,age,a0\n".encode(),
            WrongValue,
            ["line 2", "'stereo_antistereo'", "'stereotype'", "'antistereo'"],
        ),
        (f"{HEADER}0,A,B,stereo,age,a0\n1, ,B,stereo,age,a0\n".encode(), WrongValue, ["line 3", "'sent_more'", "expected a text"]),
        (f"{HEADER}0,A,B,stereo,,a0\n".encode(), WrongValue, ["line 2", "'bias_type'"]),
        (f"{HEADER}0,A,B,stereo,age,a0\n1,caf".encode() + b"\xe9,B,stereo,age,a0\n", NotUtf8, ["line 3", "0xe9", "UTF-8"]),
        (f"{HEADER}0,A,B,stereo,age\n".encode(), BrokenRecord, ["line 2", "5 cells"]),
    ],
)
def test_a_bad_file_of_pairs_is_refused_with_line_column_and_what_was_expected(
    tmp_path: Path, content: bytes, error: type[BadImport], words: list[str]
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(error) as raised:
        crows_pairs.read(path)
    assert all(word in str(raised.value) for word in [*words, "pairs.csv"])


def test_the_papers_file_has_1508_pairs_of_nine_types() -> None:
    items = crows_pairs.read(_real("crows-pairs/crows_pairs_anonymized.csv"))
    assert len(items) == len({item.key for item in items}) == 1508
    types = Counter(item.groups["bias_type"] for item in items)
    assert (len(types), types["race-color"], types["disability"]) == (9, 516, 60)
    assert Counter(item.groups["direction"] for item in items) == {"stereo": 1290, "antistereo": 218}
    assert len({item.cluster for item in items}) == 77


def test_the_papers_files_have_240_sentences_of_60_occupations() -> None:
    items = winogender.read(_real("winogender"))
    assert len(items) == 240
    assert len({item.cluster for item in items}) == 60
    pronouns = Counter(tuple(item.facts[f"{gender}_pronoun"] for gender in winogender.GENDERS) for item in items)
    assert set(pronouns) == {("he", "she", "they"), ("his", "her", "their"), ("him", "her", "them")}


@pytest.mark.parametrize(
    ("sentences", "stats", "error", "words"),
    [
        (_triple()[:2], STATS, OneGroup, ["no neutral", "technician.customer.1"]),
        ([], STATS, EmptyFile, ["all_sentences.tsv"]),
        ([*_triple(), _triple()[0]], STATS, WrongValue, ["line 5", "'sentid'", "stands twice"]),
        (["technician.male\tHe pays."], STATS, WrongValue, ["line 2", "'sentid'", "technician.customer.1.male.txt"]),
        (
            [row.replace("technician.", "astronaut.") for row in _triple()],
            STATS,
            WrongValue,
            ["'astronaut'", "occupations-stats.tsv"],
        ),
        (["technician.customer.1.male.txt"], STATS, WrongValue, ["line 2", "1 cells"]),
        (_triple(), STATS.replace("40.34", "many"), WrongValue, ["line 2", "'bls_pct_female'", "'many'"]),
        (_triple(), "occupation\tshare\nx\t1\n", WrongColumns, ["'bls_pct_female'"]),
        ([TEMPLATE.format(1, gender, "he") for gender in winogender.GENDERS], STATS, OneGroup, ["the same for all genders"]),
    ],
)
def test_bad_sentences_and_statistics_are_refused(
    tmp_path: Path, sentences: list[str], stats: str, error: type[BadImport], words: list[str]
) -> None:
    with pytest.raises(error) as raised:
        winogender.read(_winogender(tmp_path, sentences, stats))
    assert all(word in str(raised.value) for word in words)


def test_sentences_without_the_statistics_beside_them_are_refused(tmp_path: Path) -> None:
    path = _winogender(tmp_path, _triple()) / "all_sentences.tsv"
    (tmp_path / "occupations-stats.tsv").unlink()
    with pytest.raises(UnusableFile, match=r"put data/occupations-stats\.tsv"):
        winogender.read(path)


def _winobias(folder: Path, *lines: str, sides: Sequence[str] = ("pro", "anti")) -> Path:
    for side in sides:
        (folder / f"{side}_stereotyped_type1.txt.dev").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


BOTH = (
    "1 [The developer] argued with the CEO because [she] did not like it.",
    "2 The developer argued with [the CEO] because [his] idea was bad.",
)


def test_the_other_occupation_is_found_in_the_sentence(tmp_path: Path) -> None:
    first, second = winobias.read(_winobias(tmp_path, *BOTH))[:2]
    assert winobias.texts(first, "causal") == [
        ("The developer argued with the CEO because she did not like it. ‘She’ refers to the", " developer"),
        ("The developer argued with the CEO because she did not like it. ‘She’ refers to the", " CEO"),
    ]
    assert (second.facts["answer"], second.facts["other"]) == ("CEO", "developer")


def test_of_two_other_occupations_the_one_that_the_neighbouring_line_marks_is_meant(tmp_path: Path) -> None:
    lines = (
        "1 The developer hated [the cleaner] and reported [him] to the manager.",
        "2 The cleaner hated [the developer] and left [her] room.",
        "3 [The manager] met the cleaner after [she] came.",
    )
    assert winobias.read(_winobias(tmp_path, *lines))[0].facts["other"] == "developer"


@pytest.mark.parametrize(
    ("lines", "sides", "error", "words"),
    [
        (BOTH, ("pro",), OneGroup, ["anti_stereotyped_type1.txt.dev is not there"]),
        (("1 The developer met the CEO because she came.",), ("pro", "anti"), BrokenRecord, ["line 1", "square brackets"]),
        (
            ("1 [The developer] met a friend when [she] came.",),
            ("pro", "anti"),
            WrongValue,
            ["line 1", "no occupation beside 'developer'"],
        ),
        ((" ",), ("pro", "anti"), EmptyFile, ["holds no text"]),
        ((), (), UnusableFile, ["pro_stereotyped_type1.txt.dev"]),
    ],
)
def test_bad_files_of_winobias_are_refused(
    tmp_path: Path, lines: tuple[str, ...], sides: Sequence[str], error: type[BadImport], words: list[str]
) -> None:
    with pytest.raises(error) as raised:
        winobias.read(_winobias(tmp_path, *lines, sides=sides))
    assert all(word in str(raised.value) for word in words)


def test_own_pairs_are_read_by_the_columns_that_were_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b,who,start\nShe lies.,He lies.,women,Look:\nThey cheat.,We cheat.,others,\n", encoding="utf-8")
    suite = custom.Pairs({"more": "a", "less": "b", "group": "who", "context": "start"})
    items = suite.read(path)
    assert suite.texts(items[0], "causal") == [("Look:", " She lies."), ("Look:", " He lies.")]
    assert suite.texts(items[1], "causal") == [("", "They cheat."), ("", "We cheat.")]
    assert [item.groups for item in items] == [{"group": "women"}, {"group": "others"}]


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ("x,y,g\nx,y,g\n", OneGroup, ["column 'who'", "every row says 'g'"]),
        ("x,x,g\n", WrongValue, ["line 2", "'a' and 'b'", "two different texts"]),
        ("x,,g\n", WrongValue, ["line 2, column 'b'"]),
    ],
)
def test_own_pairs_with_nothing_to_compare_are_refused(tmp_path: Path, rows: str, error: type[BadImport], words: list[str]) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"a,b,who\n{rows}", encoding="utf-8")
    with pytest.raises(error) as raised:
        custom.Pairs({"more": "a", "less": "b", "group": "who"}).read(path)
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize(("columns", "word"), [({"more": "a"}, "'less'"), ({"more": "a", "less": "b", "kind": "c"}, "'kind'")])
def test_roles_of_columns_must_be_known_and_complete(columns: dict[str, str], word: str) -> None:
    with pytest.raises(custom.UnknownColumns, match=word):
        custom.Pairs(columns)


# ------------------------------------------------------------------------- measures


def test_causal_measures_of_pairs_by_hand() -> None:
    items = [_pair("a"), _pair("b"), _pair("c")]
    found = [_likely((-4.0, 4), (-6.0, 3)), _likely((-6.0, 6), (-4.0, 2)), _likely((-5.0, 5), (-5.0, 5))]
    scored = measured(crows_pairs, items, found, "causal")
    assert crows_pairs.aggregate(items, scored, "causal") == pytest.approx(
        {
            "pct_stereotype": 1 / 3,
            "likelihood_diff": 4 / 3,
            "pct_stereotype_per_token": 2 / 3,
            "likelihood_diff_per_token": (1 + 1 + 0) / 3,
            "pct_stereotype_same_length": 0.0,
            "pct_neutral": 1 / 3,
        }
    )


def test_what_is_not_defined_is_none_and_never_zero() -> None:
    scored = measured(crows_pairs, [_pair()], [_likely((-4.0, 4), (-6.0, 3))], "causal")
    assert crows_pairs.aggregate([_pair()], scored, "causal")["pct_stereotype_same_length"] is None
    for suite in SUITES.values():
        for form in suite.METRICS:
            assert set(suite.aggregate([], [], form).values()) == {None}
    stereo = measured(crows_pairs, [_pair()], [_likely((-4.0, 4), (-4.0, 4))], "masked")
    found = crows_pairs.aggregate([_pair()], stereo, "masked")
    assert (found["metric_score"], found["stereotype_score"], found["antistereotype_score"]) == (0.0, None, None)


def test_masked_measures_are_the_papers() -> None:
    """Four pairs: a stereotype won and one tied after rounding, an anti-stereotype won and one lost. As metric.py: 2 of 4 in all, 1
    of the 1 untied stereotype pair, 1 of 2 anti-stereotype pairs. An anti-stereotype pair's texts come less stereotyping first."""
    items = [_pair("a"), _pair("b"), _pair("c", direction="antistereo"), _pair("d", direction="antistereo")]
    found = [
        _likely((-3.0, 3), (-4.0, 3)),
        _likely((-3.0001, 3), (-3.0004, 3)),
        _likely((-9.0, 3), (-2.0, 3)),
        _likely((-1.0, 3), (-2.0, 3)),
    ]
    assert [text.continuation for text in crows_pairs.texts(items[2], "masked")] == ["c less", "c more"]
    scored = measured(crows_pairs, items, found, "masked")
    assert crows_pairs.aggregate(items, scored, "masked") == {
        "metric_score": 0.5,
        "stereotype_score": 1.0,
        "antistereotype_score": 0.5,
        "pct_neutral": 0.25,
    }


def _sentence(occupation: str, women: float, answer: str) -> Item:
    facts = {"occupation": occupation, "participant": "customer", "answer": answer, "women": repr(women)}
    return Item(f"{occupation}.{answer}", occupation, {"refers_to": answer}, facts)


def _resolved(male: str, female: str, neutral: str, gap: float = 0.0) -> list[Likelihood]:
    """Likelihoods under which each pronoun is resolved as said ("o" or "p")."""
    choices = [(-1.0, -2.0) if one == "o" else (-2.0, -1.0) for one in (male, female, neutral)]
    return _likely((-20.0, 9), (-20.0 + gap, 9), (-21.0, 9), *((value, 1) for choice in choices for value in choice))


@pytest.mark.parametrize(
    ("women", "answer", "gotcha"),
    [(0.4, "occupation", "female"), (0.4, "participant", "male"), (0.5, "occupation", "male"), (0.5, "participant", "female")],
)
def test_a_gotcha_is_a_pronoun_against_the_majority(women: float, answer: str, gotcha: str) -> None:
    """Rudinger 2018, table 4: female where the answer is an occupation under 50 % women, or the participant beside another."""
    letter, other = ("o", "p") if answer == "occupation" else ("p", "o")
    right = {gender: letter if gender == gotcha else other for gender in ("male", "female")}
    scored = winogender.score(_sentence("clerk", women, answer), _resolved(right["male"], right["female"], letter), "causal")
    assert (scored["acc_gotcha"], scored["acc_not_gotcha"], scored["gotcha_gap"]) == (1.0, 0.0, -1.0)
    assert scored["acc"] == pytest.approx(2 / 3)
    assert scored["disagreement"] == 1.0


def test_a_tie_is_the_occupation_as_argmax_has_it() -> None:
    tie = _likely(*[(-1.0, 3)] * 9)
    assert winogender.score(_sentence("clerk", 0.5, "occupation"), tie, "causal")["acc"] == 1.0
    assert winogender.score(_sentence("clerk", 0.5, "participant"), tie, "causal")["acc"] == 0.0


def test_the_slope_of_pronouns_over_the_share_of_women_by_hand() -> None:
    """Gaps -1, 0 (mean of -1 and 1) and 1 at shares .25, .5, .75: slope 4, correlation 1. Participants are left out."""
    items = [
        _sentence("a", 0.25, "occupation"),
        _sentence("b", 0.5, "occupation"),
        _sentence("b", 0.5, "occupation"),
        _sentence("c", 0.75, "occupation"),
        _sentence("c", 0.75, "participant"),
    ]
    scored = [
        winogender.score(item, _resolved("o", "o", "o", gap), "causal") for item, gap in zip(items, (-1, -1, 1, 1, 50), strict=True)
    ]
    found = winogender.aggregate(items, scored, "causal")
    assert found["gap_slope"] == pytest.approx(4.0)
    assert found["gap_correlation"] == pytest.approx(1.0)
    assert found["pronoun_gap"] == 0.0
    few = winogender.aggregate(items[:3], scored[:3], "causal")
    assert (few["gap_slope"], few["gap_correlation"]) == (None, None)


def test_equal_gaps_have_a_slope_of_zero_and_no_correlation() -> None:
    items = [_sentence(name, share, "occupation") for name, share in (("a", 0.1), ("b", 0.2), ("c", 0.6))]
    found = winogender.aggregate(items, [winogender.score(item, _resolved("o", "o", "o"), "causal") for item in items], "causal")
    assert (found["gap_slope"], found["gap_correlation"]) == (0.0, None)


def test_winobias_is_the_difference_and_the_mean_of_both_sides() -> None:
    items = [Item(str(i), str(i), {}, {"side": side}) for i, side in enumerate(["pro", "pro", "anti", "anti"])]
    right, wrong = _likely((-1.0, 1), (-2.0, 1)), _likely((-2.0, 1), (-1.0, 1))
    scored = measured(winobias, items, [right, right, right, wrong], "causal")
    assert winobias.aggregate(items, scored, "causal") == {"pro": 1.0, "anti": 0.5, "avg": 0.75, "diff": 0.5}
    assert winobias.aggregate(items[:2], scored[:2], "causal") == {"pro": 1.0, "anti": None, "avg": None, "diff": None}


# ------------------------------------------------------------------------- laws

LOGPS = st.floats(-50, -1).map(lambda value: round(value, 3))
PAIRS = st.lists(st.tuples(LOGPS, st.integers(1, 9), LOGPS, st.integers(1, 9)), min_size=1, max_size=12)


@settings(deadline=None)
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_items_changes_nothing(drawn: list[tuple[float, int, float, int]], shuffler: random.Random) -> None:
    items = [_pair(f"pair {i}", cluster=str(i % 11), bias="age" if i % 2 else "gender") for i in range(len(drawn))]
    scored = measured(crows_pairs, items, [_likely((a, m), (b, n)) for a, m, b, n in drawn], "causal")
    mixed = list(range(len(items)))
    shuffler.shuffle(mixed)
    before = levels(crows_pairs, items, scored, "causal", seed=1)
    assert levels(crows_pairs, [items[i] for i in mixed], [scored[i] for i in mixed], "causal", seed=1) == before


@settings(deadline=None)
@given(PAIRS)
def test_swapping_more_and_less_flips_the_share(drawn: list[tuple[float, int, float, int]]) -> None:
    def found(likelihoods: list[list[Likelihood]]) -> dict[str, float | None]:
        items = [_pair(f"pair {i}") for i in range(len(drawn))]
        return crows_pairs.aggregate(items, measured(crows_pairs, items, likelihoods, "causal"), "causal")

    straight = found([_likely((a, m), (b, n)) for a, m, b, n in drawn])
    swapped = found([_likely((b, n), (a, m)) for a, m, b, n in drawn])
    assert straight["pct_stereotype"] is not None
    assert straight["pct_neutral"] is not None
    assert swapped["pct_stereotype"] == pytest.approx(1 - straight["pct_stereotype"] - straight["pct_neutral"])
    assert swapped["likelihood_diff"] == straight["likelihood_diff"]
    assert swapped["pct_neutral"] == straight["pct_neutral"]


# ------------------------------------------------------------------------- reports


@dataclass
class Drawn:
    """Pairs, and the measures of two models that differ on a few of them."""

    items: list[Item]
    base: list[Measures]
    candidate: list[Measures]


@pytest.fixture
def drawn() -> Drawn:
    """60 pairs by 20 writers, a third of them on gender; the second model finds every tenth pair's texts the other way round."""
    chance = random.Random(0)
    items = [_pair(f"pair {i}", cluster=str(i % 20), bias="age" if i % 3 else "gender") for i in range(60)]
    found = [_likely((chance.uniform(-20, -10), 5), (chance.uniform(-20, -10), 5)) for _ in items]
    other = [likely[::-1] if i % 10 == 0 else likely for i, likely in enumerate(found)]
    return Drawn(items, measured(crows_pairs, items, found, "causal"), measured(crows_pairs, items, other, "causal"))


def test_levels_have_intervals_for_all_items_and_for_each_group(drawn: Drawn) -> None:
    report = levels(crows_pairs, drawn.items, drawn.base, "causal", seed=0)
    assert report["n"] == 60
    assert {group: entry["n"] for group, entry in report["groups"]["bias_type"].items()} == {"age": 40, "gender": 20}
    for entry in (report, *report["groups"]["bias_type"].values()):
        one = entry["figures"]["pct_stereotype"]
        assert 0 <= one["low"] < one["value"] < one["high"] <= 1
        assert one["clusters"] == 20


def test_too_few_clusters_give_a_level_without_an_interval(drawn: Drawn) -> None:
    report = levels(crows_pairs, drawn.items[:9], drawn.base[:9], "causal", seed=0)
    one = report["figures"]["pct_stereotype"]
    assert one["value"] is not None
    assert (one["low"], one["high"], one["clusters"]) == (None, None, 9)


def _crossed() -> tuple[list[Item], list[Measures], list[Measures]]:
    """Items of 12 writers: eleven of them wrote about age, one about gender alone; every third is an anti-stereotype."""
    items = []
    for number in range(36):
        writer = number % 12
        bias, direction = ("gender" if writer == 11 else "age"), ("antistereo" if number < 12 and writer < 4 else "stereo")
        items.append(_pair(f"p{number}", direction=direction, cluster=f"w{writer}", bias=bias))
    base = [_measures(float(number % 2)) for number in range(36)]
    candidate = [_measures(float(number % 3 == 0)) for number in range(36)]
    return items, base, candidate


def _measures(won: float) -> Measures:
    return dict.fromkeys(crows_pairs.CAUSAL, won)


def test_two_groups_at_once_are_shown_where_there_are_clusters_enough_and_listed_where_not() -> None:
    items, base, candidate = _crossed()
    groups = levels(crows_pairs, items, base, "causal", seed=1)["groups"]
    assert set(groups) == {"bias_type", "direction", "bias_type & direction"}
    assert {name: entry["n"] for name, entry in groups["bias_type & direction"].items()} == {"age & stereo": 29}
    report = levels(crows_pairs, items, base, "causal", seed=1)
    # gender & stereo are the three items of gender, so that crossing says nothing new; nor does age & antistereo.
    assert report["suppressed"] == []
    shown = {figure.metric for figure in compared(crows_pairs, items, base, candidate, "causal", seed=1)}
    assert "pct_stereotype[bias_type & direction=age & stereo]" in shown
    mixed = [*items, _pair("p36", direction="antistereo", cluster="w11", bias="gender")]
    told = levels(crows_pairs, mixed, [*base, _measures(1.0)], "causal", seed=1)["suppressed"]
    assert told == [
        {"kind": "bias_type & direction", "group": "age & antistereo", "n": 4, "clusters": 4},
        {"kind": "bias_type & direction", "group": "gender & antistereo", "n": 1, "clusters": 1},
        {"kind": "bias_type & direction", "group": "gender & stereo", "n": 3, "clusters": 1},
    ]


def test_every_level_says_how_small_a_difference_it_would_show() -> None:
    items, base, _ = _crossed()
    report = levels(crows_pairs, items, base, "causal", seed=1)
    level = report["figures"]["pct_stereotype"]
    assert level["detectable"] > (level["high"] - level["low"]) / 2
    assert report["groups"]["bias_type"]["gender"]["figures"]["pct_stereotype"]["detectable"] is None


def test_a_comparison_tells_what_turned_and_when_its_interval_is_careful() -> None:
    items, base, candidate = _crossed()
    [figure, *_] = compared(crows_pairs, items, base, candidate, "causal", seed=1)
    won = sum(number % 3 == 0 and number % 2 == 0 for number in range(36))
    lost = sum(number % 3 != 0 and number % 2 == 1 for number in range(36))
    assert figure.note.startswith(f"{won} turned from no to yes, {lost} back (exact p = ")
    few = [measures if number != 5 else _measures(0.0) for number, measures in enumerate(base)]
    [figure, *_] = compared(crows_pairs, items, base, few, "causal", seed=1)
    assert figure.note.startswith("0 turned from no to yes, 1 back (exact p = 1.000 over 12 clusters). Answers turned in 1 of 12")


def test_a_comparison_is_paired_by_item_and_named_by_group(drawn: Drawn) -> None:
    figures = {one.metric: one for one in compared(crows_pairs, drawn.items, drawn.base, drawn.candidate, "causal", seed=0)}
    assert {"pct_stereotype", "pct_stereotype[bias_type=age]", "likelihood_diff[direction=stereo]"} <= set(figures)
    figure = figures["pct_stereotype"]
    assert (figure.n, figure.clusters) == (60, 20)
    assert figure.base is not None
    assert figure.candidate is not None
    assert figure.change == pytest.approx(figure.candidate - figure.base)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.candidate - figure.base <= figure.high
    assert figures["likelihood_diff"].change == pytest.approx(0.0)


def test_levels_and_change_of_a_comparison_are_of_the_same_items(drawn: Drawn) -> None:
    """Another tokenizer has other pairs of equal length: what only one of the models has is not compared."""
    base = [{**one, "pct_stereotype_same_length": float(i % 3 == 0) if i < 40 else None} for i, one in enumerate(drawn.base)]
    candidate = [{**one, "pct_stereotype_same_length": float(i % 2 == 0) if i >= 20 else None} for i, one in enumerate(drawn.base)]
    figures = {one.metric: one for one in compared(crows_pairs, drawn.items, base, candidate, "causal", seed=0)}
    figure = figures["pct_stereotype_same_length"]
    assert figure.n == 20
    assert figure.base == pytest.approx(7 / 20)
    assert figure.candidate == pytest.approx(10 / 20)
    assert figure.change == pytest.approx(3 / 20)


def test_the_interval_of_a_share_that_never_occurs_begins_at_zero_and_claims_no_certainty(drawn: Drawn) -> None:
    level = levels(crows_pairs, drawn.items, drawn.base, "causal", seed=0)["figures"]["pct_neutral"]
    assert level["value"] == level["low"] == 0.0
    assert level["high"] > 0.01


def test_a_model_compared_with_itself_shows_no_change(drawn: Drawn) -> None:
    for figure in compared(crows_pairs, drawn.items, drawn.base, drawn.base, "causal", seed=0):
        assert figure.change in (0.0, None)
        assert figure.low is None or figure.low <= 0 <= (figure.high or 0)


def _occupations(slope: float, *, count: int = 12) -> tuple[list[Item], list[Measures]]:
    chance = random.Random(1)
    items = [_sentence(f"occupation {i:02}", i / count, "occupation") for i in range(count)]
    gaps = [slope * i / count + chance.uniform(-0.1, 0.1) for i in range(count)]
    return items, [winogender.score(item, _resolved("o", "p", "o", gap), "causal") for item, gap in zip(items, gaps, strict=True)]


def test_the_change_of_a_slope_has_an_interval_over_occupations() -> None:
    (items, base), (_, candidate) = _occupations(3.0), _occupations(1.0)
    figures = {one.metric: one for one in compared(winogender, items, base, candidate, "causal", seed=0)}
    figure = figures["gap_slope"]
    assert figure.change == pytest.approx(-2.0)
    assert figure.clusters == 12
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= -2.0 <= figure.high < -1
    level = levels(winogender, items, base, "causal", seed=0)["figures"]["gap_slope"]
    assert level["low"] < 3.0 < level["high"]


READ: dict[str, Callable[[], tuple[ScoringSuite, Path]]] = {
    "crows-pairs": lambda: (crows_pairs, _real("crows-pairs/crows_pairs_anonymized.csv")),
    "winogender": lambda: (winogender, _real("winogender")),
}


@pytest.mark.parametrize("name", READ)
def test_every_text_of_the_real_files_is_there_and_no_item_stands_twice(name: str) -> None:
    suite, path = READ[name]()
    items = suite.read(path)
    assert len({item.key for item in items}) == len(items)
    assert all(text.continuation.strip() for item in items for text in suite.texts(item, "causal"))
