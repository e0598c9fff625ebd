"""GRPO's loss: by hand, in one piece or several, and what its settings refuse."""

from dataclasses import replace

import pytest
import torch
from rollout_cases import rollout

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.grpo import Grpo, GrpoConfig

ADVANTAGES = [1.5, -0.5, 0.0]
LENGTHS = [2, 4, 1]


def inputs(logps=None, *, reference=None, advantages=ADVANTAGES, lengths=LENGTHS):
    tokens = sum(lengths)
    if logps is None:
        logps = -torch.arange(1, tokens + 1, dtype=torch.float64) / 10
    return LossInputs(
        logps=logps.requires_grad_(),
        ref_logps=reference,
        sequence_index=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        weights=torch.ones(tokens),
        num_sequences=len(lengths),
        sequence_values={"advantages": torch.tensor(advantages)},
        token_values={"engine_logps": logps.detach() + 0.25},
    )


def gradient(config, given):
    output = Grpo(config).loss(given)
    (found,) = torch.autograd.grad(output.sum / output.count, given.logps)
    return found


# The ratio is 1, so that d loss / d log p of a token is minus its advantage times its share.
SHARES = {
    "grpo": [1 / 6] * 2 + [1 / 12] * 4 + [1 / 3],
    "bnpo": [1 / 7] * 7,
    "dapo": [1 / 7] * 7,
    "dr_grpo": [1 / 30] * 7,
    "cispo": [1 / 7] * 7,
    "gpg": [1 / 7] * 7,
    "kl_cov": [1 / 7] * 7,
    "gmpo": [1 / 6] * 2 + [1 / 12] * 4 + [1 / 3],
}
BY_TOKEN = torch.tensor([1.5] * 2 + [-0.5] * 4 + [0.0], dtype=torch.float64)


@pytest.mark.parametrize(("kind", "shares"), SHARES.items())
def test_gradient_by_hand(kind, shares):
    config = GrpoConfig(beta=0.0, loss_type=kind, max_completion_length=10)
    expected = -BY_TOKEN * torch.tensor(shares, dtype=torch.float64)
    torch.testing.assert_close(gradient(config, inputs()), expected)


def test_sapo_has_grpos_gradient_where_the_ratio_is_one():
    """Its gate's slope at 1 is 1 whatever the temperature (arXiv:2511.20347, equation 6)."""
    sapo = gradient(GrpoConfig(beta=0.0, loss_type="sapo"), inputs())
    torch.testing.assert_close(sapo, gradient(GrpoConfig(beta=0.0), inputs()))


def test_a_sequences_ratio_shares_its_advantage_among_the_tokens():
    """GSPO: the gradient of exp(mean of log-ratios) is 1 / length for each token."""
    config = GrpoConfig(beta=0.0, importance_sampling_level="sequence")
    expected = -BY_TOKEN * torch.tensor(SHARES["grpo"], dtype=torch.float64)
    torch.testing.assert_close(gradient(config, inputs()), expected)


def test_divergence_from_the_reference_by_hand():
    """k3 = exp(d) - d - 1 for d = ref - log p: its slope is 1 - exp(d)."""
    reference = torch.linspace(-1.0, -0.2, 7, dtype=torch.float64)
    plain = inputs(reference=reference)
    config = GrpoConfig(beta=0.5, loss_type="bnpo")
    slope = 1 - (reference - plain.logps.detach()).exp()
    expected = (-BY_TOKEN + 0.5 * slope) / 7
    torch.testing.assert_close(gradient(config, plain), expected)
    output = Grpo(config).loss(plain)
    total, count = output.metrics["kl"]
    difference = reference - plain.logps.detach()
    assert float(total) / count == pytest.approx(
        float((difference.exp() - difference - 1).mean()), rel=1e-6
    )


def test_the_gap_to_the_engine_is_reported():
    total, count = Grpo(GrpoConfig(beta=0.0)).loss(inputs()).metrics["engine_gap"]
    assert float(total) / count == pytest.approx(0.25)


@pytest.mark.parametrize("kind", SHARES)
def test_parts_of_a_step_add_up(kind):
    """However a step is cut, sums and counts give the same quotient."""
    config = GrpoConfig(beta=0.0, loss_type=kind, max_completion_length=10)
    whole = Grpo(config).loss(inputs())
    logps = inputs().logps.detach()
    parts = [
        Grpo(config).loss(inputs(logps[:6].clone(), advantages=[1.5, -0.5], lengths=[2, 4])),
        Grpo(config).loss(inputs(logps[6:].clone(), advantages=[0.0], lengths=[1])),
    ]
    total, count = sum(part.sum for part in parts), sum(part.count for part in parts)
    torch.testing.assert_close(total / count, whole.sum / whole.count)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1.0, -1.0, 1.0, -1.0]),
        ({"loss_type": "dr_grpo"}, [1.0, -1.0, 3.0, -3.0]),
        ({"scale_rewards": "none"}, [1.0, -1.0, 3.0, -3.0]),
        ({"advantage_estimator": "rloo"}, [2.0, -2.0, 6.0, -6.0]),
        # The mean is 3 and the variance (0 + 4 + 16 + 4) / 3 = 8.
        ({"advantage_estimator": "reinforce_plus_plus"}, [0.0, -(0.5**0.5), 2**0.5, -(0.5**0.5)]),
        # Less the groups' means: 1, -1, 3, -3, of variance 20 / 3.
        (
            {"advantage_estimator": "reinforce_plus_plus_baseline"},
            [value * 0.15**0.5 for value in (1.0, -1.0, 3.0, -3.0)],
        ),
        ({"advantage_estimator": "remax"}, [1.0, -1.0, 7.0, 1.0]),
        # Baselines (3 * 1 + 1 * 3) / 4 and (7 * 1 + 1 * 1) / 2.
        ({"advantage_estimator": "opo"}, [1.5, -0.5, 3.0, -3.0]),
        ({"advantage_estimator": "gpg"}, [1.0, -1.0, 3.0, -3.0]),
        ({"advantage_estimator": "pass_at_k"}, [2.0, 0.0, 6.0, 0.0]),
        # Each +-1 over the square root of 2, over their deviation (4 / 2 / 3) ** 0.5.
        ({"advantage_estimator": "gdpo"}, [value * 0.75**0.5 for value in (1.0, -1.0, 1.0, -1.0)]),
    ],
)
def test_advantages(settings, expected):
    found = Grpo(GrpoConfig(kl_in_reward=False, **settings)).advantages(
        rollout([3.0, 1.0, 7.0, 1.0], [0, 0, 1, 1], lengths=[1, 3, 1, 1], greedy=[2.0, 0.0])
    )
    if not settings:  # two values lie one over the square root of two deviations off their mean
        expected = [value / 2**0.5 for value in expected]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-3)


def test_divergence_off_the_reward_by_hand():
    """k1 sums to (-1 + 2) + (-1 + 1.5) = 1.5 and 0.5: rewards 3 - 0.3, 1 - 0.1, then leave one
    out."""
    given = rollout(
        [3.0, 1.0], [0, 0], lengths=[2, 1],
        tokens={"old_logps": [-1.0, -1.0, -1.0], "ref_logps": [-2.0, -1.5, -1.5]},
    )  # fmt: skip
    algorithm = Grpo(GrpoConfig(beta=0.2, advantage_estimator="rloo"))
    assert algorithm.reads == {"old_logps", "ref_logps"}
    torch.testing.assert_close(algorithm.advantages(given), torch.tensor([1.8, -1.8]))
    # And then it is no part of the loss.
    reference = torch.linspace(-1.0, -0.2, 7, dtype=torch.float64)
    found = gradient(GrpoConfig(beta=0.2, advantage_estimator="rloo"), inputs(reference=reference))
    torch.testing.assert_close(found, gradient(GrpoConfig(beta=0.0), inputs()))


def test_tokens_of_low_entropy_have_no_gradient():
    """Two of five tokens are kept; the count stays that of all."""
    algorithm = Grpo(GrpoConfig(top_entropy_quantile=0.25, beta=0.0, loss_type="dapo"))
    assert algorithm.reads == {"entropy"}
    entropy = [0.1, 0.5, 0.2, 0.9, 0.3]
    given = rollout([1.0, 0.0], [0, 0], lengths=[2, 3], tokens={"entropy": entropy})
    kept = algorithm.judge(given).token_values["kept"]
    assert kept.tolist() == [0, 1, 0, 1, 0]
    tokens = inputs(advantages=[1.0, -1.0], lengths=[2, 3])
    tokens = replace(tokens, token_values={**tokens.token_values, "kept": kept})
    (found,) = torch.autograd.grad(algorithm.loss(tokens).sum, tokens.logps)
    assert found.tolist() == [0, -1, 0, 1, 0]
    assert algorithm.loss(tokens).count == 5


def test_the_engines_arithmetic_is_made_good():
    """The trainer finds every token 3 times as likely as the engine: weights 3, at most 2."""
    given = inputs()
    engine = given.logps.detach() - torch.tensor(3.0).log()
    given = replace(given, token_values={"engine_logps": engine})
    plain = gradient(GrpoConfig(beta=0.0), given)
    config = GrpoConfig(beta=0.0, rollout_importance_sampling_mode="token_truncate")
    torch.testing.assert_close(gradient(config, given), 2 * plain)
    config = GrpoConfig(beta=0.0, rollout_importance_sampling_mode="sequence_mask")
    assert gradient(config, given).abs().max() == 0
    total, count = Grpo(config).loss(given).metrics["importance_capped"]
    assert float(total) / float(count) == 1


def test_clip_cov_drops_likely_good_tokens():
    """log p -0.1 to -0.7, mean -0.4; A 1.5, 1.5, -0.5 * 4, 0, mean 1 / 7: covariances 0.407,
    0.271, -0.064, 0, 0.064, 0.129, 0.043. In the band (0.05, 0.3) are tokens 1, 4 and 5; two of
    seven are dropped, those with the smallest chances."""
    algorithm = Grpo(
        GrpoConfig(
            beta=0.0, loss_type="clip_cov", clip_cov_ratio=0.3, clip_cov_low=0.05, clip_cov_high=0.3
        )
    )
    assert algorithm.coupled
    given = inputs()
    chance = torch.tensor([0.0, 0.3, 0.0, 0.0, 0.9, 0.5, 0.0])
    given = replace(given, token_values={**given.token_values, "chance": chance})
    (found,) = torch.autograd.grad(algorithm.loss(given).sum, given.logps)
    expected = -BY_TOKEN * torch.tensor([1, 0, 1, 1, 1, 0, 1])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_generations": 1}, "--num_generations 1"),
        ({"temperature": 0.0}, "--temperature 0"),
        ({"beta": -1.0}, "--beta -1"),
        ({"epsilon": 1.5}, "--epsilon 1.5"),
        ({"delta": 1.1}, "--delta 1.1"),
        ({"delta": 1.25, "epsilon_high": 0.28}, "--delta 1.25"),
        ({"loss_type": "cispo", "epsilon_high": 0.3}, "--epsilon_high 0.3"),
        ({"advantage_estimator": "rloo", "scale_rewards": "group"}, "--scale_rewards group"),
        ({"loss_type": "gmpo", "importance_sampling_level": "sequence"}, "looks at each token"),
        ({"loss_type": "sapo", "delta": 2.0}, "sapo has no clip"),
        ({"advantage_estimator": "gdpo", "kl_in_reward": True}, "--kl_in_reward true"),
        ({"top_entropy_quantile": 0.0}, "--top_entropy_quantile 0"),
        ({"rollout_importance_sampling_threshold": 0.0}, "sampling_threshold 0"),
        ({"top_p": 0.0}, "--top_p 0"),
        ({"max_completion_length": 0}, "--max_completion_length 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        Grpo(GrpoConfig(**settings))
