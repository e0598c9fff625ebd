"""Replies to pictures equal those of transformers' processor and `generate`."""

from __future__ import annotations

import io
import json
from typing import Any

import device
import pytest
import torch
from PIL import Image

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError
from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.engine.batch import Question, answer_all
from swiftrl.engine.chat import Chat
from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.models.load import load_tokenizer
from swiftrl.models.processor import load_media_processor
from swiftrl.models.resolve import resolve
from swiftrl.templates.template import Template

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def template() -> Template:
    resolved = resolve("builtin:tiny-vl")
    tokenizer = load_tokenizer(resolved)
    return Template.load(tokenizer, processor=load_media_processor(resolved, tokenizer))


@pytest.fixture(scope="module")
def engine(template) -> TransformersEngine:
    from transformers import Qwen3VLForConditionalGeneration

    path = resolve("builtin:tiny-vl").path
    model = Qwen3VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    return TransformersEngine(model, template.tokenizer, stop_token_ids=template.stop_token_ids)


def png(colour: str, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


SHOWN = ([("red", (64, 64))], [], [("blue", (100, 40)), ("green", (32, 80))])


def asked(shown: Any) -> Conversation:
    parts = (*(Part("image", source=png(*item)) for item in shown), Part("text", text="What?"))
    return Conversation((Message("user", parts),))


def reference(template: Template, engine: TransformersEngine, shown: Any) -> list[int]:
    """Tokens by the processor on the rendered text, and transformers' own generate."""
    text = template.render(asked(shown), add_generation_prompt=True)
    pictures = [Image.new("RGB", size, colour) for colour, size in shown]
    assert template.media is not None
    given = template.media.processor(text=[text], images=pictures or None, return_tensors="pt")
    made = engine.model.generate(
        **given, do_sample=False, max_new_tokens=12, eos_token_id=list(template.stop_token_ids)
    )
    return made[0, given["input_ids"].shape[1] :].tolist()


def test_greedy_replies_equal_generate(template, engine):
    prompts = [template.encode_prompt(asked(shown)) for shown in SHOWN]
    media = [template.media_tensors(asked(shown)) for shown in SHOWN]
    together = engine.generate(prompts, GREEDY, media=media)
    for shown, prompt, tensors, [reply] in zip(SHOWN, prompts, media, together, strict=True):
        expected = reference(template, engine, shown)
        assert list(reply.token_ids) == expected
        *_, last = engine.stream(prompt, GREEDY, tensors)
        assert list(last.completion.token_ids) == expected


def test_pictures_matter(template, engine):
    replies = {
        tuple(reference(template, engine, [(colour, (64, 64))]))
        for colour in ("red", "blue", "green", "white", "black")
    }
    assert len(replies) > 1


def test_chat_asks_for_the_file_of_a_tag(template, engine, tmp_path):
    (tmp_path / "a.png").write_bytes(png("red", (64, 64)))
    questions: list[str] = []

    def read(sign: str) -> str:
        questions.append(sign)
        return str(tmp_path / "a.png")

    said: list[str] = []
    chat = Chat(engine, template, GREEDY, read=read, write=said.append)
    reply = chat.ask("<image>What?")
    assert questions == ["image: "]
    assert list(reply.token_ids) == reference(template, engine, SHOWN[0])
    given = {"image": [str(tmp_path / "a.png")]}
    untagged = Chat(engine, template, GREEDY, media=given, write=said.append)
    assert untagged.ask("What?") == reply


def test_rows_are_answered_and_written_with_their_media(template, engine, tmp_path):
    (tmp_path / "a.png").write_bytes(png("red", (64, 64)))
    parts = (Part("image", source=str(tmp_path / "a.png")), Part("text", text="What?"))
    missing = (Part("image", source=str(tmp_path / "b.png")), Part("text", text="What?"))
    rows = [
        Question(Conversation((Message("user", content),)), {}, "x:1")
        for content in (missing, parts)
    ]
    report = answer_all(engine, template, rows, GREEDY, tmp_path / "out.jsonl")
    assert (report.answered, report.failed) == (1, 1)
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert "b.png: there is no such file" in first["error"]
    assert second["images"] == [str(tmp_path / "a.png")]
    assert second["messages"][0]["content"] == "<image>What?"


def test_the_command_shows_a_picture(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(png("red", (64, 64)))
    words = ["infer", "--model", "builtin:tiny-vl", *device.flags(), "--max_new_tokens", "8"]
    shown = ["--images", str(tmp_path / "a.png")]
    assert main([*words, "--prompt", "<image>What is it?", *shown]) == 0
    assert capsys.readouterr().out.strip()
    assert main([*words, "--prompt", "What?", "--images", str(tmp_path / "none.png")]) == 2
    assert "none.png: there is no such file" in capsys.readouterr().err


def test_a_tag_without_a_file_is_named(template, engine):
    def ended(sign: str) -> str:
        raise EOFError

    chat = Chat(engine, template, GREEDY, read=ended, write=lambda text: None)
    with pytest.raises(ConfigError, match="name one by --images"):
        chat.ask("<image>What?")
