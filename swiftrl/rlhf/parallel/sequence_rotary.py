"""Rotary embeddings that look at how long a row is, where a process holds a part of it.

`longrope` (arXiv:2402.13753) and `dynamic` take other frequencies beyond a length. They find it in
the positions, so that a slice would have to do with the wrong ones: they are given those of the
whole row, and the rotations of the slice are kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from swiftrl.core.errors import ConfigError

__all__ = ["rotaries_by_length", "turned_as_whole"]

_BY_LENGTH = {"dynamic", "longrope"}


def rotaries_by_length(lm: nn.Module) -> list[nn.Module]:
    """Return the modules of a model that turn positions by the length of the row.

    Raises:
        ConfigError: a layer has one of its own, which recomputed activations would bring back.
    """
    found = [
        (name, module)
        for name, module in lm.named_modules()
        if _BY_LENGTH & set(_kinds(getattr(module, "rope_type", None)))
    ]
    for name, _ in found:
        if any(part.isdigit() for part in name.split(".")):
            raise ConfigError(
                f"--sequence_parallel_size: {name} turns positions by the length of the row, layer "
                "by layer, which is not known here. Leave --sequence_parallel_size."
            )
    return [module for _, module in found]


def _kinds(rope_type: Any) -> Iterator[str]:
    """Yield the kinds of a rotary embedding; some models have one for each kind of layer."""
    yield from rope_type.values() if isinstance(rope_type, Mapping) else (str(rope_type),)


@contextlib.contextmanager
def turned_as_whole(
    modules: Sequence[nn.Module], positions: Tensor, tokens: slice
) -> Iterator[None]:
    """Let rotary embeddings see the whole row's positions, and give a slice's rotations.

    Args:
        modules: of `rotaries_by_length`.
        positions: [..., T] of the whole row.
        tokens: which of them are here.
    """

    def see_all(
        _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states, *others = given
        if "position_ids" in named:
            return given, named | {"position_ids": positions}
        return (states, positions, *others[1:]), named

    def keep_part(_: nn.Module, __: Any, turned: Any) -> Any:
        if isinstance(turned, Tensor):
            return turned[..., tokens, :]
        return tuple(part[..., tokens, :] for part in turned)

    with contextlib.ExitStack() as hooks:
        for module in modules:
            for hook in (
                module.register_forward_pre_hook(see_all, with_kwargs=True),
                module.register_forward_hook(keep_part),
            ):
                hooks.callback(hook.remove)
        yield
