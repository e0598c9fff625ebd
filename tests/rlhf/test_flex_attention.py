"""Tree attention by FlexAttention, uncompiled on a CPU: values and gradients of plain attention."""

import copy
from dataclasses import replace

import pytest
import torch
from test_fused_kernels import outcome, plain, same
from torch.nn.attention import flex_attention as torchs
from tree_models import build, forest, mixed_batch

from swiftrl.backends.kernels import NONE
from swiftrl.data.batch import TreeShape, pack
from swiftrl.models.attention import Terms
from swiftrl.rlhf import flex_attention
from swiftrl.rlhf.flex_attention import flex_kernel, runs_seen
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.tree_attention import Segments, sdpa_kernel
from swiftrl.rlhf.tree_kernels import choose_tree_kernel

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture
def with_gradient(monkeypatch):
    """torch refuses gradients on a CPU, though the uncompiled path has them."""
    monkeypatch.setattr(torchs, "_validate_device", lambda *_: None)


def test_what_each_token_sees():
    shapes = (TreeShape(0, 2, (2, 1)), TreeShape(5, 1, (2,)))
    trunk_start, trunk_stop, own_start, position = runs_seen(shapes).tolist()
    assert trunk_start == [0, 0, 0, 0, 0, 5, 5, 5]
    assert trunk_stop == [0, 0, 2, 2, 2, 5, 5, 5]
    assert own_start == [0, 0, 2, 2, 4, 5, 5, 5]
    assert position == [0, 1, 2, 3, 2, 0, 1, 2]


TERMS = {
    "plain": Terms(0.3),
    "window": Terms(0.3, window=3),
    "soft cap": Terms(0.3, soft_cap=2.0),
    "sinks": Terms(0.3, sinks=torch.randn(4, generator=torch.Generator().manual_seed(1))),
    "all": Terms(0.3, window=4, soft_cap=2.0, sinks=torch.ones(4)),
}


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("key_heads", [4, 2])
def test_trees_attend_alike(with_gradient, terms, key_heads):
    # Longer than a block of the mask, so that whole blocks are left out.
    batch = pack(forest(((90, 40, 30), (6, 2), (0, 70, 3), (5, 0, 4))))
    generator = torch.Generator().manual_seed(0)
    sizes = ((4, 8), (key_heads, 8), (key_heads, 6))
    states = [
        torch.randn(1, count, len(batch.token_ids), width, generator=generator)
        for count, width in sizes
    ]
    results = []
    for kernel in (sdpa_kernel, flex_kernel):
        inputs = [x.clone().requires_grad_() for x in states]
        mine = terms
        if terms.sinks is not None:
            inputs.append(terms.sinks.clone().requires_grad_())
            mine = replace(terms, sinks=inputs[-1])
        output = kernel(*inputs[:3], Segments(batch.shapes, kernel), mine)
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["qwen3", "mistral", "gemma2", "gpt_oss", "deepseek_v3"])
def test_families_train_alike(with_gradient, name):
    batch, model = mixed_batch(), build(name)
    expected = plain(copy.deepcopy(model), batch)
    same(outcome(Policy(model, kernel=flex_kernel), batch), expected, 5e-5)


def test_the_mask_is_made_once_a_batch(monkeypatch):
    made = []
    own = flex_attention._mask
    monkeypatch.setattr(flex_attention, "_mask", lambda *a: made.append(a[1]) or own(*a))
    policy = Policy(build("gemma2"), kernel=flex_kernel)
    with torch.no_grad():
        made.clear()
        policy.logprobs(mixed_batch())
    assert sorted(map(str, made)) == ["3", "None"]  # one for each window of the layers


def test_it_is_tried_out_where_the_hardware_has_it(with_gradient, capsys):
    config, cpu = build("qwen3").config, torch.device("cpu")

    able = ("flex_attention", "sdpa")
    assert choose_tree_kernel(NONE, able, config, cpu, torch.float32) is flex_kernel
    assert "FlexAttention" in capsys.readouterr().out


def test_where_it_fails_plain_attention_is_used(monkeypatch, capsys):
    """Without its gradient, as torch 2.13 leaves it on a CPU (2.10 has it)."""

    def refuse(query, *_):
        if query.requires_grad:
            raise NotImplementedError("FlexAttention does not support backward on CPU.")

    monkeypatch.setattr(torchs, "_validate_device", refuse)
    able, config = ("flex_attention", "sdpa"), build("qwen3").config
    chosen = choose_tree_kernel(NONE, able, config, torch.device("cpu"), torch.float32)
    assert chosen is not flex_kernel
    assert "does not support backward" in capsys.readouterr().err
