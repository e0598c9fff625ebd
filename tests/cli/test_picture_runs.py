"""Training on pictures through the command line, and rows whose pictures are at fault."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import device
import pytest
from PIL import Image

from swiftrl.cli.main import main

MODEL = ["--model", "builtin:tiny-vl", *device.flags(), "--torch_dtype", "float32"]
RUN = [
    "--max_steps",
    "2",
    "--lora_dropout",
    "0",
    "--per_device_train_batch_size",
    "2",
    "--logging_steps",
    "1",
]


def jpeg(width: int = 64, height: int = 48) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def row(*pictures: str, text: str = "<image>What is it?") -> dict[str, Any]:
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": "A square."}]
    shown = {"images": list(pictures)} if pictures else {}
    return {"messages": said, **shown, "rejected_response": "A cat."}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "b.jpg").write_bytes(jpeg(200, 30))
    (tmp_path / "broken.jpg").write_bytes(jpeg()[:700])
    return tmp_path


def train(folder: Path, rows: list[dict[str, Any]], *words: str) -> int:
    lines = "".join(json.dumps(item) + "\n" for item in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    places = ["--dataset", str(folder / "rows.jsonl"), "--output_dir", str(folder / "run")]
    return main([*words, *MODEL, *RUN, *places, "--cache_dir", str(folder / "cache")])


def losses(folder: Path) -> list[float]:
    (file,) = folder.glob("run/*/metrics.jsonl")
    steps = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [step["loss"] for step in steps if "loss" in step]


MIXED = (
    row("a.jpg"),
    row("b.jpg", "a.jpg", text="<image>Is it <image>?"),
    row(text="What is a square?"),
    row("b.jpg"),
)


@pytest.mark.parametrize("words", [["rlhf", "--rlhf_type", "dpo"], ["sft"]])
def test_rows_with_and_without_pictures_train(pictures, capsys, words):
    assert train(pictures, list(MIXED), *words) == 0
    assert "layout tree" in capsys.readouterr().out
    assert (next(pictures.glob("run/*/checkpoint-2")) / "adapter_model.safetensors").is_file()


def test_both_layouts_learn_the_same(pictures):
    words = ["rlhf", "--rlhf_type", "dpo", "--learning_rate", "1e-3"]
    found = []
    for layout in ("tree", "rows"):
        folder = pictures / layout
        folder.mkdir()
        for name in ("a.jpg", "b.jpg"):
            (folder / name).write_bytes((pictures / name).read_bytes())
        assert train(folder, list(MIXED), *words, "--layout", layout) == 0
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_pixels_are_bounded(pictures, capsys):
    (pictures / "large.jpg").write_bytes(jpeg(1000, 1000))
    words = ["rlhf", "--rlhf_type", "dpo", "--max_pixels", "2000"]
    assert train(pictures, [row("large.jpg")], *words) == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("missing.jpg"), 'image "missing.jpg" does not exist'),
        (row("broken.jpg"), "broken.jpg: broken or cut short"),
        (row("https://example.org/a.png"), "--allow_media_urls true"),
        (row("a.jpg", "b.jpg"), '"images" has 2 entries, but the messages have 1 <image> tags'),
        (row("a.jpg", text="<image><image>?"), 'more <image> tags than "images" has entries (1)'),
    ],
)
def test_rows_at_fault_are_named(pictures, capsys, bad, message):
    assert train(pictures, [row("a.jpg"), bad], "rlhf", "--rlhf_type", "dpo") == 2
    said = capsys.readouterr().err
    assert "rows.jsonl:2" in said
    assert message in said


def test_rows_at_fault_are_set_aside(pictures):
    rows = [row("a.jpg"), row("broken.jpg"), row("b.jpg")]
    assert train(pictures, rows, "rlhf", "--rlhf_type", "dpo", "--strict", "false") == 0
    (file,) = pictures.glob("run/*/rejected_rows.jsonl")
    assert "broken.jpg: broken or cut short" in file.read_text(encoding="utf-8")


def test_a_picture_that_vanished_after_encoding_is_named(pictures, capsys):
    rows = [row("a.jpg"), row("b.jpg")]
    assert train(pictures, rows, "sft") == 0
    (pictures / "b.jpg").write_bytes(b"no picture")
    assert train(pictures, rows, "sft") == 2
    assert "b.jpg" in capsys.readouterr().err


def test_a_model_of_text_refuses_pictures(pictures, capsys):
    words = ["sft", "--model", "builtin:tiny-instruct"]
    (pictures / "rows.jsonl").write_text(json.dumps(row("a.jpg")), encoding="utf-8")
    data = ["--dataset", str(pictures / "rows.jsonl"), "--output_dir", str(pictures / "run")]
    assert main([*words, *device.flags(), *RUN, *data]) == 2
    assert "rows.jsonl:1: message 0 (user) holds image" in capsys.readouterr().err
