"""npu_fusion_attention, dense and of variable length.

Shapes: B sequences, N heads, S positions, D head width, T packed positions.
"""

import torch
from torch.nn import functional as F

from standin.fused.limits import FLOATS, UNLIMITED, on_npu, require

OP = "npu_fusion_attention"
LAYOUTS = ("BSH", "SBH", "BSND", "BNSD", "TND")
COMPRESSED = (2, 3, 4, 7, 8)
"""Sparse modes whose mask is the 2048 x 2048 triangle whatever the lengths."""


def npu_fusion_attention(
    query,
    key,
    value,
    head_num,
    input_layout,
    pse=None,
    padding_mask=None,
    atten_mask=None,
    scale=1.0,
    keep_prob=1.0,
    pre_tockens=UNLIMITED,
    next_tockens=UNLIMITED,
    inner_precise=0,
    prefix=None,
    actual_seq_qlen=None,
    actual_seq_kvlen=None,
    sparse_mode=0,
    gen_mask_parallel=True,
    sync=False,
    softmax_layout="",
    sink=None,
    dropout_mask=None,
    seed=0,
    offset=0,
):
    on_npu(OP, query, key, value, pse, atten_mask, sink)
    types = [tensor.dtype for tensor in (query, key, value)]
    require(types[0] in FLOATS and len(set(types)) == 1, OP, f"types {types} differ")
    require(input_layout in LAYOUTS, OP, f"unknown layout {input_layout}")
    require(padding_mask is None, OP, "padding_mask is not supported")
    if atten_mask is None:  # without a mask everything is seen, whatever the mode
        sparse_mode, pre_tockens, next_tockens = 0, UNLIMITED, UNLIMITED
    else:
        _check_mask(atten_mask, sparse_mode)
    require(sparse_mode in (0, 1, 2, 3, 4), OP, f"sparse_mode={sparse_mode} has no reference")

    def attend(q, k, v, varlen):
        sizes = (q.shape[2], k.shape[2])
        window = (pre_tockens, next_tockens)
        masked = _masked(atten_mask, sparse_mode, window, sizes, q.device, varlen)
        return _attention(q, k, v, scale, masked, keep_prob, pse, sink)

    if input_layout == "TND":
        lengths = actual_seq_qlen, actual_seq_kvlen
        return _packed(query, key, value, head_num, lengths, attend)
    return _dense(query, key, value, head_num, input_layout, attend)


def _check_mask(mask, sparse_mode):
    require(mask.dtype in (torch.bool, torch.uint8), OP, f"atten_mask of type {mask.dtype}")
    if sparse_mode not in COMPRESSED:
        return
    shape = tuple(mask.shape)
    require(shape == (2048, 2048), OP, f"sparse_mode={sparse_mode} needs a 2048x2048 mask: {shape}")
    # All of it: a triangle that is off by one hides itself in a corner.
    triangle = torch.ones(2048, 2048, dtype=torch.bool).triu_(1)
    require(torch.equal(mask.cpu().bool(), triangle), OP, "atten_mask must be 1 above the diagonal")


def _masked(mask, sparse_mode, window, sizes, device, varlen):
    """Return [S of query, S of key], true where a score must not count; None: nowhere."""
    rows, columns = sizes
    if sparse_mode == 2:
        return _band(sizes, (UNLIMITED, 0), 0, device)
    if sparse_mode == 3:
        return _band(sizes, (UNLIMITED, 0), columns - rows, device)
    if sparse_mode == 4:
        return _band(sizes, window, columns - rows, device)
    if mask is None:
        return None
    fits = tuple(mask.shape[-2:]) == sizes or varlen
    require(fits, OP, f"atten_mask {tuple(mask.shape)} does not match {sizes}")
    masked = mask[..., :rows, :columns].bool()
    if window != (UNLIMITED, UNLIMITED):
        masked = masked | _band(sizes, window, 0, device)
    return masked


def _band(sizes, window, shift, device):
    """Return true where key j is outside [i + shift - before, i + shift + after]."""
    row = torch.arange(sizes[0], device=device)[:, None] + shift
    column = torch.arange(sizes[1], device=device)[None, :]
    return (column < row - window[0]) | (column > row + window[1])


def _attention(q, k, v, scale, masked, keep_prob, pse, sink):
    """Return the output [B, N, S, D] and the maxima and sums of its softmax."""
    if k.shape[1] != q.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = q.float() @ k.float().transpose(-1, -2)
    if pse is not None:
        scores = scores + pse.float()
    scores = scores * scale
    if masked is not None:
        scores = scores.masked_fill(masked, -1e30)
    top = scores.amax(-1, keepdim=True)
    extra = None if sink is None else sink.float().view(1, -1, 1, 1)
    if extra is not None:
        top = torch.maximum(top, extra)
    weights = (scores - top).exp()
    total = weights.sum(-1, keepdim=True)
    if extra is not None:
        total = total + (extra - top).exp()
    shares = weights / total
    if keep_prob < 1:
        shares = F.dropout(shares, 1 - keep_prob)
    out = shares.to(v.dtype) @ v
    return out, *(t.detach().expand(*t.shape[:-1], 8) for t in (top, total))


def _packed(query, key, value, head_num, lengths, attend):
    """Return what the operator does for [T, N, D], sequence by sequence."""
    for ends, tensor in zip(lengths, (query, key), strict=True):
        require(ends is not None, OP, "TND needs actual_seq_qlen and actual_seq_kvlen")
        require(isinstance(ends, (list, tuple)), OP, "lengths are lists of ints on the host")
        ordered = all(a <= b for a, b in zip([0, *ends], ends, strict=False))
        require(ordered and ends[-1] == len(tensor), OP, f"{ends} do not end at {len(tensor)}")
    q_ends, k_ends = lengths
    require(len(q_ends) == len(k_ends), OP, "as many queries as keys")
    _check_heads(query.shape[1], key.shape[1], query.shape[2], head_num)
    parts = []
    starts = zip([0, *q_ends], q_ends, [0, *k_ends], k_ends, strict=False)
    for q_start, q_end, k_start, k_end in starts:
        pieces = (query[q_start:q_end], key[k_start:k_end], value[k_start:k_end])
        outputs = attend(*(piece[None].transpose(1, 2) for piece in pieces), True)
        parts.append([output[0].transpose(0, 1) for output in outputs])
    out, top, total = (torch.cat(column) for column in zip(*parts, strict=True))
    return out, top, total, query.new_empty(0), 0, 0, 0


def _dense(query, key, value, head_num, layout, attend):
    def split(tensor, heads):
        if layout == "BNSD":
            return tensor
        if layout == "BSND":
            return tensor.transpose(1, 2)
        tensor = tensor.transpose(0, 1) if layout == "SBH" else tensor
        return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)

    q = split(query, head_num)
    k, v = (split(tensor, tensor.shape[-1] // q.shape[-1]) for tensor in (key, value))
    _check_heads(q.shape[1], k.shape[1], q.shape[-1], head_num)
    out, top, total = attend(q, k, v, False)
    if layout != "BNSD":
        out = out.transpose(1, 2)
    if layout in ("BSH", "SBH"):
        out = out.flatten(2)
    if layout == "SBH":
        out = out.transpose(0, 1)
    return out.contiguous(), top, total, query.new_empty(0), 0, 0, 0


def _check_heads(queries, keys, width, head_num):
    require(queries == head_num <= 256, OP, f"{queries} heads, head_num={head_num}, at most 256")
    require(queries % keys == 0, OP, f"{queries} heads over {keys}")
    require(1 <= width <= 768, OP, f"head dim {width} is out of range")
