"""Pictures: trees give what rows give, the encoder runs once a pair, and mixed batches work."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from PIL import Image

from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.data.batch import Tree, TreeBatch, make_tree, pack
from swiftrl.models.load import load_tokenizer
from swiftrl.models.processor import load_media_processor
from swiftrl.models.resolve import resolve
from swiftrl.rlhf.layout import choose_layout, layout_error
from swiftrl.rlhf.media_inputs import media_tree
from swiftrl.rlhf.scoring import Scorer
from swiftrl.rlhf.tree_attention import register
from swiftrl.templates.template import Template


@pytest.fixture(scope="module")
def template() -> Template:
    resolved = resolve("builtin:tiny-vl")
    tokenizer = load_tokenizer(resolved)
    return Template.load(tokenizer, processor=load_media_processor(resolved, tokenizer))


@pytest.fixture
def model() -> Any:
    from transformers import Qwen3VLForConditionalGeneration

    path = resolve("builtin:tiny-vl").path
    return Qwen3VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()


def picture(width: int, height: int) -> Part:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(stream, "PNG")
    return Part("image", source=stream.getvalue())


def batch_of(template: Template, *sizes: tuple[tuple[int, int], ...]) -> TreeBatch:
    trees = []
    for shown in sizes:
        content = (*(picture(*size) for size in shown), Part("text", text="What is it?"))
        pair = template.encode_pair(
            Conversation((Message("user", content),)),
            [Message("assistant", "It is a red square.")],
            [Message("assistant", "Blue.")],
        )
        assert template.media is not None
        tensors = template.media.tensors(pair[0].media) if shown else None
        trees.append(make_tree(pair, media=tensors))
    return pack(trees)


MIXED = (((100, 50),), (), ((48, 48), (32, 90)))


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_log_probabilities_are_the_model_s_own(template, model, layout):
    assert layout_error(model, layout, batch_of(template, *MIXED)) < 1e-5


def test_gradients_of_tree_and_rows_agree(template, model):
    register()
    batch = batch_of(template, *MIXED)
    found = {}
    for layout in ("rows", "tree"):
        model.zero_grad()
        (Scorer(model, layout=layout)(batch).logps * batch.weights).sum().backward()
        found[layout] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found["tree"].keys() == found["rows"].keys()
    assert any(name.startswith("model.visual.") for name in found["tree"])
    for name, gradient in found["rows"].items():
        scale = gradient.abs().max().clamp_min(1e-3)
        assert (found["tree"][name] - gradient).abs().max() < 1e-3 * scale, name


def test_the_encoder_sees_each_picture_once_a_pair(template, model):
    register()
    patches: list[int] = []
    model.model.visual.patch_embed.register_forward_hook(
        lambda _, inputs, __: patches.append(len(inputs[0]))
    )
    batch = batch_of(template, *MIXED)
    expected = sum(len(tree["pixel_values"]) for tree in batch.media if tree)
    with torch.no_grad():
        Scorer(model, layout="rows")(batch)
        Scorer(model, layout="tree")(batch)
    assert patches == [2 * expected, expected]


def test_the_layout_is_tried_with_pictures(template, model, monkeypatch):
    batch = batch_of(template, *MIXED)
    assert choose_layout(model, pictures=batch).layout == "tree"

    # Positions of plain text are not those of this model where there are pictures.
    def textual(lm: Any, backbone: Any, batch: TreeBatch) -> dict[str, Any]:
        return {**media_tree(lm, backbone, batch), "position_ids": batch.positions[None]}

    monkeypatch.setattr("swiftrl.rlhf.scoring.media_tree", textual)
    choice = choose_layout(model, pictures=batch)
    assert choice.layout == "rows"
    assert "other log-probabilities" in choice.reason


def test_other_pixels_have_another_key(template):
    first, same = batch_of(template, ((100, 50),)), batch_of(template, ((100, 50),))
    assert first.keys == same.keys
    ids = first.token_ids.numpy().astype("int32")
    lighter = {name: tensor + 1 for name, tensor in first.media[0].items()}
    trees = [Tree(ids, (), (), media=media) for media in (first.media[0], lighter)]
    assert pack(trees[:1]).keys != pack(trees[1:]).keys
