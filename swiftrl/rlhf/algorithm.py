"""What an algorithm is: settings, the rows it eats, and a loss over token log-probabilities.

An algorithm sees neither hardware, nor layout, nor distribution. The trainer calls `loss` on one
micro-batch after another, sums `LossOutput.sum` and `LossOutput.count` over the whole optimizer
step and all ranks, and divides once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from swiftrl.core.registry import Registry
from swiftrl.data.rows import RowKind

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from swiftrl.rlhf.divergence import Distance

__all__ = ["ALGORITHMS", "Algorithm", "LossInputs", "LossOutput", "RowKind"]

Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True)
class LossInputs:
    """A micro-batch as a loss sees it: N trained tokens of B sequences.

    Attributes:
        logps: [N] log pi(token), nats, float32, with gradient.
        ref_logps: [N] the reference's, no gradient; None if the algorithm needs none.
        sequence_index: [N] int64, which of the B sequences a token belongs to, ascending.
        weights: [N] float32 > 0, the loss weight of each token (1 unless the data says otherwise).
        num_sequences: B. For preference rows sequence 2p is chosen and 2p + 1 rejected.
        columns: further numbers of the rows by name, [rows] float32 (margin, label, ...).
        sequence_values: further numbers of the sequences by name, [B] float32 (advantages).
        token_values: further numbers of the tokens by name, [N] float32 (engine_logps; collision,
            if the algorithm asks for it).
        distances: [N] what is still to be learnt from a teacher, nats, float32, with gradient, of
            algorithms that have one; `logps` then has none.
        values: [N] float32 with gradient, what a head of values says of the state before each
            token, of algorithms that have one.
        scores: [B, K] float32 with gradient, of algorithms with a head of scores, [N, K] of those
            that score tokens; `logps` is then empty.
        statistics: means over the whole optimizer step of what `estimate` gave, by name.
        training: False in evaluation: running statistics stay as they are.
    """

    logps: Tensor
    ref_logps: Tensor | None
    sequence_index: Tensor
    weights: Tensor
    num_sequences: int
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    sequence_values: Mapping[str, Tensor] = field(default_factory=dict)
    token_values: Mapping[str, Tensor] = field(default_factory=dict)
    distances: Tensor | None = None
    values: Tensor | None = None
    scores: Tensor | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    training: bool = True

    @property
    def trained(self) -> Tensor:
        """What the gradient goes through."""
        found = self.scores if self.distances is None else self.distances
        return self.logps if found is None else found

    def per_sequence(self, values_N: Tensor) -> Tensor:
        """Return [B] sums of [N] values over each sequence's tokens (float32 or wider)."""
        return values_N.new_zeros(self.num_sequences).index_add(0, self.sequence_index, values_N)


@dataclass(frozen=True, slots=True)
class LossOutput:
    """The loss of a micro-batch before division.

    Attributes:
        sum: scalar with gradient, summed over what `count` counts.
        count: scalar (tokens, pairs, ...) that the global sum is divided by.
        metrics: name -> (sum, count); reported as the quotient of their global sums.
    """

    sum: Tensor
    count: Tensor | float
    metrics: Mapping[str, tuple[Tensor | float, Tensor | float]] = field(default_factory=dict)


class Algorithm(ABC, Generic[Settings]):
    """Base of the algorithms; one file each in `rlhf/algorithms`, exported as `ALGORITHM`.

    Class attributes:
        name: value of `--rlhf_type` (the file's name).
        summary: one line for help and docs.
        paper: where it comes from.
        Config: dataclass of its own settings.
        row_kind: what it eats; "preference" gives two sequences a row.
        loss_scale: which turns train unless the user says otherwise.
        command: the command it belongs to.
        num_scores: how many scores a sequence gets, from a head in place of the words'; 0 for
            algorithms of log-probabilities.
        scores_tokens: the head is read at every token that counts, not at a sequence's last.
        step_separator: stands behind every step of stepwise rows.
        objectives: numbers of scored rows that are to be learnt.
        more_settings: dataclasses of further settings.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    Config: ClassVar[type]
    row_kind: ClassVar[RowKind]
    loss_scale: ClassVar[Literal["default", "last_round", "all"]] = "default"
    command: ClassVar[Literal["rlhf", "sft", "pt"]] = "rlhf"
    num_scores: int = 0
    scores_tokens: ClassVar[bool] = False
    step_separator: str = ""
    objectives: tuple[str, ...] = ()
    more_settings: ClassVar[tuple[type, ...]] = ()

    def __init__(self, config: Settings) -> None:
        """Check the settings.

        Raises:
            ConfigError: they contradict each other.
        """
        self.config = config

    @property
    def needs_reference(self) -> bool:
        """Whether `LossInputs.ref_logps` must be there."""
        return False

    @property
    def temperature(self) -> float:
        """What the logits are divided by."""
        return 1.0

    @property
    def distance(self) -> Distance | None:
        """What is measured between model and teacher; None for algorithms without a teacher."""
        return None

    @property
    def wants_collision(self) -> bool:
        """Whether `token_values` must hold "collision", log sum_v p_v^2, nats, no gradient."""
        return False

    @property
    def values(self) -> str | None:
        """How a head of values learns beside the words'; None for algorithms without one.

        "shared" with the model below it, or "detached" from that.
        """
        return None

    @property
    def coupled(self) -> bool:
        """Whether the loss mixes rows, so that it must see the whole optimizer step at once.

        The trainer then gathers the log-probabilities of all micro-batches and ranks, calls
        `loss` on them together, and carries the gradient back to each micro-batch: the result is
        the same however the step is divided.
        """
        return False

    @property
    def estimates(self) -> bool:
        """Whether `estimate` is asked on mismatched rows before each step's losses."""
        return False

    def estimate(self, inputs: LossInputs) -> Mapping[str, tuple[Tensor, float]]:
        """Return sums and counts, by name, on a micro-batch's prompts with others' replies.

        Their quotient over the whole step, taken without gradient, is in `LossInputs.statistics`.
        """
        raise NotImplementedError

    def check_columns(
        self, columns: Mapping[str, np.ndarray], origin: Callable[[int], str]
    ) -> None:
        """Refuse training rows that as a whole cannot teach anything.

        Args:
            columns: [rows] numbers of the rows by name.
            origin: says where the row of a number comes from.

        Raises:
            DataError: what is wrong, and which algorithm fits.
        """

    @abstractmethod
    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the loss of a micro-batch (of the whole step if `coupled`)."""

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers that must survive a restart; each checkpoint holds them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


ALGORITHMS: Registry[type[Algorithm[Any]]] = Registry(
    "algorithm", "swiftrl.rlhf.algorithms", "ALGORITHM"
)
