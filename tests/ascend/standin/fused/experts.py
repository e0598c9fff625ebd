"""Mixtures of experts: tokens sorted by expert, products by group, and back."""

import torch

from standin.fused.limits import on_npu, require


def npu_grouped_matmul(
    x,
    weight,
    *,
    bias=None,
    scale=None,
    offset=None,
    antiquant_scale=None,
    antiquant_offset=None,
    per_token_scale=None,
    group_list=None,
    activation_input=None,
    activation_quant_scale=None,
    activation_quant_offset=None,
    split_item=0,
    group_type=None,
    group_list_type=0,
    act_type=0,
    tuning_config=None,
    output_dtype=None,
    **dtypes,
):
    """The operator has no formula for its gradient: whoever trains through it writes one."""
    op = "npu_grouped_matmul"
    on_npu(op, *x, *weight)
    quantised = (scale, offset, antiquant_scale, antiquant_offset, per_token_scale)
    require(not any(t is not None for t in quantised), op, "quantised forms have no reference")
    with torch.no_grad():
        if group_list is None:
            return [a @ b for a, b in zip(x, weight, strict=True)]
        sizes = _group_sizes(op, group_list, group_list_type)
        single = len(x) == len(weight) == 1 and split_item in (2, 3)
        require(single, op, "the reference covers one x, one weight, split_item 2 or 3")
        require(group_type in (0, 2), op, f"group_type={group_type}")
        if group_type == 0:
            return [_by_rows(op, x[0], weight[0], sizes)]
        return [_by_columns(op, x[0], weight[0], sizes)]


def _group_sizes(op, group_list, group_list_type):
    on_device = torch.is_tensor(group_list) and group_list.dtype == torch.int64
    require(on_device, op, "group_list is an int64 npu tensor")
    on_npu(op, group_list)
    if group_list_type == 1:
        return group_list.tolist()
    return torch.diff(group_list, prepend=group_list.new_zeros(1)).tolist()


def _by_rows(op, x, weight, sizes):
    """[M, K] in groups of rows, [E, K, N] -> [M, N]."""
    require(weight.dim() == 3 and len(sizes) == len(weight), op, f"{len(sizes)} groups")
    require(sum(sizes) == len(x), op, f"groups make {sum(sizes)} rows, x has {len(x)}")
    return torch.cat([a @ b for a, b in zip(x.split(sizes), weight, strict=True)])


def _by_columns(op, x, weight, sizes):
    """[M, K] in groups of columns, [K, N] in groups of rows -> [E, M, N]."""
    require(x.stride(0) == 1, op, "group_type=2 needs x as a transposed view (x.t())")
    require(sum(sizes) == x.shape[1] == len(weight), op, f"groups make {sum(sizes)}")
    pairs = zip(x.split(sizes, 1), weight.split(sizes, 0), strict=True)
    return torch.stack([a @ b for a, b in pairs])


def npu_moe_token_permute(tokens, indices, num_out_tokens=None, padded_mode=False):
    op = "npu_moe_token_permute"
    on_npu(op, tokens, indices)
    integers = indices.dtype in (torch.int32, torch.int64)
    require(integers and not padded_mode, op, "int32 or int64 indices, no padded mode")
    chosen = 1 if indices.dim() == 1 else indices.shape[1]
    require(chosen <= 512, op, f"{chosen} experts a token, at most 512")
    order = torch.argsort(indices.flatten(), stable=True)
    require(num_out_tokens in (None, 0, order.numel()), op, "num_out_tokens has no reference")
    return tokens.index_select(0, order // chosen), torch.argsort(order).to(torch.int32)


def npu_moe_token_unpermute(
    permuted_tokens, sorted_indices, probs=None, padded_mode=False, restore_shape=None
):
    op = "npu_moe_token_unpermute"
    on_npu(op, permuted_tokens, sorted_indices, probs)
    require(sorted_indices.dtype == torch.int32, op, "sorted_indices are int32")
    out = permuted_tokens.index_select(0, sorted_indices.long())
    if probs is None:
        return out
    out = out.unflatten(0, (-1, probs.shape[1]))
    return (out * probs.to(out.dtype).unsqueeze(-1)).sum(1)
