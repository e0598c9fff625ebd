"""What the trainer, the policy and the checkpoints ask of a way to train in several processes.

A `Parallel` lays models out over the processes; what trains of one of them becomes a `Trained`,
which has the gradients and the optimizer. Gradients are sums over all processes, never means: the
trainer divides once, by what the whole optimizer step counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from torch import Tensor, nn

from swiftrl.models.load import Place
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.stored import Part

__all__ = ["Parallel", "Trained"]

T = TypeVar("T")


class Trained(Protocol):
    """What trains of a model: its parameters, their gradients, and the optimizer over them.

    Methods marked "all" exchange something: every process calls them, at the same point.
    """

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What trains, by the name it has in the model; a process may hold parts of each."""
        ...

    def align(self) -> None:
        """Make every process's weights the main one's (all)."""
        ...

    def clear(self) -> None:
        """Forget the gradients."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of a micro-batch's loss (all, where `Parallel.lockstep`).

        Args:
            loss: scalar; without a gradient there is nothing to add.
            last: whether it is the step's last in this process.
        """
        ...

    def step(self, factor: float, *, rate: float, max_norm: float, update: bool) -> float:
        """Sum the gradients over all processes, scale and clip them, and change the weights (all).

        Args:
            factor: on the sums: one over what the step counted.
            rate: learning rate.
            max_norm: bound of the Euclidean norm of all gradients together; 0 for none.
            update: False leaves the weights as they are.

        Returns:
            the norm before clipping; not finite if any gradient is not: nothing changes then.
        """
        ...

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights, whole and in float32, by name (all).

        Processes other than the main one may get an empty dictionary.
        """
        ...

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take whole weights back (all); names and shapes are those of `parameters`."""
        ...

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, whole, as "SLOT/parameter name" -> tensor (all).

        Processes other than the main one may get an empty dictionary.
        """
        ...

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `optimizer_state` gave, of this or another `Parallel` (all).

        Raises:
            ModelError: the state is of other parameters.
        """
        ...

    def parts(self, *, weights: bool, optimizer: bool) -> dict[str, Part] | None:
        """Return what this process holds of weights and optimizer state, to write by itself.

        Returns:
            "trainable/NAME" and "optimizer/SLOT/NAME" -> its rows and the whole shape; None if
            the main process writes `weights()` and `optimizer_state()` for all.
        """
        ...

    def model_state(self) -> dict[str, Tensor] | None:
        """Return the model's state_dict, whole, for its files (all).

        None if the model holds whole weights itself. Processes other than the main one may get an
        empty dictionary. Of adapters the adapters' weights are enough.
        """
        ...


class Parallel(Protocol):
    """A way to train in several processes."""

    @property
    def processes(self) -> Processes:
        """Those of the run."""
        ...

    @property
    def lockstep(self) -> bool:
        """Whether forward and backward passes exchange weights.

        Every process must then do as many of them as the others, in the same order.
        """
        ...

    @property
    def place(self) -> Place:
        """Where this process reads a model's weights to, before `prepare` lays them out.

        "nowhere" leaves a model without values, which `prepare` brings from the main process.
        """
        ...

    def prepare(self, model: nn.Module) -> None:
        """Lay a model out over the processes, in place.

        Called once for each model (the one that trains, a reference), with its adapters on it and
        the weights that do not train frozen, before it runs for the first time.
        """
        ...

    def run(self, model: nn.Module, work: Callable[[], T]) -> T:
        """Do forward work with a prepared model; not nested.

        Inside, the weights that are used outside of a layer's own forward (the head's) are whole.

        Args:
            model: the outermost one, as it was given to `prepare`.
            work: calls the model or parts of it. Its result is a tensor or a tuple of tensors (and
                None) where a backward pass is to follow.
        """
        ...

    def whole(self, model: nn.Module) -> AbstractContextManager[None]:
        """Have all of a prepared model's weights whole in every process for a while (all).

        For generation, where processes take different numbers of forward passes. Weights are only
        read.
        """
        ...

    def parts(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield the parts of a prepared model, each with whole weights while its turn lasts (all).

        A part may hold other parts, whose weights need not be whole then. Together they are the
        model: for work on modules one by one.
        """
        ...

    def gather(self, tensor: Tensor) -> Tensor:
        """Return a weight of a prepared model, whole, on this process's device (all)."""
        ...

    def train(self, model: nn.Module, config: TrainConfig, *, fused: bool) -> Trained:
        """Return what trains of a prepared model, with a new optimizer.

        Args:
            model: at least one of its parameters requires a gradient.
            config: the optimizer's settings.
            fused: whether the hardware has a fused optimizer.

        Raises:
            ConfigError: nothing trains.
        """
        ...
