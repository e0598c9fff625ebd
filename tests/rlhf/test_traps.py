"""Ways in which online learning goes wrong unnoticed, where no other file has the test."""

import device
import pytest
import torch

from swiftrl.core.errors import ModelError
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.dpo import Dpo, DpoConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.reading import check_gap


def slopes(kind):
    """Return DPO's gradient for a chosen reply of three tokens and a rejected one of one."""
    logps = torch.full((4,), -1.0, dtype=torch.float64).requires_grad_()
    inputs = LossInputs(
        logps=logps, ref_logps=logps.detach().clone(), sequence_index=torch.tensor([0, 0, 0, 1]),
        weights=torch.ones(4), num_sequences=2,
    )  # fmt: skip
    output = Dpo(DpoConfig(loss_type=[kind], beta=0.5)).loss(inputs)
    return torch.autograd.grad(output.sum, logps)[0].tolist()


def test_trap_6_dpo_sums_over_tokens_and_ipo_averages():
    """DPO's slope is -beta / 2 at each token; IPO's -2 / (2 beta) is shared by a reply's tokens."""
    assert slopes("sigmoid") == pytest.approx([-0.25] * 3 + [0.25])
    assert slopes("ipo") == pytest.approx([-2 / 3] * 3 + [2.0])


@pytest.mark.parametrize("gap", [0.3, float("nan")])
def test_trap_8_an_engine_of_other_weights_is_refused(gap):
    """As when adapters never reach the engine: its tokens are not what the trainer expects."""
    processes = Processes(0, 1, device.backend().current_device())
    logps = torch.tensor([-1.0, -2.0])
    check_gap(logps, logps - 0.1, processes)
    with pytest.raises(ModelError, match="What it samples from is not the policy"):
        check_gap(logps, logps - gap, processes)
