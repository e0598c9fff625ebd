"""Prompts of unequal length, and models that see the padding."""

from __future__ import annotations

import device
import torch
from tiny_models import make_model, make_tokenizer
from torch import nn

from swiftrl.engine.padding import cache_agrees, padding_is_unseen
from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine


def leaking(model: nn.Module) -> nn.Module:
    """Let every layer see the mean of all tokens before, padding included."""
    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(
            lambda _, inputs: (inputs[0] + inputs[0].mean(1, keepdim=True),)
        )
    return model


def test_padding_is_unseen_where_the_mask_is_obeyed():
    assert padding_is_unseen(make_model(), make_tokenizer(), None)
    assert not padding_is_unseen(leaking(make_model()), make_tokenizer(), None)


def test_a_model_that_sees_padding_never_gets_any():
    model = leaking(make_model())
    engine = TransformersEngine(model, make_tokenizer(), stop_token_ids=[])
    sampling = SamplingParams(temperature=0.0, max_tokens=4)
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12], [13, 14, 15]]
    together = engine.generate(prompts, sampling)
    for prompt, (reply,) in zip(prompts, together, strict=True):
        ((alone,),) = engine.generate([prompt], sampling)
        assert reply.token_ids == alone.token_ids


def test_a_cache_that_changes_replies_is_done_without():
    assert cache_agrees(make_model(), make_tokenizer(), None)
    model = leaking(make_model())  # the mean of all tokens is that of one, behind a cache
    assert not cache_agrees(model, make_tokenizer(), None)
    engine = TransformersEngine(model, make_tokenizer(), stop_token_ids=[])
    prompt = [5, 6, 7]
    ((reply,),) = engine.generate([prompt], SamplingParams(temperature=0.0, max_tokens=4))
    assert not engine.batching.use_cache
    for place, token in enumerate(reply.token_ids):
        ids = device.put(torch.tensor([[*prompt, *reply.token_ids[:place]]]))
        with torch.no_grad():
            assert int(model(input_ids=ids, use_cache=False).logits[0, -1].argmax()) == token


def test_a_cache_that_cannot_be_made_is_done_without():
    model = make_model()
    whole = model.forward

    def forward(*args, **kwargs):
        if kwargs.get("use_cache"):
            raise AttributeError("no number of layers")
        return whole(*args, **kwargs)

    model.forward = forward
    assert not cache_agrees(model, make_tokenizer(), None)
