"""Video and sound as arrays, read with PyAV (FFmpeg's libraries), an optional package.

Shapes: F sampled frames, H height, W width, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftrl.core.errors import TemplateError
from swiftrl.templates.fetch import UrlRule
from swiftrl.templates.media_source import opened, shown_source
from swiftrl.templates.pictures import MOST_PIXELS, scaled_size

__all__ = ["Film", "FrameSampling", "open_film", "open_sound"]

_MOST_SOUND_SECONDS = 3600
# A header may count a frame or two that the stream does not show.
_TOLERATED_FRAMES = 2


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """Which frames of a video are seen.

    Attributes:
        fps: frames taken of each second.
        frames: so many frames in all instead, evenly spread.
        min_frames: least number with `fps`, as far as the video has so many.
        max_frames: most with `fps`.
        max_pixels: of a frame; larger ones are scaled down, their shape kept.
    """

    fps: float = 2.0
    frames: int | None = None
    min_frames: int = 4
    max_frames: int = 768
    max_pixels: int = 768 * 28 * 28

    def indices(self, total: int, fps: float) -> list[int]:
        """Return the frames to take of `total` shown at `fps` frames a second, ascending."""
        wanted = self.frames
        if wanted is None:
            wanted = min(max(int(total / fps * self.fps), self.min_frames), self.max_frames)
        wanted = max(1, min(wanted, total))
        return [round(place) for place in np.linspace(0, total - 1, wanted).tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """Sampled frames.

    Attributes:
        frames: [F, H, W, 3] uint8.
        indices: of the frames in the video.
        fps: of the video.
        total: frames of the video.
    """

    frames: np.ndarray
    indices: tuple[int, ...]
    fps: float
    total: int

    @property
    def sampled_fps(self) -> float:
        """Sampled frames of each second."""
        return len(self.indices) / self.total * self.fps

    def metadata(self) -> dict[str, Any]:
        """Return what transformers' processors want to know beside the frames."""
        return {
            "total_num_frames": self.total,
            "fps": self.fps,
            "height": self.frames.shape[1],
            "width": self.frames.shape[2],
            "duration": self.total / self.fps,
            "frames_indices": list(self.indices),
        }


def open_film(
    source: str | bytes | None, sampling: FrameSampling, *, allow_urls: UrlRule = False
) -> Film:
    """Return a video's sampled frames.

    Args:
        source: a path, a data: URI, bytes of a file, or an http(s) address.
        sampling: which frames.
        allow_urls: which addresses are fetched.

    Raises:
        TemplateError: it is absent, broken, cut short, too large or not allowed.
    """
    name = f"video {shown_source(source)}"
    with _container(source, "video", allow_urls) as container:
        if not container.streams.video:
            raise TemplateError(
                f"{name}: holds no pictures, or is cut short. Replace the file or remove the row."
            )
        stream = container.streams.video[0]
        size = (stream.codec_context.width, stream.codec_context.height)
        if size[0] * size[1] > MOST_PIXELS:
            raise TemplateError(
                f"{name} of {size[0]} x {size[1]} pixels is too large: {MOST_PIXELS:,} pixels at "
                "most are decoded. Scale the file down."
            )
        total, claimed = _packets(container, stream), stream.frames
        fps = float(stream.average_rate or 24)
    if total < max(1, claimed - _TOLERATED_FRAMES):
        raise TemplateError(_cut_short(name, total, claimed))
    indices = sampling.indices(total, fps)
    with _container(source, "video", allow_urls) as container:
        frames = list(_decoded(container, indices, sampling.max_pixels))
    missing = len(indices) - len(frames)
    late = indices[len(frames)] if missing else total
    if not frames or late < total - _TOLERATED_FRAMES:
        raise TemplateError(_cut_short(name, late if frames else 0, total))
    frames += [frames[-1]] * missing
    return Film(np.stack(frames), tuple(indices), fps, total)


def open_sound(source: str | bytes | None, rate: int, *, allow_urls: UrlRule = False) -> np.ndarray:
    """Return the sound of an audio or video file, in one channel.

    Args:
        source: a path, a data: URI, bytes of a file, or an http(s) address.
        rate: samples a second wanted; other rates are resampled.
        allow_urls: which addresses are fetched.

    Returns:
        [S] float32 in -1..1.

    Raises:
        TemplateError: it is absent, broken, empty, longer than an hour or not allowed.
    """
    name = f"audio {shown_source(source)}"
    chunks: list[np.ndarray] = []
    samples = 0
    with _container(source, "audio", allow_urls) as container:
        if not container.streams.audio:
            raise TemplateError(f"{name}: holds no sound. Replace the file or remove the row.")
        for chunk in _resampled(container, rate):
            chunks.append(chunk)
            samples += len(chunk)
            if samples > _MOST_SOUND_SECONDS * rate:
                raise TemplateError(
                    f"{name}: longer than {_MOST_SOUND_SECONDS} seconds. Cut the file."
                )
    if not samples:
        raise TemplateError(
            f"{name}: its length is zero; expected at least one sample. Replace the file or "
            "remove the row."
        )
    return np.concatenate(chunks)


def _cut_short(name: str, found: int, total: int) -> str:
    return (
        f"{name}: broken or cut short ({found} of {total} frames can be read). Replace the file or "
        "remove the row."
    )


@contextmanager
def _container(source: str | bytes | None, noun: str, allow_urls: UrlRule) -> Iterator[Any]:
    """Open a file with FFmpeg; its errors become the user's."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise TemplateError(
            f'reading {noun} needs PyAV, which is not installed: pip install "swiftrl[media]".'
        ) from None
    name = f"{noun} {shown_source(source)}"
    try:
        with av.open(opened(source, noun, allow_urls)) as container:
            yield container
    except FileNotFoundError:
        raise TemplateError(f"{name}: there is no such file.") from None
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TemplateError(
            f"{name}: broken or cut short ({reason}). Replace the file or remove the row."
        ) from None


def _packets(container: Any, stream: Any) -> int:
    return sum(1 for packet in container.demux(stream) if packet.size)


def _decoded(container: Any, indices: list[int], max_pixels: int) -> Iterator[np.ndarray]:
    """Yield the frames at `indices`; fewer where the stream ends early."""
    wanted = iter(indices)
    index = next(wanted)
    for number, frame in enumerate(container.decode(video=0)):
        if number != index:
            continue
        width, height = scaled_size((frame.width, frame.height), max_pixels)
        picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        while number == index:
            yield picture
            index = next(wanted, -1)
        if index < 0:
            return


def _resampled(container: Any, rate: int) -> Iterator[np.ndarray]:
    import av

    # FFmpeg's own mixing to one channel adds channels up; a mean is wanted.
    resampler = av.AudioResampler(format="fltp", rate=rate)
    for frame in container.decode(audio=0):
        for part in resampler.resample(frame):
            yield part.to_ndarray().mean(0)
    for part in resampler.resample(None):
        yield part.to_ndarray().mean(0)
