"""The models shipped with the package, in plain transformers."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from swiftrl.core.errors import ModelError
from swiftrl.data.builtin.load import path
from swiftrl.data.builtin.score import right_answer, score
from swiftrl.models.builtin_models import builtin_names, builtin_path

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "12 + 35 = ?"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "A sum.",
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "47"},
    {"role": "tool", "content": "and so on"},
    {"role": "assistant", "content": "47", "reasoning_content": "Done."},
]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def test_names_and_an_unknown_one():
    assert builtin_names() == ["tiny-base", "tiny-instruct", "tiny-vl"]
    assert builtin_path("builtin:tiny-base") == builtin_path("tiny-base")
    with pytest.raises(ModelError, match="Did you mean 'tiny-instruct'"):
        builtin_path("builtin:tiny-instuct")


@pytest.mark.parametrize("name", ["tiny-base", "tiny-instruct", "tiny-vl"])
def test_files_are_whole_and_small(name):
    folder = builtin_path(name)
    for file in (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "README.md",
    ):
        assert (folder / file).is_file(), file
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6


@pytest.mark.parametrize("text", ["What is 12 + 345?", "法国的首都是哪里？\n", "naïve 🙂 <b>x</b>"])
def test_tokenizer_gives_any_text_back_and_splits_digits(text):
    tokenizer = AutoTokenizer.from_pretrained(builtin_path("tiny-instruct"))
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(token_ids) == text
    assert not any(len(tokenizer.decode([i])) > 1 and tokenizer.decode([i]).isdigit()
                   for i in token_ids)  # fmt: skip


def test_special_tokens():
    tokenizer = AutoTokenizer.from_pretrained(builtin_path("tiny-instruct"))
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token not in (None, tokenizer.eos_token)
    for token in ("<|endoftext|>", "<|im_start|>", "<think>", "</think>", "<|image_pad|>"):
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1


@pytest.mark.parametrize("tools", [None, TOOLS])
def test_chat_template_is_stable_under_prefixes(tools):
    tokenizer = AutoTokenizer.from_pretrained(builtin_path("tiny-instruct"))

    def render(count, **options):
        return tokenizer.apply_chat_template(CHAT[:count], tools=tools, tokenize=False, **options)

    whole = render(len(CHAT))
    for count in (2, 3, 5):
        assert whole.startswith(render(count))
    for count in (2, 5):  # what comes after is the assistant's turn
        assert whole.startswith(render(count, add_generation_prompt=True))
    assert whole.endswith("<think>\nDone.\n</think>\n\n47<|im_end|>\n")
    assert ("<tools>" in whole) == (tools is not None)


def test_the_scripts_train_on_the_template_s_text(monkeypatch):
    """Training packs chats by hand for speed; what it makes is what the template renders."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from scripts.builtin import train_text

    tokenizer = AutoTokenizer.from_pretrained(builtin_path("tiny-instruct"))
    line = path("instructions").read_text("utf-8").splitlines()[0]
    (token_ids, _), *_ = train_text.chat_tokens(tokenizer, iter([json.loads(line)]))
    rendered = tokenizer.apply_chat_template(json.loads(line)["messages"], tokenize=False)
    assert tokenizer.decode(token_ids) == rendered


def test_greedy_replies_score_well_but_leave_room():
    """Over all 400 held-out prompts it is 0.70, as the model's card says."""
    folder = builtin_path("tiny-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows = [json.loads(line) for line in path("prompts", "heldout").read_text("utf-8").splitlines()]
    rows = rows[:60]
    prompts = [
        tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True)
        for row in rows
    ]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    out = model.generate(**batch, do_sample=False, max_new_tokens=64)
    said = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    mean = sum(score(row, reply) for row, reply in zip(rows, said, strict=True)) / len(rows)
    assert 0.55 < mean < 0.8


def test_the_base_model_knows_the_tasks():
    """It continues a solved line with the answer, though it was never taught to chat."""
    folder = builtin_path("tiny-base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    batch = tokenizer("What is the capital of France?", return_tensors="pt")
    out = model.generate(**batch, do_sample=False, max_new_tokens=24)
    assert "Paris" in tokenizer.decode(out[0])


def test_greedy_replies_to_pictures_are_mostly_right(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from scripts.builtin import evaluate_vl

    folder = builtin_path("tiny-vl")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    rows = evaluate_vl.load_rows()[:50]
    said = evaluate_vl.replies(model, tokenizer, processor, rows)
    right = sum(right_answer(row, reply) for row, reply in zip(rows, said, strict=True))
    assert 0.6 < right / len(rows) < 0.95
