"""Pictures, films and sounds for any tiny model: what its feature function takes, by trial.

transformers' multimodal models name what they take in the signature of `get_image_features`,
`get_video_features` or `get_audio_features`, and say by its result how many placeholders stand
for it. Shapes that processors give (`zoo_shapes`) are tried until the model takes one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from zoo_recipes import Media
from zoo_shapes import film, pictures, sounds

from swiftrl.models.media_arguments import accepted, placeholder, token_types

__all__ = ["found_media"]

_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
_MARKS = {"padding_mask", "image_sizes", "pixel_attention_mask", "input_features_mask"}
_MOST = 70
"""Placeholders that are tried where nothing says how many there are."""
WORDS = (20, 21)
"""Plain text before the placeholders and behind them."""


def found_media(model: Any, kind: str) -> Media:
    """Return the first input that a model's own feature function and forward pass take.

    A model that takes films as it takes pictures, and has no function for them, is shown two
    pictures.

    Args:
        model: tiny, of transformers.
        kind: "image", "video" or "audio".

    Raises:
        ValueError: there is no such function, no placeholder, or nothing fits.
    """
    function = _feature_function(model, kind)
    as_pictures = kind == "video" and function is None
    if as_pictures:
        function = _feature_function(model, "image")
    tokens = [_placeholder(model.config, "image" if as_pictures else kind)]
    if kind == "video":
        tokens.append(_placeholder(model.config, "image"))
    problems = []
    for tensors in _candidates(model, kind, function, as_pictures):
        if (taken := _fitting(model.forward, tensors)).keys() <= _MARKS:
            continue
        try:
            for count in _counts(model, function, tensors):
                for token in tokens:
                    for ids in _layouts(model.config, token, count, tensors):
                        if _runs(model, media := Media(ids, taken), problems):
                            return media
        except _FAILURES as error:
            problems.append(_brief(error))
    raise ValueError(f"{kind}: no inputs could be made: {'; '.join(dict.fromkeys(problems))}")


def _placeholder(config: Any, kind: str) -> int:
    token = placeholder(config, kind)
    if token is None:
        raise ValueError(f"{kind}: the configuration names no placeholder")
    return token


def _feature_function(model: Any, kind: str) -> Any:
    for owner in (getattr(model, "model", None), model.base_model, model):
        if (function := getattr(owner, f"get_{kind}_features", None)) is not None:
            return function
    return None


def _candidates(
    model: Any, kind: str, function: Any, as_pictures: bool
) -> Iterator[dict[str, Tensor]]:
    known = set(inspect.signature(function or model.forward).parameters)
    if kind == "audio":
        yield from sounds(model.config)
    elif kind == "image" or as_pictures:
        yield from pictures(model.config, known, count=2 if as_pictures else 1)
    else:
        yield from film(model.config, known)


def _fitting(function: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    known = inspect.signature(function).parameters
    return {name: tensor for name, tensor in tensors.items() if name in known}


def _counts(model: Any, function: Any, tensors: Mapping[str, Tensor]) -> Iterable[int]:
    """Return how many placeholders to try: one number, if there is a function that tells."""
    if function is None:
        return range(1, _MOST)
    with torch.no_grad():
        found = function(**_fitting(function, tensors))
    features = _features(found)
    if features is None:
        return range(1, _MOST)
    return [_count(features, model.get_input_embeddings().weight.shape[1])]


def _features(found: Any) -> Any:
    if isinstance(found, (Tensor, list, tuple)):
        return found
    pooled = getattr(found, "pooler_output", None)
    return found.last_hidden_state if pooled is None else pooled


def _count(features: Any, width: int) -> int:
    """Return how many tokens' embeddings features are."""
    parts = [features] if isinstance(features, Tensor) else list(features)
    if not all(part.isfinite().all() for part in parts):
        raise ValueError("features are not finite")
    return sum(part.numel() for part in parts) // width


def _layouts(
    config: Any, token: int, count: int, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[int, ...]]:
    """Yield placeholders in a row; frame by frame, as behind a time; each between its marks."""
    yield (*WORDS, *[token] * count, *WORDS)
    grid = tensors.get("video_grid_thw")
    frames = int(grid[0, 0]) if grid is not None else 1
    apart = [word for _ in range(frames) for word in (*WORDS, *[token] * (count // frames))]
    yield (*apart, *WORDS)
    for kind in ("video", "vision", "image", "audio"):
        start = getattr(config, f"{kind}_start_token_id", None)
        end = getattr(config, f"{kind}_end_token_id", None)
        if isinstance(start, int) and isinstance(end, int):
            yield (*WORDS, start, *[token] * count, end, *WORDS)
            yield (*WORDS, start, *apart, end, *WORDS)


def _runs(model: Any, media: Media, problems: list[str]) -> bool:
    ids = torch.tensor([media.token_ids])
    given = accepted(model, media.tensors, token_types(model.config, ids))
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False, **given).logits
    except _FAILURES as error:
        problems.append(_brief(error))
        return False
    return bool(logits.isfinite().all())


def _brief(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]
