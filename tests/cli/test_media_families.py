"""SFT and DPO on pictures, video and sound through tiny models of the families that take them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import device
import pytest
from PIL import Image
from test_sound_runs import film, tone
from tiny_media_models import FAMILIES, make_folder

from swiftrl.cli.main import main

pytest.importorskip("av", reason="PyAV reads video and sound")

FILES = {"image": "a.png", "video": "a.mp4", "audio": "a.wav"}
RUN = [*device.flags(), "--torch_dtype", "float32", "--max_steps", "1", "--logging_steps", "1"]
RUN += ["--per_device_train_batch_size", "3", "--fps_max_frames", "4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Any:
    """Return a function that gives a family's folder, written once."""
    root = tmp_path_factory.mktemp("models")
    return functools.cache(lambda family: make_folder(family, root / family))


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    Image.linear_gradient("L").resize((64, 40)).convert("RGB").save(folder / "a.png")
    film(folder / "a.mp4")
    tone(folder / "a.wav")
    return folder


def write_rows(folder: Path, kinds: list[str]) -> Path:
    rows = []
    for kind in kinds:
        said = [{"role": "user", "content": f"<{kind}>What is it?"}]
        said.append({"role": "assistant", "content": "A bell."})
        rows.append({"messages": said, f"{kind}s": [FILES[kind]], "rejected_response": "A cat."})
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    rows.append({"messages": said, "rejected_response": "No."})
    file = folder / f"{'-'.join(kinds)}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def train(model: Path, rows: Path, out: Path, *words: str) -> int:
    places = ["--model", str(model), "--dataset", str(rows), "--output_dir", str(out / "run")]
    return main([*words, *RUN, *places, "--cache_dir", str(out / "cache")])


# SmolVLM's processor wants a package that is not of the test environment.
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"smolvlm"}))
def test_every_medium_that_a_family_takes_trains(family, made, media, tmp_path):
    kinds = list(FAMILIES[family].written)
    words = ["sft"] if family.endswith("voice") else ["rlhf", "--rlhf_type", "dpo"]
    assert train(made(family), write_rows(media, kinds), tmp_path, *words) == 0


def test_families_with_one_tokenizer_do_not_share_encoded_rows(made, media, tmp_path):
    """Qwen3-VL writes the time of each frame, Qwen2-VL does not; both came of one cache once."""
    rows = write_rows(media, ["video"])
    for family in ("qwen2_vl", "qwen3_vl"):
        assert train(made(family), rows, tmp_path, "sft") == 0


def test_a_processor_that_lacks_a_package_leaves_a_model_of_text(made, media, tmp_path, capsys):
    try:
        import num2words  # noqa: F401
    except ImportError:
        assert train(made("smolvlm"), write_rows(media, ["image"]), tmp_path, "sft") == 2
        said = capsys.readouterr()
        assert "SmolVLMProcessor: Package `num2words` is required" in said.out + said.err
    else:
        assert train(made("smolvlm"), write_rows(media, ["image"]), tmp_path, "sft") == 0


def test_omni_trains_its_thinker_and_merges_to_a_model_of_its_own(made, media, tmp_path):
    rows = write_rows(media, ["image", "audio"])
    assert train(made("qwen2_5_omni_with_voice"), rows, tmp_path, "sft") == 0
    (adapter,) = tmp_path.glob("run/*/checkpoint-1")
    merged = tmp_path / "merged"
    assert main(["merge-lora", "--adapters", str(adapter), "--output_dir", str(merged)]) == 0
    assert train(merged, rows, tmp_path / "again", "sft") == 0
