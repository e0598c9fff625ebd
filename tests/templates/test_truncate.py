"""Cut sequences keep their meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftrl.core.errors import TemplateError
from swiftrl.templates.encoding import Encoded
from swiftrl.templates.truncate import shared_prompt, split_text, truncate, truncate_pair


def made(weights, ids=None):
    """Return a sequence of consecutive ids with a weight per character: "001101"."""
    ids = range(len(weights)) if ids is None else ids
    return Encoded(np.array(list(ids), np.int32), np.array([float(w) for w in weights], np.float32))


def test_short_sequences_are_returned_as_they_are():
    encoded = made("0011")
    assert truncate(encoded, 4, "left") is encoded
    assert truncate(encoded, 9, "right") is encoded
    assert split_text(made("0111"), 4) == (made("0111"),)


def test_left_keeps_the_end():
    cut = truncate(made("000011"), 4, "left")
    assert cut.token_ids.tolist() == [2, 3, 4, 5]
    assert cut.loss_weights.tolist() == [0, 0, 1, 1]
    assert cut.truncated


def test_left_does_not_train_half_a_turn():
    cut = truncate(made("0111011"), 5, "left")
    assert cut.token_ids.tolist() == [2, 3, 4, 5, 6]
    assert cut.loss_weights.tolist() == [0, 0, 0, 1, 1]


def test_right_keeps_the_beginning():
    cut = truncate(made("000111"), 4, "right")
    assert cut.token_ids.tolist() == [0, 1, 2, 3]
    assert cut.loss_weights.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(("strategy", "weights"), [("right", "000011"), ("left", "011111")])
def test_empty_mask_is_refused(strategy, weights):
    with pytest.raises(TemplateError, match="none would train"):
        truncate(made(weights), 3, strategy)


def test_prompts_have_no_mask_to_lose():
    assert len(truncate(made("000000"), 3, "left")) == 3


def test_split_predicts_every_token_once():
    whole = made("0" + "1" * 9)
    parts = split_text(whole, 4)
    targets = [
        int(token)
        for part in parts
        for token, weight in zip(part.token_ids, part.loss_weights, strict=True)
        if weight
    ]
    assert targets == list(range(1, 10))
    assert [part.token_ids.tolist() for part in parts] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_conversations_are_not_split():
    with pytest.raises(TemplateError, match="only plain text can be split"):
        split_text(made("000111"), 4)


def test_pair_left_drops_the_same_prompt_tokens():
    chosen, rejected = made("000011"), made("00001111", [0, 1, 2, 3, 8, 9, 10, 11])
    first, second = truncate_pair(chosen, rejected, 6, "left")
    assert first.token_ids.tolist() == [2, 3, 4, 5]
    assert second.token_ids.tolist() == [2, 3, 8, 9, 10, 11]
    assert first.num_trained == 2 and second.num_trained == 4


def test_pair_left_refuses_to_lose_the_prompt():
    with pytest.raises(TemplateError, match="leaves no room for its prompt"):
        truncate_pair(made("0011"), made("001111", [0, 1, 7, 8, 9, 10]), 4, "left")


def test_pair_right_keeps_the_prompt():
    chosen, rejected = made("000011"), made("00001111", [0, 1, 2, 3, 8, 9, 10, 11])
    first, second = truncate_pair(chosen, rejected, 5, "right")
    assert first.token_ids.tolist() == [0, 1, 2, 3, 4]
    assert second.token_ids.tolist() == [0, 1, 2, 3, 8]
    with pytest.raises(TemplateError, match="none would train"):
        truncate_pair(chosen, rejected, 4, "right")


@given(
    prompt=st.integers(1, 12),
    replies=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    limit=st.integers(2, 24),
    strategy=st.sampled_from(["left", "right"]),
)
def test_pair_properties(prompt, replies, limit, strategy):
    first, second = (
        made("0" * prompt + "1" * length, [*range(prompt), *range(base, base + length)])
        for base, length in zip((100, 200), replies, strict=True)
    )
    try:
        cut = truncate_pair(first, second, limit, strategy)
    except TemplateError:
        room = limit - max(replies) if strategy == "left" else limit - prompt
        assert room < 1
        return
    assert max(map(len, cut)) <= limit
    shared = shared_prompt(*cut)
    assert shared == cut[0].first_trained == cut[1].first_trained
    assert all(item.num_trained for item in cut)


def test_limits_are_checked():
    with pytest.raises(TemplateError, match="2 tokens at least"):
        truncate(made("0011"), 1, "left")
    with pytest.raises(ValueError, match="sideways"):
        truncate(made("0011"), 3, "sideways")
