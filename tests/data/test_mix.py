"""Sampling, shuffling, interleaving and splitting of row numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.core.errors import ConfigError, DataError
from swiftrl.data import mix

SEED = st.integers(0, 2**63)


def test_the_stream_is_splitmix64():
    """The reference generator's first words from state 0x9E3779B97F4A7C15 * k, by hand in ints."""

    def reference(state):
        mask = 2**64 - 1
        z = state & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    base = mix._scrambled(42)
    expected = [reference(base + 0x9E3779B97F4A7C15 * (k + 1)) for k in range(5)]
    assert mix._words(0, 5, 42).tolist() == expected
    assert mix._words(3, 2, 42).tolist() == expected[3:]


def test_orders_are_the_same_forever():
    """Pinned: a seed must give the same order in every release."""
    assert mix.permutation(10, 42).tolist() == PINNED
    assert mix.permutation(10, 43).tolist() != PINNED


PINNED = [5, 4, 2, 9, 8, 3, 1, 6, 0, 7]


@given(st.integers(0, 300), SEED)
def test_a_permutation_has_every_number_once(count, seed):
    assert sorted(mix.permutation(count, seed).tolist()) == list(range(count))


def test_uniforms_are_uniform():
    values = mix.uniforms(20000, 7)
    assert (values >= 0).all() and (values < 1).all()
    counts = np.histogram(values, bins=10)[0]
    assert counts.min() > 1850 and counts.max() < 2150


def test_a_sample_is_part_of_the_permutation_or_the_first_rows():
    assert mix.sample(5, None, 1).tolist() == [0, 1, 2, 3, 4]
    assert mix.sample(100, 3, 1).tolist() == mix.permutation(100, 1)[:3].tolist()
    assert mix.sample(100, 3, 1, shuffle=False).tolist() == [0, 1, 2]


@given(st.integers(1, 20), st.integers(1, 100), SEED)
def test_a_larger_sample_repeats_rows_as_evenly_as_it_can(total, wanted, seed):
    counts = np.bincount(mix.sample(total, wanted, seed), minlength=total)
    assert counts.sum() == wanted
    assert counts.max() - counts.min() <= 1


@given(st.integers(2, 200), st.floats(0.001, 0.999), SEED)
def test_a_split_parts_the_rows(total, ratio, seed):
    kept, held = mix.split(total, ratio, seed)
    assert sorted([*kept, *held]) == list(range(total))
    assert len(kept) >= 1 and len(held) >= 1
    assert abs(len(held) - total * ratio) <= 1
    assert (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()


def test_splits_that_make_no_sense():
    assert mix.split(3, 0, 1)[1].tolist() == []
    with pytest.raises(ConfigError, match="expected a share"):
        mix.split(3, 1.0, 1)
    with pytest.raises(DataError, match="1 row cannot be split"):
        mix.split(1, 0.5, 1)


def test_joining():
    assert mix.concatenated([2, 0, 1]).tolist() == [[0, 0], [0, 1], [2, 0]]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), SEED)
def test_interleaving_takes_rows_in_turn(sizes, seed):
    probabilities = [1 / len(sizes)] * len(sizes)
    for stopping in ("first_exhausted", "all_exhausted"):
        order = mix.interleaved(sizes, probabilities, seed, stopping)
        seen = []
        for source, size in enumerate(sizes):
            rows = order[order[:, 0] == source, 1]
            assert rows.tolist() == [number % size for number in range(len(rows))]
            seen.append(len(rows) >= size)
        last = order[-1]
        assert last[1] == sizes[last[0]] - 1 or stopping == "all_exhausted"
        assert all(seen) if stopping == "all_exhausted" else sum(seen) == 1

        streams = [lambda s=s, n=n: iter([(s, k) for k in range(n)]) for s, n in enumerate(sizes)]
        streamed = mix.stream_interleaved(streams, probabilities, seed, stopping)
        assert [list(item) for item in streamed] == order.tolist()


def test_interleaving_follows_the_probabilities():
    order = mix.interleaved([10**6, 10**6], [0.2, 0.8], 3, "first_exhausted")
    assert abs((order[:, 0] == 0).mean() - 0.2) < 0.002


@pytest.mark.parametrize(
    ("probabilities", "says"),
    [
        ([1.0], "1 numbers for 2 data sets"),
        ([0.5, 0.6], "sum to 1"),
        ([1.0, 0.0], "above 0"),
    ],
)
def test_wrong_probabilities(probabilities, says):
    with pytest.raises(ConfigError, match=says):
        mix.interleaved([1, 1], probabilities, 0, "first_exhausted")


@given(st.integers(0, 60), st.integers(1, 20), SEED)
def test_a_stream_is_shuffled_within_its_buffer(count, buffer, seed):
    result = list(mix.shuffled_stream(range(count), buffer, seed))
    assert sorted(result) == list(range(count))
    assert all(place >= item - buffer for place, item in enumerate(result))
    assert result == list(mix.shuffled_stream(range(count), buffer, seed))
