"""Training on sound and video through the command line: a tiny random Qwen2-Audio, and tiny-vl."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path
from typing import Any

import device
import pytest

from swiftrl.cli.main import main

pytest.importorskip("av", reason="PyAV reads video and sound")

RUN = [*device.flags(), "--torch_dtype", "float32", "--max_steps", "2", "--logging_steps", "1"]
RUN += ["--per_device_train_batch_size", "2", "--lora_dropout", "0", "--learning_rate", "1e-3"]


def tone(path: Path, *, rate: int = 16_000, seconds: float = 0.5, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        for n in range(int(rate * seconds)):
            level = int(9000 * math.sin(2 * math.pi * 440 * n / rate))
            file.writeframes(level.to_bytes(2, "little", signed=True) * channels)


def film(path: Path, *, frames: int = 30, size: tuple[int, int] = (64, 48)) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), 8 * number, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def hearing(tmp_path_factory) -> Path:
    """A random Qwen2-Audio with tiny-instruct's vocabulary."""
    import torch
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    from swiftrl.models.load import load_tokenizer
    from swiftrl.models.resolve import resolve

    tokenizer = load_tokenizer(resolve("builtin:tiny-instruct"))
    added = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    text = {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 64}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"vocab_size": len(tokenizer), "max_position_embeddings": 2048}
    sound = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 4, "num_mel_bins": 16}
    sound |= {"encoder_ffn_dim": 64, "max_source_positions": 100}
    token = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    config = Qwen2AudioConfig(audio_config=sound, text_config=text, audio_token_index=token)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hearing")
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def media(tmp_path: Path) -> Path:
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav", rate=44_100, seconds=0.8, channels=2)
    tone(tmp_path / "empty.wav", seconds=0)
    tone(tmp_path / "long.wav", rate=8_000, seconds=3)
    film(tmp_path / "a.mp4")
    film(tmp_path / "b.avi", frames=12, size=(80, 32))
    (tmp_path / "cut.avi").write_bytes((tmp_path / "b.avi").read_bytes()[:-1500])
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:2000])
    return tmp_path


def row(kind: str, *names: str, text: str | None = None) -> dict[str, Any]:
    asked = f"<{kind}>" * len(names) + "What is it?" if text is None else text
    said = [{"role": "user", "content": asked}, {"role": "assistant", "content": "A bell."}]
    return {"messages": said, "rejected_response": "A cat.", f"{kind}s": list(names)}


def train(folder: Path, model: object, rows: list[dict[str, Any]], *words: str) -> int:
    lines = "".join(json.dumps(item) + "\n" for item in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    places = ["--dataset", str(folder / "rows.jsonl"), "--output_dir", str(folder / "run")]
    places += ["--cache_dir", str(folder / "cache"), "--model", str(model)]
    return main([*words, *RUN, *places])


def losses(folder: Path) -> list[float]:
    (file,) = folder.glob("run/*/metrics.jsonl")
    steps = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [step["loss"] for step in steps if "loss" in step]


DPO = ("rlhf", "--rlhf_type", "dpo")
SOUNDS = [row("audio", "a.wav"), row("audio", "b.wav", "a.wav"), {**row("audio"), "audios": []}]
FILMS = [row("video", "a.mp4"), row("video", "b.avi", "a.mp4"), {**row("video"), "videos": []}]


@pytest.mark.parametrize("words", [DPO, ("sft",)])
def test_sound_trains(media, hearing, words):
    assert train(media, hearing, SOUNDS, *words) == 0
    assert all(map(math.isfinite, losses(media)))


@pytest.mark.parametrize("words", [DPO, ("sft",)])
def test_video_trains(media, capsys, words):
    assert train(media, "builtin:tiny-vl", FILMS, *words, "--nframes", "5") == 0
    assert "layout tree" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--precompute_ref_log_probs", "true")])
def test_layouts_learn_the_same_of_video(media, tmp_path_factory, more):
    found = []
    for layout in ("tree", "rows"):
        assert train(media, "builtin:tiny-vl", FILMS, *DPO, "--layout", layout, *more) == 0
        found.append(losses(media))
        (media / "run").rename(tmp_path_factory.mktemp("done") / "run")
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_video_streams_and_is_encoded_by_several_processes(media):
    assert train(media, "builtin:tiny-vl", FILMS, "sft", "--streaming", "true") == 0
    streamed = train(media, "builtin:tiny-vl", FILMS, "sft", "--dataset_num_proc", "2")
    assert streamed == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("video", "missing.mp4"), 'video "missing.mp4" does not exist'),
        (row("video", "cut.mp4"), "cut.mp4: holds no pictures, or is cut short"),
        (row("video", "cut.avi"), "cut.avi: broken or cut short"),
        (row("video", "a.wav"), "a.wav: holds no pictures"),
        (row("video", "https://example.org/a.mp4"), "--allow_media_urls true"),
        (row("video", "a.mp4", text="<video><video>?"), 'more <video> tags than "videos"'),
        (row("audio", "a.wav"), "holds audio; this model takes text, image, video"),
    ],
)
def test_video_at_fault_is_named(media, capsys, bad, message):
    assert train(media, "builtin:tiny-vl", [row("video", "a.mp4"), bad], "sft") == 2
    said = capsys.readouterr().err
    assert "rows.jsonl:2" in said
    assert message in said


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("audio", "empty.wav"), "its length is zero"),
        (row("audio", "long.wav"), "longer than the 2 seconds that this model hears"),
        (row("audio", "missing.wav"), 'audio "missing.wav" does not exist'),
        (row("audio", "rows.jsonl"), "rows.jsonl: broken or cut short"),
        (row("audio", "a.mp4"), "a.mp4: holds no sound"),
        (row("audio", "a.wav", "b.wav", text="<audio>?"), '"audios" has 2 entries'),
        (row("image", "a.wav"), "holds image; this model takes text, audio"),
    ],
)
def test_sound_at_fault_is_named(media, hearing, capsys, bad, message):
    assert train(media, hearing, [row("audio", "a.wav"), bad], "sft") == 2
    said = capsys.readouterr().err
    assert "rows.jsonl:2" in said
    assert message in said


def test_settings_out_of_range_are_refused(media, capsys):
    assert train(media, "builtin:tiny-vl", FILMS, "sft", "--nframes", "0") == 2
    assert "--nframes 0: expected more than 0" in capsys.readouterr().err
