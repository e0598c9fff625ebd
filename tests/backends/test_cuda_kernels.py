"""Calls of flash_attn and Liger fit their published interfaces; neither runs without a GPU.

Functions with the packages' own signatures take their place: flash-attn 2.8's
`flash_attn_varlen_func` and liger-kernel 0.8's autograd functions.
"""

import importlib.machinery
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from swiftrl.backends.cuda_kernels import cuda_kernels
from swiftrl.backends.detect import BACKENDS
from swiftrl.backends.kernel_check import checked
from swiftrl.core.errors import ConfigError


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0,
    softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
    deterministic=False, return_attn_probs=False, block_table=None,
):  # fmt: skip
    assert causal and not dropout_p and not softcap
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    lengths_q, lengths_k = cu_seqlens_q.diff(), cu_seqlens_k.diff()
    assert (max_seqlen_q, max_seqlen_k) == (lengths_q.max(), lengths_k.max())
    left, right = window_size
    outputs = []
    parts = (x.split(n.tolist()) for x, n in ((q, lengths_q), (k, lengths_k), (v, lengths_k)))
    for query, key, value in zip(*parts, strict=True):
        row = torch.arange(len(query))[:, None] + len(key) - len(query)
        column = torch.arange(len(key))
        seen = column <= row
        if left >= 0:
            assert right == 0
            seen &= column >= row - left
        states = (x.transpose(0, 1)[None].float() for x in (query, key, value))
        output = F.scaled_dot_product_attention(
            *states, attn_mask=seen, scale=softmax_scale, enable_gqa=True
        )
        outputs.append(output[0].transpose(0, 1).to(q.dtype))
    return torch.cat(outputs)


class RMSNorm:
    @staticmethod
    def apply(X, W, eps, offset=0.0, casting_mode="llama", in_place=True, row_mode=None):
        assert casting_mode in ("llama", "gemma", "none") and not in_place
        return F.rms_norm(X, W.shape, W + offset, eps)


class SiLUMul:
    @staticmethod
    def apply(a, b, gate_multiplier=1.0, down_multiplier=1.0):
        return F.silu(a) * b


class Rope(torch.autograd.Function):
    """Turns its arguments in place, as Liger's does."""

    @staticmethod
    def forward(ctx, q, k, cos, sin, position_ids=None, unsqueeze_dim=1, rotary_dim=None):
        ctx.save_for_backward(cos, sin)
        with torch.no_grad():
            for x in (q, k):
                a, b = x.chunk(2, -1)
                x.copy_(x * cos[:, None] + torch.cat((-b, a), -1) * sin[:, None])
        return q, k

    @staticmethod
    def backward(ctx, *gradients):
        cos, sin = (x[:, None] for x in ctx.saved_tensors)
        turned = []
        for g in gradients:
            a, b = (g * sin).chunk(2, -1)
            turned.append(g * cos + torch.cat((b, -a), -1))
        return *turned, None, None, None, None, None


@pytest.fixture
def packages(monkeypatch):
    def package(name, **contents):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)

    package("flash_attn", flash_attn_varlen_func=flash_attn_varlen_func)
    package("liger_kernel")
    functions = {"RMSNorm": RMSNorm, "SiLUMul": SiLUMul, "Rope": Rope}
    package("liger_kernel.ops", **{f"Liger{n}Function": f for n, f in functions.items()})


def test_calls_fit(packages):
    kernels = BACKENDS.get("cuda").kernels(liger=True)
    assert kernels.names() == ["attention", "rms_norm", "rotary", "swiglu"]
    assert kernels.source == "flash_attn, liger_kernel"
    usable, refused = checked(kernels, torch.device("cpu"), torch.float32)
    assert refused == []
    assert usable == kernels


def test_liger_is_used_where_asked_for(packages):
    assert cuda_kernels(liger=False).names() == ["attention"]


def test_nothing_is_needed_where_nothing_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert cuda_kernels(liger=False).names() == []
    with pytest.raises(ConfigError, match=r"swiftrl\[liger\]"):
        cuda_kernels(liger=True)
