"""Pictures that a row's tokens see in cross-attention."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.mllama.processing_mllama import get_cross_attention_token_mask

from swiftrl.models.picture_rows import has_rows_of_pictures, picture_rows, rows_apart

_PICTURE = 9


class _Config:
    image_token_id = _PICTURE


class _CrossAttending:
    def forward(self, input_ids, cross_attention_mask=None, aspect_ratio_mask=None):
        return input_ids, cross_attention_mask, aspect_ratio_mask


@given(st.lists(st.sampled_from([1, 2, _PICTURE]), min_size=1, max_size=12))
def test_tokens_see_the_pictures_that_the_vendor_s_processor_lets_them_see(tokens):
    count = tokens.count(_PICTURE)
    if not count:
        return
    shown = {"aspect_ratio_mask": torch.ones(1, count, 2, dtype=torch.long)}
    made = picture_rows(_Config, torch.tensor([tokens]), [shown], torch.float32)
    wanted = torch.zeros(len(tokens), count, dtype=torch.long)
    for picture, (start, end) in enumerate(get_cross_attention_token_mask(tokens, _PICTURE)):
        wanted[start : len(tokens) if end == -1 else end, picture] = 1
    assert torch.equal(made["cross_attention_mask"][0, :, :, 0], wanted)


def test_tiles_that_a_picture_lacks_are_seen_by_nobody():
    ids = torch.tensor([[1, _PICTURE, 2], [_PICTURE, _PICTURE, 2]])
    media = [
        {"aspect_ratio_mask": torch.tensor([[[1, 1, 0]]]), "pixel_values": torch.zeros(1, 1, 3)},
        {"aspect_ratio_mask": torch.ones(1, 2, 3).long(), "pixel_values": torch.zeros(1, 2, 3)},
    ]
    seen = picture_rows(_Config, ids, media, torch.float32)["cross_attention_mask"]
    assert seen.shape == (2, 3, 2, 3)
    assert seen[0].tolist() == [[[0] * 3] * 2, *[[[1, 1, 0], [0, 0, 0]]] * 2]
    assert seen[1, 2].tolist() == [[1, 1, 1], [1, 1, 1]]


def test_rows_with_and_without_pictures_go_through_apart():
    model = _CrossAttending()
    assert has_rows_of_pictures(model)
    assert rows_apart(model, [{}, {"a": 1}, {}]) == [[0, 2], [1]]
    assert rows_apart(model, [{}, {}]) == [[0, 1]]
    assert rows_apart(torch.nn.Identity(), [{}, {"a": 1}]) == [[0, 1]]
