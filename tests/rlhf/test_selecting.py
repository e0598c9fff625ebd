"""Which replies are kept: by hand."""

import pytest

from swiftrl.rlhf.selecting import Kept, Selection, select

TEXTS = ["a", "b", "c", "d", "b"]
SCORES = [0.2, 0.9, None, 0.5, 0.9]


@pytest.mark.parametrize(
    ("selection", "kept", "why"),
    [
        (Selection("best"), [Kept(1)], ""),
        (Selection("best", most=3), [Kept(1), Kept(3), Kept(0)], ""),
        (Selection("best", most=3, threshold=0.5), [Kept(1), Kept(3)], ""),
        (Selection("best", threshold=0.95), [], "below the threshold"),
        (Selection("pairs"), [Kept(1, 0)], ""),
        (Selection("pairs", most=5), [Kept(1, 0)], ""),
        (Selection("pairs", margin=0.7), [], "no difference"),
        (Selection("pairs", margin=0.6), [Kept(1, 0)], ""),
        (Selection("all", threshold=0.5), [Kept(0), Kept(1), Kept(3)], ""),
        # Three of the four scored replies reach 0.5.
        (Selection("best", threshold=0.5, easy=0.7), [], "too easy"),
        (Selection("best", threshold=0.5, easy=0.75), [Kept(1)], ""),
    ],
)
def test_what_is_kept(selection, kept, why):
    assert select(selection, SCORES, TEXTS) == (kept, why)


def test_pairs_go_from_the_outside_in():
    scores, texts = [0.1, 0.4, 0.3, 0.2], list("abcd")
    pairs, _ = select(Selection("pairs", most=4), scores, texts)
    assert pairs == [Kept(1, 0), Kept(2, 3)]


def test_nothing_to_choose_from():
    assert select(Selection("best"), [None, None], ["a", "b"]) == ([], "no score")
    assert select(Selection("pairs"), [1.0, 1.0], ["a", "b"]) == ([], "no difference")
    assert select(Selection("pairs"), [1.0, 0.0], ["a", "a"]) == ([], "no difference")
