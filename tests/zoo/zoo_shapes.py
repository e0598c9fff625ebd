"""Media as processors shape them, small, under every name that a model's argument may have.

Shapes: C channels, p side of a patch, S side of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["draw", "film", "pictures", "sounds"]

_GRIDS = {"image_grid_thw", "video_grid_thw", "image_grid_hw"}


def draw(*shape: int) -> Tensor:
    """Return random numbers, the same for the same shape."""
    generator = torch.Generator().manual_seed(math.prod(shape))
    return torch.randn(*shape, generator=generator)


def pictures(config: Any, known: Collection[str], count: int = 1) -> Iterator[dict[str, Tensor]]:
    """Yield inputs that show pictures.

    Args:
        config: a whole model's.
        known: arguments that the model's feature function has.
        count: pictures.
    """
    vision = _part(config, "vision_config")
    if _GRIDS & set(known):
        yield from _grids(config, vision, count, frames=1)
    elif {"spatial_shapes", "target_sizes", "image_position_ids"} & set(known):
        yield from _flat_patches(vision, count)
    else:
        yield from _planes(config, vision, count)
        for shown in _grids(config, vision, count, frames=1):
            yield {"image_patches": shown["pixel_values"], **shown}


def film(config: Any, known: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """Yield inputs that show a film of two frames, or as many as make two steps in time."""
    vision = _part(config, "vision_config")
    if _GRIDS & set(known):
        frames: Iterator[dict[str, Tensor]] = _grids(config, vision, 1, frames=2)
    elif {"target_sizes", "target_sizes_videos", "video_position_ids"} & set(known):
        frames = _flat_patches(vision, 2)
    else:
        frames = _frames(vision)
    for shown in frames:
        number = torch.tensor([len(shown["pixel_values"])])
        yield {**_as_video(shown), "num_frames_per_video": number}


def sounds(config: Any) -> Iterator[dict[str, Tensor]]:
    """Yield spectra of a second or so, and plain samples."""
    audio = _part(config, "audio_config", "encoder_config")
    bands = _first(
        audio, "input_size", "num_mel_bins", "input_dim", "n_mel_bins", "input_feat_size",
        "feature_size", "audio_embed_dim", default=128,
    )  # fmt: skip
    yield from _spectra(audio, bands)
    yield from _spectra(audio, 8)
    for length in (640, 6400):
        whole = torch.ones(1, length, dtype=torch.long)
        for samples in (draw(1, length), draw(1, 1, length)):
            yield {"input_values": samples, "padding_mask": whole, "input_values_mask": whole}


def _spectra(audio: Any, bands: int) -> Iterator[dict[str, Tensor]]:
    longest = 2 * _first(audio, "max_source_positions", default=16)
    for length in dict.fromkeys((longest, 32, 64, 200)):
        whole = torch.ones(1, length, dtype=torch.long)
        for mask in (whole, whole.bool()):
            marks = {
                "input_features_mask": mask,
                "feature_attention_mask": mask,
                "audio_feature_lengths": torch.tensor([length]),
                "padding_mask": torch.ones(1, 160 * length, dtype=torch.long),
                "chunk_sample_lengths": torch.tensor([160 * length]),
            }
            yield {"input_features": draw(1, bands, length), **marks}
            yield {"input_features": draw(1, length, bands), **marks}
        yield {"input_features": draw(1, length, bands)}


def _as_video(shown: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {"pixel_values": "pixel_values_videos", "target_sizes": "target_sizes_videos"}
    return {names.get(n, n.replace("image_", "video_")): value for n, value in shown.items()}


def _part(config: Any, *names: str) -> Any:
    for name in names:
        if (part := getattr(config, name, None)) is not None:
            return part
    return config


def _first(config: Any, *names: str, default: int) -> int:
    for name in names:
        if value := getattr(config, name, None):
            return int(value[0] if isinstance(value, (list, tuple)) else value)
    return default


def _patch(vision: Any) -> int:
    return _first(vision, "patch_size", default=4)


def _channels(vision: Any) -> int:
    return _first(vision, "in_channels", "num_channels", "in_chans", default=3)


def _grids(config: Any, vision: Any, count: int, frames: int) -> Iterator[dict[str, Tensor]]:
    """Patches of pictures of any size, with their numbers down and across."""
    patch, channels = _patch(vision), _channels(vision)
    merge = _first(vision, "spatial_merge_size", "merge_size", default=0)
    merge = merge or _first(config, "spatial_merge_size", "merge_size", default=2)
    deep = _first(vision, "temporal_patch_size", "patch_temporal", default=1)
    down, across = 2 * merge, 3 * merge
    total = count * frames * down * across
    grid = torch.tensor([[frames, down, across]] * count)
    shared = {
        "image_grid_thw": grid,
        "image_grid_hw": grid[:, 1:],
        "image_merge_sizes": torch.tensor([merge] * count),
    }
    for depth in dict.fromkeys((deep, 1)):
        yield {"pixel_values": draw(total, channels * depth * patch**2), **shared}
    yield {"pixel_values": draw(total, channels, patch, patch), **shared}
    yield {"pixel_values": draw(total, channels, deep, patch, patch), **shared}
    yield {"pixel_values": draw(1, total, channels, patch, patch), **shared}
    yield {"pixel_values": draw(total, merge * patch, merge * patch, channels), **shared}


def _flat_patches(vision: Any, count: int) -> Iterator[dict[str, Tensor]]:
    """Patches in a row, with a picture's own numbers of them or the place of each."""
    patch, channels, side = _patch(vision), _channels(vision), 4
    place = torch.arange(side)
    across, down = torch.meshgrid(place, place, indexing="xy")
    places = torch.stack([across, down], -1).reshape(1, side**2, 2)
    sizes = torch.tensor([[side, side]])
    shared = {
        "spatial_shapes": sizes.repeat(count, 1),
        "target_sizes": sizes.repeat(count, 1),
        "pixel_attention_mask": torch.ones(count, side**2, dtype=torch.long),
        "image_position_ids": places.repeat(count, 1, 1),
    }
    yield {"pixel_values": draw(count, side**2, channels * patch**2), **shared}
    pooled = patch * _first(vision, "pooling_kernel_size", default=1)
    yield {
        "pixel_values": draw(count, side**2, channels * pooled**2),
        **shared,
    }
    yield {"pixel_values": draw(1, channels, patch, count * side**2 * patch), **shared}


def _planes(config: Any, vision: Any, count: int) -> Iterator[dict[str, Tensor]]:
    """Pictures of one size, one by one, or several tiles that make up one."""
    side = _first(vision, "image_size", "img_size", default=16)
    fine = _part(config, "high_res_vision_config")
    high = _first(fine, "image_size", default=side)
    channels = _channels(vision)
    sizes = {"image_sizes": torch.tensor([[side, side]] * count)}
    for more in ({}, sizes):
        for leading in ((count,), (1, count), (count, 1), (count, 2), (count, 3)):
            one = torch.ones(*leading, side, side, dtype=torch.long)
            yield {
                "pixel_values": draw(*leading, channels, side, side),
                "high_res_pixel_values": draw(*leading, channels, high, high),
                "pixel_attention_mask": one,
                "pixel_mask": one.bool(),
                **more,
            }
            if len(leading) == 2:
                yield {
                    "pixel_values": draw(*leading, channels, side, side),
                    "pixel_attention_mask": torch.ones(*leading, dtype=torch.bool),
                    **more,
                }


def _frames(vision: Any) -> Iterator[dict[str, Tensor]]:
    side = _first(vision, "image_size", "img_size", default=16)
    for leading in ((1, 2), (2,), (1, 4), (1, 8)):
        yield {"pixel_values": draw(*leading, _channels(vision), side, side)}
