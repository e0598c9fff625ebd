"""Frames of a video as patches, by way of a processor of pictures."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoImageProcessor

from swiftrl.models.frames import FrameProcessor, takes_frames
from swiftrl.models.resolve import resolve


@pytest.mark.parametrize("count", [4, 5])
def test_patches_hold_consecutive_frames(count):
    """Patch (t, y, x) holds channel, frame, row, column of frames 2t and 2t + 1.

    The processor's size is 64 x 64 pixels and its patches 8 x 8; within a 2 x 2 group of patches
    rows go before columns, and the last frame is repeated where their number is odd.
    """
    processor = AutoImageProcessor.from_pretrained(resolve("builtin:tiny-vl").path)
    assert takes_frames(processor)
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    made = FrameProcessor(processor)([frames])
    assert made["video_grid_thw"].tolist() == [[(count + 1) // 2, 8, 8]]
    patches = made["pixel_values_videos"].numpy()
    assert patches.shape == ((count + 1) // 2 * 64, 3 * 2 * 8 * 8)
    scaled = (frames / 255 - 0.5) / 0.5
    for t, y, x in ((0, 0, 0), (1, 3, 6), ((count - 1) // 2, 7, 7)):
        pair = [
            scaled[min(2 * t + k, count - 1), 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] for k in (0, 1)
        ]
        expected = np.stack(pair).transpose(3, 0, 1, 2).reshape(-1)
        group = (y // 2) * 4 + x // 2
        place = t * 64 + group * 4 + (y % 2) * 2 + x % 2
        np.testing.assert_allclose(patches[place], expected, atol=1e-5)
