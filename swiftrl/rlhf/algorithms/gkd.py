"""Distillation: a student comes close to a teacher's distributions, on data or its own replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import Algorithm, LossInputs, LossOutput
from swiftrl.rlhf.teacher_config import TeacherConfig

if TYPE_CHECKING:
    from swiftrl.rlhf.divergence import Distance

__all__ = ["ALGORITHM", "Gkd", "GkdConfig"]


@dataclass(frozen=True)
class GkdConfig:
    """Distillation."""

    beta: float = setting(
        0.5,
        "0: forward KL, covering all that the teacher says; 1: reverse KL, keeping to what it says "
        "most; between: generalised Jensen-Shannon divergence.",
    )
    lmbda: float = setting(
        0.5,
        "Share of the steps that train on replies the student writes itself; 1 is on-policy "
        "distillation, 0 takes the data's replies alone.",
    )
    seq_kd: bool = setting(
        False, "Where the student does not write, the teacher does, in place of the data's replies."
    )
    sft_alpha: float = setting(
        0.0, "Weight of the negative log-likelihood of the data's replies, added to the distance."
    )
    gkd_logits_topk: int | None = setting(
        None, "Compare on the teacher's likeliest tokens alone, so many of them. Unset: on all."
    )
    temperature: float = setting(
        0.9, "Divides both models' logits, and those that replies are sampled from."
    )
    max_completion_length: int = setting(512, "Most tokens of a written reply.")
    rollout_batch_size: int = setting(64, "Replies written at once, each device.")


class Gkd(Algorithm[GkdConfig]):
    """Each trained token's distribution comes closer to the teacher's."""

    name = "gkd"
    summary = "Generalised knowledge distillation: off-policy, on-policy, or a mix."
    paper = "arXiv:2306.13649"
    Config = GkdConfig
    row_kind = "instruction"
    loss_scale = "last_round"
    more_settings: ClassVar = (TeacherConfig,)

    def __init__(self, config: GkdConfig) -> None:
        super().__init__(config)
        _check(config)

    @property
    def temperature(self) -> float:
        """What the logits are divided by, in training as in sampling."""
        return self.config.temperature

    @property
    def distance(self) -> Distance:
        """Return what the settings ask to measure."""
        from swiftrl.rlhf.divergence import Distance

        config = self.config
        return Distance(config.beta, config.gkd_logits_topk, config.sft_alpha)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the distances, counted in tokens."""
        assert inputs.distances is not None
        count = float(len(inputs.logps))
        nll = -inputs.logps.detach()
        metrics = {"nll_loss": (nll.sum(), count)}
        written = inputs.token_values.get("written")
        share = 0.0 * nll if written is None else written
        metrics["on_policy"] = (share.sum(), count)
        likelihood = self.config.sft_alpha * (1 - share) * nll
        metrics["distance"] = ((inputs.distances.detach() - likelihood).sum(), count)
        return LossOutput((inputs.weights * inputs.distances).sum(), count, metrics)


def _check(config: GkdConfig) -> None:
    for name in ("beta", "lmbda"):
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"--{name} {value}: expected 0 to 1.")
    if config.sft_alpha < 0:
        raise ConfigError(f"--sft_alpha {config.sft_alpha}: expected 0 or more.")
    for name in ("temperature", "max_completion_length", "rollout_batch_size", "gkd_logits_topk"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name} {value}: expected more than 0.")
    if config.seq_kd and config.sft_alpha:
        raise ConfigError(
            "--sft_alpha with --seq_kd true: the teacher writes in place of the data's replies, so "
            "that none of these is trained on. Leave one out."
        )


ALGORITHM = Gkd
