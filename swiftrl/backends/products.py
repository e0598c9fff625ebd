"""In which type matrix products are fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

__all__ = ["exact_sums", "product_dtype", "row_slices", "rows_in_cache"]

# The type checker does not know it.
_PRODUCTS: Any = getattr(torch.backends.mkldnn, "matmul", None)
_PRECISION = "fp32_precision"
_CACHED = 2**18
"""Float32 numbers of a strip: 1 MiB, the second-level cache of a core."""
_SLICED = 3 * 2**19
"""Numbers of an intermediate result at a time: 3 MiB of 16-bit ones, some of which the last-level
cache holds."""
_FEWEST = 256
"""Rows below which a matrix product loses more than a cache gains."""


def product_dtype(device: torch.device, compute_dtype: torch.dtype) -> torch.dtype:
    """Return the type for the matrix products of a computation in `compute_dtype`.

    A processor without matrix units may multiply 16-bit numbers at half the speed of float32 ones
    (80 against 155 GFLOP/s a core, oneDNN on an Intel Xeon's AVX-512 bf16 instructions), so that
    widening the factors first is faster, and more exact. AMD's run the same instructions at full
    width (470 against 100 GFLOP/s on an EPYC of family 26).
    """
    narrow = compute_dtype in (torch.bfloat16, torch.float16)
    if not narrow or device.type != "cpu":
        return compute_dtype
    able = _abilities()
    if able.get("architecture") != "x86_64":
        return compute_dtype
    fast = _multiplies_bfloat16(able) if compute_dtype == torch.bfloat16 else able.get("amx_fp16")
    return compute_dtype if fast else torch.float32


def _abilities() -> Mapping[str, Any]:
    """Return what the processor has; nothing where torch cannot say (2.10)."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def _multiplies_bfloat16(able: Mapping[str, Any]) -> bool:
    full_width = able.get("avx512_bf16") and str(able.get("cpu_name")).startswith("AMD")
    return bool(able.get("amx_bf16") or full_width)


def exact_sums(
    device: torch.device, dtype: torch.dtype
) -> Callable[[], AbstractContextManager[None]] | None:
    """Return a context in which products of float32 factors multiply in `dtype`, fast.

    Within it, factors whose values fit `dtype` give float32 products that are never rounded to
    it. None where the hardware or this torch has no such mode.
    """
    if device.type != "cpu" or dtype != torch.bfloat16 or not hasattr(_PRODUCTS, _PRECISION):
        return None
    return _bfloat16_factors if _multiplies_bfloat16(_abilities()) else None


def rows_in_cache(device: torch.device, columns: int, rows: int) -> int:
    """Return how many of `rows` float32 rows to work on at a time.

    A processor goes through a strip that its cache holds faster than through memory (a softmax of
    256 x 32,000: 8 against 10 ms on an AMD EPYC); an accelerator wants as many rows as there are.
    """
    return max(min(_CACHED // columns, rows), 1) if device.type == "cpu" else rows


def row_slices(device: torch.device, rows: int, columns: int) -> Iterator[slice]:
    """Yield the parts of `rows` in which to compute a chain through [rows, columns] tensors.

    A processor that writes to memory what it reads back for the next operation waits for memory:
    the chain of an MLP takes a fifth less time in slices (26 against 21 ms for 2,072 x 1,408 on an
    AMD EPYC). An accelerator takes all at once. The last slice is between half as long as the
    others and half as long again, and all but it have the same length.
    """
    length = rows
    if device.type == "cpu":
        length = max(_SLICED // columns // _FEWEST * _FEWEST, _FEWEST)
    start = 0
    while rows - start >= length + (length + 1) // 2:
        yield slice(start, start + length)
        start += length
    yield slice(start, rows)


@contextmanager
def _bfloat16_factors() -> Iterator[None]:
    before = getattr(_PRODUCTS, _PRECISION)
    setattr(_PRODUCTS, _PRECISION, "bf16")
    try:
        yield
    finally:
        setattr(_PRODUCTS, _PRECISION, before)
