"""What each block of a model is called with, row by row, and one block run by itself.

Between two blocks some models add something to the hidden states (the features of a picture, in
DeepStack, arXiv:2406.04334). It is kept as a difference and added again, so that blocks can be run
one by one with other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from swiftrl.core import log
from swiftrl.core.errors import ExportError
from swiftrl.export.calibration import Pass
from swiftrl.export.finite import where_not_finite
from swiftrl.export.passing_on import entries_of, passing_on, same_values

__all__ = ["Calls", "capture", "hidden_of", "run_block", "to_device"]


@dataclass
class Calls:
    """How the blocks are called in one pass.

    Attributes:
        first: hidden states that the first block is given.
        arguments: of each block, without the hidden states.
        named: the hidden states' name, where a block takes them by name.
        added: to the hidden states before each block, or None.
    """

    first: Tensor | None = None
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    named: str | None = None
    added: list[Tensor | None] = field(default_factory=list)

    def forget(self, index: int) -> None:
        """Let go of what only a block that is done needs."""
        self.arguments[index] = ((), {})
        self.added[index] = None


def hidden_of(output: Any) -> Tensor:
    """Return the hidden states among what a block returns."""
    return output if isinstance(output, Tensor) else output[0]


def to_device(value: Any, device: torch.device) -> Any:
    """Return tensors, and lists, tuples and dictionaries of them, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(to_device(item, device) for item in value)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value


@torch.no_grad()
def capture(
    model: Any,
    blocks: Sequence[nn.Module],
    rows: Sequence[Pass],
    *,
    keep: torch.device,
    name: str,
) -> list[Calls]:
    """Run a model and keep what its blocks are called with.

    The first pass runs to its end and shows that each block is called once. Masks, positions and
    the like do not depend on what blocks compute: where that pass, run again with blocks that pass
    on what they are given, shows it, the others run so. They all end at the last block.

    Args:
        model: of transformers.
        blocks: in the order in which they run.
        rows: what runs.
        keep: device on which tensors are kept.
        name: of the progress line.

    Raises:
        ExportError: a row makes NaN or infinity.
    """
    progress = log.Progress(name, len(rows))
    listener = _Listener(model, blocks, keep)
    found = [listener.calls_of(rows[0])]
    with passing_on(model, blocks, listener.entries) as others:
        short = _Listener(model, others, keep)
        again = short.calls_of(rows[0], stops=True)
        if same_values([again.added, again.arguments], [found[0].added, found[0].arguments]):
            for count, row in enumerate(rows[1:], start=2):
                found.append(short.calls_of(row, stops=True))
                progress.update(count)
    for count, row in enumerate(rows[len(found) :], start=len(found) + 1):
        found.append(listener.calls_of(row, stops=True))
        progress.update(count)
    progress.close()
    return found


@dataclass
class _Listener:
    """What hears how a model's blocks are called.

    Attributes:
        model: of transformers.
        blocks: in the order in which they run.
        keep: device on which tensors are kept.
        entries: of the tuples that the blocks return, once they have run.
    """

    model: Any
    blocks: Sequence[nn.Module]
    keep: torch.device
    entries: list[int | None] = field(default_factory=list)

    def calls_of(self, row: Pass, *, stops: bool = False) -> Calls:
        """Return how the blocks are called in a pass, which may stop at the last of them.

        Raises:
            ExportError: the row makes NaN or infinity.
        """
        calls, made = Calls(), []
        hooks = _listen(self.blocks, calls, self.keep, made, stops=stops)
        if not self.entries:
            hooks += [block.register_forward_hook(self._returned) for block in self.blocks]
        try:
            made.append(self.model(**row.arguments(self.model), use_cache=False).logits)
        except _LastBlock:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        if not all(bool(torch.isfinite(tensor).all()) for tensor in made):
            raise ExportError(where_not_finite(self.model, row))
        _check_order(calls, self.blocks, self.model)
        return calls

    def _returned(self, module: nn.Module, args: Any, output: Any) -> None:
        self.entries.append(entries_of(output))


class _LastBlock(Exception):
    """A pass has come as far as it has to."""


def _listen(
    blocks: Sequence[nn.Module],
    calls: Calls,
    keep: torch.device,
    made: list[Tensor],
    *,
    stops: bool,
) -> list[Any]:
    """Attach what fills `calls`; returns handles.

    Args:
        blocks: in the order in which they run.
        calls: filled.
        keep: device on which tensors are kept.
        made: given the hidden states that the last block reads.
        stops: end the pass there.
    """
    moved: dict[int, tuple[Any, Any]] = {}
    last: list[Tensor] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = dict(kwargs)
        if args:
            hidden, args = args[0], args[1:]
        else:
            calls.named = "hidden_states"
            hidden = kwargs.pop("hidden_states")
        if calls.first is None:
            calls.first = hidden.to(keep)
            calls.added.append(None)
        else:
            same = hidden is last[0] or torch.equal(hidden, last[0])
            calls.added.append(None if same else (hidden - last[0]).to(keep))
        calls.arguments.append((_kept(args, moved, keep), _kept(kwargs, moved, keep)))
        if module is blocks[-1]:
            made.append(hidden)
            if stops:
                raise _LastBlock

    def after(module: nn.Module, args: Any, output: Any) -> None:
        last[:] = [hidden_of(output)]

    return [
        handle
        for block in blocks
        for handle in (
            # Ahead of what brings a block to the device, since a pass may end here.
            block.register_forward_pre_hook(before, with_kwargs=True, prepend=True),
            block.register_forward_hook(after),
        )
    ]


def _kept(value: Any, moved: dict[int, tuple[Any, Any]], keep: torch.device) -> Any:
    """Return tensors on `keep`, those that all blocks share (masks, positions) copied once."""
    if isinstance(value, Tensor):
        if id(value) not in moved:
            moved[id(value)] = (value, value.to(keep))
        return moved[id(value)][1]
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_kept(item, moved, keep) for item in value)
    if isinstance(value, dict):
        return {key: _kept(item, moved, keep) for key, item in value.items()}
    return value


def _check_order(calls: Calls, blocks: Sequence[nn.Module], model: Any) -> None:
    if len(calls.arguments) != len(blocks):
        raise ExportError(
            f"{type(model).__name__}: {len(calls.arguments)} calls of its {len(blocks)} decoder "
            "blocks in one forward pass; expected one of each. Architectures that skip or repeat "
            "blocks are not served."
        )


@torch.no_grad()
def run_block(
    block: nn.Module, index: int, calls: Calls, hidden: Tensor, device: torch.device
) -> Tensor:
    """Return a block's hidden states.

    Args:
        block: on `device`.
        index: which it is.
        calls: its other arguments.
        hidden: what the block before it returned.
        device: where it runs.
    """
    args, kwargs = to_device(calls.arguments[index], device)
    hidden = hidden.to(device)
    if (added := calls.added[index]) is not None:
        hidden = hidden + added.to(device)
    if calls.named is not None:
        return hidden_of(block(*args, **kwargs, **{calls.named: hidden}))
    return hidden_of(block(hidden, *args, **kwargs))
