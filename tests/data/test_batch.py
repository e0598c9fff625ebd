"""Trees and packing: nothing is lost, and the rows layout holds the same sequences."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.data.batch import make_tree, pack
from swiftrl.templates.encoding import Encoded


def encoded(ids, weights):
    return Encoded(np.array(ids, dtype=np.int32), np.array(weights, dtype=np.float32))


@st.composite
def sequences(draw, min_size=1):
    size = draw(st.integers(min_size, 12))
    ids = draw(st.lists(st.integers(1, 4), min_size=size, max_size=size))
    weights = draw(st.lists(st.sampled_from([0.0, 0.0, 1.0, 0.5]), min_size=size, max_size=size))
    return encoded(ids, weights)


families = st.lists(sequences(), min_size=1, max_size=4)


def trained(sequence):
    """(position, token, weight) of the tokens that train; the first of all has no predictor."""
    return [
        (place, int(sequence.token_ids[place]), float(sequence.loss_weights[place]))
        for place in range(1, len(sequence))
        if sequence.loss_weights[place] > 0
    ]


@given(families)
def test_a_tree_unfolds_into_its_sequences(family):
    tree = make_tree(family)
    for sequence, ids, weights in zip(family, tree.branch_ids, tree.branch_weights, strict=True):
        assert np.array_equal(np.concatenate([tree.trunk_ids, ids]), sequence.token_ids)
        assert np.array_equal(weights, sequence.loss_weights[len(tree.trunk_ids) :])
        assert not np.any(sequence.loss_weights[1 : len(tree.trunk_ids)] > 0)


@given(families)
def test_the_trunk_is_as_long_as_it_may_be(family):
    trunk = len(make_tree(family).trunk_ids)
    if all(len(sequence) > trunk for sequence in family):
        differ = len({int(sequence.token_ids[trunk]) for sequence in family}) > 1
        trains = any(trunk > 0 and sequence.loss_weights[trunk] > 0 for sequence in family)
        assert differ or trains


@given(st.lists(families, min_size=1, max_size=3))
@settings(max_examples=200)
def test_packing_keeps_every_trained_token(forest):
    batch = pack([make_tree(family, {"margin": float(n)}) for n, family in enumerate(forest)])
    flat = [sequence for family in forest for sequence in family]
    assert batch.num_sequences == len(flat)
    assert batch.columns["margin"].tolist() == [float(n) for n in range(len(forest))]
    for number, sequence in enumerate(flat):
        mine = batch.sequence_index == number
        sources = batch.source_index[mine]
        found = list(
            zip(
                (batch.positions[sources] + 1).tolist(),
                batch.target_ids[mine].tolist(),
                batch.weights[mine].tolist(),
                strict=True,
            )
        )
        assert found == trained(sequence)
        before = [int(sequence.token_ids[place - 1]) for place, _, _ in found]
        assert batch.token_ids[sources].tolist() == before


@given(st.lists(families, min_size=1, max_size=3))
def test_rows_hold_the_same_sequences(forest):
    batch = pack([make_tree(family) for family in forest])
    rows = batch.to_rows(pad_id=0)
    flat = [sequence for family in forest for sequence in family]
    for row, sequence in enumerate(flat):
        length = len(sequence)
        assert rows.token_ids[row, :length].tolist() == sequence.token_ids.tolist()
        assert rows.attention_mask[row].tolist() == [1] * length + [0] * (
            rows.token_ids.shape[1] - length
        )
        assert not rows.token_ids[row, length:].any()
        assert rows.positions[row, :length].tolist() == list(range(length))
    width = rows.token_ids.shape[1]
    assert torch.equal(rows.source_index // width, batch.sequence_index)
    assert torch.equal(
        rows.token_ids.flatten()[rows.source_index], batch.token_ids[batch.source_index]
    )


@given(st.lists(families, min_size=1, max_size=3))
def test_values_split_by_tree(forest):
    batch = pack([make_tree(family) for family in forest])
    parts = batch.split_by_tree(torch.arange(len(batch.target_ids)))
    assert [len(part) for part in parts] == [
        sum(len(trained(sequence)) for sequence in family) for family in forest
    ]


def test_a_shared_prompt_runs_once():
    prompt = [5, 6, 7]
    pair = [encoded([*prompt, 8, 9], [0, 0, 0, 1, 1]), encoded([*prompt, 8, 3], [0, 0, 0, 1, 1])]
    batch = pack([make_tree(pair)])
    # The first reply token is common, but trained: it stands in both branches.
    assert batch.token_ids.tolist() == [5, 6, 7, 8, 9, 8, 3]
    assert batch.positions.tolist() == [0, 1, 2, 3, 4, 3, 4]
    assert batch.source_index.tolist() == [2, 3, 2, 5]
    assert batch.target_ids.tolist() == [8, 9, 8, 3]
    assert batch.sequence_index.tolist() == [0, 0, 1, 1]


def test_pre_training_text_trains_all_but_its_first_token():
    batch = pack([make_tree([encoded([4, 5, 6], [1, 1, 1])])])
    assert batch.source_index.tolist() == [0, 1]
    assert batch.target_ids.tolist() == [5, 6]


def test_sequences_without_a_common_start_have_no_trunk():
    tree = make_tree([encoded([1, 2], [1, 1]), encoded([3, 4], [1, 1])])
    assert len(tree.trunk_ids) == 0
    batch = pack([tree])
    assert batch.source_index.tolist() == [0, 2]
    assert batch.target_ids.tolist() == [2, 4]


def test_keys_follow_content():
    one = make_tree([encoded([1, 2, 3], [0, 1, 1])])
    same = make_tree([encoded([1, 2, 3], [0, 1, 1])], {"margin": 1.0})
    other_mask = make_tree([encoded([1, 2, 3], [0, 1, 0.5])])
    other_ids = make_tree([encoded([1, 2, 4], [0, 1, 1])])
    keys = pack([one, same, other_mask, other_ids]).keys
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_moving_keeps_everything():
    batch = pack([make_tree([encoded([1, 2, 3], [0, 1, 1])], {"margin": 2.0})])
    moved = batch.to("meta")
    assert moved.token_ids.device.type == moved.columns["margin"].device.type == "meta"
    assert moved.shapes == batch.shapes
    assert moved.keys == batch.keys
