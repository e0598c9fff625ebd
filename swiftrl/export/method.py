"""What a way of quantising is; `methods/*.py` hold one each.

Shapes: O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import Registry, did_you_mean
from swiftrl.export.config import QuantConfig
from swiftrl.quant.format import FORMATS, Format
from swiftrl.quant.scheme import Scheme

if TYPE_CHECKING:
    import torch

__all__ = ["METHODS", "Gatherer", "Method", "Plan", "one_by_one", "plan_of"]


class Gatherer(Protocol):
    """What a method remembers of a layer's inputs; `quant.hessian.Hessian` is one."""

    def add(self, inputs: torch.Tensor) -> None:
        """Take inputs [N, I] of some tokens into account."""
        ...


class Method(Protocol):
    """How the weight of a linear layer becomes what a format packs.

    Attributes:
        summary: one line for the documentation.
        formats: names of the formats it can write; the first is --quant_format auto.
        bits: that it can make; the first is the default.
        reads_inputs: it needs calibration rows.
        scales_inputs: layers' inputs are scaled, where what makes them can take the inverse,
            before the weights are rounded (AWQ).
    """

    summary: str
    formats: Sequence[str]
    bits: Sequence[int]
    reads_inputs: bool
    scales_inputs: bool

    def inverts_hessian(self, config: QuantConfig) -> bool:
        """Return whether X^T X of layers' inputs is inverted; too few tokens leave it singular."""
        ...

    def scheme(self, config: QuantConfig, bits: int, form: str) -> Scheme:
        """Return how weights are stored, from the settings.

        Raises:
            ConfigError: settings that do not go together.
        """
        ...

    def gatherer(self, layer: torch.nn.Linear, config: QuantConfig) -> Gatherer | None:
        """Return what will gather a layer's inputs, or None if nothing is needed."""
        ...

    def quantise(
        self,
        weight: torch.Tensor,
        gathered: Gatherer | None,
        pooled: Gatherer | None,
        scheme: Scheme,
        config: QuantConfig,
    ) -> Any:
        """Return what `Format.pack` takes.

        Args:
            weight: [O, I]
            gathered: of the layer's inputs.
            pooled: of an expert, that of all experts together; None for other layers.
            scheme: how it is stored.
            config: the settings.
        """
        ...


METHODS: Registry[Method] = Registry("quantisation method", "swiftrl.export.methods", "METHOD")


@dataclass(frozen=True, slots=True)
class Plan:
    """A method and a format, with what the settings decide about both.

    Attributes:
        name: of the method.
        method: itself.
        form: the format's name.
        format: itself.
        scheme: how weights are stored.
    """

    name: str
    method: Method
    form: str
    format: Format
    scheme: Scheme

    @property
    def title(self) -> str:
        """In words."""
        group = "a scale a row" if self.scheme.group_size == -1 else (
            f"groups of {self.scheme.group_size}"
        )  # fmt: skip
        return f"{self.name} in {self.scheme.bits} bits, {group}, format {self.form}"


def one_by_one(plan: Plan, config: QuantConfig) -> bool:
    """Return whether layers are quantised on inputs that layers before them, quantised, make."""
    to_nearest = plan.method.scales_inputs and config.awq_rounding == "nearest"
    return plan.method.reads_inputs and config.true_sequential and not to_nearest


def plan_of(config: QuantConfig) -> Plan:
    """Return what the settings ask for.

    Raises:
        ConfigError: an unknown method or format, or settings that do not go together.
    """
    name = config.quant_method
    if name is None:
        raise ConfigError(f"--quant_method is missing; known: {', '.join(METHODS.names())}.")
    method = METHODS.get(name)
    bits = method.bits[0] if config.quant_bits is None else config.quant_bits
    if bits not in method.bits:
        raise ConfigError(
            f"--quant_bits {bits}: {name} makes {_listed(method.bits)} bits; change this or "
            "--quant_method."
        )
    form = method.formats[0] if config.quant_format == "auto" else config.quant_format
    if form not in method.formats:
        raise ConfigError(
            f"--quant_format {form}: {name} writes {_listed(method.formats)}."
            + did_you_mean(form, list(method.formats))
        )
    if config.group_size != -1 and config.group_size < 1:
        raise ConfigError(f"--group_size {config.group_size}: expected 1 or more, or -1.")
    scheme = method.scheme(config, bits, form)
    found = FORMATS.get(form)
    found.to_config(scheme, ())  # the format refuses a scheme that it cannot hold
    return Plan(name, method, form, found, scheme)


def _listed(values: Sequence[Any]) -> str:
    return " or ".join(map(str, values)) if len(values) < 3 else (
        f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
    )  # fmt: skip
