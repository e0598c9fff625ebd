"""PPO: judgements and loss by hand, what it refuses, and short runs."""

import json
import math
import shutil

import device
import pytest
import torch
from rollout_cases import rollout
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.ppo import Ppo, PpoConfig

PLAIN = {"whiten_advantages": False, "kl_coef": 0.0}
NAN = float("nan")


def given(rewards, lengths, **tokens):
    zeros = [0.0] * sum(lengths)
    names = {"old_logps": zeros, "ref_logps": zeros, "values": zeros} | tokens
    groups = list(range(len(rewards)))
    return rollout(rewards, groups, lengths=lengths, tokens=names)


def test_advantages_and_returns_by_hand():
    """gamma 1, lambda 0.5, values 0.2, 0.4, reward 1 at the end. The last token: delta 1 - 0.4 =
    0.6. The first: 0.4 - 0.2 + 0.5 * 0.6 = 0.5. Returns are advantages plus values."""
    judged = Ppo(PpoConfig(lam=0.5, **PLAIN)).judge(given([1.0], [2], values=[0.2, 0.4]))
    torch.testing.assert_close(judged.token_values["advantages"], torch.tensor([0.5, 0.6]))
    torch.testing.assert_close(judged.token_values["returns"], torch.tensor([0.7, 1.0]))
    torch.testing.assert_close(judged.sequence_values["advantages"], torch.tensor([0.55]))


def test_divergence_is_taken_off_each_tokens_reward():
    """k1 is 0.5 and 1 and its weight 0.1: rewards -0.05 and 0.9; with lambda 1 and no values the
    advantages are the sums of what follows, 0.85 and 0.9."""
    algorithm = Ppo(PpoConfig(lam=1.0, whiten_advantages=False, kl_coef=0.1))
    assert algorithm.reads == {"old_logps", "ref_logps", "values"}
    tokens = {"old_logps": [-1.0, -1.0], "ref_logps": [-1.5, -2.0]}
    judged = algorithm.judge(given([1.0], [2], **tokens))
    torch.testing.assert_close(judged.token_values["advantages"], torch.tensor([0.85, 0.9]))
    assert judged.metrics["kl_in_reward"][0] == pytest.approx(0.15)


def test_a_reply_that_nobody_could_score_counts_for_nothing():
    """The whitening is of the other two tokens: +-1 over the square root of two."""
    judged = Ppo(PpoConfig(kl_coef=0.0)).judge(given([1.0, NAN, 0.0], [1, 2, 1]))
    root = math.sqrt(0.5)
    expected = torch.tensor([root, 0.0, 0.0, -root])
    torch.testing.assert_close(judged.token_values["advantages"], expected)
    assert judged.sequence_values["scorable"].tolist() == [1, 0, 1]


def test_a_reply_without_an_end_is_punished():
    algorithm = Ppo(PpoConfig(missing_eos_penalty=0.25, **PLAIN))
    one = rollout(
        [1.0], [0], cut=[True], tokens={"old_logps": [0.0], "ref_logps": [0.0], "values": [0.0]}
    )
    assert algorithm.judge(one).token_values["returns"].tolist() == [0.75]


def test_vapo_has_a_lambda_by_length_and_another_for_values():
    """alpha 0.25 and 8 tokens: lambda 0.5; the reward 1 comes back as 0.5^(7 - t). Values learn
    with lambda 1: all returns are 1."""
    config = PpoConfig(length_adaptive_alpha=0.25, lam_value=1.0, **PLAIN)
    judged = Ppo(config).judge(given([1.0], [8]))
    expected = torch.tensor([0.5 ** (7 - t) for t in range(8)])
    torch.testing.assert_close(judged.token_values["advantages"], expected)
    assert judged.token_values["returns"].tolist() == [1.0] * 8


def test_the_first_rollouts_may_train_values_alone():
    algorithm = Ppo(PpoConfig(value_warmup_rollouts=1, detach_values=True, **PLAIN))
    first, second = (algorithm.judge(given([1.0], [2])).token_values for _ in range(2))
    assert first["advantages"].tolist() == [0, 0]
    assert first["returns"].any()
    assert second["advantages"].any()
    again = Ppo(PpoConfig(value_warmup_rollouts=2, detach_values=True, **PLAIN))
    again.load_state_dict(algorithm.state_dict())
    assert again.judge(given([1.0], [2])).token_values["advantages"].any()


def loss_of(config, **changes):
    """Return the loss and its gradients of three tokens in two replies."""
    logps = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64).requires_grad_()
    values = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64).requires_grad_()
    inputs = LossInputs(
        logps=logps, ref_logps=None, sequence_index=torch.tensor([0, 0, 1]),
        weights=torch.ones(3), num_sequences=2, values=values,
        sequence_values={
            "scorable": torch.tensor([1.0, 0.0]), "positive": torch.tensor([1.5, 0.0])
        },
        token_values={
            "engine_logps": logps.detach(),
            "old_logps": logps.detach() - torch.tensor([0.0, 0.5, 0.0]),
            "advantages": torch.tensor([2.0, 1.0, 0.0]),
            "returns": torch.tensor([1.0, 0.0, 9.0]),
            "values": torch.tensor([0.5, 0.1, 0.5]), **changes,
        },
    )  # fmt: skip
    output = Ppo(config).loss(inputs)
    return output, torch.autograd.grad(output.sum, (logps, values))


def test_loss_by_hand():
    """The second token's ratio e^0.5 is beyond 1.2 at a good advantage: no gradient. Values: 0.5
    - 1 = -0.5, weight 0.1; the second moved by 0.4 > 0.2 from 0.1, away from its target 0, so
    that the unclipped square 0.25 is the larger and keeps its gradient; the third cannot be
    scored."""
    output, (by_logp, by_value) = loss_of(PpoConfig(kl_coef=0.0))
    assert by_logp.tolist() == pytest.approx([-2.0, 0.0, 0.0])
    assert by_value.tolist() == pytest.approx([-0.05, 0.05, 0.0])
    expected = -2 - 1.2 + 0.1 * (0.25 / 2 + 0.25 / 2)
    assert float(output.sum.detach()) == pytest.approx(expected)
    assert output.count == 3


def test_good_replies_become_likelier_with_vapos_loss():
    """0.1 * 1.5 on each token of the first reply."""
    _, (by_logp, _) = loss_of(PpoConfig(kl_coef=0.0, positive_lm_coef=0.1))
    assert by_logp.tolist() == pytest.approx([-2.15, -0.15, 0.0])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"gamma": 1.5}, "--gamma 1.5"),
        ({"lam": -0.1}, "--lam -0.1"),
        ({"kl_coef": -1.0}, "--kl_coef -1"),
        ({"value_warmup_rollouts": 2}, "--detach_values true"),
        ({"num_generations": 0}, "--num_generations 0"),
        ({"dynamic_sample": True}, "--dynamic_sample true"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        Ppo(PpoConfig(**settings))


def train(folder, *words, steps="4"):
    words = ["rlhf", "--rlhf_type", "ppo", "--model", "builtin:tiny-instruct", *device.flags(),
             "--torch_dtype", "float32", "--max_completion_length", "12", "--reward_funcs",
             "builtin", "--learning_rate", "1e-3", "--logging_steps", "1", "--save_steps", "2",
             "--gradient_checkpointing", "false", "--num_ppo_epochs", "3", "--max_steps", steps,
             "--dataset", "builtin:prompts#24", "--add_version", "false",
             "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1",
             "--output_dir", str(folder / "out"), "--cache_dir", str(folder / "cache"),
             *words]  # fmt: skip
    assert main(words) == 0
    return folder / "out"


def lines(folder):
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if '"loss"' in line]


def test_a_run_learns_values_and_goes_on_bit_for_bit(tmp_path):
    """Three passes over each rollout; the second checkpoint stands in the middle of the first."""
    output = train(tmp_path)
    found = lines(output)
    assert [line["staleness"] for line in found] == [0, 1, 2, 0]
    assert found[0]["values"] == 0
    assert found[2]["value_loss"] < found[0]["value_loss"]
    assert max(line["clip_ratio"] for line in found) > 0
    again = tmp_path / "again" / "out"
    shutil.copytree(output, again)
    shutil.rmtree(again / "checkpoint-4")
    train(tmp_path / "again", "--resume_from_checkpoint", str(again / "checkpoint-2"))
    names = ("adapter_model.safetensors", "trainer/trainable.safetensors")
    for name in names:
        ours, theirs = (load_file(each / "checkpoint-4" / name) for each in (again, output))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert any("value_head" in key for key in theirs)
    adapters = load_file(output / "checkpoint-4" / names[0])
    assert not any("value_head" in key for key in adapters)


def test_the_head_of_values_is_no_part_of_a_whole_model(tmp_path):
    output = train(tmp_path, "--tuner_type", "full", "--learning_rate", "1e-5", steps="1")
    _, told = AutoModelForCausalLM.from_pretrained(
        output / "checkpoint-1", output_loading_info=True
    )
    assert not told["unexpected_keys"]
