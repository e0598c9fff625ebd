"""Parts of a block that are done, played back: a pass computes none of them twice.

Once a layer has its final weight, and with it everything that runs before, what it returns in a
pass stays what it is. Where a module returns just what its last layer does (attention its
o_proj, a dense MLP its down_proj), that layer's inputs are all that is needed to give the module's
output from then on without running what is inside.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.export.stages import Stage, same_memory

__all__ = ["ROOM_BYTES", "Replay", "Shape", "blanked", "shape_of"]

ROOM_BYTES = 2 * 2**30
"""For what is kept of one block in all passes together."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """A layer whose output a module returns as its own.

    Attributes:
        layer: its name in the block.
        whole: the module's.
        entries: of the tuple that the module returns, the others None; None for no tuple.
    """

    layer: str
    whole: str
    entries: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How a block is put together, as far as one run of it shows.

    Attributes:
        calls: of each module, by its name in the block.
        tails: of stages that are one layer, by their place.
    """

    calls: Mapping[str, int] = field(default_factory=dict)
    tails: Mapping[int, _Tail] = field(default_factory=dict)


def shape_of(block: nn.Module, stages: Sequence[Stage], run: Callable[[], Any]) -> Shape:
    """Run a block and return how often its modules are called and which layers end a module."""
    last = {s.names[0]: number for number, s in enumerate(stages) if len(s.names) == 1}
    made: dict[str, tuple[Tensor, int]] = {}
    found: dict[str, _Tail] = {}
    calls: Counter[str] = Counter()

    def listen(name: str) -> Callable[..., None]:
        around = [layer for layer in last if layer.startswith(f"{name}.")]

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] += 1
            tensor, entries = _only_tensor(output)
            if tensor is None:
                return
            if name in last:
                made[name] = (tensor, tensor._version)
            for layer in around:
                if layer in made and _is(tensor, made[layer][0]) and _unchanged(*made[layer]):
                    found[layer] = _Tail(layer, name, entries)

        return hook

    handles = [m.register_forward_hook(listen(n)) for n, m in block.named_modules() if n]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    tails = {
        last[tail.layer]: tail
        for tail in found.values()
        if calls[tail.layer] == calls[tail.whole] == 1 and _unchanged(*made[tail.layer])
    }
    return Shape(dict(calls), {n: t for n, t in tails.items() if _is_over(t, stages[n + 1 :])})


def _only_tensor(output: Any) -> tuple[Tensor | None, int | None]:
    """Return what a module returns beside None, and how many entries it has if it is a tuple."""
    if isinstance(output, Tensor):
        return output, None
    if type(output) is tuple and output and all(rest is None for rest in output[1:]):
        return (output[0], len(output)) if isinstance(output[0], Tensor) else (None, None)
    return None, None


def _is(returned: Tensor, made: Tensor) -> bool:
    return returned.shape == made.shape and same_memory(returned, made)


def _unchanged(made: Tensor, version: int) -> bool:
    """Whether nothing has written into a tensor since it was made."""
    return made._version == version


def _is_over(tail: _Tail, later: Sequence[Stage]) -> bool:
    """Whether no layer of later stages is inside a tail's module."""
    return not any(name.startswith(f"{tail.whole}.") for stage in later for name in stage.names)


class _Known(nn.Module):
    """Stands in for a module whose output is known."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.output


class _Blank(nn.Module):
    """Stands in for a linear layer whose output nobody reads."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.new_zeros(*inputs.shape[:-1], self.outputs)


@contextlib.contextmanager
def _instead(block: nn.Module, others: Mapping[str, nn.Module]) -> Iterator[None]:
    """Have other modules in a block for a while."""
    own = {name: block.get_submodule(name) for name in others}
    for name, module in others.items():
        block.set_submodule(name, module)
    try:
        yield
    finally:
        for name, module in own.items():
            block.set_submodule(name, module)


@contextlib.contextmanager
def blanked(block: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let linear layers return zeros without computing them: passes that only gather inputs."""
    layers: dict[str, Any] = {name: block.get_submodule(name) for name in names}
    with _instead(block, {name: _Blank(layer.out_features) for name, layer in layers.items()}):
        yield


class Replay:
    """What done parts of one block return in each pass.

    Args:
        block: the block.
        shape: of it.
        passes: how many there are.
        room: bytes that what is kept of a stage may take up; nothing is kept beyond.
    """

    def __init__(self, block: nn.Module, shape: Shape, passes: int, room: int = ROOM_BYTES) -> None:
        self._block, self._shape = block, shape
        self._passes, self._room = passes, room
        self._inputs: list[Tensor] = []
        self._size = 0
        self._known: dict[str, tuple[list[Tensor], int | None]] = {}

    @classmethod
    def nothing(cls, block: nn.Module) -> Replay:
        """Return one that plays nothing."""
        return cls(block, Shape(), 0)

    def keeper(self, stage: int) -> dict[str, Callable[[Tensor], None]]:
        """Return what is to be given a stage's inputs pass by pass, by the name of its layer."""
        self._inputs, self._size = [], 0
        tail = self._shape.tails.get(stage)
        return {} if tail is None else {tail.layer: self._keep}

    def _keep(self, inputs: Tensor) -> None:
        self._size += inputs.nbytes
        if self._size <= self._room:
            self._inputs.append(inputs)
        else:
            self._inputs.clear()

    def calls(self, names: Sequence[str]) -> int:
        """Return how often layers are called in a pass, all together."""
        return sum(self._shape.calls.get(name, 0) for name in names)

    @torch.no_grad()
    def settle(self, stage: int) -> None:
        """Take the outputs of a stage's layer, which is done, from the inputs that were kept."""
        tail = self._shape.tails.get(stage)
        if tail is None or len(self._inputs) != self._passes:
            return
        layer = self._block.get_submodule(tail.layer)
        outputs = [layer(self._inputs.pop(0)) for _ in range(self._passes)]
        self._known = {
            name: kept
            for name, kept in self._known.items()
            if not name.startswith(f"{tail.whole}.")
        }
        self._known[tail.whole] = (outputs, tail.entries)

    @contextlib.contextmanager
    def playing(self, number: int) -> Iterator[None]:
        """Have the block compute no more of a pass than is not known yet."""
        others: dict[str, nn.Module] = {}
        for name, (outputs, entries) in self._known.items():
            output = outputs[number]
            others[name] = _Known(output if entries is None else (output, *[None] * (entries - 1)))
        with _instead(self._block, others):
            yield
