"""Hard weather for the board: presses, posts and rows fit together, and no answer is lost or doubled, on both databases."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests import board_storm
from tests.board_place import Place

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[Place]:
    """A served home with more to judge than is pressed."""
    database = None if database_url.startswith("sqlite") else database_url
    place = Place(tmp_path_factory.mktemp("storm"), answers=board_storm.PRESSES + 50, database=database)
    with place.web:
        yield place
    place.store.close()


def test_a_thousand_presses_store_one_answer_each_for_what_was_on_the_screen(place: Place, browser: Browser) -> None:
    beat = board_storm.thousand_presses(place, browser)
    assert beat.taken + beat.ignored == beat.presses == 1_000
    assert beat.rows == beat.posts == beat.tokens == beat.taken
    assert beat.as_seen
    assert (beat.listeners, beat.most_listeners) == (1, 1)
    # How many find something painted hangs on the machine; more than one browser ever holds must have been fetched meanwhile.
    assert beat.taken > 2 * 40, f"{beat.ignored} presses found nothing painted"
    # 40 ms after the last: nobody read that. It is stored with its time, by which it is known; how many hangs on the machine.
    assert beat.fast > 0


def test_kill_9_twice_and_a_cut_network_lose_no_answer_double_none_and_keep_their_order(place: Place, browser: Browser) -> None:
    for kept in (board_storm.killed_twice(place, browser), board_storm.cut_off(place, browser)):
        assert kept.stored == kept.given
        assert kept.in_order
        assert max(kept.at_blow) < kept.given, "the blow came after all were stored"


def test_kill_9_under_a_crowd_stores_each_answer_once(place: Place) -> None:
    kept = board_storm.killed_under_a_crowd(place)
    assert (kept.stored, kept.in_order) == (kept.given, True)
    assert sum(met < 20 for met in kept.at_blow) == 2, f"no two blows met answers on their way: {kept.at_blow}"
