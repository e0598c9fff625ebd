"""Online DPO: which replies are a pair, and their loss by hand."""

import math
from dataclasses import replace

import pytest
import torch
from rollout_cases import rollout

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.online_dpo import OnlineDpo, OnlineDpoConfig

NAN = float("nan")


def test_the_best_and_the_worst_are_a_pair():
    """Groups: 1, 3, 2; all alike; one that could not be scored; two that tie for the best."""
    given = rollout(
        [1.0, 3.0, 2.0, 5.0, 5.0, 5.0, NAN, 1.0, 0.0, 4.0, 4.0, 0.0],
        [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
    )
    expected = [-1, 1, 0, 0, 0, 0, 0, 1, -1, 1, 0, -1]
    algorithm = OnlineDpo(OnlineDpoConfig(num_generations=3))
    assert algorithm.judge(given).sequence_values["preferred"].tolist() == expected


def inputs():
    """Four replies; the third and the second are the pair of the first and the second prompt."""
    logps = torch.tensor([-1.0, -2.0, -1.0, -3.0, -1.0], dtype=torch.float64).requires_grad_()
    return LossInputs(
        logps=logps,
        ref_logps=torch.tensor([-2.0, -2.0, -1.5, -2.0, -1.0], dtype=torch.float64),
        sequence_index=torch.tensor([0, 0, 1, 2, 3]),
        weights=torch.ones(5),
        num_sequences=4,
        sequence_values={"preferred": torch.tensor([1.0, -1.0, 0.0, 0.0])},
        token_values={"engine_logps": logps.detach()},
    )


@pytest.mark.parametrize(
    ("kind", "beta", "loss", "slope"),
    [
        # Log-ratios 1 and 0.5: the margin is 0.5.
        ("sigmoid", 2.0, math.log1p(math.exp(-1)), -2 / (1 + math.e)),
        ("hinge", 1.0, 0.5, -1.0),
        # By length: 1 / 2 - 0.5 = 0, its target 1 / 4; the slope is shared by two tokens.
        ("ipo", 2.0, 0.25**2, -0.5 / 2),
    ],
)
def test_loss_by_hand(kind, beta, loss, slope):
    given = inputs()
    output = OnlineDpo(OnlineDpoConfig(beta=beta, loss_type=kind)).loss(given)
    assert float(output.sum.detach()) == pytest.approx(loss)
    assert output.count == 1
    (gradient,) = torch.autograd.grad(output.sum, given.logps)
    lower = -slope * (2 if kind == "ipo" else 1)
    assert gradient.tolist() == pytest.approx([slope, slope, lower, 0.0, 0.0])


def test_without_a_pair_there_is_nothing_to_learn():
    given = inputs()
    given = replace(given, sequence_values={"preferred": torch.zeros(4)})
    output = OnlineDpo(OnlineDpoConfig()).loss(given)
    assert (float(output.sum.detach()), output.count) == (0.0, 0.0)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="--beta 0"):
        OnlineDpo(OnlineDpoConfig(beta=0.0))
    assert OnlineDpo(OnlineDpoConfig()).whole_groups
