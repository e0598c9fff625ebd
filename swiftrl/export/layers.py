"""Which layers of a model are quantised: the linear ones of its language model's blocks."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from swiftrl.core.errors import ConfigError, ModelError
from swiftrl.models.spec import ModelSpec
from swiftrl.models.split_experts import SplitExperts
from swiftrl.models.targets import linear_names
from swiftrl.models.towers import tower_of

__all__ = ["Blocks", "check_groups", "find_blocks", "pattern_of", "widths"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The repeated blocks of a language model.

    Attributes:
        name: of their list, e.g. "model.layers".
        chosen: full names of the layers that are quantised, a tuple for each block.
        skipped: full names of the model's other linear layers.
    """

    name: str
    chosen: tuple[tuple[str, ...], ...]
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that are quantised."""
        return tuple(name for names in self.chosen for name in names)

    def modules(self, model: nn.Module) -> list[nn.Module]:
        """Return the blocks of a model."""
        return list(model.get_submodule(self.name).children())


def find_blocks(model: Any, spec: ModelSpec | None, left_alone: Sequence[str] = ()) -> Blocks:
    """Find a model's decoder blocks and the linear layers in them.

    Towers, projectors, routers, and the head stay as they are.

    Args:
        model: of transformers; it may be without weights.
        spec: the registry's entry.
        left_alone: parts of names, between dots, of more layers that stay as they are.

    Raises:
        ModelError: there are no blocks, or no linear layers in them.
        ConfigError: an entry of `left_alone` names nothing.
    """
    name = _list_of_blocks(model, spec)
    linear = {*linear_names(model), *_expert_layers(model)}
    every = [n for n, module in model.named_modules() if _multiplies(module)]
    for part in left_alone:
        if not any(_names(part, n) for n in every):
            endings = sorted({n.split(".")[-1] for n in every})
            raise ConfigError(
                f"--modules_to_not_convert {part}: no linear layer has it in its name. Layers: "
                f"{', '.join(endings[:20])}."
            )
    chosen = []
    for index, _ in enumerate(model.get_submodule(name).children()):
        start = f"{name}.{index}."
        inside = [n for n in every if n.startswith(start) and n in linear and _plain(model, n)]
        chosen.append(tuple(n for n in inside if not any(_names(part, n) for part in left_alone)))
    taken = {n for names in chosen for n in names}
    if not taken:
        raise ModelError(
            f"{type(model).__name__}: {name} holds no linear layers that can be quantised (layers "
            "of another kind, such as GPT-2's Conv1D, are not served)."
        )
    return Blocks(name, tuple(chosen), tuple(n for n in every if n not in taken))


def _expert_layers(model: nn.Module) -> list[str]:
    """Return the layers of experts that were taken apart; adapters pass them over."""
    apart = [name for name, module in model.named_modules() if isinstance(module, SplitExperts)]
    starts = tuple(f"{name}." for name in apart)
    return [n for n, module in model.named_modules() if n.startswith(starts or ("\0",))
            and isinstance(module, nn.Linear)]  # fmt: skip


def _plain(model: nn.Module, name: str) -> bool:
    return isinstance(model.get_submodule(name), nn.Linear)


def _multiplies(module: nn.Module) -> bool:
    """Whether a module is a linear layer or, like some routers, multiplies as one does."""
    if isinstance(module, nn.Embedding):
        return False
    return any(
        name == "weight" and weight.ndim == 2 for name, weight in module.named_parameters("", False)
    )


def _list_of_blocks(model: Any, spec: ModelSpec | None) -> str:
    """Return the name of the list of modules with the most weights outside of towers."""
    found: list[tuple[int, str]] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{other}.") for _, other in found)
        if isinstance(module, nn.ModuleList) and len(module) and not inside:
            weights = sum(parameter.numel() for parameter in module.parameters())
            found.append((weights if tower_of(name, spec) == "language" else 0, name))
    most = max(found, default=(0, ""))
    if not most[0]:
        raise ModelError(f"{type(model).__name__}: found no list of decoder blocks in it.")
    return most[1]


def _names(part: str, name: str) -> bool:
    return f".{part}." in f".{name}."


def pattern_of(name: str) -> str:
    """Return a layer's name with numbers as stars: "mlp.experts.*.up_proj"."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def widths(model: nn.Module, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield layers' names and their numbers of inputs."""
    for name in names:
        layer: Any = model.get_submodule(name)
        yield name, layer.in_features


def check_groups(model: nn.Module, blocks: Blocks, group_size: int) -> None:
    """Refuse a group that does not divide the inputs of every layer.

    Raises:
        ConfigError: it names the layers and the largest group that fits.
    """
    if group_size == -1:
        return
    found = list(widths(model, blocks.layers))
    bad = Counter((pattern_of(name), width) for name, width in found if width % group_size)
    if not bad:
        return
    layers = ", ".join(
        f"{name} (x{count}, {width} inputs)" for (name, width), count in bad.most_common(4)
    )
    more = f" and {len(bad) - 4} kinds more" if len(bad) > 4 else ""
    common = math.gcd(*(width for _, width in found))
    fits = max(size for size in range(1, group_size) if common % size == 0)
    # Kernels want whole words of 32 bits, and a scale for a handful of weights saves nothing.
    advice = (
        f"--group_size {fits} is the largest that fits all"
        if fits >= 16
        else f"no group of 16 or more fits all; leave these out by --modules_to_not_convert "
        f"{' '.join(sorted({name.split('.')[-1] for name, _ in bad}))}"
    )
    raise ConfigError(
        f"--group_size {group_size} does not divide the inputs of {sum(bad.values())} layers: "
        f"{layers}{more}. {advice[0].upper() + advice[1:] if fits < 16 else advice}; -1 gives each "
        "row one scale."
    )
