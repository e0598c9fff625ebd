"""Process reward models and regression: losses by hand, rows to tokens, saved and read again."""

import json
import math

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from swiftrl.cli.main import main
from swiftrl.core.errors import ConfigError, DataError
from swiftrl.models.builtin_models import builtin_path
from swiftrl.rlhf.algorithm import LossInputs
from swiftrl.rlhf.algorithms.prm import Prm, PrmConfig
from swiftrl.rlhf.algorithms.rm_regression import RmRegression, RmRegressionConfig
from swiftrl.rlhf.reward_losses import regression_loss, step_loss

F64 = torch.float64


def softplus(x):
    return math.log1p(math.exp(x))


def test_steps_by_hand():
    """Differences 1, -2 and 0 against labels 1, 1 and 0.25."""
    scores = torch.tensor([[0.0, 1.0], [1.0, -1.0], [3.0, 3.0]], dtype=F64)
    found = step_loss(scores, torch.tensor([1.0, 1.0, 0.25], dtype=F64))
    expected = torch.tensor([softplus(-1), softplus(2), math.log(2)], dtype=F64)
    torch.testing.assert_close(found, expected)


def test_whole_labels_are_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(9, 2, generator=generator)
    labels = torch.randint(0, 2, (9,), generator=generator)
    expected = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(step_loss(scores, labels.float()), expected)


def test_regression_by_hand():
    """(1 - 3)^2 and (2 - 1)^2 averaged; 4^2 alone; a reply that has nothing."""
    nan = math.nan
    scores = torch.tensor([[1.0, 2.0], [5.0, 4.0], [7.0, 7.0]], dtype=F64, requires_grad=True)
    targets = torch.tensor([[3.0, 1.0], [nan, 0.0], [nan, nan]], dtype=F64)
    loss = regression_loss(scores, targets)
    torch.testing.assert_close(loss, torch.tensor([2.5, 16.0, 0.0], dtype=F64))
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    torch.testing.assert_close(
        gradient, torch.tensor([[-2.0, 1.0], [0.0, 8.0], [0.0, 0.0]], dtype=F64)
    )


def test_gradients():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 2, generator=draw, dtype=F64, requires_grad=True)
    labels, targets = (torch.rand(5, 2, generator=draw, dtype=F64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: step_loss(s, labels[:, 0]), (scores,))
    assert torch.autograd.gradcheck(lambda s: regression_loss(s, targets), (scores,))


def step_inputs(labels=(1.0, 0.0, 1.0, 1.0)):
    """Two replies, of three steps and of one."""
    return LossInputs(
        logps=torch.zeros(0),
        ref_logps=None,
        sequence_index=torch.tensor([0, 0, 0, 1]),
        weights=torch.ones(4),
        num_sequences=2,
        token_values={"label": torch.tensor(labels)},
        scores=torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]]),
    )


def test_the_algorithm_counts_steps():
    output = Prm(PrmConfig()).loss(step_inputs())
    assert output.count == 4
    expected = softplus(-1) + softplus(1) + softplus(1) + softplus(-2)
    assert float(output.sum) == pytest.approx(expected)
    total, count = output.metrics["accuracy"]
    assert (float(total), count) == (2.0, 4.0)


def test_the_last_step_alone():
    output = Prm(PrmConfig(train_on_last_step_only=True)).loss(step_inputs())
    assert output.count == 2
    assert float(output.sum) == pytest.approx(softplus(1) + softplus(-2))


@pytest.mark.parametrize(("label", "name"), [(1.0, "right"), (0.0, "wrong")])
def test_steps_of_one_label_are_refused(label, name):
    with pytest.raises(DataError, match=f"every step of all 3 training rows is labelled {name}"):
        Prm(PrmConfig()).check_columns({"label": np.full(3, label)}, str)


def test_objectives_must_be_named_once():
    with pytest.raises(ConfigError, match="none of them twice"):
        RmRegression(RmRegressionConfig(objectives=["a", "a"]))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def stepwise(number=24):
    """Steps "n = n" are right, steps "n = n + 1" wrong."""
    rows = []
    for index in range(number):
        wrong = index % 3
        steps = [f"{n + index} = {n + index + (n == wrong)}" for n in range(1, 3)]
        labels = [n != wrong for n in range(1, 3)]
        rows.append({"prompt": f"Count from {index}.", "completions": steps, "labels": labels})
    return rows


def train(tmp_path, kind, data, *words):
    output = tmp_path / "run"
    code = main(
        ["rlhf", "--rlhf_type", kind, "--model", "builtin:tiny-instruct", "--dataset", data,
         "--max_steps", "3", "--torch_dtype", "float32", "--per_device_train_batch_size", "4",
         "--gradient_accumulation_steps", "2", "--learning_rate", "1e-3", "--add_version", "false",
         "--output_dir", str(output), *words]
    )  # fmt: skip
    assert code == 0
    return output / "checkpoint-3"


def infer(tmp_path, data, *words):
    result = tmp_path / "scores.jsonl"
    code = main(
        ["infer", *words, "--torch_dtype", "float32", "--dataset", data, "--result_path",
         str(result)]
    )  # fmt: skip
    assert code == 0
    return [json.loads(line) for line in result.read_text().splitlines()]


def step_probabilities(model, folder, row):
    """The plain way: chat template and steps as text, transformers' own forward."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": row["prompt"]}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids, ends = tokenizer(text, add_special_tokens=False)["input_ids"], []
    for step in row["completions"]:
        ids = ids + tokenizer(f"{step}\n", add_special_tokens=False)["input_ids"]
        ends.append(len(ids) - 1)
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([ids])).logits
    return logits[0, ends].softmax(1)[:, 1].tolist()


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_a_process_reward_model_loads_in_transformers_and_scores_in_infer(tuner, tmp_path):
    data = write(tmp_path / "steps.jsonl", stepwise())
    checkpoint = train(tmp_path, "prm", data, "--tuner_type", tuner)
    if tuner == "full":
        config = json.loads((checkpoint / "config.json").read_text())
        assert config["architectures"] == ["Qwen3ForTokenClassification"]
        model = AutoModelForTokenClassification.from_pretrained(checkpoint, dtype=torch.float32)
    else:
        base = AutoModelForTokenClassification.from_pretrained(
            builtin_path("tiny-instruct"), num_labels=2, dtype=torch.float32
        )
        model = PeftModel.from_pretrained(base, checkpoint)
    name = "--model" if tuner == "full" else "--adapters"
    found = infer(tmp_path, data, name, str(checkpoint))
    for row, line in zip(stepwise(), found, strict=True):
        expected = step_probabilities(model, checkpoint, row)
        assert line["scores"] == pytest.approx(expected, abs=1e-4)
        assert line["completions"] == row["completions"]


def scored(number=24):
    return [
        {
            "messages": [
                {"role": "user", "content": f"Say {index}."},
                {"role": "assistant", "content": f"{index}"},
            ],
            "helpfulness": index % 5,
            "scores": {"correctness": 0.5} if index % 2 else {},
        }
        for index in range(number)
    ]


def test_several_objectives_load_in_transformers_and_score_in_infer(tmp_path):
    data = write(tmp_path / "scores-in.jsonl", scored())
    words = ["--objectives", "helpfulness", "correctness", "--tuner_type", "full"]
    checkpoint = train(tmp_path, "rm_regression", data, *words)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    assert model.config.num_labels == 2
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    for row, line in zip(scored(), infer(tmp_path, data, "--model", str(checkpoint)), strict=True):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        batch = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            expected = model.eval()(**batch).logits[0].tolist()
        assert line["score"] == pytest.approx(expected, abs=1e-4)


CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
STEPS = {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("prm", {"messages": CHAT}, 'row needs "completions"'),
        ("prm", {"prompt": "a", "chosen": "b", "rejected": "c"}, "use --rlhf_type dpo"),
        ("prm", STEPS | {"labels": [True]}, "expected one for each of the 2 steps"),
        ("prm", STEPS | {"labels": [True, 2]}, "labels[1] is 2"),
        ("prm", STEPS | {"completions": ["b", " "]}, "completions[1]"),
        ("prm", {"prompt": "a", "completions": ["b"]}, 'row needs "labels"'),
        ("dpo", STEPS, "use --rlhf_type prm"),
        ("kto", STEPS, "use --rlhf_type prm"),
        ("rm", {"messages": CHAT, "scores": {"a": 1}}, "use --rlhf_type rm_regression"),
        ("rm_regression", {"messages": CHAT, "other": 1}, 'row needs a number in "score"'),
        ("rm_regression", {"messages": CHAT, "score": "good", "n": 1}, "expected a number"),
        ("rm_regression", {"messages": CHAT, "score": "good"}, "row needs numbers to learn"),
    ],
)
def test_rows_that_do_not_fit_name_the_place_and_what_fits(kind, row, message, tmp_path, capsys):
    data = write(tmp_path / "rows.jsonl", [row])
    code = main(
        ["rlhf", "--rlhf_type", kind, "--model", "builtin:tiny-instruct", "--dataset", data,
         "--output_dir", str(tmp_path / "run")]
    )  # fmt: skip
    assert code == 2
    said = capsys.readouterr().err
    assert "rows.jsonl:1: " in said
    assert message in said
