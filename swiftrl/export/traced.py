"""One run of a block: which tensor each of its modules read, and which module made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from swiftrl.export.stages import same_memory

__all__ = ["Traced", "traced"]


@dataclass
class Traced:
    """What modules read and made; tensors are held so that no address comes twice.

    Attributes:
        inputs: of modules with a weight, by name.
        outputs: of modules without children, by name, in the order in which they ran.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def makers_of(self, reader: str) -> list[str]:
        """Return the modules whose output is the very tensor that a module read."""
        read = self.inputs[reader]
        return [name for name, made in self.outputs.items() if same_memory(made, read)]

    def readers_of(self, maker: str) -> list[str]:
        """Return the modules with a matrix that read a module's output as it is."""
        made = self.outputs[maker]
        return [name for name, read in self.inputs.items() if same_memory(made, read)]

    def norms(self, block: nn.Module, width: int) -> list[str]:
        """Return the modules with a vector of this width for weight, in the order they ran."""
        weights = {
            name: getattr(block.get_submodule(name), "weight", None) for name in self.outputs
        }
        return [
            n for n, weight in weights.items() if weight is not None and weight.shape == (width,)
        ]


def traced(block: nn.Module, run: Callable[[], Any]) -> Traced:
    """Run a block and return what its modules read and made."""
    seen = Traced()
    handles = []
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim == 2:
            handles.append(module.register_forward_pre_hook(_reads(seen, name)))
        if not any(module.children()):
            handles.append(module.register_forward_hook(_makes(seen, name)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _reads(seen: Traced, name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            seen.inputs[name] = args[0]

    return hook


def _makes(seen: Traced, name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            seen.outputs[name] = output

    return hook
