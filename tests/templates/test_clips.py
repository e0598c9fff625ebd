"""Which frames of a video are seen, and sound at the rate that is wanted."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from swiftrl.templates.clips import FrameSampling, open_film, open_sound

pytest.importorskip("av", reason="PyAV reads video and sound")


def wav(samples: np.ndarray, rate: int, channels: int = 1) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").repeat(channels).tobytes())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("sampling", "total", "fps", "expected"),
    [
        (FrameSampling(), 100, 25.0, 8),  # 4 seconds, 2 frames each
        (FrameSampling(), 10, 25.0, 4),
        (FrameSampling(), 3, 25.0, 3),
        (FrameSampling(max_frames=6), 100, 25.0, 6),
        (FrameSampling(frames=5), 100, 25.0, 5),
        (FrameSampling(frames=50), 7, 25.0, 7),
    ],
)
def test_sampling(sampling, total, fps, expected):
    found = sampling.indices(total, fps)
    assert len(found) == expected
    assert found[0] == 0
    assert found[-1] == total - 1
    assert found == sorted(set(found))


def test_sound_is_returned_as_it_was_written():
    samples = np.sin(np.arange(4000) / 7)
    for channels in (1, 2):
        found = open_sound(wav(samples, 16_000, channels), 16_000)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, samples, atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_resampled(rate):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    found = open_sound(wav(tone, rate), 16_000)
    assert len(found) == pytest.approx(16_000, abs=40)
    spectrum = np.abs(np.fft.rfft(found[:16_000], 16_000))
    assert int(spectrum.argmax()) == 440
    assert np.abs(found).max() == pytest.approx(0.5, abs=0.03)


def test_frames_are_those_of_the_indices():
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format="avi") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            grey = np.full((48, 64, 3), 10 * number, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(video.encode())
    film = open_film(stream.getvalue(), FrameSampling(frames=4, max_pixels=800))
    assert film.indices == (0, 8, 16, 24)
    assert (film.total, film.fps) == (25, 10.0)
    assert film.frames.shape == (4, 24, 32, 3)
    shades = film.frames.reshape(4, -1).mean(1)
    np.testing.assert_allclose(shades, [0, 80, 160, 240], atol=6)
