"""Reward models: the loss by hand, scores as transformers gives them, files that others load."""

import json
import math

import device
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError
from swiftrl.data.batch import Tree, pack
from swiftrl.engine.scores import RewardModel
from swiftrl.models.builtin_models import builtin_path
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model
from swiftrl.models.resolve import resolve
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.rm import Rm, RmConfig
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.reward_losses import bradley_terry_loss, centring_loss
from swiftrl.rlhf.rewards.models import model_reward, model_reward_name
from swiftrl.rlhf.score_ends import at_ends
from swiftrl.templates.template import Template

SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    "num_labels": 1,
}  # fmt: skip


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_bradley_terry_by_hand():
    """Scores 2 and 0.5, margin 0.5: -ln sigmoid(1)."""
    loss = bradley_terry_loss(t(2.0), t(0.5), margin_B=t(0.5))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)))


def test_centring_by_hand():
    assert centring_loss(t(2.0), t(-0.5)).item() == pytest.approx(2.25)


def test_the_algorithm_adds_margin_and_centring():
    scores = t(2.0, 0.5, 1.0, 3.0)[:, None].requires_grad_()
    inputs = LossInputs(
        logps=t(), ref_logps=None, sequence_index=torch.zeros(0, dtype=torch.int64), weights=t(),
        num_sequences=4, columns={"margin": t(0.5, 0.0)}, scores=scores,
    )  # fmt: skip
    output = Rm(RmConfig(center_rewards_coefficient=0.1)).loss(inputs)
    expected = math.log1p(math.exp(-1)) + math.log1p(math.exp(2)) + 0.1 * (2.5**2 + 4**2)
    assert output.sum.item() == pytest.approx(expected)
    assert output.count == 2.0
    assert float(output.metrics["rewards/accuracies"][0]) == 1.0
    output.sum.backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_losses_have_the_gradient_of_their_values():
    chosen, rejected = t(0.3, -1.0).requires_grad_(), t(0.1, 2.0).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: bradley_terry_loss(a, b, margin_B=0.4) + centring_loss(a, b),
        (chosen, rejected),
    )


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match="--center_rewards_coefficient -1"):
        Rm(RmConfig(center_rewards_coefficient=-1))


def trees():
    """Three trees of two branches; one branch is empty, so that its trunk's end is scored."""
    draw = torch.Generator().manual_seed(3)

    def some(length):
        return torch.randint(1, 64, (length,), generator=draw).numpy().astype("int32")

    made = []
    for trunk, lengths in ((5, (3, 6)), (2, (4, 0)), (7, (1, 2))):
        branches = tuple(some(length) for length in lengths)
        weights = tuple((branch > 0).astype("float32") for branch in branches)
        made.append(Tree(some(trunk), branches, weights))
    return made


@pytest.mark.parametrize("layout", ["tree", "rows"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Qwen3ForSequenceClassification(Qwen3Config(**SHAPE)),
        lambda: LlamaForSequenceClassification(LlamaConfig(**SHAPE)),
    ],
)
def test_scores_are_those_of_transformers(make, layout):
    """The last token of every sequence, packed into trees, against one padded row each."""
    torch.manual_seed(0)
    model = make().eval()
    batch = pack(trees())
    rows = batch.to_rows()
    with torch.no_grad():
        own = model(input_ids=rows.token_ids, attention_mask=rows.attention_mask).logits
        ours = Policy(model, layout=layout).scores(batch)
    assert ours.shape == (6, 1)
    assert torch.allclose(ours, own.float(), atol=1e-5)


def test_ends_of_a_batch():
    batch = at_ends(pack(trees()))
    # Trees start at 0, 14 and 20; the empty branch ends where its trunk does.
    assert batch.source_index.tolist() == [7, 13, 19, 15, 27, 29]
    assert batch.sequence_index.tolist() == list(range(6))


def train(tmp_path, *words):
    output = tmp_path / "run"
    code = main(
        ["rlhf", "--rlhf_type", "rm", "--model", "builtin:tiny-instruct",
         "--dataset", "builtin:preferences#32", "--max_steps", "3", "--torch_dtype", "float32",
         "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2",
         "--learning_rate", "1e-3", "--add_version", "false", "--output_dir", str(output), *words]
    )  # fmt: skip
    assert code == 0
    return output / "checkpoint-3"


def conversations():
    return [
        [{"role": "user", "content": "2 + 3 = ?"}, {"role": "assistant", "content": reply}]
        for reply in ("5", "The answer is 6, I think.")
    ]


def scores_by_transformers(model, folder):
    """Scores the plain way: chat template, padded batch, `logits`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(c, tokenize=False) for c in conversations()]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        return model.eval()(**batch).logits[:, 0]


def infer(tmp_path, *words):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"messages": c}) + "\n" for c in conversations()))
    result = tmp_path / "scores.jsonl"
    code = main(
        ["infer", *words, "--torch_dtype", "float32", "--dataset", str(data),
         "--result_path", str(result)]
    )  # fmt: skip
    assert code == 0
    return [json.loads(line)["score"] for line in result.read_text().splitlines()]


def test_a_whole_reward_model_loads_in_transformers_and_scores_in_infer(tmp_path):
    checkpoint = train(tmp_path, "--tuner_type", "full")
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    assert model.config.num_labels == 1
    expected = scores_by_transformers(model, checkpoint)
    assert infer(tmp_path, "--model", str(checkpoint)) == pytest.approx(expected.tolist(), abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-3


def test_adapters_of_a_reward_model_load_in_peft_and_merge(tmp_path):
    checkpoint = train(tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(
        builtin_path("tiny-instruct"), num_labels=1, dtype=torch.float32
    )
    base.config.pad_token_id = AutoTokenizer.from_pretrained(checkpoint).pad_token_id
    expected = scores_by_transformers(PeftModel.from_pretrained(base, checkpoint), checkpoint)
    found = infer(tmp_path, "--adapters", str(checkpoint))
    assert found == pytest.approx(expected.tolist(), abs=1e-4)

    merged = tmp_path / "merged"
    words = ["--adapters", str(checkpoint), "--output_dir", str(merged)]
    assert main(["merge-lora", *words, "--torch_dtype", "float32"]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(merged, dtype=torch.float32)
    assert torch.allclose(scores_by_transformers(model, merged), expected, atol=1e-4)


def test_a_model_that_transformers_cannot_score_is_refused(tmp_path, capsys):
    code = main(
        ["rlhf", "--rlhf_type", "rm", "--model", "builtin:tiny-vl",
         "--dataset", "builtin:vl-preferences#4", "--output_dir", str(tmp_path)]
    )  # fmt: skip
    assert code == 2
    assert "has no sequence classification for model_type" in capsys.readouterr().err


def test_a_reward_model_does_not_chat(tmp_path, capsys):
    checkpoint = train(tmp_path, "--tuner_type", "full")
    assert main(["infer", "--model", str(checkpoint), "--prompt", "Hello"]) == 2
    assert "scores conversations; give them by --dataset" in capsys.readouterr().err


def rollouts(tmp_path, *words):
    return main(
        ["rlhf", "--rlhf_type", "grpo", "--model", "builtin:tiny-instruct",
         "--dataset", "builtin:prompts#8", "--per_device_train_batch_size", "4",
         "--num_generations", "4", "--gradient_accumulation_steps", "1", "--max_steps", "1",
         "--max_completion_length", "8", "--torch_dtype", "float32", "--add_version", "false",
         "--output_dir", str(tmp_path / "grpo"), *words]
    )  # fmt: skip


def test_a_reward_model_scores_rollouts(tmp_path):
    """What completions.jsonl says a reply is worth is what transformers' forward gives it."""
    checkpoint = train(tmp_path, "--tuner_type", "full")
    words = ["--reward_model", str(checkpoint), "--reward_funcs", "builtin"]
    assert rollouts(tmp_path, *words, "--reward_weights", "0", "1") == 0
    lines = (tmp_path / "grpo" / "completions.jsonl").read_text().splitlines()
    row = next(json.loads(line) for line in lines)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    turns = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    with torch.no_grad():
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        expected = float(model.eval()(**inputs).logits)
    assert row["rewards"]["checkpoint-3"] == pytest.approx(expected, abs=1e-4)
    assert row["reward"] == pytest.approx(expected, abs=1e-4)


def test_what_is_no_reward_model_is_refused_before_loading(tmp_path, capsys):
    assert rollouts(tmp_path, "--reward_model", "builtin:tiny-instruct") == 2
    assert "--reward_model builtin:tiny-instruct: is no reward model" in capsys.readouterr().err


def test_weights_count_reward_models(tmp_path, capsys):
    words = ["--reward_model", "a", "b", "--reward_funcs", "builtin", "--reward_weights", "1"]
    assert rollouts(tmp_path, *words) == 2
    assert "1 numbers for 3 rewards (builtin a b)" in capsys.readouterr().err


@pytest.mark.parametrize("completion", ["", "<image>", "<|im_end|>", "<think>no end", " "])
def test_any_completion_can_be_scored(completion):
    """What a model writes is text, whatever a row of data would mean by it."""
    resolved = resolve("builtin:tiny-instruct")
    loaded = load_model(resolved, ModelConfig(torch_dtype="float32"), device.backend(), scores=1)
    template = Template.load(loaded.tokenizer)
    reward = model_reward("rm", "rm", RewardModel(loaded.model, template))
    prompt = [{"role": "user", "content": "2 + 3 = ?"}]
    (value,) = reward.function(prompts=[prompt], completions=[completion])
    assert value is not None
    assert math.isfinite(value)


def test_names_of_reward_models_do_not_hide_others():
    assert model_reward_name("a/rm", ["a/rm", "format"]) == "rm"
    assert model_reward_name("a/format", ["a/format", "format"]) == "a/format"


def test_some_margins_are_refused_by_the_row_without_one(tmp_path, capsys):
    """All rows have a margin, or none has."""
    rows = [{"prompt": "a", "chosen": f"b{n}", "rejected": "c", "margin": n} for n in range(4)]
    del rows[2]["margin"]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = main(
        ["rlhf", "--rlhf_type", "rm", "--model", "builtin:tiny-instruct", "--dataset", str(data),
         "--output_dir", str(tmp_path / "run")]
    )  # fmt: skip
    assert code == 2
    assert 'pairs.jsonl:3: row has no "margin", and 3 of 4' in capsys.readouterr().err
