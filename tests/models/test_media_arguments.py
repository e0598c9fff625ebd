"""Media tensors of several rows, joined; kinds of tokens."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from swiftrl.models.media_arguments import accepted, joined, token_types


def test_pictures_of_one_size_are_stacked_and_strips_of_patches_are_lengthened():
    plain = [{"pixel_values": torch.zeros(1, 3, 4, 4)} for _ in range(2)]
    assert joined(plain, torch.float32)["pixel_values"].shape == (2, 3, 4, 4)
    strips = [
        {"pixel_values": torch.zeros(1, 3, 4, 4 * n), "target_sizes": torch.tensor([[2, n // 2]])}
        for n in (4, 6)
    ]
    assert joined(strips, torch.float32)["pixel_values"].shape == (1, 3, 4, 40)
    assert joined(strips, torch.float32)["target_sizes"].tolist() == [[2, 2], [2, 3]]


def test_picture_tokens_between_the_marks_of_a_film_are_of_the_film():
    config = SimpleNamespace(
        image_token_id=9, video_token_id=8, video_start_token_id=6, video_end_token_id=7
    )
    ids = torch.tensor([[1, 9, 9, 6, 9, 2, 9, 7, 9, 8]])
    assert token_types(config, ids).tolist() == [[0, 1, 1, 0, 2, 0, 2, 0, 1, 2]]


class Noisy:
    def forward(self, input_ids, input_values=None, sample=True):
        return input_ids, input_values, sample


def test_a_sound_gets_no_noise_that_would_set_policy_and_reference_apart():
    types = torch.zeros(1, 2)
    sound = {"input_values": torch.ones(1, 4), "other": torch.ones(1)}
    made = accepted(Noisy(), sound, types)
    assert made.keys() == {"input_values", "sample"} and made["sample"] is False
    assert accepted(Noisy(), {}, types) == {}
