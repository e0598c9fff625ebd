"""Fused kernels as plain PyTorch, for any device, that note when they run."""

from collections import Counter
from itertools import pairwise

import torch
import torch.nn.functional as F

from swiftrl.backends.kernels import Experts, Kernels, VarlenAttention


def noting(kernels: Kernels) -> tuple[Kernels, Counter]:
    """Return the same kernels, and how often each was called."""
    calls: Counter = Counter()

    def noted(name, run):
        def call(*args, **kwargs):
            calls[name] += 1
            return run(*args, **kwargs)

        return None if run is None else call

    experts, attention = kernels.experts, kernels.attention
    return Kernels(
        rms_norm=noted("rms_norm", kernels.rms_norm),
        swiglu=noted("swiglu", kernels.swiglu),
        rotary=noted("rotary", kernels.rotary),
        experts=experts
        and Experts(
            experts.permute,
            noted("experts", experts.product),
            experts.unpermute,
            noted("gate", experts.gate),
        ),
        attention=attention
        and VarlenAttention(
            noted("attention", attention.run),
            attention.dtypes,
            attention.widest,
            attention.most_heads,
            attention.soft_cap,
            attention.sinks,
        ),
        source=kernels.source,
    ), calls


def _norm(x, gain, eps):
    return F.rms_norm(x, x.shape[-1:], gain.to(x.dtype), eps)


def _rotary(query, key, cos, sin):
    def turned(x):
        a, b = x.chunk(2, -1)
        return x * cos[:, None] + torch.cat((-b, a), -1) * sin[:, None]

    return turned(query), turned(key)


def _permute(tokens, experts):
    order = experts.flatten().sort(stable=True).indices
    return tokens[order // experts.shape[1]], order.argsort()


def _product(rows, weight, counts):
    parts = rows.split(counts.tolist())
    return torch.cat([part @ w.to(part.dtype) for part, w in zip(parts, weight, strict=True)])


def _unpermute(rows, order, weights):
    return (rows[order].unflatten(0, weights.shape) * weights[..., None].to(rows.dtype)).sum(1)


def _gate(both):
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


def _attention(query, key, value, sequences, *, scaling, window, soft_cap, sinks, dropout):
    repeats = query.shape[1] // key.shape[1]
    outputs = []
    ends = (pairwise((0, *e)) for e in (sequences.query_ends, sequences.key_ends))
    for (a, b), (c, d) in zip(*ends, strict=True):
        q = query[a:b].transpose(0, 1).float()
        k, v = (x[c:d].repeat_interleave(repeats, 1).transpose(0, 1).float() for x in (key, value))
        row = torch.arange(d - c - (b - a), d - c, device=q.device)[:, None]
        column = torch.arange(d - c, device=q.device)
        hidden = (column > row) | (column <= row - (window or d))
        scores = (q @ k.transpose(1, 2) * scaling).masked_fill(hidden, float("-inf"))
        if sinks is not None:
            scores = torch.cat((scores, sinks[:, None, None].float().expand(-1, b - a, 1)), -1)
        outputs.append((scores.softmax(-1)[..., : d - c] @ v).transpose(0, 1).to(value.dtype))
    return torch.cat(outputs)


PLAIN = Kernels(
    rms_norm=_norm,
    swiglu=lambda gate, up: F.silu(gate) * up,
    rotary=_rotary,
    experts=Experts(_permute, _product, _unpermute, _gate),
    attention=VarlenAttention(_attention, ("float16", "bfloat16", "float32"), sinks=True),
    source="tests",
)
