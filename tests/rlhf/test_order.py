from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import tiny_rows

from swiftrl.core.errors import DataError
from swiftrl.rlhf.order import Feed, epoch_permutation, share_of


def origins(feed, start, stop, global_batch):
    return [
        [origin for micro in step for origin in micro.origins]
        for step in feed.steps(start, stop, global_batch)
    ]


def flat(steps):
    return [*chain.from_iterable(steps)]


def feed_of(rows, *, micro=2, rank=0, world=1, shuffle=True, seed=3):
    return Feed(
        rows, seed=seed, shuffle=shuffle, micro_batch_size=micro, rank=rank, world_size=world
    )


@given(st.integers(0, 50), st.integers(0, 40), st.integers(1, 9))
def test_shares_cover_every_row_once_in_order(start, length, world):
    shares = [share_of(start, start + length, rank, world) for rank in range(world)]
    assert [position for share in shares for position in share] == [*range(start, start + length)]
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_epochs_are_different_permutations_of_the_same_rows():
    first, second = (epoch_permutation(50, seed=1, epoch=epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == [*range(50)]
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_permutation(50, seed=1, epoch=0))
    assert not np.array_equal(first, epoch_permutation(50, seed=2, epoch=0))


def test_rows_do_not_depend_on_how_a_step_is_divided():
    rows = tiny_rows(11)
    whole = origins(feed_of(rows, micro=100), 0, 30, 8)
    assert [len(step) for step in whole] == [8, 8, 8, 6]
    assert sorted(flat(whole)[:11]) == sorted(row.origin for row in rows)
    for micro, world in ((1, 1), (3, 1), (2, 2), (1, 3), (4, 5)):
        parts = [
            origins(feed_of(rows, micro=micro, rank=rank, world=world), 0, 30, 8)
            for rank in range(world)
        ]
        joined = [flat(part[step] for part in parts) for step in range(4)]
        assert joined == whole, (micro, world)


def test_a_cursor_goes_on_where_the_rows_stopped():
    rows = tiny_rows(11)
    whole = origins(feed_of(rows), 0, 32, 8)
    assert origins(feed_of(rows), 16, 32, 8) == whole[2:]
    assert flat(origins(feed_of(rows), 16, 32, 4)) == flat(whole[2:])


def test_without_shuffling_rows_come_as_they_are():
    rows = tiny_rows(5)
    assert flat(origins(feed_of(rows, shuffle=False), 0, 7, 7)) == [
        row.origin for row in (*rows, *rows[:2])
    ]


def test_streams_start_anew_when_they_end_and_skip_to_the_cursor():
    class Stream:
        def __iter__(self):
            return iter(tiny_rows(5))

    whole = flat(origins(feed_of(Stream()), 0, 12, 4))
    assert whole[5:10] == whole[:5]
    assert flat(origins(feed_of(Stream()), 8, 12, 4)) == whole[8:]
    parts = [origins(feed_of(Stream(), rank=rank, world=2), 0, 12, 4) for rank in (0, 1)]
    assert flat(a + b for a, b in zip(*parts, strict=True)) == whole


def test_a_stream_that_ends_for_good_is_an_error():
    with pytest.raises(DataError, match="can be read only once"):
        origins(feed_of(iter(tiny_rows(3))), 0, 8, 4)


def test_no_rows_is_an_error():
    with pytest.raises(DataError, match="no rows"):
        feed_of([])


def test_errors_of_the_background_thread_reach_the_caller():
    class Broken:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            raise DataError(f"row {index} is broken")

    with pytest.raises(DataError, match="is broken"):
        origins(feed_of(Broken()), 0, 4, 4)
