import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import tiny_rows

from swiftrl.rlhf.dealing import deal, passes_of, sizes_of
from swiftrl.rlhf.order import Feed


def test_the_longest_first_to_who_has_fewest():
    # 9 | 7; 7 + 6 = 13 | 9 + 5 = 14; the last, 2, to the one with room.
    assert deal([5, 9, 2, 7, 6], 2) == [[0, 1, 2], [3, 4]]
    assert deal([], 2) == [[], []]


@given(st.lists(st.integers(1, 5000), max_size=64), st.integers(1, 8))
def test_every_row_once_in_parts_of_equal_size(tokens, parts):
    dealt = deal(tokens, parts)
    assert sorted(row for part in dealt for row in part) == list(range(len(tokens)))
    assert [len(part) for part in dealt] == sizes_of(len(tokens), parts)


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_processes_and_passes_get_near_equal_numbers_of_tokens(world_size):
    draw = np.random.default_rng(0)
    worst = {"dealt": 0.0, "in order": 0.0}
    for _ in range(50):
        tokens = draw.lognormal(6, 1, 16 * world_size).astype(int) + 1
        mean = tokens.sum() / world_size
        loads = [tokens[part].sum() / mean for part in deal(tokens.tolist(), world_size)]
        in_order = [part.sum() / mean for part in np.split(tokens, world_size)]
        worst["dealt"] += max(loads) / 50
        worst["in order"] += max(in_order) / 50
    assert worst["dealt"] < 1.03 < 1.15 < worst["in order"], worst


def test_a_pass_takes_no_more_rows_than_it_may():
    passes = passes_of([3] * 21, rank=0, world_size=2, micro_batch_size=4)
    assert [len(rows) for rows in passes] == [4, 4, 3]


class Measured(list):
    """Rows that know their numbers of tokens, as encoded data do."""

    @property
    def lengths(self):
        return np.array([sum(len(s.token_ids) for s in row.sequences) for row in self])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_processes_of_a_step_take_its_rows_between_them(world_size):
    rows = Measured(tiny_rows(10))
    steps = []
    for rank in range(world_size):
        feed = Feed(
            rows, seed=1, shuffle=True, micro_batch_size=2, rank=rank, world_size=world_size
        )
        steps.append(
            [
                [origin for micro in step for origin in micro.origins]
                for step in feed.steps(0, 20, 7)
            ]
        )
    order = Feed(rows, seed=1, shuffle=True, micro_batch_size=1)
    for number, start in enumerate(range(0, 20, 7)):
        taken = sorted(origin for of_rank in steps for origin in of_rank[number])
        expected = [rows[order.index_at(p)].origin for p in range(start, min(start + 7, 20))]
        assert taken == sorted(expected)
