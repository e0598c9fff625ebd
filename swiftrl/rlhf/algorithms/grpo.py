"""Group relative policy optimisation and the members of its family that differ by a flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swiftrl.rlhf.algorithm import LossInputs, LossOutput
from swiftrl.rlhf.grpo_config import AVERAGES, GrpoConfig, check_grpo
from swiftrl.rlhf.judging import Judged, Rollout
from swiftrl.rlhf.online import OnlineAlgorithm, Reading

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALGORITHM", "Grpo", "GrpoConfig"]


class Grpo(OnlineAlgorithm[GrpoConfig]):
    """GRPO: replies that score better than the others to the same prompt become likelier.

    Where a rollout is trained on once, by the policy that sampled it, the ratio of probabilities is
    1 and its gradient that of the log-probability. With --num_iterations or several optimizer
    steps a rollout the ratio is to the policy that sampled, and clips matter.
    """

    name = "grpo"
    summary = (
        "Group relative policy optimisation and its family: Dr.GRPO, DAPO, GSPO, CISPO, SAPO, "
        "GMPO, GPG, Clip-Cov, KL-Cov; RLOO, REINFORCE++, ReMax, OPO, GDPO."
    )
    paper = "arXiv:2402.03300"
    Config = GrpoConfig

    def __init__(self, config: GrpoConfig) -> None:
        super().__init__(config)
        check_grpo(config)

    @property
    def needs_reference(self) -> bool:
        """Only the divergence from it does."""
        return self.config.beta != 0

    @property
    def reads(self) -> frozenset[Reading]:
        """What the settings ask for beyond the rewards."""
        wanted: set[Reading] = set()
        if self._penalises:
            wanted |= {"old_logps", "ref_logps"}
        if self.config.top_entropy_quantile < 1:
            wanted.add("entropy")
        if self.config.loss_type == "clip_cov":
            wanted.add("chance")
        return frozenset(wanted)

    @property
    def greedy(self) -> bool:
        """ReMax's baseline is the likeliest reply."""
        return self.config.advantage_estimator == "remax"

    @property
    def coupled(self) -> bool:
        """Covariances are of all tokens of a step."""
        return self.config.loss_type in ("clip_cov", "kl_cov")

    @property
    def _penalises(self) -> bool:
        return self.config.beta != 0 and self.config.penalised

    def judge(self, rollout: Rollout) -> Judged:
        """Return the advantages, and which tokens are of the highest entropy."""
        judged = super().judge(rollout)
        if self.config.top_entropy_quantile == 1:
            return judged
        from swiftrl.rlhf.token_selection import top_entropy_mask

        entropy_N = rollout.token_values["entropy"]
        kept_N = top_entropy_mask(entropy_N, fraction=self.config.top_entropy_quantile)
        metrics = {"entropy": (float(entropy_N.sum()), float(len(entropy_N)))}
        return Judged(judged.sequence_values, {"kept": kept_N.float()}, metrics)

    def advantages(self, rollout: Rollout) -> Tensor:
        """Return the advantages of the estimator asked for."""
        from swiftrl.rlhf.estimators import estimate, penalised

        if self._penalises:
            rollout = penalised(rollout, self.config.beta)
        return estimate(rollout, self.config)

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the surrogate of the kind asked for, and the divergence from the reference."""
        from swiftrl.rlhf import importance, surrogate
        from swiftrl.rlhf.policy_losses import old_logps, token_losses

        config, weights = self.config, inputs.weights
        loss_N, clipped_N = token_losses(inputs, config)
        if "kept" in inputs.token_values:
            weights = weights * inputs.token_values["kept"]
        engine_N, tokens = inputs.token_values["engine_logps"], float(len(loss_N))
        gap_N = (engine_N - old_logps(inputs)).abs()
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {
            "engine_gap": (gap_N.sum(), tokens),
            "clip_ratio": (clipped_N.float().sum(), tokens),
        }
        if config.rollout_importance_sampling_mode is not None:
            correction_N, watched = importance.engine_corrections(
                old_logps(inputs),
                engine_N,
                inputs.sequence_index,
                inputs.num_sequences,
                mode=config.rollout_importance_sampling_mode,  # type: ignore[arg-type]
                cap=config.rollout_importance_sampling_threshold,
            )
            loss_N = loss_N * correction_N
            metrics |= watched
        if inputs.ref_logps is not None:
            kl_N = surrogate.kl_estimate(inputs.logps, inputs.ref_logps, kind="k3")
            loss_N = loss_N if config.penalised else loss_N + config.beta * kl_N
            metrics["kl"] = (kl_N.detach().sum(), tokens)
        total, count = surrogate.aggregate(
            loss_N,
            weights,
            inputs.sequence_index,
            inputs.num_sequences,
            how=AVERAGES[config.loss_type],  # type: ignore[arg-type]
            max_length=config.max_completion_length,
        )
        return LossOutput(total, count, metrics)


ALGORITHM = Grpo
