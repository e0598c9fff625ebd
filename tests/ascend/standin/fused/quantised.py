"""Products of 8-bit weights and activations."""

import torch

from standin.fused.limits import on_npu, require


def npu_weight_quant_batchmatmul(
    x,
    weight,
    antiquant_scale,
    antiquant_offset=None,
    quant_scale=None,
    quant_offset=None,
    bias=None,
    antiquant_group_size=0,
    inner_precise=0,
    weight_dtype=None,
):
    op = "npu_weight_quant_batchmatmul"
    on_npu(op, x, weight, antiquant_scale, antiquant_offset)
    narrow = x.dtype in (torch.float16, torch.bfloat16)
    require(narrow and weight.dtype == torch.int8, op, "x is 16-bit; weights of int8 only")
    require(antiquant_scale.dtype == x.dtype, op, "antiquant_scale has x's dtype")

    def spread(values):
        if not antiquant_group_size:
            return values
        return values.repeat_interleave(antiquant_group_size, 0)[: len(weight)]

    wide = weight.to(x.dtype)
    if antiquant_offset is not None:
        wide = wide + spread(antiquant_offset)
    out = x @ (wide * spread(antiquant_scale))
    return out if bias is None else (out + bias).to(x.dtype)


def npu_dynamic_quant(
    input,
    *,
    smooth_scales=None,
    group_index=None,
    dst_type=None,
    quant_mode="pertoken",
    dst_type_max=0.0,
):
    on_npu("npu_dynamic_quant", input)
    wide = input.float() if smooth_scales is None else input.float() * smooth_scales.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
    return (wide / scale).round().clamp(-128, 127).to(torch.int8), scale.squeeze(-1)


def npu_quant_matmul(
    x1, x2, scale, *, offset=None, pertoken_scale=None, bias=None, output_dtype=None, **_
):
    op = "npu_quant_matmul"
    on_npu(op, x1, x2, scale, pertoken_scale)
    require(x1.dtype == x2.dtype == torch.int8, op, "x1 and x2 are int8")
    out = (x1.float() @ x2.float()) * scale.float()
    if pertoken_scale is not None:
        out = out * pertoken_scale.float().unsqueeze(-1)
    return out.to(output_dtype or torch.float16)
