"""What a format of quantised weights is; `formats/*.py` hold one each.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from swiftrl.core.registry import Registry
from swiftrl.quant.scheme import QuantWeight, Scheme

if TYPE_CHECKING:
    import torch

__all__ = ["FORMATS", "Format"]


class Format(Protocol):
    """How a quantised linear layer lies in a file, and how the model's config.json says so."""

    def layout(
        self, outputs: int, inputs: int, scheme: Scheme, dtype: torch.dtype
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Return shape and type of a layer's tensors, by the end of their names ("qweight")."""
        ...

    def pack(self, weight: QuantWeight, scheme: Scheme) -> dict[str, torch.Tensor]:
        """Return a layer's tensors as `layout` lists them.

        Raises:
            ConfigError: the format cannot hold this scheme.
        """
        ...

    def unpack(self, tensors: Mapping[str, torch.Tensor], scheme: Scheme) -> QuantWeight:
        """Return what `pack` was given."""
        ...

    def dequantise(
        self, tensors: Mapping[str, torch.Tensor], scheme: Scheme, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return the weight [O, I] in `dtype`."""
        ...

    def to_config(self, scheme: Scheme, skipped: Sequence[str]) -> dict[str, Any]:
        """Return `quantization_config` of config.json.

        Args:
            scheme: of every quantised layer.
            skipped: names of linear layers that stay as they were.
        """
        ...

    def from_config(self, config: Mapping[str, Any]) -> Scheme | None:
        """Return the scheme that a `quantization_config` describes; None if of another format.

        Raises:
            ConfigError: this format, but of a kind that is not served here.
        """
        ...


FORMATS: Registry[Format] = Registry("format", "swiftrl.quant.formats", "FORMAT")
"""Formats by name; files are looked up by their `quantization_config`."""
