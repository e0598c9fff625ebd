"""Norms, rotary positions, activations, cross-entropy, storage formats."""

import torch
from torch.nn import functional as F

from standin.fused.limits import FLOATS, on_npu, require


def npu_rms_norm(input, gamma, epsilon=1e-6):
    op = "npu_rms_norm"
    on_npu(op, input, gamma)
    types = f"unsupported dtypes x={input.dtype}, gamma={gamma.dtype}"
    require(input.dtype in FLOATS and gamma.dtype in (input.dtype, torch.float32), op, types)
    dims = tuple(range(input.dim() - gamma.dim(), input.dim()))
    wide = input.float()
    rstd = torch.rsqrt(wide.pow(2).mean(dims, keepdim=True) + epsilon)
    return (wide * rstd * gamma.float()).to(input.dtype), rstd.detach()


def npu_add_rms_norm(x1, x2, gamma, epsilon=1e-6):
    total = x1 + x2
    normed, rstd = npu_rms_norm(total, gamma, epsilon)
    return normed, rstd, total


def npu_rotary_mul(input, r1, r2, rotary_mode="half", rotate=None):
    op = "npu_rotary_mul"
    on_npu(op, input, r1, r2)
    ranks = [tensor.dim() for tensor in (input, r1, r2)]
    require(ranks[0] in (3, 4) and len(set(ranks)) == 1, op, f"one rank of 3 or 4, got {ranks}")
    types = [tensor.dtype for tensor in (input, r1, r2)]
    require(types[0] in FLOATS and len(set(types)) == 1, op, f"dtypes {types} differ")
    width = input.shape[-1]
    even = width % 2 == 0 and width < 896 and r1.shape[-1] == width
    require(even, op, f"head dim {width} / {r1.shape[-1]}")
    require(rotary_mode in ("half", "interleave"), op, f"rotary_mode={rotary_mode}")
    if rotary_mode == "half":
        first, second = input.chunk(2, -1)
        turned = torch.cat((-second, first), -1)
    else:
        turned = torch.stack((-input[..., 1::2], input[..., ::2]), -1).flatten(-2)
    return input * r1 + turned * r2


def npu_swiglu(input, dim=-1):
    op = "npu_swiglu"
    on_npu(op, input)
    require(input.dtype in FLOATS and input.numel() > 0, op, f"empty, or dtype {input.dtype}")
    require(input.is_contiguous(), op, "the tensor must be contiguous")
    gate, up = input.chunk(2, dim)
    return F.silu(gate) * up


def npu_gelu(input, *, approximate="none"):
    on_npu("npu_gelu", input)
    return F.gelu(input, approximate=approximate)


def npu_cross_entropy_loss(
    input,
    target,
    weight=None,
    reduction="mean",
    ignore_index=-100,
    label_smoothing=0.0,
    lse_square_scale_for_zloss=0.0,
    return_zloss=False,
):
    op = "npu_cross_entropy_loss"
    on_npu(op, input, target, weight)
    shape = input.dim() == 2 and input.shape[0] <= 200000
    require(shape and input.dtype in FLOATS and target.dtype == torch.int64, op, "[N, C], N <= 2e5")
    require(not return_zloss and not lse_square_scale_for_zloss, op, "z-loss is not supported")
    if input.requires_grad and reduction == "mean":
        plain = weight is None and ignore_index == -100 and not label_smoothing
        require(plain, op, "with gradients, mean supports only the defaults")
    # A negative ignore_index stands for none: labels of -100 are not passed over.
    require(bool((target >= 0).all()), op, "targets must be in [0, C)")
    logp = input.log_softmax(-1)
    loss = F.nll_loss(logp, target, weight, reduction=reduction, ignore_index=ignore_index)
    return loss.reshape(-1), logp.detach(), input.new_empty(0), input.new_empty(0)


def npu_format_cast(input, acl_format, **_):
    return input
