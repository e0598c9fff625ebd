"""Frames of a video through a model's processor of pictures.

transformers' own video processors need torchvision. Where that is absent, each frame is scaled and
normalised by the model's picture processor, which for models that see several frames in one patch
(Qwen2-VL, arXiv:2409.12191, and its kin) repeats the frame; the repeats are then exchanged for the
frames that follow.

Shapes: G temporal patches, S patches of a frame, C channels, K frames a patch, P patch side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["FrameProcessor", "takes_frames"]


def takes_frames(image_processor: Any) -> bool:
    """Return whether pictures become patches of several frames, in a grid of time and place."""
    names = getattr(image_processor, "model_input_names", ())
    return "image_grid_thw" in names and hasattr(image_processor, "temporal_patch_size")


class FrameProcessor:
    """Stands where a processor expects its video processor; picklable.

    Args:
        image_processor: of the model; `takes_frames` holds for it.
    """

    model_input_names = ("pixel_values_videos", "video_grid_thw")

    def __init__(self, image_processor: Any) -> None:
        self.image_processor = image_processor
        self.merge_size = image_processor.merge_size
        self.patch_size = image_processor.patch_size
        self.temporal_patch_size = image_processor.temporal_patch_size

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, as processors do."""
        return {"frames": self.image_processor.to_dict()}

    def __call__(
        self, videos: Sequence[Any], *, video_metadata: Any = None, **ignored: Any
    ) -> dict[str, Any]:
        """Return the inputs of sampled videos, each [F, H, W, 3] uint8.

        Args:
            videos: the sampled frames.
            video_metadata: of each video, passed on.
            ignored: settings of sampling and sizes, which were applied before.
        """
        import torch
        from transformers.video_utils import VideoMetadata

        made = [self._patches(np.asarray(video)) for video in videos]
        told: Sequence[Any] = video_metadata or [{"total_num_frames": len(v)} for v in videos]
        return {
            "pixel_values_videos": torch.from_numpy(np.concatenate([item[0] for item in made])),
            "video_grid_thw": torch.tensor([item[1] for item in made]),
            "video_metadata": [
                VideoMetadata(**item) if isinstance(item, Mapping) else item for item in told
            ],
        }

    def _patches(self, frames: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """[G * S, C * K * P * P] patches of one video, and its grid."""
        size = self.temporal_patch_size
        missing = -len(frames) % size
        frames = np.concatenate([frames, *([frames[-1:]] * missing)])
        made = self.image_processor(
            list(frames), return_tensors="np", input_data_format="channels_last"
        )
        _, height, width = (int(number) for number in made["image_grid_thw"][0])
        side = self.patch_size
        repeated = made["pixel_values"].reshape(
            len(frames) // size, size, height * width, -1, size, side, side
        )
        # [G, K, S, C, P, P]: of each frame one of its equal repeats.
        once = repeated[:, :, :, :, 0]
        patches = once.transpose(0, 2, 3, 1, 4, 5).reshape(-1, made["pixel_values"].shape[-1])
        return np.ascontiguousarray(patches), [len(frames) // size, height, width]
