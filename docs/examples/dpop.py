"""DPO-Positive as a plugin: `--external_plugins dpop.py --rlhf_type dpop`."""

from dataclasses import dataclass

from swiftrl.core.config import setting
from swiftrl.rlhf.algorithm import ALGORITHMS, Algorithm, LossInputs, LossOutput


@dataclass(frozen=True)
class DpopConfig:
    """DPO-Positive."""

    beta: float = setting(0.1, "Scale of the implicit reward.")
    dpop_lambda: float = setting(50.0, "Weight of the penalty on the chosen reply.")


class Dpop(Algorithm[DpopConfig]):
    """DPO that keeps the chosen reply likely, Pal et al. 2024 (arXiv:2402.13228), eq. 3."""

    name = "dpop"
    summary = "DPO with a penalty where the chosen reply becomes less likely."
    paper = "arXiv:2402.13228"
    Config = DpopConfig
    row_kind = "preference"
    loss_scale = "last_round"
    needs_reference = True

    def loss(self, inputs: LossInputs) -> LossOutput:
        """Return the summed loss of the pairs."""
        from torch.nn.functional import logsigmoid, relu

        logratio = inputs.per_sequence(inputs.weights * (inputs.logps - inputs.ref_logps))
        chosen, rejected = logratio[::2], logratio[1::2]
        penalty = self.config.dpop_lambda * relu(-chosen)
        loss = -logsigmoid(self.config.beta * (chosen - rejected - penalty))
        pairs, won = float(len(loss)), (chosen > rejected).float()
        metrics = {"rewards/accuracies": (won.sum(), pairs), "penalty": (penalty.sum(), pairs)}
        return LossOutput(loss.sum(), pairs, metrics)


ALGORITHMS.register(Dpop.name, Dpop)
