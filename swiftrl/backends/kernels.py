"""Operations for which hardware has fused kernels of its own.

Shapes: T query tokens, S key tokens, H query heads, K key-value heads, D head width, E experts,
k experts a token, I inputs, O outputs, n sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["NONE", "Experts", "Kernels", "Sequences", "VarlenAttention"]


@dataclass(frozen=True)
class Sequences:
    """Sequences without padding: where each ends, among the queries and among its keys.

    The queries of a sequence are its last tokens: the last query sees all keys, the one before all
    but the last, and so on.

    Attributes:
        query_ends: n ascending numbers, on the host.
        key_ends: the same for the keys.
    """

    query_ends: tuple[int, ...]
    key_ends: tuple[int, ...]
    _starts: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def starts(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return [n + 1] int32 on `device`: 0 and the ends, of queries and of keys."""
        import torch

        if device not in self._starts:
            queries, keys = (
                torch.tensor((0, *ends), dtype=torch.int32).to(device, non_blocking=True)
                for ends in (self.query_ends, self.key_ends)
            )
            self._starts[device] = queries, keys
        return self._starts[device]

    @cached_property
    def longest(self) -> tuple[int, int]:
        """Most queries and most keys of a sequence."""
        queries, keys = (
            max((b - a for a, b in pairwise((0, *ends))), default=0)
            for ends in (self.query_ends, self.key_ends)
        )
        return queries, keys


class _Attend(Protocol):
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sequences: Sequences,
        *,
        scaling: float,
        window: int | None,
        soft_cap: float | None,
        sinks: Tensor | None,
        dropout: float,
    ) -> Tensor:
        """Map query [T, H, D] and key, value [S, K, D] to [T, H, D]."""
        ...


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """Attention over sequences of any lengths, one behind another.

    Attributes:
        run: computes it.
        dtypes: names of the types it takes.
        widest: most numbers of a head.
        most_heads: most query heads.
        soft_cap: it knows soft caps.
        sinks: it knows sinks.
    """

    run: _Attend
    dtypes: tuple[str, ...] = ("float16", "bfloat16")
    widest: int = 256
    most_heads: int = 1024
    soft_cap: bool = False
    sinks: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """What a mixture of experts is made of.

    Attributes:
        permute: tokens [T, I] and the experts' numbers [T, k] -> the tokens [T k, I] by expert, and
            what `unpermute` needs.
        product: rows [T k, I] by expert, weights [E, I, O] and how many rows each expert has [E]
            int64 -> [T k, O].
        unpermute: rows [T k, O], what `permute` gave, and weights [T, k] -> [T, O].
        gate: [T k, 2 I] -> silu of the first half times the second, [T k, I].
    """

    permute: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    product: Callable[[Tensor, Tensor, Tensor], Tensor]
    unpermute: Callable[[Tensor, Tensor, Tensor], Tensor]
    gate: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Kernels:
    """Fused kernels of some hardware; None where it has none. All of them have gradients.

    Attributes:
        rms_norm: x [..., D], gain [D] and epsilon -> [..., D].
        swiglu: gate and up [..., D] -> silu(gate) * up.
        rotary: query [B, H, T, D], key [B, K, T, D], cosine and sine [B, T, D] -> both, turned by
            halves: x cos + (-x[D/2:], x[:D/2]) sin.
        experts: for mixtures of experts.
        attention: for sequences of any lengths.
        source: whose kernels they are, for messages.
    """

    rms_norm: Callable[[Tensor, Tensor, float], Tensor] | None = None
    swiglu: Callable[[Tensor, Tensor], Tensor] | None = None
    rotary: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    experts: Experts | None = None
    attention: VarlenAttention | None = None
    source: str = ""

    def names(self) -> list[str]:
        """Return the kernels there are."""
        return [name for name in KINDS if getattr(self, name) is not None]

    def without(self, name: str) -> Kernels:
        """Return the others."""
        return replace(self, **{name: None})


KINDS = ("attention", "rms_norm", "rotary", "swiglu", "experts")
NONE = Kernels()
"""No kernels: PyTorch's own operations."""
