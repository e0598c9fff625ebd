"""Loaded by torch after torch_npu: host kernels, reference fused operators, "hccl" over gloo."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["start"]

_KEPT = """empty.memory_format empty_strided empty_like new_empty_strided empty_with_format
unsafe_empty_with_format empty_with_swapped_memory as_strided_ resize_ resize_as_ set_
set_.source_Tensor set_.source_Storage set_.source_Storage_storage_offset record_stream
is_pinned _pin_memory _has_compatible_shallow_copy_type copy_ _copy_from _copy_from_and_resize
_local_scalar_dense contiguous _to_copy is_set_to _lazy_clone _conj _neg_view get_npu_format
get_storage_size npu_view_copy copy_memory_ npu_format_cast _npu_format_cast"""
KEPT = frozenset(_KEPT.split())
"""What torch_npu does itself besides views: allocation, metadata and copies of its own. Every
other aten operator that it registered is one of a card and gets the host's kernel."""
_KEEP_ALIVE: list[Any] = []  # torch forgets what a library registered with the library


def start() -> None:
    """Give device "npu" everything that a card would do."""
    import torch
    import torch_npu  # noqa: F401  # before its operators are replaced

    _replace_kernels(torch)
    _use_core_autograd(torch)
    _add_fused_operators(torch)
    _add_hccl(torch)


def _replace_kernels(torch: Any) -> None:
    import standin_kernels

    registered = torch._C._dispatch_get_registrations_for_dispatch_key("PrivateUse1")
    names = [name[6:] for name in registered if name.startswith("aten::")]
    standin_kernels.replace([n for n in names if n not in KEPT and not _is_view(torch, n)])


def _aten(torch: Any, name: str) -> Any | None:
    packet, _, overload = name.partition(".")
    try:
        return getattr(getattr(torch.ops.aten, packet), overload or "default")
    except AttributeError:  # one of torch_npu's own, not callable from Python
        return None


def _is_view(torch: Any, name: str) -> bool:
    operator = _aten(torch, name)
    aliases = [] if operator is None else [a.alias_info for a in operator._schema.arguments]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _use_core_autograd(torch: Any) -> None:
    """Differentiate by PyTorch's formula what torch_npu does with kernels of a card."""
    import standin_kernels

    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    registered = torch._C._dispatch_get_registrations_for_dispatch_key("AutogradPrivateUse1")
    names = {name for name in registered if name.startswith("aten::") and name[6:] not in KEPT}
    composite = {name for name in names if has_kernel(name, "CompositeImplicitAutograd")}
    formula = {name for name in names - composite if has_kernel(name, "Autograd")}
    standin_kernels.decompose([name[6:] for name in composite])
    standin_kernels.differentiate([name[6:] for name in formula])


def _register(library: Any, name: str, kernel: Callable[..., Any], *keys: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "overriding a previously registered kernel"
        for key in keys:
            library.impl(name, kernel, key, allow_override=True)


def _add_fused_operators(torch: Any) -> None:
    """Register the references of npu_* operators; autograd goes through what they call."""
    from standin.fused import OPERATORS

    library = torch.library.Library("npu", "IMPL")
    for name, kernel in OPERATORS.items():
        if hasattr(torch.ops.npu, name):
            _register(library, name, kernel, "AutogradPrivateUse1", "PrivateUse1")
    _KEEP_ALIVE.append(library)


def _add_hccl(torch: Any) -> None:
    import standin_kernels

    def make(options: Any, _: Any) -> Any:
        gloo = torch.distributed.ProcessGroupGloo(
            options.store, options.group_rank, options.group_size, options.timeout
        )
        return standin_kernels.hccl_over(gloo)

    plugins = torch.distributed.Backend._plugins
    plugins["HCCL"] = plugins["HCCL"]._replace(creator_fn=make)
